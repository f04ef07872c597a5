//! What an output keeps of the one image that it is made of: how channels are shown, and attributes that only others know.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::array::{Array, View};
use crate::axis::{Axis, AxisKind};
use crate::cli::NameArgs;
use crate::dtype::DType;
use crate::error::Error;
use crate::expression::{Output, stays_within, syntax};
use crate::sink::zarr::{ImageOptions, is_archive, shown};
use crate::source::OpenOptions;
use crate::source::zarr::{self, Attributes};
use crate::stack::Stack;

/// What is kept of an array.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// Its axes.
    axes: Vec<Axis>,
    /// Attributes of its image, with what OME-NGFF says of channels and labels.
    image: Attributes,
    /// Its own.
    array: Attributes,
}

/// Which image of the file is meant.
pub(super) fn which(names: &NameArgs, follow: bool) -> OpenOptions {
    OpenOptions { series: names.series, level: names.level, follow, ..OpenOptions::default() }
}

impl Kept {
    /// Of `stack`, if it is one file.
    ///
    /// # Errors
    /// As opening it.
    pub(super) fn of(stack: &Stack, is_single: bool, names: &NameArgs, follow: bool) -> Result<Self, Error> {
        let mut own = Self { axes: stack.axes().to_vec(), ..Self::default() };
        if let ([input], true) = (stack.paths(), is_single) {
            [own.image, own.array] = zarr::kept_attributes(input, &which(names, follow))?;
        }
        // Where the image lies that the labels are of is not known of a copy.
        if let Some(label) = own.image.get_mut("image-label").and_then(Value::as_object_mut) {
            label.remove("source");
        }
        Ok(own)
    }

    /// Of what `image` says of an array of `axes`.
    pub(super) fn of_image(image: &ImageOptions, axes: &[Axis]) -> Self {
        Self { axes: axes.to_vec(), image: image.attributes.clone(), array: image.array_attributes.clone() }
    }

    /// Says it of the image that is written.
    pub(super) fn say(self, image: &mut ImageOptions) {
        (image.attributes, image.array_attributes) = (self.image, self.array);
    }

    /// Of `part`, which is chosen of the array `all` that this is of: how its own channels are shown. One that is left without
    /// an axis is shown as with it.
    ///
    /// # Errors
    /// `Usage` if the axis of channels has a name that nothing can be chosen by.
    pub(super) fn chosen(mut self, all: &Arc<dyn Array>, part: &dyn Array) -> Result<Self, Error> {
        self.axes = part.axes().to_vec();
        let Some(c) = channel(all.axes()) else { return Ok(self.channels_alone()) };
        let own = channel(&self.axes);
        let index = |k: u64| {
            let mut at = vec![0; self.axes.len()];
            own.iter().for_each(|&i| at[i] = k);
            part.original(&at)[c]
        };
        let indices: Vec<u64> = (0..own.map_or(1, |i| self.axes[i].length)).map(index).collect();
        let axis = &all.axes()[c];
        let known = self.image.get("omero").and_then(|omero| omero["channels"].as_array());
        let known = known.filter(|known| known.len() as u64 == axis.length && known.iter().all(Value::is_object));
        let mut channels = known.map(|known| indices.iter().map(|&i| known[i as usize].clone()).collect::<Vec<_>>());
        let is_said = axis.labels.is_some() || axis.colours.is_some() || axis.coordinates.is_some();
        if let ([i], None, true) = (&indices[..], own, is_said) {
            let one = View::new(Arc::clone(all), &format!("{}={i}:{}", axis.name, i + 1))?;
            let said = ImageOptions { attributes: told(channels.as_deref()), ..ImageOptions::default() };
            let (label, colour) = shown(&one.axes()[c..=c], all.dtype(), &said).swap_remove(0);
            for only in channels.get_or_insert_with(|| vec![json!({})]) {
                (only["label"], only["color"]) = (json!(label), json!(colour));
            }
        }
        self.image.extend(told(channels.as_deref()));
        Ok(self.channels_alone())
    }

    /// Of what the expression `text` and then `how` make of it, which is `array`.
    ///
    /// # Errors
    /// `Usage` if the text is no expression.
    pub(super) fn calculated(mut self, text: &str, how: &Output, array: &dyn Array) -> Result<Self, Error> {
        // Which channels come out is known by their names alone.
        let is_named = channel(&self.axes).is_none_or(|c| self.axes[c].labels.is_some());
        if !is_named && text != "a" {
            self.image.remove("omero");
        }
        let own = self.made(array.axes(), array.dtype(), stays_within(&syntax::parse(text)?));
        let is_cast = Output { narrow: None, ..*how } != Output::default();
        Ok(if is_cast { own.of_other_values() } else { own })
    }

    /// Of an array of `axes` that is made of it: its channels if they are the same, or some of them by their names.
    /// `is_within`: elements are those of it, or lie between them.
    pub(super) fn made(mut self, axes: &[Axis], dtype: DType, is_within: bool) -> Self {
        let of = |axes: &[Axis]| channel(axes).map(|i| (axes[i].length, axes[i].labels.clone()));
        let is_kept = match (of(&self.axes), of(axes)) {
            (Some((_, Some(all))), Some((_, Some(own)))) => own.iter().all(|label| all.contains(label)),
            (before, after) => before == after,
        };
        self.axes = axes.to_vec();
        if !is_kept {
            self.image.remove("omero");
        }
        if !(is_within && dtype.is_integer()) {
            self.image.remove("image-label");
        }
        let own = self.channels_alone();
        if is_within { own } else { own.of_other_values() }
    }

    /// Of the same array with other values: nothing that is said of them.
    fn of_other_values(mut self) -> Self {
        self.array.clear();
        let channels = self.image.get_mut("omero").and_then(|o| o.get_mut("channels")).and_then(Value::as_array_mut);
        let channels = channels.into_iter().flatten().filter_map(Value::as_object_mut);
        channels.for_each(|channel| drop(channel.remove("window")));
        self
    }

    /// Of another image: what its name and identity were, and where to look at it first, is said of the whole alone.
    fn channels_alone(mut self) -> Self {
        if let Some(Value::Object(omero)) = self.image.get_mut("omero") {
            omero.retain(|key, _| key == "channels");
        }
        self
    }
}

/// Number of the axis of channels among `axes`.
pub(super) fn channel(axes: &[Axis]) -> Option<usize> {
    axes.iter().position(|axis| axis.kind == AxisKind::Channel)
}

/// What is said of `channels`.
fn told(channels: Option<&[Value]>) -> Map<String, Value> {
    channels.map(|channels| ("omero".to_owned(), json!({"channels": channels}))).into_iter().collect()
}

/// What is to be told of labels that the copy `output` of the image at `input` does not have: which, and how they are taken
/// along, with the words `more`.
pub(super) fn labels_left(input: &Path, which: &OpenOptions, output: &Path, more: &[String]) -> Option<String> {
    // Who cannot read them is not told of them.
    let (folder, labels) = zarr::labels(input, which).ok().flatten()?;
    let (first, names) = (labels.first()?, labels.join(", "));
    if is_archive(output) {
        return Some(format!("labels {names} are not copied, and an archive takes none: write a .zarr"));
    }
    let place = |labels: &Path| labels.join(first).display().to_string();
    let (from, to) = (place(&folder), place(&output.join("labels")));
    let command = [&["stackctl".into(), "convert".into(), from, "-o".into(), to], more].concat();
    let command: Vec<String> = command.iter().map(|word| super::quoted(word)).collect();
    Some(format!("labels {names} are not copied: take them along one by one, as with\n  {}", command.join(" ")))
}
