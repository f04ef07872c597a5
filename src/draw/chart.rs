//! Lines and bars of numbers as SVG that a page shows in its own colours.

use std::fmt::Write;

use super::scale::{round, short};

/// Width and height of a chart, and the space left of it and below it, in pixels.
const SIZE: [f64; 2] = [640.0, 200.0];
const LEFT: f64 = 62.0;
const BELOW: f64 = 36.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 12.0;
/// Points of a line; of more, the least and the greatest of each stretch are drawn.
const MOST_POINTS: usize = 1200;

/// Lines over one axis.
pub struct Chart<'a> {
    /// What is along x.
    pub x: &'a str,
    /// What is along y.
    pub y: &'a str,
    /// Name and points of each line, x ascending; what is not finite is a gap.
    pub lines: &'a [(String, Vec<(f64, f64)>)],
}

/// The chart, with classes `l0`, `l1`, .. for its lines, and their names below it where there are several.
pub fn lines(chart: &Chart<'_>) -> String {
    let all = || chart.lines.iter().flat_map(|(_, points)| points).filter(|p| p.1.is_finite());
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = all().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |r, v| (r.0.min(v), r.1.max(v)));
        if low < high {
            (low, high)
        } else if low.is_finite() {
            (low - 0.5, high + 0.5)
        } else {
            (0.0, 1.0)
        }
    };
    let (xs, ys) = (range(|p| p.0), range(|p| p.1));
    let room = (ys.1 - ys.0) * 0.06;
    let ys = (ys.0 - room, ys.1 + room);
    let mut svg = begin(&format!("{} over {}", chart.y, chart.x));
    let (at_x, at_y) = (scale(xs, LEFT, SIZE[0] - RIGHT), scale(ys, SIZE[1] - BELOW, TOP));
    axes(&mut svg, chart.x, chart.y, &round(xs.0, xs.1), &round(ys.0, ys.1), &at_x, &at_y);
    for (i, (name, points)) in chart.lines.iter().enumerate() {
        for run in thinned(points).split(|p| !p.1.is_finite()).filter(|run| !run.is_empty()) {
            let text: Vec<String> = run.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
            let _ = match text.as_slice() {
                [one] => {
                    let (x, y) = one.split_once(',').unwrap_or_default();
                    write!(svg, r#"<circle class="l{} dot" cx="{x}" cy="{y}" r="2.5"/>"#, i % 8)
                }
                all => write!(svg, r#"<polyline class="l{}" points="{}"/>"#, i % 8, all.join(" ")),
            };
        }
        if chart.lines.len() > 1 {
            let x = LEFT + 8.0 + i as f64 * 96.0;
            let _ = write!(
                svg,
                r#"<text class="n{}" x="{x:.0}" y="{:.0}">{}</text>"#,
                i % 8,
                SIZE[1] - 3.0,
                escaped(&super::shortened(name, 13))
            );
        }
    }
    svg + "</svg>"
}

/// Bars from `from` to `to`, each as high as the logarithm of its number, in class `l{class}`.
pub fn bars(x: &str, bins: &[(f64, f64, u64)], class: usize) -> String {
    let most = bins.iter().map(|b| b.2).max().unwrap_or(1).max(1) as f64;
    let height = |n: u64| if n == 0 { 0.0 } else { (n as f64).log10() + 0.3 };
    let ys = (0.0, most.log10() + 0.5);
    let xs = (0.0, bins.len().max(1) as f64);
    let mut svg = begin(&format!("how often values of {x} occur"));
    let (at_x, at_y) = (scale(xs, LEFT, SIZE[0] - RIGHT), scale(ys, SIZE[1] - BELOW, TOP));
    let step = bins.len().div_ceil(8).max(1);
    let along: Vec<(f64, String)> =
        bins.iter().enumerate().step_by(step).map(|(i, bin)| (i as f64, short(bin.0))).collect();
    let up: Vec<(f64, String)> =
        (0..=most.log10() as i32).map(|power| (f64::from(power) + 0.3, short(10f64.powi(power)))).collect();
    axes(&mut svg, x, "elements", &along, &up, &at_x, &at_y);
    for (i, (_, _, n)) in bins.iter().enumerate() {
        let (left, right, top) = (at_x(i as f64), at_x(i as f64 + 1.0), at_y(height(*n)));
        let _ = write!(
            svg,
            r#"<rect class="b{}" x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
            class % 8,
            left + 0.5,
            (right - left - 1.0).max(0.5),
            (at_y(0.0) - top).max(0.0)
        );
    }
    svg + "</svg>"
}

fn begin(label: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">"#,
        SIZE[0],
        SIZE[1],
        escaped(label)
    )
}

fn scale((low, high): (f64, f64), from: f64, to: f64) -> impl Fn(f64) -> f64 {
    move |v| from + (v - low) / (high - low) * (to - from)
}

fn axes(
    svg: &mut String,
    x: &str,
    y: &str,
    along: &[(f64, String)],
    up: &[(f64, String)],
    at_x: &impl Fn(f64) -> f64,
    at_y: &impl Fn(f64) -> f64,
) {
    let (bottom, right) = (SIZE[1] - BELOW, SIZE[0] - RIGHT);
    for (value, text) in up {
        let at = at_y(*value);
        let _ = write!(svg, r#"<path class="g" d="M{LEFT} {at:.1}H{right}"/>"#);
        let _ =
            write!(svg, r#"<text class="t" x="{}" y="{:.1}" text-anchor="end">{text}</text>"#, LEFT - 5.0, at + 4.0);
    }
    for (value, text) in along {
        let at = at_x(*value);
        let _ = write!(svg, r#"<path class="g" d="M{at:.1} {bottom}v4"/>"#);
        let _ = write!(svg, r#"<text class="t" x="{at:.1}" y="{}" text-anchor="middle">{text}</text>"#, bottom + 15.0);
    }
    let _ = write!(svg, r#"<path class="a" d="M{LEFT} {TOP}V{bottom}H{right}"/>"#);
    let _ = write!(svg, r#"<text class="t" x="{right}" y="{}" text-anchor="end">{}</text>"#, SIZE[1] - 3.0, escaped(x));
    let middle = (TOP + bottom) / 2.0;
    let _ = write!(
        svg,
        r#"<text class="t" x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">{}</text>"#,
        escaped(y)
    );
}

/// Few enough points that show the same.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let ends = |part: &[(f64, f64)]| {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut ends: Vec<(f64, f64)> =
            part.iter().min_by(by).into_iter().chain(part.iter().max_by(by)).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points.chunks(stretch).flat_map(ends).collect()
}

/// Text of HTML and XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_part_lines_and_peaks_stay() {
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)];
        let svg = lines(&Chart { x: "t", y: "<mean>", lines: &[("a".into(), points)] });
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1));
        assert!(svg.contains("&lt;mean&gt;"));
        let mut long: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 0.0)).collect();
        long[7777].1 = 9.0;
        let thin = thinned(&long);
        assert!(thin.len() <= MOST_POINTS && thin.iter().any(|p| p.1 == 9.0));
        assert!(!lines(&Chart { x: "t", y: "mean", lines: &[("a".into(), vec![])] }).contains("NaN"));
    }
}
