//! Final figures of a run as data, and the words for durations and counts. Prints nothing.

use serde::Serialize;

use crate::exec::budget::Bytes;
use crate::profile::Profile;

/// Figures of a finished run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What was written.
    pub output: String,
    /// Names of the axes, slowest first.
    pub axes: Vec<String>,
    /// Lengths of the axes.
    pub shape: Vec<u64>,
    /// Type of the elements.
    pub dtype: String,
    /// Shape of a chunk, if the output has chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Vec<u64>>,
    /// Shape of a shard, if the output has shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<u64>>,
    /// Shapes of the levels, the full resolution first, if the output has levels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Vec<u64>>,
    /// Input files.
    pub input_files: u64,
    /// Bytes of pixels read.
    pub bytes_in: u64,
    /// Bytes of the output.
    pub bytes_out: u64,
    /// Files of the output.
    pub output_files: u64,
    /// What was made beside it of the same reading, and its bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<(String, u64)>,
    /// Elements that no file covers.
    pub elements_filled: u64,
    /// Bytes of pixels divided by bytes of the output.
    pub ratio: f64,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Bytes of pixels per second.
    pub rate_bytes_per_s: f64,
    /// Bytes decoded divided by bytes needed.
    pub read_amplification: f64,
    /// Worker threads.
    pub threads: usize,
    /// The memory limit.
    pub memory_limit_bytes: u64,
    /// Peak resident memory that the plan predicted.
    pub predicted_peak_bytes: u64,
    /// Peak resident memory that the system measured.
    pub measured_peak_bytes: u64,
    /// Where the time went, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl Summary {
    /// The summary in two or three lines.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {} {}", self.output, tuple(&self.shape), self.dtype);
        if let Some(chunks) = &self.chunks {
            text += &format!(", chunks {}", tuple(chunks));
        }
        if let Some(shards) = &self.shards {
            text += &format!(", shards {}", tuple(shards));
        }
        if self.levels.len() > 1 {
            text += &format!(", {}", count(self.levels.len() as u64, "level"));
        }
        text += &format!(
            "\n  {} -> {} ({:.2} x) in {}, {}, {}/s, peak {} (predicted {})",
            Bytes(self.bytes_in),
            Bytes(self.bytes_out),
            self.ratio,
            count(self.output_files, "file"),
            duration(self.wall_s),
            Bytes(self.rate_bytes_per_s as u64),
            Bytes(self.measured_peak_bytes),
            Bytes(self.predicted_peak_bytes),
        );
        for (path, bytes) in &self.beside {
            text += &format!("\n  {path} ({})", Bytes(*bytes));
        }
        text + &remarks(self.elements_filled, "hold the fill value", self.read_amplification)
    }
}

/// A line each, if there is reason: elements that no file covers, of which something `happened`, and strips or
/// tiles decoded more than once.
pub fn remarks(elements_filled: u64, happened: &str, read_amplification: f64) -> String {
    let mut text = String::new();
    if elements_filled > 0 {
        text += &format!("\n  {} that no file covers {happened}", count(elements_filled, "element"));
    }
    if read_amplification > 1.005 {
        text += &format!("\n  read amplification {read_amplification:.2}: strips or tiles were decoded more than once");
    }
    text
}

/// `(199, 3, 201, 1024, 768)`; a single length keeps its comma, as NumPy prints it.
pub fn tuple(shape: &[u64]) -> String {
    let items: Vec<String> = shape.iter().map(u64::to_string).collect();
    if items.len() == 1 { format!("({},)", items[0]) } else { format!("({})", items.join(", ")) }
}

/// `1 file`, `3 files`.
pub fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `0.42 s`, `12.3 s`, `2 min 24 s`, `3 h 05 min`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {:02} min", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_numbers() {
        assert_eq!(tuple(&[3, 4]), "(3, 4)");
        assert_eq!(tuple(&[3]), "(3,)");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(duration(0.421), "0.42 s");
        assert_eq!(duration(144.9), "2 min 24 s");
        assert_eq!(duration(11_100.0), "3 h 05 min");
    }
}
