//! The one loop over the elements of panels. Operators give what they do with one element, and how two
//! states become one; the loop knows rows and columns, masks, and how many elements to take at a time.

use std::marker::PhantomData;

use multiversion::multiversion;

use crate::dtype::Element;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::{SavedNumbers, Scalar, Tape};

/// What an operator does with the elements of an output, one after another; [`tally`] makes one.
///
/// The state of an output is a pair of numbers, which lie in two arrays; `B` is `()` where one is enough.
pub(super) trait Tally {
    /// Type of the elements.
    type X: Element;
    /// First number of a state.
    type A: Scalar;
    /// Second number of a state.
    type B: Scalar;
    /// First and second of the numbers that an output lends to its steps; `()` mostly.
    type L: Copy;
    type M: Copy;
    /// Number of the order that elements are taken in.
    const ORDER: u8;

    /// The state before any element.
    fn empty(&self) -> (Self::A, Self::B);

    /// The state once it has taken `x`, the panel's reduced element number `at`.
    fn step(&self, state: (Self::A, Self::B), x: Self::X, at: usize, lent: (Self::L, Self::M)) -> (Self::A, Self::B);

    /// The state of the elements of both.
    fn join(&self, state: (Self::A, Self::B), later: (Self::A, Self::B)) -> (Self::A, Self::B);
}

/// In which order the elements of an output are taken.
pub(super) struct ElementOrder<const N: u8>;

const ANY: u8 = 1;
const DEAL: u8 = 2;

/// One after another.
pub(super) const IN_TURN: ElementOrder<0> = ElementOrder;

/// Any, which has the same result: some elements are joined before they meet the state.
pub(super) const ANY_ORDER: ElementOrder<ANY> = ElementOrder;

/// The elements of a row are dealt to [`N_LANES`] states, joined at its end, so that steps need not wait for each
/// other. Their numbers are lost then.
pub(super) const DEALT: ElementOrder<DEAL> = ElementOrder;

/// A tally of two functions.
#[derive(Clone, Copy)]
struct Closures<S, J, A, B, Lent, const N: u8> {
    empty: (A, B),
    step: S,
    join: J,
    of: PhantomData<fn(Lent)>,
}

impl<X, A, B, L, M, S, J, const N: u8> Tally for Closures<S, J, A, B, (X, L, M), N>
where
    X: Element,
    A: Scalar,
    B: Scalar,
    L: Copy,
    M: Copy,
    S: Fn((A, B), X, usize, (L, M)) -> (A, B),
    J: Fn((A, B), (A, B)) -> (A, B),
{
    type X = X;
    type A = A;
    type B = B;
    type L = L;
    type M = M;
    const ORDER: u8 = N;

    #[inline(always)]
    fn empty(&self) -> (A, B) {
        self.empty
    }

    #[inline(always)]
    fn step(&self, state: (A, B), x: X, at: usize, lent: (L, M)) -> (A, B) {
        (self.step)(state, x, at, lent)
    }

    #[inline(always)]
    fn join(&self, state: (A, B), later: (A, B)) -> (A, B) {
        (self.join)(state, later)
    }
}

/// A tally that starts with `empty`, takes each element with `step`, and puts states together with `join`.
pub(super) fn tally<X: Element, A: Scalar, B: Scalar, L: Copy, M: Copy, const N: u8>(
    _: ElementOrder<N>,
    empty: (A, B),
    step: impl Fn((A, B), X, usize, (L, M)) -> (A, B) + Copy,
    join: impl Fn((A, B), (A, B)) -> (A, B) + Copy,
) -> impl Tally<X = X, A = A, B = B, L = L, M = M> + Copy {
    Closures::<_, _, _, _, (X, L, M), N> { empty, step, join, of: PhantomData }
}

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
    if T::ORDER == ANY && !panel.is_masked() {
        // Four rows at a time: the states pass through the registers a quarter as often.
        while row + 4 <= panel.n_rows {
            let (p, q) = (&panel.row::<T::X>(row)[..n], &panel.row::<T::X>(row + 1)[..n]);
            let (r, s) = (&panel.row::<T::X>(row + 2)[..n], &panel.row::<T::X>(row + 3)[..n]);
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
        if T::ORDER == DEAL {
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

    /// Number of outputs.
    pub(super) fn len(&self) -> usize {
        self.a.len()
    }

    /// The state of output `i`.
    pub(super) fn of(&self, i: usize) -> (A, B) {
        (self.a[i], self.b[i])
    }

    /// Makes `state` that of output `i`.
    pub(super) fn set(&mut self, i: usize, state: (A, B)) {
        (self.a[i], self.b[i]) = state;
    }

    /// All states, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, B)> + '_ {
        self.a.iter().copied().zip(self.b.iter().copied())
    }

    /// What `f` makes of every state.
    pub(super) fn map<V: Copy + Default>(&self, f: impl Fn(A, B) -> V) -> Vec<V> {
        map(&self.a, &self.b, f)
    }

    /// Takes all elements of `panel` that count.
    pub(super) fn drive(&mut self, tally: &impl Tally<A = A, B = B, L = (), M = ()>, panel: &Panel<'_>) {
        let outputs = panel.outputs();
        let units = vec![(); outputs.len()];
        drive(tally, (&mut self.a[outputs.clone()], &mut self.b[outputs]), (&units, &units), panel);
    }

    /// Takes the states of as many others, each with `join`.
    pub(super) fn join(&mut self, later: &SavedColumns<'_, A, B>, join: impl Fn((A, B), (A, B)) -> (A, B)) {
        for i in 0..self.len() {
            self.set(i, join(self.of(i), later.of(i)));
        }
    }

    /// Passes all states.
    pub(super) fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        tape.all(&mut self.a)?;
        tape.all(&mut self.b)
    }
}

/// The states of as many outputs as they were saved.
pub(super) struct SavedColumns<'a, A, B> {
    a: SavedNumbers<'a, A>,
    b: SavedNumbers<'a, B>,
    n: usize,
}

impl<'a, A: Scalar, B: Scalar> SavedColumns<'a, A, B> {
    /// The next `n` of what is read.
    pub(super) fn next(tape: &mut Tape<'a>, n: usize) -> Result<Self> {
        Ok(Self { a: tape.next(n)?, b: tape.next(n)?, n })
    }

    /// The state of output `i`.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> (A, B) {
        (self.a.of(i), self.b.of(i))
    }

    /// All states, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, B)> + '_ {
        (0..self.n).map(|i| self.of(i))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn map<A: Copy, B: Copy, V: Copy + Default>(a: &[A], b: &[B], f: impl Fn(A, B) -> V) -> Vec<V> {
    let mut values = Vec::with_capacity(a.len());
    // Zeros that are written over would pass through memory once more: what is made in cache is copied there.
    let mut made = [V::default(); 4 * N_LANES];
    for (a, b) in a.chunks(made.len()).zip(b.chunks(made.len())) {
        a.iter().zip(b).zip(&mut made).for_each(|((&a, &b), value)| *value = f(a, b));
        values.extend_from_slice(&made[..a.len()]);
    }
    values
}

/// Accumulators that are the states of outputs, or of entries of them, and nothing else.
struct Accumulators<A, B, F, J, E> {
    states: Columns<A, B>,
    take: F,
    join: J,
    end: E,
}

impl<A, B, F, J, E> Fold for Accumulators<A, B, F, J, E>
where
    A: Scalar,
    B: Scalar,
    F: Fn(&mut Columns<A, B>, &Panel<'_>, &Counts) + Send + Sync + 'static,
    J: Fn(&mut Columns<A, B>, &SavedColumns<'_, A, B>, (&Counts, &Counts)) + Send + Sync + 'static,
    E: Fn(&Columns<A, B>, &Counts) -> Result<Results, Refusal> + Send + Sync + 'static,
{
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) {
        (self.take)(&mut self.states, panel, counts);
    }

    fn join(&mut self, later: &mut Tape<'_>, counts: (&Counts, &Counts)) -> Result<()> {
        let later = SavedColumns::next(later, self.states.len())?;
        (self.join)(&mut self.states, &later, counts);
        Ok(())
    }

    fn finish(self: Box<Self>, counts: &Counts) -> Result<Results, Refusal> {
        (self.end)(&self.states, counts)
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        self.states.pass(tape)
    }
}

/// Accumulators that are `states`: `take` takes a panel into them, `join` those of a later one, and `end` makes
/// results of them.
pub(super) fn kept<A: Scalar, B: Scalar>(
    states: Columns<A, B>,
    take: impl Fn(&mut Columns<A, B>, &Panel<'_>, &Counts) + Send + Sync + 'static,
    join: impl Fn(&mut Columns<A, B>, &SavedColumns<'_, A, B>, (&Counts, &Counts)) + Send + Sync + 'static,
    end: impl Fn(&Columns<A, B>, &Counts) -> Result<Results, Refusal> + Send + Sync + 'static,
) -> Box<dyn Fold> {
    Box::new(Accumulators { states, take, join, end })
}

/// Accumulators for `n` outputs that are the states of `tally`, of which `end` makes results.
pub(super) fn tallied<T: Tally<L = (), M = ()> + Copy + Send + Sync + 'static>(
    n: usize,
    tally: T,
    end: impl Fn(&Columns<T::A, T::B>, &Counts) -> Result<Results, Refusal> + Send + Sync + 'static,
) -> Box<dyn Fold> {
    kept(
        Columns::new(tally.empty(), n),
        move |states, panel, _| states.drive(&tally, panel),
        move |states, later, _| states.join(later, |state, later| tally.join(state, later)),
        end,
    )
}
