//! The cut for a reduction: **tiles** of its result, each with all elements that go into it, read in pieces that
//! stay in a cache beside the tile's state. Where tiles are few, each is shared out among tasks.

use super::{Candidate, Folds, Groups, Plan, PlanRequest};
use crate::grid::n_elements;

/// Bytes of a block: with its accumulators it stays in a second-level cache.
const BLOCK_BYTES: u64 = 1 << 20;
/// Bytes of a block that brings all elements of its outputs.
const WHOLE_BYTES: u64 = 4 << 20;
/// Bytes that a tile takes of each step along the folded axes: one read where files are not coded.
const STEP_BYTES: u64 = 256 << 10;
/// Reads are not cut below this to make more tiles.
const LEAST_STEP_BYTES: u64 = 32 << 10;
/// From so many tiles on each is one task; fewer are split, for all workers to have their share.
const ENOUGH_TILES: u64 = 16;
/// Groups of a tile that may be split.
const FEW_GROUPS: u64 = 64;
/// Groups of a tile that are there to fill a block.
const MOST_GROUPS: u64 = 1024;
/// Bytes that a task of a split tile reads, about ...
const SPLIT_BYTES: u64 = 8 << 20;
/// ... or so many times the bytes of its state ...
const STATE_WORTH: u64 = 8;
/// ... or more, for no more tasks than this, whose states are remembered one by one.
const MOST_SPLITS: u64 = 1 << 16;

/// How often blocks are halved: below some KiB, what is decoded around each costs more than any memory saves.
const MOST_SHRINK: u32 = 6;

/// Chooses tiles and pieces: the largest of a falling row of sizes that fit, cut along stored pieces where one can.
///
/// # Errors
/// If even the smallest do not fit: the memory that would do, in bytes.
pub(super) fn plan(request: &PlanRequest<'_>, folds: &Folds) -> Result<Plan, u64> {
    let cut = Folding { request, folds };
    let mut least = u64::MAX;
    for aligned in [true, false] {
        for shrink in 0..MOST_SHRINK {
            let candidate = cut.candidate(aligned, shrink);
            let needed = (request.cost)(&candidate.task_box, &candidate.piece).alone();
            // Room for two tasks, as long as there is a choice.
            let share = if shrink < 4 && aligned { 2 } else { 1 };
            if needed <= request.limit_bytes / share {
                let amplification = cut.amplification(&candidate);
                return Ok(Plan::of(request, candidate, cut.reach(), amplification));
            }
            least = least.min(needed);
        }
    }
    Err(least)
}

/// What is to be cut.
struct Folding<'a> {
    request: &'a PlanRequest<'a>,
    folds: &'a Folds,
}

impl Folding<'_> {
    fn rank(&self) -> usize {
        self.request.shape.len()
    }

    /// The groups along `axis`, if it has any.
    fn groups(&self, axis: usize) -> Option<Groups> {
        self.folds.groups.iter().copied().find(|g| g.axis == axis)
    }

    /// Elements beyond a tile's own that its groups reach to.
    fn reach(&self) -> Vec<u64> {
        (0..self.rank()).map(|i| self.groups(i).map_or(0, |g| g.span - g.stride)).collect()
    }

    /// Lengths of the result, every folded axis being one element, or one for each group.
    fn frame(&self) -> Vec<u64> {
        let length = |i: usize| match (self.folds.axes[i], self.groups(i)) {
            (true, Some(g)) => (self.request.shape[i] + g.stride - g.span).div_ceil(g.stride),
            (true, None) => 1,
            (false, _) => self.request.shape[i],
        };
        (0..self.rank()).map(length).collect()
    }

    /// Elements along each axis that go into a tile of the frame.
    fn input(&self, tile: &[u64]) -> Vec<u64> {
        let shape = self.request.shape;
        let length = |i: usize| match (self.folds.axes[i], self.groups(i)) {
            (true, Some(g)) => ((tile[i] - 1) * g.stride + g.span).min(shape[i]),
            (true, None) => shape[i],
            (false, _) => tile[i],
        };
        (0..self.rank()).map(length).collect()
    }

    /// Elements along each axis that belong to a tile alone.
    fn object(&self, tile: &[u64]) -> Vec<u64> {
        let own = |i: usize| match (self.folds.axes[i], self.groups(i)) {
            (true, Some(g)) => tile[i] * g.stride,
            (true, None) => self.request.shape[i],
            (false, _) => tile[i],
        };
        (0..self.rank()).map(own).collect()
    }

    fn bytes(&self, shape: &[u64]) -> u64 {
        n_elements(shape).saturating_mul(self.request.element_bytes)
    }

    fn candidate(&self, aligned: bool, shrink: u32) -> Candidate {
        let whole = self.folds.whole;
        let mut block_bytes = if whole { WHOLE_BYTES } else { BLOCK_BYTES } >> shrink;
        let mut step_bytes = STEP_BYTES >> shrink;
        let frame = self.frame();
        let n_tiles =
            |tile: &[u64]| n_elements(&frame.iter().zip(tile).map(|(f, t)| f.div_ceil(*t)).collect::<Vec<_>>());
        let (tile, piece) = loop {
            let (tile, piece) = self.boxes(aligned, block_bytes, step_bytes);
            // Narrower tiles give every worker one; where all inner axes are folded nothing can be narrowed.
            if n_tiles(&tile) >= ENOUGH_TILES || step_bytes / 2 < LEAST_STEP_BYTES {
                break (tile, piece);
            }
            step_bytes /= 2;
            if whole {
                block_bytes /= 2;
            }
        };
        let object = self.object(&tile);
        let n_groups: u64 = self.folds.groups.iter().map(|g| tile[g.axis]).product();
        // The state of many groups costs more to share out than their elements do to read; and groups that share
        // elements have them from one task.
        let apart = self.folds.groups.iter().all(|g| g.span == g.stride);
        let few = n_tiles(&tile) < ENOUGH_TILES && n_groups <= FEW_GROUPS && apart;
        let split = few && !whole && piece != self.input(&tile);
        let state_bytes = n_elements(&tile).saturating_mul(self.folds.state_bytes);
        let task_box = if split { self.share(&object, &piece, state_bytes) } else { object.clone() };
        Candidate { object, task_box, piece }
    }

    /// A box of a tile, whose state takes `state_bytes`, for one task: pieces one behind the other along the fastest axes
    /// first.
    fn share(&self, object: &[u64], piece: &[u64], state_bytes: u64) -> Vec<u64> {
        let mut task_box: Vec<u64> = piece.iter().zip(object).map(|(p, o)| (*p).min(*o)).collect();
        // A large state takes as long to be remembered and merged as much to be read, if there are tasks enough.
        let worth = STATE_WORTH.saturating_mul(state_bytes).min(self.bytes(object) / ENOUGH_TILES);
        let split_bytes = SPLIT_BYTES.max(worth).max(self.bytes(self.request.shape) / MOST_SPLITS);
        for i in (0..self.rank()).rev() {
            let room = (split_bytes / self.bytes(&task_box).max(1)).max(1);
            task_box[i] = task_box[i].saturating_mul(room).min(object[i]);
            if task_box[i] < object[i] {
                break;
            }
        }
        task_box
    }

    /// Lengths of a tile in the frame, and of a piece.
    ///
    /// The piece grows along the fastest axes first, so that reads are long: kept axes as far as one step along the
    /// slower folded axes has `step_bytes`, folded ones as far as the piece has `block_bytes`.
    fn boxes(&self, aligned: bool, block_bytes: u64, step_bytes: u64) -> (Vec<u64>, Vec<u64>) {
        let PlanRequest { shape, grain, coded, element_bytes: size, .. } = *self.request;
        let Folds { axes: folded, whole, .. } = self.folds;
        let mut tile = vec![1u64; shape.len()];
        let unit = |i: usize| if coded && aligned { grain(i, 1).1.clamp(1, shape[i]) } else { 1 };
        let mut n_groups = 1;
        for Groups { axis, stride, span } in self.folds.groups.iter().rev().copied() {
            // Groups of a tile share what they read: together a block, and stored pieces as whole as can be.
            let inner =
                (axis + 1..shape.len()).map(|k| if self.groups(k).is_some() { self.input(&tile)[k] } else { shape[k] });
            let inner_bytes = self.bytes(&inner.collect::<Vec<_>>());
            let block = block_bytes / inner_bytes.saturating_mul(stride).max(1);
            let stored = match unit(axis) {
                unit if unit <= 1 || stride % unit == 0 => 1,
                unit if unit % stride == 0 && stride > 1 => unit / stride,
                unit => unit.saturating_mul(4).div_ceil(stride),
            };
            let shared = if span > stride { 2 * span } else { 1 };
            let most = (MOST_GROUPS / n_groups).max(1);
            tile[axis] = block.min(most).max(stored).max(shared).min(self.frame()[axis]);
            n_groups = tile[axis].saturating_mul(n_groups).min(MOST_GROUPS);
        }
        let input = self.input(&tile);
        let most = |i: usize| if folded[i] { input[i] } else { shape[i] };
        let mut piece: Vec<u64> =
            (0..shape.len()).map(|i| if *whole && folded[i] { most(i) } else { unit(i).min(most(i)) }).collect();
        let state = self.folds.state_bytes.max(1);
        // All folded axes that are slower than a kept one make steps; what lies inside is read with each step.
        let outer_folded = |i: usize| folded[..i].contains(&true);
        let mut open = true;
        for i in (0..shape.len()).rev() {
            let (unit, most) = (unit(i), most(i));
            let target = if folded[i] || *whole || !outer_folded(i) { block_bytes } else { step_bytes };
            if !folded[i] && !open {
                continue;
            }
            let others = n_elements(&piece) / piece[i].max(1);
            let mut room = target / others.saturating_mul(size).max(1);
            if !folded[i] {
                // The state of a tile keeps within what its blocks take, but for the widest states.
                let n_tile: u64 = (0..shape.len()).filter(|&k| !folded[k] && k != i).map(|k| piece[k]).product();
                room = room.min((16 * block_bytes / state / n_tile.max(1)).max(1));
            }
            let room = room / unit * unit;
            if room > piece[i] {
                // As even as can be.
                let n = most.div_ceil(room.min(most));
                piece[i] = most.div_ceil(n).div_ceil(unit).saturating_mul(unit).min(most).max(piece[i]);
            }
            if !folded[i] && piece[i] < most {
                open = false;
            }
        }
        for i in (0..shape.len()).filter(|&i| !folded[i]) {
            tile[i] = piece[i];
        }
        (tile, piece)
    }

    /// Bytes decoded per byte needed.
    fn amplification(&self, candidate: &Candidate) -> f64 {
        let PlanRequest { shape, grain, coded, .. } = *self.request;
        let reach = self.reach();
        // A sample of the tiles, and of the cuts within, says enough.
        let sampled = |n: u64| (0..n).step_by(n.div_ceil(256).max(1) as usize);
        let mut product = 1.0;
        for (i, &length) in shape.iter().enumerate() {
            let (object, piece) = (candidate.object[i], candidate.piece[i].max(1));
            let (mut decoded, mut needed) = (0u64, 0u64);
            for t in sampled((length - reach[i]).div_ceil(object)) {
                let from = t * object;
                let own = object.min(length - reach[i] - from);
                let to = from + own + reach[i];
                let mut read = 0;
                for cut in sampled((to - from).div_ceil(piece)) {
                    let start = from + cut * piece;
                    let end = (start + piece).min(to);
                    read += end - start;
                    decoded += if coded { grain(i, end).1.min(length) - grain(i, start).0 } else { end - start };
                }
                // Of what was looked at, the share that no other tile brings.
                needed += read * own / (to - from).max(1);
            }
            product *= decoded as f64 / needed.max(1) as f64;
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cost, Wants};

    const SHAPE: [u64; 5] = [199, 3, 201, 1024, 768];

    /// A plan for folding `axes` with 8 bytes of state per output.
    fn cut(shape: &[u64], axes: &[usize], whole: bool, strip: &[u64], coded: bool, limit: u64) -> Result<Plan, u64> {
        grouped(shape, axes, vec![], whole, strip, coded, limit)
    }

    fn grouped(
        shape: &[u64],
        axes: &[usize],
        groups: Vec<Groups>,
        whole: bool,
        strip: &[u64],
        coded: bool,
        limit: u64,
    ) -> Result<Plan, u64> {
        let folded: Vec<bool> = (0..shape.len()).map(|i| axes.contains(&i)).collect();
        let outputs = |task: &[u64]| (0..task.len()).filter(|&i| !folded[i]).map(|i| task[i]).product::<u64>();
        let ones = vec![1; shape.len()];
        let folds = Some(Folds { axes: folded.clone(), groups, whole, state_bytes: 8 });
        plan(
            &PlanRequest {
                shape,
                wants: &Wants { unit: ones.clone(), object: ones, across: true, in_order: false, folds: folds.clone() },
                grain: &|axis, at| (at / strip[axis] * strip[axis], at.div_ceil(strip[axis]) * strip[axis]),
                coded,
                cost: &|task, piece| Cost { work_bytes: 2 * n_elements(piece) + 16 * outputs(task), ..Cost::default() },
                limit_bytes: limit,
                element_bytes: 2,
            },
            folds.as_ref().unwrap(),
        )
    }

    #[test]
    fn images_are_folded_tile_by_tile() {
        let strips = [1, 1, 1, 10, 768];
        let mean = cut(&SHAPE, &[0], false, &strips, false, 400 << 20).unwrap();
        assert_eq!(mean.objects().cell()[..3], [199, 1, 1]);
        assert_eq!(mean.objects().cell()[4], 768);
        assert!(!mean.is_split() && mean.amplification() == 1.0);
        assert!(mean.cost().alone() < 16 << 20);
        let median = cut(&SHAPE, &[0], true, &strips, false, 400 << 20).unwrap();
        assert_eq!(median.piece()[0], 199);
        let sum = cut(&SHAPE, &[0, 1, 2, 3, 4], false, &strips, false, 400 << 20).unwrap();
        assert!(sum.is_split());
        assert_eq!(sum.objects().len(), 1);
    }

    #[test]
    fn coded_strips_are_decoded_once_where_memory_allows() {
        let plane = [1, 1, 1, 1024, 768];
        let mean = cut(&SHAPE, &[0], false, &plane, true, 400 << 20).unwrap();
        assert_eq!(mean.objects().cell(), [199, 1, 1, 1024, 768]);
        assert_eq!(mean.amplification(), 1.0);
        let tight = cut(&SHAPE, &[0], false, &plane, true, 8 << 20).unwrap();
        assert!(tight.amplification() > 1.0);
        assert!(tight.cost().alone() <= 8 << 20);
        let needed = cut(&SHAPE, &[0], false, &plane, true, 1 << 10).unwrap_err();
        assert!(cut(&SHAPE, &[0], false, &plane, true, needed).is_ok());
    }

    #[test]
    fn pieces_of_tasks_read_every_element_once_and_groups_what_they_reach() {
        let shape = [230, 50, 70];
        for (axes, groups) in [
            (&[0][..], vec![]),
            (&[0, 2], vec![]),
            (&[1], vec![]),
            (&[0], vec![Groups { axis: 0, stride: 4, span: 4 }]),
            (&[0], vec![Groups { axis: 0, stride: 1, span: 6 }]),
            (&[0, 2], vec![Groups { axis: 0, stride: 1, span: 6 }, Groups { axis: 2, stride: 3, span: 3 }]),
            (&[0, 1, 2], vec![Groups { axis: 1, stride: 2, span: 2 }, Groups { axis: 2, stride: 3, span: 3 }]),
        ] {
            let plan = grouped(&shape, axes, groups.clone(), false, &[2, 5, 3], true, 200_000).unwrap();
            let mut seen = vec![0u64; n_elements(&shape) as usize];
            let reach = groups.first().map_or(0, |g| g.span - g.stride);
            for task in plan.tasks() {
                let pieces: Vec<_> = plan.pieces(&task).collect();
                let read: u64 = pieces.iter().map(|p| p.n_elements()).sum();
                assert_eq!(read, task.region.n_elements() / task.region.shape[0] * (task.region.shape[0] + reach));
                for p in crate::grid::positions(&task.region.shape) {
                    let at = (0..3).fold(0, |n, i| n * shape[i] + p[i] + task.region.origin[i]);
                    seen[at as usize] += 1;
                }
            }
            let own = n_elements(&shape) / shape[0] * (shape[0] - reach);
            assert!(seen[..own as usize].iter().all(|&n| n == 1), "{axes:?} {groups:?}");
            assert!(seen[own as usize..].iter().all(|&n| n == 0));
        }
    }
}
