//! Arrays of numbers as text: a line for each place, which says where it is. For people and for spreadsheets.

use crate::axis::Axis;
use crate::block::Block;
use crate::dtype::{Complex, DType};
use crate::grid::positions;
use crate::unit;

/// Arrays of the same `axes` with what each is called, as a table: its head, then a row for every place, one by one.
pub fn rows<'a>(axes: &'a [Axis], arrays: &'a [(&str, &Block)]) -> impl Iterator<Item = Vec<String>> + 'a {
    let columns = columns(axes);
    let head = columns.iter().map(|column| column.head()).chain(arrays.iter().map(|(name, _)| (*name).to_owned()));
    let head: Vec<String> = head.collect();
    let row = move |(number, position): (usize, Vec<u64>)| {
        let value = |(_, block): &(&str, &Block)| {
            let size = block.dtype().size();
            element(block.dtype(), &block.bytes()[number * size..][..size])
        };
        let places = columns.iter().map(|column| column.cell(position[column.axis]));
        places.chain(arrays.iter().map(value)).collect()
    };
    std::iter::once(head).chain(positions(&crate::axis::shape(axes)).enumerate().map(row))
}

/// An array as a table with the last axis across: its head, then a row for every place along the others. Columns are called
/// by their labels, coordinates or indices.
pub fn across(axes: &[Axis], block: &Block) -> Vec<Vec<String>> {
    let Some((last, others)) = axes.split_last() else { return Vec::new() };
    let (places, size) = (columns(others), block.dtype().size());
    let of_last = columns(std::slice::from_ref(last)).pop();
    let names = (0..last.length).map(|i| of_last.as_ref().map_or(String::new(), |column| column.cell(i)));
    let head = places.iter().map(PlaceColumn::head).chain(names).collect();
    let row = |(position, values): (Vec<u64>, &[u8])| {
        let places = places.iter().map(|column| column.cell(position[column.axis]));
        places.chain(values.chunks_exact(size).map(|value| element(block.dtype(), value))).collect()
    };
    let rows = block.bytes().chunks_exact((last.length as usize * size).max(1));
    std::iter::once(head).chain(positions(&crate::axis::shape(others)).zip(rows).map(row)).collect()
}

/// A column that says where elements lie along an axis.
struct PlaceColumn<'a> {
    axes: &'a [Axis],
    axis: usize,
    /// The unit of its coordinates with what they are multiplied by; an index, label or bare coordinate without.
    unit: Option<(String, f64)>,
}

/// The unit of an axis's coordinates, with what they are multiplied by: seconds for times.
pub(super) fn world(axis: &Axis) -> Option<(String, f64)> {
    let name = axis.calibration.as_ref()?.unit.as_deref()?;
    Some(unit::seconds(name).map_or_else(|| (unit::short(name).to_owned(), 1.0), |s| ("s".to_owned(), s)))
}

/// The columns for elements of an array with `axes`: indices or labels, and coordinates where their unit is known,
/// times in seconds.
fn columns(axes: &[Axis]) -> Vec<PlaceColumn<'_>> {
    let mut columns = Vec::new();
    for axis in 0..axes.len() {
        columns.push(PlaceColumn { axes, axis, unit: None });
        columns.extend(world(&axes[axis]).map(|unit| PlaceColumn { axes, axis, unit: Some(unit) }));
    }
    columns
}

impl PlaceColumn<'_> {
    /// What stands above it: `t`, or `t@s` for coordinates in seconds.
    fn head(&self) -> String {
        let name = &self.axes[self.axis].name;
        self.unit.as_ref().map_or_else(|| name.clone(), |(unit, _)| format!("{name}@{unit}"))
    }

    /// What stands in it for `index`.
    fn cell(&self, index: u64) -> String {
        let axis = &self.axes[self.axis];
        if let Some((_, factor)) = self.unit {
            return rounded(axis.coordinate(index) * factor);
        }
        let bare = axis.calibration.as_ref().is_none_or(|c| c.unit.is_none());
        let label = axis.labels.as_ref().and_then(|labels| labels.get(index as usize).cloned());
        let coordinate = axis.coordinates.as_ref().filter(|_| bare).and_then(|c| c.get(index as usize));
        label.or_else(|| coordinate.map(f64::to_string)).unwrap_or_else(|| index.to_string())
    }
}

/// Without the last digits, which are noise of steps that were added up.
fn rounded(value: f64) -> String {
    format!("{value:.12e}").parse::<f64>().unwrap_or(value).to_string()
}

/// One element, given as its bytes, so that reading it gives it back.
pub fn element(dtype: DType, bytes: &[u8]) -> String {
    if dtype == DType::Bool {
        return (bytes != [0]).to_string();
    }
    crate::with_class!(
        dtype,
        int T => bytemuck::pod_read_unaligned::<T>(bytes).to_string(),
        float T => bytemuck::pod_read_unaligned::<T>(bytes).to_string(),
        complex T => {
            let Complex { re, im } = bytemuck::pod_read_unaligned::<Complex<T>>(bytes);
            // What is not a number is printed without a sign.
            format!("{re}{}{im:+}j", if im.is_nan() { "+" } else { "" })
        }
    )
}

/// Cells in a line, `between` them a comma or a tab; what would break the line is quoted, as spreadsheets read it.
pub fn line(cells: &[String], between: char) -> String {
    let cell = |cell: &String| match cell.contains([between, '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(&between.to_string()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::{Calibration, Provenance};
    use crate::grid::Region;

    #[test]
    fn places_have_labels_and_coordinates() {
        let step = |step, unit: &str| Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine };
        let mut axes = [Axis::new("t", 4).calibrated(step(0.1, "minute")), Axis::new("c", 2), Axis::new("q", 2)];
        axes[1].labels = Some(vec!["DAPI".into(), "a,b".into()]);
        axes[2].coordinates = Some(vec![0.1, 0.9]);
        let mut block = Block::new(Region::whole(&[4, 2, 2]), DType::Float32).unwrap();
        block.elements_mut::<f32>().iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 / 2.0);
        let rows: Vec<_> = rows(&axes, &[("mean", &block), ("max", &block)]).collect();
        assert_eq!(rows[0], ["t", "t@s", "c", "q", "mean", "max"]);
        assert_eq!(rows[16], ["3", "18", "a,b", "0.9", "7.5", "7.5"]);
        assert_eq!(rows.len(), 17);
        assert_eq!(line(&rows[16], ','), "3,18,\"a,b\",0.9,7.5,7.5\n");
        assert_eq!(line(&["a\tb".into(), "\"c\"".into()], '\t'), "\"a\tb\"\t\"\"\"c\"\"\"\n");
    }
}
