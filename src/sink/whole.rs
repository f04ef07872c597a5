//! Files that are made of a whole array at once: tables.

use std::path::Path;

use super::{OutputOptions, Spec};
use crate::block::Block;
use crate::consume::{Assemble, Consumer, Desk, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::plan::{Cost, Task, Wants};
use crate::store::OutputKind;

/// A file that takes the whole array as one block.
struct WholeSink<F> {
    place: Place,
    shape: Vec<u64>,
    make: F,
    room_bytes: u64,
}

/// The file that will be called `path`, which `make` makes in `room_bytes` of memory.
///
/// # Errors
/// `Usage` if something stands under the name.
pub(super) fn create<F>(
    path: &Path,
    spec: &Spec,
    output: &OutputOptions,
    room_bytes: u64,
    make: F,
) -> Result<Box<dyn Consumer>>
where
    F: Fn(&Block) -> Result<Vec<u8>> + Send + Sync + 'static,
{
    output.check_free(path, OutputKind::File)?;
    let place = Place::new(path, OutputKind::File, output.overwrite, output.durability);
    let shape = spec.shape();
    let sink = WholeSink { place, shape: shape.clone(), make, room_bytes };
    Ok(Box::new(Assemble::new(&shape, &shape, spec.dtype, Some(Box::new(sink)))))
}

impl<F: Fn(&Block) -> Result<Vec<u8>> + Send + Sync> Consumer for WholeSink<F> {
    fn wants(&self) -> Wants {
        Wants { unit: self.shape.clone(), object: self.shape.clone(), across: false, in_order: false, folds: None }
    }

    fn cost(&self, _task: &[u64], _piece: &[u64]) -> Cost {
        Cost { kept_bytes: 4 << 10, ..Cost::default() }
    }

    fn held_bytes(&self) -> u64 {
        self.room_bytes
    }

    fn place(&self) -> Option<&Place> {
        Some(&self.place)
    }

    fn place_mut(&mut self) -> Option<&mut Place> {
        Some(&mut self.place)
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Maker(self)))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        Box::new(Whole { path: self.place.path(), product: None })
    }
}

/// Makes the file.
struct Maker<'a, F>(&'a WholeSink<F>);

impl<F: Fn(&Block) -> Result<Vec<u8>> + Send + Sync> Taker for Maker<'_, F> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        self.0.place.open()?.put_at(0, &(self.0.make)(block)?).map(drop)
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(Part::Stored(Vec::new())))
    }
}

struct Whole<'a> {
    path: &'a Path,
    product: Option<Product>,
}

impl Merger for Whole<'_> {
    fn merge(&mut self, _task: &Task, _part: Part) -> Result<()> {
        self.product = Some(Product::at(self.path));
        Ok(())
    }

    fn skip(&mut self, _task: &Task) -> Result<()> {
        Err(Error::format("a file of a whole array is made anew"))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let never = || Error::format(format!("{}: the array never came", self.path.display()));
        self.product.ok_or_else(never).map(|product| vec![product])
    }
}
