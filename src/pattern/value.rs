//! What a field may hold, and how its values compare.

use std::cmp::Ordering;

use super::natural::{digits_cmp, natural_cmp};

/// What text a field accepts, and how its values are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A whole run of digits.
    Digits,
    /// Exactly that many digits, which may be part of a longer run where the pattern goes on.
    Width(usize),
    /// At least that many digits, and all of a run.
    AtLeast(usize),
    /// Digits with an optional sign.
    Int,
    /// A decimal number with an optional sign: `1.25`, `-3`, `0p5`.
    Float,
    /// Letters and digits.
    Word,
    /// Letters.
    Letters,
    /// Anything but `/`, as little as lets the rest match.
    Text,
    /// A well: one or two letters and one to three digits, `A1`, `AF048`.
    Well,
    /// Numbers with units run together: `00d03h00m`.
    Duration,
    /// 36 characters of hexadecimal digits and dashes.
    Guid,
    /// Characters of a set; exactly one, or as many as there are.
    Set {
        /// Inclusive ranges of characters.
        ranges: Vec<(char, char)>,
        /// Whether the set begins with `^`: any character but these.
        negated: bool,
        /// Whether more than one character may follow.
        repeat: bool,
    },
    /// One of the given words, which order the axis.
    Choice(Vec<String>),
}

impl FieldKind {
    /// Whether its values are ordered as numbers.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Float | Self::Duration) || self.is_index()
    }

    /// What a name must have where the kind is expected, for messages.
    pub(super) fn wanted(&self) -> String {
        match self {
            Self::Digits => "digits".to_owned(),
            Self::Width(1) => "one digit".to_owned(),
            Self::Width(width) => format!("{width} digits"),
            Self::AtLeast(width) => format!("{width} digits or more"),
            Self::Int => "a whole number".to_owned(),
            Self::Float => "a number".to_owned(),
            Self::Word => "letters or digits".to_owned(),
            Self::Letters => "letters".to_owned(),
            Self::Text => "some text".to_owned(),
            Self::Well => "a well such as A01".to_owned(),
            Self::Duration => "a duration such as 00d03h00m".to_owned(),
            Self::Guid => "a GUID".to_owned(),
            Self::Set { .. } => "a character of the set".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Whether its values are whole numbers that may count something.
    pub(super) fn is_index(&self) -> bool {
        matches!(self, Self::Digits | Self::Width(_) | Self::AtLeast(_) | Self::Int)
    }

    /// Orders two texts that the kind accepts. Equal means the same position, even if written differently
    /// (`01`, `1`).
    pub(super) fn compare(&self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Digits | Self::Width(_) | Self::AtLeast(_) => digits_cmp(a.as_bytes(), b.as_bytes()),
            Self::Int => signed_cmp(a, b),
            Self::Float | Self::Duration => match (self.number(a), self.number(b)) {
                (Some(x), Some(y)) => x.total_cmp(&y),
                // Numbers out of range come last, so that the order stays total.
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => natural_cmp(a, b),
            },
            Self::Well => well_cmp(a, b),
            Self::Choice(words) => {
                let place = |text: &str| words.iter().position(|w| w == text).unwrap_or(words.len());
                place(a).cmp(&place(b))
            }
            Self::Word | Self::Letters | Self::Text | Self::Guid | Self::Set { .. } => natural_cmp(a, b),
        }
    }

    /// The number a text stands for: seconds for a duration. `None` where it is not a number.
    pub fn number(&self, text: &str) -> Option<f64> {
        let number = match self {
            Self::Duration => seconds(text)?,
            Self::Float => text.replace(['p', ','], ".").parse().ok()?,
            _ if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')) => text.parse().ok()?,
            _ => return None,
        };
        // Minus zero is zero: one position, not two.
        f64::is_finite(number).then_some(number + 0.0)
    }
}

fn signed_cmp(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> (bool, usize) {
        let negative = text.starts_with('-') && text.bytes().any(|b| matches!(b, b'1'..=b'9'));
        (negative, usize::from(text.starts_with(['-', '+'])))
    };
    let ((a_negative, a_from), (b_negative, b_from)) = (parts(a), parts(b));
    let size =
        digits_cmp(a.as_bytes().get(a_from..).unwrap_or_default(), b.as_bytes().get(b_from..).unwrap_or_default());
    match (a_negative, b_negative) {
        (false, false) => size,
        (true, true) => size.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// Row, then column; row `AA` comes after `Z`.
fn well_cmp(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let ((a_row, a_column), (b_row, b_column)) = (a.as_bytes().split_at(parts(a)), b.as_bytes().split_at(parts(b)));
    a_row.len().cmp(&b_row.len()).then_with(|| a_row.cmp(b_row)).then_with(|| digits_cmp(a_column, b_column))
}

/// Seconds of `00d03h00m`, `1h30min`, `2.5s`, `10ms`.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (length, factor) = duration_unit(rest.as_bytes())?;
        total += value * factor;
        rest = rest.get(length..)?;
    }
    Some(total)
}

/// Length of the unit of time at the start of `bytes` and its seconds.
pub(super) fn duration_unit(bytes: &[u8]) -> Option<(usize, f64)> {
    const UNITS: [(&[u8], f64); 7] =
        [(b"min", 60.0), (b"ms", 1e-3), (b"sec", 1.0), (b"d", 86400.0), (b"h", 3600.0), (b"m", 60.0), (b"s", 1.0)];
    UNITS.iter().find(|(unit, _)| bytes.starts_with(unit)).map(|(unit, factor)| (unit.len(), *factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind() {
        assert_eq!(FieldKind::Duration.number("00d03h00m"), Some(10800.0));
        assert_eq!(FieldKind::Duration.number("1h30min2s"), Some(5402.0));
        assert_eq!(FieldKind::Float.number("-0p5"), Some(-0.5));
        assert_eq!(FieldKind::Digits.number("0131245"), Some(131_245.0));
        assert_eq!(FieldKind::Word.number("DAPI"), None);
        assert_eq!(FieldKind::Word.number("488"), Some(488.0));
        assert_eq!(FieldKind::Word.number("nan"), None);
    }

    #[test]
    fn signs_order_integers() {
        let kind = FieldKind::Int;
        let sorted = ["-10", "-2", "0", "+1", "2", "010"];
        for pair in sorted.windows(2) {
            assert_eq!(kind.compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(kind.compare("-0", "0"), Ordering::Equal);
        assert_eq!(kind.compare("+7", "007"), Ordering::Equal);
    }
}
