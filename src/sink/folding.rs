//! Files of what is folded over all blocks of an array: each task leaves a state, and states are added up in plan order.

use super::remembered;
use crate::block::Block;
use crate::consume::{Consumer, Desk, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::plan::{Cost, Task, Wants};
use crate::store::Store;

/// What is folded, and what is written of it.
pub(super) trait FoldedOutput: Send + Sync {
    /// What states add up to.
    type Total: Send;

    /// Axes of the array.
    fn n_axes(&self) -> usize;

    /// Memory of a task of shape `task`.
    fn cost(&self, task: &[u64]) -> Cost;

    /// Memory of the total, and of writing it, in bytes.
    fn held_bytes(&self) -> u64;

    /// Adds what `block` holds to `state`.
    fn look(&self, block: &Block, state: &mut Vec<u8>);

    /// What is there before anything is.
    fn total(&self) -> Self::Total;

    /// Adds a state to `total`.
    ///
    /// # Errors
    /// `Format` if it is damaged.
    fn add(&self, total: &mut Self::Total, state: &[u8]) -> Result<()>;

    /// Writes the file.
    ///
    /// # Errors
    /// `Io`; `Format` if something never came.
    fn write(&self, total: Self::Total, store: &Store) -> Result<()>;
}

/// A file of what `of` folds.
pub(super) struct Folding<F> {
    pub(super) place: Place,
    pub(super) of: F,
}

impl<F: FoldedOutput> Consumer for Folding<F> {
    fn wants(&self) -> Wants {
        Wants::any(self.of.n_axes())
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        self.of.cost(task)
    }

    fn held_bytes(&self) -> u64 {
        self.of.held_bytes()
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        Some(&mut self.place)
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Looker { of: &self.of, state: Vec::new() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let total = remembered(&self.place, self.of.total(), |total, state| self.of.add(total, state));
        Box::new(Folded { of: self, total, state: Vec::new() })
    }
}

/// Looks at the blocks of one task.
struct Looker<'a, F> {
    of: &'a F,
    state: Vec<u8>,
}

impl<F: FoldedOutput> Taker for Looker<'_, F> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        self.of.look(block, &mut self.state);
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(Part::State(std::mem::take(&mut self.state))))
    }
}

struct Folded<'a, F: FoldedOutput> {
    of: &'a Folding<F>,
    total: Result<F::Total>,
    /// Of the unit in hand.
    state: Vec<u8>,
}

impl<F: FoldedOutput> Merger for Folded<'_, F> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Part::State(state) = part else { return Err(Error::format("a part of another consumer")) };
        self.of.of.add(self.total.as_mut().map_err(Error::format)?, &state)?;
        self.state.extend(state);
        if task.ends_unit {
            self.of.place.open()?.record(task.unit, &[], &std::mem::take(&mut self.state))?;
        }
        Ok(())
    }

    fn skip(&mut self, _task: &Task) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        self.of.of.write(self.total?, self.of.place.open()?)?;
        Ok(vec![Product::at(self.of.place.path())])
    }
}
