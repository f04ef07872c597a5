//! A program as one kernel in OpenCL C, which does the same with each element, bit by bit where numbers are whole.

use super::kernels::greatest;
use super::operation::Operation;
use super::program::{Cast, Program, ProgramStep, Slot};
use super::values::{MachineType, range};
use crate::array::kernel::{PRELUDE, Places, c_name, double, loaded, stored};
use crate::dtype::DType;

/// What operations come to; arguments are names.
const OPERATIONS: &str = "\
#define SAT(T, x) ((x) != (x) ? (T)0 : convert_##T##_sat(x))
#define REMAINDER(a, b) ((b) == 0 || ((b) < 0 && (b) == -1) ? 0 : (a) % (b) != 0 && ((a) % (b) < 0) != ((b) < 0) ? (a) % (b) + (b) : (a) % (b))
#define FLOOR_DIVIDE(a, b) ((b) == 0 ? 0 : (a) % (b) != 0 && ((a) % (b) < 0) != ((b) < 0) ? (a) / (b) - 1 : (a) / (b))
#define FLOATS(T) T remainder_##T(T a, T b) { const T r = fmod(a, b); \\
 return r == 0 ? copysign(r, b) : (r < 0) != (b < 0) ? r + b : r; } \\
T floor_divide_##T(T a, T b) { const T r = fmod(a, b), q = (a - r) / b - (r != 0 && (r < 0) != (b < 0) ? 1 : 0); \\
 return b == 0 ? a / b : q == 0 ? copysign(q, a / b) : floor(q) + (q - floor(q) > 0.5f ? 1 : 0); }
FLOATS(float) FLOATS(double)
#define POWER(T, U) T power_##T(T a, T b) { U r = 1, x = (U)a; \\
 for (uint e = (uint)b; e; e >>= 1, x *= x) if (e & 1) r *= x; return (T)r; }
POWER(int, uint) POWER(long, ulong) POWER(ulong, ulong)
";

impl MachineType {
    fn c_name(self) -> &'static str {
        match self {
            Self::Bool => "uchar",
            Self::I32 => "int",
            Self::I64 => "long",
            Self::U64 => "ulong",
            Self::F32 => "float",
            Self::F64 => "double",
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// A whole number as OpenCL C has it.
fn whole(class: MachineType, n: i128) -> String {
    format!("(({})0x{:x}UL)", class.c_name(), n as u64)
}

/// `value` converted as Rust's `as` converts.
fn converted(from: MachineType, value: &str, to: &str) -> String {
    match to {
        _ if from.c_name() == to => value.to_owned(),
        "float" | "double" => format!("({to}){value}"),
        _ if from.is_float() => format!("SAT({to}, {value})"),
        _ => format!("({to}){value}"),
    }
}

/// The same, where truth is what is not zero.
fn as_class(from: MachineType, value: &str, to: MachineType) -> String {
    match to {
        MachineType::Bool if from != MachineType::Bool => format!("({value} != 0)"),
        _ => converted(from, value, to.c_name()),
    }
}

fn constant(class: MachineType, value: f64, n: Option<i128>) -> String {
    match (class, n) {
        (MachineType::I64 | MachineType::U64, Some(n)) => whole(class, n),
        (MachineType::F32, _) => format!("as_float(0x{:x}u)", (value as f32).to_bits()),
        (MachineType::F64, _) => double(value),
        (MachineType::Bool, _) => u8::from(value != 0.0).to_string(),
        (MachineType::I32, _) => whole(class, (value as i32).into()),
        (MachineType::I64, _) => whole(class, (value as i64).into()),
        (MachineType::U64, _) => whole(class, (value as u64).into()),
    }
}

/// What `operation` makes of `a`, `b` and `c`, of type `class`.
fn applied(operation: Operation, class: MachineType, a: &str, b: &str, c: &str) -> String {
    use Operation::*;
    let (t, is_float) = (class.c_name(), class.is_float());
    let function = |name: &str| if is_float { format!("{name}({a})") } else { a.to_owned() };
    match operation {
        Add => format!("{a} + {b}"),
        Subtract => format!("{a} - {b}"),
        Multiply => format!("{a} * {b}"),
        Divide if is_float => format!("{a} / {b}"),
        FloorDivide if is_float => format!("floor_divide_{t}({a}, {b})"),
        Divide | FloorDivide => format!("FLOOR_DIVIDE({a}, {b})"),
        Remainder if is_float => format!("remainder_{t}({a}, {b})"),
        Remainder => format!("REMAINDER({a}, {b})"),
        Power if is_float => format!("{b} == 2 ? {a} * {a} : pow({a}, {b})"),
        Power => format!("power_{t}({a}, {b})"),
        Minimum => format!("{a} != {a} || {a} < {b} ? {a} : {b}"),
        Maximum => format!("{a} != {a} || {a} > {b} ? {a} : {b}"),
        Excess if is_float => format!("{a} - {b}"),
        Excess => format!("{a} > {b} ? {a} - {b} : 0"),
        Hypot if is_float => format!("hypot({a}, {b})"),
        Less => format!("{a} < {b}"),
        LessEqual => format!("{a} <= {b}"),
        Equal => format!("{a} == {b}"),
        NotEqual => format!("{a} != {b}"),
        And => format!("{a} & {b}"),
        Or => format!("{a} | {b}"),
        Xor => format!("{a} ^ {b}"),
        Not => format!("{a} ^ 1"),
        Negative => format!("-{a}"),
        Absolute if is_float => format!("fabs({a})"),
        Absolute => format!("{a} < 0 ? -{a} : {a}"),
        Sign if is_float => format!("{a} > 0 ? 1 : {a} < 0 ? -1 : {a}"),
        Sign => format!("({a} > 0) - ({a} < 0)"),
        SquareRoot => function("sqrt"),
        Exponential => function("exp"),
        Logarithm => function("log"),
        Logarithm2 => function("log2"),
        Logarithm10 => function("log10"),
        Floor => function("floor"),
        Ceil => function("ceil"),
        Round => function("rint"),
        IsNan => format!("{a} != {a}"),
        Where => format!("{a} ? {b} : {c}"),
        // Conversions are done before.
        Hypot | ToSingle | ToDouble => a.to_owned(),
    }
}

impl Program {
    /// The kernel for leaves of `dtypes` at `places`. It counts what elements come to as
    /// [`CastTally::add`](crate::array::CastTally::add) takes it; in place of its last count is one of elements that end the
    /// run, or lose digits.
    pub(super) fn text(&self, dtypes: &[DType], places: &Places) -> String {
        let leaves: String =
            dtypes.iter().enumerate().map(|(i, d)| format!("__global const {} *a{i}, ", c_name(*d))).collect();
        let mut body = String::new();
        let mut set = |(register, class): Slot, value: String| {
            body += &format!("const {} r{register} = {value};\n", class.c_name());
        };
        for &(to, value, n) in &self.constants {
            set(to, constant(to.1, value, n));
        }
        let mut counted = String::new();
        for step in &self.steps {
            match step {
                ProgramStep::Load { leaf, dtype, to } => {
                    let value = loaded(*dtype, &format!("a{leaf}"), &format!("s{leaf}"));
                    let from = if dtype.is_float() { MachineType::F64 } else { MachineType::I32 };
                    set(
                        *to,
                        if to.1 == MachineType::Bool {
                            as_class(from, &value, to.1)
                        } else {
                            format!("({}){value}", to.1.c_name())
                        },
                    );
                }
                ProgramStep::Convert { from, to } => set(*to, as_class(from.1, &format!("r{}", from.0), to.1)),
                ProgramStep::Apply { operation, from, to } => {
                    let of = |i: usize| format!("r{}", from[i.min(from.len() - 1)].0);
                    set(*to, applied(*operation, from[from.len() - 1].1, &of(0), &of(1), &of(2)));
                    let divides = matches!(operation, Operation::FloorDivide | Operation::Remainder);
                    if divides && !from[0].1.is_float() {
                        counted += &format!("if ({} == 0) atomic_inc(&n[1]);\n", of(1));
                    }
                }
            }
        }
        let out = c_name(self.dtype);
        format!(
            "{PRELUDE}{OPERATIONS}__kernel void run(__global {out} *out, {leaves}__constant ulong *g, \
             volatile __global uint *n) {{\n{}{body}{counted}{}}}\n",
            places.text(),
            self.cast_text()
        )
    }

    /// What becomes of the result on its way into its type.
    fn cast_text(&self) -> String {
        let (register, class) = self.result;
        let (x, t) = (format!("r{register}"), class.c_name());
        let wide = match self.dtype {
            DType::Float16 if class.is_float() => t,
            DType::Float16 => "double",
            dtype => c_name(dtype),
        };
        let limits = range(self.dtype).or((self.dtype == DType::Bool).then_some((0, 1)));
        let refused = |rounded: &str| match self.cast {
            Cast::Clip => "if (outside) atomic_inc(&n[0]);\n".to_owned(),
            Cast::Round => "if (outside) n[4] = 1;\n".to_owned(),
            Cast::Error => format!("if (outside || {rounded}) n[4] = 1;\n"),
        };
        let stored = |value: &str| format!("{};\n", stored(self.dtype, "out", "o", value));
        let floats = "if (v != v) atomic_inc(&n[2]);\nif (isinf(v)) atomic_inc(&n[3]);\n";
        let read = loaded(self.dtype, "out", "o");
        match (limits, self.fits) {
            (None, true) => {
                format!("{}const {} v = {read};\n{floats}", stored(&converted(class, &x, wide)), float(self.dtype))
            }
            (Some(_), true) if self.dtype == DType::Bool => stored(&as_class(class, &x, MachineType::Bool)),
            (Some(_), true) => stored(&converted(class, &x, wide)),
            (None, false) => {
                let most = constant(MachineType::F32, greatest(self.dtype).into(), None);
                // Whole numbers are compared with what comes back of them, as the processors do.
                let (was_infinite, lost) = match class {
                    class if class.is_float() => (format!("isinf({x})"), "false".to_owned()),
                    MachineType::Bool => ("false".to_owned(), "false".to_owned()),
                    _ => {
                        let (_, most) = ends(class);
                        let is_most = format!("{x} == {}", whole(class, most));
                        ("false".to_owned(), format!("SAT({t}, {read}) != {x} || {is_most}"))
                    }
                };
                format!(
                    "{}const bool outside = isinf({read}) && !{was_infinite};\nif (outside) {}{}{}const {} v = {read};\n{floats}",
                    stored(&converted(class, &x, wide)),
                    stored(&format!("({wide})({x} > 0 ? {most} : -{most})")),
                    refused("false"),
                    if class.is_float() { String::new() } else { format!("if (!outside && ({lost})) n[4] = 1;\n") },
                    float(self.dtype),
                )
            }
            (Some((low, high)), false) if class.is_float() => format!(
                "const {t} v = rint({x});\nconst bool outside = !(v >= {} && v < {});\n{}{}",
                constant(class, low as f64, None),
                constant(class, (high + 1) as f64, None),
                refused(&format!("v != {x}")),
                stored(&format!("SAT({out}, v)", out = c_name(self.dtype))),
            ),
            (Some((low, high)), false) => {
                let (least, most) = ends(class);
                let (low, high) = (whole(class, low.max(least)), whole(class, high.min(most)));
                format!(
                    "const bool outside = {x} < {low} || {x} > {high};\n{}{}",
                    refused("false"),
                    stored(&format!("({})({x} < {low} ? {low} : {x} > {high} ? {high} : {x})", c_name(self.dtype))),
                )
            }
        }
    }
}

/// The least and the greatest of whole numbers of a machine type.
fn ends(class: MachineType) -> (i128, i128) {
    match class {
        MachineType::Bool => (0, u8::MAX.into()),
        MachineType::I32 => (i32::MIN.into(), i32::MAX.into()),
        MachineType::U64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

/// What floats of this type are counted as.
fn float(dtype: DType) -> &'static str {
    if dtype == DType::Float64 { "double" } else { "float" }
}
