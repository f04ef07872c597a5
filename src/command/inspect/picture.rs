//! The picture of `--svg`, from what was found.

use super::findings::Findings;
use crate::axis::Calibration;
use crate::draw::diagram::{Body, Diagram, Dimension, draw};
use crate::exec::budget::Bytes;
use crate::report::{count, tuple};
use crate::unit;

/// Arrays that are drawn below one another.
const MOST: usize = 20;

/// All arrays, or the first of them; `None` if there is nothing to draw.
pub(super) fn svg(arrays: &[Findings]) -> Option<String> {
    let diagrams: Vec<Diagram> = arrays.iter().take(MOST).filter_map(diagram).collect();
    (!diagrams.is_empty()).then(|| draw(&diagrams))
}

fn diagram(found: &Findings) -> Option<Diagram> {
    let Some(array) = &found.array else {
        // From names alone there is the map of positions.
        let presence = found.presence.clone()?;
        let title = found.pattern.as_ref().map_or(String::new(), |p| p.text.clone());
        let facts = vec![("names".to_owned(), found.files.count.to_string())];
        return Some(Diagram { title, facts, body: None, presence: Some(presence) });
    };
    let stored = found.storage.as_ref();
    let dimensions = array.axes.iter().enumerate().map(|(i, axis)| Dimension {
        name: axis.name.clone(),
        length: axis.length,
        extent: axis.calibration.as_ref().map(|c| {
            unit::words(&Calibration { step: c.step * axis.length as f64, unit: c.unit.clone(), from: c.from })
        }),
        chunk: stored.map_or(axis.length, |s| s.chunks[i]),
        shard: stored.and_then(|s| s.shards.as_ref()).map(|s| s[i]),
    });
    let value = found.value.as_ref().map_or(String::new(), |v| format!("{v}: "));
    let mut facts = vec![("array".to_owned(), format!("{}, {}", Bytes(array.bytes), count(array.files, "file")))];
    if let Some(s) = stored {
        facts.push(("chunk".into(), format!("{}, {}, {}", tuple(&s.chunks), Bytes(s.chunk_bytes), s.n_chunks)));
        if let (Some(shards), Some(bytes)) = (&s.shards, s.shard_bytes) {
            facts.push(("shard".into(), format!("{}, {}, {}", tuple(shards), Bytes(bytes), s.output_files)));
        }
        facts.push(("codec".into(), s.codec.clone()));
    }
    if found.holes.count > 0 {
        facts.push(("missing".into(), format!("{} of {} positions", found.holes.count, found.positions)));
    }
    let names: Vec<&str> = array.axes.iter().map(|a| a.name.as_str()).collect();
    let title = format!("{value}{} {} {}", names.join(" "), tuple(&array.shape), array.dtype);
    Some(Diagram {
        title,
        facts,
        body: Some(Body { dimensions: dimensions.collect() }),
        presence: found.presence.clone(),
    })
}
