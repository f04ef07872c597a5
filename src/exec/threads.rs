//! Tasks on several threads, merged in order by whichever worker finds the next one ready.
//!
//! No thread waits for another but for memory: a worker that finishes a task merges it and all that follow
//! it and are ready; if an earlier task is still in work, the result waits, and counts.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Error, Result, Task, Terms, stopped_after};
use crate::profile::{self, Stage};

struct State<I, T> {
    tasks: I,
    /// Tasks handed out so far.
    n_admitted: u64,
    /// Results that wait for an earlier one, by the order in which their tasks were handed out.
    ready: BTreeMap<u64, (Task, T)>,
    /// Tasks handed out and not yet merged.
    n_open: usize,
    /// Which is to be merged next.
    next_merge: u64,
    /// A worker is merging.
    merging: bool,
    /// The error of the earliest task that failed.
    error: Option<(u64, Error)>,
    stopped: bool,
    /// A worker panicked: the others must not wait for it.
    abandoned: bool,
}

impl<I, T> State<I, T> {
    fn ended(&self) -> bool {
        self.error.is_some() || self.stopped || self.abandoned
    }

    fn fail(&mut self, number: u64, error: Error) {
        if self.error.as_ref().is_none_or(|(first, _)| number < *first) {
            self.error = Some((number, error));
        }
    }
}

struct Shared<'a, I, T> {
    state: Mutex<State<I, T>>,
    /// Something was merged or ended.
    moved: Condvar,
    terms: &'a Terms<'a>,
    n_parts: usize,
}

/// Wakes the others if the worker that holds it is unwinding.
struct Alarm<'a, 'b, I, T>(&'a Shared<'b, I, T>);

impl<I, T> Drop for Alarm<'_, '_, I, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().abandoned = true;
            self.0.moved.notify_all();
        }
    }
}

impl<I: Iterator<Item = Task>, T> Shared<'_, I, T> {
    /// The next task and its number, once there is room for its parts; `None` when there is no more to do.
    fn admit(&self) -> Option<(u64, Task)> {
        let mut state = self.lock();
        loop {
            if state.ended() {
                return None;
            }
            if state.n_open < self.n_parts {
                let task = state.tasks.next()?;
                // Only where work is left does a stop end the run early.
                if self.terms.stopped() {
                    state.stopped = true;
                    self.moved.notify_all();
                    return None;
                }
                state.n_open += 1;
                state.n_admitted += 1;
                return Some((state.n_admitted - 1, task));
            }
            let wait = || self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            state = profile::stage(Stage::Wait, 0, wait);
        }
    }
}

impl<I, T> Shared<'_, I, T> {
    fn lock(&self) -> MutexGuard<'_, State<I, T>> {
        // A panic elsewhere is carried on by the scope; the state is only read to end the loops.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a result in line, and merges all that are next in line if nobody else does.
    fn deliver(&self, number: u64, task: Task, result: Result<T>, merge: &Mutex<impl FnMut(&Task, T) -> Result<()>>) {
        let mut state = self.lock();
        match result {
            Ok(part) => {
                state.ready.insert(number, (task, part));
            }
            Err(error) => {
                state.fail(number, error);
                self.moved.notify_all();
                return;
            }
        }
        if state.merging {
            return;
        }
        state.merging = true;
        // What is ready is kept when the run is stopped.
        while state.error.is_none() && !state.abandoned {
            let next = state.next_merge;
            let Some((task, part)) = state.ready.remove(&next) else { break };
            drop(state);
            let merged = merge.lock().unwrap_or_else(PoisonError::into_inner)(&task, part);
            state = self.lock();
            state.next_merge += 1;
            state.n_open -= 1;
            if let Err(error) = merged {
                state.fail(next, error);
            }
            self.moved.notify_all();
        }
        state.merging = false;
    }
}

pub(super) fn run<W, T: Send>(
    tasks: impl Iterator<Item = Task> + Send,
    terms: &Terms<'_>,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&Task, &mut W) -> Result<T> + Sync,
    merge: impl FnMut(&Task, T) -> Result<()> + Send,
) -> Result<()> {
    let state = State {
        tasks,
        n_admitted: 0,
        ready: BTreeMap::new(),
        n_open: 0,
        next_merge: 0,
        merging: false,
        error: None,
        stopped: false,
        abandoned: false,
    };
    let shared = Shared { state: Mutex::new(state), moved: Condvar::new(), terms, n_parts: terms.parts() };
    let merge = Mutex::new(merge);
    std::thread::scope(|scope| {
        for _ in 0..terms.workers() {
            scope.spawn(|| {
                let _alarm = Alarm(&shared);
                let mut worker = worker();
                while let Some((number, task)) = shared.admit() {
                    let result = work(&task, &mut worker);
                    shared.deliver(number, task, result, &merge);
                }
            });
        }
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some((_, error)) => Err(error),
        None if state.stopped => Err(stopped_after(state.next_merge)),
        None => Ok(()),
    }
}
