//! The lazy array: what can be read region by region, whether it is one file, a pile of files, a selection of
//! another array, or what an operation makes of several.
//!
//! An [`Array`] is shared; what a worker needs to read from it belongs to that worker's [`Reader`]: scratch
//! memory, open files, and the readers of the arrays below.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target};
use crate::crc::Remainders;
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;

mod arranged;
pub mod bins;
pub mod calc;
pub mod cumulative;
pub mod extend;
pub mod filter;
mod held;
mod holed;
mod joined;
pub mod kernel;
pub mod sheared;
mod tally;
mod view;

pub use arranged::Arranged;
pub use held::Held;
pub use holed::Holed;
pub use joined::Joined;
pub use tally::CastTally;
pub use view::{Selection, View, select};

/// An n-dimensional array that is read region by region.
pub trait Array: Send + Sync {
    /// Its axes, slowest first.
    fn axes(&self) -> &[Axis];

    /// Type of its elements.
    fn dtype(&self) -> DType;

    /// Value that it gives to elements that nothing covers: one element's bytes, native order. Zero if it
    /// says nothing.
    fn fill(&self) -> Option<&[u8]> {
        None
    }

    /// Where stored pieces (strips, tiles, chunks) begin and end around `at` of `axis`: the last boundary at or
    /// before it, and the first at or after it.
    fn grain(&self, axis: usize, at: u64) -> (u64, u64);

    /// Whether stored pieces are decoded whole even if little of them is wanted.
    fn coded(&self) -> bool;

    /// Memory that a reader needs beside its target to read a region of `shape`, in bytes.
    fn needs(&self, shape: &[u64]) -> u64;

    /// Memory that the array holds on to, however many readers it has, in bytes.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// A reader for one worker, which uses `scratch` until it gives it back.
    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader>;

    /// How it is made of lines of another array, if it is.
    fn derived(&self) -> Option<&dyn Derived> {
        None
    }

    /// Where the element at `at` lies in the array of which this is a part.
    fn original(&self, at: &[u64]) -> Vec<u64> {
        at.to_vec()
    }

    /// How a device can make it, if it can.
    fn on_device(&self) -> Option<&dyn kernel::OnDevice> {
        None
    }

    /// Lengths of all axes.
    fn shape(&self) -> Vec<u64> {
        crate::axis::shape(self.axes())
    }

    /// One element's bytes of the value that elements have which nothing covers.
    fn fill_bytes(&self) -> Vec<u8> {
        self.fill().map_or_else(|| vec![0; self.dtype().size()], <[u8]>::to_vec)
    }
}

/// An array that is made of whole lines of another one, which somebody else may have read already.
pub trait Derived {
    /// The other array.
    fn source(&self) -> &Arc<dyn Array>;

    /// What of it goes into `region`.
    fn input_of(&self, region: &Region) -> Region;

    /// Makes `region` of `block`, which is what goes into it.
    ///
    /// # Errors
    /// What an operator refuses.
    fn make(&self, block: &Block, region: &Region, target: &mut Target<'_>) -> Result<()>;
}

/// One worker's way to read an array.
pub trait Reader: Send {
    /// Reads `region` into `target`, which has the region's shape and the array's dtype. Elements that nothing
    /// covers become the fill value.
    ///
    /// Returns which these are.
    ///
    /// # Errors
    /// `Format` if a file contradicts its headers or the layout, naming file, page and strip; `Io` if it cannot
    /// be read; `Usage` if the region reaches outside.
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage>;

    /// Tells the system that `region` will be read soon. Costs nothing worth measuring, promises nothing.
    fn prefetch(&mut self, _region: &Region) {}

    /// Gives its scratch memory back, for another reader.
    fn release(self: Box<Self>) -> Scratch;

    /// Reads `region`, of elements of `dtype`, into a block that takes over `buffer`.
    ///
    /// # Errors
    /// As [`Reader::read`]; `Limit` if the block cannot be held.
    fn block(&mut self, region: &Region, dtype: DType, buffer: Buffer) -> Result<Block> {
        let mut block = Block::reusing(buffer, region.clone(), dtype)?;
        block.coverage = self.read(region, &mut block.target())?;
        block.remember(self.remainders());
        Ok(block)
    }

    /// What the bytes that were read last leave by [`remainder`](crate::crc::remainder), if that was found out.
    fn remainders(&mut self) -> Remainders {
        Remainders::default()
    }
}

/// What could not be read while an array was read, each once: readers add to it, outputs record it at the end.
#[derive(Clone, Debug, Default)]
pub struct Losses(Arc<Mutex<Lost>>);

#[derive(Debug, Default)]
struct Lost {
    all: BTreeSet<String>,
    /// Those that no journal has.
    fresh: Vec<String>,
}

impl Losses {
    /// Losses that are told one by one: of a disk that fails there is no end.
    const MOST: usize = 4096;

    /// Adds what was lost, and why.
    pub fn add(&self, text: String) {
        let mut lost = self.lock();
        let is_full = lost.all.len() >= Self::MOST;
        let text = if is_full { "further losses, which are not listed".to_owned() } else { text };
        if lost.all.insert(text.clone()) {
            lost.fresh.push(text);
        }
    }

    /// Adds what an earlier run has lost.
    pub fn recall(&self, texts: Vec<String>) {
        self.lock().all.extend(texts);
    }

    /// What was added since the last call.
    pub fn fresh(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// All of them, in order.
    pub fn texts(&self) -> Vec<String> {
        self.lock().all.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of one worker that readers use again and again.
#[derive(Default)]
pub struct Scratch {
    /// Bytes as they lie in the file.
    pub stored: Buffer,
    /// A decoded strip, tile or chunk.
    pub decoded: Buffer,
    /// Whatever a codec needs besides.
    pub extra: Buffer,
    /// Decoder states.
    pub kept: Kept,
}

/// One value of each type that a worker keeps from call to call: codec states that cost time to make.
#[derive(Default)]
pub struct Kept(Vec<Box<dyn Any + Send>>);

impl Kept {
    /// The value of type `T`, made at the first call.
    pub fn get<T: Any + Send + Default>(&mut self) -> &mut T {
        let found = self.0.iter().position(|v| v.is::<T>());
        let index = found.unwrap_or_else(|| {
            self.0.push(Box::new(T::default()));
            self.0.len() - 1
        });
        self.0[index].downcast_mut().expect("the value at this index has type T")
    }
}

/// Where pieces begin and end around `at` of `axis` that are decoded whole: any element where none are.
fn decoded(array: &dyn Array, axis: usize, at: u64) -> (u64, u64) {
    if array.coded() { array.grain(axis, at) } else { (at, at) }
}

/// Memory that several arrays hold on to, those that are given twice counted once.
fn held_together<'a>(arrays: impl Iterator<Item = &'a Arc<dyn Array>>) -> u64 {
    let mut seen: Vec<*const ()> = Vec::new();
    let mut held_bytes = 0u64;
    for array in arrays {
        let place = Arc::as_ptr(array).cast::<()>();
        if !seen.contains(&place) {
            seen.push(place);
            held_bytes = held_bytes.saturating_add(array.held_bytes());
        }
    }
    held_bytes
}

/// Refuses a read whose region or target does not fit `array`.
///
/// # Errors
/// `Usage`, saying which.
pub(crate) fn check_read(array: &dyn Array, region: &Region, target: &Target<'_>) -> Result<()> {
    use crate::error::Error;
    let whole = Region::whole(&array.shape());
    if region.rank() != whole.rank() || !whole.contains(region) {
        return Err(Error::usage(format!("region {region} reaches outside {whole}")));
    }
    if target.shape != region.shape || target.dtype != array.dtype() {
        return Err(Error::usage(format!(
            "a target of shape {:?} and {} for region {region} of {}",
            target.shape,
            target.dtype,
            array.dtype()
        )));
    }
    Ok(())
}
