//! The same of many items at once.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads that share out items.
pub(crate) struct Pool(Option<ThreadPool>);

/// Items of which one thread is done before others have begun.
const FEW: usize = 2;

impl Pool {
    /// `threads` of them for `n_items`, 0 being one for each processor; the caller's alone if that is one, and where the system
    /// gives no further.
    pub(crate) fn new(threads: usize, n_items: usize) -> Self {
        let alone = threads == 1 || n_items < FEW;
        Self((!alone).then(|| ThreadPoolBuilder::new().num_threads(threads).build().ok()).flatten())
    }

    /// What `of` makes of each item, in their order.
    pub(crate) fn each<T: Sync, R: Send>(&self, items: &[T], of: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
        match &self.0 {
            Some(pool) => pool.install(|| items.par_iter().map(of).collect()),
            None => items.iter().map(of).collect(),
        }
    }
}
