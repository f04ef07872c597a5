//! `stitch`: the files as one array.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::planning::{fit_levels, no_image, storage};
use super::progress::Progress;
use super::resources::{self, Resources};
use super::{early, print_json, resolve, space, stop, tell};
use crate::array::{Array, Losses, select};
use crate::block::size_bytes;
use crate::cli::{Missing, RunArgs, StitchArgs, StorageArgs};
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::open::Opened;
use crate::plan::Plan;
use crate::report::{Summary, count, tuple};
use crate::sink::zarr::{ZarrOptions, ZarrSink};
use crate::sink::{self, OutputOptions, Spec};
use crate::source::headers::Note;
use crate::source::{OpenOptions, zarr};

pub(super) fn run(args: &StitchArgs) -> Result<()> {
    if args.names.missing == Missing::Skip {
        let why =
            "--missing skip leaves holes out of what is computed, but an array has an element everywhere: use fill";
        return Err(Error::Usage(why.into()).into());
    }
    early::stitch(args)?;
    let mut request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    request.by.clone_from(&args.by);
    request.select.clone_from(&args.select);
    // Every array is checked before the first one is written.
    let mut all: Vec<(PathBuf, Opened)> = Vec::new();
    for opened in resolve::open(&request, &args.run)? {
        let output = match (&args.by, &opened.value) {
            (Some(field), Some(label)) => output_for(&args.output, field, label)?,
            _ => args.output.clone(),
        };
        if all.iter().any(|(known, _)| *known == output) {
            let field = args.by.as_deref().unwrap_or_default();
            let text = format!("two values of '{field}' would be written to {}", output.display());
            return Err(Error::Usage(text).into());
        }
        all.push((output, opened));
    }
    let stop = stop::early(Instant::now(), args.run.deadline)?;
    let mut told = Vec::new();
    for (output, opened) in all {
        if let Some(folder) = folder_of(&output).filter(|_| args.by.is_some() && !args.run.dry_run) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot make the folder", e))?;
        }
        told.extend(one(args, &output, opened, &stop)?);
    }
    match told.as_slice() {
        [only] if args.by.is_none() => print_json(only),
        all if args.run.json => print_json(&all),
        _ => Ok(()),
    }
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
    sink::check_name(&output)?;
    Ok(output)
}

/// The folder that `output` is to lie in, if it is not the current one.
fn folder_of(output: &Path) -> Option<&Path> {
    output.parent().filter(|f| !f.as_os_str().is_empty())
}

/// Writes one array; what is to be printed as JSON, if that was asked for.
fn one(args: &StitchArgs, output: &Path, opened: Opened, stop: &AtomicBool) -> Result<Option<serde_json::Value>> {
    let start = Instant::now();
    let provenance = resolve::provenance(&opened);
    let Opened { stack, notes, is_single, .. } = opened;
    super::refuse_input(output, stack.paths())?;
    let (inputs, n_holes) = (stack.paths().to_vec(), stack.layout().n_holes());
    // Of a part nobody knows how much of it is absent.
    let n_absent = if args.select.is_none() { stack.layout().n_absent_elements() } else { 0 };
    let losses = stack.losses().cloned().unwrap_or_default();
    let mut unit = stack.layout().unit().to_vec();
    let mut array: Arc<dyn Array> = Arc::new(stack);
    if let Some(text) = &args.select {
        array = select(array, text)?;
        unit = Vec::new();
    }
    let mut attributes = serde_json::Map::new();
    if let ([input], true) = (inputs.as_slice(), is_single) {
        let which = OpenOptions { series: args.names.series, level: args.names.level, ..OpenOptions::default() };
        attributes = zarr::kept_attributes(input, &which)?;
    }
    let settings = serde_json::json!({
        "select": args.select,
        "missing": format!("{:?}", args.names.missing),
    });
    let (storage, run, overwrite) = (&args.storage, &args.run, args.overwrite);
    let writing = Writing {
        storage,
        run,
        overwrite,
        output,
        inputs,
        n_holes,
        n_absent,
        notes,
        losses,
        unit,
        provenance,
        attributes,
        settings,
        start,
    };
    write(&writing, array, stop)
}

/// How an array is written, and what is to be told of it.
pub(super) struct Writing<'a> {
    pub(super) storage: &'a StorageArgs,
    pub(super) run: &'a RunArgs,
    pub(super) overwrite: bool,
    pub(super) output: &'a Path,
    /// Files that are read.
    pub(super) inputs: Vec<PathBuf>,
    /// Positions without a file.
    pub(super) n_holes: u64,
    /// Elements that nothing covers, as far as it is known.
    pub(super) n_absent: u64,
    pub(super) notes: Vec<Note>,
    /// What could not be read.
    pub(super) losses: Losses,
    /// Shape of what the files store as one piece; empty if nothing is known of it.
    pub(super) unit: Vec<u64>,
    pub(super) provenance: serde_json::Value,
    /// Attributes of the input that its copy keeps.
    pub(super) attributes: serde_json::Map<String, serde_json::Value>,
    /// What a run that goes on must have in common with this one, beside how the array is stored.
    pub(super) settings: serde_json::Value,
    pub(super) start: Instant,
}

/// Writes `array`; what is to be printed as JSON, if that was asked for.
pub(super) fn write(how: &Writing<'_>, array: Arc<dyn Array>, stop: &AtomicBool) -> Result<Option<serde_json::Value>> {
    let Writing { storage: flags, run, output, .. } = *how;
    let (provenance, mut notes) = (how.provenance.clone(), how.notes.clone());
    let spec = Spec { axes: array.axes().to_vec(), dtype: array.dtype(), fill: array.fill_bytes(), provenance };
    let mut options = ZarrOptions { durability: run.durability, ..storage(flags, how.overwrite, &*array, &how.unit)? };
    options.image.attributes.clone_from(&how.attributes);
    let is_zarr = sink::extension(output) == "zarr";
    let budget = Resources::new(run);
    if is_zarr && let Some(note) = fit_levels(flags, &mut options, &*array, budget.room(&*array)) {
        tell(format_args!("note: {note}"));
    }
    if let Some(note) = no_image(array.axes()).filter(|_| is_zarr && !flags.plain) {
        tell(format_args!("note: {note}"));
        notes.push(note);
    }
    let foretold = if is_zarr { Some(ZarrSink::new(output, &spec, &options)?) } else { None };
    let shapes = foretold.as_ref().map_or_else(Vec::new, ZarrSink::level_shapes);
    let most_bytes = space::most_bytes(&array, &shapes);
    let likely_bytes =
        || if is_zarr { space::likely_bytes(&array, how.n_absent, &options, most_bytes) } else { most_bytes };
    space::check(output, most_bytes, likely_bytes, run.strict)?;
    let n_output_files = foretold.as_ref().map_or(1, ZarrSink::n_files);
    let mut consumers = [sink::create(output, &spec, &OutputOptions::from(&options))?];
    let plan = budget.plan(&*array, &[&*consumers[0]])?;
    let terms = budget.terms(&plan, &*array, &[&*consumers[0]], stop);
    let bytes_in = size_bytes(&array.shape(), array.dtype());
    let mut summary = Summary {
        output: output.display().to_string(),
        axes: array.axes().iter().map(|a| a.name.clone()).collect(),
        shape: array.shape(),
        dtype: array.dtype().to_string(),
        chunks: is_zarr.then(|| options.chunks.clone()),
        shards: options.shards.clone().filter(|_| is_zarr),
        levels: shapes,
        input_files: how.inputs.len() as u64,
        bytes_in,
        bytes_out: 0,
        output_files: n_output_files,
        elements_filled: 0,
        ratio: 0.0,
        wall_s: 0.0,
        rate_bytes_per_s: 0.0,
        read_amplification: plan.amplification(),
        threads: terms.workers(),
        memory_limit_bytes: budget.limit.bytes,
        predicted_peak_bytes: Resources::predicted_bytes(&*array, &[&*consumers[0]], &terms),
        measured_peak_bytes: 0,
    };
    if run.dry_run {
        return show_plan(run.json, &*array, &notes, how.n_holes, &plan, &budget, &summary);
    }
    if !run.quiet {
        tell(format_args!(
            "reading {}, writing {}, {}, memory limit {} ({})",
            count(summary.input_files, "file"),
            if is_zarr { format!("Zarr v{}", flags.zarr_format) } else { output.display().to_string() },
            count(terms.workers() as u64, "thread"),
            Bytes(budget.limit.bytes),
            budget.limit.from
        ));
    }
    let mut progress = Progress::new(bytes_in, run.quiet);
    let settings = serde_json::json!({
        "asked": how.settings,
        "fill": array.fill_bytes(),
        "zarr_format": flags.zarr_format,
        "chunks": options.chunks,
        "shards": options.shards,
        "codec": options.codec.to_string(),
        "image": format!("{:?}", options.image),
    });
    let job = resources::job(run, &*array, &how.inputs, &plan, settings, &how.losses);
    let ran = resources::run(run, &array, &plan, &mut consumers, &job, &terms, |bytes| progress.add(bytes))?;
    progress.finish();
    resolve::tell_losses(&how.losses);
    if let Some(share) = run.share {
        let told = resources::shared(run, share, &plan, &ran);
        return Ok(run.json.then_some(told));
    }
    let written = ran.products.iter().flatten().next();
    summary.elements_filled = ran.n_absent;
    summary.bytes_out = written.map_or(0, |w| w.bytes);
    summary.output_files = written.map_or(0, |w| w.files);
    summary.ratio = bytes_in as f64 / summary.bytes_out.max(1) as f64;
    summary.wall_s = how.start.elapsed().as_secs_f64();
    summary.rate_bytes_per_s = bytes_in as f64 / summary.wall_s.max(1e-9);
    summary.measured_peak_bytes = peak_bytes();
    if run.json {
        let mut value = serde_json::to_value(&summary).map_err(Error::format)?;
        value["notes"] = serde_json::json!(notes);
        value["losses"] = serde_json::json!(how.losses.texts());
        return Ok(Some(value));
    }
    if !run.quiet {
        tell(summary.text());
    }
    Ok(None)
}

fn show_plan(
    json: bool,
    array: &dyn Array,
    notes: &[Note],
    n_holes: u64,
    plan: &Plan,
    budget: &Resources,
    summary: &Summary,
) -> Result<Option<serde_json::Value>> {
    if json {
        return Ok(Some(serde_json::json!({
            "array": { "axes": array.axes(), "dtype": array.dtype(), "bytes": summary.bytes_in },
            "chunks": summary.chunks,
            "shards": summary.shards,
            "levels": summary.levels,
            "files": summary.output_files,
            "tasks": plan.len(),
            "task_shape": plan.task_box(),
            "threads": summary.threads,
            "memory_limit_bytes": budget.limit.bytes,
            "predicted_peak_bytes": summary.predicted_peak_bytes,
            "read_amplification": plan.amplification(),
            "holes": n_holes,
            "notes": notes,
        })));
    }
    let mut lines = vec![format!(
        "{}: {} {} ({}), axes {}",
        summary.output,
        tuple(&summary.shape),
        summary.dtype,
        Bytes(summary.bytes_in),
        summary.axes.join(" ")
    )];
    if let Some(chunks) = &summary.chunks {
        lines.push(format!("  chunks       {}", tuple(chunks)));
    }
    if let Some(shards) = &summary.shards {
        lines.push(format!("  shards       {}", tuple(shards)));
    }
    if summary.levels.len() > 1 {
        let shapes: Vec<String> = summary.levels.iter().map(|shape| tuple(shape)).collect();
        lines.push(format!("  levels       {}, from the same reading", shapes.join(" ")));
    }
    lines.push(format!("  files        at most {}", summary.output_files));
    lines.push(format!("  tasks        {} of up to {}", plan.len(), tuple(plan.task_box())));
    lines.push(format!(
        "  memory       {} with {}, limit {} ({})",
        Bytes(summary.predicted_peak_bytes),
        count(summary.threads as u64, "thread"),
        Bytes(budget.limit.bytes),
        budget.limit.from
    ));
    lines.push(format!("  read amplification {:.2}", plan.amplification()));
    if n_holes > 0 {
        lines.push(format!("  {} will hold the fill value", count(n_holes, "position")));
    }
    lines.push("nothing was written (--dry-run)\n".into());
    super::print(lines.join("\n").as_bytes())?;
    Ok(None)
}
