//! What every implementation of a trait must do, whatever it is.

use std::sync::Arc;

use crate::common::tempdir;
use crate::common::{self, run, tiff};

/// A disk, which is what a store is built on.
mod disk {
    use super::*;
    use stackctl::store::disk::{Disk, Entry, read};
    use std::io::{self, ErrorKind};

    fn put(disk: &dyn Disk, key: &str, bytes: &[u8]) -> io::Result<()> {
        let object = disk.create(key)?;
        object.write_at(0, bytes)?;
        object.sync()?;
        object.close()
    }

    fn names(disk: &dyn Disk, folder: &str) -> Vec<(String, bool)> {
        let mut entries = disk.list(folder).unwrap();
        entries.sort();
        entries.into_iter().map(|Entry { name, is_folder }| (name, is_folder)).collect()
    }

    /// The whole suite; the disk is empty, and so is the name that it publishes to.
    fn conforms(disk: Arc<dyn Disk>) {
        objects(&*disk);
        positions(disk.clone());
        folders(&*disk);
        renames(&*disk);
        publication(&*disk);
    }

    fn objects(disk: &dyn Disk) {
        assert_eq!(read(disk, "a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open("b/c").err().unwrap().kind(), ErrorKind::NotFound);
        assert_eq!(disk.length("a").unwrap(), None);
        assert_eq!(disk.length("a/b/c").unwrap(), None);
        let large: Vec<u8> = (0..200_001u32).map(|i| i as u8).collect();
        for bytes in [&b"one"[..], b"", &large] {
            put(disk, "a", bytes).unwrap();
            assert_eq!(read(disk, "a").unwrap(), bytes);
            assert_eq!(disk.length("a").unwrap(), Some(bytes.len() as u64));
        }
        put(disk, "b/c/d", b"deep").unwrap();
        assert_eq!(read(disk, "b/c/d").unwrap(), b"deep");
        assert_eq!(disk.length("b/c").unwrap(), None, "a folder has no length");
        disk.remove("a").unwrap();
        disk.remove("a").unwrap();
        disk.remove("no/such").unwrap();
        disk.remove("b").unwrap();
        assert!(names(disk, "").is_empty());
    }

    fn positions(disk: Arc<dyn Disk>) {
        let object = disk.create("p/grown").unwrap();
        std::thread::scope(|scope| {
            for i in (0..8u8).rev() {
                let object = &object;
                scope.spawn(move || object.write_at(u64::from(i) * 1000, &[i; 1000]).unwrap());
            }
        });
        object.hurry(0, 8000);
        object.sync().unwrap();
        object.close().unwrap();
        let bytes = read(&*disk, "p/grown").unwrap();
        assert!(bytes.len() == 8000 && bytes.iter().enumerate().all(|(i, b)| usize::from(*b) == i / 1000));
        // It is gone on with, cut, and filled up.
        let object = disk.open("p/grown").unwrap();
        object.set_length(10).unwrap();
        object.write_at(12, b"x").unwrap();
        let mut three = [9; 3];
        assert_eq!(object.read_at(11, &mut three).unwrap(), 2);
        assert_eq!(three, [0, b'x', 9]);
        assert_eq!(object.read_at(13, &mut three).unwrap(), 0);
        assert_eq!(object.read_at(99, &mut three).unwrap(), 0);
        object.close().unwrap();
        assert_eq!(disk.length("p/grown").unwrap(), Some(13));
        disk.remove("p").unwrap();
    }

    fn folders(disk: &dyn Disk) {
        assert!(names(disk, "none").is_empty());
        for key in ["f/a", "f/b/c", "f/b/d", "g", ".h"] {
            put(disk, key, b"").unwrap();
        }
        assert_eq!(names(disk, ""), [(".h".into(), false), ("f".into(), true), ("g".into(), false)]);
        assert_eq!(names(disk, "f"), [("a".into(), false), ("b".into(), true)]);
        for folder in ["", "f", "f/b"] {
            disk.sync_folder(folder).unwrap();
        }
        disk.remove("f/b").unwrap();
        assert_eq!(names(disk, "f"), [("a".into(), false)]);
        for name in ["f", "g", ".h"] {
            disk.remove(name).unwrap();
        }
    }

    fn renames(disk: &dyn Disk) {
        put(disk, "r/new", b"new").unwrap();
        put(disk, "r/old", b"old").unwrap();
        disk.rename("r/new", "r/old").unwrap();
        assert_eq!(names(disk, "r"), [("old".into(), false)]);
        assert_eq!(read(disk, "r/old").unwrap(), b"new");
        assert_eq!(disk.rename("r/new", "r/old").unwrap_err().kind(), ErrorKind::NotFound);
        disk.remove("r").unwrap();
    }

    fn publication(disk: &dyn Disk) {
        put(disk, "output/a/b", b"first").unwrap();
        disk.publish("output", false).unwrap();
        disk.settle().unwrap();
        assert!(names(disk, "").is_empty());
        put(disk, "output/a/b", b"second").unwrap();
        assert_eq!(disk.publish("output", false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(disk, "output/a/b").unwrap(), b"second");
        disk.publish("output", true).unwrap();
        disk.settle().unwrap();
        assert_eq!(disk.publish("nothing", true).unwrap_err().kind(), ErrorKind::NotFound);
    }

    mod implementations {
        use super::*;
        use stackctl::store::disk::Local;
        use stackctl::store::testing::{Faulty, Injected, Memory};

        #[test]
        fn local() {
            let folder = tempdir().unwrap();
            let partial = folder.path().join(".o.partial");
            std::fs::create_dir(&partial).unwrap();
            conforms(Arc::new(Local::open(&partial, &folder.path().join("o")).unwrap()));
            std::fs::remove_dir_all(partial).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(std::fs::read(folder.path().join("o/a/b")).unwrap(), b"second");
        }

        #[test]
        fn memory() {
            let memory = Memory::default();
            conforms(Arc::new(memory.clone()));
            assert_eq!(memory.published()["a/b"], b"second");
        }

        #[test]
        fn faulty_without_a_fault() {
            let faulty = Faulty::new(Arc::new(Memory::default()), u64::MAX, false, &[], Injected::Short);
            conforms(Arc::new(faulty));
        }
    }
}

/// An array, whose elements encode their own coordinates.
mod array {
    use super::*;
    use crate::common::memory::peak;
    use stackctl::array::{Array, Reader, Scratch};
    use stackctl::axis::Axis;
    use stackctl::block::{Block, Buffer, Coverage, Target};
    use stackctl::dtype::DType;
    use stackctl::error::{Error, Result};
    use stackctl::grid::{Region, positions, row_major_strides};

    /// Regions of an array, from a generator of numbers: some empty, some whole along an axis, most neither.
    fn regions(shape: &[u64]) -> Vec<Region> {
        let mut numbers = tiff::Numbers(7);
        let mut one = || {
            let axis = |&length: &u64| {
                let origin = numbers.below(length + 1);
                if numbers.below(4) == 0 { (0, length) } else { (origin, numbers.below(length - origin + 1)) }
            };
            let (origin, shape) = shape.iter().map(axis).unzip::<_, _, Vec<_>, Vec<_>>();
            Region::new(origin, shape)
        };
        let mut regions: Vec<Region> = (0..60).map(|_| one()).collect();
        regions.push(Region::whole(shape));
        regions
    }

    /// The bytes of `region` in an array of which `whole` is everything.
    fn part(whole: &[u8], shape: &[u64], region: &Region, size: usize) -> Vec<u8> {
        let strides = row_major_strides(shape);
        let at =
            |p: &Vec<u64>| (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum::<u64>() as usize * size;
        positions(&region.shape).flat_map(|p| &whole[at(&p)..][..size]).copied().collect()
    }

    /// The whole suite: `whole` is everything that `array` holds.
    fn conforms(array: &Arc<dyn Array>, whole: &[u8]) {
        let shape = array.shape();
        assert_eq!(shape, array.axes().iter().map(|a| a.length).collect::<Vec<_>>());
        assert_eq!(array.fill_bytes().len(), array.dtype().size());
        assert_eq!(common::read_whole(array).unwrap().bytes(), whole);
        grain(&**array, &shape);
        outside(array, &shape);
        // Readers of their own, at once.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| parts(array, whole, &shape));
            }
        });
        regions(&shape).iter().for_each(|region| needs(array, region));
    }

    /// As [`conforms`], for an array that is made of another: boundaries of what it reads lie elsewhere than at themselves.
    fn made_conforms(array: &Arc<dyn Array>) {
        let (shape, whole) = (array.shape(), common::read_whole(array).unwrap());
        outside(array, &shape);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| parts(array, whole.bytes(), &shape));
            }
        });
        regions(&shape).iter().for_each(|region| needs(array, region));
    }

    fn grain(array: &dyn Array, shape: &[u64]) {
        for (axis, &length) in shape.iter().enumerate() {
            let mut last = (0, 0);
            for at in 0..=length {
                let (from, to) = array.grain(axis, at);
                assert!(from <= at && at <= to && last.0 <= from && last.1 <= to, "{axis}, {at}: {from}..{to}");
                assert_eq!(array.grain(axis, from), (from, from), "a boundary of axis {axis} lies at itself");
                last = (from, to);
            }
            assert_eq!(array.grain(axis, 0), (0, 0));
        }
    }

    fn outside(array: &Arc<dyn Array>, shape: &[u64]) {
        for axis in 0..shape.len() {
            for beyond in [shape[axis], shape[axis] + 5] {
                let mut region = Region::whole(shape);
                (region.origin[axis], region.shape[axis]) = (beyond, 1);
                let found = common::read_region(array, &region).err();
                assert!(matches!(found, Some(Error::Usage(_))), "{region}: {found:?}");
            }
        }
    }

    /// One reader after another, each with the scratch memory of the one before.
    fn parts(array: &Arc<dyn Array>, whole: &[u8], shape: &[u64]) {
        let (size, mut scratch) = (array.dtype().size(), Scratch::default());
        for regions in regions(shape).chunks(9) {
            let mut reader = Arc::clone(array).reader(scratch);
            for region in regions {
                reader.prefetch(region);
                let block = reader.block(region, array.dtype(), Buffer::default()).unwrap();
                assert!(block.bytes() == part(whole, shape, region, size), "{region}");
                covered(&block, &array.fill_bytes());
            }
            scratch = reader.release();
        }
    }

    fn covered(block: &Block, fill: &[u8]) {
        let absent = block.coverage.absent();
        let region = block.region();
        for (i, hole) in absent.iter().enumerate() {
            assert!(region.contains(hole) && !hole.is_empty(), "{hole} of {region}");
            assert!(absent[..i].iter().all(|other| other.intersect(hole).is_none_or(|both| both.is_empty())));
            let bytes = part(block.bytes(), &region.shape, &hole.relative_to(&region.origin), fill.len());
            assert!(bytes.chunks_exact(fill.len()).all(|element| element == fill));
        }
    }

    /// What is allocated without a trace of a buffer: names, boxes, positions.
    const SMALL: u64 = 32 << 10;

    fn needs(array: &Arc<dyn Array>, region: &Region) {
        let mut block = Block::new(region.clone(), array.dtype()).unwrap();
        let mut reader = Arc::clone(array).reader(Scratch::default());
        let ((), peak) = peak(|| drop(reader.read(region, &mut block.target()).unwrap()));
        let said = array.needs(&region.shape);
        assert!(peak <= said + SMALL, "{region}: {said} bytes are said to do, {peak} were taken");
    }

    /// An array in memory that lacks a box of itself.
    pub(crate) struct Memory {
        axes: Vec<Axis>,
        dtype: DType,
        bytes: Vec<u8>,
        hole: Region,
    }

    impl Memory {
        /// An array of `shape` and 16 bits whose elements are their numbers, but for those in `hole`, which are 9.
        pub(crate) fn of(names: &[&str], shape: &[u64], hole: Region) -> Arc<dyn Array> {
            let element = |(i, p): (usize, Vec<u64>)| {
                let inside = hole.contains(&Region::new(p.clone(), vec![1; p.len()]));
                (if inside { 9 } else { i as u16 }).to_ne_bytes()
            };
            let bytes = positions(shape).enumerate().flat_map(element).collect();
            let axes = names.iter().zip(shape).map(|(name, &length)| Axis::new(*name, length)).collect();
            Arc::new(Self { axes, dtype: DType::Uint16, bytes, hole })
        }
    }

    impl Array for Memory {
        fn axes(&self) -> &[Axis] {
            &self.axes
        }

        fn dtype(&self) -> DType {
            self.dtype
        }

        fn fill(&self) -> Option<&[u8]> {
            Some(&[9, 0])
        }

        fn grain(&self, _: usize, at: u64) -> (u64, u64) {
            (at, at)
        }

        fn coded(&self) -> bool {
            false
        }

        fn needs(&self, shape: &[u64]) -> u64 {
            shape.iter().product::<u64>() * self.dtype.size() as u64
        }

        fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
            Box::new(MemoryReader(self, scratch))
        }
    }

    struct MemoryReader(Arc<Memory>, Scratch);

    impl Reader for MemoryReader {
        fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
            let (shape, mut coverage) = (self.0.shape(), Coverage::default());
            if !Region::whole(&shape).contains(region) {
                return Err(Error::usage("a region that reaches outside"));
            }
            target.paste_part(&self.0.bytes, &shape, region);
            self.0.hole.intersect(region).into_iter().for_each(|hole| coverage.lacks(hole));
            Ok(coverage)
        }

        fn release(self: Box<Self>) -> Scratch {
            self.1
        }
    }

    mod implementations {
        use super::*;
        use crate::common::run::{Acquisition, PATTERN};
        use crate::conformance::consumer;
        use stackctl::array::{Held, View};
        use stackctl::expression::{Known, Output, Wanted, build, names, syntax};
        use stackctl::open::{Missing, Names, Request};
        use stackctl::pattern::Pattern;
        use stackctl::reduce::{OPERATORS, Outcome, Reducer};
        use stackctl::sink::{self, zarr::ZarrFormat};
        use stackctl::source::{OpenOptions, open};

        fn bytes(elements: impl IntoIterator<Item = u16>) -> Vec<u8> {
            elements.into_iter().flat_map(u16::to_ne_bytes).collect()
        }

        /// A pile that lacks the file of channel 1 at time 2, in a folder that goes with the first of what this gives.
        fn stack(layout: tiff::Layout) -> (tempfile::TempDir, Arc<dyn Array>, Vec<u16>) {
            let folder = tempdir().unwrap();
            let pile = Acquisition { layout: tiff::Layout { bits: 16, ..layout }, ..Acquisition::default() };
            pile.write(folder.path());
            std::fs::remove_file(folder.path().join(Acquisition::name(1, 2))).unwrap();
            let names = Names { pattern: Some(Pattern::parse(PATTERN).unwrap()), ..Names::default() };
            let inputs = folder.path().to_string_lossy().into();
            let request =
                Request { inputs, names, missing: Missing::Fill, fill: Some("9".into()), ..Request::default() };
            let mut elements = pile.elements();
            let n = elements.len();
            elements[n / 6 * 5..].fill(9);
            let stack = request.open().unwrap().stack;
            (folder, Arc::new(stack), elements)
        }

        #[test]
        fn memory() {
            let hole = Region::new([1, 2, 0], [2, 1, 3]);
            let array = Memory::of(&["z", "y", "x"], &[4, 5, 6], hole);
            let whole = common::read_whole(&array).unwrap();
            conforms(&array, whole.bytes());
        }

        #[test]
        fn tiff_files() {
            let folder = tempdir().unwrap();
            for (i, compression) in [1, 8].into_iter().enumerate() {
                for tile in [None, Some((16, 32))] {
                    let layout = tiff::Layout {
                        width: 50,
                        height: 37,
                        bits: 16,
                        rows_per_strip: Some(10),
                        compression,
                        tile,
                        ..tiff::Layout::default()
                    };
                    let elements: Vec<u16> = (0..3 * 37 * 50).collect();
                    let pages: Vec<Vec<u8>> = elements.chunks(37 * 50).map(|page| bytes(page.to_vec())).collect();
                    let path = folder.path().join(format!("{i}{}.tif", tile.is_some()));
                    std::fs::write(&path, layout.write(&pages)).unwrap();
                    let file = open(&path, &OpenOptions::default()).unwrap();
                    conforms(&(file as Arc<dyn Array>), &bytes(elements));
                }
            }
        }

        #[test]
        fn numpy_netcdf_and_hdf5_files() {
            let folder = tempdir().unwrap();
            common::python("formats_make.py", &[folder.path()]);
            let expected = bytes(0..3 * 37 * 50);
            let mut n_files = 0;
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let path = entry.unwrap().path();
                let is_template = path.ends_with("template.h5");
                let variable = is_template.then(|| "t{t}/s0/cells".to_owned());
                let file = open(&path, &OpenOptions { variable, ..OpenOptions::default() });
                let file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                conforms(&(file as Arc<dyn Array>), &expected);
                n_files += 1;
            }
            assert_eq!(n_files, 4 + 2 + 2 * (1 + 4 * 3) + 3);
        }

        #[test]
        fn stacks() {
            for (compression, tile) in [(1, None), (8, None), (8, Some((16, 16)))] {
                let (_folder, array, elements) =
                    stack(tiff::Layout { width: 50, height: 37, compression, tile, ..tiff::Layout::default() });
                conforms(&array, &bytes(elements));
            }
        }

        #[test]
        fn views() {
            let (_folder, array, elements) = stack(tiff::Layout { width: 50, height: 37, ..tiff::Layout::default() });
            let [t, c, z, y, x] = [[1, 3, 1], [1, 2, 1], [0, 5, 2], [3, 37, 1], [1, 50, 3]];
            let select = "t=1:,c=1,z=::2,y=3:,x=1::3";
            let steps = |[from, to, step]: [usize; 3]| (from..to).step_by(step);
            let mut chosen = Vec::new();
            for (t, c) in steps(t).flat_map(|t| steps(c).map(move |c| (t, c))) {
                for (z, y) in steps(z).flat_map(|z| steps(y).map(move |y| (z, y))) {
                    chosen.extend(steps(x).map(|x| elements[(((t * 2 + c) * 5 + z) * 37 + y) * 50 + x]));
                }
            }
            conforms(&(Arc::new(View::new(array.clone(), select).unwrap()) as Arc<dyn Array>), &bytes(chosen));
            let first = elements[..3 * 37 * 50].iter().rev().copied();
            let back = "t=0,c=0,z=2::-1,y=::-1,x=::-1";
            conforms(&(Arc::new(View::new(array, back).unwrap()) as Arc<dyn Array>), &bytes(first));
        }

        /// An example of every function of expressions.
        const FUNCTIONS: &str = "uniform(a, y=3, x=4); uniform(a, 3); total(a, 3); gaussian(a, 2); gaussian(a, t=1, \
            z=0.7, y=2, x=1, order=1); median(a, 3); median(a, y=12, x=13); percentile(a, 20, y=5, x=5); rank(a, -2, 3); \
            minimum(a, 3); maximum(a, y=6); erosion(a, 3); dilation(a, 4); opening(a, y=5, x=7); closing(a, 3); \
            tophat(a, y=5, x=5); white_tophat(a, 3); black_tophat(a, 3); laplace(a); laplace(a, y, x); log(a, 1); log(a); \
            dog(a, 1, 2); sobel(a, x); prewitt(a, y); gradient_magnitude(a, 1); unsharp(a, 1); variance(a, y=5, x=5); \
            variance(a, 3); bilateral(a, 1, range=50); rolling_ball(a, 3); convolve(a, KERNEL); shift(a, t=1, x=-3); \
            diff(a, t); diff(a, x); cumsum(a, t); cumsum(a, y); stack(a, a + 1, axis=c); concat(a, a, axis=z); flip(a, x); \
            transpose(a, x, y, t, z); crop(a, y=3:20); pad(a, y=2, x=1:3, mode=wrap); bin(a, y=2, x=3, mean); \
            bin(a, z=2, max); clip(a, 9, 30000); whole(a / 3, uint16); deskew(a, angle=31.8, z=0.5um, x=0.2um); \
            threshold(a, otsu); flatfield(a, a[t=0], a[t=1]); min(a, 7); max(a, 9, a + 3); hypot(a, 3); abs(a - 900); \
            sqrt(a); exp(a / 65536); log2(a); log10(a); floor(a / 7); ceil(a / 7); round(a / 7); sign(a - 9); isnan(a / a); \
            where(a > 99, a, -a); float32(a); float64(a); excess(a, 999); a[t=::-1, y=3::2, x=[10,1,5]] * 2; \
            gaussian(median(a - mean(a, t), 3), 1) > 3 * std(a, z, y, x)";

        /// What `wanted` comes to, in memory.
        fn folded(wanted: &Wanted) -> Arc<dyn Array> {
            let reducer = Reducer::new(wanted.array.axes(), wanted.array.dtype(), &wanted.settings).unwrap();
            let tile = Region::whole(&reducer.frame());
            let (block, mut partial) = (common::read_whole(&wanted.array).unwrap(), reducer.start(&tile, true));
            let mut made = loop {
                reducer.fold(&mut partial, &block, &[]).unwrap();
                match reducer.finish(partial).unwrap() {
                    Outcome::Again(next) => partial = next,
                    Outcome::Done(mut blocks) => break blocks.remove(0),
                }
            };
            if let Some(then) = wanted.then {
                let number = then(&made);
                made = Block::new(Region::whole(&vec![1; wanted.axes.len()]), DType::Float64).unwrap();
                made.elements_mut::<f64>()[0] = number;
            }
            Arc::new(Held::new(wanted.axes.clone(), made))
        }

        fn built(text: &str, array: &Arc<dyn Array>) -> Arc<dyn Array> {
            let (tree, mut known) = (syntax::parse(text).unwrap(), Known::new());
            loop {
                let inputs = [("a".to_owned(), Arc::clone(array))];
                let made = build(text, &tree, (&inputs, &|array| array), &known, 64 << 20, &Output::default());
                let made = made.unwrap_or_else(|e| panic!("{text}: {e}"));
                if made.wanted.is_empty() {
                    return made.array;
                }
                known.extend(made.wanted.iter().map(|wanted| (wanted.text.clone(), folded(wanted))));
            }
        }

        /// Every function and operator of the tables, whatever region of it is read by however many readers, has the same
        /// elements, and takes no more memory than it says.
        #[test]
        fn operations() {
            let shape = [3, 4, 13, 22];
            let elements =
                (0..shape.iter().product::<u64>()).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16);
            let axes = ["t", "z", "y", "x"].iter().zip(shape).map(|(name, n)| Axis::new(*name, n)).collect();
            let hole = Region::new([0; 4], [0; 4]);
            let array: Arc<dyn Array> = Arc::new(Memory { axes, dtype: DType::Uint16, bytes: bytes(elements), hole });
            let folder = tempdir().unwrap();
            let kernel = folder.path().join("kernel.npy");
            let weights = Memory::of(&["y", "x"], &[3, 4], Region::new([0, 0], [0, 0]));
            consumer::write(&kernel, &weights, &sink::OutputOptions::default());
            let functions: Vec<String> = FUNCTIONS
                .split(';')
                .map(|text| text.trim().replace("KERNEL", &format!("'{}'", kernel.display())))
                .collect();
            let operators = OPERATORS.iter().filter(|o| o.name != "histogram" && o.name != "prod").flat_map(|o| {
                let number = if o.argument.is_empty() { "" } else { "1, " };
                [format!("{}(a, {number}t)", o.name), format!("{}(a % 4, {number}y, x) + a", o.name)]
            });
            let all: Vec<String> = functions.into_iter().chain(operators).collect();
            let tested = |name: &String| all.iter().any(|text| text.contains(&format!("{name}(")));
            let untested: Vec<String> = names().into_iter().filter(|name| !tested(name)).collect();
            assert_eq!(untested, ["neg", "prod", "histogram"]);
            for text in &all {
                println!("{text}");
                made_conforms(&built(text, &array));
            }
        }

        #[test]
        fn zarr_arrays() {
            for format in [ZarrFormat::V2, ZarrFormat::V3] {
                let folder = tempdir().unwrap();
                let array = Memory::of(&["z", "y", "x"], &[5, 37, 50], Region::new([1, 0, 0], [2, 37, 50]));
                let path = folder.path().join("a.zarr");
                let options =
                    sink::OutputOptions { format, chunks: Some(vec![2, 16, 16]), ..sink::OutputOptions::default() };
                consumer::write(&path, &array, &options);
                let whole = common::read_whole(&array).unwrap();
                conforms(&(open(&path, &OpenOptions::default()).unwrap() as Arc<dyn Array>), whole.bytes());
            }
        }
    }
}

/// A consumer: every output format, and the reduction.
mod consumer {
    use super::*;
    use array::Memory;
    use stackctl::array::Array;
    use stackctl::axis::Axis;
    use stackctl::consume::{Consumer, Desk, Job, Part, plan};
    use stackctl::dtype::DType;
    use stackctl::grid::Region;
    use stackctl::plan::{Plan, Task};
    use stackctl::sink::{OutputOptions, Spec, create};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// The plan whose tasks are as small as they can be.
    fn smallest(array: &dyn Array, consumer: &dyn Consumer) -> Plan {
        plan(array, &[consumer], 0).or_else(|needed| plan(array, &[consumer], needed)).unwrap()
    }

    fn spec(axes: &[Axis], dtype: DType) -> Spec {
        Spec {
            axes: axes.to_vec(),
            dtype,
            fill: vec![9, 0, 0, 0, 0, 0, 0, 0][..dtype.size()].to_vec(),
            provenance: serde_json::Value::Null,
        }
    }

    /// In which order workers come to the tasks.
    const ORDERS: [fn(u64, u64) -> u64; 4] = [|i, _| i, |i, n| n - i, |i, n| i * 7919 % n.max(1), |i, _| i % 2];

    /// Shows `consumer` the tasks as an order of [`ORDERS`] has them, and merges what comes of them as planned.
    fn consume(
        array: &Arc<dyn Array>,
        consumer: &mut dyn Consumer,
        plan: &Plan,
        path: &Path,
        order: fn(u64, u64) -> u64,
    ) {
        let folder = path.parent().unwrap();
        assert!(run::tree(folder).is_empty(), "nothing is touched before it begins");
        consumer.begin(&Job::default()).unwrap();
        let tasks: Vec<Task> = plan.tasks().collect();
        let mut merger = consumer.merger();
        loop {
            let mut by_worker = tasks.clone();
            by_worker.sort_by_key(|task| (order(task.index, plan.len()), task.index));
            let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
            for task in &by_worker {
                parts.insert(task.index, part(array, &*consumer, plan, task));
            }
            for (task, part) in tasks.iter().zip(parts.into_values()) {
                merger.put(task, part).unwrap();
            }
            if !merger.end_pass().unwrap() {
                break;
            }
        }
        let mut products = merger.finish().unwrap();
        assert!(!path.exists(), "nothing stands under the name before it is published");
        consumer.publish(&mut products).unwrap();
        assert_eq!(run::names(folder), [path.file_name().unwrap().to_str().unwrap()]);
    }

    fn part(array: &Arc<dyn Array>, consumer: &dyn Consumer, plan: &Plan, task: &Task) -> Part {
        let mut desk = Desk::default();
        let mut taker = consumer.taker(task).unwrap();
        loop {
            for piece in plan.pieces(task) {
                taker.take(&common::read_region(array, &piece).unwrap(), &mut desk).unwrap();
            }
            if let Some(part) = taker.end(&mut desk).unwrap() {
                return part;
            }
        }
    }

    /// Writes `array` to `path`.
    pub(crate) fn write(path: &Path, array: &Arc<dyn Array>, options: &OutputOptions) {
        let mut consumer = create(path, &spec(array.axes(), array.dtype()), options).unwrap();
        let plan = smallest(&**array, &*consumer);
        consume(array, &mut *consumer, &plan, path, ORDERS[0]);
    }

    /// The whole suite, of what `make` makes for a path, with its plan.
    fn conforms(array: &Arc<dyn Array>, name: &str, make: impl Fn(&Path) -> (Box<dyn Consumer>, Plan)) {
        let mut first = None;
        for order in ORDERS {
            let folder = tempdir().unwrap();
            let path = folder.path().join(name);
            let (mut consumer, plan) = make(&path);
            let n_blocks: usize = plan.tasks().map(|task| plan.pieces(&task).count()).sum();
            assert!(n_blocks > 1, "{name}: one block shows nothing");
            consume(array, &mut *consumer, &plan, &path, order);
            drop(consumer);
            let found = run::tree(folder.path());
            assert!(first.get_or_insert_with(|| found.clone()) == &found, "{name}: the order of workers is seen");
        }
    }

    mod implementations {
        use super::*;
        use stackctl::reduce::{Reducer, Reduction, Settings};
        use stackctl::sink::zarr::ZarrFormat;
        use stackctl::sink::{figures, preview};

        fn volume() -> Arc<dyn Array> {
            Memory::of(&["t", "z", "y", "x"], &[3, 4, 37, 50], Region::new([1, 0, 0, 0], [1, 2, 37, 50]))
        }

        #[test]
        fn every_output_format() {
            for (name, format) in [
                ("a.zarr", ZarrFormat::V2),
                ("a.zarr", ZarrFormat::V3),
                ("a.npy", ZarrFormat::V3),
                ("a.tif", ZarrFormat::V3),
                ("a.btf", ZarrFormat::V3),
                ("a.ozx", ZarrFormat::V3),
                ("a.zarr.zip", ZarrFormat::V2),
                ("a.ome.tif", ZarrFormat::V3),
                ("a.raw", ZarrFormat::V3),
                ("a.npz", ZarrFormat::V3),
            ] {
                let array = volume();
                conforms(&array, name, |path| {
                    let depth = if name.contains("ome") { 1 } else { 2 };
                    let chunks = Some(vec![1, depth, 16, 16]);
                    let options = OutputOptions { format, chunks, ..OutputOptions::default() };
                    let consumer = create(path, &spec(array.axes(), array.dtype()), &options).unwrap();
                    let plan = smallest(&*array, &*consumer);
                    (consumer, plan)
                });
            }
        }

        #[test]
        fn pictures_and_tables() {
            let array = Memory::of(&["y", "x"], &[37, 50], Region::new([1, 2], [3, 4]));
            for name in ["a.png", "a.csv"] {
                conforms(&array, name, |path| {
                    let consumer = create(path, &spec(array.axes(), array.dtype()), &OutputOptions::default()).unwrap();
                    let plan = smallest(&*array, &*consumer);
                    (consumer, plan)
                });
            }
        }

        #[test]
        fn statistics_and_contact_sheets() {
            type Create = fn(&Path, &Spec, &OutputOptions) -> stackctl::error::Result<Box<dyn Consumer>>;
            let array = volume();
            let all: [(&str, Create); 3] =
                [("a.json", figures::create), ("a.csv", figures::create), ("a.png", preview::create)];
            for (name, make) in all {
                conforms(&array, name, |path| {
                    let consumer = make(path, &spec(array.axes(), array.dtype()), &OutputOptions::default()).unwrap();
                    let plan = smallest(&*array, &*consumer);
                    (consumer, plan)
                });
            }
        }

        #[test]
        fn reductions() {
            // With tiles of a task each, tiles that tasks share, and a second pass.
            for (operators, axes) in [("mean", vec![0, 1]), ("std", vec![0, 1, 2, 3]), ("median", vec![0, 1, 2, 3])] {
                let array = volume();
                conforms(&array, "a.npy", |path| {
                    let settings = Settings { operators: operators.into(), axes: axes.clone(), ..Settings::default() };
                    let reducer = Arc::new(Reducer::new(array.axes(), array.dtype(), &settings).unwrap());
                    let output = &reducer.outputs()[0];
                    let outputs =
                        vec![create(path, &spec(&output.axes, output.dtype), &OutputOptions::default()).unwrap()];
                    let reduction = Reduction::new(Arc::clone(&reducer), Box::new(|n| n * 8));
                    let plan = smallest(&*array, &reduction);
                    (Box::new(reduction.fitted(&plan, outputs)), plan)
                });
            }
        }
    }
}

/// An executor: the reference is the serial one, which is what a single thread gets.
mod executor {
    use super::*;
    use stackctl::error::{Error, Result};
    use stackctl::exec::{Terms, run as execute};
    use stackctl::grid::Region;
    use stackctl::plan::Cost;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// What is merged of `n` tasks, each its number squared after a while, and how it ended.
    fn outcome(
        threads: usize,
        n: u64,
        stop: &AtomicBool,
        work: impl Fn(u64) -> Result<()> + Sync,
        merge: impl Fn(u64) -> Result<()> + Sync,
    ) -> (Vec<u64>, Result<()>) {
        let cost = Cost { work_bytes: 1 << 10, kept_bytes: 1 << 10, ..Cost::default() };
        let terms = Terms { threads, cost, limit_bytes: 1 << 30, stop };
        assert_eq!(terms.workers(), threads);
        let (mut merged, tasks) = (Vec::new(), (0..n).map(|i| common::task(i, Region::new([i], [1]))));
        let took = |task: &stackctl::plan::Task, calls: &mut u64| {
            *calls += 1;
            std::thread::sleep(std::time::Duration::from_micros(task.index * 37 % 101));
            work(task.index).map(|()| task.index * task.index)
        };
        let ended = execute(
            tasks,
            &terms,
            || 0u64,
            took,
            |task: &stackctl::plan::Task, square| {
                merge(task.index)?;
                merged.push(square);
                Ok(())
            },
        );
        (merged, ended)
    }

    /// The whole suite.
    fn conforms(threads: usize) {
        let never = AtomicBool::new(false);
        let fine = |_: u64| Ok(());
        let squares = |n: u64| (0..n).map(|i| i * i).collect::<Vec<_>>();
        for n in [0, 1, 2, 100] {
            let (merged, ended) = outcome(threads, n, &never, fine, fine);
            assert!(ended.is_ok() && merged == squares(n));
        }
        // Of the work: what was merged before is a beginning, and the first that failed is told.
        let broken = |i: u64| if i >= 20 { Err(Error::format(i)) } else { Ok(()) };
        let (merged, ended) = outcome(threads, 100, &never, broken, fine);
        let told: u64 = ended.unwrap_err().to_string().parse().unwrap();
        assert!(merged == squares(merged.len() as u64) && merged.len() <= 20 && told < 20 + threads as u64);
        // Of the merge.
        let (merged, ended) = outcome(threads, 100, &never, fine, broken);
        assert_eq!((merged, ended.unwrap_err().to_string()), (squares(20), "20".into()));
        // From outside: what is begun is merged.
        let stop = AtomicBool::new(false);
        let stopping = |i: u64| {
            stop.store(i >= 30, Ordering::Relaxed);
            Ok(())
        };
        let (merged, ended) = outcome(threads, 10_000, &stop, fine, stopping);
        assert!(matches!(ended, Err(Error::Stopped(_))));
        assert!(merged == squares(merged.len() as u64) && (30..200).contains(&merged.len()));
        // A panic is the caller's, and nobody waits for the one that is gone.
        let panics = |i: u64| if i == 40 { panic!("as asked") } else { Ok(()) };
        let caught = catch_unwind(AssertUnwindSafe(|| outcome(threads, 10_000, &never, panics, fine)));
        assert!(caught.is_err());
    }

    mod implementations {
        use super::*;

        #[test]
        fn serial() {
            conforms(1);
        }

        #[test]
        fn threads() {
            [2, 3, 8].into_iter().for_each(conforms);
        }
    }
}
