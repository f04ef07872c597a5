//! Loops over slices, compiled for several processors: conversions, and every operation in every machine type.

use half::f16;
use multiversion::multiversion;

use super::operation::Operation;
use crate::dtype::DType;

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn map1<T: Copy, R, F: Fn(T) -> R>(a: &[T], out: &mut [R], f: F) {
    let (n, a) = (out.len(), &a[..out.len()]);
    (0..n).for_each(|i| out[i] = f(a[i]));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn map2<T: Copy, R, F: Fn(T, T) -> R>(a: &[T], b: &[T], out: &mut [R], f: F) {
    let n = out.len();
    let (a, b) = (&a[..n], &b[..n]);
    (0..n).for_each(|i| out[i] = f(a[i], b[i]));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn choose<T: Copy>(c: &[u8], a: &[T], b: &[T], out: &mut [T]) {
    let n = out.len();
    let (c, a, b) = (&c[..n], &a[..n], &b[..n]);
    (0..n).for_each(|i| out[i] = if c[i] != 0 { a[i] } else { b[i] });
}

/// A number that operations are done with.
pub(super) trait Number: bytemuck::Pod + PartialOrd + Default {
    const FLOAT: bool;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// Rounded down; 0 for whole numbers by zero. Of floats what NumPy's `floor_divide` and `remainder` make.
    fn floor_div(self, b: Self) -> Self;
    /// With the sign of the divisor; 0 for whole numbers by zero.
    fn rem(self, b: Self) -> Self;
    fn power(self, b: Self) -> Self;
    fn least(self, b: Self) -> Self;
    fn greatest(self, b: Self) -> Self;
    fn hypotenuse(self, b: Self) -> Self;
    fn bits(self, b: Self, operation: Operation) -> Self;
    fn negative(self) -> Self;
    fn absolute(self) -> Self;
    fn sign(self) -> Self;
    fn real(self, operation: Operation) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! whole {
    ($t:ty, |$a:ident, $b:ident| $quotient:expr) => {
        impl Number for $t {
            const FLOAT: bool = false;
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                self.floor_div(b)
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn floor_div(self, $b: Self) -> Self {
                let $a = self;
                let q: Self = $quotient;
                let r = $a.wrapping_sub(q.wrapping_mul($b));
                let q = if r != 0 && (r < 0) != ($b < 0) { q.wrapping_sub(1) } else { q };
                if $b == 0 { 0 } else { q }
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn rem(self, b: Self) -> Self {
                // -1 leaves nothing of any, also of the least, whose quotient the type does not hold.
                let leaves_nothing = b == 0 || (b < 0 && b.wrapping_neg() == 1);
                if leaves_nothing { 0 } else { self.wrapping_sub(self.floor_div(b).wrapping_mul(b)) }
            }
            #[inline(always)]
            fn power(self, b: Self) -> Self {
                self.wrapping_pow(b as u32)
            }
            #[inline(always)]
            fn least(self, b: Self) -> Self {
                self.min(b)
            }
            #[inline(always)]
            fn greatest(self, b: Self) -> Self {
                self.max(b)
            }
            #[inline(always)]
            fn hypotenuse(self, _: Self) -> Self {
                self
            }
            #[inline(always)]
            fn bits(self, b: Self, operation: Operation) -> Self {
                match operation {
                    Operation::And => self & b,
                    Operation::Or => self | b,
                    _ => self ^ b,
                }
            }
            #[inline(always)]
            fn negative(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn absolute(self) -> Self {
                if self < 0 { self.wrapping_neg() } else { self }
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn sign(self) -> Self {
                (self > 0) as Self - if self < 0 { 1 } else { 0 }
            }
            #[inline(always)]
            fn real(self, _: Operation) -> Self {
                self
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    };
}

macro_rules! float {
    ($t:ty) => {
        impl Number for $t {
            const FLOAT: bool = true;
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self + b
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self - b
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self * b
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                self / b
            }
            #[inline(always)]
            fn floor_div(self, b: Self) -> Self {
                let r = self % b;
                let q = (self - r) / b - if r != 0.0 && (r < 0.0) != (b < 0.0) { 1.0 } else { 0.0 };
                let low = q.floor();
                match q {
                    _ if b == 0.0 => self / b,
                    0.0 => q.copysign(self / b),
                    _ => low + if q - low > 0.5 { 1.0 } else { 0.0 },
                }
            }
            #[inline(always)]
            fn rem(self, b: Self) -> Self {
                let r = self % b;
                match r {
                    0.0 => r.copysign(b),
                    _ if (r < 0.0) != (b < 0.0) => r + b,
                    _ => r,
                }
            }
            #[inline(always)]
            fn power(self, b: Self) -> Self {
                if b == 2.0 { self * self } else { self.powf(b) }
            }
            #[inline(always)]
            fn least(self, b: Self) -> Self {
                if self.is_nan() || self < b { self } else { b }
            }
            #[inline(always)]
            fn greatest(self, b: Self) -> Self {
                if self.is_nan() || self > b { self } else { b }
            }
            #[inline(always)]
            fn hypotenuse(self, b: Self) -> Self {
                self.hypot(b)
            }
            #[inline(always)]
            fn bits(self, _: Self, _: Operation) -> Self {
                self
            }
            #[inline(always)]
            fn negative(self) -> Self {
                -self
            }
            #[inline(always)]
            fn absolute(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn sign(self) -> Self {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    self
                }
            }
            #[inline(always)]
            fn real(self, operation: Operation) -> Self {
                match operation {
                    Operation::SquareRoot => self.sqrt(),
                    Operation::Exponential => self.exp(),
                    Operation::Logarithm => self.ln(),
                    Operation::Logarithm2 => self.log2(),
                    Operation::Logarithm10 => self.log10(),
                    Operation::Floor => self.floor(),
                    Operation::Ceil => self.ceil(),
                    Operation::Round => self.round_ties_even(),
                    _ => self,
                }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
        }
    };
}

// Of two numbers of 32 bits the quotient in float64 never lies beyond the whole number that cuts it off.
whole!(i32, |a, b| (f64::from(a) / f64::from(b)) as i32);
whole!(i64, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) });
whole!(u64, |a, b| a.checked_div(b).unwrap_or(0));
float!(f32);
float!(f64);

/// Applies an operation whose result is of the operands' type.
pub(super) fn apply<T: Number>(operation: Operation, a: &[T], b: &[T], out: &mut [T]) {
    use Operation::*;
    match operation {
        Add => map2(a, b, out, T::add),
        Subtract => map2(a, b, out, T::sub),
        Multiply => map2(a, b, out, T::mul),
        Divide => map2(a, b, out, T::div),
        FloorDivide => map2(a, b, out, T::floor_div),
        Remainder => map2(a, b, out, T::rem),
        Power => map2(a, b, out, T::power),
        Minimum => map2(a, b, out, T::least),
        Maximum => map2(a, b, out, T::greatest),
        // Nothing is below nothing for whole numbers that have no sign.
        Excess => map2(a, b, out, |x, y| if T::FLOAT || x > y { x.sub(y) } else { T::default() }),
        Hypot => map2(a, b, out, T::hypotenuse),
        And => map2(a, b, out, |x, y| x.bits(y, And)),
        Or => map2(a, b, out, |x, y| x.bits(y, Or)),
        Xor => map2(a, b, out, |x, y| x.bits(y, Xor)),
        Negative => map1(a, out, T::negative),
        Absolute => map1(a, out, T::absolute),
        Sign => map1(a, out, T::sign),
        SquareRoot => map1(a, out, |x| x.real(SquareRoot)),
        Exponential => map1(a, out, |x| x.real(Exponential)),
        Logarithm => map1(a, out, |x| x.real(Logarithm)),
        Logarithm2 => map1(a, out, |x| x.real(Logarithm2)),
        Logarithm10 => map1(a, out, |x| x.real(Logarithm10)),
        Floor => map1(a, out, |x| x.real(Floor)),
        Ceil => map1(a, out, |x| x.real(Ceil)),
        Round => map1(a, out, |x| x.real(Round)),
        // What tells, chooses and negates truth goes elsewhere; conversions are done before.
        Less | LessEqual | Equal | NotEqual | IsNan | Where | Not | ToSingle | ToDouble => out.copy_from_slice(a),
    }
}

/// Applies an operation that tells true from false.
pub(super) fn tell<T: Number>(operation: Operation, a: &[T], b: &[T], out: &mut [u8]) {
    match operation {
        Operation::Less => map2(a, b, out, |x, y| u8::from(x < y)),
        Operation::LessEqual => map2(a, b, out, |x, y| u8::from(x <= y)),
        Operation::Equal => map2(a, b, out, |x, y| u8::from(x == y)),
        Operation::NotEqual => map2(a, b, out, |x, y| u8::from(x != y)),
        _ => map1(a, out, |x| u8::from(x.is_nan())),
    }
}

/// Elements of `a` where `c` is true, else of `b`.
pub(super) fn chosen<T: Copy>(c: &[u8], a: &[T], b: &[T], out: &mut [T]) {
    choose(c, a, b, out);
}

/// Operations on truth values: bytes that are 0 or 1.
pub(super) fn logic(operation: Operation, a: &[u8], b: &[u8], out: &mut [u8]) {
    match operation {
        Operation::And => map2(a, b, out, |x, y| x & y),
        Operation::Or => map2(a, b, out, |x, y| x | y),
        Operation::Not => map1(a, out, |x| x ^ 1),
        _ => map2(a, b, out, |x, y| x ^ y),
    }
}

/// How many elements of `b` are zero.
pub(super) fn zeros<T: Number>(b: &[T]) -> u64 {
    b.iter().filter(|x| **x == T::default()).count() as u64
}

/// Numbers that are NaN, and that are infinite, among floats.
pub(super) fn not_finite(dtype: DType, bytes: &[u8]) -> (u64, u64) {
    /// Whether any has an exponent that no finite number has.
    #[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
    fn any32(x: &[f32]) -> bool {
        x.iter().fold(0u32, |most, x| most.max(x.to_bits() << 1)) >= f32::INFINITY.to_bits() << 1
    }
    #[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
    fn any64(x: &[f64]) -> bool {
        x.iter().fold(0u64, |most, x| most.max(x.to_bits() << 1)) >= f64::INFINITY.to_bits() << 1
    }
    fn count<T: Copy + Into<f64>>(x: &[T]) -> (u64, u64) {
        let one = |(n, i): (u64, u64), x: f64| (n + u64::from(x.is_nan()), i + u64::from(x.is_infinite()));
        x.iter().fold((0, 0), |counts, x| one(counts, (*x).into()))
    }
    match dtype {
        DType::Float32 if any32(bytemuck::cast_slice(bytes)) => count::<f32>(bytemuck::cast_slice(bytes)),
        DType::Float64 if any64(bytemuck::cast_slice(bytes)) => count::<f64>(bytemuck::cast_slice(bytes)),
        DType::Float16 => count::<f16>(bytemuck::cast_slice(bytes)),
        _ => (0, 0),
    }
}

/// A conversion as Rust's `as` makes it.
pub(crate) trait To<R>: Copy {
    /// The number as `R`.
    fn to(self) -> R;
}

macro_rules! conversions {
    ($($from:ty),*) => { $(conversions!(@from $from; u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);)* };
    (@from $from:ty; $($to:ty),*) => { $(
        impl To<$to> for $from {
            #[inline(always)]
            fn to(self) -> $to {
                self as $to
            }
        }
    )* };
}
conversions!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

/// Runs `$body` with `$T` for the type of a real `$dtype` other than `float16`.
macro_rules! real {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {{
        macro_rules! arm {
            ($t:ty) => {{
                type $T = $t;
                $body
            }};
        }
        match $dtype {
            DType::Bool | DType::Uint8 => arm!(u8),
            DType::Uint16 => arm!(u16),
            DType::Uint32 => arm!(u32),
            DType::Uint64 => arm!(u64),
            DType::Int8 => arm!(i8),
            DType::Int16 => arm!(i16),
            DType::Int32 => arm!(i32),
            DType::Int64 => arm!(i64),
            DType::Float32 => arm!(f32),
            DType::Float64 => arm!(f64),
            DType::Float16 | DType::Complex64 | DType::Complex128 => $other,
        }
    }};
}

/// Converts numbers that the other type can hold, or floats to narrower ones; truth values are 0 and 1.
pub(crate) fn convert(from: DType, source: &[u8], to: DType, out: &mut [u8]) {
    if from == to {
        return out.copy_from_slice(source);
    }
    if from == DType::Float16 {
        let wide: Vec<f32> = bytemuck::cast_slice::<u8, f16>(source).iter().map(|x| x.to_f32()).collect();
        return convert(DType::Float32, bytemuck::cast_slice(&wide), to, out);
    }
    if to == DType::Float16 {
        let mut wide = vec![0f64; out.len() / 2];
        convert(from, source, DType::Float64, bytemuck::cast_slice_mut(&mut wide));
        let narrow = bytemuck::cast_slice_mut::<u8, f16>(out);
        return narrow.iter_mut().zip(wide).for_each(|(n, w)| *n = f16::from_f64(w));
    }
    real!(from, A => real!(to, B => {
        let (source, out) = (bytemuck::cast_slice::<u8, A>(source), bytemuck::cast_slice_mut::<u8, B>(out));
        if to == DType::Bool {
            map1(source, out, |x| <B as From<bool>>::from(x != A::default()))
        } else {
            map1(source, out, <A as To<B>>::to)
        }
    }, else ()), else ())
}

/// What a checked conversion met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Met {
    /// Numbers outside the type.
    pub(super) outside: u32,
    /// Numbers with a fraction, where the type has none; whole numbers with more digits than a float has.
    pub(super) rounded: u32,
}

/// The greatest finite number of a float type that is narrower than others.
pub(super) fn greatest(dtype: DType) -> f32 {
    if dtype == DType::Float16 { f16::MAX.to_f32() } else { f32::MAX }
}

/// Puts limits in place of infinity among floats that `source`, numbers of `from`, became, where it was none before. Gives
/// how many there are.
fn limit(from: DType, source: &[u8], to: DType, out: &mut [u8]) -> u32 {
    let (n_infinite, before) = (not_finite(to, out).1, not_finite(from, source).1);
    if n_infinite > before {
        let n = out.len() / to.size();
        let mut wide = vec![0f64; 2 * n];
        let (was, is) = wide.split_at_mut(n);
        convert(from, source, DType::Float64, bytemuck::cast_slice_mut(was));
        convert(to, out, DType::Float64, bytemuck::cast_slice_mut(is));
        let most = f64::from(greatest(to));
        let made = is.iter_mut().zip(was).filter(|(is, was)| is.is_infinite() && was.is_finite());
        made.for_each(|(is, was)| *is = most.copysign(*was));
        convert(DType::Float64, bytemuck::cast_slice(is), to, out);
    }
    (n_infinite - before) as u32
}

/// How many of `source`, whole numbers of `from`, are others as floats, which `out` holds.
fn n_changed(from: DType, source: &[u8], to: DType, out: &[u8]) -> u32 {
    let mut back = vec![0u64; source.len().div_ceil(8)];
    let back = &mut bytemuck::cast_slice_mut(&mut back)[..source.len()];
    convert(to, out, from, back);
    real!(from, A => {
        // A float above all whole numbers comes back as the greatest of them, which is no float.
        let (was, is) = (bytemuck::cast_slice::<u8, A>(source), bytemuck::cast_slice::<u8, A>(back));
        was.iter().zip(is).map(|(was, is)| u32::from(was != is || *was == A::MAX)).sum()
    }, else 0)
}

/// Rounds numbers to the nearest that `to` has, limits for those outside, 0 for NaN where it has none.
pub(super) fn cast(from: DType, source: &[u8], to: DType, out: &mut [u8]) -> Met {
    let Some((low, high)) = super::values::range(to).or((to == DType::Bool).then_some((0, 1))) else {
        convert(from, source, to, out);
        let outside = limit(from, source, to, out);
        // Floats that become narrower are rounded, as all that is made of them.
        let rounded = if from.is_float() { 0 } else { n_changed(from, source, to, out) - outside };
        return Met { outside, rounded };
    };
    macro_rules! floats {
        ($F:ty) => {
            real!(to, I => cast_float::<$F, I, _>(
                bytemuck::cast_slice(source), bytemuck::cast_slice_mut(out), low as $F, (high + 1) as $F, |x| x as I,
            ), else Met::default())
        };
    }
    match from {
        DType::Float32 => floats!(f32),
        DType::Float64 => floats!(f64),
        _ => real!(from, A => real!(to, I => {
            let (low, high) = (low.max(A::MIN as i128) as A, high.min(A::MAX as i128) as A);
            cast_whole::<A, I>(bytemuck::cast_slice(source), bytemuck::cast_slice_mut(out), low, high)
        }, else Met::default()), else Met::default()),
    }
}

trait Round: Copy + PartialOrd {
    fn rounded(self) -> Self;
}

impl Round for f32 {
    #[inline(always)]
    fn rounded(self) -> Self {
        self.round_ties_even()
    }
}

impl Round for f64 {
    #[inline(always)]
    fn rounded(self) -> Self {
        self.round_ties_even()
    }
}

/// `low` is the least value, `end` the first above the greatest.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn cast_float<F: Round, I, G: Fn(F) -> I>(source: &[F], out: &mut [I], low: F, end: F, as_whole: G) -> Met {
    let (mut inside, mut whole) = (0u32, 0u32);
    let n = out.len();
    let source = &source[..n];
    for i in 0..n {
        let x = source[i].rounded();
        inside += u32::from(x >= low && x < end);
        whole += u32::from(x == source[i]);
        out[i] = as_whole(x);
    }
    Met { outside: n as u32 - inside, rounded: n as u32 - whole }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn cast_whole<A: Copy + PartialOrd + To<I>, I>(source: &[A], out: &mut [I], low: A, high: A) -> Met {
    let mut outside = 0u32;
    let n = out.len();
    let source = &source[..n];
    for i in 0..n {
        let x = source[i];
        outside += u32::from(x < low || x > high);
        let x = if x < low { low } else { x };
        out[i] = (if x > high { high } else { x }).to();
    }
    Met { outside, rounded: 0 }
}
