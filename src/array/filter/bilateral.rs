//! Means of neighbours that weigh less the farther away they are and the more they differ: edges stay.
//!
//! Source: Tomasi and Manduchi, Bilateral filtering for gray and color images, 1998.

use super::{Near, Reach};
use crate::array::kernel::double;

/// Gaussian weights by distance, of deviations along each axis in elements (0 leaves it alone), and by difference of values,
/// of deviation `range`.
pub fn bilateral(reach: Reach, sigmas: &[f64], range: f64) -> Near {
    let weight = |apart: &[f64]| {
        let along = |(x, s): (&f64, &f64)| if *s > 0.0 { (x / s).powi(2) } else { 0.0 };
        Some((-0.5 * apart.iter().zip(sigmas).map(along).sum::<f64>()).exp())
    };
    let factor = -0.5 / (range * range);
    let lines = format!(
        "const double own = AT(MIDDLE), f = {}; double sum = 0, all = 0;\n\
         for (int i = 0; i < N; i++) {{ double x = AT(i), v = w[i] * exp(f * (x - own) * (x - own)); sum += v * x; all += v; }}\n\
         const double r = sum / all;",
        double(factor)
    );
    Near::new(reach, weight, lines, move |near, middle, source, means| {
        for (i, mean) in means.iter_mut().enumerate() {
            let own = source[i + middle];
            let (mut sum, mut weights) = (0.0, 0.0);
            for &(offset, weight) in near {
                let x = source[i + offset];
                let weight = weight * (factor * (x - own) * (x - own)).exp();
                sum += weight * x;
                weights += weight;
            }
            *mean = sum / weights;
        }
    })
}
