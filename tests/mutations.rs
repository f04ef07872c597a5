//! Bytes that were valid once, changed in a few places: whatever comes out, it comes out soon and without a
//! panic. The same functions are targets of cargo-fuzz, which takes its time (`fuzz/Cargo.toml`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

#[path = "../fuzz/targets.rs"]
mod targets;

/// Time for one target.
const LONG: Duration = Duration::from_millis(1500);
/// Time that one input may take.
const SLOW: Duration = Duration::from_secs(10);

fn seeds(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|p| std::fs::read(p).unwrap()).collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

/// Marsaglia's generator: the same mutations every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(5) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.below(256) as u8),
                4 => {
                    bytes.remove(at);
                }
                5 => {
                    let end = bytes.len().min(at + 1 + self.below(16));
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                6 => {
                    let word = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX][self.below(5)].to_le_bytes();
                    bytes.iter_mut().skip(at).zip(word).for_each(|(b, w)| *b = w);
                }
                _ => {
                    let near = self.below(bytes.len().min(48));
                    bytes[near] = [0, 1, 127, 128, 255][self.below(5)];
                }
            }
        }
    }
}

fn run(folder: &str, target: fn(&[u8])) {
    let seeds = seeds(folder);
    let (begin, mut random, mut n) = (Instant::now(), Random(0x9e37_79b9_7f4a_7c15), 0u64);
    seeds.iter().for_each(|seed| target(seed));
    while begin.elapsed() < LONG {
        let mut bytes = seeds[n as usize % seeds.len()].clone();
        random.mutate(&mut bytes);
        let start = Instant::now();
        target(&bytes);
        assert!(start.elapsed() < SLOW, "{folder}: input {n} took {:?}", start.elapsed());
        n += 1;
    }
    println!("{folder}: {n} inputs");
}

#[test]
fn whole_strips_are_what_independent_decoders_make_of_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz");
    for line in std::fs::read_to_string(folder.join("codec.txt")).unwrap().lines() {
        let (name, expected) = line.split_once(' ').unwrap();
        let data = std::fs::read(folder.join("codec").join(format!("{name}.bin"))).unwrap();
        let decoded = targets::strip(&data).unwrap().unwrap();
        let found: String = Sha256::digest(decoded).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn damaged_strips_end_soon() {
    run("codec", targets::codec);
}

#[test]
fn damaged_blosc_containers_end_soon() {
    run("blosc", targets::container);
}

#[test]
fn any_chunk_comes_back_from_blosc() {
    run("blosc", targets::chunk);
}

#[test]
fn damaged_descriptions_end_soon() {
    run("description", targets::description);
}

#[test]
fn damaged_files_end_soon() {
    run("file", targets::file);
}

#[test]
fn damaged_metadata_of_zarr_end_soon() {
    run("zarr", targets::zarr);
}

#[test]
fn mangled_patterns_and_names_end_soon() {
    run("pattern", targets::pattern);
}
