//! What people read: faults that show the names they speak of.

use super::arrange::Arrangement;
use super::holes::position;
use super::parts::{Duplicate, Role};
use crate::error::{Error, Result};

/// Whose fault stands in the way of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Cells without a name.
    Missing,
    /// Cells with several names.
    Duplicate,
    /// Coordinates that disagree.
    Conflict,
    /// Names that do not match.
    Unmatched,
}

/// Something wrong with an arrangement, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What sort.
    pub kind: FaultKind,
    /// The message: a line, then indented ones.
    pub text: String,
}

/// Lines of examples under a message.
const SHOWN: usize = 10;

impl Arrangement {
    /// A cell's position in words: `t=17 c=2`, with the label in brackets where it is not the index.
    pub fn position(&self, cell: u64) -> String {
        position(cell, &self.axes)
    }

    /// Everything that is wrong, the gravest first. `names` must be those that were arranged.
    pub fn faults<N: AsRef<str>>(&self, names: &[N]) -> Vec<Fault> {
        let name = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
        let mut faults = Vec::new();
        for conflict in &self.conflicts {
            let [a, b] = conflict.names;
            let text = format!(
                "{{{}}} is not the same for every file of one {}, at {} of its positions, for example\n  {}\n  {}\n  \
                 it cannot be that axis' coordinate: pass over it with * instead",
                conflict.field,
                conflict.axis,
                conflict.positions,
                name(a),
                name(b)
            );
            faults.push(Fault { kind: FaultKind::Conflict, text });
        }
        if let Some(first) = self.duplicates.first() {
            faults.push(Fault { kind: FaultKind::Duplicate, text: self.duplicates_text(first, names) });
        }
        if !self.holes.is_empty() {
            let (count, total) = (self.holes.count, self.holes.total);
            let verb = if count == 1 { "has" } else { "have" };
            let lines = self.holes.describe(&self.axes, SHOWN).join("\n  ");
            let mut text = format!("{count} of {total} positions {verb} no file\n  {lines}");
            if let Some(because) = &self.sparse {
                text.push_str(&format!("\n  {because}"));
            }
            for axis in self.axes.iter().filter(|a| a.inserted.len() as u64 > a.len() / 3) {
                text.push_str(&format!(
                    "\n  most of them because numbers of {0} are absent; if those are values rather than positions, \
                     {{{0}:word}} takes them in order",
                    axis.name
                ));
            }
            faults.push(Fault { kind: FaultKind::Missing, text });
        }
        if !self.unmatched.is_empty() {
            let count = self.unmatched.len();
            let head = if count == 1 { "1 name does".to_owned() } else { format!("{count} names do") };
            let mut text = format!("{head} not match '{}'", self.pattern);
            for i in self.unmatched.iter().take(SHOWN) {
                text.push_str(&format!("\n  {}", name(*i)));
            }
            if count > SHOWN {
                text.push_str(&format!("\n  and {} more", count - SHOWN));
            }
            faults.push(Fault { kind: FaultKind::Unmatched, text });
        }
        faults
    }

    fn duplicates_text<N: AsRef<str>>(&self, first: &Duplicate, names: &[N]) -> String {
        let name = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
        let count = self.duplicates.len();
        let head = if count == 1 { "1 position has".to_owned() } else { format!("{count} positions have") };
        let mut text = format!("{head} more than one file");
        for duplicate in self.duplicates.iter().take(SHOWN.min(3)) {
            text.push_str(&format!("\n  {}", self.position(duplicate.cell)));
            for i in duplicate.names.iter().take(3) {
                text.push_str(&format!("\n    {}", name(*i)));
            }
            if duplicate.names.len() > 3 {
                text.push_str(&format!("\n    and {} more", duplicate.names.len() - 3));
            }
        }
        if count > 3 {
            text.push_str(&format!("\n  and {} positions more", count - 3));
        }
        if let [a, b, ..] = first.names.as_slice() {
            text.push_str(&self.way_out(name(*a), name(*b)));
        }
        text
    }

    /// Two names of one position, where they differ, and what to do about it.
    fn way_out(&self, a: &str, b: &str) -> String {
        let (from, to) = difference(a, b);
        let column = b.get(..from).unwrap_or_default().chars().count();
        let run = b.get(from..to).unwrap_or_default();
        let width = run.chars().count().max(1);
        let varies = self.fields.iter().find(|f| f.role == Role::Unaccounted);
        let values = varies.map_or_else(String::new, |f| format!(" {} values:", f.count));
        let digits: String = run.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let example = match run.split_once(digits.as_str()) {
            Some((head, tail)) if !digits.is_empty() => format!(" in the pattern, such as '{head}{{name}}{tail}'"),
            _ => " in the pattern".to_owned(),
        };
        let digit = |at: Option<usize>| at.and_then(|i| b.as_bytes().get(i)).is_some_and(u8::is_ascii_digit);
        let byte = |at: Option<usize>| at.and_then(|i| b.as_bytes().get(i)).copied();
        let decimal = byte(Some(to)) == Some(b'.') && digit(Some(to + 1))
            || byte(from.checked_sub(1)) == Some(b'.') && digit(from.checked_sub(2));
        let number = if decimal { "; {name:float} takes decimals, {name:int} signs" } else { "" };
        format!(
            "\n  they differ in a part that the pattern does not name:\n  {a}\n  {b}\n  {:column$}{}{values} name it{example}{number}, \
             or choose files with --include and --exclude",
            "",
            "^".repeat(width)
        )
    }

    /// An error if anything is wrong that keeps the names from making a full array.
    ///
    /// # Errors
    /// `Format` with every fault in words; names that do not match are left to the caller.
    pub fn check<N: AsRef<str>>(&self, names: &[N]) -> Result<()> {
        let faults: Vec<String> =
            self.faults(names).into_iter().filter(|f| f.kind != FaultKind::Unmatched).map(|f| f.text).collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::format(faults.join("\n"))) }
    }
}

/// Bytes of the first run of letters and digits that differs in two names, in the second.
fn difference(a: &str, b: &str) -> (usize, usize) {
    let in_run = |c: &u8| c.is_ascii_alphanumeric() || *c >= 0x80;
    let bytes = b.as_bytes();
    let start = a.bytes().zip(b.bytes()).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    let from = bytes.iter().take(start).rposition(|c| !in_run(c)).map_or(0, |i| i + 1);
    let to = bytes.iter().skip(start).position(|c| !in_run(c)).map_or(bytes.len(), |i| start + i);
    (from, to.max(from))
}
