//! Windows of display: found in one pass over blocks, however they are cut.

use stackctl::array::Kept;
use stackctl::axis::Axis;
use stackctl::block::Block;
use stackctl::consume::statistics::{DisplayWindow, Statistics};
use stackctl::dtype::{DType, Element};
use stackctl::grid::{Region, positions};

fn axes(shape: &[u64]) -> Vec<Axis> {
    ["c", "y", "x"].iter().zip(shape).map(|(n, &l)| Axis::new(*n, l)).collect()
}

fn block<T: Element>(dtype: DType, region: Region, value: impl Fn(u64, u64) -> T) -> Block {
    let mut block = Block::new(region.clone(), dtype).unwrap();
    for (to, p) in block.elements_mut::<T>().iter_mut().zip(positions(&region.shape)) {
        *to = value(p[0] + region.origin[0], (p[1] + region.origin[1]) * 100 + p[2] + region.origin[2]);
    }
    block
}

fn windows(statistics: &Statistics, blocks: &[Block]) -> Vec<Option<DisplayWindow>> {
    let mut tally = statistics.tally();
    for block in blocks {
        let mut state = Vec::new();
        statistics.look(block, &mut Kept::default(), &mut state);
        tally.add(&state).unwrap();
        assert!(state.is_empty() || statistics.tally().add(&state[..state.len() - 1]).is_err());
    }
    tally.windows()
}

#[test]
fn windows_are_those_of_all_values_however_they_are_cut() {
    let statistics = Statistics::new(&axes(&[2, 100, 100]), DType::Int16).unwrap();
    let value = |c: u64, i: u64| if c == 0 { i as i16 - 5000 } else { 7 };
    let whole = [block(DType::Int16, Region::whole(&[2, 100, 100]), value)];
    let halves = [0, 50].map(|y| block(DType::Int16, Region::new([0, y, 0], [2, 50, 100]), value));
    let found = windows(&statistics, &whole);
    assert_eq!(found, windows(&statistics, &halves));
    assert_eq!(found[0], Some(DisplayWindow { min: -5000.0, max: 4999.0, start: -4990.0, end: 4989.0 }));
    assert_eq!(found[1], Some(DisplayWindow { min: 7.0, max: 7.0, start: 7.0, end: 8.0 }));
}

#[test]
fn what_nothing_covers_does_not_count() {
    for dtype in [DType::Uint16, DType::Float32] {
        let statistics = Statistics::new(&axes(&[2, 4, 4]), dtype).unwrap();
        let whole = Region::whole(&[2, 4, 4]);
        let mut block = match dtype {
            DType::Uint16 => block(dtype, whole, |c, i| if c == 0 || i < 200 { 0u16 } else { 900 }),
            _ => block(dtype, whole, |c, i| {
                if c == 0 || i < 200 {
                    0f32
                } else if i == 200 {
                    f32::NAN
                } else {
                    900.0
                }
            }),
        };
        block.coverage.lacks(Region::new([0, 0, 0], [1, 4, 4]));
        block.coverage.lacks(Region::new([1, 0, 0], [1, 2, 4]));
        let found = windows(&statistics, &[block]);
        assert_eq!(found, [None, Some(DisplayWindow { min: 900.0, max: 900.0, start: 900.0, end: 901.0 })], "{dtype}");
    }
}

#[test]
fn rows_on_a_grid_are_counted_however_they_are_cut_and_extremes_are_exact() {
    let axes = axes(&[2, 5000, 7000]);
    let statistics = Statistics::new(&axes, DType::Uint16).unwrap();
    assert_eq!(statistics.scope(&axes), "1 in 4 along y");
    let value = |c: u64, i: u64| if c == 1 && i == 100 { 60_000u16 } else { (i % 1013) as u16 + 5 };
    let cut = |y, n| block(DType::Uint16, Region::new([0, y, 0], [2, n, 7000]), value);
    let found = windows(&statistics, &[cut(0, 9), cut(9, 2)]);
    assert_eq!(found, windows(&statistics, &[cut(0, 1), cut(1, 7), cut(8, 3)]));
    let (first, second) = (found[0].unwrap(), found[1].unwrap());
    assert_eq!((first.min, first.max, second.max), (5.0, 1017.0, 60_000.0));
    assert!(second.start < 8.0 && second.end < 1018.0 && second.end > 1014.0, "{second:?}");
}

#[test]
fn samples_do_not_depend_on_the_cut_and_extremes_are_exact() {
    let axes = axes(&[1, 3000, 3000]);
    let statistics = Statistics::new(&axes, DType::Float64).unwrap();
    assert_eq!(statistics.scope(&axes), "1 in 8 along y, 1 in 8 along x");
    let value = |_: u64, i: u64| (i % 1013) as f64;
    let cut = |y, n| block(DType::Float64, Region::new([0, y, 0], [1, n, 3000]), value);
    let found = windows(&statistics, &[cut(0, 1000), cut(1000, 2000)]);
    assert_eq!(found, windows(&statistics, &[cut(0, 5), cut(5, 995), cut(1000, 2000)]));
    let window = found[0].unwrap();
    assert_eq!((window.min, window.max), (0.0, 1012.0));
    assert!(window.start < 3.0 && window.end > 1009.0, "{window:?}");
    assert!(Statistics::new(&axes, DType::Complex64).is_none());
}
