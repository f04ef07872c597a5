//! The one loop over the elements of panels. Operators give what they do with one element, and how two
//! states become one; the loop knows rows and columns, masks, and how many elements to take at a time.

use multiversion::multiversion;

use crate::dtype::Element;
use crate::error::Result;
use crate::reduce::fold::{Accumulator, Counts, Refusal, Values};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::{Scalar, put, take};

/// What an operator does with the elements of an output, one after another.
///
/// The state of an output is a pair of numbers, which lie in two arrays; `B` is `()` where one is enough.
pub(super) trait Tally {
    /// Type of the elements.
    type X: Element;
    /// First number of a state.
    type A: Scalar;
    /// Second number of a state.
    type B: Scalar;
    /// First of the numbers that an output lends to its steps; `()` mostly.
    type L: Copy;
    /// Second of them.
    type M: Copy;
    /// Whether elements may be joined in any order with the same result: some are before they meet the state.
    const ANY_ORDER: bool = false;
    /// Whether the elements of a row are dealt to [`N_LANES`] states, joined at its end, so that steps need
    /// not wait for each other. Their numbers are lost then.
    const LANES: bool = false;

    /// The state before any element.
    fn empty(&self) -> (Self::A, Self::B);

    /// The state once it has taken `x`, the panel's reduced element number `at`.
    fn step(&self, state: (Self::A, Self::B), x: Self::X, at: usize, lent: (Self::L, Self::M)) -> (Self::A, Self::B);

    /// The state of the elements of both.
    fn join(&self, state: (Self::A, Self::B), later: (Self::A, Self::B)) -> (Self::A, Self::B);
}

/// Implements [`Tally`] for tallies that need no more than the element: of which type, in which pair of numbers,
/// and which of the constants hold.
macro_rules! tally {
    (
        impl[$($generic:tt)*] $name:ty $(where $bounded:ty: $bound:path)?, of $x:ty, in ($a:ty, $b:ty)
        $(, $holds:ident)*;
        empty: $empty:expr;
        step: |$state:pat_param, $value:pat_param| $step:expr;
        join: |$one:pat_param, $later:pat_param| $join:expr;
    ) => {
        impl<$($generic)*> $crate::reduce::tally::Tally for $name $(where $bounded: $bound)? {
            type X = $x;
            type A = $a;
            type B = $b;
            type L = ();
            type M = ();
            $(const $holds: bool = true;)*

            #[inline(always)]
            fn empty(&self) -> ($a, $b) {
                $empty
            }

            #[inline(always)]
            fn step(&self, $state: ($a, $b), $value: $x, _: usize, _: ((), ())) -> ($a, $b) {
                $step
            }

            #[inline(always)]
            fn join(&self, $one: ($a, $b), $later: ($a, $b)) -> ($a, $b) {
                $join
            }
        }
    };
}
pub(super) use tally;

/// States of a row whose elements are dealt out; a power of two.
const N_LANES: usize = 128;

/// States of a row, or what is lent to them, where no vector lies across two cache lines.
#[repr(align(64))]
struct Lanes<A>([A; N_LANES]);

/// Takes all elements of `panel` that count into the states of its outputs, which lend `lent`.
pub(super) fn drive<T: Tally>(
    tally: &T,
    (a, b): (&mut [T::A], &mut [T::B]),
    (l, m): (&[T::L], &[T::M]),
    panel: &Panel<'_>,
) {
    match panel.along {
        Along::Columns => columns(tally, a, b, l, m, panel),
        Along::Rows => rows(tally, a, b, l, m, panel),
    }
}

/// Takes element number `at` of some outputs into their states.
///
/// The loop is counted, over slices of one length: zipped iterators leave a vector's worth of elements to be
/// taken one by one.
#[inline(always)]
fn across<T: Tally>(
    tally: &T,
    (a, b): (&mut [T::A], &mut [T::B]),
    (l, m): (&[T::L], &[T::M]),
    (values, mask): (&[T::X], Option<&[u8]>),
    at: usize,
) {
    let n = values.len();
    let (a, b, l, m) = (&mut a[..n], &mut b[..n], &l[..n], &m[..n]);
    match mask {
        None => {
            for i in 0..n {
                (a[i], b[i]) = tally.step((a[i], b[i]), values[i], at, (l[i], m[i]));
            }
        }
        Some(mask) => {
            let mask = &mask[..n];
            for i in 0..n {
                let next = tally.step((a[i], b[i]), values[i], at, (l[i], m[i]));
                (a[i], b[i]) = if mask[i] != 0 { next } else { (a[i], b[i]) };
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn columns<T: Tally>(tally: &T, a: &mut [T::A], b: &mut [T::B], l: &[T::L], m: &[T::M], panel: &Panel<'_>) {
    let n = panel.n_columns;
    let (a, b, l, m) = (&mut a[..n], &mut b[..n], &l[..n], &m[..n]);
    let mut row = 0;
    if T::ANY_ORDER && !panel.is_masked() {
        // Four rows at a time: the states pass through the registers a quarter as often.
        while row + 4 <= panel.n_rows {
            let [p, q, r, s] = [0, 1, 2, 3].map(|i| panel.row::<T::X>(row + i));
            let (p, q, r, s) = (&p[..n], &q[..n], &r[..n], &s[..n]);
            for i in 0..n {
                let one = |x| tally.step(tally.empty(), x, 0, (l[i], m[i]));
                let (p, q) = (one(p[i]), one(q[i]));
                let (r, s) = (one(r[i]), one(s[i]));
                (a[i], b[i]) = tally.join((a[i], b[i]), tally.join(tally.join(p, q), tally.join(r, s)));
            }
            row += 4;
        }
    }
    while row < panel.n_rows {
        across(tally, (a, b), (l, m), (panel.row::<T::X>(row), panel.mask_row(row)), row);
        row += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn rows<T: Tally>(tally: &T, a: &mut [T::A], b: &mut [T::B], l: &[T::L], m: &[T::M], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let (values, mask, lent) = (panel.row::<T::X>(row), panel.mask_row(row), (l[row], m[row]));
        let mut state = (a[row], b[row]);
        if T::LANES {
            state = tally.join(state, dealt(tally, values, mask, lent));
        } else if let Some(mask) = mask {
            for (at, (&x, &m)) in values.iter().zip(mask).enumerate() {
                let next = tally.step(state, x, at, lent);
                state = if m != 0 { next } else { state };
            }
        } else {
            for (at, &x) in values.iter().enumerate() {
                state = tally.step(state, x, at, lent);
            }
        }
        (a[row], b[row]) = state;
    }
}

/// The state of the elements of a row, dealt to states that are joined in pairs.
#[inline(always)]
fn dealt<T: Tally>(tally: &T, values: &[T::X], mask: Option<&[u8]>, (l, m): (T::L, T::M)) -> (T::A, T::B) {
    let (Lanes(l), Lanes(m)) = (&Lanes([l; N_LANES]), &Lanes([m; N_LANES]));
    let (a, b) = tally.empty();
    let (Lanes(a), Lanes(b)) = (&mut Lanes([a; N_LANES]), &mut Lanes([b; N_LANES]));
    for (part, values) in values.chunks(N_LANES).enumerate() {
        let mask = mask.map(|mask| &mask[part * N_LANES..]);
        across(tally, (a, b), (l, m), (values, mask), 0);
    }
    let mut n = N_LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            (a[i], b[i]) = tally.join((a[i], b[i]), (a[i + n], b[i + n]));
        }
    }
    (a[0], b[0])
}

/// The states of some outputs, in two arrays.
pub(super) struct Columns<A, B> {
    pub(super) a: Vec<A>,
    pub(super) b: Vec<B>,
}

impl<A: Scalar, B: Scalar> Columns<A, B> {
    /// `n` states that are all `state`.
    pub(super) fn new(state: (A, B), n: usize) -> Self {
        Self { a: vec![state.0; n], b: vec![state.1; n] }
    }

    /// Makes them `n` states that are all `state`.
    pub(super) fn reset(&mut self, state: (A, B), n: usize) {
        self.a.clear();
        self.b.clear();
        self.a.resize(n, state.0);
        self.b.resize(n, state.1);
    }

    /// Number of outputs.
    pub(super) fn len(&self) -> usize {
        self.a.len()
    }

    /// Whether there is no output.
    pub(super) fn is_empty(&self) -> bool {
        self.a.is_empty()
    }

    /// The state of output `i`.
    pub(super) fn of(&self, i: usize) -> (A, B) {
        (self.a[i], self.b[i])
    }

    /// All states, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, B)> + '_ {
        self.a.iter().copied().zip(self.b.iter().copied())
    }

    /// Takes all elements of `panel` that count.
    pub(super) fn drive<T: Tally<A = A, B = B, L = (), M = ()>>(&mut self, tally: &T, panel: &Panel<'_>) {
        let outputs = panel.outputs();
        let units = vec![(); outputs.len()];
        drive(tally, (&mut self.a[outputs.clone()], &mut self.b[outputs]), (&units, &units), panel);
    }

    /// Appends all states to `out`.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put(out, &self.a);
        put(out, &self.b);
    }

    /// Takes as many states off `bytes`.
    pub(super) fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        take(bytes, &mut self.a)?;
        take(bytes, &mut self.b)
    }
}

/// What a [`Tally`] comes to.
pub(super) trait Total: Tally<L = (), M = ()> + Clone + Send + Sync + 'static {
    /// The results, in the order of the outputs.
    fn total(&self, states: &Columns<Self::A, Self::B>, counts: &Counts) -> Result<Values, Refusal>;
}

/// Accumulators that are a [`Tally`]'s states and nothing else.
pub(super) struct Tallied<T: Total> {
    tally: T,
    states: Columns<T::A, T::B>,
}

impl<T: Total> Tallied<T> {
    /// For `n` outputs.
    pub(super) fn new(tally: T, n: usize) -> Self {
        let states = Columns::new(tally.empty(), n);
        Self { tally, states }
    }
}

impl<T: Total> Accumulator for Tallied<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        self.states.drive(&self.tally, panel);
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        for ((a, b), later) in self.states.a.iter_mut().zip(&mut self.states.b).zip(later.states.iter()) {
            (*a, *b) = self.tally.join((*a, *b), later);
        }
        Ok(())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        self.tally.total(&self.states, counts)
    }

    fn fork(&self) -> Self {
        Self::new(self.tally.clone(), self.states.len())
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.states.save(out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.states.restore(bytes)
    }
}
