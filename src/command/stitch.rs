//! `stitch`: the files as one Zarr array.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};

use super::planning::{make_plan, storage};
use super::progress::Progress;
use super::resources::Resources;
use super::survey::{Survey, provenance};
use super::{print_json, stop};
use crate::array::Array;
use crate::block::size_bytes;
use crate::cli::{Missing, StitchArgs};
use crate::error::Error;
use crate::exec;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::plan::Plan;
use crate::report::{Summary, count, tuple};
use crate::sink::zarr::{Footprint, ZarrSink};
use crate::sink::{Sink, Spec};
use crate::stack::Stack;

pub(super) fn run(args: &StitchArgs) -> Result<()> {
    if args.names.missing == Missing::Skip {
        let why =
            "--missing skip leaves holes out of what is computed, but an array has an element everywhere: use fill";
        return Err(Error::Usage(why.into()).into());
    }
    let Some(field) = &args.by else {
        check_output(&args.output)?;
        let survey = Survey::new(&args.input, &args.names, (&args.run).into())?;
        survey.tell(args.run.quiet);
        let stop = stop::on_signals()?;
        let told = one(args, &args.output, survey.pattern(), survey.into_stack(&args.names)?, &stop)?;
        return told.map_or(Ok(()), |value| print_json(&value));
    };
    // Every array is checked before the first one is written.
    let mut all: Vec<(PathBuf, Option<String>, Stack)> = Vec::new();
    for (label, survey) in Survey::divided(&args.input, &args.names, field, false, (&args.run).into())? {
        let output = output_for(&args.output, field, &label)?;
        if all.iter().any(|(known, ..)| *known == output) {
            return Err(
                Error::Usage(format!("two values of '{field}' would be written to {}", output.display())).into()
            );
        }
        let pattern = survey.pattern();
        if all.is_empty() {
            survey.tell(args.run.quiet);
        }
        let stack = survey.into_stack(&args.names).with_context(|| format!("{field} {label}"))?;
        all.push((output, pattern, stack));
    }
    let stop = stop::on_signals()?;
    let mut told = Vec::new();
    for (output, pattern, stack) in all {
        if let Some(folder) = folder_of(&output).filter(|_| !args.run.dry_run) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot make the folder", e))?;
        }
        told.extend(one(args, &output, pattern, stack, &stop)?);
    }
    if args.run.json { print_json(&told) } else { Ok(()) }
}

/// Where the array goes whose `field` is `label`.
fn output_for(template: &Path, field: &str, label: &str) -> Result<PathBuf, Error> {
    let text = template.to_string_lossy();
    let place = format!("{{{field}}}");
    if !text.contains(&place) {
        return Err(Error::Usage(format!(
            "{text}: --by {field} writes many outputs: put {place} into the name, such as 'out/{place}.zarr'"
        )));
    }
    // A value is one part of a path, never a way out of the folder.
    let label = label.replace(['/', '\\'], "_");
    let label = if label.trim_matches('.').is_empty() { "_".to_owned() } else { label };
    let output = PathBuf::from(text.replace(&place, &label));
    check_output(&output)?;
    Ok(output)
}

/// The folder that `output` is to lie in, if it is not the current one.
fn folder_of(output: &Path) -> Option<&Path> {
    output.parent().filter(|f| !f.as_os_str().is_empty())
}

/// Writes one array; what is to be printed as JSON, if that was asked for.
fn one(
    args: &StitchArgs,
    output: &Path,
    pattern: Option<String>,
    stack: Stack,
    stop: &AtomicBool,
) -> Result<Option<serde_json::Value>> {
    let start = Instant::now();
    let spec = Spec {
        axes: stack.axes().to_vec(),
        dtype: stack.dtype(),
        fill: stack.fill().to_vec(),
        provenance: provenance(&stack, pattern.as_deref()),
    };
    super::refuse_input(output, stack.paths())?;
    let options = storage(&args.storage, args.overwrite, &stack)?;
    let budget = Resources::new(&args.run, &stack);
    let footprint = Footprint::new(&spec, &options)?;
    // A dry run also says that the place is taken, if the folder is there already.
    let sink = if args.run.dry_run && folder_of(output).is_some_and(|f| !f.is_dir()) {
        None
    } else {
        Some(ZarrSink::create(output, &spec, &options)?)
    };
    let plan = make_plan(&stack, &footprint, &options, &budget)?;
    let terms = budget.terms(&plan, stop);
    let predicted_peak_bytes = budget.base_bytes + terms.peak_bytes();
    let bytes_in = size_bytes(&stack.shape(), stack.dtype());
    let mut summary = Summary {
        output: output.display().to_string(),
        axes: stack.axes().iter().map(|a| a.name.clone()).collect(),
        shape: stack.shape(),
        dtype: stack.dtype().to_string(),
        chunks: Some(options.chunks.clone()),
        shards: options.shards.clone(),
        input_files: stack.paths().len() as u64,
        bytes_in,
        bytes_out: 0,
        output_files: footprint.n_objects(),
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
    let Some(sink) = sink.filter(|_| !args.run.dry_run) else {
        return show_plan(args.run.json, &stack, &plan, &budget, &summary);
    };
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
    .map_err(|e| told(e, output, plan.len()))?;
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
        return Ok(Some(serde_json::to_value(&summary).map_err(Error::format)?));
    }
    if !args.run.quiet {
        eprintln!("{}", summary.text());
    }
    Ok(None)
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

fn show_plan(
    json: bool,
    stack: &Stack,
    plan: &Plan,
    budget: &Resources,
    summary: &Summary,
) -> Result<Option<serde_json::Value>> {
    if json {
        return Ok(Some(serde_json::json!({
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
        })));
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
    super::print(lines.join("\n").as_bytes())?;
    Ok(None)
}
