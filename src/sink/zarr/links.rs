//! A Zarr whose chunks lie in files of another format: references by which fsspec reads them where they are.
//!
//! Source: version 1 of kerchunk's reference specification, and its form in Parquet.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{ImageOptions, LEVEL, ZarrFormat, ZarrOptions, metadata, ngff, parquet};
use crate::codec::Codec;
use crate::consume::levels::Method;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region};
use crate::sink::Spec;
use crate::store::{Durability, OutputKind, Store};

/// References in one file of Parquet, as many as kerchunk itself puts there.
const RECORD: usize = 10_000;
/// The document by which a folder of such files is known.
const ABOUT: &str = ".zmetadata";

/// References of one array.
pub struct References {
    /// Metadata by their keys.
    documents: Vec<(String, Value)>,
    /// URLs of the files.
    files: Vec<String>,
    chunks: Grid,
    /// For every chunk the file, and the bytes of it.
    places: Vec<Option<(u32, u64, u64)>>,
}

/// What references called `path` are: one document of JSON, or files of Parquet in a folder.
///
/// # Errors
/// `Usage` if the name says neither.
pub fn kind(path: &Path) -> Result<OutputKind> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => Ok(OutputKind::File),
        Some("parq" | "parquet") => Ok(OutputKind::Folder(|folder| folder.join(ABOUT).is_file())),
        _ => Err(Error::usage(format!("{}: references go to a name that ends in .json or .parq", path.display()))),
    }
}

impl References {
    /// Of an array of `spec`, called `name`, whose chunks of shape `cell` come out of `codec`, and out of `predictor`
    /// then, both in the words of numcodecs and imagecodecs. They lie in `files`, by absolute paths.
    ///
    /// # Errors
    /// `Unsupported` if the name of a file is no text.
    pub fn new(
        spec: &Spec,
        name: &str,
        cell: &[u64],
        (codec, predictor): (Option<&str>, Option<&str>),
        big_endian: bool,
        files: &[PathBuf],
    ) -> Result<Self> {
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
        // Chunks are files of one folder, where kerchunk looks for them.
        array["dimension_separator"] = json!(".");
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
        let documents = vec![
            (".zgroup".to_owned(), json!({"zarr_format": 2})),
            (".zattrs".to_owned(), group),
            (format!("{LEVEL}/.zarray"), array),
            (format!("{LEVEL}/.zattrs"), names),
        ];
        let no = |path: &Path| Error::unsupported(format!("{}: is no text", path.display()));
        let url = |path: &PathBuf| path.to_str().map(|path| format!("file://{path}")).ok_or_else(|| no(path));
        let files = files.iter().map(url).collect::<Result<_>>()?;
        let chunks = Grid::new(&spec.shape(), cell);
        let places = vec![None; chunks.len() as usize];
        Ok(Self { documents, files, chunks, places })
    }

    /// Adds the chunk that is `region`, which lies in file number `file`.
    ///
    /// # Errors
    /// `Unsupported` if it is no chunk of the grid.
    pub fn add(&mut self, region: &Region, file: u32, offset: u64, n_bytes: u64) -> Result<()> {
        let position: Vec<u64> = region.origin.iter().zip(self.chunks.cell()).map(|(o, c)| o / c).collect();
        if self.chunks.region(&position) != *region {
            return Err(Error::unsupported(format!(
                "{}: the piece at {region} is no chunk of {:?}, which all others are",
                self.files[file as usize],
                self.chunks.cell()
            )));
        }
        self.places[self.chunks.ravel(&position) as usize] = Some((file, offset, n_bytes));
        Ok(())
    }

    /// Chunks that were added, and chunks that there are.
    pub fn counts(&self) -> (u64, u64) {
        (self.places.iter().flatten().count() as u64, self.chunks.len())
    }

    /// The chunk at place number `i`.
    fn reference(&self, i: usize) -> parquet::Reference<'_> {
        self.places[i].map(|(file, offset, n_bytes)| (self.files[file as usize].as_str(), offset, n_bytes))
    }

    /// Writes them as the name `output` says, and replaces what is there if it may be.
    ///
    /// # Errors
    /// As [`kind`]; `Io`.
    pub fn write(&self, output: &Path, overwrite: bool) -> Result<()> {
        let OutputKind::Folder(is_replaceable) = kind(output)? else {
            return crate::store::replace(output, self.text().as_bytes());
        };
        let store = Store::folder(output, overwrite, Durability::default(), is_replaceable)?;
        for (record, first) in (0..self.places.len()).step_by(RECORD).enumerate() {
            let last = self.places.len().min(first + RECORD);
            let references: Vec<_> = (first..last).map(|i| self.reference(i)).collect();
            store.put(&format!("{LEVEL}/refs.{record}.parq"), &parquet::file(&references)?)?;
        }
        let metadata: Map<String, Value> = self.documents.iter().cloned().collect();
        let about = json!({"metadata": metadata, "record_size": RECORD});
        store.put(ABOUT, about.to_string().as_bytes())?;
        store.publish().map(drop)
    }

    /// The whole document of JSON.
    fn text(&self) -> String {
        let documents = self.documents.iter().map(|(key, document)| (key.clone(), json!(document.to_string())));
        let chunk = |i: usize| {
            let position = self.chunks.unravel(i as u64).iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let key = format!("{LEVEL}/{position}");
            self.reference(i).map(|(url, offset, n_bytes)| (key, json!([url, offset, n_bytes])))
        };
        let all = documents.chain((0..self.places.len()).filter_map(chunk));
        let lines: Vec<String> = all.map(|(key, value)| format!("{}: {value}", json!(key))).collect();
        format!("{{\"version\": 1, \"refs\": {{\n{}\n}}}}\n", lines.join(",\n"))
    }
}
