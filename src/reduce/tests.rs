//! Operators against plain arithmetic, and any cutting against the whole.

use proptest::prelude::*;

use super::table::parse_operators;
use super::*;
use crate::axis::Axis;
use crate::block::Block;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements, positions, row_major_strides};

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
        let passed = |partial: Partial| match passing {
            Passing::Saved => {
                let bytes = partial.save();
                let loaded = reducer.load(&tile, whole, &bytes)?;
                assert_eq!(loaded.save(), bytes, "what is loaded is what was saved");
                Ok(loaded)
            }
            _ => Ok(partial),
        };
        let mut partial = reducer.start(&tile, whole);
        let blocks = loop {
            partial = passed(partial)?;
            let mut total = reducer.fork(&partial);
            for p in 0..pieces.len() {
                let mut region = pieces.region(&pieces.unravel(p));
                region.origin.iter_mut().zip(&input.origin).for_each(|(a, b)| *a += b);
                let block = block_of(shape, data, &region, dtype);
                if passing == Passing::One {
                    reducer.fold(&mut partial, &block, &[])?;
                    continue;
                }
                let mut part = passed(reducer.fork(&partial))?;
                reducer.fold(&mut part, &block, &[])?;
                reducer.combine(&mut total, passed(part)?)?;
                total = passed(total)?;
            }
            if passing != Passing::One {
                reducer.combine(&mut partial, total)?;
            }
            match reducer.finish(passed(partial)?)? {
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

fn whole(shape: &[u64], settings: &Settings) -> (Vec<u64>, Vec<u64>) {
    let reducer = Reducer::new(&axes(shape), DType::Uint8, &Settings { operators: "sum".into(), ..settings.clone() });
    (reducer.unwrap().frame(), shape.to_vec())
}

fn columns(shape: &[u64], reduced: &[usize]) -> Vec<Vec<usize>> {
    let kept: Vec<u64> = (0..shape.len()).filter(|i| !reduced.contains(i)).map(|i| shape[i]).collect();
    let mut all = vec![Vec::new(); n_elements(&kept) as usize];
    for (number, p) in positions(shape).enumerate() {
        let at = (0..shape.len()).filter(|i| !reduced.contains(i)).fold(0, |n, i| n * shape[i] + p[i]);
        all[at as usize].push(number);
    }
    all
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
    fn any_cutting_of_integers_agrees_with_the_whole(
        (shape, reduced, tile, piece) in cutting(),
        seed in any::<u64>(),
        passing in prop::sample::select(vec![Passing::One, Passing::Merged, Passing::Saved]),
        tested in any::<bool>(),
    ) {
        let data: Vec<i16> = noise(seed, n_elements(&shape)).iter().map(|&x| (x % 7) as i16 * 50 - 150).collect();
        let mut settings = settings(EXACT, &reduced);
        if tested {
            settings.predicate = ">-1000".parse().unwrap();
        }
        let (frame, all) = whole(&shape, &settings);
        let expected = reduce(&shape, &data, DType::Int16, &settings, (&frame, &all, Passing::One)).unwrap();
        let cut = reduce(&shape, &data, DType::Int16, &settings, (&tile, &piece, passing)).unwrap();
        prop_assert_eq!(expected, cut);
    }

    #[test]
    fn any_cutting_of_floats_agrees_where_order_does_not_matter(
        (shape, reduced, tile, piece) in cutting(),
        seed in any::<u64>(),
        passing in prop::sample::select(vec![Passing::One, Passing::Merged, Passing::Saved]),
    ) {
        let value = |x: u64| match x % 9 {
            0 => -0.0,
            1 => f32::INFINITY,
            2 if seed % 3 == 0 => f32::NAN,
            n => n as f32 * 0.37 - 2.0,
        };
        let data: Vec<f32> = noise(seed, n_elements(&shape)).into_iter().map(value).collect();
        let settings = settings("min,max,range,argmin,argmax,median,quantile=0.2,mode,unique,topk=1,any,all", &reduced);
        let (frame, all) = whole(&shape, &settings);
        let expected = reduce(&shape, &data, DType::Float32, &settings, (&frame, &all, Passing::One)).unwrap();
        let cut = reduce(&shape, &data, DType::Float32, &settings, (&tile, &piece, passing)).unwrap();
        prop_assert_eq!(expected, cut);
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
            settings.grouping = Some(Grouping::Every { n: 1.max(shape[reduced[0]] / 2), trim: false });
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
        let axis = reduced[0];
        let n = shape[axis];
        settings.options.weights = Some(Weights { axis: 0, values: (0..n).map(|i| i as f64 + 0.5).collect() });
        settings.operators = "mean".into();
        check(&floats, DType::Float64, &shape, &settings, &tile, &piece)?;
        settings.options.weights = None;
        settings.predicate = Predicate::default();
        settings.operators = "sum,mean,count".into();
        let complex: Vec<_> = floats.iter().map(|&re| crate::dtype::Complex { re, im: 1.0 / re }).collect();
        check(&complex, DType::Complex128, &shape, &settings, &tile, &piece)?;
    }

    #[test]
    fn results_are_those_of_plain_arithmetic((shape, reduced, _, _) in cutting(), seed in any::<u64>()) {
        let data: Vec<u16> = noise(seed, n_elements(&shape)).iter().map(|&x| (x % 300) as u16 + 60000).collect();
        let settings = settings("sum,mean,min,max,argmax,std,median,count,mode", &reduced);
        let (frame, all) = whole(&shape, &settings);
        let got = reduce(&shape, &data, DType::Uint16, &settings, (&frame, &all, Passing::One)).unwrap();
        for (i, column) in columns(&shape, &reduced).into_iter().enumerate() {
            let v: Vec<u16> = column.iter().map(|&c| data[c]).collect();
            let mut sorted = v.clone();
            sorted.sort_unstable();
            let (n, sum) = (v.len() as u64, v.iter().map(|&x| u64::from(x)).sum::<u64>());
            let mean = sum as f64 / n as f64;
            let var = v.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
            let median = (f64::from(sorted[(v.len() - 1) / 2]) + f64::from(sorted[v.len() / 2])) / 2.0;
            let count = |x: u16| v.iter().filter(|&&y| y == x).count();
            let mode = sorted.iter().copied().rev().max_by_key(|&x| count(x)).unwrap();
            prop_assert_eq!(at::<u64>(&got[0], i), sum);
            prop_assert_eq!(at::<f64>(&got[1], i), mean);
            prop_assert_eq!(at::<u16>(&got[2], i), sorted[0]);
            prop_assert_eq!(at::<u16>(&got[3], i), *sorted.last().unwrap());
            prop_assert_eq!(at::<i64>(&got[4], i), v.iter().position(|x| x == sorted.last().unwrap()).unwrap() as i64);
            prop_assert!((at::<f64>(&got[5], i) - var.sqrt()).abs() <= 1e-9 * var.sqrt().max(1e-3));
            prop_assert_eq!(at::<f64>(&got[6], i), median);
            prop_assert_eq!(at::<i64>(&got[7], i), n as i64);
            prop_assert_eq!(at::<u16>(&got[8], i), mode);
        }
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
fn long_columns_count_to_the_same_as_sorting() {
    let n = 3000usize;
    let raw = noise(7, n as u64);
    let operators = "median,quantile=0.01:0.5:0.77,mode,unique";
    fn check<T: number::Real>(dtype: DType, operators: &str, data: &[T]) {
        let n = data.len() as u64;
        let settings = settings(operators, &[0]);
        let once = reduce(&[n], data, dtype, &settings, (&[1], &[n], Passing::One)).unwrap();
        let merged = reduce(&[n], data, dtype, &settings, (&[1], &[700], Passing::Merged)).unwrap();
        assert_eq!(once, merged);
        let mut keys: Vec<_> = data.iter().map(|x| x.key()).collect();
        keys.sort_unstable();
        let quantile = |q: f64| {
            let (a, b, share) = ranks::ranks(q, n);
            let [a, b] = [a, b].map(|r| number::Real::f64(T::from_key(keys[r as usize])));
            ranks::between(a, b, share)
        };
        let result = |i: usize, k: usize| -> f64 {
            if dtype.is_float() { at::<T>(&once[i], k).f64() } else { at::<f64>(&once[i], k) }
        };
        let same = |x: f64, y: f64| (x - y).abs() <= 1e-7 * y.abs();
        assert!(same(result(0, 0), quantile(0.5)));
        for (k, q) in [0.01, 0.5, 0.77].into_iter().enumerate() {
            assert!(same(result(1, k), quantile(q)), "{dtype} {q}");
        }
        let mut distinct = keys.clone();
        distinct.dedup();
        assert_eq!(at::<i64>(&once[3], 0), distinct.len() as i64);
        let n_of = |k: T::Key| keys.iter().filter(|&&x| x == k).count();
        let mode = distinct.iter().rev().copied().max_by_key(|&k| n_of(k)).unwrap();
        assert_eq!(at::<T>(&once[2], 0).key(), mode);
    }
    check(DType::Uint8, operators, &raw.iter().map(|&x| x as u8).collect::<Vec<_>>());
    check(DType::Int16, operators, &raw.iter().map(|&x| x as i16).collect::<Vec<_>>());
    check(DType::Uint32, operators, &raw.iter().map(|&x| x as u32).collect::<Vec<_>>());
    check(DType::Int64, operators, &raw.iter().map(|&x| (x as i64 - (1 << 30)) << 20).collect::<Vec<_>>());
    check(DType::Float32, operators, &raw.iter().map(|&x| x as f32 - 1e9).collect::<Vec<_>>());
    check(DType::Float64, operators, &raw.iter().map(|&x| (x as f64 - 1e9) / 3.0).collect::<Vec<_>>());
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
        let Outcome::Again(next) = ours.finish(partial).unwrap() else { panic!("digits take four passes") };
        partial = next;
    }
}

#[test]
fn bright_flat_data_keep_their_variance() {
    let data: Vec<u16> = noise(3, 100_000).iter().map(|&x| 60000 + (x % 3) as u16).collect();
    let floats: Vec<f64> = data.iter().map(|&x| f64::from(x) + 1e9).collect();
    let mean = data.iter().map(|&x| f64::from(x - 60000)).sum::<f64>() / 1e5;
    let var = data.iter().map(|&x| (f64::from(x - 60000) - mean).powi(2)).sum::<f64>() / 1e5;
    let settings = settings("var", &[0]);
    let got = reduce(&[100_000], &data, DType::Uint16, &settings, (&[1], &[7777], Passing::Merged)).unwrap();
    assert!((at::<f64>(&got[0], 0) - var).abs() < 1e-12);
    let got = reduce(&[100_000], &floats, DType::Float64, &settings, (&[1], &[7777], Passing::Merged)).unwrap();
    assert!((at::<f64>(&got[0], 0) - var).abs() < 1e-12, "{} {var}", at::<f64>(&got[0], 0));
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
fn conditions_choose_elements() {
    let data: Vec<i16> = vec![-3, 5, 0, 7, -1, -2];
    let mut settings = settings("mean,count,sum,any", &[1]);
    settings.predicate = ">0".parse().unwrap();
    let got = reduce(&[2, 3], &data, DType::Int16, &settings, (&[2, 1], &[2, 3], Passing::One)).unwrap();
    assert_eq!([at::<f64>(&got[0], 0), at::<f64>(&got[0], 1)], [5.0, 7.0]);
    assert_eq!([at::<i64>(&got[1], 0), at::<i64>(&got[1], 1)], [1, 1]);
    settings.operators = "min".into();
    settings.predicate = ">5".parse().unwrap();
    let error = reduce(&[2, 3], &data, DType::Int16, &settings, (&[2, 1], &[2, 3], Passing::One)).unwrap_err();
    assert!(error.to_string().starts_with("min at a0=0: no element is left"), "{error}");
    settings.operators = "mean".into();
    let got = reduce(&[2, 3], &data, DType::Int16, &settings, (&[2, 1], &[2, 3], Passing::One)).unwrap();
    assert!(at::<f64>(&got[0], 0).is_nan());
}

#[test]
fn groups_and_windows_run_along_one_axis() {
    let data: Vec<u8> = (0..14).collect();
    for (grouping, expected) in [
        (Grouping::Every { n: 3, trim: false }, vec![6u64, 9, 24, 27, 12, 13]),
        (Grouping::Every { n: 3, trim: true }, vec![6, 9, 24, 27]),
        (Grouping::Window { n: 6 }, vec![30, 36, 42, 48]),
    ] {
        let settings = Settings { grouping: Some(grouping), ..settings("sum", &[0]) };
        for tile in [[1, 1], [2, 2], [9, 9]] {
            let got = reduce(&[7, 2], &data, DType::Uint8, &settings, (&tile, &[2, 2], Passing::One)).unwrap();
            assert_eq!(bytemuck::pod_collect_to_vec::<u8, u64>(&got[0]), expected, "{grouping:?} {tile:?}");
        }
    }
}

#[test]
fn absent_regions_leave_the_count() {
    let data = [1u8, 2, 3, 4, 5, 6];
    let shape = [2, 3];
    let settings = Settings { skip_absent: true, ..settings("sum,count", &[1]) };
    let reducer = Reducer::new(&axes(&shape), DType::Uint8, &settings).unwrap();
    let block = block_of(&shape, &data, &Region::whole(&shape), DType::Uint8);
    let tile = Region::whole(&reducer.frame());
    let partial = reducer.chunk(&tile, &block, &[Region::new([1, 0], [1, 2])]).unwrap();
    let Outcome::Done(blocks) = reducer.finish(partial).unwrap() else { panic!("one pass") };
    assert_eq!(blocks[0].elements::<u64>(), [6, 6]);
    assert_eq!(blocks[1].elements::<i64>(), [3, 1]);
}

#[test]
fn operators_are_read_with_their_arguments() {
    let options = Options::default();
    let labels = |text: &str| -> Result<Vec<String>> {
        Ok(parse_operators(text, &options)?.into_iter().map(|o| o.label).collect())
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
    list[0].calibration =
        Some(crate::axis::Calibration { step: 0.5, unit: None, from: crate::axis::Provenance::ImageJ });
    let every = Some(Grouping::Every { n: 4, trim: false });
    let settings = Settings { grouping: every, ..settings("quantile=0.1:0.9,max", &[0]) };
    let reducer = Reducer::new(&list, DType::Uint8, &settings).unwrap();
    let [quantiles, max] = reducer.outputs() else { panic!("two operators") };
    assert_eq!(quantiles.shape(), [2, 2, 2]);
    assert_eq!(quantiles.axes[0].coordinates.as_deref(), Some(&[0.1, 0.9][..]));
    assert_eq!(max.axes[0].calibration.as_ref().unwrap().step, 2.0);
    assert_eq!(max.dtype, DType::Uint8);
    assert_eq!(quantiles.dtype, DType::Float64);
    assert_eq!(quantiles.file_part(), "quantile-0.1-0.9");
}
