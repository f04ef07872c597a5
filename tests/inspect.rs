//! `inspect` as its users meet it: what it says, what it draws, and that its advice can be followed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::tempdir;
use crate::common::{run, tiff};
use run::{Acquisition, Succeeds as _, failure, message, read_zarr, stackctl};
use serde_json::Value;

const PATTERN: &str = "_ch{c}_*_stack{t}_{c@nm}nm_{t@ms}msec_";

fn raw() -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    folder
}

/// What it prints, without the figures that depend on the machine.
fn inspect(folder: &Path, more: &[&str]) -> String {
    let output = stackctl(folder).args(["inspect", "--threads", "2", "--memory", "1G"]).args(more).output().unwrap();
    assert!(output.status.success(), "{more:?}: {}", message(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&inspect(folder, &[more, &["--json"]].concat())).unwrap()
}

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it instead.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs; UPDATE_GOLDEN=1 renews it. Now:\n{text}", path.display());
}

/// The peak depends on what the process has loaded.
fn without_peak(text: &str) -> String {
    let cut = |line: &str| line.split("peak memory").next().unwrap_or_default().trim_end().to_owned();
    text.lines().map(cut).collect::<Vec<_>>().join("\n") + "\n"
}

/// An acquisition with one of every fault.
fn broken() -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    let raw = folder.path().join("raw");
    let acquisition = Acquisition { c: 3, t: 6, ..Acquisition::default() };
    acquisition.write(&raw);
    let name = |c, t| raw.join(Acquisition::name(c, t));
    fs::remove_file(name(1, 3)).unwrap();
    fs::copy(name(2, 1), name(2, 1).with_extension("copy.tif")).unwrap();
    let short = acquisition.layout.write(&acquisition.pages(0, 2)[..4]);
    fs::write(name(0, 2), short).unwrap();
    fs::write(name(0, 5), b"II*\0").unwrap();
    fs::copy(name(0, 0), raw.join("AVG_projection.tif")).unwrap();
    folder
}

#[test]
fn the_report_of_a_good_acquisition() {
    let folder = raw();
    let text = inspect(folder.path(), &["raw", "--pattern", PATTERN, "--no-sample"]);
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    assert!(!text.contains('\x1b'));
    golden("inspect_good.txt", &without_peak(&text));
    golden("inspect_inferred.txt", &without_peak(&inspect(folder.path(), &["raw", "--no-sample"])));
}

#[test]
fn faults_are_shown_and_are_no_failure_unless_strict() {
    let folder = broken();
    let arguments = ["raw", "--pattern", PATTERN, "--no-sample"];
    golden("inspect_faults.txt", &without_peak(&inspect(folder.path(), &arguments)));
    let found = json(folder.path(), &arguments);
    let array = &found["arrays"][0];
    let kinds: Vec<&str> = array["faults"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["duplicates", "holes", "unmatched", "unreadable", "odd"]);
    assert_eq!(array["holes"], serde_json::json!({ "count": 1, "first": ["c=1 t=3"] }));
    assert_eq!(array["array"]["shape"], serde_json::json!([6, 3, 5, 37, 50]));
    assert!(array["odd"]["first"][0]["reason"].as_str().unwrap().contains("z is 4, the others have 5"));
    let (code, said) = failure(folder.path(), &["inspect", "raw", "--pattern", PATTERN, "--strict"]);
    assert_eq!((code, said.contains("5 faults")), (3, true), "{said}");
    assert!(json(raw().path(), &["raw", "--strict"])["n_faults"] == 0);
    let white = tiff::Layout { photometric: 0, ..tiff::Layout::default() }.write(&[vec![5; 256]]);
    std::fs::write(folder.path().join("white.tif"), white).unwrap();
    let (code, said) = failure(folder.path(), &["inspect", "white.tif", "--strict"]);
    assert_eq!((code, said.contains("1 note found")), (3, true), "{said}");
}

/// Keys and types of the JSON; a change here is a change of `schema`, unless something is added.
#[test]
fn the_json_keeps_its_keys() {
    let mut keys = BTreeSet::new();
    fn walk(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
        let kind = match value {
            Value::Null => return,
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) => return items.iter().for_each(|i| walk(i, &format!("{path}[]"), keys)),
            Value::Object(map) => return map.iter().for_each(|(k, v)| walk(v, &format!("{path}.{k}"), keys)),
        };
        keys.insert(format!("{path}: {kind}\n"));
    }
    walk(&json(broken().path(), &["raw", "--pattern", PATTERN]), "", &mut keys);
    walk(&json(raw().path(), &["raw"]), "", &mut keys);
    golden("inspect_json_keys.txt", &keys.into_iter().collect::<String>());
}

#[test]
fn the_command_it_prints_does_what_it_says() {
    let folder = raw();
    let found = json(folder.path(), &["raw"]);
    let words: Vec<&str> =
        found["arrays"][0]["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!(words[..2], ["stackctl", "stitch"]);
    stackctl(folder.path()).args(&words[1..]).succeeds();
    let (shape, bytes) = read_zarr(&folder.path().join("raw.zarr"));
    assert_eq!(shape, [3, 2, 5, 37, 50]);
    let elements: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect();
    assert!(elements == Acquisition::default().elements());
    let sample = &found["arrays"][0]["storage"]["sample"];
    assert!(sample["chunks"].as_u64().unwrap() > 0 && sample["ratio"].as_f64().unwrap() > 0.5, "{sample}");
}

#[test]
fn faults_that_can_be_left_out_are_left_out_of_the_command() {
    let folder = broken();
    fs::remove_file(folder.path().join("raw").join(Acquisition::name(2, 1)).with_extension("copy.tif")).unwrap();
    let found = json(folder.path(), &["raw", "--pattern", PATTERN]);
    let words: Vec<&str> =
        found["arrays"][0]["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    stackctl(folder.path()).args(&words[1..]).succeeds();
    assert_eq!(read_zarr(&folder.path().join("raw.zarr")).0, [6, 3, 5, 37, 50]);
}

#[test]
fn the_picture_is_well_formed() {
    let folder = broken();
    inspect(folder.path(), &["raw", "--pattern", PATTERN, "--svg", "a.svg"]);
    let svg = fs::read_to_string(folder.path().join("a.svg")).unwrap();
    assert!(svg.contains("t c z y x (6, 3, 5, 37, 50) uint16") && svg.contains("several files"), "{svg}");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
}

#[test]
fn names_alone_are_enough() {
    let folder = tempdir().unwrap();
    let names: String = (0..40).filter(|t| *t != 7).map(|t| format!("s_t{t:03}_c0.tif\n")).collect();
    let run = |more: &[&str]| {
        let mut inspect = stackctl(folder.path());
        String::from_utf8(run::fed(inspect.args(["inspect", "--names-only"]).args(more), &names).stdout).unwrap()
    };
    let text = run(&["--pattern", "_t{t}_c{c}"]);
    assert!(
        text.starts_with("39 names, files not opened\n") && text.contains("1 of 40 positions has no file"),
        "{text}"
    );
    assert!(text.contains("███████·████"), "{text}");
    let by: Value = serde_json::from_str(&run(&["--pattern", "_t{t}_c{c}", "--by", "c", "--json"])).unwrap();
    assert_eq!((by["arrays"].as_array().unwrap().len(), &by["arrays"][0]["value"]), (1, &Value::from("0")));
}

#[test]
fn one_array_for_each_value_of_a_field() {
    let folder = raw();
    let text = inspect(folder.path(), &["raw", "--pattern", PATTERN, "--by", "c"]);
    assert!(text.starts_with("2 arrays by c, 6 files, "), "{text}");
    assert!(text.contains("-o 'raw-zarr/{c}.zarr'"), "{text}");
    let stitch = |output: &str| {
        let arguments = ["stitch", "raw", "--pattern", PATTERN, "--by", "c", "-o", output];
        stackctl(folder.path()).args(arguments).output().unwrap()
    };
    let refused = stitch("out.zarr");
    assert!(message(&refused).contains("'out/{c}.zarr'") || message(&refused).contains("{c}"), "{}", message(&refused));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stitch("out/{c}.zarr").status.success());
    let all = Acquisition::default().elements();
    let plane = 5 * 37 * 50;
    for c in 0..2 {
        let (shape, bytes) = read_zarr(&folder.path().join(format!("out/{c}.zarr")));
        assert_eq!(shape, [3, 1, 5, 37, 50]);
        let expected: Vec<u8> = (0..3)
            .flat_map(|t| &all[(t * 2 + c) * plane..(t * 2 + c + 1) * plane])
            .flat_map(|e| e.to_ne_bytes())
            .collect();
        assert!(bytes == expected, "channel {c}");
    }
}

#[test]
fn presets_are_listed_and_used() {
    let folder = raw();
    let listed = stackctl(folder.path()).arg("patterns").output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("micro-manager: "));
    let config = "[preset.ours]\npattern = '_ch{c}_*_stack{t}_'\nexample = 'a_ch1_x_stack2_.tif'\n";
    fs::write(folder.path().join("own.toml"), config).unwrap();
    let found = json(folder.path(), &["raw", "--config", "own.toml", "--preset", "ours"]);
    assert_eq!(found["arrays"][0]["pattern"]["preset"], "ours");
    assert_eq!(found["arrays"][0]["array"]["shape"], serde_json::json!([3, 2, 5, 37, 50]));
    let (code, said) = failure(folder.path(), &["inspect", "raw", "--preset", "micro-manger"]);
    assert!(code == 2 && said.contains("near: micro-manager"), "{said}");
}

#[test]
fn names_that_say_nothing_are_told_of() {
    let folder = tempdir().unwrap();
    let acquisition = Acquisition::default();
    for name in ["alpha.tif", "beta7.tif", "13.tif"] {
        fs::write(folder.path().join(name), acquisition.layout.write(&acquisition.pages(0, 0))).unwrap();
    }
    let output = stackctl(folder.path()).args(["inspect", ".", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", message(&output));
    assert!(message(&output).contains("no array"), "{}", message(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["arrays"][0]["faults"][0]["kind"], "no-array");
    assert_eq!(found["arrays"][0]["kinds"][0]["files"], 3);
}

#[test]
fn uneven_time_steps_and_odd_sizes_are_found() {
    let folder = tempdir().unwrap();
    let raw = folder.path().join("raw");
    fs::create_dir(&raw).unwrap();
    let acquisition = Acquisition { c: 1, t: 6, ..Acquisition::default() };
    for (t, ms) in [0, 1000, 2010, 3000, 5000, 6000].into_iter().enumerate() {
        let mut bytes = acquisition.layout.write(&acquisition.pages(0, t));
        // What a program left behind the last page.
        bytes.resize(if t == 2 { bytes.len() * 5 } else { bytes.len() }, 0);
        fs::write(raw.join(format!("a_t{t}_{ms:05}ms.tif")), bytes).unwrap();
    }
    let pattern = ["raw", "--pattern", "_t{t}_{t@ms}ms"];
    let found = json(folder.path(), &pattern);
    let faults = found["arrays"][0]["faults"].as_array().unwrap();
    let text = |kind: &str| faults.iter().find(|f| f["kind"] == kind).map_or("", |f| f["text"].as_str().unwrap());
    assert!(text("uneven").contains("1 of 5 time steps") && text("uneven").contains("t 3 to 4: 2 s"), "{found}");
    assert!(text("size").contains("1 file") && text("size").contains("a_t2_"), "{found}");
    let strict = [&["inspect", "--strict"], &pattern[..]].concat();
    assert_eq!(failure(folder.path(), &strict).0, 3);
    let tolerant = json(folder.path(), &[&pattern[..], &["--time-tolerance", "150"]].concat());
    assert_eq!(tolerant["arrays"][0]["faults"].as_array().unwrap().len(), 1);
}

#[test]
fn empty_and_repeated_frames_are_found_in_the_pixels() {
    let folder = tempdir().unwrap();
    let raw = folder.path().join("raw");
    let acquisition = Acquisition::default();
    acquisition.write(&raw);
    let mut pages = acquisition.pages(1, 2);
    pages[3] = pages[1].clone();
    pages[4].fill(7);
    fs::write(raw.join(Acquisition::name(1, 2)), acquisition.layout.write(&pages)).unwrap();
    let found = json(folder.path(), &["raw", "--pattern", PATTERN, "--pixels"]);
    let faults = found["arrays"][0]["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2, "{found}");
    assert_eq!(faults[0]["text"], "1 frame of one value\n  t=2 c=1 z=4");
    assert_eq!(faults[1]["text"], "1 frame the same as an earlier one\n  t=2 c=1 z=3 is the same as t=2 c=1 z=1");
    assert_eq!(json(folder.path(), &["raw", "--pattern", PATTERN])["n_faults"], 0);
}

#[test]
fn no_command_is_proposed_that_replaces_what_is_there() {
    let folder = raw();
    let command = |input: &str| json(folder.path(), &[input])["arrays"][0]["command"].as_array().unwrap().clone();
    let words = |input: &str| command(input).iter().map(|w| w.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let first = words("raw");
    assert!(first.join(" ").contains("{c@nm}nm_{t@ms}msec"), "{first:?}");
    stackctl(folder.path()).args(&first[1..]).arg("-q").succeeds();
    for input in ["raw", "raw.zarr"] {
        assert_eq!(words(input).last().unwrap(), "raw-2.zarr");
    }
}

#[test]
fn lines_are_no_wider_than_the_terminal() {
    let folder = broken();
    for width in ["60", "80", "100", "200"] {
        let arguments = ["inspect", "raw", "--pattern", PATTERN, "--no-sample"];
        let output = stackctl(folder.path()).args(arguments).env("COLUMNS", width).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // A command is there to be copied, with its names whole.
        let (report, command) = text.split_once("  stackctl stitch").unwrap();
        let long = report.lines().find(|line| line.chars().count() > width.parse().unwrap());
        assert!(long.is_none(), "{width}: {}", long.unwrap());
        assert!(command.contains("--exclude AVG_projection.tif"));
    }
}
