//! `--like`: stored as another Zarr is.

use std::path::Path;

use crate::array::Array;
use crate::cli::{StitchArgs, StorageArgs};
use crate::error::{Error, Result};
use crate::sink::Sharding;
use crate::source::OpenOptions;
use crate::source::zarr::{self, Storage};

/// How the Zarr that `--like` names is stored, if there is one.
///
/// # Errors
/// As opening it, with its name.
pub(super) fn model(args: &StitchArgs) -> Result<Option<Storage>> {
    let read = |path: &Path| {
        zarr::storage(path, &OpenOptions::default()).map_err(|e| e.at(format!("--like {}", path.display())))
    };
    args.like.as_deref().map(read).transpose()
}

/// `flags` with what they leave open taken from `model`, for `array`, whose axes are found by their names.
///
/// # Errors
/// `Usage` if an axis of the array is none of the model's.
pub(super) fn alike(flags: &StorageArgs, model: &Storage, array: &dyn Array) -> Result<StorageArgs> {
    let of = |lengths: &[u64]| -> Result<Vec<u64>> {
        let one = |axis: &crate::axis::Axis| {
            let i = model.axes.iter().position(|name| *name == axis.name);
            i.map(|i| lengths[i].min(axis.length.max(1).next_multiple_of(model.chunks[i]))).ok_or_else(|| {
                let known = model.axes.join(",");
                Error::usage(format!("--like: has axes {known}, and no {}: choose --chunks instead", axis.name))
            })
        };
        array.axes().iter().map(one).collect()
    };
    let shards = match (&flags.shards, &flags.chunks, &model.shards) {
        // Shards are made of the chunks that they go with.
        (Sharding::Auto, None, Some(shards)) => Sharding::Shape(of(shards)?),
        (Sharding::Auto, None, None) => Sharding::None,
        (asked, ..) => asked.clone(),
    };
    Ok(StorageArgs {
        zarr_format: flags.zarr_format.or(Some(model.version)),
        chunks: Some(flags.chunks.clone().map_or_else(|| of(&model.chunks), Ok)?),
        shards,
        codec: flags.codec.clone().or_else(|| Some(model.codec.clone())),
        ..flags.clone()
    })
}
