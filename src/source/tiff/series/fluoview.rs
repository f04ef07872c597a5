//! Olympus FluoView: a header of fixed layout in a private tag lists the dimensions of the array, the fastest
//! first, with step and unit.

use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Calibration, Provenance};
use crate::source::tiff::tag::uint;
use crate::unit;

const MM_HEADER: u16 = 34361;
/// Where the list of dimensions begins, how many it holds, and the bytes of each.
const DIMENSIONS: (usize, usize, usize) = (284, 10, 100);

/// The recording of a file that has FluoView's header.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let Some(tag) = cx.tag(MM_HEADER, 1 << 16)? else { return Ok(None) };
    let kind = cx.directory.kind(0);
    let mut page_axes = kind.axes();
    let mut axes = Vec::new();
    for axis in dimensions(&tag.bytes, tag.big_endian).into_iter().rev().filter(|a| a.length > 1) {
        match page_axes.iter_mut().find(|own| own.name == axis.name && own.length == axis.length) {
            Some(own) => own.calibration = axis.calibration,
            None => axes.push(axis),
        }
    }
    let n = axes.iter().try_fold(1u64, |n, a: &Axis| n.checked_mul(a.length));
    let n_pages = cx.directory.n_pages();
    if n != Some(n_pages.into()) {
        let shape: Vec<String> = axes.iter().map(|a| format!("{} {}", a.name, a.length)).collect();
        return Err(Unusable::Ignore(format!("it counts {}, the file has {n_pages} pages", shape.join(", "))));
    }
    axes.extend(page_axes);
    Ok(Some(vec![cx.series("FluoView", axes, PageList::Range { first: 0, n: n_pages })?]))
}

/// The dimensions of a header, fastest first.
fn dimensions(header: &[u8], big_endian: bool) -> Vec<Axis> {
    let (start, most, size) = DIMENSIONS;
    let entries = header.get(start..).unwrap_or_default().chunks_exact(size).take(most);
    let text = |bytes: &[u8]| bytes.iter().take_while(|&&b| b != 0).map(|&b| char::from(b)).collect::<String>();
    let axes = entries.map(|entry| {
        let length = uint(&entry[16..20], big_endian) as i32;
        let step = f64::from_bits(uint(&entry[28..36], big_endian));
        let name = text(&entry[..16]).trim().to_lowercase();
        let name = match name.as_str() {
            "ch" | "wavelength" => "c",
            "time" => "t",
            other => other,
        };
        let axis = Axis::new(name, u64::try_from(length).unwrap_or(0));
        match unit::described(&text(&entry[36..])).filter(|_| step.is_finite() && step > 0.0) {
            Some(unit) => axis.calibrated(Calibration { step, unit: Some(unit.to_owned()), from: Provenance::Vendor }),
            None => axis,
        }
    });
    axes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_have_length_step_and_unit() {
        let mut header = vec![0; 284];
        for (name, length, step, unit) in
            [("X", 50, 0.5, "um"), ("Y", 40, 0.5, "um"), ("Ch", 2, 1.0, ""), ("Z", 3, 2.0, "um")]
        {
            let mut entry = vec![0; 100];
            entry[..name.len()].copy_from_slice(name.as_bytes());
            entry[16..20].copy_from_slice(&i32::to_le_bytes(length));
            entry[28..36].copy_from_slice(&f64::to_le_bytes(step));
            entry[36..36 + unit.len()].copy_from_slice(unit.as_bytes());
            header.extend(entry);
        }
        let axes = dimensions(&header, false);
        let found: Vec<_> = axes.iter().map(|a| (a.name.as_str(), a.length)).collect();
        assert_eq!(found, [("x", 50), ("y", 40), ("c", 2), ("z", 3)]);
        assert_eq!(axes[3].calibration.as_ref().unwrap().step, 2.0);
        assert!(axes[2].calibration.is_none());
        assert!(dimensions(&header[..100], false).is_empty());
    }
}
