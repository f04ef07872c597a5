//! Filters as functions: sizes along axes in elements, or in units of the voxel size.

use std::ops::Range;
use std::sync::Arc;

use crate::array::Array;
use crate::array::calc::{Operation, Values};
use crate::array::extend::{Edges, Mode};
use crate::array::filter::{self, DEFAULT, Extremum, Filter, Filtered, Rank, Reach, Separable, Weights};
use crate::axis::{Axis, AxisKind};
use crate::dtype::DType;
use crate::error::Result;
use crate::expression::builder::{Builder, Value};
use crate::expression::call::{Call, Function, MANY, elements, function, kept_within};
use crate::expression::reductions;

pub(super) const FUNCTIONS: &[Function] = &[
    kept_within(function("uniform", 2, "mean of a box: uniform(a, y=3, x=3)", uniform)),
    function("total", 2, "sum of a box, exact for whole numbers: total(a, 3)", total),
    kept_within(function("gaussian", 2, "weights of a Gaussian: gaussian(a, z=1um, y=2, x=2, truncate=4)", gaussian)),
    kept_within(function("median", MANY, "median of a box: median(a, 3); of an axis: median(a, t)", median)),
    kept_within(function("percentile", 3, "percentile of a box: percentile(a, 20, y=5, x=5)", percentile)),
    kept_within(function("rank", 3, "element of a rank in a box, from 0: rank(a, -2, 3)", rank)),
    kept_within(function("minimum", 2, "least element of a box: minimum(a, 3)", |b, c| extremum(b, c, false, false))),
    kept_within(function("maximum", 2, "greatest element of a box: maximum(a, 3)", |b, c| extremum(b, c, true, false))),
    kept_within(function("erosion", 2, "as minimum", |b, c| extremum(b, c, false, false))),
    kept_within(function("dilation", 2, "as maximum, of the mirrored box", |b, c| extremum(b, c, true, true))),
    kept_within(function("opening", 2, "erosion, then dilation: opening(a, y=15, x=15)", |b, c| {
        open_close(b, c, false)
    })),
    kept_within(function("closing", 2, "dilation, then erosion", |b, c| open_close(b, c, true))),
    function("tophat", 2, "what opening takes away: tophat(a, y=15, x=15)", white_tophat),
    function("white_tophat", 2, "as tophat", white_tophat),
    function("black_tophat", 2, "what closing adds", black_tophat),
    function("laplace", MANY, "second differences: laplace(a), laplace(a, y, x)", laplace),
    function("log", 2, "Laplacian of a Gaussian: log(a, 2); without a size the logarithm", log),
    function("dog", 3, "difference of Gaussians: dog(a, 1, 2)", dog),
    function("sobel", 2, "smoothed differences along an axis: sobel(a, x)", |b, c| edge(b, c, [1.0, 2.0, 1.0])),
    function("prewitt", 2, "as sobel, with even weights", |b, c| edge(b, c, [1.0, 1.0, 1.0])),
    function("gradient_magnitude", 2, "length of a Gaussian's gradient: gradient_magnitude(a, 2)", gradient),
    function("unsharp", 2, "a and so much of what a Gaussian takes away: unsharp(a, 2, amount=1)", unsharp),
    function("variance", 2, "variance of a box: variance(a, y=5, x=5)", variance),
    function("convolve", 2, "sum with the weights of a .npy: convolve(a, kernel.npy)", convolve),
    kept_within(function("bilateral", 2, "means that leave edges: bilateral(a, 2, range=50)", bilateral)),
    kept_within(function("rolling_ball", 2, "the background below a ball: rolling_ball(a, 50)", rolling_ball)),
];

/// Names of arguments that all filters know.
const COMMON: [&str; 2] = ["mode", "value"];

/// Greatest size, in elements.
const MOST_SIZE: f64 = 1e6;

/// Most elements of a box whose elements are looked at one by one.
const MOST_NEAR: u64 = 1 << 20;

/// A number along each axis: given by name, or the one of argument `i` along all axes of space; `None` where there is
/// none.
fn sizes(builder: &Builder<'_>, call: &Call<'_>, axes: &[Axis], i: usize, known: &[&str]) -> Result<Vec<Option<f64>>> {
    let mut sizes = vec![None; axes.len()];
    let check = |size: f64, span: &Range<usize>| match (0.0..=MOST_SIZE).contains(&size) {
        true => Ok(size),
        false => Err(builder.fault(span, format!("a size is a number from 0 to {MOST_SIZE}"))),
    };
    if let Some(number) = call.number(builder, i)? {
        let number = check(number, &call.placed[i].span)?;
        let is_space = |axis: &&Axis| axis.kind == AxisKind::Space && axis.length > 1;
        if !axes.iter().any(|axis| is_space(&axis)) {
            return Err(builder.fault(&call.span, "the array has no axis of space: say along which, as in t=3"));
        }
        sizes = axes.iter().map(|axis| is_space(&axis).then_some(number)).collect();
    }
    let known = [known, &COMMON].concat();
    for (i, text, span) in call.by_axis(builder, axes, &known)? {
        sizes[i] = Some(check(elements(builder, &axes[i], text, &span)?, &span)?);
    }
    if sizes.iter().all(Option::is_none) {
        return Err(builder.fault(&call.span, format!("{} needs a size: {}(a, 3) or y=3, x=3", call.name, call.name)));
    }
    Ok(sizes)
}

/// The box of so many elements around each, as SciPy places it: the larger half before.
fn boxed(sizes: &[Option<f64>]) -> Reach {
    let reach = |size: &Option<f64>| {
        let n = size.map_or(1, |s| s.round().max(1.0) as u64);
        (n / 2, n - 1 - n / 2)
    };
    sizes.iter().map(reach).collect()
}

/// How many elements a box has, of which there may be `most`.
fn box_elements(builder: &Builder<'_>, call: &Call<'_>, reach: &Reach, most: u64) -> Result<u64> {
    let n = reach.iter().map(|(before, after)| before + after + 1).fold(1, u64::saturating_mul);
    let fault = || builder.fault(&call.span, format!("a box of {n} elements is too large: at most {most}; bin first"));
    if n > most { Err(fault()) } else { Ok(n) }
}

fn mirrored(reach: Reach) -> Reach {
    reach.into_iter().map(|(before, after)| (after, before)).collect()
}

/// `array` through a filter.
fn through(
    builder: &mut Builder<'_>,
    call: &Call<'_>,
    array: Arc<dyn Array>,
    filter: impl Filter + 'static,
) -> Result<Arc<dyn Array>> {
    let edges = call.edges(builder, array.dtype(), DEFAULT)?;
    within(builder, call, array, filter, edges)
}

/// `array` through a filter, with `edges` beyond it.
fn within(
    builder: &mut Builder<'_>,
    call: &Call<'_>,
    array: Arc<dyn Array>,
    filter: impl Filter + 'static,
    edges: Edges,
) -> Result<Arc<dyn Array>> {
    let filtered: Arc<dyn Array> = Arc::new(
        Filtered::new(array, Box::new(filter), edges, builder.skips).map_err(|e| builder.pointed(e, &call.span))?,
    );
    builder.tell(call.text.clone(), &filtered);
    Ok(filtered)
}

/// A filter whose results are floats.
fn linear(builder: &mut Builder<'_>, call: &Call<'_>, value: &Value, weights: Vec<Vec<f64>>) -> Result<Value> {
    let array = builder.array(value, &call.span)?;
    let before: Vec<usize> = weights.iter().map(|w| w.len() / 2).collect();
    let filtered = through(builder, call, array, Separable::new(weights, &before))?;
    builder.leaf(filtered, value.loose.clone(), &call.span)
}

fn uniform(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let reach = boxed(&sizes(builder, call, array.axes(), 1, &[])?);
    let even = |&(before, after): &(u64, u64)| match before + after + 1 {
        1 => Vec::new(),
        n => vec![1.0 / n as f64; n as usize],
    };
    linear(builder, call, &value, reach.iter().map(even).collect())
}

fn total(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let reach = boxed(&sizes(builder, call, array.axes(), 1, &[])?);
    summed(builder, call, &value, &reach, false)
}

/// Sums of boxes: whole numbers of whole numbers.
fn summed(builder: &mut Builder<'_>, call: &Call<'_>, value: &Value, reach: &Reach, squared: bool) -> Result<Value> {
    let n: u64 = reach.iter().map(|(before, after)| before + after + 1).product();
    let values = match value.node.values {
        Values::Bool => Values::Whole { low: 0, high: n.into() },
        Values::Whole { low, high } => {
            Values::Whole { low: (low * i128::from(n)).min(0), high: (high * i128::from(n)).max(0) }
        }
        float => float,
    };
    if matches!(values, Values::Whole { high, .. } if high > i64::MAX.into()) {
        return Err(builder.fault(&call.span, "has sums that no integer type holds: use float64(..)"));
    }
    let dtype = match values {
        Values::Whole { low, high } if i32::try_from(low).and(i32::try_from(high)).is_ok() => DType::Int32,
        Values::Whole { .. } => DType::Int64,
        _ => DType::Float64,
    };
    let array = builder.array(value, &call.span)?;
    let mut edges = call.edges(builder, array.dtype(), DEFAULT)?;
    if squared && edges.mode == Mode::Constant {
        let constant = call.get("value").unwrap_or("0");
        let square = match constant.parse::<i128>() {
            Ok(n) => n.checked_mul(n).map(|n| n.to_string()),
            Err(_) => constant.parse::<f64>().ok().map(|x| (x * x).to_string()),
        };
        let square = square.ok_or_else(|| builder.fault(&call.span, format!("value={constant} has no square")))?;
        edges.value = array.dtype().parse_element(&square).map_err(|e| builder.pointed(e, &call.span))?;
    }
    let array = within(builder, call, array, Separable::total(reach.clone(), dtype), edges)?;
    let values = if dtype == DType::Float64 { Values::Double } else { values };
    Ok(builder.leaf_of(array, value.loose.clone(), values))
}

fn variance(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (mut value, array) = call.first(builder)?;
    let is_float = array.dtype().is_float();
    if is_float {
        // Squares need twice the digits.
        value = builder.apply(Operation::ToDouble, vec![value], &call.span)?;
    }
    let reach = boxed(&sizes(builder, call, array.axes(), 1, &[])?);
    let n: u64 = reach.iter().map(|(before, after)| before + after + 1).product();
    let apply = |builder: &mut Builder<'_>, operation, a: &Value, b: &Value| {
        builder.apply(operation, vec![a.clone(), b.clone()], &call.span)
    };
    let square = apply(builder, Operation::Multiply, &value, &value)?;
    let sums = summed(builder, call, &value, &reach, false)?;
    let squares = summed(builder, call, &square, &reach, true)?;
    let n = crate::expression::builder::number(n as f64, Some(n.into()));
    // (n sum(x^2) - sum(x)^2) / n^2, exact for whole numbers but for the division.
    let all = apply(builder, Operation::Multiply, &squares, &n)?;
    let mean = apply(builder, Operation::Multiply, &sums, &sums)?;
    let difference = apply(builder, Operation::Subtract, &all, &mean)?;
    let n_squared = apply(builder, Operation::Multiply, &n, &n)?;
    let variance = apply(builder, Operation::Divide, &difference, &n_squared)?;
    if !is_float {
        return Ok(variance);
    }
    // What is left of rounding is no variance below zero.
    let zero = crate::expression::builder::number(0.0, Some(0));
    apply(builder, Operation::Maximum, &variance, &zero)
}

/// Weights of a Gaussian of deviation `sigma`, or of its derivative, cut at `truncate` deviations.
///
/// Source: `scipy.ndimage`, whose weights these are.
fn bell(sigma: f64, truncate: f64, order: u32) -> Vec<f64> {
    if sigma <= 0.0 {
        return Vec::new();
    }
    let radius = (truncate * sigma + 0.5) as i64;
    let at = |x: i64| (-0.5 * (x * x) as f64 / (sigma * sigma)).exp();
    let sum: f64 = (-radius..=radius).map(at).sum();
    let variance = sigma * sigma;
    let slope = |x: f64| match order {
        0 => 1.0,
        1 => x / variance,
        _ => x * x / (variance * variance) - 1.0 / variance,
    };
    (-radius..=radius).map(|x| at(x) / sum * slope(x as f64)).collect()
}

/// Where Gaussians are cut, in deviations.
fn truncated(builder: &Builder<'_>, call: &Call<'_>, default: &str) -> Result<f64> {
    let truncate = call.get("truncate").unwrap_or(default).parse().ok().filter(|t| (0.0..=100.0).contains(t));
    truncate.ok_or_else(|| builder.fault(&call.span, "truncate= is a number of deviations from 0 to 100, such as 4"))
}

/// Deviations along each axis, and where Gaussians are cut.
fn bells(builder: &Builder<'_>, call: &Call<'_>, axes: &[Axis], i: usize, known: &[&str]) -> Result<(Vec<f64>, f64)> {
    let known = [known, &["truncate"]].concat();
    let sigmas = sizes(builder, call, axes, i, &known)?.into_iter().map(|s| s.unwrap_or(0.0)).collect();
    Ok((sigmas, truncated(builder, call, "4")?))
}

fn gaussian(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let (sigmas, truncate) = bells(builder, call, array.axes(), 1, &["order"])?;
    let order = match call.get("order").unwrap_or("0") {
        "0" => 0,
        "1" => 1,
        "2" => 2,
        _ => return Err(builder.fault(&call.span, "order= is 0, 1 or 2")),
    };
    linear(builder, call, &value, sigmas.iter().map(|&s| bell(s, truncate, order)).collect())
}

/// What is made along each axis that has a deviation, that one derived `order` times, put together.
fn derived(
    builder: &mut Builder<'_>,
    call: &Call<'_>,
    value: &Value,
    (sigmas, truncate): (&[f64], f64),
    order: u32,
) -> Result<Vec<Value>> {
    let along: Vec<usize> = (0..sigmas.len()).filter(|&i| sigmas[i] > 0.0).collect();
    let one = |i: usize| {
        let weights = |(k, &s): (usize, &f64)| bell(s, truncate, if k == i { order } else { 0 });
        linear(builder, call, value, sigmas.iter().enumerate().map(weights).collect())
    };
    along.into_iter().map(one).collect()
}

fn sum_of(builder: &mut Builder<'_>, call: &Call<'_>, parts: Vec<Value>) -> Result<Value> {
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or_else(|| builder.fault(&call.span, "a size above 0 is needed"))?;
    parts.try_fold(first, |a, b| builder.apply(Operation::Add, vec![a, b], &call.span))
}

fn log(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    if call.placed.len() == 1 && call.has_none() {
        let value = builder.value(call.placed[0])?;
        return builder.apply(Operation::Logarithm, vec![value], &call.span);
    }
    let (value, array) = call.first(builder)?;
    let (sigmas, truncate) = bells(builder, call, array.axes(), 1, &[])?;
    let parts = derived(builder, call, &value, (&sigmas, truncate), 2)?;
    sum_of(builder, call, parts)
}

fn gradient(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let (sigmas, truncate) = bells(builder, call, array.axes(), 1, &[])?;
    let parts = derived(builder, call, &value, (&sigmas, truncate), 1)?;
    let square = |part: Value| builder.apply(Operation::Multiply, vec![part.clone(), part], &call.span);
    let squares = parts.into_iter().map(square).collect::<Result<_>>()?;
    let sum = sum_of(builder, call, squares)?;
    builder.apply(Operation::SquareRoot, vec![sum], &call.span)
}

fn dog(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let mut both = Vec::new();
    for i in [1, 2] {
        let (sigmas, truncate) = bells(builder, call, array.axes(), i, &[])?;
        both.push(linear(builder, call, &value, sigmas.iter().map(|&s| bell(s, truncate, 0)).collect())?);
    }
    builder.apply(Operation::Subtract, both, &call.span)
}

fn unsharp(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let (sigmas, truncate) = bells(builder, call, array.axes(), 1, &["amount"])?;
    let amount: f64 =
        call.get("amount").unwrap_or("1").parse().map_err(|_| builder.fault(&call.span, "amount= is a number"))?;
    let smooth = linear(builder, call, &value, sigmas.iter().map(|&s| bell(s, truncate, 0)).collect())?;
    let detail = builder.apply(Operation::Subtract, vec![value.clone(), smooth], &call.span)?;
    let more = builder.apply(
        Operation::Multiply,
        vec![detail, crate::expression::builder::number(amount, None)],
        &call.span,
    )?;
    builder.apply(Operation::Add, vec![value, more], &call.span)
}

/// Numbers of the axes that are named, or of those of space.
fn axes_of(builder: &Builder<'_>, call: &Call<'_>, axes: &[Axis]) -> Result<Vec<usize>> {
    let named = (1..call.placed.len()).filter_map(|i| call.word(i)).map(|name| builder.axis(axes, name, &call.span));
    let named = named.collect::<Result<Vec<_>>>()?;
    let space = || (0..axes.len()).filter(|&i| axes[i].kind == AxisKind::Space && axes[i].length > 1).collect();
    Ok(if named.is_empty() { space() } else { named })
}

fn laplace(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    call.named(builder, &COMMON)?;
    let n = array.axes().len();
    let mut parts = Vec::new();
    for axis in axes_of(builder, call, array.axes())? {
        let weights = (0..n).map(|i| if i == axis { vec![1.0, -2.0, 1.0] } else { Vec::new() }).collect();
        parts.push(linear(builder, call, &value, weights)?);
    }
    sum_of(builder, call, parts)
}

fn edge(builder: &mut Builder<'_>, call: &Call<'_>, smoothing: [f64; 3]) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    call.named(builder, &COMMON)?;
    let axes = array.axes();
    let axis = match call.word(1) {
        Some(name) => builder.axis(axes, name, &call.span)?,
        None => axes.len().saturating_sub(1),
    };
    let weights = |i: usize| match axes[i].kind {
        _ if i == axis => vec![-1.0, 0.0, 1.0],
        AxisKind::Space if axes[i].length > 1 => smoothing.to_vec(),
        _ => Vec::new(),
    };
    linear(builder, call, &value, (0..axes.len()).map(weights).collect())
}

fn median(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    // Names of axes are what `reduce` folds; sizes are a box.
    if call.word(1).is_some() || call.placed.len() == 1 && call.has_none() || call.get("axis").is_some() {
        return reductions::reduce(builder, call);
    }
    ranked(builder, call, 1, |n| Some(n / 2))
}

fn percentile(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let asked = call.number(builder, 1)?.filter(|p| (0.0..=100.0).contains(p));
    let asked = asked.ok_or_else(|| {
        builder.fault(&call.span, "a percentile from 0 to 100 is needed: percentile(a, 20, y=5, x=5)")
    })?;
    ranked(builder, call, 2, |n| Some(if asked == 100.0 { n - 1 } else { (n as f64 * asked / 100.0) as usize }))
}

fn rank(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let asked = call.number(builder, 1)?.filter(|r| r.fract() == 0.0);
    let asked = asked.ok_or_else(|| builder.fault(&call.span, "a rank is needed, from 0 or from -1 backwards"))? as i64;
    ranked(builder, call, 2, |n| {
        let rank = if asked < 0 { asked + n as i64 } else { asked };
        usize::try_from(rank).ok().filter(|&rank| rank < n)
    })
}

/// The element whose rank `choose` gives for the number of elements of a box.
fn ranked(
    builder: &mut Builder<'_>,
    call: &Call<'_>,
    i: usize,
    choose: impl Fn(usize) -> Option<usize>,
) -> Result<Value> {
    call.check(builder, i + 1, "y=5, x=5, mode=mirror")?;
    let (value, array) = call.first(builder)?;
    let reach = boxed(&sizes(builder, call, array.axes(), i, &[])?);
    let n = box_elements(builder, call, &reach, 1 << 24)?;
    let rank = choose(n as usize)
        .ok_or_else(|| builder.fault(&call.span, format!("a box of {n} elements has no such rank")))?;
    let filtered = through(builder, call, array, Rank::new(reach, rank))?;
    Ok(builder.leaf_of(filtered, value.loose, value.node.values))
}

fn extremum(builder: &mut Builder<'_>, call: &Call<'_>, is_greatest: bool, is_mirrored: bool) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let reach = boxed(&sizes(builder, call, array.axes(), 1, &[])?);
    let reach = if is_mirrored { mirrored(reach) } else { reach };
    let filtered = through(builder, call, array, Extremum::new(reach, is_greatest))?;
    Ok(builder.leaf_of(filtered, value.loose, value.node.values))
}

fn open_close(builder: &mut Builder<'_>, call: &Call<'_>, is_closing: bool) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let reach = boxed(&sizes(builder, call, array.axes(), 1, &[])?);
    let boxes = if is_closing { [mirrored(reach.clone()), reach] } else { [reach.clone(), mirrored(reach)] };
    let mut array = array;
    for (i, reach) in boxes.into_iter().enumerate() {
        array = through(builder, call, array, Extremum::new(reach, (i == 0) == is_closing))?;
    }
    Ok(builder.leaf_of(array, value.loose, value.node.values))
}

fn white_tophat(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let opened = open_close(builder, call, false)?;
    let (value, array) = call.first(builder)?;
    let operation = difference(builder, call, array.axes())?;
    builder.apply(operation, vec![value, opened], &call.span)
}

/// What takes an opening away: it is never above, but where constants beyond the edge or boxes of even sizes lift it.
fn difference(builder: &mut Builder<'_>, call: &Call<'_>, axes: &[Axis]) -> Result<Operation> {
    let are_odd = sizes(builder, call, axes, 1, &[])?.iter().flatten().all(|n| n % 2.0 == 1.0);
    let is_even = call.get("mode").is_none_or(|mode| matches!(mode, "reflect" | "nearest"));
    Ok(if are_odd && is_even { Operation::Excess } else { Operation::Subtract })
}

fn black_tophat(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let closed = open_close(builder, call, true)?;
    let (value, array) = call.first(builder)?;
    let operation = difference(builder, call, array.axes())?;
    builder.apply(operation, vec![closed, value], &call.span)
}

fn convolve(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    call.named(builder, &["mode", "value", "kernel"])?;
    let name = call.word(1).or(call.get("kernel"));
    let name = name
        .ok_or_else(|| builder.fault(&call.span, "a kernel is needed, an .npy by its path: convolve(a, kernel.npy)"))?;
    let (shape, mut weights) = crate::source::npy::numbers("kernel", std::path::Path::new(name))?;
    let n = array.axes().len();
    if shape.len() > n || shape.contains(&0) || shape.iter().product::<u64>() > 1 << 20 {
        return Err(builder
            .fault(&call.span, format!("the kernel has shape {}, the array {n} axes", crate::report::tuple(&shape))));
    }
    // Convolution goes over the kernel backwards; it lies along the last axes.
    weights.reverse();
    let own = shape.iter().map(|&n| (n - 1 - n / 2, n / 2));
    let reach: Reach = std::iter::repeat_n((0, 0), n - shape.len()).chain(own).collect();
    let sum: f64 = weights.iter().map(|w| w.abs()).sum();
    let values = match value.node.values.as_whole() {
        Some((low, high)) if weights.iter().all(|w| w.fract() == 0.0) && sum < 1e9 => {
            let most = low.abs().max(high.abs()) * sum as i128;
            Values::Whole { low: if low < 0 || weights.iter().any(|w| *w < 0.0) { -most } else { 0 }, high: most }
        }
        _ => value.node.values.with_fractions(),
    };
    let dtype = match values {
        Values::Whole { high, .. } if high <= i64::MAX.into() => DType::Int64,
        Values::Single => DType::Float32,
        _ => DType::Float64,
    };
    let values = if dtype == DType::Float64 { Values::Double } else { values };
    let filtered = through(builder, call, array, Weights::new(reach, &weights, dtype))?;
    Ok(builder.leaf_of(filtered, value.loose, values))
}

fn bilateral(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let sigmas = sizes(builder, call, array.axes(), 1, &["range", "truncate"])?;
    let sigmas: Vec<f64> = sigmas.into_iter().map(|s| s.unwrap_or(0.0)).collect();
    let range = call.get("range").and_then(|range| range.parse::<f64>().ok()).filter(|range| *range > 0.0);
    let range = range.ok_or_else(|| builder.fault(&call.span, "say what difference of values is large: range=50"))?;
    let truncate = truncated(builder, call, "2")?;
    let reach = filter::reach_of(&sigmas, truncate);
    box_elements(builder, call, &reach, MOST_NEAR)?;
    let filtered = through(builder, call, array, filter::bilateral(reach, &sigmas, range))?;
    builder.leaf(filtered, value.loose, &call.span)
}

fn rolling_ball(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let radii = sizes(builder, call, array.axes(), 1, &[])?;
    let reach = filter::reach_of(&radii.iter().map(|r| r.map_or(0.0, f64::ceil)).collect::<Vec<_>>(), 1.0);
    let mut all = radii.into_iter().flatten();
    let radius = all.next().unwrap_or(0.0);
    if radius <= 0.0 || all.any(|r| r != radius) {
        return Err(builder.fault(&call.span, "a ball has one radius above 0 along all its axes"));
    }
    box_elements(builder, call, &reach, MOST_NEAR)?;
    // Nothing lies beyond the edges: as high as can be.
    let dtype = array.dtype();
    let most = crate::array::calc::range(dtype).map_or("inf".to_owned(), |r| r.1.to_string());
    let value_beyond = dtype
        .parse_element(if dtype == DType::Bool { "1" } else { &most })
        .map_err(|e| builder.pointed(e, &call.span))?;
    let edges = Edges { mode: Mode::Constant, value: value_beyond };
    let filtered = within(builder, call, array, filter::ball(reach, radius), edges)?;
    builder.leaf(filtered, value.loose, &call.span)
}
