//! How an array will be stored: what `stitch` does and `inspect` foretells.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::resolve;
use crate::array::Array;
use crate::axis::Axis;
use crate::cli::StorageArgs;
use crate::consume;
use crate::consume::levels::{self, Levels};
use crate::error::Error;
use crate::report::{count, tuple};
use crate::sink::zarr::{
    DEFAULT_MAX_FILES, ImageOptions, ZarrFormat, ZarrOptions, ZarrSink, default_chunks, default_shards, misfit,
};
use crate::sink::{self, Sharding, Spec};
use crate::source::NoteKind;
use crate::source::headers::GroupedNote;
use crate::unit;

/// How an array is stored, as provenance records it.
pub(super) fn recorded(options: &ZarrOptions) -> Value {
    let ZarrOptions { format, chunks, shards, codec, image, .. } = options;
    serde_json::json!({
        "zarr_format": if *format == ZarrFormat::V2 { 2 } else { 3 },
        "chunks": chunks,
        "shards": shards,
        "codec": codec.to_string(),
        "levels": image.levels.to_string(),
        "downsample": image.method.name(),
        "plain": image.plain,
    })
}

/// How the array will be stored, from flags and defaults. `unit` is the shape of what its files store as one piece.
pub(super) fn storage(
    flags: &StorageArgs,
    overwrite: bool,
    is_archived: bool,
    array: &dyn Array,
    unit: &[u64],
) -> Result<ZarrOptions> {
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
    let format = flags.format();
    let levels = flags.levels.unwrap_or_else(|| {
        let is_image = misfit(axes).is_none() && !flags.plain;
        if is_image && levels::is_large(axes) { Levels::Auto } else { Levels::None }
    });
    let factors = levels::factors(axes, levels);
    // Every level has about as many files as the full resolution.
    let n_arrays = factors.len() as u64 + 1;
    let max_files = flags.max_files.unwrap_or(DEFAULT_MAX_FILES).saturating_sub(4 + 2 * n_arrays) / n_arrays;
    let shards = match &flags.shards {
        Sharding::None => None,
        Sharding::Auto if format == ZarrFormat::V2 || is_archived => None,
        Sharding::Auto => {
            let shards = lines_whole(array, &chunks, default_shards(axes, &chunks, array.dtype(), max_files));
            Some(levels::aligned(&shards, &chunks, &shape, &factors))
        }
        Sharding::Shape(lengths) => Some(as_shape("--shards", lengths)?),
    };
    let codec = flags.codec.clone().unwrap_or_default();
    let image = ImageOptions {
        levels,
        method: flags.downsample.unwrap_or_default(),
        contrast: flags.contrast,
        colours: flags.channel_colors.clone(),
        plain: flags.plain,
        coordinates: flags.coordinates,
        is_archived,
        ..ImageOptions::default()
    };
    let options = ZarrOptions { format, chunks, shards, codec, overwrite, durability: Default::default(), image };
    if let Some(max_files) = flags.max_files {
        let sink = ZarrSink::new(Path::new("data.zarr"), &Spec::of(array), &options)?;
        let (n_files, n_metadata) = (sink.n_files(), sink.n_metadata_files());
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

/// Shards that hold whole lines along axes whose lines are made as a whole, for tasks to hold them too; less along the
/// others.
fn lines_whole(array: &dyn Array, chunks: &[u64], mut shards: Vec<u64>) -> Vec<u64> {
    let shape = array.shape();
    let is_whole = |i: usize| array.coded() && shape[i] > 1 && array.grain(i, 1) == (0, shape[i]);
    let longest = |i: usize| shape[i].div_ceil(chunks[i]) * chunks[i];
    let short: Vec<usize> = (0..shape.len()).filter(|&i| is_whole(i) && shards[i] < longest(i)).collect();
    for i in short {
        let mut room = longest(i) / shards[i];
        shards[i] = longest(i);
        for k in (0..shape.len()).filter(|&k| !is_whole(k)) {
            while room > 1 && shards[k] > chunks[k] {
                shards[k] = (shards[k] / chunks[k]).div_ceil(2) * chunks[k];
                room = room.div_ceil(2);
            }
        }
    }
    shards
}

/// Why a Zarr of `axes` is written without OME-Zarr metadata, if it is.
pub(super) fn no_image(axes: &[Axis]) -> Option<GroupedNote> {
    let note = |why| GroupedNote::of_all(NoteKind::NoImage, format!("a Zarr has no OME-Zarr metadata then: {why}"));
    misfit(axes).map(note)
}

/// What `output` keeps of axes without one step: with `has_arrays` their values are arrays of its own.
pub(super) fn uneven(output: &Path, axes: &[Axis], has_arrays: bool) -> Vec<GroupedNote> {
    let kept = match (sink::is_zarr(output), resolve::narrow(output).is_some()) {
        (true, _) if has_arrays => "which are an array beside it",
        (true, _) => "which its attributes keep; --coordinates writes them as an array too",
        (_, true) => "which a TIFF has no place for; .zarr keeps them",
        _ => return Vec::new(),
    };
    let is_named = |axis: &Axis| output.to_string_lossy().contains(&format!("{{{}", axis.name));
    let note = |axis: &Axis| {
        let step = axis.calibration.as_ref().map_or_else(String::new, unit::words);
        GroupedNote::of_all(
            NoteKind::Uneven,
            format!("axis {} has no one step: {step} stands for its values, {kept}", axis.name),
        )
    };
    axes.iter().filter(|axis| axis.is_uneven() && !is_named(axis)).map(note).collect()
}

/// Leaves out levels that nobody asked for and that `room` bytes do not suffice for, and says so.
pub(super) fn fit_levels(
    flags: &StorageArgs,
    options: &mut ZarrOptions,
    array: &dyn Array,
    room: u64,
) -> Option<String> {
    if flags.levels.is_some() || options.image.levels != Levels::Auto {
        return None;
    }
    let spec = Spec::of(array);
    let all = levels::factors(array.axes(), Levels::Auto).len() as u64 + 1;
    let fits = |levels: Levels| {
        let mut options = options.clone();
        options.image.levels = levels;
        let sink = ZarrSink::new(Path::new("data.zarr"), &spec, &options);
        sink.is_ok_and(|sink| consume::plan(array, &[&sink], room).is_ok())
    };
    if fits(Levels::Auto) {
        return None;
    }
    let n = (2..all).rev().find(|&n| fits(Levels::Count(n))).unwrap_or(1);
    options.image.levels = Levels::Count(n);
    Some(format!(
        "{n} of {all} levels are written: for more, give more --memory, or stitch the output with --levels auto"
    ))
}
