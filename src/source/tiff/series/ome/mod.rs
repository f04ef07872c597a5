//! OME-TIFF: XML on the first page, or in a companion file that it names, tells for every plane of an image
//! which page of which file it is.
//!
//! A file whose image is spread over several files gives its own planes as its array, and the whole as a
//! [`Set`]. SubIFDs, which hold the levels of pyramids, are not followed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::{Context, DESCRIPTION_BYTES, PageList, Series, Unusable};
use crate::axis::{self, Axis, Calibration, Provenance};
use crate::bytes::within;
use crate::error::Error;
use crate::source::tiff::directory::Directory;
use crate::source::{Note, NoteKind, Set};
use crate::unit;

mod members;
pub mod xml;

use xml::{Ome, OmeImage};

/// Planes that one image may have for every page and every TiffData there is: bounds what a short text can
/// make us hold.
const PLANES_PER_ENTRY: u64 = 1 << 16;
/// Planes described for each one that the text places.
const MOST_ABSENT_PER_PLANE: u64 = 1 << 10;
/// Planes of one image, more than any microscope has taken.
const MOST_PLANES: u64 = 1 << 22;
/// Memory that the place of a plane takes while it is worked out.
const PLANE_BYTES: u64 = 64;

/// Where a plane is: index of the file in a list of names, and page.
type Place = Option<(u32, u64)>;

/// The images that the file's OME-XML describes.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let Some(text) = cx.descriptions.iter().find(|d| is_ome(d)) else { return Ok(None) };
    let mut ome = parse(cx, text)?;
    let mut uuid = ome.uuid.clone();
    let elsewhere = ome.metadata_file.is_some();
    if let Some(name) = ome.metadata_file.clone() {
        let text = companion(cx, &name)?;
        // The file's own identity is in its own text.
        ome = parse(cx, &text)?;
        uuid = uuid.or_else(|| ome.uuid.clone());
    }
    let mut all = Vec::new();
    let mut why = None;
    for (index, image) in ome.images.iter().enumerate().take(super::MOST_SERIES) {
        match series(cx, &ome, image, index, uuid.as_deref()) {
            Ok(Some(mut series)) => {
                series.joins_along = Some("p");
                if let Some(set) = &mut series.set {
                    Arc::make_mut(set).elsewhere = elsewhere;
                }
                all.push(series);
            }
            Ok(None) => {}
            Err(Unusable::Ignore(text)) => why = why.or(Some(text)),
            Err(refuse) => return Err(refuse),
        }
    }
    match why {
        Some(text) if all.is_empty() => Err(Unusable::Ignore(text)),
        Some(text) => {
            all[0]
                .notes
                .push(Note::new(NoteKind::DescriptionUnused, format!("an image of the OME-XML is left out: {text}")));
            Ok(Some(all))
        }
        None => Ok(Some(all)),
    }
}

/// What `text` says, if that is not more than may be held.
fn parse(cx: &Context<'_>, text: &str) -> Result<Ome, Unusable> {
    let elements = text.matches("TiffData").count() * size_of::<xml::TiffData>();
    let (needed, limit) = ((text.len() + elements) as u64, cx.options.limit_bytes.unwrap_or(u64::MAX));
    if needed > limit {
        let text = format!("its OME-XML needs {needed} bytes, {limit} may be held: raise --memory");
        return Err(Unusable::Refuse(Error::limit(text)));
    }
    Ome::parse(text).map_err(Unusable::Ignore)
}

/// Whether a description is OME-XML, whole or broken off.
fn is_ome(text: &str) -> bool {
    let text = text.trim();
    let head: String = text.chars().take(4096).collect();
    text.starts_with(['<', '\u{feff}']) && (text.ends_with("OME>") || head.contains("openmicroscopy.org/Schemas/OME"))
}

/// Text of the companion file `name`, beside the TIFF file or below.
fn companion(cx: &Context<'_>, name: &str) -> Result<String, Unusable> {
    let folder = cx.directory.path().parent().unwrap_or(Path::new(""));
    // What is not there is passed over, wherever it would be.
    let outside =
        |e: Error| if folder.join(name).exists() { Unusable::Refuse(e) } else { Unusable::Ignore(e.to_string()) };
    let path = within(folder, name, cx.options.follow).map_err(outside)?;
    let most = cx.options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
    let missing = |e: std::io::Error| Unusable::Ignore(format!("its metadata file '{name}' cannot be read: {e}"));
    let meta = std::fs::metadata(&path).map_err(missing)?;
    if !meta.is_file() {
        return Err(Unusable::Ignore(format!("its metadata file '{name}' is no file")));
    }
    // Bruker's files point to the first of them.
    let mut magic = [0; 4];
    let is_tiff = std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && matches!(&magic, b"II*\0" | b"MM\0*" | b"II+\0" | b"MM\0+");
    if is_tiff {
        let other = Directory::open(&path, cx.options)?;
        let tag = other.tag(0, super::IMAGE_DESCRIPTION, 0, most)?;
        let text = tag.map(|tag| tag.text()).filter(|text| is_ome(text));
        return text.ok_or_else(|| Unusable::Ignore(format!("its metadata file '{name}' has no OME-XML")));
    }
    if meta.len() > most {
        return Err(Unusable::Ignore(format!("its metadata file '{name}' has {} bytes", meta.len())));
    }
    let bytes = std::fs::read(&path).map_err(missing)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().map(|&b| char::from(b)).collect()))
}

/// Axes of the planes of `image` and what one page holds, if the page is like `kind`.
fn plane_axes(image: &OmeImage, samples: u64) -> Result<Vec<(char, u64)>, Unusable> {
    let declared = image.channels.first().and_then(|c| c.samples).unwrap_or(1);
    if image.channels.iter().any(|c| c.samples.unwrap_or(1) != declared) {
        return Err(Unusable::Ignore("its channels have different numbers of samples".to_owned()));
    }
    // Some writers count samples as channels and say so nowhere.
    let count = image.sizes[&'c'];
    let per_plane = if declared == 1 && samples > 1 && count.is_multiple_of(samples) { samples } else { declared };
    if per_plane == 0 || !count.is_multiple_of(per_plane) {
        return Err(Unusable::Ignore(format!("{count} channels in planes of {per_plane} samples")));
    }
    if per_plane != samples {
        return Err(Unusable::Ignore(format!("planes of {per_plane} samples, but pages have {samples}")));
    }
    let length = |&axis: &char| (axis, if axis == 'c' { count / per_plane } else { image.sizes[&axis] });
    Ok(image.order.iter().map(length).collect())
}

/// The series of `image`; none if no plane of it is in this file.
fn series(
    cx: &Context<'_>,
    ome: &Ome,
    image: &OmeImage,
    index: usize,
    uuid: Option<&str>,
) -> Result<Option<Series>, Unusable> {
    let own_name = cx.directory.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let (names, found, own) = files(cx, ome, image, uuid, &own_name);
    let n_pages = u64::from(cx.directory.n_pages());
    // Any page of the image says how many samples it has.
    let is_own = |file: Option<&str>| own.is_some() && file_index(&names, file, own) == own;
    let first = image.tiff_data.iter().find(|d| is_own(key(d))).map_or(Some(0), |d| d.ifd.or(Some(0)));
    let Some(first) = first.filter(|&p| p < n_pages) else { return Ok(None) };
    let kind = cx.directory.kind(first as u32);
    if (image.sizes[&'x'], image.sizes[&'y']) != (kind.width, kind.height) || kind.depth != 1 {
        return Err(Unusable::Ignore(format!(
            "planes of {}x{} pixels, but page {first} has {}x{}",
            image.sizes[&'y'], image.sizes[&'x'], kind.height, kind.width
        )));
    }
    let lengths = plane_axes(image, u64::from(kind.samples))?;
    let n = lengths.iter().try_fold(1u64, |n, l| n.checked_mul(l.1));
    // What the text places, and some times as many that a run that was stopped has left out.
    let placed = image.tiff_data.iter().map(|d| d.count.unwrap_or(n_pages).clamp(1, PLANES_PER_ENTRY));
    let placed = placed.fold(n_pages, u64::saturating_add).saturating_mul(MOST_ABSENT_PER_PLANE);
    let held = (cx.options.limit_bytes.unwrap_or(u64::MAX) / PLANE_BYTES).min(MOST_PLANES);
    let Some(n) = n.filter(|&n| n <= placed.saturating_add(PLANES_PER_ENTRY) && n <= held) else {
        return Err(Unusable::Ignore("it counts more planes than its text can place".to_owned()));
    };
    let mut notes = Vec::new();
    let planes = place(image, &lengths, n, &names, own, n_pages, &mut notes);
    // Of this file, what it has; what others have they will show.
    let is_there = |place: &Place| place.is_some_and(|(file, page)| Some(file) != own || page < n_pages);
    if !planes.iter().any(is_there) {
        return Ok(None);
    }
    let mut described = describe(ome, image, &lengths, kind);
    let n_leading = described.len() - kind.axes().len();
    let elsewhere = planes.iter().flatten().any(|(file, _)| Some(*file) != own);
    if !elsewhere {
        let pages = planes.iter().map(|place| place.filter(|_| is_there(place)).map(|(_, page)| page as u32));
        let pages: Vec<Option<u32>> = pages.collect();
        let absent = pages.iter().filter(|p| p.is_none()).count();
        if absent > 0 {
            let text = format!("{absent} of {n} planes that the OME-XML describes are not in the file");
            notes.push(Note::new(NoteKind::PlanesAbsent, text));
        }
        drop_single(&mut described, n_leading);
        let mut series = cx.series("OME", described, PageList::of(pages))?;
        series.notes.extend(notes);
        return Ok(Some(series));
    }
    let set = Set { files: found, ..set(index, image, &names, &planes, &described) };
    let Some(own) = own else { return Ok(None) };
    let there: Vec<Place> = planes.iter().map(|place| place.filter(|_| is_there(place))).collect();
    let Some(mut series) = own_part(cx, described, n_leading, &there, own)? else { return Ok(None) };
    series.notes.extend(notes);
    let text = format!("one of {} files of an OME-TIFF data set", names.len());
    series.notes.push(Note::new(NoteKind::SetMember, text));
    (series.set, series.member) = (Some(Arc::new(set)), Some(own));
    Ok(Some(series))
}

/// What names the file that a TiffData speaks of: its name, else its identity.
fn key(data: &xml::TiffData) -> Option<&str> {
    data.file.as_deref().or(data.uuid.as_deref())
}

/// Names of the files of `image`, those under which they are found, and which of them is this one.
fn files(
    cx: &Context<'_>,
    ome: &Ome,
    image: &OmeImage,
    uuid: Option<&str>,
    own_name: &str,
) -> (Vec<String>, Vec<String>, Option<u32>) {
    let (mut names, mut wanted): (Vec<String>, Vec<Option<&str>>) = (Vec::new(), Vec::new());
    let mut index: HashMap<&str, u32> = HashMap::new();
    let mut own = None;
    for data in &image.tiff_data {
        let Some(name) = key(data) else { continue };
        let i = *index.entry(name).or_insert_with(|| {
            names.push(name.to_owned());
            wanted.push(data.file.as_ref().and(data.uuid.as_deref()));
            names.len() as u32 - 1
        });
        let same = data.uuid.is_some() && data.uuid.as_deref() == uuid;
        if same || names[i as usize].to_lowercase() == own_name {
            own = own.or(Some(i));
        }
    }
    if names.is_empty() {
        return (vec![own_name.to_owned()], vec![own_name.to_owned()], Some(0));
    }
    // A renamed file that never spoke of any other.
    let alone = ome.images.iter().flat_map(|i| &i.tiff_data).all(|d| key(d).is_none_or(|k| k == names[0]));
    if own.is_none() && alone {
        own = Some(0);
    }
    let found = members::found(cx, &names, &wanted, ome.uuid.as_deref());
    // The name under which it was found by its identity says more than the one that the text has for it.
    if found != names {
        own = found
            .iter()
            .position(|name| name.to_lowercase() == own_name)
            .map(|i| i as u32)
            .or_else(|| wanted.iter().position(|wanted| wanted.is_some() && *wanted == uuid).map(|i| i as u32));
    }
    (names, found, own)
}

fn file_index(names: &[String], name: Option<&str>, own: Option<u32>) -> Option<u32> {
    match name {
        Some(name) => names.iter().position(|n| n == name).map(|i| i as u32),
        None => own,
    }
}

/// Which page every plane is, in row-major order of `lengths`.
fn place(
    image: &OmeImage,
    lengths: &[(char, u64)],
    n: u64,
    names: &[String],
    own: Option<u32>,
    n_pages: u64,
    notes: &mut Vec<Note>,
) -> Vec<Place> {
    let mut planes: Vec<Place> = vec![None; n as usize];
    let index: HashMap<&str, u32> = names.iter().enumerate().map(|(i, n)| (n.as_str(), i as u32)).collect();
    let whole_file = [xml::TiffData::default()];
    let data = if image.tiff_data.is_empty() { &whole_file[..] } else { &image.tiff_data[..] };
    let mut outside = 0;
    for data in data {
        let file = match key(data) {
            Some(name) => index.get(name).copied(),
            None => own,
        };
        let Some(file) = file else { continue };
        let first = lengths.iter().try_fold(0u64, |at, &(axis, length)| {
            let position = data.first(axis);
            (position < length).then_some(at * length + position)
        });
        let Some(first) = first else {
            outside += 1;
            continue;
        };
        let ifd = data.ifd.unwrap_or(0);
        // Without a count, an IFD is one plane, and neither is all pages of the file; other files are taken
        // to be like this one.
        let count = data.count.unwrap_or(if data.ifd.is_some() { 1 } else { n_pages });
        for i in 0..count.min(n - first) {
            let Some(page) = ifd.checked_add(i).filter(|&p| u32::try_from(p).is_ok()) else { break };
            planes[(first + i) as usize] = Some((file, page));
        }
    }
    if outside > 0 {
        let text = format!("{outside} TiffData elements of the OME-XML lie outside the image");
        notes.push(Note::new(NoteKind::DescriptionUnused, text));
    }
    planes
}

/// All axes of the image, slowest first, with what is known of them.
fn describe(ome: &Ome, image: &OmeImage, lengths: &[(char, u64)], kind: &super::PageKind) -> Vec<Axis> {
    let mut axes = Vec::new();
    for &(letter, length) in lengths {
        let axis = Axis::new(letter, length);
        let modulo = image.annotations.iter().filter_map(|id| ome.modulo.get(id)).flatten();
        let folded = modulo.into_iter().find(|m| m.along == letter && m.length > 1 && length.is_multiple_of(m.length));
        match folded {
            Some(m) if m.length == length => axes.push(Axis::new(m.name.to_lowercase(), length)),
            Some(m) => {
                axes.push(Axis::new(letter, length / m.length));
                axes.push(Axis::new(m.name.to_lowercase(), m.length));
            }
            None => axes.push(axis),
        }
    }
    axes.extend(kind.axes());
    for axis in &mut axes {
        let letter = axis.name.chars().next().filter(|_| axis.name.len() == 1).unwrap_or(' ');
        if let Some((step, unit)) = image.steps.get(&letter)
            && !unit::is_pixel(unit)
        {
            let calibration =
                Calibration { step: *step, unit: unit::described(unit).map(str::to_owned), from: Provenance::Ome };
            *axis = axis.clone().calibrated(calibration);
            let metres = |unit: &str| unit::metres(unit::described(unit)?);
            if let Some((at, own)) = image.origins.get(&letter).and_then(Option::as_ref)
                && let Some((own, unit)) = metres(own).zip(metres(unit))
            {
                axis.origin = if own == unit { *at } else { at * own / unit };
            }
        }
        if letter == 'c' && image.channels.len() as u64 == axis.length {
            let names: Option<Vec<String>> = image.channels.iter().map(|c| c.name.clone()).collect();
            axis.labels = names;
            axis.colours = colours(&image.channels);
            // Where not all of them say so, order and names are all there is.
            axis.coordinates = image.channels.iter().map(|c| c.wavelength).collect();
        }
    }
    axes
}

/// Colours of the channels, where each states one and they are not all white, as writers say of channels without.
fn colours(channels: &[xml::Channel]) -> Option<Vec<String>> {
    let all: Vec<String> = channels.iter().map(|c| c.colour.clone()).collect::<Option<_>>()?;
    Some(all).filter(|all| all.len() == 1 || all.iter().any(|c| c != "FFFFFF"))
}

/// Leaves out axes of one index of which nothing is known.
fn drop_single(axes: &mut Vec<Axis>, n_leading: usize) {
    let mut index = 0;
    axes.retain(|a| {
        index += 1;
        index > n_leading || a.length > 1 || a.calibration.is_some() || a.labels.is_some()
    });
    // Samples are the channels where there is one plane for all of them.
    if axis::position(axes, "s").is_some() {
        axes.retain(|a| a.name != "c" || a.length > 1);
    }
}

/// The whole data set.
fn set(index: usize, image: &OmeImage, names: &[String], planes: &[Place], described: &[Axis]) -> Set {
    let planes: Vec<Option<(u32, u32)>> =
        planes.iter().map(|p| p.and_then(|(file, page)| u32::try_from(page).ok().map(|page| (file, page)))).collect();
    let mut hasher = DefaultHasher::new();
    // What the text says, and not which of it a file has that was cut short.
    (index, names, &image.order, &image.tiff_data).hash(&mut hasher);
    let n_page_axes = described.iter().rev().take_while(|a| matches!(a.name.as_str(), "y" | "x" | "s")).count();
    let leading = &described[..described.len() - n_page_axes];
    let mut described = described.to_vec();
    super::name_samples(&mut described);
    Set {
        id: format!("ome:{:016x}", hasher.finish()),
        axes: leading.iter().map(|a| (a.name.clone(), a.length)).collect(),
        planes,
        files: names.to_vec(),
        described,
        elsewhere: false,
    }
}

/// The planes that are in this file, as the smallest box that holds them.
fn own_part(
    cx: &Context<'_>,
    mut axes: Vec<Axis>,
    n_leading: usize,
    planes: &[Place],
    own: u32,
) -> Result<Option<Series>, Unusable> {
    let counts: Vec<u64> = axes[..n_leading].iter().map(|a| a.length).collect();
    let position = |mut plane: u64| {
        let mut at = vec![0; counts.len()];
        for (i, &count) in counts.iter().enumerate().rev() {
            at[i] = plane % count;
            plane /= count;
        }
        at
    };
    let mine = |plane: &Place| plane.filter(|(file, _)| *file == own).map(|(_, page)| page as u32);
    let (mut low, mut high) = (counts.clone(), vec![0; counts.len()]);
    for (i, _) in planes.iter().enumerate().filter(|(_, p)| mine(p).is_some()) {
        for (axis, at) in position(i as u64).into_iter().enumerate() {
            low[axis] = low[axis].min(at);
            high[axis] = high[axis].max(at + 1);
        }
    }
    if low.iter().zip(&high).any(|(l, h)| l >= h) {
        return Ok(None);
    }
    let mut pages = Vec::new();
    for (i, plane) in planes.iter().enumerate() {
        let at = position(i as u64);
        if at.iter().zip(low.iter().zip(&high)).all(|(p, (l, h))| p >= l && p < h) {
            pages.push(mine(plane));
        }
    }
    for (axis, (l, h)) in axes.iter_mut().zip(low.iter().zip(&high)) {
        let part = |all: Vec<String>| all.get(*l as usize..*h as usize).map(<[_]>::to_vec);
        axis.labels = axis.labels.take().and_then(part);
        axis.colours = axis.colours.take().and_then(part);
        axis.length = h - l;
        let step = axis.calibration.as_ref().map_or(0.0, |c| c.step);
        if axis.origin != 0.0 {
            axis.origin += *l as f64 * step;
        }
    }
    let absent = pages.iter().filter(|p| p.is_none()).count();
    drop_single(&mut axes, n_leading);
    let mut series = cx.series("OME", axes, PageList::of(pages))?;
    if absent > 0 {
        let text = format!("{absent} planes between those of this file are in others");
        series.notes.push(Note::new(NoteKind::SetMember, text));
    }
    Ok(Some(series))
}
