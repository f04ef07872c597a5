//! From what was typed to what it means: flags become a [`Request`], and what opening it came to is told.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::progress::HeaderProgress;
use super::{presets, tell, voice};
use crate::array::{Array, Losses};
use crate::axis::{Axis, Calibration};
use crate::bytes::{self, Seen};
use crate::cli::{InputArgs, NameArgs, RunArgs};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit, processors};
use crate::layout::LayoutOptions;
use crate::open::{Found, Missing, Names, Naming, Opened, Origin, Request, Survey};
use crate::pattern::{InferOptions, Pattern, TileOrder};
use crate::provenance::{Input, Ledger};
use crate::sink;
use crate::source::headers::GroupedNote;
use crate::source::scan::Inputs;
use crate::source::{OpenOptions, Unpack, zarr};
use crate::stack::Stack;
use crate::unit::{self, Quantity};

/// What the flags ask to be opened.
///
/// # Errors
/// `Usage` if a flag cannot be read; `Io` if a file of presets cannot.
pub(super) fn request(
    input: &InputArgs,
    names: &NameArgs,
    memory: Option<Bytes>,
    threads: Option<u16>,
) -> Result<Request, Error> {
    Ok(Request {
        inputs: Inputs {
            named: input.inputs.clone(),
            files_from: input.files_from.clone(),
            include: input.include.clone(),
            exclude: input.exclude.clone(),
        },
        names: self::names(names)?,
        layout: LayoutOptions {
            axes: names.axes.clone(),
            calibrations: calibrations(&names.voxel_size, names.time_step.as_deref())?,
            pages: names.pages.is_some(),
            ..LayoutOptions::default()
        },
        labels: names.channel_names.iter().map(|l| ("c".to_string(), l.clone())).collect(),
        source: OpenOptions {
            variable: names.variable.clone(),
            reader: names.reader.clone(),
            unpack: unpack(names)?,
            series: names.series,
            level: names.level,
            pages: names.pages.clone(),
            skip_bad: input.skip_bad,
            follow: input.follow,
            ..OpenOptions::default()
        },
        missing: names.missing,
        fill: names.fill_value.clone(),
        threads: threads.map_or_else(processors, usize::from),
        limit_bytes: Some(Limit::resolve(memory).bytes),
        ..Request::default()
    })
}

/// How packed values are unpacked, if they are to be.
fn unpack(names: &NameArgs) -> Result<Option<Unpack>, Error> {
    let value = match (&names.fill_value, names.missing) {
        (Some(text), Missing::Fill) => {
            text.parse().map_err(|_| Error::usage(format!("--fill-value '{text}' is no number")))?
        }
        _ => f64::NAN,
    };
    let hole = (names.missing != Missing::Error).then_some(value);
    Ok(names.unpack.then_some(Unpack { hole }))
}

fn names(flags: &NameArgs) -> Result<Names, Error> {
    let mut infer = InferOptions { presets: presets::own(flags.config.as_deref())?, ..InferOptions::default() };
    for text in &flags.layout {
        infer.arrange.layout.push(TileOrder::parse(text).map_err(|e| e.at("--layout"))?);
    }
    let pattern = match (&flags.pattern, &flags.regex, &flags.preset) {
        (Some(text), ..) => Some(Pattern::parse(text)?),
        (_, Some(text), _) => Some(Pattern::regex(text)?),
        (.., Some(name)) => {
            let preset = presets::named(name, &infer.presets)?;
            infer.arrange.layout.extend(preset.layout()?);
            Some(preset.pattern()?)
        }
        _ => None,
    };
    Ok(Names { pattern, preset: flags.preset.clone(), infer })
}

/// Reads `--voxel-size` and `--time-step` into calibrations by axis.
fn calibrations(voxel_size: &[String], time_step: Option<&str>) -> Result<Vec<(String, Calibration)>, Error> {
    let mut found = Vec::new();
    for item in voxel_size {
        let (axis, size) = item.split_once('=').ok_or_else(|| {
            Error::usage(format!("--voxel-size '{item}' does not say which axis: write z=0.5um,y=104nm,x=104nm"))
        })?;
        let axis = axis.trim();
        if found.iter().any(|(known, _)| known == axis) {
            return Err(Error::usage(format!("--voxel-size {}: {axis} is named twice", voxel_size.join(","))));
        }
        let wanted = match axis {
            "z" | "y" | "x" => Some(Quantity::Length),
            "t" => Some(Quantity::Time),
            _ => None,
        };
        found.push((axis.to_string(), of_kind(size, wanted).map_err(|e| e.at("--voxel-size"))?));
    }
    if let Some(time) = time_step {
        found.push(("t".to_string(), of_kind(time, Some(Quantity::Time)).map_err(|e| e.at("--time-step"))?));
    }
    Ok(found)
}

/// Reads a size, whose unit must measure what is `wanted`.
fn of_kind(text: &str, wanted: Option<Quantity>) -> Result<Calibration, Error> {
    let size = unit::quantity(text)?;
    let kind = size.unit.as_deref().and_then(unit::factor).map_or(Quantity::Other, |f| f.1);
    let (is, example) = match wanted {
        Some(wanted) if wanted == kind => return Ok(size),
        None | Some(Quantity::Other) => return Ok(size),
        Some(Quantity::Length) => ("length", "0.5um"),
        Some(Quantity::Time) => ("time", "200ms or 1min"),
    };
    Err(Error::usage(format!("'{}' is no {is}: write one such as {example}", text.trim())))
}

/// What names and headers say, telling how far reading them is.
///
/// # Errors
/// As [`Request::survey`].
pub(super) fn survey(request: &Request, quiet: bool) -> Result<Vec<Survey>, Error> {
    let mut progress = HeaderProgress::new(quiet);
    request.survey(&mut |done, of| progress.reach(done, of))
}

/// The arrays that `request` names, after telling what was assumed and set aside.
///
/// # Errors
/// As [`Request::open`]. Every array is checked before the first one is given.
pub(super) fn open(request: &Request, run: &RunArgs) -> Result<Vec<Opened>, Error> {
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    let mut opened = Ok(());
    let request = &Request { known: run.known().cloned(), ..request.clone() };
    for survey in survey(request, run.quiet)? {
        // Of arrays by the value of a field all names are read alike.
        if all.is_empty() {
            tell_pattern(&survey);
        }
        let value = request.by.iter().zip(survey.value.clone()).map(|(field, value)| format!("{field} {value}")).next();
        let known = survey.notes(None);
        match survey.open(request) {
            Ok(one) => {
                GroupedNote::merge(&mut notes, &one.notes);
                all.push(one);
            }
            Err(error) => {
                GroupedNote::merge(&mut notes, &known);
                opened = Err(value.into_iter().fold(error, Error::at));
                break;
            }
        }
    }
    notes.iter().for_each(|note| tell(format_args!("note: {note}")));
    opened.map(|()| all)
}

/// What is chosen of the array, beside what is `selected`. One file alone keeps its own axes: those of length 1 that
/// were added to make the usual five go.
pub(super) fn own_axes(stack: &Stack, is_single: bool, names: &NameArgs, selected: &[String]) -> String {
    let mut parts: Vec<String> = selected.to_vec();
    let asked = names.axes.iter().flatten();
    let chosen = parts.iter().flat_map(|text| text.split(',')).filter_map(|part| part.split(['=', '@']).next());
    let named: Vec<String> = asked.map(String::as_str).chain(chosen).map(|name| name.trim().to_owned()).collect();
    let own: Vec<usize> = stack.layout().file_axes().iter().flatten().copied().collect();
    for (i, axis) in stack.axes().iter().enumerate() {
        if is_single && axis.length == 1 && !own.contains(&i) && !named.contains(&axis.name) {
            parts.push(format!("{}=0", axis.name));
        }
    }
    parts.join(",")
}

/// Tells the pattern, unless it was given; why it is this one, if reasons are asked for.
fn tell_pattern(survey: &Survey) {
    let Naming::Names { pattern, why, from, .. } = &survey.naming else { return };
    if *from == Origin::Given {
        return;
    }
    tell(format_args!("pattern '{pattern}'"));
    if voice::is_verbose() {
        why.iter().for_each(|why| tell(format_args!("  {why}")));
    }
}

/// Tells what could not be read while all else was.
pub(super) fn tell_losses(losses: &Losses) {
    const SHOWN: usize = 20;
    let texts = losses.texts();
    texts.iter().take(SHOWN).for_each(|text| tell(format_args!("lost: {text}")));
    if let Some(more) = texts.len().checked_sub(SHOWN + 1) {
        tell(format_args!("lost: and {} more", more + 1));
    }
}

/// Origin of an output: program, command line, pattern and notes.
pub(super) fn provenance(opened: &Opened, run: &RunArgs) -> serde_json::Value {
    let mut origin = serde_json::json!({
        "program": concat!("stackctl ", env!("CARGO_PKG_VERSION")),
        "command": command(run, opened),
        "pattern": opened.pattern,
        "notes": opened.notes,
        "n_inputs": opened.stack.paths().len(),
        "n_elements": crate::grid::n_elements(&opened.stack.shape()),
    });
    if !opened.elsewhere.is_empty() {
        origin["elsewhere"] = serde_json::json!(opened.elsewhere);
    }
    origin
}

/// Words of a command line that are recorded; one of so many may have had more.
pub(super) const MOST_WORDS: usize = 64;

/// The command line, with the pattern that was found in names; of many files that it names, which are recorded beside it,
/// three dots are left.
fn command(run: &RunArgs, opened: &Opened) -> Vec<String> {
    let mut words = run.command();
    if let Some(found) = &opened.found {
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        words.splice(end..end, flags(found));
    }
    if words.len() > MOST_WORDS {
        let files: std::collections::HashSet<&Path> = opened.stack.paths().iter().map(PathBuf::as_path).collect();
        words.iter_mut().filter(|word| files.contains(Path::new(word.as_str()))).for_each(|word| *word = "...".into());
        words.dedup_by(|a, b| a == "..." && a == b);
    }
    words.truncate(MOST_WORDS);
    words
}

/// The words of a command that read names as they were read.
pub(super) fn flags(found: &Found) -> Vec<String> {
    let pattern = if found.is_regex { "--regex" } else { "--pattern" };
    let layout = found.layout.iter().flat_map(|layout| ["--layout", layout]);
    [pattern, &found.pattern].into_iter().chain(layout).map(str::to_owned).collect()
}

/// What was said of names or found in them, as provenance records it: what was left open is left out.
pub(super) fn recorded(names: &NameArgs, found: Option<&Found>) -> Value {
    let mut names = names.clone();
    if let Some(Found { pattern, is_regex, layout }) = found.cloned() {
        *(if is_regex { &mut names.regex } else { &mut names.pattern }) = Some(pattern);
        names.layout.extend(layout);
    }
    let mut value = serde_json::to_value(names).unwrap_or_default();
    if let Value::Object(entries) = &mut value {
        entries.retain(|_, v| !v.is_null() && v.as_array().is_none_or(|list| !list.is_empty()));
    }
    value
}

/// The same array, whose files are to stay what they are now or, where a share is done of a plan, were when that was made.
///
/// # Errors
/// `Io` if one cannot be looked at.
pub(super) fn watched(stack: Stack, run: &RunArgs) -> Result<Stack> {
    let watch = stack.watch().clone();
    let of_plan = run.known().filter(|_| run.share.is_some()).and_then(|known| known.as_before(watch.clone()));
    let threads = run.threads.map_or_else(processors, usize::from);
    let watch = of_plan.map_or_else(|| watch.looked(threads), Ok)?;
    run.known().filter(|_| run.reads_nothing()).map_or(Ok(()), |known| known.keep_states(&watch))?;
    Ok(stack.watched(watch))
}

/// Whether what is read of each input is summed up: where the output, or the Zarr it lies in, has a place for it.
pub(super) fn sums_inputs(output: &Path, args: &RunArgs) -> bool {
    !args.no_input_checksums && output.ancestors().any(crate::sink::is_zarr)
}

/// The inputs of a run that writes `output`, as they are now.
pub(super) fn ledger(stack: &Stack, output: &Path) -> Ledger {
    Ledger::of(inputs_of(stack, output))
}

/// The files of `stack`, as they are now, seen from `output`.
pub(super) fn inputs_of(stack: &Stack, output: &Path) -> Vec<Input> {
    let folder = in_full(output).parent().map(Path::to_owned).unwrap_or_default();
    let lists = if stack.paths().len() > 1 { &LISTS[..] } else { &LISTS[..4] };
    let mut places = Places { folder, last: None };
    let input = |(file, path): (u32, &PathBuf)| {
        let n_elements = stack.n_elements_of(file);
        // Who does a share says nothing of them, and need not look.
        let Some(seen) = stack.watch().seen(file) else { return Input { n_elements, ..Input::default() } };
        let may_say = seen.is_folder || bytes::is_remote(path);
        let own = may_say.then(|| zarr::provenance(path).ok().flatten()).flatten();
        let provenance = own.map_or(Value::Null, |p| without(lists, p));
        let Seen { bytes, modified_unix_s, .. } = *seen;
        Input { path: places.of(path), bytes, modified_unix_s, n_elements, provenance, crc64nvme: None }
    };
    (0..).zip(stack.paths()).map(input).collect()
}

fn in_full(path: &Path) -> PathBuf {
    let is_url = bytes::is_remote(path);
    Some(path).filter(|_| !is_url).and_then(|path| std::path::absolute(path).ok()).unwrap_or_else(|| path.to_owned())
}

/// Paths as they are seen from `folder` if they lie there, else in full.
struct Places {
    folder: PathBuf,
    /// The folder that the last path began with, `/` behind it, and what is said for it.
    last: Option<(Vec<u8>, String)>,
}

impl Places {
    fn of(&mut self, path: &Path) -> String {
        let whole = path.as_os_str().as_encoded_bytes();
        let (parent, name) = whole.split_at(memchr::memrchr(b'/', whole).map_or(0, |at| at + 1));
        let is_known = self.last.as_ref().is_some_and(|last| last.0 == parent);
        if !is_known || matches!(name, b"" | b"." | b"..") {
            let place = self.found(path);
            let said = place.strip_suffix(&*String::from_utf8_lossy(name)).filter(|_| !name.is_empty());
            self.last = said.map(|said| (parent.to_owned(), said.to_owned()));
            return place;
        }
        let said = self.last.as_ref().map_or("", |last| &last.1);
        [said, &String::from_utf8_lossy(name)].concat()
    }

    fn found(&self, path: &Path) -> String {
        let whole = in_full(path);
        whole.strip_prefix(&self.folder).unwrap_or(&whole).to_string_lossy().into_owned()
    }
}

/// What is not kept of an input's own provenance, the last not where there are many inputs.
const LISTS: [&str; 5] = ["axes", "checksums", "inputs_file", "windows", "inputs"];

fn without(keys: &[&str], mut provenance: Value) -> Value {
    if let Value::Object(entries) = &mut provenance {
        keys.iter().for_each(|key| drop(entries.remove(*key)));
    }
    provenance
}

/// What elements of 64 bits become in `output` unless a type is asked for: ImageJ opens none, and OME-TIFF has floats alone.
pub(super) fn narrow(output: &Path) -> Option<DType> {
    match sink::extension(output).as_str() {
        _ if sink::is_ome_tiff(output) => Some(DType::Float64),
        "tif" | "tiff" | "btf" => Some(DType::Float32),
        _ => None,
    }
}

/// Numbers of the axes that `names`, given by `flag`, say by name or number; `all`, or none, are all.
pub(super) fn reduced_axes(flag: &str, names: &[String], axes: &[Axis]) -> Result<Vec<usize>, Error> {
    if names.is_empty() || matches!(names, [all] if all == "all" && crate::axis::position(axes, "all").is_none()) {
        return Ok((0..axes.len()).collect());
    }
    let mut numbers = Vec::new();
    for name in names {
        let number = crate::axis::meant(axes, name).or_else(|| {
            let n = name.parse::<i64>().ok()?;
            let n = if n < 0 { n + axes.len() as i64 } else { n };
            usize::try_from(n).ok().filter(|&n| n < axes.len())
        });
        let number = number.ok_or_else(|| {
            let known: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
            Error::usage(format!(
                "{flag} {name}: the array has axes {}, numbered 0 to {} or from -1 backwards",
                known.join(","),
                axes.len().saturating_sub(1)
            ))
        })?;
        if numbers.contains(&number) {
            return Err(Error::usage(format!("{flag} {name}: axis {} is named twice", axes[number].name)));
        }
        numbers.push(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_name_their_axis() {
        let found = calibrations(&["z=1um".into(), "x = 2nm".into()], Some("3s")).unwrap();
        assert_eq!(found.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["z", "x", "t"]);
        assert!(calibrations(&["z=1um".into(), "z=2um".into()], None).is_err());
        assert!(calibrations(&["1um".into()], None).unwrap_err().to_string().contains("which axis"));
        assert!(calibrations(&[], Some("1m")).unwrap_err().to_string().contains("'1m' is no time"));
        for wrong in ["z=5s", "x=1deg", "t=1um"] {
            assert_eq!(calibrations(&[wrong.into()], None).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert!(calibrations(&["angle=1deg".into(), "t=1min".into()], None).is_ok());
    }

    /// What is said of a path does not depend on those before it.
    #[test]
    fn places_are_those_of_each_path_alone() {
        let here = std::env::current_dir().unwrap();
        let paths = [
            "raw/a.tif",
            "raw/b.tif",
            "raw/",
            "raw/c",
            "raw/..",
            "raw/d",
            "e.tif",
            "f.tif",
            "/g/h.tif",
            "/g/i.tif",
            "./j",
        ];
        for folder in [here.clone(), here.join("raw"), "/g".into(), "/".into()] {
            let mut places = Places { folder: folder.clone(), last: None };
            for path in paths.map(Path::new) {
                let alone = Places { folder: folder.clone(), last: None }.of(path);
                assert_eq!(places.of(path), alone, "{} from {}", path.display(), folder.display());
            }
        }
    }
}
