//! A matrix as a picture: colours, axes with numbers, and a bar that says which value a colour is.

use super::canvas::{Canvas, Colour, LINE, WHITE, text_width};

/// Space around everything, in pixels.
const MARGIN: usize = 24;
/// Pixels of the longer edge of the matrix, about.
const EDGE: usize = 768;
/// Width of the bar.
const BAR: usize = 24;

/// Ink of letters and ticks.
const INK: Colour = [20, 30, 40];

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
    /// Names of the axes, that of the rows first.
    pub axes: [&'a str; 2],
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

/// A number in about four digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => format!("{value:.*}", (3 - size.log10().floor() as i32).clamp(0, 6) as usize),
    }
}

/// Up to six indices of an axis of length `n`, in steps of 1, 2 or 5 times a power of ten.
fn ticks(n: usize) -> impl Iterator<Item = usize> {
    let least = n.div_ceil(6).max(1);
    let power = 10usize.pow(least.ilog10());
    let step = [1, 2, 5, 10].map(|k| k * power).into_iter().find(|s| *s >= least).unwrap_or(least);
    (0..n).step_by(step)
}

/// Draws the matrix; `None` if it is empty.
pub fn draw(map: &Heatmap<'_>) -> Option<Canvas> {
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
    let line = LINE;
    let label = text_width(&rows.to_string()) + text_width(map.axes[0]) + text_width("  ");
    let (left, top) = (MARGIN + label, MARGIN + 2 * line);
    let bar = left + width + MARGIN;
    let right = bar + BAR + text_width(" -0.00e+00") + MARGIN;
    let mut picture = Canvas::new(right, top + height + 3 * line + MARGIN, WHITE);
    picture.text(left, MARGIN, map.title, INK, true);
    for y in 0..height {
        for x in 0..width {
            let (i, j) = ((y as f64 / zoom) as usize, (x as f64 / zoom) as usize);
            let value = map.values[i.min(rows - 1) * columns + j.min(columns - 1)];
            picture.set(left + x, top + y, colour(share(value)));
        }
        let value = 1.0 - y as f64 / height.max(2).saturating_sub(1) as f64;
        (0..BAR).for_each(|x| picture.set(bar + x, top + y, colour(value)));
    }
    for i in ticks(rows) {
        let y = top + ((i as f64 + 0.5) * zoom) as usize;
        (2..8).for_each(|k| picture.set(left - k, y, INK));
        let text = i.to_string();
        picture.text(left - 10 - text_width(&text), y.saturating_sub(line / 2), &text, INK, false);
    }
    for j in ticks(columns) {
        let x = left + ((j as f64 + 0.5) * zoom) as usize;
        (2..8).for_each(|k| picture.set(x, top + height + k, INK));
        let text = j.to_string();
        picture.text(x - text_width(&text) / 2, top + height + 10, &text, INK, false);
    }
    picture.text(MARGIN, top + height / 2, map.axes[0], INK, true);
    picture.text(left + width / 2, top + height + 10 + line, map.axes[1], INK, true);
    for k in 0..=4 {
        let y = top + (height - 1) * k / 4;
        let value = high - (high - low) * k as f64 / 4.0;
        picture.text(bar + BAR + 6, y.saturating_sub(if k == 4 { line } else { 0 }), &short(value), INK, false);
    }
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_its_colours_where_its_values_are() {
        let values = [0.0, 1.0, 2.0, 3.0];
        let picture = draw(&Heatmap { values: &values, n_columns: 2, axes: ["t", "t"], title: "euclidean" }).unwrap();
        let found = |colour: [u8; 3]| picture.bytes.chunks(3).filter(|p| *p == colour).count();
        let quarter = (EDGE / 2) * (EDGE / 2);
        for value in values {
            assert!(found(colour(value / 3.0)) >= quarter, "{value}");
        }
        assert!(draw(&Heatmap { values: &[], n_columns: 0, axes: ["t", "t"], title: "" }).is_none());
        assert!(draw(&Heatmap { values: &[f64::NAN; 6], n_columns: 3, axes: ["t", "z"], title: "" }).is_some());
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(ticks(1536).collect::<Vec<_>>(), [0, 500, 1000, 1500]);
        assert_eq!((short(0.0), short(123.456), short(1e9)), ("0".into(), "123.5".into(), "1.00e9".into()));
    }
}
