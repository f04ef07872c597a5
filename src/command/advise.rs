//! `advise`: a few chunks of the array compressed in a handful of ways, and the way to take.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::planning::{fit_levels, storage};
use super::resources::Resources;
use super::{resolve, tell, voice};
use crate::array::{Array, Scratch};
use crate::block::{Block, Buffer, size_bytes};
use crate::cli::AdviseArgs;
use crate::codec::{Codec, Contexts};
use crate::draw::table::Table;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::grid::Grid;
use crate::report::{count, duration, tuple};
use crate::sink::Spec;
use crate::sink::zarr::ZarrSink;

/// What is tried, beside what is asked for.
const TRIED: [&str; 6] = ["blosc:zstd,3,bitshuffle", "smaller", "blosc:lz4,5,bitshuffle", "zstd:3", "gzip:6", "none"];
/// A codec is tried again until it took so long.
const ENOUGH: Duration = Duration::from_millis(150);
/// What chunks that are tried may take of the memory there is.
const PART: u64 = 4;
/// An output is smaller if it has at most so much of the bytes of another.
const SMALLER: f64 = 0.97;
/// A run is as fast as another if it takes at most so many times as long.
const AS_FAST: f64 = 1.15;

/// What a codec came to.
#[derive(Clone, Debug, Serialize)]
struct Trial {
    codec: String,
    /// Bytes of the chunks, encoded.
    encoded_bytes: u64,
    /// Estimated bytes of the whole output.
    output_bytes: u64,
    ratio: f64,
    /// Bytes of pixels a second, on one thread.
    encode_bytes_per_s: f64,
    decode_bytes_per_s: f64,
    /// Estimated seconds of the run: reading and encoding on all threads, where nothing else is slower.
    run_s: f64,
}

pub(super) fn run(args: &AdviseArgs) -> Result<()> {
    let request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    let opened = resolve::open(&request, &args.run)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
    let (unit, n_absent) = (opened.stack.layout().unit().to_vec(), opened.stack.layout().n_absent_elements());
    let array: Arc<dyn Array> = Arc::new(opened.stack);
    let budget = Resources::new(&args.run);
    let mut options = storage(&args.storage, false, false, &*array, &unit)?;
    fit_levels(&args.storage, &mut options, &*array, budget.room(&*array));
    let files = |shards: Option<Vec<u64>>| -> Result<u64, Error> {
        let options = crate::sink::zarr::ZarrOptions { shards, ..options.clone() };
        Ok(ZarrSink::new(Path::new("data.zarr"), &Spec::of(&*array), &options)?.n_files())
    };
    let (n_files, n_files_unsharded) = (files(options.shards.clone())?, files(None)?);
    let (chunks, read_s) = chunks(&array, &options.chunks, args.sample, budget.room(&*array) / PART)?;
    let bytes: u64 = chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum();
    let whole = size_bytes(&array.shape(), array.dtype());
    let covered = whole.saturating_sub(n_absent.saturating_mul(array.dtype().size() as u64));
    let mut codecs: Vec<Codec> = vec![options.codec.clone()];
    for codec in TRIED.iter().filter_map(|text| text.parse().ok()).chain(args.also.iter().cloned()) {
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    let scale = covered as f64 / bytes as f64;
    let trials = codecs.iter().map(|codec| trial(codec, &chunks, read_s, scale, budget.threads));
    let trials = trials.collect::<Result<Vec<_>, Error>>()?;
    let (best, why) = choice(&trials);
    if args.run.json {
        return super::print_json(&serde_json::json!({
            "axes": array.axes(), "dtype": array.dtype(), "bytes": whole, "chunks": options.chunks, "shards": options.shards,
            "files": n_files, "files_without_shards": n_files_unsharded, "sampled_chunks": chunks.len(),
            "sampled_bytes": bytes, "read_bytes_per_s": bytes as f64 / read_s, "threads": budget.threads,
            "trials": trials, "choice": trials[best].codec, "why": why,
        }));
    }
    let mut table = Table::default();
    table.row(["codec", "output", "ratio", "encodes", "decodes", "run"]);
    for trial in &trials {
        let rate = |rate: f64| format!("{}/s", Bytes(rate as u64));
        table.row([
            trial.codec.clone(),
            Bytes(trial.output_bytes).to_string(),
            format!("{:.2} x", trial.ratio),
            rate(trial.encode_bytes_per_s),
            rate(trial.decode_bytes_per_s),
            duration(trial.run_s),
        ]);
    }
    let cut = match &options.shards {
        Some(shards) => {
            format!("{} in shards of {}, {n_files_unsharded} with --shards none", count(n_files, "file"), tuple(shards))
        }
        None => count(n_files, "file"),
    };
    let text = format!(
        "{} {} ({}), chunks {}\n  {cut}\n\n{}\n\n--codec {}: {why}\n",
        tuple(&array.shape()),
        array.dtype(),
        Bytes(whole),
        tuple(&options.chunks),
        table.lines(voice::width()).join("\n"),
        trials[best].codec
    );
    super::print(voice::for_stdout(&text).as_bytes())?;
    if !args.run.quiet {
        tell(format_args!(
            "tried on {} ({}); rates are those of one thread, read at {}/s; a run is reading and encoding on {}",
            count(chunks.len() as u64, "chunk"),
            Bytes(bytes),
            Bytes((bytes as f64 / read_s) as u64),
            count(budget.threads as u64, "thread")
        ));
    }
    Ok(())
}

/// Chunks from all over `array`, as many as `room` holds of `n`, and the seconds that reading them took.
fn chunks(array: &Arc<dyn Array>, chunk: &[u64], n: u64, room: u64) -> Result<(Vec<Block>, f64), Error> {
    let grid = Grid::new(&array.shape(), chunk);
    let each = size_bytes(chunk, array.dtype()).max(1);
    let fits = room.saturating_sub(array.needs(chunk)) / each;
    if fits == 0 {
        return Err(Error::limit(format!("a chunk takes {}: use smaller --chunks or more --memory", Bytes(each))));
    }
    let mut reader = Arc::clone(array).reader(Scratch::default());
    let start = Instant::now();
    let read = |number| reader.block(&grid.region(&grid.unravel(number)), array.dtype(), Buffer::default());
    let blocks: Vec<Block> = grid.spread(n.min(fits)).map(read).collect::<Result<_, _>>()?;
    let read_s = start.elapsed().as_secs_f64().max(1e-9);
    let covered: Vec<Block> = blocks.into_iter().filter(|block| block.coverage.absent().is_empty()).collect();
    if covered.is_empty() {
        return Err(Error::usage("no chunk that was read is covered by files: give a larger --sample"));
    }
    Ok((covered, read_s))
}

/// Encodes and decodes `blocks`, for an array that is `scale` times as large.
fn trial(codec: &Codec, blocks: &[Block], read_s: f64, scale: f64, threads: usize) -> Result<Trial, Error> {
    let mut contexts = Contexts::default();
    let mut encoded: Vec<Vec<u8>> = vec![Vec::new(); blocks.len()];
    let encode_s = fastest(|| {
        blocks.iter().zip(&mut encoded).try_for_each(|(block, encoded)| {
            encoded.clear();
            codec.encode(block.bytes(), block.dtype().size(), encoded, &mut contexts)
        })
    })?;
    let longest = blocks.iter().map(|block| block.bytes().len()).max().unwrap_or(0);
    let mut out = vec![0; longest];
    let decode_s = fastest(|| {
        blocks.iter().zip(&encoded).try_for_each(|(block, encoded)| {
            let n = block.bytes().len();
            codec.decoder().decode(encoded, &mut out[..n], &mut contexts)?;
            if out[..n] == *block.bytes() {
                return Ok(());
            }
            Err(Error::format(format!("{codec} does not give back what it was given: report this")))
        })
    })?;
    let bytes: u64 = blocks.iter().map(|block| block.bytes().len() as u64).sum();
    let encoded_bytes: u64 = encoded.iter().map(|encoded| encoded.len() as u64).sum();
    Ok(Trial {
        codec: codec.to_string(),
        encoded_bytes,
        output_bytes: (encoded_bytes as f64 * scale) as u64,
        ratio: bytes as f64 / encoded_bytes.max(1) as f64,
        encode_bytes_per_s: bytes as f64 / encode_s,
        decode_bytes_per_s: bytes as f64 / decode_s,
        run_s: (read_s + encode_s) * scale / threads as f64,
    })
}

/// Seconds of the fastest of some rounds.
fn fastest(mut round: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while best.is_infinite() || start.elapsed() < ENOUGH {
        let before = Instant::now();
        round()?;
        best = best.min(before.elapsed().as_secs_f64().max(1e-9));
    }
    Ok(best)
}

/// Which of `trials` to take, and why: the smallest of those whose run is about as fast as the fastest that compresses;
/// what comes first, which is what stitch takes, where it is about as small.
fn choice(trials: &[Trial]) -> (usize, String) {
    let compresses = |t: &&Trial| t.ratio > 1.02;
    let Some(fastest) = trials.iter().filter(compresses).map(|t| t.run_s).min_by(f64::total_cmp) else {
        let none = trials.iter().position(|t| t.codec == "none").unwrap_or(0);
        return (none, "nothing makes these pixels smaller".to_owned());
    };
    let quick = |t: &&Trial| t.ratio > 1.02 && t.run_s <= fastest * AS_FAST;
    let least = trials.iter().filter(quick).map(|t| t.encoded_bytes).min().unwrap_or(0);
    let best = trials.iter().position(|t| quick(&t) && is_about(t.encoded_bytes, least)).unwrap_or(0);
    let smallest = trials.iter().min_by_key(|t| t.encoded_bytes);
    let smallest = smallest.filter(|t| !is_about(trials[best].encoded_bytes, t.encoded_bytes));
    let mut why = "the smallest output of those that are as fast as any".to_owned();
    if let Some(smallest) = smallest {
        let less = 100.0 * (1.0 - smallest.encoded_bytes as f64 / trials[best].encoded_bytes.max(1) as f64);
        let longer = smallest.run_s / trials[best].run_s;
        why += &format!("; {} saves {less:.0} % more and takes {longer:.1} times as long", smallest.codec);
    }
    (best, why)
}

/// Whether `n_bytes` are about as few as `least`.
fn is_about(n_bytes: u64, least: u64) -> bool {
    n_bytes as f64 * SMALLER <= least as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(all: &[(&str, u64, f64)]) -> Vec<Trial> {
        let one = |&(codec, encoded_bytes, run_s): &(&str, u64, f64)| Trial {
            codec: codec.into(),
            encoded_bytes,
            output_bytes: encoded_bytes,
            ratio: 1000.0 / encoded_bytes as f64,
            encode_bytes_per_s: 1.0,
            decode_bytes_per_s: 1.0,
            run_s,
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn the_smallest_that_is_as_fast_as_any_is_taken() {
        let (best, _) = choice(&trials(&[("a", 500, 1.0), ("b", 400, 1.1), ("c", 300, 2.0), ("none", 1000, 0.5)]));
        assert_eq!(best, 1);
        let (best, why) = choice(&trials(&[("a", 500, 1.0), ("b", 495, 1.0), ("c", 300, 2.0), ("none", 1000, 0.9)]));
        assert_eq!(best, 0);
        assert!(why.ends_with("c saves 40 % more and takes 2.0 times as long"), "{why}");
        let (best, why) = choice(&trials(&[("a", 999, 1.0), ("none", 1000, 0.9)]));
        assert_eq!((best, why.as_str()), (1, "nothing makes these pixels smaller"));
    }
}
