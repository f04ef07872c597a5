//! Slide scanners whose pages are channels: Leica SCN, whose XML names the page of every channel, slice and
//! level, and QPTIFF of PerkinElmer and Akoya, whose pages name their channels one by one.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Context, MOST_SERIES, PageList, Series, Unusable};
use crate::axis::Axis;

/// The images of a slide.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let Some(text) = cx.descriptions.first() else { return Ok(None) };
    if text.contains("www.leica-microsystems.com/scn/") {
        return leica(cx, text).map(Some);
    }
    if text.contains("<PerkinElmer-QPI-ImageDescription") { perkin_elmer(cx).map(Some) } else { Ok(None) }
}

/// One page of an image: level, channel, slice and page.
type Dimension = [u64; 4];

/// One series for every image of a collection.
fn leica(cx: &Context<'_>, text: &str) -> Result<Vec<Series>, Unusable> {
    let mut images: Vec<Vec<Dimension>> = Vec::new();
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().map_err(|e| Unusable::Ignore(format!("broken XML: {e}")))? {
            Event::Start(element) | Event::Empty(element) => match element.local_name().as_ref() {
                "image" if images.len() < MOST_SERIES => images.push(Vec::new()),
                "dimension" => {
                    let number = |key| attribute(&element, key).and_then(|v| v.trim().parse().ok());
                    let at = ["r", "c", "z"].map(|key| number(key).unwrap_or(0));
                    if let (Some(image), Some(page)) = (images.last_mut(), number("ifd")) {
                        image.push([at[0], at[1], at[2], page]);
                    }
                }
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    images.into_iter().filter(|image| !image.is_empty()).map(|image| leica_image(cx, image)).collect()
}

fn attribute(element: &BytesStart<'_>, key: &str) -> Option<String> {
    let attribute = element.attributes().flatten().find(|a| a.key.local_name().as_ref() == key)?;
    Some(attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok()?.into_owned())
}

fn leica_image(cx: &Context<'_>, mut image: Vec<Dimension>) -> Result<Series, Unusable> {
    image.sort_unstable();
    let mut lists = Vec::new();
    let mut counts = None;
    for level in image.chunk_by(|a, b| a[0] == b[0]) {
        let count = |i: usize| level.iter().map(|d| d[i]).max().unwrap_or(0).saturating_add(1);
        let (c, z) = (count(1), count(2));
        let pages: Option<Vec<u32>> = level.iter().map(|d| u32::try_from(d[3]).ok()).collect();
        let pages = pages.filter(|p| p.iter().all(|&page| page < cx.directory.n_pages()));
        // Sorted by channel and slice, each of which comes once.
        let (Some(pages), true) = (pages, c.checked_mul(z) == Some(level.len() as u64)) else {
            return Err(Unusable::Ignore("its channels and slices do not fill a grid of pages".to_owned()));
        };
        if counts.get_or_insert((c, z)) == &(c, z) {
            lists.push(PageList::new(pages));
        }
    }
    let (c, z) = counts.unwrap_or((1, 1));
    let pages = lists.remove(0);
    let first = pages.pages().next().unwrap_or(0);
    let mut axes: Vec<Axis> = [("c", c), ("z", z)].iter().filter(|a| a.1 > 1).map(|&(n, l)| Axis::new(n, l)).collect();
    axes.extend(cx.directory.kind(first).axes());
    let mut series = cx.series("Leica SCN", axes, pages)?;
    series.levels = lists;
    Ok(series)
}

/// The pages of full resolution, which come first; copies and labels follow.
fn perkin_elmer(cx: &Context<'_>) -> Result<Vec<Series>, Unusable> {
    let kind = cx.directory.kind(0);
    let alike = |&page: &u32| cx.directory.kind(page).stacks_with(kind);
    let n = (0..cx.directory.n_pages()).take_while(alike).count() as u32;
    let name = |page| -> Option<String> {
        let text = cx.descriptions_of(page).ok()?.into_iter().next()?;
        Some(text.split_once("<Name>")?.1.split_once("</Name>")?.0.trim().to_owned())
    };
    let mut axes = Vec::new();
    if n > 1 {
        let mut axis = Axis::new("c", n.into());
        axis.labels = (0..n).map(name).collect();
        axes.push(axis);
    }
    axes.extend(kind.axes());
    Ok(vec![cx.series("QPTIFF", axes, PageList::Range { first: 0, n })?])
}
