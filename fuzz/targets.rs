//! What is fuzzed: every function takes any bytes at all and must come back, soon, without a panic.

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::io::Write;

use stackctl::array::Scratch;
use stackctl::block::Buffer;
use stackctl::codec::decode::Decoder;
use stackctl::codec::{Codec, Contexts};
use stackctl::error::Result;
use stackctl::grid::Region;
use stackctl::pattern::{self, ArrangeOptions, InferOptions, Pattern};
use stackctl::source::tiff::codec::{self, StoredPiece};
use stackctl::source::tiff::series::{imagej, ome, shaped};
use stackctl::source::{self, OpenOptions};

/// Elements that a target is willing to hold.
const MOST_BYTES: u64 = 1 << 22;

/// One strip, see [`strip`].
pub fn codec(data: &[u8]) {
    let _ = strip(data);
}

/// Decodes one strip: a head of 16 bytes says what it is, the rest are the stored bytes, with JPEG tables of
/// a length that the head gives in front. None if that is not enough to go by.
pub fn strip(data: &[u8]) -> Option<Result<Vec<u8>>> {
    let (head, rest) = data.split_at_checked(16)?;
    let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let (tables, stored) = rest.split_at(usize::from(short(14)).min(rest.len()));
    let piece = StoredPiece {
        compression: short(0),
        width: short(2).into(),
        rows: short(4).into(),
        samples: u16::from(head[6]),
        bits: u16::from(head[7]),
        sample_format: u16::from(head[8]),
        photometric: u16::from(head[9]),
        big_endian: head[10] & 1 != 0,
        fill_order: if head[10] & 2 != 0 { 2 } else { 1 },
        jpeg_tables: (!tables.is_empty()).then_some(tables),
        ycbcr_subsampling: (u16::from(head[11]), u16::from(head[12])),
        fax_options: u32::from(head[10] >> 2),
        lerc_parameters: &[4, u32::from(head[13])],
    };
    let bits = u64::from(piece.width) * u64::from(piece.samples) * u64::from(piece.bits);
    let bytes = bits.div_ceil(8) * u64::from(piece.rows);
    let mut decoded = vec![0; usize::try_from(bytes).ok().filter(|_| bytes <= MOST_BYTES)?];
    Some(codec::decode(&piece, stored, &mut decoded).map(|()| decoded))
}

/// A Blosc container, decoded here and by c-blosc: both give the same if both take it.
pub fn container(data: &[u8]) {
    let Some(stated) = data.get(4..8).and_then(<[u8]>::first_chunk).map(|n| u32::from_le_bytes(*n)) else { return };
    if u64::from(stated) > MOST_BYTES {
        return;
    }
    let mut here = vec![0; stated as usize];
    let taken = Decoder::Blosc.decode_exact(data, &mut here, &mut Contexts::default()).is_ok();
    assert!(!taken || c_blosc(data, here.len()).is_none_or(|there| here == there), "c-blosc reads something else");
}

/// Content of a chunk behind a byte that chooses how it is encoded: both decoders give it back.
pub fn chunk(data: &[u8]) {
    let [choice, content @ ..] = data else { return };
    const SETTINGS: [&str; 8] = [
        "blosc",
        "smaller",
        "blosc:zstd,1,bitshuffle,512",
        "blosc:zstd,2,shuffle,3000",
        "blosc:zstd,4,bitshuffle",
        "blosc:lz4,1,bitshuffle",
        "blosc:lz4hc,3,shuffle",
        "blosc:blosclz,5,shuffle",
    ];
    let Ok(codec) = SETTINGS[usize::from(choice & 7)].parse::<Codec>() else { return };
    let element_bytes = [1, 2, 4, 8, 3, 16, 17, 255][usize::from(choice >> 3 & 7)];
    let (mut stored, mut contexts) = (vec![], Contexts::default());
    codec.encode(content, element_bytes, &mut stored, &mut contexts).expect("every chunk is encoded");
    assert!(stored.len() as u64 <= codec.bound(content.len() as u64));
    let mut here = vec![0; content.len()];
    Decoder::Blosc.decode_exact(&stored, &mut here, &mut contexts).expect("what was encoded is decoded");
    assert!(here == content && c_blosc(&stored, content.len()).is_some_and(|there| there == content));
}

/// What c-blosc reads in `container`, if it holds `n` bytes.
fn c_blosc(container: &[u8], n: usize) -> Option<Vec<u8>> {
    let (from, mut out, mut stated) = (container.as_ptr().cast(), vec![0u8; n], 0);
    // SAFETY: the call reads at most the stated length of a live slice.
    let valid = unsafe { blosc_src::blosc_cbuffer_validate(from, container.len(), &raw mut stated) };
    if valid != 0 || stated != n {
        return None;
    }
    // SAFETY: both are live, apart and as long as stated; the source has passed validation.
    let got = unsafe { blosc_src::blosc_decompress_ctx(from, out.as_mut_ptr().cast(), n, 1) };
    (usize::try_from(got) == Ok(n)).then_some(out)
}

/// A description of any program.
pub fn description(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = imagej::ImagejDescription::parse(&text);
    let _ = ome::xml::Ome::parse(&text);
    if let Some(Ok(found)) = shaped::Description::parse(&text) {
        let _ = found.leading(&[3, 64, 64]);
    }
    let counts: Vec<u64> = data.iter().take(8).map(|&b| u64::from(b)).collect();
    let _ = imagej::labels(&counts, data, data.len().is_multiple_of(2));
}

/// A pattern on the first line, names on the others: read, matched, arranged, written back and inferred.
pub fn pattern(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let Some(first) = lines.next() else { return };
    let names: Vec<&str> = lines.take(64).collect();
    for pattern in [Pattern::parse(first), Pattern::regex(first)].into_iter().flatten() {
        for name in &names {
            let Some(values) = pattern.matches(name) else { continue };
            let _ = pattern.format(&values);
        }
        if let Ok(arrangement) = pattern::arrange(&pattern, &names, &ArrangeOptions::default()) {
            let _ = arrangement.faults(&names);
        }
    }
    if !names.is_empty() {
        let _ = pattern::infer(&names, &InferOptions::default());
    }
}

/// A whole file of the format that its first bytes say: opened, and read if it is small.
pub fn file(data: &[u8]) {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(data).is_ok() {
        read(file.path());
    }
}

/// The metadata of a Zarr of any version, beside a chunk that is not one.
pub fn zarr(data: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).is_ok();
    if ["zarr.json", ".zarray", ".zattrs", "0.0"].into_iter().all(|name| put(name, data)) {
        read(folder.path());
    }
}

fn read(path: &std::path::Path) {
    let limits = OpenOptions { limit_bytes: Some(64 << 20), ..OpenOptions::default() };
    let axes = Some("t,c=2".to_owned());
    for options in [
        limits.clone(),
        OpenOptions { as_pages: true, ..limits.clone() },
        OpenOptions { skip_bad: true, ..limits.clone() },
        OpenOptions { level: Some(1), ..limits.clone() },
        OpenOptions { pages: axes, ..limits },
    ] {
        let Ok(source) = source::open(path, &options) else { continue };
        let info = source.info();
        let bytes = stackctl::block::size_bytes(&info.shape(), info.dtype);
        if bytes > MOST_BYTES || info.scratch_bytes > 16 * MOST_BYTES {
            continue;
        }
        let region = Region::whole(&info.shape());
        let dtype = info.dtype;
        let mut reader = source.reader(Scratch::default());
        reader.prefetch(&region);
        let _ = reader.block(&region, dtype, Buffer::default());
    }
}
