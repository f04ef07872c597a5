//! What the planes of an array are like, as JSON or CSV.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::folding::{FoldedOutput, Folding};
use super::zarr::channel_labels;
use super::{OutputOptions, Spec};
use crate::axis::{Axis, AxisKind};
use crate::block::Block;
use crate::consume::planes::{PlaneFigures, PlaneTally, Planes};
use crate::consume::{Consumer, Place};
use crate::digest;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::positions;
use crate::plan::Cost;
use crate::store::{OutputKind, Store};

/// Bytes of text that are gathered before they are written.
const BATCH_BYTES: usize = 1 << 20;

/// Statistics of planes, on their way into a file.
pub(super) struct FigureSink {
    axes: Vec<Axis>,
    dtype: DType,
    planes: Planes,
    is_csv: bool,
}

/// The file that will be called `path`, which ends in `.json` or `.csv`.
///
/// # Errors
/// `Usage` if it ends in something else, the array has no planes of ordered values, or something stands under the
/// name.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let no = |why: String| Error::usage(format!("--stats {}: {why}", path.display()));
    let is_csv = match super::extension(path).as_str() {
        "json" => false,
        "csv" => true,
        _ => return Err(no("a name that ends in .json or .csv".into())),
    };
    let of = FigureSink::new(spec, is_csv)
        .ok_or_else(|| no(format!("an array of shape {:?} {} has no planes of numbers", spec.shape(), spec.dtype)))?;
    options.check_free(path, OutputKind::File)?;
    let place = Place::new(path, OutputKind::File, options.overwrite, options.durability);
    Ok(Box::new(Folding { place, of }))
}

impl FigureSink {
    /// Of an array of `spec`; nothing if it has no planes of ordered values.
    pub(super) fn new(spec: &Spec, is_csv: bool) -> Option<Self> {
        let planes = Planes::new(&spec.shape(), spec.dtype)?;
        Some(Self { axes: spec.axes.clone(), dtype: spec.dtype, planes, is_csv })
    }
}

impl FoldedOutput for FigureSink {
    type Total = PlaneTally;

    fn n_axes(&self) -> usize {
        self.axes.len()
    }

    fn cost(&self, task: &[u64]) -> Cost {
        self.planes.cost(task)
    }

    fn held_bytes(&self) -> u64 {
        self.planes.held_bytes().saturating_add(2 * BATCH_BYTES as u64)
    }

    fn look(&self, block: &Block, state: &mut Vec<u8>) {
        self.planes.look(block, state);
    }

    fn total(&self) -> PlaneTally {
        self.planes.tally()
    }

    fn add(&self, total: &mut PlaneTally, state: &[u8]) -> Result<()> {
        total.add(state)
    }

    fn write(&self, total: PlaneTally, store: &Store) -> Result<()> {
        let all = total.finish()?;
        let report = Report::new(self, &all);
        let (mut text, mut at) = (String::new(), 0);
        for line in if self.is_csv { report.csv() } else { report.json() } {
            text += &line;
            if text.len() >= BATCH_BYTES {
                store.put_at(at, text.as_bytes())?;
                at += text.len() as u64;
                text.clear();
            }
        }
        store.put_at(at, text.as_bytes()).map(|_| ())
    }
}

/// The figures of all planes, to be written.
struct Report<'a> {
    sink: &'a FigureSink,
    all: &'a [PlaneFigures],
    /// The outer axis of channels.
    axis: Option<usize>,
    channels: Vec<Channel>,
}

/// Name, figures, and largest value, if the detector counts no further, of a channel.
type Channel = (String, PlaneFigures, Option<f64>);

impl<'a> Report<'a> {
    fn new(sink: &'a FigureSink, all: &'a [PlaneFigures]) -> Self {
        let outer = sink.planes.outer();
        let axis = sink.axes[..outer.len()].iter().position(|a| a.kind == AxisKind::Channel);
        let labels = axis.map_or_else(|| vec!["all".to_owned()], |i| channel_labels(&sink.axes[i]));
        let one = |(i, label): (usize, String)| {
            let own = positions(outer).zip(all).filter(|(at, _)| axis.is_none_or(|a| at[a] == i as u64));
            let figures = PlaneFigures::of_all(own.map(|(_, figures)| figures), sink.dtype);
            let full = figures.full(sink.dtype);
            (label, figures, full)
        };
        let channels = labels.into_iter().enumerate().map(one).collect();
        Self { sink, all, axis, channels }
    }

    /// Figures as a JSON object; what is not known is null.
    fn object(&self, figures: &PlaneFigures, full: Option<f64>, n_elements: u64) -> Map<String, Value> {
        let dtype = self.sink.dtype;
        let (mean, std) = figures.moments(dtype);
        let known = |value: f64| Some(value).filter(|_| figures.n > 0);
        let share = |n: u64| known(n as f64 / figures.n as f64);
        let bins: Vec<Value> = figures.histogram(dtype).iter().map(|(from, to, n)| json!([from, to, n])).collect();
        let mut object = Map::new();
        let mut set = |key: &str, value: Value| _ = object.insert(key.into(), value);
        set("n", json!(figures.n));
        set("absent", json!(n_elements - figures.n - figures.n_odd));
        set("not_finite", json!(figures.n_odd));
        set("min", json!(known(figures.min)));
        set("max", json!(known(figures.max)));
        set("mean", json!(known(mean)));
        set("std", json!(known(std)));
        set("zero", json!(share(figures.n_zero())));
        set("saturated", json!(share(figures.n_saturated(full))));
        set("sharpness", json!(figures.sharpness(dtype)));
        set("histogram", json!(bins));
        object
    }

    /// Position, channel's largest value, and figures of every plane.
    fn planes(&self) -> impl Iterator<Item = (Vec<u64>, Map<String, Value>)> + '_ {
        let shape = crate::axis::shape(&self.sink.axes);
        let n_plane = crate::grid::n_elements(&shape[shape.len() - 2..]);
        positions(self.sink.planes.outer()).zip(self.all).map(move |(at, figures)| {
            let channel = self.axis.map_or(0, |i| at[i] as usize);
            let mut object = self.object(figures, self.channels[channel].2, n_plane);
            let digest = digest::whole(figures.sum_of_bytes, n_plane * self.sink.dtype.size() as u64);
            object.insert("crc64nvme".into(), json!(digest::text(digest)));
            (at, object)
        })
    }

    fn names(&self) -> Vec<&str> {
        self.sink.axes.iter().map(|a| a.name.as_str()).collect()
    }

    fn n_of_channel(&self) -> u64 {
        crate::grid::n_elements(&crate::axis::shape(&self.sink.axes)) / self.channels.len().max(1) as u64
    }

    fn json(&'a self) -> Box<dyn Iterator<Item = String> + 'a> {
        let (names, n_outer) = (self.names(), self.sink.planes.outer().len());
        let channel = |(label, figures, full): &Channel| {
            let mut object = Map::from_iter([("channel".to_owned(), json!(label))]);
            object.extend(self.object(figures, *full, self.n_of_channel()));
            Value::Object(object)
        };
        let head = json!({
            "program": concat!("stackctl ", env!("CARGO_PKG_VERSION")),
            "axes": names, "shape": crate::axis::shape(&self.sink.axes), "dtype": self.sink.dtype,
            "plane": names[n_outer..],
            "histogram": {"of": format!("1 in {} rows", self.sink.planes.stride()),
                          "bins": "from, to, number of values at least the one and below the other"},
            "sharpness": "mean squared difference of every second element along the last axis and the one before it, over the squared mean",
            "channels": self.channels.iter().map(channel).collect::<Vec<_>>(),
        })
        .to_string();
        let first = format!("{},\n\"planes\": [", head.trim_end_matches('}'));
        let line = move |(i, (at, object)): (usize, (Vec<u64>, Map<String, Value>))| {
            let place: Map<String, Value> = names.iter().zip(&at).map(|(n, a)| ((*n).to_owned(), json!(a))).collect();
            let plane: Map<String, Value> =
                std::iter::once(("at".to_owned(), Value::Object(place))).chain(object).collect();
            format!("{}\n{}", if i == 0 { "" } else { "," }, Value::Object(plane))
        };
        let lines = self.planes().enumerate().map(line);
        Box::new(std::iter::once(first).chain(lines).chain(std::iter::once("\n]}\n".to_owned())))
    }

    /// A line for each plane, and one for each channel, whose other places are `all`.
    fn csv(&'a self) -> Box<dyn Iterator<Item = String> + 'a> {
        let n_outer = self.sink.planes.outer().len();
        let row = |place: Vec<String>, object: &Map<String, Value>| {
            let cells = object.iter().filter(|(key, _)| *key != "crc64nvme").map(|(_, value)| cell(value));
            let crc = object.get("crc64nvme").map_or_else(String::new, cell);
            place.into_iter().chain(cells).chain([crc]).collect::<Vec<_>>().join(",") + "\n"
        };
        let first = self.object(&PlaneFigures::default(), None, 0);
        let head: Vec<&str> = self.names()[..n_outer]
            .iter()
            .copied()
            .chain(first.keys().map(String::as_str))
            .chain(["crc64nvme"])
            .collect();
        let planes = self.planes().map(move |(at, object)| row(at.iter().map(u64::to_string).collect(), &object));
        let whole = self.channels.iter().enumerate().map(move |(i, (_, figures, full))| {
            let place = (0..n_outer).map(|a| if Some(a) == self.axis { i.to_string() } else { "all".into() }).collect();
            row(place, &self.object(figures, *full, self.n_of_channel()))
        });
        Box::new(std::iter::once(head.join(",") + "\n").chain(planes).chain(whole))
    }
}

/// A value as text of a table: nothing for null, bins as `from:to:number` one behind the other.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(bins) => {
            let mut text = String::new();
            for bin in bins.iter().filter_map(Value::as_array) {
                let bin: Vec<String> = bin.iter().map(Value::to_string).collect();
                let _ = write!(text, "{}{}", if text.is_empty() { "" } else { ";" }, bin.join(":"));
            }
            text
        }
        other => other.to_string(),
    }
}
