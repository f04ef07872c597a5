//! The executable on every real file of the corpus, each alone; the results read by zarr-python.

use std::path::Path;

use crate::common;

#[test]
fn every_real_file_is_right_or_refused() {
    let Some(corpus) = common::corpus() else { return };
    let exe = assert_cmd::cargo::cargo_bin("stackctl");
    common::python("stitch_corpus.py", &[Path::new(&exe), &corpus]);
}
