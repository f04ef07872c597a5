//! Filters that look at the elements of a box one by one: each has a number, and what is made of them is made in `float64`.

use super::{Filter, Reach, as_float64, rounded, wide};
use crate::array::Kept;
use crate::array::calc::convert;
use crate::array::kernel::{Datum, Routine, bytes};
use crate::dtype::DType;
use crate::grid::{n_elements, positions, row_major_strides};

/// Results that are made at once.
const STRIP: usize = 512;

/// Makes some results of a row: of the elements that count, each by how far behind the first result's box it begins and its
/// number; of where the middle of that box is; and of all elements from its beginning on.
type Make = dyn Fn(&[(usize, f64)], usize, &[f64], &mut [f64]) + Send + Sync;

/// What `make` makes of the elements of a box that have a number.
pub struct Near {
    reach: Reach,
    /// Where in the box, and the number.
    numbers: Vec<(u64, f64)>,
    /// The same for a device: lines that make `r` of the elements `AT(i)` and their numbers `w[i]`.
    lines: String,
    make: Box<Make>,
}

impl Near {
    /// `number` is told how far an element is from the middle along each axis.
    pub(super) fn new(
        reach: Reach,
        number: impl Fn(&[f64]) -> Option<f64>,
        lines: String,
        make: impl Fn(&[(usize, f64)], usize, &[f64], &mut [f64]) + Send + Sync + 'static,
    ) -> Self {
        let of = |(i, position): (u64, Vec<u64>)| {
            let apart: Vec<f64> = position.iter().zip(&reach).map(|(p, r)| *p as f64 - r.0 as f64).collect();
            number(&apart).map(|number| (i, number))
        };
        let numbers = (0..).zip(positions(&window(&reach))).filter_map(of).collect();
        Self { numbers, reach, lines, make: Box::new(make) }
    }
}

/// Lengths of the box.
fn window(reach: &Reach) -> Vec<u64> {
    wide(&vec![1; reach.len()], reach)
}

/// Elements up to `factor` times `sizes` away along each axis.
pub fn reach_of(sizes: &[f64], factor: f64) -> Reach {
    sizes.iter().map(|size| (factor * size + 0.5) as u64).map(|radius| (radius, radius)).collect()
}

impl Filter for Near {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn dtype(&self, dtype: DType) -> DType {
        rounded(dtype)
    }

    fn scratch_bytes(&self, shape: &[u64], _: DType) -> u64 {
        let numbers = self.numbers.len() * size_of::<(u64, f64)>();
        n_elements(&wide(shape, &self.reach)).saturating_mul(8).saturating_add(2 * numbers as u64)
    }

    fn apply(&self, source: &[u8], dtype: DType, shape: &[u64], out: &mut [u8], kept: &mut Kept) {
        let source = as_float64(source, dtype, kept);
        let strides = row_major_strides(&wide(shape, &self.reach));
        let at = |p: &[u64]| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>() as usize;
        let own = row_major_strides(&window(&self.reach));
        let offset = |i: u64| own.iter().zip(&strides).fold((i, 0), |(i, to), (own, s)| (i % own, to + i / own * s)).1;
        let near: Vec<(usize, f64)> = self.numbers.iter().map(|(i, number)| (offset(*i) as usize, *number)).collect();
        let middle = at(&self.reach.iter().map(|r| r.0).collect::<Vec<_>>());
        let Some((&length, outer)) = shape.split_last() else { return };
        let to = rounded(dtype);
        let mut made = [0.0; STRIP];
        for (position, row) in positions(outer).zip(out.chunks_exact_mut(length as usize * to.size())) {
            for (number, out) in row.chunks_mut(STRIP * to.size()).enumerate() {
                let made = &mut made[..out.len() / to.size()];
                (self.make)(&near, middle, &source[at(&position) + number * STRIP..], made);
                convert(DType::Float64, bytemuck::cast_slice(made), to, out);
            }
        }
    }

    fn launch(&self, source: (Datum, DType), shape: &[u64], routine: &mut Routine) -> Option<Datum> {
        let strides = row_major_strides(&window(&self.reach));
        let middle: u64 = strides.iter().zip(&self.reach).map(|(s, r)| s * r.0).sum();
        let middle = self.numbers.iter().position(|n| n.0 == middle)?;
        let text = format!("#define MIDDLE {middle}\n{}", self.lines);
        let lengths = window(&self.reach);
        let position = |(i, _): &(u64, f64)| strides.iter().zip(&lengths).map(|(s, n)| i / s % n).collect();
        let numbers: Vec<f64> = self.numbers.iter().map(|n| n.1).collect();
        let (boxes, to) = ((shape, &wide(shape, &self.reach)[..], None), rounded(source.1));
        let positions = self.numbers.iter().map(position);
        Some(routine.around(source, boxes, positions, ("double", to), (&text, bytes(&numbers))))
    }
}
