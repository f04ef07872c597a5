//! TIFF files. (Under construction: the reader proper is in the next commit.)

use std::path::Path;

use super::{Format, OpenOptions, Source};
use crate::error::{Error, Result};

pub mod codec;

/// TIFF, classic and BigTIFF.
pub const FORMAT: Format =
    Format { name: "TIFF", extensions: &["tif", "tiff", "btf", "tf8", "tf2", "stk", "lsm"], open };

fn open(_path: &Path, _options: &OpenOptions) -> Result<Box<dyn Source>> {
    Err(Error::unsupported("TIFF reading"))
}
