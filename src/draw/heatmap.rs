//! A matrix as a picture: colours, axes with numbers, and a bar that says which value a colour is.

use super::canvas::{Colour, LINE, text_width};
use super::scale::{Scale, short};
use super::surface::{Anchor, INK, Surface};

/// Space around everything, in pixels.
const MARGIN: usize = 24;
/// Pixels of the longer edge of the matrix, about.
const EDGE: usize = 768;
/// Width of the bar.
const BAR: usize = 24;

/// Colours from the least to the greatest value: dark blue over green to yellow, ever lighter.
const COLOURS: [[f64; 3]; 6] = [
    [30.0, 8.0, 70.0],
    [52.0, 68.0, 136.0],
    [30.0, 122.0, 140.0],
    [58.0, 170.0, 112.0],
    [160.0, 208.0, 58.0],
    [252.0, 230.0, 80.0],
];

/// A matrix to draw.
pub struct Heatmap<'a> {
    /// Rows of so many values.
    pub values: &'a [f64],
    /// Values of a row.
    pub n_columns: usize,
    /// The axes, that of the rows first.
    pub axes: [&'a Scale; 2],
    /// What stands above.
    pub title: &'a str,
}

fn colour(share: f64) -> Colour {
    if share.is_nan() {
        return [200, 200, 200];
    }
    let at = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let i = (at as usize).min(COLOURS.len() - 2);
    let rest = at - i as f64;
    [0, 1, 2].map(|c| (COLOURS[i][c] + (COLOURS[i + 1][c] - COLOURS[i][c]) * rest).round() as u8)
}

/// Draws the matrix; `None` if it is empty.
pub fn draw<S: Surface>(map: &Heatmap<'_>) -> Option<S> {
    let columns = map.n_columns;
    let rows = map.values.len().checked_div(columns)?;
    if rows == 0 {
        return None;
    }
    let finite = || map.values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let share = |value: f64| if high > low { (value - low) / (high - low) } else { value * 0.0 };
    // Whole pixels for each element, or elements that are left out where there are too many.
    let zoom = (EDGE as f64 / rows.max(columns) as f64).max(f64::MIN_POSITIVE);
    let zoom = if zoom >= 1.0 { zoom.floor() } else { zoom };
    let (width, height) = ((columns as f64 * zoom).ceil() as usize, (rows as f64 * zoom).ceil() as usize);
    let [row_ticks, column_ticks] = map.axes.map(Scale::indices);
    let label = row_ticks.iter().map(|(_, text)| text_width(text)).max().unwrap_or(0);
    let (left, top) = (MARGIN + text_width(&map.axes[0].title) + label + 20, MARGIN + 2 * LINE);
    let bar = left + width + MARGIN;
    let right = bar + BAR + text_width(" -0.00e+00") + MARGIN;
    let mut surface = S::blank(right, top + height + 3 * LINE + MARGIN);
    surface.write((left, MARGIN), Anchor::Start, map.title, true);
    let edges = |n: usize| (0..=n).map(|i| (i as f64 * zoom).ceil() as usize).collect::<Vec<_>>();
    let (row_edges, column_edges) = (edges(rows), edges(columns));
    for (i, y) in row_edges.windows(2).enumerate().filter(|(_, y)| y[0] < y[1]) {
        let of = |j: usize| colour(share(map.values[i * columns + j]));
        // Elements of one colour in one go.
        let seen: Vec<usize> = (0..columns).filter(|&j| column_edges[j] < column_edges[j + 1]).collect();
        for run in seen.chunk_by(|&a, &b| of(a) == of(b)) {
            let (from, to) = (column_edges[run[0]], column_edges[run[run.len() - 1] + 1]);
            surface.rectangle((left + from, top + y[0]), (to - from, y[1] - y[0]), of(run[0]));
        }
    }
    for y in 0..height {
        let value = 1.0 - y as f64 / height.max(2).saturating_sub(1) as f64;
        surface.rectangle((bar, top + y), (BAR, 1), colour(value));
    }
    let middle = |i: usize| ((i as f64 + 0.5) * zoom) as usize;
    for (i, text) in row_ticks {
        surface.rectangle((left - 8, top + middle(i)), (6, 1), INK);
        surface.write((left - 10, (top + middle(i)).saturating_sub(LINE / 2)), Anchor::End, &text, false);
    }
    for (j, text) in column_ticks {
        surface.rectangle((left + middle(j), top + height + 2), (1, 6), INK);
        surface.write((left + middle(j), top + height + 10), Anchor::Middle, &text, false);
    }
    surface.write((MARGIN, top + height / 2), Anchor::Start, &map.axes[0].title, true);
    surface.write((left + width / 2, top + height + 10 + LINE), Anchor::Middle, &map.axes[1].title, true);
    for k in 0..=4 {
        let y = top + (height - 1) * k / 4;
        let value = high - (high - low) * k as f64 / 4.0;
        surface.write(
            (bar + BAR + 6, y.saturating_sub(if k == 4 { LINE } else { 0 })),
            Anchor::Start,
            &short(value),
            false,
        );
    }
    Some(surface)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::Axis;
    use crate::draw::canvas::Canvas;
    use crate::draw::surface::Svg;

    #[test]
    fn a_matrix_has_its_colours_where_its_values_are() {
        let values = [0.0, 1.0, 2.0, 3.0];
        let [two, three] = [2, 3].map(|n| Scale::of(&Axis::new("t", n)));
        let map = Heatmap { values: &values, n_columns: 2, axes: [&two, &two], title: "euclidean" };
        let picture = draw::<Canvas>(&map).unwrap();
        let found = |colour: [u8; 3]| picture.bytes.chunks(3).filter(|p| *p == colour).count();
        let quarter = (EDGE / 2) * (EDGE / 2);
        for value in values {
            assert!(found(colour(value / 3.0)) >= quarter, "{value}");
        }
        let svg = draw::<Svg>(&map).unwrap().text();
        assert_eq!(svg.matches("width=\"384\" height=\"384\"").count(), 4);
        assert!(draw::<Canvas>(&Heatmap { values: &[], n_columns: 0, ..map }).is_none());
        assert!(
            draw::<Svg>(&Heatmap { values: &[f64::NAN; 6], n_columns: 3, axes: [&two, &three], title: "" }).is_some()
        );
    }

    #[test]
    fn a_matrix_that_is_larger_than_the_picture_is_drawn_all_over() {
        let (n, scale) = (2000, Scale::of(&Axis::new("t", 2000)));
        let values: Vec<f64> = (0..n * n).map(|i| (i % n) as f64).collect();
        let map = Heatmap { values: &values, n_columns: n, axes: [&scale, &scale], title: "" };
        let picture = draw::<Canvas>(&map).unwrap();
        let row = |y: usize| &picture.bytes[3 * y * picture.width..][..3 * picture.width];
        let top = MARGIN + 2 * LINE;
        let white = |y: usize| row(y).chunks(3).filter(|p| **p == [255; 3]).count();
        assert!(white(top + 300) + EDGE <= picture.width);
    }
}
