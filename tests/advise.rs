//! `advise`: what it foretells of a codec is what stitch writes with it.

use crate::common::tempdir;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn stackctl(arguments: &[&str]) -> (Vec<u8>, String, i32) {
    let ran = Command::new(env!("CARGO_BIN_EXE_stackctl")).args(arguments).output().unwrap();
    (ran.stdout, String::from_utf8_lossy(&ran.stderr).into_owned(), ran.status.code().unwrap())
}

/// Bytes of the chunks of a plain array.
fn chunk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let bytes =
        |path: std::path::PathBuf| if path.is_dir() { chunk_bytes(&path) } else { path.metadata().unwrap().len() };
    entries.map(|entry| bytes(entry.path())).sum()
}

#[test]
fn sizes_are_those_that_stitch_writes() {
    let folder = tempdir().unwrap();
    let chunks = ["--chunks", "1,1,3,24,20"];
    let (told, _, code) =
        stackctl(&[&["advise", "fixtures/raw", "--json", "--sample", "1000", "--try", "zstd:7"][..], &chunks].concat());
    assert_eq!(code, 0);
    let told: Value = serde_json::from_slice(&told).unwrap();
    let trials = told["trials"].as_array().unwrap();
    assert!(trials.iter().any(|trial| trial["codec"] == "zstd:7"));
    assert!(trials.iter().any(|trial| trial["codec"] == told["choice"]));
    for (i, trial) in trials.iter().enumerate() {
        let output = folder.path().join(format!("{i}.zarr"));
        let (output, codec) = (output.to_str().unwrap(), trial["codec"].as_str().unwrap());
        let fixed = ["stitch", "fixtures/raw", "--plain", "--shards", "none", "--codec", codec, "-o", output];
        assert_eq!(stackctl(&[&fixed[..], &chunks].concat()).2, 0, "{codec}");
        assert_eq!(trial["encoded_bytes"], chunk_bytes(&Path::new(output).join("c")), "{codec}");
        assert_eq!(trial["output_bytes"], trial["encoded_bytes"], "all chunks were tried");
    }
}

#[test]
fn the_choice_is_said_with_its_reason() {
    let (told, _, code) = stackctl(&["advise", "fixtures/raw"]);
    let told = String::from_utf8(told).unwrap();
    assert_eq!(code, 0);
    assert!(told.contains("files in shards of") && told.contains("with --shards none"), "{told}");
    let choice = told.lines().find(|line| line.starts_with("--codec ")).unwrap();
    assert!(choice.contains(": "), "{choice}");
}

#[test]
fn a_chunk_that_memory_does_not_hold_is_refused_with_a_way_out() {
    let (_, told, code) = stackctl(&["advise", "fixtures/raw", "--memory", "1K"]);
    assert_ne!(code, 0);
    assert!(told.contains("--memory"), "{told}");
}
