//! Asks storage for what will be needed soon, in order, by threads that do nothing else: a worker never waits until a
//! request is taken, and as many are under way as storage takes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Threads that ask: opening a file may take as long as reading from it.
const ASKING: usize = 4;
/// Bytes that are asked for ahead: enough to keep a network of 1 GB/s busy whose answers take 60 ms.
const MOST_BYTES: u64 = 64 << 20;
const LEAST_BYTES: u64 = 4 << 20;
/// A thread is woken for this part of them: each time it is, a worker may have to stand back.
const BATCH: u64 = 8;
/// Workers that begin with so many bytes a second read from memory, and need nobody to ask for them.
const MEMORY_BYTES_PER_S: f64 = 4e9;

/// What will be needed, each with its bytes, and how far the workers have come.
pub struct Ahead<I> {
    state: Mutex<State<I>>,
    moved: Condvar,
    window_bytes: u64,
}

struct State<I> {
    items: I,
    asked_bytes: u64,
    begun_bytes: u64,
    /// When so many bytes had been begun with, and whether those before came from memory.
    mark: (Instant, u64),
    is_fast: bool,
    ended: bool,
}

impl<T: Send, I: Iterator<Item = (u64, T)> + Send> Ahead<I> {
    /// Asks for `items` while `limit_bytes` may be used by those who need them.
    pub fn new(items: I, limit_bytes: u64) -> Self {
        let mark = (Instant::now(), 0);
        let state = Mutex::new(State { items, asked_bytes: 0, begun_bytes: 0, mark, is_fast: false, ended: false });
        Self { state, moved: Condvar::new(), window_bytes: (limit_bytes / 4).clamp(LEAST_BYTES, MOST_BYTES) }
    }

    /// Says that a worker has begun with items of so many bytes.
    pub fn begin(&self, n_bytes: u64) {
        let mut state = self.lock();
        let had_room = self.has_room(&state);
        state.begun_bytes += n_bytes;
        if !had_room && self.has_room(&state) {
            self.moved.notify_one();
        }
    }

    /// Does `work` while threads ask for what it will need, each by an `ask` of its own.
    pub fn beside<R, A: FnMut(T)>(&self, ask: impl Fn() -> A + Sync, work: impl FnOnce() -> R) -> R {
        std::thread::scope(|scope| {
            let _end = End(self);
            for _ in 0..ASKING {
                let asking = std::thread::Builder::new().name("ahead".into()).stack_size(256 << 10);
                // Where the system gives no thread, workers read what nobody has asked for.
                let _ = asking.spawn_scoped(scope, || {
                    let mut ask = ask();
                    while let Some(items) = self.next() {
                        items.into_iter().for_each(&mut ask);
                    }
                });
            }
            work()
        })
    }

    /// The next items that no worker has begun with, once there is room for them and workers are slow enough to need them.
    fn next(&self) -> Option<Vec<T>> {
        let mut state = self.lock();
        loop {
            while !self.has_room(&state) && !state.ended {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (begun, (since, before)) = (state.begun_bytes, state.mark);
            if begun - before >= self.window_bytes / BATCH {
                state.is_fast = (begun - before) as f64 > MEMORY_BYTES_PER_S * since.elapsed().as_secs_f64();
                state.mark = (Instant::now(), begun);
            }
            let (mut batch, mut batch_bytes) = (Vec::new(), 0);
            while batch_bytes < self.window_bytes / BATCH && !state.ended {
                let Some((n_bytes, item)) = state.items.next() else { break };
                state.asked_bytes += n_bytes;
                if state.asked_bytes > state.begun_bytes {
                    batch_bytes += n_bytes;
                    batch.push(item);
                }
            }
            if batch.is_empty() {
                return None;
            }
            if self.has_room(&state) {
                self.moved.notify_one();
            }
            if !state.is_fast {
                return Some(batch);
            }
        }
    }
}

impl<I> Ahead<I> {
    /// Whether so much has been begun with that more is to be asked for.
    fn has_room(&self, state: &State<I>) -> bool {
        state.asked_bytes + self.window_bytes / BATCH <= state.begun_bytes + self.window_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the asking, however the work ends.
struct End<'a, I>(&'a Ahead<I>);

impl<I> Drop for End<'_, I> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_soon_is_asked_for_and_no_more() {
        let ahead = Ahead::new((0..800u64).map(|i| (1 << 17, i)), 32 << 20);
        let asked = Mutex::new(Vec::new());
        let most = |n: usize| {
            for _ in 0..2000 {
                std::thread::sleep(std::time::Duration::from_millis(1));
                if asked.lock().unwrap().len() >= n {
                    break;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            asked.lock().unwrap().len()
        };
        ahead.beside(
            || |i| asked.lock().unwrap().push(i),
            || {
                assert_eq!(most(64), 64);
                ahead.begin(1 << 19);
                assert_eq!(most(65), 64);
                ahead.begin(7 << 19);
                assert_eq!(most(96), 96);
                // Workers that are faster need nobody to ask for them.
                ahead.begin(92 << 20);
                assert!(most(128) <= 130, "{:?}", asked.lock().unwrap());
            },
        );
        let mut asked = asked.into_inner().unwrap();
        asked.sort_unstable();
        assert_eq!(asked[..96], (0..96).collect::<Vec<_>>()[..]);
    }

    #[test]
    fn a_panic_in_the_work_ends_the_asking() {
        let ahead = Ahead::new((0..100u64).map(|i| (64 << 20, i)), 0);
        let work = || ahead.beside(|| |_| (), || panic!("this panic is part of the test"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
    }
}
