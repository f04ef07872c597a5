//! `stitch`: the files as one Zarr array.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use super::progress::Progress;
use super::resources::Resources;
use super::survey::{Survey, provenance};
use super::{print_json, stop};
use crate::array::Array;
use crate::block::size_bytes;
use crate::cli::StitchArgs;
use crate::codec::Codec;
use crate::error::Error;
use crate::exec;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::grid::n_elements;
use crate::plan::{Cost, Plan, Request};
use crate::report::{Summary, count, tuple};
use crate::sink::zarr::{DEFAULT_MAX_FILES, Format, ZarrOptions, ZarrSink, default_chunks, default_shards};
use crate::sink::{Sink, Spec};
use crate::stack::Stack;

/// Bytes of a block that a task has when nothing else decides: enough for large reads, little enough that
/// every core has one and the block stays in the last cache.
const TARGET_BYTES: u64 = 8 << 20;

pub(super) fn run(args: &StitchArgs) -> Result<()> {
    let start = Instant::now();
    check_output(&args.output)?;
    let survey = Survey::new(&args.input, &args.names)?;
    let pattern = survey.pattern();
    let stack = survey.into_stack(&args.names)?;
    let spec = Spec {
        axes: stack.axes().to_vec(),
        dtype: stack.dtype(),
        fill: stack.fill().to_vec(),
        provenance: provenance(&stack, pattern.as_deref()),
    };
    let options = storage(args, &stack)?;
    let budget = Resources::new(&args.run, &stack);
    let stop = stop::on_signals()?;
    let sink = ZarrSink::create(&args.output, &spec, &options)?;
    let plan = make_plan(&stack, &sink, &options, &budget)?;
    let terms = budget.terms(&plan, &stop);
    let predicted_peak_bytes = budget.base_bytes + terms.peak_bytes();
    let bytes_in = size_bytes(&stack.shape(), stack.dtype());
    let mut summary = Summary {
        output: args.output.display().to_string(),
        axes: stack.axes().iter().map(|a| a.name.clone()).collect(),
        shape: stack.shape(),
        dtype: stack.dtype().to_string(),
        chunks: Some(options.chunks.clone()),
        shards: options.shards.clone(),
        input_files: stack.paths().len() as u64,
        bytes_in,
        bytes_out: 0,
        output_files: sink.n_objects(),
        elements_filled: 0,
        ratio: 0.0,
        wall_s: 0.0,
        rate_bytes_per_s: 0.0,
        read_amplification: plan.amplification(),
        threads: terms.workers(),
        memory_limit_bytes: budget.limit.bytes,
        predicted_peak_bytes,
        measured_peak_bytes: 0,
    };
    if args.run.dry_run {
        drop(sink);
        return show_plan(args, &stack, &plan, &budget, &summary);
    }
    if !args.run.quiet {
        eprintln!(
            "reading {}, writing Zarr v{}, {}, memory limit {} ({})",
            count(summary.input_files, "file"),
            args.storage.zarr_format,
            count(terms.workers() as u64, "thread"),
            Bytes(budget.limit.bytes),
            budget.limit.from
        );
    }
    let mut progress = Progress::new(bytes_in, args.run.quiet);
    let ahead = Mutex::new(plan.tasks().skip(terms.workers()));
    let element_bytes = stack.dtype().size() as u64;
    let mut elements_filled = 0;
    exec::run(
        plan.tasks(),
        &terms,
        |task, worker| {
            let next = ahead.lock().map(|mut tasks| tasks.next()).unwrap_or_default();
            if let Some(next) = next {
                stack.prefetch(&next.region);
            }
            let block = stack.block(&task.region, std::mem::take(&mut worker.buffer), &mut worker.scratch)?;
            let receipt = sink.write(&block, &mut worker.scratch)?;
            let n_filled = block.n_filled;
            worker.buffer = block.into_buffer();
            Ok((receipt, n_filled))
        },
        |task, (receipt, n_filled)| {
            elements_filled += n_filled;
            progress.add(task.region.n_elements().saturating_mul(element_bytes));
            sink.commit(receipt)
        },
    )
    .map_err(|e| told(e, &args.output, plan.len()))?;
    let written = sink.finish()?;
    progress.finish();
    summary.elements_filled = elements_filled;
    summary.bytes_out = written.bytes;
    summary.output_files = written.files;
    summary.ratio = bytes_in as f64 / written.bytes.max(1) as f64;
    summary.wall_s = start.elapsed().as_secs_f64();
    summary.rate_bytes_per_s = bytes_in as f64 / summary.wall_s.max(1e-9);
    summary.measured_peak_bytes = peak_bytes();
    if args.run.json {
        print_json(&summary)?;
    } else if !args.run.quiet {
        eprintln!("{}", summary.text());
    }
    Ok(())
}

/// A stop says what has become of the output.
fn told(error: Error, output: &Path, n_tasks: u64) -> Error {
    match error {
        Error::Stopped(text) => {
            Error::Stopped(format!("{text} of {n_tasks}; nothing stands under {}", output.display()))
        }
        other => other,
    }
}

fn check_output(output: &Path) -> Result<(), Error> {
    if output.extension().is_some_and(|e| e == "zarr") {
        return Ok(());
    }
    Err(Error::Usage(format!("{}: the output of stitch is a Zarr: give it a name ending in .zarr", output.display())))
}

/// How the array will be stored, from flags and defaults.
fn storage(args: &StitchArgs, stack: &Stack) -> Result<ZarrOptions> {
    let flags = &args.storage;
    let (axes, shape) = (stack.axes(), stack.shape());
    let names: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
    let as_shape = |flag: &str, lengths: &[u64]| {
        if lengths.len() != shape.len() {
            return Err(Error::Usage(format!(
                "{flag} has {}, but the array has {}: {} {}",
                count(lengths.len() as u64, "length"),
                count(shape.len() as u64, "axis").replace("axiss", "axes"),
                names.join(","),
                tuple(&shape)
            )));
        }
        if lengths.contains(&0) {
            return Err(Error::Usage(format!("{flag} {} holds a zero: the least is 1", tuple(lengths))));
        }
        Ok(lengths.to_vec())
    };
    let chunks = match &flags.chunks {
        Some(lengths) => as_shape("--chunks", lengths)?,
        None => default_chunks(axes, stack.dtype(), stack.layout().unit()),
    };
    let format = if flags.zarr_format == 2 { Format::V2 } else { Format::V3 };
    let max_files = flags.max_files.unwrap_or(DEFAULT_MAX_FILES);
    let shards = match flags.shards.as_str() {
        "none" => None,
        "auto" if format == Format::V2 => None,
        "auto" => Some(default_shards(axes, &chunks, stack.dtype(), max_files)),
        text => {
            let lengths: Result<Vec<u64>, _> = text.split(',').map(|n| n.trim().parse::<u64>()).collect();
            let lengths = lengths.map_err(|_| {
                Error::Usage(format!("--shards '{text}' is not a shape: auto, none, or lengths such as 1,1,64,512,512"))
            })?;
            Some(as_shape("--shards", &lengths)?)
        }
    };
    let codec: Codec = flags.codec.parse().map_err(|e: Error| e.at("--codec"))?;
    let options =
        ZarrOptions { format, chunks, shards, codec, overwrite: args.overwrite, durability: Default::default() };
    if let Some(max_files) = flags.max_files {
        let object = options.shards.as_ref().unwrap_or(&options.chunks);
        let n_files = crate::grid::Grid::new(&shape, object).len();
        if n_files > max_files {
            return Err(Error::Usage(format!(
                "the output would have {n_files} files, --max-files allows {max_files}: use larger --shards or --chunks"
            ))
            .into());
        }
    }
    Ok(options)
}

fn make_plan(stack: &Stack, sink: &ZarrSink, options: &ZarrOptions, budget: &Resources) -> Result<Plan> {
    let dtype = stack.dtype();
    let unit = sink.unit().to_vec();
    let scratch_bytes = stack.scratch_bytes();
    let cost = |task_box: &[u64]| {
        let n_units = n_elements(&task_box.iter().zip(&unit).map(|(b, u)| b.div_ceil(*u)).collect::<Vec<_>>());
        let kept_bytes = sink.write_bytes(n_units);
        Cost { work_bytes: size_bytes(task_box, dtype).saturating_add(scratch_bytes), kept_bytes }
    };
    let plan = Plan::new(&Request {
        shape: &stack.shape(),
        unit: &unit,
        object: sink.object_shape(),
        across: options.shards.is_none(),
        boundaries: &|axis, at| stack.boundaries(axis, at),
        coded: stack.coded(),
        cost: &cost,
        limit_bytes: budget.for_tasks().saturating_sub(sink.held_bytes()),
        target_bytes: TARGET_BYTES,
        element_bytes: dtype.size() as u64,
    });
    plan.map_err(|e| match e {
        Error::Limit(_) => {
            let needed = budget.base_bytes + sink.held_bytes() + cost(&unit).alone();
            Error::Limit(format!(
                "one chunk of {} {dtype} needs {} to read and encode, the program itself {}; --memory allows {}: use \
                 smaller --chunks, or --memory {}M",
                tuple(&unit),
                Bytes(cost(&unit).alone()),
                Bytes(budget.base_bytes),
                Bytes(budget.limit.bytes),
                (needed >> 20) + 1
            ))
            .into()
        }
        other => other.into(),
    })
}

fn show_plan(args: &StitchArgs, stack: &Stack, plan: &Plan, budget: &Resources, summary: &Summary) -> Result<()> {
    if args.run.json {
        return print_json(&serde_json::json!({
            "array": { "axes": stack.axes(), "dtype": stack.dtype(), "bytes": summary.bytes_in },
            "chunks": summary.chunks,
            "shards": summary.shards,
            "files": summary.output_files,
            "tasks": plan.len(),
            "task_shape": plan.task_box(),
            "threads": summary.threads,
            "memory_limit_bytes": budget.limit.bytes,
            "predicted_peak_bytes": summary.predicted_peak_bytes,
            "read_amplification": plan.amplification(),
            "holes": stack.layout().n_holes(),
        }));
    }
    let mut lines = vec![
        format!(
            "{}: {} {} ({}), axes {}",
            summary.output,
            tuple(&summary.shape),
            summary.dtype,
            Bytes(summary.bytes_in),
            summary.axes.join(" ")
        ),
        format!("  chunks       {}", tuple(summary.chunks.as_deref().unwrap_or_default())),
    ];
    if let Some(shards) = &summary.shards {
        lines.push(format!("  shards       {}", tuple(shards)));
    }
    lines.push(format!("  files        at most {} and metadata", summary.output_files));
    lines.push(format!("  tasks        {} of up to {}", plan.len(), tuple(plan.task_box())));
    lines.push(format!(
        "  memory       {} with {}, limit {} ({})",
        Bytes(summary.predicted_peak_bytes),
        count(summary.threads as u64, "thread"),
        Bytes(budget.limit.bytes),
        budget.limit.from
    ));
    lines.push(format!("  read amplification {:.2}", plan.amplification()));
    if stack.layout().n_holes() > 0 {
        lines.push(format!("  {} will hold the fill value", count(stack.layout().n_holes(), "position")));
    }
    lines.push("nothing was written (--dry-run)\n".into());
    super::print(lines.join("\n").as_bytes())
}
