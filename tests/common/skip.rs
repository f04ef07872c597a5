//! Tests that cannot be run here say so where it is seen.

use std::io::Write;

/// Says on the real standard error, which no test harness catches, that this test checks nothing here, and why.
pub(crate) fn skipped(why: impl std::fmt::Display) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {why}", thread.name().unwrap_or("a test"));
}
