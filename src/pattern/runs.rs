//! What the pattern leaves out: runs of letters and digits outside the fields, and whether they vary.

use std::collections::HashMap;

use super::interner::Interner;
use super::matcher::Spans;
use super::natural::natural_cmp;
use super::parts::{Duplicate, FieldAxis, FieldReport, Role};

/// A run with more values than this is not followed: it tells files apart, no axis.
const MANY: usize = 1 << 16;
/// Names built in more ways than this are not compared any further.
const MAX_SHAPES: usize = 64;

/// Collects the text outside the fields, name by name.
#[derive(Default)]
pub(super) struct Outside<'n> {
    known: HashMap<Vec<u8>, usize>,
    shapes: Vec<Shape<'n>>,
    last: Option<usize>,
    skeleton: Vec<u8>,
    runs: Vec<(u32, u32)>,
    sorted: Vec<(u32, u32)>,
}

/// Names with the same separators between their runs.
struct Shape<'n> {
    skeleton: Vec<u8>,
    /// Positions in the list of matched names.
    members: Vec<u32>,
    runs: Vec<Run<'n>>,
}

enum Run<'n> {
    Constant(&'n str),
    Varying(Interner<'n>),
    TooMany { least: &'n str, most: &'n str },
}

/// Bytes that are no separators stand for a field and for a run.
const FIELD: u8 = 0;
const RUN: u8 = b'a';

fn in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

impl<'n> Outside<'n> {
    pub(super) fn push(&mut self, ordinal: u32, name: &'n str, spans: &Spans) {
        self.sorted.clear();
        self.sorted.extend(spans.iter().flatten());
        self.sorted.sort_unstable();
        self.skeleton.clear();
        self.runs.clear();
        let bytes = name.as_bytes();
        let mut at = 0;
        for &(from, to) in self.sorted.iter().chain(&[(bytes.len() as u32, bytes.len() as u32)]) {
            while at < from as usize {
                let length = bytes[at..from as usize].iter().take_while(|b| in_run(**b)).count();
                if length > 0 {
                    self.runs.push((at as u32, (at + length) as u32));
                    self.skeleton.push(RUN);
                    at += length;
                } else {
                    self.skeleton.push(bytes[at]);
                    at += 1;
                }
            }
            self.skeleton.push(FIELD);
            at = at.max(to as usize);
        }
        let Some(index) = self.shape() else { return };
        let Some(shape) = self.shapes.get_mut(index) else { return };
        let runs = &self.runs;
        let text = |i: usize| runs.get(i).and_then(|(a, b)| name.get(*a as usize..*b as usize)).unwrap_or_default();
        if shape.members.is_empty() {
            shape.runs = (0..runs.len()).map(|i| Run::Constant(text(i))).collect();
        }
        for (i, run) in shape.runs.iter_mut().enumerate() {
            let text = text(i);
            match run {
                Run::Constant(same) if *same == text => {}
                Run::Constant(same) => {
                    let mut values = Interner::default();
                    values.repeat(Some(same), shape.members.len());
                    values.push(Some(text));
                    *run = Run::Varying(values);
                }
                Run::Varying(values) => {
                    values.push(Some(text));
                    if values.texts.len() > MANY {
                        let texts = || values.texts.iter().copied().flatten();
                        let least = texts().min_by(|a, b| natural_cmp(a, b)).unwrap_or(text);
                        let most = texts().max_by(|a, b| natural_cmp(a, b)).unwrap_or(text);
                        *run = Run::TooMany { least, most };
                    }
                }
                Run::TooMany { least, most } => {
                    if natural_cmp(text, least).is_lt() {
                        *least = text;
                    } else if natural_cmp(text, most).is_gt() {
                        *most = text;
                    }
                }
            }
        }
        shape.members.push(ordinal);
    }

    fn shape(&mut self) -> Option<usize> {
        let same = self.last.filter(|i| self.shapes.get(*i).is_some_and(|s| s.skeleton == self.skeleton));
        let index = match same.or_else(|| self.known.get(&self.skeleton).copied()) {
            Some(index) => index,
            None if self.shapes.len() >= MAX_SHAPES => return None,
            None => {
                self.known.insert(self.skeleton.clone(), self.shapes.len());
                self.shapes.push(Shape { skeleton: self.skeleton.clone(), members: Vec::new(), runs: Vec::new() });
                self.shapes.len() - 1
            }
        };
        self.last = Some(index);
        self.last
    }

    /// Rows of the table of fields for the runs of the commonest shape that vary, or hold digits.
    ///
    /// `indices` are the positions of every matched name along the axes, `matched` their indices.
    pub(super) fn report(
        mut self,
        axes: &[FieldAxis],
        indices: &[Vec<u32>],
        matched: &[u32],
        duplicates: &[Duplicate],
    ) -> Vec<FieldReport> {
        self.shapes.sort_by(|a, b| b.members.len().cmp(&a.members.len()).then_with(|| a.skeleton.cmp(&b.skeleton)));
        let Some(shape) = self.shapes.first() else { return Vec::new() };
        let mut reports = Vec::new();
        for run in &shape.runs {
            match run {
                Run::Constant(text) => {
                    if text.bytes().any(|b| b.is_ascii_digit()) {
                        reports.push(row(text, Role::Constant, 1, text, text));
                    }
                }
                Run::Varying(values) => {
                    let mut texts: Vec<&str> = values.texts.iter().copied().flatten().collect();
                    texts.sort_unstable_by(|a, b| natural_cmp(a, b));
                    let role = role(&values.ids, &shape.members, axes, indices, matched, duplicates);
                    let (Some(first), Some(last)) = (texts.first(), texts.last()) else { continue };
                    reports.push(row(&common(&texts), role, texts.len(), first, last));
                }
                Run::TooMany { least, most } => {
                    let role = match duplicates {
                        [] => Role::Follows(varying(axes)),
                        _ => Role::Unaccounted,
                    };
                    reports.push(row(&common(&[least, most]), role, MANY + 1, least, most));
                }
            }
        }
        reports
    }
}

fn row(name: &str, role: Role, count: usize, first: &str, last: &str) -> FieldReport {
    FieldReport {
        name: name.to_owned(),
        role,
        count: count as u64,
        first: first.to_owned(),
        last: last.to_owned(),
        step: None,
        unit: None,
        missing: Vec::new(),
    }
}

fn varying(axes: &[FieldAxis]) -> Vec<String> {
    axes.iter().filter(|a| a.len() > 1).map(|a| a.name.clone()).collect()
}

/// Which axes the values go with: one if one will do, otherwise all that are needed.
fn role(
    ids: &[u32],
    members: &[u32],
    axes: &[FieldAxis],
    indices: &[Vec<u32>],
    matched: &[u32],
    duplicates: &[Duplicate],
) -> Role {
    for (axis, along) in axes.iter().zip(indices).filter(|(axis, _)| axis.len() > 1) {
        let mut seen = vec![u32::MAX; axis.labels.len()];
        let follows = members.iter().zip(ids).all(|(ordinal, id)| {
            let known = along.get(*ordinal as usize).and_then(|i| seen.get_mut(*i as usize));
            known.is_some_and(|known| {
                let agrees = *known == u32::MAX || known == id;
                *known = *id;
                agrees
            })
        });
        if follows {
            return Role::Follows(vec![axis.name.clone()]);
        }
    }
    if !duplicates.is_empty() {
        let of_name: HashMap<u32, u32> =
            members.iter().zip(ids).filter_map(|(o, id)| Some((*matched.get(*o as usize)?, *id))).collect();
        let differs = |d: &Duplicate| {
            let mut values = d.names.iter().filter_map(|n| of_name.get(n));
            let first = values.next();
            values.any(|v| Some(v) != first)
        };
        if duplicates.iter().any(differs) {
            return Role::Unaccounted;
        }
    }
    Role::Follows(varying(axes))
}

/// What the values have in common at their ends, which names the run: `stack` of `stack0001`, `stack0002`.
fn common(texts: &[&str]) -> String {
    let letters = |c: &char| c.is_alphabetic();
    let Some(first) = texts.first() else { return String::new() };
    let mut head: Vec<char> = first.chars().take_while(letters).collect();
    let mut tail: Vec<char> = first.chars().rev().take_while(letters).collect();
    for text in texts {
        let same = head.iter().zip(text.chars()).take_while(|(a, b)| **a == *b).count();
        head.truncate(same);
        let same = tail.iter().zip(text.chars().rev()).take_while(|(a, b)| **a == *b).count();
        tail.truncate(same);
    }
    match (head.is_empty(), tail.is_empty()) {
        (false, _) => head.into_iter().collect(),
        (true, false) => tail.into_iter().rev().collect(),
        (true, true) => format!("'{first}'"),
    }
}
