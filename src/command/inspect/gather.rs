//! From a survey to what is shown of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::findings::*;
use super::next::Next;
use super::sample::sample;
use crate::array::Array;
use crate::axis::{Calibration, Provenance};
use crate::block::size_bytes;
use crate::cli::{InspectArgs, RunArgs};
use crate::command::planning::storage;
use crate::command::resources::Resources;
use crate::command::survey::{Naming, Origin, Survey};
use crate::command::{calibration, presets};
use crate::draw::presence::{MapAxis, Presence, State};
use crate::error::Error;
use crate::grid::Grid;
use crate::pattern::{Arrangement, FaultKind, FieldAxis, Role};
use crate::report::count;
use crate::sink::Spec;
use crate::sink::zarr::ZarrSink;
use crate::source::headers::describe;
use crate::source::headers::name_of;
use crate::stack::Stack;

/// Files that the next command leaves out by name; with more of them the user chooses.
const MOST_EXCLUDED: usize = 6;
/// Lines of examples under a fault.
const SHOWN: usize = 10;

/// Everything that is to be said of one array.
///
/// # Errors
/// `Usage` if flags contradict what is there. Faults of the files are no errors.
pub(super) fn findings(args: &InspectArgs, value: Option<String>, survey: &Survey) -> Result<Findings> {
    let opened = !args.names_only;
    calibration::from_flags(&args.names.voxel_size, args.names.time_step.as_deref())?;
    let headers = &survey.headers;
    let path = |file: u32| survey.paths.get(file as usize).map_or(String::new(), |p| p.display().to_string());
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    let mut fault = |kind, text: String| faults.push(FaultFound { kind, text });

    let (stack, odd) = match opened.then(|| survey.fitting(&args.names)) {
        Some(Ok((stack, odd))) => (Some(Arc::new(stack)), odd),
        Some(Err(reason)) => {
            fault("no-array", format!("no array: {reason}"));
            (None, Vec::new())
        }
        None => {
            if let Naming::Unknown(reason) = &survey.naming {
                fault("no-array", format!("no array: {reason}"));
            }
            (None, Vec::new())
        }
    };
    let arrangement = match &survey.naming {
        Naming::Names { arrangement, .. } => Some(arrangement.as_ref()),
        _ => None,
    };
    if let Naming::Names { arrangement, names, .. } = &survey.naming {
        for found in arrangement.faults(names) {
            let kind = match found.kind {
                FaultKind::Missing => "holes",
                FaultKind::Duplicate => "duplicates",
                FaultKind::Conflict => "conflict",
                FaultKind::Unmatched => "unmatched",
            };
            fault(kind, found.text);
        }
        notes.extend(arrangement.notes.iter().map(|text| NoteFound { text: text.clone(), files: 0 }));
    }
    let mut absent_members = Vec::new();
    if let Naming::Set { set, members, .. } = &survey.naming {
        absent_members = set.files.iter().zip(members).filter(|(_, m)| m.is_none()).map(|(f, _)| f.clone()).collect();
        if !absent_members.is_empty() {
            let n = absent_members.len();
            let head = format!("{n} of {} files of the data set are not there", set.files.len());
            fault("holes", listed(head, n, absent_members.iter().cloned()));
        }
    }
    let unreadable = Listed::new(
        headers.broken.len(),
        headers.broken.iter().map(|(file, e)| {
            let place = format!("{}: ", path(*file));
            let reason = e.to_string();
            let source = std::error::Error::source(e).map_or(String::new(), |s| format!(": {s}"));
            let reason = format!("{reason}{source}");
            FileFault { file: path(*file), reason: reason.strip_prefix(&place).unwrap_or(&reason).to_owned() }
        }),
    );
    if unreadable.count > 0 {
        let head = format!("{} cannot be read", count(unreadable.count, "file"));
        fault(
            "unreadable",
            listed(head, headers.broken.len(), unreadable.first.iter().map(|f| format!("{}: {}", f.file, f.reason))),
        );
    }
    let main = headers.main_kind();
    let odd_files = Listed::new(
        odd.len(),
        odd.iter().map(|&file| FileFault {
            file: path(file),
            reason: headers.info(file).map_or(String::new(), |info| differs(info, main.map(|k| &k.info))),
        }),
    );
    if odd_files.count > 0 {
        let head = format!(
            "{} unlike the others",
            if odd.len() == 1 { "1 file is".into() } else { format!("{} files are", odd.len()) }
        );
        fault("odd", listed(head, odd.len(), odd_files.first.iter().map(|f| format!("{}: {}", f.file, f.reason))));
    }
    notes.extend(headers.notes.iter().map(|(text, files)| NoteFound { text: text.clone(), files: *files }));
    if let Some(misfit) = stack.as_ref().and_then(|s| crate::sink::zarr::misfit(s.axes())) {
        notes.push(NoteFound { text: misfit, files: 0 });
    }
    let kinds: Vec<KindFound> = {
        let mut kinds: Vec<_> = headers.kinds.iter().collect();
        kinds.sort_by_key(|k| std::cmp::Reverse(k.n_files));
        kinds
            .iter()
            .map(|k| KindFound {
                files: k.n_files,
                axes: k.info.axes.iter().map(|a| a.name.clone()).collect(),
                shape: k.info.shape(),
                dtype: k.info.dtype.to_string(),
                bytes: size_bytes(&k.info.shape(), k.info.dtype),
                storage: k.info.storage.clone(),
                like: path(k.first),
            })
            .collect()
    };
    let has_holes = stack.as_ref().is_some_and(|s| s.layout().n_holes() > 0) || !absent_members.is_empty();
    let is_faulty = !faults.is_empty() || has_holes;
    let presence = arrangement.filter(|_| is_faulty || args.svg.is_some()).and_then(|a| presence(a, survey, &odd));
    let holes = match arrangement {
        Some(a) => Listed::new(a.holes.count as usize, a.holes.iter().map(|cell| a.position(cell))),
        None => Listed::new(absent_members.len(), absent_members.iter().cloned()),
    };
    let duplicates = arrangement.map_or(Listed::new(0, std::iter::empty()), |a| {
        let found = a.duplicates.iter().map(|d| DuplicateFound {
            position: a.position(d.cell),
            files: d.names.iter().map(|&f| path(f)).collect(),
        });
        Listed::new(a.duplicates.len(), found)
    });
    let unmatched: &[u32] = arrangement.map_or(&[], |a| &a.unmatched);
    Ok(Findings {
        value,
        files: Files {
            count: survey.paths.len() as u64,
            bytes: headers.file_bytes,
            left_out: survey.n_left_out,
            opened,
        },
        pattern: pattern(survey),
        fields: arrangement.map_or_else(Vec::new, fields),
        array: stack.as_ref().map(|s| ArrayFound {
            axes: s.axes().to_vec(),
            shape: s.shape(),
            dtype: s.dtype().to_string(),
            bytes: size_bytes(&s.shape(), s.dtype()),
            files: s.layout().n_parts(),
        }),
        calibration: stack.as_ref().map_or_else(Vec::new, |s| calibrations(s, arrangement, survey)),
        storage: stack.as_ref().map(|s| foretold(args, s)).transpose()?,
        positions: arrangement.map_or(0, |a| a.holes.total),
        holes,
        duplicates,
        unmatched: Listed::new(unmatched.len(), unmatched.iter().map(|&f| path(f))),
        series: main.map_or_else(Vec::new, |k| k.info.series.clone()),
        command: command(args, survey, unmatched, &odd, has_holes)?,
        kinds,
        unreadable,
        odd: odd_files,
        notes,
        faults,
        presence,
    })
}

/// A line, then examples.
fn listed(head: String, n: usize, examples: impl Iterator<Item = String>) -> String {
    let mut text = head;
    for example in examples.take(SHOWN) {
        text.push_str(&format!("\n  {}", example.replace('\n', "\n  ")));
    }
    if n > SHOWN {
        text.push_str(&format!("\n  and {} more", n - SHOWN));
    }
    text
}

/// In which way a file is unlike the others.
fn differs(info: &crate::source::Info, main: Option<&crate::source::Info>) -> String {
    let Some(main) = main else { return describe(info) };
    let names = |i: &crate::source::Info| i.axes.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    let mut ways = Vec::new();
    if names(info) == names(main) {
        for (a, b) in info.axes.iter().zip(&main.axes).filter(|(a, b)| a.length != b.length) {
            let short = a.name == "z" && a.length < b.length;
            let hint = if short { " (acquisition cut short?)" } else { "" };
            ways.push(format!("{} is {}, the others have {}{hint}", a.name, a.length, b.length));
        }
        if info.dtype != main.dtype {
            ways.push(format!("{}, the others are {}", info.dtype, main.dtype));
        }
    }
    if ways.is_empty() { describe(info) } else { ways.join("; ") }
}

fn pattern(survey: &Survey) -> Option<PatternFound> {
    let Naming::Names { pattern, why, from, .. } = &survey.naming else { return None };
    let (from, preset) = match from {
        Origin::Given => ("given", None),
        Origin::Preset(name) => ("preset", Some(name.clone())),
        Origin::Inferred => ("inferred", None),
    };
    Some(PatternFound { text: pattern.to_string(), regex: pattern.is_regex(), from, preset, why: why.clone() })
}

fn fields(arrangement: &Arrangement) -> Vec<FieldFound> {
    let found = arrangement.fields.iter().map(|field| {
        let (role, axes) = match &field.role {
            Role::Axis(axis) => ("axis", vec![axis.clone()]),
            Role::Coordinate(axis) => ("coordinate", vec![axis.clone()]),
            Role::Constant => ("constant", Vec::new()),
            Role::Follows(axes) => ("follows", axes.clone()),
            Role::Unaccounted => ("unaccounted", Vec::new()),
        };
        FieldFound {
            name: field.name.clone(),
            role,
            axes,
            count: field.count,
            first: field.first.clone(),
            last: field.last.clone(),
            step: field.step,
            unit: field.unit.clone(),
            missing: field.missing.clone(),
        }
    });
    found.collect()
}

/// Steps of the axes, who states them and who says otherwise.
fn calibrations(stack: &Stack, arrangement: Option<&Arrangement>, survey: &Survey) -> Vec<CalibrationFound> {
    let files = survey.headers.main_kind();
    let mut found = Vec::new();
    for axis in stack.axes() {
        let by_name = arrangement.and_then(|a| a.axes.iter().find(|f| f.name == axis.name));
        let spacing = by_name.and_then(spacing);
        let (chosen, deviation) = match (&axis.calibration, &spacing) {
            (Some(c), Some((_, deviation))) if c.from == Provenance::Name => (c.clone(), Some(*deviation)),
            (Some(c), _) => (c.clone(), None),
            // Uneven, so no calibration of the array, but worth to be told.
            (None, Some((mean, deviation))) if axis.kind == crate::axis::AxisKind::Time => {
                (mean.clone(), Some(*deviation))
            }
            _ => continue,
        };
        let differs = |other: &Calibration| !calibration::agree(&chosen, other);
        let mut disagreements = Vec::new();
        let in_files = files.and_then(|k| k.info.axes.iter().find(|a| a.name == axis.name)?.calibration.as_ref());
        if let Some(other) = in_files.filter(|c| c.from != chosen.from && differs(c)) {
            disagreements.push(format!("{} in {}", calibration::words(other), calibration::origin(other.from)));
        }
        if let Some((other, _)) = spacing.filter(|(c, _)| chosen.from != Provenance::Name && differs(c)) {
            disagreements.push(format!("{} in the names", calibration::words(&other)));
        }
        for d in survey.headers.disagreements.iter().filter(|d| d.axis == axis.name) {
            let says = d.calibration.as_ref().map_or("nothing".into(), calibration::words);
            let like = survey.paths.get(d.file as usize).map_or(String::new(), |p| name_of(p));
            disagreements.push(format!("{says} in {}, such as {like}", count(d.n_files, "file")));
        }
        found.push(CalibrationFound {
            axis: axis.name.clone(),
            step: chosen.step,
            unit: chosen.unit.clone(),
            from: chosen.from,
            deviation,
            disagreements,
        });
    }
    found
}

/// Mean step of the values in the names, and the largest deviation from it.
fn spacing(axis: &FieldAxis) -> Option<(Calibration, f64)> {
    let (values, step) = (axis.coordinates.as_ref()?, axis.mean_step?);
    let first = *values.first()?;
    let off = values.iter().enumerate().map(|(i, v)| (v - first - step * i as f64).abs());
    let deviation = off.filter(|d| d.is_finite()).fold(0.0, f64::max);
    Some((Calibration { step, unit: axis.unit.clone(), from: Provenance::Name }, deviation))
}

/// How stitch would store the array, and what that would take.
fn foretold(args: &InspectArgs, stack: &Arc<Stack>) -> Result<StorageFound> {
    let options = storage(&args.storage, false, &**stack, stack.layout().unit())?;
    let spec = Spec {
        axes: stack.axes().to_vec(),
        dtype: stack.dtype(),
        fill: stack.fill_bytes(),
        provenance: serde_json::Value::Null,
    };
    let sink = ZarrSink::new(Path::new("data.zarr"), &spec, &options)?;
    let run = RunArgs { memory: args.memory, threads: args.threads, ..RunArgs::default() };
    let budget = Resources::new(&run);
    let (mut amplification, mut peak, mut refused) = (None, None, None);
    let mut threads = budget.threads;
    match budget.plan(&**stack, &[&sink]) {
        Ok(plan) => {
            let stop = std::sync::atomic::AtomicBool::new(false);
            let terms = budget.terms(&plan, &**stack, &[&sink], &stop);
            threads = terms.workers();
            amplification = Some(plan.amplification());
            peak = Some(Resources::predicted_bytes(&**stack, &[&sink], &terms));
        }
        Err(Error::Limit(text)) => refused = Some(text),
        Err(other) => return Err(other.into()),
    }
    let shape = stack.shape();
    Ok(StorageFound {
        zarr_format: args.storage.zarr_format,
        chunk_bytes: size_bytes(&options.chunks, stack.dtype()),
        n_chunks: Grid::new(&shape, &options.chunks).len(),
        shard_bytes: options.shards.as_ref().map(|s| size_bytes(s, stack.dtype())),
        codec: options.codec.to_string(),
        output_files: sink.n_objects(),
        read_amplification: amplification,
        threads,
        memory_limit_bytes: budget.limit.bytes,
        predicted_peak_bytes: peak,
        sample: (!args.no_sample && refused.is_none())
            .then(|| sample(stack, &options.chunks, &options.codec))
            .flatten(),
        refused,
        chunks: options.chunks,
        shards: options.shards,
    })
}

/// Which positions have a file.
fn presence(arrangement: &Arrangement, survey: &Survey, odd: &[u32]) -> Option<Presence> {
    let axes: Vec<MapAxis> =
        arrangement.axes.iter().map(|a| MapAxis { name: a.name.clone(), labels: a.labels.clone() }).collect();
    let mut is_odd: Vec<u32> = odd.iter().copied().chain(survey.headers.broken.iter().map(|b| b.0)).collect();
    is_odd.sort_unstable();
    let state = |file: &u32| if is_odd.binary_search(file).is_ok() { State::Odd } else { State::Present };
    let cells: Vec<(u64, State)> = arrangement.cells.iter().map(|(cell, file)| (*cell, state(file))).collect();
    Presence::new(&axes, &cells)
}

/// The command to run next.
fn command(
    args: &InspectArgs,
    survey: &Survey,
    unmatched: &[u32],
    odd: &[u32],
    has_holes: bool,
) -> Result<Vec<String>> {
    let mut args = args.clone();
    let (mut pattern, mut preset) = (None, None);
    if let Naming::Names { pattern: found, from, .. } = &survey.naming {
        pattern = Some((found.to_string(), found.is_regex()));
        if let Origin::Preset(name) = from {
            preset = args.names.preset.clone();
            if preset.is_none() {
                let own = presets::own(args.names.config.as_deref())?;
                args.names.layout.extend(presets::named(name, &own)?.layout.clone());
                args.names.config = None;
            }
        }
    }
    let mut strangers: Vec<u32> = unmatched.iter().chain(odd).copied().collect();
    strangers.extend(survey.headers.broken.iter().map(|b| b.0).filter(|f| !unmatched.contains(f)));
    strangers.sort_unstable();
    let exclude: Vec<String> = strangers
        .iter()
        .take(MOST_EXCLUDED)
        .filter_map(|f| survey.paths.get(*f as usize))
        .map(|p| name_of(p))
        .collect();
    let exclude = if strangers.len() > MOST_EXCLUDED { &[] } else { exclude.as_slice() };
    let next = Next { args: &args, pattern, preset, paths: &survey.paths, exclude, fill: has_holes };
    Ok(next.words())
}
