//! `completions`: what a shell offers for the word that is being typed, the axes of the named input among it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::resolve;
use crate::array::Array;
use crate::bytes::is_remote;
use crate::cli::{Cli, InputArgs, NameArgs};
use crate::error::Error;

/// A shell that asks sets this, with its name.
const VARIABLE: &str = "STACKCTL_COMPLETE";
/// Nobody who has pressed a key waits longer for the axes of an input.
const PATIENCE: Duration = Duration::from_millis(400);

/// Prints what `shell` reads to learn how to ask.
pub(super) fn run(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    let shells = Shells::builtins();
    let known = shells.completer(&shell.to_string()).ok_or_else(|| Error::usage(format!("{shell} is not known")))?;
    known.write_registration(VARIABLE, "stackctl", "stackctl", "stackctl", &mut text)?;
    super::print(&text)
}

/// Answers a shell that asks what could come next, and tells whether one did.
///
/// # Errors
/// If the shell is not known or does not listen.
pub fn answer() -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(knowing).var(VARIABLE).try_complete(std::env::args_os(), folder.as_deref())
}

/// The command line, whose flags that take axes know those of the input.
fn knowing() -> clap::Command {
    let knows = |flag: Arg| match flag.get_id().as_str() {
        "axes" | "axis" | "along" | "keep" | "flip" => flag.add(ArgValueCompleter::new(axes)),
        _ => flag,
    };
    let mut command = Cli::command();
    // Flags of commands are not there before.
    command.build();
    command.mut_subcommands(|command| command.mut_args(knows))
}

/// The axes that begin as `typed` does: of the named input if they are soon found, else those that most arrays have.
fn axes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let found = of_input().unwrap_or_else(|| crate::axis::USUAL.map(str::to_owned).into());
    found.into_iter().filter(|axis| axis.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The axes of the input that stands in the line, without those along which it has one element.
fn of_input() -> Option<Vec<String>> {
    let (found, answer) = mpsc::channel();
    let line: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    std::thread::spawn(move || found.send(opened(line)));
    answer.recv_timeout(PATIENCE).ok()?
}

fn opened(line: Vec<OsString>) -> Option<Vec<String>> {
    let typed: ArgMatches = Cli::command().ignore_errors(true).try_get_matches_from(line).ok()?;
    let (_, flags) = typed.subcommand()?;
    let input = InputArgs::from_arg_matches(flags).ok()?;
    let names = NameArgs::from_arg_matches(flags).ok()?;
    // Nobody who has pressed a key wants a program run, a pipe read or a server asked.
    let is_asking = input.files_from.is_some() || names.reader.is_some();
    if input.inputs.is_empty() || is_asking || input.inputs.iter().any(|name| is_remote(Path::new(name))) {
        return None;
    }
    let opened = resolve::request(&input, &names, None, None).ok()?.open().ok()?;
    let (own, single): (Vec<_>, Vec<_>) = opened.stack.axes().iter().partition(|axis| axis.length > 1);
    let named = if own.is_empty() { single } else { own };
    Some(named.into_iter().map(|axis| axis.name.clone()).collect())
}
