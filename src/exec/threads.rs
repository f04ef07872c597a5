//! Tasks on several threads. What they make is placed in task order, settled by any worker, and merged in task order.
//!
//! No thread waits for another but for memory: a worker that brings something places and merges all that is next in
//! line, if nobody else does; if an earlier task is still in work, what it brought waits, and counts. What is left to
//! be written where it was placed is done by whichever worker comes first, before another task is begun.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Error, Order, Result, Task, Terms, stopped_after};
use crate::profile::{self, Stage};

/// What comes out of order and goes on in order, by the order in which tasks were handed out.
struct Line<T> {
    ready: BTreeMap<u64, (Task, T)>,
    next: u64,
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { ready: BTreeMap::new(), next: 0 }
    }

    /// What is next, if it is there.
    fn take(&mut self) -> Option<(u64, Task, T)> {
        let number = self.next;
        let (task, made) = self.ready.remove(&number)?;
        self.next += 1;
        Some((number, task, made))
    }
}

struct State<I, T> {
    tasks: I,
    /// Tasks handed out so far.
    n_admitted: u64,
    /// Tasks handed out and not yet merged.
    n_open: usize,
    /// No task is left.
    exhausted: bool,
    /// What was made, to be placed.
    made: Line<T>,
    /// What was placed, to be settled.
    placed: VecDeque<(u64, Task, T)>,
    /// What was settled, to be merged.
    settled: Line<T>,
    /// A worker is placing and merging.
    busy: bool,
    /// The error of the earliest task that failed.
    error: Option<(u64, Error)>,
    stopped: bool,
    /// A worker panicked: the others must not wait for it.
    abandoned: bool,
}

impl<I, T> State<I, T> {
    fn failed(&self) -> bool {
        self.error.is_some() || self.abandoned
    }

    fn fail(&mut self, number: u64, error: Error) {
        if self.error.as_ref().is_none_or(|(first, _)| number < *first) {
            self.error = Some((number, error));
        }
    }
}

/// What a worker does next.
enum Step<T> {
    Work(u64, Task),
    Settle(u64, Task, T),
}

struct Shared<'a, I, T> {
    state: Mutex<State<I, T>>,
    /// Something was placed, merged or ended.
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
    /// What is to be done next, a task once there is room for its parts; `None` when there is no more to do.
    fn next(&self) -> Option<Step<T>> {
        let mut state = self.lock();
        loop {
            if state.failed() {
                return None;
            }
            // What is in hand is finished when the run is stopped.
            if let Some((number, task, placed)) = state.placed.pop_front() {
                return Some(Step::Settle(number, task, placed));
            }
            if state.stopped || state.exhausted && state.n_open == 0 {
                return None;
            }
            if !state.exhausted && state.n_open < self.n_parts {
                match state.tasks.next() {
                    // Only where work is left does a stop end the run early.
                    Some(_) if self.terms.stopped() => state.stopped = true,
                    Some(task) => {
                        state.n_open += 1;
                        state.n_admitted += 1;
                        return Some(Step::Work(state.n_admitted - 1, task));
                    }
                    None => state.exhausted = true,
                }
                self.moved.notify_all();
                continue;
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

    /// Puts what became of a task in the line that `line` names.
    fn deliver(&self, number: u64, task: Task, made: Result<T>, line: impl Fn(&mut State<I, T>) -> &mut Line<T>) {
        let mut state = self.lock();
        match made {
            Ok(made) => drop(line(&mut state).ready.insert(number, (task, made))),
            Err(error) => {
                state.fail(number, error);
                self.moved.notify_all();
            }
        }
    }

    /// Places and merges all that is next in line, if nobody else does.
    fn advance(&self, order: &Mutex<impl Order<T>>) {
        let mut state = self.lock();
        if state.busy {
            return;
        }
        state.busy = true;
        while !state.failed() {
            if let Some((number, task, made)) = state.made.take() {
                drop(state);
                let placed = order.lock().unwrap_or_else(PoisonError::into_inner).place(&task, made);
                state = self.lock();
                match placed {
                    Ok(placed) => state.placed.push_back((number, task, placed)),
                    Err(error) => state.fail(number, error),
                }
            } else if let Some((number, task, settled)) = state.settled.take() {
                drop(state);
                let merged = order.lock().unwrap_or_else(PoisonError::into_inner).merge(&task, settled);
                state = self.lock();
                state.n_open -= 1;
                if let Err(error) = merged {
                    state.fail(number, error);
                }
            } else {
                break;
            }
            self.moved.notify_all();
        }
        state.busy = false;
    }
}

pub(super) fn run<W, T: Send, O: Order<T>>(
    tasks: impl Iterator<Item = Task> + Send,
    terms: &Terms<'_>,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&Task, &mut W) -> Result<T> + Sync,
    order: O,
) -> Result<()> {
    let state = State {
        tasks,
        n_admitted: 0,
        n_open: 0,
        exhausted: false,
        made: Line::new(),
        placed: VecDeque::new(),
        settled: Line::new(),
        busy: false,
        error: None,
        stopped: false,
        abandoned: false,
    };
    let shared = Shared { state: Mutex::new(state), moved: Condvar::new(), terms, n_parts: terms.parts() };
    let order = Mutex::new(order);
    let run = || {
        let _alarm = Alarm(&shared);
        let mut worker = worker();
        while let Some(step) = shared.next() {
            match step {
                Step::Work(number, task) => {
                    let made = work(&task, &mut worker);
                    shared.deliver(number, task, made, |state| &mut state.made);
                }
                Step::Settle(number, task, placed) => {
                    shared.deliver(number, task, O::settle(placed), |state| &mut state.settled);
                }
            }
            shared.advance(&order);
        }
    };
    std::thread::scope(|scope| {
        let start = |_: &usize| std::thread::Builder::new().spawn_scoped(scope, run).is_ok();
        // Where no thread can be had, those that there are do it, or this one.
        if (0..terms.workers()).filter(start).count() == 0 {
            run();
        }
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some((_, error)) => Err(error),
        None if state.stopped => Err(stopped_after(state.settled.next)),
        None => Ok(()),
    }
}
