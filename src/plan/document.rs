//! What the processes that do a plan have in common, as it is written down for them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Plan, Share};

/// Pixels of a share if nobody says how many shares there are: enough that reading all headers first costs little.
const SHARE_BYTES: u64 = 16 << 30;
/// Most shares then: schedulers seldom take arrays of more jobs.
const MOST_SHARES: u64 = 1000;

/// A plan as it is written down: the same bytes for the same command, inputs and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Program and version.
    pub program: String,
    /// What was typed, after the program's name.
    pub command: Vec<String>,
    /// Where it was typed.
    pub folder: PathBuf,
    /// What is written and remembers units that are done, the main output first.
    pub outputs: Vec<PathBuf>,
    /// What tasks are cut for.
    pub memory_bytes: u64,
    /// What says that another plan cuts the same.
    pub digest: String,
    /// Bytes of the pixels that are read.
    pub bytes: u64,
    /// Number of tasks.
    pub tasks: u64,
    /// Number of units.
    pub units: u64,
    /// Number of shares.
    pub shares: u64,
    /// Whether that many were asked for.
    pub shares_asked: bool,
}

impl Document {
    /// What `plan` is, which reads so many `bytes`; who makes it known adds what was typed.
    pub fn of(plan: &Plan, bytes: u64, n_shares: Option<u64>) -> Self {
        let usual = bytes.div_ceil(SHARE_BYTES).clamp(1, MOST_SHARES).min(plan.n_units().max(1));
        Self {
            program: concat!("stackctl ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: Vec::new(),
            folder: PathBuf::new(),
            outputs: Vec::new(),
            memory_bytes: 0,
            digest: plan.digest(),
            bytes,
            tasks: plan.len(),
            units: plan.n_units(),
            shares: n_shares.unwrap_or(usual),
            shares_asked: n_shares.is_some(),
        }
    }

    /// The units of `share` that are not `done`, in order.
    pub fn undone(&self, share: Share, done: &BTreeSet<u64>) -> impl Iterator<Item = u64> {
        (0..self.units).filter(move |unit| share.has(*unit) && !done.contains(unit))
    }

    /// The units of `share` that are not `done`, and the shares of the plan that these are of.
    pub fn missing(&self, share: Share, done: &BTreeSet<u64>) -> Remaining {
        let shares: BTreeSet<u64> = self.undone(share, done).map(|unit| unit % self.shares).collect();
        Remaining { units: runs(self.undone(share, done)), shares: runs(shares) }
    }
}

/// What of a plan is not done: first and last number of each run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Units.
    pub units: Vec<(u64, u64)>,
    /// Shares that these are of.
    pub shares: Vec<(u64, u64)>,
}

impl Remaining {
    /// Number of units.
    pub fn n_units(&self) -> u64 {
        self.units.iter().map(|(first, last)| last - first + 1).sum()
    }
}

/// Runs of numbers that follow one another.
fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

/// Runs of numbers as schedulers write them, the first number being `base`: `3,7,12-15`.
pub fn list(runs: &[(u64, u64)], base: u64) -> String {
    let word = |&(first, last): &(u64, u64)| match last - first {
        0 => format!("{}", first + base),
        _ => format!("{}-{}", first + base, last + base),
    };
    runs.iter().map(word).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_runs() {
        let document = Document { units: 40, shares: 8, ..document() };
        let done: BTreeSet<u64> = (0..40).filter(|unit| ![3, 11, 12, 13, 38].contains(unit)).collect();
        let missing = document.missing(Share::WHOLE, &done);
        assert_eq!((list(&missing.units, 0).as_str(), missing.n_units()), ("3,11-13,38", 5));
        assert_eq!(list(&missing.shares, 0), "3-6");
        assert_eq!(list(&missing.shares, 1), "4-7");
        let own = document.missing(Share { rank: 3, n: 8 }, &done);
        assert_eq!((list(&own.units, 0).as_str(), list(&own.shares, 0).as_str()), ("3,11", "3"));
        let nothing = document.missing(Share::WHOLE, &(0..40).collect());
        assert_eq!((list(&nothing.shares, 0).as_str(), nothing.n_units()), ("", 0));
    }

    fn document() -> Document {
        serde_json::from_value(serde_json::json!({
            "program": "", "command": [], "folder": "/", "outputs": [], "memory_bytes": 1,
            "digest": "", "bytes": 1, "tasks": 1, "units": 1, "shares": 1, "shares_asked": false
        }))
        .unwrap()
    }
}
