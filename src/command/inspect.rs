//! `inspect`: what the files are, from names and headers alone, and what stitch would make of them.

use anyhow::Result;

use super::{resolve, tell};
use crate::cli::InspectArgs;
use crate::draw::printable;
use crate::error::Error;
use crate::open::{Request, Survey};
use crate::report::count;

mod findings;
mod gather;
mod next;
mod picture;
pub(super) mod sample;
mod text;
mod watch;

use findings::Report;

/// Version of the JSON.
const SCHEMA: u32 = 1;

/// The drawing of what `survey` found, for other commands.
///
/// # Errors
/// As inspecting it.
pub(super) fn drawing(args: &InspectArgs, request: &Request, survey: &Survey) -> Result<Option<String>> {
    Ok(picture::svg(&[gather::findings(args, request, survey)?]))
}

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let mut args = args.clone();
    if let Some(path) = &args.svg {
        crate::store::check_free(path, true, crate::store::OutputKind::File)?;
    }
    if args.names_only && args.input.inputs.is_empty() && args.input.files_from.is_none() {
        args.input.files_from = Some("-".into());
    }
    let mut request = resolve::request(&args.input, &args.names, args.memory, args.threads)?;
    request.by.clone_from(&args.by);
    request.names_only = args.names_only;
    let arrays = resolve::survey(&request, false)?.into_iter().map(|survey| gather::findings(&args, &request, &survey));
    let arrays: Vec<_> = arrays.collect::<Result<_>>()?;
    let n_faults = arrays.iter().map(|a| a.faults.len() as u64).sum();
    let report = Report { schema: SCHEMA, program: concat!("stackctl ", env!("CARGO_PKG_VERSION")), n_faults, arrays };
    if args.json {
        super::print_json(&report)?;
    } else {
        let text = text::render(&report.arrays, args.by.as_deref(), text::Style::of_stdout());
        super::print(printable(&text).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        match picture::svg(&report.arrays) {
            Some(svg) => {
                std::fs::write(path, svg).map_err(|e| Error::named("--svg", path, "cannot write the picture", e))?
            }
            None => tell(format_args!("stackctl: {}: not written, there is no array to draw", path.display())),
        }
    }
    if !args.names_only && report.arrays.iter().all(|found| found.array.is_none()) {
        return Err(Error::format("there is no array to be made of these files").into());
    }
    let notes = report.arrays.iter().flat_map(|a| &a.notes);
    let n_notes = notes.filter(|note| !note.kind.is_plain()).count() as u64;
    if args.strict && n_faults + n_notes > 0 {
        let found = [(n_faults, "fault"), (n_notes, "note")].into_iter().filter(|(n, _)| *n > 0);
        let found: Vec<String> = found.map(|(n, what)| count(n, what)).collect();
        return Err(Error::Fault(format!("{} found", found.join(" and "))).into());
    }
    Ok(())
}
