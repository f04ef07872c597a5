//! A Zarr whose chunks lie in files of another format: references by which fsspec reads them where they are.
//!
//! Source: version 1 of kerchunk's reference specification.

use std::path::Path;

use serde_json::{Value, json};

use super::{ImageOptions, LEVEL, ZarrFormat, ZarrOptions, metadata, ngff};
use crate::codec::Codec;
use crate::consume::levels::Method;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region};
use crate::sink::Spec;
use crate::store::Durability;

/// References of one array.
pub struct References {
    /// The document so far, without its end.
    text: String,
    chunks: Grid,
    n_chunks: u64,
}

impl References {
    /// Of an array of `spec`, called `name`, whose chunks of shape `cell` come out of `codec`, and out of `predictor`
    /// then, both in the words of numcodecs and imagecodecs.
    pub fn new(
        spec: &Spec,
        name: &str,
        cell: &[u64],
        codec: Option<&str>,
        predictor: Option<&str>,
        big_endian: bool,
    ) -> Self {
        let options = ZarrOptions {
            format: ZarrFormat::V2,
            chunks: cell.to_vec(),
            shards: None,
            codec: Codec::None,
            overwrite: false,
            durability: Durability::None,
            image: ImageOptions::default(),
        };
        let mut array = metadata::array_v2(spec, &options);
        if big_endian {
            array["dtype"] = json!(spec.dtype.typestr().replace('<', ">"));
        }
        if let Some(codec) = codec {
            array["compressor"] = json!({"id": codec});
        }
        if let Some(predictor) = predictor {
            // Along x, whose neighbours have the same sample: behind it lies at most one axis of samples.
            let (inner, axis) = if spec.axes.last().is_some_and(|a| a.name != "x") { (3, -2) } else { (2, -1) };
            let shape = &cell[cell.len().saturating_sub(inner)..];
            array["filters"] = json!([{"id": predictor, "shape": shape, "dtype": array["dtype"], "axis": axis}]);
        }
        let mut group = json!({"stackctl": spec.provenance});
        if ngff::misfit(&spec.axes).is_none() {
            let dataset = ngff::Dataset { path: LEVEL, factor: &vec![1; spec.axes.len()] };
            let image = ngff::multiscale(&spec.axes, &[dataset], Method::Mean, Some("0.4"), name);
            group["multiscales"] = json!([image]);
        }
        let names = json!({"_ARRAY_DIMENSIONS": metadata::names(&spec.axes)});
        let mut text = String::from("{\"version\": 1, \"refs\": {\n");
        for (key, document) in [
            (".zgroup".to_owned(), json!({"zarr_format": 2})),
            (".zattrs".to_owned(), group),
            (format!("{LEVEL}/.zarray"), array),
            (format!("{LEVEL}/.zattrs"), names),
        ] {
            text += &format!("{}: {},\n", json!(key), json!(document.to_string()));
        }
        Self { text, chunks: Grid::new(&spec.shape(), cell), n_chunks: 0 }
    }

    /// Adds the chunk that is `region`, which lies in the file at `path`.
    ///
    /// # Errors
    /// `Unsupported` if it is no chunk of the grid, or the name is no text.
    pub fn add(&mut self, region: &Region, path: &Path, offset: u64, n_bytes: u64) -> Result<()> {
        let position: Vec<u64> = region.origin.iter().zip(self.chunks.cell()).map(|(o, c)| o / c).collect();
        if self.chunks.region(&position) != *region {
            return Err(Error::unsupported(format!(
                "{}: the piece at {region} is no chunk of {:?}, which all others are",
                path.display(),
                self.chunks.cell()
            )));
        }
        let path = path.to_str().ok_or_else(|| Error::unsupported(format!("{}: is no text", path.display())))?;
        let key = metadata::chunk_key(ZarrFormat::V2, LEVEL, &position);
        let value = Value::from(vec![json!(format!("file://{path}")), json!(offset), json!(n_bytes)]);
        self.text += &format!("{}: {value},\n", json!(key));
        self.n_chunks += 1;
        Ok(())
    }

    /// Chunks that were added, and chunks that there are.
    pub fn counts(&self) -> (u64, u64) {
        (self.n_chunks, self.chunks.len())
    }

    /// The whole document.
    pub fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches([',', '\n']).len());
        self.text + "\n}}\n"
    }
}
