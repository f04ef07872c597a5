//! `reduce`: operators along axes of files or of a Zarr array.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use super::progress::Progress;
use super::resources::Resources;
use super::results::{self, Results, Target};
use super::stop;
use super::survey::{Naming, Survey, provenance};
use crate::array::Array;
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::cli::{Missing, NameArgs, ReduceArgs};
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::exec::{self, Terms, Worker};
use crate::grid::Region;
use crate::plan::Task;
use crate::reduce::{Cut, Finished, Grouping, Options, Partial, Predicate, Reducer, Settings, Terrain, Weights};
use crate::report::{count, tuple};
use crate::stack::Stack;
use crate::view::View;

pub(super) fn run(args: &ReduceArgs) -> Result<()> {
    let start = Instant::now();
    let survey = Survey::new(&args.input, &args.names, (&args.run).into())?;
    survey.tell(args.run.quiet);
    let pattern = survey.pattern();
    let is_single = matches!(survey.naming, Naming::Single);
    let names = in_stored_order(args, &survey);
    let stack = survey.into_stack(&names)?;
    let provenance = provenance(&stack, pattern.as_deref());
    let n_files = stack.paths().len() as u64;
    let view;
    let select = selection(args, &stack, is_single);
    let array: &dyn Array = if select.is_empty() {
        &stack
    } else {
        view = View::new(&stack, &select)?;
        &view
    };
    let reducer = Reducer::new(array.axes(), array.dtype(), &settings(args, array.axes())?)?;
    let bytes_in = size_bytes(&array.shape(), array.dtype());
    let targets = results::targets(args, &reducer, bytes_in)?;
    for target in &targets {
        if let Target::File(path) = target {
            super::refuse_input(path, stack.paths())?;
        }
    }
    let budget = Resources::new(&args.run, array);
    let stop = stop::on_signals()?;
    let (cut, held_bytes) = make_cut(args, &reducer, array, &budget, &targets)?;
    let terms = Terms {
        threads: budget.threads,
        cost: cut.cost(),
        limit_bytes: budget.for_tasks().saturating_sub(held_bytes),
        stop: &stop,
    };
    let predicted_peak_bytes = budget.base_bytes + held_bytes + terms.peak_bytes();
    let run = Run { array, reducer: &reducer, cut: &cut, terms: &terms, skip: args.names.missing == Missing::Skip };
    let plan = run.describe(&budget, predicted_peak_bytes);
    if args.run.dry_run {
        return results::text::show_plan(args, &reducer, &targets, &plan);
    }
    let results = Results::create(args, targets, &reducer, &cut, &provenance)?;
    if !args.run.quiet {
        eprintln!(
            "reading {}, {} {} ({}), {}, memory limit {} ({})",
            count(n_files, "file"),
            tuple(&array.shape()),
            array.dtype(),
            Bytes(bytes_in),
            count(terms.workers() as u64, "thread"),
            Bytes(budget.limit.bytes),
            budget.limit.from
        );
        for output in reducer.outputs() {
            if let Some(strategy) = &output.strategy {
                eprintln!("{}: {strategy}", output.label);
            }
        }
    }
    let mut progress = Progress::new(bytes_in.saturating_mul(u64::from(reducer.n_passes())), args.run.quiet);
    let done = if cut.is_split() { run.split(&results, &mut progress) } else { run.tiles(&results, &mut progress) };
    let n_filled = done.map_err(|e| told(e, cut.n_tasks(&reducer)))?;
    progress.finish();
    let mut figures = plan;
    figures.elements_filled = n_filled;
    figures.wall_s = start.elapsed().as_secs_f64();
    let finished = results.finish()?;
    figures.wall_s = start.elapsed().as_secs_f64();
    figures.rate_bytes_per_s = bytes_in as f64 / figures.wall_s.max(1e-9);
    figures.measured_peak_bytes = peak_bytes();
    results::text::show(args, &reducer, finished, &figures, n_files)
}

/// A stop says what has become of the output.
fn told(error: Error, n_tasks: u64) -> Error {
    match error {
        Error::Stopped(text) => Error::Stopped(format!("{text} of {n_tasks}; no output was made")),
        other => other,
    }
}

/// The same names, but axes of a Zarr array alone stay in the order in which it stores them.
fn in_stored_order(args: &ReduceArgs, survey: &Survey) -> NameArgs {
    let mut names = args.names.clone();
    if let (Naming::Single, [path], [kind], None) =
        (&survey.naming, &survey.paths[..], &survey.headers.kinds[..], &names.axes)
        && path.is_dir()
    {
        names.axes = Some(kind.info.axes.iter().map(|a| a.name.clone()).collect());
    }
    names
}

/// What is chosen of the array. One file alone keeps its own axes: those of length 1 that were added to make
/// the usual five go.
fn selection(args: &ReduceArgs, stack: &Stack, is_single: bool) -> String {
    let mut parts: Vec<String> = args.elements.select.iter().cloned().collect();
    let asked = args.names.axes.iter().flatten();
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

/// What the flags mean for an array of `axes`.
fn settings(args: &ReduceArgs, axes: &[Axis]) -> Result<Settings> {
    let elements = &args.elements;
    let reduced = reduced_axes(&args.axis, axes)?;
    let predicate: Predicate = elements.condition.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let grouping = match (elements.every, elements.window) {
        (Some(n), _) => Some(Grouping::Every { n, trim: elements.trim }),
        (None, Some(n)) => Some(Grouping::Window { n }),
        (None, None) => None,
    };
    let weights = match &elements.weights {
        // They belong to the first reduced axis.
        Some(path) => Some(Weights { axis: 0, values: super::npy::vector(path)?.into() }),
        None => None,
    };
    Ok(Settings {
        operators: args.op.clone(),
        axes: reduced,
        options: Options { ddof: elements.ddof, weights },
        predicate: predicate.skipping_nan(elements.skipna),
        skip_absent: args.names.missing == Missing::Skip,
        keep_axes: elements.keepdims,
        grouping,
        dtype: elements.dtype,
    })
}

/// Numbers of the axes that `names` give by name or number; `all`, or none, are all.
fn reduced_axes(names: &[String], axes: &[Axis]) -> Result<Vec<usize>, Error> {
    if names.is_empty() || matches!(names, [all] if all == "all" && crate::axis::position(axes, "all").is_none()) {
        return Ok((0..axes.len()).collect());
    }
    let mut numbers = Vec::new();
    for name in names {
        let number = crate::axis::position(axes, name).or_else(|| {
            let n = name.parse::<i64>().ok()?;
            let n = if n < 0 { n + axes.len() as i64 } else { n };
            usize::try_from(n).ok().filter(|&n| n < axes.len())
        });
        let number = number.ok_or_else(|| {
            let known: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
            Error::usage(format!(
                "--axis {name}: the array has axes {}, numbered 0 to {} or from -1 backwards",
                known.join(","),
                axes.len().saturating_sub(1)
            ))
        })?;
        if numbers.contains(&number) {
            return Err(Error::usage(format!("--axis {name}: axis {} is named twice", axes[number].name)));
        }
        numbers.push(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// How the array is gone over, and the memory of results that are put together meanwhile, in bytes.
fn make_cut(
    args: &ReduceArgs,
    reducer: &Reducer,
    array: &dyn Array,
    budget: &Resources,
    targets: &[Target],
) -> Result<(Cut, u64)> {
    let write_bytes = results::write_bytes(args, reducer)?;
    let attempt = |held_bytes: u64| {
        let limit_bytes = budget.for_tasks().saturating_sub(held_bytes);
        let cut = Cut::new(
            reducer,
            &Terrain {
                boundaries: &|axis, at| array.boundaries(axis, at),
                coded: array.coded(),
                scratch_bytes: array.scratch_bytes(),
                limit_bytes,
                write_bytes: &*write_bytes,
            },
        );
        cut.map_err(|piece_bytes| {
            let needed = budget.base_bytes + held_bytes + piece_bytes;
            let held =
                if held_bytes >> 20 > 0 { format!(", holding results {}", Bytes(held_bytes)) } else { String::new() };
            Error::Limit(format!(
                "one piece of the array and what is folded from it need {}{held}, the program itself {}; --memory \
                 allows {}: give --memory {}M",
                Bytes(piece_bytes),
                Bytes(budget.base_bytes),
                Bytes(budget.limit.bytes),
                (needed >> 20) + 1
            ))
        })
    };
    // Results that are put together band by band take what the tiles make them; less room, smaller tiles.
    let mut held_bytes = results::held_bytes(targets, reducer, None);
    loop {
        let cut = attempt(held_bytes)?;
        let needed_bytes = results::held_bytes(targets, reducer, Some(&cut));
        if needed_bytes <= held_bytes {
            return Ok((cut, held_bytes));
        }
        held_bytes = needed_bytes;
    }
}

/// A reduction on its way.
struct Run<'a> {
    array: &'a dyn Array,
    reducer: &'a Reducer,
    cut: &'a Cut,
    terms: &'a Terms<'a>,
    /// Whether elements that no file covers are left out.
    skip: bool,
}

impl Run<'_> {
    fn describe(&self, budget: &Resources, predicted_peak_bytes: u64) -> results::Figures {
        results::Figures {
            input_axes: self.array.axes().iter().map(|a| a.name.clone()).collect(),
            input_shape: self.array.shape(),
            input_dtype: self.array.dtype().to_string(),
            bytes_in: size_bytes(&self.array.shape(), self.array.dtype()),
            passes: self.reducer.n_passes(),
            tasks: self.cut.n_tasks(self.reducer),
            piece: self.cut.piece().to_vec(),
            read_amplification: self.cut.amplification(),
            threads: self.terms.workers(),
            memory_limit_bytes: budget.limit.bytes,
            predicted_peak_bytes,
            ..results::Figures::default()
        }
    }

    /// Folds `pieces`; the number of their elements that no file covers.
    fn fold(
        &self,
        partial: &mut Partial,
        pieces: impl Iterator<Item = Region>,
        worker: &mut Worker,
    ) -> Result<u64, Error> {
        let mut n_filled = 0;
        let mut pieces = pieces.peekable();
        while let Some(piece) = pieces.next() {
            if let Some(next) = pieces.peek() {
                self.array.prefetch(next);
            }
            let block = self.array.block(&piece, std::mem::take(&mut worker.buffer), &mut worker.scratch)?;
            n_filled += block.n_filled;
            let absent = if self.skip && block.n_filled > 0 { self.array.absent(&piece) } else { Vec::new() };
            self.reducer.fold(partial, &block, &absent)?;
            worker.buffer = block.into_buffer();
        }
        Ok(n_filled)
    }

    /// One task for each tile.
    fn tiles(&self, results: &Results, progress: &mut Progress) -> Result<u64, Error> {
        let (reducer, cut) = (self.reducer, self.cut);
        let element_bytes = self.array.dtype().size() as u64;
        let mut n_filled = 0;
        exec::run(
            cut.tasks(),
            self.terms,
            |task, worker| {
                let mut partial = reducer.start(&task.region, cut.whole());
                let mut n_filled = None;
                let blocks = loop {
                    let filled = self.fold(&mut partial, cut.pieces(reducer, &task.region), worker)?;
                    n_filled.get_or_insert(filled);
                    match reducer.finish(partial)? {
                        Finished::Done(blocks) => break blocks,
                        Finished::Again(next) => partial = next,
                    }
                };
                Ok((results.write(blocks, worker)?, n_filled.unwrap_or(0)))
            },
            |task, (receipts, filled)| {
                n_filled += filled;
                let bytes = reducer.input_of(&task.region).n_elements().saturating_mul(element_bytes);
                progress.add(bytes.saturating_mul(u64::from(reducer.n_passes())));
                results.commit(receipts)
            },
        )?;
        Ok(n_filled)
    }

    /// Few tiles: the pieces of each are shared out, and what the workers folded is merged in order.
    fn split(&self, results: &Results, progress: &mut Progress) -> Result<u64, Error> {
        let mut n_filled = 0;
        for tile in self.cut.tasks() {
            let blocks = self.split_tile(&tile.region, progress, &mut n_filled)?;
            let receipts = results.write(blocks, &mut Worker::default())?;
            results.commit(receipts)?;
        }
        Ok(n_filled)
    }

    fn split_tile(&self, tile: &Region, progress: &mut Progress, n_filled: &mut u64) -> Result<Vec<Block>, Error> {
        let (reducer, cut) = (self.reducer, self.cut);
        let element_bytes = self.array.dtype().size() as u64;
        let n_tasks = cut.n_split(reducer, tile);
        let mut partial = reducer.start(tile, cut.whole());
        let mut first = true;
        loop {
            let total = Mutex::new(reducer.fork(&partial));
            let tasks = (0..n_tasks).map(|index| Task { index, region: tile.clone() });
            exec::run(
                tasks,
                self.terms,
                |task, worker| {
                    let ahead = task.index + self.terms.workers() as u64;
                    if let Some(next) = cut.split(reducer, tile, ahead).next() {
                        self.array.prefetch(&next);
                    }
                    let mut part = reducer.fork(&partial);
                    let filled = self.fold(&mut part, cut.split(reducer, tile, task.index), worker)?;
                    Ok((part, filled))
                },
                |task, (part, filled)| {
                    if first {
                        *n_filled += filled;
                    }
                    let elements: u64 = cut.split(reducer, tile, task.index).map(|piece| piece.n_elements()).sum();
                    progress.add(elements.saturating_mul(element_bytes));
                    reducer.combine(&mut total.lock().unwrap_or_else(std::sync::PoisonError::into_inner), part)
                },
            )?;
            let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            reducer.combine(&mut partial, total)?;
            match reducer.finish(partial)? {
                Finished::Done(blocks) => return Ok(blocks),
                Finished::Again(next) => partial = next,
            }
            first = false;
        }
    }
}
