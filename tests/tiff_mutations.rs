//! Damaged files: whatever bytes are changed, reading ends soon, without a panic and without more memory than
//! the file and the array justify.
//!
//! `STACKCTL_MUTATIONS` sets the number of damaged files, 100000 for a thorough run.

use std::time::{Duration, Instant};

use crate::common::tempdir;
use crate::common::{memory::peak, tiff};
use stackctl::array::Scratch;
use stackctl::block::{Buffer, size_bytes};
use stackctl::grid::Region;
use stackctl::source::{self, OpenOptions};
use tiff::{Layout, Numbers};

/// Small files of many kinds.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for i in 0..48usize {
        let compression = [1, 5, 8, 32773, 50000, 1][i % 6];
        let bits = [8, 16, 32, 64, 12, 1, 16, 32][i % 8];
        let native = matches!(bits, 8 | 16 | 32 | 64);
        let float = i % 8 == 7 || i % 8 == 6;
        let layout = Layout {
            big_endian: i % 2 == 1,
            big_tiff: i % 5 == 4,
            width: 9 + i,
            height: 7 + i / 2,
            samples: [1, 1, 3, 1, 2][i % 5],
            planar: i % 3 == 2,
            bits,
            format: if float { 3 } else { 1 },
            compression,
            predictor: if float {
                3
            } else if native {
                1 + (i / 2 % 2) as u16
            } else {
                1
            },
            fill_order: if i % 11 == 10 { 2 } else { 1 },
            rows_per_strip: [None, Some(1), Some(4)][i % 3],
            tile: (i % 4 == 3).then_some((16, 16)),
            description: match i % 6 {
                1 => Some("ImageJ=1.53t\nimages=2\nslices=2\nhyperstack=true\nspacing=0.5\nunit=micron\n".to_owned()),
                3 => Some(format!("{{\"shape\": [2, {}, {}]}}", 7 + i / 2, 9 + i)),
                5 => Some(
                    "<?xml version=\"1.0\"?><OME><Image ID=\"Image:0\"><Pixels DimensionOrder=\"XYZCT\" SizeX=\"9\" \
                     SizeY=\"7\" SizeZ=\"2\" SizeC=\"1\" SizeT=\"1\" Type=\"uint8\"><TiffData IFD=\"0\" \
                     PlaneCount=\"2\"/></Pixels></Image></OME>"
                        .to_owned(),
                ),
                _ => None,
            },
            ..Layout::default()
        };
        let page: Vec<u8> =
            (0..layout.page_bytes()).map(|k| if bits == 1 { (k % 3 == 0).into() } else { (k / 3) as u8 }).collect();
        seeds.push(layout.write(&[page.clone(), page]));
    }
    seeds
}

/// Changes a few bytes, most often where they matter most.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..1 + numbers.below(4) {
        let n = bytes.len() as u64;
        let at = match numbers.below(8) {
            0 => numbers.below(n.min(16)),
            1..5 => n - 1 - numbers.below(n.min(700)),
            _ => numbers.below(n),
        } as usize;
        match numbers.below(8) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = numbers.next() as u8,
            2 => bytes[at] = [0, 1, 255, 128][numbers.below(4) as usize],
            3..6 => {
                let value = match numbers.below(8) {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 0x7fff_ffff,
                    3 => n,
                    4 => numbers.below(n),
                    5 => numbers.below(600),
                    6 => 1 << numbers.below(64),
                    _ => numbers.next(),
                };
                let size = [1, 2, 4, 8][numbers.below(4) as usize].min(bytes.len() - at);
                let value = if numbers.below(2) == 0 { value.to_le_bytes() } else { (value << 32).to_be_bytes() };
                bytes[at..at + size].copy_from_slice(&value[..size]);
            }
            6 => {
                let len = numbers.below(40).min(n - at as u64) as usize;
                let from = numbers.below(n - len as u64) as usize;
                bytes.copy_within(from..from + len, at);
            }
            _ => bytes.truncate(at.max(8)),
        }
    }
}

#[test]
fn damaged_files_end_in_pixels_or_an_error() {
    const MOST_BYTES: u64 = 8 << 20;
    let n: u64 = std::env::var("STACKCTL_MUTATIONS").ok().and_then(|v| v.parse().ok()).unwrap_or(5000);
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.tif");
    let seeds = seeds();
    let (mut read, mut opened, mut slowest, mut most) = (0u64, 0u64, Duration::ZERO, 0);
    let mut scratch = Scratch::default();
    for i in 0..n {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (i + 1).wrapping_mul(0xd134_2543_de82_ef95));
        let mut bytes = seeds[numbers.below(seeds.len() as u64) as usize].clone();
        damage(&mut bytes, &mut numbers);
        std::fs::write(&path, &bytes).unwrap();
        if i % 500 == 0 {
            scratch = Scratch::default();
        }
        let begin = Instant::now();
        let (source, opening) = peak(|| source::open(&path, &OpenOptions::default()));
        let ((), reading) = peak(|| {
            let Ok(source) = &source else { return };
            opened += 1;
            assert!(opening < 4 << 20, "number {i}: {} bytes of file, {opening} bytes to open it", bytes.len());
            let (info, dtype) = (source.info(), source.info().dtype);
            if size_bytes(&info.shape(), dtype) <= MOST_BYTES && info.scratch_bytes <= MOST_BYTES {
                let mut reader = source.clone().reader(std::mem::take(&mut scratch));
                read += u64::from(reader.block(&Region::whole(&info.shape()), dtype, Buffer::default()).is_ok());
                scratch = reader.release();
            }
        });
        slowest = slowest.max(begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "number {i} took {:?}", begin.elapsed());
        let peak = opening + reading;
        most = most.max(peak);
        assert!(peak < 48 << 20, "number {i}: {} bytes of file, {peak} bytes of memory", bytes.len());
    }
    println!("{n} damaged files: {opened} open, {read} read; slowest {slowest:?}, most memory {most} bytes");
    assert!(read > n / 10, "damage that mostly does no harm tests little: {read} of {n} were read");
}
