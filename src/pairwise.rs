//! Distances between the slices of an array: rows of numbers that are far too long, in blocks of some columns of all rows.
//!
//! Every metric is a sum (or a maximum) over the columns, so that one reading is enough whatever the memory: blocks come
//! one after the other, and pairs of rows are shared out among threads. Products and squares of whole numbers of up to 16
//! bits are exact: a distance of 0 means that slices are identical. Sums are put together in an order that does not depend
//! on threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use multiversion::multiversion;
use rayon::prelude::*;

use crate::array::calc::convert;
use crate::array::kernel::Elsewhere;
use crate::array::{Array, Scratch};
use crate::block::{Buffer, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result, nearest};
use crate::grid::{Grid, Region, row_major_strides};
use crate::store::Checkpoints;

mod kernel;
mod words;

/// How far apart two rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Metric {
    Euclidean,
    SquaredEuclidean,
    Cityblock,
    Chebyshev,
    Cosine,
    Correlation,
    Canberra,
    BrayCurtis,
    Dot,
}

/// Metrics by name.
pub const METRICS: [(&str, Metric); 9] = [
    ("euclidean", Metric::Euclidean),
    ("sqeuclidean", Metric::SquaredEuclidean),
    ("cityblock", Metric::Cityblock),
    ("chebyshev", Metric::Chebyshev),
    ("cosine", Metric::Cosine),
    ("correlation", Metric::Correlation),
    ("canberra", Metric::Canberra),
    ("braycurtis", Metric::BrayCurtis),
    ("dot", Metric::Dot),
];

impl std::str::FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        /// What others call them.
        const OTHERS: [(&str, &str); 7] = [
            ("l2", "euclidean"),
            ("l1", "cityblock"),
            ("manhattan", "cityblock"),
            ("linf", "chebyshev"),
            ("pearson", "correlation"),
            ("ncc", "correlation"),
            ("product", "dot"),
        ];
        let names = METRICS.map(|m| m.0);
        let other = OTHERS.iter().find(|(other, _)| text.eq_ignore_ascii_case(other)).map(|(_, ours)| *ours);
        let meant = other.or_else(|| nearest(text, names)).map_or_else(String::new, |m| format!(", do you mean {m}"));
        let found = METRICS.iter().find(|m| m.0 == text);
        found
            .map(|m| m.1)
            .ok_or_else(|| Error::usage(format!("'{text}' is no metric{meant}: there are {}", names.join(", "))))
    }
}

/// Columns that pairs of rows are compared in at once: two rows of them stay in a first-level cache.
const COLUMNS: usize = 2048;
/// Rows of a tile of pairs.
const TILE: usize = 32;
/// Bytes of a block that is read at once, if memory allows.
const BLOCK_BYTES: u64 = 64 << 20;

/// What is summed up on the way over the blocks of an array, as its bytes.
pub(crate) trait KeptState {
    fn parts(&mut self) -> Vec<&mut [u8]>;
}

impl KeptState for Vec<f64> {
    fn parts(&mut self) -> Vec<&mut [u8]> {
        vec![bytemuck::cast_slice_mut(self)]
    }
}

/// How blocks are gone over: until it is stopped, and from where an earlier run was.
pub struct BlockPass<'a> {
    /// Whether to stop.
    pub stop: &'a AtomicBool,
    /// Where the state is kept.
    pub checkpoints: Checkpoints,
    /// Begins the names of passes.
    pub prefix: String,
    /// What makes sums over pairs of rows, if not the processors.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl BlockPass<'_> {
    /// Calls `f` for every block of `grid` in order that `pass` has not come to before.
    fn over<S: KeptState>(
        &mut self,
        pass: &str,
        grid: &Grid,
        state: &mut S,
        mut f: impl FnMut(&mut S, &Region) -> Result<()>,
    ) -> Result<()> {
        let pass = format!("{}{pass} {:?}", self.prefix, grid.cell());
        let n_done = self.checkpoints.recall(&pass, &mut state.parts())?;
        for number in n_done..grid.len() {
            if self.stop.load(Ordering::Relaxed) {
                self.checkpoints.keep(&pass, number, &state.parts(), true)?;
                return Err(Error::Stopped(format!("stopped after {number} of {} blocks of rows", grid.len())));
            }
            f(state, &grid.region(&grid.unravel(number)))?;
            self.checkpoints.keep(&pass, number + 1, &state.parts(), false)?;
        }
        Ok(())
    }
}

/// Runs `$body` with `$T` for a `$dtype` of whole numbers of up to 16 bits.
macro_rules! small {
    ($dtype:expr, $T:ident => $body:expr) => {{
        macro_rules! arm {
            ($t:ty) => {{
                type $T = $t;
                $body
            }};
        }
        match $dtype {
            DType::Int8 => arm!(i8),
            DType::Int16 => arm!(i16),
            DType::Uint16 => arm!(u16),
            _ => arm!(u8),
        }
    }};
}

/// An array as a matrix: rows along some axes, columns along the others.
#[derive(Clone)]
pub struct Rows {
    array: Arc<dyn Array>,
    /// Which axes the rows lie along.
    along: Vec<bool>,
}

impl Rows {
    /// `array` with rows along the axes that `along` says.
    pub fn new(array: Arc<dyn Array>, along: Vec<bool>) -> Self {
        Self { array, along }
    }

    fn product(&self, is_row: bool) -> u64 {
        let lengths = self.array.shape();
        (0..lengths.len()).filter(|&i| self.along[i] == is_row).map(|i| lengths[i]).product()
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.product(true)
    }

    /// Number of columns.
    pub fn n_columns(&self) -> u64 {
        self.product(false)
    }

    /// Whether rows lie along axis number `axis`.
    pub(crate) fn is_along(&self, axis: usize) -> bool {
        self.along[axis]
    }

    /// Names of the axes that rows lie along, one behind the other.
    pub(crate) fn name(&self) -> String {
        self.array.axes().iter().zip(&self.along).filter(|a| *a.1).map(|(axis, _)| axis.name.as_str()).collect()
    }

    /// `bytes` as a place for `region` whose rows lie one behind the other, whatever the order of the axes.
    pub(crate) fn ordered<'a>(&self, bytes: &'a mut [u8], region: &Region) -> Target<'a> {
        let (n, size) = (region.rank(), self.array.dtype().size() as isize);
        let order: Vec<usize> = (0..n).filter(|&i| self.along[i]).chain((0..n).filter(|&i| !self.along[i])).collect();
        let lengths: Vec<u64> = order.iter().map(|&i| region.shape[i]).collect();
        let mut strides = vec![0isize; n];
        order.iter().zip(row_major_strides(&lengths)).for_each(|(&i, s)| strides[i] = s as isize * size);
        Target { bytes, start: 0, shape: region.shape.clone(), strides, dtype: self.array.dtype() }
    }

    /// Calls `f` with `state` and some columns of all rows after the other, as `float64`, one row behind the other, and
    /// their number.
    pub(crate) fn each_block<S: KeptState>(
        &self,
        way: &mut BlockPass<'_>,
        pass: &str,
        bytes: u64,
        state: &mut S,
        mut f: impl FnMut(&mut S, &mut [f64], usize),
    ) -> Result<()> {
        let (mut matrix, mut columns) = (Matrix::new(self.array.dtype()), Vec::new());
        way.over(pass, &self.grid(bytes), state, |state, block| {
            self.read(block, &mut matrix)?;
            for from in (0..matrix.n_columns).step_by(COLUMNS) {
                let to = (from + COLUMNS).min(matrix.n_columns);
                matrix.doubles(from, to, None, &mut columns);
                f(state, &mut columns, to - from);
            }
            Ok(())
        })
    }

    /// Names and lengths of the axes that rows do not lie along and that have more than one element.
    fn columns(&self) -> Vec<(&str, u64)> {
        let axes = self.array.axes().iter().zip(&self.along);
        axes.filter(|(axis, along)| !**along && axis.length > 1).map(|(axis, _)| (&*axis.name, axis.length)).collect()
    }

    /// The box of all rows with the columns that `block` has of `other`, whose columns are as many.
    fn beside(&self, other: &Self, block: &Region) -> Region {
        let lengths = other.array.shape();
        let mut theirs = (0..lengths.len()).filter(|&i| !other.along[i] && lengths[i] > 1);
        let mut region = Region::whole(&self.array.shape());
        for i in (0..region.rank()).filter(|&i| !self.along[i] && region.shape[i] > 1).collect::<Vec<_>>() {
            if let Some(k) = theirs.next() {
                (region.origin[i], region.shape[i]) = (block.origin[k], block.shape[k]);
            }
        }
        region
    }

    /// Boxes of all rows that take about `bytes`.
    fn grid(&self, bytes: u64) -> Grid {
        Grid::new(&self.array.shape(), &self.block_shape(bytes))
    }

    /// The array.
    pub fn array(&self) -> &Arc<dyn Array> {
        &self.array
    }

    /// Shape of a block of all rows that takes about `bytes` in memory: stored pieces, which are cut into equal parts where
    /// they are too large, and as many of them as there is room for, along the fastest axes first.
    pub fn block_shape(&self, bytes: u64) -> Vec<u64> {
        let shape = self.array.shape();
        let mut block: Vec<u64> = (0..shape.len()).map(|i| if self.along[i] { shape[i] } else { 1 }).collect();
        let mut room = (bytes / size_bytes(&block, self.array.dtype()).max(1)).max(1);
        let columns = || (0..shape.len()).rev().filter(|&i| !self.along[i]);
        for i in columns() {
            let stored = self.array.grain(i, 1).1.clamp(1, shape[i]);
            let n_parts = stored.div_ceil(room);
            block[i] = stored.div_ceil(n_parts);
            room = if n_parts > 1 { 1 } else { room / block[i] };
        }
        for i in columns() {
            let n = room.min(shape[i].div_ceil(block[i]));
            (block[i], room) = ((block[i] * n).min(shape[i]), room / n.max(1));
        }
        block
    }

    /// Memory that reading a block of `shape` takes, in bytes.
    pub fn needs(&self, shape: &[u64]) -> u64 {
        size_bytes(shape, self.array.dtype()).saturating_add(self.array.needs(shape))
    }

    /// Reads the rows of `region`, whose rows are all there are, as `float64`: rows one behind the other.
    fn read(&self, region: &Region, out: &mut Matrix) -> Result<()> {
        let shape = self.array.shape();
        let first = (0..shape.len()).find(|&i| self.along[i] && shape[i] > 1);
        let n = first.map_or(1, |i| shape[i]);
        let size = self.array.dtype().size();
        out.n_rows = self.n_rows() as usize;
        out.n_columns = region.n_elements() as usize / out.n_rows.max(1);
        out.dtype = self.array.dtype();
        let bytes = out.bytes.sized(out.n_rows * out.n_columns * size);
        // What is decoded together is read together.
        let stored = first.filter(|_| self.array.coded()).map_or(1, |i| self.array.grain(i, 1).1);
        let step = n.div_ceil(rayon::current_num_threads() as u64).max(1).next_multiple_of(stored.max(1));
        let each = bytes.len() / n as usize * step as usize;
        let parts: Vec<(usize, &mut [u8])> = bytes.chunks_mut(each.max(1)).enumerate().collect();
        parts.into_par_iter().try_for_each(|(k, bytes)| {
            let mut part = region.clone();
            if let Some(i) = first {
                part.origin[i] = k as u64 * step;
                part.shape[i] = step.min(n - part.origin[i]);
            }
            let mut target = self.ordered(bytes, &part);
            Arc::clone(&self.array).reader(Scratch::default()).read(&part, &mut target).map(|_| ())
        })
    }
}

/// Some columns of all rows, as they were read.
struct Matrix {
    bytes: Buffer,
    n_rows: usize,
    n_columns: usize,
    dtype: DType,
}

impl Matrix {
    fn new(dtype: DType) -> Self {
        Self { bytes: Buffer::default(), n_rows: 0, n_columns: 0, dtype }
    }

    /// What was read.
    fn bytes(&self) -> &[u8] {
        &self.bytes.bytes()[..self.n_rows * self.n_columns * self.dtype.size()]
    }

    /// Columns `from..to` of every row as `float64`, less the row's `shift`.
    fn doubles(&self, from: usize, to: usize, shift: Option<&[f64]>, out: &mut Vec<f64>) {
        let (n, size) = (to - from, self.dtype.size());
        out.resize(self.n_rows * n, 0.0);
        out.par_chunks_mut(n).enumerate().for_each(|(row, out)| {
            let start = (row * self.n_columns + from) * size;
            convert(
                self.dtype,
                &self.bytes.bytes()[start..start + n * size],
                DType::Float64,
                bytemuck::cast_slice_mut(out),
            );
            if let Some(shift) = shift {
                out.iter_mut().for_each(|x| *x -= shift[row]);
            }
        });
    }

    /// The least and the greatest of columns `from..to` of whole numbers of up to 16 bits.
    fn range(&self, from: usize, to: usize) -> (i32, i32) {
        let size = self.dtype.size();
        let of_row = |row: usize| {
            let bytes = &self.bytes.bytes()[(row * self.n_columns + from) * size..][..(to - from) * size];
            small!(self.dtype, T => {
                let (least, greatest) = ends(bytemuck::cast_slice(bytes), (T::MAX, T::MIN));
                (i32::from(least), i32::from(greatest))
            })
        };
        (0..self.n_rows)
            .into_par_iter()
            .map(of_row)
            .reduce(|| (i32::MAX, i32::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn words(&self, row: usize, from: usize, to: usize) -> &[u16] {
        &bytemuck::cast_slice(self.bytes.bytes())[row * self.n_columns + from..row * self.n_columns + to]
    }
}

/// Some columns of all rows, as whole numbers of 16 bits about a middle.
#[derive(Default)]
struct Shorts {
    /// One row behind the other, each as long as a multiple of what is multiplied at once, with zeros at the end.
    rows: Vec<i16>,
    stride: usize,
    /// The sum of every row, and of its squares.
    sums: Vec<(i64, i64)>,
}

impl Shorts {
    fn row(&self, row: usize) -> &[i16] {
        let row = row.min(self.sums.len() - 1);
        &self.rows[row * self.stride..(row + 1) * self.stride]
    }

    /// The sum of a row.
    fn sum(&self, row: usize) -> i64 {
        self.sums[row.min(self.sums.len() - 1)].0
    }

    /// Columns `from..to` of `matrix`, less `middle`.
    fn fill(&mut self, matrix: &Matrix, from: usize, to: usize, middle: i32) {
        let (n, size) = (to - from, matrix.dtype.size());
        self.stride = n.next_multiple_of(words::WIDTH);
        self.rows.resize(matrix.n_rows * self.stride, 0);
        self.sums.resize(matrix.n_rows, (0, 0));
        self.rows.par_chunks_mut(self.stride).zip(&mut self.sums).enumerate().for_each(|(row, (out, sums))| {
            let bytes = &matrix.bytes.bytes()[(row * matrix.n_columns + from) * size..][..n * size];
            small!(matrix.dtype, T => {
                about::<T>(bytemuck::cast_slice(bytes), middle, &mut out[..n]);
            });
            out[n..].fill(0);
            *sums = marginals(out);
        });
    }
}

/// What is summed up for each pair of rows.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Products.
    Products,
    /// One number for each column, or two.
    Columns,
}

/// What is summed up, of rows of one matrix (`n`), or of two.
struct Sums {
    /// Whether both matrices are the same, so that half of the pairs is enough.
    is_symmetric: bool,
    m: usize,
    /// Sums for every pair of rows.
    pairs: Vec<f64>,
    /// Where one sum is not enough.
    second: Vec<f64>,
    /// Products of whole numbers, which floats do not hold in the end.
    whole: Vec<i64>,
    /// Sums of the rows themselves; those of a second matrix are empty where it is the first.
    own: [Marginals; 2],
}

impl KeptState for Sums {
    fn parts(&mut self) -> Vec<&mut [u8]> {
        let pairs = [bytemuck::cast_slice_mut(&mut self.pairs), bytemuck::cast_slice_mut(&mut self.second)];
        let own = self.own.iter_mut().flat_map(KeptState::parts);
        pairs.into_iter().chain([bytemuck::cast_slice_mut(&mut self.whole)]).chain(own).collect()
    }
}

/// Says what memory the distances of `n` by `m` rows take beside a block, in bytes.
pub fn held_bytes(n: u64, m: u64, metric: Metric) -> u64 {
    let each = if metric == Metric::BrayCurtis { 24 } else { 16 };
    n.saturating_mul(m).saturating_mul(each).saturating_add((n + m).saturating_mul(COLUMNS as u64 * 8 + 64))
}

/// The distances of every row of `a` to every row of `b`, or of `a` if there is none: row-major.
///
/// # Errors
/// `Usage` if rows are not equally long, there are none, or numbers are complex; `Limit` if `limit_bytes` do not do, with
/// what would; `Stopped`; what reading says.
pub fn distances(
    a: &Rows,
    b: Option<&Rows>,
    metric: Metric,
    limit_bytes: u64,
    way: &mut BlockPass<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Vec<f64>> {
    let other = b.unwrap_or(a);
    let (n, m, d) = (a.n_rows(), other.n_rows(), a.n_columns());
    if a.columns() != other.columns() {
        let told =
            |rows: &Rows| rows.columns().iter().map(|(name, n)| format!("{name}={n}")).collect::<Vec<_>>().join(", ");
        return Err(Error::usage(format!("rows of {} and of {} have no distance", told(a), told(other))));
    }
    let dtypes = [a.array.dtype(), other.array.dtype()];
    if n * m == 0 || d == 0 || dtypes.iter().any(|d| d.is_complex()) {
        return Err(Error::usage("distances are of real numbers, of which there must be some"));
    }
    let held = held_bytes(n, m, metric);
    let needs = |bytes: u64| {
        let shape = a.block_shape(bytes);
        let second = b.map_or(0, |b| b.needs(&b.beside(a, &Region::whole(&shape)).shape));
        held.saturating_add(a.needs(&shape)).saturating_add(second)
    };
    let mut bytes = BLOCK_BYTES;
    while needs(bytes) > limit_bytes {
        if bytes < 64 << 10 {
            let needed = needs(bytes);
            return Err(Error::limit(format!(
                "{n} x {m} distances need {} MiB beside the program: take fewer slices with --along or --select, or raise \
                 --memory",
                needed >> 20
            )));
        }
        bytes /= 2;
    }
    let is_small = |d: &DType| !d.is_float() && d.size() <= 2;
    let exact = dtypes.iter().all(is_small);
    let means = match metric {
        Metric::Correlation if !exact => {
            Some([means(a, bytes, way, "means")?, b.map_or(Ok(Vec::new()), |b| means(b, bytes, way, "others"))?])
        }
        _ => None,
    };
    let kind = match metric {
        Metric::Euclidean | Metric::SquaredEuclidean if !exact => Kind::Columns,
        Metric::Cityblock | Metric::Chebyshev | Metric::Canberra | Metric::BrayCurtis => Kind::Columns,
        _ => Kind::Products,
    };
    let size = (n * m) as usize;
    let mut sums = Sums {
        is_symmetric: b.is_none(),
        m: m as usize,
        pairs: vec![0.0; if kind == Kind::Products && exact { 0 } else { size }],
        second: vec![0.0; if metric == Metric::BrayCurtis { size } else { 0 }],
        whole: vec![0; if kind == Kind::Products && exact { size } else { 0 }],
        own: [Marginals::new(n), Marginals::new(if b.is_some() { m } else { 0 })],
    };
    let mut matrices = [Matrix::new(dtypes[0]), Matrix::new(dtypes[1])];
    let mut doubles = [Vec::new(), Vec::new()];
    let mut shorts = [Shorts::default(), Shorts::default()];
    let elsewhere = way.elsewhere.clone();
    way.over("sums", &a.grid(bytes), &mut sums, |sums, first| {
        a.read(first, &mut matrices[0])?;
        if let Some(b) = b {
            b.read(&b.beside(a, first), &mut matrices[1])?;
        }
        let d = matrices[0].n_columns;
        let used = &matrices[..if b.is_some() { 2 } else { 1 }];
        let add = |elsewhere| sums.add_elsewhere(elsewhere, used, (kind, metric), means.as_ref());
        let made = elsewhere.as_deref().map_or(Ok(false), add)?;
        // What rows come to by themselves is summed up here.
        let d = if made && kind == Kind::Columns { 0 } else { d };
        for from in (0..d).step_by(COLUMNS) {
            let to = (from + COLUMNS).min(d);
            if kind == Kind::Products && exact && !made && sums.add_whole(&matrices, b.is_some(), from, to, &mut shorts)
            {
                continue;
            }
            let words = metric == Metric::Cityblock && dtypes == [DType::Uint16; 2];
            let [x, y] = &mut doubles;
            if words {
                sums.add_words(&matrices[0], b.map_or(&matrices[0], |_| &matrices[1]), from, to);
                continue;
            }
            matrices[0].doubles(from, to, means.as_ref().map(|m| &m[0][..]), x);
            sums.own[0].add(x, to - from);
            if b.is_some() {
                matrices[1].doubles(from, to, means.as_ref().map(|m| &m[1][..]), y);
                sums.own[1].add(y, to - from);
            }
            let y: &[f64] = if b.is_some() { y } else { x };
            match kind {
                _ if made => {}
                Kind::Products => sums.add_products(x, y, to - from),
                Kind::Columns => sums.add_columns(x, y, to - from, metric),
            }
        }
        progress(first.n_elements() * dtypes[0].size() as u64);
        Ok(())
    })?;
    Ok(sums.finish(metric, d))
}

/// The mean of every row.
fn means(rows: &Rows, bytes: u64, way: &mut BlockPass<'_>, pass: &str) -> Result<Vec<f64>> {
    let mut own = Marginals::new(rows.n_rows());
    rows.each_block(way, pass, bytes, &mut own, |own, columns, n| own.add(columns, n))?;
    let d = rows.n_columns() as f64;
    Ok(own.sums.into_iter().map(|s| s / d).collect())
}

/// Sums of every row, and of its squares.
struct Marginals {
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// Squares of whole numbers, which floats do not hold in the end.
    whole: Vec<i128>,
}

impl KeptState for Marginals {
    fn parts(&mut self) -> Vec<&mut [u8]> {
        let floats = [bytemuck::cast_slice_mut(&mut self.sums), bytemuck::cast_slice_mut(&mut self.squares)];
        floats.into_iter().chain([bytemuck::cast_slice_mut(&mut self.whole)]).collect()
    }
}

impl Marginals {
    fn new(n: u64) -> Self {
        Self { sums: vec![0.0; n as usize], squares: vec![0.0; n as usize], whole: vec![0; n as usize] }
    }

    fn add(&mut self, rows: &[f64], d: usize) {
        let all = self.sums.par_iter_mut().zip(&mut self.squares).zip(&mut self.whole).zip(rows.par_chunks(d));
        all.for_each(|(((sum, squares), whole), row)| {
            let square = lanes(row, row, |a, b| a * b);
            *sum += lanes(row, row, |a, _| a);
            *squares += square;
            *whole += square as i128;
        });
    }
}

/// A sum over columns, in lanes that do not depend on the processor.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn lanes<F: Fn(f64, f64) -> f64>(a: &[f64], b: &[f64], f: F) -> f64 {
    let mut sums = [0.0; 32];
    let whole = a.len() / 32 * 32;
    for at in (0..whole).step_by(32) {
        let (a, b) = (&a[at..at + 32], &b[at..at + 32]);
        (0..32).for_each(|l| sums[l] += f(a[l], b[l]));
    }
    let rest: f64 = (whole..a.len()).map(|i| f(a[i], b[i])).sum();
    sums.iter().sum::<f64>() + rest
}

/// Whole numbers whose products are wanted, less `middle`, and how many each row has.
struct Pair<'a> {
    x: &'a Shorts,
    y: &'a Shorts,
    most: u32,
    middle: i64,
    d: i64,
}

impl Pair<'_> {
    /// Adds the products of rows `first..` of `x` with those of `y` to `sums`, in rows of `m`; of symmetric ones those on and
    /// above the diagonal suffice.
    fn add(&self, sums: &mut [i64], m: usize, first: usize, is_symmetric: bool) {
        /// Rows of `y` that stay in cache.
        const NEAR: usize = 64;
        let n = sums.len() / m;
        for start in (if is_symmetric { first } else { 0 }..m).step_by(NEAR) {
            let end = (start + NEAR).min(m);
            for i in (0..n).step_by(words::TILE) {
                let is_wanted = |j: &usize| !is_symmetric || j + words::TILE > first + i;
                for j in (start..end).step_by(words::TILE).filter(is_wanted) {
                    for (p, row) in self.tile(first + i, j).iter().enumerate().take(n - i) {
                        let to = &mut sums[(i + p) * m..][j..end];
                        to.iter_mut().zip(row).for_each(|(sum, product)| *sum += product);
                    }
                }
            }
        }
    }

    /// Products of a few rows from `i` on with as many from `j` on; beyond the last rows they mean nothing.
    fn tile(&self, i: usize, j: usize) -> [[i64; words::TILE]; words::TILE] {
        let rows = [0, 1, 2, 3];
        let mut tile = words::products(rows.map(|k| self.x.row(i + k)), rows.map(|k| self.y.row(j + k)), self.most);
        for (p, row) in tile.iter_mut().enumerate() {
            for (q, product) in row.iter_mut().enumerate() {
                let apart = self.x.sum(i + p) + self.y.sum(j + q);
                *product += self.middle * (apart + self.d * self.middle);
            }
        }
        tile
    }
}

/// The least and the greatest of `row` and of `before`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn ends<T: Ord + Copy>(row: &[T], before: (T, T)) -> (T, T) {
    let (mut least, mut greatest) = before;
    for &x in row {
        (least, greatest) = (least.min(x), greatest.max(x));
    }
    (least, greatest)
}

/// Whole numbers less `middle`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn about<T: Copy + Into<i32>>(row: &[T], middle: i32, out: &mut [i16]) {
    let row = &row[..out.len()];
    for i in 0..out.len() {
        out[i] = (row[i].into() - middle) as i16;
    }
}

/// The sum of `row`, of at most [`COLUMNS`], and of its squares.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn marginals(row: &[i16]) -> (i64, i64) {
    // Halves of squares, each summed up in 32 bits.
    let (mut sum, mut low, mut high) = (0i32, 0i32, 0i32);
    for &x in row {
        let square = i32::from(x) * i32::from(x);
        (sum, low, high) = (sum + i32::from(x), low + (square & 0xffff), high + (square >> 16));
    }
    (sum.into(), i64::from(low) + (i64::from(high) << 16))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn farthest(a: &[f64], b: &[f64]) -> f64 {
    let mut most = [0.0f64; 32];
    let whole = a.len() / 32 * 32;
    for at in (0..whole).step_by(32) {
        let (a, b) = (&a[at..at + 32], &b[at..at + 32]);
        for l in 0..32 {
            most[l] = farther((a[l] - b[l]).abs(), most[l]);
        }
    }
    let rest = (whole..a.len()).map(|i| (a[i] - b[i]).abs());
    most.iter().copied().chain(rest).fold(0.0, |m, x| farther(x, m))
}

/// The greater of `x` and `most`; NaN stays.
#[inline]
fn farther(x: f64, most: f64) -> f64 {
    if x > most || x.is_nan() { x } else { most }
}

/// The sum of differences of whole numbers, of at most 65536 columns.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn differences(a: &[u16], b: &[u16]) -> u32 {
    let n = a.len();
    let b = &b[..n];
    (0..n).map(|i| u32::from(a[i].max(b[i]) - a[i].min(b[i]))).sum()
}

impl Sums {
    /// Rows of tiles that are worked on together: the first row, and where it begins among the pairs.
    fn tiles(m: usize, pairs: &mut [f64]) -> impl ParallelIterator<Item = (usize, &mut [f64])> {
        pairs.par_chunks_mut((TILE * m).max(1)).enumerate().map(|(k, rows)| (k * TILE, rows))
    }

    /// Calls `f` for every pair of rows of a tile that is needed: the row of `a`, that of `b`, and the pair's place.
    fn pairs(first: usize, n: usize, m: usize, is_symmetric: bool, mut f: impl FnMut(usize, usize, usize)) {
        let from = if is_symmetric { first } else { 0 };
        for start in (from..m).step_by(TILE) {
            for i in 0..n {
                let least = if is_symmetric { start.max(first + i) } else { start };
                (least..(start + TILE).min(m)).for_each(|j| f(first + i, j, i * m + j));
            }
        }
    }

    fn add_words(&mut self, a: &Matrix, b: &Matrix, from: usize, to: usize) {
        let (m, is_symmetric) = (self.m, self.is_symmetric);
        Self::tiles(m, &mut self.pairs).for_each(|(first, sums)| {
            Self::pairs(first, sums.len() / m, m, is_symmetric, |i, j, at| {
                sums[at] += f64::from(differences(a.words(i, from, to), b.words(j, from, to)));
            });
        });
    }

    fn add_columns(&mut self, x: &[f64], y: &[f64], d: usize, metric: Metric) {
        let (m, is_symmetric) = (self.m, self.is_symmetric);
        if metric == Metric::BrayCurtis {
            Self::tiles(m, &mut self.second).for_each(|(first, sums)| {
                Self::pairs(first, sums.len() / m, m, is_symmetric, |i, j, at| {
                    sums[at] += lanes(&x[i * d..(i + 1) * d], &y[j * d..(j + 1) * d], |a, b| (a + b).abs());
                });
            });
        }
        Self::tiles(m, &mut self.pairs).for_each(|(first, sums)| {
            Self::pairs(first, sums.len() / m, m, is_symmetric, |i, j, at| {
                let (a, b) = (&x[i * d..(i + 1) * d], &y[j * d..(j + 1) * d]);
                match metric {
                    Metric::Chebyshev => sums[at] = farther(farthest(a, b), sums[at]),
                    Metric::Canberra => {
                        sums[at] += lanes(a, b, |a, b| {
                            let size = a.abs() + b.abs();
                            if size == 0.0 { 0.0 } else { (a - b).abs() / size }
                        });
                    }
                    Metric::Euclidean | Metric::SquaredEuclidean => sums[at] += lanes(a, b, |a, b| (a - b) * (a - b)),
                    _ => sums[at] += lanes(a, b, |a, b| (a - b).abs()),
                }
            });
        });
    }

    /// Adds products of columns `from..to` of whole numbers about their middle, which 16 bits hold unless they are spread too
    /// widely: then nothing is done.
    fn add_whole(
        &mut self,
        matrices: &[Matrix; 2],
        is_second: bool,
        from: usize,
        to: usize,
        shorts: &mut [Shorts; 2],
    ) -> bool {
        let used = &matrices[..if is_second { 2 } else { 1 }];
        let ranges = used.iter().map(|matrix| matrix.range(from, to));
        let (low, high) = ranges.fold((i32::MAX, i32::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let middle = (low + high).div_euclid(2);
        let most = (high - middle).max(middle - low) as u32;
        if most > 32767 {
            return false;
        }
        let (m, d, middle_wide) = (self.m, (to - from) as i64, i64::from(middle));
        for ((matrix, shorts), own) in used.iter().zip(&mut *shorts).zip(&mut self.own) {
            shorts.fill(matrix, from, to, middle);
            for (row, (sum, square)) in shorts.sums.iter().enumerate() {
                own.sums[row] += (sum + d * middle_wide) as f64;
                own.whole[row] += i128::from(square + 2 * middle_wide * sum + d * middle_wide * middle_wide);
            }
        }
        let pair = Pair { x: &shorts[0], y: &shorts[used.len() - 1], most, middle: middle_wide, d };
        let (is_symmetric, n_rows) = (self.is_symmetric, self.whole.len() / m);
        let band = (n_rows / 16).next_multiple_of(words::TILE).clamp(words::TILE, 64);
        let bands = self.whole.par_chunks_mut(band * m).enumerate();
        bands.for_each(|(k, sums)| pair.add(sums, m, k * band, is_symmetric));
        true
    }

    /// Products of rows, tile by tile.
    fn add_products(&mut self, x: &[f64], y: &[f64], d: usize) {
        /// Rows of a tile of products.
        const ROWS: usize = 128;
        let (m, is_symmetric) = (self.m, self.is_symmetric);
        let multiply = |first: usize, n: usize, out: &mut dyn FnMut(usize, usize, f64)| {
            let mut products = vec![0.0; n * ROWS];
            let from = if is_symmetric { first } else { 0 };
            for start in (from..m).step_by(ROWS) {
                let columns = ROWS.min(m - start);
                gram(&x[first * d..(first + n) * d], &y[start * d..(start + columns) * d], d, columns, &mut products);
                for (i, row) in products.chunks_exact(columns).take(n).enumerate() {
                    row.iter().enumerate().for_each(|(j, p)| out(i, start + j, *p));
                }
            }
        };
        let n_whole = self.whole.len();
        if n_whole > 0 {
            self.whole.par_chunks_mut(ROWS * m).enumerate().for_each(|(k, sums)| {
                multiply(k * ROWS, sums.len() / m, &mut |i, j, p| sums[i * m + j] += p as i64);
            });
        } else {
            self.pairs.par_chunks_mut(ROWS * m).enumerate().for_each(|(k, sums)| {
                multiply(k * ROWS, sums.len() / m, &mut |i, j, p| sums[i * m + j] += p);
            });
        }
    }

    /// From what was summed up to distances.
    fn finish(self, metric: Metric, d: u64) -> Vec<f64> {
        let m = self.m;
        let [a, b] = [&self.own[0], &self.own[usize::from(!self.is_symmetric)]];
        let n = self.pairs.len().max(self.whole.len()) / m.max(1);
        let exact = !self.whole.is_empty();
        let mut out = vec![0.0; n * m];
        let d = i128::from(d);
        for i in 0..n {
            for j in if self.is_symmetric { i } else { 0 }..m {
                let at = i * m + j;
                let p = if exact { i128::from(self.whole[at]) } else { 0 };
                let (aa, bb) = (a.whole[i], b.whole[j]);
                let (sa, sb) = (a.sums[i] as i128, b.sums[j] as i128);
                let same = self.is_symmetric && i == j;
                out[at] = match (metric, exact) {
                    (Metric::Euclidean, true) => ((aa + bb - 2 * p) as f64).sqrt(),
                    (Metric::SquaredEuclidean, true) => (aa + bb - 2 * p) as f64,
                    (Metric::Euclidean, false) => self.pairs[at].sqrt(),
                    (Metric::Dot, true) => p as f64,
                    (Metric::Cosine, true) => 1.0 - p as f64 / ((aa as f64).sqrt() * (bb as f64).sqrt()),
                    (Metric::Correlation, true) => {
                        let (va, vb) = (d * aa - sa * sa, d * bb - sb * sb);
                        1.0 - (d * p - sa * sb) as f64 / ((va as f64).sqrt() * (vb as f64).sqrt())
                    }
                    (Metric::Cosine | Metric::Correlation, false) => {
                        1.0 - self.pairs[at] / (a.squares[i].sqrt() * b.squares[j].sqrt())
                    }
                    (Metric::BrayCurtis, _) => self.pairs[at] / self.second[at],
                    _ => self.pairs[at],
                };
                // A row is at no distance from itself, unless it has no direction.
                if same && matches!(metric, Metric::Cosine | Metric::Correlation) && !out[at].is_nan() {
                    out[at] = 0.0;
                }
                if self.is_symmetric {
                    out[j * m + i] = out[at];
                }
            }
        }
        out
    }
}

/// Products of every row of `a` with every row of `b`, rows of `d` numbers: `n_b` for each row of `a`.
pub(crate) fn gram(a: &[f64], b: &[f64], d: usize, n_b: usize, out: &mut [f64]) {
    let n_a = a.len() / d.max(1);
    assert!(a.len() == n_a * d && b.len() == n_b * d && out.len() >= n_a * n_b, "rows and results are as long as told");
    // SAFETY: the lengths were checked; strides stay within them.
    unsafe {
        matrixmultiply::dgemm(
            n_a,
            d,
            n_b,
            1.0,
            a.as_ptr(),
            d as isize,
            1,
            b.as_ptr(),
            1,
            d as isize,
            0.0,
            out.as_mut_ptr(),
            n_b as isize,
            1,
        );
    }
}

/// The product of a matrix of (`n`, `k`) and one of (`k`, `m`), both row-major.
pub(crate) fn product(a: &[f64], b: &[f64], (n, k, m): (usize, usize, usize), out: &mut [f64]) {
    assert!(a.len() == n * k && b.len() == k * m && out.len() >= n * m, "matrices and results are as large as told");
    // SAFETY: the lengths were checked; strides stay within them.
    unsafe {
        matrixmultiply::dgemm(
            n,
            k,
            m,
            1.0,
            a.as_ptr(),
            k as isize,
            1,
            b.as_ptr(),
            m as isize,
            1,
            0.0,
            out.as_mut_ptr(),
            m as isize,
            1,
        );
    }
}
