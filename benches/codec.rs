//! Rates of the chunk codecs, in MB of raw data per CPU second, best of five.
//!
//! `cargo bench --bench codec [FILE]`, the file holding raw chunks of 2 MiB of `uint16`; without one, noise
//! over a smooth picture.

use std::time::Duration;

use stackctl::codec::{Codec, Contexts};

const CHUNK_BYTES: usize = 2 << 20;

fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
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

fn main() {
    let file = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let data = file.map_or_else(picture, |path| std::fs::read(path).expect("a readable file"));
    println!("{:32} {:>8} {:>8}", "codec", "encode", "ratio");
    for text in ["none", "blosc", "blosc:zstd,1", "blosc:lz4,5", "blosc:lz4,5,shuffle", "zstd:1", "gzip:1"] {
        let codec: Codec = text.parse().expect("a codec");
        let (mut contexts, mut out) = (Contexts::default(), vec![]);
        let (mut best, mut stored) = (Duration::MAX, 0);
        for _ in 0..5 {
            let start = cpu_time();
            stored = 0;
            for chunk in data.chunks_exact(CHUNK_BYTES) {
                out.clear();
                codec.encode(chunk, 2, &mut out, &mut contexts).expect("encodes");
                stored += out.len();
            }
            best = best.min(cpu_time() - start);
        }
        let rate = data.len() as f64 / best.as_secs_f64() / 1e6;
        println!("{:32} {rate:>8.0} {:>8.3}", codec.to_string(), data.len() as f64 / stored as f64);
    }
}
