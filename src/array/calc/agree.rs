//! Where arrays meet: by the names of their axes, whose lengths are equal or one, and whose labels and coordinates agree.

use std::collections::BTreeMap;

use crate::axis::Axis;
use crate::unit;

/// Names of axes along which elements were chosen by their indices: what they are called there need not agree. With them the
/// label of the only element, where it is one that has a label.
pub type Loose = BTreeMap<String, Option<String>>;

/// What is chosen of all of `operands`; labels that differ are nobody's.
pub fn together<'a>(operands: impl Iterator<Item = &'a Loose>) -> Loose {
    let mut all = Loose::new();
    for (name, label) in operands.flatten() {
        let known = all.entry(name.clone()).or_insert_with(|| label.clone());
        known.take_if(|known| label.as_ref() != Some(known));
    }
    all
}

/// Axes of what operands make together: those of the operand with most axes, with axes that it lacks in front.
///
/// # Errors
/// What does not agree, with both values.
pub fn meet(operands: &[(&[Axis], &Loose)]) -> Result<Vec<Axis>, String> {
    // The first of those with most axes.
    let most = operands.iter().rev().max_by_key(|o| o.0.len()).map_or(&[][..], |o| o.0);
    let mut axes: Vec<Axis> = most.to_vec();
    for (own, _) in operands {
        let new = own.iter().filter(|axis| crate::axis::position(&axes, &axis.name).is_none());
        let new: Vec<Axis> = new.cloned().collect();
        axes.splice(0..0, new);
    }
    for axis in &mut axes {
        let of = |o: &(&[Axis], &Loose)| {
            let found = o.0.iter().find(|a| a.name == axis.name)?;
            Some((found.clone(), o.1.contains_key(&axis.name)))
        };
        let mut all = operands.iter().filter_map(of);
        let Some((mut known, mut is_loose)) = all.next() else { continue };
        for (next, next_is_loose) in all {
            if next.length == 1 && known.length > 1 {
                continue;
            }
            if known.length == 1 && next.length > 1 {
                (known, is_loose) = (next, next_is_loose);
                continue;
            }
            if known.length != next.length {
                let Axis { name, length, .. } = &known;
                return Err(format!(
                    "meets lengths {length} and {} along axis {name}: equal or one is needed",
                    next.length
                ));
            }
            if !is_loose && !next_is_loose && known.length > 1 {
                agree(&known, &next)?;
            }
            known.labels = known.labels.or(next.labels);
            if known.calibration.is_none() && known.coordinates.is_none() {
                (known.calibration, known.origin, known.coordinates) =
                    (next.calibration, next.origin, next.coordinates);
            }
        }
        *axis = known;
    }
    Ok(axes)
}

/// Refuses labels, steps and coordinates that say different things of one axis.
fn agree(a: &Axis, b: &Axis) -> Result<(), String> {
    let name = &a.name;
    if let (Some(one), Some(other)) = (&a.labels, &b.labels)
        && let Some(i) = (0..one.len()).find(|&i| one.get(i) != other.get(i))
    {
        let label = |labels: &[String]| labels.get(i).cloned().unwrap_or_default();
        let (one, other) = (label(one), label(other));
        return Err(format!("meets labels '{one}' and '{other}' at {name}={i}: choose with [{name}=..] what meets"));
    }
    let (Some(one), Some(other)) = (&a.calibration, &b.calibration) else { return Ok(()) };
    if !unit::agree(one, other) && a.coordinates.is_none() && b.coordinates.is_none() {
        let (one, other) = (unit::words(one), unit::words(other));
        return Err(format!("meets steps of {one} and {other} along axis {name}"));
    }
    if one.unit != other.unit {
        return Ok(());
    }
    let tolerance = 1e-3 * one.step.abs().max(f64::MIN_POSITIVE);
    let differs = |i: &u64| (a.coordinate(*i) - b.coordinate(*i)).abs() > tolerance;
    // Coordinates by steps differ at the ends if they do anywhere.
    let listed = a.coordinates.is_some() || b.coordinates.is_some();
    let places: Vec<u64> = if listed { (0..a.length).collect() } else { vec![0, a.length - 1] };
    match places.iter().find(|i| differs(i)) {
        Some(&i) => Err(format!(
            "meets coordinates {} and {} {} at {name}={i}: choose with [{name}=..] what meets",
            a.coordinate(i),
            b.coordinate(i),
            one.unit.as_deref().unwrap_or_default()
        )),
        None => Ok(()),
    }
}
