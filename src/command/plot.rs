//! Results as a figure, `.png` or `.svg`: a curve for each channel over one axis, a matrix as a heat map.

use std::path::Path;

use anyhow::Result;

use crate::array::calc::convert;
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::draw::canvas::Canvas;
use crate::draw::scale::Scale;
use crate::draw::surface::{Surface, Svg};
use crate::draw::{curves, heatmap};
use crate::dtype::DType;
use crate::error::Error;
use crate::grid::n_elements;
use crate::report::tuple;
use crate::sink;
use crate::store::{OutputKind, check_free};

/// Curves of one figure that can be told apart.
const MOST_CURVES: u64 = 12;
/// Elements that a figure is made of, at most.
const MOST: u64 = 1 << 24;

/// Refuses a name that ends in something else, or is taken. Where braces are filled in, what will stand there is not
/// known.
///
/// # Errors
/// `Usage`.
pub(super) fn check(path: &Path, overwrite: bool) -> Result<(), Error> {
    if !matches!(sink::extension(path).as_str(), "png" | "svg") {
        return Err(Error::usage(format!("{}: a figure's name ends in .png or .svg", path.display())));
    }
    if path.to_string_lossy().contains('{') { Ok(()) } else { check_free(path, overwrite, OutputKind::File) }
}

/// What a figure shows.
enum Figure {
    /// Curves along an axis: over its number, one for each index of another, if there is one.
    Curves(usize, Option<usize>),
    /// A matrix: of rows and columns.
    Map(usize, usize),
}

/// The figure of a result with `axes`; those of length one say nothing.
///
/// # Errors
/// `Usage` if there are none left, or more than two.
fn figure(axes: &[Axis]) -> Result<Figure, Error> {
    let left: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].length > 1).collect();
    // Channels, and what an operator gives several of.
    let is_series = |i: usize| axes[i].kind == AxisKind::Channel || matches!(&*axes[i].name, "quantile" | "rank");
    let names = || axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>().join(", ");
    if n_elements(&crate::axis::shape(axes)) > MOST {
        let shape = tuple(&crate::axis::shape(axes));
        return Err(Error::usage(format!("a figure of {shape} elements: reduce more axes, or choose a part")));
    }
    match left[..] {
        [along] => Ok(Figure::Curves(along, None)),
        [series, along] | [along, series] if is_series(series) && axes[series].length <= MOST_CURVES => {
            Ok(Figure::Curves(along, Some(series)))
        }
        [rows, columns] => Ok(Figure::Map(rows, columns)),
        [] => Err(Error::usage("a figure is of one or two axes, and the result is a number: reduce fewer axes")),
        _ => Err(Error::usage(format!(
            "a figure is of one or two axes, and the result has {}: reduce more of them, or choose one index with \
             --select",
            names()
        ))),
    }
}

/// Refuses what no figure can be made of.
///
/// # Errors
/// `Usage`.
pub(super) fn check_result(axes: &[Axis], dtype: DType) -> Result<(), Error> {
    if dtype.is_complex() {
        return Err(Error::usage(format!("a figure of {dtype}: only real numbers have one")));
    }
    figure(axes).map(|_| ())
}

/// Writes the figure of `block`, whose elements lie along `axes`.
///
/// # Errors
/// As [`check`] and [`check_result`]; `Io`.
pub(super) fn write(path: &Path, axes: &[Axis], block: &Block, title: &str, overwrite: bool) -> Result<()> {
    check(path, overwrite)?;
    let mut values = vec![0.0f64; block.region().n_elements() as usize];
    convert(block.dtype(), block.bytes(), DType::Float64, bytemuck::cast_slice_mut(&mut values));
    let shown = figure(axes)?;
    let bytes = match sink::extension(path).as_str() {
        "svg" => drawn::<Svg>(&shown, axes, &values, title).map(|svg| Ok(svg.text().into_bytes())),
        _ => drawn::<Canvas>(&shown, axes, &values, title).map(|canvas| sink::png::encode(&canvas)),
    };
    Ok(crate::store::replace(path, &bytes.ok_or_else(|| Error::usage("nothing to draw"))??)?)
}

fn drawn<S: Surface>(shown: &Figure, axes: &[Axis], values: &[f64], title: &str) -> Option<S> {
    match *shown {
        Figure::Map(rows, columns) => {
            let scales = [rows, columns].map(|i| Scale::of(&axes[i]));
            let n_columns = axes[columns].length as usize;
            heatmap::draw(&heatmap::Heatmap { values, n_columns, axes: [&scales[0], &scales[1]], title })
        }
        Figure::Curves(along, series) => {
            let n = axes[along].length as usize;
            let names = series.map_or_else(|| vec![String::new()], |i| names(&axes[i]));
            // Behind each other where the series is the slower axis, else in turns.
            let step = if series.is_some_and(|s| s > along) { names.len() } else { 1 };
            let own = |k: usize| {
                let start = if step == 1 { k * n } else { k };
                values[start..].iter().step_by(step).take(n).copied().collect()
            };
            let curves = names.into_iter().enumerate().map(|(k, name)| (name, own(k))).collect();
            curves::draw(&curves::Curves { title, along: &Scale::of(&axes[along]), curves })
        }
    }
}

/// What stands beside each curve.
fn names(axis: &Axis) -> Vec<String> {
    let number = |i: u64| match &axis.coordinates {
        Some(all) => format!("{} = {}", axis.name, all[i as usize]),
        None => format!("{} = {i}", axis.name),
    };
    axis.labels.clone().unwrap_or_else(|| (0..axis.length).map(number).collect())
}
