//! Numbers for the distinct texts of a list, in order of first appearance.

use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Interner<'n> {
    known: HashMap<&'n str, u32>,
    absent: Option<u32>,
    /// The distinct texts.
    pub(super) texts: Vec<Option<&'n str>>,
    /// The number of each text of the list.
    pub(super) ids: Vec<u32>,
}

impl<'n> Interner<'n> {
    pub(super) fn push(&mut self, text: Option<&'n str>) {
        // Neighbouring names mostly share a value.
        if let Some(last) = self.ids.last().copied()
            && self.texts.get(last as usize) == Some(&text)
        {
            self.ids.push(last);
            return;
        }
        let next = self.texts.len() as u32;
        let id = match text {
            Some(text) => *self.known.entry(text).or_insert(next),
            None => *self.absent.get_or_insert(next),
        };
        if id == next {
            self.texts.push(text);
        }
        self.ids.push(id);
    }

    /// The same text `times` over.
    pub(super) fn repeat(&mut self, text: Option<&'n str>, times: usize) {
        if times > 0 {
            self.push(text);
            let id = self.ids.last().copied().unwrap_or(0);
            self.ids.resize(self.ids.len() + times - 1, id);
        }
    }
}
