//! `pairwise`: distances between the slices of an array.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::resources::Resources;
use super::writing::{self, Lineage, Writing};
use super::{devices, early, resolve, results, stop, tell};
use crate::array::{Array, Held, select};
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::cli::{InputArgs, PairwiseArgs, StorageArgs};
use crate::draw::values;
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::grid::{Region, n_elements};
use crate::open::Opened;
use crate::pairwise::{BlockPass, Rows, distances, held_bytes};
use crate::provenance::Ledger;
use crate::report::{count, duration, tuple};
use crate::sink;
use crate::source::headers::GroupedNote;
use crate::store;

pub(super) fn run(args: &PairwiseArgs) -> Result<()> {
    let start = Instant::now();
    early::pairwise(args)?;
    let stop = stop::early(start, args.run.deadline)?;
    let (mut lineage, mut files) = (Lineage::default(), Vec::new());
    let mut open = |input: &InputArgs| -> Result<Arc<dyn Array>> {
        let mut request = resolve::request(input, &args.names, args.run.memory, args.run.threads)?;
        request.stored_order = true;
        request.select.clone_from(&args.select);
        let mut opened = resolve::open(&request, &args.run)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
        opened.found = opened.found.filter(|_| args.with.is_none());
        let (own, Opened { stack, is_single, .. }) = Lineage::of(opened, &args.run)?;
        GroupedNote::merge(&mut lineage.notes, &own.notes);
        lineage.inputs.extend(&own.inputs);
        if lineage.provenance.is_null() {
            lineage.provenance = own.provenance;
        }
        files.extend(resolve::inputs_of(&stack, Path::new(args.output.as_deref().unwrap_or("."))));
        let chosen = resolve::own_axes(&stack, is_single, &args.names, args.select.as_slice());
        Ok(select(Arc::new(stack), &chosen)?)
    };
    let a = open(&args.input)?;
    let b = match &args.with {
        Some(with) => Some(open(&InputArgs { inputs: vec![with.clone()], ..InputArgs::default() })?),
        None => None,
    };
    if let Some(output) = args.output.as_deref() {
        super::refuse_inputs(Path::new(output), &lineage.inputs)?;
    }
    lineage.ledger = Ledger::of(files);
    let pairs = Pairs::new(args, &a, b.as_ref())?;
    if args.plot.is_some() {
        super::plot::check_result(&pairs.axes, DType::Float64)?;
    } else if args.output.is_none() && !args.run.dry_run {
        let shape = crate::axis::shape(&pairs.axes);
        results::check_printed("this", &shape, n_elements(&shape))?;
    }
    if args.run.dry_run {
        return dry_run(&pairs, &a);
    }
    let bytes_in = size_bytes(&a.shape(), a.dtype());
    let mut progress = Progress::new(bytes_in, args.run.quiet);
    let settings = settings(args);
    let others = b.as_ref().map(|b| json!([b.axes(), b.dtype()]));
    let manifest = json!([settings, a.axes(), a.dtype(), others, lineage.inputs.fingerprint()?]);
    let devices = devices::opened(&args.run, pairs.threads)?;
    let output = args.output.as_deref().map(Path::new);
    let mut way = super::way(output, &manifest, &args.run, &stop, devices.as_ref())?;
    let block = pairs.measured(&mut way, |bytes| progress.add(bytes)).map_err(|e| super::stopped(e, &way))?;
    progress.finish();
    super::tell_resumed(&way, &args.run);
    devices.iter().for_each(|devices| devices::tell_done(devices, args.run.quiet));
    lineage.inputs.check(pairs.threads)?;
    if !args.run.quiet {
        tell(format_args!(
            "{} distances of {} in {}, peak {}",
            block.region().n_elements(),
            Bytes(bytes_in),
            duration(start.elapsed().as_secs_f64()),
            Bytes(peak_bytes())
        ));
    }
    if let Some(path) = &args.plot {
        super::plot::write(path, &pairs.axes, &block, &format!("{:?}", args.metric), args.overwrite)?;
    }
    put(args, settings, pairs.axes, block, lineage, start, &stop)
}

/// Pairs of arrays whose slices are measured, one for each position along the axes that are kept.
pub(super) struct Pairs<'a> {
    args: &'a PairwiseArgs,
    groups: Vec<Group>,
    /// Axes of the result.
    pub(super) axes: Vec<Axis>,
    /// Rows of each side.
    n_rows: (u64, u64),
    threads: usize,
    limit_bytes: u64,
}

impl<'a> Pairs<'a> {
    /// Those of `a` with `b`, or with itself.
    pub(super) fn new(args: &'a PairwiseArgs, a: &Arc<dyn Array>, b: Option<&Arc<dyn Array>>) -> Result<Self, Error> {
        let kept = axes_named(&args.keep, a.axes(), "--keep")?;
        let groups = groups(&kept, a, b)?;
        let mut axes: Vec<Axis> = kept.iter().map(|&i| a.axes()[i].clone()).collect();
        axes.extend([(a, ""), (b.unwrap_or(a), "_other")].map(|(array, more)| row_axis(array, &args.along, more)));
        let budget = Resources::new(&args.run);
        let n_rows = (rows(&args.along, a)?.n_rows(), rows(&args.along, b.unwrap_or(a))?.n_rows());
        let result_bytes = size_bytes(&crate::axis::shape(&axes), DType::Float64);
        let room = budget.room(&**a);
        let limit_bytes = room.checked_sub(result_bytes).ok_or_else(|| {
            Error::limit(format!(
                "an array of {} distances takes {}, --memory {} leaves {}: take fewer slices with --along or --select",
                tuple(&crate::axis::shape(&axes)),
                Bytes(result_bytes),
                Bytes(budget.limit.bytes),
                Bytes(room)
            ))
        })?;
        Ok(Self { args, groups, axes, n_rows, threads: budget.threads, limit_bytes })
    }

    fn rows(&self, array: &Arc<dyn Array>) -> Result<Rows, Error> {
        rows(&self.args.along, array)
    }

    /// The distances.
    pub(super) fn measured(
        &self,
        way: &mut BlockPass<'_>,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Block, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build().map_err(Error::format)?;
        let mut block = Block::new(Region::whole(&crate::axis::shape(&self.axes)), DType::Float64)?;
        let mut values = block.elements_mut::<f64>();
        for (number, (a, b)) in self.groups.iter().enumerate() {
            let (a, b) = (self.rows(a)?, b.as_ref().map(|b| self.rows(b)).transpose()?);
            way.prefix = if self.groups.len() > 1 { format!("{number}-") } else { String::new() };
            let made =
                pool.install(|| distances(&a, b.as_ref(), self.args.metric, self.limit_bytes, way, &mut progress))?;
            let (own, rest) = std::mem::take(&mut values).split_at_mut(made.len());
            own.copy_from_slice(&made);
            values = rest;
        }
        Ok(block)
    }
}

/// The rows of `array` along the axes that `--along` names.
pub(super) fn rows(along: &[String], array: &Arc<dyn Array>) -> Result<Rows, Error> {
    let along = axes_named(along, array.axes(), "--along")?;
    Ok(Rows::new(Arc::clone(array), (0..array.axes().len()).map(|i| along.contains(&i)).collect()))
}

/// What a run that goes on must have in common with the one before.
fn settings(args: &PairwiseArgs) -> serde_json::Value {
    json!({ "metric": format!("{:?}", args.metric), "along": args.along, "keep": args.keep })
}

/// Where the distances go.
fn put(
    args: &PairwiseArgs,
    settings: serde_json::Value,
    axes: Vec<Axis>,
    block: Block,
    lineage: Lineage,
    start: Instant,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<()> {
    let shape = crate::axis::shape(&axes);
    match args.output.as_deref() {
        None if args.plot.is_some() => Ok(()),
        None if args.run.json => {
            let value = results::text::numbers_json(&shape, &block);
            super::print_json(&json!({ "axes": axes, "dtype": "float64", "value": value }))
        }
        None => {
            super::print(results::text::numbers(&format!("{:?}", args.metric).to_lowercase(), &axes, &block).as_bytes())
        }
        Some(output) if matches!(&*sink::extension(Path::new(output)), "csv" | "tsv") => {
            let between = if output.ends_with("csv") { ',' } else { '\t' };
            let text: String = values::across(&axes, &block).iter().map(|cells| values::line(cells, between)).collect();
            Ok(store::replace(Path::new(output), text.as_bytes())?)
        }
        Some(output) => {
            let storage = StorageArgs { plain: true, ..args.storage.clone() };
            let plain = Writing::new(&storage, &args.run, args.overwrite, Path::new(output));
            let writing = Writing { lineage, settings, start, ..plain };
            let told = writing::write(&writing, Arc::new(Held::new(axes, block)), stop)?;
            told.map_or(Ok(()), |value| super::print_json(&value))
        }
    }
}

pub(super) fn axes_named(names: &[String], axes: &[Axis], flag: &str) -> Result<Vec<usize>, Error> {
    let known = || axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(",");
    let position = |name: &String| {
        crate::axis::meant(axes, name)
            .ok_or_else(|| Error::usage(format!("{flag} {name}: the array has axes {}", known())))
    };
    names.iter().map(position).collect()
}

/// One pair of arrays for each position along the axes that are kept.
type Group = (Arc<dyn Array>, Option<Arc<dyn Array>>);

fn groups(kept: &[usize], a: &Arc<dyn Array>, b: Option<&Arc<dyn Array>>) -> Result<Vec<Group>, Error> {
    let lengths: Vec<u64> = kept.iter().map(|&i| a.axes()[i].length).collect();
    let one = |position: Vec<u64>| {
        let choice: Vec<String> =
            kept.iter().zip(position).map(|(&k, i)| format!("{}={i}:{}", a.axes()[k].name, i + 1)).collect();
        let choose = |array: &Arc<dyn Array>| select(Arc::clone(array), &choice.join(","));
        Ok((choose(a)?, b.map(choose).transpose()?))
    };
    crate::grid::positions(&lengths).map(one).collect()
}

/// The axis that rows lie along; several together are numbered.
fn row_axis(array: &Arc<dyn Array>, along: &[String], more: &str) -> Axis {
    let found: Vec<&Axis> = array.axes().iter().filter(|axis| along.contains(&axis.name)).collect();
    match found.as_slice() {
        [one] => Axis { name: format!("{}{more}", one.name), ..(*one).clone() },
        all => {
            let name = all.iter().map(|a| a.name.as_str()).collect::<String>();
            Axis::new(format!("{name}{more}"), all.iter().map(|a| a.length).product())
        }
    }
}

fn dry_run(pairs: &Pairs<'_>, a: &Arc<dyn Array>) -> Result<()> {
    let Pairs { args, n_rows: (n, m), limit_bytes, .. } = *pairs;
    let rows = pairs.rows(a)?;
    let block = rows.block_shape(64 << 20);
    let text = format!(
        "{} {} ({}), {n} x {m} distances of rows of {}\n  reads        every row once{}, in blocks of up to {}\n  \
         memory       {} of {}\nnothing was read (--dry-run)\n",
        tuple(&a.shape()),
        a.dtype(),
        Bytes(size_bytes(&a.shape(), a.dtype())),
        count(rows.n_columns(), "element"),
        if a.dtype().is_float() && args.metric == crate::pairwise::Metric::Correlation {
            " for means, once for products"
        } else {
            ""
        },
        tuple(&block),
        Bytes(held_bytes(n, m, args.metric).saturating_add(rows.needs(&block))),
        Bytes(limit_bytes)
    );
    super::print(text.as_bytes())
}
