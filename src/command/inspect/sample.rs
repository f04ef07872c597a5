//! How well the array compresses, from a few of its chunks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::array::{Array, Scratch};
use crate::block::Buffer;
use crate::codec::{Codec, Contexts};
use crate::grid::Grid;

/// What the sample came to.
#[derive(Clone, Debug, Serialize)]
pub(in crate::command) struct Sample {
    /// Chunks that were read and encoded.
    pub(in crate::command) chunks: u64,
    /// Their bytes before and after.
    pub(in crate::command) bytes: u64,
    pub(in crate::command) encoded_bytes: u64,
    /// Bytes before divided by bytes after.
    pub(in crate::command) ratio: f64,
    /// Estimated bytes of the whole output.
    pub(in crate::command) output_bytes: u64,
}

/// Chunks that are looked at.
const MOST_CHUNKS: u64 = 9;
/// Files whose strips or tiles need more than this to be decoded are not looked at: one takes seconds.
const MOST_SCRATCH_BYTES: u64 = 256 << 20;
/// No further chunk is begun after this.
const ENOUGH: Duration = Duration::from_millis(600);

/// Encodes a few chunks from all over `array`, of which `n_absent` elements are not covered. `None` if none could be
/// read, or not soon: what is wrong with the pixels is for the run itself to find.
pub(in crate::command) fn sample(
    array: &Arc<dyn Array>,
    n_absent: u64,
    chunks: &[u64],
    codec: &Codec,
) -> Option<Sample> {
    if array.needs(chunks) > MOST_SCRATCH_BYTES {
        return None;
    }
    let grid = Grid::new(&array.shape(), chunks);
    let start = Instant::now();
    let (mut reader, mut contexts) = (Arc::clone(array).reader(Scratch::default()), Contexts::default());
    let (mut buffer, mut encoded) = (Buffer::default(), Vec::new());
    let mut found = Sample { chunks: 0, bytes: 0, encoded_bytes: 0, ratio: 1.0, output_bytes: 0 };
    for number in grid.spread(MOST_CHUNKS) {
        if start.elapsed() > ENOUGH {
            break;
        }
        let region = grid.region(&grid.unravel(number));
        let block = match reader.block(&region, array.dtype(), std::mem::take(&mut buffer)) {
            Ok(block) => block,
            Err(_) => continue,
        };
        if block.coverage.absent().is_empty() {
            encoded.clear();
            codec.encode(block.bytes(), array.dtype().size(), &mut encoded, &mut contexts).ok()?;
            found.chunks += 1;
            found.bytes += block.bytes().len() as u64;
            found.encoded_bytes += encoded.len() as u64;
        }
        buffer = block.into_buffer();
    }
    if found.bytes == 0 {
        return None;
    }
    found.ratio = found.bytes as f64 / found.encoded_bytes.max(1) as f64;
    let elements = crate::grid::n_elements(&array.shape()).max(1) as f64;
    let filled = 1.0 - n_absent as f64 / elements;
    let bytes = crate::block::size_bytes(&array.shape(), array.dtype()) as f64;
    found.output_bytes = (bytes * filled / found.ratio) as u64;
    Some(found)
}
