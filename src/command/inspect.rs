//! `inspect`: what the files are, from names and headers alone.

use anyhow::Result;

use super::calibration;
use super::survey::{Naming, Survey};
use crate::cli::InspectArgs;
use crate::layout::describe;
use crate::report::count;

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let survey = Survey::new(&args.input, &args.names)?;
    let mut text = String::new();
    for kind in &survey.headers.kinds {
        text += &format!("{}, {}, {}\n", count(kind.n_files, "file"), describe(&kind.info), kind.info.storage);
    }
    for axis in survey.headers.main_kind().iter().flat_map(|k| &k.info.axes) {
        if let Some(c) = &axis.calibration {
            text += &format!("{} {} from {}\n", axis.name, calibration::words(c), calibration::origin(c.from));
        }
    }
    if survey.n_left_out > 0 {
        text += &format!("{} left out\n", count(survey.n_left_out, "file"));
    }
    if let Naming::Names { why, .. } = &survey.naming {
        text += &why.join("\n");
    }
    super::print(text.as_bytes())
}
