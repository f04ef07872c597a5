//! Reductions on a device: all operators of one, as one routine.

use crate::array::kernel::{Datum, Elsewhere, Routine};
use crate::block::Block;
use crate::error::Result;
use crate::grid::{Region, positions};
use crate::reduce::lines::KernelLines;
use crate::reduce::reducer::{Fate, OperatorOutput, Reducer};

/// Elements of an output that one work item takes in turn; of more there must be as many outputs, to keep a device at work.
const MOST: u64 = 4096;

impl Reducer {
    /// Adds what operator number `i` makes of `source`, all elements that go into `tile`. Nothing if it has no kernel, or
    /// elements may not count.
    pub fn launch(&self, i: usize, source: Datum, tile: &Region, routine: &mut Routine) -> Option<Datum> {
        let (input, whole) = (self.input(true), self.fates.iter().all(|f| matches!(f, Fate::Kept | Fate::Reduced)));
        let output = &self.outputs[i];
        let most = tile.n_elements().max(MOST);
        if input.masked || !whole || input.n_reduced > most || output.dtype != output.natural {
            return None;
        }
        let KernelLines { of, key, text } = self.operators[i].operator.lines(&input)?;
        let lengths = self.input_of(tile).shape;
        let kept = |reduced: bool| {
            let length = |(n, &r): (&u64, &bool)| if r == reduced { *n } else { 1 };
            lengths.iter().zip(&self.reduced).map(length).collect::<Vec<u64>>()
        };
        let from = (source, key.unwrap_or(self.dtype));
        let window = kept(true);
        Some(routine.around(
            from,
            (&kept(false), &lengths, output.n_own),
            positions(&window),
            (of, output.dtype),
            (&text, Vec::new()),
        ))
    }

    /// The results for `tile`, made `elsewhere` of the block of all elements that go into it. Nothing if some operator has no
    /// kernel, or it is left to the processors.
    pub(super) fn made(&self, elsewhere: &dyn Elsewhere, block: &Block, tile: &Region) -> Result<Option<Vec<Block>>> {
        let mut routine = Routine::default();
        let source = routine.given(&block.region().shape, self.dtype);
        for i in 0..self.operators.len() {
            let Some(made) = self.launch(i, source, tile, &mut routine) else { return Ok(None) };
            routine.results.push(made);
        }
        let result = |(i, output): (usize, &OperatorOutput)| Block::new(self.output_of(i, tile), output.dtype);
        let mut results = self.outputs.iter().enumerate().map(result).collect::<Result<Vec<_>>>()?;
        let mut places: Vec<&mut [u8]> = results.iter_mut().map(Block::bytes_mut).collect();
        Ok(elsewhere.make(&routine, &[block.bytes()], &mut places)?.then_some(results))
    }
}
