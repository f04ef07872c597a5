//! `calc`: expressions of arrays, and `--calc` of the other commands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::resources::{self, Resources};
use super::stitch::{self, Writing};
use super::{early, resolve, results, stop, tell};
use crate::array::calc::Tally;
use crate::array::{Arranged, Array, Held};
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::cli::{BesideArgs, CalcArgs, InputArgs, Missing, NameArgs, RunArgs};
use crate::consume::{self, Assemble, Consumer, Job};
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::expression::{self, Built, Known, Output, Wanted, syntax};
use crate::grid::Region;
use crate::open::Opened;
use crate::provenance::Ledger;
use crate::reduce::{Reducer, Reduction};
use crate::report::{count, tuple};
use crate::sink::{self, OutputOptions, Spec};
use crate::source::headers::Note;
use crate::source::{self, OpenOptions};

pub(super) fn run(args: &CalcArgs) -> Result<()> {
    let start = Instant::now();
    if args.names.missing == Missing::Skip {
        return Err(
            Error::usage("--missing skip leaves holes out of what is reduced: use fill, or reduce --calc").into()
        );
    }
    early::calc(args)?;
    let stop = stop::early(start, args.run.deadline)?;
    let opened = inputs(args)?;
    let (mut files, mut notes, mut arrays, mut n_holes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut provenance = json!({});
    let (mut unit, mut losses) = (Vec::new(), Vec::new());
    for (name, one) in opened {
        let told = resolve::provenance(&one);
        provenance[&name] = told;
        let Opened { stack, notes: own, is_single, .. } = one;
        Note::merge(&mut notes, &own);
        n_holes += stack.layout().n_holes();
        losses.extend(stack.losses().cloned());
        files.extend(stack.paths().to_vec());
        let dropped = resolve::own_axes(&stack, is_single, &args.names, &[]);
        if unit.is_empty() && dropped.is_empty() {
            unit = stack.layout().unit().to_vec();
        }
        arrays.push((name, crate::array::select(Arc::new(stack), &dropped)?));
    }
    let output = args.output.as_deref().unwrap_or("");
    if !matches!(output, "" | "-") {
        super::refuse_input(Path::new(output), &files)?;
    }
    let private = private(Path::new(if matches!(output, "" | "-") { "stackctl" } else { output }));
    let how = args.values.output()?;
    let made = calculated(&args.expression, &arrays, &how, &args.run, &private, &stop)?;
    let Calculated { array, tally, lines, temporary: _temporary } = made;
    if unit.len() != array.axes().len() {
        unit = Vec::new();
    }
    if args.run.dry_run && !args.run.json {
        super::print(format!("{}\n", lines.join("\n")).as_bytes())?;
    }
    provenance = json!({ "expression": args.expression, "command": provenance.as_object().and_then(|p| p.values().next())
        .map(|p| p["command"].clone()), "program": concat!("stackctl ", env!("CARGO_PKG_VERSION")), "inputs": provenance });
    let settings = json!({ "expression": args.expression, "values": format!("{:?}", args.values) });
    if matches!(output, "" | "-") {
        return small(args, &array, output, &provenance, &tally, &stop);
    }
    let writing = Writing {
        storage: &args.storage,
        run: &args.run,
        overwrite: args.overwrite,
        output: Path::new(output),
        shown: Path::new(output),
        name: None,
        beside: &BesideArgs::default(),
        png: Default::default(),
        inputs: files,
        n_holes,
        n_absent: 0,
        notes,
        losses: losses.first().cloned().unwrap_or_default(),
        ledger: Ledger::default(),
        unit,
        provenance,
        attributes: serde_json::Map::new(),
        settings,
        start,
    };
    let told = stitch::write(&writing, array, &stop)?;
    if !args.run.dry_run {
        losses.iter().skip(1).for_each(resolve::tell_losses);
        tell_counts(&tally);
    }
    told.map_or(Ok(()), |mut value| {
        if !args.run.dry_run {
            value["counts"] = counts(&tally);
        } else {
            value["tree"] = json!(lines);
        }
        super::print_json(&value)
    })
}

/// The inputs by their names: `a=raw/`, or all that have none together as `a`.
fn inputs(args: &CalcArgs) -> Result<Vec<(String, Opened)>> {
    let mut unnamed = Vec::new();
    let mut named: Vec<(String, InputArgs)> = Vec::new();
    for text in &args.input.inputs {
        match text.split_once('=').filter(|(name, _)| is_name(name) && !Path::new(text).exists()) {
            Some((name, path)) => match named.iter_mut().find(|n| n.0 == name) {
                Some((_, input)) => input.inputs.push(path.to_owned()),
                None => {
                    named.push((name.to_owned(), InputArgs { inputs: vec![path.to_owned()], ..InputArgs::default() }))
                }
            },
            None => unnamed.push(text.clone()),
        }
    }
    if !unnamed.is_empty() || args.input.files_from.is_some() {
        if named.iter().any(|n| n.0 == "a") {
            return Err(Error::usage("inputs without a name are 'a', which is named as well: name all of them").into());
        }
        named.insert(0, ("a".into(), InputArgs { inputs: unnamed, ..args.input.clone() }));
    }
    if named.is_empty() {
        return Err(Error::usage("no input: name them, as in a=raw/ b=dark.tif, or give paths that are 'a'").into());
    }
    let open = |(name, input): (String, InputArgs)| {
        // One file that is an array by itself has no names to be read.
        let alone = input.inputs.len() == 1
            && input.files_from.is_none()
            && (Path::new(&input.inputs[0]).is_file() || sink::extension(Path::new(&input.inputs[0])) == "zarr");
        let own = NameArgs { pattern: None, regex: None, preset: None, layout: Vec::new(), ..args.names.clone() };
        let names = if alone { &own } else { &args.names };
        let mut request = resolve::request(&input, names, args.run.memory, args.run.threads)?;
        request.stored_order = true;
        let opened = resolve::open(&request, &args.run).map_err(|e| e.at(format!("input {name}")))?.pop();
        let opened = opened.ok_or_else(|| Error::usage(format!("input {name}: nothing is there")))?;
        Ok((name, opened))
    };
    named.into_iter().map(open).collect()
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_') && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// A name beside the output for what is computed on the way.
pub(super) fn private(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.{}.reduced", std::process::id()))
}

/// What an expression came to.
pub(super) struct Calculated {
    pub(super) array: Arc<dyn Array>,
    pub(super) tally: Arc<Tally>,
    /// The tree in words.
    pub(super) lines: Vec<String>,
    /// What was computed on the way; it goes when this does.
    pub(super) temporary: Temporary,
}

/// A folder that goes when this does.
pub(super) struct Temporary(PathBuf);

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
    let mut lines = Vec::new();
    let temporary = Temporary(private.to_owned());
    loop {
        let Built { array, tally, wanted, parts } = expression::build(text, &tree, inputs, &known, room, output)?;
        if wanted.is_empty() {
            for part in parts {
                lines.push(format!("  {:<40} {} {}", part.text, tuple(&part.array.shape()), part.array.dtype()));
            }
            return Ok(Calculated { array, tally, lines, temporary });
        }
        for group in expression::together(wanted) {
            let names = group.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(", ");
            let bytes = size_bytes(&group[0].array.shape(), group[0].array.dtype());
            lines.push(format!("  pass {}: {names}, reads {}", lines.len() + 1, Bytes(bytes)));
            if args.dry_run {
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
    let total: u64 = reducer.outputs().iter().map(|o| size_bytes(&o.shape(), o.dtype)).sum();
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
    let alone = RunArgs { share: None, ..args.clone() };
    let ran = resources::run(&alone, &array, &plan, &mut consumers, &Job::default(), &terms, |_| {})?;
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

/// Writes or prints a result that is put together in memory, or goes down a pipe.
fn small(
    args: &CalcArgs,
    array: &Arc<dyn Array>,
    output: &str,
    provenance: &serde_json::Value,
    tally: &Tally,
    stop: &AtomicBool,
) -> Result<()> {
    let shape = array.shape();
    if output.is_empty() && crate::grid::n_elements(&shape) > results::MOST_PRINTED {
        return Err(Error::usage(format!("gives an array of {}: say with -o where to write it", tuple(&shape))).into());
    }
    let spec = Spec { provenance: provenance.clone(), ..Spec::of(&**array) };
    let consumer: Box<dyn Consumer> = match output {
        "-" => sink::stream(Box::new(std::io::stdout()), &spec),
        _ => Box::new(Assemble::new(&shape, &shape, array.dtype(), None)),
    };
    let budget = Resources::new(&args.run);
    let plan = budget.plan(&**array, &[&*consumer])?;
    let mut consumers = [consumer];
    if args.run.dry_run {
        let text = format!("  {} in {}\nnothing was read (--dry-run)\n", tuple(&shape), count(plan.len(), "task"));
        return super::print(text.as_bytes());
    }
    let terms = budget.terms(&plan, &**array, &[&*consumers[0]], stop);
    let ran = resources::run(&args.run, array, &plan, &mut consumers, &Job::default(), &terms, |_| {})?;
    tell_counts(tally);
    let Some(block) = ran.products.into_iter().flatten().find_map(|p| p.values) else { return Ok(()) };
    // Axes of length one that are left of reductions number nothing.
    let shown: Vec<Axis> = array.axes().iter().filter(|axis| axis.length > 1).cloned().collect();
    if args.run.json {
        let value = results::text::numbers_json(&crate::axis::shape(&shown), &block);
        return super::print_json(
            &json!({ "axes": shown, "dtype": array.dtype(), "value": value, "counts": counts(tally) }),
        );
    }
    super::print(results::text::numbers(&shown, &block).as_bytes())
}

/// What is to be told of the elements that were made.
fn told(tally: &Tally) -> [(&'static str, &'static str, u64); 4] {
    let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    [
        ("clipped", "outside the type became its nearest value", get(&tally.clipped)),
        ("zero_divisors", "divided as whole numbers by zero, which gives 0", get(&tally.zero_divisors)),
        ("nan", "NaN", get(&tally.nan)),
        ("infinite", "infinite", get(&tally.infinite)),
    ]
}

pub(super) fn tell_counts(tally: &Tally) {
    for (_, what, n) in told(tally) {
        if n > 0 {
            let verb = if what.starts_with(['N', 'i']) { if n == 1 { "is " } else { "are " } } else { "" };
            tell(format_args!("note: {} {verb}{what}", count(n, "element")));
        }
    }
}

fn counts(tally: &Tally) -> serde_json::Value {
    told(tally).iter().map(|(name, _, n)| ((*name).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>().into()
}

/// Type and treatment of values that do not fit it.
impl crate::cli::ValueArgs {
    pub(super) fn output(&self) -> Result<Output, Error> {
        if self.dtype.is_some_and(DType::is_complex) {
            return Err(Error::usage("--dtype: expressions are of real numbers"));
        }
        Ok(Output { dtype: self.dtype, cast: self.cast, scale: self.scale, offset: self.offset })
    }
}
