//! Curves over an axis: one for each series, with round numbers along both edges and a legend.

use super::canvas::{Colour, LINE, text_width};
use super::scale::{Scale, round};
use super::surface::{Anchor, INK, Surface};

/// Space around everything, in pixels.
const MARGIN: usize = 24;
/// Pixels that the curves have.
const SIZE: (usize, usize) = (640, 400);

/// Lines of the grid.
const FAINT: Colour = [225, 228, 232];

/// Colours of curves that people with any kind of colour vision tell apart.
///
/// Source: Okabe and Ito, Color universal design, 2008.
const COLOURS: [Colour; 8] = [
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [213, 94, 0],
    [204, 121, 167],
    [86, 180, 233],
    [0, 0, 0],
    [200, 190, 20],
];

/// Curves to draw.
pub struct Curves<'a> {
    /// What stands above.
    pub title: &'a str,
    /// The axis that they run along.
    pub along: &'a Scale,
    /// Name and values of each.
    pub curves: Vec<(String, Vec<f64>)>,
}

/// Least and greatest number of `values`.
fn ends<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if low > high { (0.0, 0.0) } else { (low, high) }
}

/// A range with room on both sides; of one number, some around it.
fn roomy((low, high): (f64, f64), share: f64) -> (f64, f64) {
    let room = if high > low { (high - low) * share } else { low.abs().max(1.0) * 0.1 };
    (low - room, high + room)
}

/// Draws the curves; `None` if there is none.
pub fn draw<S: Surface>(of: &Curves<'_>) -> Option<S> {
    let (width, height) = SIZE;
    of.curves.iter().find(|(_, values)| !values.is_empty())?;
    let (x_low, x_high) = roomy(ends(of.along.places.iter()), 0.02);
    let (y_low, y_high) = roomy(ends(of.curves.iter().flat_map(|c| &c.1)), 0.05);
    let rows = round(y_low, y_high);
    let columns: Vec<(f64, String)> = match &of.along.names {
        Some(_) => of.along.indices().into_iter().map(|(i, text)| (i as f64, text)).collect(),
        None => round(x_low, x_high),
    };
    let label = rows.iter().map(|(_, text)| text_width(text)).max().unwrap_or(0);
    let has_names = of.curves.iter().any(|c| !c.0.is_empty());
    let names = of.curves.iter().map(|c| text_width(&c.0)).max().unwrap_or(0);
    let legend = if has_names { names + 40 + MARGIN } else { 0 };
    let (left, top) = (MARGIN + label + 12, MARGIN + 2 * LINE);
    let mut surface = S::blank(left + width + MARGIN + legend, top + height + 3 * LINE + MARGIN);
    let x_of = |place: f64| left as f64 + (place - x_low) / (x_high - x_low) * width as f64;
    let y_of = |value: f64| top as f64 + (y_high - value) / (y_high - y_low) * height as f64;
    surface.write((left, MARGIN), Anchor::Start, of.title, true);
    for (value, text) in &rows {
        let y = y_of(*value) as usize;
        surface.rectangle((left, y), (width, 1), FAINT);
        surface.write((left - 10, y.saturating_sub(LINE / 2)), Anchor::End, text, false);
    }
    for (place, text) in &columns {
        let x = x_of(*place) as usize;
        surface.rectangle((x, top + height), (1, 6), INK);
        surface.write((x, top + height + 10), Anchor::Middle, text, false);
    }
    surface.write((left + width / 2, top + height + 10 + LINE), Anchor::Middle, &of.along.title, true);
    for edge in [((left, top), (1, height)), ((left, top + height), (width, 1))] {
        surface.rectangle(edge.0, edge.1, INK);
    }
    for (number, (name, values)) in of.curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let at = |i: usize| (x_of(of.along.places[i]), y_of(values[i]));
        let is_there = |i: usize| values.get(i).is_some_and(|v| v.is_finite()) && of.along.places[i].is_finite();
        for i in (0..values.len()).filter(|&i| is_there(i)) {
            if is_there(i + 1) {
                surface.stroke(at(i), at(i + 1), colour);
            } else if i == 0 || !is_there(i - 1) {
                // A point alone.
                surface.rectangle((at(i).0 as usize - 3, at(i).1 as usize - 3), (7, 7), colour);
            }
        }
        if has_names {
            let (x, y) = (left + width + MARGIN, top + number * (LINE + 4));
            surface.rectangle((x, y + LINE / 2 - 2), (28, 4), colour);
            surface.write((x + 36, y), Anchor::Start, name, false);
        }
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
    fn curves_break_where_a_number_is_missing() {
        let along = Scale::of(&Axis::new("t", 5));
        let curves = vec![("GFP".to_owned(), vec![1.0, 2.0, f64::NAN, 4.0, 2.0]), ("<b>".into(), vec![0.0; 5])];
        let of = Curves { title: "mean", along: &along, curves };
        let svg = draw::<Svg>(&of).unwrap().text();
        assert_eq!(svg.matches("<path").count(), 2 + 4);
        assert!(svg.contains(">GFP</text>") && svg.contains(">&lt;b&gt;</text>") && svg.contains(">mean</text>"));
        let picture = draw::<Canvas>(&of).unwrap();
        let found = |colour: Colour| picture.bytes.chunks(3).filter(|p| *p == colour).count();
        assert!(found(COLOURS[0]) > 300 && found(COLOURS[1]) > 1000 && found(COLOURS[2]) == 0);
        assert!(draw::<Svg>(&Curves { title: "", along: &along, curves: vec![] }).is_none());
    }
}
