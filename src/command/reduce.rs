//! `reduce`: operators along axes of files or of a Zarr array.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::calculated::{Calculated, calculated};
use super::kept::Kept;
use super::many::Many;
use super::progress::Progress;
use super::resources::{self, Came, Resources};
use super::results::{self, Destination, Figures};
use super::{devices, early, planning, ranks, resolve, stop, tell};
use crate::array::{Array, View};
use crate::axis::Axis;
use crate::block::size_bytes;
use crate::cli::{Missing, PartOf, ReduceArgs};
use crate::consume::{self, Consumer, Job};
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::exec::world::World;
use crate::expression::Output;
use crate::open::{Opened, Request};
use crate::plan::Plan;
use crate::reduce::{Grouping, Groupings, Predicate, Reducer, Reduction, Settings};
use crate::report::{count, tuple};
use crate::stack::Stack;

pub(super) fn run(args: &ReduceArgs) -> Result<()> {
    match args.mpi.as_deref().or(args.reduce.as_ref().map(|_| Path::new("auto"))) {
        Some(library) => ranks::together(args, library, |args, world| all(args, Some(&world))),
        None => all(args, None),
    }
}

/// Reduces every array that is named.
fn all(args: &ReduceArgs, world: Option<&Arc<dyn World>>) -> Result<()> {
    let start = Instant::now();
    early::reduce(args)?;
    let request = request(args)?;
    let stop = stop::early(start, args.run.deadline)?;
    // Every array is checked before the first one is reduced.
    let all = resolve::open(&request, &args.run)?;
    let named = all.iter().map(|opened| named(args, opened)).collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) = named.iter().enumerate().find(|(i, one)| named[..*i].iter().any(|o| o.output == one.output)) {
        let output = twice.1.output.as_deref().unwrap_or_default();
        return Err(Error::usage(format!("two values of --by would be written to {output}")).into());
    }
    let made = |args: &ReduceArgs| args.run.makes(Path::new(args.output.as_deref().unwrap_or_default()));
    let chosen: Vec<_> = named.iter().zip(all).filter(|(args, _)| made(args)).collect();
    let mut many = Many::new(chosen.len(), args.run.is_partial() || args.output.is_none());
    chosen.into_iter().try_for_each(|(args, opened)| one(args, opened, &mut many, world, start, &stop))?;
    many.finish()
}

/// The same for the value of `--by` that an array has: the output's name has it in the field's place.
fn named(args: &ReduceArgs, opened: &Opened) -> Result<ReduceArgs, Error> {
    let mut args = args.clone();
    let (Some(by), Some(values)) = (&args.by, &opened.value) else { return Ok(args) };
    for (field, value) in by.split(',').map(str::trim).zip(values.split(',')) {
        let value = super::one_part(value);
        let filled = |name: &str| name.replace(&format!("{{{field}}}"), &value);
        args.output = args.output.as_deref().map(filled);
        args.plot = args.plot.as_deref().map(|plot| filled(&plot.to_string_lossy()).into());
    }
    Ok(args)
}

/// Reduces one array.
fn one(
    args: &ReduceArgs,
    opened: Opened,
    many: &mut Many,
    world: Option<&Arc<dyn World>>,
    start: Instant,
    stop: &AtomicBool,
) -> Result<()> {
    let provenance = resolve::provenance(&opened, &args.run);
    let Opened { stack, notes, is_single, .. } = opened;
    let stack = resolve::watched(stack, &args.run)?;
    let output = args.output.as_deref().map_or(Path::new("-"), Path::new);
    let ledger = resolve::ledger(&stack, output);
    let stack = stack.summed(resolve::sums_inputs(output, &args.run));
    let inputs = stack.watch().clone();
    let losses = stack.losses().cloned().unwrap_or_default();
    let place = Path::new(args.output.as_deref().unwrap_or("stackctl"));
    let Folded { array, reducer, calculated, kept } = folded(args, stack, is_single, place, stop)?;
    let bytes_in = size_bytes(&array.shape(), array.dtype());
    let targets = results::targets(args, &reducer, bytes_in)?;
    for target in &targets {
        if let Destination::File(path) = target {
            super::refuse_inputs(path, &inputs)?;
        }
    }
    for (output, target) in reducer.outputs().iter().zip(&targets) {
        if let Destination::File(path) = target {
            super::tell_one_pixel(path, &output.shape());
            planning::uneven(path, &output.axes, false).iter().for_each(|note| tell(format_args!("note: {note}")));
            if args.elements.dtype.is_none() {
                super::tell_narrowed(path, output.natural, output.dtype);
            }
        }
    }
    let (budget, n_files) = (Resources::new(&args.run), inputs.paths().len() as u64);
    let devices = match &calculated {
        Some(made) => made.devices().cloned(),
        None => devices::opened(&args.run, budget.threads)?,
    };
    let reduction = Reduction::new(Arc::clone(&reducer), results::write_bytes(args, &reducer)?);
    let reduction = reduction.made(devices::elsewhere(devices.as_ref()));
    let (plan, reduction) = planned(args, &targets, &budget, &*array, &reducer, reduction, (&provenance, &kept))?;
    let reduction = match world {
        Some(world) => reduction.among(Arc::clone(world)),
        None => reduction,
    };
    let terms = budget.terms(&plan, &*array, &[&reduction], stop);
    let mut figures = Figures {
        input_axes: array.axes().iter().map(|a| a.name.clone()).collect(),
        input_shape: array.shape(),
        input_dtype: array.dtype().to_string(),
        bytes_in,
        passes: reducer.n_passes(),
        tasks: plan.len(),
        piece: plan.piece().to_vec(),
        read_amplification: plan.amplification(),
        threads: terms.workers(),
        memory_limit_bytes: budget.limit.bytes,
        predicted_peak_bytes: Resources::predicted_bytes(&*array, &[&reduction], &terms),
        notes,
        ..Figures::default()
    };
    if args.run.dry_run {
        let tree = calculated.map_or_else(Vec::new, |made| made.tree(plan.piece()));
        return results::text::show_plan(args, &reducer, &targets, &tree, &figures);
    }
    if !args.run.quiet && !args.run.reads_nothing() {
        tell(format_args!(
            "reading {}, {} {} ({}), {}, memory limit {} ({})",
            count(n_files, "file"),
            tuple(&array.shape()),
            array.dtype(),
            Bytes(bytes_in),
            count(terms.workers() as u64, "thread"),
            Bytes(budget.limit.bytes),
            budget.limit.from
        ));
        for output in reducer.outputs() {
            if let Some(strategy) = &output.strategy {
                tell(format_args!("{}: {strategy}", output.label));
            }
        }
    }
    let mut progress = Progress::new(bytes_in.saturating_mul(u64::from(reducer.n_passes())), args.run.quiet);
    let mut consumers: [Box<dyn Consumer>; 1] = [Box::new(reduction)];
    let settings = serde_json::json!({
        "op": args.op,
        "axis": args.axis,
        "elements": format!("{:?}", args.elements),
        "missing": format!("{:?}", args.names.missing),
        "zarr_format": args.zarr_format,
        "codec": args.codec.as_ref().map(ToString::to_string),
        "picture": format!("{:?}", args.picture),
    });
    let job = resources::job(&args.run, &*array, &inputs, &plan, settings, &losses)?;
    let job = Job { ledger, is_one_of_many: many.is_many(), ..job };
    world.map_or(Ok(()), |world| ranks::agree(&**world, &job))?;
    let run = || {
        let progress = |bytes| progress.add(bytes);
        Ok(resources::run(&args.run, &array, &plan, &mut consumers, &job, &terms, progress)?)
    };
    let first = targets.first().and_then(Destination::path).unwrap_or(Path::new("-"));
    let Some(came) = many.one(first, run)? else { return Ok(()) };
    progress.finish();
    resolve::tell_losses(&losses);
    if let Some(devices) = &devices {
        devices::tell_done(devices, args.run.quiet);
    }
    figures.losses = losses.texts();
    let ran = match came {
        Came::Whole(_) if world.is_some_and(|world| world.rank() > 0) => return Ok(()),
        Came::Whole(ran) => ran,
        Came::Part(told) if args.run.json => return super::print_json(&told),
        Came::Part(_) => return Ok(()),
    };
    figures.elements_filled = ran.n_absent;
    figures.wall_s = start.elapsed().as_secs_f64();
    figures.rate_bytes_per_s = bytes_in as f64 / figures.wall_s.max(1e-9);
    figures.measured_peak_bytes = peak_bytes();
    figures.profile = resources::profiled(&args.run);
    let products = ran.products.into_iter().flatten().collect();
    results::text::show(args, &reducer, &targets, products, &figures, n_files)
}

/// The arrays that `args` ask for.
pub(super) fn request(args: &ReduceArgs) -> Result<Request, Error> {
    let mut request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    request.stored_order = true;
    request.select.clone_from(&args.elements.select);
    request.by.clone_from(&args.by);
    Ok(request)
}

/// An array, and how it is reduced.
pub(super) struct Folded {
    pub(super) array: Arc<dyn Array>,
    pub(super) reducer: Arc<Reducer>,
    pub(super) calculated: Option<Calculated>,
    /// What of the input is said of the array.
    pub(super) kept: Kept,
}

/// What of `stack` is reduced, and how; what is computed first may lie beside `place`.
pub(super) fn folded(
    args: &ReduceArgs,
    stack: Stack,
    is_single: bool,
    place: &Path,
    stop: &AtomicBool,
) -> Result<Folded, Error> {
    let select = resolve::own_axes(&stack, is_single, &args.names, args.elements.select.as_slice());
    let inputs = stack.watch().clone();
    let kept = Kept::of(&stack, is_single, &args.names, args.input.follow)?;
    let all: Arc<dyn Array> = Arc::new(stack);
    let mut array = crate::array::select(Arc::clone(&all), &select)?;
    let mut kept = kept.chosen(&all, &*array)?;
    let mut made = None;
    if let Some(text) = &args.elements.calc {
        let (of, how) =
            ([("a".into(), array)], Output { skip_absent: args.names.missing == Missing::Skip, ..Output::default() });
        let own = calculated(text, &of, &inputs, place, &how, &args.run, stop)?;
        array = Arc::clone(&own.array);
        kept = kept.calculated(text, &how, &*array)?;
        made = Some(own);
    }
    if let Some(whole_groups) = trimmed(args, array.axes())? {
        array = Arc::new(View::new(array, &whole_groups)?);
    }
    let reducer = Arc::new(Reducer::new(array.axes(), array.dtype(), &settings(args, array.axes())?)?);
    Ok(Folded { array, reducer, calculated: made, kept })
}

/// The plan, and the reduction with consumers of its results that suit it.
///
/// Results that are put together in memory leave less for tasks, and narrower tiles may need less of it: the widest
/// that fit beside what is made of them.
fn planned(
    args: &ReduceArgs,
    targets: &[Destination],
    budget: &Resources,
    array: &dyn Array,
    reducer: &Reducer,
    reduction: Reduction,
    said: (&serde_json::Value, &Kept),
) -> Result<(Plan, Reduction)> {
    let outputs = |plan: &Plan| results::outputs(args, targets, reducer, &reduction.tile(plan), said);
    let held = |outputs: &[Box<dyn Consumer>]| outputs.iter().map(|o| o.held_bytes()).fold(0, u64::saturating_add);
    let room = budget.room(array);
    let mut least = (u64::MAX, 0);
    for shrink in 0..16 {
        let plan = consume::plan(array, &[&reduction], room >> shrink);
        // The narrowest tiles come last; what they would take is the number to be told.
        let (plan, is_last) = match plan {
            Ok(plan) => (plan, false),
            Err(bytes) => {
                let least = consume::plan(array, &[&reduction], bytes);
                (least.map_err(|bytes| budget.refusal(array, None, bytes, 0))?, true)
            }
        };
        let outputs = outputs(&plan)?;
        let (task_bytes, held_bytes) = (plan.cost().alone(), held(&outputs));
        if task_bytes.saturating_add(held_bytes) <= room {
            return Ok((plan.clone(), reduction.fitted(&plan, outputs)));
        }
        least = least.min((task_bytes.saturating_add(held_bytes), held_bytes));
        if is_last {
            break;
        }
    }
    Err(budget.refusal(array, None, least.0, least.1).into())
}

/// The choice that leaves shorter last groups out, if there are any and they are to be left out.
fn trimmed(args: &ReduceArgs, axes: &[Axis]) -> Result<Option<String>, Error> {
    let short = |(axis, grouping): &(usize, Grouping)| {
        let Axis { name, length, .. } = &axes[*axis];
        let kept = length.checked_div(grouping.n).unwrap_or(0) * grouping.n;
        (grouping.stride > 1 && kept > 0 && kept < *length).then(|| format!("{name}=:{kept}"))
    };
    let parts: Vec<String> = reduced(args, axes)?.1.iter().filter(|_| args.elements.trim).filter_map(short).collect();
    Ok((!parts.is_empty()).then(|| parts.join(",")))
}

/// Numbers of the axes that are reduced, and of those among them that are reduced in groups.
fn reduced(args: &ReduceArgs, axes: &[Axis]) -> Result<(Vec<usize>, Groupings), Error> {
    let elements = &args.elements;
    let every = elements.every.iter().map(|part| (part, Grouping::every(part.n, elements.trim)));
    let parts: Vec<(&PartOf, Grouping)> =
        every.chain(elements.window.iter().map(|part| (part, Grouping::window(part.n)))).collect();
    let named: Vec<String> = parts.iter().filter_map(|(part, _)| part.axis.clone()).collect();
    let flag = if elements.every.is_empty() { "--window" } else { "--every" };
    let own = |name: &String| Ok::<_, Error>(resolve::reduced_axes(flag, std::slice::from_ref(name), axes)?[0]);
    let mut all = match (named.is_empty(), args.axis.is_empty()) {
        (false, true) => Vec::new(),
        _ => resolve::reduced_axes("--axis", &args.axis, axes)?,
    };
    for name in &named {
        let axis = own(name)?;
        if !all.contains(&axis) {
            all.push(axis);
        }
    }
    all.sort_unstable();
    let place = |(part, grouping): (&PartOf, Grouping)| match (&part.axis, &all[..], parts.len()) {
        (Some(name), ..) => Ok((own(name)?, grouping)),
        (None, [only], 1) => Ok((*only, grouping)),
        (None, [_], _) => Err(Error::usage(format!(
            "{flag} {}: the axis has other groups too: name an axis for each, as in t=2,y=4",
            part.n
        ))),
        _ => Err(Error::usage(format!(
            "{flag} {}: groups run along one axis, but {} are reduced: name it with --axis, or as in {flag} t={}",
            part.n,
            all.len(),
            part.n
        ))),
    };
    let groupings = parts.iter().map(|(part, grouping)| place((part, *grouping))).collect::<Result<_, _>>()?;
    Ok((all, groupings))
}

/// What the flags mean for an array of `axes`.
fn settings(args: &ReduceArgs, axes: &[Axis]) -> Result<Settings, Error> {
    let elements = &args.elements;
    let (reduced, groupings) = reduced(args, axes)?;
    let predicate: Predicate = elements.condition.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let weights = match &elements.weights {
        // They belong to the first reduced axis.
        Some(path) => Some(crate::source::npy::vector("--weights", path)?.into()),
        None => None,
    };
    Ok(Settings {
        operators: args.op.clone(),
        axes: reduced,
        ddof: elements.ddof,
        weights,
        predicate: predicate
            .skipping_nan(elements.skipna || (args.names.unpack && args.names.missing == Missing::Skip)),
        skip_absent: args.names.missing == Missing::Skip,
        empty: None,
        keep_axes: elements.keepdims,
        groupings,
        dtype: elements.dtype,
        narrow: args.output.as_deref().and_then(|name| resolve::narrow(Path::new(name))),
    })
}
