//! Time and memory of names to coordinates. `cargo test --release --test all pattern_scale:: -- --ignored --nocapture`
//! prints the figures for a million names.

use std::time::{Duration, Instant};

use stackctl::pattern::{ArrangeOptions, Pattern, arrange};

fn names(n: usize) -> Vec<String> {
    (0..n)
        .map(|i| {
            let (t, c) = (i / 3, i % 3);
            format!(
                "/scratch/lab/2019/ex6-2_CamA_ch{c}_CAM1_stack{t:06}_{}nm_{:09}msec_{:010}msecAbs_000x_000y_000z_0000t.tif",
                [488, 560, 642][c],
                t * 4375,
                1_423_040 + t * 4375 + c
            )
        })
        .collect()
}

fn measure(n: usize) -> (Duration, Duration) {
    let names = names(n);
    let pattern = Pattern::parse("_ch{c}_*_stack{t}_{c@nm}nm_{t@ms}msec_*_{x}x_{y}y_").unwrap();
    let regex = regex::Regex::new(r"_ch(\d+)_.*?_stack(\d+)_(\d+)nm_(\d+)msec_.*?_(\d+)x_(\d+)y_").unwrap();
    let start = Instant::now();
    let mut places = regex.capture_locations();
    let bare = names.iter().filter(|name| regex.captures_read(&mut places, name).is_some()).count();
    let bare_time = start.elapsed();
    assert_eq!(bare, n);
    let start = Instant::now();
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    let time = start.elapsed();
    assert_eq!(found.cells.len(), n);
    let table = found.fields.len();
    println!("{n:>8} names: regex alone {bare_time:?}, arranged {time:?}, {table} rows, peak {} MiB", peak_mib());
    (bare_time, time)
}

/// Peak resident memory, where the system tells.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

#[test]
fn a_hundred_thousand_names_are_quick() {
    let (_, time) = measure(99_999);
    assert!(time < Duration::from_secs(20), "{time:?}");
}

#[test]
#[ignore = "a measurement, for release builds"]
fn a_million_names() {
    for n in [9_999, 99_999, 999_999] {
        measure(n);
    }
}

#[test]
#[ignore = "a measurement, for release builds"]
fn a_pattern_is_found_in_a_million_names() {
    for n in [9_999, 99_999, 999_999] {
        let names = names(n);
        let start = Instant::now();
        let found = stackctl::pattern::infer(&names, &Default::default()).unwrap();
        println!("{n:>8} names: preset {:?} in {:?}, peak {} MiB", found.preset, start.elapsed(), peak_mib());
        let plain: Vec<String> =
            (0..n).map(|i| format!("raw/a_ch{}_z{:03}_t{:05}.tif", i % 3, i / 3 % 101, i / 303)).collect();
        let start = Instant::now();
        let found = stackctl::pattern::infer(&plain, &Default::default()).unwrap();
        println!("{n:>8} names: {} in {:?}, peak {} MiB", found.pattern, start.elapsed(), peak_mib());
    }
}
