//! The reduction as a whole: which array, which axes, which operators, what comes out.

use crate::axis::{Axis, AxisKind, shape};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements};
use crate::reduce::operator::Subject;
use crate::reduce::settings::{Grouping, Settings};
use crate::reduce::table::{Labelled, parse_operators};

/// What becomes of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Reduced,
    Grouped(Grouping),
}

impl Fate {
    /// Elements from one index of what is left to the next.
    pub(super) fn stride(self) -> u64 {
        match self {
            Self::Kept => 1,
            Self::Reduced => u64::MAX,
            Self::Grouped(grouping) => grouping.stride,
        }
    }

    /// What is left of an axis of length `axis`.
    fn length(self, axis: u64) -> u64 {
        match self {
            Self::Grouped(Grouping { n, stride, trim: true }) => (axis + stride).saturating_sub(n) / stride,
            _ => axis.div_ceil(self.stride()),
        }
    }

    /// First element and one past the last of indices `from..to` of what is left.
    fn span(self, from: u64, to: u64, axis: u64) -> (u64, u64) {
        match self {
            Self::Kept => (from, to),
            Self::Reduced => (0, axis),
            Self::Grouped(Grouping { n, stride, .. }) => (from * stride, ((to - 1) * stride + n).min(axis)),
        }
    }

    /// Most elements that go into one index of what is left.
    fn n_reduced(self, axis: u64) -> u64 {
        match self {
            Self::Kept => 1,
            Self::Reduced => axis,
            Self::Grouped(grouping) => grouping.n.min(axis),
        }
    }
}

/// What one operator gives.
#[derive(Clone, Debug)]
pub struct OperatorOutput {
    /// The operator as it would be typed.
    pub label: String,
    /// Axes of the result, slowest first.
    pub axes: Vec<Axis>,
    /// Type of its elements.
    pub dtype: DType,
    /// The type that its values would have if nothing was said of it.
    pub natural: DType,
    /// How the operator goes about it, where there is a choice.
    pub strategy: Option<String>,
    /// Length of the first axis, if it is of the operator's making.
    pub(super) n_own: Option<u64>,
}

impl OperatorOutput {
    /// The label as part of a file name.
    pub fn file_part(&self) -> String {
        self.label.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect()
    }

    /// Lengths of all axes.
    pub fn shape(&self) -> Vec<u64> {
        shape(&self.axes)
    }
}

/// A reduction of one array by one or more operators.
#[derive(Debug)]
pub struct Reducer {
    pub(super) axes: Vec<Axis>,
    pub(super) shape: Vec<u64>,
    pub(super) dtype: DType,
    pub(super) reduced: Vec<bool>,
    pub(super) fates: Vec<Fate>,
    pub(super) operators: Vec<Labelled>,
    pub(super) outputs: Vec<OperatorOutput>,
    pub(super) settings: Settings,
    /// What states are told apart by.
    pub(super) digest: u32,
}

impl Reducer {
    /// A reduction of an array with `axes` and elements of `dtype`.
    ///
    /// # Errors
    /// `Usage` if the settings do not fit the array or each other.
    pub fn new(axes: &[Axis], dtype: DType, settings: &Settings) -> Result<Self> {
        if let Some(axis) = settings.axes.iter().find(|&&axis| axis >= axes.len()) {
            return Err(Error::usage(format!("axis {axis}: the array has {} axes", axes.len())));
        }
        if let Some(axis) = axes.iter().find(|axis| axis.length == 0) {
            return Err(Error::usage(format!("nothing to reduce: axis {} has length 0", axis.name)));
        }
        if settings.predicate.compares() && dtype.is_complex() {
            return Err(Error::usage(format!("--where compares elements, which {dtype} has no order for")));
        }
        let all = settings.axes.is_empty();
        let reduced: Vec<bool> = (0..axes.len()).map(|i| all || settings.axes.contains(&i)).collect();
        let mut fates: Vec<Fate> = reduced.iter().map(|&r| if r { Fate::Reduced } else { Fate::Kept }).collect();
        for &(axis, grouping) in &settings.groupings {
            check_grouping(axes, &fates, axis, grouping)?;
            fates[axis] = Fate::Grouped(grouping);
        }
        let operators = parse_operators(settings)?;
        check_options(axes, &reduced, &operators, settings)?;
        let shape = shape(axes);
        let told = (&shape, dtype, &reduced, &operators, settings);
        let digest = crc32c::crc32c(format!("{told:?}").as_bytes());
        let (axes, settings) = (axes.to_vec(), settings.clone());
        let mut reducer = Self { axes, shape, dtype, reduced, fates, operators, outputs: Vec::new(), settings, digest };
        reducer.outputs = reducer.operators.iter().map(|o| reducer.output(o)).collect::<Result<_>>()?;
        Ok(reducer)
    }

    fn output(&self, Labelled { label, operator }: &Labelled) -> Result<OperatorOutput> {
        let input = self.input(false);
        if self.dtype.is_complex() && !operator.takes_complex() {
            return Err(Error::usage(format!("{label} is not defined for complex numbers: sum, mean and count are")));
        }
        let natural = operator.dtype(&input)?;
        let is_wide = natural.size() == 8 && !natural.is_complex();
        let kept = self.settings.narrow.filter(|_| is_wide).unwrap_or(natural);
        let dtype = self.settings.dtype.unwrap_or(kept);
        if natural.is_complex() && !dtype.is_complex() {
            return Err(Error::usage(format!("a complex {label} cannot be {dtype}")));
        }
        let mut axes = Vec::new();
        if let Some((name, coordinates)) = operator.own_axis(&input)? {
            let mut axis = Axis::new(name, coordinates.len() as u64);
            axis.kind = AxisKind::Other;
            // Coordinates that number the entries say nothing.
            if coordinates.iter().enumerate().any(|(i, &c)| c != i as f64) {
                axis.coordinates = Some(coordinates);
            }
            axes.push(axis);
        }
        let n_own = axes.first().map(|axis| axis.length);
        axes.extend((0..self.shape.len()).filter(|&i| self.stays(i)).map(|i| self.left(i)));
        Ok(OperatorOutput { label: label.clone(), axes, dtype, natural, strategy: operator.strategy(&input), n_own })
    }

    /// What is left of axis `i`.
    fn left(&self, i: usize) -> Axis {
        let (axis, fate) = (&self.axes[i], self.fates[i]);
        let length = fate.length(axis.length);
        match fate {
            Fate::Kept => axis.clone(),
            Fate::Grouped(Grouping { n, stride, .. }) => axis.grouped(n, stride, length),
            Fate::Reduced => {
                Axis { length, calibration: None, labels: None, colours: None, coordinates: None, ..axis.clone() }
            }
        }
    }

    /// Whether results have axis `i`.
    pub(super) fn stays(&self, i: usize) -> bool {
        self.settings.keep_axes || self.fates[i] != Fate::Reduced
    }

    /// The parts of a tile of the frame of shape `tile` that share their reduced elements: all of it, or one for each
    /// index of the grouped axes.
    pub(super) fn cells(&self, tile: &[u64]) -> Grid {
        let length = |(fate, &n): (&Fate, &u64)| if matches!(fate, Fate::Grouped(_)) { 1 } else { n.max(1) };
        let cell: Vec<u64> = self.fates.iter().zip(tile).map(length).collect();
        Grid::new(tile, &cell)
    }

    /// What operators are told of the array. `whole`: each block brings all elements of its outputs.
    pub(super) fn input(&self, whole: bool) -> Subject {
        let numbers: Vec<u64> = self.fates.iter().zip(&self.shape).map(|(fate, &n)| fate.n_reduced(n)).collect();
        let masked = self.is_masked();
        Subject { dtype: self.dtype, n_reduced: n_elements(&numbers), masked, whole, output: self.settings.dtype }
    }

    /// Whether some elements may not count.
    pub(super) fn is_masked(&self) -> bool {
        self.settings.skip_absent || self.settings.predicate.is_needed(self.dtype)
    }

    /// What each operator gives, in the order they were named.
    pub fn outputs(&self) -> &[OperatorOutput] {
        &self.outputs
    }

    /// Type of the elements that are reduced.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Which axes are reduced.
    pub fn reduced(&self) -> &[bool] {
        &self.reduced
    }

    /// Lengths of the axes of the array when reduced ones count for one, or for their number of groups: the
    /// box that tiles are cut from.
    pub fn frame(&self) -> Vec<u64> {
        self.fates.iter().zip(&self.shape).map(|(fate, &n)| fate.length(n)).collect()
    }

    /// The first reduced axis along which boxes of `object` do not hold all.
    pub(super) fn first_cut(&self, object: &[u64]) -> Option<usize> {
        (0..self.shape.len()).find(|&i| self.reduced[i] && object[i] < self.shape[i])
    }

    /// The elements that go into `tile`, a box of the [`Reducer::frame`].
    pub fn input_of(&self, tile: &Region) -> Region {
        let span = |i: usize| self.fates[i].span(tile.origin[i], tile.end(i), self.shape[i]);
        let (origin, shape): (Vec<u64>, Vec<u64>) = (0..self.shape.len()).map(span).map(|(a, b)| (a, b - a)).unzip();
        Region { origin, shape }
    }

    /// The box of output number `output` that `tile` makes.
    pub fn output_of(&self, output: usize, tile: &Region) -> Region {
        let own = self.outputs[output].n_own.map(|n| (0, n));
        let staying = (0..self.shape.len()).filter(|&i| self.stays(i)).map(|i| (tile.origin[i], tile.shape[i]));
        let (origin, shape): (Vec<u64>, Vec<u64>) = own.into_iter().chain(staying).unzip();
        Region { origin, shape }
    }

    /// Memory of a tile's state per element of the tile, in bytes. `whole`: each block brings all elements of its
    /// outputs.
    pub fn state_bytes(&self, whole: bool) -> u64 {
        let input = self.input(whole);
        let counts = if input.masked { 8 } else { 0 };
        let states = self.operators.iter().map(|o| o.operator.state_bytes(&input));
        states.fold(counts, u64::saturating_add)
    }

    /// Memory of a tile's results per element of the tile: values before they take their type, then the block, and its
    /// copy on the way to the sink.
    pub fn result_bytes(&self) -> u64 {
        self.outputs.iter().map(|o| o.n_own.unwrap_or(1) * (16 + 2 * o.dtype.size() as u64)).sum()
    }

    /// Memory that folding a block needs per element of the block, beside the block, in bytes.
    pub fn fold_bytes(&self) -> u64 {
        u64::from(self.settings.skip_absent)
    }

    /// How often the input is read, as far as this is known beforehand.
    pub fn n_passes(&self) -> u32 {
        let input = self.input(false);
        self.operators.iter().map(|o| o.operator.n_passes(&input)).max().unwrap_or(1)
    }

    /// Whether states may be combined in any order, to the same bits in the end.
    pub fn in_any_order(&self) -> bool {
        let input = self.input(false);
        self.operators.iter().all(|o| o.operator.in_any_order(&input))
    }

    /// Whether some operator does better on blocks that bring all elements of their outputs.
    pub fn wants_whole(&self) -> bool {
        let input = self.input(false);
        self.operators.iter().any(|o| o.operator.wants_whole(&input))
    }
}

/// Refuses weights and degrees of freedom that do not fit the axes or are for operators that are not asked for.
fn check_options(axes: &[Axis], reduced: &[bool], operators: &[Labelled], settings: &Settings) -> Result<()> {
    let any = |known: &[&str]| operators.iter().any(|o| known.contains(&o.label.as_str()));
    if let Some(weights) = &settings.weights {
        let first = axes.iter().zip(reduced).find(|(_, reduced)| **reduced);
        let (length, n) = (first.map_or(0, |(axis, _)| axis.length), weights.len());
        if n as u64 != length {
            return Err(Error::usage(format!("{n} weights for an axis of length {length}: one each is needed")));
        }
        if !any(&["mean"]) {
            return Err(Error::usage("--weights are for mean, which is not asked for"));
        }
    }
    if settings.ddof != 0 && !any(&["var", "std"]) {
        return Err(Error::usage("--ddof is for var and std, which are not asked for"));
    }
    Ok(())
}

fn check_grouping(axes: &[Axis], fates: &[Fate], axis: usize, Grouping { n, .. }: Grouping) -> Result<()> {
    let Some((Axis { name, length, .. }, fate)) = axes.get(axis).zip(fates.get(axis)) else {
        return Err(Error::usage(format!("axis {axis}: the array has {} axes", axes.len())));
    };
    if *fate != Fate::Reduced {
        return Err(Error::usage(format!("axis {name} has groups twice, or is not reduced")));
    }
    if n == 0 || n > *length {
        return Err(Error::usage(format!(
            "groups of {n} along {name}: it has {length} elements: 1 to {length} will do"
        )));
    }
    Ok(())
}
