//! Where the results of `reduce` go: files, standard output, the terminal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::kept::Kept;
use super::plot;
use crate::block::size_bytes;
use crate::cli::ReduceArgs;
use crate::codec::Codec;
use crate::consume::{Assemble, Consumer, band_shape};
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::grid::{Grid, Region, n_elements};
use crate::reduce::{OperatorOutput, Reducer, Reduction, WriteBytes, stays_within};
use crate::report::tuple;
use crate::sink::zarr::ZarrFormat;
use crate::sink::{self, OutputOptions, Sharding, Spec};
use crate::source::headers::GroupedNote;

pub(super) mod text;

/// Results of no more bytes are put together in memory before they are written.
const SMALL_BYTES: u64 = 4 << 20;
/// Most numbers that are printed when no output is named.
const MOST_PRINTED: u64 = 1 << 17;
/// As [`MOST_PRINTED`], to a terminal.
const MOST_SHOWN: u64 = 1000;
/// Results of fewer bytes may be any number of times larger than the input.
const ANY_GROWTH_BYTES: u64 = 4 << 30;
/// How many times larger than the input other results may be.
const MOST_GROWTH: u64 = 64;

/// Where the result of one operator goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Destination {
    /// To the terminal, as text or JSON.
    Print,
    /// To standard output, as `.npy`.
    Pipe,
    /// To a file, or the folder of a Zarr array.
    File(PathBuf),
}

impl Destination {
    /// The file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Print | Self::Pipe => None,
        }
    }
}

/// Where each operator's result goes; the input has `bytes_in` bytes.
///
/// # Errors
/// `Usage` if a name is missing, of an unknown kind, or the same for several operators, or if a result is
/// out of all proportion to the input.
pub(super) fn targets(args: &ReduceArgs, reducer: &Reducer, bytes_in: u64) -> Result<Vec<Destination>, Error> {
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
    if let Some(plot) = &args.plot {
        if outputs.len() > 1 && !plot.to_string_lossy().contains("{op}") {
            let n = outputs.len();
            return Err(Error::usage(format!(
                "--plot {}: {n} operators need a name each: put {{op}} into it",
                plot.display()
            )));
        }
        outputs.iter().try_for_each(|o| plot::check_result(&o.axes, o.dtype).map_err(|e| e.at(&o.label)))?;
    }
    let Some(name) = &args.output else {
        // Of a bin for each value most are left out.
        if args.plot.is_some() {
            return Ok(vec![Destination::Print; outputs.len()]);
        }
        let lines = |o: &OperatorOutput| match o.axes.first() {
            Some(own) if own.name == "bin" => n_elements(&o.shape()[1..]),
            _ => n_elements(&o.shape()),
        };
        outputs.iter().try_for_each(|o| check_printed(&o.label, &o.shape(), lines(o)))?;
        return Ok(vec![Destination::Print; outputs.len()]);
    };
    if outputs.len() > 1 && (name == "-" || !name.contains("{op}")) {
        return Err(Error::usage(format!(
            "-o {name}: {} operators need a name each: put {{op}} into it, as in 'result_{{op}}.zarr'",
            outputs.len()
        )));
    }
    let target = |output: &OperatorOutput| match name.as_str() {
        "-" => Destination::Pipe,
        _ => Destination::File(PathBuf::from(name.replace("{op}", &output.file_part()))),
    };
    Ok(outputs.iter().map(target).collect())
}

/// Refuses to print what nobody reads: a result of `what` that has so many lines.
///
/// # Errors
/// `Usage`.
pub(super) fn check_printed(what: &str, shape: &[u64], n_lines: u64) -> Result<(), Error> {
    let most = if std::io::stdout().is_terminal() { MOST_SHOWN } else { MOST_PRINTED };
    if n_lines <= most && n_elements(shape) <= MOST_PRINTED {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{what} gives an array of {}, {} numbers: say with -o where to write it (.csv opens in spreadsheets), or reduce \
         more axes",
        tuple(shape),
        n_elements(shape)
    )))
}

/// Shape of the bands in which a result is put together in memory, for tiles of shape `tile`; none if tiles
/// are written as they come. All of it where it is printed or small.
fn band(target: &Destination, output: &OperatorOutput, tile: &[u64]) -> Option<Vec<u64>> {
    let shape = output.shape();
    match target {
        Destination::Print => Some(shape),
        Destination::Pipe => Some(band_shape(&shape, tile)),
        // Its checksum is that of elements in order.
        Destination::File(path) if sink::extension(path) == "npz" => Some(band_shape(&shape, tile)),
        // Pictures and tables are put together by their sink.
        Destination::File(path) if matches!(sink::extension(path).as_str(), "png" | "csv" | "tsv") => None,
        Destination::File(_) => (size_bytes(&shape, output.dtype) <= SMALL_BYTES).then_some(shape),
    }
}

/// Memory of writing the results of so many elements of a tile, in bytes.
pub(super) fn write_bytes(args: &ReduceArgs, reducer: &Reducer) -> Result<WriteBytes, Error> {
    let codec = args.codec.clone().unwrap_or_else(quick);
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

/// A reduction by `reducer` of whose outputs it is not said how they are written.
pub(super) fn on_the_way(reducer: &Arc<Reducer>) -> Reduction {
    Reduction::new(Arc::clone(reducer), Box::new(|n| n.saturating_mul(64)))
}

/// The codec of results that are a Zarr.
fn quick() -> Codec {
    "blosc:lz4,1,bitshuffle".parse().unwrap_or(Codec::DEFAULT)
}

/// How results on the way are written.
pub(super) fn fast(overwrite: bool) -> OutputOptions {
    let image = sink::zarr::ImageOptions { plain: true, ..Default::default() };
    OutputOptions {
        overwrite,
        durability: crate::store::Durability::None,
        codec: Some(quick()),
        image,
        ..OutputOptions::default()
    }
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
    /// Where the time went, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<crate::profile::Profile>,
    /// What was assumed in opening the input; stands beside the figures.
    #[serde(skip)]
    pub(super) notes: Vec<GroupedNote>,
    /// What could not be read; stands beside the figures.
    #[serde(skip)]
    pub(super) losses: Vec<String>,
}

/// What takes each operator's results, which come in tiles of shape `tile` of the frame.
///
/// # Errors
/// `Usage` if something stands under a name or a result does not fit its format.
pub(super) fn outputs(
    args: &ReduceArgs,
    targets: &[Destination],
    reducer: &Reducer,
    tile: &[u64],
    (provenance, kept): (&Value, &Kept),
) -> Result<Vec<Box<dyn Consumer>>, Error> {
    let options = OutputOptions {
        overwrite: args.overwrite,
        durability: args.run.durability,
        format: if args.zarr_format == 2 { ZarrFormat::V2 } else { ZarrFormat::V3 },
        codec: args.codec.clone(),
        png: args.picture.options(),
        ..OutputOptions::default()
    };
    let first = targets.first().and_then(Destination::path);
    let output = |(i, target): (usize, &Destination)| {
        let mut options = OutputOptions { first: first.filter(|_| i > 0).map(Path::to_owned), ..options.clone() };
        if options.codec.is_none() && target.path().is_some_and(sink::is_zarr) {
            options.codec = Some(quick());
        }
        let output = &reducer.outputs()[i];
        let is_within = args.elements.dtype.is_none() && stays_within(&output.label);
        kept.clone().made(&output.axes, output.dtype, is_within).say(&mut options.image);
        let mut provenance = provenance.clone();
        provenance["operator"] = output.label.clone().into();
        let spec =
            Spec { axes: output.axes.clone(), dtype: output.dtype, fill: vec![0; output.dtype.size()], provenance };
        let (shape, tile) = (spec.shape(), reducer.output_of(i, &Region::whole(tile)).shape);
        let drawn = args.plot.is_some();
        let band = if drawn { Some(shape.clone()) } else { band(target, output, &tile) };
        let behind = match target {
            Destination::Print => None,
            Destination::Pipe => Some(sink::stream(Box::new(std::io::stdout()), &spec, false)),
            Destination::File(path) => {
                let options = match band {
                    Some(_) => OutputOptions { shards: Sharding::None, ..options.clone() },
                    None => tiled(&options, &shape, &tile),
                };
                Some(sink::create(path, &spec, &options)?)
            }
        };
        Ok(match (band, behind) {
            (Some(band), behind) => Box::new(Assemble::new(&shape, &band, output.dtype, behind).keeping(drawn)),
            (None, Some(behind)) => behind,
            (None, None) => return Err(Error::format("a result that goes nowhere")),
        })
    };
    targets.iter().enumerate().map(output).collect()
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
    let sharded = options.format == ZarrFormat::V3 && shards != chunk;
    OutputOptions {
        chunks: Some(chunk.to_vec()),
        shards: if sharded { Sharding::Shape(shards) } else { Sharding::None },
        ..options.clone()
    }
}
