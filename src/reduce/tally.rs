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
    /// What an output lends to its steps besides; `()` mostly.
    type Lent: Copy;
    /// Whether elements may be joined in any order with the same result: some are before they meet the state.
    const ANY_ORDER: bool = false;
    /// Whether the elements of a row are dealt to [`N_LANES`] states, joined at its end, so that steps need
    /// not wait for each other.
    const LANES: bool = false;

    /// The state before any element.
    fn empty(&self) -> (Self::A, Self::B);

    /// The state once it has taken `x`, the panel's reduced element number `at`.
    fn step(&self, state: (Self::A, Self::B), x: Self::X, at: usize, lent: Self::Lent) -> (Self::A, Self::B);

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
            type Lent = ();
            $(const $holds: bool = true;)*

            #[inline(always)]
            fn empty(&self) -> ($a, $b) {
                $empty
            }

            #[inline(always)]
            fn step(&self, $state: ($a, $b), $value: $x, _: usize, (): ()) -> ($a, $b) {
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

/// States of a row whose elements are dealt out.
const N_LANES: usize = 16;

/// Takes all elements of `panel` that count into the states `a` and `b` of its outputs.
pub(super) fn drive<T: Tally>(
    tally: &T,
    (a, b): (&mut [T::A], &mut [T::B]),
    lent: impl Iterator<Item = T::Lent> + Clone,
    panel: &Panel<'_>,
) {
    match panel.along {
        Along::Columns => columns(tally, a, b, lent, panel),
        Along::Rows => rows(tally, a, b, lent, panel),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn columns<T: Tally, L: Iterator<Item = T::Lent> + Clone>(
    tally: &T,
    a: &mut [T::A],
    b: &mut [T::B],
    lent: L,
    panel: &Panel<'_>,
) {
    let mut row = 0;
    if T::ANY_ORDER && !panel.is_masked() {
        let one = |x, lent| tally.step(tally.empty(), x, 0, lent);
        // Four rows at a time: the states pass through the registers a quarter as often.
        while row + 4 <= panel.n_rows {
            let [p, q, r, s] = [0, 1, 2, 3].map(|i| panel.row::<T::X>(row + i));
            let states = a.iter_mut().zip(b.iter_mut()).zip(lent.clone());
            for ((((((a, b), lent), &p), &q), &r), &s) in states.zip(p).zip(q).zip(r).zip(s) {
                let (p, q) = (one(p, lent), one(q, lent));
                let (r, s) = (one(r, lent), one(s, lent));
                (*a, *b) = tally.join((*a, *b), tally.join(tally.join(p, q), tally.join(r, s)));
            }
            row += 4;
        }
    }
    while row < panel.n_rows {
        let states = a.iter_mut().zip(b.iter_mut()).zip(lent.clone()).zip(panel.row::<T::X>(row));
        match panel.mask_row(row) {
            None => {
                for (((a, b), lent), &x) in states {
                    (*a, *b) = tally.step((*a, *b), x, row, lent);
                }
            }
            Some(mask) => {
                for ((((a, b), lent), &x), &m) in states.zip(mask) {
                    let next = tally.step((*a, *b), x, row, lent);
                    (*a, *b) = if m != 0 { next } else { (*a, *b) };
                }
            }
        }
        row += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn rows<T: Tally, L: Iterator<Item = T::Lent> + Clone>(
    tally: &T,
    a: &mut [T::A],
    b: &mut [T::B],
    lent: L,
    panel: &Panel<'_>,
) {
    for (row, ((a, b), lent)) in a.iter_mut().zip(b).zip(lent).enumerate() {
        let (values, mask) = (panel.row::<T::X>(row), panel.mask_row(row));
        if T::LANES {
            let empty = tally.empty();
            let (mut lanes_a, mut lanes_b) = ([empty.0; N_LANES], [empty.1; N_LANES]);
            for (part, values) in values.chunks(N_LANES).enumerate() {
                let at = part * N_LANES;
                if let (Ok(values), None) = (<&[T::X; N_LANES]>::try_from(values), mask) {
                    for i in 0..N_LANES {
                        (lanes_a[i], lanes_b[i]) = tally.step((lanes_a[i], lanes_b[i]), values[i], at + i, lent);
                    }
                    continue;
                }
                let mask = mask.map_or(&[1; N_LANES][..], |mask| &mask[at..]);
                for (i, (&x, &m)) in values.iter().zip(mask).enumerate() {
                    let next = tally.step((lanes_a[i], lanes_b[i]), x, at + i, lent);
                    (lanes_a[i], lanes_b[i]) = if m != 0 { next } else { (lanes_a[i], lanes_b[i]) };
                }
            }
            for later in lanes_a.into_iter().zip(lanes_b) {
                (*a, *b) = tally.join((*a, *b), later);
            }
            continue;
        }
        let mut state = (*a, *b);
        match mask {
            None => {
                for (at, &x) in values.iter().enumerate() {
                    state = tally.step(state, x, at, lent);
                }
            }
            Some(mask) => {
                for (at, (&x, &m)) in values.iter().zip(mask).enumerate() {
                    let next = tally.step(state, x, at, lent);
                    state = if m != 0 { next } else { state };
                }
            }
        }
        (*a, *b) = state;
    }
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
    pub(super) fn drive<T: Tally<A = A, B = B, Lent = ()>>(&mut self, tally: &T, panel: &Panel<'_>) {
        let outputs = panel.outputs();
        let lent = vec![(); outputs.len()];
        drive(tally, (&mut self.a[outputs.clone()], &mut self.b[outputs]), lent.iter().copied(), panel);
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
pub(super) trait Total: Tally<Lent = ()> + Clone + Send + Sync + 'static {
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
