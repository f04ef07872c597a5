//! Opening: from what the user named to one lazy array, with what was assumed on the way and what stands in it.
//!
//! ```no_run
//! # fn main() -> stackctl::error::Result<()> {
//! use stackctl::{array::Array, open::Request};
//!
//! let opened = Request { inputs: "raw/*.tif".into(), ..Request::default() }.open()?;
//! println!("{:?} {}", opened.stack.shape(), opened.stack.dtype());
//! opened.notes.iter().for_each(|note| println!("{note}"));
//! # Ok(())
//! # }
//! ```
//!
//! Names and headers are read, pixels are not. Nothing is printed: [`Opened`] and [`Survey`] say what is to be
//! told.

use survey::fill;

use crate::array::Losses;
use crate::error::{Error, Result};
use crate::source::NoteKind;
use crate::source::headers::GroupedNote;
use crate::stack::Stack;

mod faults;
mod places;
mod request;
mod survey;

pub use faults::{Obstacle, ObstacleKind, listed};
pub use request::{Missing, Names, Request};
pub use survey::{Found, Naming, Origin, Survey, preset};

/// One lazy array and what was assumed in making it.
#[derive(Debug)]
pub struct Opened {
    /// The array.
    pub stack: Stack,
    /// The value of [`Request::by`].
    pub value: Option<String>,
    /// The pattern by which names were read, if they were.
    pub pattern: Option<String>,
    /// The same, if nobody had said it.
    pub found: Option<Found>,
    /// Positions along axes that files of other arrays have: an axis and a name, each.
    pub elsewhere: Vec<(String, String)>,
    /// What was set aside, assumed or left unused.
    pub notes: Vec<GroupedNote>,
    /// Whether one file is the array, or files make one along axes of their own: it has no axes but these.
    pub is_single: bool,
}

impl Request {
    /// The one array that the request names.
    ///
    /// # Errors
    /// `Usage` if nothing is there, the request does not fit or names more than one array; `Format` or
    /// `Unsupported` if a file cannot be read, files do not fit together or a position is not covered; `Limit`
    /// if headers take too much memory; `Io` if a file or folder cannot be read.
    pub fn open(&self) -> Result<Opened> {
        let mut surveys = self.survey(&mut |_, _| {})?;
        match surveys.pop() {
            Some(survey) if surveys.is_empty() => survey.open(self),
            _ => Err(Error::usage("the request names many arrays: survey it, and open one after the other")),
        }
    }
}

impl Survey {
    /// The array that the files make, after all checks.
    ///
    /// # Errors
    /// As [`Request::open`].
    pub fn open(mut self, request: &Request) -> Result<Opened> {
        self.check(request)?;
        let layout = self.layout(self.cells(), &self.headers, request)?;
        if request.missing == Missing::Error {
            self.check_covered(&layout, request.select.as_deref())?;
        }
        let fill = fill(request, &layout)?;
        let mut notes = self.notes(Some(&layout));
        notes.extend(self.disagreements(&layout));
        if request.fill.is_some() && notes.iter().any(|note| note.kind == NoteKind::ChunksAbsent) {
            let text = "--fill-value is for what no file covers: chunks that are not stored keep the value that their array says";
            notes.push(GroupedNote::of_all(NoteKind::ChunksAbsent, text.to_owned()));
        }
        let salvages = self.options.skip_bad && request.missing != Missing::Error;
        let losses = salvages.then(Losses::default);
        Ok(Opened {
            notes,
            value: self.value.take(),
            pattern: self.pattern(),
            found: self.found(request),
            elsewhere: self.arrangement().map_or_else(Vec::new, |a| a.elsewhere.clone()),
            is_single: matches!(self.naming, Naming::Single | Naming::Places { .. }),
            stack: Stack::new(layout, self.headers, self.paths, self.options, fill).salvaging(losses),
        })
    }
}
