//! Whether an output is what was written, and what its inputs say.
//!
//! [`objects`] reads every object once and compares it with the checksum that was recorded with it, [`file()`] does so
//! with a file; [`chunks`] decodes an array of which no checksums are known; [`Compare`] is a consumer that compares an
//! array with the blocks it is shown. What is done about faults is no matter of this room.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

mod chunks;
mod compare;
mod objects;
mod only;

pub use chunks::chunks;
pub use compare::{Compare, Difference, Differences};
pub use objects::{file, object, objects};
pub use only::Only;

/// Faults that are kept; more are counted.
const MOST_KEPT: usize = 1 << 16;

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// It was written and is not there.
    Missing,
    /// It is shorter or longer than it was written.
    Length,
    /// Its bytes are not those that were written.
    Damaged,
    /// Nobody wrote it.
    Foreign,
    /// It cannot be read.
    Unreadable,
    /// It cannot be decoded.
    Undecodable,
}

/// Something wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Damage {
    /// Its key: the path inside the output.
    pub object: String,
    /// What.
    pub kind: DamageKind,
    /// What was found, and what was expected.
    pub text: String,
}

/// What a check has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes of them that were read.
    pub bytes: u64,
    /// Number of faults.
    pub n_faults: u64,
    /// The faults, by object; the first few of very many.
    pub faults: BTreeSet<Damage>,
}

impl Checked {
    /// Counts a fault of `object`, and keeps it unless there are too many.
    pub fn fault(&mut self, object: &str, kind: DamageKind, text: String) {
        self.n_faults += 1;
        self.faults.insert(Damage { object: object.to_owned(), kind, text });
        if self.faults.len() > MOST_KEPT {
            self.faults.pop_last();
        }
    }
}

/// Which objects are checked: all, or a share of them.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many of all, from 0 to 1.
    pub share: f64,
    /// Other numbers choose others.
    pub seed: u64,
}

impl Sample {
    /// All of them.
    pub const ALL: Self = Self { share: 1.0, seed: 0 };

    /// Whether number `n` is one of them.
    pub fn has(&self, n: u64) -> bool {
        // Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014: the mixing step.
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.seed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (z ^ z >> 31) >> 11;
        (part as f64) < self.share * (1u64 << 53) as f64
    }
}

/// Does `work` for every item, on so many threads, each of which has one `W` for good.
fn each<T: Send, W>(
    items: impl Iterator<Item = T> + Send,
    threads: usize,
    worker: impl Fn() -> W + Sync,
    work: impl Fn(T, &mut W) + Sync,
) {
    let items = Mutex::new(items);
    let run = || {
        let mut own = worker();
        loop {
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { break };
            work(item, &mut own);
        }
    };
    std::thread::scope(|scope| {
        // Where no thread can be had, those that there are do it.
        for _ in 1..threads {
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
}
