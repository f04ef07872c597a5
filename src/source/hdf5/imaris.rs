//! Imaris files: one dataset for each level, time point and channel, filled up to whole chunks.
//!
//! Source: the Imaris 5.5 file format, Oxford Instruments.

use std::sync::Arc;

use hdf5_reader::group::Group;

use super::{Datasets, Structure, attribute, fault, template};
use crate::axis::{Calibration, Provenance};
use crate::error::{Error, Result};
use crate::source::cf::Attribute;
use crate::source::{FileArray, OpenOptions};
use crate::unit;

/// What an Imaris file says of its image.
pub(super) struct ImarisImage {
    level: usize,
    /// Shapes of all levels, z, y and x.
    levels: Vec<Vec<u64>>,
    /// Lengths of z, y and x in `unit`.
    extent: Option<[f64; 3]>,
    unit: Option<String>,
    names: Vec<Option<String>>,
}

/// The image of an Imaris file; `None` if it is none, or one of its datasets is asked for.
///
/// # Errors
/// `Usage` if there is no such level.
pub(super) fn find(structure: &Structure, options: &OpenOptions) -> Result<Option<ImarisImage>> {
    let root = structure.file.root_group().map_err(|e| fault(&e))?;
    let first = |level: usize| {
        let path = ["DataSet", &format!("ResolutionLevel {level}"), "TimePoint 0", "Channel 0"].map(str::to_owned);
        path.iter().try_fold(root.clone(), |group, name| group.group(name)).ok()
    };
    if options.variable.is_some() || first(0).is_none() {
        return Ok(None);
    }
    let mut levels = Vec::new();
    while let Some(channel) = first(levels.len()) {
        let stored = channel.dataset("Data").map_err(|e| fault(&e))?.shape().to_vec();
        let stated = ["ImageSizeZ", "ImageSizeY", "ImageSizeX"].map(|name| text(&channel, name)?.parse().ok());
        // Chunks fill it up; without a stated size everything counts.
        let shape = stored.iter().zip(stated).map(|(&n, stated)| stated.map_or(n, |stated: u64| stated.min(n)));
        levels.push(shape.collect::<Vec<u64>>());
    }
    let level = options.level.unwrap_or(0);
    if level >= levels.len() {
        return Err(Error::usage(format!("--level {level}: there are levels 0 to {}", levels.len() - 1)));
    }
    let info = root.group("DataSetInfo").ok();
    let image = info.as_ref().and_then(|info| info.group("Image").ok());
    let number = |name: String| image.as_ref().and_then(|image| text(image, &name)?.parse::<f64>().ok());
    let extent = |i: usize| Some(number(format!("ExtMax{i}"))? - number(format!("ExtMin{i}"))?);
    let names = (0..).map_while(|c| info.as_ref()?.group(&format!("Channel {c}")).ok());
    Ok(Some(ImarisImage {
        level,
        levels,
        extent: extent(2).zip(extent(1)).zip(extent(0)).map(|((z, y), x)| [z, y, x]),
        unit: image.as_ref().and_then(|image| unit::named(&text(image, "Unit")?)).map(str::to_owned),
        names: names.map(|channel| text(&channel, "Name")).collect(),
    }))
}

impl ImarisImage {
    /// The image as one array, t, c, z, y and x.
    pub(super) fn open(self, structure: &Structure, options: &OpenOptions) -> Result<Arc<dyn FileArray>> {
        let path = format!("DataSet/ResolutionLevel {}/TimePoint {{t}}/Channel {{c}}/Data", self.level);
        let shape = self.levels[self.level].clone();
        let datasets = Datasets { shape: Some(shape.clone()), ..template::find(structure, &path)? };
        let (variable, _) = structure.first(&datasets)?;
        let outer: Vec<u64> = datasets.outer.iter().map(|axis| axis.length).collect();
        datasets.open(structure, options, variable, Vec::new(), |info| {
            if self.levels.len() > 1 && self.level == 0 {
                info.levels = self.levels.iter().map(|own| [&outer[..], own].concat()).collect();
            }
            let (channels, space) = (info.axes.iter_mut().find(|axis| axis.name == "c"), shape.len());
            if let Some(axis) = channels.filter(|axis| axis.length == self.names.len() as u64) {
                axis.labels = self.names.iter().cloned().collect();
            }
            let rank = info.axes.len();
            for (axis, extent) in info.axes[rank - space..].iter_mut().zip(self.extent.iter().flatten()) {
                let step = extent / axis.length.max(1) as f64;
                if step > 0.0 {
                    axis.calibration = Some(Calibration { step, unit: self.unit.clone(), from: Provenance::Vendor });
                }
            }
        })
    }
}

/// An attribute's text; Imaris writes one letter for each element.
fn text(group: &Group, name: &str) -> Option<String> {
    match attribute(&group.attribute(name).ok()?)? {
        Attribute::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Attribute::Numbers(numbers) => numbers.first().map(f64::to_string),
    }
}
