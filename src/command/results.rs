//! Where the results of `reduce` go: files, standard output, the terminal.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::block::{Block, size_bytes};
use crate::cli::ReduceArgs;
use crate::codec::Codec;
use crate::error::Error;
use crate::exec::Worker;
use crate::exec::budget::Bytes;
use crate::grid::{Grid, Region, n_elements};
use crate::reduce::{Cut, Output, Reducer};
use crate::report::tuple;
use crate::sink::output::{self as file, OutputOptions, Receipt, Shards};
use crate::sink::png::Window;
use crate::sink::zarr::Format;
use crate::sink::{Sink, Spec};
use bands::{Bands, band_bytes, band_shape};

mod bands;
pub(super) mod text;

/// Results of no more bytes are put together in memory before they are written.
const SMALL_BYTES: u64 = 4 << 20;
/// Most numbers that are printed when no output is named.
const MOST_PRINTED: u64 = 1 << 17;
/// Results of fewer bytes may be any number of times larger than the input.
const ANY_GROWTH_BYTES: u64 = 4 << 30;
/// How many times larger than the input other results may be.
const MOST_GROWTH: u64 = 64;

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

/// Where each operator's result goes; the input has `bytes_in` bytes.
///
/// # Errors
/// `Usage` if a name is missing, of an unknown kind, or the same for several operators, or if a result is
/// out of all proportion to the input.
pub(super) fn targets(args: &ReduceArgs, reducer: &Reducer, bytes_in: u64) -> Result<Vec<Target>, Error> {
    let outputs = reducer.outputs();
    for output in outputs {
        let bytes = size_bytes(&output.shape(), output.dtype);
        if bytes > ANY_GROWTH_BYTES.max(bytes_in.saturating_mul(MOST_GROWTH)) {
            return Err(Error::usage(format!(
                "{} gives an array of {} {}, {} from {} of input: reduce more axes, or ask for fewer values",
                output.label,
                tuple(&output.shape()),
                output.dtype,
                Bytes(bytes),
                Bytes(bytes_in)
            )));
        }
    }
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

/// Shape of the bands in which a result is put together in memory, for tiles of shape `tile`; none if tiles
/// are written as they come. All of it where it is printed or small.
fn band(target: &Target, output: &Output, tile: &[u64]) -> Option<Vec<u64>> {
    let shape = output.shape();
    match target {
        Target::Print => Some(shape),
        Target::Pipe => Some(band_shape(&shape, tile)),
        // A picture is put together by its sink.
        Target::File(path) if extension(path) == "png" => None,
        Target::File(_) => (size_bytes(&shape, output.dtype) <= SMALL_BYTES).then_some(shape),
    }
}

/// Memory of results that are put together, in bytes. Before tiles are known, the least it can be.
pub(super) fn held_bytes(targets: &[Target], reducer: &Reducer, cut: Option<&Cut>) -> u64 {
    let held = |(i, target): (usize, &Target)| {
        let output = &reducer.outputs()[i];
        let shape = output.shape();
        let tile = match cut {
            Some(cut) => reducer.output_of(i, &Region::whole(cut.tiles().cell())).shape,
            None => vec![1; shape.len()],
        };
        match (band(target, output, &tile), target) {
            (Some(band), _) => band_bytes(&band, output.dtype),
            // The plane, its values as floats, and the picture several times.
            (None, Target::File(path)) if extension(path) == "png" => {
                size_bytes(&shape, output.dtype) + 14 * n_elements(&shape) + (1 << 20)
            }
            _ => 0,
        }
    };
    // Coordinates of bins and the like, and what is made of them for the output.
    let coordinates = reducer.outputs().iter().flat_map(|o| &o.axes).filter_map(|a| a.coordinates.as_ref());
    let coordinates_bytes = coordinates.map(|c| 4 * size_of_val(&c[..]) as u64).fold(0, u64::saturating_add);
    targets.iter().enumerate().map(held).fold(coordinates_bytes, u64::saturating_add)
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
struct Writer {
    /// Where it goes; nowhere if it is to be printed.
    output: Option<Box<file::Output>>,
    path: Option<PathBuf>,
    /// What is put together before it is written.
    bands: Option<Mutex<Bands>>,
}

/// What writing a block came to.
pub(super) enum Written {
    Block(Block),
    Receipt(Receipt),
}

/// All results under construction.
pub(super) struct Results {
    writers: Vec<Writer>,
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
    /// Starts every result.
    ///
    /// # Errors
    /// `Usage` if something stands under a name or a result does not fit its format; `Io` if a place cannot
    /// be written.
    pub(super) fn create(
        args: &ReduceArgs,
        targets: Vec<Target>,
        reducer: &Reducer,
        cut: &Cut,
        provenance: &Value,
    ) -> Result<Self, Error> {
        let options = OutputOptions {
            overwrite: args.overwrite,
            format: if args.zarr_format == 2 { Format::V2 } else { Format::V3 },
            codec: args.codec.parse().map_err(|e: Error| e.at("--codec"))?,
            png: args.picture.options(),
            ..OutputOptions::default()
        };
        let create = |(i, target): (usize, Target)| {
            let output = &reducer.outputs()[i];
            let mut provenance = provenance.clone();
            provenance["operator"] = output.label.clone().into();
            let spec =
                Spec { axes: output.axes.clone(), dtype: output.dtype, fill: vec![0; output.dtype.size()], provenance };
            let (shape, tile) = (spec.shape(), reducer.output_of(i, &Region::whole(cut.tiles().cell())).shape);
            let bands = match band(&target, output, &tile) {
                Some(band) => Some(Mutex::new(Bands::new(&shape, &band, output.dtype)?)),
                None => None,
            };
            let (output, path) = match target {
                Target::Print => (None, None),
                Target::Pipe => (Some(file::Output::stream(Box::new(std::io::stdout()), &spec)?), None),
                Target::File(path) => {
                    let options = match bands {
                        Some(_) => OutputOptions { shards: Shards::None, ..options.clone() },
                        None => tiled(&options, &shape, &tile),
                    };
                    (Some(file::Output::create(&path, &spec, &options)?), Some(path))
                }
            };
            Ok(Writer { output: output.map(Box::new), path, bands })
        };
        Ok(Self { writers: targets.into_iter().enumerate().map(create).collect::<Result<_, Error>>()? })
    }

    /// Encodes the blocks of a tile, one of each operator; on any thread.
    pub(super) fn write(&self, blocks: Vec<Block>, worker: &mut Worker) -> Result<Vec<Written>, Error> {
        let each = self.writers.iter().zip(blocks).map(|(writer, block)| match writer {
            Writer { output: Some(output), bands: None, .. } => {
                output.write(&block, &mut worker.scratch).map(Written::Receipt)
            }
            _ => Ok(Written::Block(block)),
        });
        each.collect()
    }

    /// Takes what [`Results::write`] returned, in plan order.
    pub(super) fn commit(&self, written: Vec<Written>) -> Result<(), Error> {
        for (writer, written) in self.writers.iter().zip(written) {
            match (written, &writer.bands, &writer.output) {
                (Written::Block(part), Some(bands), output) => {
                    let mut bands = bands.lock().unwrap_or_else(PoisonError::into_inner);
                    bands.add(&part, |band| {
                        let Some(output) = output else { return Ok(()) };
                        output.commit(output.write(band, &mut Worker::default().scratch)?)
                    })?;
                }
                (Written::Receipt(receipt), _, Some(output)) => output.commit(receipt)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Completes every result.
    pub(super) fn finish(self) -> Result<Vec<Finished>, Error> {
        let finish = |writer: Writer| match (writer.output, writer.path, writer.bands) {
            (Some(output), path, _) => {
                let (written, window) = output.complete()?;
                Ok(path.map_or(Finished::Piped, |path| Finished::File(path, written.bytes, window)))
            }
            (None, _, Some(bands)) => {
                Ok(Finished::Values(bands.into_inner().unwrap_or_else(PoisonError::into_inner).into_block()))
            }
            (None, _, None) => Err(Error::format("a result that goes nowhere")),
        };
        self.writers.into_iter().map(finish).collect()
    }
}

/// Chunks are what one tile makes; shards take in tiles that follow each other.
fn tiled(options: &OutputOptions, shape: &[u64], chunk: &[u64]) -> OutputOptions {
    /// Files that need no shards.
    const FEW_FILES: u64 = 256;
    let counts = Grid::new(shape, chunk).counts().to_vec();
    let mut shards = chunk.to_vec();
    for i in (0..shape.len()).rev() {
        if Grid::new(shape, &shards).len() <= FEW_FILES {
            break;
        }
        shards[i] = counts[i] * chunk[i];
    }
    let sharded = options.format == Format::V3 && shards != chunk;
    OutputOptions {
        chunks: Some(chunk.to_vec()),
        shards: if sharded { Shards::Shape(shards) } else { Shards::None },
        ..options.clone()
    }
}
