//! NetCDF classic files (CDF-1, with 64-bit offsets, and CDF-5): their header, and one variable as an array.
//!
//! Source: NetCDF classic format specification, sections 2 to 5 of "The NetCDF file format", Unidata.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::cf::{self, Attribute, Form, Variable};
use super::linear::{self, Linear};
use super::{FileArray, FileIndex, Format, Info, OpenOptions};
use crate::dtype::{DType, swap_bytes};
use crate::error::{Error, Result};
use crate::grid::{n_elements, row_major_strides};

/// The format's entry in the table.
pub(super) const FORMAT: Format = Format {
    name: "NetCDF",
    extensions: &["nc", "cdf", "nc3"],
    recognise: None,
    magic: Some(|first| first.starts_with(b"CDF") && matches!(first.get(3), Some(1 | 2 | 5))),
    has_variables: true,
    open,
};

/// Longest header that is read, and the bytes of it that are read at first.
const MOST_HEADER: u64 = 256 << 20;
const FIRST_BYTES: u64 = 8 << 10;

/// A file as its header describes it.
struct Header {
    variables: Vec<Variable>,
    /// Of every variable its place: where it begins, and whether it has a record's axis.
    places: Vec<(u64, bool)>,
    /// Bytes from record to record.
    record_bytes: u64,
}

fn open(path: &Path, options: &OpenOptions, _: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>> {
    let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let header = Header::read(path, &file)?;
    let (chosen, series) = cf::choose(&header.variables, options)?;
    let variable = &header.variables[chosen];
    let numbers = |i: usize| header.numbers(path, &file, i);
    let found = cf::dimensions(variable, &header.variables, &numbers)?;
    let dtype = variable.element().ok_or_else(|| Error::unsupported("text is not read as an array"))?;
    let form = Form::of(variable, dtype, cfg!(target_endian = "little"), options.unpack)?;
    let (start, strides) = header.strides(chosen);
    let row_bytes = strides
        .iter()
        .rev()
        .nth(1)
        .copied()
        .unwrap_or(0)
        .min(n_elements(&[variable.dims.last().map_or(1, |d| d.1), 8]));
    let info = Info {
        storage: "NetCDF classic, uncompressed".into(),
        scratch_bytes: linear::scratch_bytes(row_bytes),
        held_bytes: 4 << 10,
        series,
        ..cf::info(variable, found, options)
    };
    Ok(Arc::new(Linear::open(path, start, strides, form, info)?))
}

impl Header {
    fn read(path: &Path, file: &File) -> Result<Self> {
        let file_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read", e))?.len();
        let mut n = FIRST_BYTES;
        loop {
            let mut bytes = Vec::new();
            let mut start = file;
            let read = start.rewind().and_then(|()| start.take(n).read_to_end(&mut bytes));
            read.map_err(|e| Error::io(path, "cannot read", e))?;
            if !(FORMAT.magic.is_some_and(|is| is(&bytes))) {
                return Err(Error::format("no NetCDF file: it begins otherwise"));
            }
            let cursor = Cursor { bytes: &bytes, at: 4, wide: bytes.get(3) == Some(&5) };
            match cursor.header(&bytes, file_bytes) {
                Ok(header) => return Ok(header),
                // The header goes on behind what was read.
                Err(Stop::Short) if n < file_bytes.min(MOST_HEADER) => n = n.saturating_mul(8),
                Err(Stop::Short) => return Err(Error::format("its header is cut off")),
                Err(Stop::Wrong(what)) => return Err(Error::format(what)),
            }
        }
    }

    /// Where a variable begins, and the distances along its axes in bytes.
    fn strides(&self, variable: usize) -> (u64, Vec<u64>) {
        let (begin, is_record) = self.places[variable];
        let shape: Vec<u64> = self.variables[variable].dims.iter().map(|dim| dim.1).collect();
        let size = self.variables[variable].dtype.map_or(1, DType::size) as u64;
        let mut strides: Vec<u64> = row_major_strides(&shape).iter().map(|s| s * size).collect();
        if is_record {
            strides[0] = self.record_bytes;
        }
        (begin, strides)
    }

    /// The numbers of a variable of one axis.
    fn numbers(&self, path: &Path, file: &File, variable: usize) -> Result<Vec<f64>> {
        let (begin, strides) = self.strides(variable);
        let (Some(dtype), Some((_, n))) = (self.variables[variable].dtype, self.variables[variable].dims.first())
        else {
            return Ok(Vec::new());
        };
        let size = dtype.size();
        let mut bytes = crate::block::Buffer::default();
        let n = usize::try_from(*n).map_err(|_| Error::format("a coordinate is too long"))?;
        let out = bytes.sized(n * size);
        let read = if strides[0] == size as u64 {
            file.read_exact_at(out, begin)
        } else {
            (0..)
                .zip(out.chunks_exact_mut(size))
                .try_for_each(|(i, one)| file.read_exact_at(one, begin + i * strides[0]))
        };
        read.map_err(|e| Error::io(path, "cannot read", e))?;
        if cfg!(target_endian = "little") {
            swap_bytes(out, size);
        }
        Ok(crate::dtype::to_f64(dtype, out))
    }
}

/// Why a header cannot be read.
enum Stop {
    /// There are too few bytes.
    Short,
    Wrong(String),
}

/// A position in a header.
struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Whether counts have 64 bits.
    wide: bool,
}

impl Cursor<'_> {
    fn take(&mut self, n: u64) -> Result<&[u8], Stop> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n)).ok_or(Stop::Short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Stop::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        self.take(8).map(|b| u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
    }

    /// A count: of 64 bits in CDF-5, else of 32.
    fn count(&mut self) -> Result<u64, Stop> {
        if self.wide { self.u64() } else { self.u32().map(u64::from) }
    }

    fn padded(&mut self, n: u64) -> Result<&[u8], Stop> {
        let bytes = self.take(n.checked_next_multiple_of(4).ok_or(Stop::Short)?)?;
        Ok(&bytes[..n as usize])
    }

    fn name(&mut self) -> Result<String, Stop> {
        let n = self.count()?;
        self.padded(n).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The length of a list that `tag` begins; zero where it is absent.
    fn list(&mut self, tag: u32) -> Result<u64, Stop> {
        match (self.u32()?, self.count()?) {
            (0, 0) => Ok(0),
            (found, n) if found == tag => Ok(n),
            (found, _) => Err(Stop::Wrong(format!("its header has tag {found} where {tag} belongs"))),
        }
    }

    fn attributes(&mut self) -> Result<Vec<(String, Attribute)>, Stop> {
        let n = self.list(12)?;
        (0..n).map(|_| Ok((self.name()?, self.attribute()?))).collect()
    }

    fn attribute(&mut self) -> Result<Attribute, Stop> {
        let kind = self.u32()?;
        let n = self.count()?;
        let (dtype, size) = kind_of(kind)?;
        let bytes = self.padded(n.checked_mul(size).ok_or(Stop::Short)?)?;
        let Some(dtype) = dtype else {
            return Ok(Attribute::Text(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()));
        };
        let mut buffer = crate::block::Buffer::default();
        let own = buffer.sized(bytes.len());
        own.copy_from_slice(bytes);
        if cfg!(target_endian = "little") {
            swap_bytes(own, size as usize);
        }
        Ok(Attribute::Numbers(crate::dtype::to_f64(dtype, own)))
    }

    fn header(mut self, first: &[u8], file_bytes: u64) -> Result<Header, Stop> {
        let n_records = self.count()?;
        let streaming = if self.wide { u64::MAX } else { u64::from(u32::MAX) };
        let n_dims = self.list(10)?;
        let dims = (0..n_dims).map(|_| Ok((self.name()?, self.count()?))).collect::<Result<Vec<_>, Stop>>()?;
        self.attributes()?;
        let n_variables = self.list(11)?;
        let (mut variables, mut places, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n_variables {
            let name = self.name()?;
            let rank = self.count()?;
            let own = (0..rank).map(|_| self.count()).collect::<Result<Vec<_>, Stop>>()?;
            let attributes = self.attributes()?;
            let (dtype, size) = self.u32().and_then(kind_of)?;
            self.count()?;
            let begin = if first.get(3) == Some(&1) { u64::from(self.u32()?) } else { self.u64()? };
            let dim = |id: &u64| usize::try_from(*id).ok().and_then(|id| dims.get(id)).cloned();
            let own = own.iter().map(dim).collect::<Option<Vec<_>>>();
            let own = own.ok_or_else(|| Stop::Wrong(format!("variable {name} has dimensions that are not there")))?;
            let is_record = own.first().is_some_and(|dim| dim.1 == 0);
            let inner = own[usize::from(is_record)..].iter().map(|dim| dim.1).collect::<Vec<_>>();
            // The size that a header states may be too small a number for it.
            sizes.push(is_record.then(|| n_elements(&inner).saturating_mul(size)));
            places.push((begin, is_record));
            let dims = own.into_iter().map(|(name, n)| (Some(name), n)).collect();
            variables.push(Variable { name, dims, dtype, attributes, is_scale: false });
        }
        let of_records: Vec<u64> = sizes.iter().flatten().copied().collect();
        // A single variable's records are not padded.
        let padded = |n: &u64| if of_records.len() == 1 { *n } else { n.saturating_add(3) / 4 * 4 };
        let record_bytes = of_records.iter().map(padded).fold(0u64, u64::saturating_add);
        let n_records = if n_records == streaming {
            let first = places.iter().filter(|place| place.1).map(|place| place.0).min().unwrap_or(file_bytes);
            file_bytes.saturating_sub(first) / record_bytes.max(1)
        } else {
            n_records
        };
        let records = variables.iter_mut().zip(&places).filter(|(_, place)| place.1);
        records.for_each(|(variable, _)| variable.dims[0].1 = n_records);
        Ok(Header { variables, places, record_bytes })
    }
}

/// The elements of a type of the format; `None` for text. And their size.
fn kind_of(kind: u32) -> Result<(Option<DType>, u64), Stop> {
    use DType::{Float32, Float64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let dtype = match kind {
        1 => Int8,
        2 => return Ok((None, 1)),
        3 => Int16,
        4 => Int32,
        5 => Float32,
        6 => Float64,
        7 => Uint8,
        8 => Uint16,
        9 => Uint32,
        10 => Int64,
        11 => Uint64,
        _ => return Err(Stop::Wrong(format!("its header names a type {kind}, which there is not"))),
    };
    Ok((Some(dtype), dtype.size() as u64))
}
