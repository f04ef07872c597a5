//! Cuts names into typed atoms: what all names have in common, and the numbers, words, wells, stamps, durations and
//! GUIDs that vary. The atoms at the same place of names that are built alike are a column.

use std::collections::HashMap;

use super::super::interner::Interner;
use super::super::natural::natural_cmp;
use super::super::value::{FieldKind, duration_unit};
use crate::unit::Unit;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A number, perhaps with a sign or decimals.
    Number,
    Letters,
    /// Letters and digits that cannot be told apart column by column: `DAPI`, `Cy5`.
    Word,
    Well,
    /// A date, a clock time, or both.
    Stamp,
    Duration,
    Guid,
    Separator,
}

/// The texts of a column over the names of one build.
pub(super) enum ColumnTexts<'n> {
    Same(&'n str),
    Varying(Interner<'n>),
    /// More different texts than an axis has, and not numbers.
    Many,
}

pub(super) struct Column<'n> {
    pub(super) sort: Sort,
    pub(super) values: ColumnTexts<'n>,
}

impl<'n> Column<'n> {
    /// The text, if it is the same in every name.
    pub(super) fn same(&self) -> Option<&'n str> {
        match &self.values {
            ColumnTexts::Same(text) => Some(text),
            _ => None,
        }
    }

    /// The text, if it is letters and the same in every name.
    pub(super) fn letters(&self) -> Option<&'n str> {
        self.same().filter(|_| self.sort == Sort::Letters)
    }

    /// The different texts, if it varies: numbers by value, words in natural order.
    pub(super) fn texts(&self) -> Vec<&'n str> {
        let mut texts: Vec<&str> = match &self.values {
            ColumnTexts::Varying(values) => values.texts.iter().copied().flatten().collect(),
            ColumnTexts::Same(text) => vec![text],
            ColumnTexts::Many => Vec::new(),
        };
        match self.sort {
            Sort::Number => texts.sort_unstable_by(|a, b| FieldKind::Float.compare(a, b).then_with(|| a.cmp(b))),
            _ => texts.sort_unstable_by(|a, b| natural_cmp(a, b)),
        }
        texts
    }

    /// Number of each name's text, and how many texts there are.
    pub(super) fn ids(&self) -> Option<(&[u32], usize)> {
        match &self.values {
            ColumnTexts::Varying(values) => Some((&values.ids, values.texts.len())),
            _ => None,
        }
    }

    /// The text of the `k`th name.
    pub(super) fn text_of(&self, k: usize) -> Option<&'n str> {
        match &self.values {
            ColumnTexts::Varying(values) => {
                values.ids.get(k).and_then(|id| values.texts.get(*id as usize).copied().flatten())
            }
            ColumnTexts::Same(text) => Some(text),
            ColumnTexts::Many => None,
        }
    }

    pub(super) fn varies(&self) -> bool {
        !matches!(self.values, ColumnTexts::Same(_))
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        match &self.values {
            ColumnTexts::Varying(values) => values.texts.iter().flatten().any(|t| test(t)),
            ColumnTexts::Same(text) => test(text),
            ColumnTexts::Many => false,
        }
    }

    /// Whether a number has a sign somewhere.
    pub(super) fn is_signed(&self) -> bool {
        self.sort == Sort::Number && self.any(|t| t.starts_with(['-', '+']))
    }

    /// Whether a number has decimals somewhere.
    pub(super) fn is_decimal(&self) -> bool {
        self.sort == Sort::Number && self.any(|t| t.contains(['.', 'p']))
    }
}

/// Names that are built alike.
pub(super) struct Build<'n> {
    pub(super) columns: Vec<Column<'n>>,
    /// Indices of the names, in their order in the list.
    pub(super) members: Vec<u32>,
}

/// A piece of a name before words are cut into atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Word,
    Stamp,
    Guid,
    Separator,
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn is_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Whether the sign or point at `at` may belong to a number: `x-500`, `_+2`, `1.25x`, but not `07-04`, `1.2.3`, `23.001`.
fn in_number(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
    match bytes[at] {
        b'-' | b'+' => {
            is_digit(bytes, at + 1) && !before.is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'))
        }
        b'.' => {
            let whole = bytes[..at].iter().rev().take_while(|b| b.is_ascii_digit()).count();
            let fraction = digits(&bytes[at + 1..]);
            let (from, to) = (at - whole, at + 1 + fraction);
            let goes_on = bytes.get(to) == Some(&b'.') && is_digit(bytes, to + 1);
            let went_on = from > 1 && bytes[from - 1] == b'.' && is_digit(bytes, from - 2);
            whole > 0 && fraction > 0 && to < bytes.len() && !goes_on && !went_on
        }
        _ => false,
    }
}

fn is_guid(bytes: &[u8]) -> bool {
    bytes.len() >= 36
        && bytes[..36].iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Length of `2024-06-01`, `01.06.2024`, `14-01-03`, with `T` between both, or `20240601T140103`; else zero.
fn stamp(bytes: &[u8]) -> usize {
    let triple = |at: usize| -> Option<([(usize, u32); 3], usize)> {
        let mut parts = [(0, 0); 3];
        let mut end = at;
        let separator = *bytes.get(at + digits(bytes.get(at..)?))?;
        for (i, part) in parts.iter_mut().enumerate() {
            if i > 0 {
                end +=
                    usize::from(matches!(separator, b'-' | b'.' | b':' | b'_') && bytes.get(end) == Some(&separator));
            }
            let length = digits(bytes.get(end..)?);
            *part = (length, std::str::from_utf8(&bytes[end..end + length]).ok()?.parse().ok()?);
            end += length;
        }
        Some((parts, end))
    };
    let date = |at| {
        triple(at).filter(|([a, b, c], _)| {
            let (year, day) = if a.0 == 4 { (a, c) } else { (c, a) };
            (year.0, b.0, day.0) == (4, 2, 2) && (1900..2100).contains(&year.1) && b.1 <= 31 && day.1 <= 31
        })
    };
    let clock =
        |at| triple(at).filter(|([a, b, c], _)| [a, b, c].iter().all(|p| p.0 == 2) && a.1 < 24 && b.1 < 60 && c.1 < 60);
    let joined = |end: usize, width: usize| bytes.get(end) == Some(&b'T') && digits(&bytes[end + 1..]) == width;
    let end = match date(0) {
        Some((_, end)) if bytes.get(end) == Some(&b'T') => match clock(end + 1) {
            Some((_, end)) => end,
            None if joined(end, 6) => end + 7,
            None => end,
        },
        Some((_, end)) => end,
        None if digits(bytes) == 8 && joined(8, 6) => 15,
        None => clock(0).map_or(0, |(_, end)| end),
    };
    // `10-15-00.123`, but not `10.15.00.0001`.
    let fraction =
        if end > 7 && bytes.get(end) == Some(&b'.') && bytes[end - 3] != b'.' { digits(&bytes[end + 1..]) } else { 0 };
    let end = if fraction > 0 { end + 1 + fraction } else { end };
    if bytes.get(end).is_some_and(|b| in_word(*b)) { 0 } else { end }
}

/// Calls `found` with every piece of `name`: words, stamps, GUIDs, single separators.
fn pieces(name: &str, mut found: impl FnMut(Piece, usize, usize)) {
    let bytes = name.as_bytes();
    let belongs = |at: usize| in_word(bytes[at]) || in_number(bytes, at);
    let mut at = 0;
    while at < bytes.len() {
        if !belongs(at) {
            found(Piece::Separator, at, at + 1);
            at += 1;
            continue;
        }
        let length = if bytes[at].is_ascii_digit() { stamp(&bytes[at..]) } else { 0 };
        if length > 0 {
            found(Piece::Stamp, at, at + length);
            at += length;
            continue;
        }
        let mut end = at + 1;
        // A GUID's first eight digits end where the word does.
        let is_head = |end: usize| end >= at + 8 && bytes[end] == b'-' && is_guid(&bytes[end - 8..]);
        while end < bytes.len() && belongs(end) && !is_head(end) {
            end += 1;
        }
        if end < bytes.len() && is_head(end) {
            let guid = end - 8;
            if guid > at {
                found(Piece::Word, at, guid);
            }
            found(Piece::Guid, guid, guid + 36);
            at = guid + 36;
        } else {
            found(Piece::Word, at, end);
            at = end;
        }
    }
}

/// Separators and kinds of pieces, as a key: names with the same one are built alike.
fn skeleton(name: &str, key: &mut Vec<u8>) {
    key.clear();
    let bytes = name.as_bytes();
    pieces(name, |piece, from, _| {
        key.push(match piece {
            Piece::Word => b'a',
            Piece::Stamp => b'b',
            Piece::Guid => b'c',
            Piece::Separator => bytes[from],
        });
    });
}

/// Divides the names by how they are built, the commonest first.
pub(super) fn builds<N: AsRef<str>>(names: &[N]) -> Vec<Vec<u32>> {
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut groups: Vec<(Vec<u8>, Vec<u32>)> = Vec::new();
    let mut key = Vec::new();
    for (i, name) in names.iter().enumerate() {
        skeleton(name.as_ref(), &mut key);
        let group = match known.get(&key) {
            Some(group) => *group,
            None => {
                known.insert(key.clone(), groups.len());
                groups.push((key.clone(), Vec::new()));
                groups.len() - 1
            }
        };
        groups[group].1.push(i as u32);
    }
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    groups.into_iter().map(|g| g.1).collect()
}

/// The numbers and letters of a word in turn. A `p` between short numbers is a decimal point: `0p5`.
fn runs(word: &str, mut found: impl FnMut(Sort, usize, usize)) {
    let bytes = word.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let sign = usize::from(matches!(bytes[at], b'-' | b'+'));
        let whole = digits(&bytes[at + sign..]);
        let length = if whole == 0 {
            bytes[at..].iter().take_while(|b| in_word(**b) && !b.is_ascii_digit()).count().max(1)
        } else {
            let point = at + sign + whole;
            let is_short = whole < 4 && (whole == 1 || bytes[at + sign] != b'0');
            let divides = matches!(bytes.get(point), Some(b'.')) || is_short && bytes.get(point) == Some(&b'p');
            let fraction = bytes.get(point + 1..).map_or(0, digits);
            sign + whole + if divides && fraction > 0 { fraction + 1 } else { 0 }
        };
        found(if whole > 0 { Sort::Number } else { Sort::Letters }, at, at + length);
        at += length;
    }
}

/// `00d03h00m`: at least two numbers, each with a unit of time.
fn is_duration(word: &str) -> bool {
    let mut numbers = 0;
    let mut fits = true;
    runs(word, |sort, from, to| match sort {
        Sort::Number => numbers += 1,
        _ => {
            let unit = word.as_bytes().get(from..to).unwrap_or_default();
            fits &= numbers > 0 && duration_unit(unit).is_some_and(|(length, _)| length == unit.len());
        }
    });
    fits && numbers >= 2 && word.ends_with(|c: char| !c.is_ascii_digit())
}

/// `Well` in front, and the row, of `B02` or `WellB02`.
fn well(word: &str) -> Option<(&str, &str)> {
    let digits = word.len() - digits_from(word);
    let letters = word.get(..digits_from(word))?;
    let row = letters.get(letters.len() - letters.bytes().rev().take_while(u8::is_ascii_uppercase).count()..)?;
    let head = letters.get(..letters.len() - row.len())?;
    let is_head = head.is_empty() || head == "Well" || head == "well";
    let is_row = row.len() == 1 || row.len() == 2 && row <= "AF";
    let column: u32 = word.get(letters.len()..)?.parse().ok()?;
    (is_head && is_row && digits <= 2 && (1..=48).contains(&column)).then_some((head, row))
}

/// Where the digits at the end begin.
fn digits_from(word: &str) -> usize {
    word.len() - word.bytes().rev().take_while(u8::is_ascii_digit).count()
}

/// How the words at one place are made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Make {
    Runs(Vec<Sort>),
    Duration,
    Mixed,
}

impl Make {
    fn of(word: &str) -> Self {
        if is_duration(word) {
            return Self::Duration;
        }
        let mut sorts = Vec::new();
        runs(word, |sort, _, _| sorts.push(sort));
        Self::Runs(sorts)
    }
}

/// What is known of the words at one place.
struct Place<'n> {
    make: Make,
    last: &'n str,
    /// What stands before all wells, if all are wells; the first one's row, and whether another has another.
    wells: Option<(&'n str, &'n str, bool)>,
}

impl<'n> Place<'n> {
    fn new(word: &'n str) -> Self {
        Self { make: Make::of(word), last: word, wells: well(word).map(|(head, row)| (head, row, !head.is_empty())) }
    }

    fn add(&mut self, word: &'n str) {
        if self.last == word {
            return;
        }
        self.last = word;
        if self.make != Make::Mixed && self.make != Make::of(word) {
            self.make = Make::Mixed;
        }
        self.wells = match (self.wells, well(word)) {
            (Some((head, first, vary)), Some((other, row))) if head == other => {
                Some((head, first, vary || row != first))
            }
            _ => None,
        };
    }
}

/// An axis of words has fewer values than this.
const MANY_WORDS: usize = 4096;

/// The columns of the names at `members`, which are built alike.
pub(super) fn columns<'n, N: AsRef<str>>(names: &'n [N], members: Vec<u32>) -> Build<'n> {
    let name_at = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
    let mut places: Vec<Place<'n>> = Vec::new();
    for (k, i) in members.iter().enumerate() {
        let name = name_at(*i);
        let mut at = 0;
        pieces(name, |piece, from, to| {
            if piece == Piece::Word {
                let word = name.get(from..to).unwrap_or_default();
                match places.get_mut(at) {
                    Some(place) => place.add(word),
                    None if k == 0 => places.push(Place::new(word)),
                    None => {}
                }
                at += 1;
            }
        });
    }
    let mut columns: Vec<Column<'n>> = Vec::new();
    for (k, i) in members.iter().enumerate() {
        let name = name_at(*i);
        let (mut word, mut column) = (0, 0);
        pieces(name, |piece, from, to| {
            let text = name.get(from..to).unwrap_or_default();
            let mut put = |sort: Sort, text: &'n str| {
                match columns.get_mut(column) {
                    Some(known) => add(known, text, k),
                    None => columns.push(Column { sort, values: ColumnTexts::Same(text) }),
                }
                column += 1;
            };
            match piece {
                Piece::Separator => return put(Sort::Separator, text),
                Piece::Guid => return put(Sort::Guid, text),
                Piece::Stamp => return put(Sort::Stamp, text),
                Piece::Word => {}
            }
            let Some(place) = places.get(word) else { return };
            word += 1;
            match (&place.wells, &place.make) {
                (Some((head, _, true)), _) => {
                    if !head.is_empty() {
                        put(Sort::Letters, head);
                    }
                    put(Sort::Well, text.get(head.len()..).unwrap_or_default());
                }
                (_, Make::Runs(_)) => runs(text, |sort, a, b| put(sort, text.get(a..b).unwrap_or_default())),
                (_, Make::Duration) => put(Sort::Duration, text),
                (_, Make::Mixed) => put(Sort::Word, text),
            }
        });
    }
    Build { columns: divided(columns), members }
}

fn add<'n>(column: &mut Column<'n>, text: &'n str, before: usize) {
    match &mut column.values {
        ColumnTexts::Same(same) if *same == text => {}
        ColumnTexts::Same(_) if column.sort == Sort::Guid => column.values = ColumnTexts::Many,
        ColumnTexts::Same(same) => {
            let mut values = Interner::default();
            values.repeat(Some(same), before);
            values.push(Some(text));
            column.values = ColumnTexts::Varying(values);
        }
        ColumnTexts::Varying(values) => {
            values.push(Some(text));
            if !matches!(column.sort, Sort::Number | Sort::Stamp) && values.texts.len() > MANY_WORDS {
                column.values = ColumnTexts::Many;
            }
        }
        ColumnTexts::Many => {}
    }
}

/// Takes dashes and points that only divide out of the numbers: `Scene-002`, `shot1.0001`.
fn divided(columns: Vec<Column<'_>>) -> Vec<Column<'_>> {
    let mut all: Vec<Column<'_>> = Vec::with_capacity(columns.len());
    let mut columns = columns.into_iter().peekable();
    while let Some(mut column) = columns.next() {
        let unit = columns.peek().and_then(Column::letters).filter(|l| l.len() > 1);
        if column.sort == Sort::Number {
            let before = all.last().and_then(Column::letters).unwrap_or_default();
            if is_dash(&column, before) {
                all.push(Column { sort: Sort::Separator, values: ColumnTexts::Same("-") });
                each(&mut column, |text| text.get(1..));
            }
            // What is measured has decimals.
            let is_measure = unit.and_then(Unit::parse).is_some();
            if let Some(whole) = counted_by_fraction(&column).filter(|_| !is_measure) {
                all.push(Column { sort: Sort::Number, values: ColumnTexts::Same(whole) });
                all.push(Column { sort: Sort::Separator, values: ColumnTexts::Same(".") });
                each(&mut column, |text| text.get(whole.len() + 1..));
            }
        }
        all.push(column);
    }
    all
}

fn each<'n>(column: &mut Column<'n>, change: impl Fn(&'n str) -> Option<&'n str>) {
    match &mut column.values {
        ColumnTexts::Varying(values) => values.texts.iter_mut().for_each(|text| *text = text.and_then(&change)),
        ColumnTexts::Same(text) => *text = change(text).unwrap_or(text),
        ColumnTexts::Many => {}
    }
}

/// Whether the sign that every number has is a dash: zeros after it, or a word before it that takes no sign.
fn is_dash(column: &Column<'_>, before: &str) -> bool {
    if column.any(|t| !t.starts_with('-')) {
        return false;
    }
    let padded = column.any(|t| t.starts_with("-0") && t.len() > 2 && !t.starts_with("-0."));
    let counts = column.any(|t| t == "-1") && !column.is_decimal();
    let lower = before.to_lowercase();
    let takes_sign = ["", "x", "y", "z", "angle", "ang", "rot", "tilt", "depth"].contains(&lower.as_str());
    !column.varies() || padded || counts || !takes_sign && !column.is_decimal()
}

/// The whole part, if it is always the same and the decimals count by themselves.
fn counted_by_fraction<'n>(column: &Column<'n>) -> Option<&'n str> {
    let parts: Vec<(&str, &str)> = column.texts().into_iter().map(|t| t.split_once('.')).collect::<Option<_>>()?;
    let (whole, first) = *parts.first()?;
    let alike = parts.iter().all(|p| p.0 == whole);
    let padded = first.len() > 2 && parts.iter().all(|p| p.1.len() == first.len());
    let twice = || column.texts().windows(2).any(|p| FieldKind::Float.compare(p[0], p[1]).is_eq());
    (alike && column.varies() && (padded || twice())).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varying<'n>(names: &'n [&'n str]) -> Vec<(Sort, Vec<&'n str>)> {
        let groups = builds(names);
        assert_eq!(groups.len(), 1, "{names:?}");
        let build = columns(names, groups[0].clone());
        build.columns.iter().filter(|c| c.varies()).map(|c| (c.sort, c.texts())).collect()
    }

    #[test]
    fn names_fall_into_columns() {
        let names = [
            "a_CamA_00d03h00m_DAPI_w1D5F8F51A-3E85-4D8C-9A4B-0F2A5D3C7E8F_t01.tif",
            "a_CamB_00d06h00m_Cy5_w1D5F8F51B-3E85-4D8C-9A4B-0F2A5D3C7E8F_t12.tif",
        ];
        assert_eq!(
            varying(&names),
            [
                (Sort::Letters, vec!["CamA", "CamB"]),
                (Sort::Duration, vec!["00d03h00m", "00d06h00m"]),
                (Sort::Word, vec!["Cy5", "DAPI"]),
                (Sort::Guid, vec![]),
                (Sort::Number, vec!["01", "12"]),
            ]
        );
    }

    #[test]
    fn signs_and_decimals_are_parts_of_numbers() {
        assert_eq!(varying(&["x-500_y1", "x-250_y1", "x0_y1"]), [(Sort::Number, vec!["-500", "-250", "0"])]);
        assert_eq!(varying(&["z-1.5.tif", "z0.tif", "z+0.5.tif"]), [(Sort::Number, vec!["-1.5", "0", "+0.5"])]);
        assert_eq!(varying(&["z0p5um.tif", "z1p0um.tif"]), [(Sort::Number, vec!["0p5", "1p0"])]);
        assert_eq!(varying(&["Scene-001", "Scene-002"]), [(Sort::Number, vec!["001", "002"])]);
        assert_eq!(varying(&["a_1.0001.tif", "a_1.0002.tif"]), [(Sort::Number, vec!["0001", "0002"])]);
        assert_eq!(varying(&["23.001", "23.002"]), [(Sort::Number, vec!["001", "002"])]);
        assert_eq!(varying(&["f01p01", "f01p02"]), [(Sort::Number, vec!["01", "02"])]);
    }

    #[test]
    fn wells_and_stamps_are_atoms() {
        assert_eq!(varying(&["a_A1_t", "a_B10_t"]), [(Sort::Well, vec!["A1", "B10"])]);
        assert_eq!(varying(&["WellB02.tif", "WellB03.tif"]), [(Sort::Well, vec!["B02", "B03"])]);
        assert_eq!(varying(&["a_C01", "a_C02"]), [(Sort::Number, vec!["01", "02"])]);
        for stamps in [
            ["2024-06-01", "2024-06-02"],
            ["31.12.2024", "01.12.2024"],
            ["14.01.03", "14.02.00"],
            ["20240601T101500", "20240601T101501"],
            ["2024-06-01T10-15-00", "2024-06-01T10-20-00"],
        ] {
            let names = stamps.map(|s| format!("a {s}.tif"));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(varying(&names)[0].0, Sort::Stamp, "{stamps:?}");
        }
    }
}
