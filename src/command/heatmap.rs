//! A matrix as a `.png` with axes and a bar of colours.

use std::path::Path;

use anyhow::Result;

use crate::axis::Axis;
use crate::draw::heatmap::{Heatmap, draw};
use crate::error::Error;
use crate::sink;

/// Writes the picture of the last matrix that `values` along `axes` hold.
pub(super) fn write(path: &Path, axes: &[Axis], values: &[f64], title: &str, overwrite: bool) -> Result<()> {
    sink::check_free(path, overwrite)?;
    let [.., rows, columns] = axes else { return Err(Error::usage("a picture is of two axes").into()) };
    let n = (rows.length * columns.length) as usize;
    let map = Heatmap {
        values: &values[values.len() - n..],
        n_columns: columns.length as usize,
        axes: [&rows.name, &columns.name],
        title,
    };
    let picture = draw(&map).ok_or_else(|| Error::usage("nothing to draw"))?;
    super::publish_file(path, &sink::png::encode(&picture)?)?;
    Ok(())
}
