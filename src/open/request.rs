//! What is asked for: plain data, of which every part has a default.

use serde::{Deserialize, Serialize};

use crate::layout::LayoutOptions;
use crate::pattern::{InferOptions, Pattern};
use crate::source::OpenOptions;
use crate::source::known::KnownInputs;
use crate::source::scan::Inputs;

/// What is to be opened, and how.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which files.
    pub inputs: Inputs,
    /// How their names give positions.
    pub names: Names,
    /// Field whose values divide the files into arrays of one grid; it is then no axis.
    pub by: Option<String>,
    /// Names alone are looked at: no file is opened. Enough for a [`Survey`], not for an array.
    pub names_only: bool,
    /// Order and calibrations of the axes.
    pub layout: LayoutOptions,
    /// Labels of axes, by their names: of all elements, or of those that [`Request::select`] chooses.
    pub labels: Vec<(String, Vec<String>)>,
    /// Whether one Zarr array alone keeps the axes that it has and their order.
    pub stored_order: bool,
    /// Series, level and axis of pages.
    pub source: OpenOptions,
    /// What to do about positions that no file covers.
    pub missing: Missing,
    /// The part that will be read, as [`Selection`](crate::array::Selection) takes it: only there positions are refused that no
    /// file covers. The array that is opened stays whole.
    pub select: Option<String>,
    /// Value of elements that no file covers, as text; zero if `None`.
    pub fill: Option<String>,
    /// Threads that read headers; one for each processor if 0. One alone is the caller's.
    pub threads: usize,
    /// Names and headers that need not be found out again, and where those that are found are kept for others.
    pub known: Option<KnownInputs>,
    /// Memory that the run may use, in bytes: headers take at most half of it; no limit if `None`.
    pub limit_bytes: Option<u64>,
}

/// How names give positions.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The pattern; it is found in the names if `None`.
    pub pattern: Option<Pattern>,
    /// Name of the preset that it comes from.
    pub preset: Option<String>,
    /// What finding a pattern may use, and how names are arranged by it.
    pub infer: InferOptions,
}

/// What to do about positions that no file covers: those without a file, and planes that a file lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Refuse, listing them.
    #[default]
    Error,
    /// Put the fill value there and count them.
    Fill,
    /// Leave them out of what is computed.
    Skip,
}
