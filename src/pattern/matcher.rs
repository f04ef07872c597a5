//! Finds the values of a pattern's fields in a name: backtracking that never tries the same place twice,
//! so that the time is at most the product of the lengths of pattern and name (once for every value that a field which
//! stands there twice may have).

use std::ops::Range;

use super::Slot;
use super::language::{Class, Step};
use super::value::{FieldKind, duration_unit};

/// Begin and end of each slot's value in the text, `None` where an optional part is absent.
pub(super) type Spans = Vec<Option<(u32, u32)>>;

/// Memory of one thread's matching, kept from name to name.
#[derive(Debug, Default)]
pub(super) struct MatchScratch {
    /// A bit for every step and place from where the rest is known not to match.
    failed: Vec<u64>,
    pub(super) spans: Spans,
    /// Fields that stand in the pattern again, and where their value is.
    bound: Vec<(usize, Range<usize>)>,
    /// Where a regular expression's groups were found.
    pub(super) places: Option<regex::CaptureLocations>,
}

/// How far a failed match came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Furthest {
    /// The step that failed.
    pub(super) step: usize,
    /// Bytes of it that did fit.
    pub(super) fitted: usize,
    /// Where in the text the step began.
    pub(super) at: usize,
}

pub(super) struct Matcher<'a> {
    steps: &'a [Step],
    slots: &'a [Slot],
    text: &'a [u8],
    /// First byte that takes part: the file name's, or zero.
    from: usize,
    scratch: &'a mut MatchScratch,
    track: Option<Furthest>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(
        steps: &'a [Step],
        slots: &'a [Slot],
        text: &'a str,
        from: usize,
        scratch: &'a mut MatchScratch,
    ) -> Self {
        scratch.failed.clear();
        scratch.bound.clear();
        scratch.spans.clear();
        scratch.spans.resize(slots.len(), None);
        Self { steps, slots, text: text.as_bytes(), from, scratch, track: None }
    }

    /// Leftmost match; the values are in the scratch afterwards.
    pub(super) fn search(&mut self) -> bool {
        let words = ((self.text.len() - self.from + 1) * self.steps.len()).div_ceil(64);
        self.scratch.failed.resize(words, 0);
        match self.steps.first() {
            Some(Step::Start) => {
                // The file name's beginning or, in a path, that of any of its components.
                let mut at = self.from;
                loop {
                    if self.run(1, at) {
                        return true;
                    }
                    match memchr::memchr(b'/', self.text.get(at..).unwrap_or_default()) {
                        Some(slash) => at += slash + 1,
                        None => return false,
                    }
                }
            }
            // The text begins a component of its path.
            Some(Step::Literal(literal)) if literal.starts_with('/') && self.track.is_none() => {
                let tail = literal.as_bytes().get(1..).unwrap_or_default();
                (self.text.get(self.from..).is_some_and(|t| t.starts_with(tail)) && self.run(1, self.from + tail.len()))
                    || self.search_literal(literal.as_bytes())
            }
            Some(Step::Literal(literal)) if self.track.is_none() => self.search_literal(literal.as_bytes()),
            _ => {
                let mut at = self.from;
                loop {
                    if self.run(0, at) {
                        return true;
                    }
                    match self.next_char(at) {
                        Some(next) => at = next,
                        None => return false,
                    }
                }
            }
        }
    }

    /// Searches again, slowly, for where the best attempt failed.
    pub(super) fn furthest(mut self) -> Furthest {
        self.track = Some(Furthest::default());
        self.search();
        self.track.unwrap_or_default()
    }

    fn search_literal(&mut self, literal: &[u8]) -> bool {
        let mut at = self.from;
        while let Some(found) = self.find(literal, at) {
            if self.run(1, found + literal.len()) {
                return true;
            }
            at = found + 1;
        }
        false
    }

    fn find(&self, literal: &[u8], from: usize) -> Option<usize> {
        let first = *literal.first()?;
        let mut at = from;
        loop {
            at += memchr::memchr(first, self.text.get(at..)?)?;
            if self.text[at..].starts_with(literal) {
                return Some(at);
            }
            at += 1;
        }
    }

    fn next_char(&self, at: usize) -> Option<usize> {
        let mut next = at + 1;
        while self.text.get(next).is_some_and(|b| b & 0xC0 == 0x80) {
            next += 1;
        }
        (next <= self.text.len()).then_some(next)
    }

    fn bit(&self, step: usize, at: usize) -> (usize, u64) {
        let index = step * (self.text.len() - self.from + 1) + (at - self.from);
        (index / 64, 1 << (index % 64))
    }

    fn missed(&mut self, step: usize, fitted: usize, at: usize) {
        if let Some(best) = &mut self.track {
            let now = Furthest { step, fitted, at };
            if (now.step, now.fitted) > (best.step, best.fitted) {
                *best = now;
            }
        }
    }

    /// Whether the steps from `step` on match at `at`.
    fn run(&mut self, mut step: usize, mut at: usize) -> bool {
        let steps = self.steps;
        loop {
            match steps.get(step) {
                None => return true,
                Some(Step::Literal(literal)) => {
                    let rest = self.text.get(at..).unwrap_or_default();
                    let literal = literal.as_bytes();
                    if !rest.starts_with(literal) {
                        if self.track.is_some() {
                            let fitted = rest.iter().zip(literal).take_while(|(a, b)| a == b).count();
                            self.missed(step, fitted, at);
                        }
                        return false;
                    }
                    at += literal.len();
                }
                Some(Step::AnyChar) => match (self.text.get(at), self.next_char(at)) {
                    (Some(byte), Some(next)) if *byte != b'/' => at = next,
                    _ => {
                        self.missed(step, 0, at);
                        return false;
                    }
                },
                // Only ever the first step, which the search sees to.
                Some(Step::Start) => {}
                Some(Step::End) => {
                    if at != self.text.len() {
                        self.missed(step, 0, at);
                        return false;
                    }
                }
                Some(Step::Star { .. } | Step::Value { .. } | Step::Optional { .. }) => {
                    let (word, bit) = self.bit(step, at);
                    if self.scratch.failed.get(word).is_some_and(|w| w & bit != 0) {
                        return false;
                    }
                    let matched = self.branch(step, at);
                    if !matched && let Some(w) = self.scratch.failed.get_mut(word) {
                        *w |= bit;
                    }
                    return matched;
                }
            }
            step += 1;
        }
    }

    fn branch(&mut self, step: usize, at: usize) -> bool {
        match &self.steps[step] {
            Step::Star { folders } => self.star(step, at, *folders),
            Step::Optional { end } => {
                // Values are noted when everything after them has matched, so the first try leaves none.
                self.run(step + 1, at) || self.run(*end, at)
            }
            Step::Value { slot, before, after } => self.value(step, *slot, at, *before, *after),
            _ => false,
        }
    }

    fn star(&mut self, step: usize, from: usize, folders: bool) -> bool {
        let next = match self.steps.get(step + 1) {
            Some(Step::Literal(literal)) if self.track.is_none() => Some(literal.as_bytes()),
            _ => None,
        };
        let mut at = from;
        loop {
            if let Some(literal) = next {
                let Some(found) = self.find(literal, at) else { return false };
                if !folders && memchr::memchr(b'/', &self.text[at..found]).is_some() {
                    return false;
                }
                at = found;
            }
            if self.run(step + 1, at) {
                return true;
            }
            if !folders && self.text.get(at) == Some(&b'/') {
                return false;
            }
            match self.next_char(at) {
                Some(following) => at = following,
                None => return false,
            }
            // What failed from here once fails again, and what fails now is noted.
            let (word, bit) = self.bit(step, at);
            match self.scratch.failed.get_mut(word) {
                Some(known) if *known & bit != 0 => return false,
                Some(known) => *known |= bit,
                None => return false,
            }
        }
    }

    fn value(&mut self, step: usize, slot: usize, at: usize, before: bool, after: bool) -> bool {
        let slots = self.slots;
        let kind = &slots[slot].kind;
        let rest = self.text.get(at..).unwrap_or_default();
        let edge = Edges { text: self.text, from: self.from, before, after };
        let class = Class::of(kind);
        if class != Class::Free && !edge.may_begin(class, at) {
            self.missed(step, 0, at);
            return false;
        }
        let run = |class: Class| rest.iter().take_while(|b| class.holds(**b)).count();
        let matched = match kind {
            FieldKind::Digits => self.shrinking(step, slot, at, 1, run(Class::Digit), edge, class),
            FieldKind::AtLeast(width) => self.shrinking(step, slot, at, *width, run(Class::Digit), edge, class),
            FieldKind::Letters => self.shrinking(step, slot, at, 1, run(Class::Letter), edge, class),
            FieldKind::Word => self.shrinking(step, slot, at, 1, run(Class::Alphanumeric), edge, class),
            FieldKind::Width(width) => {
                let fits = rest.len() >= *width && rest[..*width].iter().all(u8::is_ascii_digit);
                fits && self.accept(step, slot, at, at + width, edge, class)
            }
            FieldKind::Int => {
                let sign = usize::from(rest.first().is_some_and(|b| matches!(b, b'-' | b'+')));
                let digits = rest[sign..].iter().take_while(|b| b.is_ascii_digit()).count();
                digits > 0 && self.shrinking(step, slot, at, sign + 1, sign + digits, edge, class)
            }
            FieldKind::Float => {
                let (least, whole, fraction) = float(rest);
                least > 0
                    && ((fraction > whole && self.shrinking(step, slot, at, whole + 2, fraction, edge, class))
                        || self.shrinking(step, slot, at, least, whole, edge, class))
            }
            FieldKind::Well => {
                let letters = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
                let digits = rest[letters..].iter().take_while(|b| b.is_ascii_digit()).count();
                matches!(letters, 1 | 2)
                    && digits > 0
                    && self.shrinking(step, slot, at, letters + 1, letters + digits.min(3), edge, class)
            }
            FieldKind::Duration => {
                let length = duration(rest);
                length > 0 && self.accept(step, slot, at, at + length, edge, class)
            }
            FieldKind::Guid => {
                let is_guid = rest.len() >= 36
                    && rest[..36].iter().enumerate().all(|(i, b)| match i {
                        8 | 13 | 18 | 23 => *b == b'-',
                        _ => b.is_ascii_hexdigit(),
                    });
                is_guid && self.accept(step, slot, at, at + 36, edge, class)
            }
            FieldKind::Set { ranges, negated, repeat } => {
                let mut ends = Vec::new();
                let text = std::str::from_utf8(rest).unwrap_or_default();
                for (i, c) in text.char_indices() {
                    let inside = ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                    if inside == *negated || c == '/' {
                        break;
                    }
                    ends.push(at + i + c.len_utf8());
                    if !repeat {
                        break;
                    }
                }
                ends.into_iter().rev().any(|end| self.accept(step, slot, at, end, edge, class))
            }
            FieldKind::Choice(words) => {
                let mut fitting: Vec<&String> = words.iter().filter(|w| rest.starts_with(w.as_bytes())).collect();
                fitting.sort_by_key(|w| std::cmp::Reverse(w.len()));
                fitting.into_iter().any(|word| {
                    let outer = |byte: Option<&u8>| match byte {
                        Some(b) if b.is_ascii_digit() => Class::Digit,
                        Some(b) if Class::Letter.holds(*b) => Class::Letter,
                        _ => Class::Free,
                    };
                    edge.may_begin(outer(word.as_bytes().first()), at)
                        && self.accept(step, slot, at, at + word.len(), edge, outer(word.as_bytes().last()))
                })
            }
            FieldKind::Text => self.text_value(step, slot, at),
        };
        if !matched {
            self.missed(step, 0, at);
        }
        matched
    }

    /// Tries ends from `most` bytes down to `least`.
    #[expect(clippy::too_many_arguments, reason = "the state of one attempt, in one place")]
    fn shrinking(
        &mut self,
        step: usize,
        slot: usize,
        at: usize,
        least: usize,
        most: usize,
        edge: Edges<'a>,
        class: Class,
    ) -> bool {
        (least..=most).rev().any(|length| self.accept(step, slot, at, at + length, edge, class))
    }

    /// Takes `at..end` as the value of `slot` if a value may end there and the rest matches.
    fn accept(&mut self, step: usize, slot: usize, at: usize, end: usize, edge: Edges<'a>, class: Class) -> bool {
        // Characters of several bytes are not cut.
        let on_border = self.text.get(end).is_none_or(|b| b & 0xC0 != 0x80);
        on_border && edge.may_end(class, end) && self.take(step, slot, at, end)
    }

    /// Takes `at..end` as the value of `slot` if it agrees with the field's value before, and the rest matches.
    fn take(&mut self, step: usize, slot: usize, at: usize, end: usize) -> bool {
        let slots = self.slots;
        let Slot { field, kind, repeats } = &slots[slot];
        let known = self.scratch.bound.iter().find(|b| b.0 == *field).map(|b| b.1.clone());
        let binds = *repeats && known.is_none();
        if let Some(known) = known {
            let text = |range| std::str::from_utf8(self.text.get::<Range<usize>>(range).unwrap_or_default());
            if !text(known).is_ok_and(|a| text(at..end).is_ok_and(|b| kind.compare(a, b).is_eq())) {
                return false;
            }
        }
        if binds {
            self.scratch.bound.push((*field, at..end));
            self.forget(step);
        }
        let matched = self.run(step + 1, end);
        if matched {
            self.scratch.spans[slot] = Some((at as u32, end as u32));
        }
        if binds {
            self.scratch.bound.pop();
            self.forget(step);
        }
        matched
    }

    /// What failed after `step` may do otherwise with another value of its field.
    fn forget(&mut self, step: usize) {
        let first = (step + 1) * (self.text.len() - self.from + 1);
        if let Some((head, tail)) = self.scratch.failed.get_mut(first / 64..).and_then(<[u64]>::split_first_mut) {
            *head &= (1 << (first % 64)) - 1;
            tail.fill(0);
        }
    }

    fn text_value(&mut self, step: usize, slot: usize, at: usize) -> bool {
        let rest = &self.text[at..];
        let most = at + memchr::memchr(b'/', rest).unwrap_or(rest.len());
        if most == at {
            return false;
        }
        let last = step + 1 == self.steps.len();
        let mut end = if last { Some(most) } else { self.next_char(at) };
        while let Some(e) = end.filter(|e| *e <= most) {
            if self.take(step, slot, at, e) {
                return true;
            }
            end = self.next_char(e);
        }
        false
    }
}

/// Where a run may be cut.
#[derive(Clone, Copy)]
struct Edges<'a> {
    text: &'a [u8],
    from: usize,
    before: bool,
    after: bool,
}

impl Edges<'_> {
    fn may_begin(&self, class: Class, at: usize) -> bool {
        let cuts = |before: &u8| class.holds(*before) && self.text.get(at).is_some_and(|b| class.holds(*b));
        !self.before || at == self.from || !self.text.get(at - 1).is_some_and(cuts)
    }

    fn may_end(&self, class: Class, end: usize) -> bool {
        let cuts =
            |after: &u8| class.holds(*after) && end > 0 && self.text.get(end - 1).is_some_and(|b| class.holds(*b));
        !self.after || !self.text.get(end).is_some_and(cuts)
    }
}

/// Lengths of the number at the start of `bytes`: the least it can be, up to the point, with the fraction.
/// All zero when there is none.
fn float(bytes: &[u8]) -> (usize, usize, usize) {
    let sign = usize::from(bytes.first().is_some_and(|b| matches!(b, b'-' | b'+')));
    let digits = |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(sign);
    if whole == 0 {
        return (0, 0, 0);
    }
    let point = sign + whole;
    let fraction = if matches!(bytes.get(point), Some(b'.' | b'p')) { digits(point + 1) } else { 0 };
    (sign + 1, point, if fraction > 0 { point + 1 + fraction } else { point })
}

/// Length of the duration at the start of `bytes`, zero when there is none.
fn duration(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let point = digits > 0 && rest.get(digits) == Some(&b'.');
        let fraction = if point { rest[digits + 1..].iter().take_while(|b| b.is_ascii_digit()).count() } else { 0 };
        let number = if fraction > 0 { digits + 1 + fraction } else { digits };
        match duration_unit(rest.get(number..).unwrap_or_default()) {
            Some((unit, _)) if digits > 0 => at += number + unit,
            _ => return at,
        }
    }
}
