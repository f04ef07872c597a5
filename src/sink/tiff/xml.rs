//! What an OME-TIFF says of its image: OME-XML in the description of its first page.
//!
//! Source: the OME schema of June 2016; the OME-TIFF specification.

use std::fmt::Write;

use crate::axis::Axis;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::sink::zarr::{ImageOptions, shown};
use crate::unit::{self, seconds};

/// How the axes of an array are those of OME's images.
pub(super) struct Images {
    /// Images that the axes before t, z and c number.
    pub(super) n: u64,
    /// Pages of an image, with the letter of each of its axes, slowest first.
    pages: Vec<(char, u64)>,
    /// Samples of a pixel.
    samples: u64,
}

impl Images {
    /// How `axes` are read, the last two or three of which are a plane.
    ///
    /// # Errors
    /// `Usage` if OME has no place for an axis, or for elements of `dtype`.
    pub(super) fn new(axes: &[Axis], dtype: DType) -> Result<Self> {
        pixel_type(dtype)?;
        let names: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
        let n_plane = match names.as_slice() {
            [.., "y", "x", "c" | "s"] => 3,
            [.., "y", "x"] => 2,
            _ => {
                let names = names.join(",");
                return Err(Error::usage(format!(
                    "an OME-TIFF ends with axes y,x, and not {names}: write .zarr or .npy"
                )));
            }
        };
        let (outer, plane) = axes.split_at(axes.len() - n_plane);
        let own = outer.iter().position(|a| letter(&a.name).is_some()).unwrap_or(outer.len());
        if let Some(axis) = outer[own..].iter().find(|a| letter(&a.name).is_none()) {
            let others: Vec<&str> = names.iter().copied().filter(|n| *n != axis.name).collect();
            return Err(Error::usage(format!(
                "an OME-TIFF has no place for axis {} among t, c and z: use --axes {},{}",
                axis.name,
                axis.name,
                others.join(",")
            )));
        }
        let pages = outer[own..].iter().filter_map(|a| Some((letter(&a.name)?, a.length))).collect();
        let n = outer[..own].iter().map(|a| a.length).product();
        Ok(Self { n, pages, samples: plane.get(2).map_or(1, |a| a.length) })
    }

    /// Length of t, z or c in pages.
    fn length(&self, wanted: char) -> u64 {
        self.pages.iter().find(|p| p.0 == wanted).map_or(1, |p| p.1)
    }

    /// The document for images called `name`.
    pub(super) fn describe(&self, name: &str, axes: &[Axis], dtype: DType, image: &ImageOptions) -> Result<String> {
        let mut text = String::from(concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" "#,
            r#"xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" "#,
            r#"xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 "#,
            r#"http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="stackctl "#,
            env!("CARGO_PKG_VERSION"),
            r#"">"#
        ));
        // The fastest axis comes first, and those there are none of behind the others.
        let mut order: String = self.pages.iter().rev().map(|p| p.0).collect();
        ['C', 'Z', 'T'].into_iter().filter(|c| !self.pages.iter().any(|p| p.0 == *c)).for_each(|c| order.push(c));
        let length = |name: &str| axes.iter().find(|a| a.name == name).map_or(1, |a| a.length);
        let size_c = self.length('C') * self.samples;
        let n_pages: u64 = self.pages.iter().map(|p| p.1).product();
        let kind = pixel_type(dtype)?;
        let sizes = sizes(axes);
        let shown = shown(axes, dtype, image);
        let is_named =
            axes.iter().find(|a| a.name == "c").map_or(image.only_channel().is_some(), |c| c.labels.is_some());
        for i in 0..self.n {
            let name = escaped(&if self.n > 1 { format!("{name} {i}") } else { name.to_owned() });
            let (x, y, z, t) = (length("x"), length("y"), self.length('Z'), self.length('T'));
            let _ = write!(
                text,
                r#"<Image ID="Image:{i}" Name="{name}"><Pixels ID="Pixels:{i}" DimensionOrder="XY{order}" Type="{kind}" BigEndian="false" SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="{size_c}" SizeT="{t}"{sizes}>"#
            );
            for c in 0..self.length('C') {
                let (label, colour) = shown.get(c as usize).cloned().unwrap_or_default();
                let samples = self.samples;
                let _ = write!(text, r#"<Channel ID="Channel:{i}:{c}" SamplesPerPixel="{samples}""#);
                if is_named && samples == 1 {
                    let _ = write!(text, r#" Name="{}""#, escaped(&label));
                }
                if let (1, Ok(rgb)) = (samples, u32::from_str_radix(&colour, 16)) {
                    // Red first, and opaque.
                    let _ = write!(text, r#" Color="{}""#, (rgb << 8 | 255) as i32);
                }
                text += "/>";
            }
            let first = i * n_pages;
            let _ = write!(text, r#"<TiffData IFD="{first}" PlaneCount="{n_pages}"/>"#);
            self.place(axes, &mut text);
            text += "</Pixels></Image>";
        }
        Ok(text + "</OME>")
    }

    /// Where each plane lies, if the image does not begin at zero.
    fn place(&self, axes: &[Axis], text: &mut String) {
        let is_placed =
            |a: &&Axis| matches!(a.name.as_str(), "x" | "y" | "z") && a.spacing().is_some_and(|c| c.step > 0.0);
        let axes: Vec<(&Axis, f64)> =
            axes.iter().filter(is_placed).filter_map(|a| Some((a, micrometres(a)?))).collect();
        if axes.iter().all(|(axis, _)| axis.origin == 0.0) {
            return;
        }
        let [n_t, n_z, n_c] = ['T', 'Z', 'C'].map(|letter| self.length(letter));
        for [t, z, c] in (0..n_t).flat_map(|t| (0..n_z).flat_map(move |z| (0..n_c).map(move |c| [t, z, c]))) {
            let _ = write!(text, r#"<Plane TheZ="{z}" TheT="{t}" TheC="{c}""#);
            for (axis, factor) in &axes {
                let key = format!("Position{}", axis.name.to_uppercase());
                let at = axis.coordinate(if axis.name == "z" { z } else { 0 }) * factor;
                let _ = write!(text, r#" {key}="{at}" {key}Unit="µm""#);
            }
            *text += "/>";
        }
    }
}

/// Micrometres of the unit of an axis.
fn micrometres(axis: &Axis) -> Option<f64> {
    unit::ratio(axis.calibration.as_ref()?.unit.as_deref()?, "micrometer")
}

fn letter(name: &str) -> Option<char> {
    match name {
        "t" => Some('T'),
        "z" => Some('Z'),
        "c" => Some('C'),
        _ => None,
    }
}

/// What OME calls elements of `dtype`.
fn pixel_type(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::Bool | DType::Uint8 => "uint8",
        DType::Int8 => "int8",
        DType::Uint16 => "uint16",
        DType::Int16 => "int16",
        DType::Uint32 => "uint32",
        DType::Int32 => "int32",
        DType::Float32 => "float",
        DType::Float64 => "double",
        DType::Complex64 => "complex",
        DType::Complex128 => "double-complex",
        other => {
            let wider = if other == DType::Float16 { DType::Float32 } else { DType::Float64 };
            return Err(Error::usage(format!("an OME-TIFF has no elements of {other}: use --dtype {wider}")));
        }
    })
}

/// Sizes of voxels and the step of time as attributes.
fn sizes(axes: &[Axis]) -> String {
    let mut text = String::new();
    for axis in axes {
        let Some(calibration) = axis.spacing().filter(|c| c.step.is_finite() && c.step != 0.0) else { continue };
        // What is reversed has the same size.
        let step = calibration.step.abs();
        let Some(unit) = calibration.unit.as_deref() else { continue };
        let (key, value, unit) = match axis.name.as_str() {
            "x" | "y" | "z" => {
                let Some(factor) = micrometres(axis) else { continue };
                (format!("PhysicalSize{}", axis.name.to_uppercase()), step * factor, "µm")
            }
            "t" => {
                let Some(seconds) = seconds(unit) else { continue };
                ("TimeIncrement".to_owned(), step * seconds, "s")
            }
            _ => continue,
        };
        let _ = write!(text, r#" {key}="{value}" {key}Unit="{unit}""#);
    }
    text
}

/// Text as an attribute's value, in UTF-8: Bio-Formats passes over characters that are given by number (`&#181;`).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}
