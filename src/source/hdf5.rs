//! HDF5 and NetCDF-4 files: one dataset as an array, or many of like shape that one template names.
//!
//! The library hdf5-reader reads the structure of a file; chunks are read and decoded here, by every worker for itself.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5_reader::chunk_index::{self, ChunkEntry};
use hdf5_reader::group::Group;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::filter_pipeline::FilterDescription;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::storage::{BlockCacheStorage, FileStorage};
use hdf5_reader::{ByteOrder, Dataset, Datatype, Hdf5File};

use super::cf::{self, Attribute, Form, Variable};
use super::linear::{self, Linear};
use super::{FileArray, FileIndex, Format, Info, Note, NoteKind, OpenOptions};
use crate::array::{Reader, Scratch, check_read};
use crate::axis::Axis;
use crate::block::{Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, row_major_strides};
use crate::profile::{self, Stage};

mod exact;
mod filters;
mod imaris;
mod template;

use filters::Filters;

/// The format's entry in the table.
pub(super) const FORMAT: Format = Format {
    name: "HDF5",
    extensions: &["h5", "hdf5", "hdf", "he5", "nc4", "ims"],
    recognise: None,
    magic: Some(|first| first.starts_with(b"\x89HDF\r\n\x1a\n")),
    has_variables: true,
    open,
};

/// Datasets that are looked at in one file, and the depth of groups.
const MOST_DATASETS: usize = 20_000;
const MAX_DEPTH: usize = 16;
/// Largest chunk that is read.
const MOST_CHUNK_BYTES: u64 = 4 << 30;
/// Bytes that are read around what the structure of a file is looked up in, and how many such pieces are kept.
const STRUCTURE_BYTES: usize = 16 << 10;
const MOST_PIECES: usize = 256;

type Fault = hdf5_reader::error::Error;

fn fault(error: &Fault) -> Error {
    Error::format(format!("HDF5: {error}"))
}

/// An open file, until its structure is known.
struct Structure {
    path: PathBuf,
    file: Hdf5File,
}

/// Datasets that make one array together, over axes in front of their own.
struct Datasets {
    /// Axes in front.
    outer: Vec<Axis>,
    /// One for each position of these, row-major.
    list: Vec<Option<Dataset>>,
    /// Shape of each, if less of it counts than is stored.
    shape: Option<Vec<u64>>,
}

fn open(path: &Path, options: &OpenOptions, _: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>> {
    let structure = Structure::open(path)?;
    if let Some(image) = imaris::find(&structure, options)? {
        return image.open(&structure, options);
    }
    if let Some(text) = options.variable.as_deref().filter(|text| text.contains('{')) {
        let datasets = template::find(&structure, text)?;
        let (variable, _) = structure.first(&datasets)?;
        return datasets.open(&structure, options, variable, Vec::new(), |_| {});
    }
    let (variables, datasets) = structure.variables()?;
    let structures = || structures(&variables, &datasets, options.variable.as_deref());
    let (chosen, series) = cf::choose(&variables, options).map_err(|e| e.and(structures()))?;
    let numbers = |i: usize| structure.numbers(&datasets[i]);
    let mut found = cf::dimensions(&variables[chosen], &variables, &numbers)?;
    found.notes.extend(short_scales(&variables[chosen], &variables));
    let list = vec![Some(datasets[chosen].clone())];
    let one = Datasets { outer: Vec::new(), list, shape: None };
    one.finished(&structure, options, variables[chosen].clone(), found, series, |_| {})
}

impl Structure {
    fn open(path: &Path) -> Result<Self> {
        let io = |e: Fault| match e {
            Fault::Io(e) => Error::io(path, "cannot open", e),
            other => fault(&other),
        };
        let storage = FileStorage::open(path).map_err(io)?;
        let storage = Arc::new(BlockCacheStorage::new(Arc::new(storage), STRUCTURE_BYTES, MOST_PIECES));
        Ok(Self { path: path.to_owned(), file: Hdf5File::from_storage(storage).map_err(io)? })
    }

    /// Every dataset of the file, and what describes it.
    fn variables(&self) -> Result<(Vec<Variable>, Vec<Dataset>)> {
        let mut open = vec![(String::new(), self.file.root_group().map_err(|e| fault(&e))?, 0)];
        let (mut variables, mut datasets) = (Vec::new(), Vec::new());
        while let Some((place, group, depth)) = open.pop() {
            let (groups, own) = group.members().map_err(|e| fault(&e))?;
            for dataset in own {
                let name = format!("{place}{}", dataset.name());
                variables.push(self.variable(name, &dataset));
                datasets.push(dataset);
            }
            if datasets.len() > MOST_DATASETS {
                break;
            }
            let deeper = groups
                .into_iter()
                .filter(|_| depth < MAX_DEPTH)
                .map(|group: Group| (format!("{place}{}/", group.name()), group, depth + 1));
            open.extend(deeper);
        }
        // Dimensions are named by the datasets that are their scales.
        let names: Vec<(u64, String)> = datasets.iter().map(|d| (d.address(), d.name().to_owned())).collect();
        let scales: Vec<Vec<Option<u64>>> = datasets.iter().map(|dataset| self.scales(dataset)).collect();
        let records = records(&datasets, &scales);
        for ((variable, dataset), scales) in variables.iter_mut().zip(&datasets).zip(&scales) {
            for (i, scale) in scales.iter().enumerate().take(variable.dims.len()) {
                let dim = &mut variable.dims[i];
                dim.0 =
                    scale.and_then(|at| names.iter().find(|(address, _)| *address == at)).map(|(_, name)| name.clone());
                let length = scale.and_then(|at| records.get(&at)).filter(|_| grows(dataset, i));
                dim.1 = length.map_or(dim.1, |length| dim.1.max(*length));
            }
            if variable.is_scale && variable.dims.len() == 1 {
                variable.dims[0].0 = Some(dataset.name().to_owned());
            }
        }
        Ok((variables, datasets))
    }

    /// What describes one dataset.
    fn variable(&self, name: String, dataset: &Dataset) -> Variable {
        let attributes: Vec<(String, Attribute)> =
            dataset.attributes().into_iter().filter_map(|a| Some((a.name.clone(), attribute(&a)?))).collect();
        let dims = dataset.shape().iter().map(|&length| (None, length)).collect();
        let mut variable = Variable { name, dims, dtype: None, attributes, is_scale: false };
        variable.is_scale = variable.text("CLASS") == Some("DIMENSION_SCALE");
        // A dimension without a variable is stored as one without values.
        let is_empty = variable.text("NAME").is_some_and(|name| name.starts_with("This is a netCDF dimension but not"));
        variable.dtype = element(dataset.dtype()).map(|(dtype, _)| dtype).filter(|_| !is_empty);
        variable
    }

    /// Addresses of the scales of a dataset's dimensions.
    fn scales(&self, dataset: &Dataset) -> Vec<Option<u64>> {
        let Ok(list) = dataset.attribute("DIMENSION_LIST") else { return Vec::new() };
        let offset = usize::from(self.file.superblock().offset_size);
        // A count, and the place of references in the file's heap.
        let scale = |entry: &[u8]| {
            let bytes = dataset.resolve_vlen_reference_bytes(entry, offset).ok()?;
            let at = bytes.get(..offset)?;
            Some(at.iter().rev().fold(0u64, |at, byte| at << 8 | u64::from(*byte)))
        };
        list.raw_data.chunks_exact(8 + offset).map(scale).collect()
    }

    /// The numbers of a dataset of one axis.
    fn numbers(&self, dataset: &Dataset) -> Result<Vec<f64>> {
        let Some((dtype, swapped)) = element(dataset.dtype()) else { return Ok(Vec::new()) };
        exact(dataset)?;
        let bytes = dataset.read_raw_bytes().map_err(|e| fault(&e))?;
        let mut own = crate::block::Buffer::default();
        let out = own.sized(bytes.len() / dtype.size() * dtype.size());
        out.copy_from_slice(&bytes[..out.len()]);
        Form::plain(dtype, swapped).settle(out);
        Ok(crate::dtype::to_f64(dtype, out))
    }

    /// The first of some datasets, and what describes it.
    fn first<'d>(&self, datasets: &'d Datasets) -> Result<(Variable, &'d Dataset)> {
        let first = datasets.list.iter().flatten().next().ok_or_else(|| Error::format("HDF5: no dataset is there"))?;
        let mut variable = self.variable(first.name().to_owned(), first);
        if let Some(shape) = &datasets.shape {
            variable.dims.iter_mut().zip(shape).for_each(|(dim, length)| dim.1 = *length);
        }
        Ok((variable, first))
    }
}

/// Whether axis `i` of a dataset is a dimension without limit.
fn grows(dataset: &Dataset, i: usize) -> bool {
    let is_unlimited = dataset.max_dims().and_then(|most| most.get(i)) == Some(&u64::MAX);
    is_unlimited && dataset.chunks().is_some()
}

/// Lengths of the dimensions without limit, by the addresses of their scales: that of the dataset with the most records.
/// Others lack their last ones.
fn records(datasets: &[Dataset], scales: &[Vec<Option<u64>>]) -> HashMap<u64, u64> {
    let is_scale = |dataset: &&Dataset| dataset.ndim() == 1 && grows(dataset, 0);
    let mut records: HashMap<u64, u64> =
        datasets.iter().filter(is_scale).map(|d| (d.address(), d.shape()[0])).collect();
    for (dataset, scales) in datasets.iter().zip(scales) {
        for ((i, &length), scale) in dataset.shape().iter().enumerate().zip(scales) {
            let longest = scale.filter(|_| grows(dataset, i)).and_then(|at| records.get_mut(&at));
            if let Some(longest) = longest {
                *longest = length.max(*longest);
            }
        }
    }
    records
}

/// Notes of coordinates that were not written for every record: those of its axis go unused.
fn short_scales(variable: &Variable, all: &[Variable]) -> Vec<Note> {
    let short = |(dim, length): &(Option<String>, u64)| {
        let is_scale = |v: &&Variable| v.is_scale && v.dtype.is_some() && v.name.rsplit('/').next() == dim.as_deref();
        let scale = all.iter().find(is_scale)?;
        let n = scale.dims.first().map(|(_, n)| *n).filter(|n| n < length)?;
        let text = format!("{} has {n} values for {length} records: they go unused", scale.name);
        Some(Note::new(NoteKind::DescriptionUnused, text))
    };
    variable.dims.iter().filter_map(short).collect()
}

/// Of a dataset of structures that `variable` names, or the first: its fields, and the way out.
fn structures(variables: &[Variable], datasets: &[Dataset], variable: Option<&str>) -> String {
    let is_meant = |name: &str| variable.is_none_or(|asked| name.ends_with(asked.trim_matches('/')));
    for (variable, dataset) in variables.iter().zip(datasets).filter(|(v, _)| v.dtype.is_none() && is_meant(&v.name)) {
        let Datatype::Compound { fields, .. } = dataset.dtype() else { continue };
        let Some(first) = fields.first().map(|field| &field.name) else { continue };
        let (name, fields) = (&variable.name, fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>());
        return format!(
            ": {name} is of structures with fields {}: make arrays of them, in Python with \
             'f[\"{name}_{first}\"] = f[\"{name}\"][\"{first}\"]'",
            fields.join(", ")
        );
    }
    String::new()
}

/// What an attribute holds, if it is text or numbers.
fn attribute(attribute: &hdf5_reader::Attribute) -> Option<Attribute> {
    if let Ok(texts) = attribute.read_strings() {
        return Some(Attribute::Text(texts.concat()));
    }
    if let Datatype::String { .. } = attribute.datatype {
        return attribute.read_string().ok().map(Attribute::Text);
    }
    let (dtype, swapped) = element(&attribute.datatype)?;
    let mut own = crate::block::Buffer::default();
    let out = own.sized(attribute.raw_data.len() / dtype.size() * dtype.size());
    out.copy_from_slice(&attribute.raw_data[..out.len()]);
    Form::plain(dtype, swapped).settle(out);
    Some(Attribute::Numbers(crate::dtype::to_f64(dtype, out)))
}

/// The elements of a type, and whether their bytes lie in the other order than the machine's; `None` for what is no
/// number.
fn element(datatype: &Datatype) -> Option<(DType, bool)> {
    use DType::{Bool, Complex64, Complex128, Float16, Float32, Float64, Int8, Int16, Int32, Int64};
    use DType::{Uint8, Uint16, Uint32, Uint64};
    let swapped = |order: &ByteOrder| (*order == ByteOrder::BigEndian) == cfg!(target_endian = "little");
    Some(match datatype {
        Datatype::FixedPoint { size, signed, byte_order } => {
            let dtype = match (size, signed) {
                (1, true) => Int8,
                (2, true) => Int16,
                (4, true) => Int32,
                (8, true) => Int64,
                (1, false) => Uint8,
                (2, false) => Uint16,
                (4, false) => Uint32,
                (8, false) => Uint64,
                _ => return None,
            };
            (dtype, swapped(byte_order))
        }
        Datatype::FloatingPoint { size, byte_order } => {
            let dtype = match size {
                2 => Float16,
                4 => Float32,
                8 => Float64,
                _ => return None,
            };
            (dtype, swapped(byte_order))
        }
        Datatype::Bitfield { size: 1, .. } => (Uint8, false),
        // As h5py writes truth values, and other names of numbers.
        Datatype::Enum { base, members } => match element(base)? {
            (Int8, _) if members.len() == 2 && members.iter().any(|m| m.name == "TRUE") => (Bool, false),
            other => other,
        },
        // As h5py writes complex numbers; two floats of other names are something else.
        Datatype::Compound { size, fields } => match &fields[..] {
            [re, im] if re.name == "r" && im.name == "i" && re.datatype == im.datatype => {
                let (dtype, size_of_one, swapped) = match element(&re.datatype)? {
                    (Float32, swapped) => (Complex64, 4, swapped),
                    (Float64, swapped) => (Complex128, 8, swapped),
                    _ => return None,
                };
                if (re.byte_offset, im.byte_offset, *size) != (0, size_of_one, 2 * size_of_one) {
                    return None;
                }
                (dtype, swapped)
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// Refuses numbers that are not the machine's though their size is.
fn exact(dataset: &Dataset) -> Result<()> {
    let datatype = dataset.raw_datatype().map_err(|e| fault(&e))?;
    let name = dataset.name();
    exact::check(&datatype).map_err(|found| {
        Error::unsupported(format!(
            "HDF5: {name} is of {found}, which are not read, only whole integers and IEEE floats are: store it so, in \
             Python with 'new[\"{name}\"] = old[\"{name}\"][...]'"
        ))
    })
}

/// A stored chunk.
#[derive(Clone, Copy)]
struct Piece {
    at: u64,
    n_bytes: u64,
    /// Bits of filters that were left out.
    left_out: u32,
}

/// Chunks of one dataset by their row-major number, in order.
type Pieces = Vec<(u64, Piece)>;

/// How a dataset is stored.
struct Stored {
    /// Shape of a chunk.
    chunk: Vec<u64>,
    filters: Vec<FilterDescription>,
    /// Where it lies, if that is in one piece.
    whole_at: Option<u64>,
    pieces: Pieces,
}

impl Structure {
    /// How `dataset` is stored, its chunks numbered over `shape`, which reaches at least as far as its own.
    fn stored(&self, dataset: &Dataset, dtype: DType, shape: &[u64]) -> Result<Stored> {
        exact(dataset)?;
        // Addresses count from behind what is put in front of the HDF5 file.
        let base = self.file.superblock().base_address;
        let header = self.file.get_or_parse_header(dataset.address()).map_err(|e| fault(&e))?;
        let mut layout = None;
        let mut filters = Vec::new();
        for message in &header.messages {
            match message {
                HdfMessage::DataLayout(message) => layout = Some(&message.layout),
                HdfMessage::FilterPipeline(message) => filters.clone_from(&message.filters),
                HdfMessage::ExternalFiles(_) => {
                    return Err(Error::unsupported(
                        "HDF5: values in other files are not read: h5repack puts them together",
                    ));
                }
                _ => {}
            }
        }
        match layout {
            Some(DataLayout::Contiguous { address, size }) => {
                let is_there = *address != u64::MAX && *size > 0;
                let address = address.saturating_add(base);
                let rows = slab(shape, dtype);
                let pieces = if is_there { slabs(shape, &rows, dtype, address) } else { Vec::new() };
                Ok(Stored { chunk: rows, filters, whole_at: is_there.then_some(address), pieces })
            }
            Some(DataLayout::Chunked { address, dims, chunk_indexing, .. }) => {
                let dims = dims.get(..shape.len()).ok_or_else(|| Error::format("HDF5: chunks have too few axes"))?;
                let chunk: Vec<u64> = dims.iter().map(|&n| u64::from(n)).collect();
                let chunk_bytes = size_bytes(&chunk, dtype);
                if chunk.contains(&0) || chunk_bytes > MOST_CHUNK_BYTES {
                    return Err(Error::format(format!("HDF5: chunks of {chunk:?} elements cannot be")));
                }
                let entries = match *address {
                    u64::MAX => Vec::new(),
                    address => self.entries(dataset, address, dims, chunk_indexing.as_ref(), dtype.size())?,
                };
                let counts: Vec<u64> = shape.iter().zip(&chunk).map(|(n, c)| n.div_ceil(*c)).collect();
                let strides = row_major_strides(&counts);
                let number = |entry: &ChunkEntry| {
                    let at = entry.offsets.iter().zip(&chunk).zip(&counts).zip(&strides);
                    at.map(|(((o, c), n), s)| (o % c == 0 && o / c < *n).then_some(o / c * s)).sum::<Option<u64>>()
                };
                let piece = |e: &ChunkEntry| {
                    let n_bytes = if filters.is_empty() || e.size == 0 { chunk_bytes } else { e.size };
                    Piece { at: e.address, n_bytes, left_out: e.filter_mask }
                };
                let mut pieces: Pieces = entries.iter().filter_map(|e| Some((number(e)?, piece(e)))).collect();
                pieces.retain(|(_, piece)| piece.at != u64::MAX);
                pieces.iter_mut().for_each(|(_, piece)| piece.at = piece.at.saturating_add(base));
                pieces.sort_unstable_by_key(|(number, _)| *number);
                Ok(Stored { chunk, filters, whole_at: None, pieces })
            }
            Some(DataLayout::Compact { .. }) => Err(Error::unsupported(
                "HDF5: values inside a header are not read as an array: 'h5repack -l CONTI' stores them outside",
            )),
            None => Err(Error::format("HDF5: a dataset has no layout")),
        }
    }

    /// Where the chunks of a dataset lie.
    fn entries(
        &self,
        dataset: &Dataset,
        address: u64,
        dims: &[u32],
        indexing: Option<&ChunkIndexing>,
        size: usize,
    ) -> Result<Vec<ChunkEntry>> {
        let (storage, superblock) = (self.file.storage(), self.file.superblock());
        let (offset, length, shape) = (superblock.offset_size, superblock.length_size, dataset.shape());
        let rank = shape.len();
        // Some indexes number chunks over the largest shape there may be; those outside the present one have no place.
        let most: Vec<u64> = match dataset.max_dims().filter(|most| most.len() == rank) {
            Some(most) => most.iter().zip(shape).map(|(most, n)| *most.max(n)).collect(),
            None => shape.to_vec(),
        };
        let entries = match indexing {
            None => {
                use hdf5_reader::btree_v1::{BTreeV1Key, collect_btree_v1_leaves_storage};
                let leaves =
                    collect_btree_v1_leaves_storage(storage, address, offset, length, Some(rank as u32), dims, None);
                let entry = |(key, address): (BTreeV1Key, u64)| match key {
                    BTreeV1Key::RawData { chunk_size, filter_mask, offsets } => Some(ChunkEntry {
                        address,
                        size: u64::from(chunk_size),
                        filter_mask,
                        offsets: offsets.get(..rank)?.to_vec(),
                    }),
                    _ => None,
                };
                leaves.map(|leaves| leaves.into_iter().filter_map(entry).collect())
            }
            Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
                Ok(vec![chunk_index::single_chunk_entry(address, *filtered_size, *filters, rank)])
            }
            Some(ChunkIndexing::BTreeV2) => {
                chunk_index::collect_v2_chunk_entries_storage(storage, address, offset, length, rank as u32, dims, None)
            }
            Some(ChunkIndexing::Implicit) => {
                chunk_index::collect_implicit_chunk_entries(address, &most, dims, size, None, storage.len())
            }
            Some(ChunkIndexing::FixedArray { .. }) => {
                hdf5_reader::fixed_array::collect_fixed_array_chunk_entries_storage(
                    storage, address, offset, length, &most, dims, None,
                )
            }
            Some(ChunkIndexing::ExtensibleArray { .. }) => {
                hdf5_reader::extensible_array::collect_extensible_array_chunk_entries_storage(
                    storage,
                    address,
                    offset,
                    length,
                    shape,
                    dataset.max_dims(),
                    dims,
                    None,
                )
            }
        };
        entries.map_err(|e| fault(&e))
    }
}

/// A box of a contiguous array that lies in one piece, of at most 1 MiB where a row is less.
fn slab(shape: &[u64], dtype: DType) -> Vec<u64> {
    let mut slab = vec![1; shape.len()];
    let mut room = (1 << 20) / dtype.size() as u64;
    for i in (0..shape.len()).rev() {
        slab[i] = if i + 1 == shape.len() { shape[i].max(1) } else { shape[i].min(room).max(1) };
        room /= slab[i].max(1);
        if slab[i] < shape[i] {
            break;
        }
    }
    slab
}

/// Where the slabs of a contiguous array lie.
fn slabs(shape: &[u64], slab: &[u64], dtype: DType, start: u64) -> Pieces {
    let (grid, strides) = (Grid::new(shape, slab), row_major_strides(shape));
    let piece = |number: u64| {
        let region = grid.region(&grid.unravel(number));
        let first: u64 = region.origin.iter().zip(&strides).map(|(o, s)| o * s).sum();
        let at = start + first * dtype.size() as u64;
        (number, Piece { at, n_bytes: size_bytes(&region.shape, dtype), left_out: 0 })
    };
    (0..grid.len()).map(piece).collect()
}

impl Datasets {
    /// The array, whose axes have no names but those in front; `more` puts in what else is known.
    fn open(
        self,
        structure: &Structure,
        options: &OpenOptions,
        variable: Variable,
        series: Vec<String>,
        more: impl FnOnce(&mut Info),
    ) -> Result<Arc<dyn FileArray>> {
        let found = cf::dimensions(&variable, &[], &|_| Ok(Vec::new()))?;
        self.finished(structure, options, variable, found, series, more)
    }

    /// The array with axes as `found`; `more` puts in what else is known.
    fn finished(
        self,
        structure: &Structure,
        options: &OpenOptions,
        variable: Variable,
        mut found: cf::Dimensions,
        series: Vec<String>,
        more: impl FnOnce(&mut Info),
    ) -> Result<Arc<dyn FileArray>> {
        let first = self.list.iter().flatten().next().ok_or_else(|| Error::format("HDF5: no dataset is there"))?;
        let (_, swapped) = element(first.dtype()).ok_or_else(|| Error::unsupported("HDF5: only numbers are read"))?;
        let dtype = variable.element().ok_or_else(|| Error::unsupported("HDF5: only numbers are read"))?;
        let form = Form::of(&variable, dtype, swapped, options.unpack)?;
        let outer: Vec<u64> = self.outer.iter().map(|axis| axis.length).collect();
        found.axes = self.outer.into_iter().chain(found.axes).collect();
        let mut info = Info { series, ..cf::info(&variable, found, options) };
        more(&mut info);
        // Records that are not written yet lie behind what is stored, what fills up whole chunks behind what counts.
        let own = info.shape();
        let shape: Vec<u64> = first.shape().iter().zip(&own[outer.len()..]).map(|(n, own)| *n.max(own)).collect();
        let mut stored = Vec::with_capacity(self.list.len());
        for dataset in &self.list {
            if dataset.as_ref().is_some_and(|d| d.shape() != first.shape() || d.dtype() != first.dtype()) {
                return Err(Error::format(format!(
                    "HDF5: {:?} in one dataset, {:?} in another: --variable names those that are alike",
                    first.shape(),
                    dataset.as_ref().map(Dataset::shape).unwrap_or_default()
                )));
            }
            stored.push(dataset.as_ref().map(|dataset| structure.stored(dataset, dtype, &shape)).transpose()?);
        }
        if let ([Some(Stored { whole_at: Some(at), filters, .. })], []) = (&stored[..], &outer[..])
            && filters.is_empty()
        {
            let size = dtype.size() as u64;
            let strides = row_major_strides(first.shape()).iter().map(|s| s * size).collect();
            let row_bytes = first.shape().last().map_or(size, |n| n * size);
            let (storage, scratch_bytes) = ("HDF5, uncompressed".into(), linear::scratch_bytes(row_bytes));
            let info = Info { storage, scratch_bytes, ..info };
            return Ok(Arc::new(Linear::open(&structure.path, *at, strides, form, info)?));
        }
        let fill = fill(first, &form);
        let array = Chunked::new(&structure.path, info, form, fill, outer, (&shape, first.shape()), stored)?;
        Ok(Arc::new(array))
    }
}

/// One element of a dataset's fill value, as it is given; `None` if that is missing, which is refused.
fn fill(dataset: &Dataset, form: &Form) -> Option<Vec<u8>> {
    let size = form.stored.size();
    let mut stored = crate::block::Buffer::default();
    let out = stored.sized(size);
    out.fill(0);
    if let Some(value) = dataset.fill_value().and_then(|fill| fill.value.as_deref()).filter(|v| v.len() == size) {
        out.copy_from_slice(value);
        form.settle(out);
    }
    form.one(stored.bytes())
}

/// An array of chunks.
struct Chunked {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    info: Info,
    form: Form,
    fill: Option<Vec<u8>>,
    /// Lengths of the axes in front of those of a dataset.
    outer: Grid,
    /// Chunks of each dataset, by the row-major number of its position.
    pieces: Vec<Pieces>,
    /// Chunks over all axes, and over those of a dataset as it is stored.
    chunks: Grid,
    inner: Grid,
    /// What datasets reach to; behind it are records that were not written.
    written: Region,
    filters: Filters,
}

impl Chunked {
    fn new(
        path: &Path,
        info: Info,
        form: Form,
        fill: Option<Vec<u8>>,
        outer: Vec<u64>,
        (shape, written): (&[u64], &[u64]),
        stored: Vec<Option<Stored>>,
    ) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        let file_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read", e))?.len();
        let first = stored.iter().flatten().next().ok_or_else(|| Error::format("HDF5: no dataset is there"))?;
        let (chunk, descriptions) = (first.chunk.clone(), first.filters.clone());
        if stored.iter().flatten().any(|other| other.chunk != chunk || other.filters != descriptions) {
            return Err(Error::unsupported("HDF5: the datasets are stored in chunks of different kinds"));
        }
        let filters = Filters::new(descriptions, form.stored.size())?;
        let inner = Grid::new(shape, &chunk);
        let cell: Vec<u64> = outer.iter().map(|_| 1).chain(chunk.iter().copied()).collect();
        let chunks = Grid::new(&info.shape(), &cell);
        let unit: Vec<u64> = cell.iter().zip(info.shape()).map(|(c, n)| (*c).min(n.max(1))).collect();
        let pieces: Vec<Pieces> = stored.into_iter().map(|s| s.map_or(Vec::new(), |s| s.pieces)).collect();
        let by = chunk.iter().map(u64::to_string).collect::<Vec<_>>().join("x");
        let chunk_bytes = size_bytes(&chunk, form.stored);
        let n_pieces: u64 = pieces.iter().map(|p| p.len() as u64).sum();
        let info = Info {
            dtype: form.given(),
            unit,
            coded: true,
            storage: format!("HDF5, {}, chunks of {by}", filters.words()),
            scratch_bytes: chunk_bytes.saturating_mul(3).saturating_add(size_bytes(&chunk, form.given())) + (1 << 20),
            held_bytes: (4 << 10) + n_pieces * size_of::<(u64, Piece)>() as u64,
            file_bytes,
            ..info
        };
        let written = Region::whole(&[&outer[..], written].concat());
        let outer = Grid::new(&outer, &vec![1; outer.len()]);
        let path = path.to_owned();
        Ok(Self { path, file, file_bytes, info, form, fill, outer, pieces, chunks, inner, written, filters })
    }

    /// Where the chunk at `position` lies, if it is stored.
    fn piece(&self, position: &[u64]) -> Option<Piece> {
        let (outer, inner) = position.split_at(self.outer.shape().len());
        let pieces = self.pieces.get(self.outer.ravel(outer) as usize)?;
        let number = self.inner.ravel(inner);
        pieces.binary_search_by_key(&number, |(number, _)| *number).ok().map(|i| pieces[i].1)
    }

    /// Decodes the chunk at `piece` into `scratch.stored`: elements as they are stored, those of the whole chunk.
    fn decode(&self, piece: Piece, scratch: &mut Scratch) -> Result<()> {
        let chunk_bytes = size_bytes(self.inner.cell(), self.form.stored) as usize;
        if piece.at.checked_add(piece.n_bytes).is_none_or(|end| end > self.file_bytes) {
            return Err(Error::format(format!(
                "it is said to be {} bytes at {}, but the file has {}",
                piece.n_bytes, piece.at, self.file_bytes
            )));
        }
        if piece.n_bytes > 2 * chunk_bytes as u64 + (1 << 16) {
            return Err(Error::format(format!("{} bytes cannot be a chunk of {chunk_bytes}", piece.n_bytes)));
        }
        let Scratch { stored, decoded, kept, .. } = scratch;
        let bytes = stored.sized(piece.n_bytes as usize);
        let read = profile::stage(Stage::Read, piece.n_bytes, || self.file.read_exact_at(bytes, piece.at));
        read.map_err(|e| Error::io(&self.path, "cannot read", e))?;
        profile::stage(Stage::Decode, chunk_bytes as u64, || {
            self.filters.undo(piece.left_out, chunk_bytes, stored, decoded, kept.get())?;
            self.form.settle(stored.bytes_mut());
            Ok(())
        })
    }

    /// Puts `region` of a decoded chunk of `shape` into `part`. What lies outside is not looked at: beyond the end of
    /// an array chunks hold values that are none.
    fn give(&self, shape: &[u64], region: &Region, scratch: &mut Scratch, part: &mut Target<'_>) -> Result<()> {
        let Scratch { stored, decoded, extra, .. } = scratch;
        self.form.give_part(stored.bytes(), shape, region, part, [extra, decoded])
    }
}

impl FileArray for Chunked {
    fn info(&self) -> &Info {
        &self.info
    }

    fn absent_value(&self) -> Option<&[u8]> {
        self.fill.as_deref()
    }

    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(ChunkedReader { of: self, scratch })
    }
}

/// What of `region` lies behind `written`, which begins where it does; all of it, if that is nothing.
fn behind(region: &Region, written: Option<&Region>) -> Vec<Region> {
    let Some(written) = written else { return vec![region.clone()] };
    let (mut rest, mut behind) = (region.clone(), Vec::new());
    for i in 0..rest.rank() {
        if written.shape[i] < rest.shape[i] {
            let mut part = rest.clone();
            part.origin[i] += written.shape[i];
            part.shape[i] -= written.shape[i];
            rest.shape[i] = written.shape[i];
            behind.push(part);
        }
    }
    behind
}

/// One worker's way to read an array of chunks.
struct ChunkedReader {
    of: Arc<Chunked>,
    scratch: Scratch,
}

impl Reader for ChunkedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let of = &*self.of;
        check_read(of, region, target)?;
        let mut coverage = Coverage::default();
        for position in of.chunks.overlapping(region) {
            // What of a chunk lies outside the array has no place in it.
            let Some(both) = of.chunks.region(&position).intersect(region) else { continue };
            let damaged = |e: Error| e.at(format_args!("chunk {position:?}")).at(of.path.display());
            let stored = of.piece(&position).zip(both.intersect(&of.written));
            // Behind what was written a chunk holds anything.
            for absent in behind(&both, stored.as_ref().map(|(_, written)| written)) {
                target
                    .part(&absent.relative_to(&region.origin))
                    .fill(cf::fill_of(of.fill.as_deref()).map_err(damaged)?);
                coverage.lacks(absent);
            }
            let Some((piece, both)) = stored else { continue };
            let mut part = target.part(&both.relative_to(&region.origin));
            of.decode(piece, &mut self.scratch).map_err(damaged)?;
            let origin: Vec<u64> = position.iter().zip(of.chunks.cell()).map(|(p, c)| p * c).collect();
            let mut shape = of.chunks.cell().to_vec();
            let rank = shape.len();
            // A slab of a contiguous dataset ends with its array.
            if size_bytes(&shape, of.form.stored) != self.scratch.stored.bytes().len() as u64 {
                let own = of.inner.region(&position[of.outer.shape().len()..]);
                shape[rank - own.shape.len()..].copy_from_slice(&own.shape);
            }
            of.give(&shape, &both.relative_to(&origin), &mut self.scratch, &mut part).map_err(damaged)?;
        }
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        for position in self.of.chunks.overlapping(region).take(256) {
            if let Some(piece) = self.of.piece(&position) {
                crate::bytes::advise(&self.of.file, piece.at, piece.n_bytes);
            }
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.scratch
    }
}
