//! From a survey to what is shown of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::findings::*;
use super::next::NextCommand;
use super::sample::{Sample, sample};
use super::watch;
use crate::array::Array;
use crate::axis::{Calibration, Provenance};
use crate::block::size_bytes;
use crate::cli::{InspectArgs, RunArgs};
use crate::command::planning::{fit_levels, no_image, storage};
use crate::command::resources::Resources;
use crate::command::space;
use crate::draw::presence::{MapAxis, PresenceMap, State};
use crate::error::Error;
use crate::exec::budget::processors;
use crate::grid::Grid;
use crate::open::{Naming, Origin, Request, Survey};
use crate::pattern::{Arrangement, FieldAxis, Role};
use crate::report::count;
use crate::sink::Spec;
use crate::sink::zarr::ZarrSink;
use crate::source::headers::name_of;
use crate::stack::Stack;
use crate::unit;

/// Files that the next command leaves out by name; with more of them the user chooses.
const MOST_EXCLUDED: usize = 6;

/// Everything that is to be said of one array.
///
/// # Errors
/// `Usage` if flags contradict what is there. Faults of the files are no errors.
pub(super) fn findings(args: &InspectArgs, request: &Request, survey: &Survey) -> Result<Findings> {
    let headers = &survey.headers;
    let fitting = (!request.names_only).then(|| survey.fitting(request));
    let mut faults = survey.obstacles(fitting.as_ref());
    let (stack, odd) = match fitting {
        Some(Ok((stack, odd))) => (Some(Arc::new(stack)), odd),
        _ => (None, Vec::new()),
    };
    let arrangement = survey.arrangement();
    let mut notes = survey.notes(stack.as_ref().map(|s| s.layout()));
    notes.extend(stack.as_ref().and_then(|s| no_image(s.axes())));
    let n_holes = stack.as_ref().map_or(0, |s| s.layout().n_holes());
    let has_holes = n_holes > 0 || !survey.members_missing().is_empty();
    let is_faulty = !faults.is_empty() || has_holes;
    let presence = arrangement.filter(|_| is_faulty || args.svg.is_some()).and_then(|a| presence(a, survey, &odd));
    let times = arrangement.into_iter().flat_map(|a| &a.axes);
    faults.extend(times.filter_map(|axis| watch::uneven(axis, args.time_tolerance / 100.0)));
    faults.extend(watch::sizes(survey));
    if let Some(stack) = stack.as_ref().filter(|_| args.pixels) {
        faults.extend(watch::frames(stack, args.threads.map_or_else(processors, usize::from))?);
    }
    let duplicates = arrangement.map_or(Listed::new(0, std::iter::empty()), |a| {
        let found = a.duplicates.iter().map(|d| DuplicateFound {
            position: a.position(d.cell),
            files: d.names.iter().map(|&f| survey.path(f)).collect(),
        });
        Listed::new(a.duplicates.len(), found)
    });
    let unmatched: &[u32] = arrangement.map_or(&[], |a| &a.unmatched);
    let unreadable = survey.unreadable().map(|(file, reason)| FileFault { file, reason });
    let odd_files = odd.iter().map(|&file| FileFault { file: survey.path(file), reason: survey.oddness(file) });
    Ok(Findings {
        value: survey.value.clone(),
        files: FileFindings {
            count: survey.paths.len() as u64,
            bytes: headers.file_bytes,
            left_out: survey.n_left_out,
            opened: !request.names_only,
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
        holes: holes(survey, stack.as_deref()),
        duplicates,
        unmatched: Listed::new(unmatched.len(), unmatched.iter().map(|&f| survey.path(f))),
        series: headers.main_kind().map_or_else(Vec::new, |k| k.info.series.clone()),
        command: command(args, request, survey, unmatched, &odd, has_holes),
        kinds: kinds(survey),
        unreadable: Listed::new(headers.broken.len(), unreadable),
        odd: Listed::new(odd.len(), odd_files),
        notes,
        faults,
        presence,
    })
}

/// Positions that no file covers: by names, members that are not there, and planes that files lack.
fn holes(survey: &Survey, stack: Option<&Stack>) -> Listed<String> {
    let by_name = survey.arrangement();
    let names = by_name.into_iter().flat_map(|a| a.holes.iter().map(|cell| a.position(cell)));
    let members = survey.members_missing();
    let planes = stack.into_iter().flat_map(|s| survey.absent_positions(s.layout()).map(|(_, place)| place));
    let n =
        by_name.map_or(0, |a| a.holes.count) + members.len() as u64 + stack.map_or(0, |s| survey.n_absent(s.layout()));
    Listed::new(n as usize, names.chain(members.iter().map(ToString::to_string)).chain(planes))
}

/// Files that look alike, the most frequent first.
fn kinds(survey: &Survey) -> Vec<KindFound> {
    let mut kinds: Vec<_> = survey.headers.kinds.iter().collect();
    kinds.sort_by_key(|k| std::cmp::Reverse(k.n_files));
    let found = kinds.iter().map(|k| KindFound {
        files: k.n_files,
        axes: k.info.axes.iter().map(|a| a.name.clone()).collect(),
        shape: k.info.shape(),
        dtype: k.info.dtype.to_string(),
        bytes: size_bytes(&k.info.shape(), k.info.dtype),
        storage: k.info.storage.clone(),
        levels: k.info.levels.clone(),
        like: survey.path(k.first),
    });
    found.collect()
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
        let by_name = arrangement.and_then(|a| a.axes.iter().find(|f| f.name == axis.name && f.len() == axis.length));
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
        let differs = |other: &Calibration| !unit::agree(&chosen, other);
        let mut disagreements = Vec::new();
        let in_files = files.and_then(|k| k.info.axes.iter().find(|a| a.name == axis.name)?.calibration.as_ref());
        if let Some(other) = in_files.filter(|c| c.from != chosen.from && differs(c)) {
            disagreements.push(format!("{} in {}", unit::words(other), other.from.words()));
        }
        if let Some((other, _)) = spacing.filter(|(c, _)| chosen.from != Provenance::Name && differs(c)) {
            disagreements.push(format!("{} in the names", unit::words(&other)));
        }
        for d in survey.headers.disagreements.iter().filter(|d| d.axis == axis.name) {
            let says = d.calibration.as_ref().map_or("nothing".into(), unit::words);
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
    let calibration = Calibration { step, unit: axis.unit.clone(), from: Provenance::Name };
    Some((calibration, crate::axis::mean_step(values).1))
}

/// How stitch would store the array, and what that would take.
fn foretold(args: &InspectArgs, stack: &Arc<Stack>) -> Result<StorageFound> {
    let run = RunArgs { memory: args.memory, threads: args.threads, ..RunArgs::default() };
    let budget = Resources::new(&run);
    let mut options = storage(&args.storage, false, false, &**stack, stack.layout().unit())?;
    fit_levels(&args.storage, &mut options, &**stack, budget.room(&**stack));
    let sink = ZarrSink::new(Path::new("data.zarr"), &Spec::of(&**stack), &options)?;
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
    let (shape, array) = (stack.shape(), Arc::clone(stack) as Arc<dyn Array>);
    let levels = sink.level_shapes();
    let sampled = || {
        let found = sample(&array, stack.layout().n_absent_elements(), &options.chunks, &options.codec)?;
        Some(Sample { output_bytes: space::scaled(found.output_bytes, &array, &levels), ..found })
    };
    Ok(StorageFound {
        zarr_format: args.storage.zarr_format.unwrap_or(3),
        chunk_bytes: size_bytes(&options.chunks, stack.dtype()),
        n_chunks: Grid::new(&shape, &options.chunks).len(),
        shard_bytes: options.shards.as_ref().map(|s| size_bytes(s, stack.dtype())),
        codec: options.codec.to_string(),
        output_files: sink.n_files() - sink.n_metadata_files(),
        read_amplification: amplification,
        threads,
        memory_limit_bytes: budget.limit.bytes,
        predicted_peak_bytes: peak,
        sample: (!args.no_sample && refused.is_none()).then(sampled).flatten(),
        refused,
        levels,
        chunks: options.chunks,
        shards: options.shards,
    })
}

/// Which positions have a file.
fn presence(arrangement: &Arrangement, survey: &Survey, odd: &[u32]) -> Option<PresenceMap> {
    let axes: Vec<MapAxis> =
        arrangement.axes.iter().map(|a| MapAxis { name: a.name.clone(), labels: a.labels.clone() }).collect();
    let mut is_odd: Vec<u32> = odd.iter().copied().chain(survey.headers.broken.iter().map(|b| b.0)).collect();
    is_odd.sort_unstable();
    let state = |file: &u32| if is_odd.binary_search(file).is_ok() { State::Odd } else { State::Present };
    let cells: Vec<(u64, State)> = arrangement.cells.iter().map(|(cell, file)| (*cell, state(file))).collect();
    PresenceMap::new(&axes, &cells)
}

/// The command to run next.
fn command(
    args: &InspectArgs,
    request: &Request,
    survey: &Survey,
    unmatched: &[u32],
    odd: &[u32],
    has_holes: bool,
) -> Vec<String> {
    let mut strangers: Vec<u32> = unmatched.iter().chain(odd).copied().collect();
    let broken = survey.headers.broken.iter().map(|b| b.0).filter(|f| !unmatched.contains(f));
    strangers.extend(broken.filter(|_| !args.input.skip_bad));
    strangers.sort_unstable();
    let exclude: Vec<String> = strangers
        .iter()
        .take(MOST_EXCLUDED)
        .filter_map(|f| survey.paths.get(*f as usize))
        .map(|p| name_of(p))
        .collect();
    let exclude = if strangers.len() > MOST_EXCLUDED { &[] } else { exclude.as_slice() };
    let found = survey.found(request);
    NextCommand { args, found, paths: &survey.paths, exclude, fill: has_holes }.words()
}
