//! Zeiss LSM: a header of the microscope in a private tag of the first page; every image is followed by a
//! thumbnail, which is left out.

use super::scale::measure;
use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Provenance};
use crate::error::Error;
use crate::source::tiff::tag::uint;

const CZ_LSMINFO: u16 = 34412;
/// Bytes of the header up to its time stamps, which all versions have.
const HEADER_BYTES: usize = 136;

/// The images of a file that has Zeiss's tag.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let directory = cx.directory;
    let Some(tag) = cx.tag(CZ_LSMINFO, 1 << 20)? else { return Ok(None) };
    // Offsets of 32 bits run over and begin again.
    if directory.file_bytes > u64::from(u32::MAX) && !directory.big_tiff {
        return Err(Unusable::Refuse(Error::unsupported(
            "a Zeiss LSM of more than 4 GiB, whose offsets have run over",
        )));
    }
    let header = Header::parse(&tag.bytes).map_err(|e| Unusable::Ignore(e.to_owned()))?;
    let kind = directory.kind(0);
    if u64::from(kind.samples) != header.channels {
        return Err(Unusable::Ignore(format!("it counts {} channels, pages have {}", header.channels, kind.samples)));
    }
    let pages: Vec<u32> = (0..directory.n_pages())
        .filter(|&p| !directory.kind(p).is_secondary() && directory.kind(p).stacks_with(kind))
        .collect();
    let mut axes: Vec<Axis> = header.leading().map_err(|e| Unusable::Ignore(e.to_owned()))?;
    let n: u64 = axes.iter().map(|a| a.length).product();
    if n != pages.len() as u64 {
        return Err(Unusable::Ignore(format!("it counts {n} images, the file has {}", pages.len())));
    }
    axes.retain(|a| a.length > 1);
    axes.extend(kind.axes());
    for name in ["x", "y", "z", "t"] {
        if let Some((step, unit)) = header.step(name) {
            measure(&mut axes, name, step, Some(unit), Provenance::Vendor);
        }
    }
    Ok(Some(vec![cx.series("LSM", axes, PageList::new(pages))?]))
}

/// What the header says.
struct Header {
    z: u64,
    channels: u64,
    t: u64,
    positions: u64,
    mosaic: u64,
    scan: u16,
    /// Size of a voxel along x, y, z in metres.
    voxel_m: [f64; 3],
    interval_s: f64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("it is too short");
        }
        // The file may be of any byte order, its header is not.
        let word = |at: usize| bytes.get(at..at + 4).map_or(0, |b| uint(b, false)) as i32;
        let float = |at: usize| f64::from_bits(uint(&bytes[at..at + 8], false));
        if !matches!(word(0) as u32, 0x0300_494c | 0x0400_494c) {
            return Err("its magic number is not known");
        }
        let count = |at: usize| u64::try_from(word(at)).unwrap_or(0);
        Ok(Self {
            z: count(16),
            channels: count(20),
            t: count(24),
            positions: count(POSITIONS),
            mosaic: count(MOSAIC),
            scan: u16::from_le_bytes([bytes[88], bytes[89]]),
            voxel_m: [float(40), float(48), float(56)],
            interval_s: float(112),
        })
    }

    /// Axes of images, slowest first.
    fn leading(&self) -> Result<Vec<Axis>, &'static str> {
        let scan: &[(&str, u64)] = match self.scan {
            0 => &[("z", self.z)],
            3 => &[("t", self.t)],
            6 | 7 => &[("t", self.t), ("z", self.z)],
            _ => return Err("it is a scan of lines or points"),
        };
        let tiles = [("m", self.mosaic), ("p", self.positions)];
        let axes = tiles.iter().filter(|a| a.1 > 0).chain(scan).map(|&(name, n)| Axis::new(name, n));
        let axes: Vec<Axis> = axes.collect();
        let n = axes.iter().try_fold(1u64, |n, a| n.checked_mul(a.length));
        if n.is_none_or(|n| n == 0) { Err("it counts no images") } else { Ok(axes) }
    }

    fn step(&self, axis: &str) -> Option<(f64, &'static str)> {
        let um = |i: usize| (self.voxel_m[i] * 1e6, "micrometer");
        let step = match axis {
            "x" => um(0),
            "y" => um(1),
            "z" => um(2),
            "t" => (self.interval_s, "second"),
            _ => return None,
        };
        (step.0.is_finite() && step.0 > 0.0).then_some(step)
    }
}

/// Where the header counts stage positions and tiles of a mosaic, in versions that do.
const POSITIONS: usize = 264;
const MOSAIC: usize = 268;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_axes_and_steps() {
        let mut bytes = vec![0; 300];
        bytes[..4].copy_from_slice(&0x0400_494c_u32.to_le_bytes());
        for (at, n) in [(8, 64), (12, 32), (16, 5), (20, 2), (24, 7)] {
            bytes[at..at + 4].copy_from_slice(&i32::to_le_bytes(n));
        }
        bytes[56..64].copy_from_slice(&5e-7_f64.to_le_bytes());
        bytes[88] = 6;
        let header = Header::parse(&bytes).unwrap();
        let axes = header.leading().unwrap();
        assert_eq!(axes.iter().map(|a| (a.name.as_str(), a.length)).collect::<Vec<_>>(), [("t", 7), ("z", 5)]);
        let (step, unit) = header.step("z").unwrap();
        assert!((step - 0.5).abs() < 1e-12 && unit == "micrometer");
        assert!(header.step("x").is_none());
        assert!(Header::parse(&bytes[..100]).is_err());
    }
}
