//! Micro-Manager stacks: an index of all planes and a summary in JSON stand between the TIFF header and the
//! first directory.
//!
//! A file that is one of several is left to its OME-XML, which knows the others.

use std::collections::HashMap;

use serde_json::Value;

use super::scale::measure;
use super::{Context, PageList, Series, Unusable};
use crate::axis::{Axis, Provenance};
use crate::source::tiff::tag::uint;
use crate::source::{Note, NoteKind};

const INDEX_POINTER: u32 = 54_773_648;
const INDEX: u32 = 3_453_623;
const SUMMARY: u32 = 2_355_492;

/// Channel, slice, frame, position and place of the directory of one plane.
type Entry = [u32; 5];

/// The stack of a file that has Micro-Manager's index.
pub(super) fn read(cx: &Context<'_>) -> Result<Option<Vec<Series>>, Unusable> {
    let big = cx.directory.big_endian;
    let Ok(head) = cx.bytes(8, 32) else { return Ok(None) };
    let word = |b: &[u8], i: usize| uint(&b[4 * i..][..4], big) as u32;
    if word(&head, 0) != INDEX_POINTER || word(&head, 6) != SUMMARY {
        return Ok(None);
    }
    let text = cx.bytes(40, u64::from(word(&head, 7)))?;
    let text = text.iter().position(|&b| b == 0).map_or(&text[..], |end| &text[..end]);
    let summary: Value =
        serde_json::from_slice(text).map_err(|e| Unusable::Ignore(format!("its summary is broken JSON: {e}")))?;
    let at = u64::from(word(&head, 1));
    let index = cx.bytes(at, 8)?;
    if word(&index, 0) != INDEX {
        return Err(Unusable::Ignore("there is no index where its header says".to_owned()));
    }
    let bytes = cx.bytes(at + 8, u64::from(word(&index, 1)).saturating_mul(20))?;
    let entries: Vec<Entry> = bytes.chunks_exact(20).map(|e| std::array::from_fn(|i| word(e, i))).collect();
    let has_ome = cx.descriptions.iter().any(|d| d.trim_end().ends_with("OME>"));
    if has_ome && declared(&summary) > entries.len() as u64 {
        return Ok(None);
    }
    let (leading, pages) = arrange(cx, &entries, &summary)?;
    let mut axes = leading;
    axes.extend(cx.directory.kind(0).axes());
    let absent = pages.len() - pages.pages().count() as u64;
    let mut series = cx.series("Micro-Manager", axes, pages)?;
    if absent > 0 {
        let text = format!("{absent} planes that Micro-Manager's index counts are not in the file");
        series.notes.push(Note::new(NoteKind::PlanesAbsent, text));
    }
    calibrate(&summary, &mut series.axes);
    Ok(Some(vec![series]))
}

/// A number of the summary, which older versions write as text.
fn number(summary: &Value, key: &str) -> Option<f64> {
    let value = &summary[key];
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|v| v.is_finite())
}

/// Planes that the whole acquisition was to have.
fn declared(summary: &Value) -> u64 {
    ["Channels", "Slices", "Frames", "Positions"]
        .iter()
        .fold(1, |n: u64, key| n.saturating_mul(number(summary, key).map_or(1, |v| v.max(1.0) as u64)))
}

/// Axes of planes, slowest first, and the page of each plane, from the box that the index covers.
fn arrange(cx: &Context<'_>, entries: &[Entry], summary: &Value) -> Result<(Vec<Axis>, PageList), Unusable> {
    let first = summary["SlicesFirst"].as_bool().unwrap_or(true);
    let time_first = summary["TimeFirst"].as_bool().unwrap_or(true);
    let [c, z, t, p] = [("c", 0), ("z", 1), ("t", 2), ("p", 3)];
    let outer = if time_first { [t, p] } else { [p, t] };
    let inner = if first { [z, c] } else { [c, z] };
    let order = [outer[0], outer[1], inner[0], inner[1]];
    let range = |field: usize| {
        let values = || entries.iter().map(|e| e[field]);
        values().min().zip(values().max()).map(|(low, high)| (low, u64::from(high - low) + 1))
    };
    let mut ranges = Vec::new();
    for (_, field) in order {
        ranges.push(range(field).ok_or_else(|| Unusable::Ignore("it counts no plane".to_owned()))?);
    }
    let n = ranges.iter().try_fold(1u64, |n, r| n.checked_mul(r.1));
    // Indices are counted on: a box that is nearly empty is a broken index.
    let Some(n) = n.filter(|&n| n <= (entries.len() as u64).saturating_mul(64)) else {
        return Err(Unusable::Ignore("its positions are scattered".to_owned()));
    };
    let page_at: HashMap<u64, u32> =
        (0..cx.directory.n_pages()).map(|page| (cx.directory.page_offset(page), page)).collect();
    let mut pages = vec![None; n as usize];
    for entry in entries {
        let page = page_at.get(&u64::from(entry[4]));
        let Some(&page) = page else {
            return Err(Unusable::Ignore(format!("no directory begins at byte {}", entry[4])));
        };
        let at = order
            .iter()
            .zip(&ranges)
            .fold(0, |at, ((_, field), (low, length))| at * length + u64::from(entry[*field] - low));
        pages[at as usize] = Some(page);
    }
    let axes = order.iter().zip(&ranges).filter(|(_, r)| r.1 > 1).map(|((name, _), r)| Axis::new(*name, r.1));
    Ok((axes.collect(), PageList::of(pages)))
}

fn calibrate(summary: &Value, axes: &mut [Axis]) {
    let (um, ms) = ("micrometer", "millisecond");
    for (name, key, unit) in
        [("x", "PixelSize_um", um), ("y", "PixelSize_um", um), ("z", "z-step_um", um), ("t", "Interval_ms", ms)]
    {
        // Zero is what the program writes when it does not know.
        if let Some(step) = number(summary, key).map(f64::abs).filter(|s| *s > 0.0) {
            measure(axes, name, step, Some(unit), Provenance::Vendor);
        }
    }
    if let (Some(axis), Some(names)) = (axes.iter_mut().find(|a| a.name == "c"), summary["ChNames"].as_array()) {
        let names: Vec<String> = names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect();
        axis.labels = Some(names).filter(|n| n.len() as u64 == axis.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_calibrates_what_it_knows() {
        let summary: Value = serde_json::from_str(
            r#"{"PixelSize_um": 0.1625, "z-step_um": "-0.5", "Interval_ms": 0, "ChNames": ["DAPI", "GFP"],
                "Channels": 2, "Slices": "3", "Frames": 0}"#,
        )
        .unwrap();
        let mut axes: Vec<Axis> = [("t", 1), ("z", 3), ("c", 2), ("x", 9)].map(|(name, n)| Axis::new(name, n)).to_vec();
        calibrate(&summary, &mut axes);
        assert!(axes[0].calibration.is_none());
        assert_eq!(axes[1].calibration.as_ref().unwrap().step, 0.5);
        assert_eq!(axes[2].labels.as_deref().unwrap(), ["DAPI", "GFP"]);
        assert_eq!(axes[3].calibration.as_ref().unwrap().step, 0.1625);
        assert_eq!(declared(&summary), 6);
    }
}
