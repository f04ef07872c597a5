//! One page of HTML that says what an array is like: what it is, what its planes are like over time and depth, and how
//! it looks. Made of the same reading as statistics and preview are, and complete in itself.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::figures::FigureSink;
use super::folding::{FoldedOutput, Folding};
use super::preview::{PreviewPanel, PreviewSink};
use super::{OutputOptions, Spec};
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::consume::planes::{PlaneFigures, PlaneTally};
use crate::consume::{Consumer, Place};
use crate::draw::chart::{Chart, bars, escaped, lines};
use crate::draw::scale::{Scale, short};
use crate::error::{Error, Result};
use crate::grid::positions;
use crate::plan::Cost;
use crate::store::{OutputKind, Store};
use crate::unit;

/// Bytes of the picture of the image.
const PICTURE_BYTES: usize = 2 << 20;
/// Things of one kind that are listed.
const MOST_LISTED: usize = 20;
/// A step of brightness from one time point to the next is told if it is so many times the usual one, and by more than
/// this share of the mean.
const FLICKER: (f64, f64) = (6.0, 0.02);

/// What is known of the array beside its values.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What it is called.
    pub title: String,
    /// Facts: what, and its value.
    pub facts: Vec<(String, String)>,
    /// The drawing of the array as SVG.
    pub drawing: Option<String>,
    /// What was assumed or set aside.
    pub notes: Vec<String>,
}

/// A page on its way.
struct ReportSink {
    spec: Spec,
    about: About,
    figures: FigureSink,
    preview: Option<PreviewSink>,
}

/// The page that will be called `path`.
///
/// # Errors
/// `Usage` if it does not end in `.html`, the array has no planes of ordered values, or something stands under the name.
pub fn create(path: &Path, spec: &Spec, about: About, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let no = |why: String| Error::usage(format!("{}: {why}", path.display()));
    if super::extension(path) != "html" {
        return Err(no("a report goes to a name that ends in .html".into()));
    }
    let figures = FigureSink::new(spec, false)
        .ok_or_else(|| no(format!("an array of shape {:?} {} has no planes of numbers", spec.shape(), spec.dtype)))?;
    options.check_free(path, OutputKind::File)?;
    let place = Place::new(path, OutputKind::File, options.overwrite, options.durability);
    let preview = PreviewSink::new(spec, options);
    Ok(Box::new(Folding { place, of: ReportSink { spec: spec.clone(), about, figures, preview } }))
}

impl FoldedOutput for ReportSink {
    type Total = (PlaneTally, Vec<PreviewPanel>);

    fn n_axes(&self) -> usize {
        self.spec.axes.len()
    }

    fn cost(&self, task: &[u64]) -> Cost {
        let preview = self.preview.as_ref().map_or(Cost::default(), |p| p.cost(task));
        self.figures.cost(task) + preview
    }

    fn held_bytes(&self) -> u64 {
        let preview = self.preview.as_ref().map_or(0, FoldedOutput::held_bytes);
        self.figures.held_bytes().saturating_add(preview).saturating_add(4 * PICTURE_BYTES as u64)
    }

    fn look(&self, block: &Block, state: &mut Vec<u8>) {
        let mut own = Vec::new();
        self.figures.look(block, &mut own);
        let mut shown = Vec::new();
        self.preview.iter().for_each(|p| p.look(block, &mut shown));
        for part in [own, shown] {
            state.extend((part.len() as u64).to_le_bytes());
            state.extend(part);
        }
    }

    fn total(&self) -> Self::Total {
        (self.figures.total(), self.preview.as_ref().map_or_else(Vec::new, FoldedOutput::total))
    }

    fn add(&self, total: &mut Self::Total, mut state: &[u8]) -> Result<()> {
        let mut next = || {
            let (length, rest) = state.split_first_chunk::<8>()?;
            let (part, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
            state = rest;
            Some(part)
        };
        while let Some((own, shown)) = next().zip(next()) {
            self.figures.add(&mut total.0, own)?;
            self.preview.as_ref().map_or(Ok(()), |p| p.add(&mut total.1, shown))?;
        }
        if state.is_empty() { Ok(()) } else { Err(Error::format("a report that was kept is damaged: use --restart")) }
    }

    fn write(&self, (tally, panels): Self::Total, store: &Store) -> Result<()> {
        let all = tally.finish()?;
        let picture = self.preview.as_ref().map(|p| p.picture(&panels, PICTURE_BYTES)).transpose()?;
        let page = Page::new(&self.spec, &all).html(&self.about, picture.as_deref());
        store.put_at(0, page.as_bytes()).map(|_| ())
    }
}

/// What the page tells of the planes.
struct Page<'a> {
    spec: &'a Spec,
    all: &'a [PlaneFigures],
    outer: Vec<u64>,
    t: Option<usize>,
    c: Option<usize>,
    z: Option<usize>,
    /// A name for every channel.
    channels: Vec<String>,
}

impl<'a> Page<'a> {
    fn new(spec: &'a Spec, all: &'a [PlaneFigures]) -> Self {
        let shape = spec.shape();
        let outer = shape[..shape.len() - 2].to_vec();
        let at = |is: &dyn Fn(&Axis) -> bool| spec.axes[..outer.len()].iter().position(is);
        let (t, c) = (at(&|a| a.kind == AxisKind::Time), at(&|a| a.kind == AxisKind::Channel));
        let z = at(&|a| a.kind == AxisKind::Space);
        let channels = c.map_or_else(|| vec!["all".into()], |i| super::zarr::channel_labels(&spec.axes[i]));
        Self { spec, all, outer, t, c, z, channels }
    }

    /// Planes with their positions.
    fn planes(&self) -> impl Iterator<Item = (Vec<u64>, &'a PlaneFigures)> + '_ {
        positions(&self.outer).zip(self.all)
    }

    fn is_of(&self, at: &[u64], channel: usize) -> bool {
        self.c.is_none_or(|c| at[c] == channel as u64)
    }

    /// Figures of a channel at every index of `axis`.
    fn along(&self, axis: usize, channel: usize) -> Vec<PlaneFigures> {
        let dtype = self.spec.dtype;
        let mut found: Vec<Vec<&PlaneFigures>> = vec![Vec::new(); self.outer[axis] as usize];
        let own = self.planes().filter(|(at, _)| self.is_of(at, channel));
        own.for_each(|(at, figures)| found[at[axis] as usize].push(figures));
        found.into_iter().map(|planes| PlaneFigures::of_all(planes, dtype)).collect()
    }

    fn mean(&self, figures: &PlaneFigures) -> f64 {
        if figures.n == 0 { f64::NAN } else { figures.moments(self.spec.dtype).0 }
    }

    fn means(&self, axis: usize, channel: usize) -> Vec<f64> {
        self.along(axis, channel).iter().map(|f| self.mean(f)).collect()
    }

    /// A chart of one number of each channel along `axis`.
    fn chart(&self, axis: usize, y: &str, value: impl Fn(&PlaneFigures) -> f64) -> String {
        let scale = Scale::of(&self.spec.axes[axis]);
        let line = |(i, name): (usize, &String)| {
            let values: Vec<f64> = self.along(axis, i).iter().map(&value).collect();
            (name.clone(), scale.places.iter().copied().zip(values).collect())
        };
        let all: Vec<(String, Vec<(f64, f64)>)> = self.channels.iter().take(8).enumerate().map(line).collect();
        lines(&Chart { x: &scale.title, y, lines: &all })
    }

    fn text_of(&self, at: &[u64]) -> String {
        let words = at.iter().enumerate().filter(|(i, _)| self.outer[*i] > 1);
        let words: Vec<String> = words.map(|(i, n)| format!("{}={n}", self.spec.axes[i].name)).collect();
        if words.is_empty() { "the plane".into() } else { words.join(" ") }
    }

    /// Planes that say the same, bit for bit, as the plane before them in time.
    fn repeated(&self) -> Vec<String> {
        let Some(t) = self.t else { return Vec::new() };
        let strides = crate::grid::row_major_strides(&self.outer);
        let before = |i: usize| &self.all[i - strides[t] as usize];
        let own = self.planes().enumerate().filter(|(_, (at, _))| at[t] > 0);
        let same = own.filter(|(i, (_, f))| {
            f.n > 0 && f.min < f.max && f.sum_of_bytes == before(*i).sum_of_bytes && f.n == before(*i).n
        });
        same.map(|(_, (at, _))| self.text_of(&at)).collect()
    }

    /// Planes of one value.
    fn constant(&self) -> Vec<String> {
        let own = self.planes().filter(|(_, f)| f.n > 0 && f.min == f.max);
        own.map(|(at, f)| format!("{} is {} everywhere", self.text_of(&at), short(f.min))).collect()
    }

    fn absent(&self) -> Vec<String> {
        self.planes().filter(|(_, f)| f.n == 0 && f.n_odd == 0).map(|(at, _)| self.text_of(&at)).collect()
    }

    /// Change of brightness of a channel from the first tenth of the time points to the last.
    fn bleaching(&self, channel: usize) -> Option<f64> {
        let means = self.means(self.t?, channel);
        let tenth = (means.len() / 10).max(1);
        let of = |part: &[f64]| {
            let known: Vec<f64> = part.iter().copied().filter(|m| m.is_finite()).collect();
            known.iter().sum::<f64>() / known.len() as f64
        };
        let (first, last) = (of(&means[..tenth]), of(&means[means.len() - tenth..]));
        Some(last / first - 1.0).filter(|change| means.len() > 2 && change.is_finite())
    }

    /// Time points at which a channel suddenly is brighter or darker than before, and by what share.
    fn flicker(&self, channel: usize) -> Vec<(u64, f64)> {
        let Some(t) = self.t else { return Vec::new() };
        let means = self.means(t, channel);
        let steps: Vec<f64> = means.windows(2).map(|w| (w[1] - w[0]) / w[0].abs().max(f64::MIN_POSITIVE)).collect();
        let mut sizes: Vec<f64> = steps.iter().map(|s| s.abs()).filter(|s| s.is_finite()).collect();
        sizes.sort_by(f64::total_cmp);
        let usual = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
        let is_sudden = |s: &f64| s.is_finite() && s.abs() > FLICKER.1 && s.abs() > FLICKER.0 * usual;
        (1..).zip(&steps).filter(|(_, s)| is_sudden(s)).map(|(i, s)| (i, *s)).collect()
    }

    /// All planes of a channel, and the largest value if the detector counts no further.
    fn whole(&self, channel: usize) -> (PlaneFigures, Option<f64>) {
        let own = self.planes().filter(|(at, _)| self.is_of(at, channel)).map(|(_, f)| f);
        let figures = PlaneFigures::of_all(own, self.spec.dtype);
        let full = figures.full(self.spec.dtype);
        (figures, full)
    }

    /// What deserves a look, each with its heading.
    fn findings(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut add = |what: &str, all: Vec<String>, one: &str| {
            if let n @ 1.. = all.len() {
                let more = if n > MOST_LISTED { format!(" and {} more", n - MOST_LISTED) } else { String::new() };
                let list = all.into_iter().take(MOST_LISTED).collect::<Vec<_>>().join(", ");
                found.push((what.to_owned(), format!("{n} {one}: {list}{more}")));
            }
        };
        add("repeated", self.repeated(), "planes are bit for bit the plane of the time point before");
        add("constant", self.constant(), "planes have one value");
        add("absent", self.absent(), "planes are covered by no file");
        for (i, name) in self.channels.iter().enumerate() {
            if let Some(change) = self.bleaching(i).filter(|change| change.abs() >= 0.02) {
                let word = if change < 0.0 { "darker" } else { "brighter" };
                let text =
                    format!("{name} is {} % {word} at the end than at the beginning", short(change.abs() * 100.0));
                found.push(("brightness".into(), text));
            }
            let sudden = self.flicker(i);
            if !sudden.is_empty() {
                let t = &self.spec.axes[self.t.unwrap_or(0)].name;
                let list: Vec<String> = sudden
                    .iter()
                    .take(MOST_LISTED)
                    .map(|(at, s)| format!("{t}={at} by {} %", short(s * 100.0)))
                    .collect();
                found.push((
                    "flicker".into(),
                    format!("{name} changes suddenly {} times: {}", sudden.len(), list.join(", ")),
                ));
            }
            let (figures, full) = self.whole(i);
            let n = figures.n_saturated(full);
            if n > 0 {
                let share = n as f64 / figures.n as f64 * 100.0;
                let text = format!(
                    "{name}: {n} elements ({} %) are {}, the largest there is",
                    short(share),
                    short(figures.max)
                );
                found.push(("saturated".into(), text));
            }
            if figures.n_odd > 0 {
                found.push(("not finite".into(), format!("{name}: {} elements", figures.n_odd)));
            }
        }
        found
    }

    /// The numbers that charts are drawn of.
    fn data(&self) -> Value {
        let channel = |(i, name): (usize, &String)| {
            let (figures, full) = self.whole(i);
            let (mean, std) = figures.moments(self.spec.dtype);
            let known = |v: f64| Some(v).filter(|v| v.is_finite());
            let t: Option<Vec<Option<f64>>> = self.t.map(|t| self.means(t, i).into_iter().map(known).collect());
            json!({"name": name, "min": known(figures.min), "max": known(figures.max), "mean": known(mean),
                   "std": known(std), "saturated": figures.n_saturated(full), "means_over_time": t,
                   "brightness_change": self.bleaching(i), "sudden": self.flicker(i)})
        };
        json!({"axes": self.spec.axes.iter().map(|a| &a.name).collect::<Vec<_>>(), "shape": self.spec.shape(),
               "dtype": self.spec.dtype, "channels": self.channels.iter().enumerate().map(channel).collect::<Vec<_>>(),
               "repeated": self.repeated(), "constant": self.constant(), "absent": self.absent()})
    }

    fn html(&self, about: &About, picture: Option<&[u8]>) -> String {
        let title = escaped(&about.title);
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style></head>\n\
             <body><main>\n<h1>{title}</h1>\n"
        );
        page += &table(&about.facts, "facts");
        let findings = self.findings();
        let none = || vec![("all".to_owned(), "nothing that deserves a look was found".to_owned())];
        section(&mut page, "Findings", &table(&if findings.is_empty() { none() } else { findings }, "findings"));
        section(&mut page, "Array", &self.axes());
        if let Some(drawing) = &about.drawing {
            let data = base64(drawing.as_bytes());
            let text = format!(
                "<figure class=\"paper\"><img alt=\"the array, its chunks and its files\" \
                 src=\"data:image/svg+xml;base64,{data}\"></figure>"
            );
            section(&mut page, "Files and chunks", &text);
        }
        if let Some(picture) = picture {
            let text = format!(
                "<figure class=\"dark\"><img alt=\"slices and projections\" src=\"data:image/png;base64,{}\"></figure>",
                base64(picture)
            );
            section(&mut page, "Preview", &text);
        }
        if let Some(t) = self.t.filter(|t| self.outer[*t] > 1) {
            section(&mut page, "Mean over time", &figure(&self.chart(t, "mean", |f| self.mean(f))));
            let saturated: Vec<(PlaneFigures, Option<f64>)> = (0..self.channels.len()).map(|i| self.whole(i)).collect();
            if saturated.iter().any(|(f, full)| f.n_saturated(*full) > 0) {
                let full = saturated.iter().filter_map(|(_, full)| *full).fold(f64::NAN, f64::max);
                let share = |f: &PlaneFigures| f.n_saturated(Some(full)) as f64 / f.n as f64 * 100.0;
                section(&mut page, "Saturated elements", &figure(&self.chart(t, "%", share)));
            }
        }
        for axis in [self.z, self.t].into_iter().flatten().filter(|axis| self.outer[*axis] > 1) {
            let name = &self.spec.axes[axis].name;
            let sharpness = |f: &PlaneFigures| f.sharpness(self.spec.dtype).unwrap_or(f64::NAN);
            section(
                &mut page,
                &format!("Focus along {}", escaped(name)),
                &figure(&self.chart(axis, "sharpness", sharpness)),
            );
        }
        let mut histograms = String::new();
        for (i, name) in self.channels.iter().enumerate().take(8) {
            let bins = self.whole(i).0.histogram(self.spec.dtype);
            let _ = write!(
                histograms,
                "<figure>{}<figcaption>{}</figcaption></figure>",
                bars("value", &bins, i),
                escaped(name)
            );
        }
        section(&mut page, "Histograms", &format!("<div class=\"grid\">{histograms}</div>"));
        section(&mut page, "Channels", &self.numbers());
        if !about.notes.is_empty() {
            let notes: String = about.notes.iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
            section(&mut page, "Notes", &format!("<ul>{notes}</ul>"));
        }
        let provenance = serde_json::to_string_pretty(&self.spec.provenance).unwrap_or_default();
        section(&mut page, "Provenance", &format!("<pre>{}</pre>", escaped(&provenance)));
        // The end of a script would end it inside text, too.
        let data = self.data().to_string().replace("</", "<\\/");
        let _ = write!(page, "<script type=\"application/json\" id=\"data\">{data}</script>\n</main></body></html>\n");
        page
    }

    fn axes(&self) -> String {
        let mut rows = vec![["axis", "length", "step", "extent", "kind"].map(String::from)];
        for axis in &self.spec.axes {
            let step = axis.calibration.as_ref().map_or(String::new(), unit::words);
            let extent = axis.calibration.as_ref().map_or(String::new(), |c| {
                unit::words(&crate::axis::Calibration { step: c.step * axis.length as f64, ..c.clone() })
            });
            let kind = format!("{:?}", axis.kind).to_lowercase();
            rows.push([axis.name.clone(), axis.length.to_string(), step, extent, kind]);
        }
        grid(&rows)
    }

    fn numbers(&self) -> String {
        let mut rows =
            vec![["channel", "least", "largest", "mean", "deviation", "zero", "saturated"].map(String::from)];
        for (i, name) in self.channels.iter().enumerate() {
            let (figures, full) = self.whole(i);
            let (mean, std) = figures.moments(self.spec.dtype);
            let share = |n: u64| {
                if figures.n == 0 { String::new() } else { format!("{} %", short(n as f64 / figures.n as f64 * 100.0)) }
            };
            let known = |v: f64| if figures.n == 0 { String::new() } else { short(v) };
            let (zero, saturated) = (share(figures.n_zero()), share(figures.n_saturated(full)));
            rows.push([name.clone(), known(figures.min), known(figures.max), known(mean), known(std), zero, saturated]);
        }
        grid(&rows)
    }
}

fn section(page: &mut String, title: &str, body: &str) {
    let _ = write!(page, "<section><h2>{title}</h2>\n{body}</section>\n");
}

fn figure(svg: &str) -> String {
    format!("<figure>{svg}</figure>")
}

/// Two columns: what, and its value.
fn table(rows: &[(String, String)], class: &str) -> String {
    let row =
        |(key, value): &(String, String)| format!("<tr><th>{}</th><td>{}</td></tr>", escaped(key), escaped(value));
    format!("<table class=\"{class}\">{}</table>\n", rows.iter().map(row).collect::<String>())
}

/// Rows below a head.
fn grid<const N: usize>(rows: &[[String; N]]) -> String {
    let row = |(i, cells): (usize, &[String; N])| {
        let tag = if i == 0 { "th" } else { "td" };
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    format!("<table class=\"rows\">{}</table>\n", rows.iter().enumerate().map(row).collect::<String>())
}

/// Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(three.get(i).copied().unwrap_or(0)));
        (0..4).for_each(|i| {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= three.len() { letter } else { '=' });
        });
    }
    text
}

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1b2a38;--soft:#5f7385;--ground:#fbfcfd;--card:#fff;--line:#d5dde4;\
--c0:#1f6fb2;--c1:#c2410c;--c2:#15803d;--c3:#9333ea;--c4:#b91c5c;--c5:#0e7490;--c6:#a16207;--c7:#475569}\
@media (prefers-color-scheme:dark){:root{--ink:#e2e8ee;--soft:#93a4b3;--ground:#12181e;--card:#1a222a;--line:#33404c;\
--c0:#6db3f2;--c1:#fb923c;--c2:#4ade80;--c3:#c084fc;--c4:#f472b6;--c5:#22d3ee;--c6:#facc15;--c7:#cbd5e1}}\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}main{max-width:1040px;margin:0 auto;padding:24px}\
h1{font-size:24px;margin:0 0 12px;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 10px}\
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px;margin:14px 0}\
table{border-collapse:collapse}th,td{text-align:left;padding:3px 18px 3px 0;vertical-align:top;overflow-wrap:anywhere}\
th{color:var(--soft);font-weight:500;white-space:nowrap}.rows td{border-top:1px solid var(--line);\
font-variant-numeric:tabular-nums}figure{margin:0}figure img,figure svg{max-width:100%;height:auto;display:block}\
figcaption{color:var(--soft);font-size:13px}.paper{background:#fff;border-radius:6px;padding:8px}\
.dark{background:#181818;border-radius:6px;padding:8px;overflow-x:auto}\
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;color:var(--soft);margin:0}\
svg text{font:11px system-ui,Helvetica,Arial,sans-serif;fill:var(--soft)}polyline{fill:none;stroke-width:1.6}\
.g{stroke:var(--line);fill:none}.a{stroke:var(--soft);fill:none}\
.l0,.l0.dot{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}\
.l5{stroke:var(--c5)}.l6{stroke:var(--c6)}.l7{stroke:var(--c7)}.b0{fill:var(--c0)}.b1{fill:var(--c1)}.b2{fill:var(--c2)}\
.b3{fill:var(--c3)}.b4{fill:var(--c4)}.b5{fill:var(--c5)}.b6{fill:var(--c6)}.b7{fill:var(--c7)}\
svg .n0{fill:var(--c0)}svg .n1{fill:var(--c1)}svg .n2{fill:var(--c2)}svg .n3{fill:var(--c3)}svg .n4{fill:var(--c4)}\
svg .n5{fill:var(--c5)}svg .n6{fill:var(--c6)}svg .n7{fill:var(--c7)}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_as_the_standard_has_it() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
