//! Threads and memory of a run, from flags and from what the job may use.
//!
//! The plan is made from `--memory`, the array and its consumers alone; how many workers then fit goes by what the
//! process really uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::array::{Array, Losses};
use crate::cli::RunArgs;
use crate::consume::{self, Consumer, Job};
use crate::error::Error;
use crate::exec::Terms;
use crate::exec::budget::{Bytes, Limit, processors, resident_bytes, tame_allocator};
use crate::open::fingerprint;
use crate::plan::{Plan, Share};
use crate::profile::{self, Profile};
use crate::report::tuple;
use crate::run::{self, Ran};
use crate::store::Start;

/// What the process uses whatever it does: code, one worker's stack, progress, metadata, allocator slack.
const PROGRAM_BYTES: u64 = 22 << 20;
/// What is kept free beside what is in use when workers are begun.
const SPARE_BYTES: u64 = 6 << 20;

/// Memory and threads of this run.
pub(super) struct Resources {
    pub(super) limit: Limit,
    pub(super) threads: usize,
}

impl Resources {
    pub(super) fn new(args: &RunArgs) -> Self {
        let threads = args.threads.map_or_else(processors, usize::from);
        let limit = Limit::resolve(args.memory);
        tame_allocator(limit.bytes);
        if args.profile {
            profile::begin();
        }
        Self { limit, threads }
    }

    /// What is used whatever the tasks do.
    pub(super) fn base_bytes(array: &dyn Array) -> u64 {
        PROGRAM_BYTES.saturating_add(array.held_bytes())
    }

    /// What there is for tasks and for what is held of results.
    pub(super) fn room(&self, array: &dyn Array) -> u64 {
        self.limit.bytes.saturating_sub(Self::base_bytes(array))
    }

    /// The plan of reading `array` once for `consumers`.
    ///
    /// # Errors
    /// `Limit` if not even the smallest task fits, saying what would do.
    pub(super) fn plan(&self, array: &dyn Array, consumers: &[&dyn Consumer]) -> Result<Plan, Error> {
        consume::plan(array, consumers, self.room(array)).map_err(|bytes| {
            let held_bytes = consumers.iter().map(|c| c.held_bytes()).sum();
            let unit = consumers.first().map(|c| c.wants().unit);
            self.refusal(array, unit.as_deref(), bytes, held_bytes)
        })
    }

    /// Says that `bytes` would do for the smallest task and the `held_bytes` of results. `chunk` is the task's shape
    /// where it must be whole chunks.
    pub(super) fn refusal(&self, array: &dyn Array, chunk: Option<&[u64]>, bytes: u64, held_bytes: u64) -> Error {
        let base_bytes = Self::base_bytes(array);
        let (what, way_out) = match chunk {
            Some(chunk) => (format!("one chunk of {} {}", tuple(chunk), array.dtype()), "use smaller --chunks, or "),
            None => ("one piece of the array and what is folded from it".into(), "give "),
        };
        let held = match held_bytes >> 20 {
            0 => String::new(),
            _ => format!(", what is held of results {}", Bytes(held_bytes)),
        };
        let needed = base_bytes.saturating_add(bytes);
        Error::Limit(format!(
            "{what} needs {} to read and write{held}, the program itself {}; --memory allows {}: {way_out}--memory {}M",
            Bytes(bytes.saturating_sub(held_bytes)),
            Bytes(base_bytes),
            Bytes(self.limit.bytes),
            (needed >> 20) + 1
        ))
    }

    /// How a run goes by `plan`.
    pub(super) fn terms<'a>(
        &self,
        plan: &Plan,
        array: &dyn Array,
        consumers: &[&dyn Consumer],
        stop: &'a AtomicBool,
    ) -> Terms<'a> {
        let held_bytes: u64 = consumers.iter().map(|c| c.held_bytes()).sum();
        let used = Self::base_bytes(array).max(resident_bytes() + SPARE_BYTES);
        let limit_bytes = self.limit.bytes.saturating_sub(used).saturating_sub(held_bytes);
        Terms { threads: self.threads, cost: plan.cost(), limit_bytes, stop }
    }

    /// Peak resident memory of such a run, as far as it can be foretold.
    pub(super) fn predicted_bytes(array: &dyn Array, consumers: &[&dyn Consumer], terms: &Terms<'_>) -> u64 {
        let held_bytes: u64 = consumers.iter().map(|c| c.held_bytes()).sum();
        Self::base_bytes(array).saturating_add(held_bytes).saturating_add(terms.peak_bytes())
    }
}

/// What a later run must have in common with this one to go on with it: the array, its inputs, the settings of its
/// outputs, and the plan.
pub(super) fn job(
    args: &RunArgs,
    array: &dyn Array,
    inputs: &[PathBuf],
    plan: &Plan,
    settings: serde_json::Value,
    losses: &Losses,
) -> Job {
    let manifest = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "axes": array.axes(),
        "dtype": array.dtype(),
        "settings": settings,
        "plan": plan.digest(),
        "inputs": fingerprint(inputs),
    });
    let start = if args.restart { Start::Anew } else { Start::Resume };
    Job { manifest, start, losses: losses.clone(), ..Job::default() }
}

/// Does all that `plan` says, or the share of it that was asked for.
///
/// # Errors
/// As [`run::run`]; a stop says how to go on.
pub(super) fn run(
    args: &RunArgs,
    array: &Arc<dyn Array>,
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
    terms: &Terms<'_>,
    progress: impl FnMut(u64) + Send,
) -> Result<Ran, Error> {
    let ran = match args.share {
        None => run::run(array, plan, consumers, job, terms, progress),
        Some(share) => run::run_share(array, plan, consumers, job, share, terms, progress),
    };
    ran.map_err(|error| match error {
        Error::Stopped(text) => Error::Stopped(format!("{text} of {}; {}", plan.len(), super::going_on())),
        other => other,
    })
}

/// Where the time went, if that was asked for; tells it, unless it is printed with the result.
pub(super) fn profiled(args: &RunArgs) -> Option<Profile> {
    let profile = profile::taken()?;
    if !args.json {
        super::tell(&profile);
    }
    Some(profile)
}

/// Tells that a share has ended, and what is left to do. Gives what is to be printed as JSON.
pub(super) fn shared(args: &RunArgs, share: Share, plan: &Plan, ran: &Ran) -> serde_json::Value {
    if !args.quiet {
        super::tell(format_args!(
            "share {} of {} is done: when all are, the same command without --share puts them together",
            share.rank, share.n
        ));
    }
    serde_json::json!({
        "share": share,
        "units": plan.n_units(),
        "units_done_before": ran.n_units_done,
        "elements_filled": ran.n_absent,
    })
}
