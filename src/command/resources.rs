//! Threads and memory of a run, from flags and from what the job may use.
//!
//! The plan is made from `--memory`, the array and its consumers alone; how many workers then fit goes by what the
//! process really uses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::array::{Array, Losses};
use crate::block::size_bytes;
use crate::bytes::Watch;
use crate::cli::{Planned, RunArgs};
use crate::consume::{self, Consumer, Job};
use crate::error::Error;
use crate::exec::Terms;
use crate::exec::budget::{Bytes, Limit, processors, resident_bytes, tame_allocator};
use crate::plan::{Document, Plan, Share};
use crate::profile::{self, Profile};
use crate::reduce::Reduction;
use crate::report::{count, tuple};
use crate::run::{self, Ran};
use crate::source::known::KnownInputs;
use crate::store::{Start, Store};

/// What the process uses whatever it does: code, one worker's stack, progress, metadata, allocator slack.
const PROGRAM_BYTES: u64 = 24 << 20;
/// What is kept free beside what is in use when workers are begun.
const SPARE_BYTES: u64 = 6 << 20;

/// Memory and threads of this run.
pub(super) struct Resources {
    pub(super) limit: Limit,
    /// What tasks are cut for: the same in all processes that go by one plan.
    plan_bytes: u64,
    pub(super) threads: usize,
}

/// What came of a run.
pub(super) enum Came {
    /// All of it.
    Whole(Ran),
    /// A share of it, or the plan of it: what is to be printed as JSON.
    Part(serde_json::Value),
}

impl Resources {
    pub(super) fn new(args: &RunArgs) -> Self {
        let threads = super::devices::workers(args, args.threads.map_or_else(processors, usize::from));
        let limit = match &args.planned {
            Some(Planned::Goes { limit, .. }) => limit.clone(),
            _ => Limit::resolve(args.memory),
        };
        let plan_bytes = match &args.planned {
            Some(Planned::Goes { document, .. }) => document.memory_bytes,
            _ => limit.bytes,
        };
        tame_allocator(limit.bytes);
        if args.profile {
            profile::begin();
        }
        Self { limit, plan_bytes, threads }
    }

    /// What is used whatever the tasks do.
    pub(super) fn base_bytes(array: &dyn Array) -> u64 {
        PROGRAM_BYTES.saturating_add(array.held_bytes())
    }

    /// What there is for tasks and for what is held of results.
    pub(super) fn room(&self, array: &dyn Array) -> u64 {
        self.plan_bytes.saturating_sub(Self::base_bytes(array))
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

    /// The same of a reduction, whose results take `held_bytes` beside its tasks.
    ///
    /// # Errors
    /// As [`Resources::plan`].
    pub(super) fn plan_beside(&self, array: &dyn Array, reduction: &Reduction, held_bytes: u64) -> Result<Plan, Error> {
        let room = self.room(array).saturating_sub(held_bytes);
        consume::plan(array, &[reduction], room)
            .map_err(|bytes| self.refusal(array, None, bytes.saturating_add(held_bytes), held_bytes))
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
    inputs: &Watch,
    plan: &Plan,
    settings: serde_json::Value,
    losses: &Losses,
) -> Result<Job, Error> {
    let mut manifest = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "axes": array.axes(),
        "dtype": array.dtype(),
        "settings": settings,
        "plan": plan.digest(),
    });
    manifest["inputs"] = serde_json::Value::Object(inputs.fingerprint()?);
    let except = match &args.planned {
        Some(Planned::Goes { except, .. }) => Arc::clone(except),
        _ => Arc::default(),
    };
    let start = if args.restart { Start::Anew } else { Start::Resume };
    Ok(Job {
        manifest: Arc::new(manifest),
        start,
        except,
        losses: losses.clone(),
        inputs: inputs.clone(),
        ..Job::default()
    })
}

/// Does all that `plan` says, or the share of it that was asked for; or writes it down.
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
) -> Result<Came, Error> {
    if let Some(Planned::Goes { limit, .. }) = &args.planned {
        let needed = Resources::base_bytes(&**array).saturating_add(plan.cost().alone());
        if needed > limit.bytes {
            return Err(Error::Limit(format!(
                "one task of the plan needs {}, and this process may use {} ({}): give the job more memory, or plan anew \
                 with a smaller --memory",
                Bytes(needed),
                Bytes(limit.bytes),
                limit.from
            )));
        }
    }
    let tell_of_earlier = |ran: &Ran| {
        if ran.n_units_harmed > 0 {
            super::tell(format_args!(
                "note: {} of an earlier run had changed since it was stored, and was made anew",
                count(ran.n_units_harmed, "unit")
            ));
        }
        if ran.n_units_unread > 0 {
            super::tell(format_args!(
                "note: {} of an earlier run were not read back, for there was no time left: `stackctl verify` does",
                count(ran.n_units_unread, "unit")
            ));
        }
    };
    let came = match (&args.planned, args.share) {
        (Some(Planned::Writes { command, n_shares, .. }), _) => {
            let bytes = size_bytes(&array.shape(), array.dtype());
            let document = Document { command: command.clone(), ..Document::of(plan, bytes, *n_shares) };
            return written_down(document, args, plan, consumers, job).map(Came::Part);
        }
        (_, None) => run::run(array, plan, consumers, job, terms, progress).inspect(tell_of_earlier).map(Came::Whole),
        (planned, Some(share)) => run::run_share(array, plan, consumers, job, share, terms, progress)
            .inspect(tell_of_earlier)
            .map(|ran| Came::Part(shared(args, planned.is_some(), share, plan, &ran))),
    };
    let kept = |error: &Error| consumers.iter().find_map(|c| c.store()?.kept_after(error).map(Path::to_owned));
    if let Some(place) = came.as_ref().err().and_then(kept) {
        super::tell(format_args!(
            "note: what is done is kept in {}: the same command goes on with it; remove it to give up",
            place.display()
        ));
    }
    let mut stores = consumers.iter().filter_map(|consumer| consumer.store()).peekable();
    let is_in_vain = stores.peek().is_some() && stores.all(Store::is_in_vain);
    came.map_err(|error| match error {
        Error::Stopped(text) if is_in_vain => Error::Stopped(format!(
            "{text} of {}: nothing of it is kept, for no part that is stored as one was whole: more time, or smaller ones, as \
             with --shards none or smaller --chunks; from the beginning, {}",
            plan.len(),
            super::going_on()
        )),
        Error::Stopped(text) => Error::Stopped(format!("{text} of {}; {}", plan.len(), super::going_on())),
        other => other,
    })
}

/// Writes `plan` down for the processes that will go by it.
fn written_down(
    mut document: Document,
    args: &RunArgs,
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
) -> Result<serde_json::Value, Error> {
    document.folder = std::env::current_dir().map_err(|e| Error::io(Path::new("."), "cannot find", e))?;
    document.memory_bytes = args.memory.map_or(0, |memory| memory.0);
    let known = args.known().map_or(serde_json::Value::Null, KnownInputs::to_json);
    let n_done = run::write_plan(plan, consumers, job, &mut document, &known)?;
    if document.shares > document.units {
        super::tell(format_args!(
            "note: {} for {}: what is stored or folded as one is not divided; smaller --chunks, and --shards of a Zarr, make \
             more units",
            count(document.units, "unit"),
            count(document.shares, "share")
        ));
    }
    if !args.quiet {
        let done = if n_done > 0 { format!(", {n_done} of them done") } else { String::new() };
        let output = document.outputs[0].display();
        let (units, shares) = (count(document.units, "unit"), count(document.shares, "share"));
        super::tell(format_args!("{output}: planned {units}{done}, in {shares}"));
    }
    serde_json::to_value(&document).map_err(Error::format)
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
fn shared(args: &RunArgs, is_planned: bool, share: Share, plan: &Plan, ran: &Ran) -> serde_json::Value {
    if !args.quiet {
        let then = if is_planned { "stackctl finalize" } else { "the same command without --share" };
        super::tell(format_args!(
            "share {} of {} is done: when all are, {then} puts them together",
            share.rank, share.n
        ));
    }
    share_json(share, plan.n_units(), ran.n_units_done, ran.n_absent)
}

/// What is printed of a share as JSON; `n_done` of its units were done before.
pub(super) fn share_json(share: Share, n_units: u64, n_done: u64, n_absent: u64) -> serde_json::Value {
    serde_json::json!({
        "share": share,
        "units": n_units,
        "units_done_before": n_done,
        "elements_filled": n_absent,
    })
}
