//! `calc`: expressions of arrays, and `--calc` of the other commands.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Map, json};

use super::calculated::{Calculated, calculated};
use super::kept::Kept;
use super::resources::{self, Came, Resources};
use super::writing::{self, Lineage, Writing};
use super::{early, plot, resolve, results, stop};
use crate::array::Array;
use crate::axis::Axis;
use crate::cli::{CalcArgs, InputArgs, Missing, NameArgs};
use crate::consume::{Assemble, Consumer, Job};
use crate::error::Error;
use crate::expression::Output;
use crate::open::{Opened, Request};
use crate::provenance::Ledger;
use crate::report::{count, tuple};
use crate::sink::{self, Spec};
use crate::source::headers::GroupedNote;

pub(super) fn run(args: &CalcArgs) -> Result<()> {
    let start = Instant::now();
    if args.names.missing == Missing::Skip {
        return Err(
            Error::usage("--missing skip leaves holes out of what is reduced: use fill, or reduce --calc").into()
        );
    }
    early::calc(args)?;
    let stop = stop::early(start, args.run.deadline)?;
    let output = args.output.as_deref().filter(|name| !matches!(*name, "" | "-")).map(Path::new);
    let mut lineage = Lineage::default();
    let (mut arrays, mut files, mut told) = (Vec::new(), Vec::new(), Map::new());
    let requests = requests(args)?;
    let is_one = requests.len() == 1;
    for (name, request) in requests {
        let opened = resolve::open(&request, &args.run).map_err(|e| e.at(format!("input {name}")))?.pop();
        let mut opened = opened.ok_or_else(|| Error::usage(format!("input {name}: nothing is there")))?;
        // A flag would speak of all inputs.
        opened.found = opened.found.filter(|_| is_one);
        let (own, Opened { stack, is_single, .. }) = Lineage::of(opened, &args.run)?;
        let first = u32::try_from(files.len()).map_err(Error::format)?;
        let losses = stack.losses().map(|_| lineage.losses.clone());
        let stack = stack
            .summed(output.is_some_and(|output| resolve::sums_inputs(output, &args.run)))
            .numbered_from(first)
            .salvaging(losses);
        files.extend(resolve::inputs_of(&stack, output.unwrap_or(Path::new("."))));
        let dropped = resolve::own_axes(&stack, is_single, &args.names, &[]);
        if lineage.unit.is_empty() && dropped.is_empty() {
            lineage.unit = own.unit;
        }
        GroupedNote::merge(&mut lineage.notes, &own.notes);
        lineage.n_holes += own.n_holes;
        lineage.inputs.extend(&own.inputs);
        told.insert(name.clone(), own.provenance);
        let kept = is_one.then(|| Kept::of(&stack, is_single, &args.names, args.input.follow)).transpose()?;
        let all: Arc<dyn Array> = Arc::new(stack);
        let array = crate::array::select(Arc::clone(&all), &dropped)?;
        lineage.kept = kept.map_or_else(|| Ok(Kept::default()), |kept| kept.chosen(&all, &*array))?;
        arrays.push((name, array));
    }
    let words: Vec<&str> = args.expression.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    for (name, _) in arrays.iter().filter(|(name, _)| !words.contains(&name.as_str())) {
        super::tell(format_args!("note: input {name}: the expression does not name it"));
    }
    if let Some(output) = output {
        super::refuse_inputs(output, &lineage.inputs)?;
    }
    let place = output.unwrap_or(Path::new("stackctl"));
    let how = Output { narrow: output.and_then(resolve::narrow), ..args.values.output()? };
    let made = calculated(&args.expression, &arrays, &lineage.inputs, place, &how, &args.run, &stop)?;
    let array = Arc::clone(&made.array);
    if is_one {
        lineage.kept = lineage.kept.calculated(&args.expression, &how, &*array)?;
    }
    if lineage.unit.len() != array.axes().len() {
        lineage.unit = Vec::new();
    }
    lineage.provenance = json!({
        "program": concat!("stackctl ", env!("CARGO_PKG_VERSION")),
        "command": told.values().next().map(|first| first["command"].clone()),
        "expression": args.expression,
        "operands": told,
    });
    let Some(output) = output else { return small(args, &made, lineage, &stop) };
    made.tell_narrowed(output, &how);
    lineage.ledger = Ledger::of(files);
    let settings = json!({ "expression": args.expression, "values": format!("{:?}", args.values) });
    let plain = Writing::new(&args.storage, &args.run, args.overwrite, output);
    let writing = Writing { lineage, settings, calculated: Some(&made), start, ..plain };
    let told = writing::write(&writing, array, &stop)?;
    if !args.run.reads_nothing() {
        made.tell_counts();
    }
    told.map_or(Ok(()), |mut value| {
        if !args.run.reads_nothing() {
            value["counts"] = made.counts();
        }
        super::print_json(&value)
    })
}

/// The inputs by their names: `a=raw/`, or all that have none together as `a`.
pub(super) fn requests(args: &CalcArgs) -> Result<Vec<(String, Request)>, Error> {
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
            return Err(Error::usage("inputs without a name are 'a', which is named as well: name all of them"));
        }
        named.insert(0, ("a".into(), InputArgs { inputs: unnamed, ..args.input.clone() }));
    }
    if named.is_empty() {
        return Err(Error::usage("no input: name them, as in a=raw/ b=dark.tif, or give paths that are 'a'"));
    }
    let request = |(name, input): (String, InputArgs)| {
        // One file that is an array by itself has no names to be read.
        let alone = input.inputs.len() == 1
            && input.files_from.is_none()
            && (Path::new(&input.inputs[0]).is_file() || sink::extension(Path::new(&input.inputs[0])) == "zarr");
        let own = NameArgs { pattern: None, regex: None, preset: None, layout: Vec::new(), ..args.names.clone() };
        let names = if alone { &own } else { &args.names };
        let mut request = resolve::request(&input, names, args.run.memory, args.run.threads)?;
        request.stored_order = true;
        Ok((name, request))
    };
    named.into_iter().map(request).collect()
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_') && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// Writes or prints a result that is put together in memory, or goes down a pipe.
fn small(args: &CalcArgs, made: &Calculated, lineage: Lineage, stop: &AtomicBool) -> Result<()> {
    let array = &made.array;
    let shape = array.shape();
    let is_piped = args.output.as_deref() == Some("-");
    if let Some(plot) = &args.plot {
        plot::check_result(array.axes(), array.dtype()).map_err(|e| e.at(format!("--plot {}", plot.display())))?;
    } else if !is_piped && !args.run.dry_run {
        results::check_printed("the expression", &shape, crate::grid::n_elements(&shape))?;
    }
    let spec = Spec { provenance: lineage.provenance, ..Spec::of(&**array) };
    let consumer: Box<dyn Consumer> = if is_piped {
        sink::stream(Box::new(std::io::stdout()), &spec, false)
    } else {
        Box::new(Assemble::new(&shape, &shape, array.dtype(), None))
    };
    let budget = Resources::new(&args.run);
    let plan = budget.plan(&**array, &[&*consumer])?;
    let mut consumers = [consumer];
    if args.run.dry_run {
        let tree = made.tree(plan.task_box());
        if args.run.json {
            return super::print_json(&json!({ "tree": tree, "shape": shape, "tasks": plan.len() }));
        }
        let last = format!("  {} in {}\nnothing was read (--dry-run)\n", tuple(&shape), count(plan.len(), "task"));
        return super::print(format!("{}\n{last}", tree.join("\n")).as_bytes());
    }
    let terms = budget.terms(&plan, &**array, &[&*consumers[0]], stop);
    let job = Job { inputs: lineage.inputs, ..Job::default() };
    let Came::Whole(ran) = resources::run(&args.run, array, &plan, &mut consumers, &job, &terms, |_| {})? else {
        return Ok(());
    };
    made.tell_counts();
    let Some(block) = ran.products.into_iter().flatten().find_map(|p| p.values) else { return Ok(()) };
    if let Some(plot) = &args.plot {
        return plot::write(plot, array.axes(), &block, &args.expression, args.overwrite);
    }
    // Axes of length one that are left of reductions number nothing.
    let shown: Vec<Axis> = array.axes().iter().filter(|axis| axis.length > 1).cloned().collect();
    if args.run.json {
        let value = results::text::numbers_json(&crate::axis::shape(&shown), &block);
        return super::print_json(
            &json!({ "axes": shown, "dtype": array.dtype(), "value": value, "counts": made.counts() }),
        );
    }
    super::print(results::text::numbers(&args.expression, &shown, &block).as_bytes())
}
