//! The block diagram of an array as SVG: its last three axes as a box cut into chunks and shards, the
//! others as a map of positions.

use std::fmt::Write;

use super::presence::{PresenceMap, State};
use super::surface::escaped;

/// One array to draw.
#[derive(Clone, Debug, Default)]
pub struct Diagram {
    /// Axes, shape and dtype in words.
    pub title: String,
    /// Facts below the title: what, and its value.
    pub facts: Vec<(String, String)>,
    /// The box.
    pub body: Option<Body>,
    /// The positions that files are at.
    pub presence: Option<PresenceMap>,
}

/// A box of an array.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// All axes of the array, slowest first; the last three are drawn.
    pub dimensions: Vec<Dimension>,
}

/// One axis of the box.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// Number of elements.
    pub length: u64,
    /// Its extent in the world, in words.
    pub extent: Option<String>,
    /// Length of a chunk.
    pub chunk: u64,
    /// Length of a shard.
    pub shard: Option<u64>,
}

/// Space around everything, in pixels.
const MARGIN: f64 = 24.0;
/// Longest edge of the box.
const LONGEST: f64 = 280.0;
/// Lines of a grid are not closer.
const CLOSEST: f64 = 4.0;
/// Width of the map.
const MAP_WIDTH: f64 = 420.0;
/// Rows of the map.
const MOST_ROWS: u64 = 40;

const STYLE: &str = "text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:13px;fill:#1b2a38}\
.h{font-size:17px;font-weight:bold}.k{fill:#5f7385}.s{font-size:11px;fill:#5f7385}\
.c{stroke:#5b8db8;stroke-width:.7;fill:none}.d{stroke:#1f4e79;stroke-width:1.6;fill:none}\
.o{stroke:#16324a;stroke-width:2;stroke-linejoin:round;fill:none}";

/// The picture of all `diagrams`, below one another.
pub fn draw(diagrams: &[Diagram]) -> String {
    let mut body = String::new();
    let (mut y, mut width) = (MARGIN, 320.0f64);
    for diagram in diagrams {
        let (w, h) = one(diagram, MARGIN, y, &mut body);
        width = width.max(w);
        y += h + MARGIN;
    }
    let (width, height) = ((width + 2.0 * MARGIN).ceil(), y.ceil());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws at `x`, `y`; gives width and height.
fn one(diagram: &Diagram, x: f64, y: f64, out: &mut String) -> (f64, f64) {
    let mut at = y + 17.0;
    text(out, x, at, "h", "start", &diagram.title);
    // Rough, since nobody measures fonts here: enough that nothing is cut off.
    let mut width = diagram.title.chars().count() as f64 * 9.6;
    for (what, value) in &diagram.facts {
        at += 19.0;
        text(out, x, at, "k", "start", what);
        text(out, x + 66.0, at, "", "start", value);
        width = width.max(66.0 + value.chars().count() as f64 * 7.2);
    }
    at += 22.0;
    let (mut below, mut right) = (0.0f64, 0.0);
    if let Some(presence) = &diagram.presence {
        let (w, h) = map(presence, x, at, out);
        right = w + 36.0;
        below = h;
        width = width.max(w);
    }
    if let Some(panel) = &diagram.body {
        let (w, h) = block(&panel.dimensions, x + right, at, out);
        below = below.max(h);
        width = width.max(right + w);
    }
    (width, at + below - y)
}

fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, content: &str) {
    let content = escaped(content);
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{content}</text>");
}

/// The map of positions; gives width and height.
fn map(presence: &PresenceMap, x: f64, y: f64, out: &mut String) -> (f64, f64) {
    let n_columns = presence.columns.labels.len().max(1) as f64;
    let n_rows: u64 = presence.rows.iter().map(|r| r.n_rows).sum();
    // Few rows are drawn one by one, many joined where they are alike.
    let single = n_rows <= MOST_ROWS;
    let rows: Vec<_> =
        presence.rows.iter().flat_map(|r| std::iter::repeat_n(r, if single { r.n_rows as usize } else { 1 })).collect();
    let rows = &rows[..rows.len().min(MOST_ROWS as usize)];
    let longest = presence.rows.iter().map(|r| r.label.chars().count()).max().unwrap_or(0).min(24);
    let left = if longest == 0 { 0.0 } else { longest as f64 * 7.0 + 10.0 };
    let cell = (MAP_WIDTH / n_columns).min(22.0);
    let height = (240.0 / rows.len().max(1) as f64).clamp(8.0, 22.0);
    let (columns, first_row) = (&presence.columns, y + 18.0);
    let wide = cell * n_columns;
    let last = columns.labels.len().saturating_sub(1);
    let label = |i: usize| columns.labels.get(i).map_or("", String::as_str);
    text(out, x + left, y + 10.0, "s", "start", &format!("{} = {}", columns.name, label(0)));
    if last > 0 && wide > 90.0 {
        text(out, x + left + wide, y + 10.0, "s", "end", label(last));
    }
    let mut seen = [false; 4];
    let mut previous = "";
    for (i, row) in rows.iter().enumerate() {
        let top = first_row + i as f64 * height;
        if row.label != previous {
            let short: String = row.label.chars().take(24).collect();
            text(out, x + left - 8.0, top + height / 2.0 + 4.0, "s", "end", &short);
        }
        previous = &row.label;
        // What is wrong comes last, so that it lies on top, and is never too thin to be seen.
        for wrong in [false, true] {
            let mut column = 0.0;
            for (state, n) in &row.runs {
                seen[*state as usize] = true;
                let (at, w) = (x + left + column * cell, *n as f64 * cell);
                column += *n as f64;
                if (*state != State::Present) != wrong {
                    continue;
                }
                let w = if wrong { w.max(2.0) } else { w };
                let fill = colour(*state);
                let _ = writeln!(
                    out,
                    "<rect x=\"{at:.2}\" y=\"{top:.2}\" width=\"{w:.2}\" height=\"{height:.2}\" fill=\"{fill}\"/>"
                );
            }
        }
    }
    let bottom = first_row + rows.len() as f64 * height;
    let mut path = String::new();
    if cell >= CLOSEST {
        for i in 1..columns.labels.len() {
            let _ = write!(path, "M{:.2} {first_row:.2}V{bottom:.2}", x + left + i as f64 * cell);
        }
    }
    for i in 1..rows.len() {
        let _ = write!(path, "M{:.2} {:.2}h{wide:.2}", x + left, first_row + i as f64 * height);
    }
    let _ = writeln!(out, "<path d=\"{path}\" stroke=\"#ffffff\" stroke-width=\"1\" fill=\"none\"/>");
    let _ = writeln!(
        out,
        "<rect x=\"{:.2}\" y=\"{first_row:.2}\" width=\"{wide:.2}\" height=\"{:.2}\" class=\"o\" stroke-width=\"1\"/>",
        x + left,
        bottom - first_row
    );
    let mut at = bottom + 18.0;
    let hidden = n_rows - rows.iter().map(|r| if single { 1 } else { r.n_rows }).sum::<u64>();
    if hidden > 0 {
        text(out, x + left, at, "s", "start", &format!("and {hidden} rows more"));
        at += 16.0;
    }
    let mut along = x + left;
    for (state, words) in [
        (State::Present, "one file"),
        (State::Missing, "no file"),
        (State::Odd, "does not fit"),
        (State::Double, "several files"),
    ] {
        if seen[state as usize] {
            let fill = colour(state);
            let _ = writeln!(
                out,
                "<rect x=\"{along:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{fill}\" stroke=\"#16324a\" stroke-width=\".5\"/>",
                at - 9.0
            );
            text(out, along + 15.0, at, "s", "start", words);
            along += 30.0 + words.len() as f64 * 6.0;
        }
    }
    (left + wide.max(along - x - left), at + 8.0 - y)
}

fn colour(state: State) -> &'static str {
    match state {
        State::Missing => "#e4685c",
        State::Present => "#7fb3d5",
        State::Odd => "#f0a04b",
        State::Double => "#8e5bb5",
    }
}

/// An edge of the box: where its lines are, in pixels from its beginning.
struct Edge {
    size: f64,
    chunks: Vec<f64>,
    shards: Vec<f64>,
    first_chunk: f64,
    label: String,
    extent: String,
}

impl Edge {
    fn new(dimension: &Dimension, longest: u64) -> Self {
        let length = dimension.length.max(1);
        // Square roots keep thin boxes visible, as dask's picture of an array does.
        let size = (LONGEST * (length as f64 / longest.max(1) as f64).sqrt()).max(26.0);
        let lines = |step: u64| {
            let distance = size * step as f64 / length as f64;
            let every = (CLOSEST / distance).ceil().max(1.0);
            let mut at = Vec::new();
            let mut next = distance * every;
            while next < size - 0.01 && step > 0 {
                at.push(next);
                next += distance * every;
            }
            at
        };
        Self {
            size,
            chunks: lines(dimension.chunk.min(length)),
            shards: dimension.shard.map_or_else(Vec::new, |s| lines(s.min(length))),
            first_chunk: size * (dimension.chunk.min(length) as f64 / length as f64),
            label: format!("{} {}", dimension.name, dimension.length),
            extent: dimension.extent.clone().unwrap_or_default(),
        }
    }
}

/// The last three axes as a box seen from the front, above and right; gives width and height.
fn block(dimensions: &[Dimension], x: f64, y: f64, out: &mut String) -> (f64, f64) {
    let drawn = &dimensions[dimensions.len().saturating_sub(3)..];
    let longest = drawn.iter().map(|d| d.length).max().unwrap_or(1);
    let mut edges = drawn.iter().rev().map(|d| Edge::new(d, longest));
    let flat = || Edge {
        size: 26.0,
        chunks: Vec::new(),
        shards: Vec::new(),
        first_chunk: 26.0,
        label: String::new(),
        extent: String::new(),
    };
    let across = edges.next().unwrap_or_else(flat);
    let down = edges.next().unwrap_or_else(flat);
    let deep = edges.next().filter(|_| drawn.first().is_some_and(|d| d.length > 1));
    // The depth goes up and to the right.
    let slope = |d: f64| (d * 0.52, -d * 0.38);
    let depth = deep.as_ref().map_or((0.0, 0.0), |d| slope(d.size));
    let left = 54.0f64.max(
        deep.as_ref().map_or(0.0, |d| d.label.len().max(d.extent.chars().count()) as f64 * 7.0 + 8.0 - depth.0 / 2.0),
    );
    let (x0, y0) = (x + left, y + 6.0 - depth.1);
    let (w, h) = (across.size, down.size);
    let quad = |out: &mut String, fill: &str, p: [(f64, f64); 4]| {
        let points: Vec<String> = p.iter().map(|(a, b)| format!("{a:.2},{b:.2}")).collect();
        let _ = writeln!(out, "<polygon points=\"{}\" fill=\"{fill}\"/>", points.join(" "));
    };
    let (dx, dy) = depth;
    quad(out, "#d5e7f4", [(x0, y0), (x0 + w, y0), (x0 + w, y0 + h), (x0, y0 + h)]);
    if deep.is_some() {
        quad(out, "#e9f3fa", [(x0, y0), (x0 + dx, y0 + dy), (x0 + w + dx, y0 + dy), (x0 + w, y0)]);
        quad(out, "#b9d4e9", [(x0 + w, y0), (x0 + w + dx, y0 + dy), (x0 + w + dx, y0 + h + dy), (x0 + w, y0 + h)]);
    }
    // The first chunk.
    let (cw, ch) = (across.first_chunk, down.first_chunk);
    quad(out, "#f2b26b", [(x0, y0), (x0 + cw, y0), (x0 + cw, y0 + ch), (x0, y0 + ch)]);
    if let Some(deep) = &deep {
        let (cx, cy) = slope(deep.first_chunk);
        quad(out, "#f7cc99", [(x0, y0), (x0 + cx, y0 + cy), (x0 + cw + cx, y0 + cy), (x0 + cw, y0)]);
        if cw >= w {
            quad(
                out,
                "#d99a55",
                [(x0 + w, y0), (x0 + w + cx, y0 + cy), (x0 + w + cx, y0 + ch + cy), (x0 + w, y0 + ch)],
            );
        }
    }
    for (class, pick) in [("c", (|e: &Edge| e.chunks.clone()) as fn(&Edge) -> Vec<f64>), ("d", |e| e.shards.clone())] {
        let mut path = String::new();
        for a in pick(&across) {
            let _ = write!(path, "M{:.2} {y0:.2}v{h:.2}M{:.2} {y0:.2}l{dx:.2} {dy:.2}", x0 + a, x0 + a);
        }
        for a in pick(&down) {
            let _ = write!(path, "M{x0:.2} {:.2}h{w:.2}l{dx:.2} {dy:.2}", y0 + a);
        }
        for (px, py) in deep.iter().flat_map(pick).map(slope) {
            let _ = write!(path, "M{:.2} {:.2}h{w:.2}v{h:.2}", x0 + px, y0 + py);
        }
        let _ = writeln!(out, "<path d=\"{path}\" class=\"{class}\"/>");
    }
    let mut outline = format!("M{x0:.2} {y0:.2}h{w:.2}v{h:.2}h{:.2}z", -w);
    if deep.is_some() {
        let _ = write!(
            outline,
            "l{dx:.2} {dy:.2}h{w:.2}v{h:.2}l{:.2} {:.2}M{:.2} {y0:.2}l{dx:.2} {dy:.2}",
            -dx,
            -dy,
            x0 + w
        );
    }
    let _ = writeln!(out, "<path d=\"{outline}\" class=\"o\"/>");
    text(out, x0 + w / 2.0, y0 + h + 18.0, "", "middle", &across.label);
    text(out, x0 + w / 2.0, y0 + h + 33.0, "s", "middle", &across.extent);
    text(out, x0 - 8.0, y0 + h / 2.0 + 4.0, "", "end", &down.label);
    text(out, x0 - 8.0, y0 + h / 2.0 + 19.0, "s", "end", &down.extent);
    if let Some(deep) = &deep {
        text(out, x0 + dx / 2.0 - 10.0, y0 + dy / 2.0 - 10.0, "", "end", &deep.label);
        text(out, x0 + dx / 2.0 - 10.0, y0 + dy / 2.0 + 4.0, "s", "end", &deep.extent);
    }
    (left + w + dx, h - dy + 48.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::presence::MapAxis;

    fn dimension(name: &str, length: u64, chunk: u64) -> Dimension {
        Dimension { name: name.into(), length, extent: None, chunk, shard: Some(length) }
    }

    #[test]
    fn every_array_gives_a_well_formed_picture() {
        let axis =
            |name: &str, n: usize| MapAxis { name: name.into(), labels: (0..n).map(|i| i.to_string()).collect() };
        let presence = PresenceMap::new(&[axis("t", 5000), axis("c", 3)], &[(7, State::Present), (9, State::Odd)]);
        let all = ["t", "c", "z", "y", "x"].map(|n| dimension(n, 3000, 16));
        for rank in 0..=5 {
            let body = Some(Body { dimensions: all[5 - rank..].to_vec() });
            let title = "a < b & c\u{1}".to_string();
            let svg = draw(&[Diagram { title, body, presence: presence.clone(), ..Diagram::default() }]);
            assert!(svg.contains("a &lt; b &amp; c<"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let mut reader = quick_xml::Reader::from_str(&svg);
            while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        }
    }

    #[test]
    fn dense_grids_stay_small() {
        let huge = ["z", "y", "x"].map(|n| dimension(n, 1 << 40, 1));
        let svg = draw(&[Diagram { body: Some(Body { dimensions: huge.to_vec() }), ..Diagram::default() }]);
        assert!(svg.len() < 40_000, "{}", svg.len());
    }
}
