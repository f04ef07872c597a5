//! Where bytes come from: files and remote objects, how many may be open at once, what of them will be read soon, and
//! whether they stay what they are.

use std::fs::File;

mod archive;
mod ranged;
#[cfg_attr(not(feature = "remote"), path = "absent.rs")]
mod remote;
mod watch;
mod within;

pub use archive::{check as check_archive, is_archive};
pub use ranged::{Ranged, entries, is_file, is_folder, read};
pub use remote::{ask, below, is_remote, listed, read_now, remove, send};
pub use watch::{Seen, Watch};
pub use within::within;

/// Memory for what is fetched of remote objects, and for requests under way, in bytes.
pub const FETCHED_BYTES: u64 = 96 << 20;
/// Memory for what is being sent to stores of objects, in bytes.
pub const SENT_BYTES: u64 = 64 << 20;
/// Descriptors that are left for everything but inputs: outputs, standard streams, libraries.
const OTHER_DESCRIPTORS: u64 = 40;
/// Input files that are open at once, whatever the system allows.
const MOST_OPEN: u64 = 4096;

/// Number of input files that may be open at once. Asks the system for as many descriptors as it gives.
pub fn most_open() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = (MOST_OPEN + OTHER_DESCRIPTORS).min(limit.maximum.unwrap_or(u64::MAX));
    if limit.current.is_some_and(|n| n < wanted) {
        // Where the system refuses, what there is must do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    granted.saturating_sub(OTHER_DESCRIPTORS).clamp(2, MOST_OPEN) as usize
}

/// Bytes of one piece of advice: many systems leave out what is more than they read ahead by themselves.
const ADVICE_BYTES: u64 = 128 << 10;

/// Tells the system that `n_bytes` at `at` of `file` will be read soon. Promises nothing.
pub fn advise(file: &File, at: u64, n_bytes: u64) {
    for done in (0..n_bytes).step_by(ADVICE_BYTES as usize) {
        use rustix::fs::{Advice, fadvise};
        let length = std::num::NonZeroU64::new(ADVICE_BYTES.min(n_bytes - done));
        // Advice that the system does not take is no loss.
        let _ = fadvise(file, at + done, length, Advice::WillNeed);
    }
}
