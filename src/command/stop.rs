//! Signals that end a run early: finish the work in hand, clean up, exit 75. A second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Exit code of a run that a second signal ended on the spot.
const AT_ONCE: i32 = 130;

/// A flag that SIGHUP, SIGINT, SIGTERM and SIGUSR1 set.
pub(super) fn on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGUSR1] {
        // Order matters: the first signal finds the flag unset, sets it, and only the second one exits.
        signal_hook::flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot watch for signals")?;
    }
    Ok(stop)
}
