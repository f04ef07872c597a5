//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{tell, voice};
use crate::exec::budget::Bytes;
use crate::report::duration;

/// Time between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reading headers is told of when it takes longer than this.
const SOON: Duration = Duration::from_secs(1);

/// How far a run is, in bytes.
pub(super) struct Progress {
    how: How,
    total_bytes: u64,
    done_bytes: u64,
    start: Instant,
    last_line: Instant,
}

/// How far reading the headers of many files is.
pub(super) struct HeaderProgress {
    quiet: bool,
    start: Instant,
    bar: Option<ProgressBar>,
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
            How::Bar(bar(total_bytes, "{binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left"))
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
            How::Lines => {}
        }
        let is_wanted = matches!(self.how, How::Lines) || voice::has_log();
        if is_wanted && self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            let line = self.line();
            if matches!(self.how, How::Lines) { tell(line) } else { voice::note(&line) }
        }
    }

    fn line(&self) -> String {
        let elapsed_s = self.start.elapsed().as_secs_f64().max(1e-3);
        let rate = self.done_bytes as f64 / elapsed_s;
        let left_s = self.total_bytes.saturating_sub(self.done_bytes) as f64 / rate.max(1.0);
        format!(
            "{:3.0}%  {} of {}  {}/s  {} left",
            100.0 * self.done_bytes as f64 / self.total_bytes.max(1) as f64,
            Bytes(self.done_bytes),
            Bytes(self.total_bytes),
            Bytes(rate as u64),
            duration(left_s)
        )
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

impl HeaderProgress {
    pub(super) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self { quiet, start: now, bar: None, last_line: now }
    }

    /// `n_done` of `n_files` files are done.
    pub(super) fn reach(&mut self, n_done: usize, n_files: usize) {
        if self.quiet || self.start.elapsed() < SOON {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| bar(0, "headers of {human_pos} of {human_len} files"));
            bar.set_length(n_files as u64);
            bar.set_position(n_done as u64);
        } else if self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            tell(format_args!("headers of {n_done} of {n_files} files"));
        }
    }
}

impl Drop for HeaderProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar on the terminal, with `text` behind it.
fn bar(length: u64, text: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(8));
    // The bar takes what the text leaves of one line.
    let style = ProgressStyle::with_template(&format!("{{percent:>3}}% {{wide_bar}} {text}"));
    // The template is fixed; should a later version refuse it, the default bar does.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
    bar
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
