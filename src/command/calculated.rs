//! Expressions over arrays that were opened: the reductions inside are computed first, and what elements came to is
//! told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::resources::{self, Came, Resources};
use super::{devices, results, tell};
use crate::array::CastTally;
use crate::array::{Arranged, Array, Held, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, size_bytes};
use crate::bytes::Watch;
use crate::cli::RunArgs;
use crate::consume::{Assemble, Consumer, Job};
use crate::device::{Devices, Offloaded};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::expression::{self, Built, Known, Output, TreePart, Wanted, syntax};
use crate::grid::{Region, n_elements};
use crate::plan;
use crate::reduce::Reducer;
use crate::report::{count, tuple};
use crate::sink::{self, OutputOptions, Spec};
use crate::source::{self, OpenOptions};
use crate::store::{self, Look, scratch};

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
    devices: Option<Arc<Devices>>,
    is_quiet: bool,
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

    /// The devices that make it.
    pub(super) fn devices(&self) -> Option<&Arc<Devices>> {
        self.devices.as_ref()
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
        if let Some(devices) = &self.devices {
            devices::tell_done(devices, self.is_quiet);
        }
    }

    /// Numbers of elements by what they came to.
    pub(super) fn counts(&self) -> serde_json::Value {
        let counts = told(&self.tally).into_iter().map(|(name, _, n)| (name.to_owned(), json!(n)));
        let devices = self.devices.iter().map(|devices| ("devices".to_owned(), devices::done(devices)));
        counts.chain(devices).collect::<serde_json::Map<_, _>>().into()
    }
}

/// What is to be told of the elements that were made.
fn told(tally: &CastTally) -> [(&'static str, &'static str, u64); 5] {
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    [
        ("clipped", "outside the type became its nearest value", get(&tally.clipped)),
        ("zero_divisors", "divided as whole numbers by zero, which gives 0", get(&tally.zero_divisors)),
        ("nan", "NaN", get(&tally.nan)),
        ("infinite", "infinite", get(&tally.infinite)),
        ("rounded", "lost digits, of which the float type has fewer", get(&tally.rounded)),
    ]
}

/// A folder that goes when this does, unless others need it.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        self.0.iter().for_each(|folder| _ = std::fs::remove_dir_all(folder));
    }
}

/// Where reductions are computed.
struct Workshop<'a> {
    args: &'a RunArgs,
    budget: &'a Resources,
    devices: Option<&'a Arc<Devices>>,
    /// A folder beside the output.
    folder: PathBuf,
    /// Whether all shares of a run find results there, which the first to come computes.
    is_shared: bool,
    stop: &'a AtomicBool,
}

/// The array that the expression `text` is of `inputs`, whose files `watch` knows, after computing the reductions that it needs
/// beside `output`. In a dry run they are planned for alone.
pub(super) fn calculated(
    text: &str,
    inputs: &[(String, Arc<dyn Array>)],
    watch: &Watch,
    output: &Path,
    how: &Output,
    args: &RunArgs,
    stop: &AtomicBool,
) -> Result<Calculated, Error> {
    let tree = syntax::parse(text)?;
    let budget = Resources::new(args);
    let room = inputs.first().map_or(0, |(_, array)| budget.room(&**array));
    let devices = devices::opened(args, budget.threads)?;
    // Not every expression needs one, and it looks at all inputs.
    let mut workshop = None;
    let begin = || {
        let axes: Vec<_> = inputs.iter().map(|(name, array)| (name, array.axes(), array.dtype())).collect();
        let job = json!([env!("CARGO_PKG_VERSION"), text, axes, how.skip_absent, watch.fingerprint()?]);
        let common = store::common(output, &job);
        let is_shared = args.share.is_some() || args.planned.is_some() || common.exists();
        let folder = if is_shared { common } else { scratch(output) };
        Ok::<_, Error>(Workshop { devices: devices.as_ref(), args, budget: &budget, folder, is_shared, stop })
    };
    // The last run ends what shares have left.
    let mut temporary = Temporary(None);
    let carry = |array| match &devices {
        Some(devices) => Offloaded::of(array, devices),
        None => array,
    };
    let mut known = Known::new();
    let mut passes = Vec::new();
    loop {
        let Built { array, tally, natural, wanted, parts } =
            expression::build(text, &tree, (inputs, &carry), &known, room, how)?;
        if wanted.is_empty() {
            let (is_quiet, devices) = (args.quiet, devices.clone());
            return Ok(Calculated { array, tally, natural, passes, parts, devices, is_quiet, _temporary: temporary });
        }
        for group in expression::together(wanted) {
            let names = group.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(", ");
            let bytes = size_bytes(&group[0].array.shape(), group[0].array.dtype());
            let reducer = reducer(&group)?;
            let in_memory = result_bytes(&reducer) <= room / 4;
            let place = if in_memory { "memory" } else { "a temporary Zarr" };
            let pass = passes.len() + 1;
            passes.push(format!("  pass {pass}: {names}, reads {}, kept in {place}", Bytes(bytes)));
            if args.reads_nothing() {
                for (one, output) in group.into_iter().zip(reducer.outputs()) {
                    let dtype = if one.then.is_some() { DType::Float64 } else { output.dtype };
                    known.insert(one.text, Arc::new(Held::awaited(one.axes, dtype, in_memory)));
                }
                continue;
            }
            let workshop = match &mut workshop {
                Some(workshop) => workshop,
                none => none.insert(begin()?),
            };
            if args.share.is_none() {
                temporary.0.get_or_insert_with(|| workshop.folder.clone());
            }
            let places: Vec<PathBuf> =
                (0..group.len()).map(|i| workshop.folder.join(format!("{}.zarr", known.len() + i))).collect();
            let made = workshop.made(&names, &group, reducer, in_memory, &places)?;
            known.extend(group.into_iter().map(|one| one.text).zip(made));
        }
    }
}

/// What reduces the array of a group.
fn reducer(group: &[Wanted]) -> Result<Reducer, Error> {
    let operators = group.iter().map(|w| w.settings.operators.as_str()).collect::<Vec<_>>().join(",");
    let settings = crate::reduce::Settings { operators, ..group[0].settings.clone() };
    Reducer::new(group[0].array.axes(), group[0].array.dtype(), &settings)
}

fn result_bytes(reducer: &Reducer) -> u64 {
    reducer.outputs().iter().map(|o| size_bytes(&o.shape(), o.dtype)).sum()
}

impl Workshop<'_> {
    /// The results of a group: computed, or as another share has computed them.
    fn made(
        &self,
        names: &str,
        group: &[Wanted],
        reducer: Reducer,
        in_memory: bool,
        places: &[PathBuf],
    ) -> Result<Vec<Arc<dyn Array>>, Error> {
        let tell = |how: std::fmt::Arguments<'_>| _ = (!self.args.quiet).then(|| tell(how));
        let reducer = Arc::new(reducer);
        let blocks: Vec<Option<Block>> = loop {
            let is_there = self.is_shared && self.others_have(places)?;
            if is_there {
                tell(format_args!("{names}: as another share has computed it"));
                break places.iter().map(|_| None).collect();
            }
            let array = &group[0].array;
            let begun =
                || tell(format_args!("first {names}, from {}", Bytes(size_bytes(&array.shape(), array.dtype()))));
            match self.computed(array, &reducer, in_memory && !self.is_shared, places, begun) {
                // Another share was first.
                Err(Error::Usage(_)) if self.is_shared && places.iter().any(|place| store::is_begun(place)) => {}
                computed => break computed?,
            }
        };
        let result = |((one, place), block): ((&Wanted, &PathBuf), Option<Block>)| -> Result<Arc<dyn Array>, Error> {
            let block = match block {
                Some(block) => block,
                None => {
                    let stored: Arc<dyn Array> = source::open(place, &OpenOptions::default())?;
                    if !in_memory {
                        return Ok(Arc::new(Arranged::renamed(stored, one.axes.clone())));
                    }
                    let (whole, dtype) = (Region::whole(&stored.shape()), stored.dtype());
                    stored.reader(Scratch::default()).block(&whole, dtype, Buffer::default())?
                }
            };
            Ok(Arc::new(Held::new(one.axes.clone(), made_of(block, one)?)))
        };
        group.iter().zip(places).zip(blocks).map(result).collect()
    }

    /// Whether others have computed results to `places`; waits where they are at it.
    fn others_have(&self, places: &[PathBuf]) -> Result<bool, Error> {
        for place in places {
            while let Some(look) = Look::at(place)? {
                match look.wait() {
                    Err(Error::Usage(_)) if !self.stop.load(Ordering::Relaxed) => {}
                    Err(refused) => return Err(refused),
                    Ok(()) => break,
                }
            }
        }
        Ok(places.iter().all(|place| place.exists()))
    }

    /// Computes reductions of one array along the same axes, in one pass: to memory, or to `places`. Says when it has `begun`,
    /// which another share may have done before.
    fn computed(
        &self,
        array: &Arc<dyn Array>,
        reducer: &Arc<Reducer>,
        in_memory: bool,
        places: &[PathBuf],
        begun: impl Fn() + Send,
    ) -> Result<Vec<Option<Block>>, Error> {
        let (args, budget) = (self.args, self.budget);
        let reduction = results::on_the_way(reducer).made(devices::elsewhere(self.devices));
        let held_bytes = if in_memory { result_bytes(reducer).saturating_mul(2) } else { 0 };
        let plan = budget.plan_beside(&**array, &reduction, held_bytes)?;
        let tile = reduction.tile(&plan);
        if !in_memory {
            let failed = |e| Error::io(&self.folder, "cannot make the folder", e);
            std::fs::create_dir_all(&self.folder).map_err(failed)?;
        }
        let output = |(i, place): (usize, &PathBuf)| -> Result<Box<dyn Consumer>, Error> {
            let output = &reducer.outputs()[i];
            let shape = output.shape();
            if in_memory {
                return Ok(Box::new(Assemble::new(&shape, &shape, output.dtype, None)));
            }
            let chunk = reducer.output_of(i, &Region::whole(&tile)).shape;
            let options = OutputOptions { chunks: Some(chunk), shards: sink::Sharding::None, ..results::fast(true) };
            let fill = vec![0; output.dtype.size()];
            let spec =
                Spec { axes: output.axes.clone(), dtype: output.dtype, fill, provenance: serde_json::Value::Null };
            sink::create(place, &spec, &options)
        };
        let outputs = places.iter().enumerate().map(output).collect::<Result<Vec<_>, _>>()?;
        let mut consumers: [Box<dyn Consumer>; 1] = [Box::new(reduction.fitted(&plan, outputs))];
        let terms = budget.terms(&plan, &**array, &[&*consumers[0]], self.stop);
        let alone = RunArgs { share: None, planned: None, ..args.clone() };
        let mut begun = Some(begun);
        let progress = |_| begun.take().into_iter().for_each(|begun| begun());
        match resources::run(&alone, array, &plan, &mut consumers, &Job::default(), &terms, progress)? {
            Came::Whole(ran) => Ok(ran.products.into_iter().flatten().map(|product| product.values).collect()),
            Came::Part(_) => Err(Error::format("a pass is not shared out")),
        }
    }
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
        let Self { dtype, cast, scale, offset, .. } = *self;
        Ok(Output { dtype, cast, scale, offset, ..Output::default() })
    }
}
