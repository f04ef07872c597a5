//! A plan of very many units, done by very many processes that are killed at random: what it costs in records, memory and
//! time, without a pixel.
//!
//! `STACKCTL_UNITS` sets the number of units; with 1000000 it takes minutes.

#![cfg(target_os = "linux")]

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::common::tempdir;
use crate::common::{memory::peak, tiff};
use serde_json::json;
use stackctl::plan::Share;
use stackctl::store::{Begun, Durability, Look, OutputKind, OutputTerms, Start, Store};
use tiff::Numbers;

fn n_units() -> u64 {
    std::env::var("STACKCTL_UNITS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// What a unit comes to: a partial of a sum whose order would show.
fn partial(unit: u64) -> f64 {
    1.0 / (unit + 3) as f64
}

fn begin(output: &Path, share: Option<Share>) -> Store {
    let manifest = Arc::new(json!({"simulated": n_units()}));
    let plain = OutputTerms::new(output, OutputKind::File);
    let terms = OutputTerms { share, manifest, start: Start::Resume, durability: Durability::None, ..plain };
    match Store::begin(&terms).unwrap() {
        Begun::Ready(store) => store,
        _ => panic!("the place is taken"),
    }
}

/// A process that does its share and is killed after `most` units: its last record is torn.
fn process(output: &Path, share: Share, most: u64, random: &mut Numbers) -> u64 {
    let store = begin(output, Some(share));
    let own = (share.rank..n_units()).step_by(share.n as usize);
    let left: Vec<u64> = own.filter(|unit| !store.done().contains(unit)).collect();
    let is_killed = (left.len() as u64) > most;
    for unit in left.iter().take(most as usize) {
        store.record(*unit, &[], &partial(*unit).to_le_bytes()).unwrap();
    }
    store.leave().unwrap();
    if is_killed && most > 0 {
        torn(output, share, random);
    }
    left.len() as u64
}

/// Cuts the newest journal of a share where a killed process would have.
fn torn(output: &Path, share: Share, random: &mut Numbers) {
    let folder = output.with_file_name(".out.npy.partial/journal");
    let own = format!("{}_{}_", share.rank, share.n);
    let journals = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = journals
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&own))
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    let file = OpenOptions::new().write(true).open(newest.unwrap()).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - random.below(90).min(length)).unwrap();
}

#[test]
fn many_units_and_many_processes() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("out.npy");
    let n_shares = (n_units() / 1000).max(10);
    let mut random = Numbers(11);
    let (start, mut n_processes, mut rounds) = (Instant::now(), 0, 0);
    let mut missing: Vec<u64> = (0..n_shares).collect();
    let work = || {
        while !missing.is_empty() {
            assert!(rounds < 40, "shares {missing:?} are never done");
            for &rank in &missing {
                // Two of three are killed somewhere, until the rounds have been a few.
                let most = if rounds < 4 && random.below(3) > 0 { random.below(1000) } else { u64::MAX };
                process(&output, Share { rank, n: n_shares }, most, &mut random);
                n_processes += 1;
            }
            let done = Look::at(&output).unwrap().unwrap().done().unwrap();
            missing.retain(|rank| (*rank..n_units()).step_by(n_shares as usize).any(|unit| !done.contains(&unit)));
            rounds += 1;
        }
    };
    let ((), worked_bytes) = peak(work);
    let worked_s = start.elapsed().as_secs_f64();
    let journals = folder.path().join(".out.npy.partial/journal");
    let n_bytes: u64 = fs::read_dir(&journals).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let merging = Instant::now();
    let ((), merged_bytes) = peak(|| {
        let store = begin(&output, None);
        assert_eq!(store.done().len() as u64, n_units());
        let places = store.record_places().unwrap();
        let sum = places.values().fold(0.0, |sum, place| {
            sum + f64::from_le_bytes(store.record_at(place).unwrap().state.try_into().unwrap())
        });
        let expected = (0..n_units()).map(partial).fold(0.0, |sum, part| sum + part);
        assert_eq!(sum.to_bits(), expected.to_bits(), "folded in the order of the plan");
        store.abandon().unwrap();
    });
    let merged_s = merging.elapsed().as_secs_f64();
    println!(
        "{} units, {n_shares} shares, {n_processes} processes in {rounds} rounds: {worked_s:.1} s, {:.0} bytes of journal a \
         unit, peak {} MiB; merged in {merged_s:.1} s, peak {} MiB",
        n_units(),
        n_bytes as f64 / n_units() as f64,
        worked_bytes >> 20,
        merged_bytes >> 20
    );
    // A set of numbers and the places of their records: no states, no objects.
    assert!(merged_bytes < (1 << 20) + 250 * n_units(), "{merged_bytes} bytes");
}
