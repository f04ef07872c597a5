//! How close reading TIFF comes to the limits: positional reads, the codec libraries on their own, one pass
//! over memory. Prints one line per case; the ratio is limit time over our time, 1 is ideal.
//!
//! `cargo bench --bench read`. Files are small enough to stay in the page cache. Limit and own code take
//! turns, and the best of each counts.

#[path = "../tests/common/tiff.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod tiff;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stackctl::array::{Array, Reader, Scratch};
use stackctl::block::Block;
use stackctl::grid::Region;
use stackctl::source::tiff::Tiff;
use stackctl::source::{FileArray, OpenOptions};
use tiff::{Layout, Numbers};

const WIDTH: usize = 2048;
const HEIGHT: usize = 2048;
const PAGES: usize = 8;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let only = std::env::args().nth(1).filter(|a| !a.starts_with('-')).unwrap_or_default();
    let bench = Bench { folder: folder.path().to_owned(), only };
    println!("{:<44} {:>10} {:>10} {:>6}", "case", "limit MB/s", "own MB/s", "ratio");

    let plain = Layout { width: WIDTH, height: HEIGHT, bits: 16, ..Layout::default() };
    bench.preads("uncompressed, one strip", &plain);
    bench.preads("uncompressed, strips of 64 rows", &Layout { rows_per_strip: Some(64), ..plain.clone() });
    bench.preads("uncompressed, strips of 1 row", &Layout { rows_per_strip: Some(1), ..plain.clone() });
    bench.preads(
        "uncompressed, strips of 1 row, 4 bytes apart",
        &Layout { rows_per_strip: Some(1), gap: 4, ..plain.clone() },
    );
    let tiles = Layout { tile: Some((256, 256)), ..plain.clone() };
    bench.preads("uncompressed, tiles of 256", &tiles);
    bench.preads_of("uncompressed, tiles of 256, page by page", &tiles, 1);
    for (name, compression, level) in [("Deflate", 8, 6), ("LZW", 5, 0), ("ZSTD", 50000, 3)] {
        let strips = Layout { rows_per_strip: Some(64), compression, level, ..plain.clone() };
        bench.codec(&format!("{name}, strips of 64 rows"), &strips);
        let tiles = Layout { tile: Some((256, 256)), compression, level, ..plain.clone() };
        bench.codec(&format!("{name}, tiles of 256"), &tiles);
    }
    bench.threads(
        "Deflate, two threads beside one",
        &Layout { rows_per_strip: Some(64), compression: 8, level: 6, ..plain.clone() },
    );
    // What the work after decompression costs beside one pass over memory.
    let strips = Layout { rows_per_strip: Some(64), ..plain };
    bench.pass("byte order, uint16", &strips, &Layout { big_endian: true, ..strips.clone() });
    // Predictors are a part of compression; PackBits is the one that costs least.
    let strips = Layout { compression: 32773, ..strips };
    for bits in [8, 16, 32] {
        let base = Layout { bits, ..strips.clone() };
        bench.pass(&format!("predictor 2, uint{bits}"), &base, &Layout { predictor: 2, ..base.clone() });
    }
    let rgb = Layout { bits: 8, samples: 3, ..strips.clone() };
    bench.pass("predictor 2, 3 samples of uint8", &rgb, &Layout { predictor: 2, ..rgb.clone() });
    let big = Layout { predictor: 2, big_endian: true, ..strips.clone() };
    bench.pass("predictor 2 and byte order, uint16", &strips, &big);
    for bits in [32, 64] {
        let base = Layout { bits, format: 3, ..strips.clone() };
        bench.pass(&format!("predictor 3, float{bits}"), &base, &Layout { predictor: 3, ..base.clone() });
    }
    bench.walk("directories side by side", 0);
    bench.walk("directories 1.5 MB apart", 3 << 19);
}

struct Bench {
    folder: PathBuf,
    only: String,
}

/// Best times of two jobs that take turns.
fn best(mut limit: impl FnMut(), mut own: impl FnMut()) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    let begin = Instant::now();
    for round in 0..60 {
        for (job, time) in [(&mut limit as &mut dyn FnMut(), &mut best.0), (&mut own, &mut best.1)] {
            let begin = Instant::now();
            job();
            *time = (*time).min(begin.elapsed());
        }
        if round >= 4 && begin.elapsed() > Duration::from_secs(3) {
            break;
        }
    }
    best
}

fn report(name: &str, bytes: usize, (limit, own): (Duration, Duration)) {
    let rate = |t: Duration| bytes as f64 / 1e6 / t.as_secs_f64();
    let ratio = limit.as_secs_f64() / own.as_secs_f64();
    println!("{name:<44} {:>10.0} {:>10.0} {ratio:>6.2}", rate(limit), rate(own));
}

impl Bench {
    fn wanted(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// A file of noisy images; all its bytes are in the page cache.
    fn file(&self, layout: &Layout) -> PathBuf {
        let path = self.folder.join("a.tif");
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        let size = layout.size();
        let pages: Vec<Vec<u8>> = (0..PAGES)
            .map(|_| {
                let mut page = Vec::with_capacity(layout.page_bytes());
                for i in 0..layout.page_bytes() / size {
                    // Slow light and shot noise of some bits.
                    let light = 400 + (i % WIDTH) / 8 + (i / WIDTH) / 4;
                    let noise = numbers.next();
                    let value = light as u64 + (noise & 31) + (noise >> 8 & 31);
                    let value = if layout.format == 3 {
                        if size == 4 { u64::from((value as f32).to_bits()) } else { (value as f64).to_bits() }
                    } else {
                        value
                    };
                    page.extend(&value.to_le_bytes()[..size]);
                }
                page
            })
            .collect();
        std::fs::write(&path, layout.write(&pages)).expect("room for a file");
        path
    }

    fn preads(&self, name: &str, layout: &Layout) {
        self.preads_of(name, layout, PAGES);
    }

    /// Reads `pages` pages at a time into the same memory again and again.
    fn preads_of(&self, name: &str, layout: &Layout, pages: usize) {
        if !self.wanted(name) {
            return;
        }
        let path = self.file(layout);
        let mut own = Own::open(&path);
        own.block = Block::new(Region::new([0, 0, 0], [pages, HEIGHT, WIDTH].map(|n| n as u64)), own.block.dtype())
            .expect("enough memory");
        let file = File::open(&path).expect("the file just written");
        let mut limit = vec![0; own.bytes()];
        let times = best(
            || {
                for first in (0..PAGES).step_by(pages) {
                    let at = 16 + first * layout.page_bytes();
                    for (i, part) in limit.chunks_mut(1 << 20).enumerate() {
                        file.read_exact_at(part, (at + (i << 20)) as u64).expect("the file just written");
                    }
                    black_box(&limit);
                }
            },
            || (0..PAGES).step_by(pages).for_each(|first| own.read_from(first as u64)),
        );
        report(name, PAGES * layout.page_bytes(), times);
    }

    fn codec(&self, name: &str, layout: &Layout) {
        if !self.wanted(name) {
            return;
        }
        let path = self.file(layout);
        let mut own = Own::open(&path);
        let file = File::open(&path).expect("the file just written");
        let chunks = chunks(&path);
        let (rows, columns) = layout.tile.unwrap_or((64, WIDTH));
        let piece = rows * columns * layout.size();
        let mut out = vec![0; own.bytes()];
        let mut stored = vec![0; chunks.iter().map(|c| c.1).max().unwrap_or(0) as usize];
        let mut deflate = libdeflater::Decompressor::new();
        let lzw = weezl::decode::Configuration::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
        let mut lzw = lzw.with_yield_on_full_buffer(true).build();
        let mut zstd = zstd_safe::DCtx::create();
        let times = best(
            || {
                for (&(at, n), out) in chunks.iter().zip(out.chunks_mut(piece)) {
                    let stored = &mut stored[..n as usize];
                    file.read_exact_at(stored, at).expect("the file just written");
                    match layout.compression {
                        8 => drop(deflate.zlib_decompress(stored, out)),
                        5 => {
                            lzw.reset();
                            let (mut read, mut written) = (0, 0);
                            while written < out.len() {
                                let step = lzw.decode_bytes(&stored[read..], &mut out[written..]);
                                step.status.expect("data just written");
                                (read, written) = (read + step.consumed_in, written + step.consumed_out);
                            }
                        }
                        _ => drop(zstd.decompress(out, stored)),
                    }
                }
                black_box(&out);
            },
            || own.read(),
        );
        report(name, own.bytes(), times);
    }

    /// Two threads reading half of one file each; 2 is ideal.
    fn threads(&self, name: &str, layout: &Layout) {
        if !self.wanted(name) {
            return;
        }
        let path = self.file(layout);
        let mut own = Own::open(&path);
        let source = Arc::new(Tiff::open(&path, &OpenOptions::default()).expect("the file just written"));
        let shape = source.shape();
        let mut workers: Vec<_> = [0, shape[0] / 2]
            .map(|first| {
                let region = Region::new([first, 0, 0], [shape[0] / 2, shape[1], shape[2]]);
                let reader = Arc::clone(&source).reader(Scratch::default());
                (Block::new(region, source.dtype()).expect("enough memory"), reader)
            })
            .into();
        let times = best(
            || own.read(),
            || {
                std::thread::scope(|scope| {
                    for (block, reader) in &mut workers {
                        scope.spawn(move || {
                            let region = block.region().clone();
                            reader.read(&region, &mut block.target()).expect("the file just written");
                        });
                    }
                });
            },
        );
        report(name, own.bytes(), times);
    }

    /// Own time with the work less own time without it, beside one copy of as many bytes in memory.
    fn pass(&self, name: &str, without: &Layout, with: &Layout) {
        if !self.wanted(name) {
            return;
        }
        let mut own = Own::open(&self.file(without));
        let second = self.folder.join("b.tif");
        std::fs::rename(self.file(with), &second).expect("the file just written");
        let mut work = Own::open(&second);
        // Both files are open: the first has lost its name, not its bytes.
        let (base, time) = best(|| own.read(), || work.read());
        let (from, mut to) = (vec![1u8; own.bytes()], vec![0u8; own.bytes()]);
        let (limit, _) = best(
            || {
                to.copy_from_slice(black_box(&from));
                black_box(&to);
            },
            || {},
        );
        report(name, own.bytes(), (limit, time.saturating_sub(base).max(Duration::from_micros(1))));
    }

    /// Walks along many directories that are `apart` bytes from one another.
    fn walk(&self, name: &str, apart: u64) {
        if !self.wanted(name) {
            return;
        }
        const FILES: usize = 60;
        const IFDS: usize = 201;
        let paths: Vec<PathBuf> = (0..FILES)
            .map(|i| {
                let path = self.folder.join(format!("w{i}.tif"));
                let page = Layout { width: 16, height: 16, bits: 16, rows_per_strip: Some(16), ..Layout::default() };
                let bytes = page.write(&vec![vec![0; page.page_bytes()]; IFDS]);
                spread(&path, &bytes, apart);
                path
            })
            .collect();
        let times = best(
            || {
                for path in &paths {
                    let file = File::open(path).expect("the file just written");
                    let mut bytes = [0; 512];
                    let _ = file.read_at(&mut bytes[..16], 0);
                    let mut at = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                    let mut n = 0;
                    while at != 0 {
                        let _ = file.read_at(&mut bytes, u64::from(at));
                        let link = 2 + 12 * usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
                        at = u32::from_le_bytes([bytes[link], bytes[link + 1], bytes[link + 2], bytes[link + 3]]);
                        n += 1;
                    }
                    assert_eq!(n, IFDS);
                }
            },
            || {
                for path in &paths {
                    let source = Tiff::open(path, &OpenOptions::default()).expect("the file just written");
                    assert_eq!(source.info().shape()[0], IFDS as u64);
                }
            },
        );
        let per_ifd = |t: Duration| t.as_secs_f64() * 1e6 / (FILES * IFDS) as f64;
        let ratio = times.0.as_secs_f64() / times.1.as_secs_f64();
        println!("{name:<44} {:>7.2} us {:>7.2} us {ratio:>6.2}", per_ifd(times.0), per_ifd(times.1));
    }
}

/// Writes the classic file `bytes` with every directory `apart` bytes further from its neighbour, in a file
/// with holes.
fn spread(path: &Path, bytes: &[u8], apart: u64) {
    let file = File::create(path).expect("room for a file");
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut head = bytes[..8].to_vec();
    let (mut from, mut ifd, mut shift) = (8usize, u32_at(4) as usize, 0u64);
    head[4..8].copy_from_slice(&(ifd as u32).to_le_bytes());
    file.write_all_at(&head, 0).expect("room for a file");
    while ifd != 0 {
        let n = usize::from(u16::from_le_bytes([bytes[ifd], bytes[ifd + 1]]));
        let next = u32_at(ifd + 2 + 12 * n) as usize;
        let end = if next == 0 { bytes.len() } else { next };
        let mut piece = bytes[from..end].to_vec();
        let mut set = |at: usize, by: u64| {
            let at = at - from;
            let value = u32::from_le_bytes([piece[at], piece[at + 1], piece[at + 2], piece[at + 3]]);
            piece[at..at + 4].copy_from_slice(&((u64::from(value) + by) as u32).to_le_bytes());
        };
        for i in 0..n {
            let entry = ifd + 2 + 12 * i;
            // Offsets of strips; other values are in the directories.
            if bytes[entry..entry + 2] == 273u16.to_le_bytes() {
                set(entry + 8, shift);
            }
        }
        if next != 0 {
            set(ifd + 2 + 12 * n, shift + apart);
        }
        file.write_all_at(&piece, from as u64 + shift).expect("room for a file");
        shift += apart;
        (from, ifd) = (end, next);
    }
}

/// Strips or tiles of a file as offset and length, read from its directories.
fn chunks(path: &Path) -> Vec<(u64, u64)> {
    let source = Tiff::open(path, &OpenOptions::default()).expect("the file just written");
    let directory = source.directory();
    let mut all = Vec::new();
    for page in 0..directory.n_pages() {
        let values = |tags: [u16; 2]| {
            let tag = tags.iter().find_map(|&t| directory.tag(page, t, 0, 1 << 30).expect("a tag just written"));
            tag.expect("a tag just written").uints()
        };
        all.extend(values([273, 324]).into_iter().zip(values([279, 325])));
    }
    all
}

/// The reader under test, reading page after page into one block.
struct Own {
    reader: Box<dyn Reader>,
    block: Block,
}

impl Own {
    fn open(path: &Path) -> Self {
        let source = Arc::new(Tiff::open(path, &OpenOptions::default()).expect("the file just written"));
        let block = Block::new(Region::whole(&source.shape()), source.dtype()).expect("enough memory");
        Self { reader: source.reader(Scratch::default()), block }
    }

    fn bytes(&self) -> usize {
        self.block.bytes().len()
    }

    fn read(&mut self) {
        self.read_from(0);
    }

    /// Reads as many pages as the block has, `first` and those after it.
    fn read_from(&mut self, first: u64) {
        let mut region = self.block.region().clone();
        region.origin[0] = first;
        self.reader.read(&region, &mut self.block.target()).expect("the file just written");
        black_box(self.block.bytes());
    }
}
