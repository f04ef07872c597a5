//! Piles of files of any element type, with holes, whose elements are numbers that no rounding hides.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::run::{read_zarr, tree};
use super::tiff::{Layout, Numbers};

/// The pattern of the names.
pub(crate) const PATTERN: &str = "_c{c}_t{t}_";

/// Files of `c` channels and `t` time points, each `(z, y, x)`; `holes` are positions `(c, t)` without a file.
#[derive(Clone)]
pub(crate) struct Pile {
    pub(crate) c: usize,
    pub(crate) t: usize,
    pub(crate) z: usize,
    pub(crate) layout: Layout,
    pub(crate) holes: Vec<(usize, usize)>,
}

impl Pile {
    pub(crate) fn new(c: usize, t: usize, z: usize, layout: Layout) -> Self {
        Self { c, t, z, layout, holes: Vec::new() }
    }

    pub(crate) fn name(c: usize, t: usize) -> String {
        format!("img_c{c}_t{t:03}_.tif")
    }

    /// The pages of one file: integers below 4096, or positive fractions of many digits.
    pub(crate) fn pages(&self, c: usize, t: usize) -> Vec<Vec<u8>> {
        let mut numbers = Numbers(((1 + c * self.t + t) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let n = self.layout.page_bytes() / self.layout.size();
        let mut element = || match (self.layout.format, self.layout.bits) {
            (3, 32) => (numbers.below(1 << 40) as f32 / 7.0).to_ne_bytes().to_vec(),
            (3, _) => (numbers.below(1 << 40) as f64 / 7.0).to_ne_bytes().to_vec(),
            _ => numbers.below(4096).to_le_bytes()[..self.layout.size()].to_vec(),
        };
        (0..self.z).map(|_| (0..n).flat_map(|_| element()).collect()).collect()
    }

    /// Writes every file into `folder`.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for c in 0..self.c {
            for t in (0..self.t).filter(|&t| !self.holes.contains(&(c, t))) {
                fs::write(folder.join(Self::name(c, t)), self.layout.write(&self.pages(c, t))).unwrap();
            }
        }
    }
}

/// What `.npy` bytes hold: type as NumPy writes it, shape, and elements.
pub(crate) struct Npy {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Npy {
    pub(crate) fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(&file[..6], b"\x93NUMPY");
        let end = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        let header = String::from_utf8(file[10..end].to_vec()).unwrap();
        assert!(header.contains("'fortran_order': False"), "{header}");
        let after = |key: &str| header.split(key).nth(1).unwrap();
        let dtype = after("'descr': '").split('\'').next().unwrap().to_owned();
        let lengths = after("'shape': (").split(')').next().unwrap().split(',').map(str::trim);
        let shape = lengths.filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        Self { dtype, shape, bytes: file[end..].to_vec() }
    }

    /// The elements, if they are float64.
    pub(crate) fn floats(&self) -> Vec<f64> {
        assert_eq!(self.dtype, "<f8");
        self.bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// An output's files by name, without what is allowed to tell runs apart: the command line in the provenance, and
/// checksums of what holds it.
pub(crate) fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    if path.is_file() {
        return BTreeMap::from([(PathBuf::new(), fs::read(path).unwrap())]);
    }
    let mut files = tree(path);
    for (name, bytes) in &mut files {
        if name.ends_with("stackctl.checksums") {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            let holds_command = ["zarr.json ", ".zattrs ", ".zmetadata ", "crc32c "];
            let lines = text.lines().filter(|line| !holds_command.iter().any(|name| line.starts_with(name)));
            *bytes = lines.collect::<Vec<_>>().join("\n").into_bytes();
        } else if let Ok(mut json) = serde_json::from_slice::<Value>(bytes) {
            without_command(&mut json);
            *bytes = json.to_string().into_bytes();
        }
    }
    files
}

fn without_command(json: &mut Value) {
    match json {
        Value::Object(map) => {
            map.remove("command");
            map.values_mut().for_each(without_command);
        }
        Value::Array(list) => list.iter_mut().for_each(without_command),
        _ => {}
    }
}

/// Elements of an output whose files may follow its chunks.
pub(crate) fn elements(path: &Path) -> Vec<u8> {
    if path.is_dir() { read_zarr(path).1 } else { fs::read(path).unwrap() }
}
