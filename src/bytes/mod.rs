//! Where bytes come from: files now, and how many of them may be open at once.

/// Descriptors that are left for everything but inputs: outputs, standard streams, libraries.
const OTHER_DESCRIPTORS: u64 = 40;
/// Input files that are open at once, whatever the system allows.
const MOST_OPEN: u64 = 4096;

/// Number of input files that may be open at once. Asks the system for as many descriptors as it gives.
pub fn most_open() -> usize {
    #[cfg(unix)]
    {
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
    #[cfg(not(unix))]
    256
}
