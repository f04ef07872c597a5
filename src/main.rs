//! The executable: parse, dispatch, print the error chain once, choose the exit code.

use std::io::ErrorKind;
use std::process::ExitCode;

use stackctl::cli::Cli;
use stackctl::command;
use stackctl::error::Error;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::answer() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return misread(&error),
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    match command::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(misread_in_plan) = error.downcast_ref::<clap::Error>() {
                return misread(misread_in_plan);
            }
            let code = if is_closed_pipe(&error) {
                0
            } else {
                command::tell(format_args!("stackctl: {}", chain(&error)));
                error.downcast_ref::<Error>().map_or(1, Error::exit_code)
            };
            command::abort(code);
            ExitCode::from(code)
        }
    }
}

/// Answers help and version, and tells of a mistake in the command.
fn misread(error: &clap::Error) -> ExitCode {
    match wrong_value(error) {
        Some(text) => command::tell(format_args!("stackctl: {text}")),
        None if error.print().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe) => return ExitCode::FAILURE,
        None => {}
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Which flag got which value, and what would do, if that is the mistake.
fn wrong_value(error: &clap::Error) -> Option<String> {
    use clap::error::ContextKind::{InvalidArg, InvalidValue, ValidValue};
    let context = |kind| error.get(kind).map(ToString::to_string);
    let why = match std::error::Error::source(error) {
        Some(why) => plainly(why.to_string()),
        None => format!("expected one of {}", context(ValidValue).filter(|known| !known.is_empty())?),
    };
    let (flag, value) = (context(InvalidArg)?, context(InvalidValue)?);
    let flag = flag.split(' ').next()?;
    let is_told = why.contains(&format!("'{value}'"));
    Some(if is_told { format!("{flag}: {why}") } else { format!("{flag} '{value}': {why}") })
}

/// What the standard library says of numbers, in our words.
fn plainly(why: String) -> String {
    match why.as_str() {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number, at least 0".into()
        }
        "invalid float literal" | "cannot parse float from empty string" => "expected a number".into(),
        _ => why,
    }
}

/// The error and its causes, leaving out those whose text a message before ends with.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whoever read our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
}
