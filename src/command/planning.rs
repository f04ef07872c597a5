//! How an array will be stored and in which tasks it is written: what `stitch` does and `inspect` foretells.

use anyhow::Result;

use super::resources::Resources;
use crate::array::Array;
use crate::block::size_bytes;
use crate::cli::StorageArgs;
use crate::codec::Codec;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::grid::n_elements;
use crate::plan::{Cost, Plan, Request};
use crate::report::{count, tuple};
use crate::sink::zarr::{DEFAULT_MAX_FILES, Footprint, Format, ZarrOptions, default_chunks, default_shards};
use crate::stack::Stack;

/// Bytes of a block that a task has when nothing else decides: enough for large reads, little enough that
/// every core has one and the block stays in the last cache.
const TARGET_BYTES: u64 = 8 << 20;

/// How the array will be stored, from flags and defaults.
pub(super) fn storage(flags: &StorageArgs, overwrite: bool, stack: &Stack) -> Result<ZarrOptions> {
    let (axes, shape) = (stack.axes(), stack.shape());
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
        None => default_chunks(axes, stack.dtype(), stack.layout().unit()),
    };
    let format = if flags.zarr_format == 2 { Format::V2 } else { Format::V3 };
    let max_files = flags.max_files.unwrap_or(DEFAULT_MAX_FILES);
    let shards = match flags.shards.as_str() {
        "none" => None,
        "auto" if format == Format::V2 => None,
        "auto" => Some(default_shards(axes, &chunks, stack.dtype(), max_files)),
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
        let n_files = crate::grid::Grid::new(&shape, object).len();
        if n_files > max_files {
            return Err(Error::Usage(format!(
                "the output would have {n_files} files, --max-files allows {max_files}: use larger --shards or --chunks"
            ))
            .into());
        }
    }
    Ok(options)
}

/// The plan of writing `stack` within the memory of the run.
///
/// # Errors
/// `Limit` if one chunk does not fit, saying what would do.
pub(super) fn make_plan(
    stack: &Stack,
    footprint: &Footprint,
    options: &ZarrOptions,
    budget: &Resources,
) -> Result<Plan> {
    let dtype = stack.dtype();
    let unit = footprint.unit().to_vec();
    let scratch_bytes = stack.scratch_bytes();
    let cost = |task_box: &[u64]| {
        let n_units = n_elements(&task_box.iter().zip(&unit).map(|(b, u)| b.div_ceil(*u)).collect::<Vec<_>>());
        let kept_bytes = footprint.write_bytes(n_units);
        Cost { work_bytes: size_bytes(task_box, dtype).saturating_add(scratch_bytes), kept_bytes }
    };
    let plan = Plan::new(&Request {
        shape: &stack.shape(),
        unit: &unit,
        object: footprint.object_shape(),
        across: options.shards.is_none(),
        boundaries: &|axis, at| stack.boundaries(axis, at),
        coded: stack.coded(),
        cost: &cost,
        limit_bytes: budget.for_tasks().saturating_sub(footprint.held_bytes()),
        target_bytes: TARGET_BYTES,
        element_bytes: dtype.size() as u64,
    });
    plan.map_err(|e| match e {
        Error::Limit(_) => {
            let needed = budget.base_bytes + footprint.held_bytes() + cost(&unit).alone();
            Error::Limit(format!(
                "one chunk of {} {dtype} needs {} to read and encode, the program itself {}; --memory allows {}: use \
                 smaller --chunks, or --memory {}M",
                tuple(&unit),
                Bytes(cost(&unit).alone()),
                Bytes(budget.base_bytes),
                Bytes(budget.limit.bytes),
                (needed >> 20) + 1
            ))
            .into()
        }
        other => other.into(),
    })
}
