//! Inputs and outputs in a store of objects, and inputs on a web server: what a run does there, seen by the server and
//! by other readers.

#![cfg(feature = "remote")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::tempdir;
use crate::common::{bucket, probe, run, tiff};
use bucket::{Bucket, Fate};
use probe::{program, send, told, wait_until};
use run::{Acquisition, PATTERN};
use rustix::process::Signal;
use tiff::Layout;

/// The program in `folder` with what it takes to find the bucket.
fn asked(bucket: &Bucket, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program(folder, arguments);
    command.envs(bucket.settings());
    command
}

/// Runs to an end with `code`; gives output and messages.
fn ends(bucket: &Bucket, folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let (found, out, err) = told(&asked(bucket, folder, arguments).output().unwrap());
    assert_eq!(found, code, "{arguments:?}: {err}{out}");
    (out, err)
}

/// An acquisition in the folder `raw`, and in the bucket.
fn acquisition(bucket: &Bucket, folder: &Path) {
    let layout = Layout { width: 400, height: 300, bits: 16, rows_per_strip: Some(10), ..Layout::default() };
    Acquisition { c: 2, t: 3, z: 5, layout }.write(&folder.join("raw"));
    bucket.python(&["put", &folder.join("raw").to_string_lossy(), "raw"]);
}

/// The pixels of the files in `raw`, as `out.npy`.
fn expected(bucket: &Bucket, folder: &Path) -> String {
    ends(bucket, folder, 0, &["convert", "raw", "--pattern", PATTERN, "-o", "out.npy", "-q", "--overwrite"]);
    folder.join("out.npy").to_string_lossy().into_owned()
}

fn puts(seen: &[String]) -> Vec<&str> {
    seen.iter().filter_map(|line| line.strip_prefix("PUT ")).collect()
}

#[test]
fn arrays_come_from_a_bucket_and_go_to_one() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    acquisition(&bucket, folder);
    let expected = expected(&bucket, folder);
    let stitch = ["stitch", "s3://lab/raw", "--pattern", PATTERN, "-q", "-o"];
    bucket.calm();
    ends(&bucket, folder, 0, &[&stitch[..], &["s3://lab/out.zarr", "--chunks", "1,1,5,100,200"]].concat());
    // What says that the array is there comes when all else is.
    let seen = bucket.seen();
    let puts = puts(&seen);
    let is_metadata = |target: &&str| target.split('?').next().unwrap().ends_with("zarr.json");
    let first = puts.iter().position(is_metadata).unwrap();
    assert!(puts[first..].iter().all(is_metadata), "{puts:?}");
    assert_eq!(puts.last(), Some(&"/lab/out.zarr/zarr.json"), "{puts:?}");
    assert_eq!(run::names(folder), ["out.npy", "raw"], "nothing is left here");
    bucket.python(&["equal", "out.zarr", &expected]);

    let (_, said) = ends(&bucket, folder, 2, &[&stitch[..], &["s3://lab/out.zarr"]].concat());
    assert!(said.contains("s3://lab/out.zarr: exists already") && said.contains("--overwrite"), "{said}");
    ends(&bucket, folder, 0, &[&stitch[..], &["s3://lab/out.zarr", "--overwrite", "--zarr-format", "2"]].concat());
    bucket.python(&["equal", "out.zarr", &expected]);
    let keys = bucket.python(&["list", "out.zarr"]);
    assert!(!keys.contains("zarr.json") && !keys.contains("/c/"), "nothing of the old array is left: {keys}");
    let (_, said) = ends(&bucket, folder, 2, &[&stitch[..], &["s3://lab/raw"]].concat());
    assert!(said.contains("s3://lab/raw"), "{said}");
    let (_, said) = ends(&bucket, folder, 2, &[&stitch[..], &["s3://lab/out.npy"]].concat());
    assert!(said.contains("only Zarr is written there"), "{said}");
    bucket.python(&["put", &folder.join("raw").to_string_lossy(), "others.zarr"]);
    let (_, said) = ends(&bucket, folder, 2, &[&stitch[..], &["s3://lab/others.zarr", "--overwrite"]].concat());
    assert!(said.contains("objects lie there"), "{said}");

    for arguments in [
        &["verify", "s3://lab/out.zarr"][..],
        &["pyramid", "s3://lab/out.zarr"],
        &["stitch", "s3://lab/raw", "--pattern", PATTERN, "--by", "c", "--collection", "-o", "s3://lab/all.zarr"],
    ] {
        let (_, said) = ends(&bucket, folder, 2, arguments);
        assert!(said.contains("file systems alone"), "{said}");
    }
    ends(&bucket, folder, 0, &[&stitch[..], &["local.zarr"]].concat());
    ends(&bucket, folder, 0, &["verify", "local.zarr", "--deep", "-q"]);

    // Parts of names, one file, an array that was written there, over the web, and a list.
    let json = |arguments: &[&str]| {
        let (out, _) = ends(&bucket, folder, 0, &[&["inspect", "--json"], arguments].concat());
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["arrays"][0]["array"]["axes"].to_string()
    };
    let one = json(&["s3://lab/raw/*_ch1_*.tif"]);
    assert!(one.contains(r#""name":"t","length":3"#) && one.contains(r#""name":"c","length":1"#), "{one}");
    let same = |arguments: &[&str], output: &str| {
        ends(&bucket, folder, 0, &[&["convert"], arguments, &["-q", "-o", output]].concat());
        assert!(fs::read(folder.join(output)).unwrap() == fs::read(&expected).unwrap(), "{arguments:?}");
    };
    same(&["s3://lab/out.zarr", "--axes", "t,c,z,y,x"], "again.npy");
    let names = run::names(&folder.join("raw"));
    let urls: Vec<String> =
        names.iter().map(|name| format!("http://127.0.0.1:{}/lab/raw/{name}", bucket.port)).collect();
    fs::write(folder.join("list.txt"), urls.join("\n")).unwrap();
    same(&["--files-from", "list.txt", "--pattern", PATTERN], "web.npy");
    let url = format!("http://127.0.0.1:{}/lab/out.zarr", bucket.port);
    same(&[&url, "--axes", "t,c,z,y,x"], "webzarr.npy");
    let (_, said) = ends(&bucket, folder, 1, &["inspect", &format!("http://127.0.0.1:{}/lab/raw", bucket.port)]);
    assert!(said.contains("web servers do not list") && said.contains("--files-from"), "{said}");
}

/// Google's and Azure's stores: read, written, made anew, with faults; and what is wrong with a request.
#[test]
fn other_stores_are_the_same() {
    for (scheme, other) in [("gs", "there is no such bucket"), ("az", "there is no such container")] {
        let Some(bucket) = Bucket::of(scheme) else { continue };
        let folder = tempdir().unwrap();
        let folder = folder.path();
        acquisition(&bucket, folder);
        let expected = expected(&bucket, folder);
        let [raw, out] = ["raw", "out.zarr"].map(|key| format!("{scheme}://lab/{key}"));
        let stitch = ["stitch", &raw, "--pattern", PATTERN, "-q", "-o"];
        bucket.rule(Duration::ZERO, |number, _| if number % 9 == 4 { Fate::Status(503) } else { Fate::Answered });
        ends(&bucket, folder, 0, &[&stitch[..], &[&out, "--chunks", "1,1,5,100,200", "--levels", "2"]].concat());
        let seen = bucket.seen();
        let last = puts(&seen).pop().unwrap().split('?').next().unwrap().replace("%2E", ".").replace("%2F", "/");
        assert!(last.ends_with("/lab/out.zarr/zarr.json"), "{last}");
        bucket.calm();
        bucket.python(&["equal", "out.zarr", &expected]);
        let (_, said) = ends(&bucket, folder, 2, &[&stitch[..], &[&out]].concat());
        assert!(said.contains(&format!("{out}: exists already")), "{said}");
        ends(&bucket, folder, 0, &[&stitch[..], &[&out, "--overwrite", "--zarr-format", "2"]].concat());
        bucket.python(&["equal", "out.zarr", &expected]);
        let keys = bucket.python(&["list", "out.zarr"]);
        assert!(keys.contains(".zgroup") && !keys.contains("zarr.json"), "nothing of the old array is left: {keys}");
        ends(&bucket, folder, 0, &["convert", &out, "--axes", "t,c,z,y,x", "-q", "-o", "again.npy"]);
        assert!(fs::read(folder.join("again.npy")).unwrap() == fs::read(&expected).unwrap());
        // One object of 7 MB goes in parts, which fake-gcs-server does not take.
        let whole = format!("{scheme}://lab/whole.zarr");
        if scheme == "az" {
            let way = ["--chunks", "3,2,5,300,400", "--codec", "none", "--shards", "none", "--levels", "1"];
            ends(&bucket, folder, 0, &[&stitch[..], &[&whole], &way].concat());
            bucket.python(&["equal", "whole.zarr", &expected]);
        }
        let (out, said) = ends(&bucket, folder, 1, &["inspect", &format!("{scheme}://nobucket/raw.tif")]);
        assert!((out + &said).contains("nobucket/raw.tif"), "{said}");
        let (_, said) = ends(&bucket, folder, 1, &["inspect", &format!("{scheme}://nobucket/raw")]);
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(other), "{said}");
    }
}

#[test]
fn arrays_of_others_are_read_whatever_their_objects_are() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    bucket.python(&["zarrs", &folder.to_string_lossy()]);
    bucket.python(&["put", &folder.to_string_lossy(), "theirs"]);
    // Behind the head, whose blanks are others.
    let elements = |name: &str| {
        let bytes = fs::read(folder.join(name)).unwrap();
        bytes[10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))..].to_vec()
    };
    for name in ["plain", "sharded", "two"] {
        let (input, output) = (format!("s3://lab/theirs/{name}.zarr"), format!("{name}.npy"));
        ends(&bucket, folder, 0, &["convert", &input, "--axes", "z,y,x", "-q", "-o", &output]);
        assert!(elements(&output) == elements("expected.npy"), "{name}");
    }
}

#[test]
fn faults_of_the_server_are_borne() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    acquisition(&bucket, folder);
    let expected = expected(&bucket, folder);
    bucket.rule(Duration::ZERO, |number, line| match number % 7 {
        3 => Fate::Status(503),
        5 if line.starts_with("GET /lab/raw/") => Fate::Cut,
        _ => Fate::Answered,
    });
    let stitch = ["stitch", "s3://lab/raw", "--pattern", PATTERN, "-q", "-o", "s3://lab/out.zarr"];
    ends(&bucket, folder, 0, &[&stitch[..], &["--chunks", "1,1,5,100,100", "--shards", "none"]].concat());
    bucket.calm();
    bucket.python(&["equal", "out.zarr", &expected]);
}

#[test]
fn a_run_that_was_killed_goes_on_in_its_folder() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    acquisition(&bucket, folder);
    let expected = expected(&bucket, folder);
    let stitch = ["stitch", "s3://lab/raw", "--pattern", PATTERN, "-q", "-o", "s3://lab/out.zarr", "--shards", "none"];
    let stitch = [&stitch[..], &["--chunks", "1,1,1,100,400", "--levels", "1"]].concat();
    // From the middle on nothing is taken.
    let mut n_put = 0;
    bucket.rule(Duration::ZERO, move |_, line| {
        n_put += usize::from(line.starts_with("PUT"));
        if n_put > 60 && line.starts_with("PUT") { Fate::Silence(Duration::from_secs(600)) } else { Fate::Answered }
    });
    let mut killed = asked(&bucket, folder, &stitch).spawn().unwrap();
    assert!(wait_until(|| puts(&bucket.seen()).len() > 80));
    send(&killed, Signal::KILL);
    killed.wait().unwrap();
    assert!(!bucket.python(&["list", "out.zarr"]).contains("zarr.json"), "an array that is not whole says so");
    let elsewhere = tempdir().unwrap();
    let (_, said) = ends(&bucket, elsewhere.path(), 2, &stitch);
    assert!(said.contains("go on in the folder where they were begun"), "{said}");
    bucket.calm();
    ends(&bucket, folder, 0, &stitch);
    let (n_again, n_all) = (puts(&bucket.seen()).len(), bucket.python(&["list", "out.zarr"]).lines().count());
    assert!(n_again < n_all - 20, "{n_again} of {n_all} objects were sent again");
    bucket.python(&["equal", "out.zarr", &expected]);
    assert_eq!(run::names(folder), ["out.npy", "raw"]);
}

#[test]
fn headers_of_many_files_take_few_requests() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    bucket.python(&["stacks", &folder.join("stacks").to_string_lossy(), "12"]);
    bucket.python(&["put", &folder.join("stacks").to_string_lossy(), "stacks"]);
    bucket.calm();
    let (out, _) = ends(&bucket, folder, 0, &["inspect", "s3://lab/stacks", "--json"]);
    assert!(out.contains("201"), "{out}");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in bucket.seen().iter().filter(|line| line.contains(".tif")) {
        *counts.entry(line.split(['?', ' ']).nth(1).unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.values().all(|n| *n <= 3), "{counts:?}");
}

#[test]
fn what_is_wrong_is_said_with_a_way_out() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    acquisition(&bucket, folder);
    let says = |arguments: &[&str], settings: &[(&str, &str)], unset: &[&str], words: &[&str]| {
        let mut command = asked(&bucket, folder, arguments);
        command.envs(settings.iter().copied());
        for name in unset {
            command.env_remove(name);
        }
        let (code, out, err) = told(&command.output().unwrap());
        // Lines are broken anywhere between words.
        let err = (out + &err).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == 1 || code == 2, "{arguments:?}: {code} {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{arguments:?}: {err}, without {words:?}");
    };
    let inspect = ["inspect", "s3://lab/raw"];
    says(&["inspect", "s3://lab/none/a.tif"], &[], &[], &["s3://lab/none/a.tif", "no such object"]);
    says(&["inspect", "s3://lab/none"], &[], &[], &["s3://lab/none", "no object has such a name"]);
    says(&["inspect", "s3://lab/none.zarr"], &[], &[], &["s3://lab/none.zarr", "no zarr.json"]);
    says(&["inspect", "s3://nobucket/raw"], &[], &[], &["s3://nobucket/raw", "no such bucket"]);
    says(&["inspect", "s3://lab/raw/q*.tif"], &[], &[], &["q*.tif", "matches no object"]);
    says(&["inspect", "s3:///raw"], &[], &[], &["s3:///raw", "names no bucket"]);
    says(&inspect, &[], &["AWS_ALLOW_HTTP"], &["s3://lab/raw", "AWS_ALLOW_HTTP=true"]);
    // These wait for a while, the last alone for the bucket.
    let nowhere = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    let metadata = [("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9/latest/meta-data")];
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    bucket.rule(Duration::ZERO, |_, _| Fate::Silence(Duration::from_secs(20)));
    std::thread::scope(|scope| {
        scope.spawn(|| says(&inspect, &nowhere, &[], &["s3://lab/raw", "the server is not reached"]));
        scope.spawn(|| says(&inspect, &metadata, &keys, &["credentials", "AWS_ACCESS_KEY_ID"]));
        says(&inspect, &[("AWS_TIMEOUT", "100ms")], &[], &["s3://lab/raw", "no answer in time", "AWS_TIMEOUT"]);
    });
    bucket.rule(Duration::ZERO, |_, _| Fate::Status(403));
    says(&inspect, &[], &[], &["s3://lab/raw", "403", "AWS_SKIP_SIGNATURE"]);
    bucket.rule(Duration::ZERO, |_, _| Fate::Status(301));
    says(&inspect, &[], &[], &["s3://lab/raw", "AWS_REGION"]);
}

/// Recipes of the cookbook for which there must be a bucket.
#[test]
fn recipes_work() {
    let Some(bucket) = Bucket::start() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempdir().unwrap();
    bucket.python(&["put", &root.join("fixtures/raw").to_string_lossy(), "raw"]);
    let text = fs::read_to_string(root.join("docs/cookbook.md")).unwrap();
    let recipes: Vec<&str> =
        text.split("```sh remote\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!recipes.is_empty());
    let programs = Path::new(env!("CARGO_BIN_EXE_stackctl")).parent().unwrap();
    let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    for recipe in recipes {
        let mut shell = Command::new("sh");
        shell.args(["-euc", recipe]).current_dir(folder.path()).env("PATH", &search).envs(bucket.settings());
        let (code, out, err) = told(&shell.output().unwrap());
        assert_eq!(code, 0, "{recipe}: {out}{err}");
    }
    assert!(folder.path().join("mip.tif").exists());
}

/// Not a test of time, which it tells: the same job with and without 50 ms for each request.
#[test]
#[ignore = "tells how long it takes"]
fn latency_is_hidden() {
    let Some(bucket) = Bucket::start() else { return };
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let layout = Layout { width: 1024, height: 1024, bits: 16, rows_per_strip: Some(64), ..Layout::default() };
    Acquisition { c: 2, t: 10, z: 5, layout }.write(&folder.join("raw"));
    bucket.python(&["put", &folder.join("raw").to_string_lossy(), "raw"]);
    for delay in [0, 50, 0, 50] {
        bucket.rule(Duration::from_millis(delay), |_, _| Fate::Answered);
        let begun = Instant::now();
        ends(&bucket, folder, 0, &["reduce", "s3://lab/raw", "--pattern", PATTERN, "--op", "mean", "-q"]);
        println!("reduce, {delay} ms: {:?}, {} requests", begun.elapsed(), bucket.seen().len());
    }
}
