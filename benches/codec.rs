//! The Blosc encoders and decoder beside c-blosc at Zstandard level 3 with bitshuffle, in MB of raw data per CPU
//! second, best of five, on one core.
//!
//! `cargo bench --bench codec [PATH]...`, each a file of `uint16` pixels that the program reads, or a folder of such
//! files; without one, two made-up pictures: noise of a camera over a dark and over a bright scene with a few spots.
//! Chunks are (16, 256, 256), or whole planes up to 1 MiB where these are smaller, and all different.
//!
//! `times` and `size` compare with c-blosc: how many times as fast it encodes, and the part of its bytes. Every
//! container is decoded by c-blosc too, and compared.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stackctl::array::Scratch;
use stackctl::block::Buffer;
use stackctl::codec::decode::Decoder;
use stackctl::codec::{Codec, Contexts};
use stackctl::dtype::DType;
use stackctl::grid::{Grid, positions};
use stackctl::source::{self, OpenOptions};

const CODECS: [&str; 4] = ["blosc", "smaller", "blosc:exact", "blosc:lz4,1,bitshuffle"];
const CHUNK: [u64; 3] = [16, 256, 256];
const PLANES_BYTES: u64 = 1 << 20;
/// Chunks that are taken of one set.
const MOST: usize = 64;
const ELEMENT_BYTES: usize = size_of::<u16>();

/// CPU time of this process.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}

/// Shortest of five runs, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    let timed = |_| {
        let start = cpu_time();
        run();
        (cpu_time() - start).as_secs_f64()
    };
    (0..5).map(timed).fold(f64::MAX, f64::min)
}

/// Eight chunks like a camera's: an offset, noise about `level` and spots.
fn picture(level: f64) -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let pixel = |i: usize, noise: f64| {
        let (y, x) = (i / 256 % 256, i % 256);
        let spot = if y % 64 < 6 && x % 80 < 6 { 900.0 } else { 0.0 };
        let signal = level + spot;
        (100.0 + signal + noise * (2.2 * signal).sqrt()).max(0.0) as u16
    };
    let chunk = |_| {
        // A sum of uniform numbers is nearly normal.
        let mut noise = || (0..6).map(|_| uniform()).sum::<f64>() * std::f64::consts::SQRT_2 - 18f64.sqrt();
        (0..1 << 20).flat_map(|i| pixel(i, noise()).to_le_bytes()).collect()
    };
    (0..8).map(chunk).collect()
}

/// The chunks of one file; none if its pixels are of another kind.
fn chunks_of(path: &Path) -> Vec<Vec<u8>> {
    let Ok(source) = source::open(path, &OpenOptions::default()) else { return vec![] };
    let (shape, dtype) = (source.info().shape(), source.info().dtype);
    let n = shape.len();
    if dtype != DType::Uint16 || n < 2 {
        return vec![];
    }
    let mut chunk = vec![1; n];
    let large = n >= 3 && shape[n - 3..].iter().zip(CHUNK).all(|(length, chunk)| *length >= 2 * chunk);
    if large {
        chunk[n - 3..].copy_from_slice(&CHUNK);
    } else {
        chunk[n - 2..].copy_from_slice(&shape[n - 2..]);
        let plane_bytes = shape[n - 2] * shape[n - 1] * ELEMENT_BYTES as u64;
        if n >= 3 {
            chunk[n - 3] = (PLANES_BYTES / plane_bytes.max(1)).clamp(1, shape[n - 3].max(1));
        }
    }
    let grid = Grid::new(&shape, &chunk);
    let mut reader = source.reader(Scratch::default());
    let read = |at: Vec<u64>| {
        let block = reader.block(&grid.region(&at), dtype, Buffer::default()).expect("read");
        block.bytes().to_vec()
    };
    positions(grid.counts()).take(MOST).map(read).collect()
}

/// The files of a folder in order, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() || path.extension().is_some() {
        return vec![path.into()];
    }
    let mut files: Vec<_> =
        std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Zstandard level 3 with bitshuffle by the C library.
fn c_encode(chunk: &[u8], out: &mut Vec<u8>) {
    const BITSHUFFLE: i32 = 2;
    out.resize(chunk.len() + blosc_src::BLOSC_MAX_OVERHEAD as usize, 0);
    let (from, to) = (chunk.as_ptr().cast(), out.as_mut_ptr().cast());
    let name = c"zstd".as_ptr();
    // SAFETY: source and destination are live, apart and as long as stated; the name is a C string.
    let n = unsafe {
        blosc_src::blosc_compress_ctx(3, BITSHUFFLE, ELEMENT_BYTES, chunk.len(), from, to, out.len(), name, 0, 1)
    };
    out.truncate(n as usize);
}

fn c_decode(stored: &[u8], out: &mut [u8]) {
    // SAFETY: both are live, apart and as long as stated; the source is what an encoder made.
    let n = unsafe { blosc_src::blosc_decompress_ctx(stored.as_ptr().cast(), out.as_mut_ptr().cast(), out.len(), 1) };
    assert_eq!(n as usize, out.len(), "c-blosc decodes it");
}

/// Measures one set of chunks.
fn measure(name: &str, chunks: &[Vec<u8>]) {
    let raw: usize = chunks.iter().map(Vec::len).sum();
    let rate = |seconds: f64| raw as f64 / seconds / 1e6;
    let longest = chunks.iter().map(Vec::len).max().unwrap_or(0);
    let mut back = vec![0; longest];
    let mut contexts = Contexts::default();
    let mut out = vec![];
    let reference = best(|| chunks.iter().for_each(|chunk| c_encode(chunk, &mut out)));
    let mut reference_bytes = 0;
    for (index, text) in ["c-blosc"].iter().chain(&CODECS).enumerate() {
        let encode = |chunk: &[u8], out: &mut Vec<u8>, contexts: &mut Contexts| {
            out.clear();
            match text.parse::<Codec>() {
                Ok(codec) => codec.encode(chunk, ELEMENT_BYTES, out, contexts).expect("encodes"),
                Err(_) => c_encode(chunk, out),
            }
        };
        let encoding = best(|| chunks.iter().for_each(|chunk| encode(chunk, &mut out, &mut contexts)));
        let stored: Vec<_> = chunks
            .iter()
            .map(|chunk| {
                encode(chunk, &mut out, &mut contexts);
                out.clone()
            })
            .collect();
        let pairs = || chunks.iter().zip(&stored);
        for (chunk, stored) in pairs() {
            c_decode(stored, &mut back[..chunk.len()]);
            assert!(back[..chunk.len()] == chunk[..], "{text}");
        }
        let c_decoding = best(|| pairs().for_each(|(chunk, stored)| c_decode(stored, &mut back[..chunk.len()])));
        let decoding = best(|| {
            for (chunk, stored) in pairs() {
                Decoder::Blosc.decode_exact(stored, &mut back[..chunk.len()], &mut contexts).expect("decodes");
            }
        });
        let bytes: usize = stored.iter().map(Vec::len).sum();
        if index == 0 {
            reference_bytes = bytes;
        }
        println!(
            "{:20} {text:24} {:>6.0} {:>6.2} {:>6.3} {:>6.3} {:>7.0} {:>8.0} {:>6.2}",
            if index == 0 { name } else { "" },
            rate(encoding),
            reference / encoding,
            raw as f64 / bytes as f64,
            bytes as f64 / reference_bytes as f64,
            rate(decoding),
            rate(c_decoding),
            c_decoding / decoding,
        );
    }
}

fn main() {
    println!(
        "{:20} {:24} {:>6} {:>6} {:>6} {:>6} {:>7} {:>8} {:>6}",
        "set", "codec", "encode", "times", "ratio", "size", "decode", "c-blosc", "times"
    );
    let paths: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).map(PathBuf::from).collect();
    if paths.is_empty() {
        measure("camera", &picture(26.0));
        measure("bright", &picture(2200.0));
    }
    for path in paths {
        let chunks: Vec<_> = files(&path).iter().flat_map(|file| chunks_of(file)).take(MOST).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match chunks.len() {
            0 => println!("{name}: no uint16 pixels"),
            _ => measure(&name, &chunks),
        }
    }
}
