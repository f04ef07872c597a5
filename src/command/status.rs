//! `status`, `place`, `submit`: what of a plan is done, what a process would do of it, and how a scheduler is given it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::written::{Failure, done, failures, find};
use super::{print, print_json, quoted};
use crate::cli::{PlaceArgs, RETRIES, StatusArgs, SubmitArgs};
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit, Processors, variable};
use crate::place;
use crate::plan::{Document, Remaining, Share, list};
use crate::report::count;

/// What of the plan is not done and is to be tried, and what was tried `retries` times.
fn left(document: &Document, retries: u64) -> Result<(Remaining, BTreeMap<u64, Failure>), Error> {
    let (mut done, mut failed) = (done(document, Share::WHOLE)?, failures(document)?);
    failed.retain(|unit, (n, _)| *n >= retries && !done.contains(unit));
    done.extend(failed.keys());
    Ok((document.missing(Share::WHOLE, &done), failed))
}

pub(super) fn status(args: &StatusArgs) -> Result<()> {
    let shown = args.output.display();
    let document = match find(&args.output) {
        Err(Error::Complete(_)) if args.array => return Ok(()),
        Err(Error::Complete(_)) if args.json => return print_json(&json!({"output": args.output, "complete": true})),
        Err(Error::Complete(text)) => return print(format!("{text}\n").as_bytes()),
        found => found?,
    };
    let (missing, failed) = left(&document, args.retries)?;
    let shares = list(&missing.shares, args.share_base);
    if args.array {
        return print(format!("{shares}\n").as_bytes());
    }
    let n_done = document.units - missing.n_units() - failed.len() as u64;
    if args.json {
        return print_json(&json!({
            "output": args.output, "complete": false, "units": document.units, "units_done": n_done,
            "shares": document.shares, "missing_units": list(&missing.units, 0), "missing_shares": shares,
            "failed_units": failed.iter().map(|(unit, (n, text))| json!({"unit": unit, "times": n, "why": text})).collect::<Vec<_>>(),
            "command": document.command, "folder": document.folder, "digest": document.digest,
        }));
    }
    let mut text = format!(
        "{shown}: {n_done} of {} done, in {}\n",
        count(document.units, "unit"),
        count(document.shares, "share")
    );
    for (unit, (n, why)) in &failed {
        text += &format!("  unit {unit} has failed {n} times and is left out: {why}\n");
    }
    text += &if missing.units.is_empty() && !failed.is_empty() {
        format!("  when that is mended: stackctl run {shown} --retries {}\n", 2 * args.retries)
    } else if missing.units.is_empty() {
        format!("  complete it with: stackctl finalize {}\n", quoted(&args.output.to_string_lossy()))
    } else {
        format!("  missing units   {}\n  missing shares  {shares}\n", list(&missing.units, 0))
    };
    print(text.as_bytes())
}

pub(super) fn place(args: &PlaceArgs) -> Result<()> {
    let decision = place::decide(&variable, args.which.share, args.which.share_base)?;
    let document = args.output.as_deref().map(find).transpose()?;
    let share = document.as_ref().map(|d| decision.share(d.shares, d.shares_asked)).transpose()?;
    let (memory, processors) = (Limit::resolve(None), Processors::of_this_job());
    if args.json {
        return print_json(&json!({
            "share": decision.which, "share_from": decision.from, "ranks": decision.ranks,
            "units": share.map(|share| json!({"first": share.rank, "every": share.n})),
            "memory": memory, "threads": processors, "warning": decision.warning,
        }));
    }
    let units = match (share, &document) {
        (Some(share), Some(document)) => {
            let n = document.units.saturating_sub(share.rank).div_ceil(share.n);
            let which =
                if share.n == 1 { String::new() } else { format!(", from {} on in steps of {}", share.rank, share.n) };
            format!(": {n} of {}{which}", count(document.units, "unit"))
        }
        _ => String::new(),
    };
    let mut text = format!("{}{units}\n", decision.words());
    text += &format!("memory {} ({})\n", Bytes(memory.bytes), memory.from);
    text += &format!("threads {} ({})\n", processors.n, processors.from);
    decision.warning.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
    print(text.as_bytes())
}

/// Memory of a job beside that of its pixels: shell, program, and what the system counts of files in memory.
const JOB_BYTES: u64 = 256 << 20;

/// How often a job puts itself into the queue again: where its time is too short for a unit it would for ever.
const MOST_REQUEUES: u32 = 100;

pub(super) fn submit(args: &SubmitArgs) -> Result<()> {
    let document = find(&args.output)?;
    let script = script(&document, &left(&document, RETRIES)?.0, args);
    if !args.go {
        return print(script.as_bytes());
    }
    let shell = std::process::Command::new("sh").args(["-ec", &script]).status();
    let status = shell.map_err(|e| Error::io(Path::new("sh"), "cannot start", e))?;
    if status.success() { Ok(()) } else { Err(Error::format("sbatch has refused it, as it says above").into()) }
}

/// Commands for a shell: an array of jobs for the shares that are not done, and one that puts all together.
fn script(document: &Document, missing: &Remaining, args: &SubmitArgs) -> String {
    let output = quoted(&document.outputs[0].to_string_lossy());
    let program =
        std::env::current_exe().map_or_else(|_| "stackctl".into(), |path| path.to_string_lossy().into_owned());
    let program = quoted(&program);
    let minutes = args.time.as_secs().div_ceil(60).max(1);
    // Slurm ends jobs up to half a minute late, and never early.
    let deadline_s = (minutes * 60).saturating_sub(60).max(30);
    // The process uses half of what the job has, or what the plan needs.
    let memory = (2 * document.memory_bytes).max(document.memory_bytes + JOB_BYTES).div_ceil(1 << 20);
    let flags = args.flags.iter().map(|flag| format!(" {}", quoted(flag))).collect::<String>();
    let common = format!("--mem={memory}M --cpus-per-task={} --time={minutes} --open-mode=append{flags}", args.cpus);
    let run = format!(
        "{program} run {output} --deadline {deadline_s}s; code=$?; \
         if [ $code = 75 ] && [ ${{SLURM_RESTART_COUNT:-0}} -lt {MOST_REQUEUES} ]; then scontrol requeue ${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}; fi; exit $code"
    );
    let finalize = format!("exec {program} finalize {output}");
    if missing.shares.is_empty() {
        return format!("sbatch {common} --job-name=finalize --wrap={}\n", quoted(&finalize));
    }
    format!(
        "job=$(sbatch --parsable --array={} --requeue {common} --job-name=stackctl --wrap={})\n\
         sbatch --dependency=afterok:$job --kill-on-invalid-dep=yes {common} --job-name=finalize --wrap={}\n",
        list(&missing.shares, 0),
        quoted(&run),
        quoted(&finalize)
    )
}
