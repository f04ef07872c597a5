//! A tree of operations as a list of steps, run strip by strip: intermediate results never leave the cache.

use std::collections::HashMap;
use std::rc::Rc;

use super::kernels::{self, Met};
use super::operation::{Operand, Operation};
use super::values::{MachineType, Values};
use crate::dtype::DType;

/// Elements of a strip.
pub(super) const STRIP: usize = 1024;

/// What becomes of values that a narrower type does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cast {
    /// Any value that changes is an error: outside the type, NaN, a fraction, or a whole number with more digits than a
    /// float has. Floats that become narrower are rounded.
    Error,
    /// The nearest value of the type, which is 0 for NaN of whole numbers; those outside it are counted.
    Clip,
    /// Fractions are rounded to the nearest whole number, half to even; a value outside the type is an error. Whole
    /// numbers that become floats are rounded to their digits and counted.
    #[default]
    Round,
}

/// A part of the tree of operations.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub term: Term,
    /// What its elements can be.
    pub values: Values,
}

/// What a node is.
#[derive(Debug)]
pub enum Term {
    /// Elements of an array, by its number among the leaves.
    Leaf(usize, DType),
    /// A number that was typed.
    Number(f64, Option<i128>),
    /// An operation on the elements of others.
    Apply(Operation, Vec<Rc<Node>>),
}

impl Node {
    /// What rules see of it.
    pub fn operand(&self) -> Operand {
        Operand { values: self.values, is_typed: matches!(self.term, Term::Number(value, _) if in_single(value)) }
    }

    /// `operation` on `operands`.
    ///
    /// # Errors
    /// Why it cannot be, to be put behind its name.
    pub fn apply(operation: Operation, operands: Vec<Rc<Self>>) -> Result<Rc<Self>, String> {
        let seen: Vec<Operand> = operands.iter().map(|o| o.operand()).collect();
        let (_, values) = operation.typing(&seen)?;
        Ok(Rc::new(Self { term: Term::Apply(operation, operands), values }))
    }

    /// A number that was typed.
    pub fn number(value: f64, whole: Option<i128>) -> Rc<Self> {
        let values = whole.map_or(Values::Double, |n| Values::Whole { low: n, high: n });
        Rc::new(Self { term: Term::Number(value, whole), values })
    }
}

/// Whether single precision holds the size of `value`, and all digits of a whole number.
fn in_single(value: f64) -> bool {
    let normal = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    value == 0.0
        || !value.is_finite()
        || normal.contains(&value.abs()) && (value.fract() != 0.0 || f64::from(value as f32) == value)
}

/// A register and the machine type of what it holds.
pub(super) type Slot = (usize, MachineType);

#[derive(Debug)]
pub(super) enum ProgramStep {
    Load { leaf: usize, dtype: DType, to: Slot },
    Convert { from: Slot, to: Slot },
    Apply { operation: Operation, from: Vec<Slot>, to: Slot },
}

/// Steps that make a strip of results of strips of the leaves.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<ProgramStep>,
    pub(super) constants: Vec<(Slot, f64, Option<i128>)>,
    pub(super) result: Slot,
    n_registers: usize,
    pub(super) dtype: DType,
    /// Whether every result fits the type, so that nothing is checked.
    pub(super) fits: bool,
    pub(super) cast: Cast,
}

/// What the elements of a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CastCounts {
    pub(super) met: Met,
    pub(super) zero_divisors: u64,
    pub(super) nan: u64,
    pub(super) infinite: u64,
}

/// One worker's registers.
pub(super) struct Registers {
    words: Vec<Vec<u64>>,
}

struct Compiler {
    program: Program,
    /// By node, and by machine type or as they are made.
    known: HashMap<(*const Node, Option<MachineType>), Slot>,
}

fn as_dtype(class: MachineType) -> DType {
    match class {
        MachineType::Bool => DType::Bool,
        MachineType::I32 => DType::Int32,
        MachineType::I64 => DType::Int64,
        MachineType::U64 => DType::Uint64,
        MachineType::F32 => DType::Float32,
        MachineType::F64 => DType::Float64,
    }
}

impl Program {
    /// The program for `root`, whose results become `dtype`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn new(root: &Rc<Node>, dtype: DType, cast: Cast) -> Result<Self, String> {
        let natural = root.values.dtype().ok_or("has values that no type holds")?;
        let is_held = |to: Values| root.values.are_held_by(to);
        let fits = dtype == natural
            || (dtype != DType::Bool && dtype != DType::Float16 && Values::of(dtype).is_some_and(is_held));
        let program = Self {
            steps: Vec::new(),
            constants: Vec::new(),
            result: (0, MachineType::Bool),
            n_registers: 0,
            dtype,
            fits,
            cast,
        };
        let mut compiler = Compiler { program, known: HashMap::new() };
        compiler.program.result = compiler.slot(root)?;
        Ok(compiler.program)
    }

    /// Numbers of the leaves that are read, which get new numbers from 0 on.
    pub(super) fn take_leaves(&mut self) -> Vec<usize> {
        let mut used: Vec<usize> = Vec::new();
        for step in &mut self.steps {
            if let ProgramStep::Load { leaf, .. } = step {
                let number = used.iter().position(|u| u == leaf);
                *leaf = number.unwrap_or_else(|| {
                    used.push(*leaf);
                    used.len() - 1
                });
            }
        }
        used
    }

    /// Whether it only takes up elements of `dtype`, and gives them as they are.
    pub(super) fn is_copy(&self, dtype: DType) -> bool {
        matches!(self.steps[..], [ProgramStep::Load { .. }]) && self.dtype == dtype
    }

    /// Operations that are done for an element, beside conversions.
    pub(super) fn n_operations(&self) -> u64 {
        self.steps.iter().filter(|step| matches!(step, ProgramStep::Apply { .. })).count() as u64
    }

    /// Memory of one worker's registers, in bytes.
    pub(super) fn register_bytes(&self) -> u64 {
        (self.n_registers * STRIP * 8) as u64
    }

    pub(super) fn registers(&self) -> Registers {
        let mut registers = Registers { words: vec![vec![0; STRIP]; self.n_registers] };
        for &((to, class), value, whole) in &self.constants {
            let out = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut registers.words[to])[..STRIP * class.size()];
            match whole {
                Some(n) if class == MachineType::U64 => bytemuck::cast_slice_mut(out).fill(n as u64),
                Some(n) if class == MachineType::I64 => bytemuck::cast_slice_mut(out).fill(n as i64),
                _ => kernels::convert(DType::Float64, bytemuck::cast_slice(&[value; STRIP]), as_dtype(class), out),
            }
        }
        registers
    }

    /// Makes `out`, a strip of results, of strips of the leaves: bytes of as many elements, or of one for all.
    pub(super) fn run(&self, registers: &mut Registers, leaves: &[&[u8]], out: &mut [u8]) -> CastCounts {
        let n = out.len() / self.dtype.size();
        let mut counts = CastCounts::default();
        for step in &self.steps {
            let (to, class) = match step {
                ProgramStep::Load { to, .. } | ProgramStep::Convert { to, .. } | ProgramStep::Apply { to, .. } => *to,
            };
            let mut words = std::mem::take(&mut registers.words[to]);
            let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..n * class.size()];
            match step {
                ProgramStep::Load { leaf, dtype, .. } => load(leaves[*leaf], *dtype, class, bytes),
                ProgramStep::Convert { from, .. } => {
                    kernels::convert(as_dtype(from.1), registers.strip(*from, n), as_dtype(class), bytes);
                }
                ProgramStep::Apply { operation, from, .. } => {
                    counts.zero_divisors += registers.apply(*operation, from, class, bytes, n);
                }
            }
            registers.words[to] = words;
        }
        let (result, class) = (registers.strip(self.result, n), as_dtype(self.result.1));
        if self.fits {
            kernels::convert(class, result, self.dtype, out);
        } else {
            counts.met = kernels::cast(class, result, self.dtype, out);
        }
        (counts.nan, counts.infinite) = kernels::not_finite(self.dtype, out);
        counts
    }

    /// Whether what was met ends the run, and where: the first element, its value, and what is met there.
    pub(super) fn refused(&self, registers: &Registers, met: Met, n: usize) -> Option<(usize, f64, Met)> {
        let is_refused = match self.cast {
            Cast::Clip => false,
            Cast::Round => met.outside > 0,
            Cast::Error => met.outside + met.rounded > 0,
        };
        if !is_refused {
            return None;
        }
        let size = self.dtype.size();
        let (mut value, mut out) = ([0f64; 1], vec![0u8; size]);
        let class = as_dtype(self.result.1);
        let strip = registers.strip(self.result, n);
        (0..n).find_map(|i| {
            let element = &strip[i * self.result.1.size()..(i + 1) * self.result.1.size()];
            let mut aligned = [0u64; 1];
            let aligned = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..element.len()];
            aligned.copy_from_slice(element);
            let mut place = vec![0u64; size.div_ceil(8)];
            let met = kernels::cast(class, aligned, self.dtype, &mut bytemuck::cast_slice_mut(&mut place)[..size]);
            out.copy_from_slice(&bytemuck::cast_slice(&place)[..size]);
            kernels::convert(class, aligned, DType::Float64, bytemuck::cast_slice_mut(&mut value));
            (met.outside > 0 || (self.cast == Cast::Error && met.rounded > 0)).then_some((i, value[0], met))
        })
    }

    /// Values outside the type that became its limits.
    pub(super) fn clips(&self) -> bool {
        self.cast == Cast::Clip && !self.fits
    }
}

/// Takes up elements of a leaf, or one for all.
fn load(leaf: &[u8], dtype: DType, class: MachineType, out: &mut [u8]) {
    if leaf.len() / dtype.size() * class.size() == out.len() {
        return kernels::convert(dtype, leaf, as_dtype(class), out);
    }
    let (first, rest) = out.split_at_mut(class.size());
    kernels::convert(dtype, leaf, as_dtype(class), first);
    match first.len() {
        1 => rest.fill(first[0]),
        4 => bytemuck::cast_slice_mut::<u8, u32>(rest).fill(bytemuck::pod_read_unaligned(first)),
        _ => bytemuck::cast_slice_mut::<u8, u64>(rest).fill(bytemuck::pod_read_unaligned(first)),
    }
}

impl Registers {
    fn strip(&self, (register, class): Slot, n: usize) -> &[u8] {
        &bytemuck::cast_slice::<u64, u8>(&self.words[register])[..n * class.size()]
    }

    /// Gives the number of whole numbers that were to be divided by zero.
    fn apply(&self, operation: Operation, from: &[Slot], to: MachineType, out: &mut [u8], n: usize) -> u64 {
        let of = |i: usize| self.strip(from[i.min(from.len() - 1)], n);
        if operation == Operation::Where {
            match to.size() {
                1 => kernels::chosen::<u8>(of(0), of(1), of(2), out),
                4 => kernels::chosen::<u32>(of(0), cast(of(1)), cast(of(2)), bytemuck::cast_slice_mut(out)),
                _ => kernels::chosen::<u64>(of(0), cast(of(1)), cast(of(2)), bytemuck::cast_slice_mut(out)),
            }
            return 0;
        }
        let divides = matches!(operation, Operation::FloorDivide | Operation::Remainder);
        macro_rules! with {
            ($t:ty) => {{
                let (a, b) = (cast::<$t>(of(0)), cast::<$t>(of(1)));
                match to {
                    MachineType::Bool => kernels::tell(operation, a, b, out),
                    _ => kernels::apply(operation, a, b, bytemuck::cast_slice_mut(out)),
                }
                let whole = !<$t as kernels::Number>::FLOAT;
                if divides && whole { kernels::zeros(b) } else { 0 }
            }};
        }
        match from[0].1 {
            MachineType::Bool => {
                kernels::logic(operation, of(0), of(1), out);
                0
            }
            MachineType::I32 => with!(i32),
            MachineType::I64 => with!(i64),
            MachineType::U64 => with!(u64),
            MachineType::F32 => with!(f32),
            MachineType::F64 => with!(f64),
        }
    }
}

fn cast<T: bytemuck::Pod>(bytes: &[u8]) -> &[T] {
    bytemuck::cast_slice(bytes)
}

impl Compiler {
    fn new_slot(&mut self, class: MachineType) -> Slot {
        self.program.n_registers += 1;
        (self.program.n_registers - 1, class)
    }

    /// Where the elements of `node` will be.
    fn slot(&mut self, node: &Rc<Node>) -> Result<Slot, String> {
        let class = node.values.class().ok_or_else(|| format!("has {}", node.values.words()))?;
        self.slot_as(node, class)
    }

    /// Where they will be as `class`.
    fn slot_as(&mut self, node: &Rc<Node>, class: MachineType) -> Result<Slot, String> {
        let key = (Rc::as_ptr(node), Some(class));
        if let Some(slot) = self.known.get(&key) {
            return Ok(*slot);
        }
        let slot = match &node.term {
            Term::Number(value, whole) => {
                let to = self.new_slot(class);
                self.program.constants.push((to, *value, *whole));
                to
            }
            Term::Leaf(leaf, dtype) => {
                let to = self.new_slot(class);
                self.program.steps.push(ProgramStep::Load { leaf: *leaf, dtype: *dtype, to });
                to
            }
            Term::Apply(operation, operands) => match self.applied(node, *operation, operands)? {
                made if made.1 == class => made,
                from => {
                    let to = self.new_slot(class);
                    self.program.steps.push(ProgramStep::Convert { from, to });
                    to
                }
            },
        };
        self.known.insert(key, slot);
        Ok(slot)
    }

    /// Where the results of an operation will be, in the machine type that it works in.
    fn applied(&mut self, node: &Rc<Node>, operation: Operation, operands: &[Rc<Node>]) -> Result<Slot, String> {
        let key = (Rc::as_ptr(node), None);
        if let Some(slot) = self.known.get(&key) {
            return Ok(*slot);
        }
        let seen: Vec<Operand> = operands.iter().map(|o| o.operand()).collect();
        let (work, values) = operation.typing(&seen)?;
        let work = work.class().ok_or("is too wide")?;
        let mut from = Vec::new();
        for (i, operand) in operands.iter().enumerate() {
            let is_condition = operation == Operation::Where && i == 0;
            from.push(self.slot_as(operand, if is_condition { MachineType::Bool } else { work })?);
        }
        let slot = match operation {
            // What only converts has done so.
            Operation::ToSingle | Operation::ToDouble => from[0],
            _ => {
                let to = self.new_slot(if values == Values::Bool { MachineType::Bool } else { work });
                self.program.steps.push(ProgramStep::Apply { operation, from, to });
                to
            }
        };
        self.known.insert(key, slot);
        Ok(slot)
    }
}
