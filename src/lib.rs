//! Turns piles of image files into one n-dimensional array, in bounded memory.
//!
//! The data path is one sentence:
//!
//! > A **Pattern** turns names into coordinates on **Axes**; the **Layout** places every page; the **Stack** makes one lazy
//! > **Array** of them. **Consumers** (outputs, levels, statistics, reductions) say what they want; the **Plan** cuts the
//! > array once into **units** of numbered **Tasks** that suit them all and knows nothing of the machine; the **Executor**
//! > has each Task's **Block** read once, shows it to every consumer and merges their **Parts** in plan order; every byte
//! > leaves through the **Store**, which alone writes, remembers and publishes.
//!
//! What the commands do, a library user can do; this is `stitch`, and with another consumer it is `reduce`:
//!
//! ```
//! use std::sync::{Arc, atomic::AtomicBool};
//! use stackctl::{array::Array, consume, exec::Terms, open::Request, run, sink};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let output = folder.path().join("raw.zarr");
//! let request = Request { inputs: "fixtures/raw/*.tif".into(), ..Request::default() };
//! let array: Arc<dyn Array> = Arc::new(request.open()?.stack);
//! let spec = sink::Spec::of(&*array);
//! let mut consumers = [sink::create(&output, &spec, &sink::OutputOptions::default())?];
//! let plan = consume::plan(&*array, &[&*consumers[0]], 256 << 20).map_err(|bytes| format!("{bytes} bytes would do"))?;
//! let stop = AtomicBool::new(false);
//! let terms = Terms { threads: 2, cost: plan.cost(), limit_bytes: 256 << 20, stop: &stop };
//! let ran = run::run(&array, &plan, &mut consumers, &consume::Job::default(), &terms, |_bytes| {})?;
//! # assert!(ran.products[0][0].path.as_ref().is_some_and(|path| path.join("zarr.json").is_file()));
//! # assert_eq!(ran.n_absent, 0);
//! # Ok(())
//! # }
//! ```

// What reads nothing from files is left out of the fuzz targets: its kernels take an hour to instrument.

pub mod array;
pub mod axis;
pub mod block;
pub mod bytes;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod codec;
#[cfg(not(fuzzing))]
pub mod command;
pub mod consume;
pub mod crc;
#[cfg(not(fuzzing))]
pub mod decompose;
#[cfg(not(fuzzing))]
pub mod device;
pub mod digest;
pub mod draw;
pub mod dtype;
pub mod error;
pub mod exec;
#[cfg(not(fuzzing))]
pub mod expression;
pub mod grid;
pub mod layout;
mod network;
pub mod open;
#[cfg(not(fuzzing))]
pub mod pairwise;
pub mod pattern;
pub mod place;
pub mod plan;
mod pool;
pub mod profile;
pub mod provenance;
#[cfg(not(fuzzing))]
pub mod reduce;
pub mod report;
#[cfg(not(fuzzing))]
pub mod run;
pub mod sink;
pub mod size;
pub mod source;
pub mod stack;
pub mod store;
pub mod unit;
#[cfg(not(fuzzing))]
pub mod verify;
