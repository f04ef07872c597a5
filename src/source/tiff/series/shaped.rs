//! tifffile: a description in JSON that gives the shape of the array, `{"shape": [2, 3, 64, 64]}`, and
//! perhaps the names of its axes.

use serde::Deserialize;

use super::{Context, PageList, Series, Unusable};
use crate::axis::Axis;

/// Shape, and one letter per axis if they are named.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Lengths, slowest first.
    pub shape: Vec<u64>,
    /// Letters of the axes, as many as lengths; none if they are not given.
    pub axes: Vec<char>,
}

/// What is read of it; whatever else there is takes no memory.
#[derive(Deserialize)]
struct Written {
    shape: Option<Vec<u64>>,
    axes: Option<String>,
}

/// More axes than any array has.
const MOST_AXES: usize = 32;

impl Description {
    /// Parses `text` if it is tifffile's.
    ///
    /// # Errors
    /// What does not make sense, in words.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if let Some(list) = text.strip_prefix("shape=") {
            let list = list.trim().trim_start_matches(['(', '[']).trim_end_matches([')', ']']);
            let shape: Option<Vec<u64>> =
                list.split(',').filter(|n| !n.trim().is_empty()).map(|n| n.trim().parse().ok()).collect();
            return Some(Self::checked(shape, Vec::new()));
        }
        if !text.starts_with('{') || !text.contains("\"shape\":") {
            return None;
        }
        let Written { shape, axes } = match serde_json::from_str(text) {
            Ok(written) => written,
            Err(e) => return Some(Err(format!("broken JSON: {e}"))),
        };
        Some(Self::checked(Some(shape?), axes.unwrap_or_default().chars().collect()))
    }

    fn checked(shape: Option<Vec<u64>>, axes: Vec<char>) -> Result<Self, String> {
        let shape = shape.filter(|s| !s.is_empty() && s.len() <= MOST_AXES && s.iter().all(|&n| n > 0));
        let Some(shape) = shape else { return Err("its shape is no list of lengths".to_owned()) };
        if shape.iter().try_fold(1u64, |n, &s| n.checked_mul(s)).is_none() {
            return Err("its shape has more elements than there can be".to_owned());
        }
        let axes = if axes.len() == shape.len() { axes } else { Vec::new() };
        Ok(Self { shape, axes })
    }

    /// Lengths and letters of the axes before those of a page of shape `page`.
    ///
    /// # Errors
    /// If the shape does not end in the page's.
    pub fn leading(&self, page: &[u64]) -> Result<Vec<(u64, Option<char>)>, String> {
        self.split(page).map(|(leading, _)| leading)
    }

    /// As [`Description::leading`], and the letters of the page's own axes.
    fn split(&self, page: &[u64]) -> Result<Split, String> {
        let mut left = self.shape.len();
        let mut own = vec![None; page.len()];
        for (k, &length) in page.iter().enumerate().rev() {
            // Axes of length one may stand anywhere in the description.
            while left > 0 && self.shape[left - 1] == 1 && length != 1 {
                left -= 1;
            }
            match left.checked_sub(1) {
                Some(i) if self.shape[i] == length => {
                    left = i;
                    own[k] = self.axes.get(i).copied();
                }
                None if length == 1 => {}
                _ => return Err(format!("its shape {:?} does not end in that of a page, {page:?}", self.shape)),
            }
        }
        Ok(((0..left).map(|i| (self.shape[i], self.axes.get(i).copied())).collect(), own))
    }
}

/// Lengths and letters of leading axes, and letters of a page's own.
type Split = (Vec<(u64, Option<char>)>, Vec<Option<char>>);

/// Names the axes of a page as the description does, as far as it makes sense: what looks like colours may be
/// slices, and a volume time.
fn rename(page_axes: &mut [Axis], letters: &[Option<char>], leading: &[(u64, Option<char>)]) {
    let known = |letter: &Option<char>| letter.is_some_and(|c| matches!(c, 'T' | 'C' | 'Z' | 'Y' | 'X' | 'S'));
    let taken = |letter: &Option<char>| leading.iter().any(|l| l.0 > 1 && l.1 == *letter);
    let mut distinct: Vec<_> = letters.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < letters.len() || !letters.iter().all(|l| known(l) && !taken(l)) {
        return;
    }
    for (axis, letter) in page_axes.iter_mut().zip(letters) {
        let name = letter.unwrap_or('S').to_ascii_lowercase();
        if axis.name != name.to_string() {
            *axis = Axis::new(name, axis.length);
        }
    }
}

/// One series per description: it begins where the last one ended.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    if !cx.descriptions.iter().any(|d| Description::parse(d).is_some()) {
        return Ok(None);
    }
    let directory = cx.directory;
    let mut all = Vec::new();
    let mut first = 0;
    while first < directory.n_pages() {
        if all.len() >= super::MOST_SERIES {
            break;
        }
        let found = cx.descriptions_of(first)?;
        let Some(description) = found.iter().find_map(|d| Description::parse(d)) else {
            if first == 0 {
                return Ok(None);
            }
            break;
        };
        let description = description.map_err(Unusable::Ignore)?;
        let kind = directory.kind(first);
        let mut page_axes = kind.axes();
        let (leading, letters) = description.split(&crate::axis::shape(&page_axes)).map_err(Unusable::Ignore)?;
        let n: u64 = leading.iter().map(|l| l.0).product();
        let left = u64::from(directory.n_pages() - first);
        let (pages, step) = if n <= left {
            (PageList::Range { first, n: n as u32 }, n)
        } else {
            // Truncated directories: the planes lie behind the first one.
            // Pages that were written one by one say where they are; a single one, where the others begin.
            let one_by_one = cx.broken_off(first, n).map(|pages| (pages, n));
            let found = match one_by_one {
                Some(found) if left > 1 => Some(found),
                found => cx.one_behind_another(first, n)?.map(|planes| (planes, 1)).or(found),
            };
            match found {
                Some(found) => found,
                None => return Err(Unusable::Ignore(format!("it counts {n} planes, but {left} pages follow"))),
            }
        };
        rename(&mut page_axes, &letters, &leading);
        let mut axes = name(&leading, &page_axes);
        axes.extend(page_axes);
        let series = cx.series("tifffile", axes, pages)?;
        super::push_joined(&mut all, directory, series);
        first = first.saturating_add(step as u32);
    }
    Ok(Some(all))
}

/// Axes of pages, slowest first. Those that nobody named are counted from `axis0`, but a single one is what
/// pages are by default.
fn name(leading: &[(u64, Option<char>)], page_axes: &[Axis]) -> Vec<Axis> {
    let n_long = leading.iter().filter(|l| l.0 > 1).count();
    let mut axes: Vec<Axis> = Vec::new();
    for (i, &(length, letter)) in leading.iter().enumerate().filter(|(_, l)| l.0 > 1) {
        let name = match letter.map(|c| c.to_ascii_lowercase()) {
            Some(known @ ('t' | 'c' | 'z')) => known.to_string(),
            // Unknown, sequence: tifffile's letters for axes without a meaning.
            Some('q' | 'i') | None if n_long == 1 => "z".to_owned(),
            Some('q' | 'i') | None => format!("axis{i}"),
            Some(other) => other.to_string(),
        };
        let name = if axes.iter().chain(page_axes).any(|a| a.name == name) { format!("axis{i}") } else { name };
        axes.push(Axis::new(name, length));
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leading(text: &str, page: &[u64]) -> Vec<(u64, Option<char>)> {
        Description::parse(text).unwrap().unwrap().leading(page).unwrap()
    }

    #[test]
    fn the_shape_ends_in_the_page() {
        assert_eq!(leading("{\"shape\": [2, 3, 64, 32]}", &[64, 32]), [(2, None), (3, None)]);
        assert_eq!(leading("{\"shape\": [5, 64, 32, 1], \"axes\": \"TYXS\"}", &[64, 32]), [(5, Some('T'))]);
        assert_eq!(leading("shape=(2,3,10,10)", &[3, 10, 10]), [(2, None)]);
        assert_eq!(leading("{\"shape\": [7]}", &[1, 7]), []);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let parsed = Description::parse("{\"shape\": [2, 64, 33]}").unwrap().unwrap();
        assert!(parsed.leading(&[64, 32]).is_err());
        assert!(Description::parse("{\"shape\": [0]}").unwrap().is_err());
        assert!(Description::parse("{\"shape\": [4294967296, 4294967296, 4]}").unwrap().is_err());
        assert!(Description::parse("{}").is_none());
    }
}
