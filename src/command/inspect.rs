//! `inspect`: what the files are, from names and headers alone, and what stitch would make of them.

use anyhow::Result;

use super::survey::{Manner, Survey};
use crate::cli::InspectArgs;
use crate::error::Error;
use crate::report::count;

mod findings;
mod gather;
mod next;
mod picture;
mod sample;
mod text;

use findings::Report;

/// Version of the JSON.
const SCHEMA: u32 = 1;

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    if let Some(threads) = args.threads {
        // Fails only where the pool exists already, which then has to do.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global();
    }
    let mut args = args.clone();
    if args.names_only && args.input.inputs.is_empty() && args.input.files_from.is_none() {
        args.input.files_from = Some("-".into());
    }
    let (names, input) = (&args.names, &args.input);
    let manner = Manner { quiet: false, memory: args.memory };
    let surveys = match &args.by {
        Some(field) => Survey::divided(input, names, field, args.names_only, manner)?,
        None if args.names_only => vec![(String::new(), Survey::of_names(input, names)?)],
        None => vec![(String::new(), Survey::new(input, names, manner)?)],
    };
    let mut arrays = Vec::with_capacity(surveys.len());
    for (value, survey) in surveys {
        arrays.push(gather::findings(&args, args.by.is_some().then_some(value), &survey)?);
    }
    let n_faults = arrays.iter().map(|a| a.faults.len() as u64).sum();
    let report = Report { schema: SCHEMA, program: concat!("stackctl ", env!("CARGO_PKG_VERSION")), n_faults, arrays };
    if args.json {
        super::print_json(&report)?;
    } else {
        super::print(text::render(&report.arrays, args.by.as_deref(), text::Style::of_stdout()).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        match picture::svg(&report.arrays) {
            Some(svg) => std::fs::write(path, svg).map_err(|e| Error::io(path, "cannot write the picture", e))?,
            None => eprintln!("stackctl: {}: not written, there is no array to draw", path.display()),
        }
    }
    if args.strict && n_faults > 0 {
        return Err(Error::Fault(format!("{} found", count(n_faults, "fault"))).into());
    }
    Ok(())
}
