//! What the program says, and where: standard error, and a log if one is asked for.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::cli::VoiceArgs;
use crate::draw::{fitted, printable};
use crate::error::{Error, Result};

/// How much is said, for the whole process; as little as there is before [`set`].
static VOICE: OnceLock<Voice> = OnceLock::new();

/// Lines are at least so long, in characters.
const LEAST_WIDTH: usize = 40;

/// How the first line of a log goes on behind the time.
const COMMAND: &[u8] = b"s  stackctl ";

struct Voice {
    verbose: bool,
    log: Option<Log>,
}

struct Log {
    file: Mutex<File>,
    start: Instant,
}

/// Sets how much is said and opens the log, which begins with the command.
///
/// # Errors
/// `Io` if the log cannot be opened.
pub(super) fn set(args: &VoiceArgs) -> Result<()> {
    let log = args.log.as_deref().map(Log::open).transpose()?;
    let voice = VOICE.get_or_init(|| Voice { verbose: args.verbose, log });
    voice.log.iter().for_each(|log| log.add(&format!("stackctl {}", super::command_line())));
    Ok(())
}

/// Whether the reasons are asked for too.
pub(super) fn is_verbose() -> bool {
    VOICE.get().is_some_and(|voice| voice.verbose)
}

/// Says `text` on standard error and in the log, if anybody listens: nobody can be told that nobody does.
pub fn tell(text: impl std::fmt::Display) {
    let text = printable(&text.to_string()).into_owned();
    let shown = match columns(std::io::stderr()) {
        Some(width) => fitted(&text, width.max(LEAST_WIDTH)),
        None => text.clone(),
    };
    let _ = writeln!(std::io::stderr(), "{shown}");
    note(&text);
}

/// Writes `text` into the log alone.
pub(super) fn note(text: &str) {
    VOICE.get().and_then(|voice| voice.log.as_ref()).into_iter().for_each(|log| log.add(text));
}

/// Columns of the terminal that standard output is; where it is none, what `COLUMNS` says, else 100.
pub(super) fn width() -> usize {
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    columns(std::io::stdout()).or_else(told).unwrap_or(100).max(LEAST_WIDTH)
}

/// `text` broken to fit the terminal that standard output is, if it is one.
pub(super) fn for_stdout(text: &str) -> String {
    columns(std::io::stdout()).map_or_else(|| text.to_owned(), |width| fitted(text, width.max(LEAST_WIDTH)) + "\n")
}

/// Columns of the terminal that `stream` is, if it is one.
fn columns(stream: impl rustix::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|n| *n > 0)
}

/// Whether there is a log.
pub(super) fn has_log() -> bool {
    VOICE.get().is_some_and(|voice| voice.log.is_some())
}

impl Log {
    fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::named("--log", path, "cannot open the log", e);
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        // What is there is gone on with, if it is a log: an input is easily named by mistake.
        let about = file.metadata().map_err(failed)?;
        let mut head = [0; 11 + COMMAND.len()];
        let mut is_log = || file.read_exact_at(&mut head, 0).is_ok() && head.ends_with(COMMAND);
        if about.is_file() && about.len() > 0 && !is_log() {
            let text = format!("--log {}: stands there already and is no log: give another name", path.display());
            return Err(Error::usage(text));
        }
        Ok(Self { file: Mutex::new(file), start: Instant::now() })
    }

    /// Lines of `text`, the first with the seconds since the start.
    fn add(&self, text: &str) {
        let line =
            format!("{:10.3} s  {}\n", self.start.elapsed().as_secs_f64(), text.replace('\n', "\n              "));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
    }
}
