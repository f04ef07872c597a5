//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exec::budget::Bytes;
use crate::report::duration;

/// Time between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// How far a run is, in bytes.
pub(super) struct Progress {
    how: How,
    total_bytes: u64,
    done_bytes: u64,
    start: Instant,
    last_line: Instant,
}

enum How {
    Quiet,
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    pub(super) fn new(total_bytes: u64, quiet: bool) -> Self {
        let how = if quiet {
            How::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template(
                "{percent:>3}% {bar:36} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
            );
            // The template is fixed; should a later version refuse it, the default bar does.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
            How::Bar(bar)
        } else {
            How::Lines
        };
        let now = Instant::now();
        Self { how, total_bytes, done_bytes: 0, start: now, last_line: now }
    }

    /// Adds `bytes` that are done.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        match &self.how {
            How::Quiet => {}
            How::Bar(bar) => bar.inc(bytes),
            How::Lines => {
                if self.last_line.elapsed() >= INTERVAL {
                    self.last_line = Instant::now();
                    self.line();
                }
            }
        }
    }

    fn line(&self) {
        let elapsed_s = self.start.elapsed().as_secs_f64().max(1e-3);
        let rate = self.done_bytes as f64 / elapsed_s;
        let left_s = self.total_bytes.saturating_sub(self.done_bytes) as f64 / rate.max(1.0);
        // Nobody can be told that standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "{:3.0}%  {} of {}  {}/s  {} left",
            100.0 * self.done_bytes as f64 / self.total_bytes.max(1) as f64,
            Bytes(self.done_bytes),
            Bytes(self.total_bytes),
            Bytes(rate as u64),
            duration(left_s)
        );
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
