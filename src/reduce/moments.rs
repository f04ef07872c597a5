//! Second moments: var and std.
//!
//! Integers of up to 32 bits: the exact sum and sum of squares ([`exact`](super::exact)), and one rounded quotient of
//! integers, so that nothing cancels however bright and flat the data. Everything else: means and sums of squared
//! deviations of panels, merged in order, of the differences to each output's first element, so that brightness does
//! not matter there either. Source: Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983,
//! formulas 1.7 (corrected two-pass) and 2.1 (merging), and shifting as in section 3; relative error about n 2^-53
//! kappa at worst, kappa being the root of one plus the squared mean of the differences over the variance.

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::exact::{Exact, Goal, Squared};
use crate::reduce::fold::{Counts, Fold, Results, count};
use crate::reduce::lines::KernelLines;
use crate::reduce::number::Real;
use crate::reduce::operator::{Operator, Subject};
use crate::reduce::panel::Panel;
use crate::reduce::tally::{Columns, DEALT, SavedColumns, drive, kept, tally};
use crate::with_class;

/// The variance, or its root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) root: bool,
    pub(super) ddof: u64,
}

impl Operator for Moments {
    fn dtype(&self, input: &Subject) -> Result<DType> {
        Ok(if input.dtype.is_float() { input.dtype } else { DType::Float64 })
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        match input.dtype {
            d if d.is_float() || d.size() == 8 => 16 + d.size() as u64,
            d if d.size() == 4 => 24 + if input.n_reduced < 1 << 31 { 0 } else { 32 },
            _ => 12 + if input.n_reduced < 1 << 15 { 0 } else { 32 },
        }
    }

    fn in_any_order(&self, input: &Subject) -> bool {
        !input.dtype.is_float() && input.dtype.size() < 8
    }

    fn lines(&self, input: &Subject) -> Option<KernelLines> {
        // What 64 bits hold, floats may not.
        if input.dtype.is_complex() || input.dtype.is_integer() && input.dtype.size() == 8 {
            return None;
        }
        let (root, ddof) = (if self.root { "sqrt" } else { "" }, self.ddof);
        let text = format!(
            "const double first = AT(0); double m = 0, q = 0, e = 0;\n\
             for (int i = 0; i < N; i++) m += AT(i) - first;\nm /= N;\n\
             for (int i = 0; i < N; i++) {{ const double d = AT(i) - first - m; q += d * d; e += d; }}\n\
             q -= e * e / N;\n\
             const double r = N > {ddof} ? {root}((q < 0 ? 0 : q) / (N - (double){ddof})) : NAN;"
        );
        Some(KernelLines::new("double", text))
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let Self { root, ddof } = *self;
        with_class!(
            input.dtype,
            int T => if size_of::<T>() == 8 {
                float_moments::<T>(*self, n)
            } else {
                Exact::<Squared<T>>::start(Goal::Variance { root, ddof }, n)
            },
            float T => float_moments::<T>(*self, n),
            complex T => unreachable!("moments are not defined for complex numbers")
        )
    }
}

/// Numbers of elements, with their mean and the sum of squared deviations from it.
type Moment = (f64, [f64; 2]);

/// The mean and squared deviations of two samples together.
#[inline(always)]
fn merged((n_a, [mean_a, dev_a]): Moment, (n_b, [mean_b, dev_b]): Moment) -> [f64; 2] {
    // With nothing on one side the other side stands as it is, infinities included.
    if n_b == 0.0 {
        return [mean_a, dev_a];
    }
    if n_a == 0.0 {
        return [mean_b, dev_b];
    }
    let (delta, share) = (mean_b - mean_a, n_b / (n_a + n_b));
    [mean_a + delta * share, dev_a + dev_b + delta * delta * (n_a * share)]
}

/// Means and sums of squared deviations of differences to the first element, and that element.
type States<T> = Columns<[f64; 2], T>;

fn float_moments<T: Real>(Moments { root, ddof }: Moments, n: usize) -> Box<dyn Fold> {
    kept(Columns::new(([0.0; 2], T::default()), n), take, join, move |states: &States<T>, counts| {
        let value = |(i, &[_, dev]): (usize, &[f64; 2])| match counts.of(i) {
            n if n <= ddof => f64::NAN,
            n if root => (dev / (n - ddof) as f64).sqrt(),
            n => dev / (n - ddof) as f64,
        };
        Ok(Results::Float(states.a.iter().enumerate().map(value).collect()))
    })
}

fn take<T: Real>(states: &mut States<T>, panel: &Panel<'_>, counts: &Counts) {
    let (outputs, n) = (panel.outputs(), panel.n_outputs());
    let before = |i: usize| match counts {
        Counts::All(_) => panel.before + panel.first,
        Counts::Each(each, _) => each[panel.at + i],
    };
    let firsts = &mut states.b[outputs.clone()];
    for (i, first) in firsts.iter_mut().enumerate().filter(|(i, _)| before(*i) == 0) {
        *first = panel.output(i).next().unwrap_or_default();
    }
    let mut numbers = vec![0; n];
    count(&mut numbers, panel);
    let (mut means, units) = (vec![0.0; n], vec![(); n]);
    // Sums of the differences to the first elements.
    let differences = tally(
        DEALT,
        (0.0, ()),
        |(sum, ()), x: T, _, (first, ()): (T, ())| (sum + x.minus(first), ()),
        |(sum, ()), (later, ())| (sum + later, ()),
    );
    drive(&differences, (&mut means, &mut units.clone()), (firsts, &units), panel);
    for (mean, &n) in means.iter_mut().zip(&numbers) {
        *mean = if n > 0 { *mean / n as f64 } else { 0.0 };
    }
    // Sums of the squares of deviations from the mean difference, and of the deviations.
    let deviations = tally(
        DEALT,
        (0.0, 0.0),
        |(squares, rest), x: T, _, (first, mean): (T, f64)| {
            let d = x.minus(first) - mean;
            (squares + d * d, rest + d)
        },
        |(squares, rest), later| (squares + later.0, rest + later.1),
    );
    let (mut squares, mut rests) = (vec![0.0; n], vec![0.0; n]);
    drive(&deviations, (&mut squares, &mut rests), (firsts, &means), panel);
    for (i, state) in states.a[outputs].iter_mut().enumerate() {
        let n = numbers[i] as f64;
        // The sum of deviations would be zero but for rounding of the mean; its square corrects for that.
        let square = squares[i] - if n > 0.0 { rests[i] * rests[i] / n } else { 0.0 };
        *state = merged((before(i) as f64, *state), (n, [means[i], square]));
    }
}

fn join<T: Real>(states: &mut States<T>, later: &SavedColumns<'_, [f64; 2], T>, (mine, theirs): (&Counts, &Counts)) {
    for i in 0..states.len() {
        let (n_a, n_b) = (mine.of(i) as f64, theirs.of(i) as f64);
        let ((state, first), ([mean, dev], later_first)) = (states.of(i), later.of(i));
        // Both means count from one first element.
        let first = if n_a == 0.0 { later_first } else { first };
        let shift = if n_b == 0.0 { 0.0 } else { later_first.minus(first) };
        states.set(i, (merged((n_a, state), (n_b, [mean + shift, dev])), first));
    }
}
