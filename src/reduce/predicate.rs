//! Which elements count: comparisons with numbers.

use multiversion::multiversion;

use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::reduce::number::{Key, Real, with_real};
use crate::reduce::panel::Panel;

/// How an element is compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    NotEqual,
}

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
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("=", Comparison::Equal),
    ];
    let (sign, comparison) = SIGNS.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let number = text[sign.len()..].trim();
    let number = match number.parse::<i64>() {
        Ok(n) => Number::Int(n.into()),
        Err(_) => match number.parse::<u64>() {
            Ok(n) => Number::Int(n.into()),
            Err(_) => Number::Float(number.parse().ok()?),
        },
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
        !self.tests.is_empty() || self.skip_nan && (dtype.is_float() || dtype.is_complex())
    }

    /// Whether it compares elements, which complex ones do not allow.
    pub fn compares(&self) -> bool {
        !self.tests.is_empty()
    }

    /// Writes 1 to `mask` for each element of `panel` that counts, 0 for others; leaves zeros as they are.
    ///
    /// Returns whether all do.
    pub(super) fn apply(&self, panel: &Panel<'_>, dtype: DType, mask: &mut [u8]) -> bool {
        match dtype {
            DType::Complex64 => skip_complex::<f32>(panel, mask),
            DType::Complex128 => skip_complex::<f64>(panel, mask),
            _ => with_real!(dtype, T => {
                let bounds = self.bounds::<T>();
                for (row, mask) in mask.chunks_exact_mut(panel.n_columns).enumerate() {
                    self.apply_row::<T>(&bounds, panel.row::<T>(row), mask);
                }
            }),
        }
        !mask.contains(&0)
    }

    fn bounds<T: Real>(&self) -> Vec<Bounds<T>> {
        self.tests.iter().map(|&(comparison, number)| Bounds::new(comparison, number)).collect()
    }

    fn apply_row<T: Real>(&self, bounds: &[Bounds<T>], values: &[T], mask: &mut [u8]) {
        if self.skip_nan && T::FLOAT {
            values.iter().zip(mask.iter_mut()).for_each(|(x, m)| *m &= u8::from(!x.is_nan()));
        }
        for bounds in bounds {
            match *bounds {
                Bounds::Keys { least, greatest, inverted } => within::<T>(values, mask, least, greatest, inverted),
                Bounds::All => {}
                Bounds::None => mask.fill(0),
            }
        }
    }
}

fn skip_complex<T: Real>(panel: &Panel<'_>, mask: &mut [u8])
where
    Complex<T>: bytemuck::Pod,
{
    for (row, mask) in mask.chunks_exact_mut(panel.n_columns).enumerate() {
        let values = panel.row::<Complex<T>>(row);
        values.iter().zip(mask).for_each(|(z, m)| *m &= u8::from(!z.re.is_nan() && !z.im.is_nan()));
    }
}

/// A comparison as a range of keys, both ends in it.
enum Bounds<T: Real> {
    Keys { least: T::Key, greatest: T::Key, inverted: bool },
    All,
    None,
}

impl<T: Real> Bounds<T> {
    fn new(comparison: Comparison, number: Number) -> Self {
        use Comparison::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
        use std::cmp::Ordering;

        // NaN has the greatest key of floats; it is only ever equal to NaN.
        let nan = T::Key::MAX;
        let top = if T::FLOAT { T::Key::from_bits(nan.bits() - 1) } else { nan };
        if let Number::Float(x) = number
            && x.is_nan()
        {
            return match (comparison, T::FLOAT) {
                (Equal, true) => Self::Keys { least: nan, greatest: nan, inverted: false },
                (NotEqual, true) => Self::Keys { least: nan, greatest: nan, inverted: true },
                (NotEqual, false) => Self::All,
                _ => Self::None,
            };
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
        let (from, to) = match comparison {
            Less => (0, at),
            AtMost => (0, beyond),
            AtLeast => (at, end),
            Greater => (beyond, end),
            Equal | NotEqual => (at, beyond),
        };
        if comparison == NotEqual {
            if from >= to {
                return Self::All;
            }
        } else if from >= to {
            return Self::None;
        }
        Self::Keys {
            least: T::Key::from_bits(from as u64),
            greatest: T::Key::from_bits((to - 1) as u64),
            inverted: comparison == NotEqual,
        }
    }
}

/// Compares the element of `key` exactly. Keys at both ends that stand for no number keep their order.
fn compare<T: Real>(key: T::Key, number: Number) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let x = T::from_key(key);
    if x.is_nan() {
        return if key > T::default().key() { Ordering::Greater } else { Ordering::Less };
    }
    match number {
        Number::Int(n) if !T::FLOAT => x.i128().cmp(&n),
        // Whole numbers of up to 64 bits given for floats are compared as floats.
        Number::Int(n) => x.f64().partial_cmp(&(n as f64)).unwrap_or(Ordering::Less),
        Number::Float(y) if T::FLOAT => x.f64().partial_cmp(&y).unwrap_or(Ordering::Less),
        Number::Float(y) => {
            // An integer and a float: the float's floor is an integer, or beyond all.
            let floor = y.floor();
            if floor >= 2f64.powi(100) {
                return Ordering::Less;
            }
            if floor <= -(2f64.powi(100)) {
                return Ordering::Greater;
            }
            match x.i128().cmp(&(floor as i128)) {
                Ordering::Equal if y > floor => Ordering::Less,
                other => other,
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn within<T: Real>(values: &[T], mask: &mut [u8], least: T::Key, greatest: T::Key, inverted: bool) {
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
        predicate.apply_row(&predicate.bounds::<T>(), values, &mut mask);
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
