//! Turns piles of image files into one n-dimensional array, in bounded memory.
//!
//! The data path is one sentence: a **Pattern** turns file names into coordinates on **Axes**; the
//! **Layout** gives every page a **Region** of one array; the **Plan** cuts that array into **Tasks**,
//! whole boxes for the **Sink** and, where memory allows, whole strips or tiles of the **Sources**; the
//! **Executor** admits each Task within the memory **Budget**; the **Stack** reads its Region into a
//! **Block**; the Sink writes the Block, or a **Reducer** folds it.

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
pub mod draw;
pub mod dtype;
pub mod error;
pub mod exec;
pub mod grid;
pub mod layout;
pub mod open;
pub mod pattern;
pub mod plan;
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
