//! A consumer that sees some units only.

use std::collections::BTreeSet;

use crate::consume::{Consumer, Job, Merger, Product, Taker};
use crate::error::Result;
use crate::plan::{Cost, Plan, Task, Wants};
use crate::store::Store;

/// Shows `inner` nothing of the units that are done.
pub struct Only {
    inner: Box<dyn Consumer>,
    done: BTreeSet<u64>,
}

impl Only {
    /// All units but those that are `done`.
    pub fn new(inner: Box<dyn Consumer>, done: BTreeSet<u64>) -> Self {
        Self { inner, done }
    }
}

impl Consumer for Only {
    fn wants(&self) -> Wants {
        self.inner.wants()
    }

    fn cost(&self, task: &[u64], piece: &[u64]) -> Cost {
        self.inner.cost(task, piece)
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn follow(&mut self, plan: &Plan) {
        self.inner.follow(plan);
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.inner.begin(job)
    }

    fn store(&self) -> Option<&Store> {
        self.inner.store()
    }

    fn done(&self) -> BTreeSet<u64> {
        self.done.clone()
    }

    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>> {
        self.inner.taker(task)
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        self.inner.merger()
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        self.inner.publish(products)
    }
}
