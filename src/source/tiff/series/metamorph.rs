//! MetaMorph stacks (STK): one directory for many planes that lie one behind the other; private tags count
//! them and say when and where each was taken.
//!
//! Source: Molecular Devices, MetaMorph Stack (STK) Image File Format.

use super::scale::measure;
use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Calibration, Provenance};
use crate::error::Error;
use crate::source::tiff::tag::uint;
use crate::unit;

const UIC1: u16 = 33628;
const UIC2: u16 = 33629;

/// The stack of a file that has MetaMorph's tags.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let directory = cx.directory;
    let most = directory.file_bytes;
    let Some(planes) = cx.tag(UIC2, most)? else { return Ok(None) };
    if directory.big_endian || planes.field_type != 5 {
        return Err(Unusable::Ignore("its tags are not as the format has them".to_owned()));
    }
    // Six numbers per plane, though the tag's type says two.
    let n = planes.count;
    let bytes = cx.bytes(planes.at, n.saturating_mul(24))?;
    let records: Vec<[u32; 6]> =
        bytes.chunks_exact(24).map(|r| std::array::from_fn(|i| uint(&r[4 * i..][..4], false) as u32)).collect();
    if n == 0 {
        return Err(Unusable::Ignore("it counts no plane".to_owned()));
    }
    let mut axes = Vec::new();
    if n > 1 {
        axes.push(plane_axis(&records));
    }
    let kind = directory.kind(0);
    axes.extend(kind.axes());
    if let Ok(Some(tag)) = cx.tag(UIC1, most)
        && tag.field_type == 4
        && let Ok(pairs) = cx.bytes(tag.at, tag.count.saturating_mul(8))
    {
        calibrate(cx, &pairs, &mut axes);
    }
    let pages = pages(cx, n)?;
    Ok(Some(vec![cx.series("MetaMorph", axes, pages)?]))
}

/// Where the planes are. One plane of many in silence would be worse than none.
fn pages(cx: &Context<'_>, n: u64) -> Result<PageList, Unusable> {
    let directory = cx.directory;
    if u64::from(directory.n_pages()) >= n {
        return Ok(PageList::Range { first: 0, n: n as u32 });
    }
    let refused = |fault| match fault {
        Unusable::Ignore(why) => {
            Unusable::Refuse(Error::format(format!("MetaMorph's stack header does not fit: {why}")))
        }
        refuse @ Unusable::Refuse(_) => refuse,
    };
    if let Some(planes) = cx.one_behind_another(0, n).map_err(refused)? {
        return Ok(planes);
    }
    let kind = directory.kind(0);
    let Some(offset) = directory.contiguous_offset(0) else {
        return Err(Unusable::Refuse(Error::unsupported(format!(
            "a MetaMorph stack of {n} planes in one directory, stored in pieces or compressed ({})",
            kind.codec().name
        ))));
    };
    let needed = kind.plane_bytes().and_then(|plane| plane.checked_mul(n)).unwrap_or(u64::MAX);
    Err(Unusable::Refuse(Error::format(format!(
        "MetaMorph's tags count {n} planes, which need {needed} bytes from byte {offset} on, but the file has {}: it is \
         not whole",
        directory.file_bytes
    ))))
}

/// The axis of planes: z if every one has a distance, else t if their times differ.
fn plane_axis(records: &[[u32; 6]]) -> Axis {
    let n = records.len() as u64;
    let distances: Vec<f64> = records.iter().map(|r| f64::from(r[0]) / f64::from(r[1])).collect();
    let vendor = |step, unit: &str| Calibration { step, unit: Some(unit.to_owned()), from: Provenance::Vendor };
    if distances.iter().all(|d| *d != 0.0 && d.is_finite()) {
        let even = distances.iter().all(|d| (d - distances[0]).abs() <= 1e-6 * distances[0].abs());
        let axis = Axis::new("z", n);
        return if even { axis.calibrated(vendor(distances[0], "micrometer")) } else { axis };
    }
    // Days and milliseconds of the day.
    let times: Vec<f64> = records.iter().map(|r| f64::from(r[2]) * 86_400_000.0 + f64::from(r[3])).collect();
    let steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    if steps.iter().all(|s| *s != 0.0) {
        let axis = Axis::new("t", n);
        let even = steps.iter().all(|s| *s > 0.0 && (s - steps[0]).abs() <= 1.0);
        return match steps.len() {
            0 => axis,
            len if even => axis.calibrated(vendor((times[len] - times[0]) / len as f64, "millisecond")),
            _ => axis,
        };
    }
    Axis::new("z", n)
}

/// Pixel size from the pairs of number and value, some of which are offsets.
fn calibrate(cx: &Context<'_>, pairs: &[u8], axes: &mut [Axis]) {
    let word = |b: &[u8]| b.get(..4).map_or(0, |b| uint(b, false) as u32);
    let value = |wanted: u32| pairs.chunks_exact(8).find(|p| word(p) == wanted).map(|p| u64::from(word(&p[4..])));
    let fraction = |wanted: u32| {
        let bytes = cx.bytes(value(wanted)?, 8).ok()?;
        let step = f64::from(word(&bytes)) / f64::from(word(&bytes[4..]));
        (step.is_finite() && step > 0.0).then_some(step)
    };
    const SPATIAL: u32 = 3;
    const UNITS: u32 = 6;
    if value(SPATIAL).is_none_or(|v| v == 0) {
        return;
    }
    let text = value(UNITS).and_then(|at| {
        let len = cx.bytes(at, 4).ok().map(|b| u64::from(word(&b))).filter(|&len| len < 1024)?;
        cx.bytes(at + 4, len).ok()
    });
    let text: String = text.unwrap_or_default().iter().take_while(|&&b| b != 0).map(|&b| char::from(b)).collect();
    let Some(unit) = unit::described(&text) else { return };
    for (name, step) in [("x", fraction(4)), ("y", fraction(5))] {
        if let Some(step) = step {
            measure(axes, name, step, Some(unit), Provenance::Vendor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_make_z_and_times_make_t() {
        let z = plane_axis(&[[1, 4, 1, 0, 0, 0], [1, 4, 1, 0, 0, 0]]);
        assert_eq!((z.name.as_str(), z.calibration.unwrap().step), ("z", 0.25));
        let t = plane_axis(&[[0, 1, 1, 86_399_900, 0, 0], [0, 1, 2, 100, 0, 0], [0, 1, 2, 300, 0, 0]]);
        assert_eq!((t.name.as_str(), t.calibration.unwrap().step), ("t", 200.0));
        let uneven = plane_axis(&[[0, 1, 1, 0, 0, 0], [0, 1, 1, 100, 0, 0], [0, 1, 1, 300, 0, 0]]);
        assert!(uneven.calibration.is_none());
        assert_eq!(plane_axis(&[[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).name, "z");
    }
}
