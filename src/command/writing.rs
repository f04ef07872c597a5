//! Writing an array and what is made beside it, from one reading, with everything that is told of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::beside::{Beside, Main};
use super::calculated::Calculated;
use super::kept::Kept;
use super::planning::{self, fit_levels, no_image, storage};
use super::progress::Progress;
use super::resources::{self, Came, Resources};
use super::{resolve, space, tell, voice};
use crate::array::{Array, Losses};
use crate::axis::{Axis, AxisKind, position, shape};
use crate::block::size_bytes;
use crate::bytes::Watch;
use crate::cli::{BesideArgs, RunArgs, StorageArgs, StreamFormat};
use crate::consume::levels::{Levels, Method};
use crate::consume::{Consumer, Job};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::open::Opened;
use crate::plan::Plan;
use crate::provenance::Ledger;
use crate::report::{Summary, count, tuple};
use crate::sink::png::PngOptions;
use crate::sink::zarr::{ZarrOptions, ZarrSink};
use crate::sink::{self, OutputOptions, Spec};
use crate::source::headers::GroupedNote;
use crate::source::{self, OpenOptions};

/// How an array is written, and what is to be told of it.
pub(super) struct Writing<'a> {
    pub(super) storage: &'a StorageArgs,
    pub(super) run: &'a RunArgs,
    pub(super) overwrite: bool,
    pub(super) output: &'a Path,
    /// Where it will stand when all is done.
    pub(super) shown: &'a Path,
    /// What the image is called, if not as its folder.
    pub(super) name: Option<String>,
    pub(super) beside: BesideArgs,
    pub(super) png: PngOptions,
    /// What goes down a pipe.
    pub(super) stream: StreamFormat,
    pub(super) lineage: Lineage,
    /// What the array is calculated of, if it is.
    pub(super) calculated: Option<&'a Calculated>,
    /// What a run that goes on must have in common with this one, beside how the array is stored.
    pub(super) settings: serde_json::Value,
    /// Whether other runs write outputs that belong to this one.
    pub(super) is_one_of_many: bool,
    pub(super) start: Instant,
}

impl<'a> Writing<'a> {
    /// Of an array that is written as `output`, and nothing beside it.
    pub(super) fn new(storage: &'a StorageArgs, run: &'a RunArgs, overwrite: bool, output: &'a Path) -> Self {
        Self {
            storage,
            run,
            overwrite,
            output,
            shown: output,
            name: None,
            beside: BesideArgs::default(),
            png: PngOptions::default(),
            stream: StreamFormat::default(),
            lineage: Lineage::default(),
            calculated: None,
            settings: serde_json::Value::Null,
            is_one_of_many: false,
            start: Instant::now(),
        }
    }
}

/// What an array was made of.
#[derive(Default)]
pub(super) struct Lineage {
    /// Files that are read.
    pub(super) inputs: Watch,
    /// Positions without a file.
    pub(super) n_holes: u64,
    /// Elements that nothing covers, as far as it is known.
    pub(super) n_absent: u64,
    /// Whether projections must look for such elements.
    pub(super) may_lack: bool,
    pub(super) notes: Vec<GroupedNote>,
    /// What could not be read.
    pub(super) losses: Losses,
    /// The files, and what was read of them.
    pub(super) ledger: Ledger,
    /// Shape of what the files store as one piece; empty if nothing is known of it.
    pub(super) unit: Vec<u64>,
    pub(super) provenance: serde_json::Value,
    /// What of the input is said of the output.
    pub(super) kept: Kept,
}

impl Lineage {
    /// What is known of an array that was opened; its files are watched from then on.
    ///
    /// # Errors
    /// `Io` if one cannot be looked at.
    pub(super) fn of(mut opened: Opened, run: &RunArgs) -> Result<(Self, Opened)> {
        opened.stack = resolve::watched(opened.stack, run)?;
        let stack = &opened.stack;
        let own = Self {
            inputs: stack.watch().clone(),
            n_holes: stack.layout().n_holes(),
            notes: opened.notes.clone(),
            losses: stack.losses().cloned().unwrap_or_default(),
            unit: stack.layout().unit().to_vec(),
            provenance: resolve::provenance(&opened, run),
            ..Self::default()
        };
        Ok((own, opened))
    }
}

/// Writes `array`; what is to be printed as JSON, if that was asked for.
pub(super) fn write(how: &Writing<'_>, array: Arc<dyn Array>, stop: &AtomicBool) -> Result<Option<serde_json::Value>> {
    let Writing { storage: flags, run, output, .. } = *how;
    let (mut provenance, mut notes) = (how.lineage.provenance.clone(), how.lineage.notes.clone());
    let is_archived = sink::zarr::is_archive(output);
    let options = storage(flags, how.overwrite, is_archived, &*array, &how.lineage.unit)?;
    let mut options = ZarrOptions { durability: run.durability, ..options };
    how.lineage.kept.clone().say(&mut options.image);
    options.image.name.clone_from(&how.name);
    let is_zarr = sink::is_zarr(output);
    let is_label = sink::zarr::is_label(output);
    let mut axes = array.axes().to_vec();
    if is_label && !array.dtype().is_integer() {
        let (name, dtype) = (output.display(), array.dtype());
        let why = format!("{name}: labels are whole numbers, and these are {dtype}: use --dtype uint32");
        return Err(Error::usage(why).into());
    }
    if is_label {
        let label = options.image.attributes.remove("image-label").filter(Value::is_object);
        let mut label = label.unwrap_or_else(|| serde_json::json!({}));
        label["source"] = serde_json::json!({"image": "../../"});
        options.image.attributes.insert("image-label".into(), label);
        let n_levels = sink::zarr::levels_of_labelled(output, options.format)?;
        let asked = match flags.levels {
            Some(Levels::Count(n)) => n,
            Some(Levels::None) => 1,
            Some(Levels::Auto) | None => n_levels,
        };
        if asked != n_levels {
            return Err(unlike_image(asked, n_levels).into());
        }
        options.image.levels = Levels::Count(n_levels);
        axes = as_labelled(output, &axes)?;
        if !run.dry_run {
            sink::zarr::begin_label(output)?;
        }
    }
    if let Some(note) = choose_mode(flags, &mut options, how.lineage.inputs.paths(), array.dtype()).filter(|_| is_zarr)
    {
        tell(format_args!("note: {note}"));
    }
    let budget = Resources::new(run);
    if is_zarr && let Some(note) = fit_levels(flags, &mut options, &*array, budget.room(&*array)) {
        tell(format_args!("note: {note}"));
    }
    if let Some(note) = no_image(array.axes()).filter(|_| is_zarr && !flags.plain) {
        tell(format_args!("note: {note}"));
        notes.push(note);
    }
    for note in planning::uneven(output, array.axes(), flags.coordinates).into_iter().filter(|_| !flags.plain) {
        tell(format_args!("note: {note}"));
        notes.push(note);
    }
    provenance["storage"] = planning::recorded(&options);
    let spec = Spec { axes, provenance, ..Spec::of(&*array) };
    let foretold = if is_zarr { Some(ZarrSink::new(output, &spec, &options)?) } else { None };
    let shapes = foretold.as_ref().map_or_else(Vec::new, ZarrSink::level_shapes);
    let most_bytes = space::most_bytes(&array, &shapes);
    let likely_bytes =
        || if is_zarr { space::likely_bytes(&array, how.lineage.n_absent, &options, &shapes) } else { most_bytes };
    if !sink::is_stream(output) {
        space::check(output, most_bytes, likely_bytes, run.strict)?;
    }
    let n_output_files = foretold.as_ref().map_or(1, ZarrSink::n_files);
    super::tell_one_pixel(output, &spec.shape());
    let mut made = OutputOptions { png: how.png, ..OutputOptions::from(&options) };
    if !is_zarr {
        // Tiles and their codec go by what was asked for alone.
        (made.chunks, made.codec) = (flags.chunks.clone(), flags.codec.clone());
    }
    let mut consumers = vec![match sink::is_stream(output) {
        true => sink::stream(Box::new(std::io::stdout()), &spec, how.stream == StreamFormat::Raw),
        false => sink::create(output, &spec, &made)?,
    }];
    let main = Main {
        path: output,
        spec: &spec,
        options: &options,
        wants: consumers[0].wants(),
        may_lack: how.lineage.may_lack,
    };
    let beside = Beside::new(&how.beside, &main, &*array)?;
    beside.paths.iter().try_for_each(|path| super::refuse_inputs(path, &how.lineage.inputs))?;
    beside.notes.iter().for_each(|note| tell(format_args!("note: {note}")));
    check_files(flags, n_output_files, beside.n_files)?;
    consumers.extend(beside.consumers);
    let shared: Vec<&dyn Consumer> = consumers.iter().map(|c| &**c).collect();
    let plan = budget.plan(&*array, &shared)?;
    let terms = budget.terms(&plan, &*array, &shared, stop);
    let bytes_in = size_bytes(&array.shape(), array.dtype());
    let mut summary = Summary {
        output: how.shown.display().to_string(),
        axes: array.axes().iter().map(|a| a.name.clone()).collect(),
        shape: array.shape(),
        dtype: array.dtype().to_string(),
        chunks: is_zarr.then(|| options.chunks.clone()),
        shards: options.shards.clone().filter(|_| is_zarr),
        levels: shapes,
        input_files: how.lineage.inputs.paths().len() as u64,
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
        beside: beside.paths.iter().map(|path| (path.display().to_string(), 0)).collect(),
        predicted_peak_bytes: Resources::predicted_bytes(&*array, &shared, &terms),
        measured_peak_bytes: 0,
        profile: None,
    };
    if run.dry_run {
        let tree = how.calculated.map_or_else(Vec::new, |made| made.tree(plan.task_box()));
        return show_plan(run.json, &*array, (&tree, &notes), how.lineage.n_holes, &plan, &budget, &summary);
    }
    if !run.quiet && !run.reads_nothing() {
        tell(format_args!(
            "reading {}, writing {}, {}, memory limit {} ({})",
            count(summary.input_files, "file"),
            if is_zarr { format!("Zarr v{}", flags.zarr_format.unwrap_or(3)) } else { output.display().to_string() },
            count(terms.workers() as u64, "thread"),
            Bytes(budget.limit.bytes),
            budget.limit.from
        ));
    }
    let mut progress = Progress::new(bytes_in, run.quiet);
    let settings = serde_json::json!({
        "asked": how.settings,
        "fill": array.fill_bytes(),
        "zarr_format": flags.zarr_format.unwrap_or(3),
        "chunks": options.chunks,
        "shards": options.shards,
        "codec": options.codec.to_string(),
        "image": format!("{:?}", options.image),
    });
    let job = Job {
        ledger: how.lineage.ledger.clone(),
        is_one_of_many: how.is_one_of_many,
        ..resources::job(run, &*array, &how.lineage.inputs, &plan, settings, &how.lineage.losses)?
    };
    let came = resources::run(run, &array, &plan, &mut consumers, &job, &terms, |bytes| progress.add(bytes))?;
    progress.finish();
    resolve::tell_losses(&how.lineage.losses);
    let ran = match came {
        Came::Whole(ran) => ran,
        Came::Part(told) => return Ok(run.json.then_some(told)),
    };
    if is_label {
        sink::zarr::list_label(output, options.format)?;
    }
    let written = ran.products.iter().flatten().next();
    summary.beside.iter_mut().zip(ran.products.iter().flatten().skip(1)).for_each(|(told, made)| told.1 = made.bytes);
    summary.elements_filled = ran.n_absent;
    summary.bytes_out = written.map_or(0, |w| w.bytes);
    summary.output_files = written.map_or(0, |w| w.files);
    summary.ratio = bytes_in as f64 / summary.bytes_out.max(1) as f64;
    summary.wall_s = how.start.elapsed().as_secs_f64();
    summary.rate_bytes_per_s = bytes_in as f64 / summary.wall_s.max(1e-9);
    summary.measured_peak_bytes = peak_bytes();
    summary.profile = resources::profiled(run);
    if run.json {
        let mut value = serde_json::to_value(&summary).map_err(Error::format)?;
        value["notes"] = serde_json::json!(notes);
        value["losses"] = serde_json::json!(how.lineage.losses.texts());
        return Ok(Some(value));
    }
    if !run.quiet {
        tell(summary.text());
    }
    Ok(None)
}

/// The `axes` of labels that will be called `output`, which must be as long as those of their image: what they do not say of
/// places is as there.
fn as_labelled(output: &Path, axes: &[Axis]) -> Result<Vec<Axis>, Error> {
    let path = output.ancestors().nth(2).unwrap_or(output);
    let image = source::open(path, &OpenOptions::default()).map_err(|e| e.at(path.display()))?;
    let of = |axis: &Axis| image.axes().iter().find(|own| own.name == axis.name && own.length == axis.length);
    // One holds for all times and channels, but not for all planes.
    let is_common = |axis: &Axis| {
        axis.length == 1 && (axis.kind != AxisKind::Space || position(image.axes(), &axis.name).is_none())
    };
    if !axes.iter().all(|axis| of(axis).is_some() || is_common(axis)) {
        let words = |axes: &[Axis]| {
            let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
            format!("{} ({})", tuple(&shape(axes)), names.join(","))
        };
        return Err(Error::usage(format!(
            "{}: labels of shape {} for an image of shape {}: they have its length along each axis, or one for all times and \
             channels",
            output.display(),
            words(axes),
            words(image.axes())
        )));
    }
    let placed = |axis: &Axis| {
        let is_silent = axis.calibration.is_none() && axis.coordinates.is_none() && axis.origin == 0.0;
        match of(axis).filter(|_| is_silent) {
            Some(Axis { calibration, origin, coordinates, .. }) => Axis {
                calibration: calibration.clone(),
                origin: *origin,
                coordinates: coordinates.clone(),
                ..axis.clone()
            },
            None => axis.clone(),
        }
    };
    Ok(axes.iter().map(placed).collect())
}

/// Labels that are to have other levels than their image.
fn unlike_image(asked: u64, n_levels: u64) -> Error {
    Error::usage(format!(
        "--levels: {} asked for, the image has {n_levels}, and OME-Zarr wants as many of its labels: leave --levels out",
        count(asked, "level")
    ))
}

/// Halves labels by their mode unless another way is asked for, and says why they are taken for labels.
fn choose_mode(flags: &StorageArgs, options: &mut ZarrOptions, inputs: &[PathBuf], dtype: DType) -> Option<String> {
    if flags.downsample.is_some() || !dtype.is_integer() || options.image.levels == Levels::None {
        return None;
    }
    let why = if options.image.is_label() {
        "the input is a label image"
    } else if inputs.iter().all(|input| says_labels(input)) {
        "the names say labels or masks"
    } else {
        return None;
    };
    options.image.method = Method::Mode;
    Some(format!("{why}: levels by mode; --downsample mean takes means"))
}

/// Whether the name of a file says that it holds labels of objects.
fn says_labels(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphabetic());
    words.any(|word| matches!(word, "label" | "labels" | "mask" | "masks" | "seg" | "segmentation" | "labelmap"))
}

/// Refuses more files than there may be, those `beside` the output included.
fn check_files(flags: &StorageArgs, n_files: u64, n_beside: u64) -> Result<(), Error> {
    match flags.max_files {
        Some(most) if n_beside > 0 && n_files.saturating_add(n_beside) > most => Err(Error::usage(format!(
            "the output would have {n_files} files and what is made beside it {n_beside}; --max-files allows {most}: \
             use larger --shards or --chunks"
        ))),
        _ => Ok(()),
    }
}

fn show_plan(
    json: bool,
    array: &dyn Array,
    (tree, notes): (&[String], &[GroupedNote]),
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
            "beside": summary.beside,
            "tasks": plan.len(),
            "task_shape": plan.task_box(),
            "threads": summary.threads,
            "memory_limit_bytes": budget.limit.bytes,
            "predicted_peak_bytes": summary.predicted_peak_bytes,
            "read_amplification": plan.amplification(),
            "holes": n_holes,
            "notes": notes,
            "tree": tree,
        })));
    }
    let mut lines = tree.to_vec();
    lines.push(format!(
        "{}: {} {} ({}), axes {}",
        summary.output,
        tuple(&summary.shape),
        summary.dtype,
        Bytes(summary.bytes_in),
        summary.axes.join(" ")
    ));
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
    lines.extend(summary.beside.iter().map(|(path, _)| format!("  beside       {path}, from the same reading")));
    lines.push(format!(
        "  tasks        {} of up to {}, read amplification {:.2}",
        plan.len(),
        tuple(plan.task_box()),
        plan.amplification()
    ));
    lines.push(format!(
        "  memory       {} with {}, limit {} ({})",
        Bytes(summary.predicted_peak_bytes),
        count(summary.threads as u64, "thread"),
        Bytes(budget.limit.bytes),
        budget.limit.from
    ));
    if n_holes > 0 {
        lines.push(format!("  {} will hold the fill value", count(n_holes, "position")));
    }
    lines.push("nothing was written (--dry-run)\n".into());
    super::print(voice::for_stdout(&lines.join("\n")).as_bytes())?;
    Ok(None)
}
