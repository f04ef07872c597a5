//! The element of a rank among those of a box: medians, percentiles.
//!
//! Small boxes go through a sorting network, many elements at once; large ones are selected from one by one.

use super::{Filter, Reach, wide};
use crate::array::Kept;
use crate::array::kernel::{Datum, Routine, c_name, ordered};
use crate::dtype::DType;
use crate::grid::{positions, row_major_strides};
use crate::network::{Network, WIDTH};
use crate::with_class;

/// Boxes of more elements are selected from.
const MOST: usize = 128;

/// The element of one rank.
pub struct Rank {
    reach: Reach,
    /// From 0, the least, on.
    rank: usize,
    n: usize,
    network: Option<Network>,
}

impl Rank {
    /// Of boxes that reach so far, the element number `rank` by size.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn new(reach: Reach, rank: usize) -> Self {
        let n: usize = reach.iter().map(|(before, after)| (before + after + 1) as usize).product();
        assert!(rank < n, "a box of {n} elements has one of rank {rank}");
        let network = (n <= MOST).then(|| Network::new(n, &[rank]));
        Self { reach, rank, n, network }
    }

    fn run<T: Keyed>(&self, source: &[u8], shape: &[u64], out: &mut [u8]) {
        let (source, out): (&[T], &mut [T]) = (bytemuck::cast_slice(source), bytemuck::cast_slice_mut(out));
        let strides = row_major_strides(&wide(shape, &self.reach));
        let at = |p: &[u64]| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>() as usize;
        let window: Vec<u64> = self.reach.iter().map(|(before, after)| before + after + 1).collect();
        let offsets: Vec<usize> = positions(&window).map(|p| at(&p)).collect();
        let Some((&length, outer)) = shape.split_last() else { return out.copy_from_slice(source) };
        let mut keys = vec![T::default().key(); self.n * WIDTH];
        for (position, row) in positions(outer).zip(out.chunks_exact_mut(length as usize)) {
            let start = at(&position);
            match &self.network {
                Some(network) => self.sorted(network, &source[start..], &offsets, row, &mut keys),
                None => self.selected(&source[start..], &offsets, row, &mut keys),
            }
        }
    }

    fn sorted<T: Keyed>(&self, network: &Network, source: &[T], offsets: &[usize], row: &mut [T], keys: &mut [T::Key]) {
        for (number, out) in row.chunks_mut(WIDTH).enumerate() {
            let first = number * WIDTH;
            for (keys, offset) in keys.chunks_exact_mut(WIDTH).zip(offsets) {
                let values = &source[first + offset..first + offset + out.len()];
                keys.iter_mut().zip(values).for_each(|(key, value)| *key = value.key());
            }
            network.exchange(keys);
            out.iter_mut().zip(&keys[self.rank * WIDTH..]).for_each(|(out, key)| *out = T::of(*key));
        }
    }

    fn selected<T: Keyed>(&self, source: &[T], offsets: &[usize], row: &mut [T], keys: &mut [T::Key]) {
        let keys = &mut keys[..self.n];
        for (i, out) in row.iter_mut().enumerate() {
            keys.iter_mut().zip(offsets).for_each(|(key, offset)| *key = source[i + offset].key());
            *out = T::of(*keys.select_nth_unstable(self.rank).1);
        }
    }
}

impl Filter for Rank {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, dtype: DType) -> DType {
        dtype
    }

    fn scratch_bytes(&self, _: &[u64], _: DType) -> u64 {
        (self.n * WIDTH * 8 + self.n * 8) as u64
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], _: &mut Kept) {
        with_class!(dtype, int T => self.run::<T>(source, shape, out), float T => self.run::<T>(source, shape, out),
            complex _T => out.fill(0))
    }

    fn launch(&self, (from, dtype): (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        let (key, text) = ordered(dtype, self.n, &[self.rank]);
        let window: Vec<u64> = self.reach.iter().map(|(before, after)| before + after + 1).collect();
        let boxes = (shape, &wide(shape, &self.reach)[..], None);
        let body = format!("{text}const {} r = k0;", c_name(key));
        Some(routine.around((from, key), boxes, positions(&window), (c_name(key), key), (&body, Vec::new())))
    }
}

/// Elements that are ordered by a whole number, NaN last.
trait Keyed: bytemuck::Pod + Default {
    type Key: Copy + Ord;
    fn key(self) -> Self::Key;
    fn of(key: Self::Key) -> Self;
}

macro_rules! keyed {
    ($($t:ty),*) => { $(
        impl Keyed for $t {
            type Key = $t;
            #[inline(always)]
            fn key(self) -> $t {
                self
            }
            #[inline(always)]
            fn of(key: $t) -> $t {
                key
            }
        }
    )* };
}
keyed!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! keyed_float {
    ($t:ty, $key:ty, $bits:expr) => {
        impl Keyed for $t {
            type Key = $key;
            #[inline(always)]
            fn key(self) -> $key {
                let bits = self.to_bits() as $key;
                // Negative numbers are ordered the other way round.
                bits ^ ((bits >> ($bits - 1)) & <$key>::MAX)
            }
            #[inline(always)]
            fn of(key: $key) -> $t {
                Self::from_bits((key ^ ((key >> ($bits - 1)) & <$key>::MAX)) as _)
            }
        }
    };
}
keyed_float!(half::f16, i16, 16);
keyed_float!(f32, i32, 32);
keyed_float!(f64, i64, 64);
