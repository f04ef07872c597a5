//! Rates of the chunk codecs and of Zarr arrays made with them, in MB of raw data per CPU second, best of
//! five.
//!
//! `cargo bench --bench zarr [FILE]`, the file holding raw chunks of (16, 256, 256) `uint16`; without one,
//! noise over a smooth picture. `share` is the time of fetching the files and decoding them over that of reading
//! the array. Arrays are written to and read from a folder in the temporary directory.

use std::io::Read;
use std::time::Duration;

use stackctl::array::Scratch;
use stackctl::axis::Axis;
use stackctl::block::{Block, Buffer};
use stackctl::codec::decode::Decoder;
use stackctl::codec::{Codec, Contexts};
use stackctl::consume::{Consumer, Desk, Job};
use stackctl::dtype::DType;
use stackctl::grid::Grid;
use stackctl::plan::Task;
use stackctl::sink::Spec;
use stackctl::sink::zarr::{ImageOptions, ZarrFormat, ZarrOptions, ZarrSink};
use stackctl::source::{self, OpenOptions};
use stackctl::store::Durability;

const CHUNK_BYTES: usize = 2 << 20;
const CHUNK: [u64; 3] = [16, 256, 256];

/// CPU time of this process.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}

/// Shortest of five runs.
fn best(mut run: impl FnMut()) -> Duration {
    let timed = |_| {
        let start = cpu_time();
        run();
        cpu_time() - start
    };
    (0..5).map(timed).min().unwrap_or_default()
}

/// Sixteen chunks like a camera's: offset, noise, a few bright spots.
fn picture() -> Vec<u8> {
    let mut state = 1u64;
    (0..16 * CHUNK_BYTES / 2)
        .flat_map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = (state >> 33).count_ones() as u16;
            let spot = if (i / 256 % 64 < 8) && (i % 64 < 8) { 700 } else { 0 };
            (100 + noise + spot).to_le_bytes()
        })
        .collect()
}

/// An array of the chunks of `data`, two side by side, one pair behind the other along z. A block is a pair,
/// so that chunks are gathered row by row.
fn write(data: &[u8], codec: &Codec, shards: Option<Vec<u64>>, path: &std::path::Path) {
    let n = (data.len() / (2 * CHUNK_BYTES)) as u64;
    let pair = [CHUNK[0], CHUNK[1], 2 * CHUNK[2]];
    let shape = [n * pair[0], pair[1], pair[2]];
    let axes = ["z", "y", "x"].iter().zip(shape).map(|(name, length)| Axis::new(*name, length)).collect();
    let spec = Spec { axes, dtype: DType::Uint16, fill: vec![0, 0], provenance: serde_json::Value::Null };
    let options = ZarrOptions {
        format: ZarrFormat::V3,
        chunks: CHUNK.to_vec(),
        shards,
        codec: codec.clone(),
        overwrite: true,
        durability: Durability::None,
        image: ImageOptions::default(),
    };
    let mut sink = ZarrSink::new(path, &spec, &options).expect("a sink");
    sink.begin(&Job::default()).expect("a place");
    let (mut merger, mut desk) = (sink.merger(), Desk::default());
    let mut buffer = Buffer::default();
    let grid = Grid::new(&shape, &pair);
    for (bytes, at) in data.chunks_exact(2 * CHUNK_BYTES).zip(stackctl::grid::positions(grid.counts())) {
        let mut block = Block::reusing(buffer, grid.region(&at), DType::Uint16).expect("a block");
        block.bytes_mut().copy_from_slice(bytes);
        let task = Task { index: 0, unit: 0, ends_unit: false, region: block.region().clone() };
        let mut taker = sink.taker(&task).expect("begun");
        taker.take(&block, &mut desk).expect("written");
        merger.merge(&task, taker.end(&mut desk).expect("written").expect("one look is enough")).expect("merged");
        buffer = block.into_buffer();
    }
    let mut products = merger.finish().expect("finished");
    sink.publish(&mut products).expect("published");
}

/// Reads the array in boxes of `shape`.
fn read(path: &std::path::Path, shape: &[u64]) {
    let source = source::open(path, &OpenOptions::default()).expect("a source");
    let grid = Grid::new(&source.info().shape(), shape);
    let mut reader = source.clone().reader(Scratch::default());
    let mut buffer = Buffer::default();
    for at in stackctl::grid::positions(grid.counts()) {
        buffer = reader.block(&grid.region(&at), DType::Uint16, buffer).expect("read").into_buffer();
    }
}

/// Every file below `folder`.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn main() {
    let file = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let data = file.map_or_else(picture, |path| std::fs::read(path).expect("a readable file"));
    let data = &data[..data.len() / (2 * CHUNK_BYTES) * 2 * CHUNK_BYTES];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.zarr");
    let rate = |time: Duration| data.len() as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{:26} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "codec", "ratio", "encode", "decode", "write", "sharded", "fetch", "read", "pairs", "share"
    );
    for text in ["none", "blosc", "blosc:zstd,1", "blosc:lz4,5", "blosc:lz4,5,shuffle", "zstd:1", "gzip:1"] {
        let codec: Codec = text.parse().expect("a codec");
        let decoder = Decoder::named(text.split(':').next().unwrap_or_default()).unwrap_or(Decoder::None);
        let mut contexts = Contexts::default();
        let mut stored: Vec<Vec<u8>> = vec![];
        let encoding = best(|| {
            let mut out = vec![];
            stored.clear();
            for chunk in data.chunks_exact(CHUNK_BYTES) {
                out.clear();
                codec.encode(chunk, 2, &mut out, &mut contexts).expect("encodes");
                stored.push(out.clone());
            }
        });
        let mut out = vec![0; CHUNK_BYTES];
        let decoding = best(|| {
            for chunk in &stored {
                decoder.decode_exact(chunk, &mut out, &mut contexts).expect("decodes");
            }
        });
        let writing = best(|| write(data, &codec, None, &path));
        let sharding = best(|| write(data, &codec, Some(vec![CHUNK[0] * 16, CHUNK[1], 2 * CHUNK[2]]), &path));
        // The same bytes from the same files and nothing else: with decoding, what reading could be at best.
        write(data, &codec, None, &path);
        let files = files(&path);
        let mut bytes = vec![0; 2 * CHUNK_BYTES];
        let fetching = best(|| {
            for file in &files {
                let mut file = std::fs::File::open(file).expect("a chunk");
                while file.read(&mut bytes).expect("a chunk") > 0 {}
            }
        });
        let reading = best(|| read(&path, &CHUNK));
        let pairs = best(|| read(&path, &[CHUNK[0], CHUNK[1], 2 * CHUNK[2]]));
        let ratio = data.len() as f64 / stored.iter().map(Vec::len).sum::<usize>() as f64;
        let rates = [encoding, decoding, writing, sharding, fetching, reading, pairs];
        let rates = rates.map(rate).map(|r| format!("{r:>7.0}"));
        let share = (decoding + fetching).as_secs_f64() / reading.as_secs_f64();
        println!("{:26} {ratio:>6.3} {} {share:>7.2}", codec.to_string(), rates.join(" "));
    }
}
