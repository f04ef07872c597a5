//! Which elements count: comparisons with numbers.

use std::cmp::Ordering;

use multiversion::multiversion;

use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::reduce::number::{Integer, Real};
use crate::reduce::panel::Panel;
use crate::with_class;

/// Which elements pass: the lesser than a number, the equal, the greater.
type Comparison = [bool; 3];

/// A number given as text: an integer as long as it can be one, so that 64-bit integers compare exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Int(i128),
    Float(f64),
}

/// A condition that elements must meet to count: comparisons, all of which must hold.
///
/// Written `>0`, `!=nan`, `>=10,<20`. NaN is equal to `nan` and to nothing else, and neither greater nor less
/// than anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicate {
    tests: Vec<(Comparison, Number)>,
    /// Whether NaN is left out.
    skip_nan: bool,
}

impl std::str::FromStr for Predicate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let tests = text.split(',').map(|t| parse_test(t.trim()).ok_or_else(|| fault(text))).collect::<Result<_>>()?;
        Ok(Self { tests, skip_nan: false })
    }
}

fn fault(text: &str) -> Error {
    Error::usage(format!(
        "--where '{text}': expected comparisons with numbers, joined by commas if all must hold, \
         as in '>0', '!=nan' or '>=10,<20'"
    ))
}

fn parse_test(text: &str) -> Option<(Comparison, Number)> {
    const SIGNS: [(&str, Comparison); 7] = [
        ("<=", [true, true, false]),
        (">=", [false, true, true]),
        ("==", [false, true, false]),
        ("!=", [true, false, true]),
        ("<", [true, false, false]),
        (">", [false, false, true]),
        ("=", [false, true, false]),
    ];
    let (sign, comparison) = SIGNS.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let number = text[sign.len()..].trim();
    let int = number.parse::<i128>().ok().filter(|n| (i64::MIN.into()..=u64::MAX.into()).contains(n));
    let number = match int {
        Some(n) => Number::Int(n),
        None => Number::Float(number.parse().ok()?),
    };
    Some((comparison, number))
}

impl Predicate {
    /// The same condition, with NaN left out or not.
    #[must_use]
    pub fn skipping_nan(mut self, skip: bool) -> Self {
        self.skip_nan = skip;
        self
    }

    /// Whether it may leave out elements of `dtype`.
    pub fn is_needed(&self, dtype: DType) -> bool {
        self.compares() || self.skip_nan && (dtype.is_float() || dtype.is_complex())
    }

    /// Whether it compares elements, which complex ones do not allow.
    pub fn compares(&self) -> bool {
        !self.tests.is_empty()
    }

    /// Writes 1 to `mask` for each element of `panel` that counts, 0 for others; leaves zeros as they are.
    ///
    /// Returns whether all do.
    pub(super) fn apply(&self, panel: &Panel<'_>, dtype: DType, mask: &mut [u8]) -> bool {
        let rows = mask.chunks_exact_mut(panel.n_columns).enumerate();
        with_class!(
            dtype,
            int T => self.apply_rows::<T>(rows.map(|(row, mask)| (panel.row(row), mask))),
            float T => self.apply_rows::<T>(rows.map(|(row, mask)| (panel.row(row), mask))),
            complex T => for (row, mask) in rows {
                let numbers = |z: &Complex<T>| !z.re.is_nan() && !z.im.is_nan();
                panel.row(row).iter().zip(mask).for_each(|(z, m)| *m &= u8::from(numbers(z)));
            }
        );
        !mask.contains(&0)
    }

    fn apply_rows<'a, T: Real>(&self, rows: impl Iterator<Item = (&'a [T], &'a mut [u8])>) {
        let bounds: Vec<Bounds<T>> = self.tests.iter().map(|&test| Bounds::new(test)).collect();
        for (values, mask) in rows {
            if self.skip_nan && T::FLOAT {
                values.iter().zip(mask.iter_mut()).for_each(|(x, m)| *m &= u8::from(!x.is_nan()));
            }
            bounds.iter().for_each(|bounds| within(values, mask, bounds));
        }
    }
}

/// A comparison as a range of keys, both ends in it, or as all but those.
struct Bounds<T: Real> {
    least: T::Key,
    greatest: T::Key,
    inverted: bool,
}

impl<T: Real> Bounds<T> {
    fn new(([less, equal, greater], number): (Comparison, Number)) -> Self {
        let inverted = less && greater;
        // NaN has the greatest key of floats; it is only ever equal to NaN.
        let nan = T::Key::MAX;
        let top = if T::FLOAT { T::Key::from_bits(nan.bits() - 1) } else { nan };
        let none = Self { least: T::Key::MAX, greatest: T::Key::MIN, inverted };
        if matches!(number, Number::Float(x) if x.is_nan()) {
            let is_nan = T::FLOAT && less == greater;
            return if is_nan { Self { least: nan, greatest: nan, inverted } } else { none };
        }
        // Elements are in the order of their keys: find the first that is not below the number, and the first
        // above it, by halving the range of keys.
        let end = u128::from(top.bits()) + 1;
        let first = |above: bool| {
            let (mut low, mut high) = (0, end);
            while low < high {
                let middle = low + (high - low) / 2;
                let order = compare::<T>(T::Key::from_bits(middle as u64), number);
                if order == Ordering::Less || above && order == Ordering::Equal {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            low
        };
        let (at, beyond) = (first(false), first(true));
        let from = if less && !inverted {
            0
        } else if equal || inverted {
            at
        } else {
            beyond
        };
        let to = if greater && !inverted {
            end
        } else if equal || inverted {
            beyond
        } else {
            at
        };
        if from >= to {
            return none;
        }
        Self { least: T::Key::from_bits(from as u64), greatest: T::Key::from_bits((to - 1) as u64), inverted }
    }
}

/// Compares the element of `key` exactly. Keys at both ends that stand for no number keep their order.
fn compare<T: Real>(key: T::Key, number: Number) -> Ordering {
    let x = T::from_key(key);
    if x.is_nan() {
        return if key > T::default().key() { Ordering::Greater } else { Ordering::Less };
    }
    match number {
        Number::Int(n) if !T::FLOAT => x.i128().cmp(&n),
        // Whole numbers of up to 64 bits given for floats are compared as floats.
        Number::Int(n) => x.f64().partial_cmp(&(n as f64)).unwrap_or(Ordering::Less),
        Number::Float(y) if T::FLOAT => x.f64().partial_cmp(&y).unwrap_or(Ordering::Less),
        // An integer and a float: the float's floor is an integer, or beyond all, where it is cut off.
        Number::Float(y) => x.i128().cmp(&(y.floor() as i128)).then(y.floor().total_cmp(&y)),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn within<T: Real>(values: &[T], mask: &mut [u8], bounds: &Bounds<T>) {
    let &Bounds { least, greatest, inverted } = bounds;
    let flip = u8::from(inverted);
    for (m, &x) in mask.iter_mut().zip(values) {
        let key = x.key();
        *m &= u8::from((key >= least) & (key <= greatest)) ^ flip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing<T: Real>(text: &str, values: &[T]) -> Vec<usize> {
        let predicate: Predicate = text.parse().unwrap();
        let mut mask = vec![1; values.len()];
        predicate.apply_rows(std::iter::once((values, &mut mask[..])));
        (0..values.len()).filter(|&i| mask[i] == 1).collect()
    }

    #[test]
    fn comparisons_are_exact_at_the_ends() {
        assert_eq!(passing(">0", &[0u16, 1, 65535]), [1, 2]);
        assert_eq!(passing(">=10,<20", &[9i8, 10, 19, 20]), [1, 2]);
        assert_eq!(passing("!=3", &[3u8, 4]), [1]);
        assert_eq!(passing("=3", &[3u8, 4]), [0]);
        assert_eq!(passing("<2.5", &[2i32, 3]), [0]);
        assert_eq!(passing(">-1", &[0u8, 255]), [0, 1]);
        assert_eq!(passing(">300", &[0u8, 255]), [0usize; 0]);
        assert_eq!(passing("<=18446744073709551615", &[u64::MAX]), [0]);
        assert_eq!(passing(">18446744073709551614", &[u64::MAX, u64::MAX - 1]), [0]);
        assert_eq!(passing("<-9223372036854775807", &[i64::MIN, i64::MIN + 1]), [0]);
        assert_eq!(passing("!=1.5", &[1u8, 2]), [0, 1]);
    }

    #[test]
    fn nan_is_equal_to_nan_alone() {
        let v = [f64::NAN, -0.0, 0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(passing("!=nan", &v), [1, 2, 3, 4, 5]);
        assert_eq!(passing("==nan", &v), [0]);
        assert_eq!(passing(">0", &v), [3, 4]);
        assert_eq!(passing(">=0", &v), [1, 2, 3, 4]);
        assert_eq!(passing("!=0", &v), [0, 3, 4, 5]);
        assert_eq!(passing("<inf", &v), [1, 2, 3, 5]);
        assert_eq!(passing(">=-inf", &v), [1, 2, 3, 4, 5]);
        assert_eq!(passing("<=0", &v), [1, 2, 5]);
    }

    #[test]
    fn what_is_no_comparison_is_refused() {
        for bad in ["", "0", ">", ">x", ">0,", "=>1"] {
            assert!(bad.parse::<Predicate>().is_err(), "{bad}");
        }
    }
}
