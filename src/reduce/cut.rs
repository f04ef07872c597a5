//! How a reduction goes over its array: tiles of the result, and pieces of the reduced axes. Pure
//! arithmetic; knows no thread count, so that results do not depend on it.

use crate::grid::{Grid, Region, n_elements};
use crate::plan::{Cost, Task};
use crate::reduce::reducer::{Grouping, Reducer};

/// Bytes of a block: with its accumulators it stays in a second-level cache.
const BLOCK_BYTES: u64 = 1 << 20;
/// Bytes of a block that brings all elements of its outputs.
const WHOLE_BYTES: u64 = 4 << 20;
/// Bytes that a tile takes of each step along the reduced axes: one read where files are not coded.
const STEP_BYTES: u64 = 256 << 10;
/// Reads are not cut below this to make more tiles.
const LEAST_STEP_BYTES: u64 = 32 << 10;
/// From so many tiles on each is one task; fewer are split, for all workers to have their share.
const ENOUGH_TILES: u64 = 16;
/// Groups of a tile that may be split.
const FEW_GROUPS: u64 = 64;
/// Groups of a tile that are there to fill a block.
const MOST_GROUPS: u64 = 1024;
/// Memory that the state of a group takes per operator, whatever its outputs.
const GROUP_BYTES: u64 = 1 << 10;
/// Bytes that a task of a split tile reads, about.
const SPLIT_BYTES: u64 = 8 << 20;

/// What the cut is made for.
pub struct Terrain<'a> {
    /// Boundaries of stored pieces along an axis: the last at or before a position, the first at or after.
    pub boundaries: &'a dyn Fn(usize, u64) -> (u64, u64),
    /// Whether stored pieces are decoded whole even if little of them is wanted.
    pub coded: bool,
    /// Memory that one read needs beside its block, in bytes.
    pub scratch_bytes: u64,
    /// What all tasks together may use, in bytes.
    pub limit_bytes: u64,
    /// Memory that writing a result of so many elements takes, in bytes.
    pub write_bytes: &'a dyn Fn(u64) -> u64,
}

/// Tiles, pieces and tasks of a reduction.
#[derive(Clone, Debug)]
pub struct Cut {
    tiles: Grid,
    /// Largest piece: along kept axes the tile's, along reduced ones its own lengths.
    piece: Vec<u64>,
    whole: bool,
    /// Pieces of a task, where tiles are split into several tasks.
    split: Option<u64>,
    cost: Cost,
    amplification: f64,
}

impl Cut {
    /// Chooses tiles and pieces.
    ///
    /// # Errors
    /// If even the smallest do not fit: the memory that would do, in bytes.
    pub fn new(reducer: &Reducer, terrain: &Terrain<'_>) -> Result<Self, u64> {
        let mut least: Option<Cost> = None;
        for aligned in [true, false] {
            for shrink in 0..12 {
                let cut = Self::attempt(reducer, terrain, aligned, shrink);
                // Room for two tasks, as long as there is a choice.
                let share = if shrink < 4 && aligned { 2 } else { 1 };
                if cut.cost.alone() <= terrain.limit_bytes / share {
                    return Ok(cut);
                }
                if least.is_none_or(|l| cut.cost.alone() < l.alone()) {
                    least = Some(cut.cost);
                }
            }
        }
        Err(least.unwrap_or_default().alone())
    }

    fn attempt(reducer: &Reducer, terrain: &Terrain<'_>, aligned: bool, shrink: u32) -> Self {
        let whole = reducer.wants_whole();
        let mut block_bytes = if whole { WHOLE_BYTES } else { BLOCK_BYTES } >> shrink;
        let mut step_bytes = STEP_BYTES >> shrink;
        let (tile, piece) = loop {
            let (tile, piece) = boxes(reducer, terrain, aligned, block_bytes, step_bytes);
            let few = Grid::new(&reducer.frame(), &tile).len() < ENOUGH_TILES;
            // Narrower tiles give every worker one; where all inner axes are reduced nothing can be narrowed.
            if !few || step_bytes / 2 < LEAST_STEP_BYTES {
                break (tile, piece);
            }
            step_bytes /= 2;
            if whole {
                block_bytes /= 2;
            }
        };
        let tiles = Grid::new(&reducer.frame(), &tile);
        let input = reducer.input_of(&Region::whole(&tile));
        let whole = piece == input.shape;
        let n_pieces = Grid::new(&input.shape, &piece).len();
        let size = reducer.dtype().size() as u64;
        let piece_bytes = n_elements(&piece).saturating_mul(size);
        let n_groups = reducer.grouping.map_or(1, |(g, _)| tile[g]);
        // The state of many groups costs more to share out than their elements do to read.
        let few = tiles.len() < ENOUGH_TILES && n_groups <= FEW_GROUPS;
        let split = (few && n_pieces > 1 && !reducer.wants_whole())
            .then(|| (SPLIT_BYTES / piece_bytes.max(1)).clamp(1, n_pieces));
        let n_tile = n_elements(&tile);
        let group_bytes = n_groups.saturating_mul(GROUP_BYTES * reducer.outputs().len() as u64);
        let state_bytes = reducer.state_bytes(whole).saturating_mul(n_tile).saturating_add(group_bytes);
        let fold_bytes = n_elements(&piece).saturating_mul(reducer.fold_bytes());
        // Panels have masks and tables of their own, bounded by their size.
        const PANEL_BYTES: u64 = 1 << 20;
        let read_bytes = piece_bytes.saturating_add(terrain.scratch_bytes).saturating_add(fold_bytes) + PANEL_BYTES;
        let write_bytes = (terrain.write_bytes)(n_tile);
        let kept = if split.is_some() { state_bytes } else { write_bytes };
        let work_bytes = read_bytes.saturating_add(state_bytes).saturating_add(write_bytes);
        let mut cut =
            Self { tiles, piece, whole, split, cost: Cost { work_bytes, kept_bytes: kept }, amplification: 1.0 };
        cut.amplification = cut.decoded_per_needed(reducer, terrain);
        cut
    }

    /// Tiles of the result, boxes of [`Reducer::frame`].
    pub fn tiles(&self) -> &Grid {
        &self.tiles
    }

    /// Shape of the largest piece that is read at once.
    pub fn piece(&self) -> &[u64] {
        &self.piece
    }

    /// Whether pieces bring all elements of their outputs.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Whether tiles are worked on by several tasks.
    pub fn is_split(&self) -> bool {
        self.split.is_some()
    }

    /// Memory of the largest task.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Bytes read divided by bytes of the array, in one pass.
    pub fn amplification(&self) -> f64 {
        self.amplification
    }

    /// The tile numbered `index`.
    pub fn tile(&self, index: u64) -> Region {
        self.tiles.region(&self.tiles.unravel(index))
    }

    /// The elements that go into `tile`, and the grid that cuts them into pieces.
    fn grid(&self, reducer: &Reducer, tile: &Region) -> (Region, Grid) {
        let input = reducer.input_of(tile);
        let cell: Vec<u64> = self.piece.iter().zip(&input.shape).map(|(p, s)| (*p).min(*s).max(1)).collect();
        let grid = Grid::new(&input.shape, &cell);
        (input, grid)
    }

    /// The pieces of `tile`, in order.
    pub fn pieces(&self, reducer: &Reducer, tile: &Region) -> impl Iterator<Item = Region> + use<> {
        self.some_pieces(reducer, tile, 0, u64::MAX)
    }

    fn some_pieces(
        &self,
        reducer: &Reducer,
        tile: &Region,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Region> + use<> {
        let (input, grid) = self.grid(reducer, tile);
        (from..to.min(grid.len())).map(move |i| {
            let mut region = grid.region(&grid.unravel(i));
            region.origin.iter_mut().zip(&input.origin).for_each(|(a, b)| *a += b);
            region
        })
    }

    /// Number of tasks.
    pub fn n_tasks(&self, reducer: &Reducer) -> u64 {
        match self.split {
            None => self.tiles.len(),
            Some(_) => (0..self.tiles.len()).map(|t| self.n_split(reducer, &self.tile(t))).sum(),
        }
    }

    /// Number of tasks of one pass over `tile`, where tiles are split.
    pub fn n_split(&self, reducer: &Reducer, tile: &Region) -> u64 {
        self.grid(reducer, tile).1.len().div_ceil(self.split.unwrap_or(1).max(1))
    }

    /// The pieces of task number `index` of one pass over `tile`, where tiles are split.
    pub fn split(&self, reducer: &Reducer, tile: &Region, index: u64) -> impl Iterator<Item = Region> + use<> {
        let n = self.split.unwrap_or(1).max(1);
        self.some_pieces(reducer, tile, index.saturating_mul(n), index.saturating_add(1).saturating_mul(n))
    }

    /// One task for each tile; their regions are tiles.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        (0..self.tiles.len()).map(|index| Task { index, region: self.tile(index) })
    }

    /// Bytes decoded per byte needed.
    fn decoded_per_needed(&self, reducer: &Reducer, terrain: &Terrain<'_>) -> f64 {
        let mut product = 1.0;
        for (i, axis) in reducer.axes().iter().enumerate() {
            let grouping = reducer.grouping.filter(|(g, _)| *g == i).map(|(_, grouping)| grouping);
            // What one tile needs along the axis: neighbouring groups may share elements.
            let (length, tile) = match grouping {
                Some(_) => (self.tiles.shape()[i], self.tiles.cell()[i]),
                None => (axis.length, axis.length),
            };
            // A sample of the tiles, and of the cuts within, says enough.
            let sampled = |n: u64| (0..n).step_by(n.div_ceil(256).max(1) as usize);
            let (mut decoded, mut needed) = (0u64, 0u64);
            for t in sampled(length.div_ceil(tile)) {
                let (first, last) = (t * tile, ((t + 1) * tile).min(length));
                let (from, to) = grouping.map_or((first, last), |g| g.span(first, last, axis.length));
                let mut read = 0;
                for cut in sampled((to - from).div_ceil(self.piece[i])) {
                    let start = from + cut * self.piece[i];
                    let end = (start + self.piece[i]).min(to);
                    read += end - start;
                    decoded += match terrain.coded {
                        true => (terrain.boundaries)(i, end).1.min(axis.length) - (terrain.boundaries)(i, start).0,
                        false => end - start,
                    };
                }
                // Of what was looked at, the share that no other tile brings.
                let own = grouping.map_or(last - first, |g| g.stride() * (last - first)).min(to - from);
                needed += read * own / (to - from).max(1);
            }
            product *= decoded as f64 / needed.max(1) as f64;
        }
        product
    }
}

/// Lengths of a tile in the frame, and of a piece.
///
/// The piece grows along the fastest axes first, so that reads are long: kept axes as far as one step along
/// the slower reduced axes has `step_bytes`, reduced ones as far as the piece has `block_bytes`.
fn boxes(
    reducer: &Reducer,
    terrain: &Terrain<'_>,
    aligned: bool,
    block_bytes: u64,
    step_bytes: u64,
) -> (Vec<u64>, Vec<u64>) {
    let (reduced, shape) = (reducer.reduced(), crate::axis::shape(reducer.axes()));
    let whole = reducer.wants_whole();
    let mut tile = vec![1u64; shape.len()];
    let unit = |i: usize| if terrain.coded && aligned { (terrain.boundaries)(i, 1).1.clamp(1, shape[i]) } else { 1 };
    if let Some((g, grouping)) = reducer.grouping {
        // Groups of a tile share what they read: together a block, and stored pieces as whole as can be.
        let inner_bytes = n_elements(&shape[g + 1..]).saturating_mul(reducer.dtype().size() as u64);
        let stride = grouping.stride();
        let block = (block_bytes / inner_bytes.saturating_mul(stride).max(1)).min(MOST_GROUPS);
        let stored = match unit(g) {
            unit if unit <= 1 || stride % unit == 0 => 1,
            unit if unit % stride == 0 && stride > 1 => unit / stride,
            unit => unit.saturating_mul(4).div_ceil(stride),
        };
        let shared = if let Grouping::Window { n } = grouping { 2 * n } else { 1 };
        tile[g] = block.max(stored).max(shared).min(reducer.frame()[g]);
    }
    let input = reducer.input_of(&Region::whole(&tile));
    let most = |i: usize| if reduced[i] { input.shape[i] } else { shape[i] };
    let mut piece: Vec<u64> =
        (0..shape.len()).map(|i| if whole && reduced[i] { most(i) } else { unit(i).min(most(i)) }).collect();
    let size = reducer.dtype().size() as u64;
    let state = reducer.state_bytes(whole).max(1);
    // All reduced axes that are slower than a kept one make steps; what lies inside is read with each step.
    let outer_reduced = |i: usize| reduced[..i].contains(&true);
    let mut open = true;
    for i in (0..shape.len()).rev() {
        let (unit, most) = (unit(i), most(i));
        let target = match (reduced[i], whole) {
            (true, _) | (false, true) => block_bytes,
            (false, false) if outer_reduced(i) => step_bytes,
            (false, false) => block_bytes,
        };
        if !reduced[i] && !open {
            continue;
        }
        let others = n_elements(&piece) / piece[i].max(1);
        let mut room = target / others.saturating_mul(size).max(1);
        if !reduced[i] {
            // The state of a tile keeps within what its blocks take, but for the widest states.
            let n_tile =
                n_elements(&(0..shape.len()).filter(|&k| !reduced[k] && k != i).map(|k| piece[k]).collect::<Vec<_>>());
            room = room.min((16 * block_bytes / state / n_tile.max(1)).max(1));
        }
        let room = room / unit * unit;
        if room > piece[i] {
            // As even as can be.
            let n = most.div_ceil(room.min(most));
            piece[i] = most.div_ceil(n).div_ceil(unit).saturating_mul(unit).min(most).max(piece[i]);
        }
        if !reduced[i] && piece[i] < most {
            open = false;
        }
    }
    for i in 0..shape.len() {
        if !reduced[i] {
            tile[i] = piece[i];
        }
    }
    (tile, piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::Axis;
    use crate::dtype::DType;
    use crate::reduce::Settings;

    fn cut(operators: &str, reduced: &[usize], strip: [u64; 5], coded: bool, limit_bytes: u64) -> Result<Cut, u64> {
        let lengths = [199, 3, 201, 1024, 768];
        let axes: Vec<Axis> = ["t", "c", "z", "y", "x"].iter().zip(lengths).map(|(n, l)| Axis::new(*n, l)).collect();
        let settings = Settings { operators: operators.into(), axes: reduced.to_vec(), ..Settings::default() };
        let reducer = Reducer::new(&axes, DType::Uint16, &settings).unwrap();
        let terrain = Terrain {
            boundaries: &|axis, at| (at / strip[axis] * strip[axis], at.div_ceil(strip[axis]) * strip[axis]),
            coded,
            scratch_bytes: 0,
            limit_bytes,
            write_bytes: &|n| 8 * n,
        };
        Cut::new(&reducer, &terrain)
    }

    #[test]
    fn images_are_reduced_tile_by_tile() {
        let strips = [1, 1, 1, 10, 768];
        let mean = cut("mean", &[0], strips, false, 400 << 20).unwrap();
        assert_eq!(mean.tiles().cell()[..3], [1, 1, 1]);
        assert_eq!(mean.tiles().cell()[4], 768);
        assert!(!mean.is_split() && mean.amplification() == 1.0);
        assert!(mean.cost().alone() < 16 << 20);
        let median = cut("median", &[0], strips, false, 400 << 20).unwrap();
        assert!(median.whole());
        assert_eq!(median.piece()[0], 199);
        let sum = cut("sum", &[], strips, false, 400 << 20).unwrap();
        assert!(sum.is_split());
        assert_eq!(sum.tiles().len(), 1);
    }

    #[test]
    fn coded_strips_are_decoded_once_where_memory_allows() {
        let plane = [1, 1, 1, 1024, 768];
        let mean = cut("mean", &[0], plane, true, 400 << 20).unwrap();
        assert_eq!(mean.tiles().cell(), [1, 1, 1, 1024, 768]);
        assert_eq!(mean.amplification(), 1.0);
        let tight = cut("mean", &[0], plane, true, 8 << 20).unwrap();
        assert!(tight.amplification() > 1.0);
        assert!(tight.cost().alone() <= 8 << 20);
        let needed = cut("mean", &[0], plane, true, 1 << 20).unwrap_err();
        assert!(cut("mean", &[0], plane, true, needed).is_ok());
    }

    #[test]
    fn pieces_cover_every_tile() {
        let cut = cut("max", &[2], [1, 1, 1, 10, 768], true, 64 << 20).unwrap();
        let lengths = [199, 3, 201, 1024, 768];
        let axes: Vec<Axis> = ["t", "c", "z", "y", "x"].iter().zip(lengths).map(|(n, l)| Axis::new(*n, l)).collect();
        let settings = Settings { operators: "max".into(), axes: vec![2], ..Settings::default() };
        let reducer = Reducer::new(&axes, DType::Uint16, &settings).unwrap();
        let tile = cut.tile(cut.tiles().len() - 1);
        let covered: u64 = cut.pieces(&reducer, &tile).map(|p| p.n_elements()).sum();
        assert_eq!(covered, reducer.input_of(&tile).n_elements());
    }
}
