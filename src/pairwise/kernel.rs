//! Sums over the columns of pairs of rows on a device: tiles of pairs, each for a part of the columns, which are put together
//! in the end.

use super::{Kind, Matrix, Metric, Sums};
use crate::array::kernel::{Datum, Elsewhere, Launch, PRELUDE, Routine, bytes, c_name, loaded};
use crate::block::size_bytes;
use crate::dtype::DType;
use crate::error::Result;

/// Rows and columns of a tile of pairs, whose work items go together.
const TILE: u64 = 16;
/// Pairs, each for a part of the columns, that keep a device at work.
const BUSY: u64 = 1 << 17;
/// Least columns of a part.
const LEAST: u64 = 256;

/// [`farther`](super::farther) on a device.
const FARTHER: &str = "#define FARTHER(x, s) ((x) > s || (x) != (x) ? (x) : s)\n";

/// One number for every pair of rows.
struct PairKernel {
    /// What they are summed up as, and what they are at last.
    of: &'static str,
    dtype: DType,
    /// What becomes of the sum `s` with the numbers `p` and `q`.
    step: &'static str,
    /// What becomes of two sums `s` and `x`.
    join: &'static str,
}

impl PairKernel {
    fn of(metric: Metric, kind: Kind, exact: bool) -> Self {
        let (of, dtype) = if exact { ("long", DType::Int64) } else { ("double", DType::Float64) };
        let (step, join) = match (kind, metric) {
            (Kind::Products, _) => ("s + p * q", "s + x"),
            (_, Metric::Euclidean | Metric::SquaredEuclidean) => ("s + (p - q) * (p - q)", "s + x"),
            (_, Metric::Chebyshev) => ("FARTHER(fabs(p - q), s)", "FARTHER(x, s)"),
            (_, Metric::Canberra) => ("s + (fabs(p) + fabs(q) == 0 ? 0 : fabs(p - q) / (fabs(p) + fabs(q)))", "s + x"),
            _ => ("s + fabs(p - q)", "s + x"),
        };
        Self { of, dtype, step, join }
    }

    /// Adds what makes it of two matrices, rows of `d` columns, to `routine`; `means` are taken away before.
    fn launch(
        &self,
        routine: &mut Routine,
        (matrices, from): ([&Matrix; 2], [Datum; 2]),
        (is_symmetric, means): (bool, Option<[&[f64]; 2]>),
    ) -> Datum {
        let [n, m] = matrices.map(|matrix| matrix.n_rows as u64);
        let d = matrices[0].n_columns as u64;
        let n_parts = BUSY.div_ceil(n * m).clamp(1, d.div_ceil(LEAST));
        let step = d.div_ceil(n_parts).next_multiple_of(TILE);
        let n_parts = d.div_ceil(step);
        let value = |i: usize, name: &str, row: &str| {
            let value = loaded(matrices[i].dtype, name, &format!("({row}) * d + c"));
            format!(
                "({}){value}{}",
                self.of,
                if means.is_some() { format!(" - mean_{name}[{row}]") } else { "".into() }
            )
        };
        let text = format!(
            "{PRELUDE}{FARTHER}__kernel __attribute__((reqd_work_group_size({TILE}, {TILE}, 1)))\n\
             void run(__global {of} *out, __global const {} *a, __global const {} *b, __global const ulong *g,\n\
             __global const double *mean_a, __global const double *mean_b) {{\n\
             __local {of} u[{TILE}][{TILE} + 1], v[{TILE}][{TILE} + 1];\n\
             const ulong n = g[0], m = g[1], d = g[2], part = get_global_id(2);\n\
             const ulong j = get_global_id(0), i = get_global_id(1), x = get_local_id(0), y = get_local_id(1);\n\
             const ulong i0 = i - y, j0 = j - x, end = min(d, (part + 1) * g[3]);\n{of} s = 0;\n\
             for (ulong k = g[4] && j0 + {TILE} <= i0 ? end : part * g[3]; k < end; k += {TILE}) {{\n\
             const ulong c = k + x;\n\
             u[y][x] = i0 + y < n && c < end ? {} : 0;\nv[y][x] = j0 + y < m && c < end ? {} : 0;\n\
             barrier(CLK_LOCAL_MEM_FENCE);\n\
             for (ulong w = 0; w < min((ulong){TILE}, end - k); w++) {{ const {of} p = u[y][w], q = v[x][w]; s = {}; }}\n\
             barrier(CLK_LOCAL_MEM_FENCE);\n}}\n\
             if (i < n && j < m) out[(part * n + i) * m + j] = s;\n}}\n",
            c_name(matrices[0].dtype),
            c_name(matrices[1].dtype),
            value(0, "a", "i0 + y"),
            value(1, "b", "j0 + y"),
            self.step,
            of = self.of,
        );
        let [a, b] = means.unwrap_or([&[0.0]; 2]);
        let launch = Launch {
            text,
            from: from.to_vec(),
            tables: vec![bytes(&[n, m, d, step, is_symmetric.into()]), bytes(a), bytes(b)],
            range: [m, n, n_parts],
            group: Some([TILE, TILE]),
            n_bytes: size_bytes(&[n_parts, n, m], self.dtype),
            ..Launch::default()
        };
        let made = routine.launch(launch, step);
        if n_parts == 1 {
            return made;
        }
        let text = format!(
            "{FARTHER}{of} s = AT(0);\nfor (int k = 1; k < {n_parts}; k++) {{ const {of} x = AT(k); s = {}; }}\nconst {of} r = s;",
            self.join,
            of = self.of
        );
        let shape = [n_parts, n * m];
        routine.along((made, self.dtype), (&shape, 0, 1), (self.of, self.dtype), (&text, Vec::new()))
    }
}

impl Sums {
    /// Adds what all columns of `matrices`, the second of which may be the first, come to `elsewhere`; false if that is left
    /// to the processors. `means` are taken away before.
    pub(super) fn add_elsewhere(
        &mut self,
        elsewhere: &dyn Elsewhere,
        matrices: &[Matrix],
        (kind, metric): (Kind, Metric),
        means: Option<&[Vec<f64>; 2]>,
    ) -> Result<bool> {
        let pair = [&matrices[0], &matrices[matrices.len() - 1]];
        let means = means.map(|m| [&m[0][..], &m[matrices.len() - 1][..]]);
        let mut routine = Routine::default();
        let given = |matrix: &Matrix| routine.given(&[matrix.n_rows as u64, matrix.n_columns as u64], matrix.dtype);
        let data: Vec<Datum> = matrices.iter().map(given).collect();
        let rows = (pair, [data[0], data[data.len() - 1]]);
        let how = (self.is_symmetric, means);
        let is_whole = !self.whole.is_empty();
        let main = PairKernel::of(metric, kind, is_whole);
        let made = main.launch(&mut routine, rows, how);
        routine.results.push(made);
        if metric == Metric::BrayCurtis {
            let sizes = PairKernel { step: "s + fabs(p + q)", ..main };
            let made = sizes.launch(&mut routine, rows, how);
            routine.results.push(made);
        }
        let size = pair[0].n_rows * pair[1].n_rows;
        let mut results = vec![vec![0u64; size]; routine.results.len()];
        let mut places: Vec<&mut [u8]> = results.iter_mut().map(|own| bytemuck::cast_slice_mut(own)).collect();
        let bytes: Vec<&[u8]> = matrices.iter().map(Matrix::bytes).collect();
        if !elsewhere.make(&routine, &bytes, &mut places)? {
            elsewhere.leave();
            return Ok(false);
        }
        if is_whole {
            let made: &[i64] = bytemuck::cast_slice(&results[0]);
            self.whole.iter_mut().zip(made).for_each(|(sum, x)| *sum += x);
            return Ok(true);
        }
        for (sums, made) in [&mut self.pairs, &mut self.second].into_iter().zip(&results) {
            let made = sums.iter_mut().zip(bytemuck::cast_slice::<u64, f64>(made));
            match metric {
                Metric::Chebyshev => made.for_each(|(sum, &x)| *sum = super::farther(x, *sum)),
                _ => made.for_each(|(sum, x)| *sum += x),
            }
        }
        Ok(true)
    }
}
