//! The output formats in one table, chosen by the name of the output.

use std::io::Write;
use std::path::Path;

use super::flat::{self, FlatSink};
use super::png::{PngOptions, PngSink, Window};
use super::store::Durability;
use super::zarr::{self, DEFAULT_MAX_FILES, Format, ZarrOptions, ZarrSink, default_chunks, default_shards};
use super::{Sink, Spec, Written, npy, tiff};
use crate::block::Block;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::source::Scratch;

/// How outputs are written, whatever their format.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// Whether an older output of this name is replaced, at the end.
    pub overwrite: bool,
    /// What must be on the disk before the output gets its name.
    pub durability: Durability,
    /// Which Zarr.
    pub format: Format,
    /// Shape of Zarr's chunks; a suitable one if `None`.
    pub chunks: Option<Vec<u64>>,
    /// How chunks are put into shards.
    pub shards: Shards,
    /// How Zarr's chunks are encoded.
    pub codec: Codec,
    /// How values become grey levels of a PNG.
    pub png: PngOptions,
}

/// How chunks are put into shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// As suits the array; none in Zarr v2.
    Auto,
    /// Every chunk is a file.
    None,
    /// Of this shape.
    Shape(Vec<u64>),
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self {
            overwrite: false,
            durability: Durability::default(),
            format: Format::V3,
            chunks: None,
            shards: Shards::Auto,
            codec: Codec::DEFAULT,
            png: PngOptions::default(),
        }
    }
}

/// An output under construction, of any format.
#[allow(missing_docs)]
pub enum Output {
    Zarr(Box<ZarrSink>),
    Flat(FlatSink),
    Png(Box<PngSink>),
}

/// What writing a block to it came to.
#[allow(missing_docs)]
pub enum Receipt {
    Zarr(zarr::Receipt),
    Flat(flat::Receipt),
    Png,
}

/// Starts an output of one format.
type Create = fn(&Path, &Spec, &OutputOptions) -> Result<Output>;

/// Every output format by its extensions, lower case without dot.
const FORMATS: &[(&[&str], Create)] = &[
    (&["zarr"], |path, spec, options| {
        Ok(Output::Zarr(Box::new(ZarrSink::create(path, spec, &zarr_options(spec, options)?)?)))
    }),
    (&["npy"], |path, spec, options| Ok(Output::Flat(npy::create(path, spec, options.overwrite, options.durability)?))),
    (&["tif", "tiff", "btf"], |path, spec, options| {
        Ok(Output::Flat(tiff::create(path, spec, options.overwrite, options.durability)?))
    }),
    (&["png"], |path, spec, options| {
        Ok(Output::Png(Box::new(PngSink::create(path, spec, options.png, options.overwrite, options.durability)?)))
    }),
];

fn zarr_options(spec: &Spec, options: &OutputOptions) -> Result<ZarrOptions> {
    let chunks = match &options.chunks {
        Some(chunks) if chunks.len() == spec.axes.len() && !chunks.contains(&0) => chunks.clone(),
        Some(chunks) => {
            return Err(Error::usage(format!(
                "chunks of {chunks:?} for an array of shape {:?}: give one length of at least 1 per axis",
                spec.shape()
            )));
        }
        None => default_chunks(&spec.axes, spec.dtype, &[]),
    };
    let shards = match &options.shards {
        Shards::Auto if options.format == Format::V2 => None,
        Shards::Auto => Some(default_shards(&spec.axes, &chunks, spec.dtype, DEFAULT_MAX_FILES)),
        Shards::None => None,
        Shards::Shape(shape) => Some(shape.clone()),
    };
    Ok(ZarrOptions {
        format: options.format,
        chunks,
        shards,
        codec: options.codec.clone(),
        overwrite: options.overwrite,
        durability: options.durability,
    })
}

impl Output {
    /// Starts the output that will be called `path`, in the format that its extension names.
    ///
    /// # Errors
    /// `Usage` if there is no such format, the array does not fit it, or something stands under the name;
    /// `Io` if the place cannot be written.
    pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Self> {
        // `data.zarr/` is `data.zarr`.
        let name: std::path::PathBuf = path.components().collect();
        let extension = name.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let Some((_, create)) = FORMATS.iter().find(|(known, _)| known.contains(&extension.as_str())) else {
            let known: Vec<String> =
                FORMATS.iter().flat_map(|(known, _)| *known).map(|known| format!(".{known}")).collect();
            return Err(Error::usage(format!(
                "{}: no output format has this extension: one of {}, or - for .npy on standard output",
                path.display(),
                known.join(" ")
            )));
        };
        create(path, spec, options)
    }

    /// Starts a stream of `.npy`, such as standard output.
    ///
    /// # Errors
    /// `Io` if it cannot be written.
    pub fn stream(to: Box<dyn Write + Send>, spec: &Spec) -> Result<Self> {
        Ok(Self::Flat(npy::stream(to, spec)?))
    }

    /// Shape of what one file holds; blocks of one file follow one another in the plan.
    pub fn object_shape(&self) -> &[u64] {
        match self {
            Self::Zarr(sink) => sink.object_shape(),
            Self::Flat(sink) => sink.object_shape(),
            Self::Png(sink) => sink.object_shape(),
        }
    }

    /// Memory that stays in use until the end, in bytes.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Self::Zarr(sink) => sink.held_bytes(),
            Self::Flat(_) => 64 << 10,
            Self::Png(sink) => sink.held_bytes(),
        }
    }

    /// As [`Sink::finish`]; for a picture, also the values that became black and white.
    ///
    /// # Errors
    /// `Io` if the output cannot be written.
    pub fn complete(self) -> Result<(Written, Option<Window>)> {
        match self {
            Self::Zarr(sink) => Ok((sink.finish()?, None)),
            Self::Flat(sink) => Ok((sink.finish()?, None)),
            Self::Png(sink) => sink.complete().map(|(written, window)| (written, Some(window))),
        }
    }
}

impl Sink for Output {
    type Receipt = Receipt;

    fn unit(&self) -> &[u64] {
        match self {
            Self::Zarr(sink) => sink.unit(),
            Self::Flat(sink) => sink.unit(),
            Self::Png(sink) => sink.unit(),
        }
    }

    fn write_bytes(&self, n_units: u64) -> u64 {
        match self {
            Self::Zarr(sink) => sink.write_bytes(n_units),
            Self::Flat(sink) => sink.write_bytes(n_units),
            Self::Png(sink) => sink.write_bytes(n_units),
        }
    }

    fn write(&self, block: &Block, scratch: &mut Scratch) -> Result<Receipt> {
        match self {
            Self::Zarr(sink) => sink.write(block, scratch).map(Receipt::Zarr),
            Self::Flat(sink) => sink.write(block, scratch).map(Receipt::Flat),
            Self::Png(sink) => sink.write(block, scratch).map(|()| Receipt::Png),
        }
    }

    fn commit(&self, receipt: Receipt) -> Result<()> {
        match (self, receipt) {
            (Self::Zarr(sink), Receipt::Zarr(receipt)) => sink.commit(receipt),
            (Self::Flat(sink), Receipt::Flat(receipt)) => sink.commit(receipt),
            (Self::Png(sink), Receipt::Png) => sink.commit(()),
            _ => Err(Error::format("a receipt of another output")),
        }
    }

    fn finish(self) -> Result<Written> {
        self.complete().map(|(written, _)| written)
    }
}
