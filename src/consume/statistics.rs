//! What the values of each channel are like: the smallest, the largest, and percentiles, for display. Names no format.
//!
//! Integers of up to 16 bits are counted, all or those of rows on a grid; of others a sample on a grid is kept. The grid does
//! not depend on how the array is cut; extremes are exact. Elements that nothing covers and what is not finite do not count.

use std::borrow::Cow;

use multiversion::multiversion;

use crate::array::Kept;
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{n_elements, positions, row_major_strides};
use crate::plan::Cost;
use crate::with_class;

use super::levels::absent_in_row;

/// Most memory for counts of all channels, in bytes.
const MOST_BYTES: u64 = 32 << 20;
/// Most elements of a sample, over all channels, and the least that each may have.
const MOST_SAMPLED: u64 = 1 << 18;
const LEAST_SAMPLED: u64 = 1 << 10;
/// Most elements of a channel that are counted.
const MOST_COUNTED: u64 = 1 << 24;
/// Most channels that are told apart.
const MOST_CHANNELS: u64 = 1 << 12;
/// Percentiles where a display begins and ends.
pub const PERCENTILES: (f64, f64) = (0.1, 99.9);

/// How a channel is best shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DisplayWindow {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// What is shown darkest.
    pub start: f64,
    /// What is shown brightest.
    pub end: f64,
}

/// How the values of an array are looked at.
#[derive(Clone, Debug)]
pub struct Statistics {
    dtype: DType,
    shape: Vec<u64>,
    /// The axis of channels.
    channels: Option<usize>,
    /// Distance along each axis of the elements that percentiles are of.
    strides: Vec<u64>,
    /// Whether these are counted by their value, not kept.
    counts: bool,
}

/// Counts of one channel that a worker uses again and again: of elements at even places of their rows, and at odd ones,
/// since equal neighbours would wait for each other.
#[derive(Default)]
struct Counts([Vec<u64>; 2]);

impl Statistics {
    /// What to look at in an array of `axes`; nothing if its values have no order, or no end of channels.
    pub fn new(axes: &[Axis], dtype: DType) -> Option<Self> {
        let channels = axes.iter().position(|a| a.kind == AxisKind::Channel);
        let shape = crate::axis::shape(axes);
        let n_channels = channels.map_or(1, |i| shape[i]);
        if dtype.is_complex() || dtype == DType::Bool || n_channels > MOST_CHANNELS || shape.contains(&0) {
            return None;
        }
        let mut this = Self { dtype, shape, channels, strides: Vec::new(), counts: false };
        this.counts =
            dtype.is_integer() && dtype.size() <= 2 && this.n_values().saturating_mul(8 * n_channels) <= MOST_BYTES;
        this.strides = match this.counts {
            true => this.sampled(MOST_COUNTED, this.shape.len().saturating_sub(1)),
            false => this.sampled((MOST_SAMPLED / n_channels).max(LEAST_SAMPLED), this.shape.len()),
        };
        Some(this)
    }

    /// Number of channels.
    fn n_channels(&self) -> usize {
        self.channels.map_or(1, |i| self.shape[i] as usize)
    }

    /// Values that an element of up to 16 bits can have.
    fn n_values(&self) -> u64 {
        1 << (8 * self.dtype.size()).min(16)
    }

    /// Distances of elements along the first `n` axes so that a channel has at most `most` of them: doubled where most would
    /// be left.
    fn sampled(&self, most: u64, n: usize) -> Vec<u64> {
        let mut strides = vec![1u64; self.shape.len()];
        let counts = |strides: &[u64]| -> Vec<u64> {
            let along = |i: usize| if Some(i) == self.channels { 1 } else { self.shape[i].div_ceil(strides[i]) };
            (0..strides.len()).map(along).collect()
        };
        while n_elements(&counts(&strides)) > most {
            let now = counts(&strides);
            let Some(longest) = (0..n).rev().max_by_key(|&i| now[i]).filter(|&i| now[i] > 1) else { break };
            strides[longest] *= 2;
        }
        strides
    }

    /// Which elements percentiles are of, in words.
    pub fn scope(&self, axes: &[Axis]) -> String {
        let thinned = axes.iter().zip(&self.strides).filter(|(_, s)| **s > 1);
        let words: Vec<String> = thinned.map(|(axis, s)| format!("1 in {s} along {}", axis.name)).collect();
        if words.is_empty() { "all elements".into() } else { words.join(", ") }
    }

    /// Memory of looking at a task of shape `task`.
    pub fn cost(&self, task: &[u64]) -> Cost {
        let channels = self.channels.map_or(1, |i| task[i].min(self.shape[i]));
        if self.counts {
            // A count takes up to ten bytes; most take one or two.
            let kept_bytes = (self.n_values() * 3 + 64).saturating_mul(channels);
            return Cost { work_bytes: 16 * self.n_values(), kept_bytes, ..Cost::default() };
        }
        let n = task.iter().zip(&self.strides).fold(8u64, |n, (t, s)| n.saturating_mul(t.div_ceil(*s)));
        Cost { kept_bytes: n.saturating_add(64 * channels), ..Cost::default() }
    }

    /// Memory of what is known of all channels.
    pub fn held_bytes(&self) -> u64 {
        match self.counts {
            true => 8 * self.n_values() * self.n_channels() as u64,
            // Lists that grow may be twice as long.
            false => 16 * MOST_SAMPLED.max(LEAST_SAMPLED * self.n_channels() as u64),
        }
    }

    /// Adds what `block` holds to `state`.
    pub fn look(&self, block: &Block, kept: &mut Kept, state: &mut Vec<u8>) {
        let region = block.region();
        let (first, n) = self.channels.map_or((0, 1), |i| (region.origin[i], region.shape[i]));
        for channel in first..first + n {
            with_class!(self.dtype, int I => match self.counts {
                true => self.count::<I>(block, channel, &mut kept.get::<Counts>().0, state),
                false => self.sample::<I>(block, channel, state),
            }, float F => self.sample::<F>(block, channel, state), complex C => { let _ = size_of::<C>(); });
        }
    }

    /// Calls `see` with each row of the part of `block` that lies in `channel` and on the grid of `strides`, whatever
    /// that is along the row, and where it begins. Rows that follow one another are one where all elements are there.
    fn rows<T: Value>(&self, block: &Block, channel: u64, strides: &[u64], mut see: impl FnMut(&[T], &[u64])) {
        let (region, elements) = (block.region(), block.elements::<T>());
        let mut part = region.clone();
        if let Some(i) = self.channels {
            (part.origin[i], part.shape[i]) = (channel, 1);
        }
        let mut axis = region.rank().saturating_sub(1);
        let is_one = |axis: usize| part.shape[axis] == region.shape[axis] && strides[axis - 1..=axis] == [1, 1];
        while axis > 0 && block.coverage.absent().is_empty() && is_one(axis) {
            axis -= 1;
        }
        for (i, stride) in strides[..axis].iter().enumerate() {
            let first = part.origin[i].next_multiple_of(*stride);
            (part.origin[i], part.shape[i]) = (first, part.end(i).saturating_sub(first).div_ceil(*stride));
        }
        let steps = row_major_strides(&region.shape);
        let (outer, inner) = part.shape.split_at(axis);
        let width = n_elements(inner) as usize;
        let mut start = part.origin.clone();
        for at in positions(outer) {
            (0..axis).for_each(|i| start[i] = part.origin[i] + at[i] * strides[i]);
            let offset: u64 = (0..start.len()).map(|i| (start[i] - region.origin[i]) * steps[i]).sum();
            see(&elements[offset as usize..offset as usize + width], &start);
        }
    }

    /// Adds how often each value occurs on the grid: the channel, the least value, and counts up to the greatest one.
    fn count<T: Value>(&self, block: &Block, channel: u64, counts: &mut [Vec<u64>; 2], state: &mut Vec<u8>) {
        let mut found: Option<(T, T)> = None;
        self.rows::<T>(block, channel, &vec![1; self.strides.len()], |row, start| {
            found = ends(&present(block, row, start), found);
        });
        let Some((low, high)) = found.map(|(low, high)| (low.index(), high.index())) else { return };
        for counts in &mut *counts {
            counts.clear();
            counts.resize(high - low + 1, 0);
        }
        let [even, odd] = counts;
        self.rows::<T>(block, channel, &self.strides, |row, start| {
            let row = present(block, row, start);
            let (pairs, rest) = row.as_chunks::<2>();
            for [a, b] in pairs {
                even[a.index() - low] += 1;
                odd[b.index() - low] += 1;
            }
            rest.iter().for_each(|v| even[v.index() - low] += 1);
        });
        for n in [channel, low as u64, (high - low + 1) as u64] {
            put(state, n);
        }
        even.iter().zip(odd).for_each(|(a, b)| put(state, *a + *b));
    }

    /// Adds the channel, its extremes, and the sample.
    fn sample<T: Value>(&self, block: &Block, channel: u64, state: &mut Vec<u8>) {
        let last = self.strides.len().saturating_sub(1);
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        self.rows::<T>(block, channel, &vec![1; self.strides.len()], |row, start| {
            (min, max) = extremes(&present(block, row, start), (min, max));
        });
        if min > max {
            return;
        }
        let mut sampled = Vec::new();
        self.rows::<T>(block, channel, &self.strides, |row, start| {
            let absent = absent_behind(block, start);
            let is_there = |i: usize| !absent.get(i).copied().unwrap_or(false);
            let (first, stride) = match start.last() {
                Some(x) if Some(last) != self.channels => (*x, self.strides[last]),
                _ => (0, 1),
            };
            let on_grid = (first.next_multiple_of(stride) - first) as usize;
            let values = (on_grid..row.len()).step_by(stride as usize).map(|i| (i, row[i].real()));
            sampled.extend(values.filter(|(i, v)| v.is_finite() && is_there(*i)).map(|(_, v)| v));
        });
        put(state, channel);
        [min, max].iter().for_each(|v| state.extend_from_slice(&v.to_le_bytes()));
        put(state, sampled.len() as u64);
        sampled.iter().for_each(|v| state.extend_from_slice(&v.to_le_bytes()));
    }

    /// What is known before anything is.
    pub fn tally(&self) -> ChannelStatistics {
        let one = match self.counts {
            true => Seen::Counts { ends: None, counts: vec![0; self.n_values() as usize] },
            false => Seen::Sample { min: f64::INFINITY, max: f64::NEG_INFINITY, values: Vec::new() },
        };
        let lowest = if self.dtype.is_signed() { -(self.n_values() as f64) / 2.0 } else { 0.0 };
        ChannelStatistics { channels: vec![one; self.n_channels()], lowest }
    }
}

/// Which elements of `block` from `start` to the end of its row are absent; of an empty list, none.
fn absent_behind(block: &Block, start: &[u64]) -> Vec<bool> {
    match (block.coverage.absent(), start.len().checked_sub(1)) {
        ([], _) | (_, None) => Vec::new(),
        (_, Some(last)) => {
            let skipped = start[last] - block.region().origin[last];
            absent_in_row(block, &start[..last]).split_off(skipped as usize)
        }
    }
}

/// The elements of `row`, which begins at `start` of `block`, that are not absent.
fn present<'a, T: Copy>(block: &Block, row: &'a [T], start: &[u64]) -> Cow<'a, [T]> {
    match absent_behind(block, start) {
        absent if absent.is_empty() => row.into(),
        absent => row.iter().zip(absent).filter(|(_, absent)| !absent).map(|(v, _)| *v).collect(),
    }
}

/// The least and the greatest finite number of `row` and `before`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn extremes<T: Value>(row: &[T], before: (f64, f64)) -> (f64, f64) {
    const LANES: usize = 16;
    let (mut low, mut high) = ([before.0; LANES], [before.1; LANES]);
    let mut see = |lane: usize, v: f64| {
        let is_finite = v.abs() < f64::INFINITY;
        low[lane] = if is_finite && v < low[lane] { v } else { low[lane] };
        high[lane] = if is_finite && v > high[lane] { v } else { high[lane] };
    };
    let (chunks, rest) = row.as_chunks::<LANES>();
    chunks.iter().for_each(|chunk| (0..LANES).for_each(|l| see(l, chunk[l].real())));
    rest.iter().for_each(|v| see(0, v.real()));
    (low.into_iter().fold(before.0, f64::min), high.into_iter().fold(before.1, f64::max))
}

/// The least and the greatest of `row` and `before`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn ends<T: Value>(row: &[T], before: Option<(T, T)>) -> Option<(T, T)> {
    let (mut low, mut high) = match (before, row) {
        (Some(before), _) => before,
        (None, [first, ..]) => (*first, *first),
        (None, []) => return None,
    };
    for &v in row {
        (low, high) = (if v < low { v } else { low }, if v > high { v } else { high });
    }
    Some((low, high))
}

/// What is known of all channels.
pub struct ChannelStatistics {
    channels: Vec<Seen>,
    /// The value that is counted first.
    lowest: f64,
}

/// What is known of a channel.
#[derive(Clone)]
enum Seen {
    /// The places of the least and the greatest value, and counts of those on the grid.
    Counts {
        ends: Option<(u64, u64)>,
        counts: Vec<u64>,
    },
    Sample {
        min: f64,
        max: f64,
        values: Vec<f64>,
    },
}

impl ChannelStatistics {
    /// Adds a state.
    ///
    /// # Errors
    /// `Format` if it is damaged.
    pub fn add(&mut self, mut state: &[u8]) -> Result<()> {
        while !state.is_empty() {
            self.add_one(&mut state)
                .ok_or_else(|| Error::format("statistics that were kept are damaged: use --restart"))?;
        }
        Ok(())
    }

    fn add_one(&mut self, state: &mut &[u8]) -> Option<()> {
        let channel = usize::try_from(take(state)?).ok()?;
        match self.channels.get_mut(channel)? {
            Seen::Counts { ends, counts } => {
                let (from, n) = (take(state)?, take(state)?);
                let places =
                    counts.get_mut(usize::try_from(from).ok()?..usize::try_from(from.checked_add(n)?).ok()?)?;
                let own = (from, (from + n).checked_sub(1)?);
                *ends = Some(ends.map_or(own, |before| (before.0.min(own.0), before.1.max(own.1))));
                for place in places {
                    *place += take(state)?;
                }
            }
            Seen::Sample { min, max, values } => {
                (*min, *max) = (min.min(real(state)?), max.max(real(state)?));
                for _ in 0..take(state)? {
                    values.push(real(state)?);
                }
            }
        }
        Some(())
    }

    /// The window of every channel that has a value.
    pub fn windows(self) -> Vec<Option<DisplayWindow>> {
        let lowest = self.lowest;
        self.channels.into_iter().map(|seen| seen.window(lowest)).collect()
    }
}

impl Seen {
    fn window(self, lowest: f64) -> Option<DisplayWindow> {
        let (low, high) = (PERCENTILES.0 / 100.0, PERCENTILES.1 / 100.0);
        let (min, max, start, end) = match self {
            Self::Counts { ends, counts } => {
                let (min, max) = ends.map(|(low, high)| (lowest + low as f64, lowest + high as f64))?;
                let at = |rank: u64| {
                    let mut before = 0;
                    let found = counts.iter().position(|n| {
                        before += n;
                        before > rank
                    });
                    found.map(|i| lowest + i as f64)
                };
                let last = counts.iter().sum::<u64>().checked_sub(1);
                let of = |q| last.and_then(|last| at(rank(q, last)));
                (min, max, of(low).unwrap_or(min), of(high).unwrap_or(max))
            }
            Self::Sample { min, max, mut values } => {
                let last = (values.len() as u64).checked_sub(1);
                let mut at = |q| {
                    let rank = rank(q, last?) as usize;
                    Some(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
                };
                (min, max, at(low).unwrap_or(min), at(high).unwrap_or(max))
            }
        };
        if min > max {
            return None;
        }
        // Little on much background: percentiles may see the background alone.
        let (start, end) = if start < end { (start, end) } else { (min, max) };
        Some(DisplayWindow { min, max, start, end: if start < end { end } else { start + 1.0 } })
    }
}

/// The rank that is nearest to the quantile `q` of ranks up to `last`.
fn rank(q: f64, last: u64) -> u64 {
    (q * last as f64 + 0.5).floor() as u64
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
pub(crate) fn put(state: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        state.push(n as u8 | 0x80);
        n >>= 7;
    }
    state.push(n as u8);
}

pub(super) fn take(state: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = state.split_first()?;
        *state = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

pub(super) fn real(state: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = state.split_first_chunk::<8>()?;
    *state = rest;
    Some(f64::from_le_bytes(*bytes))
}

/// An element whose values are looked at.
trait Value: crate::dtype::Element + PartialOrd {
    fn real(self) -> f64;

    /// Its number among the values of a type of up to 16 bits.
    fn index(self) -> usize {
        0
    }
}

macro_rules! value {
    ($($t:ty: $index:expr),*) => {$(
        impl Value for $t {
            #[inline(always)]
            fn real(self) -> f64 {
                self as f64
            }

            fn index(self) -> usize {
                let index: fn($t) -> usize = $index;
                index(self)
            }
        }
    )*};
}

value! {
    u8: usize::from, u16: usize::from, i8: |v| (i16::from(v) + 128) as usize, i16: |v| (i32::from(v) + 32_768) as usize,
    u32: |_| 0, u64: |_| 0, i32: |_| 0, i64: |_| 0, f32: |_| 0, f64: |_| 0
}

impl Value for half::f16 {
    fn real(self) -> f64 {
        self.to_f64()
    }
}
