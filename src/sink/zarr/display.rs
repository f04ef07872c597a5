//! How a viewer should show the channels of an image: `omero` of OME-NGFF.
//!
//! Colours go by wavelength, then by what dyes and channels are called, then by a stated order.

use serde_json::{Map, Value, json};

use super::{Contrast, ImageOptions};
use crate::axis::{Axis, AxisKind};
use crate::consume::statistics::DisplayWindow;
use crate::dtype::DType;
use crate::error::{Error, Result};

/// Colours by name.
const NAMES: [(&str, &str); 9] = [
    ("red", "FF0000"),
    ("green", "00FF00"),
    ("blue", "0000FF"),
    ("cyan", "00FFFF"),
    ("magenta", "FF00FF"),
    ("yellow", "FFFF00"),
    ("orange", "FF8000"),
    ("white", "FFFFFF"),
    ("grey", "FFFFFF"),
];

/// Wavelengths in nm below each of which light is shown in a colour: that of the dye which a laser line of it excites.
const SPECTRUM: [(u32, &str); 7] = [
    (430, "0000FF"),
    (480, "00FFFF"),
    (530, "00FF00"),
    (550, "FFFF00"),
    (590, "FF8000"),
    (660, "FF0000"),
    (u32::MAX, "FF00FF"),
];

/// Wavelengths that microscopes use, in nm.
const LIGHT: std::ops::RangeInclusive<u32> = 350..=950;

/// Words in the names of channels, lower case, and their colour; those that hold others come first. A single letter is one
/// where it is the whole name.
const DYES: [(&str, &str); 16] = [
    ("dapi hoechst bfp ebfp cfw", "0000FF"),
    ("cfp ecfp cerulean mturquoise mturquoise2", "00FFFF"),
    ("yfp eyfp venus citrine mcitrine", "FFFF00"),
    ("gfp egfp fitc mneongreen sytox cy2 oregon gcamp", "00FF00"),
    ("mcherry", "FF00FF"),
    ("rfp mrfp dsred tdtomato tritc rhodamine cy3 mscarlet mapple texas", "FF0000"),
    ("cy5 mplum irfp draq5 sir cy7", "FF00FF"),
    ("mko mkok morange kusabira", "FF8000"),
    ("brightfield bf dic phase ph transmitted trans tl td bright", "FFFFFF"),
    ("red r", "FF0000"),
    ("green g", "00FF00"),
    ("blue b", "0000FF"),
    ("cyan", "00FFFF"),
    ("magenta", "FF00FF"),
    ("yellow", "FFFF00"),
    ("white grey gray", "FFFFFF"),
];

/// Colours of channels of which nothing else is known, in order; one alone is white.
const ORDER: [&str; 7] = ["00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF", "FFFFFF"];

/// Reads a colour, `FF8000` or one of a few names, into six hexadecimal digits.
///
/// # Errors
/// `Usage`, listing the names.
pub(super) fn colour(text: &str) -> Result<String> {
    let text = text.trim();
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, c)| (*c).to_owned());
    let digits = text.trim_start_matches('#');
    let hex = digits.len() == 6 && digits.chars().all(|c| c.is_ascii_hexdigit());
    named.or_else(|| hex.then(|| digits.to_uppercase())).ok_or_else(|| {
        let names = NAMES.map(|(name, _)| name).join(", ");
        Error::usage(format!("'{text}' is no colour: six hexadecimal digits such as FF8000, or one of {names}"))
    })
}

/// `omero` of an image of `axes`, if its channels are to be described.
pub(super) fn omero(
    axes: &[Axis],
    dtype: DType,
    options: &ImageOptions,
    windows: &[Option<DisplayWindow>],
) -> Option<Value> {
    if options.contrast == Contrast::None {
        return None;
    }
    let axis = axes.iter().find(|a| a.kind == AxisKind::Channel);
    // Without an axis of channels there is one.
    let labels = axis.map_or_else(|| vec![options.only_channel().unwrap_or("intensity").to_owned()], labels);
    let is_named = axis.is_none_or(|axis| axis.labels.is_some());
    let mut kept = kept(&options.attributes, &labels, is_named);
    if options.contrast != Contrast::Kept {
        kept.iter_mut().flatten().for_each(|channel| drop(channel.remove("window")));
    }
    let channel = |i: usize| {
        let window = windows.get(i).copied().flatten().unwrap_or_else(|| range(dtype));
        let mut channel = kept[i].clone().unwrap_or_default();
        let colour = options.colours.get(i).cloned();
        let colour = colour.or_else(|| channel.get("color").and_then(Value::as_str).map(str::to_owned));
        let mut set = |key: &str, value: Value| _ = channel.entry(key).or_insert(value);
        set("active", json!(i < 4));
        set("coefficient", json!(1.0));
        set("inverted", json!(false));
        set("family", json!("linear"));
        set("window", json!({"min": window.min, "max": window.max, "start": window.start, "end": window.end}));
        if is_named || !channel.contains_key("label") {
            channel.insert("label".into(), json!(labels[i]));
        }
        let own = axis.and_then(|a| a.colours.as_ref()).and_then(|c| c.get(i)).cloned();
        let nm = axis.and_then(|a| a.coordinates.as_ref()).and_then(|c| c.get(i)).and_then(|nm| light(*nm));
        let colour = colour.or(own).unwrap_or_else(|| suggested(&labels[i], nm, i, labels.len()).to_owned());
        channel.insert("color".into(), json!(colour));
        Value::Object(channel)
    };
    let channels: Vec<Value> = (0..labels.len()).map(channel).collect();
    let model = if labels.len() == 1 { "greyscale" } else { "color" };
    // Specimens lie in the middle more often than on the first plane.
    let middle = axes.iter().find(|a| a.name == "z").map_or(0, |z| z.length / 2);
    let mut omero = options.attributes.get("omero").and_then(Value::as_object).cloned().unwrap_or_default();
    omero.insert("channels".into(), channels.into());
    omero.entry("rdefs").or_insert(json!({"model": model, "defaultT": 0, "defaultZ": middle}));
    Some(Value::Object(omero))
}

/// A name for every channel: its own; its wavelength where names are numbers or lacking and that is known of all of
/// them; else its number.
pub(super) fn labels(axis: &Axis) -> Vec<String> {
    let length = usize::try_from(axis.length).unwrap_or(0);
    let own = axis.labels.clone().filter(|labels| labels.len() == length);
    let known = axis.coordinates.as_ref().filter(|c| c.len() == length && axis.kind == AxisKind::Channel);
    let known: Option<Vec<u32>> = known.and_then(|c| c.iter().map(|nm| light(*nm)).collect());
    let numbers: Option<Vec<f64>> = own.as_ref().and_then(|l| l.iter().map(|l| l.trim().parse().ok()).collect());
    let as_light = |numbers: &Vec<f64>| numbers.iter().map(|nm| light(*nm)).collect::<Option<Vec<u32>>>();
    let named = numbers.as_ref().and_then(as_light).filter(|_| axis.kind == AxisKind::Channel);
    let is_said = own.is_some() && numbers.is_none();
    match (named.or(known.filter(|_| !is_said)), own) {
        (Some(wavelengths), _) => wavelengths.iter().map(|nm| format!("{nm} nm")).collect(),
        (None, Some(labels)) => labels,
        (None, None) => crate::axis::numbered(&axis.name, (0..length).map(|_| None)),
    }
}

/// A wavelength that microscopes use, in whole nm.
fn light(nm: f64) -> Option<u32> {
    Some(nm.round() as u32).filter(|nm| LIGHT.contains(nm))
}

/// What the input's `omero` says of each channel, found by its label, or by its place where all channels are there; first by its
/// place where labels are no names.
fn kept(attributes: &Map<String, Value>, labels: &[String], is_named: bool) -> Vec<Option<Map<String, Value>>> {
    let known = attributes.get("omero").and_then(|o| o.get("channels")).and_then(Value::as_array);
    let known: Vec<&Map<String, Value>> = known.into_iter().flatten().filter_map(Value::as_object).collect();
    let label = |c: &Map<String, Value>| c.get("label").and_then(Value::as_str).map(str::to_owned);
    let find = |(i, name): (usize, &String)| {
        let is_called = |c: &&&Map<String, Value>| label(c).as_ref() == Some(name);
        let placed = known.get(i).filter(|_| known.len() == labels.len());
        let mut named = known.iter().filter(is_called);
        let only = named.next().filter(|_| named.next().is_none());
        placed.filter(|c| !is_named || is_called(c)).or(only).or(placed).map(|c| whole(c))
    };
    labels.iter().enumerate().map(find).collect()
}

/// A channel without a window or colour that viewers could not use.
fn whole(channel: &Map<String, Value>) -> Map<String, Value> {
    let mut channel = channel.clone();
    let is_number = |window: &Value, key: &str| window.get(key).is_some_and(Value::is_number);
    let usable = |w: &Value| ["min", "max", "start", "end"].iter().all(|key| is_number(w, key));
    if !channel.get("window").is_some_and(usable) {
        channel.remove("window");
    }
    if channel.get("color").and_then(Value::as_str).is_none_or(|c| colour(c).is_err()) {
        channel.remove("color");
    }
    channel
}

/// Colour of channel number `i` of `n`, which is called `label` and shows light of `nm`.
fn suggested(label: &str, nm: Option<u32>, i: usize, n: usize) -> &'static str {
    let lower = label.to_lowercase();
    let words = || lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let by_wavelength =
        wavelength(&lower).or(nm).and_then(|nm| SPECTRUM.iter().find(|(end, _)| nm < *end)).map(|(_, c)| *c);
    let is_said = |name: &str| if name.len() > 1 { words().any(|w| w == name) } else { lower.trim() == name };
    let by_dye = || DYES.iter().find(|(names, _)| names.split(' ').any(is_said)).map(|(_, c)| *c);
    let otherwise = if n == 1 { "FFFFFF" } else { ORDER[i % ORDER.len()] };
    by_wavelength.or_else(by_dye).unwrap_or(otherwise)
}

/// The wavelength in nm that a name holds: three digits by themselves, or behind letters as in `AF488`.
fn wavelength(label: &str) -> Option<u32> {
    let digits = label.split(|c: char| !c.is_ascii_digit()).filter(|d| d.len() == 3);
    digits.filter_map(|d| d.parse().ok()).find(|nm| LIGHT.contains(nm))
}

/// The values a display goes through when nothing is known of the data.
fn range(dtype: DType) -> DisplayWindow {
    let bits = 8 * dtype.size() as i32;
    let (min, max) = if dtype.is_unsigned() {
        (0.0, 2f64.powi(bits) - 1.0)
    } else if dtype.is_signed() {
        (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0)
    } else {
        (0.0, 1.0)
    };
    DisplayWindow { min, max, start: min, end: max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_by_wavelength_then_by_name_then_by_order() {
        let colours = |labels: &[&str]| -> Vec<&str> {
            labels.iter().enumerate().map(|(i, l)| suggested(l, None, i, labels.len())).collect()
        };
        assert_eq!(colours(&["405 nm", "488nm", "Alexa 555", "CF640R"]), ["0000FF", "00FF00", "FF8000", "FF0000"]);
        assert_eq!(colours(&["DAPI", "eGFP", "mCherry", "Cy5"]), ["0000FF", "00FF00", "FF00FF", "FF00FF"]);
        assert_eq!(colours(&["red", "G", "Hoechst 33342"]), ["FF0000", "00FF00", "0000FF"]);
        assert_eq!(colours(&["c 0", "c 1", "a"]), ["00FF00", "FF00FF", "00FFFF"]);
        assert_eq!(colours(&["B", " r "]), ["0000FF", "FF0000"]);
        assert_eq!(colours(&["a/b", "plan B", "r_g_b"]), ["00FF00", "FF00FF", "00FFFF"]);
        assert_eq!(colours(&["c 0"]), ["FFFFFF"]);
        assert_eq!(colour("#ff8000").unwrap(), "FF8000");
        assert_eq!(colour("Magenta").unwrap(), "FF00FF");
        assert!(colour("ff80").is_err() && colour("mauve").is_err());
    }

    #[test]
    fn numbers_that_are_wavelengths_are_called_so() {
        let mut axis = Axis::new("c", 2);
        assert_eq!(labels(&axis), ["c 0", "c 1"]);
        axis.labels = Some(vec!["488".into(), "561".into()]);
        assert_eq!(labels(&axis), ["488 nm", "561 nm"]);
        axis.labels = Some(vec!["488".into(), "1".into()]);
        assert_eq!(labels(&axis), ["488", "1"]);
        axis.coordinates = Some(vec![488.0, 640.0]);
        assert_eq!(labels(&axis), ["488 nm", "640 nm"]);
        axis.labels = Some(vec!["a".into(), "b".into()]);
        assert_eq!(labels(&axis), ["a", "b"]);
        let found = omero(&[axis], DType::Uint8, &ImageOptions::default(), &[None, None]).unwrap();
        assert_eq!([0, 1].map(|i| &found["channels"][i]["color"]), ["00FF00", "FF0000"]);
    }

    #[test]
    fn what_the_input_says_is_kept_by_label() {
        let window = json!({"min": 0, "max": 9, "start": 1, "end": 8});
        let input = json!({"omero": {"channels": [
            {"label": "a", "color": "123456", "window": window, "note": 7}, {"label": "q", "color": "x", "window": {}}]}});
        let attributes = input.as_object().unwrap().clone();
        let mut axes = vec![Axis::new("c", 2), Axis::new("y", 3), Axis::new("x", 3)];
        axes[0].labels = Some(vec!["q".into(), "a".into()]);
        let options = ImageOptions { attributes, ..ImageOptions::default() };
        let found = omero(&axes, DType::Uint8, &options, &[None, None]).unwrap();
        assert_eq!((&found["channels"][1]["color"], &found["channels"][1]["note"]), (&json!("123456"), &json!(7)));
        assert_eq!(found["channels"][1]["window"], window);
        assert_eq!(found["channels"][0]["window"]["end"], 255.0);
        assert_eq!(found["channels"][0]["color"], "00FF00");
        // Without names channels are those of their places, and called as there.
        axes[0].labels = None;
        let found = omero(&axes, DType::Uint8, &options, &[None, None]).unwrap();
        assert_eq!([0, 1].map(|i| &found["channels"][i]["label"]), ["a", "q"]);
        assert_eq!(found["channels"][0]["color"], "123456");
        axes[0].labels = Some(vec!["q".into(), "a".into()]);
        let data = ImageOptions { contrast: Contrast::Data, ..options };
        let channel = &omero(&axes, DType::Uint8, &data, &[None, None]).unwrap()["channels"][1];
        assert_eq!((&channel["window"]["start"], &channel["color"]), (&json!(0.0), &json!("123456")));
    }
}
