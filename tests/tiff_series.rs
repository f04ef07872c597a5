//! Which pages of a file make which array: small files as programs write them, with what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::tempdir;
use crate::common::{self, tiff};
use stackctl::array::Scratch;
use stackctl::block::Block;
use stackctl::dtype::DType;
use stackctl::error::Error;
use stackctl::grid::Region;
use stackctl::source::headers::Headers;
use stackctl::source::{self, FileArray, NoteKind, OpenOptions};
use tiff::Layout;

fn with(change: impl FnOnce(&mut OpenOptions)) -> OpenOptions {
    let mut options = OpenOptions::default();
    change(&mut options);
    options
}

fn pages(text: &str) -> OpenOptions {
    with(|o| o.pages = Some(text.to_owned()))
}

/// Names and lengths of the axes, as `z 4, y 40, x 50`.
fn shape(source: &Arc<dyn FileArray>) -> String {
    let axes = source.info().axes.iter().filter(|a| a.length > 1).map(|a| format!("{} {}", a.name, a.length));
    axes.collect::<Vec<_>>().join(", ")
}

/// The sum of all elements, those that are filled as zero, and how many are.
fn sum(source: &Arc<dyn FileArray>) -> (u64, u64) {
    let region = Region::whole(&source.info().shape());
    let mut block = Block::new(region.clone(), source.info().dtype).unwrap();
    let mut reader = Arc::clone(source).reader(Scratch::default());
    let filled = reader.read(&region, &mut block.target()).unwrap().n_absent();
    let sum = match source.info().dtype {
        DType::Uint8 => block.elements::<u8>().iter().map(|&v| u64::from(v)).sum(),
        DType::Uint16 => block.elements::<u16>().iter().map(|&v| u64::from(v)).sum(),
        other => panic!("{other}"),
    };
    (sum, filled)
}

fn kinds(source: &Arc<dyn FileArray>) -> Vec<NoteKind> {
    source.info().notes.iter().map(|n| n.kind).collect()
}

/// Whether a run would take the file as it is.
fn is_taken(path: &Path) -> Result<(), Error> {
    let paths = [path.to_owned()];
    Headers::read(&paths, &OpenOptions::default()).check(&paths)
}

/// The folder of files that went wrong once, if it is there.
fn faults() -> Option<PathBuf> {
    let folder = common::corpus()?.parent()?.join("faults");
    folder.is_dir().then_some(folder)
}

#[test]
fn files_that_went_wrong_once_are_right() {
    let Some(folder) = faults() else { return };
    // Sums as tifffile gives them.
    let right = [
        ("tf_append_shaped.tif", OpenOptions::default(), "z 4, y 40, x 50", 259_759_236, 0),
        ("mixed_photometric.tif", OpenOptions::default(), "z 6, y 40, x 50", 1_529_854, 0),
        ("preview_first_nosubfile.tif", OpenOptions::default(), "z 4, y 75, x 93", 3_821_118, 0),
        ("leica_scn.tif", OpenOptions::default(), "c 2, y 128, x 160", 4_920_688, 0),
        ("j2k_33003_gray16.tif", OpenOptions::default(), "y 40, x 50", 65_011_767, 0),
        ("croprows_lzw.tif", OpenOptions::default(), "y 75, x 93", 953_137, 0),
    ];
    for (name, options, expected, total, filled) in right {
        let source = source::open(&folder.join(name), &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(shape(&source), expected, "{name}");
        assert_eq!(sum(&source), (total, filled), "{name}");
        is_taken(&folder.join(name)).unwrap_or_else(|e| panic!("{e}"));
    }
    let scan = source::open(&folder.join("scanimage_big.tif"), &OpenOptions::default()).unwrap();
    assert_eq!(shape(&scan), "t 4, z 3, c 2, y 40, x 50");
    let asked = source::open(&folder.join("scanimage_big.tif"), &pages("z,c=4")).unwrap();
    assert_eq!(shape(&asked), "z 6, c 4, y 40, x 50");
    assert_eq!(sum(&scan), sum(&asked));
    let slide = folder.join("leica_scn.tif");
    let level = source::open(&slide, &with(|o| o.level = Some(1))).unwrap();
    assert_eq!(shape(&level), "c 2, y 64, x 80");
    assert_eq!(level.info().levels, [[2, 128, 160], [2, 64, 80]]);
    assert!(matches!(source::open(&slide, &with(|o| o.level = Some(2))), Err(Error::Usage(_))));
    let label = source::open(&slide, &with(|o| o.series = Some(0))).unwrap();
    assert_eq!((shape(&label).as_str(), label.info().series.len()), ("y 32, x 40, c 3", 2));
    let stack = source::open(&folder.join("tf_append_shaped.tif"), &with(|o| o.series = Some(2))).unwrap();
    assert_eq!(shape(&stack), "y 40, x 50");
}

#[test]
fn acquisitions_that_were_stopped_are_told() {
    let Some(folder) = faults() else { return };
    let ome = source::open(&folder.join("ome_stopped.tif"), &OpenOptions::default()).unwrap();
    assert_eq!(shape(&ome), "t 5, c 2, z 3, y 40, x 50");
    assert!(kinds(&ome).contains(&NoteKind::PlanesAbsent));
    let (total, filled) = sum(&ome);
    assert_eq!(filled, 12 * 40 * 50);
    let imagej = folder.join("ij_stopped.tif");
    let e = source::open(&imagej, &OpenOptions::default()).err().unwrap().to_string();
    assert!(e.contains("counts 30 planes, but the file has 18") && e.contains("--pages"), "{e}");
    let asked = source::open(&imagej, &pages("t,z=3,c=2")).unwrap();
    assert_eq!((shape(&asked).as_str(), sum(&asked)), ("t 3, z 3, c 2, y 40, x 50", (total, 0)));
    let short = folder.join("next_beyond_eof.tif");
    let e = source::open(&short, &OpenOptions::default()).err().unwrap().to_string();
    assert!(e.contains("page 4"), "{e}");
    let saved = source::open(&short, &with(|o| o.skip_bad = true)).unwrap();
    assert_eq!(shape(&saved), "z 4, y 75, x 93");
    assert!(kinds(&saved).contains(&NoteKind::BrokenOff));
    // As long as its neighbours are.
    let padded = with(|o| (o.skip_bad, o.n_pages) = (true, Some(6)));
    let saved = source::open(&short, &padded).unwrap();
    assert_eq!((shape(&saved).as_str(), sum(&saved)), ("z 6, y 75, x 93", (3_821_118, 2 * 75 * 93)));
}

#[test]
fn every_file_of_brukers_knows_the_whole() {
    let Some(folder) = faults() else { return };
    for c in 1..3 {
        for t in 1..4 {
            let name = format!("TSeries-1-001_Cycle00001_Ch{c}_{t:06}.ome.tif");
            let source = source::open(&folder.join("prairie").join(&name), &OpenOptions::default()).unwrap();
            let set = source.info().set.as_ref().unwrap_or_else(|| panic!("{name}: {:?}", source.info().notes));
            assert_eq!(set.files.len(), 6, "{name}");
            assert_eq!(set.planes.iter().flatten().count(), 6, "{name}");
        }
    }
}

/// The files, one behind the other as one.
fn file(folder: &tempfile::TempDir, parts: &[(Layout, Vec<Vec<u8>>)]) -> PathBuf {
    let mut bytes = parts[0].0.write(&parts[0].1);
    parts[1..].iter().for_each(|(layout, pages)| tiff::append(&mut bytes, &layout.write(pages)));
    let path = folder.path().join("a.tif");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn grey(side: usize, values: std::ops::Range<u8>) -> (Layout, Vec<Vec<u8>>) {
    let layout = Layout { width: side, height: side, ..Layout::default() };
    (layout, values.map(|v| vec![v; side * side]).collect())
}

fn colours(side: usize) -> (Layout, Vec<Vec<u8>>) {
    let layout = Layout { width: side, height: side, samples: 3, photometric: 2, ..Layout::default() };
    (layout, vec![vec![9; side * side * 3]])
}

#[test]
fn pages_are_lost_only_when_asked() {
    let folder = tempdir().unwrap();
    // A preview in colours is one wherever it stands; other small pages are somebody's data.
    for parts in [[colours(8), grey(16, 0..4)], [grey(16, 0..4), colours(8)]] {
        let path = file(&folder, &parts);
        let source = source::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(shape(&source), "z 4, y 16, x 16");
        assert_eq!(kinds(&source), [NoteKind::PagesLeftOut]);
        is_taken(&path).unwrap();
    }
    let path = file(&folder, &[grey(8, 0..1), grey(16, 0..4)]);
    let e = is_taken(&path).unwrap_err();
    assert!(
        matches!(&e, Error::Usage(text) if text.contains("4 pages of another series") && text.contains("--series")),
        "{e}"
    );
    for options in [with(|o| o.series = Some(1)), pages("t")] {
        let mut headers = Headers::read(std::slice::from_ref(&path), &options);
        headers.check(std::slice::from_ref(&path)).unwrap();
        assert!(headers.notes.iter().next().is_some_and(|note| note.text.contains("left out")));
        assert!(headers.notes.grave().next().is_none());
    }
    // Indices and compression are no matter.
    let packed = Layout { photometric: 0, compression: 32773, ..grey(16, 0..1).0 };
    let path = file(&folder, &[grey(16, 0..2), (packed, grey(16, 2..5).1)]);
    let source = source::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!((shape(&source).as_str(), sum(&source)), ("z 5, y 16, x 16", (10 * 256, 0)));
    assert_eq!(kinds(&source), [NoteKind::WhiteIsZeroKept]);
}

#[test]
fn pages_take_the_axes_that_are_asked_for() {
    let folder = tempdir().unwrap();
    let path = file(&folder, &[grey(16, 0..12)]);
    let found = |text: &str| source::open(&path, &pages(text)).map(|source| shape(&source));
    assert_eq!(found("t").unwrap(), "t 12, y 16, x 16");
    assert_eq!(found("t,c=3").unwrap(), "t 4, c 3, y 16, x 16");
    assert_eq!(found("t=2,z,c=3").unwrap(), "t 2, z 2, c 3, y 16, x 16");
    for wrong in ["t,z", "t,c=5", "t=2,c=3", "t,t=2", "y=3", "t,c=0", ""] {
        assert!(matches!(found(wrong), Err(Error::Usage(_))), "{wrong}");
    }
    // Three slices that a program took for colours.
    let planar = Layout { samples: 3, planar: true, photometric: 2, ..Layout::default() };
    let path = file(&folder, &[(planar, vec![vec![1; 768]])]);
    assert_eq!(shape(&source::open(&path, &OpenOptions::default()).unwrap()), "c 3, y 16, x 16");
    assert_eq!(shape(&source::open(&path, &pages("z")).unwrap()), "z 3, y 16, x 16");
}

#[test]
fn lossless_jpeg_is_tifffiles() {
    let work = tempdir().unwrap();
    common::python("lossless.py", &[Path::new(env!("CARGO_BIN_EXE_stackctl")), work.path()]);
}

#[test]
fn reduced_pages_are_levels() {
    let folder = tempdir().unwrap();
    let tiled = |side: usize, values| {
        let (layout, pages) = grey(side, values);
        (Layout { tile: Some((16, 16)), ..layout }, pages)
    };
    // An untiled page of the size of a level is none.
    let thumbnail = |side| (Layout { tile: None, ..colours(side).0 }, colours(side).1);
    let slide = |side| (Layout { tile: Some((16, 16)), ..colours(side).0 }, colours(side).1);
    let path = file(&folder, &[slide(64), thumbnail(32), slide(32), slide(16), thumbnail(20)]);
    let source = source::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(source.info().levels, [[64, 64, 3], [32, 32, 3], [16, 16, 3]]);
    is_taken(&path).unwrap();
    let path = file(&folder, &[tiled(64, 0..3), tiled(32, 10..13), tiled(16, 20..23), colours(20)]);
    let source = source::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(source.info().levels, [[3, 64, 64], [3, 32, 32], [3, 16, 16]]);
    is_taken(&path).unwrap();
    for (level, value) in [(0, 1), (1, 11), (2, 21)] {
        let source = source::open(&path, &with(|o| o.level = Some(level))).unwrap();
        let side = 64 >> level;
        assert_eq!(shape(&source), format!("z 3, y {side}, x {side}"));
        assert_eq!(sum(&source).0, 3 * value * side * side);
    }
}

#[test]
fn pages_that_cannot_be_read_are_absent_when_asked() {
    let folder = tempdir().unwrap();
    let path = file(&folder, &[grey(16, 1..4)]);
    // The second page claims a strip that is too short.
    let mut bytes = std::fs::read(&path).unwrap();
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let n_fields = |bytes: &[u8], ifd: usize| usize::from(u16::from_le_bytes([bytes[ifd], bytes[ifd + 1]]));
    let first = u32_at(&bytes, 4);
    let second = u32_at(&bytes, first + 2 + 12 * n_fields(&bytes, first));
    let entries = (0..n_fields(&bytes, second)).map(|i| second + 2 + 12 * i);
    let count = entries.into_iter().find(|&at| bytes[at..at + 2] == 279u16.to_le_bytes()).unwrap();
    bytes[count + 8..count + 12].copy_from_slice(&100u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let e = source::open(&path, &OpenOptions::default()).err().unwrap().to_string();
    assert!(e.contains("page 1: strip 0 has 100 bytes, expected 256"), "{e}");
    let source = source::open(&path, &with(|o| o.skip_bad = true)).unwrap();
    assert_eq!((shape(&source).as_str(), sum(&source)), ("z 3, y 16, x 16", ((1 + 3) * 256, 256)));
    assert_eq!(kinds(&source), [NoteKind::PlanesAbsent]);
}
