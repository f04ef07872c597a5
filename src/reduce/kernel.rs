//! Reductions on a device: what an operator makes of the elements of an output, as OpenCL C.

use crate::array::kernel::{Datum, Elsewhere, Routine, c_name, double, ordered};
use crate::block::Block;
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::{Region, positions};
use crate::reduce::reducer::{Fate, OperatorOutput, Reducer};

/// Elements of an output that one work item takes in turn; of more there must be as many outputs, to keep a device at work.
const MOST: u64 = 4096;

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

impl Reducer {
    /// Adds what operator number `i` makes of `source`, all elements that go into `tile`. Nothing if it has no kernel, or
    /// elements may not count.
    pub fn launch(&self, i: usize, source: Datum, tile: &Region, routine: &mut Routine) -> Option<Datum> {
        let (input, whole) = (self.input(true), self.fates.iter().all(|f| matches!(f, Fate::Kept | Fate::Reduced)));
        let output = &self.outputs[i];
        let most = tile.n_elements().max(MOST);
        if input.masked || !whole || input.n_reduced > most || output.dtype != output.natural {
            return None;
        }
        let KernelLines { of, key, text } = self.operators[i].operator.lines(&input)?;
        let lengths = self.input_of(tile).shape;
        let kept = |reduced: bool| {
            let length = |(n, &r): (&u64, &bool)| if r == reduced { *n } else { 1 };
            lengths.iter().zip(&self.reduced).map(length).collect::<Vec<u64>>()
        };
        let from = (source, key.unwrap_or(self.dtype));
        let window = kept(true);
        Some(routine.around(
            from,
            (&kept(false), &lengths, output.n_own),
            positions(&window),
            (of, output.dtype),
            (&text, Vec::new()),
        ))
    }

    /// The results for `tile`, made `elsewhere` of the block of all elements that go into it. Nothing if some operator has no
    /// kernel, or it is left to the processors.
    pub(super) fn made(&self, elsewhere: &dyn Elsewhere, block: &Block, tile: &Region) -> Result<Option<Vec<Block>>> {
        let mut routine = Routine::default();
        let source = routine.given(&block.region().shape, self.dtype);
        for i in 0..self.operators.len() {
            let Some(made) = self.launch(i, source, tile, &mut routine) else { return Ok(None) };
            routine.results.push(made);
        }
        let result = |(i, output): (usize, &OperatorOutput)| Block::new(self.output_of(i, tile), output.dtype);
        let mut results = self.outputs.iter().enumerate().map(result).collect::<Result<Vec<_>>>()?;
        let mut places: Vec<&mut [u8]> = results.iter_mut().map(Block::bytes_mut).collect();
        Ok(elsewhere.make(&routine, &[block.bytes()], &mut places)?.then_some(results))
    }
}
