//! Cuts names into columns: what all of them have in common, and the runs of letters and digits that vary.

use std::collections::HashMap;

use super::super::interner::Interner;
use super::super::natural::natural_cmp;
use super::super::value::duration_unit;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Digits,
    Letters,
    /// Letters and digits that cannot be told apart column by column: `DAPI`, `Cy5`.
    Word,
    Guid,
    Duration,
    Separator,
}

/// The texts of a column over the names of one build.
pub(super) enum Values<'n> {
    Same(&'n str),
    Varying(Interner<'n>),
    /// More different texts than an axis has, and not numbers.
    Many,
}

pub(super) struct Column<'n> {
    pub(super) sort: Sort,
    pub(super) values: Values<'n>,
}

impl<'n> Column<'n> {
    /// The text, if it is the same in every name.
    pub(super) fn same(&self) -> Option<&'n str> {
        match &self.values {
            Values::Same(text) => Some(text),
            _ => None,
        }
    }

    /// The different texts in natural order, if it varies.
    pub(super) fn texts(&self) -> Vec<&'n str> {
        match &self.values {
            Values::Varying(values) => {
                let mut texts: Vec<&str> = values.texts.iter().copied().flatten().collect();
                texts.sort_unstable_by(|a, b| natural_cmp(a, b));
                texts
            }
            Values::Same(text) => vec![text],
            Values::Many => Vec::new(),
        }
    }

    pub(super) fn ids(&self) -> Option<(&[u32], usize)> {
        match &self.values {
            Values::Varying(values) => Some((&values.ids, values.texts.len())),
            _ => None,
        }
    }

    pub(super) fn varies(&self) -> bool {
        !matches!(self.values, Values::Same(_))
    }
}

/// Names that are built alike.
pub(super) struct Build<'n> {
    pub(super) columns: Vec<Column<'n>>,
    /// Indices of the names, in their order in the list.
    pub(super) members: Vec<u32>,
}

/// A piece of a name before letters and digits are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Word,
    Guid,
    Separator,
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn is_guid(bytes: &[u8]) -> bool {
    bytes.len() >= 36
        && bytes[..36].iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Calls `found` with every piece of `name`: words, GUIDs, single separators.
fn pieces(name: &str, mut found: impl FnMut(Piece, usize, usize)) {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !in_word(bytes[at]) {
            found(Piece::Separator, at, at + 1);
            at += 1;
            continue;
        }
        let mut end = at;
        while end < bytes.len() && in_word(bytes[end]) {
            end += 1;
        }
        // A GUID's first eight digits end where the word does.
        let guid = end.saturating_sub(8);
        if guid >= at && bytes.get(end) == Some(&b'-') && is_guid(&bytes[guid..]) {
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
            Piece::Guid => b'b',
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

/// How a word is made: runs of digits and letters in turn, or a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Make {
    Runs(Vec<Sort>),
    Duration,
    Mixed,
}

fn runs(word: &str, mut found: impl FnMut(Sort, usize, usize)) {
    let bytes = word.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let digit = bytes[at].is_ascii_digit();
        let length = bytes[at..].iter().take_while(|b| b.is_ascii_digit() == digit).count();
        found(if digit { Sort::Digits } else { Sort::Letters }, at, at + length);
        at += length;
    }
}

/// `00d03h00m`: at least two numbers, each with a unit of time.
fn is_duration(word: &str) -> bool {
    let mut numbers = 0;
    let mut fits = true;
    runs(word, |sort, from, to| match sort {
        Sort::Digits => numbers += 1,
        _ => {
            let unit = word.as_bytes().get(from..to).unwrap_or_default();
            fits &= numbers > 0 && duration_unit(unit).is_some_and(|(length, _)| length == unit.len());
        }
    });
    fits && numbers >= 2 && word.ends_with(|c: char| !c.is_ascii_digit())
}

fn make(word: &str) -> Make {
    if is_duration(word) {
        return Make::Duration;
    }
    let mut sorts = Vec::new();
    runs(word, |sort, _, _| sorts.push(sort));
    Make::Runs(sorts)
}

/// An axis of words has fewer values than this.
const MANY_WORDS: usize = 4096;

/// The columns of the names at `members`, which are built alike.
pub(super) fn columns<'n, N: AsRef<str>>(names: &'n [N], members: Vec<u32>) -> Build<'n> {
    let name_at = |i: u32| names.get(i as usize).map_or("", AsRef::as_ref);
    let mut makes: Vec<Option<Make>> = Vec::new();
    let mut last: Vec<&str> = Vec::new();
    for (k, i) in members.iter().enumerate() {
        let name = name_at(*i);
        let mut at = 0;
        pieces(name, |piece, from, to| {
            let word = name.get(from..to).unwrap_or_default();
            if k == 0 {
                makes.push((piece == Piece::Word).then(|| make(word)));
                last.push(word);
            } else if last.get(at) != Some(&word)
                && let (Some(Some(known)), Some(last)) = (makes.get_mut(at), last.get_mut(at))
            {
                if *known != Make::Mixed && *known != make(word) {
                    *known = Make::Mixed;
                }
                *last = word;
            }
            at += 1;
        });
    }
    let mut columns: Vec<Column<'n>> = Vec::new();
    for (k, i) in members.iter().enumerate() {
        let name = name_at(*i);
        let (mut piece_index, mut column) = (0, 0);
        pieces(name, |piece, from, to| {
            let text = name.get(from..to).unwrap_or_default();
            let mut put = |sort: Sort, text: &'n str| {
                if k == 0 {
                    columns.push(Column { sort, values: Values::Same(text) });
                } else if let Some(known) = columns.get_mut(column) {
                    add(known, text, k);
                }
                column += 1;
            };
            match (piece, makes.get(piece_index)) {
                (Piece::Separator, _) => put(Sort::Separator, text),
                (Piece::Guid, _) => put(Sort::Guid, text),
                (Piece::Word, Some(Some(Make::Runs(_)))) => {
                    runs(text, |sort, a, b| put(sort, text.get(a..b).unwrap_or_default()));
                }
                (Piece::Word, Some(Some(Make::Duration))) => put(Sort::Duration, text),
                (Piece::Word, _) => put(Sort::Word, text),
            }
            piece_index += 1;
        });
    }
    Build { columns, members }
}

fn add<'n>(column: &mut Column<'n>, text: &'n str, before: usize) {
    match &mut column.values {
        Values::Same(same) if *same == text => {}
        Values::Same(_) if column.sort == Sort::Guid => column.values = Values::Many,
        Values::Same(same) => {
            let mut values = Interner::default();
            values.repeat(Some(same), before);
            values.push(Some(text));
            column.values = Values::Varying(values);
        }
        Values::Varying(values) => {
            values.push(Some(text));
            if column.sort != Sort::Digits && values.texts.len() > MANY_WORDS {
                column.values = Values::Many;
            }
        }
        Values::Many => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_columns() {
        let names = [
            "a_CamA_00d03h00m_DAPI_w1D5F8F51A-3E85-4D8C-9A4B-0F2A5D3C7E8F_t01.tif",
            "a_CamB_00d06h00m_Cy5_w1D5F8F51B-3E85-4D8C-9A4B-0F2A5D3C7E8F_t12.tif",
        ];
        let groups = builds(&names);
        assert_eq!(groups, [[0, 1]]);
        let build = columns(&names, groups[0].clone());
        let varying: Vec<(Sort, Vec<&str>)> =
            build.columns.iter().filter(|c| c.varies()).map(|c| (c.sort, c.texts())).collect();
        assert_eq!(
            varying,
            [
                (Sort::Letters, vec!["CamA", "CamB"]),
                (Sort::Duration, vec!["00d03h00m", "00d06h00m"]),
                (Sort::Word, vec!["Cy5", "DAPI"]),
                (Sort::Guid, vec![]),
                (Sort::Digits, vec!["01", "12"]),
            ]
        );
    }
}
