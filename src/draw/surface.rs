//! What figures are drawn on: pixels, or SVG. Pure.

use std::fmt::Write;

use super::canvas::{Canvas, Colour, LINE, WHITE, text_width};

/// Ink of letters and ticks.
pub(super) const INK: Colour = [20, 30, 40];

/// Which part of a text lies at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Something to draw on; lengths are pixels, from the upper left corner.
pub trait Surface {
    /// A white one.
    fn blank(width: usize, height: usize) -> Self;

    /// Fills a rectangle.
    fn rectangle(&mut self, at: (usize, usize), size: (usize, usize), colour: Colour);

    /// Draws a line of two pixels.
    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour);

    /// Writes a line of text in ink, the upper edge of its letters at `at`.
    fn write(&mut self, at: (usize, usize), anchor: Anchor, text: &str, is_bold: bool);
}

impl Surface for Canvas {
    fn blank(width: usize, height: usize) -> Self {
        Self::new(width, height, WHITE)
    }

    fn rectangle(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Colour) {
        self.fill(x, y, width, height, colour);
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        let n = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for k in 0..=n as usize {
            let at = |a: f64, b: f64| (a + (b - a) * k as f64 / n).max(0.0) as usize;
            self.fill(at(from.0, to.0), at(from.1, to.1), 2, 2, colour);
        }
    }

    fn write(&mut self, (x, y): (usize, usize), anchor: Anchor, text: &str, is_bold: bool) {
        let before = match anchor {
            Anchor::Start => 0,
            Anchor::Middle => text_width(text) / 2,
            Anchor::End => text_width(text),
        };
        self.text(x.saturating_sub(before), y, text, INK, is_bold);
    }
}

/// A drawing as the text of an SVG.
pub struct Svg {
    size: (usize, usize),
    body: String,
}

impl Svg {
    /// The whole file.
    pub fn text(&self) -> String {
        let (width, height) = self.size;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\">\n<style>text{{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:14px;fill:{}}}\
             rect{{shape-rendering:crispEdges}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            hex(INK),
            self.body
        )
    }
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// `content` as text of an SVG.
pub(super) fn escaped(content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    content.chars().filter(|c| !c.is_control()).collect()
}

impl Surface for Svg {
    fn blank(width: usize, height: usize) -> Self {
        Self { size: (width, height), body: String::new() }
    }

    fn rectangle(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Colour) {
        let fill = hex(colour);
        let _ =
            writeln!(self.body, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>");
    }

    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        let (colour, [a, b, c, d]) = (hex(colour), [from.0, from.1, to.0, to.1]);
        let _ = writeln!(
            self.body,
            "<path d=\"M{a:.1} {b:.1}L{c:.1} {d:.1}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linecap=\"round\"/>"
        );
    }

    fn write(&mut self, (x, y): (usize, usize), anchor: Anchor, text: &str, is_bold: bool) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (weight, text) = (if is_bold { " font-weight=\"bold\"" } else { "" }, escaped(text));
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\"{weight}>{text}</text>",
            y + LINE * 3 / 4
        );
    }
}
