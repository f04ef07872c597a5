//! Expressions over arrays that were opened: the reductions inside are computed first, and what elements came to is
//! told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::resources::{self, Came, Resources};
use super::{results, tell};
use crate::array::calc::CastTally;
use crate::array::{Arranged, Array, Held};
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::cli::RunArgs;
use crate::consume::{self, Assemble, Consumer, Job};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::expression::{self, Built, Known, Output, TreePart, Wanted, syntax};
use crate::grid::{Region, n_elements};
use crate::plan;
use crate::reduce::{Reducer, Reduction};
use crate::report::{count, tuple};
use crate::sink::{self, OutputOptions, Spec};
use crate::source::{self, OpenOptions};

/// What an expression came to.
pub(super) struct Calculated {
    pub(super) array: Arc<dyn Array>,
    tally: Arc<CastTally>,
    /// The type that holds every value.
    natural: Option<DType>,
    /// Reductions that are computed first, in words.
    passes: Vec<String>,
    /// Parts of the tree, inner ones first.
    parts: Vec<TreePart>,
    /// What was computed on the way; it goes when this does.
    _temporary: Temporary,
}

impl Calculated {
    /// The tree in words, for tasks of shape `task`: what each part gives, and how much is read for it.
    pub(super) fn tree(&self, task: &[u64]) -> Vec<String> {
        let line = |part: &TreePart| {
            let (array, shape) = (&part.array, part.array.shape());
            let length = |axis: &Axis| {
                let own = crate::axis::position(self.array.axes(), &axis.name).and_then(|i| task.get(i));
                own.map_or(axis.length, |n| (*n).min(axis.length)).max(1)
            };
            let own: Vec<u64> = array.axes().iter().map(length).collect();
            let read = match array.derived() {
                // Whole lines of another part.
                Some(derived) => {
                    derived.input_of(&Region::whole(&own)).n_elements() as f64 / n_elements(&own).max(1) as f64
                }
                None if array.coded() => plan::amplification(&shape, &|axis, at| array.grain(axis, at), &own),
                None => 1.0,
            };
            let what = format!("{} {}", tuple(&shape), array.dtype());
            format!("  {:<40} {what}, reads {read:.2} of what it gives", part.text)
        };
        let mut lines: Vec<String> = self.passes.iter().cloned().chain(self.parts.iter().map(line)).collect();
        lines.dedup();
        lines
    }

    /// Tells if elements have been made narrower for `output`, which nobody asked for.
    pub(super) fn tell_narrowed(&self, output: &Path, asked: &Output) {
        if let (None, Some(natural)) = (asked.dtype, self.natural) {
            super::tell_narrowed(output, natural, self.array.dtype());
        }
    }

    /// Tells what elements came to.
    pub(super) fn tell_counts(&self) {
        for (_, what, n) in told(&self.tally) {
            if n > 0 {
                let verb = if what.starts_with(['N', 'i']) { if n == 1 { "is " } else { "are " } } else { "" };
                tell(format_args!("note: {} {verb}{what}", count(n, "element")));
            }
        }
    }

    /// Numbers of elements by what they came to.
    pub(super) fn counts(&self) -> serde_json::Value {
        told(&self.tally)
            .iter()
            .map(|(name, _, n)| ((*name).to_owned(), json!(n)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// What is to be told of the elements that were made.
fn told(tally: &CastTally) -> [(&'static str, &'static str, u64); 4] {
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    [
        ("clipped", "outside the type became its nearest value", get(&tally.clipped)),
        ("zero_divisors", "divided as whole numbers by zero, which gives 0", get(&tally.zero_divisors)),
        ("nan", "NaN", get(&tally.nan)),
        ("infinite", "infinite", get(&tally.infinite)),
    ]
}

/// A folder that goes when this does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The array that the expression `text` is of `inputs`, after computing the reductions that it needs. In a dry run they
/// are planned for alone.
pub(super) fn calculated(
    text: &str,
    inputs: &[(String, Arc<dyn Array>)],
    output: &Output,
    args: &RunArgs,
    private: &Path,
    stop: &AtomicBool,
) -> Result<Calculated, Error> {
    let tree = syntax::parse(text)?;
    let budget = Resources::new(args);
    let room = inputs.first().map_or(0, |(_, array)| budget.room(&**array));
    let mut known = Known::new();
    let mut passes = Vec::new();
    let temporary = Temporary(private.to_owned());
    loop {
        let Built { array, tally, natural, wanted, parts } =
            expression::build(text, &tree, inputs, &known, room, output)?;
        if wanted.is_empty() {
            return Ok(Calculated { array, tally, natural, passes, parts, _temporary: temporary });
        }
        for group in expression::together(wanted) {
            let names = group.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(", ");
            let bytes = size_bytes(&group[0].array.shape(), group[0].array.dtype());
            let outputs = group.iter().map(|one| Reducer::new(one.array.axes(), one.array.dtype(), &one.settings));
            let total: u64 = outputs.map(|of| of.map(|of| result_bytes(&of))).sum::<Result<_, _>>()?;
            let place = if total <= room / 4 { "memory" } else { "a temporary Zarr" };
            let pass = passes.len() + 1;
            passes.push(format!("  pass {pass}: {names}, reads {}, kept in {place}", Bytes(bytes)));
            if args.reads_nothing() {
                for one in group {
                    let of = Reducer::new(one.array.axes(), one.array.dtype(), &one.settings)?;
                    let dtype = if one.then.is_some() { DType::Float64 } else { of.outputs()[0].dtype };
                    let held = size_bytes(&crate::axis::shape(&one.axes), dtype) <= room / 4;
                    known.insert(one.text, Arc::new(Held::awaited(one.axes, dtype, held)));
                }
                continue;
            }
            if !args.quiet {
                tell(format_args!("first {names}, from {}", Bytes(bytes)));
            }
            computed(group, args, &budget, room, private, stop, &mut known)?;
        }
    }
}

fn result_bytes(reducer: &Reducer) -> u64 {
    reducer.outputs().iter().map(|o| size_bytes(&o.shape(), o.dtype)).sum()
}

/// Computes reductions of one array along the same axes, in one pass.
fn computed(
    group: Vec<Wanted>,
    args: &RunArgs,
    budget: &Resources,
    room: u64,
    private: &Path,
    stop: &AtomicBool,
    known: &mut Known,
) -> Result<(), Error> {
    let array = Arc::clone(&group[0].array);
    let operators = group.iter().map(|w| w.settings.operators.as_str()).collect::<Vec<_>>().join(",");
    let settings = crate::reduce::Settings { operators, ..group[0].settings.clone() };
    let reducer = Arc::new(Reducer::new(array.axes(), array.dtype(), &settings)?);
    let reduction = Reduction::new(Arc::clone(&reducer), Box::new(|n| n.saturating_mul(64)));
    let total = result_bytes(&reducer);
    let in_memory = total <= room / 4;
    let held = if in_memory { total.saturating_mul(2) } else { 0 };
    let left = budget.room(&*array).saturating_sub(held);
    let plan = consume::plan(&*array, &[&reduction], left)
        .map_err(|bytes| budget.refusal(&*array, None, bytes.saturating_add(held), held))?;
    let tile = reduction.tile(&plan);
    let n_known = known.len();
    let place = |i: usize| private.join(format!("{}.zarr", n_known + i));
    if !in_memory {
        std::fs::create_dir_all(private).map_err(|e| Error::io(private, "cannot make the folder", e))?;
    }
    let output = |i: usize| -> Result<Box<dyn Consumer>, Error> {
        let output = &reducer.outputs()[i];
        let shape = output.shape();
        if in_memory {
            return Ok(Box::new(Assemble::new(&shape, &shape, output.dtype, None)));
        }
        let chunk = reducer.output_of(i, &Region::whole(&tile)).shape;
        let options = OutputOptions { chunks: Some(chunk), shards: sink::Sharding::None, ..results::fast(true) };
        let fill = vec![0; output.dtype.size()];
        let spec = Spec { axes: output.axes.clone(), dtype: output.dtype, fill, provenance: serde_json::Value::Null };
        sink::create(&place(i), &spec, &options)
    };
    let outputs = (0..group.len()).map(output).collect::<Result<Vec<_>, _>>()?;
    let mut consumers: [Box<dyn Consumer>; 1] = [Box::new(reduction.fitted(&plan, outputs))];
    let terms = budget.terms(&plan, &*array, &[&*consumers[0]], stop);
    let alone = RunArgs { share: None, planned: None, ..args.clone() };
    let Came::Whole(ran) = resources::run(&alone, &array, &plan, &mut consumers, &Job::default(), &terms, |_| {})?
    else {
        return Ok(());
    };
    for (i, (one, product)) in group.into_iter().zip(ran.products.into_iter().flatten()).enumerate() {
        let result: Arc<dyn Array> = match product.values {
            Some(block) => Arc::new(Held::new(one.axes.clone(), made_of(block, &one)?)),
            None => {
                let stored: Arc<dyn Array> = source::open(&place(i), &OpenOptions::default())?;
                Arc::new(Arranged::renamed(stored, one.axes))
            }
        };
        known.insert(one.text, result);
    }
    Ok(())
}

/// What is made of a result, if anything.
fn made_of(block: Block, wanted: &Wanted) -> Result<Block, Error> {
    let Some(then) = wanted.then else { return Ok(block) };
    let low = crate::array::calc::range(wanted.array.dtype()).map_or(0, |r| r.0);
    let mut number = Block::new(Region::whole(&crate::axis::shape(&wanted.axes)), DType::Float64)?;
    number.elements_mut::<f64>()[0] = then(&block) + low as f64;
    Ok(number)
}

/// Type and treatment of values that do not fit it.
impl crate::cli::ValueArgs {
    pub(super) fn output(&self) -> Result<Output, Error> {
        if self.dtype.is_some_and(DType::is_complex) {
            return Err(Error::usage("--dtype: expressions are of real numbers"));
        }
        Ok(Output { dtype: self.dtype, cast: self.cast, scale: self.scale, offset: self.offset, narrow: false })
    }
}
