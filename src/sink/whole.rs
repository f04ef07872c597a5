//! Files that are made of a whole array at once: pictures and tables.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{OutputOptions, Spec};
use crate::block::Block;
use crate::consume::{Assemble, Consumer, Desk, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::plan::{Cost, Task, Wants};
use crate::store::{Durability, OutputKind, Store, forget, holds};

/// What a whole array becomes.
#[derive(Default)]
pub(super) struct Made {
    /// The file.
    pub(super) bytes: Vec<u8>,
    /// The values that are black and white in it.
    pub(super) window: Option<(f64, f64)>,
    /// Files beside it, which get their names before it, by which the run is known.
    pub(super) others: Vec<(PathBuf, Vec<u8>)>,
}

/// A file that takes the whole array as one block.
struct WholeSink<F> {
    place: Place,
    overwrite: bool,
    durability: Durability,
    others: Mutex<Vec<(PathBuf, Vec<u8>)>>,
    /// Files that were written beside the first, and their bytes.
    more: (u64, u64),
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
    F: Fn(&Block) -> Result<Made> + Send + Sync + 'static,
{
    output.check_free(path, OutputKind::File)?;
    let place = Place::new(path, OutputKind::File, output.overwrite, output.durability);
    let shape = spec.shape();
    let OutputOptions { overwrite, durability, .. } = *output;
    let others = Mutex::default();
    let more = (0, 0);
    let sink = WholeSink { place, overwrite, durability, others, more, shape: shape.clone(), make, room_bytes };
    Ok(Box::new(Assemble::new(&shape, &shape, spec.dtype, Some(Box::new(sink)))))
}

impl<F: Fn(&Block) -> Result<Made> + Send + Sync> Consumer for WholeSink<F> {
    fn wants(&self) -> Wants {
        Wants { unit: self.shape.clone(), object: self.shape.clone(), across: false, in_order: false, folds: None }
    }

    fn cost(&self, _task: &[u64], _piece: &[u64]) -> Cost {
        Cost { work_bytes: 0, kept_bytes: 4 << 10 }
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

    /// The others get their names before the first has its own, by which the run is known.
    fn announce(&mut self) -> Result<()> {
        for (path, bytes) in std::mem::take(self.others.get_mut().unwrap_or_else(PoisonError::into_inner)) {
            self.more = (self.more.0 + 1, self.more.1 + bytes.len() as u64);
            // An earlier run may have come as far.
            if holds(&path, &bytes) {
                forget(&path)?;
                continue;
            }
            let store = Store::file(&path, self.overwrite, self.durability)?;
            store.put_at(0, &bytes)?;
            store.publish()?;
        }
        self.place.announce()
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        self.announce()?;
        self.place.publish(products)?;
        if let [total, ..] = products {
            (total.files, total.bytes) = (total.files + self.more.0, total.bytes + self.more.1);
        }
        Ok(())
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Maker { of: self, window: Vec::new() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        Box::new(Whole { path: self.place.path(), product: None })
    }
}

/// Makes the file.
struct Maker<'a, F> {
    of: &'a WholeSink<F>,
    window: Vec<u8>,
}

impl<F: Fn(&Block) -> Result<Made> + Send + Sync> Taker for Maker<'_, F> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        let Made { bytes, window, others } = (self.of.make)(block)?;
        self.of.place.open()?.put_at(0, &bytes)?;
        *self.of.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        self.window = window.map_or_else(Vec::new, |(low, high)| [low.to_le_bytes(), high.to_le_bytes()].concat());
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(Part::State(std::mem::take(&mut self.window))))
    }
}

struct Whole<'a> {
    path: &'a Path,
    product: Option<Product>,
}

impl Merger for Whole<'_> {
    fn merge(&mut self, _task: &Task, part: Part) -> Result<()> {
        let Part::State(state) = part else { return Err(Error::format("a part of another consumer")) };
        let window = match state.as_chunks() {
            ([low, high], []) => Some((f64::from_le_bytes(*low), f64::from_le_bytes(*high))),
            _ => None,
        };
        self.product = Some(Product { window, ..Product::at(self.path) });
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
