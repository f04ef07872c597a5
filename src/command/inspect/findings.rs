//! What `inspect` found of one array, as data: the JSON it prints, described in docs/inspect-json.md.

use serde::Serialize;

use super::sample::Sample;
use crate::axis::{Axis, Provenance};
use crate::draw::presence::PresenceMap;
use crate::open::Obstacle;
use crate::source::headers::GroupedNote;

/// Everything found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Grows by one when a key changes its meaning or goes away.
    pub(super) schema: u32,
    pub(super) program: &'static str,
    pub(super) n_faults: u64,
    pub(super) arrays: Vec<Findings>,
}

/// What was found of one array.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// The value of the field that divides the files, with `--by`.
    pub(super) value: Option<String>,
    pub(super) files: FileFindings,
    pub(super) kinds: Vec<KindFound>,
    pub(super) pattern: Option<PatternFound>,
    pub(super) fields: Vec<FieldFound>,
    pub(super) array: Option<ArrayFound>,
    pub(super) calibration: Vec<CalibrationFound>,
    pub(super) storage: Option<StorageFound>,
    pub(super) holes: Listed<String>,
    pub(super) positions: u64,
    pub(super) duplicates: Listed<DuplicateFound>,
    pub(super) unmatched: Listed<String>,
    pub(super) unreadable: Listed<FileFault>,
    pub(super) odd: Listed<FileFault>,
    pub(super) series: Vec<String>,
    pub(super) notes: Vec<GroupedNote>,
    pub(super) faults: Vec<Obstacle>,
    /// The command to run next, word by word.
    pub(super) command: Vec<String>,
    #[serde(skip)]
    pub(super) presence: Option<PresenceMap>,
}

#[derive(Debug, Serialize)]
pub(super) struct FileFindings {
    pub(super) count: u64,
    /// Bytes on disk of those that can be read.
    pub(super) bytes: u64,
    /// Files that `--include` and `--exclude` left out.
    pub(super) left_out: u64,
    /// Whether files were opened at all.
    pub(super) opened: bool,
}

/// Files that look alike.
#[derive(Debug, Serialize)]
pub(super) struct KindFound {
    pub(super) files: u64,
    pub(super) axes: Vec<String>,
    pub(super) shape: Vec<u64>,
    pub(super) dtype: String,
    pub(super) bytes: u64,
    pub(super) storage: String,
    /// Shapes of the levels of a multiscale image, the full resolution first; none if there is one.
    pub(super) levels: Vec<Vec<u64>>,
    /// The first of them.
    pub(super) like: String,
}

#[derive(Debug, Serialize)]
pub(super) struct PatternFound {
    pub(super) text: String,
    pub(super) regex: bool,
    /// `given`, `preset`, `inferred`.
    pub(super) from: &'static str,
    pub(super) preset: Option<String>,
    pub(super) why: Vec<String>,
}

/// A part of the names.
#[derive(Debug, Serialize)]
pub(super) struct FieldFound {
    pub(super) name: String,
    /// `axis`, `coordinate`, `constant`, `follows` or `unaccounted`.
    pub(super) role: &'static str,
    /// The axis or axes that the role speaks of.
    pub(super) axes: Vec<String>,
    pub(super) count: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) step: Option<f64>,
    pub(super) unit: Option<String>,
    pub(super) missing: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ArrayFound {
    pub(super) axes: Vec<Axis>,
    pub(super) shape: Vec<u64>,
    pub(super) dtype: String,
    pub(super) bytes: u64,
    /// Files that the array is made of.
    pub(super) files: u64,
}

/// How stitch would store the array and run.
#[derive(Debug, Serialize)]
pub(super) struct StorageFound {
    pub(super) zarr_format: u8,
    pub(super) chunks: Vec<u64>,
    pub(super) chunk_bytes: u64,
    pub(super) n_chunks: u64,
    pub(super) shards: Option<Vec<u64>>,
    pub(super) shard_bytes: Option<u64>,
    pub(super) codec: String,
    /// Shapes of the resolutions, the full one first.
    pub(super) levels: Vec<Vec<u64>>,
    /// At most so many in all levels, metadata apart.
    pub(super) output_files: u64,
    pub(super) read_amplification: Option<f64>,
    pub(super) threads: usize,
    pub(super) memory_limit_bytes: u64,
    pub(super) predicted_peak_bytes: Option<u64>,
    /// Why the run would be refused.
    pub(super) refused: Option<String>,
    pub(super) sample: Option<Sample>,
}

#[derive(Debug, Serialize)]
pub(super) struct CalibrationFound {
    pub(super) axis: String,
    pub(super) step: f64,
    pub(super) unit: Option<String>,
    pub(super) from: Provenance,
    /// Largest deviation of the names' values from an even spacing.
    pub(super) deviation: Option<f64>,
    /// What else is said, by others.
    pub(super) disagreements: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct DuplicateFound {
    pub(super) position: String,
    pub(super) files: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct FileFault {
    pub(super) file: String,
    pub(super) reason: String,
}

/// A list of which only the beginning is kept.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    pub(super) count: u64,
    pub(super) first: Vec<T>,
}

impl<T> Listed<T> {
    /// Items that are kept of a list.
    const MOST: usize = 1000;

    pub(super) fn new(count: usize, items: impl Iterator<Item = T>) -> Self {
        Self { count: count as u64, first: items.take(Self::MOST).collect() }
    }
}
