//! Eigenvalues of small symmetric matrices, and singular values of small square ones.

use rayon::prelude::*;

use crate::pairwise::gram;

/// Eigenvalues, greatest first, and their vectors, one behind the other.
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    pub(super) vectors: Vec<f64>,
}

/// Larger matrices of which few vectors are wanted are iterated on.
const LARGE: usize = 256;
/// Directions that iteration carries along beside those that are wanted.
const MORE: usize = 16;
/// Steps after which iteration is given up.
const MOST_STEPS: usize = 400;
/// What is left of a vector that is found, relative to the greatest eigenvalue.
const RESIDUAL: f64 = 1e-13;

/// The `k` greatest eigenvalues of a symmetric matrix of `n` rows, with their vectors.
pub(super) fn greatest(matrix: &[f64], n: usize, k: usize) -> Eigen {
    if n > LARGE
        && k + MORE <= n / 4
        && let Some(found) = iterated(matrix, n, k)
    {
        return found;
    }
    let mut all = whole(matrix.to_vec(), n);
    all.values.truncate(k);
    all.vectors.truncate(k * n);
    all
}

/// Subspace iteration: multiplies, orthogonalises, and solves the small problem in between (Saad, Numerical Methods for
/// Large Eigenvalue Problems, algorithm 5.3).
fn iterated(matrix: &[f64], n: usize, k: usize) -> Option<Eigen> {
    let p = k + MORE;
    // The same beginning every time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut basis: Vec<f64> = (0..p * n).map(|_| next()).collect();
    orthonormal(&mut basis, n);
    let mut product = vec![0.0; p * n];
    for _ in 0..MOST_STEPS {
        multiply(&basis, matrix, n, &mut product);
        let mut small = vec![0.0; p * p];
        gram(&basis, &product, n, p, &mut small);
        let ritz = whole(small, p);
        let (vectors, images) = (combined(&ritz.vectors, &basis, p, n), combined(&ritz.vectors, &product, p, n));
        let scale = ritz.values.first().copied().unwrap_or(0.0).abs().max(f64::MIN_POSITIVE);
        let left = |i: usize| {
            let (v, w) = (&vectors[i * n..(i + 1) * n], &images[i * n..(i + 1) * n]);
            v.iter().zip(w).map(|(v, w)| (w - ritz.values[i] * v).powi(2)).sum::<f64>().sqrt()
        };
        if (0..k).all(|i| left(i) <= RESIDUAL * scale * (n as f64).sqrt()) {
            let vectors = vectors[..k * n].to_vec();
            return Some(Eigen { values: ritz.values[..k].to_vec(), vectors });
        }
        basis = images;
        orthonormal(&mut basis, n);
    }
    None
}

/// Rows of `a` times a symmetric matrix.
fn multiply(a: &[f64], matrix: &[f64], n: usize, out: &mut [f64]) {
    const COLUMNS: usize = 128;
    let parts: Vec<(usize, Vec<f64>)> = (0..n)
        .step_by(COLUMNS)
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|from| {
            let width = COLUMNS.min(n - from);
            let mut part = vec![0.0; a.len() / n * width];
            gram(a, &matrix[from * n..(from + width) * n], n, width, &mut part);
            (from, part)
        })
        .collect();
    for (from, part) in parts {
        let width = COLUMNS.min(n - from);
        for (row, part) in out.chunks_exact_mut(n).zip(part.chunks_exact(width)) {
            row[from..from + width].copy_from_slice(part);
        }
    }
}

/// Sums of `p` vectors of `n` numbers with `p` weights each.
fn combined(weights: &[f64], vectors: &[f64], p: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; p * n];
    out.par_chunks_mut(n).zip(weights.par_chunks(p)).for_each(|(out, weights)| {
        for (vector, w) in vectors.chunks_exact(n).zip(weights) {
            out.iter_mut().zip(vector).for_each(|(o, v)| *o += w * v);
        }
    });
    out
}

/// Makes vectors of `n` numbers orthonormal, twice over (Gram and Schmidt).
fn orthonormal(vectors: &mut [f64], n: usize) {
    for i in 0..vectors.len() / n {
        let (before, rest) = vectors.split_at_mut(i * n);
        let vector = &mut rest[..n];
        for _ in 0..2 {
            for other in before.chunks_exact(n) {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let size = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        if size > 0.0 {
            vector.iter_mut().for_each(|v| *v /= size);
        }
    }
}

/// All eigenvalues and vectors: Householder's reduction to three diagonals, then implicit QL steps (Bowdler, Martin,
/// Reinsch and Wilkinson, Handbook for Automatic Computation II).
fn whole(mut v: Vec<f64>, n: usize) -> Eigen {
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    three_diagonals(&mut v, &mut d, &mut e, n);
    implicit_ql(&mut v, &mut d, &mut e, n);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| d[b].total_cmp(&d[a]));
    // Vectors are columns until here.
    let vectors = order.iter().flat_map(|&j| (0..n).map(|i| v[i * n + j]).collect::<Vec<_>>()).collect();
    Eigen { values: order.iter().map(|&j| d[j]).collect(), vectors }
}

fn three_diagonals(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize) {
    if n == 0 {
        return;
    }
    d.copy_from_slice(&v[(n - 1) * n..]);
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|x| x.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[(i - 1) * n + j];
                v[i * n + j] = 0.0;
                v[j * n + i] = 0.0;
            }
        } else {
            d[..i].iter_mut().for_each(|x| *x /= scale);
            h = d[..i].iter().map(|x| x * x).sum();
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            e[..i].fill(0.0);
            for j in 0..i {
                let f = d[j];
                v[j * n + i] = f;
                let mut g = e[j] + v[j * n + j] * f;
                for k in j + 1..i {
                    g += v[k * n + j] * d[k];
                    e[k] += v[k * n + j] * f;
                }
                e[j] = g;
            }
            let mut f = 0.0;
            for j in 0..i {
                e[j] /= h;
                f += e[j] * d[j];
            }
            let hh = f / (h + h);
            (0..i).for_each(|j| e[j] -= hh * d[j]);
            for j in 0..i {
                let (f, g) = (d[j], e[j]);
                (j..i).for_each(|k| v[k * n + j] -= f * e[k] + g * d[k]);
                d[j] = v[(i - 1) * n + j];
                v[i * n + j] = 0.0;
            }
        }
        d[i] = h;
    }
    for i in 0..n - 1 {
        v[(n - 1) * n + i] = v[i * n + i];
        v[i * n + i] = 1.0;
        let h = d[i + 1];
        if h != 0.0 {
            (0..=i).for_each(|k| d[k] = v[k * n + i + 1] / h);
            for j in 0..=i {
                let g: f64 = (0..=i).map(|k| v[k * n + i + 1] * v[k * n + j]).sum();
                (0..=i).for_each(|k| v[k * n + j] -= g * d[k]);
            }
        }
        (0..=i).for_each(|k| v[k * n + i + 1] = 0.0);
    }
    for j in 0..n {
        d[j] = v[(n - 1) * n + j];
        v[(n - 1) * n + j] = 0.0;
    }
    v[n * n - 1] = 1.0;
    e[0] = 0.0;
}

fn implicit_ql(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize) {
    e.rotate_left(usize::from(n > 0));
    let (mut f, mut most) = (0.0f64, 0.0f64);
    for l in 0..n {
        most = most.max(d[l].abs() + e[l].abs());
        let m = (l..n - 1).find(|&m| e[m].abs() <= f64::EPSILON * most).unwrap_or(n - 1);
        if m > l {
            // More steps are never needed.
            for _ in 0..64 {
                let g = d[l];
                let mut p = (d[l + 1] - g) / (2.0 * e[l]);
                let r = if p < 0.0 { -p.hypot(1.0) } else { p.hypot(1.0) };
                d[l] = e[l] / (p + r);
                d[l + 1] = e[l] * (p + r);
                let dl1 = d[l + 1];
                let h = g - d[l];
                d[l + 2..n].iter_mut().for_each(|x| *x -= h);
                f += h;
                p = d[m];
                let (mut c, mut c2, mut c3) = (1.0, 1.0, 1.0);
                let el1 = e[l + 1];
                let (mut s, mut s2) = (0.0, 0.0);
                for i in (l..m).rev() {
                    c3 = c2;
                    c2 = c;
                    s2 = s;
                    let g = c * e[i];
                    let h = c * p;
                    let r = p.hypot(e[i]);
                    e[i + 1] = s * r;
                    s = e[i] / r;
                    c = p / r;
                    p = c * d[i] - s * g;
                    d[i + 1] = h + s * (c * g + s * d[i]);
                    for k in 0..n {
                        let h = v[k * n + i + 1];
                        v[k * n + i + 1] = s * v[k * n + i] + c * h;
                        v[k * n + i] = c * v[k * n + i] - s * h;
                    }
                }
                p = -s * s2 * c3 * el1 * e[l] / dl1;
                e[l] = s * p;
                d[l] = c * p;
                if e[l].abs() <= f64::EPSILON * most {
                    break;
                }
            }
        }
        d[l] += f;
        e[l] = 0.0;
    }
}

/// Singular values of a square matrix, greatest first, and the left vectors, one behind the other: rotations of its rows
/// until all are orthogonal (Hestenes, 1958), which keeps small values accurate.
pub(super) fn singular(mut rows: Vec<f64>, n: usize) -> Eigen {
    let mut left: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    for _ in 0..60 {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                let (a, b) = rows.split_at_mut(q * n);
                let (a, b) = (&mut a[p * n..(p + 1) * n], &mut b[..n]);
                let aa: f64 = a.iter().map(|x| x * x).sum();
                let bb: f64 = b.iter().map(|x| x * x).sum();
                let ab: f64 = a.iter().zip(&*b).map(|(x, y)| x * y).sum();
                if ab.abs() <= 1e-15 * aa.sqrt() * bb.sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let t = if zeta == 0.0 { 1.0 } else { t };
                let c = 1.0 / t.hypot(1.0);
                let s = c * t;
                let turn = |a: &mut [f64], b: &mut [f64]| {
                    for (x, y) in a.iter_mut().zip(b) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                };
                turn(a, b);
                let (a, b) = left.split_at_mut(q * n);
                turn(&mut a[p * n..(p + 1) * n], &mut b[..n]);
            }
        }
        if !turned {
            break;
        }
    }
    let sizes: Vec<f64> = rows.chunks_exact(n.max(1)).map(|r| r.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]));
    let vectors = order.iter().flat_map(|&i| left[i * n..(i + 1) * n].to_vec()).collect();
    Eigen { values: order.iter().map(|&i| sizes[i]).collect(), vectors }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric(n: usize) -> Vec<f64> {
        let at = |i: usize, j: usize| ((i * 7 + j * 7) % 13) as f64 + if i == j { (n - i) as f64 * 3.0 } else { 0.0 };
        (0..n * n).map(|k| at(k / n, k % n)).collect()
    }

    fn check(matrix: &[f64], n: usize, found: &Eigen) {
        let scale = found.values[0].abs();
        for (i, (value, v)) in found.values.iter().zip(found.vectors.chunks_exact(n)).enumerate() {
            for (r, row) in matrix.chunks_exact(n).enumerate() {
                let product: f64 = row.iter().zip(v).map(|(m, v)| m * v).sum();
                assert!((product - value * v[r]).abs() <= 1e-11 * scale, "{i} {r}");
            }
        }
        for (i, a) in found.vectors.chunks_exact(n).enumerate() {
            for (j, b) in found.vectors.chunks_exact(n).enumerate() {
                let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        assert!(found.values.windows(2).all(|w| w[0] >= w[1]));
    }

    #[test]
    fn vectors_are_turned_into_multiples_of_themselves() {
        for n in [1, 2, 3, 10, 40] {
            check(&symmetric(n), n, &greatest(&symmetric(n), n, n));
        }
        check(&[0.0; 25], 5, &greatest(&[0.0; 25], 5, 5));
        let n = 300;
        check(&symmetric(n), n, &greatest(&symmetric(n), n, 4));
    }

    #[test]
    fn small_singular_values_are_accurate() {
        let rows = vec![1.0, 1.0, 0.0, 1e-9];
        let found = singular(rows, 2);
        assert!((found.values[0] - 2f64.sqrt()).abs() < 1e-15);
        assert!((found.values[1] / (1e-9 / 2f64.sqrt()) - 1.0).abs() < 1e-9);
    }
}
