//! Functions that choose, move, join and turn elements.

use std::ops::Range;
use std::sync::Arc;

use crate::array::bins::{Bins, Statistic};
use crate::array::calc::{Loose, Operation, Values, meet, together};
use crate::array::cumulative::Cumulative;
use crate::array::extend::{Mode, Padded};
use crate::array::sheared::Sheared;
use crate::array::{Arranged, Array, Joined};
use crate::axis::{Axis, Calibration, Provenance};
use crate::dtype::DType;
use crate::error::Result;
use crate::expression::builder::{Builder, Value};
use crate::expression::call::{Call, Function, MANY, function, kept_within};
use crate::expression::syntax::{Argument, Expression, NodeKind};
use crate::unit;

pub(super) const FUNCTIONS: &[Function] = &[
    kept_within(function("shift", 1, "elements moved along axes: shift(a, t=1)", shift)),
    function("diff", 2, "differences of neighbours: diff(a, t)", diff),
    function("cumsum", 2, "sums from the first element on: cumsum(a, t)", cumsum),
    kept_within(function("stack", MANY, "arrays along a new axis: stack(a, b, axis=c)", stack)),
    kept_within(function("concat", MANY, "arrays one behind the other: concat(a, b, axis=t)", concat)),
    kept_within(function("flip", MANY, "elements in reverse: flip(a, x)", flip)),
    kept_within(function("transpose", MANY, "axes in another order: transpose(a, x, y)", transpose)),
    kept_within(function("crop", 1, "a part, as in brackets: crop(a, y=10:20)", crop)),
    kept_within(function("pad", 1, "elements before and behind: pad(a, y=2, x=1:3, mode=constant)", pad)),
    kept_within(function("bin", 2, "one element for several: bin(a, y=2, x=2, mean)", bin)),
    function("clip", 3, "values from a least to a greatest: clip(a, 0, 255)", clip),
    function("whole", 2, "an integer type, checked as --dtype: whole(a, uint8)", whole),
    kept_within(function(
        "deskew",
        1,
        "light-sheet planes where they were: deskew(a, angle=31.8, z=0.5um, x=0.1um)",
        deskew,
    )),
    function("threshold", 2, "what is brighter than the rest: threshold(a, otsu)", threshold),
    function("flatfield", 3, "(raw - dark) / (flat - dark) * mean(flat - dark): flatfield(raw, flat, dark)", flatfield),
];

fn whole_number(builder: &Builder<'_>, text: &str, span: &Range<usize>) -> Result<i64> {
    text.trim().parse().map_err(|_| builder.fault(span, format!("'{text}' is no whole number")))
}

fn shift(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let mut room = vec![(0, 0); array.axes().len()];
    let mut loose = value.loose;
    for (i, text, span) in call.by_axis(builder, array.axes(), &["mode", "value"])? {
        let by = whole_number(builder, text, &span)?;
        room[i] = (by, -by);
        loose.insert(array.axes()[i].name.clone(), None);
    }
    let edges = call.edges(builder, array.dtype(), Mode::Constant)?;
    let axes = array.axes().to_vec();
    // What is moved keeps its places.
    let padded: Arc<dyn Array> =
        Arc::new(Padded::new(array, &room, edges).map_err(|e| builder.pointed(e, &call.span))?);
    let moved = Arranged::renamed(padded, axes);
    builder.leaf(Arc::new(moved), loose, &call.span)
}

fn named_axis(builder: &Builder<'_>, call: &Call<'_>, axes: &[Axis]) -> Result<usize> {
    match (call.word(1), call.get("axis")) {
        (Some(name), _) | (None, Some(name)) => builder.axis(axes, name, &call.span),
        _ => Err(builder.fault(&call.span, format!("{} needs an axis", call.name))),
    }
}

fn diff(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let name = array.axes()[named_axis(builder, call, array.axes())?].name.clone();
    let later = builder.selected(value.clone(), &format!("{name}=1:"), &call.span)?;
    let earlier = builder.selected(value, &format!("{name}=:-1"), &call.span)?;
    builder.apply(Operation::Subtract, vec![later, earlier], &call.span)
}

fn cumsum(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let axis = named_axis(builder, call, array.axes())?;
    let values = match value.node.values {
        Values::Single | Values::Double => Values::Double,
        Values::Bool => Values::Whole { low: 0, high: array.axes()[axis].length.into() },
        Values::Whole { low, high } => {
            let n = i128::from(array.axes()[axis].length);
            Values::Whole { low: (low * n).min(low), high: (high * n).max(high) }
        }
    };
    let sum = Cumulative::new(
        array,
        axis,
        if matches!(values, Values::Double) { DType::Float64 } else { DType::Int64 },
        builder.skips,
    );
    if values.dtype().is_none() {
        return Err(builder.fault(&call.span, "has sums that no integer type holds: use float64(..)"));
    }
    Ok(builder.leaf_of(Arc::new(sum), value.loose, values))
}

/// Arguments by place, and their arrays.
type Alike = (Vec<Value>, Vec<Arc<dyn Array>>);

/// The arguments by place, and their arrays of one type that holds all their values.
fn alike(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Alike> {
    let values = call.placed.iter().map(|e| builder.value(e)).collect::<Result<Vec<_>>>()?;
    let all = values.iter().map(|v| v.node.values).reduce(Values::holding).and_then(Values::dtype);
    let dtype = all.ok_or_else(|| builder.fault(&call.span, "no type holds the values of all of them"))?;
    let arrays = values.iter().map(|value| builder.array_as(value, Some(dtype), &call.span)).collect::<Result<_>>()?;
    Ok((values, arrays))
}

/// `arrays`, which are those of `values`, one behind the other along axis `name`; their other axes agree as those of operands
/// do.
fn joined(
    builder: &Builder<'_>,
    call: &Call<'_>,
    (values, arrays): (&[Value], Vec<Arc<dyn Array>>),
    name: &str,
) -> Result<Joined> {
    let joined = Joined::new(arrays, name).map_err(|e| builder.pointed(e, &call.span))?;
    let other = |value: &Value| value.axes.iter().filter(|axis| axis.name != name).cloned().collect();
    let others: Vec<Vec<Axis>> = values.iter().map(other).collect();
    let met: Vec<(&[Axis], &Loose)> = others.iter().zip(values).map(|(axes, v)| (&axes[..], &v.loose)).collect();
    meet(&met).map_err(|why| builder.fault(&call.span, format!("'{}' {why}", call.name)))?;
    Ok(joined)
}

fn stack(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let name = call.named(builder, &["axis"])?.remove(0);
    let name = if name.is_empty() { "c".to_owned() } else { name };
    let (values, arrays) = alike(builder, call)?;
    // An element that was chosen brings its name.
    let lifted = values.iter().zip(arrays).map(|(value, array)| {
        let labels = value.loose.get(&name).cloned().flatten().map(|label| vec![label]);
        Ok(Arc::new(Arranged::lifted(array, Axis { labels, ..Axis::new(&name, 1) })?) as Arc<dyn Array>)
    });
    let lifted = lifted.collect::<Result<Vec<_>>>().map_err(|e| builder.pointed(e, &call.span))?;
    let joined = joined(builder, call, (&values, lifted), &name)?;
    let mut loose = together(values.iter().map(|v| &v.loose));
    loose.remove(&name);
    builder.leaf(Arc::new(joined), loose, &call.span)
}

fn concat(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let name = call.named(builder, &["axis"])?.remove(0);
    if name.is_empty() {
        return Err(builder.fault(&call.span, "say along which axis: axis=t"));
    }
    let (values, arrays) = alike(builder, call)?;
    let joined = joined(builder, call, (&values, arrays), &name)?;
    let parts: Vec<&Axis> = values.iter().flat_map(|v| v.axes.iter().find(|axis| axis.name == name)).collect();
    let is_loose = values.iter().any(|v| v.loose.contains_key(&name));
    let steps = steps_behind(&parts, is_loose).map_err(|why| builder.fault(&call.span, format!("'concat' {why}")))?;
    let mut loose = together(values.iter().map(|v| &v.loose));
    loose.insert(name.clone(), None);
    let Some((calibration, origin)) = steps else { return builder.leaf(Arc::new(joined), loose, &call.span) };
    let mut axes = joined.axes().to_vec();
    axes.iter_mut().filter(|axis| axis.name == name).for_each(|axis| {
        (axis.calibration, axis.origin, axis.coordinates) = (calibration.clone(), origin, None);
    });
    builder.leaf(Arc::new(Arranged::renamed(Arc::new(joined), axes)), loose, &call.span)
}

/// Step and origin of axes one behind the other whose places are not those of one axis, since they do not go on: the step that
/// all have. `None` where places are what they are.
fn steps_behind(parts: &[&Axis], is_loose: bool) -> Result<Option<(Option<Calibration>, f64)>, String> {
    let steps: Option<Vec<&Calibration>> = parts.iter().map(|axis| axis.calibration.as_ref()).collect();
    let Some([first, others @ ..]) = steps.as_deref() else { return Ok(None) };
    if parts.iter().any(|axis| axis.coordinates.is_some()) {
        return Ok(None);
    }
    let places: Vec<f64> = parts.iter().flat_map(|axis| (0..axis.length).map(|i| axis.coordinate(i))).collect();
    let goes_on = |forth: fn(&f64, &f64) -> bool| places.windows(2).all(|pair| forth(&pair[0], &pair[1]));
    if others.iter().all(|step| step.unit == first.unit) && (goes_on(f64::lt) || goes_on(f64::gt)) {
        return Ok(None);
    }
    match others.iter().find(|step| !unit::agree(first, step)) {
        None => Ok(Some((Some((*first).clone()), parts[0].origin))),
        Some(_) if is_loose => Ok(Some((None, 0.0))),
        Some(other) => {
            let (one, other, name) = (unit::words(first), unit::words(other), &parts[0].name);
            Err(format!(
                "meets steps of {one} and {other} along axis {name}, and places that do not follow one another"
            ))
        }
    }
}

fn flip(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, _) = call.first(builder)?;
    let names: Vec<&str> = (1..call.placed.len()).filter_map(|i| call.word(i)).collect();
    if names.is_empty() {
        return Err(builder.fault(&call.span, "say along which axes: flip(a, x)"));
    }
    let choice = names.iter().map(|name| format!("{name}=::-1")).collect::<Vec<_>>().join(",");
    builder.selected(value, &choice, &call.span)
}

fn transpose(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let names: Vec<&str> = (1..call.placed.len()).filter_map(|i| call.word(i)).collect();
    let mut axes = Vec::new();
    for name in &names {
        axes.push(array.axes()[builder.axis(array.axes(), name, &call.span)?].clone());
    }
    if names.is_empty() {
        axes = array.axes().iter().rev().cloned().collect();
    }
    if axes.len() != array.axes().len() {
        return Err(builder.fault(&call.span, format!("name all {} axes, or none to reverse them", array.axes().len())));
    }
    let arranged = Arranged::new(array, axes).map_err(|e| builder.pointed(e, &call.span))?;
    builder.leaf(Arc::new(arranged), value.loose, &call.span)
}

fn crop(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let parts = call.by_axis(builder, array.axes(), &[])?;
    let choice: Vec<String> = parts.iter().map(|(i, text, _)| format!("{}={text}", array.axes()[*i].name)).collect();
    // A part keeps its places, so that parts of one array meet where they were.
    let loose = value.loose.clone();
    builder.selected(value, &choice.join(","), &call.span).map(|cropped| Value { loose, ..cropped })
}

fn pad(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let mut room = vec![(0, 0); array.axes().len()];
    for (i, text, span) in call.by_axis(builder, array.axes(), &["mode", "value"])? {
        let (before, after) = text.split_once(':').unwrap_or((text, text));
        room[i] = (whole_number(builder, before, &span)?, whole_number(builder, after, &span)?);
        if room[i].0 < 0 || room[i].1 < 0 {
            return Err(builder.fault(&span, "takes nothing away: use crop"));
        }
    }
    let edges = call.edges(builder, array.dtype(), Mode::Constant)?;
    let padded = Padded::new(array, &room, edges).map_err(|e| builder.pointed(e, &call.span))?;
    builder.leaf(Arc::new(padded), value.loose, &call.span)
}

fn bin(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let mut factors = vec![1u64; array.axes().len()];
    for (i, text, span) in call.by_axis(builder, array.axes(), &[])? {
        factors[i] = match text.trim().parse() {
            Ok(n) if n > 0 && n <= array.axes()[i].length => n,
            _ => {
                return Err(builder.fault(
                    &span,
                    format!("'{text}' elements cannot be one along an axis of {}", array.axes()[i].length),
                ));
            }
        };
    }
    let statistic = match call.word(1).unwrap_or("mean") {
        "mean" => Statistic::Mean,
        "sum" => Statistic::Sum,
        "min" => Statistic::Min,
        "max" => Statistic::Max,
        other => return Err(builder.fault(&call.span, format!("'{other}' is no way to bin: mean, sum, min or max"))),
    };
    let n: i128 = factors.iter().map(|&f| i128::from(f)).product();
    let values = match (statistic, value.node.values) {
        (Statistic::Min | Statistic::Max, values) => values,
        (Statistic::Mean, values) => values.with_fractions(),
        (Statistic::Sum, Values::Whole { low, high }) => {
            Values::Whole { low: (low * n).min(low), high: (high * n).max(high) }
        }
        (Statistic::Sum, Values::Bool) => Values::Whole { low: 0, high: n },
        (Statistic::Sum, values) => values,
    };
    let dtype = values.dtype().ok_or_else(|| builder.fault(&call.span, "has sums that no integer type holds"))?;
    let binned: Arc<dyn Array> = Arc::new(Bins::new(array, factors, statistic, dtype, builder.skips));
    builder.tell(call.text.clone(), &binned);
    Ok(builder.leaf_of(binned, value.loose, values))
}

fn clip(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    call.expects(builder, 3, &[])?;
    let mut values = call.placed.iter().map(|e| builder.value(e)).collect::<Result<Vec<_>>>()?.into_iter();
    let (Some(value), Some(low), Some(high)) = (values.next(), values.next(), values.next()) else {
        return Err(builder.fault(&call.span, "clip takes an array, the least and the greatest value"));
    };
    let above = builder.apply(Operation::Maximum, vec![value, low], &call.span)?;
    builder.apply(Operation::Minimum, vec![above, high], &call.span)
}

fn whole(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, _) = call.first(builder)?;
    let dtype: DType = call.word(1).unwrap_or_default().parse().map_err(|e| builder.pointed(e, &call.span))?;
    let array = builder.array_as(&value, Some(dtype), &call.span)?;
    builder.leaf(array, value.loose, &call.span)
}

/// Planes of a stage scan lie `cos(angle)` of the way of the stage from each other along x, and `sin(angle)` along z.
fn deskew(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, array) = call.first(builder)?;
    let [angle, z, x] = &call.named(builder, &["angle", "z", "x"])?[..] else { return Ok(value) };
    let angle: f64 =
        angle.parse().map_err(|_| builder.fault(&call.span, "say how steep the sheet is, in degrees: angle=31.8"))?;
    let (over, along) = (builder.axis(array.axes(), "z", &call.span)?, builder.axis(array.axes(), "x", &call.span)?);
    let size = |text: &str, axis: &Axis| -> Result<Calibration> {
        if let Ok(step) = text.parse::<f64>() {
            // A number alone is measured as the axis is.
            let unit = axis.calibration.as_ref().and_then(|own| own.unit.clone());
            return Ok(Calibration { step, unit, from: Provenance::CommandLine });
        }
        let known = if text.is_empty() {
            axis.calibration.clone()
        } else {
            Some(unit::quantity(text).map_err(|e| builder.pointed(e, &call.span))?)
        };
        known.ok_or_else(|| {
            builder.fault(&call.span, format!("say the voxel size along {}, as in {}=0.5um", axis.name, axis.name))
        })
    };
    let length =
        |size: &Calibration| size.step.abs() * size.unit.as_deref().and_then(unit::factor).map_or(1.0, |f| f.0);
    let (mut apart, wide) = (size(z, &array.axes()[over])?, size(x, &array.axes()[along])?);
    // At 90 degrees this is nothing to the last bit.
    let shift = length(&apart) * (90.0 - angle).to_radians().sin() / length(&wide);
    apart.step *= angle.to_radians().sin().abs();
    if apart.step == 0.0 {
        return Err(builder.fault(&call.span, format!("planes of an angle of {angle} degrees lie in one another")));
    }
    if !shift.is_finite() || shift.abs() > 1e4 {
        return Err(builder.fault(&call.span, format!("planes would be shifted by {shift} elements each")));
    }
    let sheared = Sheared::new(array, (over, along), shift, [apart, wide], builder.skips);
    let sheared: Arc<dyn Array> = Arc::new(sheared);
    builder.tell(call.text.clone(), &sheared);
    builder.leaf(sheared, value.loose, &call.span)
}

fn threshold(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let (value, _) = call.first(builder)?;
    match call.word(1) {
        Some("otsu") => {
            let limit = crate::expression::reductions::otsu(builder, call, &value)?;
            builder.apply(Operation::Less, vec![limit, value], &call.span)
        }
        _ => Err(builder.fault(&call.span, "say how: threshold(a, otsu); or compare, as in a > 100")),
    }
}

/// Written out: frames that are stacks are their medians.
fn flatfield(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<Value> {
    let [raw, flat, dark] = call.placed[..] else {
        return Err(
            builder.fault(&call.span, "takes the images, flat frames and dark frames: flatfield(raw, flat, dark)")
        );
    };
    call.named(builder, &[])?;
    let at = |kind: NodeKind| Expression { span: call.span.clone(), kind };
    let name = |name: &str| Argument::Placed(at(NodeKind::Name(name.to_owned())));
    let mut frame = |of: &Expression| -> Result<Expression> {
        let axes = builder.value(of)?.axes;
        let pages = axes.iter().filter(|a| a.length > 1 && !matches!(a.name.as_str(), "y" | "x" | "c"));
        let pages: Vec<Argument> = pages.map(|axis| name(&axis.name)).collect();
        if pages.is_empty() {
            return Ok(of.clone());
        }
        let arguments = std::iter::once(Argument::Placed(of.clone())).chain(pages).collect();
        Ok(at(NodeKind::Call("median".to_owned(), arguments)))
    };
    let (flat, dark) = (frame(flat)?, frame(dark)?);
    let of = |operator, a: &Expression, b: &Expression| {
        at(NodeKind::Binary(operator, Box::new(a.clone()), Box::new(b.clone())))
    };
    let gain = of("-", &flat, &dark);
    let mean = at(NodeKind::Call("mean".to_owned(), vec![Argument::Placed(gain.clone()), name("y"), name("x")]));
    let corrected = of("/", &of("-", raw, &dark), &gain);
    builder.value(&of("*", &corrected, &mean))
}
