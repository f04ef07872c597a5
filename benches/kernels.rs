//! Rates of the reduction kernels beside the rate of reading memory: `cargo bench --bench kernels [NAME]`.
//!
//! Each operator folds a stack of 8 planes over its first axis (an image), and over all axes (a number), in
//! tiles and pieces as the command has them. One thread, no files; best of several repetitions.

use std::hint::black_box;
use std::time::Instant;

use stackctl::axis::Axis;
use stackctl::block::Block;
use stackctl::dtype::DType;
use stackctl::grid::Region;
use stackctl::reduce::{Outcome, Reducer, Settings};

/// Planes of a stack.
const N_PLANES: u64 = 8;
/// Elements of a tile of a plane: 256 KiB of 16 bits.
const N_TILE: u64 = 128 << 10;
/// Tiles of a stack: 64 MiB of 16 bits, beyond most caches.
const N_TILES: u64 = 32;

fn main() {
    let wanted = std::env::args().nth(1).filter(|a| !a.starts_with('-'));
    println!("{:<10} {:<14} {:>14} {:>14}", "dtype", "operator", "image MB/s", "number MB/s");
    for dtype in [DType::Uint8, DType::Uint16, DType::Float32, DType::Float64] {
        let blocks = blocks(dtype);
        println!("{:<10} {:<14} {:>14.0}", dtype.name(), "(reading)", rate(&blocks, read));
        for operator in ["sum", "mean", "max", "argmax", "std", "median", "count", "any", "topk=3", "unique"] {
            if wanted.as_ref().is_some_and(|w| w != operator) {
                continue;
            }
            let reducers = [vec![0], vec![0, 1]].map(|axes| reducer(dtype, operator, axes));
            let [image, number] = reducers.map(|r| rate(&blocks, |b| fold(&r, b)));
            println!("{:<10} {operator:<14} {image:>14.0} {number:>14.0}", "");
        }
    }
}

fn reducer(dtype: DType, operator: &str, axes: Vec<usize>) -> Reducer {
    let shape = [Axis::new("t", N_PLANES), Axis::new("x", N_TILE)];
    let settings = Settings { operators: operator.into(), axes, ..Settings::default() };
    Reducer::new(&shape, dtype, &settings).expect("the settings fit")
}

/// Blocks as they come from a microscope: dark, noisy.
fn blocks(dtype: DType) -> Vec<Block> {
    let mut state = 1u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 56
    };
    (0..N_TILES)
        .map(|_| {
            let mut block = Block::new(Region::whole(&[N_PLANES, N_TILE]), dtype).expect("a block fits memory");
            match dtype {
                DType::Uint8 => block.elements_mut::<u8>().iter_mut().for_each(|x| *x = noise() as u8),
                DType::Uint16 => block.elements_mut::<u16>().iter_mut().for_each(|x| *x = 100 + noise() as u16),
                DType::Float32 => block.elements_mut::<f32>().iter_mut().for_each(|x| *x = noise() as f32),
                _ => block.elements_mut::<f64>().iter_mut().for_each(|x| *x = noise() as f64),
            }
            block
        })
        .collect()
}

fn read(block: &Block) {
    let words: &[u64] = bytemuck::cast_slice(block.bytes());
    black_box(words.iter().fold(0, |a, b| a ^ b));
}

fn fold(reducer: &Reducer, block: &Block) {
    let tile = Region::whole(&reducer.frame());
    let mut partial = reducer.start(&tile, true);
    loop {
        reducer.fold(&mut partial, block, &[]).expect("a block is folded");
        match reducer.finish(partial).expect("results fit") {
            Outcome::Done(blocks) => {
                black_box(blocks);
                return;
            }
            Outcome::Again(next) => partial = next,
        }
    }
}

/// Megabytes of input per second, at best.
fn rate(blocks: &[Block], f: impl Fn(&Block)) -> f64 {
    let bytes: usize = blocks.iter().map(|b| b.bytes().len()).sum();
    let once = || {
        let start = Instant::now();
        blocks.iter().for_each(&f);
        start.elapsed().as_secs_f64()
    };
    let best = (0..5).map(|_| once()).fold(f64::INFINITY, f64::min);
    bytes as f64 / best / 1e6
}
