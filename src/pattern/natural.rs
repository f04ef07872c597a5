//! Names as people read them: runs of digits compare as numbers, and letters with marks are one letter, however
//! they are stored.

use std::cmp::Ordering;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The names in composed normal form, if any is not in it.
pub(super) fn composed<N: AsRef<str>>(names: &[N]) -> Option<Vec<String>> {
    if names.iter().all(|n| n.as_ref().is_ascii() || is_nfc(n.as_ref())) {
        return None;
    }
    Some(names.iter().map(|n| n.as_ref().nfc().collect()).collect())
}

/// Compares two names, runs of digits as numbers of any length, everything else by character.
///
/// The order is total: names that differ only in leading zeros are told apart by their text, so that a
/// sorted listing is the same whatever order it came in.
///
/// ```
/// use stackctl::pattern::natural_cmp;
/// let mut names = ["t10.tif", "t9.tif", "t09.tif"];
/// names.sort_by(|a, b| natural_cmp(a, b));
/// assert_eq!(names, ["t09.tif", "t9.tif", "t10.tif"]);
/// ```
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (a_bytes, b_bytes) = (a.as_bytes(), b.as_bytes());
    let (mut i, mut j) = (0, 0);
    while let (Some(&x), Some(&y)) = (a_bytes.get(i), b_bytes.get(j)) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (run_a, run_b) = (digit_run(&a_bytes[i..]), digit_run(&b_bytes[j..]));
            match digits_cmp(run_a, run_b) {
                Ordering::Equal => (i, j) = (i + run_a.len(), j + run_b.len()),
                unequal => return unequal,
            }
        } else if x == y {
            (i, j) = (i + 1, j + 1);
        } else {
            return x.cmp(&y);
        }
    }
    (a_bytes.len() - i).cmp(&(b_bytes.len() - j)).then_with(|| a.cmp(b))
}

fn digit_run(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Compares two runs of ASCII digits as numbers, without a limit of length.
pub(super) fn digits_cmp(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let sorted = ["", "a", "a1b", "a1b0", "a01b2", "a2", "a10", "a18446744073709551616", "b"];
        for pair in sorted.windows(2) {
            assert_eq!(natural_cmp(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[ab01]{0,6}", b in "[ab01]{0,6}", c in "[ab01]{0,6}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b) == Ordering::Equal, a == b);
            if natural_cmp(&a, &b) != Ordering::Greater && natural_cmp(&b, &c) != Ordering::Greater {
                prop_assert_ne!(natural_cmp(&a, &c), Ordering::Greater);
            }
        }
    }
}
