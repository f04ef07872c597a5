//! histogram: numbers of elements in bins.

use crate::array::kernel::double;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::fold::{Counts, Fold, Results};
use crate::reduce::lines::KernelLines;
use crate::reduce::number::{Integer, Real, with_real};
use crate::reduce::operator::{Operator, OwnAxis, Subject};
use crate::reduce::panel::Panel;
use crate::reduce::tally::{Columns, kept};

/// Most bins.
const MOST: u64 = 1 << 20;

/// Equal bins of a range.
#[derive(Clone, Copy, Debug)]
struct Bins {
    n: u64,
    low: f64,
    high: f64,
}

fn parse_bins(text: &str) -> Result<Bins> {
    let fault = || {
        Error::usage(format!(
            "histogram={text}: expected BINS:LOW:HIGH, at most {MOST} bins from LOW to a higher HIGH, \
             as in histogram=100:0:4096"
        ))
    };
    let [n, low, high] = text.split(':').collect::<Vec<_>>()[..] else { return Err(fault()) };
    let edge = |text: &str| text.parse::<f64>().map_err(|_| fault());
    let bins = Bins { n: n.parse().map_err(|_| fault())?, low: edge(low)?, high: edge(high)? };
    let good = (1..=MOST).contains(&bins.n) && bins.low < bins.high && (bins.high - bins.low).is_finite();
    if good { Ok(bins) } else { Err(fault()) }
}

impl Bins {
    /// Lower edge of bin `i`, or the upper one of the last, as `numpy.linspace` has it.
    fn edge(&self, i: u64) -> f64 {
        if i == self.n { self.high } else { i as f64 * ((self.high - self.low) / self.n as f64) + self.low }
    }

    /// The bin of `x`. Rounding may put it beside the right one by one, which comparing with edges mends.
    fn of(&self, x: f64) -> Option<usize> {
        if !(self.low <= x && x <= self.high) {
            return None;
        }
        let last = self.n - 1;
        let mut bin = (((x - self.low) / (self.high - self.low) * self.n as f64) as u64).min(last);
        if x < self.edge(bin) {
            bin = bin.saturating_sub(1);
        } else if bin < last && x >= self.edge(bin + 1) {
            bin += 1;
        }
        Some(bin as usize)
    }
}

/// Equal bins, or one for each value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Histogram {
    bins: Option<Bins>,
}

impl Histogram {
    /// The bins that `argument` says.
    pub(super) fn parse(argument: Option<&str>) -> Result<Self> {
        Ok(Self { bins: argument.map(parse_bins).transpose()? })
    }

    fn n_bins(&self, input: &Subject) -> u64 {
        match (self.bins, input.dtype) {
            (Some(bins), _) => bins.n,
            (None, DType::Bool) => 2,
            (None, dtype) => 1 << (dtype.size() * 8).min(16),
        }
    }
}

impl Operator for Histogram {
    fn argument(&self) -> Option<String> {
        self.bins.map(|b| format!("{}:{}:{}", b.n, b.low, b.high))
    }

    fn dtype(&self, input: &Subject) -> Result<DType> {
        let dtype = input.dtype;
        if self.bins.is_none() && (dtype.is_float() || dtype.size() > 2) {
            return Err(Error::usage(format!(
                "histogram: {dtype} has too many values for a bin each: say how many bins and from where to \
                 where, as in histogram=100:0:4096"
            )));
        }
        Ok(DType::Int64)
    }

    fn own_axis(&self, input: &Subject) -> Result<Option<OwnAxis>> {
        let n = self.n_bins(input);
        let coordinates = match self.bins {
            Some(bins) => (0..n).map(|i| bins.edge(i)).collect(),
            None => {
                let least = if input.dtype.is_signed() { -(n as f64) / 2.0 } else { 0.0 };
                (0..n).map(|i| least + i as f64).collect()
            }
        };
        Ok(Some(("bin", coordinates)))
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        8 * self.n_bins(input)
    }

    fn in_any_order(&self, _: &Subject) -> bool {
        true
    }

    fn lines(&self, input: &Subject) -> Option<KernelLines> {
        let last = self.n_bins(input) - 1;
        let count = match self.bins {
            None => {
                let least = if input.dtype.is_signed() { last.div_ceil(2) } else { 0 };
                format!("OUT(min(x + {least}, {last}L)) += 1;")
            }
            Some(Bins { n, low, high }) => format!(
                "if (x < {low} || x > {high} || x != x) continue;\n\
                 long b = min((long)((x - {low}) / ({high} - {low}) * {n}), {last}L);\n\
                 if (x < EDGE(b)) b = max(b - 1, 0L); else if (b < {last} && x >= EDGE(b + 1)) b++;\nOUT(b) += 1;\n",
                low = double(low),
                high = double(high)
            ),
        };
        let edge = self.bins.map_or(String::new(), |Bins { n, low, high }| {
            let width = double((high - low) / n as f64);
            format!("#define EDGE(b) ((b) == {n} ? {} : (double)(b) * {width} + {})\n", double(high), double(low))
        });
        let of = if self.bins.is_some() { "double" } else { "long" };
        let text = format!(
            "{edge}for (int b = 0; b <= {last}; b++) OUT(b) = 0;\n\
             for (int i = 0; i < N; i++) {{ const {of} x = AT(i);\n{count} }}"
        );
        Some(KernelLines::new(of, text))
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let n_bins = self.n_bins(input) as usize;
        with_real!(input.dtype, T => counted::<T>(self.bins, n_bins, n))
    }
}

/// Numbers of elements: bin `b` of output `i` at `i * n_bins + b`.
fn counted<T: Real>(bins: Option<Bins>, n_bins: usize, n: usize) -> Box<dyn Fold> {
    let take = move |counts: &mut Columns<u64, ()>, panel: &Panel<'_>, _: &Counts| match bins {
        None => panel.each::<T>(|i, _, x| {
            // A boolean stored as another number than 0 or 1 counts as true.
            let bin = (x.key().bits() as usize).min(n_bins - 1);
            counts.a[i * n_bins + bin] += 1;
        }),
        Some(bins) => panel.each::<T>(|i, _, x| {
            if let Some(bin) = bins.of(x.f64()) {
                counts.a[i * n_bins + bin] += 1;
            }
        }),
    };
    kept(
        Columns::new((0, ()), n_bins * n),
        take,
        |counts, later, _| counts.join(later, |a, b| (a.0 + b.0, ())),
        move |counts, _| {
            let of_bin = |b| counts.a.iter().skip(b).step_by(n_bins).map(|&n| i128::from(n));
            Ok(Results::Int((0..n_bins).flat_map(of_bin).collect()))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_between_their_edges() {
        let bins = parse_bins("7:-0.3:1.1").unwrap();
        for i in 0..=1400 {
            let x = -0.3 + f64::from(i) / 1000.0;
            let Some(bin) = bins.of(x) else {
                assert!(x > 1.1);
                continue;
            };
            let bin = bin as u64;
            assert!(bins.edge(bin) <= x && (x < bins.edge(bin + 1) || bin == 6), "{x} in {bin}");
        }
        assert_eq!(bins.of(1.1), Some(6));
        assert_eq!(bins.of(f64::NAN), None);
        for bad in ["", "0:0:1", "3:1:1", "3:0", "3:0:1:2", "3:nan:1", "3:-inf:inf", "x:0:1"] {
            assert!(parse_bins(bad).is_err(), "{bad}");
        }
    }
}
