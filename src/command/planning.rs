//! How an array will be stored: what `stitch` does and `inspect` foretells.

use anyhow::Result;

use crate::array::Array;
use crate::cli::StorageArgs;
use crate::codec::Codec;
use crate::error::Error;
use crate::report::{count, tuple};
use crate::sink::zarr::{DEFAULT_MAX_FILES, Format, ZarrOptions, default_chunks, default_shards};

/// How the array will be stored, from flags and defaults. `unit` is the shape of what its files store as one piece.
pub(super) fn storage(flags: &StorageArgs, overwrite: bool, array: &dyn Array, unit: &[u64]) -> Result<ZarrOptions> {
    let (axes, shape) = (array.axes(), array.shape());
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
        None => default_chunks(axes, array.dtype(), unit),
    };
    let format = if flags.zarr_format == 2 { Format::V2 } else { Format::V3 };
    let max_files = flags.max_files.unwrap_or(DEFAULT_MAX_FILES).saturating_sub(format.n_metadata_files());
    let shards = match flags.shards.as_str() {
        "none" => None,
        "auto" if format == Format::V2 => None,
        "auto" => Some(default_shards(axes, &chunks, array.dtype(), max_files)),
        text => {
            let lengths: Result<Vec<u64>, _> = text.split(',').map(|n| n.trim().parse::<u64>()).collect();
            let lengths = lengths.map_err(|_| {
                Error::Usage(format!("--shards '{text}' is not a shape: auto, none, or lengths such as 1,1,64,512,512"))
            })?;
            Some(as_shape("--shards", &lengths)?)
        }
    };
    let codec: Codec = flags.codec.parse().map_err(|e: Error| e.at("--codec"))?;
    let options = ZarrOptions { format, chunks, shards, codec, overwrite, durability: Default::default() };
    if let Some(max_files) = flags.max_files {
        let object = options.shards.as_ref().unwrap_or(&options.chunks);
        let n_metadata = format.n_metadata_files();
        let n_files = crate::grid::Grid::new(&shape, object).len().saturating_add(n_metadata);
        if n_files > max_files {
            return Err(Error::Usage(format!(
                "the output would have {n_files} files, {n_metadata} of them metadata; --max-files allows \
                 {max_files}: use larger --shards or --chunks"
            ))
            .into());
        }
    }
    Ok(options)
}
