//! Names that a preset was made for.

use super::super::arrange::{Arrangement, arrange};
use super::super::axes::{ABSENT, ArrangeOptions};
use super::super::value::FieldKind;
use super::super::{Field, Pattern, Preset};
use super::{Inferred, MOST_STRANGERS, clues, is_convincing};
use crate::error::Result;

/// Reads the names by a preset, if it was made for them.
pub(super) fn by_preset<N: AsRef<str> + Sync>(
    preset: &Preset,
    names: &[N],
    options: &ArrangeOptions,
) -> Result<Option<Inferred>> {
    const SAMPLE: usize = 500;
    let pattern = preset.pattern()?;
    let step = names.len().div_ceil(SAMPLE).max(1);
    let sample = || names.iter().step_by(step);
    let matching = sample().filter(|n| pattern.matches(n.as_ref()).is_some()).count();
    if (matching as f64) < (1.0 - MOST_STRANGERS) * sample().count() as f64 {
        return Ok(None);
    }
    let mut options = options.clone();
    options.layout.extend(preset.layout()?);
    // A part of the names mostly shows what is constant; only if that was wrong are all of them asked.
    let some: Vec<&str> = names.iter().step_by(names.len().div_ceil(40 * SAMPLE).max(1)).map(AsRef::as_ref).collect();
    if some.len() < names.len()
        && let Some(found) = read_by(preset, &pattern, names, &some, &options)?
    {
        return Ok(Some(found));
    }
    read_by(preset, &pattern, names, names, &options)
}

/// Arranges `names` by a preset without the fields that are constant in `some` of them.
fn read_by<N: AsRef<str> + Sync, S: AsRef<str> + Sync>(
    preset: &Preset,
    pattern: &Pattern,
    names: &[N],
    some: &[S],
    options: &ArrangeOptions,
) -> Result<Option<Inferred>> {
    let relaxed = ArrangeOptions { layout: Vec::new(), ..options.clone() };
    let Ok(first) = arrange(pattern, some, &relaxed) else { return Ok(None) };
    let (text, mut why) = simplified(pattern, &first);
    let simple = if pattern.is_regex() { pattern.clone() } else { Pattern::parse(&text)? };
    let arrangement = arrange(&simple, names, options)?;
    let texts = simple
        .fields()
        .iter()
        .filter(|f| f.kind == FieldKind::Text || matches!(f.kind, FieldKind::Set { repeat: true, .. }));
    // A number cut in two: `1` and `2` of `w12`.
    let is_cut = |field: &Field| {
        let row = arrangement.fields.iter().find(|row| row.name == field.name);
        let begins =
            row.is_some_and(|row| [&row.first, &row.last].iter().any(|t| t.starts_with(|c: char| c.is_ascii_digit())));
        begins && text.contains(&format!("}}{{{}:", field.name))
    };
    let holds_numbers = |axis: &str| arrangement.axes.iter().any(|a| a.name == axis && hold_numbers(axis, &a.labels));
    let is_doubtful = |f: &Field| is_cut(f) || f.axis.as_deref().is_some_and(holds_numbers);
    if !is_convincing(&arrangement) || texts.into_iter().any(is_doubtful) {
        return Ok(None);
    }
    why.insert(0, format!("the names are those of {} (preset '{}')", preset.program, preset.name));
    Ok(Some(Inferred { pattern: simple, preset: Some(preset.name.clone()), why, arrangement }))
}

/// Whether labels of `axis` count along another one: `DAPI z 1`, `DAPI z 2`.
fn hold_numbers(axis: &str, labels: &[String]) -> bool {
    // Neighbours in their order are enough.
    labels.windows(2).any(|pair| {
        let same = pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
        let head = pair[0].get(..same).unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
        let head = head.strip_suffix([' ', '_', '-', '=']).unwrap_or(head);
        let letters = head.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        let counts = [&pair[0], &pair[1]]
            .iter()
            .all(|l| l.get(same..).is_some_and(|t| t.starts_with(|c: char| c.is_ascii_digit())));
        counts && clues::before(letters).iter().any(|r| r.axis != axis)
    })
}

/// The text of a preset's pattern with constant fields, and coordinates that disagree, passed over and
/// parts that are always absent left out; and the reasons.
fn simplified(pattern: &Pattern, arrangement: &Arrangement) -> (String, Vec<String>) {
    let mut text = pattern.to_string();
    let mut why = Vec::new();
    if pattern.is_regex() {
        return (text, why);
    }
    let mut absent = Vec::new();
    for field in pattern.fields() {
        let (Some(axis), Some(row)) = (&field.axis, arrangement.fields.iter().find(|f| f.name == field.name)) else {
            continue;
        };
        if arrangement.conflicts.iter().any(|c| c.field == field.name) {
            why.push(format!("{} is not the same for every file of one {axis}: no coordinate", field.name));
        } else if row.count > 1 {
            continue;
        } else if row.first == ABSENT {
            absent.push(format!("_{}", field.name));
        } else {
            why.push(format!("{} is {} in every name: dropped", field.name, row.first));
        }
        for end in ['}', ':'] {
            text = text.replace(&format!("{{{}{end}", field.name), &format!("{{_{}{end}", field.name));
        }
    }
    text = shortened(pattern, &without_absent(&text, &absent));
    // Somebody must remain.
    match Pattern::parse(&text) {
        Ok(simple) if simple.fields().iter().any(|f| f.axis.is_some()) => (text, why),
        _ => (pattern.to_string(), Vec::new()),
    }
}

/// Names that are no longer needed to tell fields apart made short: `{_x}` is `{_}`, and `{t.stack}` is
/// `{t}` where no other field counts along `t`.
fn shortened(pattern: &Pattern, text: &str) -> String {
    let mut text = text.to_owned();
    for field in pattern.fields().iter().filter(|f| f.axis.is_some()) {
        for end in ['}', ':'] {
            text = text.replace(&format!("{{_{}{end}", field.name), &format!("{{_{end}"));
        }
    }
    let Ok(parsed) = Pattern::parse(&text) else { return text };
    for field in parsed.fields() {
        let (Some(axis), Some(_), None) = (&field.axis, &field.part, &field.unit) else { continue };
        let counting = parsed.fields().iter().filter(|f| f.axis.as_ref() == Some(axis) && f.unit.is_none()).count();
        if counting == 1 {
            for end in ['}', ':'] {
                text = text.replace(&format!("{{{}{end}", field.name), &format!("{{{axis}{end}"));
            }
        }
    }
    text
}

/// Leaves out the optional parts of a preset's pattern that only hold fields called `absent`.
fn without_absent(text: &str, absent: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inside, following)) = after.split_once('>') else { break };
        out.push_str(before);
        let names = inside.split('{').skip(1).filter_map(|f| f.split([':', '}']).next());
        let is_absent = names.clone().count() > 0 && names.into_iter().all(|n| absent.iter().any(|a| a == n));
        if !is_absent {
            out.push_str(&format!("<{inside}>"));
        }
        rest = following;
    }
    out + rest
}
