//! Decompositions of an array cut into a few long rows: principal components, singular values, thin QR.
//!
//! The rows are far too long for memory, but there are few of them. One reading gives their products (the Gram matrix), whose
//! eigenvectors say how to put rows together to components; the components are an array that is read region by region. Where
//! the wanted singular values are so small that the Gram matrix has lost them, a second reading reduces the rows by
//! Householder's reflections instead (TSQR), which keeps them. Products of rows far from zero lose what is left of them once
//! the mean is taken away; then they are made again, of centred rows.

use std::ops::RangeInclusive;
use std::sync::Arc;

use multiversion::multiversion;

use crate::array::calc::convert;
use crate::array::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, positions, row_major_strides};
use crate::pairwise::{BlockPass, Metric, Rows, distances};

mod eigen;
mod tall;

use tall::Change;

/// What is made of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// Principal components: the mean of all rows is taken away first.
    Pca,
    /// Singular values and vectors of the rows as they are.
    Svd,
    /// The rows as products of a triangle with orthonormal rows.
    Qr,
}

impl std::str::FromStr for Factors {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "pca" => Ok(Self::Pca),
            "svd" => Ok(Self::Svd),
            "qr" => Ok(Self::Qr),
            _ => Err(Error::usage(format!("'{text}' is no decomposition: pca, svd or qr"))),
        }
    }
}

/// Singular values below this part of the greatest are lost in products of the rows.
const LOST: f64 = 1e-6;
/// A QR by products of the rows is as far from orthogonal as the square of this part allows.
const LOST_QR: f64 = 1e-3;
/// Centred products are made again if less than this part of the sum of squares is left of them.
const CANCELLED: f64 = 1e-4;
/// Sums of squares that are worked with as they are; rows beyond are divided first.
const SQUARES: RangeInclusive<f64> = 1e-140..=1e140;
/// Sizes of the greatest number that rows may have, so that neither it nor its reciprocal overflows.
const SIZES: RangeInclusive<f64> = 1e-290..=1e290;
/// Orthonormal rows may be uncertain by this much.
const UNCERTAIN: f64 = 1e-3;
/// Components that are farther from orthonormal by roundings are made so once more.
const UNEVEN: f64 = 1e-8;
/// Values below this part of the greatest are zero.
const ZERO: f64 = 1e-14;
/// More rows are not reduced by reflections.
const MOST_REFLECTED: u64 = 1024;

/// A decomposition: the rows are `scores` times the components, and the mean where it was taken away.
pub struct Decomposition {
    /// Singular values, greatest first; of a QR the diagonal of its triangle.
    pub values: Vec<f64>,
    /// Share of the sum of squares that each component explains.
    pub explained: Vec<f64>,
    /// A row of weights of the components for each row.
    pub scores: Vec<f64>,
    /// The components, along a new axis, and the axes that rows do not lie along.
    pub components: Arc<dyn Array>,
    /// Components that were asked for and are left out, since the rows have nothing in their directions.
    pub n_left_out: usize,
    /// How it was done.
    pub method: &'static str,
    rows: Rows,
    /// Those of the products, one behind the other, and whether the mean was taken away.
    vectors: Option<(Vec<f64>, bool)>,
    dtype: DType,
}

impl Decomposition {
    /// The rows as far as the components make them up; none of a QR, of which they are what they were.
    pub fn denoised(&self) -> Option<Arc<dyn Array>> {
        let (vectors, has_mean) = self.vectors.as_ref()?;
        let n = self.rows.n_rows() as usize;
        let mean = if *has_mean { 1.0 / n as f64 } else { 0.0 };
        // The vectors have nothing of the mean.
        let mut weights = vec![mean; n * n];
        for vector in vectors.chunks_exact(n) {
            for (row, v) in weights.chunks_exact_mut(n).zip(vector) {
                row.iter_mut().zip(vector).for_each(|(weight, other)| *weight += v * other);
            }
        }
        Some(Arc::new(Combined::new(self.rows.clone(), weights, &self.rows.name(), self.dtype)))
    }
}

/// Decomposes `rows` into `k` components.
///
/// # Errors
/// `Usage` if there are fewer than `k` rows or elements of each, or numbers are too large or too small; `Limit`; `Format` if
/// numbers are not finite, or rows depend on each other where a QR needs them not to; what reading says.
pub fn decompose(
    rows: Rows,
    kind: Factors,
    k: usize,
    dtype: DType,
    limit_bytes: u64,
    way: &mut BlockPass<'_>,
    progress: impl FnMut(u64),
) -> Result<Decomposition> {
    let (n, d) = (rows.n_rows() as usize, rows.n_columns());
    let k = if kind == Factors::Qr { n } else { k };
    let most = (n as u64).min(d);
    if kind == Factors::Qr && n as u64 > d {
        let why = format!(
            "--kind qr: {n} rows of {d} elements depend on each other: take {most} rows at most with --select, or --kind svd"
        );
        return Err(Error::usage(why));
    }
    if k == 0 || k as u64 > most {
        return Err(Error::usage(format!("--components {k}: {n} rows of {d} elements have 1 to {most}")));
    }
    // What is left without the mean has one dimension less.
    let asked = k;
    let k = if kind == Factors::Pca { k.min(n - 1).max(1) } else { k };
    let mut products = distances(&rows, None, Metric::Dot, limit_bytes, way, progress)?;
    let change = Change { unit: unit(&rows, &products, n, limit_bytes, way)?, centred: kind == Factors::Pca };
    let (mut size, mut method) = (0.0, "products of the rows");
    if change.centred {
        size = centre(&mut products, n, is_exact(rows.array().dtype()));
    }
    if change.unit != 1.0 || trace(&products, n) < CANCELLED * size * size {
        tall::products(&rows, change, limit_bytes, way, &mut products)?;
        size = 0.0;
        method = if change.centred { "products of the centred rows" } else { method };
    }
    if kind == Factors::Qr {
        return qr(rows, &products, (n, change), dtype, limit_bytes, way);
    }
    let total = trace(&products, n);
    let found = eigen::greatest(&products, n, k);
    let mut values: Vec<f64> = found.values.iter().map(|v| v.max(0.0).sqrt()).collect();
    let mut vectors = found.vectors;
    let is_lost = values.iter().any(|v| *v < LOST * values[0].max(size));
    let is_reflected = is_lost && n as u64 <= MOST_REFLECTED;
    if is_reflected {
        let triangle = tall::triangle(&rows, change, limit_bytes, way)?;
        let found = eigen::singular(transposed(&triangle, n), n);
        (values, vectors) = (found.values[..k].to_vec(), found.vectors[..k * n].to_vec());
        method = "reflections (TSQR), since small values are lost in products";
    }
    let k = values.iter().take_while(|v| **v > ZERO * values[0]).count().max(1);
    values.truncate(k);
    vectors.truncate(k * n);
    let spread = values[0] / values[k - 1];
    if change.centred {
        // Where nothing is left, a vector may have some of the mean, which comes by itself.
        without_means(&mut vectors, n);
    }
    let explained = values.iter().map(|v| v * v / total.max(f64::MIN_POSITIVE)).collect();
    values.iter_mut().for_each(|v| *v *= change.unit);
    settle_signs(&mut vectors, n);
    let mut scores = vec![0.0; n * k];
    let mut weights = vec![0.0; k * n];
    for (c, value) in values.iter().enumerate() {
        for i in 0..n {
            scores[i * k + c] = vectors[c * n + i] * value;
            // What has no size has no direction.
            weights[c * n + i] = if *value > 0.0 { vectors[c * n + i] / value } else { 0.0 };
        }
    }
    if change.centred {
        // Weights whose sum is zero take the mean away.
        without_means(&mut weights, n);
    }
    let off = f64::EPSILON * if is_reflected { spread } else { spread * spread };
    let components = components(&rows, weights, dtype, off, limit_bytes, way)?;
    let (vectors, n_left_out) = (Some((vectors, change.centred)), asked - k);
    Ok(Decomposition { values, explained, scores, components, n_left_out, method, rows, vectors, dtype })
}

/// The components that `weights` make of `rows`: as they are, or made orthonormal once more if roundings leave them farther
/// `off` than they may be. Of rows that have much in common, what is left of it is large beside what they have not.
///
/// Source: Giraud, Langou and Rozloznik, The loss of orthogonality in the Gram-Schmidt orthogonalization process, 2005: twice is
/// enough.
fn components(
    rows: &Rows,
    weights: Vec<f64>,
    dtype: DType,
    off: f64,
    limit_bytes: u64,
    way: &mut BlockPass<'_>,
) -> Result<Arc<dyn Array>> {
    let (rows, name) = (rows.clone(), "component");
    if off.is_nan() || off <= UNEVEN {
        return Ok(Arc::new(Combined::new(rows, weights, name, dtype)));
    }
    let once: Arc<dyn Array> = Arc::new(Combined::new(rows, weights, name, DType::Float64));
    let along = once.axes().iter().map(|axis| axis.name == name).collect();
    let once = Rows::new(once, along);
    // The pass over the rows themselves may have the same blocks.
    let prefix = way.prefix.clone();
    way.prefix += "once more ";
    let triangle = tall::triangle(&once, Change { unit: 1.0, centred: false }, limit_bytes, way);
    way.prefix = prefix;
    let (triangle, k) = (triangle?, once.n_rows() as usize);
    Ok(Arc::new(Combined::new(once, inverse_transposed(&triangle, k), name, dtype)))
}

/// Thin QR of the transposed rows: rows are the transposed triangle times orthonormal ones.
fn qr(
    rows: Rows,
    products: &[f64],
    (n, change): (usize, Change),
    dtype: DType,
    limit_bytes: u64,
    way: &mut BlockPass<'_>,
) -> Result<Decomposition> {
    let (mut triangle, mut method) = (cholesky(products, n), "products of the rows (Cholesky)");
    let is_lost = |t: &[f64]| {
        let most = (0..n).map(|i| t[i * n + i]).fold(0.0, f64::max);
        (0..n).any(|i| t[i * n + i] < LOST_QR * most)
    };
    let is_reflected = triangle.as_ref().is_none_or(|t| is_lost(t)) && n as u64 <= MOST_REFLECTED;
    if is_reflected {
        triangle = Some(tall::triangle(&rows, change, limit_bytes, way)?);
        method = "reflections (TSQR), since rows are nearly dependent";
    }
    let off = |t: &[f64]| {
        let grown = growth(t, &inverse_transposed(t, n), n);
        f64::EPSILON * if is_reflected { grown } else { grown * grown }
    };
    let triangle = triangle.filter(|t| off(t) <= UNCERTAIN);
    let mut triangle = triangle
        .ok_or_else(|| Error::format("the rows depend on each other: they have no QR with orthonormal rows"))?;
    let off = off(&triangle);
    let total = trace(products, n);
    let explained = (0..n).map(|i| triangle[i * n..(i + 1) * n].iter().map(|t| t * t).sum::<f64>() / total).collect();
    triangle.iter_mut().for_each(|t| *t *= change.unit);
    let values: Vec<f64> = (0..n).map(|i| triangle[i * n + i]).collect();
    let weights = inverse_transposed(&triangle, n);
    let components = components(&rows, weights, dtype, off, limit_bytes, way)?;
    let scores = transposed(&triangle, n);
    Ok(Decomposition { values, explained, scores, components, n_left_out: 0, method, rows, vectors: None, dtype })
}

/// By how much roundings of rows grow in the orthonormal rows that `weights` make of them; those in products do twice.
fn growth(triangle: &[f64], weights: &[f64], n: usize) -> f64 {
    let size = |i: usize| (0..=i).map(|k| triangle[k * n + i].powi(2)).sum::<f64>().sqrt();
    let sizes: Vec<f64> = (0..n).map(size).collect();
    let of_row = |row: &[f64]| row.iter().zip(&sizes).map(|(w, size)| w.abs() * size).sum::<f64>();
    // A diagonal of zeros gives what is no number.
    let grown = weights.chunks_exact(n).map(of_row).map(|x| if x.is_nan() { f64::INFINITY } else { x });
    grown.fold(0.0, f64::max)
}

/// What rows are divided by so that their products do not overflow or vanish: 1 for nearly all.
fn unit(rows: &Rows, products: &[f64], n: usize, limit_bytes: u64, way: &mut BlockPass<'_>) -> Result<f64> {
    let squares = || (0..n).map(|i| products[i * n + i]);
    let most = squares().fold(0.0, f64::max);
    let is_whole = rows.array().dtype().is_integer();
    if squares().all(f64::is_finite) && (is_whole || SQUARES.contains(&most)) {
        return Ok(1.0);
    }
    let extent = tall::extent(rows, limit_bytes, way)?;
    if let Some(row) = extent.first_bad {
        return Err(Error::format(format!(
            "row {row} along {} has a NaN or infinite number, one of {} in all, and components are of finite ones: replace them \
             first, as with stackctl calc 'where(abs(a) < 1e99, a, 0)', or leave rows out with --select",
            rows.name(),
            extent.n_bad
        )));
    }
    match extent.most {
        0.0 => Ok(1.0),
        most if SIZES.contains(&most) => Ok(2f64.powi(most.log2() as i32)),
        most => Err(Error::usage(format!(
            "the greatest number is {most:e} in size: components are of {:e} to {:e}: multiply all by a number with `calc`",
            SIZES.start(),
            SIZES.end()
        ))),
    }
}

/// Whether products of such numbers are sums without a rounding.
fn is_exact(dtype: DType) -> bool {
    dtype.is_integer() && dtype.size() <= 2
}

/// The sum of squares of all rows, of their products.
fn trace(products: &[f64], n: usize) -> f64 {
    (0..n).map(|i| products[i * n + i]).sum()
}

/// Takes the mean of rows away from their products, which are those of whole numbers if `is_exact`. Returns the size of what
/// was rounded meanwhile.
fn centre(products: &mut [f64], n: usize, is_exact: bool) -> f64 {
    /// Whole numbers up to here are all there as `float64`.
    const WHOLE: f64 = (1u64 << 53) as f64;
    let size = trace(products, n).sqrt();
    if is_exact && products.iter().all(|p| p.abs() < WHOLE) {
        let sums: Vec<i128> = products.chunks_exact(n).map(|row| row.iter().map(|p| *p as i128).sum()).collect();
        let (sum, wide) = (sums.iter().sum::<i128>(), n as i128);
        for (k, p) in products.iter_mut().enumerate() {
            let centred = wide * wide * (*p as i128) - wide * (sums[k / n] + sums[k % n]) + sum;
            *p = centred as f64 / (n * n) as f64;
        }
        return 0.0;
    }
    let means: Vec<f64> = products.chunks_exact(n).map(|row| row.iter().sum::<f64>() / n as f64).collect();
    let mean = means.iter().sum::<f64>() / n as f64;
    for i in 0..n {
        (0..n).for_each(|j| products[i * n + j] += mean - means[i] - means[j]);
    }
    size
}

/// Takes its mean away from each vector.
fn without_means(vectors: &mut [f64], n: usize) {
    for vector in vectors.chunks_exact_mut(n) {
        let mean = vector.iter().sum::<f64>() / n as f64;
        vector.iter_mut().for_each(|v| *v -= mean);
    }
}

/// The sign of a vector is nobody's: the element of greatest size is made positive.
fn settle_signs(vectors: &mut [f64], n: usize) {
    for vector in vectors.chunks_exact_mut(n) {
        let most = vector.iter().copied().reduce(|a, b| if b.abs() > a.abs() { b } else { a }).unwrap_or(1.0);
        if most < 0.0 {
            vector.iter_mut().for_each(|v| *v = -*v);
        }
    }
}

fn transposed(a: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|k| a[k % n * n + k / n]).collect()
}

/// The upper triangle whose product with its transpose is `a`, if there is one.
fn cholesky(a: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut t = vec![0.0; n * n];
    for j in 0..n {
        let square = a[j * n + j] - (0..j).map(|k| t[k * n + j] * t[k * n + j]).sum::<f64>();
        if square.is_nan() || square <= 0.0 {
            return None;
        }
        t[j * n + j] = square.sqrt();
        for i in j + 1..n {
            let rest = a[j * n + i] - (0..j).map(|k| t[k * n + j] * t[k * n + i]).sum::<f64>();
            t[j * n + i] = rest / t[j * n + j];
        }
    }
    Some(t)
}

/// The transposed inverse of an upper triangle: a lower triangle.
fn inverse_transposed(t: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        out[i * n + i] = 1.0 / t[i * n + i];
        for j in 0..i {
            let sum: f64 = (j..i).map(|k| t[k * n + i] * out[k * n + j]).sum();
            out[i * n + j] = -sum / t[i * n + i];
        }
    }
    out
}

/// Columns that are put together at once.
const COLUMNS: usize = 512;
/// So many results are put together in registers; more of them by a product of matrices.
const FEW: usize = 16;
/// About how many rows are read at once; sums are made in the order of these blocks, whatever the memory.
const ROWS: u64 = 64;

/// Shape of a box of about [`ROWS`] rows: whole axes, the fastest first, and as many stored pieces of the next as do; all
/// columns.
fn block(rows: &Rows) -> Vec<u64> {
    let mut block = rows.array().shape();
    let mut room = ROWS;
    for i in (0..block.len()).rev().filter(|&i| rows.is_along(i)) {
        let stored = rows.array().grain(i, 1).1.clamp(1, block[i]);
        block[i] = room.next_multiple_of(stored).min(block[i]);
        room = (room / block[i]).max(1);
    }
    block
}

/// Rows put together with weights: an array of results, and the axes that rows do not lie along.
struct Combined {
    rows: Rows,
    /// A row of weights for each result.
    weights: Vec<f64>,
    /// Shape of a box of about [`ROWS`] rows.
    block: Vec<u64>,
    axes: Vec<Axis>,
    dtype: DType,
}

impl Combined {
    fn new(rows: Rows, weights: Vec<f64>, name: &str, dtype: DType) -> Self {
        let n = rows.n_rows();
        let own =
            rows.array().axes().iter().enumerate().filter(|(i, _)| !rows.is_along(*i)).map(|(_, axis)| axis.clone());
        let axes = std::iter::once(Axis::new(name, weights.len() as u64 / n)).chain(own).collect();
        let block = block(&rows);
        Self { rows, weights, block, axes, dtype }
    }

    /// The columns of `region` in the rows of `rows`, a box of them.
    fn inner(&self, rows: &Region, region: &Region) -> Region {
        let mut inner = rows.clone();
        let columns = (0..rows.rank()).filter(|&i| !self.rows.is_along(i));
        for (i, k) in columns.zip(1..) {
            (inner.origin[i], inner.shape[i]) = (region.origin[k], region.shape[k]);
        }
        inner
    }

    /// The weights of the rows of the box `inner` for results `first` to `first + k`, a row for each result.
    fn weights(&self, inner: &Region, first: usize, k: usize) -> Vec<f64> {
        let along = |lengths: &[u64]| -> Vec<u64> {
            lengths.iter().enumerate().filter(|(i, _)| self.rows.is_along(*i)).map(|(_, &n)| n).collect()
        };
        let strides = row_major_strides(&along(&self.rows.array().shape()));
        let start = along(&inner.origin);
        let number = |at: Vec<u64>| at.iter().zip(&start).zip(&strides).map(|((a, o), s)| ((a + o) * s) as usize).sum();
        let numbers: Vec<usize> = positions(&along(&inner.shape)).map(number).collect();
        let n = self.rows.n_rows() as usize;
        (first..first + k).flat_map(|result| numbers.iter().map(move |i| self.weights[result * n + i])).collect()
    }

    fn axis(&self, axis: usize) -> Option<usize> {
        (0..self.rows.array().axes().len()).filter(|&i| !self.rows.is_along(i)).nth(axis.checked_sub(1)?)
    }
}

impl Array for Combined {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        // What is read gives all components.
        self.axis(axis).map_or((0, self.axes[0].length), |i| self.rows.array().grain(i, at))
    }

    fn coded(&self) -> bool {
        true
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let inner = self.inner(&Region::whole(&self.block), &Region::whole(shape)).shape;
        let n_rows: u64 = (0..inner.len()).filter(|&i| self.rows.is_along(i)).map(|i| inner[i]).product();
        let columns = (n_rows + shape[0]).saturating_mul(COLUMNS as u64 * 8);
        let results = size_bytes(shape, DType::Float64).saturating_add(size_bytes(shape, self.dtype));
        self.rows.needs(&inner).saturating_add(columns).saturating_add(results)
    }

    fn held_bytes(&self) -> u64 {
        self.rows.array().held_bytes().saturating_add(self.weights.len() as u64 * 8)
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(self.rows.array()).reader(scratch);
        Box::new(CombinedReader { of: self, inner, buffer: Buffer::default() })
    }
}

struct CombinedReader {
    of: Arc<Combined>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reader for CombinedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        crate::array::check_read(&*self.of, region, target)?;
        let of = Arc::clone(&self.of);
        let (array, size) = (of.rows.array(), of.rows.array().dtype().size());
        let (first, k) = (region.origin[0] as usize, region.shape[0] as usize);
        let d = region.shape[1..].iter().product::<u64>() as usize;
        let mut sums = vec![0.0f64; k * d];
        let (mut columns, mut results) = (Vec::new(), Vec::new());
        let grid = Grid::new(&array.shape(), &of.block);
        for number in 0..grid.len() {
            let inner = of.inner(&grid.region(&grid.unravel(number)), region);
            let n = inner.n_elements() as usize / d;
            let mut whole = of.rows.ordered(self.buffer.sized(n * d * size), &inner);
            self.inner.read(&inner, &mut whole)?;
            let weights = of.weights(&inner, first, k);
            for from in (0..d).step_by(COLUMNS) {
                let width = COLUMNS.min(d - from);
                columns.resize(n * width, 0.0f64);
                for (row, to) in columns.chunks_exact_mut(width).enumerate() {
                    let start = (row * d + from) * size;
                    let bytes = &self.buffer.bytes()[start..start + width * size];
                    convert(array.dtype(), bytes, DType::Float64, bytemuck::cast_slice_mut(to));
                }
                results.resize(k * width, 0.0f64);
                let put_together = if k <= FEW { few } else { crate::pairwise::product };
                put_together(&weights, &columns, (k, n, width), &mut results);
                for (row, values) in results.chunks_exact(width).enumerate() {
                    let sums = &mut sums[row * d + from..][..width];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        let mut out = Block::new(Region::new([0, 0], [k as u64, d as u64]), of.dtype)?;
        convert(DType::Float64, bytemuck::cast_slice(&sums), of.dtype, out.bytes_mut());
        target.paste(out.bytes());
        Ok(Coverage::default())
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}

/// The product of few rows, (`k`, `n`), and a matrix of (`n`, `m`).
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn few(rows: &[f64], matrix: &[f64], (k, n, m): (usize, usize, usize), out: &mut [f64]) {
    const WIDE: usize = 16;
    const HIGH: usize = 5;
    for first in (0..k).step_by(HIGH) {
        let high = HIGH.min(k - first);
        // Rows that are not there weigh nothing.
        let weights: Vec<[f64; HIGH]> =
            (0..n).map(|j| std::array::from_fn(|r| if r < high { rows[(first + r) * n + j] } else { 0.0 })).collect();
        let mut from = 0;
        while from + WIDE <= m {
            let mut sums = [[0.0f64; WIDE]; HIGH];
            for (line, weights) in matrix.chunks_exact(m).zip(&weights) {
                let line = &line[from..from + WIDE];
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += weight * x);
                }
            }
            for (r, sums) in sums[..high].iter().enumerate() {
                out[(first + r) * m + from..][..WIDE].copy_from_slice(sums);
            }
            from += WIDE;
        }
        for c in from..m {
            for r in 0..high {
                out[(first + r) * m + c] =
                    weights.iter().zip(matrix.chunks_exact(m)).map(|(w, line)| w[r] * line[c]).sum();
            }
        }
    }
}

/// Memory that the components of a decomposition hold, in bytes.
pub fn held_bytes(n: u64, k: u64) -> u64 {
    size_bytes(&[n, n + 2 * k], DType::Float64)
}
