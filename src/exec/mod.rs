//! Runs the tasks of a plan: admits them within the memory budget, in order, and places and merges their results in
//! order. Knows nothing of pixels or formats.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::plan::{Cost, Task};

pub mod ahead;
pub mod budget;
pub mod mpi;
mod serial;
mod threads;
pub mod world;

/// What an executor is given beside the work.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Largest number of workers.
    pub threads: usize,
    /// Memory of the largest task.
    pub cost: Cost,
    /// What all tasks together may use, in bytes.
    pub limit_bytes: u64,
    /// Set from outside to stop early: tasks in hand are finished, no further one is begun.
    pub stop: &'a AtomicBool,
}

/// Of the parts that wait for a slow neighbour, for each worker.
const WAITING_BYTES: u64 = 8 << 20;

impl Terms<'_> {
    /// Number of workers that fit: each keeps a task's working memory for good, and there must be room for
    /// the parts of one task each.
    pub fn workers(&self) -> usize {
        let Cost { work_bytes, kept_bytes, .. } = self.cost;
        let fitting = self.beside_merging() / work_bytes.saturating_add(kept_bytes).max(1);
        self.threads.clamp(1, usize::try_from(fitting).unwrap_or(usize::MAX).max(1))
    }

    /// What tasks may use beside what merging does.
    fn beside_merging(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.cost.merge_bytes)
    }

    /// Tasks whose parts may wait to be merged, over all workers: one each, and some that wait for a slow
    /// neighbour, as long as these are small.
    pub fn parts(&self) -> usize {
        let workers = self.workers();
        if workers == 1 {
            return 1;
        }
        let Cost { work_bytes, kept_bytes, .. } = self.cost;
        let left = self.beside_merging().saturating_sub(work_bytes.saturating_mul(workers as u64));
        let own = kept_bytes.saturating_add(WAITING_BYTES).saturating_mul(workers as u64);
        let fitting = usize::try_from(left.min(own) / kept_bytes.max(1)).unwrap_or(usize::MAX);
        fitting.clamp(workers, workers + workers / 2 + 1)
    }

    /// The most that the tasks can use together, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let parts = self.cost.kept_bytes.saturating_mul(self.parts() as u64);
        let work = self.cost.work_bytes.saturating_mul(self.workers() as u64);
        work.saturating_add(parts).saturating_add(self.cost.merge_bytes)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What becomes of what workers make of tasks, in the order of the tasks.
///
/// A function that takes a task and what was made of it merges, and places nothing.
pub trait Order<T>: Send {
    /// Gives what was made of the next task its place. One at a time: what takes long is left to [`Order::settle`].
    ///
    /// # Errors
    /// Whatever is to end the run.
    fn place(&mut self, _task: &Task, made: T) -> Result<T> {
        Ok(made)
    }

    /// Does what is left to do at that place; on any worker, in any order.
    ///
    /// # Errors
    /// As [`Order::place`].
    fn settle(placed: T) -> Result<T>
    where
        Self: Sized,
    {
        Ok(placed)
    }

    /// Takes what has been settled of the next task; one at a time.
    ///
    /// # Errors
    /// As [`Order::place`].
    fn merge(&mut self, task: &Task, settled: T) -> Result<()>;
}

impl<T, F: FnMut(&Task, T) -> Result<()> + Send> Order<T> for F {
    fn merge(&mut self, task: &Task, made: T) -> Result<()> {
        self(task, made)
    }
}

/// Runs every task: `work` on any worker, then what `order` makes of it, in task order. Each worker has one `W` for
/// good.
///
/// # Errors
/// The first error in task order among those that happened; [`Error::Stopped`] if stopped from outside while a task
/// was left to begin.
pub fn run<W, T: Send, O: Order<T>>(
    tasks: impl Iterator<Item = Task> + Send,
    terms: &Terms<'_>,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(&Task, &mut W) -> Result<T> + Sync,
    order: O,
) -> Result<()> {
    match terms.workers() {
        1 => serial::run(tasks, terms, worker, work, order),
        _ => threads::run(tasks, terms, worker, work, order),
    }
}

fn stopped_after(n_tasks: u64) -> Error {
    Error::Stopped(format!("stopped after {n_tasks} tasks"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::grid::Region;

    fn tasks(n: u64) -> impl Iterator<Item = Task> + Send {
        (0..n).map(|index| Task { index, unit: index, ends_unit: true, region: Region::new([index], [1]) })
    }

    fn terms<'a>(threads: usize, stop: &'a AtomicBool, limit_bytes: u64) -> Terms<'a> {
        Terms {
            threads,
            cost: Cost { work_bytes: 13 << 20, kept_bytes: 5 << 20, ..Cost::default() },
            limit_bytes: limit_bytes << 20,
            stop,
        }
    }

    #[test]
    fn results_are_merged_in_task_order_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let stop = AtomicBool::new(false);
            let mut merged = Vec::new();
            let work = |task: &Task, _: &mut ()| {
                // Later tasks finish sooner.
                std::thread::sleep(std::time::Duration::from_micros(200 - task.index));
                Ok(task.index * 2)
            };
            run(
                tasks(100),
                &terms(threads, &stop, 1000),
                || (),
                work,
                |_: &Task, n| {
                    merged.push(n);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(merged, (0..100).map(|n| n * 2).collect::<Vec<_>>());
        }
    }

    /// Gives out places in order, and remembers what was merged.
    #[derive(Default)]
    struct Places {
        next: u64,
        merged: Vec<(u64, u64)>,
    }

    impl Order<(u64, u64)> for &mut Places {
        fn place(&mut self, task: &Task, (made, _): (u64, u64)) -> Result<(u64, u64)> {
            assert_eq!(task.index, self.next);
            self.next += 1;
            Ok((made, 10 * task.index))
        }

        fn settle((made, place): (u64, u64)) -> Result<(u64, u64)> {
            // Some take longer than what comes after them.
            std::thread::sleep(std::time::Duration::from_micros(if made % 3 == 0 { 300 } else { 1 }));
            Ok((made, place + 1))
        }

        fn merge(&mut self, task: &Task, settled: (u64, u64)) -> Result<()> {
            assert_eq!(task.index, settled.0);
            self.merged.push(settled);
            Ok(())
        }
    }

    #[test]
    fn places_are_given_out_in_order_and_settled_by_any_worker() {
        for threads in [1, 2, 8] {
            let (stop, mut places) = (AtomicBool::new(false), Places::default());
            let terms = terms(threads, &stop, 1000);
            run(tasks(200), &terms, || (), |task, _| Ok((task.index, 0)), &mut places).unwrap();
            assert_eq!(places.merged, (0..200).map(|n| (n, 10 * n + 1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_in_hand_when_a_run_is_stopped_is_merged() {
        for threads in [1, 2, 8] {
            let (stop, mut places) = (AtomicBool::new(false), Places::default());
            let begun = AtomicUsize::new(0);
            let work = |task: &Task, _: &mut ()| {
                begun.fetch_add(1, Ordering::SeqCst);
                stop.store(task.index >= 20, Ordering::Relaxed);
                Ok((task.index, 0))
            };
            run(tasks(1000), &terms(threads, &stop, 1000), || (), work, &mut places).unwrap_err();
            assert_eq!(places.merged.len(), begun.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn the_budget_bounds_tasks_in_work_and_waiting() {
        let stop = AtomicBool::new(false);
        let terms = terms(8, &stop, 72);
        assert_eq!((terms.workers(), terms.parts()), (4, 4));
        let (now, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |task: &Task, _: &mut ()| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first is slow, so that the others would pile up behind it.
            std::thread::sleep(std::time::Duration::from_millis(if task.index == 0 { 30 } else { 1 }));
            Ok(())
        };
        run(
            tasks(50),
            &terms,
            || (),
            work,
            |_: &Task, ()| {
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
        assert!(peak.load(Ordering::SeqCst) <= 4, "{peak:?}");
    }

    #[test]
    fn the_first_error_ends_the_run() {
        for threads in [1, 3] {
            let stop = AtomicBool::new(false);
            let done = AtomicUsize::new(0);
            let work = |task: &Task, _: &mut ()| {
                done.fetch_add(1, Ordering::SeqCst);
                if task.index == 5 { Err(Error::format("broken")) } else { Ok(()) }
            };
            let error = run(tasks(1000), &terms(threads, &stop, 1000), || (), work, |_: &Task, ()| Ok(())).unwrap_err();
            assert_eq!(error.to_string(), "broken");
            assert!(done.load(Ordering::SeqCst) < 100);
        }
    }

    #[test]
    fn an_error_of_the_merge_ends_the_run() {
        let stop = AtomicBool::new(false);
        let merge = |task: &Task, ()| if task.index == 3 { Err(Error::format("full")) } else { Ok(()) };
        let error = run(tasks(1000), &terms(3, &stop, 1000), || (), |_, _| Ok(()), merge).unwrap_err();
        assert_eq!(error.to_string(), "full");
    }

    #[test]
    fn a_stop_from_outside_is_an_early_end() {
        for threads in [1, 3] {
            let stop = AtomicBool::new(false);
            let merge = |task: &Task, ()| {
                if task.index == 7 {
                    stop.store(true, Ordering::Relaxed);
                }
                Ok(())
            };
            let error = run(tasks(1000), &terms(threads, &stop, 1000), || (), |_, _| Ok(()), merge).unwrap_err();
            assert_eq!(error.exit_code(), 75);
        }
    }

    #[test]
    fn a_stop_when_no_task_is_left_to_begin_is_no_early_end() {
        for threads in [1, 3] {
            let stop = AtomicBool::new(false);
            let merge = |task: &Task, ()| {
                stop.store(task.index == 9, Ordering::Relaxed);
                Ok(())
            };
            run(tasks(10), &terms(threads, &stop, 1000), || (), |_, _| Ok(()), merge).unwrap();
        }
    }

    #[test]
    #[should_panic(expected = "scoped thread panicked")]
    fn a_panic_in_a_worker_does_not_hang_the_others() {
        let stop = AtomicBool::new(false);
        let work = |task: &Task, _: &mut ()| {
            assert_ne!(task.index, 3, "this panic is part of the test");
            Ok(())
        };
        let _ = run(tasks(1000), &terms(3, &stop, 1000), || (), work, |_: &Task, ()| Ok(()));
    }
}
