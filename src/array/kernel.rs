//! What a device is to do for a region: kernels as OpenCL C, and what goes into them. Pure: nothing here knows of a
//! device, and no device knows of an operation.
//!
//! Kernels are called `run`. Their arguments are the result, what goes in, the table of lengths and distances that
//! [`Places`] reads, further tables, and, where results are counted, the counts.

use std::sync::Arc;

use super::extend::{Edges, Mode};
use super::{Array, CastTally, Held, extend};
use crate::axis::Axis;
use crate::block::size_bytes;
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::{Region, n_elements, row_major_strides};
use crate::network::Network;

/// An array whose elements a device can make.
pub trait OnDevice {
    /// Adds what makes `region`, dense, to `routine`. Nothing if there is no kernel for it after all.
    fn compile(&self, region: &Region, routine: &mut Routine) -> Option<Datum>;
}

/// What makes what routines say, in place of the processors.
pub trait Elsewhere: Send + Sync {
    /// Makes the results of `routine` of the bytes that it is `given`, each in its place. False if it is left to the
    /// processors.
    ///
    /// # Errors
    /// `Unsupported` or `Limit` if it fails and may not be left.
    fn make(&self, routine: &Routine, given: &[&[u8]], out: &mut [&mut [u8]]) -> Result<bool>;

    /// Takes note that a part was left to the processors.
    fn leave(&self);
}

/// Elements on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datum {
    /// What the load of this number brings.
    Loaded(usize),
    /// What the launch of this number makes.
    Made(usize),
}

/// A box of an array that is brought to the device.
pub struct Load {
    /// The array.
    pub array: Arc<dyn Array>,
    /// Where the box begins, which may be outside.
    pub origin: Vec<i64>,
    /// Its lengths.
    pub lengths: Vec<u64>,
    /// What stands outside.
    pub edges: Edges,
}

impl Load {
    /// Size of its elements.
    pub fn n_bytes(&self) -> u64 {
        size_bytes(&self.lengths, self.array.dtype())
    }
}

/// A kernel that is run once.
#[derive(Default)]
pub struct Launch {
    /// OpenCL C.
    pub text: String,
    /// What goes in.
    pub from: Vec<Datum>,
    /// Tables, the first of which is that of lengths and distances.
    pub tables: Vec<Vec<u8>>,
    /// For how many places along the three fastest axes it is run, the fastest first.
    pub range: [u64; 3],
    /// How many places along the two fastest axes go together, if that matters.
    pub group: Option<[u64; 2]>,
    /// Size of what it makes.
    pub n_bytes: u64,
    /// What its results come to.
    pub tally: Option<Arc<CastTally>>,
}

/// Loads, and launches in order.
#[derive(Default)]
pub struct Routine {
    /// What is brought.
    pub loads: Vec<Load>,
    /// What is run.
    pub launches: Vec<Launch>,
    /// What is brought back.
    pub results: Vec<Datum>,
    /// Steps that all elements take together: what processors would have to do.
    pub n_steps: u64,
    /// Boxes of arrays that are there already.
    known: Vec<(*const (), Region, Datum)>,
}

impl Routine {
    /// What makes `region` of `array`, if it has kernels.
    pub fn of(array: &dyn Array, region: &Region) -> Option<Self> {
        let mut routine = Self::default();
        let made = array.on_device()?.compile(region, &mut routine)?;
        routine.results.push(made);
        Some(routine)
    }

    /// A box of `lengths` that whoever has it made has in memory.
    pub fn given(&mut self, lengths: &[u64], dtype: DType) -> Datum {
        let axes = lengths.iter().map(|&n| Axis::new("", n)).collect();
        let array: Arc<dyn Array> = Arc::new(Held::awaited(axes, dtype, false));
        self.inside(&array, &Region::whole(lengths))
    }

    /// `region` of `array`.
    pub fn inside(&mut self, array: &Arc<dyn Array>, region: &Region) -> Datum {
        let origin: Vec<i64> = region.origin.iter().map(|&o| o as i64).collect();
        self.source(array, &origin, &region.shape, &Edges::none())
    }

    /// The box of `array` at `origin` of `lengths`, which may reach outside, where `edges` say what stands: made here if it
    /// has kernels, else brought.
    pub fn source(&mut self, array: &Arc<dyn Array>, origin: &[i64], lengths: &[u64], edges: &Edges) -> Datum {
        self.made(array, origin, lengths, edges).unwrap_or_else(|| {
            let is_it = |l: &Load| {
                Arc::ptr_eq(&l.array, array) && l.origin == origin && l.lengths == lengths && l.edges == *edges
            };
            let number = self.loads.iter().position(is_it).unwrap_or(self.loads.len());
            if number == self.loads.len() {
                let (array, edges) = (Arc::clone(array), edges.clone());
                self.loads.push(Load { array, origin: origin.to_vec(), lengths: lengths.to_vec(), edges });
            }
            Datum::Loaded(number)
        })
    }

    fn made(&mut self, array: &Arc<dyn Array>, origin: &[i64], lengths: &[u64], edges: &Edges) -> Option<Datum> {
        let kernels = array.on_device()?;
        let shape = array.shape();
        let sources = extend::sources(edges.mode, &shape, origin, lengths);
        // The box that holds all that is read.
        let spans: Option<Vec<(i64, i64)>> = sources
            .iter()
            .map(|s| {
                let inside = || s.iter().copied().filter(|&i| i >= 0);
                Some((inside().min()?, inside().max()?))
            })
            .collect();
        let spans = spans?;
        let own: Vec<u64> = spans.iter().map(|(a, b)| (b - a + 1) as u64).collect();
        // What comes from far away is left to readers.
        if own.iter().zip(lengths).any(|(own, n)| own > n) {
            return None;
        }
        let region = Region::new(spans.iter().map(|s| s.0 as u64).collect::<Vec<_>>(), own);
        let place = Arc::as_ptr(array).cast::<()>();
        let found = self.known.iter().find(|k| k.0 == place && k.1 == region).map(|k| k.2);
        let before = (self.loads.len(), self.launches.len());
        let made = found.or_else(|| kernels.compile(&region, self));
        let Some(made) = made else {
            self.loads.truncate(before.0);
            self.launches.truncate(before.1);
            return None;
        };
        self.known.push((place, region.clone(), made));
        if region.shape == lengths && edges_are_inside(&sources) {
            return Some(made);
        }
        let own = |(s, o): (&Vec<i64>, &u64)| s.iter().map(|i| (i - *o as i64) as i32).collect::<Vec<_>>();
        let map: Vec<i32> = sources.iter().zip(&region.origin).flat_map(own).collect();
        let value = if edges.mode == Mode::Constant { edges.value.clone() } else { vec![0; array.dtype().size()] };
        Some(self.extended((made, array.dtype()), (&region.shape, lengths), &map, value))
    }

    /// Elements of a box of `shape` as `map` says for each index along each axis; `value` where it says less than 0.
    fn extended(
        &mut self,
        (from, dtype): (Datum, DType),
        (shape, lengths): (&[u64], &[u64]),
        map: &[i32],
        value: Vec<u8>,
    ) -> Datum {
        let places = Places::new(lengths, &[row_major_strides(shape)]);
        let unit = unsigned(dtype);
        let n = places.rank;
        let step = |k: usize| {
            format!(
                "i = map[f + p{k}]; f += g[{k}]; inside = inside && i >= 0; s += (size_t)max(i, 0) * g[{}];\n",
                n + k
            )
        };
        let steps: String = (n - lengths.len()..n).map(step).collect();
        let text = format!(
            "__kernel void run(__global {unit} *out, __global const {unit} *a, __constant ulong *g,\n\
             __global const int *map, __global const {unit} *value) {{\n{}\
             bool inside = true; int i; size_t f = 0, s = 0;\n{steps}out[o] = inside ? a[s] : value[0];\n}}\n",
            places.text()
        );
        let tables = vec![places.table(), bytes(map), value];
        let n_bytes = size_bytes(lengths, dtype);
        self.launch(Launch { text, from: vec![from], tables, range: places.range, n_bytes, ..Launch::default() }, 1)
    }

    /// Adds a launch, each element of which takes `n_steps`.
    pub fn launch(&mut self, launch: Launch, n_steps: u64) -> Datum {
        self.n_steps += launch.range.iter().product::<u64>().saturating_mul(n_steps);
        self.launches.push(launch);
        Datum::Made(self.launches.len() - 1)
    }

    /// One pass along `axis` of a box of `lengths`, whose elements `dtype` become `n` of `to` each: `body` makes `r` of
    /// `AT(i)`, the elements from there on, as `of`, and of `w`, a table of `weights`.
    #[allow(clippy::too_many_arguments)]
    pub fn along(
        &mut self,
        (from, dtype): (Datum, DType),
        (lengths, axis, n): (&[u64], usize, u64),
        (of, to): (&str, DType),
        (body, weights): (&str, Vec<u8>),
    ) -> Datum {
        let (outer, inner) = (n_elements(&lengths[..axis]), n_elements(&lengths[axis + 1..]));
        let length = lengths[axis];
        // The fastest of three is never the one that has a single element.
        let (shape, strides) = match inner {
            1 => ([1, outer, n], [0, length, 1]),
            _ => ([outer, n, inner], [length * inner, inner, 1]),
        };
        let places = Places::new(&shape, &[strides.to_vec()]);
        let text = format!(
            "{}#define AT(i) (({of}){})\n\
             __kernel void run(__global {} *out, __global const {} *a, __constant ulong *g, __constant ulong *h,\n\
             {} {of} *w) {{\n{}const ulong step = h[0];\n{body}\n{};\n}}\n",
            PRELUDE,
            loaded(dtype, "a", "s0 + (i) * step"),
            c_name(to),
            c_name(dtype),
            space(&weights),
            places.text(),
            stored(to, "out", "o", "r"),
        );
        let tables = vec![places.table(), bytes(&[inner]), if weights.is_empty() { vec![0; 8] } else { weights }];
        let n_bytes = size_bytes(&shape, to);
        let launch = Launch { text, from: vec![from], tables, range: places.range, n_bytes, ..Launch::default() };
        self.launch(launch, length - n + 1)
    }

    /// Results of `shape`, made of boxes of `window` around them: `body` makes `r` of type `to` of `AT(i)`, element
    /// number `i` of those at `positions` in the box, as `of`, and of `w`, a table of `weights`. `N` is their number. Where
    /// there are `n_own` results for each place, `body` puts them to `OUT(k)`.
    pub fn around(
        &mut self,
        (from, dtype): (Datum, DType),
        (shape, lengths, n_own): (&[u64], &[u64], Option<u64>),
        positions: impl Iterator<Item = Vec<u64>>,
        (of, to): (&str, DType),
        (body, weights): (&str, Vec<u8>),
    ) -> Datum {
        let strides = row_major_strides(lengths);
        let places = Places::new(shape, std::slice::from_ref(&strides));
        let offset = |p: Vec<u64>| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>();
        let mut offsets: Vec<u64> = positions.map(offset).collect();
        let n = offsets.len() as u64;
        offsets.push(n_elements(shape));
        let offsets = bytes(&offsets);
        let text = format!(
            "{}#define N {n}\n#define AT(i) (({of}){})\n#define OUT(k) out[(k) * h[N] + o]\n\
             __kernel void run(__global {} *out, __global const {} *a, __constant ulong *g, {} ulong *h,\n\
             {} {of} *w) {{\n{}{body}\n{};\n}}\n",
            PRELUDE,
            loaded(dtype, "a", "s0 + h[i]"),
            c_name(to),
            c_name(dtype),
            space(&offsets),
            space(&weights),
            places.text(),
            if n_own.is_some() { String::new() } else { stored(to, "out", "o", "r") },
        );
        let tables = vec![places.table(), offsets, if weights.is_empty() { vec![0; 8] } else { weights }];
        let n_bytes = n_own.unwrap_or(1) * size_bytes(shape, to);
        self.launch(Launch { text, from: vec![from], tables, range: places.range, n_bytes, ..Launch::default() }, n)
    }
}

/// Columns of more elements are selected from bit by bit: a network of them fits no registers.
const SORTED: usize = 32;

/// The type whose order is that of `dtype`, which floats have by their bits, NaN last; and the lines that find those of
/// `ranks` among the `n` elements `AT(i)` of that type: `k0`, `k1` and so on.
pub fn ordered(dtype: DType, n: usize, ranks: &[usize]) -> (DType, String) {
    let key = match dtype {
        DType::Float16 => DType::Int16,
        DType::Float32 => DType::Int32,
        DType::Float64 => DType::Int64,
        whole => whole,
    };
    let (of, bits) = (c_name(key), key.size() * 8);
    let turned = |x: &str| match dtype.is_float() {
        true => format!("({of})({x} ^ (({of})({x} >> {}) & ({of}){}))", bits - 1, i64::MAX >> (64 - bits)),
        false => x.to_owned(),
    };
    let mut text = format!("{of} x;\n");
    if n <= SORTED {
        for i in 0..n {
            text += &format!("x = AT({i}); {of} v{i} = {};\n", turned("x"));
        }
        for (a, b) in Network::new(n, ranks).exchanges() {
            text += &format!("x = min(v{a}, v{b}); v{b} = max(v{a}, v{b}); v{a} = x;\n");
        }
        for (number, rank) in ranks.iter().enumerate() {
            text += &format!("const {of} k{number} = {};\n", turned(&format!("v{rank}")));
        }
        return (key, text);
    }
    // The greatest value that no more than `rank` elements are less than.
    let unsigned = unsigned(key);
    let (last, sign) =
        (bits - 1, if key.is_signed() { format!("(({unsigned})1 << {})", bits - 1) } else { "0".into() });
    for (number, rank) in ranks.iter().enumerate() {
        text += &format!(
            "{unsigned} m{number} = 0;\nfor (int b = {last}; b >= 0; b--) {{\n\
             const {unsigned} t = m{number} | (({unsigned})1 << b); uint less = 0;\n\
             for (int i = 0; i < N; i++) {{ x = AT(i); less += ({unsigned})((({unsigned}){turned}) ^ {sign}) < t; }}\n\
             if (less <= {rank}) m{number} = t;\n}}\nx = ({of})(m{number} ^ {sign});\nconst {of} k{number} = {turned};\n",
            turned = turned("x"),
        );
    }
    (key, text)
}

/// Whether nothing stands outside, or is read from elsewhere.
fn edges_are_inside(sources: &[Vec<i64>]) -> bool {
    sources.iter().all(|s| s.windows(2).all(|w| w[1] == w[0] + 1))
}

/// What every kernel begins with: floats are rounded after each step, as processors round them.
pub const PRELUDE: &str = "#pragma OPENCL FP_CONTRACT OFF\n#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n";

/// Which element a work item makes, and where its sources lie: `o` of the result, `s0`, `s1` .. of what goes in; `p0`, `p1` .. are
/// its indices.
pub struct Places {
    /// Axes, three at least.
    pub rank: usize,
    shape: Vec<u64>,
    strides: Vec<Vec<u64>>,
    /// For how many places a kernel is run.
    pub range: [u64; 3],
}

impl Places {
    /// Results of `shape`, and distances between neighbours along its axes in each source.
    pub fn new(shape: &[u64], strides: &[Vec<u64>]) -> Self {
        let rank = shape.len().max(3);
        let front = |own: &[u64], value: u64| [vec![value; rank - own.len()], own.to_vec()].concat();
        let shape = front(shape, 1);
        let strides = strides.iter().map(|s| front(s, 0)).collect();
        let range = [shape[rank - 1], shape[rank - 2], shape[..rank - 2].iter().product()];
        Self { rank, shape, strides, range }
    }

    /// The table `g`.
    pub fn table(&self) -> Vec<u8> {
        let all: Vec<u64> = self.shape.iter().chain(self.strides.iter().flatten()).copied().collect();
        bytes(&all)
    }

    /// The lines that find them.
    pub fn text(&self) -> String {
        let n = self.rank;
        let (x, y) = (n - 1, n - 2);
        let mut text = format!(
            "const size_t p{x} = get_global_id(0), p{y} = get_global_id(1);\nuint p = get_global_id(2);\n\
             if (p{x} >= g[{x}] || p{y} >= g[{y}]) return;\n\
             const size_t o = ((size_t)p * g[{y}] + p{y}) * g[{x}] + p{x};\n"
        );
        for k in (1..n - 2).rev() {
            text += &format!("const uint p{k} = p % (uint)g[{k}]; p /= (uint)g[{k}];\n");
        }
        text += "const uint p0 = p;\n";
        for i in 0..self.strides.len() {
            let terms: Vec<String> = (0..n).map(|k| format!("p{k} * g[{}]", (i + 1) * n + k)).collect();
            text += &format!("const size_t s{i} = {};\n", terms.join(" + "));
        }
        text
    }
}

/// Where `table` lies on a device: small ones where all work items that want the same entry have it at once.
fn space(table: &[u8]) -> &'static str {
    if table.len() <= 32 << 10 { "__constant" } else { "__global const" }
}

/// The bytes of a table.
pub fn bytes<T: bytemuck::NoUninit>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// What OpenCL C calls the type.
pub fn c_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::Uint8 => "uchar",
        DType::Uint16 => "ushort",
        DType::Uint32 => "uint",
        DType::Uint64 => "ulong",
        DType::Int8 => "char",
        DType::Int16 => "short",
        DType::Int32 => "int",
        DType::Int64 => "long",
        DType::Float16 => "half",
        DType::Float32 => "float",
        DType::Float64 => "double",
        // Complex numbers have no kernels.
        DType::Complex64 | DType::Complex128 => "void",
    }
}

/// The type without a sign that is as wide.
fn unsigned(dtype: DType) -> &'static str {
    ["uchar", "ushort", "uint", "ulong"][dtype.size().trailing_zeros() as usize]
}

/// `value` to the last bit.
pub fn double(value: f64) -> String {
    format!("as_double(0x{:x}UL)", value.to_bits())
}

/// Element number `at` of `array`; half floats as floats.
pub fn loaded(dtype: DType, array: &str, at: &str) -> String {
    if dtype == DType::Float16 { format!("vload_half({at}, {array})") } else { format!("{array}[{at}]") }
}

/// Puts `value` there.
pub fn stored(dtype: DType, array: &str, at: &str, value: &str) -> String {
    match dtype {
        DType::Float16 => format!("vstore_half_rte({value}, {at}, {array})"),
        _ => format!("{array}[{at}] = {value}"),
    }
}
