//! Where the results of `reduce` go: files, standard output, the terminal.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::{print, print_json};
use crate::block::{Block, size_bytes};
use crate::cli::ReduceArgs;
use crate::codec::Codec;
use crate::dtype::{Complex, DType};
use crate::error::Error;
use crate::exec::Worker;
use crate::exec::budget::Bytes;
use crate::grid::{Grid, Region, n_elements};
use crate::reduce::{Cut, Output, Reducer};
use crate::report::{count, duration, tuple};
use crate::sink::output::{self as file, OutputOptions, Receipt, Shards};
use crate::sink::png::Window;
use crate::sink::zarr::Format;
use crate::sink::{Sink, Spec};

/// Results of no more bytes are put together in memory and written at the end.
const SMALL_BYTES: u64 = 4 << 20;
/// Most numbers that are printed when no output is named.
const MOST_PRINTED: u64 = 1 << 17;

/// Where the result of one operator goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// To the terminal, as text or JSON.
    Print,
    /// To standard output, as `.npy`.
    Pipe,
    /// To a file, or the folder of a Zarr array.
    File(PathBuf),
}

/// Where each operator's result goes.
///
/// # Errors
/// `Usage` if a name is missing, of an unknown kind, or the same for several operators.
pub(super) fn targets(args: &ReduceArgs, reducer: &Reducer) -> Result<Vec<Target>, Error> {
    let outputs = reducer.outputs();
    let Some(name) = &args.output else {
        if let Some(output) = outputs.iter().find(|o| n_elements(&o.shape()) > MOST_PRINTED) {
            return Err(Error::usage(format!(
                "{} gives an array of {}: say with -o where to write it, or reduce more axes",
                output.label,
                tuple(&output.shape())
            )));
        }
        return Ok(vec![Target::Print; outputs.len()]);
    };
    if outputs.len() > 1 && (name == "-" || !name.contains("{op}")) {
        return Err(Error::usage(format!(
            "-o {name}: {} operators need a name each: put {{op}} into it, as in 'result_{{op}}.zarr'",
            outputs.len()
        )));
    }
    let target = |output: &Output| match name.as_str() {
        "-" => Target::Pipe,
        _ => Target::File(PathBuf::from(name.replace("{op}", &output.file_part()))),
    };
    Ok(outputs.iter().map(target).collect())
}

/// The ending of a file's name, in lower case.
fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Whether the whole result is put together in memory.
fn is_gathered(target: &Target, output: &Output) -> bool {
    match target {
        Target::Print | Target::Pipe => true,
        // A picture is put together by its sink.
        Target::File(path) => extension(path) != "png" && size_bytes(&output.shape(), output.dtype) <= SMALL_BYTES,
    }
}

/// Memory of results that are put together, in bytes.
pub(super) fn held_bytes(targets: &[Target], reducer: &Reducer) -> u64 {
    let held = |(target, output): (&Target, &Output)| {
        let bytes = size_bytes(&output.shape(), output.dtype);
        match target {
            // A small one may be encoded as well.
            target if is_gathered(target, output) => 2 * bytes,
            // The plane, its values as floats, and the picture twice.
            Target::File(path) if extension(path) == "png" => bytes + 12 * n_elements(&output.shape()) + (1 << 20),
            _ => 0,
        }
    };
    targets.iter().zip(reducer.outputs()).map(held).fold(0, u64::saturating_add)
}

/// Memory of writing the results of so many elements of a tile, in bytes.
pub(super) fn write_bytes(args: &ReduceArgs, reducer: &Reducer) -> Result<Box<dyn Fn(u64) -> u64>, Error> {
    let codec: Codec = args.codec.parse().map_err(|e: Error| e.at("--codec"))?;
    let per_element: Vec<u64> = (0..reducer.outputs().len())
        .map(|i| {
            let own = n_elements(&reducer.outputs()[i].shape()) / n_elements(&reducer.frame()).max(1);
            own.max(1) * reducer.outputs()[i].dtype.size() as u64
        })
        .collect();
    Ok(Box::new(move |n| {
        let one = |size: &u64| {
            let bytes = size.saturating_mul(n);
            codec.bound(bytes).saturating_add(codec.context_bytes(bytes)).saturating_add(2 * bytes)
        };
        per_element.iter().map(one).fold(0, u64::saturating_add)
    }))
}

/// Figures of a reduction.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) input_axes: Vec<String>,
    pub(super) input_shape: Vec<u64>,
    pub(super) input_dtype: String,
    pub(super) bytes_in: u64,
    /// How often the input is read.
    pub(super) passes: u32,
    pub(super) tasks: u64,
    /// Shape of the largest piece that is read at once.
    pub(super) piece: Vec<u64>,
    pub(super) elements_filled: u64,
    pub(super) wall_s: f64,
    pub(super) rate_bytes_per_s: f64,
    pub(super) read_amplification: f64,
    pub(super) threads: usize,
    pub(super) memory_limit_bytes: u64,
    pub(super) predicted_peak_bytes: u64,
    pub(super) measured_peak_bytes: u64,
}

/// One result under construction.
enum Writer {
    Gather { block: Mutex<Block>, target: Target, spec: Box<Spec> },
    File { output: Box<file::Output>, path: PathBuf },
}

/// What writing a block came to.
pub(super) enum Written {
    Block(Block),
    Receipt(Receipt),
}

/// All results under construction.
pub(super) struct Results {
    writers: Vec<Writer>,
    options: OutputOptions,
}

/// One finished result.
pub(super) enum Finished {
    /// In a file of so many bytes; for a picture, which values became black and white.
    File(PathBuf, u64, Option<Window>),
    /// To be printed.
    Values(Block),
    /// Gone down the pipe.
    Piped,
}

impl Results {
    pub(super) fn create(
        args: &ReduceArgs,
        targets: Vec<Target>,
        reducer: &Reducer,
        cut: &Cut,
        provenance: Value,
    ) -> Result<Self, Error> {
        let options = OutputOptions {
            overwrite: args.overwrite,
            format: if args.zarr_format == 2 { Format::V2 } else { Format::V3 },
            codec: args.codec.parse().map_err(|e: Error| e.at("--codec"))?,
            ..OutputOptions::default()
        };
        let mut results = Self { writers: Vec::new(), options };
        for (i, (target, output)) in targets.into_iter().zip(reducer.outputs()).enumerate() {
            let mut provenance = provenance.clone();
            provenance["operator"] = output.label.clone().into();
            let spec =
                Spec { axes: output.axes.clone(), dtype: output.dtype, fill: vec![0; output.dtype.size()], provenance };
            let tile = reducer.output_of(i, &Region::whole(cut.tiles().cell()));
            let writer = match target {
                Target::File(path) if !is_gathered(&Target::File(path.clone()), output) => {
                    let options = results.tiled(&spec, &tile.shape);
                    Writer::File { output: Box::new(file::Output::create(&path, &spec, &options)?), path }
                }
                target => {
                    let block = Mutex::new(Block::new(Region::whole(&output.shape()), output.dtype)?);
                    Writer::Gather { block, target, spec: Box::new(spec) }
                }
            };
            results.writers.push(writer);
        }
        Ok(results)
    }

    /// Chunks are what one tile makes; shards take in tiles that follow each other.
    fn tiled(&self, spec: &Spec, chunk: &[u64]) -> OutputOptions {
        /// Files that need no shards.
        const FEW_FILES: u64 = 256;
        let shape = spec.shape();
        let counts = Grid::new(&shape, chunk).counts().to_vec();
        let mut shards = chunk.to_vec();
        for i in (0..shape.len()).rev() {
            if Grid::new(&shape, &shards).len() <= FEW_FILES {
                break;
            }
            shards[i] = counts[i] * chunk[i];
        }
        let sharded = self.options.format == Format::V3 && shards != chunk;
        OutputOptions {
            chunks: Some(chunk.to_vec()),
            shards: if sharded { Shards::Shape(shards) } else { Shards::None },
            ..self.options.clone()
        }
    }

    /// Encodes the blocks of a tile, one of each operator; on any thread.
    pub(super) fn write(&self, blocks: Vec<Block>, worker: &mut Worker) -> Result<Vec<Written>, Error> {
        let each = self.writers.iter().zip(blocks).map(|(writer, block)| match writer {
            Writer::Gather { .. } => Ok(Written::Block(block)),
            Writer::File { output, .. } => output.write(&block, &mut worker.scratch).map(Written::Receipt),
        });
        each.collect()
    }

    /// Takes what [`Results::write`] returned, in plan order.
    pub(super) fn commit(&self, written: Vec<Written>) -> Result<(), Error> {
        for (writer, written) in self.writers.iter().zip(written) {
            match (writer, written) {
                (Writer::Gather { block, .. }, Written::Block(part)) => {
                    let mut whole = block.lock().unwrap_or_else(PoisonError::into_inner);
                    whole.target().part(part.region()).paste(part.bytes());
                }
                (Writer::File { output, .. }, Written::Receipt(receipt)) => output.commit(receipt)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Completes every result.
    pub(super) fn finish(self) -> Result<Vec<Finished>, Error> {
        let finish = |writer: Writer| match writer {
            Writer::File { output, path } => {
                let (written, window) = output.complete()?;
                Ok(Finished::File(path, written.bytes, window))
            }
            Writer::Gather { block, target, spec } => {
                let block = block.into_inner().unwrap_or_else(PoisonError::into_inner);
                put(block, target, &spec, &self.options)
            }
        };
        self.writers.into_iter().map(finish).collect()
    }
}

/// Writes a result that was put together.
fn put(block: Block, target: Target, spec: &Spec, options: &OutputOptions) -> Result<Finished, Error> {
    let (output, path) = match target {
        Target::Print => return Ok(Finished::Values(block)),
        Target::Pipe => (file::Output::stream(Box::new(std::io::stdout()), spec)?, None),
        Target::File(path) => {
            let options = OutputOptions { shards: Shards::None, ..options.clone() };
            (file::Output::create(&path, spec, &options)?, Some(path))
        }
    };
    let receipt = output.write(&block, &mut Worker::default().scratch)?;
    output.commit(receipt)?;
    let (written, window) = output.complete()?;
    Ok(match path {
        Some(path) => Finished::File(path, written.bytes, window),
        None => Finished::Piped,
    })
}

/// Prints what would be done.
pub(super) fn show_plan(args: &ReduceArgs, reducer: &Reducer, targets: &[Target], plan: &Figures) -> Result<()> {
    let place = |target: &Target| match target {
        Target::Print => "printed".to_owned(),
        Target::Pipe => "standard output".to_owned(),
        Target::File(path) => path.display().to_string(),
    };
    let outputs = || reducer.outputs().iter().zip(targets);
    if args.run.json {
        let outputs: Vec<Value> = outputs()
            .map(|(o, t)| {
                json!({
                    "operator": o.label, "output": place(t), "axes": o.axes, "shape": o.shape(),
                    "dtype": o.dtype, "strategy": o.strategy,
                })
            })
            .collect();
        return print_json(&json!({ "outputs": outputs, "plan": plan }));
    }
    let mut lines = vec![format!(
        "{} {} ({}), axes {}",
        tuple(&plan.input_shape),
        plan.input_dtype,
        Bytes(plan.bytes_in),
        plan.input_axes.join(" ")
    )];
    for (output, target) in outputs() {
        let shape = output.shape();
        let what = if shape.is_empty() { "a number".to_owned() } else { tuple(&shape) };
        lines.push(format!("  {:<12} {what} {}: {}", output.label, output.dtype, place(target)));
        if let Some(strategy) = &output.strategy {
            lines.push(format!("               {strategy}"));
        }
    }
    let passes = if plan.passes == 1 { "one pass".to_owned() } else { format!("{} passes", plan.passes) };
    lines.push(format!(
        "  reads        {passes}, {} in pieces of up to {}",
        count(plan.tasks, "task"),
        tuple(&plan.piece)
    ));
    lines.push(format!(
        "  memory       {} with {}, limit {}",
        Bytes(plan.predicted_peak_bytes),
        count(plan.threads as u64, "thread"),
        Bytes(plan.memory_limit_bytes)
    ));
    lines.push(format!("  read amplification {:.2}", plan.read_amplification));
    lines.push("nothing was read (--dry-run)\n".into());
    print(lines.join("\n").as_bytes())
}

/// Prints what was done, and results that go to the terminal.
pub(super) fn show(
    args: &ReduceArgs,
    reducer: &Reducer,
    finished: Vec<Finished>,
    figures: &Figures,
    n_files: u64,
) -> Result<()> {
    let outputs = reducer.outputs();
    if args.run.json && !finished.iter().any(|f| matches!(f, Finished::Piped)) {
        let list: Vec<Value> = outputs.iter().zip(&finished).map(|(o, f)| as_json(o, f)).collect();
        print_json(&json!({ "outputs": list, "input_files": n_files, "figures": figures }))?;
    } else {
        let mut text = String::new();
        for (output, finished) in outputs.iter().zip(&finished) {
            match finished {
                Finished::Values(block) => text += &as_text(output, block, outputs.len() > 1),
                Finished::File(path, bytes, window) if !args.run.quiet => {
                    let shape = tuple(&output.shape());
                    eprintln!("{}: {shape} {} ({})", path.display(), output.dtype, Bytes(*bytes));
                    if let Some(window) = window {
                        eprintln!("  black is {}, white is {}", window.low, window.high);
                    }
                }
                _ => {}
            }
        }
        print(text.as_bytes())?;
    }
    if !args.run.quiet {
        let mut line = format!(
            "  {} of {} in {}, {}/s, peak {} (predicted {})",
            Bytes(figures.bytes_in),
            count(n_files, "file"),
            duration(figures.wall_s),
            Bytes(figures.rate_bytes_per_s as u64),
            Bytes(figures.measured_peak_bytes),
            Bytes(figures.predicted_peak_bytes),
        );
        if figures.elements_filled > 0 {
            line += &format!("\n  {} elements are covered by no file", figures.elements_filled);
        }
        if figures.read_amplification > 1.005 {
            line += &format!(
                "\n  read amplification {:.2}: strips or tiles were decoded more than once",
                figures.read_amplification
            );
        }
        eprintln!("{line}");
    }
    Ok(())
}

fn as_json(output: &Output, finished: &Finished) -> Value {
    let mut value = json!({
        "operator": output.label, "axes": output.axes, "shape": output.shape(), "dtype": output.dtype,
    });
    match finished {
        Finished::File(path, bytes, window) => {
            value["output"] = path.display().to_string().into();
            value["bytes"] = (*bytes).into();
            if let Some(window) = window {
                value["window"] = json!([window.low, window.high]);
            }
        }
        Finished::Values(block) => {
            let shape = output.shape();
            let flat: Vec<Value> =
                block.bytes().chunks_exact(output.dtype.size()).map(|b| element_json(output.dtype, b)).collect();
            value["value"] = nested(&flat, &shape);
        }
        Finished::Piped => {}
    }
    value
}

/// A flat list as lists of lists.
fn nested(flat: &[Value], shape: &[u64]) -> Value {
    match shape.split_first() {
        None => flat.first().cloned().unwrap_or(Value::Null),
        Some((&n, inner)) => {
            let size = n_elements(inner) as usize;
            Value::Array((0..n as usize).map(|i| nested(&flat[i * size..(i + 1) * size], inner)).collect())
        }
    }
}

/// Numbers as text: one alone, or a line for each with its place.
fn as_text(output: &Output, block: &Block, named: bool) -> String {
    let texts = block.bytes().chunks_exact(output.dtype.size()).map(|b| element_text(output.dtype, b));
    let prefix = if named { format!("{}\t", output.label) } else { String::new() };
    let shape = output.shape();
    let is_histogram = output.axes.first().is_some_and(|a| a.name == "bin");
    let mut text = String::new();
    for (position, value) in crate::grid::positions(&shape).zip(texts) {
        // Exact histograms have thousands of values that do not occur.
        if is_histogram && value == "0" && shape[0] > 1024 {
            continue;
        }
        text += &prefix;
        for (axis, at) in output.axes.iter().zip(&position) {
            let at = *at as usize;
            let label = axis.labels.as_ref().and_then(|l| l.get(at).cloned());
            let coordinate = || axis.coordinates.as_ref().and_then(|c| c.get(at)).map(f64::to_string);
            text += &label.or_else(coordinate).unwrap_or_else(|| at.to_string());
            text.push('\t');
        }
        text += &value;
        text.push('\n');
    }
    text
}

fn element_text(dtype: DType, bytes: &[u8]) -> String {
    if dtype == DType::Bool {
        return (bytes != [0]).to_string();
    }
    fn read<T: bytemuck::Pod>(bytes: &[u8]) -> T {
        bytemuck::pod_read_unaligned(bytes)
    }
    match dtype {
        DType::Bool | DType::Uint8 => read::<u8>(bytes).to_string(),
        DType::Uint16 => read::<u16>(bytes).to_string(),
        DType::Uint32 => read::<u32>(bytes).to_string(),
        DType::Uint64 => read::<u64>(bytes).to_string(),
        DType::Int8 => read::<i8>(bytes).to_string(),
        DType::Int16 => read::<i16>(bytes).to_string(),
        DType::Int32 => read::<i32>(bytes).to_string(),
        DType::Int64 => read::<i64>(bytes).to_string(),
        DType::Float16 => read::<half::f16>(bytes).to_string(),
        DType::Float32 => read::<f32>(bytes).to_string(),
        DType::Float64 => read::<f64>(bytes).to_string(),
        DType::Complex64 => {
            let z = read::<Complex<f32>>(bytes);
            format!("{}{:+}j", z.re, z.im)
        }
        DType::Complex128 => {
            let z = read::<Complex<f64>>(bytes);
            format!("{}{:+}j", z.re, z.im)
        }
    }
}

/// Numbers as JSON numbers; what JSON has no number for as text.
fn element_json(dtype: DType, bytes: &[u8]) -> Value {
    let text = element_text(dtype, bytes);
    match dtype {
        DType::Bool => Value::Bool(text == "true"),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}
