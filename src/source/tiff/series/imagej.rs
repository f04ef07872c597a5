//! ImageJ: a description of `key=value` lines on the first page, which says how many channels, slices and
//! frames follow, and resolution tags that count pixels per the description's unit.
//!
//! Files over 4 GiB have one directory; their planes lie one behind the other, and only the description
//! knows how many they are.

use super::scale::{is_of_print, measure};
use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Provenance};
use crate::error::Error;
use crate::source::tiff::tag::uint;
use crate::source::{Note, NoteKind};
use crate::unit;

/// What a description says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImagejDescription {
    /// Number of planes, as declared.
    pub images: u64,
    /// Number of channels.
    pub channels: u64,
    /// Number of slices.
    pub slices: u64,
    /// Number of frames.
    pub frames: u64,
    /// Names of the axes of planes, slowest first.
    pub order: [char; 3],
    /// Unit of x, as written.
    pub unit: Option<String>,
    /// Unit of y where it differs.
    pub y_unit: Option<String>,
    /// Unit of z where it differs.
    pub z_unit: Option<String>,
    /// Distance of slices.
    pub spacing: Option<f64>,
    /// Time between frames.
    pub interval: Option<f64>,
    /// Unit of that time, as written; seconds if none.
    pub time_unit: Option<String>,
    /// Where x, y and z are zero, in pixels behind the first one.
    pub origins: [Option<f64>; 3],
    /// Offset and factor of values, where they are not 0 and 1.
    pub values: (f64, f64),
}

impl ImagejDescription {
    /// Parses `text` if it is ImageJ's; counts that are zero or no number are an error.
    ///
    /// # Errors
    /// What does not make sense, in words.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        (text.starts_with("ImageJ=") || text.starts_with("SCIFIO=")).then(|| Self::lines(text))
    }

    fn lines(text: &str) -> Result<Self, String> {
        let mut found = Self {
            images: 1,
            channels: 1,
            slices: 1,
            frames: 1,
            order: ['t', 'z', 'c'],
            values: (0.0, 1.0),
            ..Self::default()
        };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let count = || match value.parse::<u64>() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("'{key}={value}' is no count")),
            };
            let finite = || value.parse::<f64>().ok().filter(|v| v.is_finite());
            let positive = || finite().filter(|v| *v > 0.0);
            let text = || (!value.is_empty()).then(|| value.to_owned());
            match key {
                "images" => found.images = count()?,
                "channels" => found.channels = count()?,
                "slices" => found.slices = count()?,
                "frames" => found.frames = count()?,
                "order" => found.order = order(value).ok_or_else(|| format!("order '{value}' is not known"))?,
                "unit" => found.unit = text(),
                "yunit" => found.y_unit = text(),
                "zunit" => found.z_unit = text(),
                "spacing" => {
                    found.spacing = value.parse::<f64>().ok().map(f64::abs).filter(|v| *v > 0.0 && v.is_finite())
                }
                "finterval" => found.interval = positive(),
                "tunit" => found.time_unit = text(),
                "xorigin" => found.origins[0] = finite(),
                "yorigin" => found.origins[1] = finite(),
                "zorigin" => found.origins[2] = finite(),
                "c0" => found.values.0 = value.parse().unwrap_or(0.0),
                "c1" => found.values.1 = value.parse().unwrap_or(1.0),
                _ => {}
            }
        }
        Ok(found)
    }

    fn length(&self, axis: char) -> u64 {
        match axis {
            't' => self.frames,
            'z' => self.slices,
            _ => self.channels,
        }
    }
}

/// Axes, slowest first, of an order that names the fastest first.
fn order(text: &str) -> Option<[char; 3]> {
    match text.to_lowercase().as_str() {
        "czt" | "default" | "xyczt" => Some(['t', 'z', 'c']),
        "ctz" | "xyctz" => Some(['z', 't', 'c']),
        "zct" | "xyzct" => Some(['t', 'c', 'z']),
        "ztc" | "xyztc" => Some(['c', 't', 'z']),
        "tcz" | "xytcz" => Some(['z', 'c', 't']),
        "tzc" | "xytzc" => Some(['c', 'z', 't']),
        _ => None,
    }
}

/// The series that ImageJ's description makes of the file.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let Some(description) = cx.descriptions.iter().find_map(|d| ImagejDescription::parse(d)) else { return Ok(None) };
    let mut description = description.map_err(Unusable::Ignore)?;
    let kind = cx.directory.kind(0);
    let n_pages = u64::from(cx.directory.n_pages());
    // Samples of a pixel may be declared as channels.
    let samples = u64::from(kind.samples);
    if samples > 1 && samples == description.channels {
        let rest = description.frames.saturating_mul(description.slices);
        if kind.planar || description.images == rest {
            description.channels = 1;
        }
    }
    let [a, b, c] = description.order.map(|name| description.length(name));
    let declared = a.checked_mul(b).and_then(|n| n.checked_mul(c)).ok_or_else(too_many)?;
    let mut n = declared;
    if n == 1 {
        n = if description.images > 1 && n_pages == 1 { description.images } else { n_pages };
    }
    let mut axes: Vec<Axis> = description.order.iter().map(|&name| Axis::new(name, description.length(name))).collect();
    if n != declared {
        // Planes that no count explains: slices, as ImageJ itself takes them.
        axes.iter_mut().filter(|a| a.name == "z").for_each(|axis| axis.length = n);
    }
    let n_long = axes.iter().filter(|a| a.length > 1).count();
    let pages = pages(cx, n, n_long)?;
    // Only what is there needs a name; one index of a known step is worth keeping.
    calibrate(&mut axes, &description);
    axes.retain(|a| a.length > 1 || a.calibration.is_some());
    let mut page_axes = kind.axes();
    calibrate_page(&mut page_axes, &description, kind.resolution);
    axes.extend(page_axes);
    place(&mut axes, &description);
    let mut series = cx.series("ImageJ", axes, pages)?;
    describe_channels(cx, &mut series, n);
    if description.values != (0.0, 1.0) {
        let (offset, factor) = description.values;
        let text = format!("values are kept as stored: ImageJ's calibration of {offset} + {factor} v is not applied");
        series.notes.push(Note::new(NoteKind::OffsetNotApplied, text));
    }
    Ok(Some(vec![series]))
}

fn too_many() -> Unusable {
    Unusable::Ignore("counts more planes than there can be".to_owned())
}

/// Where the `n` planes of `n_long` axes are.
fn pages(cx: &Context<'_>, n: u64, n_long: usize) -> Result<PageList, Unusable> {
    let directory = cx.directory;
    let n_pages = u64::from(directory.n_pages());
    if n_pages >= n {
        return Ok(PageList::Range { first: 0, n: n as u32 });
    }
    let kind = directory.kind(0);
    let plane = kind.plane_bytes().ok_or_else(too_many)?;
    let needed = n.checked_mul(plane).ok_or_else(too_many)?;
    let file = directory.file_bytes;
    if let Some(offset) = directory.contiguous_offset(0).filter(|_| n_pages == 1) {
        if let Some(planes) = cx.one_behind_another(0, n)? {
            return Ok(planes);
        }
        // A stale description on a single plane is common; planes that break off are not.
        if file.saturating_sub(offset) >= plane.saturating_mul(2) {
            return Err(Unusable::Refuse(Error::format(format!(
                "ImageJ's description counts {n} planes of {plane} bytes from byte {offset} on, which need \
                 {needed} bytes, but the file has {file}: it is not whole"
            ))));
        }
    }
    if let Some(pages) = cx.broken_off(0, n) {
        return Ok(pages);
    }
    let text = format!("it counts {n} planes, but the file has {n_pages}");
    // Planes along one axis are what they are, however many; along several, nobody knows which are there.
    if n_long > 1 && n_pages > 1 && cx.options.pages.is_none() {
        return Err(Unusable::Refuse(Error::format(format!(
            "ImageJ's description does not fit: {text}; say with --pages what they are, such as --pages t,z=3,c=2"
        ))));
    }
    Err(Unusable::Ignore(text))
}

fn calibrate(axes: &mut [Axis], description: &ImagejDescription) {
    let unit = description.z_unit.as_deref().or(description.unit.as_deref());
    if let Some(step) = description.spacing.filter(|_| !unit.is_some_and(unit::is_pixel)) {
        measure(axes, "z", step, unit.and_then(unit::described), Provenance::ImageJ);
    }
    if let Some(step) = description.interval {
        let unit = description.time_unit.as_deref().map_or(Some("second"), unit::described);
        measure(axes, "t", step, unit, Provenance::ImageJ);
    }
}

/// Pixel size: resolution tags, in the unit of the description. Without one, ImageJ's pixel is one pixel.
fn calibrate_page(axes: &mut [Axis], description: &ImagejDescription, resolution: [Option<(u32, u32)>; 2]) {
    let x_unit = description.unit.as_deref().and_then(unit::described);
    let y_unit = description.y_unit.as_deref().map_or(x_unit, unit::described);
    for (name, unit, resolution) in [("x", x_unit, resolution[0]), ("y", y_unit, resolution[1])] {
        let (Some(unit), Some((n, d))) = (unit, resolution) else { continue };
        if n == 0 || d == 0 {
            continue;
        }
        let step = f64::from(d) / f64::from(n);
        if !is_of_print(1.0 / step, unit) {
            measure(axes, name, step, Some(unit), Provenance::ImageJ);
        }
    }
}

/// Where axes of a known step begin.
fn place(axes: &mut [Axis], description: &ImagejDescription) {
    for (name, origin) in ["x", "y", "z"].into_iter().zip(description.origins) {
        if let Some(axis) = axes.iter_mut().find(|a| a.name == name)
            && let (Some(origin), Some(calibration)) = (origin.filter(|o| *o != 0.0), &axis.calibration)
        {
            axis.origin = -origin * calibration.step;
        }
    }
}

const METADATA_COUNTS: u16 = 50838;
const METADATA: u16 = 50839;
/// Most bytes of ImageJ's own metadata that are looked at.
const METADATA_BYTES: u64 = 16 << 20;

/// Names the channels by the slice labels, where all planes of a channel have one label, and gives them the colours of their
/// tables.
fn describe_channels(cx: &Context<'_>, series: &mut Series, n: u64) {
    let Some(position) = series.axes.iter().position(|a| a.name == "c") else { return };
    let n_leading = series.axes.len() - cx.directory.kind(0).axes().len();
    if position >= n_leading {
        return;
    }
    let tag = |tag| cx.tag(tag, METADATA_BYTES).ok().flatten();
    let (Some(counts), Some(bytes)) = (tag(METADATA_COUNTS), tag(METADATA)) else { return };
    let length = series.axes[position].length as usize;
    let tables = values(LOOKUP_TABLES, &counts.uints(), &bytes.bytes, bytes.big_endian);
    let colours: Option<Vec<String>> = tables.into_iter().map(colour).collect();
    // Grey says nothing of a channel.
    let tells = |all: &Vec<String>| all.len() == length && all.iter().any(|colour| colour != "FFFFFF");
    series.axes[position].colours = colours.filter(tells);
    let labels = labels(&counts.uints(), &bytes.bytes, bytes.big_endian);
    if labels.len() as u64 != n {
        return;
    }
    let inner: u64 = series.axes[position + 1..n_leading].iter().map(|a| a.length).product();
    let mut names: Vec<Option<&str>> = vec![None; length];
    for (plane, label) in labels.iter().enumerate() {
        let channel = plane / (inner.max(1) as usize) % length;
        // The first line is the label; what follows is information of the program that made the plane.
        let label = label.lines().next().unwrap_or_default().trim();
        match names[channel] {
            None => names[channel] = Some(label),
            Some(known) if known == label => {}
            Some(_) => return,
        }
    }
    if names.iter().all(|name| name.is_some_and(|n| !n.is_empty())) {
        series.axes[position].labels = Some(names.into_iter().flatten().map(str::to_owned).collect());
    }
}

const LABELS: u32 = u32::from_be_bytes(*b"labl");
const LOOKUP_TABLES: u32 = u32::from_be_bytes(*b"luts");

/// Slice labels of ImageJ's private metadata.
pub fn labels(counts: &[u64], bytes: &[u8], big_endian: bool) -> Vec<String> {
    let text = |value: &[u8]| {
        let units = value.chunks_exact(2).map(|u| uint(u, big_endian) as u16);
        char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
    };
    values(LABELS, counts, bytes, big_endian).into_iter().map(text).collect()
}

/// The colour that a table of 256 reds, greens and blues goes to evenly from black, as six hexadecimal digits.
fn colour(table: &[u8]) -> Option<String> {
    let is_even = |part: &[u8]| {
        let most = usize::from(part[255]);
        part.iter().enumerate().all(|(i, value)| (i * most / 255).abs_diff(usize::from(*value)) <= 1)
    };
    let parts = table.as_chunks::<256>().0;
    let all = (table.len() == 768 && parts.iter().all(|part| is_even(part))).then_some(parts)?;
    Some(all.iter().map(|part| format!("{:02X}", part[255])).collect())
}

/// Values of one type in ImageJ's private metadata.
///
/// The block opens with a magic number and pairs of type and count; the values follow in that order, their
/// sizes are in the tag of counts, the first of which is the size of the opening.
fn values<'b>(wanted: u32, counts: &[u64], bytes: &'b [u8], big_endian: bool) -> Vec<&'b [u8]> {
    let word = |b: &[u8]| -> Option<u32> { Some(uint(b.get(..4)?, big_endian) as u32) };
    let read = || -> Option<Vec<&'b [u8]>> {
        let (&head, sizes) = counts.split_first()?;
        let (head, mut rest) = bytes.split_at_checked(usize::try_from(head).ok()?)?;
        if word(head)? != u32::from_be_bytes(*b"IJIJ") {
            return None;
        }
        let mut sizes = sizes.iter();
        for pair in head.get(4..)?.chunks_exact(8) {
            let (kind, count) = (word(pair)?, word(&pair[4..])?);
            let mut found = Vec::new();
            for _ in 0..count {
                let size = usize::try_from(*sizes.next()?).ok()?;
                let (value, after) = rest.split_at_checked(size)?;
                rest = after;
                found.push(value);
            }
            if kind == wanted {
                return Some(found);
            }
        }
        None
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ImagejDescription {
        ImagejDescription::parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_hyperstack_says_its_counts_and_steps() {
        let text = "ImageJ=1.53f\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\nunit=\\u00B5m\n\
                    spacing=0.4\nfinterval=1.5\nloop=false\n";
        let found = parse(text);
        assert_eq!((found.images, found.channels, found.slices, found.frames), (12, 2, 3, 2));
        assert_eq!(found.order, ['t', 'z', 'c']);
        assert_eq!((found.spacing, found.interval), (Some(0.4), Some(1.5)));
        let mut axes = vec![Axis::new("t", 2), Axis::new("z", 3), Axis::new("c", 2)];
        calibrate(&mut axes, &found);
        let z = axes[1].calibration.as_ref().unwrap();
        assert_eq!((z.step, z.unit.as_deref()), (0.4, Some("micrometer")));
        assert_eq!(axes[0].calibration.as_ref().unwrap().unit.as_deref(), Some("second"));
    }

    #[test]
    fn a_pixel_is_no_unit() {
        for text in ["ImageJ=1.5\n", "ImageJ=1.5\nunit=pixel\nspacing=2\n", "ImageJ=1.5\nunit=\n"] {
            let found = parse(text);
            let mut axes = vec![Axis::new("z", 3), Axis::new("y", 4), Axis::new("x", 5)];
            calibrate(&mut axes, &found);
            calibrate_page(&mut axes, &found, [Some((1, 1)), Some((1, 1))]);
            assert!(axes.iter().all(|a| a.calibration.is_none()), "{text}");
        }
    }

    #[test]
    fn nonsense_is_said_and_other_text_is_not_ours() {
        assert!(ImagejDescription::parse("OME").is_none());
        assert!(ImagejDescription::parse("ImageJ=1\nslices=0\n").unwrap().is_err());
        assert!(ImagejDescription::parse("ImageJ=1\nimages=-4\n").unwrap().is_err());
    }

    #[test]
    fn pixels_before_zero_are_a_place_of_axes_with_a_step() {
        let found = parse("ImageJ=1.5\nunit=nm\nspacing=2\nxorigin=-20\nyorigin=3\nzorigin=0.5\n");
        let mut axes = vec![Axis::new("z", 3), Axis::new("y", 4), Axis::new("x", 5)];
        calibrate(&mut axes, &found);
        calibrate_page(&mut axes, &found, [Some((2, 1)), None]);
        place(&mut axes, &found);
        assert_eq!([0, 1, 2].map(|i| axes[i].origin), [-1.0, 0.0, 10.0]);
    }

    #[test]
    fn a_table_that_goes_to_a_colour_is_that_colour() {
        let ramp = |most: u32| (0..256).map(move |i| (i * most / 255) as u8);
        let table: Vec<u8> = ramp(255).chain(ramp(128)).chain(ramp(0)).collect();
        assert_eq!(colour(&table).as_deref(), Some("FF8000"));
        let mut fire = table.clone();
        fire[100] += 9;
        assert!(colour(&fire).is_none() && colour(&table[..767]).is_none());
    }

    #[test]
    fn labels_come_out_of_their_block() {
        let mut bytes = b"IJIJlabl".to_vec();
        bytes.extend(2u32.to_be_bytes());
        for text in ["DAPI", "GFP"] {
            bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        }
        assert_eq!(labels(&[12, 8, 6], &bytes, true), ["DAPI", "GFP"]);
        assert!(labels(&[12, 8, 7], &bytes, true).is_empty());
        assert!(labels(&[], &[], true).is_empty());
    }
}
