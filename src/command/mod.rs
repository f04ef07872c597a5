//! The subcommands: wiring between the command line and the library, and everything that is printed.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::error::Error;

mod calibration;
mod inspect;
mod npy;
mod planning;
mod presets;
mod progress;
mod reduce;
mod resources;
mod results;
mod stitch;
mod stop;
mod survey;

/// Runs one subcommand.
///
/// # Errors
/// Whatever ended it; [`Error`] inside tells the exit code.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Stitch(args) => stitch::run(&args),
        Command::Reduce(args) => reduce::run(&args),
        Command::Patterns(args) => presets::run(&args),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "stackctl", &mut text);
    print(&text)
}

/// Says something on standard error, and goes on where nobody listens.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes to standard output; what cannot be written there is an error.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Prints `value` as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::format)?;
    text.push(b'\n');
    print(&text)
}

/// Refuses to replace one of the `inputs`, or what holds one, by the output.
fn refuse_input(output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    // What does not exist is no input.
    let Ok(place) = output.canonicalize() else { return Ok(()) };
    let held = |input: &&PathBuf| input.canonicalize().is_ok_and(|i| i.starts_with(&place) || place.starts_with(&i));
    match inputs.iter().find(held) {
        Some(input) => Err(Error::usage(format!(
            "{}: the output would replace the input {}: choose another name",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}
