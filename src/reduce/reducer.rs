//! The reduction as a whole: which array, which axes, which operators, what comes out.

use crate::axis::{Axis, AxisKind, Calibration, shape};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::reduce::operator::{Input, Options};
use crate::reduce::predicate::Predicate;
use crate::reduce::table::{Labelled, parse_operators};

/// Parts of a reduced axis that are reduced one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Groups of so many neighbours; a short one at the end is reduced as it is, or left out.
    Every {
        /// Elements of a group.
        n: u64,
        /// Whether a short last group is left out.
        trim: bool,
    },
    /// Every run of so many neighbours; the result is shorter than the axis by one less.
    Window {
        /// Elements of a run.
        n: u64,
    },
}

impl Grouping {
    /// Elements from one group to the next.
    pub(super) fn stride(self) -> u64 {
        match self {
            Self::Every { n, .. } => n,
            Self::Window { .. } => 1,
        }
    }

    fn length(self, axis: u64) -> u64 {
        match self {
            Self::Every { n, trim: false } => axis.div_ceil(n),
            Self::Every { n, trim: true } => axis / n,
            Self::Window { n } => (axis + 1).saturating_sub(n),
        }
    }

    /// First element and one past the last of groups `from..to`.
    pub(super) fn span(self, from: u64, to: u64, axis: u64) -> (u64, u64) {
        match self {
            Self::Every { n, .. } => (from * n, (to * n).min(axis)),
            Self::Window { n } => (from, to + n - 1),
        }
    }
}

/// What is to be reduced, and how.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Operators as text: `max,mean,quantile=0.1:0.9`.
    pub operators: String,
    /// Numbers of the reduced axes; all if empty.
    pub axes: Vec<usize>,
    /// What operators are told besides.
    pub options: Options,
    /// Which elements count.
    pub predicate: Predicate,
    /// Whether elements that no file covers are left out.
    pub skip_absent: bool,
    /// Whether reduced axes stay, with length one.
    pub keep_axes: bool,
    /// Parts of the one reduced axis to reduce one by one.
    pub grouping: Option<Grouping>,
    /// Type of the results; that of each operator if `None`.
    pub dtype: Option<DType>,
    /// Whether results of 64 bits become float32 unless a type is asked for.
    pub narrow: bool,
}

/// What one operator gives.
#[derive(Clone, Debug)]
pub struct Quantity {
    /// The operator as it would be typed.
    pub label: String,
    /// Axes of the result, slowest first.
    pub axes: Vec<Axis>,
    /// Type of its elements.
    pub dtype: DType,
    /// How the operator goes about it, where there is a choice.
    pub strategy: Option<String>,
}

impl Quantity {
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
    pub(super) operators: Vec<Labelled>,
    pub(super) outputs: Vec<Quantity>,
    pub(super) predicate: Predicate,
    pub(super) skip_absent: bool,
    keep_axes: bool,
    /// The axis with its grouping.
    pub(super) grouping: Option<(usize, Grouping)>,
    pub(super) asked: Option<DType>,
    pub(super) narrow: bool,
    /// What states are told apart by.
    pub(super) digest: u32,
}

impl Reducer {
    /// A reduction of an array with `axes` and elements of `dtype`.
    ///
    /// # Errors
    /// `Usage` if the settings do not fit the array or each other.
    pub fn new(axes: &[Axis], dtype: DType, settings: &Settings) -> Result<Self> {
        let shape = shape(axes);
        let mut reduced = vec![settings.axes.is_empty(); axes.len()];
        for &axis in &settings.axes {
            let slot = reduced.get_mut(axis);
            *slot.ok_or_else(|| Error::usage(format!("axis {axis}: the array has {} axes", axes.len())))? = true;
        }
        for axis in axes {
            if axis.length == 0 {
                return Err(Error::usage(format!("nothing to reduce: axis {} has length 0", axis.name)));
            }
        }
        if settings.predicate.compares() && dtype.is_complex() {
            return Err(Error::usage(format!("--where compares elements, which {dtype} has no order for")));
        }
        let grouping = match settings.grouping {
            Some(grouping) => Some((grouped_axis(axes, &reduced, grouping)?, grouping)),
            None => None,
        };
        if let Some(weights) = &settings.options.weights {
            let lengths: Vec<u64> = (0..axes.len()).filter(|&i| reduced[i]).map(|i| shape[i]).collect();
            let length = lengths.get(weights.axis).copied().unwrap_or(0);
            if weights.values.len() as u64 != length {
                return Err(Error::usage(format!(
                    "{} weights for an axis of length {length}: one each is needed",
                    weights.values.len()
                )));
            }
        }
        let operators = parse_operators(&settings.operators, &settings.options)?;
        let any = |known: &[&str]| operators.iter().any(|o| known.contains(&o.label.as_str()));
        if settings.options.weights.is_some() && !any(&["mean"]) {
            return Err(Error::usage("--weights are for mean, which is not asked for"));
        }
        if settings.options.ddof != 0 && !any(&["var", "std"]) {
            return Err(Error::usage("--ddof is for var and std, which are not asked for"));
        }
        let mut reducer = Self {
            axes: axes.to_vec(),
            shape,
            dtype,
            reduced,
            operators,
            outputs: Vec::new(),
            predicate: settings.predicate.clone(),
            skip_absent: settings.skip_absent,
            keep_axes: settings.keep_axes,
            grouping,
            asked: settings.dtype,
            narrow: settings.narrow,
            digest: 0,
        };
        reducer.outputs = reducer.operators.iter().map(|o| reducer.output(o)).collect::<Result<_>>()?;
        let Self { shape, reduced, operators, predicate, grouping, asked, .. } = &reducer;
        let told =
            (shape, dtype, reduced, operators, predicate, settings.skip_absent, grouping, asked, settings.narrow);
        reducer.digest = crc32c::crc32c(format!("{told:?}").as_bytes());
        Ok(reducer)
    }

    fn output(&self, Labelled { label, operator }: &Labelled) -> Result<Quantity> {
        let input = self.input(false);
        if self.dtype.is_complex() && !operator.takes_complex() {
            return Err(Error::usage(format!("{label} is not defined for complex numbers: sum, mean and count are")));
        }
        let natural = operator.dtype(&input)?;
        let is_wide = natural.size() == 8 && !natural.is_complex();
        let dtype = self.asked.unwrap_or(if self.narrow && is_wide { DType::Float32 } else { natural });
        if natural.is_complex() && !dtype.is_complex() {
            return Err(Error::usage(format!("a complex {label} cannot be {dtype}")));
        }
        let mut axes = Vec::new();
        if let Some(own) = operator.own_axis(&input)? {
            let mut axis = Axis::new(own.name, own.coordinates.len() as u64);
            axis.kind = AxisKind::Other;
            // Coordinates that number the entries say nothing.
            if own.coordinates.iter().enumerate().any(|(i, &c)| c != i as f64) {
                axis.coordinates = Some(own.coordinates);
            }
            axes.push(axis);
        }
        let frame = self.frame();
        for (i, axis) in self.axes.iter().enumerate() {
            let stays = !self.reduced[i] || self.keep_axes || self.grouping.is_some_and(|(g, _)| g == i);
            if stays {
                axes.push(if self.reduced[i] { self.reduced_axis(axis, i, frame[i]) } else { axis.clone() });
            }
        }
        let strategy = operator.strategy(&self.input(false));
        Ok(Quantity { label: label.clone(), axes, dtype, strategy })
    }

    /// What is left of a reduced axis: `length` groups, or one element.
    fn reduced_axis(&self, axis: &Axis, i: usize, length: u64) -> Axis {
        let mut kept = Axis { length, calibration: None, labels: None, coordinates: None, ..axis.clone() };
        if let Some((g, grouping)) = self.grouping
            && g == i
        {
            let stride = grouping.stride();
            let step = |c: &Calibration| Calibration { step: c.step * stride as f64, ..c.clone() };
            kept.calibration = axis.calibration.as_ref().map(step);
            // A group stands at its first element.
            kept.coordinates = axis
                .coordinates
                .as_ref()
                .map(|all| all.iter().copied().step_by(stride as usize).take(length as usize).collect());
        }
        kept
    }

    /// What operators are told of the array. `whole`: each block brings all elements of its outputs.
    pub(super) fn input(&self, whole: bool) -> Input {
        let lengths = (0..self.shape.len()).filter(|&i| self.reduced[i]).map(|i| match self.grouping {
            Some((g, Grouping::Every { n, .. } | Grouping::Window { n })) if g == i => n.min(self.shape[i]),
            _ => self.shape[i],
        });
        let n_reduced = n_elements(&lengths.collect::<Vec<_>>());
        let masked = self.is_masked();
        Input { dtype: self.dtype, n_reduced, masked, whole, output: self.asked }
    }

    /// Whether some elements may not count.
    pub(super) fn is_masked(&self) -> bool {
        self.skip_absent || self.predicate.is_needed(self.dtype)
    }

    /// What each operator gives, in the order they were named.
    pub fn outputs(&self) -> &[Quantity] {
        &self.outputs
    }

    /// Axes of the array that is reduced.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
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
        let length = |i: usize| match (self.reduced[i], self.grouping) {
            (true, Some((g, grouping))) if g == i => grouping.length(self.shape[i]),
            (true, _) => 1,
            (false, _) => self.shape[i],
        };
        (0..self.shape.len()).map(length).collect()
    }

    /// The first reduced axis along which boxes of `object` do not hold all.
    pub(super) fn first_cut(&self, object: &[u64]) -> Option<usize> {
        (0..self.shape.len()).find(|&i| self.reduced[i] && object[i] < self.shape[i])
    }

    /// The elements that go into `tile`, a box of the [`Reducer::frame`].
    pub fn input_of(&self, tile: &Region) -> Region {
        let mut region = tile.clone();
        for i in 0..self.shape.len() {
            if !self.reduced[i] {
                continue;
            }
            let (from, to) = match self.grouping {
                Some((g, grouping)) if g == i => grouping.span(tile.origin[i], tile.end(i), self.shape[i]),
                _ => (0, self.shape[i]),
            };
            (region.origin[i], region.shape[i]) = (from, to - from);
        }
        region
    }

    /// The box of output number `output` that `tile` makes.
    pub fn output_of(&self, output: usize, tile: &Region) -> Region {
        let n_own = self.n_own(output);
        let (mut origin, mut lengths) = match n_own {
            Some(n) => (vec![0], vec![n]),
            None => (vec![], vec![]),
        };
        for i in 0..self.shape.len() {
            if !self.reduced[i] || self.keep_axes || self.grouping.is_some_and(|(g, _)| g == i) {
                origin.push(tile.origin[i]);
                lengths.push(tile.shape[i]);
            }
        }
        Region::new(origin, lengths)
    }

    /// Length of the axis that output number `output` has of its operator's making.
    pub(super) fn n_own(&self, output: usize) -> Option<u64> {
        let stay = (0..self.shape.len())
            .filter(|&i| !self.reduced[i] || self.keep_axes || self.grouping.is_some_and(|(g, _)| g == i))
            .count();
        let axes = &self.outputs[output].axes;
        (axes.len() > stay).then(|| axes[0].length)
    }

    /// Memory of a tile's state per element of the tile, results included, in bytes. `whole`: each block
    /// brings all elements of its outputs.
    pub fn state_bytes(&self, whole: bool) -> u64 {
        let input = self.input(whole);
        let counts = if input.masked { 8 } else { 0 };
        let results = (0..self.outputs.len()).map(|i| {
            // Values before they take their type, then the block, and its copy on the way to the sink.
            self.n_own(i).unwrap_or(1) * (16 + 2 * self.outputs[i].dtype.size() as u64)
        });
        let states = self.operators.iter().map(|o| o.operator.state_bytes(&input));
        counts + results.sum::<u64>() + states.fold(0u64, u64::saturating_add)
    }

    /// Memory that folding a block needs per element of the block, beside the block, in bytes.
    pub fn fold_bytes(&self) -> u64 {
        u64::from(self.skip_absent)
    }

    /// How often the input is read, as far as this is known beforehand.
    pub fn n_passes(&self) -> u32 {
        let input = self.input(false);
        self.operators.iter().map(|o| o.operator.n_passes(&input)).max().unwrap_or(1)
    }

    /// Whether some operator does better on blocks that bring all elements of their outputs.
    pub fn wants_whole(&self) -> bool {
        let input = self.input(false);
        self.operators.iter().any(|o| o.operator.wants_whole(&input))
    }
}

fn grouped_axis(axes: &[Axis], reduced: &[bool], grouping: Grouping) -> Result<usize> {
    let (flag, n) = match grouping {
        Grouping::Every { n, .. } => ("--every", n),
        Grouping::Window { n } => ("--window", n),
    };
    let all: Vec<usize> = (0..axes.len()).filter(|&i| reduced[i]).collect();
    let [axis] = all[..] else {
        return Err(Error::usage(format!(
            "{flag} works along one axis, but {} are reduced: name it with --axis",
            all.len()
        )));
    };
    let Axis { name, length, .. } = &axes[axis];
    if n == 0 || n > *length {
        return Err(Error::usage(format!("{flag} {n}: axis {name} has {length} elements: 1 to {length} will do")));
    }
    Ok(axis)
}
