//! Levels of lower resolution: SubIFDs of every page, or pages elsewhere in the file that are smaller copies of
//! those of a series.

use super::{PageList, Series};
use crate::source::tiff::directory::Directory;
use crate::source::{Note, NoteKind};

/// A tag of Hamamatsu's slides, whose levels are neither marked nor tiled.
const HAMAMATSU: u16 = 65420;

/// Finds the levels of `chosen`; gives the series of `others` that are none.
pub(super) fn find(directory: &Directory, chosen: &mut Series, others: Vec<Series>) -> Vec<Series> {
    if chosen.levels.is_empty() {
        chosen.levels = in_subs(directory, chosen);
    }
    let kind_of = |s: &Series| s.pages.pages().next().map(|page| directory.kind(page));
    let Some(kind) = kind_of(chosen) else { return others };
    let unmarked = directory.tag_numbers(0).is_ok_and(|tags| tags.contains(&HAMAMATSU));
    let marked = |&page: &u32| {
        let own = directory.kind(page);
        own.is_secondary() || unmarked || (own.is_tiled() && kind.is_tiled())
    };
    let (has_levels, n) = (!chosen.levels.is_empty(), chosen.pages.len());
    let mut rest = Vec::new();
    for mut other in others {
        let alike = kind_of(&other).is_some_and(|own| own.is_reduced(kind) && own.has_proportions_of(kind));
        if alike && !has_levels && other.n_more == 0 {
            // A thumbnail may have the size of a level.
            let (level, left): (Vec<u32>, Vec<u32>) = other.pages.pages().partition(marked);
            if level.len() as u64 == n {
                chosen.levels.push(PageList::new(level));
                other.pages = PageList::new(left);
            }
        }
        if !other.pages.is_empty() {
            rest.push(other);
        }
    }
    let width = |list: &PageList| list.pages().next().map_or(0, |page| directory.kind(page).width);
    chosen.levels.sort_by_key(|list| std::cmp::Reverse(width(list)));
    let n: usize = chosen.levels.iter().map(|list| list.pages().count()).sum();
    if n > 0 {
        let pages = if n == 1 { "1 page is a level".to_owned() } else { format!("{n} pages are levels") };
        let text = format!("{pages} of lower resolution, --level reads them");
        chosen.notes.push(Note::new(NoteKind::PagesLeftOut, text));
    }
    rest
}

/// Levels that are SubIFDs of every page.
fn in_subs(directory: &Directory, chosen: &Series) -> Vec<PageList> {
    if matches!(chosen.pages, PageList::Contiguous { .. }) || directory.n_subs() == 0 {
        return Vec::new();
    }
    let subs: Vec<_> = directory.with_subs().map(|(_, subs)| subs).collect();
    let of = |page: u32| subs.get(page as usize).cloned().unwrap_or_default();
    let Some(first) = chosen.pages.pages().next() else { return Vec::new() };
    let mut levels = Vec::new();
    for (nth, model) in of(first).enumerate() {
        let model = directory.kind(model);
        let nth = |page: u32| of(page).nth(nth).filter(|&sub| directory.kind(sub).stacks_with(model));
        let whole = chosen.pages.pages().all(|page| nth(page).is_some());
        if whole && model.is_reduced(directory.kind(first)) {
            levels.push(PageList::of(chosen.pages.planes().map(|page| page.and_then(nth)).collect()));
        }
    }
    levels
}

impl Series {
    /// Reads level number `level`, from 1, instead of the full resolution.
    pub(in crate::source::tiff) fn at_level(&mut self, directory: &Directory, level: usize) {
        let n_leading = self.n_leading(directory);
        self.pages = self.levels.swap_remove(level - 1);
        let Some(page) = self.pages.pages().next() else { return };
        for (axis, own) in self.axes[n_leading..].iter_mut().zip(directory.kind(page).axes()) {
            let ratio = axis.length as f64 / own.length as f64;
            axis.length = own.length;
            if let Some(calibration) = &mut axis.calibration {
                calibration.step *= ratio;
            }
        }
    }

    /// Shapes of all levels, the full resolution first; none if there is one.
    pub(in crate::source::tiff) fn level_shapes(&self, directory: &Directory) -> Vec<Vec<u64>> {
        if self.levels.is_empty() {
            return Vec::new();
        }
        let leading = &self.axes[..self.n_leading(directory)];
        let lists = std::iter::once(&self.pages).chain(&self.levels);
        let own = lists.map(|list| list.pages().next().map_or(Vec::new(), |page| directory.kind(page).axes()));
        own.map(|own| leading.iter().chain(&own).map(|a| a.length).collect()).collect()
    }
}
