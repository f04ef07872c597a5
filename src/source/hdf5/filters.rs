//! The filters that HDF5 chunks pass through: those of the format, and the registered ones that are met most.

use hdf5_reader::filters::apply_pipeline_with_limit;
use hdf5_reader::messages::filter_pipeline::FilterDescription;

use crate::block::Buffer;
use crate::codec::Contexts;
use crate::codec::decode::Decoder;
use crate::error::{Error, Result};

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// Bytes of elements lie plane by plane.
    Shuffle,
    /// A codec that Zarr knows too.
    Coded(Decoder),
    Lzf,
    /// What the library undoes: checksums, szip, n-bit and scale-offset.
    Other,
}

/// Identifier, name and what it does.
const KNOWN: [(u16, &str, Filter); 9] = [
    (1, "deflate", Filter::Coded(Decoder::Zlib)),
    (2, "shuffle", Filter::Shuffle),
    (3, "fletcher32", Filter::Other),
    (4, "szip", Filter::Other),
    (5, "n-bit", Filter::Other),
    (6, "scale-offset", Filter::Other),
    (32000, "LZF", Filter::Lzf),
    (32001, "Blosc", Filter::Coded(Decoder::Blosc)),
    (32015, "Zstandard", Filter::Coded(Decoder::Zstd)),
];

/// The filters of a dataset, in the order of writing.
pub(super) struct Filters {
    list: Vec<(FilterDescription, &'static str, Filter)>,
    size: usize,
}

impl Filters {
    /// Those of `descriptions`, for elements of `size` bytes.
    ///
    /// # Errors
    /// `Unsupported` if one is not known.
    pub(super) fn new(descriptions: Vec<FilterDescription>, size: usize) -> Result<Self> {
        let known = |description: FilterDescription| {
            let found = KNOWN.iter().find(|known| known.0 == description.id);
            let (_, name, filter) = found.ok_or_else(|| {
                let name = description.name.clone().unwrap_or_default();
                let names = KNOWN.map(|known| known.1).join(", ");
                Error::unsupported(format!(
                    "HDF5: filter {} {name} is not undone, only {names} are: 'h5repack -f GZIP=1' stores it so",
                    description.id
                ))
            })?;
            Ok((description, *name, *filter))
        };
        Ok(Self { list: descriptions.into_iter().map(known).collect::<Result<_>>()?, size })
    }

    /// `shuffle, deflate`.
    pub(super) fn words(&self) -> String {
        match &self.list[..] {
            [] => "uncompressed".to_owned(),
            list => list.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", "),
        }
    }

    /// Makes the `chunk_bytes` of a chunk of what `stored` holds, in its place, by way of `other`.
    ///
    /// # Errors
    /// `Format` if it is damaged.
    pub(super) fn undo(
        &self,
        left_out: u32,
        chunk_bytes: usize,
        stored: &mut Buffer,
        other: &mut Buffer,
        contexts: &mut Contexts,
    ) -> Result<()> {
        for (i, (description, name, filter)) in self.list.iter().enumerate().rev() {
            if left_out >> i & 1 == 1 {
                continue;
            }
            // Checksums and incompressible bytes add to what earlier filters made.
            let room = chunk_bytes + chunk_bytes / 64 + 4096;
            match filter {
                Filter::Shuffle => {
                    let out = other.sized(stored.bytes().len());
                    contexts.unshuffle(self.size, stored.bytes(), out);
                }
                Filter::Coded(decoder) => {
                    let n = decoder.decode(stored.bytes(), other.sized(room), contexts)?;
                    other.sized(n);
                }
                Filter::Lzf => {
                    let n = lzf(stored.bytes(), other.sized(room)).ok_or_else(|| Error::format("LZF: damaged"))?;
                    other.sized(n);
                }
                Filter::Other => {
                    let one = std::slice::from_ref(description);
                    let made = apply_pipeline_with_limit(stored.bytes(), one, 0, self.size, None, Some(room));
                    let made = made.map_err(|e| Error::format(format!("{name}: {e}")))?;
                    other.sized(made.len()).copy_from_slice(&made);
                }
            }
            std::mem::swap(stored, other);
        }
        let n = stored.bytes().len();
        if !self.list.is_empty() && n != chunk_bytes {
            return Err(Error::format(format!("decodes to {n} bytes, but a chunk has {chunk_bytes}")));
        }
        Ok(())
    }
}

/// Undoes LZF: runs of bytes as they are, and copies of earlier ones. Gives their number; `None` if it is damaged.
fn lzf(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut at, mut n) = (0, 0);
    while at < stored.len() {
        let control = usize::from(stored[at]);
        at += 1;
        if control < 32 {
            let run = stored.get(at..at + control + 1)?;
            out.get_mut(n..n + run.len())?.copy_from_slice(run);
            (at, n) = (at + run.len(), n + run.len());
            continue;
        }
        let mut length = control >> 5;
        if length == 7 {
            length += usize::from(*stored.get(at)?);
            at += 1;
        }
        let back = (control & 31) << 8 | usize::from(*stored.get(at)?);
        at += 1;
        let from = n.checked_sub(back + 1)?;
        let end = n + length + 2;
        out.get(n..end)?;
        (n..end).for_each(|i| out[i] = out[from + i - n]);
        n = end;
    }
    Some(n)
}
