//! Reads gathered into few system calls: runs of bytes that lie near one another in the file, each going to
//! its own place in memory.

use std::io::IoSliceMut;

use super::headers::HeaderInput;
use crate::bytes::Ranged;
use crate::dtype::swap_bytes;
use crate::error::Result;
use crate::profile::{self, Stage};

/// Bytes that one call brings at most: they are still in cache when their order is changed.
const MOST_BYTES: u64 = 1 << 20;
/// Pieces of memory of one call, within every system's limit.
const MOST_PIECES: usize = 1000;
/// Bytes between two runs that are read and thrown away rather than read around with another call.
const MOST_SKIPPED: u64 = 1 << 11;
/// Bytes that one call throws away at most.
const SKIPPED_ROOM: usize = 1 << 16;
/// Runs shorter than this on average cost the kernel more to place one by one than to be read together and
/// copied.
const SHORT_RUN: usize = 1 << 13;
/// Bytes read together for copying: they stay in the processor's own cache.
const TOGETHER: usize = 1 << 17;
/// Targets larger than this do not stay in cache until they are used: copies go past it.
const CACHED_TARGET: usize = 1 << 24;

/// Bytes of the file and where they go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// Where they are in the file.
    pub(super) at: u64,
    /// How many.
    pub(super) len: u64,
    /// Where they begin in the target's bytes.
    pub(super) to: usize,
    /// Bytes of the unit to be swapped; 1 if nothing is to be.
    pub(super) swap: usize,
}

/// Runs waiting to be read together.
#[derive(Default)]
pub(super) struct Gather {
    /// In the order of the file and of memory alike.
    runs: Vec<Run>,
    bytes: u64,
    skipped: u64,
    room: Vec<u8>,
}

impl Gather {
    /// Adds `run`, reading what waits if it does not fit to it. `target` is the same memory at every call.
    pub(super) fn add(&mut self, run: Run, input: &HeaderInput, target: &mut [u8]) -> Result<()> {
        let mut run = run;
        if let Some(last) = self.runs.last_mut() {
            let gap = run.at.checked_sub(last.at + last.len).filter(|&gap| gap <= MOST_SKIPPED);
            let after = run.to.checked_sub(last.to + last.len as usize);
            match (gap, after) {
                (Some(0), Some(0)) if last.swap == run.swap => {
                    last.len += run.len;
                    self.bytes += run.len;
                    run.len = 0;
                }
                (Some(gap), Some(_))
                    if self.bytes + gap + run.len <= MOST_BYTES
                        && self.runs.len() * 2 < MOST_PIECES
                        && self.skipped + gap <= SKIPPED_ROOM as u64 =>
                {
                    self.skipped += gap;
                    self.bytes += gap;
                }
                _ => self.flush(input, target)?,
            }
        }
        if run.len > 0 {
            self.runs.push(run);
            self.bytes += run.len;
        }
        if self.bytes >= 2 * MOST_BYTES {
            self.flush(input, target)?;
        }
        Ok(())
    }

    /// Reads what waits.
    pub(super) fn flush(&mut self, input: &HeaderInput, target: &mut [u8]) -> Result<()> {
        (self.bytes, self.skipped) = (0, 0);
        let bytes: u64 = self.runs.iter().map(|run| run.len).sum();
        if self.runs.len() > 1 && bytes < (SHORT_RUN * self.runs.len()) as u64 {
            copy_from_together(&self.runs, &mut self.room, input, target)?;
        } else if self.runs.len() > 1 {
            scatter(&self.runs, &mut self.room, input, target)?;
        } else if let Some(run) = self.runs.first() {
            // In portions, so that the bytes to be swapped are still in cache.
            let bytes = &mut target[run.to..][..run.len as usize];
            for (i, part) in bytes.chunks_mut(MOST_BYTES as usize).enumerate() {
                input.read_at(part, run.at + i as u64 * MOST_BYTES)?;
                swap(part, run.swap);
            }
            self.runs.clear();
        }
        for run in self.runs.drain(..) {
            swap(&mut target[run.to..][..run.len as usize], run.swap);
        }
        Ok(())
    }
}

/// Reads many short runs and what lies between them, and copies each to its place.
fn copy_from_together(runs: &[Run], room: &mut Vec<u8>, input: &HeaderInput, target: &mut [u8]) -> Result<()> {
    let past_cache = target.len() > CACHED_TARGET && runs.iter().all(|run| run.swap <= 1);
    let mut rest = runs;
    while let Some(first) = rest.first() {
        let n = rest.partition_point(|run| run.at + run.len - first.at <= TOGETHER as u64).max(1);
        let (near, far) = rest.split_at(n);
        let last = near[n - 1];
        // A first run that is too long to be one of many is alone, and is read to its place.
        if n == 1 {
            input.read_at(&mut target[first.to..][..first.len as usize], first.at)?;
        } else {
            let room = sized(room, TOGETHER);
            let room = &mut room[..(last.at + last.len - first.at) as usize];
            input.read_at(room, first.at)?;
            for run in near {
                let from = &room[(run.at - first.at) as usize..][..run.len as usize];
                let to = &mut target[run.to..][..run.len as usize];
                if past_cache { copy_past_cache(from, to) } else { to.copy_from_slice(from) }
            }
        }
        rest = far;
    }
    end_past_cache();
    Ok(())
}

fn sized(room: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if room.len() < bytes {
        room.resize(bytes, 0);
    }
    room
}

/// Copies without loading the target's memory first: half the traffic where it is not in cache anyway.
#[cfg(target_arch = "x86_64")]
fn copy_past_cache(from: &[u8], to: &mut [u8]) {
    use std::arch::x86_64::{__m128i, _mm_stream_si128};
    // Whole cache lines, in vectors aligned as the stores ask for.
    let head = to.as_ptr().align_offset(64).min(to.len());
    let (head_from, from) = from.split_at(head);
    let (head_to, to) = to.split_at_mut(head);
    head_to.copy_from_slice(head_from);
    let (lines, rest) = to.as_chunks_mut::<64>();
    let (lines_from, rest_from) = from.as_chunks::<64>();
    for (line, line_from) in lines.iter_mut().zip(lines_from) {
        let vectors: [__m128i; 4] = bytemuck::cast(*line_from);
        for (i, vector) in vectors.into_iter().enumerate() {
            // SAFETY: The line has 64 bytes and begins at a multiple of 64; SSE2 is a part of x86-64.
            unsafe { _mm_stream_si128(line.as_mut_ptr().cast::<__m128i>().add(i), vector) };
        }
    }
    rest.copy_from_slice(rest_from);
}

/// Lets other threads see what was copied past the cache.
#[cfg(target_arch = "x86_64")]
fn end_past_cache() {
    // SAFETY: SSE is a part of x86-64.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn copy_past_cache(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
}

#[cfg(not(target_arch = "x86_64"))]
fn end_past_cache() {}

/// Reads several runs with one call.
fn scatter(runs: &[Run], room: &mut Vec<u8>, input: &HeaderInput, target: &mut [u8]) -> Result<()> {
    sized(room, SKIPPED_ROOM);
    let (mut pieces, mut rest, mut rest_at) = (Vec::with_capacity(2 * runs.len()), &mut *target, 0);
    let (mut room, at) = (&mut room[..], runs[0].at);
    let mut end = at;
    for run in runs {
        if run.at > end {
            let (skipped, after) = room.split_at_mut((run.at - end) as usize);
            pieces.push(IoSliceMut::new(skipped));
            room = after;
        }
        let (piece, after) = rest[run.to - rest_at..].split_at_mut(run.len as usize);
        pieces.push(IoSliceMut::new(piece));
        (rest, rest_at) = (after, run.to + run.len as usize);
        end = run.at + run.len;
    }
    let n = match &input.file {
        Ranged::Local(file, _) => profile::stage(Stage::Read, end - at, || rustix::io::preadv(file, &mut pieces, at)),
        _ => Ok(0),
    };
    let n = n.unwrap_or(0) as u64;
    // A call may bring less than asked, or nothing; the rest comes run by run, with errors of its own.
    for run in runs.iter().filter(|run| run.at + run.len > at + n) {
        let have = (at + n).saturating_sub(run.at);
        input.read_at(&mut target[run.to..][have as usize..run.len as usize], run.at + have)?;
    }
    Ok(())
}

fn swap(bytes: &mut [u8], size: usize) {
    if size <= 1 {
        return;
    }
    if (bytes.as_ptr() as usize).is_multiple_of(size) {
        swap_bytes(bytes, size);
    } else {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}
