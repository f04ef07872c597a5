//! `verify`: whether an output is what was written, whether it is what the inputs say, and mending it.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::common::tempdir;
use crate::common::{self, pile, probe, run, tiff};
use pile::{PATTERN, Pile};
use probe::{listing, ran, refused, succeeds};
use run::tree;
use serde_json::Value;
use tempfile::TempDir;
use tiff::Layout;

fn pile() -> Pile {
    Pile::new(2, 3, 4, Layout { width: 50, height: 40, bits: 16, ..Layout::default() })
}

const STORAGES: [&[&str]; 3] = [
    &["--zarr-format", "2", "--chunks", "1,1,2,20,25"],
    &["--shards", "none", "--chunks", "1,1,2,20,25"],
    &["--shards", "1,2,4,40,50", "--chunks", "1,1,2,20,25"],
];

/// A pile in `raw` and what `stitch` makes of it, `out.zarr`, in a folder of its own.
fn stitched(storage: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    pile().write(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "-q"];
    succeeds(folder.path(), &[&stitch[..], storage].concat());
    folder
}

const VERIFY: [&str; 2] = ["verify", "out.zarr"];

/// Names of the objects that hold pixels, below `out.zarr`.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let store = folder.join("out.zarr");
    let of_array = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        path.starts_with("0") && name.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let found: Vec<PathBuf> = tree(&store).into_keys().filter(of_array).map(|p| store.join(p)).collect();
    assert!(found.len() > 1);
    found
}

/// Puts every file back as it was, and takes away what has come.
fn restore(folder: &Path, good: &BTreeMap<PathBuf, Vec<u8>>) {
    let store = folder.join("out.zarr");
    for (name, bytes) in good {
        if fs::read(store.join(name)).ok().as_ref() != Some(bytes) {
            fs::write(store.join(name), bytes).unwrap();
        }
    }
    tree(&store)
        .into_keys()
        .filter(|name| !good.contains_key(name))
        .for_each(|n| fs::remove_file(store.join(n)).unwrap());
}

/// `verify` must find a fault; gives what it says on both streams, or its JSON.
fn found(folder: &Path, more: &[&str]) -> String {
    let (code, out, err) = ran(folder, &[&VERIFY[..], more].concat());
    assert_eq!(code, 3, "{more:?}: {out}{err}");
    if more.contains(&"--json") { out } else { out + &err }
}

#[test]
fn a_good_output_passes() {
    for storage in STORAGES {
        let folder = stitched(storage);
        let before = listing(folder.path());
        for more in [&[][..], &["--deep"], &["--sample", "50%"], &["--deep", "--sample", "50%"], &["--threads", "3"]] {
            succeeds(folder.path(), &[&VERIFY[..], more].concat());
        }
        let told = succeeds(folder.path(), &[&VERIFY[..], &["--json"]].concat());
        assert!(serde_json::from_str::<Value>(&told).is_ok(), "{told}");
        assert_eq!(listing(folder.path()), before, "verify writes nothing");
        // Wherever it is moved to, and without its inputs.
        fs::rename(folder.path().join("out.zarr"), folder.path().join("moved.zarr")).unwrap();
        fs::remove_dir_all(folder.path().join("raw")).unwrap();
        succeeds(folder.path(), &["verify", "moved.zarr"]);
    }
}

/// Objects that hold nothing but the fill value are not stored, and are not missing.
#[test]
fn what_need_not_be_stored_is_not_missing() {
    let folder = tempdir().unwrap();
    Pile { holes: vec![(1, 1)], ..pile() }.write(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--missing", "fill", "--shards", "none"];
    succeeds(folder.path(), &stitch);
    succeeds(folder.path(), &VERIFY);
    succeeds(folder.path(), &[&VERIFY[..], &["--deep"]].concat());
}

/// One bit anywhere: pixels, indexes of shards, metadata, checksums.
#[test]
fn a_bit_that_flipped_is_found_in_every_file() {
    for storage in STORAGES {
        let folder = stitched(storage);
        let good = tree(&folder.path().join("out.zarr"));
        let objects = objects(folder.path());
        for (i, (name, bytes)) in good.iter().enumerate() {
            let path = folder.path().join("out.zarr").join(name);
            let places = [0, bytes.len() / 2, bytes.len() - 1];
            // Of the many objects that are alike each is harmed in one place.
            for &at in if objects.contains(&path) { &places[i % 3..][..1] } else { &places } {
                let mut damaged = bytes.clone();
                damaged[at] ^= 4;
                fs::write(&path, damaged).unwrap();
                let (code, out, err) = ran(folder.path(), &VERIFY);
                assert_eq!(code, 3, "byte {at} of {}: {out}{err}", name.display());
            }
            restore(folder.path(), &good);
        }
        succeeds(folder.path(), &VERIFY);
    }
}

#[test]
fn lost_cut_swapped_and_foreign_objects_are_found_by_name() {
    for storage in STORAGES {
        let folder = stitched(storage);
        let good = tree(&folder.path().join("out.zarr"));
        let objects = objects(folder.path());
        let [one, other] = [&objects[0], &objects[objects.len() - 1]];
        let named = |path: &Path| path.strip_prefix(folder.path().join("out.zarr")).unwrap().display().to_string();
        let is_told = |paths: &[&Path]| {
            let text = found(folder.path(), &[]);
            paths.iter().for_each(|p| assert!(text.contains(&named(p)), "{} is not in {text}", p.display()));
            let json = found(folder.path(), &["--json", "-q"]);
            assert!(serde_json::from_str::<Value>(&json).is_ok() && json.contains(&named(paths[0])), "{json}");
            restore(folder.path(), &good);
        };
        fs::remove_file(one).unwrap();
        is_told(&[one]);
        for keep in [0, 1, fs::metadata(one).unwrap().len() - 1] {
            OpenOptions::new().write(true).open(one).unwrap().set_len(keep).unwrap();
            is_told(&[one]);
        }
        let mut longer = fs::read(one).unwrap();
        longer.push(0);
        fs::write(one, longer).unwrap();
        is_told(&[one]);
        let [a, b] = [fs::read(one).unwrap(), fs::read(other).unwrap()];
        assert!(a != b);
        fs::write(one, b).unwrap();
        fs::write(other, a).unwrap();
        is_told(&[one, other]);
        let foreign = one.with_file_name("99");
        fs::copy(one, &foreign).unwrap();
        is_told(&[&foreign]);
        let foreign = folder.path().join("out.zarr/0/notes.txt");
        fs::write(&foreign, "mine").unwrap();
        is_told(&[&foreign]);
        succeeds(folder.path(), &VERIFY);
    }
}

/// `--deep` compares pixels: an input that says something else is found by position, file and page.
#[test]
fn a_pixel_that_differs_is_found_by_file_and_page() {
    for storage in STORAGES {
        let folder = stitched(storage);
        let file = folder.path().join("raw").join(Pile::name(1, 2));
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let mut pages = pile().pages(1, 2);
        // The element at y=7, x=9 of the page of z=3.
        pages[3][(7 * 50 + 9) * 2] ^= 1;
        fs::write(&file, pile().layout.write(&pages)).unwrap();
        OpenOptions::new().write(true).open(&file).unwrap().set_modified(time).unwrap();
        succeeds(folder.path(), &VERIFY);
        let text = found(folder.path(), &["--deep"]);
        for word in [&Pile::name(1, 2), "page 3", "t=2", "c=1", "z=3", "y=7", "x=9"] {
            assert!(text.contains(word), "'{word}' is not in {text}");
        }
        let json = found(folder.path(), &["--deep", "--json", "-q"]);
        assert!(serde_json::from_str::<Value>(&json).is_ok() && json.contains(&Pile::name(1, 2)), "{json}");
    }
}

/// Without its inputs an output cannot be compared with them, and that is no fault of the output.
#[test]
fn inputs_that_are_gone_are_said() {
    let folder = stitched(STORAGES[1]);
    fs::remove_file(folder.path().join("raw").join(Pile::name(1, 2))).unwrap();
    let text = refused(folder.path(), 1, &[&VERIFY[..], &["--deep"]].concat());
    assert!(text.contains(&Pile::name(1, 2)), "{text}");
}

/// Bad objects are made again, and nothing else is touched.
#[test]
fn repair_makes_exactly_the_bad_objects_again() {
    for storage in STORAGES {
        let folder = stitched(storage);
        let good = tree(&folder.path().join("out.zarr"));
        let objects = objects(folder.path());
        let [flipped, lost] = [&objects[0], &objects[objects.len() - 1]];
        let mut bytes = fs::read(flipped).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(flipped, bytes).unwrap();
        fs::remove_file(lost).unwrap();
        let before = listing(folder.path());
        let (code, out, err) = ran(folder.path(), &[&VERIFY[..], &["--repair"]].concat());
        assert!(code == 0 || code == 3, "{code}: {out}{err}");
        assert!(tree(&folder.path().join("out.zarr")) == good, "{storage:?}");
        let after = listing(folder.path());
        let touched: Vec<_> = after.iter().filter(|(p, about)| before.get(*p) != Some(about)).map(|(p, _)| p).collect();
        let bad = |p: &&PathBuf| folder.path().join(p) == **flipped || folder.path().join(p) == **lost;
        assert!(touched.iter().all(|p| bad(p) || folder.path().join(p).is_dir()), "{touched:?}");
        succeeds(folder.path(), &VERIFY);
        // Nothing to do is nothing done.
        let before = listing(folder.path());
        succeeds(folder.path(), &[&VERIFY[..], &["--repair"]].concat());
        assert_eq!(listing(folder.path()), before);
    }
}

/// Every level is made of the one before it, as it was when it was written: from the inputs and their holes, or from
/// what was stored when levels were added. Bad objects of levels are found by position, and made again.
#[test]
fn levels_are_compared_and_made_again() {
    let ways: [(&[&str], Option<&[&str]>); 5] = [
        (&["--levels", "3", "--shards", "none", "--chunks", "1,1,2,15,25", "--downsample", "median"], None),
        (&["--levels", "3", "--zarr-format", "2", "--chunks", "1,2,3,20,13"], None),
        (&["--levels", "3", "--shards", "1,2,4,40,52", "--chunks", "1,1,2,20,26", "--downsample", "max"], None),
        (
            &["--levels", "none", "--shards", "none", "--chunks", "1,1,2,20,25"],
            Some(&["--downsample", "min", "--codec", "none"]),
        ),
        (
            &["--levels", "none", "--zarr-format", "2", "--chunks", "1,1,2,15,25"],
            Some(&["--codec", "none", "--downsample", "mean"]),
        ),
    ];
    for (way, added) in ways {
        let folder = tempdir().unwrap();
        Pile { holes: vec![(1, 1)], ..pile() }.write(&folder.path().join("raw"));
        let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "-q", "--codec", "none"];
        succeeds(folder.path(), &[&stitch[..], way, &["--missing", "fill"]].concat());
        if let Some(added) = added {
            succeeds(folder.path(), &[&["pyramid", "out.zarr", "--levels", "3", "-q"], added].concat());
        }
        for more in [&["--deep"][..], &["--deep", "--threads", "3"], &["--deep", "--sample", "50%"]] {
            succeeds(folder.path(), &[&VERIFY[..], more].concat());
        }
        let store = folder.path().join("out.zarr");
        let good = tree(&store);
        let of = |level: &str| {
            let is_object = |path: &&PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                path.starts_with(level) && name.chars().all(|c| c.is_ascii_digit() || c == '.')
            };
            store.join(good.keys().find(is_object).unwrap())
        };
        for level in ["1", "2"] {
            let mut bytes = fs::read(of(level)).unwrap();
            bytes[9] ^= 1;
            fs::write(of(level), bytes).unwrap();
            let text = found(folder.path(), &["--deep"]);
            for word in [&format!("level {level}, t=0 c=0 z=0 y=0 x=4"), "the output has"] {
                assert!(text.contains(word), "{way:?}: '{word}' is not in {text}");
            }
            restore(folder.path(), &good);
        }
        fs::remove_file(of("1")).unwrap();
        fs::write(of("2"), "short").unwrap();
        fs::remove_file(of("0")).unwrap();
        succeeds(folder.path(), &[&VERIFY[..], &["--repair", "--deep"]].concat());
        assert!(tree(&store) == good, "{way:?}");
    }
}

/// From inputs that have changed nothing is made: the output would be of two versions.
#[test]
fn repair_from_other_inputs_is_refused() {
    let folder = stitched(STORAGES[1]);
    let object = &objects(folder.path())[0];
    fs::remove_file(object).unwrap();
    let file = folder.path().join("raw").join(Pile::name(0, 0));
    let time = fs::metadata(&file).unwrap().modified().unwrap() + std::time::Duration::from_secs(9);
    OpenOptions::new().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let (code, _, text) = ran(folder.path(), &[&VERIFY[..], &["--repair"]].concat());
    assert!(code == 1 || code == 3, "{code}: {text}");
    assert!(text.contains(&Pile::name(0, 0)), "{text}");
    assert!(!object.exists());
}

/// A Zarr of another program: every chunk is decoded, and what cannot be proved is said.
#[test]
fn foreign_zarr_is_checked_as_far_as_it_can_be() {
    let Some(mut python) = common::interpreter() else { return };
    let script = "import sys, numpy, zarr
for version in (2, 3):
    a = zarr.create_array(f'{sys.argv[1]}/foreign{version}.zarr', shape=(6, 50, 60), chunks=(2, 25, 30), dtype='u2',
                          zarr_format=version)
    a[...] = numpy.random.default_rng(1).integers(1, 4096, a.shape)";
    let folder = tempdir().unwrap();
    assert!(python.args(["-c", script]).arg(folder.path()).status().unwrap().success());
    for (store, chunk) in [("foreign2.zarr", "1.1.1"), ("foreign3.zarr", "c/1/1/1")] {
        let (code, out, err) = ran(folder.path(), &["verify", store]);
        assert_eq!(code, 0, "{out}{err}");
        assert!((out + &err).contains("checksum"), "says what it has not proved");
        let chunk = folder.path().join(store).join(chunk);
        let length = fs::metadata(&chunk).unwrap().len();
        OpenOptions::new().write(true).open(&chunk).unwrap().set_len(length / 2).unwrap();
        let (code, out, err) = ran(folder.path(), &["verify", store]);
        assert_eq!(code, 3, "{out}{err}");
    }
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let folder = stitched(STORAGES[1]);
    refused(folder.path(), 2, &["verify"]);
    for wrong in ["0%", "101%", "half"] {
        refused(folder.path(), 2, &[&VERIFY[..], &["--sample", wrong]].concat());
    }
    let (code, _, text) = ran(folder.path(), &["verify", "nowhere.zarr"]);
    assert!((code == 1 || code == 2) && text.contains("nowhere.zarr"), "{code}: {text}");
}

/// The checksums are in nobody's way.
#[test]
fn other_readers_see_the_array_alone() {
    if common::interpreter().is_none() {
        return;
    }
    let script = "import sys, zarr
group = zarr.open_group(sys.argv[1], mode='r')
assert list(group.array_keys()) == ['0'] and list(group.group_keys()) == [], list(group.members())
assert group['0'].shape == (3, 2, 4, 40, 50) and group['0'][...].any()
if group.metadata.zarr_format == 3:
    assert [name for name, _ in group.members(max_depth=None)] == ['0']";
    for storage in STORAGES {
        let folder = stitched(storage);
        let output =
            common::interpreter().unwrap().args(["-c", script]).arg(folder.path().join("out.zarr")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The digest of pixels and inputs is what anybody computes from the elements; it does not depend on how they are cut,
/// stored and worked on.
#[test]
fn digests_are_those_of_the_elements() {
    let Some(mut python) = common::interpreter() else { return };
    let folder = stitched(STORAGES[0]);
    let variants: [&[&str]; 4] = [
        &["--threads", "3", "--shards", "none", "--chunks", "1,1,4,7,11"],
        &["--threads", "1", "--codec", "none", "--levels", "2"],
        &["--memory", "40M", "--plain"],
        &["--no-input-checksums"],
    ];
    for (i, variant) in variants.iter().enumerate() {
        let output = format!("v{i}.zarr");
        succeeds(folder.path(), &[&["stitch", "raw", "--pattern", PATTERN, "-q", "-o", &output], *variant].concat());
        succeeds(folder.path(), &["verify", &output, "--deep"]);
    }
    succeeds(folder.path(), &["stitch", "v0.zarr", "-q", "-o", "copy.zarr"]);
    // A part, whose inputs are not read in full, and a result.
    let part = ["stitch", "raw", "--pattern", PATTERN, "-q", "-o", "part.zarr", "--select", "c=1,y=::2"];
    succeeds(folder.path(), &part);
    succeeds(folder.path(), &["verify", "part.zarr", "--deep"]);
    let list = ["stitch", "raw", "--pattern", PATTERN, "-q", "-o", "list.zarr", "--select", "t=[1,0],y=::2"];
    succeeds(folder.path(), &list);
    succeeds(folder.path(), &["verify", "list.zarr", "--deep"]);
    let mean = ["reduce", "raw", "--pattern", PATTERN, "-q", "-o", "mean.zarr", "--op", "mean", "--axis", "t"];
    succeeds(folder.path(), &mean);
    succeeds(folder.path(), &["verify", "mean.zarr"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_digests.py");
    let output = python.arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// More inputs than fit into the metadata that viewers fetch have a file of their own.
#[test]
fn many_inputs_are_listed_in_a_file() {
    let folder = tempdir().unwrap();
    Pile::new(1, 1001, 1, Layout { width: 4, height: 3, bits: 8, ..Layout::default() })
        .write(&folder.path().join("raw"));
    succeeds(folder.path(), &["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "-q"]);
    let metadata = fs::read_to_string(folder.path().join("out.zarr/zarr.json")).unwrap();
    assert!(metadata.len() < 64 << 10 && !metadata.contains(&Pile::name(0, 7)), "{} bytes", metadata.len());
    let list = fs::read(folder.path().join("out.zarr/0/stackctl.inputs.json")).unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list).unwrap();
    assert_eq!(list.len(), 1001);
    assert_eq!(list[7]["path"], format!("raw/{}", Pile::name(0, 7)));
    assert!(list.iter().all(|input| input["crc64nvme"].is_string() && input["bytes"].is_u64()));
    succeeds(folder.path(), &[&VERIFY[..], &["--deep"]].concat());
}

/// Positions without a file are counted over all runs.
#[test]
fn filled_elements_are_recorded() {
    let folder = tempdir().unwrap();
    Pile { holes: vec![(1, 1), (0, 2)], ..pile() }.write(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "--missing", "fill"];
    succeeds(folder.path(), &stitch);
    let metadata: Value = serde_json::from_slice(&fs::read(folder.path().join("out.zarr/zarr.json")).unwrap()).unwrap();
    assert_eq!(metadata["attributes"]["stackctl"]["elements_filled"], 2 * 4 * 40 * 50);
}

/// Of a collection every image is checked, compared and mended.
#[test]
fn a_collection_is_checked_image_by_image() {
    let folder = tempdir().unwrap();
    pile().write(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "-q", "--by", "t", "--collection"];
    succeeds(folder.path(), &stitch);
    let good = tree(&folder.path().join("out.zarr"));
    let told: Value =
        serde_json::from_str(&succeeds(folder.path(), &[&VERIFY[..], &["--deep", "--json"]].concat())).unwrap();
    assert_eq!(told["compared"].as_object().unwrap().len(), 3, "{told}");
    assert!(told["unproven"].to_string().contains("3 images"), "{told}");
    let is_pixels = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "c") && path.starts_with("1");
    let object = good.keys().find(|path| is_pixels(path)).unwrap();
    let mut bytes = good[object].clone();
    bytes[0] ^= 1;
    fs::write(folder.path().join("out.zarr").join(object), bytes).unwrap();
    let text = found(folder.path(), &[]);
    assert!(text.contains(&*object.to_string_lossy()), "{} is not in {text}", object.display());
    let text = succeeds(folder.path(), &[&VERIFY[..], &["--repair", "--json"]].concat());
    assert!(text.contains(&*object.to_string_lossy()), "{text}");
    assert!(tree(&folder.path().join("out.zarr")) == good);
}

/// A shard whose index is damaged is a fault like others, not the end of the check.
#[test]
fn a_shard_with_a_damaged_index_is_made_again() {
    let folder = tempdir().unwrap();
    pile().write(&folder.path().join("raw"));
    let stitch = ["stitch", "raw", "--pattern", PATTERN, "-o", "out.zarr", "-q", "--chunks", "1,1,2,20,25"];
    succeeds(folder.path(), &[&stitch[..], &["--shards", "1,1,4,40,50"]].concat());
    let good = tree(&folder.path().join("out.zarr"));
    let shard = folder.path().join("out.zarr/0/c/1/0/0/0/0");
    let bytes = fs::read(&shard).unwrap();
    for damaged in [[&bytes[..], b"x"].concat(), bytes[..10].to_vec(), vec![0; bytes.len()]] {
        fs::write(&shard, damaged).unwrap();
        assert!(found(folder.path(), &[]).contains("0/c/1/0/0/0/0"));
        assert!(found(folder.path(), &["--deep"]).contains("0/c/1/0/0/0/0"));
        succeeds(folder.path(), &[&VERIFY[..], &["--repair", "--deep"]].concat());
        assert!(tree(&folder.path().join("out.zarr")) == good);
    }
}

/// What is computed is computed again from the recorded command and files, compared by position, and made again.
#[test]
fn results_are_computed_again() {
    let commands: [&[&str]; 17] = [
        &["reduce", "raw", "--op", "max", "--axis", "t"],
        &["reduce", "raw", "--op", "quantile=0.25:0.75", "--axis", "t,c", "--zarr-format", "2"],
        &["reduce", "raw", "--op", "mean", "--every", "t=2", "--select", "c=1,y=3:"],
        &["reduce", "raw", "--op", "std", "--axis", "z,y", "--calc", "a * 2 - min(a)", "--skipna"],
        &["calc", "a - min(a)", "raw"],
        &["calc", "a - mean(a, t)", "raw", "--levels", "2", "--chunks", "1,1,2,20,25", "--codec", "none"],
        &["calc", "a + b * 2", "a=raw", "b=raw/img_c1_t002_.tif"],
        &["calc", "a - b", "b=raw/img_c1_t002_.tif", "a=raw"],
        &["stitch", "raw", "--calc", "a / 2", "--dtype", "float32"],
        &["stitch", "raw", "--flip", "x", "--select", "t=1:,x=5:", "--shards", "none"],
        &["stitch", "raw", "--dtype", "uint8", "--scale", "0.0625", "--cast", "clip"],
        &["pairwise", "raw", "--along", "t", "--keep", "c", "--metric", "correlation"],
        &["pairwise", "raw", "--along", "t,c", "--with", "raw/img_c1_t002_.tif"],
        &["decompose", "raw", "--along", "t", "--components", "2", "--chunks", "1,1,2,20,25"],
        &["decompose", "raw", "--along", "t", "--kind", "svd", "--components", "2", "--denoised", "other.zarr"],
        &["reduce", "raw", "--op", "min,sum", "--axis", "z", "-o", "{op}.zarr"],
        &["reduce", "raw", "--op", "argmax", "--axis", "t", "--by", "c", "-o", "out{c}.zarr"],
    ];
    for command in commands {
        let folder = tempdir().unwrap();
        pile().write(&folder.path().join("raw"));
        let mut arguments = [command, &["--pattern", PATTERN, "-q"]].concat();
        if !command.contains(&"-o") {
            arguments.extend(["-o", "out.zarr"]);
        }
        succeeds(folder.path(), &arguments);
        let outputs: &[&str] = match () {
            () if command.contains(&"{op}.zarr") => &["min.zarr", "sum.zarr"],
            () if command.contains(&"out{c}.zarr") => &["out0.zarr", "out1.zarr"],
            () if command.contains(&"other.zarr") => &["out.zarr", "other.zarr"],
            () => &["out.zarr"],
        };
        for output in outputs {
            if matches!(command[0], "reduce" | "calc") && !command.contains(&"--select") {
                let inputs = inputs_of(&folder.path().join(output));
                assert!(inputs.iter().all(|i| i["bytes"].is_u64() && i["crc64nvme"].is_string()), "{inputs:?}");
            }
            for more in [&["--deep"][..], &["--deep", "--threads", "3", "--sample", "90%"]] {
                succeeds(folder.path(), &[&["verify", output], more].concat());
            }
            let store = folder.path().join(output);
            let good = tree(&store);
            let is_pixels = |path: &&PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.chars().all(|c| c.is_ascii_digit() || c == '.')
            };
            let objects: Vec<&PathBuf> = good.keys().filter(is_pixels).collect();
            let mut bytes = good[objects[0]].clone();
            bytes[3] ^= 1;
            fs::write(store.join(objects[0]), bytes).unwrap();
            assert_eq!(ran(folder.path(), &["verify", output]).0, 3);
            fs::remove_file(store.join(objects[objects.len() - 1])).unwrap();
            succeeds(folder.path(), &["verify", output, "--repair", "--deep"]);
            assert!(tree(&store) == good, "{command:?}");
        }
        // Another version of a file that looks the same.
        let file = folder.path().join("raw").join(Pile::name(1, 2));
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let mut pages = pile().pages(1, 2);
        pages[3][(7 * 50 + 9) * 2..][..2].fill(0xff);
        fs::write(&file, pile().layout.write(&pages)).unwrap();
        OpenOptions::new().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let (code, out, err) = ran(folder.path(), &["verify", outputs[outputs.len() - 1], "--deep"]);
        assert!(code == 3 && out.contains("the inputs make"), "{command:?}: {code}: {out}{err}");
        succeeds(folder.path(), &["verify", outputs[outputs.len() - 1]]);
    }
}

/// The inputs that a Zarr records.
fn inputs_of(store: &Path) -> Vec<Value> {
    let attributes = |name: &str| fs::read(store.join(name)).ok().map(|t| serde_json::from_slice::<Value>(&t).unwrap());
    let own = attributes("zarr.json").map(|v| v["attributes"]["stackctl"].clone());
    let own = own.unwrap_or_else(|| attributes(".zattrs").unwrap()["stackctl"].clone());
    own["inputs"].as_array().unwrap().clone()
}

/// A long command is recorded without the files that it names; what cannot be computed again is no proof.
#[test]
fn what_cannot_be_computed_again_is_said() {
    let folder = tempdir().unwrap();
    let many = Pile::new(2, 40, 1, Layout { width: 4, height: 3, bits: 8, ..Layout::default() });
    many.write(&folder.path().join("raw"));
    let files: Vec<String> = (0..2).flat_map(|c| (0..40).map(move |t| format!("raw/{}", Pile::name(c, t)))).collect();
    let mut reduce = vec!["reduce"];
    reduce.extend(files.iter().map(String::as_str));
    reduce.extend(["--pattern", PATTERN, "-q", "--op", "sum", "--axis", "t", "-o", "out.zarr"]);
    succeeds(folder.path(), &reduce);
    succeeds(folder.path(), &[&VERIFY[..], &["--deep"]].concat());
    let metadata = folder.path().join("out.zarr/zarr.json");
    let document: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    let words = document["attributes"]["stackctl"]["command"].as_array().unwrap().clone();
    assert!(words.len() < 64 && words.iter().any(|word| word == "..."), "{words:?}");
    // A file asks for programs to be run, or does not say enough.
    for command in
        [&["stackctl", "calc", "a", "raw", "--reader", "touch ran"][..], &["stackctl", "reduce"], &[], &["x"; 64]]
    {
        let mut document = document.clone();
        document["attributes"]["stackctl"]["command"] = command.into();
        fs::write(&metadata, serde_json::to_vec(&document).unwrap()).unwrap();
        let text = refused(folder.path(), 2, &[&VERIFY[..], &["--deep"]].concat());
        assert!(text.contains("only its objects can be checked"), "{text}");
        assert!(!folder.path().join("ran").exists());
    }
}

/// An output that is one file holds its checksum, which other programs pass over.
#[test]
fn files_are_checked_by_their_own_checksum() {
    let folder = tempdir().unwrap();
    pile().write(&folder.path().join("raw"));
    let reduce = |output: &str| {
        let reduce = ["reduce", "raw", "--pattern", PATTERN, "-q", "--op", "max", "--axis", "t", "-o", output];
        succeeds(folder.path(), &reduce);
    };
    let outputs = ["max.zarr", "max.npy", "max.npz", "max.tif", "all.npy", "all.ome.tif", "one.png", "pca_scores.npy"];
    outputs[..4].iter().for_each(|output| reduce(output));
    for (output, more) in [
        ("all.npy", &["--select", "t=:2"][..]),
        ("all.ome.tif", &["--select", "t=:2", "--levels", "2", "--chunks", "1,1,1,16,16"]),
        ("one.png", &["--select", "t=1,c=0,z=2"]),
    ] {
        succeeds(folder.path(), &[&["stitch", "raw", "--pattern", PATTERN, "-q", "-o", output], more].concat());
    }
    let decompose =
        ["decompose", "raw", "--pattern", PATTERN, "-q", "--along", "t", "--components", "2", "-o", "pca.zarr"];
    succeeds(folder.path(), &decompose);
    for output in &outputs[1..] {
        let (code, out, said) = ran(folder.path(), &["verify", output]);
        assert!(code == 0 && said.contains("as written"), "{output}: {code}: {out}{said}");
        let file = folder.path().join(output);
        let good = fs::read(&file).unwrap();
        let n = good.len();
        let faulty = |what: &str| {
            let (code, out, said) = ran(folder.path(), &["verify", output]);
            assert_eq!(code, 3, "{output}, {what}: {out}{said}");
        };
        // NPY says it in its head.
        let is_npy = output.ends_with("npy");
        let own = if is_npy { 60..128 } else { n - 46..n };
        for at in [0, 9, n / 3, n / 2, n - 60].into_iter().chain(own.step_by(3)) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            fs::write(&file, bytes).unwrap();
            faulty(&format!("byte {at} of {n}"));
        }
        for keep in [n - 1, n - 20, n - 40, n - 47, n / 2, 100] {
            fs::write(&file, &good[..keep]).unwrap();
            faulty(&format!("cut to {keep} of {n}"));
        }
        fs::write(&file, [&good[..], b"\n"].concat()).unwrap();
        faulty("longer");
        // Without the checksum it is a file like any other.
        if output.ends_with("tif") || is_npy {
            let blank = |b: &u8| if *b == b'\t' { b' ' } else { *b };
            let head = if is_npy { 10 + usize::from(good[8]) } else { 0 };
            let end = if is_npy { n } else { n - 46 };
            fs::write(&file, [good[..head].iter().map(blank).collect(), good[head..end].to_vec()].concat()).unwrap();
            let (code, _, said) = ran(folder.path(), &["verify", output]);
            assert!(code == 0 && said.contains("no checksum"), "{output}: {code}: {said}");
        }
        fs::write(&file, &good).unwrap();
    }
    let Some(mut python) = common::interpreter() else { return };
    let script = "import sys, warnings, zipfile, imagecodecs, numpy, tifffile, zarr, logging
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
warnings.simplefilter('error')
at = lambda name: f'{sys.argv[1]}/{name}'
expected = zarr.open_group(at('max.zarr'), mode='r')['0'][...]
assert expected.any()
for mode in (None, 'r'):
    assert (numpy.load(at('max.npy'), mmap_mode=mode) == expected).all()
assert (numpy.load(at('max.npz'))['arr_0'] == expected).all()
archive = zipfile.ZipFile(at('max.npz'))
assert archive.testzip() is None and archive.comment.startswith(b'stackctl crc32c '), archive.comment
assert (tifffile.imread(at('max.tif')) == expected.swapaxes(0, 1)).all()
whole = numpy.load(at('all.npy'))
with tifffile.TiffFile(at('all.ome.tif')) as file:
    assert (file.series[0].asarray().reshape(whole.shape) == whole).all() and len(file.series[0].levels) == 2
picture = imagecodecs.png_decode(open(at('one.png'), 'rb').read())
assert picture.shape == whole.shape[-2:] and picture.max() > picture.min()
assert numpy.load(at('pca_scores.npy')).shape == (3, 2)";
    let output = python.args(["-c", script]).arg(folder.path()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}
