//! `plan`, `run`, `finalize`: a command is written down once, done in shares by any number of processes, and put
//! together. They only choose what `stitch`, `reduce` and `calc` do: each reads the command again and goes the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::written::{Failure, OPERATOR, done, failures, find, stands_for};
use super::{resources, tell};
use crate::cli::{Cli, Command, FinalizeArgs, Flags, InputArgs, PlanArgs, Planned, RunArgs, ShareArgs};
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit, variable};
use crate::place;
use crate::plan::{Document, Share, list};
use crate::report::count;
use crate::source::known::KnownInputs;
use crate::store::Look;

/// Failures of one process: of more it is not to be thought that single units are the cause.
const MOST_FAILURES: u32 = 32;
/// Units that are named where they were given up.
const MOST_TOLD: usize = 5;
/// Most memory that tasks are cut for if nobody says how much: who plans may have more than those who go by it.
const PLAN_BYTES: u64 = 2 << 30;

pub(super) fn plan(args: &PlanArgs) -> Result<()> {
    let mut command = parsed(&args.command)?;
    let (run, input) = parts(&mut command)?;
    if let Some(flag) = [("--share", run.share.is_some()), ("--dry-run", run.dry_run)].iter().find(|flag| flag.1) {
        return Err(Error::usage(format!("{} is not for a command that is planned: leave it out", flag.0)).into());
    }
    if input.files_from.as_deref() == Some(Path::new("-")) {
        return Err(
            Error::usage("--files-from -: later processes cannot read that again: write the names to a file").into()
        );
    }
    run.memory.get_or_insert_with(|| Bytes(Limit::resolve(None).bytes.min(PLAN_BYTES)));
    let command_words = args.command.iter().filter(|word| *word != "--restart").cloned().collect();
    run.planned =
        Some(Planned::Writes { command: command_words, n_shares: args.shares, known: KnownInputs::default() });
    super::dispatch(command)
}

pub(super) fn run(args: &ShareArgs) -> Result<()> {
    let document = find(&args.output)?;
    let decision = place::decide(&variable, args.which.share, args.which.share_base)?;
    let share = decision.share(document.shares, document.shares_asked)?;
    decision.warning.iter().for_each(|warning| tell(format_args!("note: {warning}")));
    if !args.quiet {
        tell(format_args!("{}: {}", document.outputs[0].display(), decision.words()));
    }
    let begun = Instant::now();
    let mut n_failures = 0;
    loop {
        let failed = failures(&document)?;
        // What failed waits for what has not.
        let tries = |unit: &u64| failed.get(unit).map_or(0, |(n, _)| *n);
        let left: BTreeSet<u64> = document.undone(share, &done(&document, share)?).collect();
        let Some(least) = left.iter().map(tries).min() else { break };
        if least >= args.retries {
            return Err(given_up(&left.iter().filter_map(|unit| Some((*unit, failed.get(unit)?))).collect()).into());
        }
        let except: BTreeSet<u64> = left.into_iter().filter(|unit| tries(unit) > least).collect();
        let is_last = except.is_empty();
        let went = go(document.clone(), args.memory, except, |run| {
            run.share = Some(share);
            run.threads = args.threads.or(run.threads);
            run.deadline = args.deadline.map(|time| time.saturating_sub(begun.elapsed()));
            run.json = args.json && is_last;
            run.quiet = args.quiet;
        });
        match went {
            Ok(()) if is_last => return Ok(()),
            Ok(()) => {}
            Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped(_))) => return Err(error),
            // What is no fault of a unit is noted nowhere.
            Err(error) if n_failures == MOST_FAILURES || failures(&document)? == failed => return Err(error),
            Err(error) => {
                tell(format_args!("stackctl: {error:#}"));
                n_failures += 1;
            }
        }
    }
    // What has nothing to do opens no input.
    if !args.quiet {
        tell("nothing is left to do of it: when all shares are done, stackctl finalize puts them together");
    }
    let n_own = document.units.saturating_sub(share.rank).div_ceil(share.n);
    let told = resources::share_json(share, document.units, n_own, 0);
    if args.json { super::print_json(&told) } else { Ok(()) }
}

/// Says that units were tried often enough.
fn given_up(units: &BTreeMap<u64, &Failure>) -> Error {
    let text = |(unit, (n, text)): (&u64, &&Failure)| format!("\n  unit {unit}, {n} times: {text}");
    let told: String = units.iter().take(MOST_TOLD).map(text).collect();
    let n = count(units.len() as u64, "unit");
    Error::format(format!(
        "{n} could not be done and will not be tried again: see to it, and give a greater --retries:{told}"
    ))
}

pub(super) fn finalize(args: &FinalizeArgs) -> Result<()> {
    let document = find(&args.output)?;
    let missing = document.missing(Share::WHOLE, &done(&document, Share::WHOLE)?);
    if !missing.units.is_empty() {
        return Err(Error::Fault(format!(
            "{}: {} of {} units are not done, of shares {}: run these again{}",
            args.output.display(),
            missing.n_units(),
            document.units,
            list(&missing.shares, 0),
            match failures(&document)?.len() {
                0 => String::new(),
                n => format!("; stackctl status says why {} failed", count(n as u64, "unit")),
            }
        ))
        .into());
    }
    // A share that finds nothing left to do ends soon, and one that was killed is not at work.
    for output in &document.outputs {
        Look::at(output)?.map_or(Ok(()), |look| look.wait())?;
    }
    go(document, args.memory, BTreeSet::new(), |run| {
        run.deadline = None;
        run.json = args.json;
        run.quiet = args.quiet;
    })
}

/// Does a part of what was written down, which `choose` says.
fn go(
    document: Document,
    memory: Option<Bytes>,
    except: BTreeSet<u64>,
    choose: impl FnOnce(&mut RunArgs),
) -> Result<()> {
    let folder = &document.folder;
    // Whoever looks at a plan alone needs none of it.
    let known = Look::at(&document.outputs[0])?.map_or(Ok(None), |look| look.known())?;
    let known = KnownInputs::from_json(known.unwrap_or_default())?;
    std::env::set_current_dir(folder).map_err(|e| Error::io(folder, "cannot work where the plan was made", e))?;
    let mut command = parsed(&document.command)?;
    let (run, _) = parts(&mut command)?;
    run.restart = false;
    run.memory = Some(Bytes(document.memory_bytes));
    run.planned = Some(Planned::Goes {
        limit: Limit::resolve(memory),
        document: Box::new(document),
        known,
        except: Arc::new(except),
    });
    choose(run);
    super::dispatch(command)
}

/// The command that `words` are.
pub(super) fn parsed(words: &[String]) -> Result<Command> {
    let words = std::iter::once("stackctl").chain(words.iter().map(String::as_str));
    Cli::read(words).map(|cli| cli.command).map_err(anyhow::Error::new)
}

/// What is to be said of the run that `command` is, and where its inputs come from.
fn parts(command: &mut Command) -> Result<(&mut RunArgs, &InputArgs), Error> {
    match command {
        Command::Stitch(Flags(args)) | Command::Convert(Flags(args)) => Ok((&mut args.run, &args.input)),
        Command::Reduce(Flags(args)) => Ok((&mut args.run, &args.input)),
        Command::Calc(Flags(args)) => Ok((&mut args.run, &args.input)),
        _ => Err(Error::usage("stitch, convert, reduce and calc can be planned, and nothing else")),
    }
}

impl RunArgs {
    /// What was typed: the program and its command; of a share, that of its plan.
    pub(super) fn command(&self) -> Vec<String> {
        match &self.planned {
            Some(Planned::Goes { document, .. }) => [&["stackctl".to_owned()], &document.command[..]].concat(),
            _ => std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Whether `output` is to be made: a plan is of one output, though its command may make others.
    pub(super) fn makes(&self, output: &Path) -> bool {
        let Some(Planned::Goes { document, .. }) = &self.planned else { return true };
        let planned = super::resolved(&document.outputs[0]);
        match output.to_string_lossy().contains(OPERATOR) {
            true => stands_for(output, &planned) && super::resolved(output).parent() == planned.parent(),
            false => super::resolved(output) == planned,
        }
    }
}
