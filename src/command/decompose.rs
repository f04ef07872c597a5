//! `decompose`: principal components, singular values, thin QR of an array cut into long rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::many::Many;
use super::progress::Progress;
use super::resources::Resources;
use super::writing::{self, Lineage, Writing};
use super::{devices, early, resolve, stop, tell};
use crate::array::{Array, select};
use crate::block::size_bytes;
use crate::cli::DecomposeArgs;
use crate::decompose::{Decomposition, Factors, decompose, held_bytes};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::open::Opened;
use crate::pairwise::{BlockPass, Rows, held_bytes as pairs_bytes};
use crate::report::{count, tuple};
use crate::sink;
use crate::store;

/// Components that are found unless it is said how many.
const FEW: usize = 10;

pub(super) fn run(args: &DecomposeArgs) -> Result<()> {
    let start = Instant::now();
    early::decompose(args)?;
    let stop = stop::early(start, args.run.deadline)?;
    let mut request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    request.stored_order = true;
    request.select.clone_from(&args.select);
    let opened = resolve::open(&request, &args.run)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
    let (lineage, Opened { stack, is_single, .. }) = Lineage::of(opened, &args.run)?;
    let mut lineage = Lineage { n_holes: 0, unit: Vec::new(), ..lineage };
    super::refuse_inputs(&args.output, &lineage.inputs)?;
    lineage.ledger = resolve::ledger(&stack, &args.output);
    let chosen = resolve::own_axes(&stack, is_single, &args.names, args.select.as_slice());
    let array = select(Arc::new(stack), &chosen)?;
    let budget = Resources::new(&args.run);
    if args.run.dry_run {
        let (rows, k, limit) = rows(args, &array, &budget)?;
        let n = rows.n_rows();
        let text = format!(
            "{} {} ({}), {} of {}\n  reads        every row once for products (again for reflections if small values are lost, and if components \
             must be made orthonormal twice), once for components\n  memory       {} of {}\nnothing was read (--dry-run)\n",
            tuple(&array.shape()),
            array.dtype(),
            Bytes(size_bytes(&array.shape(), array.dtype())),
            count(n, "row"),
            count(rows.n_columns(), "element"),
            Bytes(pairs_bytes(n, n, crate::pairwise::Metric::Dot).saturating_add(held_bytes(n, k as u64))),
            Bytes(limit)
        );
        return super::print(text.as_bytes());
    }
    let mut progress = Progress::new(size_bytes(&array.shape(), array.dtype()), args.run.quiet);
    let settings = json!({ "kind": format!("{:?}", args.kind), "along": args.along, "components": args.components });
    let manifest =
        json!([args.along, array.axes(), array.dtype(), args.kind == Factors::Pca, lineage.inputs.fingerprint()?]);
    let devices = devices::opened(&args.run, budget.threads)?;
    let mut way = super::way(Some(&args.output), &manifest, &args.run, &stop, devices.as_ref())?;
    let made =
        made(args, &array, &budget, &mut way, |bytes| progress.add(bytes)).map_err(|e| super::stopped(e, &way))?;
    progress.finish();
    super::tell_resumed(&way, &args.run);
    devices.iter().for_each(|devices| devices::tell_done(devices, args.run.quiet));
    lineage.inputs.check(budget.threads)?;
    tell_values(args, &made);
    let width = made.values.len() as u64;
    let n = made.scores.len() as u64 / width.max(1);
    let npy = |shape: &[u64], values: &[f64]| sink::npy_bytes(shape, DType::Float64, bytemuck::cast_slice(values));
    let numbers = [
        (beside(&args.output, "scores"), npy(&[n, width], &made.scores)),
        (beside(&args.output, "values"), npy(&[width], &made.values)),
    ];
    // A run that ended early has made the same.
    for (path, _) in numbers.iter().filter(|(path, bytes)| !store::holds(path, bytes)) {
        sink::check_free(path, args.overwrite)?;
    }
    let plain = Writing::new(&args.storage, &args.run, args.overwrite, &args.output);
    let mut many = Many::new(1 + numbers.len(), false);
    let is_one_of_many = many.is_many();
    let mut writing = Writing { lineage, settings, is_one_of_many, start, ..plain };
    let told = many.one(&args.output, || writing::write(&writing, Arc::clone(&made.components), &stop))?.flatten();
    if let Some(path) = &args.denoised {
        let array = made.denoised().ok_or_else(|| Error::usage("--denoised: a QR leaves the rows as they are"))?;
        (writing.output, writing.shown) = (path, path);
        writing.lineage.provenance["denoised"] = true.into();
        many.one(path, || writing::write(&writing, array, &stop))?;
    }
    numbers.iter().try_for_each(|(path, bytes)| store::replace(path, bytes))?;
    many.finish()?;
    if args.run.json {
        return super::print_json(&json!({
            "singular_values": made.values, "explained": made.explained, "method": made.method, "components": told,
        }));
    }
    Ok(())
}

/// The rows of `array`, how many components are asked for, and the memory that there is for working on them, in bytes.
fn rows(args: &DecomposeArgs, array: &Arc<dyn Array>, budget: &Resources) -> Result<(Rows, usize, u64), Error> {
    let rows = super::pairwise::rows(&args.along, array)?;
    // The mean of all rows takes one of their dimensions.
    let n_rows = if args.kind == Factors::Pca { rows.n_rows().saturating_sub(1).max(1) } else { rows.n_rows() };
    let k = args.components.unwrap_or(FEW.min(n_rows.min(rows.n_columns()) as usize));
    let limit = budget.room(&**array).saturating_sub(held_bytes(rows.n_rows(), k as u64));
    Ok((rows, k, limit))
}

/// The decomposition of `array`.
pub(super) fn made(
    args: &DecomposeArgs,
    array: &Arc<dyn Array>,
    budget: &Resources,
    way: &mut BlockPass<'_>,
    progress: impl FnMut(u64) + Send,
) -> Result<Decomposition, Error> {
    let (rows, k, limit) = rows(args, array, budget)?;
    let dtype = args.dtype.unwrap_or(DType::Float64);
    if !matches!(dtype, DType::Float32 | DType::Float64) {
        return Err(Error::usage(format!("--dtype {dtype}: components are float32 or float64")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(budget.threads).build().map_err(Error::format)?;
    pool.install(|| decompose(rows, args.kind, k, dtype, limit, way, progress))
}

fn tell_values(args: &DecomposeArgs, made: &Decomposition) {
    if args.run.quiet {
        return;
    }
    tell(format_args!("by {}", made.method));
    if made.n_left_out > 0 {
        let left_out = count(made.n_left_out as u64, "component");
        tell(format_args!("note: {left_out} left out, in whose directions nothing of the rows is"));
    }
    let name = if args.kind == Factors::Qr { "diagonal" } else { "singular value" };
    for (i, (value, share)) in made.values.iter().zip(&made.explained).take(20).enumerate() {
        tell(format_args!("  component {i}: {name} {value:.6e}, {:.2} % of the sum of squares", 100.0 * share));
    }
}

/// `pca.zarr` and `scores` are `pca_scores.npy`.
fn beside(output: &Path, what: &str) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    output.with_file_name(format!("{stem}_{what}.npy"))
}
