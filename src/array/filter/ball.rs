//! The background as a ball sees it that rolls below the surface of the values.
//!
//! Source: Sternberg, Biomedical image processing, 1983; kernel and edges as in scikit-image.

use multiversion::multiversion;

use super::{Near, Reach};

/// The least of a box whose elements are raised as a ball of `radius` elements falls away below them.
pub fn ball(reach: Reach, radius: f64) -> Near {
    let fall = move |apart: &[f64]| {
        let square: f64 = apart.iter().map(|x| x * x).sum();
        (square <= radius * radius).then(|| radius - (radius * radius - square).sqrt())
    };
    let lines = "double r = INFINITY; for (int i = 0; i < N; i++) { double x = AT(i) + w[i]; r = x < r ? x : r; }";
    Near::new(reach, fall, lines.into(), |falls, _, source, least| {
        least.fill(f64::INFINITY);
        falls.iter().for_each(|&(offset, fall)| lower(least, &source[offset..], fall));
    })
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn lower(least: &mut [f64], source: &[f64], fall: f64) {
    let n = least.len();
    let source = &source[..n];
    (0..n).for_each(|i| {
        let x = source[i] + fall;
        least[i] = if x < least[i] { x } else { least[i] };
    });
}
