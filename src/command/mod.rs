//! The subcommands: wiring between the command line and the library, and everything that is printed.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde_json::Value;

use crate::bytes::{self, Watch};
use crate::cli::{Cli, Command, RunArgs};
use crate::device::Devices;
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::bound_arenas;
use crate::pairwise::BlockPass;
use crate::sink;
use crate::store::Checkpoints;

mod advise;
mod beside;
mod calc;
mod calculated;
mod collection;
mod completions;
mod decompose;
mod devices;
mod early;
mod inspect;
mod kept;
mod like;
mod link;
mod many;
mod pairwise;
mod plan;
mod planning;
mod plot;
mod presets;
mod progress;
mod pyramid;
mod ranks;
mod reduce;
mod report;
mod resolve;
mod resources;
mod results;
mod space;
mod status;
mod stitch;
mod stop;
mod verify;
mod view;
mod voice;
mod writing;
mod written;

pub use completions::answer;
pub use ranks::abort;
pub use voice::tell;

/// Runs one subcommand.
///
/// # Errors
/// Whatever ended it; [`Error`] inside tells the exit code.
pub fn run(cli: Cli) -> Result<()> {
    voice::set(&cli.voice)?;
    stop::tell_of_want();
    bound_arenas();
    dispatch(cli.command)
}

fn dispatch(command: Command) -> Result<()> {
    devices::check(&command)?;
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Advise(args) => advise::run(&args),
        Command::Stitch(args) | Command::Convert(args) => stitch::run(&args),
        Command::Link(args) => link::run(&args),
        Command::Pyramid(args) => pyramid::run(&args),
        Command::Reduce(args) => reduce::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Calc(args) => calc::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Pairwise(args) => over(&args.run, args.output.as_deref().map(Path::new), pairwise::run(&args)),
        Command::Decompose(args) => over(&args.run, Some(&args.output), decompose::run(&args)),
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => plan::run(&args),
        Command::Finalize(args) => plan::finalize(&args),
        Command::Status(args) => status::status(&args),
        Command::Place(args) => status::place(&args),
        Command::Submit(args) => status::submit(&args),
        Command::View(args) => view::run(&args),
        Command::Patterns(args) => presets::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Writes to standard output; what cannot be written there is an error.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// The command that goes on where this one stopped: the same one.
fn going_on() -> String {
    format!("this goes on:\n  stackctl {}", command_line())
}

/// What was typed after the program's name, for a shell.
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./,=:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Tells if a result has another type than its values would have, for the sake of who opens it.
fn tell_narrowed(path: &Path, natural: DType, dtype: DType) {
    let why = match dtype {
        same if same == natural => return,
        DType::Float64 => "an OME-TIFF has no integers of 64 bits:".to_owned(),
        _ => format!("ImageJ opens no elements of 64 bits: --dtype {natural} keeps them, and"),
    };
    tell(format_args!("note: {}: {natural} as {dtype}, since {why} .zarr and .npy are exact", path.display()));
}

/// Tells of a picture that would have one pixel, which nobody asks for.
fn tell_one_pixel(path: &Path, shape: &[u64]) {
    let is_picture = matches!(sink::extension(path).as_str(), "png" | "tif" | "tiff");
    if is_picture && crate::grid::n_elements(shape) == 1 {
        tell(format_args!(
            "note: {}: a picture of one pixel: without -o the number is printed, and fewer axes in --axis or --select \
             leave more pixels",
            path.display()
        ));
    }
}

/// `label` as one part of a path, never a way out of the folder.
fn one_part(label: &str) -> String {
    let label = label.replace(['/', '\\'], "_");
    if label.trim_matches('.').is_empty() { "_".to_owned() } else { label }
}

/// How the blocks of rows are gone over for `output`: from where an earlier run with the same `manifest` was.
fn way<'a>(
    output: Option<&Path>,
    manifest: &Value,
    run: &RunArgs,
    stop: &'a AtomicBool,
    devices: Option<&Arc<Devices>>,
) -> Result<BlockPass<'a>, Error> {
    let manifest = serde_json::json!([env!("CARGO_PKG_VERSION"), manifest]);
    output.filter(|_| run.restart).map_or(Ok(()), Checkpoints::forget)?;
    let (checkpoints, elsewhere) = (Checkpoints::new(output, &manifest), devices::elsewhere(devices));
    Ok(BlockPass { stop, checkpoints, prefix: String::new(), elsewhere })
}

/// Forgets what was kept on the way to `output` where that is whole: this run has made it, or found that an earlier one had.
fn over(run: &RunArgs, output: Option<&Path>, ended: Result<()>) -> Result<()> {
    let is_whole = ended.as_ref().map_or_else(|e| matches!(e.downcast_ref(), Some(Error::Complete(_))), |()| true);
    output.filter(|_| is_whole && !run.dry_run).map_or(Ok(()), Checkpoints::forget)?;
    ended
}

/// A stop, with how to go on.
fn stopped(error: Error, way: &BlockPass<'_>) -> Error {
    match error {
        Error::Stopped(text) if way.checkpoints.keeps() => Error::Stopped(format!("{text}; {}", going_on())),
        Error::Stopped(text) => Error::Stopped(format!("{text}: without -o nothing is kept to go on with")),
        other => other,
    }
}

/// Tells that an earlier run was gone on with.
fn tell_resumed(way: &BlockPass<'_>, run: &RunArgs) {
    let n = way.checkpoints.n_resumed();
    if n > 0 && !run.quiet {
        tell(format_args!("went on with what an earlier run had made of {}", crate::report::count(n, "block of rows")));
    }
}

/// Prints `value` as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::format)?;
    text.push(b'\n');
    print(&text)
}

/// Refuses an array that must be in a file system for what is to be done with it.
fn refuse_remote(place: &Path) -> Result<(), Error> {
    if !bytes::is_remote(place) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{}: this is done in file systems alone: copy it, as with 'rclone copy'",
        place.display()
    )))
}

/// Refuses to replace one of the `inputs`, or what holds one, by the output, and to write into one.
///
/// # Errors
/// `Usage`, naming the input.
fn refuse_input(output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    let why_of = |output: &Path, input: &Path| match (input.starts_with(output), output.starts_with(input)) {
        (true, _) => Some("the output would replace the input"),
        (false, true) => Some("the output would lie inside the input"),
        _ => None,
    };
    let refused = |why: &str, input: &Path| {
        Error::usage(format!("{}: {why} {}: choose another name", output.display(), input.display()))
    };
    if bytes::is_remote(output) {
        let refused = inputs.iter().find_map(|input| Some(refused(why_of(output, input)?, input)));
        return refused.map_or(Ok(()), Err);
    }
    let place = resolved(output);
    let exists = place.exists();
    let mut folders = HashMap::new();
    // Only folders hold what is not there yet.
    for input in inputs.iter().filter(|input| exists || input.is_dir()) {
        let Some(input_place) = place_of(input, &mut folders) else { continue };
        if let Some(why) = why_of(&place, &input_place) {
            return Err(refused(why, input));
        }
    }
    Ok(())
}

/// The place that `path` stands for, links followed; `folders` are those of the folders that were asked for.
fn place_of<'a>(path: &'a Path, folders: &mut HashMap<&'a Path, Option<PathBuf>>) -> Option<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.canonicalize().ok() };
    if folder.as_os_str().is_empty() || path.is_symlink() {
        return path.canonicalize().ok();
    }
    Some(folders.entry(folder).or_insert_with(|| folder.canonicalize().ok()).as_ref()?.join(name))
}

/// The same of inputs that were looked at.
fn refuse_inputs(output: &Path, inputs: &Watch) -> Result<(), Error> {
    // Only folders hold what is not there yet.
    let is_new = !bytes::is_remote(output) && !resolved(output).exists();
    refuse_input(output, &inputs.met(is_new))
}

/// The place that `path` stands for, links followed as far as there is something.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut known = whole.as_path();
    let base = loop {
        match known.canonicalize() {
            Ok(base) => break base,
            Err(_) => match (known.parent(), known.components().next_back()) {
                (Some(parent), Some(last)) => {
                    rest.push(last);
                    known = parent;
                }
                _ => break known.to_owned(),
            },
        }
    };
    // What does not exist is no link: `..` leads back.
    rest.into_iter().rev().fold(base, |mut place, part| {
        match part {
            std::path::Component::ParentDir => _ = place.pop(),
            part => place.push(part),
        }
        place
    })
}
