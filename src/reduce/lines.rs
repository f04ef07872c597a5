//! What an operator makes of the elements of an output on a device, as OpenCL C.

use crate::array::kernel::{c_name, double, ordered};
use crate::dtype::DType;

/// What an operator does with the `N` elements `AT(i)` of an output, converted to `of`: lines that make `r`, or, with an axis
/// of its own, put results to `OUT(0)`, `OUT(1)` and so on.
pub(super) struct KernelLines {
    pub(super) of: &'static str,
    /// What elements are read as, if not as they are.
    pub(super) key: Option<DType>,
    pub(super) text: String,
}

impl KernelLines {
    /// Lines that take elements as they are.
    pub(super) fn new(of: &'static str, text: String) -> Self {
        Self { of, key: None, text }
    }
}

/// The type that holds elements of `dtype` on a device, without loss; complex numbers have none.
pub(super) fn wide(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Uint64 => Some("ulong"),
        float if float.is_float() => Some("double"),
        complex if complex.is_complex() => None,
        _ => Some("long"),
    }
}

/// The sum of the floats `AT(i)` as `s`, in pairs of sum and remainder.
pub(super) const FLOAT_SUM: &str = "double s = 0, rest = 0;
for (int i = 0; i < N; i++) { double x = AT(i), t = s + x, u = t - s; rest += (s - (t - u)) + (x - u); s = t; }
s = isfinite(s) ? s + rest : s;
";

/// Lines that find ranks `low` and `high` of `n` elements and the value between them, for each of `wanted`.
pub(super) fn quantiles(dtype: DType, n: usize, wanted: &[(u64, u64, f64)]) -> Option<KernelLines> {
    let ranks: Vec<usize> = wanted.iter().flat_map(|&(low, high, _)| [low as usize, high as usize]).collect();
    let (key, mut text) = ordered(dtype, n, &ranks);
    let float = match dtype {
        DType::Float32 => "as_float",
        DType::Float64 => "as_double",
        // Half floats have no arithmetic everywhere.
        DType::Float16 => return None,
        _ => "",
    };
    text += "bool nan = false;\n";
    if dtype.is_float() {
        text += &format!("for (int i = 0; i < N; i++) nan |= isnan({float}(AT(i)));\n");
    }
    text += &format!("double v[{}], low, high, share;\n", wanted.len());
    for (i, (_, _, share)) in wanted.iter().enumerate() {
        text += &format!(
            "low = {float}(k{}); high = {float}(k{}); share = {};\n\
             if (low == high || share == 0) v[{i}] = low; else if (!isfinite(low) || !isfinite(high)) v[{i}] = low + high;\n\
             else if (share == 0.5) v[{i}] = isfinite(low + high) ? (low + high) / 2 : low / 2 + high / 2;\n\
             else v[{i}] = share < 0.5 ? low + (high - low) * share : high - (high - low) * (1 - share);\n",
            2 * i,
            2 * i + 1,
            double(*share)
        );
    }
    text += &match wanted.len() {
        1 => "const double r = nan ? NAN : v[0];".to_owned(),
        m => format!("for (int i = 0; i < {m}; i++) OUT(i) = nan ? NAN : v[i];"),
    };
    Some(KernelLines { of: c_name(key), key: Some(key), text })
}
