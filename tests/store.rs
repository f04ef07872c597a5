//! The store from outside: runs that fail, end early, lose power, meet each other, and go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::common::tempdir;
use crate::common::tiff;
use serde_json::{Value, json};
use stackctl::error::{Error, Result};
use stackctl::store::disk::Disk;
use stackctl::store::testing::{DiskCall, Faulty, Injected, Memory};
use stackctl::store::{
    Begun, Durability, OutputKind, OutputTerms, Patience, Start, Store, Stored, What, check_free, conclude, forget_all,
    forget_the_rest, has_name,
};
use tiff::Numbers;

/// Units of the toy job, and of one shard.
const N_UNITS: u64 = 9;
const UNITS_PER_SHARD: u64 = 3;

fn chunk(unit: u64) -> Vec<u8> {
    vec![unit as u8 + 1; 100 + unit as usize]
}

/// A job as a run is: each unit writes a chunk, its part of a shard and a partial sum; at the end come the sum
/// and the metadata. It can be ended after some units.
fn work(store: Store, n_units_at_most: u64) -> Result<Option<Store>> {
    let mut shard = None;
    let done = store.done().clone();
    for (n_units, unit) in (0..N_UNITS).filter(|unit| !done.contains(unit)).enumerate() {
        if n_units as u64 == n_units_at_most {
            return Ok(Some(store));
        }
        let bytes = chunk(unit);
        let mut objects = vec![store.put(&format!("0/c/{}/{}", unit / 2, unit % 2), &bytes)?];
        let open = match shard.take() {
            Some(open) => open,
            None => store.create(&format!("1/s/{}", unit / UNITS_PER_SHARD))?,
        };
        objects.push(open.append(&bytes[..50])?);
        let at = open.reserve(20);
        objects.push(open.write_at(at + 10, &[unit as u8; 10])?);
        objects.push(open.write_at(at, &[0xff; 10])?);
        if (unit + 1).is_multiple_of(UNITS_PER_SHARD) {
            open.append(b"index")?;
            objects.push(open.close()?);
        } else {
            shard = Some(open);
        }
        let sum: u64 = bytes.iter().map(|b| u64::from(*b)).sum();
        objects.push(store.keep(&format!("sum/{unit}"), &sum.to_le_bytes())?);
        store.record(unit, &objects, &unit.to_le_bytes())?;
    }
    let mut sum = 0;
    for unit in 0..N_UNITS {
        let kept = store.kept(&format!("sum/{unit}"))?;
        sum += u64::from_le_bytes(kept.try_into().expect("eight bytes"));
    }
    store.put("sum", &u64::to_le_bytes(sum))?;
    store.put("zarr.json", b"{}")?;
    store.publish().map(|_| None)
}

fn is_ours(_: &Path) -> bool {
    true
}

fn terms(output: &Path) -> OutputTerms<'_> {
    OutputTerms {
        start: Start::Resume,
        manifest: Arc::new(json!({"plan": "abc"})),
        ..OutputTerms::new(output, OutputKind::Folder(is_ours))
    }
}

fn run_on(disk: Arc<dyn Disk>, terms: &OutputTerms) -> Result<()> {
    work(Store::on(disk, terms)?.ready()?, u64::MAX).map(drop)
}

fn undisturbed() -> BTreeMap<String, Vec<u8>> {
    let memory = Memory::default();
    run_on(Arc::new(memory.clone()), &terms(Path::new("o"))).unwrap();
    assert!(memory.keys().is_empty(), "{:?}", memory.keys());
    memory.published()
}

const ALL: [Durability; 3] = [Durability::None, Durability::Data, Durability::Full];

#[test]
fn every_operation_in_turn_fails_and_the_next_run_goes_on() {
    let good = undisturbed();
    assert_eq!(good.len() as u64, N_UNITS + N_UNITS / UNITS_PER_SHARD + 2);
    let name = Path::new("o");
    for durability in ALL {
        for (fault, for_good) in [(Injected::Errno(5), false), (Injected::Errno(28), true), (Injected::Short, false)] {
            // What is synced more often fails in more places, in the same ways.
            if durability != Durability::Full && !for_good {
                continue;
            }
            for n_faults in 0.. {
                let memory = Memory::default();
                let faulty = Faulty::new(Arc::new(memory.clone()), n_faults, for_good, &[], fault);
                let terms = OutputTerms { durability, ..terms(name) };
                let ended = run_on(Arc::new(faulty.clone()), &terms);
                if !faulty.has_failed() {
                    ended.unwrap();
                    assert!(n_faults > 100, "{n_faults}");
                    break;
                }
                let e = ended.expect_err("a failure is told");
                let stands = !memory.published().is_empty();
                assert_eq!(stands, e.to_string().contains("complete and in place"), "fault {n_faults}: {e}");
                assert!(!stands || memory.published() == good, "fault {n_faults}: torn");
                if !stands {
                    run_on(Arc::new(memory.clone()), &terms).unwrap();
                    assert!(memory.keys().is_empty(), "{:?}", memory.keys());
                    assert!(memory.published() == good, "{durability:?} {fault:?} {n_faults}");
                } else if !memory.keys().is_empty() {
                    // All that was left to do was to clear up.
                    let e = run_on(Arc::new(memory.clone()), &terms).unwrap_err();
                    assert!(matches!(e, Error::Complete(_)) && e.exit_code() == 0, "fault {n_faults}: {e}");
                    assert!(memory.keys().is_empty(), "{:?}", memory.keys());
                    assert!(memory.published() == good);
                }
            }
        }
    }
}

#[test]
fn power_cut_anywhere_leaves_all_or_nothing_and_the_next_run_goes_on() {
    let good = undisturbed();
    let name = Path::new("o");
    for durability in [Durability::Data, Durability::Full] {
        let mut n_redone = 0;
        for cut in 0.. {
            let memory = Memory::default();
            // From some moment on nothing reaches the disk, and what it has not made durable is lost.
            let faulty = Faulty::new(Arc::new(memory.clone()), cut, true, &[], Injected::Errno(5));
            let terms = OutputTerms { durability, ..terms(name) };
            let ended = run_on(Arc::new(faulty.clone()), &terms);
            memory.lose_power();
            if !faulty.has_failed() {
                ended.unwrap();
                assert!(memory.published() == good, "lost after the end");
                break;
            }
            assert!(memory.published().is_empty() || memory.published() == good, "{durability:?} cut {cut}: torn");
            if memory.published().is_empty() {
                let store = Store::on(Arc::new(memory.clone()), &terms).unwrap().ready().unwrap();
                let mut recorded = BTreeSet::new();
                let show = |record: stackctl::store::Record| {
                    assert_eq!(record.state, record.unit.to_le_bytes());
                    recorded.insert(record.unit);
                    Ok(())
                };
                store.records(show).unwrap();
                assert_eq!(&recorded, store.done());
                n_redone += N_UNITS - store.done().len() as u64;
                work(store, u64::MAX).unwrap();
                assert!(memory.published() == good, "{durability:?} cut {cut}");
            }
        }
        assert!(n_redone > 0);
    }
}

/// As above, but some of what was not synced has reached the disk, in any order.
#[test]
fn power_cut_with_writes_out_of_order_leaves_all_or_nothing() {
    let good = undisturbed();
    let n_orders = std::env::var("STACKCTL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut random = Numbers(0x0bad);
    let mut n_whole = 0;
    for durability in [Durability::Data, Durability::Full] {
        for cut in 0.. {
            let mut has_failed = true;
            for _ in 0..n_orders {
                let memory = Memory::default();
                let faulty = Faulty::new(Arc::new(memory.clone()), cut, true, &[], Injected::Errno(5));
                let terms = OutputTerms { durability, ..terms(Path::new("o")) };
                let _ = run_on(Arc::new(faulty.clone()), &terms);
                has_failed = faulty.has_failed();
                memory.lose_power_but(|| random.below(2) == 0);
                let found = memory.published();
                assert!(found.is_empty() || found == good, "{durability:?} cut {cut}: torn {:?}", found.keys());
                n_whole += u32::from(!found.is_empty());
                match run_on(Arc::new(memory.clone()), &terms) {
                    Err(Error::Complete(_)) => assert!(!found.is_empty()),
                    // Without a lock nothing refuses a name that is taken before it is given.
                    Err(Error::Usage(said)) => assert!(!found.is_empty() && said.contains("has appeared"), "{said}"),
                    ended => ended.unwrap(),
                }
                assert!(memory.published() == good, "{durability:?} cut {cut}");
            }
            if !has_failed {
                break;
            }
        }
    }
    assert!(n_whole > 0);
}

/// Of two outputs the first has its name when the process ends, the second is announced alone.
#[test]
fn outputs_that_belong_together_are_concluded() {
    let good = undisturbed();
    let folder = tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let begun = |output: &Path| {
        let mut store = begin(output).unwrap();
        let done: Vec<Stored> = good.iter().map(|(key, bytes)| store.put(key, bytes).unwrap()).collect();
        store.record(0, &done, &[]).unwrap();
        store.announce().unwrap();
        store
    };
    let (mut one, two) = (begun(&first), begun(&second));
    assert!(!has_name(&terms(&first)).unwrap());
    one.give_name().unwrap();
    drop((one, two));
    assert_eq!(names(folder.path()), [".first.partial", ".second.partial", "first"]);
    assert!(has_name(&terms(&first)).unwrap() && !has_name(&terms(&second)).unwrap());
    let other = OutputTerms { manifest: Arc::new(json!({"plan": "other"})), ..terms(&first) };
    assert!(!has_name(&other).unwrap() && !conclude(&OutputTerms { output: &second, ..other }).unwrap());
    for _ in 0..2 {
        assert!(conclude(&terms(&second)).unwrap());
        assert!(tree(&second) == good);
        assert_eq!(names(folder.path()), [".first.partial", "first", "second"]);
    }
    assert!(matches!(Store::begin(&terms(&first)).unwrap(), Begun::Published));
    assert_eq!(names(folder.path()), ["first", "second"]);
    // Of many runs what tells of each stays until all are known to be done.
    let many = |output| OutputTerms { is_one_of_many: true, overwrite: true, ..terms(output) };
    for output in [&first, &second] {
        work(Store::begin(&many(output)).unwrap().ready().unwrap(), 99).unwrap();
        assert!(matches!(Store::begin(&many(output)).unwrap(), Begun::Published));
    }
    assert_eq!(names(folder.path()), [".first.partial", ".second.partial", "first", "second"]);
    assert!(!forget_the_rest(&first).unwrap());
    forget_all(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(names(folder.path()), ["first", "second"]);
    assert!(tree(&first) == good && tree(&second) == good);
}

#[test]
fn each_kind_of_failure_is_told_by_name() {
    for (kind, code, says) in [
        (DiskCall::Create, 13, "cannot create"),
        (DiskCall::Write, 28, "cannot write"),
        (DiskCall::Sync, 5, "cannot write to disk"),
        (DiskCall::Close, 122, "cannot write"),
        (DiskCall::Rename, 5, "cannot name"),
        (DiskCall::Publish, 5, "cannot give the output its name"),
        (DiskCall::SyncFolder, 5, "cannot write to disk"),
        (DiskCall::Settle, 5, "is complete and in place"),
    ] {
        let n = if kind == DiskCall::SyncFolder { 2 } else { 0 };
        let disk = Faulty::new(Arc::new(Memory::default()), n, false, &[kind], Injected::Errno(code));
        let mut terms = terms(Path::new("o"));
        terms.manifest = Arc::default();
        let e = run_on(Arc::new(disk), &terms).unwrap_err();
        assert!(e.to_string().contains(says) && e.exit_code() == 1, "{kind:?}: {e}");
        assert!(matches!(&e, Error::Io { source, .. } if source.raw_os_error() == Some(code)), "{e:?}");
    }
}

fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let key = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    drop(found.insert(key, fs::read(path).unwrap()));
                }
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn begin(output: &Path) -> Result<Store> {
    Store::begin(&terms(output))?.ready()
}

#[test]
fn a_run_that_ends_early_is_gone_on_with() {
    let good = undisturbed();
    for durability in ALL {
        let folder = tempdir().unwrap();
        let output = folder.path().join("o.zarr");
        let terms = OutputTerms { durability, ..terms(&output) };
        let mut n_units = 0;
        for at_most in [1, 2, 1, 3] {
            let store = Store::begin(&terms).unwrap().ready().unwrap();
            assert_eq!(store.done().iter().copied().collect::<Vec<_>>(), (0..n_units).collect::<Vec<_>>());
            drop(work(store, at_most).unwrap().expect("not yet done"));
            n_units += at_most;
            assert_eq!(names(folder.path()), [".o.zarr.partial"]);
        }
        // What nobody recorded goes.
        fs::write(folder.path().join(".o.zarr.partial/output/0/foreign"), "x").unwrap();
        assert!(work(Store::begin(&terms).unwrap().ready().unwrap(), 99).unwrap().is_none());
        assert_eq!(names(folder.path()), ["o.zarr"]);
        assert!(tree(&output) == good);
    }
}

#[test]
fn one_file_is_gone_on_with() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o.npy");
    let terms = OutputTerms { kind: OutputKind::File, ..terms(&output) };
    for n in [2, 4] {
        let store = Store::begin(&terms).unwrap().ready().unwrap();
        store.put_at(0, b"head").unwrap();
        for unit in (0..n).filter(|unit| !store.done().contains(unit)) {
            let stored = store.put_at(4 + unit * 3, &[unit as u8; 3]).unwrap();
            assert_eq!((stored.what, stored.offset, stored.n_bytes), (What::Piece, 4 + unit * 3, 3));
            store.record(unit, &[stored], &[]).unwrap();
        }
        if n == 4 {
            let written = store.publish().unwrap();
            assert_eq!((written.files, written.bytes), (1, 16));
        }
    }
    assert_eq!(fs::read(&output).unwrap(), b"head\0\0\0\x01\x01\x01\x02\x02\x02\x03\x03\x03");
    assert_eq!(names(folder.path()), ["o.npy"]);
}

#[test]
fn what_has_changed_is_listed() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o.zarr");
    let with = |manifest: Value, start| {
        Store::begin(&OutputTerms { manifest: Arc::new(manifest), start, ..terms(&output) }).unwrap()
    };
    let old = json!({"plan": "abc", "inputs": [{"size": 1, "a/b": 2}, {"size": 2}], "gone": null});
    let new = json!({"plan": "abc", "inputs": [{"size": 1, "a/b": 3}], "more": 1});
    let Begun::Ready(store) = with(old.clone(), Start::Resume) else { panic!() };
    drop(work(store, 2).unwrap());
    let Begun::Changed(changes) = with(new.clone(), Start::Resume) else { panic!() };
    let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["/inputs/0/a~1b", "/inputs/1", "/gone", "/more"]);
    assert_eq!((&changes[0].recorded, &changes[0].given), (&Some(json!(2)), &Some(json!(3))));
    // It was left as it is, and begins anew where that is asked for.
    let Begun::Ready(store) = with(old, Start::Resume) else { panic!() };
    assert_eq!(store.done().len(), 2);
    drop(store);
    let Begun::Ready(store) = with(new, Start::Anew) else { panic!() };
    assert!(store.done().is_empty());
    drop(store);
    assert!(names(folder.path()).is_empty(), "nothing recorded, nothing kept");
}

#[test]
fn what_cannot_be_gone_on_with_is_done_again() {
    let good = undisturbed();
    type Damage = fn(&Path);
    let cases: [(Damage, u64); 7] = [
        (|p| fs::remove_file(p.join("output/0/c/0/1")).unwrap(), 2),
        (|p| fs::write(p.join("output/0/c/2/0"), "short").unwrap(), 3),
        (|p| fs::remove_file(p.join("output/1/s/0")).unwrap(), 2),
        (|p| fs::remove_file(p.join("output/1/s/1.unfinished")).unwrap(), 3),
        (|p| fs::remove_file(p.join("state/sum/4")).unwrap(), 3),
        (|p| fs::remove_dir_all(p.join("journal")).unwrap(), 0),
        (
            |p| {
                let journal = fs::read_dir(p.join("journal")).unwrap().next().unwrap().unwrap().path();
                let mut bytes = fs::read(&journal).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(journal, bytes).unwrap();
            },
            u64::MAX,
        ),
    ];
    for (i, (damage, n_left)) in cases.into_iter().enumerate() {
        let folder = tempdir().unwrap();
        let output = folder.path().join("o");
        drop(work(begin(&output).unwrap(), 5).unwrap().unwrap());
        damage(&folder.path().join(".o.partial"));
        let store = begin(&output).unwrap();
        match n_left {
            u64::MAX => assert!(store.done().len() < 5 && store.n_ignored_bytes() > 0),
            // Units of a growing object are done together or not at all.
            _ => assert_eq!(store.done().len() as u64, n_left, "case {i}: {:?}", store.done()),
        }
        work(store, 99).unwrap();
        assert!(tree(&output) == good, "case {i}");
    }
}

/// What keeps its length is looked at once more when all is done, and those undone that have changed.
#[test]
fn what_has_changed_in_place_is_done_again() {
    let good = undisturbed();
    let cases = [("output/0/c/2/0", 4), ("output/1/s/0", 0), ("output/1/s/1.unfinished", 3), ("state/sum/1", 1)];
    for (key, harmed) in cases {
        let folder = tempdir().unwrap();
        let output = folder.path().join("o");
        let stop = AtomicBool::new(false);
        drop(work(begin(&output).unwrap(), 5).unwrap().unwrap());
        let store = begin(&output).unwrap();
        assert_eq!(store.harmed(&stop).unwrap(), (BTreeSet::new(), 0));
        let path = folder.path().join(".o.partial").join(key);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.first_mut().unwrap() ^= 128;
        fs::write(&path, bytes).unwrap();
        let store = work(store, 2).unwrap().unwrap();
        let (found, _) = store.harmed(&stop).unwrap();
        assert_eq!(found.first(), Some(&harmed), "{key}: {found:?}");
        store.forget(&found).unwrap();
        store.leave().unwrap();
        let store = begin(&output).unwrap();
        assert!(!store.done().contains(&harmed) && store.done().len() >= 3, "{key}: {:?}", store.done());
        // Who is told to stop looks no further.
        stop.store(true, Ordering::Relaxed);
        assert_eq!(store.harmed(&stop).unwrap(), (BTreeSet::new(), store.done().len() as u64));
        work(store, 99).unwrap();
        assert!(tree(&output) == good, "{key}");
    }
}

/// Of what lies apart in one file every run is looked at, and no byte between them.
#[test]
fn runs_that_lie_apart_are_read_back() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o.npy");
    let terms = OutputTerms { kind: OutputKind::File, ..terms(&output) };
    let begin = || Store::begin(&terms).unwrap().ready().unwrap();
    let store = begin();
    // Two by three runs of two bytes, 100 and -10 bytes from one another.
    let starts = [40, 30, 20, 140, 130, 120];
    starts.iter().for_each(|at| _ = store.put_at(*at, &[*at as u8; 2]).unwrap());
    let all: Vec<u8> = starts.iter().flat_map(|at| [*at as u8; 2]).collect();
    let first = store.put_at(40, &[40; 2]).unwrap();
    let stored = Stored { crc: crc32c::crc32c(&all), runs: vec![(2, 100), (3, -10)], ..first };
    assert_eq!(stored.end(), 142);
    store.record(0, &[stored], &[]).unwrap();
    drop(store);
    let partial = folder.path().join(".o.npy.partial/output");
    for (at, is_harmed) in [(0, false), (20, true), (22, false), (121, true), (139, false), (141, true)] {
        let flip = || {
            let mut bytes = fs::read(&partial).unwrap();
            bytes[at] ^= 1;
            fs::write(&partial, bytes).unwrap();
        };
        flip();
        let (harmed, _) = begin().harmed(&AtomicBool::new(false)).unwrap();
        assert_eq!(harmed.contains(&0), is_harmed, "byte {at}");
        flip();
    }
}

#[test]
fn what_was_not_believed_once_needs_a_new_record() {
    let good = undisturbed();
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    drop(work(begin(&output).unwrap(), 5).unwrap().unwrap());
    fs::remove_file(partial.join("output/1/s/1.unfinished")).unwrap();
    // The shard gets its length again, but not all of its bytes.
    let store = begin(&output).unwrap();
    assert_eq!(store.done().len(), 3);
    let shard = store.create("1/s/1").unwrap();
    let at = shard.reserve(200);
    shard.write_at(at + 190, &[1; 10]).unwrap();
    for unit in [3, 4] {
        store.put(&format!("0/c/{}/{}", unit / 2, unit % 2), &chunk(unit)).unwrap();
        store.keep(&format!("sum/{unit}"), &[0; 8]).unwrap();
    }
    drop((shard, store));
    let store = begin(&output).unwrap();
    assert_eq!(store.done().len(), 3);
    work(store, 99).unwrap();
    assert!(tree(&output) == good);
}

#[test]
fn torn_journals_are_believed_up_to_the_tear() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o");
    let journal = || fs::read_dir(folder.path().join(".o.partial/journal")).unwrap().next().unwrap().unwrap().path();
    drop(work(begin(&output).unwrap(), 4).unwrap().unwrap());
    let bytes = fs::read(journal()).unwrap();
    let keep: BTreeMap<String, Vec<u8>> = tree(&folder.path().join(".o.partial"));
    let mut last = 0;
    for n in (0..=bytes.len()).step_by(7).chain([bytes.len()]) {
        let memory = Memory::default();
        for (key, bytes) in keep.iter().filter(|(key, _)| !key.starts_with("journal") && !key.starts_with("lock")) {
            memory.create(key).unwrap().write_at(0, bytes).unwrap();
        }
        memory.create("journal/torn").unwrap().write_at(0, &bytes[..n]).unwrap();
        // A second journal with the same units does no harm.
        memory.create("journal/twice").unwrap().write_at(0, &bytes[..n]).unwrap();
        let store = Store::on(Arc::new(memory.clone()), &terms(&output)).unwrap().ready().unwrap();
        let found = store.done().len();
        assert!(found >= last && store.done().iter().copied().eq(0..found as u64));
        last = found;
        work(store, 99).unwrap();
        assert!(memory.published() == undisturbed(), "torn at {n}");
    }
    assert_eq!(last, 4);
}

#[test]
fn keys_never_lead_elsewhere() {
    let folder = tempdir().unwrap();
    let store = begin(&folder.path().join("o")).unwrap();
    for key in ["", "/etc/x", "../x", "a/../../x", "a//b", "a/./b", "a/", "..", "a\0b", "a.unfinished"] {
        assert_eq!(store.put(key, b"").unwrap_err().exit_code(), 2, "{key}");
        assert!(store.create(key).is_err() && store.keep(key, b"").is_err() && store.kept(key).is_err());
    }
    store.put("a..b/.zgroup", b"").unwrap();
    assert_eq!(store.publish().unwrap().files, 1);
}

#[test]
fn links_planted_in_the_way_are_not_followed() {
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    let elsewhere = folder.path().join("precious");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("keep"), "keep").unwrap();
    for plant in [
        |e: &Path, p: &Path| std::os::unix::fs::symlink(e, p).unwrap(),
        |_: &Path, p: &Path| fs::write(p, "x").unwrap(),
    ] {
        plant(&elsewhere, &partial);
        let e = begin(&output).err().unwrap();
        assert!(e.to_string().contains("remove it") && e.exit_code() == 2, "{e}");
        fs::remove_file(&partial).unwrap();
    }
    fs::create_dir(&partial).unwrap();
    std::os::unix::fs::symlink(&elsewhere, partial.join("output")).unwrap();
    work(begin(&output).unwrap(), 99).unwrap();
    assert_eq!(tree(&elsewhere).len(), 1);
    assert!(!output.is_symlink());
}

#[test]
fn what_is_removed_under_a_run_is_noticed() {
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    for durability in ALL {
        let store = Store::folder(&output, false, durability, is_ours).unwrap();
        store.put("a/b", b"1").unwrap();
        store.put("a/c", b"2").unwrap();
        while names(&partial.join("output/a")) != ["b", "c"] {
            std::thread::yield_now();
        }
        fs::remove_file(partial.join("output/a/b")).unwrap();
        let e = store.publish().unwrap_err();
        assert!(e.to_string().contains("2 files were written, 1 are there"), "{e}");
        assert!(names(folder.path()).is_empty());
        let store = Store::folder(&output, false, durability, is_ours).unwrap();
        fs::remove_dir_all(&partial).unwrap();
        assert!(store.put("a/b", b"1").and_then(|_| store.publish()).is_err());
        assert!(!output.exists());
        let _ = fs::remove_dir_all(&partial);
    }
}

#[test]
fn nothing_is_touched_to_see_whether_a_name_is_free() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o");
    check_free(&output, false, OutputKind::File).unwrap();
    assert!(names(folder.path()).is_empty());
    let said = |output: &Path, overwrite, kind| check_free(output, overwrite, kind).unwrap_err().to_string();
    assert!(said(&folder.path().join("no/o"), false, OutputKind::File).contains("there is no folder"));
    assert!(said(Path::new("/"), false, OutputKind::File).contains("cannot be the name"));
    fs::create_dir(&output).unwrap();
    assert!(said(&output, true, OutputKind::File).contains("is a folder"));
    assert!(said(&output, false, OutputKind::Folder(is_ours)).contains("exists already"));
    check_free(&output, true, OutputKind::Folder(|_| false)).unwrap();
    fs::write(output.join("x"), "").unwrap();
    assert!(said(&output, true, OutputKind::Folder(|_| false)).contains("of other things"));
    check_free(&output, true, OutputKind::Folder(is_ours)).unwrap();
}

#[test]
fn an_older_output_stays_until_it_is_replaced() {
    let folder = tempdir().unwrap();
    let (output, link) = (folder.path().join("o"), folder.path().join("link"));
    let put = |output: &Path, overwrite, text: &[u8]| {
        let store = Store::folder(output, overwrite, Durability::Data, is_ours)?;
        store.put("a", text)?;
        store.publish()
    };
    put(&output, false, b"old").unwrap();
    std::os::unix::fs::symlink(&output, &link).unwrap();
    let store = Store::folder(&link, true, Durability::Data, is_ours).unwrap();
    store.put("a", b"half").unwrap();
    store.abandon().unwrap();
    assert_eq!(fs::read(output.join("a")).unwrap(), b"old");
    put(&link, true, b"new").unwrap();
    assert_eq!(fs::read(output.join("a")).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["link", "o"]);
    // Something appears under the name meanwhile.
    fs::remove_dir_all(&output).unwrap();
    let store = Store::folder(&output, false, Durability::Data, is_ours).unwrap();
    store.put("a", b"new").unwrap();
    fs::write(&output, "mine").unwrap();
    let e = store.publish().unwrap_err();
    assert!(e.to_string().contains("has appeared") && e.exit_code() == 2, "{e}");
    assert_eq!(fs::read(&output).unwrap(), b"mine");
    // An old output that was set aside when the power went is put back.
    fs::remove_file(&output).unwrap();
    fs::create_dir_all(folder.path().join(".o.partial/replaced")).unwrap();
    fs::write(folder.path().join(".o.partial/replaced/a"), "old").unwrap();
    drop(Store::folder(&output, true, Durability::Data, is_ours).unwrap());
    assert_eq!(fs::read(output.join("a")).unwrap(), b"old");
}

/// The lock file of an unfinished output.
fn lock_of(partial: &Path) -> PathBuf {
    let locks: Vec<String> = names(partial).into_iter().filter(|name| name.starts_with("lock.")).collect();
    assert_eq!(locks.len(), 1, "{locks:?}");
    partial.join(&locks[0])
}

#[test]
fn a_second_run_is_refused_by_name() {
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    let store = begin(&output).unwrap();
    store.put("a", b"1").unwrap();
    let e = begin(&output).err().unwrap();
    let who = format!("process {} on ", std::process::id());
    assert!(e.to_string().contains("another run is writing it") && e.to_string().contains(&who), "{e}");
    assert_eq!(e.exit_code(), 2);
    assert!(Store::file(&output, false, Durability::None).is_err());
    assert_eq!(store.publish().unwrap().files, 1);
    assert_eq!(names(folder.path()), ["o"]);

    // Of another host nothing is known but its signs of life.
    let output = folder.path().join("far");
    let partial = partial.with_file_name(".far.partial");
    drop(work(begin(&output).unwrap(), 2).unwrap().unwrap());
    let lock = lock_of(&partial);
    let far = json!({"host": "n17", "place": "elsewhere", "pid": 4_000_000, "start": 1, "since_s": 1, "free": false});
    fs::write(&lock, far.to_string()).unwrap();
    let e = begin(&output).err().unwrap().to_string();
    assert!(e.contains("process 4000000 on n17") && e.contains("taken for dead after 1 min"), "{e}");
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(ago(50)).unwrap();
    assert!(begin(&output).is_err());
    // A lock of which nothing can be read counts as young, and then as dead.
    fs::write(&lock, "").unwrap();
    assert!(begin(&output).is_err());
    fs::File::options().write(true).open(&lock).unwrap().set_modified(ago(70)).unwrap();
    let store = begin(&output).unwrap();
    assert_eq!(store.done().len(), 2);
    assert_ne!(lock_of(&partial), lock);
}

#[test]
fn a_run_taken_for_dead_ends_itself() {
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    let beat = Duration::from_millis(20);
    let patience = Patience { beat, ..Patience::default() };
    let store = Store::begin(&OutputTerms { patience, ..terms(&output) }).unwrap().ready().unwrap();
    let stored = store.put("a", b"1").unwrap();
    store.record(0, &[stored], &[]).unwrap();
    // Signs of life are given.
    let lock = lock_of(&partial);
    let old = SystemTime::now() - Duration::from_secs(100);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(old).unwrap();
    let begun = Instant::now();
    while fs::metadata(&lock).unwrap().modified().unwrap() < old + Duration::from_secs(50) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no sign of life");
        std::thread::sleep(beat);
    }
    // Somebody takes over.
    fs::rename(&lock, partial.join("lock.7")).unwrap();
    let begun = Instant::now();
    let e = loop {
        match store.put("b", b"2") {
            Err(e) => break e,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20), "the loss is not noticed"),
        }
        std::thread::sleep(beat);
    };
    assert!(e.to_string().contains("another run has taken it over"), "{e}");
    assert!(store.publish().is_err());
    assert!(partial.join("lock.7").exists() && partial.join("output/a").exists(), "what is another's stays");
}

#[test]
fn of_many_takers_one_wins() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o");
    for round in 0..40 {
        // Left by a dead run, kept by one that ended early, and none at all, in turn.
        if round % 3 == 0 {
            drop(work(begin(&output).unwrap(), 1).unwrap().unwrap());
        } else if round % 3 == 1 && folder.path().join(".o.partial").exists() {
            let dead = json!({"host": "n17", "place": "elsewhere", "pid": 1, "start": 1, "since_s": 1, "free": false});
            let lock = lock_of(&folder.path().join(".o.partial"));
            fs::write(&lock, dead.to_string()).unwrap();
            let old = SystemTime::now() - Duration::from_secs(100);
            fs::File::options().write(true).open(&lock).unwrap().set_modified(old).unwrap();
        } else {
            let _ = fs::remove_dir_all(folder.path().join(".o.partial"));
        }
        let barrier = std::sync::Barrier::new(4);
        let outcomes: Vec<Result<Store>> = std::thread::scope(|scope| {
            let take = || {
                barrier.wait();
                begin(&output)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let said: Vec<String> = outcomes.iter().filter_map(|r| r.as_ref().err().map(Error::to_string)).collect();
        assert_eq!(said.len(), 3, "round {round}: {said:?}");
        assert!(said.iter().all(|e| e.contains("another run is writing it")), "{said:?}");
    }
}

/// Not a test by itself: one of several processes that want the same output, told by the environment.
#[test]
#[ignore = "started by other tests"]
fn taker() {
    let output = PathBuf::from(std::env::var_os("STORE_OUTPUT").unwrap());
    let token = std::env::var("STORE_TOKEN").unwrap();
    let at_most: u64 = token.parse().unwrap();
    match begin(&output) {
        Ok(store) => {
            // Whoever has it writes alone: what another writes here would be seen.
            let sole = output.with_file_name("sole");
            fs::File::options().write(true).create_new(true).open(&sole).expect("two have the lock");
            std::thread::sleep(Duration::from_millis(20));
            let rest = work(store, at_most);
            fs::remove_file(&sole).unwrap();
            drop(rest.unwrap());
            println!("won");
        }
        Err(e) if e.to_string().contains("another run") || e.to_string().contains("exists already") => {}
        Err(e) => panic!("{e}"),
    }
}

fn start_taker(output: &Path, at_most: u64) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::taker", "--ignored", "--nocapture"])
        .env("STORE_OUTPUT", output)
        .env("STORE_TOKEN", at_most.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_share_an_output_by_turns() {
    let good = undisturbed();
    let folder = tempdir().unwrap();
    let output = folder.path().join("o");
    let mut n_won = 0;
    for _ in 0..60 {
        let takers: Vec<_> = (0..3).map(|_| start_taker(&output, 1)).collect();
        for taker in takers {
            let ended = taker.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
            n_won += u64::from(String::from_utf8_lossy(&ended.stdout).contains("won"));
        }
        if output.exists() {
            break;
        }
    }
    assert!(tree(&output) == good && n_won >= N_UNITS, "{n_won}");
    assert_eq!(names(folder.path()), ["o"]);
}

#[test]
fn a_killed_run_is_gone_on_with_at_once() {
    let good = undisturbed();
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    for delay_ms in [0, 3, 8, 15, 25, 40] {
        let mut taker = start_taker(&output, 1);
        let begun = Instant::now();
        while !partial.exists() && taker.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay_ms));
        taker.kill().unwrap();
        taker.wait().unwrap();
        let _ = fs::remove_file(folder.path().join("sole"));
    }
    work(begin(&output).unwrap(), 99).unwrap();
    assert!(tree(&output) == good);
    assert_eq!(names(folder.path()), ["o"]);
}

#[test]
fn many_threads_write_one_shard() {
    let folder = tempdir().unwrap();
    let output = folder.path().join("o");
    for durability in ALL {
        let store = Store::folder(&output, true, durability, is_ours).unwrap();
        let shard = store.create("s").unwrap();
        let pieces: Vec<Stored> = std::thread::scope(|scope| {
            let write = |i: u8| {
                let at = shard.reserve(200_000);
                shard.write_at(at, &vec![i; 200_000]).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || write(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let whole = shard.close().unwrap();
        assert_eq!(store.publish().unwrap().bytes, 1_600_000);
        let bytes = fs::read(output.join("s")).unwrap();
        assert_eq!((whole.n_bytes, whole.crc), (1_600_000, crc32c::crc32c(&bytes)));
        for piece in pieces {
            let at = piece.offset as usize;
            assert_eq!(piece.crc, crc32c::crc32c(&bytes[at..at + piece.n_bytes as usize]));
        }
        // A hole is no shard.
        let store = Store::folder(&output, true, durability, is_ours).unwrap();
        let shard = store.create("s").unwrap();
        shard.reserve(3);
        assert!(shard.close().unwrap_err().to_string().contains("was never written"));
    }
}

/// Ended between getting its name and clearing up: the same run has nothing to do, another is refused or replaces it.
#[test]
fn a_run_that_was_published_is_not_done_again() {
    let good = undisturbed();
    let folder = tempdir().unwrap();
    let (output, partial) = (folder.path().join("o"), folder.path().join(".o.partial"));
    let publish = || {
        let _ = fs::remove_dir_all(&output);
        work(begin(&output).unwrap(), 99).unwrap();
        // As the end of such a run leaves it.
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&output).unwrap()).to_string();
        fs::create_dir_all(partial.join("journal")).unwrap();
        let published = json!({"identity": inode, "manifest": {"plan": "abc"}});
        fs::write(partial.join("published.json"), published.to_string()).unwrap();
    };
    publish();
    assert!(matches!(Store::begin(&terms(&output)).unwrap(), Begun::Published));
    assert_eq!(names(folder.path()), ["o"]);
    publish();
    let other = OutputTerms { manifest: Arc::new(json!({"plan": "other"})), ..terms(&output) };
    assert!(Store::begin(&other).err().unwrap().to_string().contains("exists already"));
    assert_eq!(names(folder.path()), ["o"]);
    assert!(tree(&output) == good);
    publish();
    drop(Store::begin(&OutputTerms { overwrite: true, ..other }).unwrap().ready().unwrap());
    // All that was left to remove was the place itself.
    publish();
    fs::remove_dir_all(&partial).unwrap();
    fs::create_dir(&partial).unwrap();
    let dead = json!({"host": "n17", "place": "elsewhere", "pid": 1, "start": 1, "since_s": 1, "free": true});
    fs::write(partial.join("lock.3"), dead.to_string()).unwrap();
    assert!(check_free(&output, false, OutputKind::Folder(is_ours)).is_err());
    assert_eq!(names(folder.path()), ["o"]);
    // Something else has the name by now.
    publish();
    fs::rename(&output, folder.path().join("moved")).unwrap();
    fs::create_dir(&output).unwrap();
    assert!(Store::begin(&terms(&output)).err().unwrap().to_string().contains("exists already"));
    assert_eq!(names(folder.path()), ["moved", "o"]);
}
