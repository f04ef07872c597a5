//! Files that a program of the user's reads.
//!
//! Where the command names `{file}`, it is run for every file and writes the array as `.npy` to standard output. Else it
//! lives as long as the thread that asks it, and answers lines on standard input:
//!
//! * `info PATH` with a line of JSON, `{"shape": [5, 64, 64], "dtype": "<u2"}`, with `"axes"` and `"chunk"` if known;
//! * `read ORIGIN SHAPE PATH`, such as `read 0,0,0 1,64,64 a.raw`, with that region as `.npy`;
//! * either with a line `error WHY`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Deserialize;

use super::cf::Form;
use super::npy::NpyHeader;
use super::{FileArray, Info};
use crate::array::{Reader, Scratch, check_read};
use crate::axis::{Axis, unnamed_axes};
use crate::block::{Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;
use crate::profile::{self, Stage};

/// What stands for the path of a file in a command.
const FILE: &str = "{file}";
/// Bytes of a program's messages that are kept, from the end.
const MESSAGE_BYTES: usize = 4096;
/// Longest line that answers.
const MOST_LINE: u64 = 1 << 20;

/// The array that `command` reads of the file at `path`; `pages` names axes where the command does not.
///
/// # Errors
/// `Usage` if the command cannot be run; `Format` with the program's messages if it fails.
pub(super) fn open(path: &Path, command: &str, pages: Option<&str>) -> Result<Arc<dyn FileArray>> {
    let words = words(command)?;
    let is_per_file = words.iter().any(|word| word.contains(FILE));
    let info = if is_per_file {
        // The head says enough; what follows is not waited for.
        let mut program = Program::start(&words, Some(path))?;
        let head = NpyHeader::read(&mut program.output).map_err(|e| program.failed(&e))?;
        let axes = unnamed_axes(&head.shape, pages)?;
        let bytes = size_bytes(&head.shape, head.dtype);
        Info { coded: true, scratch_bytes: 2 * bytes, ..Info::of(axes, head.dtype) }
    } else {
        asked(&words, |program| program.info(path, pages))?
    };
    let file_bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    let info = Info { storage: format!("read by {}", words[0]), file_bytes, ..info };
    Ok(Arc::new(External { path: path.to_owned(), words, is_per_file, info }))
}

/// Words of a command line, which quotes hold together; no shell sees them.
fn words(command: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (words.is_empty(), quote) {
        (false, None) => Ok(words),
        _ => Err(Error::usage(format!("--reader '{command}': no command, or a quote that does not end"))),
    }
}

/// What a program says of a file.
#[derive(Deserialize)]
struct Answer {
    shape: Vec<u64>,
    dtype: String,
    axes: Option<Vec<String>>,
    chunk: Option<Vec<u64>>,
}

/// A program that runs.
struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    messages: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

thread_local! {
    /// The program that this thread asks, and its command.
    static ASKED: RefCell<Option<(Vec<String>, Program)>> = const { RefCell::new(None) };
}

/// Asks the program of this thread, which is started if it does not run; after a fault it is started anew the next time.
fn asked<T>(words: &[String], ask: impl FnOnce(&mut Program) -> Result<T>) -> Result<T> {
    ASKED.with_borrow_mut(|asked| {
        asked.take_if(|(known, _)| known != words);
        if asked.is_none() {
            *asked = Some((words.to_vec(), Program::start(words, None)?));
        }
        let Some((_, program)) = asked else { return Err(Error::usage("no program runs")) };
        let answer = ask(program);
        if answer.is_err() {
            *asked = None;
        }
        answer
    })
}

impl Program {
    fn start(words: &[String], file: Option<&Path>) -> Result<Self> {
        let given = file.map_or_else(String::new, |file| file.to_string_lossy().into_owned());
        let mut command = Command::new(&words[0]);
        command.args(words[1..].iter().map(|word| word.replace(FILE, &given)));
        let input = if file.is_some() { Stdio::null() } else { Stdio::piped() };
        let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| Error::usage(format!("--reader: '{}' cannot be run: {e}", words[0])))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let output = BufReader::new(output.ok_or_else(|| Error::usage("--reader: no output"))?);
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        // Messages are taken away while they come, so that the program never waits for that.
        let listen = |mut errors: std::process::ChildStderr| {
            std::thread::Builder::new().spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(n @ 1..) = errors.read(&mut bytes) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend(&bytes[..n]);
                    let excess = kept.len().saturating_sub(MESSAGE_BYTES);
                    kept.drain(..excess);
                }
            })
        };
        let listener =
            errors.map(listen).transpose().map_err(|e| Error::limit(format!("no thread can be had: {e}")))?;
        Ok(Self { name: words[0].clone(), child, input, output, messages, listener })
    }

    /// What went wrong, with the program's messages.
    fn failed(&mut self, error: &dyn std::fmt::Display) -> Error {
        self.input = None;
        // A program that still writes is stopped by that nobody reads.
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => {
                std::thread::sleep(std::time::Duration::from_millis(200));
                self.child.try_wait().ok().flatten().map_or("still runs".to_owned(), |status| status.to_string())
            }
        };
        let _ = self.child.kill();
        self.listener.take().map(JoinHandle::join);
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&messages);
        let lines: Vec<&str> = text.trim().lines().collect();
        let told: String = lines[lines.len().saturating_sub(8)..].iter().map(|line| format!("\n  {line}")).collect();
        Error::format(format!("the reader {} ({status}): {error}{told}", self.name))
    }

    fn ask(&mut self, line: &str) -> Result<()> {
        let sent = match &mut self.input {
            Some(input) => input.write_all(line.as_bytes()).and_then(|()| input.flush()),
            None => Err(ErrorKind::BrokenPipe.into()),
        };
        sent.map_err(|e| self.failed(&e))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = (&mut self.output).take(MOST_LINE).read_line(&mut line);
        match read {
            Ok(0) => Err(self.failed(&"it ended without an answer")),
            Ok(_) => match line.strip_prefix("error") {
                Some(why) => Err(Error::format(format!("the reader {}: {}", self.name, why.trim()))),
                None => Ok(line),
            },
            Err(e) => Err(self.failed(&e)),
        }
    }

    fn info(&mut self, path: &Path, pages: Option<&str>) -> Result<Info> {
        self.ask(&format!("info {}\n", path.display()))?;
        let line = self.line()?;
        let answer: Answer = serde_json::from_str(&line).map_err(|e| self.failed(&e))?;
        let rank = answer.shape.len();
        let dtype = DType::ALL.into_iter().find(|d| d.typestr()[1..] == *answer.dtype.get(1..).unwrap_or_default());
        let dtype = dtype.or_else(|| answer.dtype.parse().ok());
        let unnamed =
            || unnamed_axes(&answer.shape, pages).map(|axes| axes.into_iter().map(|axis| axis.name).collect());
        let names: Vec<String> = answer.axes.map_or_else(unnamed, Ok)?;
        let chunk = answer.chunk.unwrap_or_else(|| answer.shape.clone());
        let (Some(dtype), true) = (dtype, names.len() == rank && chunk.len() == rank) else {
            return Err(self.failed(&format_args!("'{}' says no dtype, or differs in its number of axes", line.trim())));
        };
        let axes: Vec<Axis> = names.into_iter().zip(&answer.shape).map(|(name, n)| Axis::new(name, *n)).collect();
        let unit: Vec<u64> = chunk.iter().zip(&answer.shape).map(|(c, n)| (*c).clamp(1, (*n).max(1))).collect();
        let scratch_bytes = 2 * size_bytes(&unit, dtype);
        Ok(Info { unit, coded: true, scratch_bytes, ..Info::of(axes, dtype) })
    }

    /// Takes an array of `shape` and `dtype` from the output into `buffer`.
    fn array(&mut self, shape: &[u64], dtype: DType, buffer: &mut Buffer) -> Result<bool> {
        match self.output.fill_buf() {
            Ok(bytes) if bytes.first() != Some(&0x93) && self.input.is_some() => {
                let line = self.line()?;
                return Err(self.failed(&format_args!("'{}' is no .npy", line.trim())));
            }
            _ => {}
        }
        let head = NpyHeader::read(&mut self.output).map_err(|e| self.failed(&e))?;
        if head.shape != shape || head.dtype != dtype {
            let (found, expected) = (format!("{:?} {}", head.shape, head.dtype), format!("{shape:?} {dtype}"));
            return Err(self.failed(&format_args!("gives {found} where {expected} was announced")));
        }
        let bytes = buffer.sized(size_bytes(shape, dtype) as usize);
        let read = profile::stage(Stage::Read, bytes.len() as u64, || self.output.read_exact(bytes));
        read.map_err(|e| self.failed(&e))?;
        Form::plain(dtype, head.is_swapped).settle(bytes);
        Ok(head.is_fortran)
    }
}

impl Program {
    /// Waits for a program that has nothing more to say.
    fn end(mut self) -> Result<()> {
        if self.output.fill_buf().is_ok_and(|more| !more.is_empty()) {
            return Err(self.failed(&"gives more than one array"));
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.failed(&"ended with a fault")),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.input = None;
        // One that has ended cannot be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.listener.take().map(JoinHandle::join);
    }
}

/// A file that a program reads.
struct External {
    path: PathBuf,
    words: Vec<String>,
    is_per_file: bool,
    info: Info,
}

impl FileArray for External {
    fn info(&self) -> &Info {
        &self.info
    }

    fn scratch_bytes(&self, shape: &[u64]) -> u64 {
        self.info.scratch_bytes.max(size_bytes(shape, self.info.dtype))
    }

    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(ExternalReader { of: self, scratch, whole: None })
    }
}

/// One worker's way to read such a file.
struct ExternalReader {
    of: Arc<External>,
    scratch: Scratch,
    /// Of a program that is run for every file, whether its array is in `scratch.decoded`, and in Fortran order.
    whole: Option<bool>,
}

impl Reader for ExternalReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let of = &*self.of;
        check_read(of, region, target)?;
        let (buffer, dtype) = (&mut self.scratch.decoded, of.info.dtype);
        let at = |e: Error| e.at(of.path.display());
        let (shape, own, is_fortran) = if of.is_per_file {
            let is_fortran = match self.whole {
                Some(is_fortran) => is_fortran,
                None => {
                    let mut program = Program::start(&of.words, Some(&of.path))?;
                    let is_fortran = program.array(&of.info.shape(), dtype, buffer).map_err(at)?;
                    program.end().map_err(at)?;
                    is_fortran
                }
            };
            self.whole = Some(is_fortran);
            (of.info.shape(), region.clone(), is_fortran)
        } else {
            let list = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let line = format!("read {} {} {}\n", list(&region.origin), list(&region.shape), of.path.display());
            let ask = |program: &mut Program| {
                program.ask(&line)?;
                program.array(&region.shape, dtype, buffer)
            };
            (region.shape.clone(), Region::whole(&region.shape), asked(&of.words, ask).map_err(at)?)
        };
        // In Fortran order, the first axis is the nearest.
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if is_fortran {
            order.reverse();
        }
        let pick = |of: &[u64]| order.iter().map(|&i| of[i]).collect::<Vec<u64>>();
        let own = Region { origin: pick(&own.origin), shape: pick(&own.shape) };
        target.permuted(&order).paste_part(self.scratch.decoded.bytes(), &pick(&shape), &own);
        Ok(Coverage::default())
    }

    fn release(self: Box<Self>) -> Scratch {
        self.scratch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words("python3 'my reader.py'  --x \"a b\" {file}").unwrap().len(), 5);
        assert_eq!(words("a ''").unwrap(), ["a", ""]);
        assert!(words("  ").is_err() && words("a 'b").is_err());
    }
}
