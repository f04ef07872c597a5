//! TIFF layouts written here and read back: whole arrays, regions, strided targets, absent tiles, damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::tempdir;
use crate::common::tiff;
use proptest::prelude::*;
use stackctl::array::Scratch;
use stackctl::block::{Block, Target};
use stackctl::dtype::DType;
use stackctl::error::Error;
use stackctl::grid::Region;
use stackctl::source::headers::Headers;
use stackctl::source::indexes::Indexes;
use stackctl::source::tiff::Tiff;
use stackctl::source::{self, FileArray, OpenOptions};
use tiff::{Layout, Numbers};

fn saved(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("a.tif");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path) -> Result<Arc<dyn FileArray>, Error> {
    source::open(path, &OpenOptions::default())
}

fn read(source: &Arc<dyn FileArray>, region: &Region, scratch: &mut Scratch) -> Result<Block, Error> {
    let mut block = Block::new(region.clone(), source.dtype())?;
    block.bytes_mut().fill(0xa5);
    let mut reader = Arc::clone(source).reader(std::mem::take(scratch));
    let coverage = reader.read(region, &mut block.target());
    *scratch = reader.release();
    block.coverage = coverage?;
    Ok(block)
}

/// Elements of a page whose values fit in `bits`.
fn page(layout: &Layout, numbers: &mut Numbers) -> Vec<u8> {
    let size = layout.size();
    let mask = if layout.bits >= 64 { u64::MAX } else { (1 << layout.bits) - 1 };
    let mut value = 0u64;
    (0..layout.page_bytes() / size)
        .flat_map(|_| {
            value = value.wrapping_add(numbers.below(9)).wrapping_sub(4);
            if numbers.below(50) == 0 {
                value = numbers.next();
            }
            (value & mask).to_le_bytes()[..size].to_vec()
        })
        .collect()
}

fn dtype(layout: &Layout) -> DType {
    match (layout.format, layout.bits) {
        (_, 1) => DType::Bool,
        (3, 16) => DType::Float16,
        (3, 32) => DType::Float32,
        (3, 64) => DType::Float64,
        (2, 8) => DType::Int8,
        (2, 16) => DType::Int16,
        (2, 32) => DType::Int32,
        (2, 64) => DType::Int64,
        (_, 2..=8) => DType::Uint8,
        (_, 9..=16) => DType::Uint16,
        (_, 17..=32) => DType::Uint32,
        _ => DType::Uint64,
    }
}

prop_compose! {
    fn layouts()(
        (big_endian, big_tiff, planar) in any::<(bool, bool, bool)>(),
        (width, height, samples) in (1usize..70, 1usize..50, prop_oneof![4 => Just(1usize), 1 => 2usize..6]),
        (bits, format, predictor) in prop_oneof![
            6 => (prop_oneof![Just(8), Just(16), Just(32), Just(64)], 1u16..3, 1u16..3),
            2 => (prop_oneof![Just(16), Just(32), Just(64)], Just(3u16), 1u16..4),
            1 => (prop_oneof![1usize..8, 9usize..16, 17usize..32], Just(1u16), Just(1u16)),
        ],
        compression in prop_oneof![3 => Just(1u16), 1 => Just(5), 1 => Just(8), 1 => Just(32773), 1 => Just(50000)],
        fill_order in prop_oneof![5 => Just(1u16), 1 => Just(2)],
        rows in prop_oneof![2 => Just(None), 2 => Just(Some(1)), 3 => (1usize..20).prop_map(Some)],
        tile in prop_oneof![2 => Just(None), 1 => (1usize..3, 1usize..4).prop_map(|(h, w)| Some((h * 16, w * 16)))],
        gap in prop_oneof![3 => Just(0usize), 1 => 1usize..5],
        level in Just(3),
    ) -> Layout {
        Layout {
            big_endian, big_tiff, width, height, samples, planar, bits, format, compression, predictor, fill_order,
            rows_per_strip: rows, tile, gap, level, ..Layout::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_layout_reads_back_whole_and_in_regions(
        layout in layouts(), n_pages in 1usize..5, seed in 1u64..u64::MAX,
    ) {
        let mut numbers = Numbers(seed);
        let pages: Vec<_> = (0..n_pages).map(|_| page(&layout, &mut numbers)).collect();
        let folder = tempdir().unwrap();
        let source = open(&saved(&folder, &layout.write(&pages))).unwrap();
        let info = source.info();
        prop_assert_eq!(info.dtype, dtype(&layout));
        let shape = info.shape();
        let mut scratch = Scratch::default();
        let whole = read(&source, &Region::whole(&shape), &mut scratch).unwrap();
        prop_assert_eq!(whole.bytes(), &pages.concat()[..]);

        let size = info.dtype.size();
        for _ in 0..8 {
            let origin: Vec<u64> = shape.iter().map(|&n| numbers.below(n)).collect();
            let lengths: Vec<u64> = shape.iter().zip(&origin).map(|(&n, &o)| 1 + numbers.below(n - o)).collect();
            let region = Region::new(origin, lengths);
            // Into a target with its axes in any order, some of them backwards.
            let rank = region.rank();
            let mut order: Vec<usize> = (0..rank).collect();
            if numbers.below(2) == 0 {
                order.sort_by_key(|_| numbers.next());
            }
            let (mut strides, mut step, mut start) = (vec![0isize; rank], size as isize, 0isize);
            for &axis in order.iter().rev() {
                let n = region.shape[axis] as isize;
                strides[axis] = step;
                if numbers.below(4) == 0 {
                    start += step * (n - 1);
                    strides[axis] = -step;
                }
                step *= n;
            }
            let mut bytes = vec![0xa5; step as usize];
            let mut target = Target {
                bytes: &mut bytes, start: start as usize, shape: region.shape.clone(), strides: strides.clone(), dtype: info.dtype,
            };
            let mut reader = Arc::clone(&source).reader(std::mem::take(&mut scratch));
            reader.read(&region, &mut target).unwrap();
            let dense = stackctl::grid::row_major_strides(&shape);
            for position in stackctl::grid::positions(&region.shape) {
                let from: u64 = (0..rank).map(|i| (position[i] + region.origin[i]) * dense[i]).sum();
                let to: isize = start + (0..rank).map(|i| position[i] as isize * strides[i]).sum::<isize>();
                let (from, to) = (from as usize * size, to as usize);
                prop_assert_eq!(&bytes[to..to + size], &whole.bytes()[from..from + size], "{} at {:?}", region, position);
            }
            reader.prefetch(&region);
            scratch = reader.release();
        }
    }
}

#[test]
fn absent_tiles_and_strips_hold_the_fill_value() {
    let folder = tempdir().unwrap();
    for compression in [1, 8] {
        for tile in [None, Some((16, 16))] {
            let layout = Layout {
                width: 40,
                height: 20,
                rows_per_strip: Some(10),
                tile,
                absent: vec![1],
                compression,
                ..Layout::default()
            };
            let source = open(&saved(&folder, &layout.write(&[vec![1; 800]]))).unwrap();
            let block = read(&source, &Region::whole(&[20, 40]), &mut Scratch::default()).unwrap();
            let n = if tile.is_some() { 256 } else { 400 };
            assert_eq!(block.coverage.n_absent(), n);
            assert_eq!(block.bytes().iter().filter(|&&b| b == 0).count() as u64, n);
            assert_eq!(block.bytes().iter().filter(|&&b| b == 1).count() as u64, 800 - n);
        }
    }
}

#[test]
fn a_few_bytes_do_not_make_an_endless_image() {
    let folder = tempdir().unwrap();
    let layout = Layout { width: 16, height: 16, absent: vec![0], ..Layout::default() };
    let mut bytes = layout.write(&[vec![0; 256]]);
    // ImageWidth and ImageLength are the first fields of the directory.
    let ifd = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    for entry in [ifd + 2, ifd + 14] {
        bytes[entry + 8..entry + 12].copy_from_slice(&1_000_000u32.to_le_bytes());
    }
    let e = open(&saved(&folder, &bytes)).err().unwrap().to_string();
    assert!(e.contains("page 0: strip 0 of 1000000000000 bytes is not stored"), "{e}");
}

#[test]
fn pages_that_differ_in_shape_are_left_out_and_listed() {
    let folder = tempdir().unwrap();
    let small = Layout { width: 4, height: 4, ..Layout::default() };
    // The second file's directory is moved behind the first file's.
    let mut bytes = Layout::default().write(&[vec![1; 256], vec![2; 256]]);
    let more = small.write(&[vec![3; 16]]);
    tiff::append(&mut bytes, &more);
    let source = open(&saved(&folder, &bytes)).unwrap();
    assert_eq!(source.info().shape(), [2, 16, 16]);
    assert_eq!(source.info().series.len(), 2);
    assert!(source.info().notes.iter().any(|n| n.text.contains("left out")), "{:?}", source.info().notes);
    let options = OpenOptions { series: Some(1), ..OpenOptions::default() };
    let other = source::open(&folder.path().join("a.tif"), &options).unwrap();
    assert_eq!(other.info().shape(), [4, 4]);
    let options = OpenOptions { series: Some(2), ..OpenOptions::default() };
    assert!(matches!(source::open(&folder.path().join("a.tif"), &options), Err(Error::Usage(_))));
}

#[test]
fn errors_name_page_strip_found_and_expected() {
    let folder = tempdir().unwrap();
    let layout = Layout { rows_per_strip: Some(8), compression: 32773, ..Layout::default() };
    let bytes = layout.write(&[vec![1; 256], vec![2; 256]]);
    // Strip 1 of page 1 claims half a row less: the tables lie behind the last directory.
    let n = bytes.len();
    let mut short = bytes.clone();
    let count = u32::from_le_bytes(short[n - 4..].try_into().unwrap());
    short[n - 4..].copy_from_slice(&(count - 1).to_le_bytes());
    let source = open(&saved(&folder, &short)).unwrap();
    let e = read(&source, &Region::whole(&[2, 16, 16]), &mut Scratch::default()).err().unwrap().to_string();
    assert!(e.contains("a.tif: page 1, strip 1: decodes to") && e.contains("expected 128"), "{e}");

    let plain = Layout { rows_per_strip: Some(8), ..Layout::default() }.write(&[vec![1; 256]]);
    let mut short = plain.clone();
    let n = short.len();
    short[n - 4..].copy_from_slice(&100u32.to_le_bytes());
    let e = open(&saved(&folder, &short)).err().unwrap().to_string();
    assert!(e.contains("page 0: strip 1 has 100 bytes, expected 128"), "{e}");

    let e = open(&saved(&folder, &plain[..plain.len() - 20])).err().unwrap().to_string();
    assert!(e.contains("a.tif: page 0") && e.contains("outside the file"), "{e}");
}

#[test]
fn circles_and_overlaps_of_directories_are_found() {
    let folder = tempdir().unwrap();
    let pages: Vec<_> = (0..5).map(|i| vec![i; 256]).collect();
    let bytes = Layout::default().write(&pages);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = u32_at(4) as usize;
    let first = at as u32;
    let mut link = 0;
    while at != 0 {
        link = at + 2 + 12 * usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        at = u32_at(link) as usize;
    }
    let mut circle = bytes.clone();
    circle[link..link + 4].copy_from_slice(&first.to_le_bytes());
    let e = open(&saved(&folder, &circle)).err().unwrap().to_string();
    assert!(e.contains("circle") || e.contains("overlap"), "{e}");
}

#[test]
fn an_index_larger_than_allowed_is_refused() {
    let folder = tempdir().unwrap();
    let pages: Vec<_> = (0..200).map(|_| vec![0; 256]).collect();
    let path = saved(&folder, &Layout::default().write(&pages));
    let options = OpenOptions { limit_bytes: Some(1000), ..OpenOptions::default() };
    assert!(matches!(source::open(&path, &options), Err(Error::Limit(_))));
}

#[test]
fn regular_pages_take_next_to_no_index_and_it_serves_again() {
    let folder = tempdir().unwrap();
    let pages: Vec<_> = (0..2000u32).map(|i| vec![(i % 251) as u8; 256]).collect();
    for layout in [
        Layout::default(),
        Layout { rows_per_strip: Some(4), gap: 3, ..Layout::default() },
        Layout { tile: Some((16, 16)), compression: 8, ..Layout::default() },
    ] {
        let path = saved(&folder, &layout.write(&pages));
        let index = Arc::clone(Tiff::open(&path, &OpenOptions::default()).unwrap().index());
        let again: Arc<dyn FileArray> = Arc::new(Tiff::reopen(index, &path).unwrap());
        let held = again.info().held_bytes;
        assert!(held < 2000 * if layout.compression == 1 { 1 } else { 60 }, "{held} bytes: {}", again.info().storage);
        let block = read(&again, &Region::whole(&again.info().shape()), &mut Scratch::default()).unwrap();
        assert_eq!(block.bytes(), &pages.concat()[..]);
    }
    let index = Arc::clone(Tiff::open(&folder.path().join("a.tif"), &OpenOptions::default()).unwrap().index());
    std::fs::write(folder.path().join("a.tif"), b"II*\0").unwrap();
    assert!(matches!(Tiff::reopen(index, &folder.path().join("a.tif")), Err(Error::Format(_))));
}

/// Of files that begin alike one is looked through; what differs in a byte of the headers or in size is looked through too.
#[test]
fn files_that_begin_alike_share_an_index() {
    const HEAD: usize = 8 + 2 + 9 * 12 + 4;
    let folder = tempdir().unwrap();
    let file = |name: &str, photometric: u32, description: &[u8; 4], pixels: &[u8]| {
        let tags = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, photometric)];
        let description = (270, 2, 4, u32::from_le_bytes(*description));
        let rest = [description, (273, 4, 1, HEAD as u32), (278, 3, 1, 4), (279, 4, 1, 16)];
        let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
        for (tag, kind, count, value) in tags.into_iter().chain(rest) {
            bytes.extend([u16::to_le_bytes(tag), u16::to_le_bytes(kind)].concat());
            bytes.extend([u32::to_le_bytes(count), u32::to_le_bytes(value)].concat());
        }
        bytes.extend([&[0; 4], pixels].concat());
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let pixels = |first: u8| (first..first + 16).collect::<Vec<u8>>();
    let paths = [
        file("a.tif", 1, b"one\0", &pixels(0)),
        file("b.tif", 1, b"one\0", &pixels(50)),
        file("dated.tif", 1, b"two\0", &pixels(100)),
        file("white.tif", 0, b"one\0", &pixels(150)),
        file("short.tif", 1, b"one\0", &pixels(200)[..9]),
        file("longer.tif", 1, b"one\0", &[pixels(7), vec![9; 3]].concat()),
    ];
    for threads in [1, 2] {
        let headers = Headers::read_with(&paths, &OpenOptions::default(), threads, Indexes::default(), |_| {});
        assert_eq!(headers.broken.iter().map(|b| b.0).collect::<Vec<_>>(), [4]);
        let index = |i| headers.indexes.get(i).unwrap();
        assert!(Arc::ptr_eq(index(0), index(1)) && Arc::ptr_eq(index(0), index(2)));
        assert!(!Arc::ptr_eq(index(0), index(3)) && !Arc::ptr_eq(index(0), index(5)));
        assert_eq!(headers.notes.iter().map(|note| note.n_files).collect::<Vec<_>>(), [1]);
        for (i, first) in [(0, 0), (1, 50), (2, 100), (3, 150), (5, 7)] {
            let file = Arc::clone(index(i)).open(&paths[i as usize]).unwrap();
            let block = read(&file, &Region::whole(&[4, 4]), &mut Scratch::default()).unwrap();
            assert_eq!(block.bytes(), pixels(first));
        }
    }
}

/// A classic little-endian file of one page: `data` from byte 8 on, then the directory with `tags` as they are:
/// number, type, count, value or offset.
fn one_page(data: &[u8], tags: &[(u16, u16, u32, u32)]) -> Vec<u8> {
    page_in_order(b"II", u16::to_le_bytes, u32::to_le_bytes, data, tags)
}

/// The same in either byte order; of a big-endian file, every value takes four bytes.
fn page_in_order(
    order: &[u8; 2],
    short: fn(u16) -> [u8; 2],
    long: fn(u32) -> [u8; 4],
    data: &[u8],
    tags: &[(u16, u16, u32, u32)],
) -> Vec<u8> {
    let mut bytes = order.to_vec();
    bytes.extend(short(42));
    bytes.extend(long(8 + data.len() as u32));
    bytes.extend(data);
    bytes.extend(short(tags.len() as u16));
    for &(number, kind, count, value) in tags {
        bytes.extend(short(number));
        bytes.extend(short(kind));
        bytes.extend(long(count));
        bytes.extend(long(value));
    }
    bytes.extend([0; 4]);
    bytes
}

/// Tags of an image of 6 x 4 pixels of `bits` in one strip of `count` bytes at byte 8.
fn small(bits: u32, count: u32) -> Vec<(u16, u16, u32, u32)> {
    let tags = [(256, 6), (257, 4), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, 4), (279, count)];
    tags.map(|(number, value)| (number, 4, 1, value)).to_vec()
}

#[test]
fn tags_that_programs_get_wrong_are_read_as_they_were_meant() {
    let folder = tempdir().unwrap();
    let data: Vec<u8> = (0..24).map(|i| i * 7).collect();
    let elements = |bytes: &[u8]| {
        let source = open(&saved(&folder, bytes)).unwrap();
        let whole = Region::whole(&source.info().shape());
        let block = read(&source, &whole, &mut Scratch::default()).unwrap();
        (block.dtype(), block.bytes().to_vec())
    };
    // A strip that is there although its count is 0; a predictor without compression; zeros for defaults.
    assert_eq!(elements(&one_page(&data, &small(8, 0))), (DType::Uint8, data.clone()));
    let more = |tag| [small(8, 24), vec![tag]].concat();
    for tag in [(317, 3, 1, 2), (339, 3, 1, 0), (266, 3, 1, 0)] {
        assert_eq!(elements(&one_page(&data, &more(tag))), (DType::Uint8, data.clone()), "{tag:?}");
    }
    let mut zero_rows = small(8, 24);
    zero_rows[7].3 = 0;
    assert_eq!(elements(&one_page(&data, &zero_rows)), (DType::Uint8, data.clone()));
    // A tag that comes again later does not count.
    let twice: Vec<u8> = data.iter().chain(&[0; 24]).copied().collect();
    assert_eq!(elements(&one_page(&twice, &more((273, 4, 1, 32)))), (DType::Uint8, data));
    // Floats of a program that does not say so.
    let floats: Vec<u8> = (0..24).flat_map(|i| (i as f32 / 7.0).to_le_bytes()).collect();
    let named: Vec<u8> = floats.iter().chain(b"IndicaLabsImageWriter v1\0\0").copied().collect();
    let tags = [small(32, 96), vec![(305, 2, 26, 104)]].concat();
    assert_eq!(elements(&one_page(&named, &tags)), (DType::Float32, floats));
}

#[test]
fn lerc_holds_values_as_they_lie_in_the_file() {
    let folder = tempdir().unwrap();
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz/codec/lerc_u2.bin");
    let blob = std::fs::read(seed).unwrap()[16..].to_vec();
    let numbers = [24, 16, 16, 34887, 1, 8, 1, 16, blob.len() as u32];
    let tags: Vec<_> = [256, 257, 258, 259, 262, 273, 277, 278, 279].into_iter().zip(numbers).collect();
    let tags: Vec<_> = tags.into_iter().map(|(number, value)| (number, 4, 1, value)).collect();
    let values = |bytes: &[u8]| {
        let source = open(&saved(&folder, bytes)).unwrap();
        let whole = Region::whole(&source.info().shape());
        read(&source, &whole, &mut Scratch::default()).unwrap().elements::<u16>().to_vec()
    };
    let little = values(&one_page(&blob, &tags));
    assert_eq!(little[..4], [0, 7 * 99, 14 * 99, 21 * 99]);
    let swapped: Vec<u16> = little.iter().map(|v| v.swap_bytes()).collect();
    let big = page_in_order(b"MM", u16::to_be_bytes, u32::to_be_bytes, &blob, &tags);
    assert_eq!(values(&big), swapped);
}

#[test]
fn a_short_description_does_not_make_a_long_list_of_planes() {
    let folder = tempdir().unwrap();
    let text = format!(
        "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"><Image ID=\"Image:0\">\
         <Pixels ID=\"Pixels:0\" DimensionOrder=\"XYCZT\" Type=\"uint8\" SizeX=\"6\" SizeY=\"4\" SizeZ=\"2000\" \
         SizeC=\"1\" SizeT=\"65000\">{}</Pixels></Image></OME>\0",
        "<TiffData/>".repeat(2000)
    );
    let data = [vec![1; 24], text.into_bytes()].concat();
    let tags = [small(8, 24), vec![(270, 2, data.len() as u32 - 24, 32)]].concat();
    let begin = std::time::Instant::now();
    let source = open(&saved(&folder, &one_page(&data, &tags))).unwrap();
    assert_eq!(source.info().shape().iter().product::<u64>(), 24);
    assert!(source.info().notes.iter().any(|n| n.text.contains("more planes")), "{:?}", source.info().notes);
    assert!(begin.elapsed().as_secs() < 5);
}
