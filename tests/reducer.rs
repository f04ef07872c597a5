//! Operators against plain arithmetic, and any cutting against the whole.

use proptest::prelude::*;

use stackctl::axis::{Axis, Calibration, Provenance};
use stackctl::block::Block;
use stackctl::dtype::{Complex, DType, Element};
use stackctl::error::{Error, Result};
use stackctl::grid::{Grid, Region, n_elements, positions, row_major_strides};
use stackctl::reduce::{Grouping, OPERATORS, Outcome, Partial, Predicate, Reducer, Settings};

fn axes(shape: &[u64]) -> Vec<Axis> {
    shape.iter().enumerate().map(|(i, &n)| Axis::new(format!("a{i}"), n)).collect()
}

fn block_of<T: Element>(shape: &[u64], data: &[T], region: &Region, dtype: DType) -> Block {
    let strides = row_major_strides(shape);
    let mut block = Block::new(region.clone(), dtype).unwrap();
    for (slot, p) in block.elements_mut::<T>().iter_mut().zip(positions(&region.shape)) {
        let at: u64 = (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum();
        *slot = data[at as usize];
    }
    block
}

/// How states pass from piece to piece.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Passing {
    /// One state folds all pieces.
    One,
    /// A state for each piece, merged in order.
    Merged,
    /// As `Merged`, but every state is saved and loaded before it goes on.
    Saved,
    /// As `Saved`, from the last one to the first.
    Backwards,
}

/// Reduces `data` in tiles of `tile` and pieces of `piece`.
fn reduce<T: Element>(
    shape: &[u64],
    data: &[T],
    dtype: DType,
    settings: &Settings,
    (tile, piece, passing): (&[u64], &[u64], Passing),
) -> Result<Vec<Vec<u8>>> {
    let reducer = Reducer::new(&axes(shape), dtype, settings)?;
    let mut results: Vec<Block> =
        reducer.outputs().iter().map(|o| Block::new(Region::whole(&o.shape()), o.dtype).unwrap()).collect();
    let frame = reducer.frame();
    let tiles = Grid::new(&frame, tile);
    for t in 0..tiles.len() {
        let tile = tiles.region(&tiles.unravel(t));
        let input = reducer.input_of(&tile);
        // Pieces are cut along reduced axes only.
        let cell: Vec<u64> =
            (0..shape.len()).map(|i| if reducer.reduced()[i] { piece[i] } else { input.shape[i] }).collect();
        let pieces = Grid::new(&input.shape, &cell);
        let whole = pieces.len() == 1;
        let passed = |partial: Partial| {
            if matches!(passing, Passing::One | Passing::Merged) {
                return Ok(partial);
            }
            let bytes = partial.save();
            let loaded = || reducer.load(&tile, whole, &bytes);
            assert_eq!(loaded()?.save(), bytes, "what is loaded is what was saved");
            loaded()
        };
        let mut partial = reducer.start(&tile, whole);
        let blocks = loop {
            let empty = partial.save();
            let fresh = || passed(reducer.load(&tile, whole, &empty)?);
            let mut total = fresh()?;
            for p in 0..pieces.len() {
                let p = if passing == Passing::Backwards { pieces.len() - 1 - p } else { p };
                let mut region = pieces.region(&pieces.unravel(p));
                region.origin.iter_mut().zip(&input.origin).for_each(|(a, b)| *a += b);
                let block = block_of(shape, data, &region, dtype);
                if passing == Passing::One {
                    reducer.fold(&mut total, &block, &[])?;
                    continue;
                }
                let mut part = fresh()?;
                reducer.fold(&mut part, &block, &[])?;
                reducer.combine(&mut total, &passed(part)?.save())?;
                total = passed(total)?;
            }
            match reducer.finish(total)? {
                Outcome::Done(blocks) => break blocks,
                Outcome::Again(next) => partial = next,
            }
        };
        for (result, block) in results.iter_mut().zip(blocks) {
            result.target().part(block.region()).paste(block.bytes());
        }
    }
    Ok(results.into_iter().map(|b| b.bytes().to_vec()).collect())
}

const EXACT: &str = "sum,mean,min,max,range,argmin,argmax,var,std,rms,median,quantile=0:0.3:1,mode,unique,count,\
                     any,all,topk=1,topk=-1,histogram=5:-10:300";

/// Those that say something of no element.
const PATIENT: &str = "sum,mean,var,std,rms,median,quantile=0:0.3:1,unique,count,any,all,prod,histogram=5:-10:300";

fn settings(operators: &str, axes: &[usize]) -> Settings {
    Settings { operators: operators.into(), axes: axes.to_vec(), ..Settings::default() }
}

fn cutting() -> impl Strategy<Value = (Vec<u64>, Vec<usize>, Vec<u64>, Vec<u64>)> {
    prop::collection::vec((1u64..6, any::<bool>(), 1u64..6, 1u64..6), 1..5).prop_map(|dims| {
        let shape: Vec<u64> = dims.iter().map(|d| d.0).collect();
        let mut reduced: Vec<usize> = (0..dims.len()).filter(|&i| dims[i].1).collect();
        if reduced.is_empty() {
            reduced.push(0);
        }
        (shape, reduced, dims.iter().map(|d| d.2).collect(), dims.iter().map(|d| d.3).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_cutting_agrees_with_the_whole(
        (shape, reduced, tile, piece) in cutting(),
        seed in any::<u64>(),
        passing in prop::sample::select(vec![Passing::One, Passing::Merged, Passing::Saved]),
        tested in any::<bool>(),
    ) {
        let all = vec![u64::from(u8::MAX); shape.len()];
        let cuttings = [(&all, &all, Passing::One), (&tile, &piece, passing)];
        let numbers = noise(seed, n_elements(&shape));
        let mut exact = settings(EXACT, &reduced);
        if tested {
            exact.predicate = ">-1000".parse().unwrap();
        }
        let data: Vec<i16> = numbers.iter().map(|&x| (x % 7) as i16 * 50 - 150).collect();
        let [whole, cut] = cuttings
            .map(|(tile, piece, passing)| reduce(&shape, &data, DType::Int16, &exact, (tile, piece, passing)).unwrap());
        prop_assert_eq!(whole, cut);
        let value = |&x: &u64| match x % 9 {
            0 => -0.0,
            1 => f32::INFINITY,
            2 if seed % 3 == 0 => f32::NAN,
            n => n as f32 * 0.37 - 2.0,
        };
        let data: Vec<f32> = numbers.iter().map(value).collect();
        let any_order = settings("min,max,range,argmin,argmax,median,quantile=0.2,mode,unique,topk=1,any,all", &reduced);
        let [whole, cut] = cuttings.map(|(tile, piece, passing)| {
            reduce(&shape, &data, DType::Float32, &any_order, (tile, piece, passing)).unwrap()
        });
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn states_that_may_be_joined_in_any_order_can((shape, reduced, tile, piece) in cutting(), seed in any::<u64>()) {
        fn check<T: Element>(
            data: &[T], dtype: DType, shape: &[u64], settings: &Settings, tile: &[u64], piece: &[u64],
        ) -> std::result::Result<bool, TestCaseError> {
            let any_order = Reducer::new(&axes(shape), dtype, settings).unwrap().in_any_order();
            if any_order {
                let [forth, back] = [Passing::Saved, Passing::Backwards]
                    .map(|passing| reduce(shape, data, dtype, settings, (tile, piece, passing)).unwrap());
                prop_assert_eq!(forth, back, "{} of {}", settings.operators, dtype);
            }
            Ok(any_order)
        }
        let numbers = noise(seed, n_elements(&shape));
        let (floats, ints): (Vec<f32>, Vec<i16>) =
            numbers.iter().map(|x| ((x % 90) as f32 / 7.0 - 4.0, (x % 9) as i16 - 3)).unzip();
        let (mut of_floats, mut of_ints) = (0, 0);
        for operator in EXACT.split(',').chain(["prod"]) {
            let settings = settings(operator, &reduced);
            of_floats += usize::from(check(&floats, DType::Float32, &shape, &settings, &tile, &piece)?);
            of_ints += usize::from(check(&ints, DType::Int16, &shape, &settings, &tile, &piece)?);
        }
        prop_assert_eq!((of_floats, of_ints), (13, 18));
    }

    #[test]
    fn saved_states_go_on_as_if_they_had_never_left(
        (shape, reduced, tile, piece) in cutting(),
        seed in any::<u64>(),
        tested in any::<bool>(),
        every in any::<bool>(),
    ) {
        let numbers = noise(seed, n_elements(&shape));
        let mut settings = settings(&format!("{EXACT},prod"), &reduced);
        if tested {
            settings.operators = PATIENT.into();
            settings.predicate = "!=3".parse::<Predicate>().unwrap().skipping_nan(true);
        }
        if every && reduced.len() == 1 {
            settings.groupings = vec![(reduced[0], Grouping::every(1.max(shape[reduced[0]] / 2), false))];
        }
        fn check<T: Element>(
            data: &[T], dtype: DType, shape: &[u64], settings: &Settings, tile: &[u64], piece: &[u64],
        ) -> std::result::Result<(), TestCaseError> {
            let [merged, saved] = [Passing::Merged, Passing::Saved].map(|passing| {
                reduce(shape, data, dtype, settings, (tile, piece, passing)).map_err(|e| e.to_string())
            });
            prop_assert_eq!(merged, saved);
            Ok(())
        }
        let value = |x: &u64| if x.is_multiple_of(11) && seed % 2 == 0 { f64::NAN } else { (x % 90) as f64 / 7.0 - 4.0 };
        let (floats, ints): (Vec<f64>, Vec<i32>) = numbers.iter().map(|x| (value(x), (x % 9) as i32 - 3)).unzip();
        check(&floats, DType::Float64, &shape, &settings, &tile, &piece)?;
        check(&ints, DType::Int32, &shape, &settings, &tile, &piece)?;
        settings.weights = Some((0..shape[reduced[0]]).map(|i| i as f64 + 0.5).collect());
        settings.operators = "mean".into();
        check(&floats, DType::Float64, &shape, &settings, &tile, &piece)?;
        settings.weights = None;
        settings.predicate = Predicate::default();
        settings.operators = "sum,mean,count".into();
        let complex: Vec<_> = floats.iter().map(|&re| Complex { re, im: 1.0 / re }).collect();
        check(&complex, DType::Complex128, &shape, &settings, &tile, &piece)?;
    }
}

fn at<T: Element>(bytes: &[u8], i: usize) -> T {
    bytemuck::pod_collect_to_vec::<u8, T>(bytes)[i]
}

fn noise(seed: u64, n: u64) -> Vec<u64> {
    // Numerical Recipes' constants; the high bits are good enough for test data.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn long_columns_count_to_the_same_in_parts() {
    fn check<T: Element>(dtype: DType, value: impl Fn(u64) -> T) {
        let data: Vec<T> = noise(7, 3000).into_iter().map(value).collect();
        let settings = settings("median,quantile=0.01:0.5:0.77,mode,unique", &[0]);
        let once = reduce(&[3000], &data, dtype, &settings, (&[1], &[3000], Passing::One)).unwrap();
        let merged = reduce(&[3000], &data, dtype, &settings, (&[1], &[700], Passing::Merged)).unwrap();
        assert_eq!(once, merged);
    }
    check(DType::Uint8, |x| x as u8);
    check(DType::Int16, |x| x as i16);
    check(DType::Uint32, |x| x as u32);
    check(DType::Int64, |x| (x as i64 - (1 << 30)) << 20);
    check(DType::Float32, |x| x as f32 - 1e9);
    check(DType::Float64, |x| (x as f64 - 1e9) / 3.0);
}

#[test]
fn damaged_and_foreign_states_are_refused() {
    let n = 3000;
    let data: Vec<u32> = noise(5, n).iter().map(|&x| x as u32).collect();
    let block = block_of(&[n], &data, &Region::whole(&[n]), DType::Uint32);
    let tile = Region::whole(&[1]);
    let reducer = |operators: &str| Reducer::new(&axes(&[n]), DType::Uint32, &settings(operators, &[0])).unwrap();
    let ours = reducer("median,mode,std,argmax,topk=3,histogram=9:0:1e9");
    let mut partial = ours.start(&tile, false);
    for pass in 0..2 {
        ours.fold(&mut partial, &block, &[]).unwrap();
        let bytes = partial.save();
        let refused = |reducer: &Reducer, bytes: &[u8]| match reducer.load(&tile, false, bytes) {
            Err(Error::Format(_)) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{} bytes of pass {pass} were taken", bytes.len()),
        };
        refused(&reducer("median"), &bytes);
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
            refused(&ours, &bytes[..cut]);
            let mut flipped = bytes.clone();
            flipped[cut] ^= 0x81;
            refused(&ours, &flipped);
            // One that even has the right checksum is refused or taken, but does no harm.
            let body = flipped.len() - 4;
            let checksum = crc32c::crc32c(&flipped[..body]).to_le_bytes();
            flipped[body..].copy_from_slice(&checksum);
            let _ = ours.load(&tile, false, &flipped);
        }
        let loaded = ours.load(&tile, false, &bytes).unwrap();
        let Outcome::Again(next) = ours.finish(loaded).unwrap() else { panic!("digits take four passes") };
        partial = next;
    }
}

#[test]
fn bright_flat_data_keep_their_variance() {
    let n = 100_000;
    let data: Vec<u16> = noise(3, n).iter().map(|&x| 60000 + (x % 3) as u16).collect();
    let floats: Vec<f64> = data.iter().map(|&x| f64::from(x) + 1e9).collect();
    let mean = data.iter().map(|&x| f64::from(x - 60000)).sum::<f64>() / n as f64;
    let var = data.iter().map(|&x| (f64::from(x - 60000) - mean).powi(2)).sum::<f64>() / n as f64;
    let (settings, cutting) = (settings("var", &[0]), (&[1u64][..], &[7777u64][..], Passing::Merged));
    let ints = reduce(&[n], &data, DType::Uint16, &settings, cutting).unwrap();
    let floats = reduce(&[n], &floats, DType::Float64, &settings, cutting).unwrap();
    assert!([ints, floats].iter().all(|got| (at::<f64>(&got[0], 0) - var).abs() < 1e-12));
}

#[test]
fn sums_do_not_wrap() {
    let settings = settings("sum", &[0]);
    let big = vec![u64::MAX; 3];
    let error = reduce(&[3], &big, DType::Uint64, &settings, (&[1], &[3], Passing::One)).unwrap_err();
    assert!(error.to_string().starts_with("sum: the result 55340232221128654845 does not fit uint64"), "{error}");
    let doubles = Settings { dtype: Some(DType::Float64), ..settings.clone() };
    let got = reduce(&[3], &big, DType::Uint64, &doubles, (&[1], &[1], Passing::Merged)).unwrap();
    assert_eq!(at::<f64>(&got[0], 0), 3.0 * 2f64.powi(64));
    // More than a 32-bit partial sum can take.
    let long = vec![u16::MAX; 200_000];
    let got = reduce(&[200_000], &long, DType::Uint16, &settings, (&[1], &[200_000], Passing::One)).unwrap();
    assert_eq!(at::<u64>(&got[0], 0), 200_000 * 65_535);
    let got = reduce(&[200_000, 1], &long, DType::Uint16, &settings, (&[1, 1], &[70_000, 1], Passing::One)).unwrap();
    assert_eq!(at::<u64>(&got[0], 0), 200_000 * 65_535);
    // Cancellation that plain float64 sums lose.
    let cancelling = [1e16, 1.0, -1e16, 3.0];
    let got = reduce(&[4], &cancelling, DType::Float64, &settings, (&[1], &[4], Passing::One)).unwrap();
    assert_eq!(at::<f64>(&got[0], 0), 4.0);
}

#[test]
fn groups_and_windows_run_along_one_axis() {
    let data: Vec<u8> = (0..14).collect();
    for (grouping, expected) in [
        (Grouping::every(3, false), vec![6u64, 9, 24, 27, 12, 13]),
        (Grouping::every(3, true), vec![6, 9, 24, 27]),
        (Grouping::window(6), vec![30, 36, 42, 48]),
    ] {
        let settings = Settings { groupings: vec![(0, grouping)], ..settings("sum", &[0]) };
        for tile in [[1, 1], [2, 2], [9, 9]] {
            let got = reduce(&[7, 2], &data, DType::Uint8, &settings, (&tile, &[2, 2], Passing::One)).unwrap();
            assert_eq!(bytemuck::pod_collect_to_vec::<u8, u64>(&got[0]), expected, "{grouping:?} {tile:?}");
        }
    }
}

#[test]
fn groups_of_several_axes_are_boxes() {
    let data: Vec<u8> = (0..3 * 5 * 7).collect();
    let groupings = vec![(0, Grouping::window(2)), (2, Grouping::every(3, false))];
    let (settings, mut expected) = (Settings { groupings, ..settings("sum", &[0, 2]) }, Vec::new());
    for (z, y, x) in (0..2).flat_map(|z| (0..5).flat_map(move |y| (0..3).map(move |x| (z, y, x)))) {
        let row = |z: u64| (3 * x..7.min(3 * x + 3)).map(move |x| 35 * z + 7 * y + x).sum::<u64>();
        expected.push(row(z) + row(z + 1));
    }
    for (tile, piece) in [([1, 1, 1], [1, 5, 2]), ([2, 5, 3], [3, 5, 7]), ([2, 2, 2], [1, 1, 7])] {
        let got = reduce(&[3, 5, 7], &data, DType::Uint8, &settings, (&tile, &piece, Passing::One)).unwrap();
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, u64>(&got[0]), expected, "{tile:?}");
    }
}

#[test]
fn operators_are_read_with_their_arguments() {
    let labels = |text: &str| -> Result<Vec<String>> {
        let reducer = Reducer::new(&axes(&[4]), DType::Uint8, &settings(text, &[0]))?;
        Ok(reducer.outputs().iter().map(|o| o.label.clone()).collect())
    };
    assert_eq!(labels("max, quantile=0.1:0.90,topk=-3").unwrap(), ["max", "quantile=0.1:0.9", "topk=-3"]);
    for bad in ["", "maxx", "max=3", "quantile", "quantile=2", "quantile=0.1,0.9", "topk=0", "max,max"] {
        assert!(labels(bad).is_err(), "{bad}");
    }
    for kind in OPERATORS {
        assert!(kind.name == "quantile" || kind.name == "topk" || labels(kind.name).is_ok(), "{}", kind.name);
    }
}

#[test]
fn axes_that_survive_keep_what_is_known_of_them() {
    let mut list = axes(&[6, 2]);
    list[0].calibration = Some(Calibration { step: 0.5, unit: None, from: Provenance::ImageJ });
    let groupings = vec![(0, Grouping::every(4, false))];
    let settings = Settings { groupings, ..settings("quantile=0.1:0.9,max", &[0]) };
    let reducer = Reducer::new(&list, DType::Uint8, &settings).unwrap();
    let [quantiles, max] = reducer.outputs() else { panic!("two operators") };
    assert_eq!(quantiles.shape(), [2, 2, 2]);
    assert_eq!(quantiles.axes[0].coordinates.as_deref(), Some(&[0.1, 0.9][..]));
    assert_eq!(max.axes[0].calibration.as_ref().unwrap().step, 2.0);
    assert_eq!(max.dtype, DType::Uint8);
    assert_eq!(quantiles.dtype, DType::Float64);
    assert_eq!(quantiles.file_part(), "quantile-0.1-0.9");
}
