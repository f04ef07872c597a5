//! `link`: TIFF files as a Zarr by reference, opened by zarr-python through fsspec.

use std::fs;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{self, run};
use run::{Acquisition, PATTERN, failure, message, stackctl};

/// Files in folders `good_*`, each with its array beside it, and `bad_*`, each with the words of its refusal.
#[test]
fn every_flavour_is_read_where_it_lies() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    common::python("link.py", &[Path::new("make"), folder]);
    let mut names: Vec<String> = run::names(folder).into_iter().filter(|name| !name.contains('.')).collect();
    names.sort();
    for name in names {
        let mut arguments = vec!["link", name.as_str(), "--overwrite"];
        if fs::read_dir(folder.join(&name)).unwrap().count() > 1 {
            arguments.extend(["--pattern", "t{t}"]);
        }
        if name.contains("rgb") {
            arguments.extend(["--axes", "t,z,y,x,c"]);
        }
        if name.contains("hole") {
            arguments.extend(["--missing", "fill", "--fill-value", "7"]);
        }
        if name.starts_with("good") {
            for ending in ["json", "parq", "parq"] {
                let output = format!("{name}.{ending}");
                let output = stackctl(folder).args(&arguments).args(["-o", &output]).output().unwrap();
                assert!(output.status.success(), "{name}: {}", message(&output));
            }
        } else {
            let output = format!("{name}.json");
            let (code, said) = failure(folder, &[&arguments[..], &["-o", &output]].concat());
            let expected = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
            assert!(code == 1 && said.contains(&expected), "{name}: {said}, not {expected}");
            assert!(!folder.join(output).exists());
        }
    }
    common::python("link.py", &[Path::new("check"), folder]);
}

#[test]
fn what_links_cannot_be_is_refused() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    Acquisition::default().write(&folder.join("raw"));
    let made = stackctl(folder).args(["stitch", "raw", "--pattern", PATTERN, "-o", "a.zarr", "-q"]).output().unwrap();
    assert!(made.status.success());
    fs::create_dir(folder.join("other.parq")).unwrap();
    fs::write(folder.join("other.parq/mine"), "").unwrap();
    for (arguments, code, says) in [
        (&["a.zarr", "-o", "a.json"][..], 1, "only the strips and tiles of TIFF"),
        (&["raw", "--pattern", PATTERN, "-o", "a.zarr"], 2, ".json or .parq"),
        (&["raw", "--pattern", PATTERN, "-o", "other.parq", "--overwrite"], 2, "other.parq"),
        (&["raw", "--pattern", PATTERN, "-o", "no/a.json"], 2, "no"),
    ] {
        let (found, said) = failure(folder, &[&["link"], arguments].concat());
        assert!(found == code && said.contains(says), "{arguments:?}: {found}, {said}");
    }
    let arguments = ["link", "raw", "--pattern", PATTERN, "-o", "a.json", "--json"];
    let output = stackctl(folder).args(arguments).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["references"].as_u64(), told["absent"].as_u64()), (Some(30), Some(0)));
    let (code, said) = failure(folder, &arguments);
    assert!(code == 2 && said.contains("a.json"), "{said}");
}
