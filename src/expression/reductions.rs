//! Operators of `reduce` as functions: which must be computed before the array can be read, and which are made of
//! what a task reads anyway.

use std::sync::Arc;

use super::builder::{Builder, Value, Wanted};
use super::call::Call;
use super::folded::Folded;
use super::syntax::NodeKind;
use crate::array::calc::Values;
use crate::array::{Array, Held, Holed};
use crate::axis::Axis;
use crate::block::{Block, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::{OPERATORS, Predicate, Reducer, Settings};

/// Groups of those that are computed in one pass: of the same array along the same axes.
pub fn together(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut groups: Vec<Vec<Wanted>> = Vec::new();
    for one in wanted {
        let alike = |group: &&mut Vec<Wanted>| {
            let first = &group[0];
            let told =
                |w: &Wanted| format!("{} {:?} {:?} {:?}", w.of, w.settings.axes, w.settings.predicate, w.settings.ddof);
            // Of the same operator under two names each is computed.
            told(first) == told(&one) && group.iter().all(|w| w.settings.operators != one.settings.operators)
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Bytes of results that are computed beforehand even if a task could make them: the smaller part of a second read.
const SMALL_BYTES: u64 = 64 << 10;

/// Whether a call is one of an operator of `reduce`: what stands behind the array are numbers and names of axes.
pub(super) fn is_reduction(builder: &Builder<'_>, call: &Call<'_>) -> Result<bool> {
    let known = OPERATORS.iter().any(|o| o.name == call.name);
    let plain = |kind: &NodeKind| match kind {
        NodeKind::Name(name) => !builder.is_input(name),
        NodeKind::Integer(_) | NodeKind::Float(_) | NodeKind::Unary(..) => !matches!(call.name, "min" | "max"),
        _ => false,
    };
    Ok(known && call.placed.iter().skip(1).all(|e| plain(&e.kind)))
}

/// The array that an operator of `reduce` gives: axes that it folds are kept, with length one.
pub(super) fn reduce(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let [of, rest @ ..] = &call.placed[..] else {
        return Err(builder.fault(&call.span, format!("{} needs an array", call.name)));
    };
    let value = builder.value(of)?;
    let array = builder.array(&value, &of.span)?;
    let (mut axes, mut numbers) = (Vec::new(), Vec::new());
    for argument in rest {
        match &argument.kind {
            NodeKind::Name(name) => axes.push(builder.axis(array.axes(), name, &argument.span)?),
            _ => numbers.push(builder.text[argument.span.clone()].trim().to_owned()),
        }
    }
    let named: Vec<String> = call.named(builder, &["axis", "ddof", "skipna", "where"])?;
    let mut predicate = Predicate::default();
    if let Some(condition) = &named[3..].first().filter(|c| !c.is_empty()) {
        predicate = condition.parse().map_err(|e: Error| builder.pointed(e, &call.span))?;
    }
    for name in named[0].split([',', ' ']).filter(|n| !n.is_empty()) {
        axes.push(builder.axis(array.axes(), name.trim_matches(['[', ']']), &call.span)?);
    }
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() {
        axes = (0..array.axes().len()).collect();
    }
    let ddof = match named[1].as_str() {
        "" => 0,
        text => text.parse().map_err(|_| builder.fault(&call.span, format!("ddof={text} is no number")))?,
    };
    let operators =
        if numbers.is_empty() { call.name.to_owned() } else { format!("{}={}", call.name, numbers.join(":")) };
    let settings = Settings {
        operators,
        axes,
        ddof,
        predicate: predicate.skipping_nan(matches!(named[2].as_str(), "true" | "1" | "yes")),
        skip_absent: builder.skips,
        empty: builder.skips.then(|| array.fill_bytes()),
        keep_axes: true,
        ..Settings::default()
    };
    let reducer = Reducer::new(array.axes(), array.dtype(), &settings).map_err(|e| builder.pointed(e, &call.span))?;
    let output = reducer.outputs()[0].clone();
    let values = values_of(call.name, value.node.values, &reducer, &array);
    let text = call.text.clone();
    // How many elements are left for each result says which are of none.
    let over: Vec<&str> = settings.axes.iter().map(|&i| array.axes()[i].name.as_str()).collect();
    let condition = if named[3].is_empty() { String::new() } else { format!(", where={}", named[3]) };
    let skipna = if named[2].is_empty() { String::new() } else { format!(", skipna={}", named[2]) };
    let counted = format!("count({of}, {}{condition}{skipna})", over.join(", "));
    let result: Arc<dyn Array> = match (builder.known(&text), builder.known(&counted)) {
        (Some(known), Some(counts)) if builder.skips => Arc::new(Holed::new(known, counts)),
        (Some(known), _) => known,
        _ if !builder.skips && fits(builder, &array, &reducer) => Arc::new(Folded::new(array, reducer)),
        _ => {
            let result = Arc::new(Held::awaited(output.axes.clone(), output.dtype, false));
            let wanted = |text: &str, operators: &str, axes: &[Axis]| Wanted {
                text: text.to_owned(),
                of: of.to_string(),
                array: Arc::clone(&array),
                settings: Settings { operators: operators.to_owned(), ..settings.clone() },
                axes: axes.to_vec(),
                then: None,
            };
            let own = wanted(&text, &settings.operators, &output.axes);
            let n_own = output.axes.len() - array.axes().len();
            let counts = builder.skips.then(|| wanted(&counted, "count", &output.axes[n_own..]));
            builder.want(std::iter::once(own).chain(counts));
            result
        }
    };
    builder.tell(text, &result);
    let values = values.filter(|v| v.dtype().is_some()).or(Values::of(output.dtype));
    let values = values.ok_or_else(|| builder.fault(&call.span, format!("{} is {}", call.name, output.dtype)))?;
    Ok(builder.leaf_of(result, value.loose, values))
}

/// Whether the result is made of what a task reads: its whole lines along the reduced axes take a part of a task's
/// memory.
fn fits(builder: &Builder<'_>, array: &Arc<dyn Array>, reducer: &Reducer) -> bool {
    let output = &reducer.outputs()[0];
    if size_bytes(&output.shape(), output.dtype) <= SMALL_BYTES || reducer.n_passes() > 1 {
        return false;
    }
    let line = |(i, axis): (usize, &Axis)| {
        let whole = if reducer.reduced()[i] { axis.length } else { array.grain(i, 1).1.clamp(1, axis.length.max(1)) };
        // Rows are read as long as they are.
        if i + 1 == array.axes().len() { whole.max(axis.length.min(512)) } else { whole }
    };
    let shape: Vec<u64> = array.axes().iter().enumerate().map(line).collect();
    size_bytes(&shape, array.dtype()).saturating_mul(4) <= builder.room() / 2
}

/// What is known of the results of an operator beyond their type.
fn values_of(name: &str, values: Values, reducer: &Reducer, array: &Arc<dyn Array>) -> Option<Values> {
    let n: i128 =
        (0..array.axes().len()).filter(|&i| reducer.reduced()[i]).map(|i| i128::from(array.axes()[i].length)).product();
    let (low, high) = match values {
        Values::Whole { low, high } => (low, high),
        Values::Bool => (0, 1),
        _ => return None,
    };
    match name {
        "sum" => Some(Values::Whole { low: low.checked_mul(n)?.min(0), high: high.checked_mul(n)?.max(0) }),
        "count" | "unique" | "argmin" | "argmax" => Some(Values::Whole { low: 0, high: n }),
        "min" | "max" | "mode" | "topk" if values != Values::Bool => Some(values),
        "range" => Some(Values::Whole { low: 0, high: high - low }),
        _ => None,
    }
}

/// The value that best tells two kinds of elements apart, which a histogram of all of them gives.
///
/// Source: Otsu, A threshold selection method from gray-level histograms, 1979; ties as in scikit-image.
pub(super) fn otsu(builder: &mut Builder<'_>, call: &Call<'_>, value: &Value) -> Result<Value> {
    let array = builder.array(value, &call.span)?;
    if array.dtype().is_float() || array.dtype().size() > 2 {
        let why = format!(
            "a threshold by otsu is of whole numbers of up to 16 bits, not {}: whole(a, uint16) makes them",
            array.dtype()
        );
        return Err(builder.fault(&call.span, why));
    }
    let (low, high) = crate::array::calc::range(array.dtype()).unwrap_or((0, 1));
    let operators = format!("histogram={}:{}:{}", high - low + 1, low, high + 1);
    let settings = Settings { operators, keep_axes: true, skip_absent: builder.skips, ..Settings::default() };
    let ones = array.axes().iter().map(|axis| Axis { length: 1, labels: None, coordinates: None, ..axis.clone() });
    let axes: Vec<Axis> = ones.collect();
    let text = format!("otsu of {}", call.text);
    let result: Arc<dyn Array> = match builder.known(&text) {
        Some(known) => known,
        None => {
            let of = call.placed[0].to_string();
            let array = Arc::clone(&array);
            builder.want([Wanted { text, of, array, settings, axes: axes.clone(), then: Some(best_cut) }]);
            Arc::new(Held::awaited(axes, DType::Float64, false))
        }
    };
    builder.leaf(result, value.loose.clone(), &call.span)
}

/// The number of the last bin of the lower kind.
fn best_cut(histogram: &Block) -> f64 {
    let counts: Vec<f64> = match histogram.dtype() {
        DType::Float64 => histogram.elements::<f64>().to_vec(),
        _ => histogram.elements::<u64>().iter().map(|&n| n as f64).collect(),
    };
    let (n, sum) = counts.iter().enumerate().fold((0.0, 0.0), |(n, s), (i, c)| (n + c, s + c * i as f64));
    // Of values that are all the same none is above.
    let last = counts.iter().rposition(|c| *c > 0.0).unwrap_or(0);
    let (mut below, mut sum_below, mut best) = (0.0, 0.0, (f64::NEG_INFINITY, last));
    for (i, c) in counts.iter().enumerate() {
        below += c;
        sum_below += c * i as f64;
        let above = n - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let apart = sum_below / below - (sum - sum_below) / above;
        let between = below * above * apart * apart;
        if between > best.0 {
            best = (between, i);
        }
    }
    best.1 as f64
}
