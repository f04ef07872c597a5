//! Reads the text of a pattern into steps for the matcher; mistakes are answered with their column.

use super::value::FieldKind;
use super::{Field, Slot};
use crate::error::{Error, Result};
use crate::unit::Unit;

/// One thing the matcher does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// This text.
    Literal(String),
    /// Any text, as little as lets the rest match; `folders` lets it cross `/`.
    Star {
        folders: bool,
    },
    /// Any one character but `/`.
    AnyChar,
    /// The value of `slot`. `before` and `after` say that a run of its characters may not be cut there.
    Value {
        slot: usize,
        before: bool,
        after: bool,
    },
    /// The steps up to `end` may be left out; tried with them first.
    Optional {
        end: usize,
    },
    /// Nothing may stand before, or after.
    Start,
    End,
}

pub(super) struct Parsed {
    pub(super) steps: Vec<Step>,
    pub(super) fields: Vec<Field>,
    pub(super) slots: Vec<Slot>,
    pub(super) in_path: bool,
}

/// Longer patterns are mistakes; the matcher's recursion is as deep as the pattern is long.
const MAX_STEPS: usize = 256;
const MAX_BYTES: usize = 4096;

/// A message that points at `at`, a byte offset of `text`.
fn mistake(text: &str, at: usize, what: impl std::fmt::Display) -> Error {
    let column = text.char_indices().take_while(|(i, _)| *i < at).count();
    Error::usage(format!("pattern column {}: {what}\n  {text}\n  {:column$}^", column + 1, ""))
}

pub(super) fn parse(text: &str) -> Result<Parsed> {
    if text.len() > MAX_BYTES {
        return Err(Error::usage(format!("the pattern has {} bytes, more than {MAX_BYTES}", text.len())));
    }
    let mut parser = Parser {
        text,
        at: 0,
        steps: Vec::new(),
        places: Vec::new(),
        fields: Vec::new(),
        slots: Vec::new(),
        barrier: 0,
    };
    parser.run()?;
    let Parser { mut steps, places, fields, slots, .. } = parser;
    if steps.len() > MAX_STEPS {
        return Err(Error::usage(format!("the pattern has {} parts, more than {MAX_STEPS}", steps.len())));
    }
    if fields.is_empty() {
        return Err(mistake(
            text,
            text.len(),
            "nothing in it is a field: write the parts that vary in braces, such as {t} or {c:word}",
        ));
    }
    set_bounds(text, &mut steps, &places, &slots)?;
    let in_path =
        steps.iter().any(|s| matches!(s, Step::Literal(l) if l.contains('/')) || *s == Step::Star { folders: true });
    Ok(Parsed { steps, fields, slots, in_path })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    steps: Vec<Step>,
    /// Where in the text each step was read.
    places: Vec<usize>,
    fields: Vec<Field>,
    slots: Vec<Slot>,
    /// Steps before this belong to a closed optional part.
    barrier: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error(&self, at: usize, what: impl std::fmt::Display) -> Error {
        mistake(self.text, at, what)
    }

    fn push(&mut self, place: usize, step: Step) {
        self.steps.push(step);
        self.places.push(place);
    }

    fn literal(&mut self, place: usize, c: char) {
        // A literal must not grow over the end of an optional part.
        if self.steps.len() > self.barrier
            && let Some(Step::Literal(text)) = self.steps.last_mut()
        {
            text.push(c);
            return;
        }
        self.push(place, Step::Literal(c.to_string()));
    }

    fn run(&mut self) -> Result<()> {
        let mut open: Vec<(usize, usize)> = Vec::new();
        while let Some(c) = self.peek() {
            let place = self.at;
            self.next();
            match c {
                '{' => self.field(place)?,
                '}' => return Err(self.error(place, "'}' without '{'; write \\} for the character itself")),
                '*' if self.peek() == Some('*') => {
                    self.next();
                    self.push(place, Step::Star { folders: true });
                }
                '*' => self.push(place, Step::Star { folders: false }),
                '?' => self.push(place, Step::AnyChar),
                '<' => {
                    open.push((place, self.steps.len()));
                    self.push(place, Step::Optional { end: 0 });
                }
                '>' => {
                    let Some((_, index)) = open.pop() else {
                        return Err(self.error(place, "'>' without '<'; write \\> for the character itself"));
                    };
                    self.close(index)?;
                }
                '^' if place == 0 => self.push(place, Step::Start),
                '$' if self.at == self.text.len() => self.push(place, Step::End),
                '\\' => match self.next() {
                    Some(escaped) => self.literal(place, escaped),
                    None => return Err(self.error(place, "'\\' escapes the next character, and there is none")),
                },
                '\n' | '\r' | '\0' => return Err(self.error(place, "a line break or a null cannot be in a pattern")),
                other => self.literal(place, other),
            }
        }
        match open.last() {
            Some((place, _)) => {
                Err(self.error(*place, "'<' is never closed; a part that may be absent is written <_{z}>"))
            }
            None => Ok(()),
        }
    }

    /// Ends the optional part that began at step `index`.
    fn close(&mut self, index: usize) -> Result<()> {
        let end = self.steps.len();
        let place = self.places.get(index).copied().unwrap_or(0);
        let inside = self.steps.get(index + 1..).unwrap_or_default();
        if inside.is_empty() {
            return Err(self.error(place, "'<>' holds nothing; a part that may be absent is written <_{z}>"));
        }
        if !inside.iter().any(|s| matches!(s, Step::Value { .. }))
            && let [Step::Literal(text)] = inside
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text.contains('-')
        {
            let what = format!(
                "'<{text}>' is a range in Bio-Formats' notation; here a field is in braces: {{z}}, and --include chooses files"
            );
            return Err(self.error(place, what));
        }
        if let Some(Step::Optional { end: slot }) = self.steps.get_mut(index) {
            *slot = end;
        }
        self.barrier = end;
        Ok(())
    }

    /// Reads a field after its `{`.
    fn field(&mut self, open: usize) -> Result<()> {
        let name_at = self.at;
        let mut depth = 0usize;
        let mut escaped = false;
        let mut close = None;
        for (i, c) in self.rest().char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                '}' if depth == 0 => {
                    close = Some(self.at + i);
                    break;
                }
                '{' if depth == 0 => break,
                _ => {}
            }
        }
        let Some(close) = close else {
            return Err(
                self.error(open, "'{' is never closed; a field is written {c} or {c:3}, the character itself \\{")
            );
        };
        let body = self.text.get(name_at..close).unwrap_or_default();
        self.at = close + 1;
        let (head, spec) = match body.split_once(':') {
            Some((head, spec)) => (head, Some((spec, name_at + head.len() + 1))),
            None => (body, None),
        };
        let (name, unit) = match head.split_once('@') {
            Some((name, unit)) => (name, Some((unit, name_at + name.len() + 1))),
            None => (head, None),
        };
        let (axis, part) = match name.split_once('.') {
            Some((axis, part)) => (axis, Some(part)),
            None => (name, None),
        };
        self.check_name(name_at, axis)?;
        if let Some(part) = part {
            self.check_name(name_at + axis.len() + 1, part)?;
        }
        let mut kind = match spec {
            Some((spec, at)) => Some(self.kind(spec, at)?),
            None => None,
        };
        let mut measured = None;
        if let Some((unit, at)) = unit {
            if matches!(unit, "dhm" | "d/h/m") {
                kind = kind.or(Some(FieldKind::Duration));
            } else {
                let known = Unit::parse(unit);
                let Some(known) = known else {
                    return Err(self.error(at, format!("{} and numbers of them (0.1um)", Unit::unknown(unit))));
                };
                measured = Some(known);
            }
        }
        let kind = kind.unwrap_or(FieldKind::Digits);
        if kind == FieldKind::Duration {
            measured = Some(Unit::second());
        }
        let ignored = axis.starts_with('_');
        let slot = Slot { field: 0, kind: kind.clone(), repeats: false };
        let field = Field {
            name: head.to_owned(),
            axis: (!ignored).then(|| axis.to_owned()),
            part: part.map(str::to_owned),
            unit: measured,
            kind,
        };
        self.add(open, field, slot);
        Ok(())
    }

    fn add(&mut self, place: usize, field: Field, mut slot: Slot) {
        let known = self.fields.iter().position(|f| f.name == field.name && f.axis.is_some());
        slot.field = known.unwrap_or(self.fields.len());
        slot.repeats = known.is_some();
        match known {
            Some(known) => self.slots.iter_mut().filter(|s| s.field == known).for_each(|s| s.repeats = true),
            None => self.fields.push(field),
        }
        let index = self.slots.len();
        self.slots.push(slot);
        self.push(place, Step::Value { slot: index, before: false, after: false });
    }

    fn check_name(&self, at: usize, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(self.error(at, "a field needs a name, such as {t}; text to pass over is written *"));
        }
        let starts_well = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        match name.char_indices().find(|(_, c)| !(c.is_alphanumeric() || matches!(c, '_' | '-'))) {
            Some((i, c)) => Err(self.error(at + i, format!("'{c}' cannot be in the name of a field; what it holds comes after ':', as in {{t:4}}"))),
            None if !starts_well => Err(self.error(at, format!("the name of a field begins with a letter, '{name}' does not; a width comes after ':', as in {{t:{name}}}"))),
            None => Ok(()),
        }
    }

    /// What a field holds, from the text after its `:`.
    fn kind(&self, spec: &str, at: usize) -> Result<FieldKind> {
        const NAMES: [(&str, FieldKind); 10] = [
            ("digits", FieldKind::Digits),
            ("int", FieldKind::Int),
            ("float", FieldKind::Float),
            ("word", FieldKind::Word),
            ("letters", FieldKind::Letters),
            ("text", FieldKind::Text),
            ("well", FieldKind::Well),
            ("duration", FieldKind::Duration),
            ("guid", FieldKind::Guid),
            ("any", FieldKind::Text),
        ];
        if spec.is_empty() {
            return Err(
                self.error(at, "after ':' comes a number of digits, word, float, [a set] or words divided by |")
            );
        }
        let (width, is_least) = spec.strip_suffix('+').map_or((spec, false), |width| (width, true));
        if !width.is_empty() && width.bytes().all(|b| b.is_ascii_digit()) {
            return match width.parse() {
                Ok(width @ 1..=64) if is_least => Ok(FieldKind::AtLeast(width)),
                Ok(width @ 1..=64) => Ok(FieldKind::Width(width)),
                _ => Err(self.error(at, format!("a field holds 1 to 64 digits, not {spec}"))),
            };
        }
        if let Some((_, kind)) = NAMES.iter().find(|(name, _)| *name == spec) {
            return Ok(kind.clone());
        }
        if spec.starts_with('[') {
            return self.set(spec, at);
        }
        let words = split_words(spec);
        if words.len() > 1 {
            if let Some(empty) = words.iter().position(String::is_empty) {
                return Err(self.error(
                    at,
                    format!("word {} of '{spec}' is empty; put the field in <...> if it may be absent", empty + 1),
                ));
            }
            let mut unique = words.clone();
            unique.sort();
            unique.dedup();
            if unique.len() < words.len() {
                return Err(self.error(at, format!("'{spec}' gives a word twice")));
            }
            return Ok(FieldKind::Choice(words));
        }
        let digits = spec.trim_end_matches('d');
        if digits.len() < spec.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.error(at, format!("write ':{digits}' for exactly {digits} digits")));
        }
        let near = NAMES.iter().map(|(name, _)| *name).min_by_key(|name| distance(name, spec)).unwrap_or("word");
        let hint = if distance(near, spec) <= 2 { format!("did you mean '{near}'? ") } else { String::new() };
        let what = format!(
            "'{spec}' is not a kind of value: {hint}use a number of digits, int, float, word, letters, text, well, duration, guid, [set], [set]+ or words divided by |; text that is always there stands outside the braces"
        );
        Err(self.error(at, what))
    }

    fn set(&self, spec: &str, at: usize) -> Result<FieldKind> {
        let (inside, repeat) = match spec.strip_suffix("]+") {
            Some(inside) => (inside, true),
            None => match spec.strip_suffix(']') {
                Some(inside) => (inside, false),
                None => return Err(self.error(at, "a set is written [A-H] for one character, [A-H]+ for several")),
            },
        };
        let inside = inside.strip_prefix('[').unwrap_or(inside);
        let (inside, negated) = match inside.strip_prefix('^') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let mut chars = inside.chars().peekable();
        let mut ranges = Vec::new();
        while let Some(c) = chars.next() {
            if matches!(c, '[' | ']') {
                let what = format!("'{c}' in a set is written \\{c}; a field has one set, [A-H] or [A-H]+");
                return Err(self.error(at, what));
            }
            let from = if c == '\\' { chars.next().unwrap_or(c) } else { c };
            let mut to = from;
            if chars.peek() == Some(&'-') {
                let mut ahead = chars.clone();
                ahead.next();
                if let Some(end) = ahead.next() {
                    chars = ahead;
                    to = if end == '\\' { chars.next().unwrap_or(end) } else { end };
                }
            }
            if to < from {
                return Err(self.error(at, format!("the range {from}-{to} runs backwards")));
            }
            ranges.push((from, to));
        }
        if ranges.is_empty() {
            return Err(self.error(at, "the set is empty; write [A-H]"));
        }
        Ok(FieldKind::Set { ranges, negated, repeat })
    }
}

fn split_words(spec: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = spec.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            ('|', _) => words.push(String::new()),
            ('\\', Some(word)) => word.extend(chars.next()),
            (_, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    words
}

/// Number of edits between two short words; long ones are just different.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(32).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The characters whose runs a field takes whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Digit,
    Letter,
    Alphanumeric,
    /// No run to cut: single characters, given words, any text.
    Free,
}

impl Class {
    pub(super) fn of(kind: &FieldKind) -> Self {
        match kind {
            FieldKind::Digits | FieldKind::Width(_) | FieldKind::AtLeast(_) | FieldKind::Int | FieldKind::Float => {
                Self::Digit
            }
            FieldKind::Letters => Self::Letter,
            FieldKind::Word | FieldKind::Well | FieldKind::Duration | FieldKind::Guid => Self::Alphanumeric,
            FieldKind::Text | FieldKind::Set { .. } | FieldKind::Choice(_) => Self::Free,
        }
    }

    /// Bytes of characters beyond ASCII count as letters.
    pub(super) fn holds(self, byte: u8) -> bool {
        let letter = byte.is_ascii_alphabetic() || byte >= 0x80;
        match self {
            Self::Digit => byte.is_ascii_digit(),
            Self::Letter => letter,
            Self::Alphanumeric => letter || byte.is_ascii_digit(),
            Self::Free => false,
        }
    }

    fn meets(self, other: Self) -> bool {
        use Class::{Alphanumeric, Digit, Free, Letter};
        match (self, other) {
            (Free, _) | (_, Free) => false,
            (Alphanumeric, _) | (_, Alphanumeric) => true,
            (Digit, Digit) | (Letter, Letter) => true,
            (Digit, Letter) | (Letter, Digit) => false,
        }
    }
}

/// Whether a value's length is free.
fn is_elastic(kind: &FieldKind) -> bool {
    !matches!(kind, FieldKind::Width(_) | FieldKind::Guid | FieldKind::Choice(_) | FieldKind::Set { repeat: false, .. })
}

/// Decides where a value must be a whole run, and refuses neighbours that nothing tells apart.
fn set_bounds(text: &str, steps: &mut [Step], places: &[usize], slots: &[Slot]) -> Result<()> {
    let count = steps.len();
    // The steps that may come right after each step; `count` stands for the end of the pattern.
    let mut follow: Vec<Vec<usize>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut reached = Vec::new();
        let mut queue = vec![i + 1];
        while let Some(next) = queue.pop() {
            if let Some(Step::Optional { end }) = steps.get(next) {
                queue.extend([next + 1, *end]);
            } else if !reached.contains(&next) {
                reached.push(next.min(count));
            }
        }
        follow.push(reached);
    }
    let kind_of = |step: &Step| match step {
        Step::Value { slot, .. } => slots.get(*slot).map(|s| s.kind.clone()),
        _ => None,
    };
    let mut bounds = Vec::new();
    for i in 0..count {
        let Some(kind) = kind_of(&steps[i]) else { continue };
        let class = Class::of(&kind);
        // Whether a neighbour may go on with a run of this class. A wildcard is no reason to cut a run,
        // but next to a field of fixed length it says that the run goes on.
        let continues = |step: Option<&Step>, edge: fn(&str) -> Option<char>| match step {
            // Given words say where they end, so only the pattern's own ends could cut one.
            Some(Step::Literal(_)) if class == Class::Free => true,
            Some(Step::Literal(literal)) => {
                edge(literal).is_some_and(|c| class.holds(if c.is_ascii() { c as u8 } else { 0x80 }))
            }
            Some(Step::AnyChar) => true,
            Some(Step::Star { .. }) => !is_elastic(&kind),
            Some(value @ Step::Value { .. }) => kind_of(value).is_some_and(|other| match other {
                FieldKind::Text => !is_elastic(&kind),
                FieldKind::Set { .. } | FieldKind::Choice(_) => true,
                other => class.meets(Class::of(&other)),
            }),
            _ => false,
        };
        let after = !follow[i].iter().any(|&j| continues(steps.get(j), |l| l.chars().next()));
        let mut before = true;
        for (j, reached) in follow.iter().enumerate() {
            if !matches!(steps[j], Step::Optional { .. }) && reached.contains(&i) {
                before &= !continues(steps.get(j), |l| l.chars().next_back());
            }
        }
        bounds.push((i, before, after));
        for &j in &follow[i] {
            let Some(step) = steps.get(j) else { continue };
            let place = places.get(j).copied().unwrap_or(0);
            match (step, kind_of(step)) {
                (Step::Star { .. }, _) if kind == FieldKind::Text => {
                    return Err(mistake(
                        text,
                        place,
                        "nothing says where the text before '*' ends; put something between them or leave '*' out",
                    ));
                }
                (_, Some(FieldKind::Text)) if kind == FieldKind::Text => {
                    return Err(mistake(
                        text,
                        place,
                        "nothing says where the text before this field ends; put something between them",
                    ));
                }
                (_, Some(next)) if is_elastic(&kind) && is_elastic(&next) && class.meets(Class::of(&next)) => {
                    let what = "nothing says where the field before ends and this one begins; give a width, such as {t:3}{z:4}";
                    return Err(mistake(text, place, what));
                }
                _ => {}
            }
        }
    }
    for (j, reached) in follow.iter().enumerate() {
        if matches!(steps[j], Step::Star { .. }) {
            for &i in reached {
                let place = places.get(i).copied().unwrap_or(0);
                if steps.get(i).and_then(kind_of) == Some(FieldKind::Text) {
                    return Err(mistake(
                        text,
                        place,
                        "nothing says where '*' ends and this text begins; leave '*' out",
                    ));
                }
            }
        }
    }
    for (i, is_before, is_after) in bounds {
        if let Some(Step::Value { before, after, .. }) = steps.get_mut(i) {
            (*before, *after) = (is_before, is_after);
        }
    }
    Ok(())
}
