//! `report`: one page that says what an array is like.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::progress::Progress;
use super::resources::{self, Came, Resources};
use super::{early, inspect, refuse_input, resolve, stop, tell};
use crate::array::{Array, select};
use crate::block::size_bytes;
use crate::bytes::Watch;
use crate::cli::{InspectArgs, ReportArgs};
use crate::consume::Consumer;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::report::{count, tuple};
use crate::sink::report::{About, create};
use crate::sink::{OutputOptions, Spec};

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    early::report(args)?;
    let stop = stop::early(Instant::now(), args.run.deadline)?;
    let mut request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    request.select.clone_from(&args.select);
    let inspected = InspectArgs {
        input: args.input.clone(),
        names: args.names.clone(),
        no_sample: true,
        time_tolerance: 10.0,
        memory: args.run.memory,
        threads: args.run.threads,
        ..InspectArgs::default()
    };
    let survey = resolve::survey(&request, args.run.quiet)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
    let drawing = inspect::drawing(&inspected, &request, &survey)?;
    let opened = survey.open(&request)?;
    let provenance = resolve::provenance(&opened, &args.run);
    let notes: Vec<String> = opened.notes.iter().map(ToString::to_string).collect();
    let inputs = Watch::new(opened.stack.paths().to_vec())?;
    refuse_input(&args.output, inputs.paths())?;
    let losses = opened.stack.losses().cloned().unwrap_or_default();
    let mut array: Arc<dyn Array> = Arc::new(opened.stack);
    if let Some(text) = &args.select {
        array = select(array, text)?;
    }
    let spec = Spec { provenance, ..Spec::of(&*array) };
    let bytes = size_bytes(&array.shape(), array.dtype());
    let names: Vec<&str> = array.axes().iter().map(|a| a.name.as_str()).collect();
    let named = args.input.inputs.first().cloned().unwrap_or_else(|| "array".into());
    let mut facts = vec![
        ("array".to_owned(), format!("{} {} {}", names.join(" "), tuple(&array.shape()), array.dtype())),
        ("size".to_owned(), format!("{} in {}", Bytes(bytes), count(inputs.paths().len() as u64, "file"))),
    ];
    facts.extend(args.select.iter().map(|text| ("part".to_owned(), text.clone())));
    let about = About { title: args.title.clone().unwrap_or(named), facts, drawing, notes };
    let options =
        OutputOptions { overwrite: args.overwrite, durability: args.run.durability, ..OutputOptions::default() };
    let mut consumers = vec![create(&args.output, &spec, about, &options)?];
    let budget = Resources::new(&args.run);
    let shared: Vec<&dyn Consumer> = consumers.iter().map(|c| &**c).collect();
    let plan = budget.plan(&*array, &shared)?;
    let terms = budget.terms(&plan, &*array, &shared, &stop);
    if args.run.dry_run {
        let text = format!(
            "{}: {} in {}\nnothing was read (--dry-run)\n",
            args.output.display(),
            tuple(&array.shape()),
            count(plan.len(), "task")
        );
        return super::print(text.as_bytes());
    }
    let mut progress = Progress::new(bytes, args.run.quiet);
    let settings = json!({"report": args.output, "select": args.select, "title": args.title});
    let job = resources::job(&args.run, &*array, &inputs, &plan, settings, &losses)?;
    let came = resources::run(&args.run, &array, &plan, &mut consumers, &job, &terms, |n| progress.add(n))?;
    progress.finish();
    resolve::tell_losses(&losses);
    let ran = match came {
        Came::Whole(ran) => ran,
        Came::Part(told) if args.run.json => return super::print_json(&told),
        Came::Part(_) => return Ok(()),
    };
    let written = ran.products.iter().flatten().next().map_or(0, |product| product.bytes);
    if args.run.json {
        return super::print_json(&json!({"output": args.output, "bytes": written, "shape": array.shape()}));
    }
    if !args.run.quiet {
        tell(format_args!("{}: {}", args.output.display(), Bytes(written)));
    }
    Ok(())
}
