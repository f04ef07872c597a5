//! Tables for spreadsheets: `.csv` and `.tsv`, a line for each element with its indices, labels and coordinates.

use std::path::Path;

use super::{OutputOptions, Spec, extension, whole};
use crate::consume::Consumer;
use crate::draw::values::{line, rows};
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::report::tuple;

/// Most lines: what spreadsheets take.
const MOST_LINES: u64 = 1 << 20;

/// Room of a line, in bytes.
const LINE_BYTES: u64 = 128;

/// The table that will be called `path`.
///
/// # Errors
/// `Usage` if it has more lines than spreadsheets take, or something stands under the name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let shape = spec.shape();
    let n_lines = n_elements(&shape);
    if n_lines >= MOST_LINES {
        return Err(Error::usage(format!(
            "{}: an array of {} has {n_lines} numbers, and a table takes {} lines: write .npy or .zarr, or reduce more",
            path.display(),
            tuple(&shape),
            MOST_LINES - 1
        )));
    }
    let between = if extension(path) == "tsv" { '\t' } else { ',' };
    let value = spec.provenance["operator"].as_str().unwrap_or("value").to_owned();
    let axes = spec.axes.clone();
    whole::create(path, spec, options, n_lines * LINE_BYTES, move |block| {
        // In the room that is reckoned with: what grows by doubling holds itself twice.
        let mut lines = String::with_capacity((n_lines * LINE_BYTES) as usize);
        rows(&axes, &[(&value, block)]).for_each(|cells| lines += &line(&cells, between));
        Ok(lines.into_bytes())
    })
}
