//! How files follow one another by the coordinates in them: days of weather, bands of latitude.

use crate::axis::Axis;
use crate::pattern::FieldAxis;
use crate::source::headers::Headers;

/// Axes along which files lie, and for each cell over these, by its row-major number, the file in it.
type Places = (Vec<FieldAxis>, Vec<(u64, u32)>);

/// Axes along which files lie, and the row-major number of the cell over these that each is in, in order; `None` if no
/// coordinates tell files apart, so that names must.
pub(super) fn arranged(headers: &Headers) -> Option<Places> {
    let files: Vec<u32> =
        (0..).zip(&headers.kind_of).filter(|(_, kind)| kind.is_some()).map(|(file, _)| file).collect();
    let rank = headers.info(*files.first()?)?.axes.len();
    let (mut axes, mut cells) = (Vec::new(), vec![0u64; files.len()]);
    for i in 0..rank {
        let own: Vec<&Axis> = files.iter().map(|&file| headers.axis(file, i)).collect::<Option<_>>()?;
        let Some(first) = own[0].coordinates.as_ref().filter(|_| own.iter().any(|axis| *axis != own[0])) else {
            continue;
        };
        let falls = own.iter().filter_map(|axis| axis.coordinates.as_ref()).find(|c| c.len() > 1);
        let sign = if falls.unwrap_or(first).windows(2).next().is_some_and(|two| two[1] < two[0]) { -1.0 } else { 1.0 };
        let ends = |axis: &Axis| {
            let places = axis.coordinates.as_ref()?;
            Some((sign * places.first()?, sign * places.last()?))
        };
        let ends: Vec<(f64, f64)> = own.iter().map(|axis| ends(axis)).collect::<Option<_>>()?;
        let mut starts = ends.clone();
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        starts.dedup_by(|a, b| a.0 == b.0);
        // Files that reach into one another do not follow one another.
        if starts.len() == 1 || starts.windows(2).any(|two| two[0].1 >= two[1].0) {
            return None;
        }
        let number = |start: f64| starts.partition_point(|known| known.0 < start) as u64;
        cells.iter_mut().zip(&ends).for_each(|(cell, end)| *cell = *cell * starts.len() as u64 + number(end.0));
        axes.push(FieldAxis {
            name: own[0].name.clone(),
            labels: starts.iter().map(|start| (sign * start.0).to_string()).collect(),
            coordinates: None,
            unit: None,
            step: None,
            mean_step: None,
            join: true,
            tied: Vec::new(),
            inserted: Vec::new(),
        });
    }
    let mut placed: Vec<(u64, u32)> = cells.into_iter().zip(files).collect();
    placed.sort_unstable();
    let is_clear = !axes.is_empty() && placed.windows(2).all(|two| two[0].0 != two[1].0);
    is_clear.then_some((axes, placed))
}
