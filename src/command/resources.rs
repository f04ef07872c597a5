//! Threads and memory of a run, from flags and from what the job may use.

use crate::array::Array;
use crate::cli::RunArgs;
use crate::exec::Terms;
use crate::exec::budget::{Limit, processors, resident_bytes, tame_allocator};
use crate::plan::Plan;

/// What a worker uses besides its task: stack, codec state, allocator slack.
const WORKER_BYTES: u64 = 3 << 20;
/// What the process uses besides: progress, metadata, allocator slack.
const SPARE_BYTES: u64 = 6 << 20;

/// Memory of this run: the limit, and what is used whatever the tasks do.
pub(super) struct Resources {
    pub(super) limit: Limit,
    pub(super) threads: usize,
    /// What the process uses whatever the tasks do.
    pub(super) base_bytes: u64,
}

impl Resources {
    pub(super) fn new(args: &RunArgs, array: &dyn Array) -> Self {
        let threads = args.threads.map_or_else(processors, usize::from);
        let limit = Limit::resolve(args.memory);
        tame_allocator(limit.bytes);
        let fixed = resident_bytes() + array.held_bytes(threads) + SPARE_BYTES;
        Self { limit, threads, base_bytes: fixed + WORKER_BYTES * threads as u64 }
    }

    /// What is left for tasks.
    pub(super) fn for_tasks(&self) -> u64 {
        self.limit.bytes.saturating_sub(self.base_bytes)
    }

    pub(super) fn terms<'a>(&self, plan: &Plan, stop: &'a std::sync::atomic::AtomicBool) -> Terms<'a> {
        Terms { threads: self.threads, cost: plan.cost(), limit_bytes: self.for_tasks(), stop }
    }
}
