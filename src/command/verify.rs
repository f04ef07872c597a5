//! `verify`: whether an output is what was written and what its inputs say, and making bad objects again. Of a
//! collection it checks every image.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};

use super::resources::Resources;
use super::{print, print_json, stop, tell};
use crate::bytes;
use crate::cli::{RunArgs, VerifyArgs};
use crate::digest;
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::report::count;
use crate::source::{self, OpenOptions, zarr};
use crate::store::sums::checksums_of;
use crate::verify::{Checked, Damage, DamageKind, Sample, chunks, file, objects};

mod deep;
mod inputs;
mod repair;

/// Folders between a collection and its images, at most: a plate has rows, wells and fields.
const MOST_DEPTH: u32 = 4;
/// Faults that are told one by one, unless as JSON.
const MOST_TOLD: usize = 100;

/// What is known of the Zarr, and what has come of checking it.
struct Verified<'a> {
    args: &'a VerifyArgs,
    /// What it says of its origin.
    own: Value,
    sample: Sample,
    stop: &'a AtomicBool,
    checked: Checked,
    compared: Option<Value>,
    n_different: u64,
    /// Lines that tell of differences.
    lines: Vec<String>,
    repaired: Vec<String>,
    unproven: Vec<String>,
}

pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let place = &args.output;
    refuse_part(place)?;
    super::refuse_remote(place)?;
    if checksums_of(place).is_none() && !place.exists() {
        return Err(Error::usage(format!("{}: there is no such output", place.display())).into());
    }
    let stop = stop::early(Instant::now(), None)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let mut verified = Verified::new(args, seed, &stop);
    let members = members_of(place);
    if members.is_empty() {
        verified.all()?;
    }
    for member in &members {
        let own = VerifyArgs { output: member.clone(), ..args.clone() };
        let mut one = Verified::new(&own, seed, &stop);
        one.all()?;
        verified.take_in(member.strip_prefix(place).unwrap_or(member), one);
    }
    if !members.is_empty() {
        let is_there = |image: &str| members.contains(&place.join(image));
        for image in zarr::collected(place)?.iter().filter(|image| !is_there(image)) {
            let text = "the collection names it, and there is no such image".to_owned();
            verified.checked.fault(image, DamageKind::Missing, text);
        }
        let n = count(members.len() as u64, "image");
        verified.unproven.push(format!("what describes the collection of {n} has no checksums of its own"));
    }
    verified.tell()
}

/// Outputs with checksums inside a group that has none itself, in order.
fn members_of(place: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![(place.to_owned(), 0)]);
    while let Some((folder, depth)) = open.pop() {
        if checksums_of(&folder).is_some() {
            found.push(folder);
        } else if depth < MOST_DEPTH {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            open.extend(folders.map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.retain(|member| member != place);
    found.sort();
    found
}

/// Refuses a level of an output, of which the whole has the checksums.
fn refuse_part(place: &Path) -> Result<(), Error> {
    let Ok(place) = std::path::absolute(place) else { return Ok(()) };
    let place: PathBuf = place.components().collect();
    let Some(whole) = place.parent().filter(|whole| checksums_of(whole).is_some()) else { return Ok(()) };
    if !zarr::arrays(whole).is_ok_and(|arrays| arrays.contains(&place)) {
        return Ok(());
    }
    let (place, whole) = (place.display(), whole.display());
    Err(Error::usage(format!("{place}: is a part of {whole}, which is verified as a whole")))
}

impl<'a> Verified<'a> {
    fn new(args: &'a VerifyArgs, seed: u64, stop: &'a AtomicBool) -> Self {
        let sample = args.sample.map_or(Sample::ALL, |share| Sample { share, seed });
        // What cannot be read of it is found below.
        let own = zarr::provenance(&args.output).ok().flatten().unwrap_or_default();
        Self {
            args,
            own,
            sample,
            stop,
            checked: Checked::default(),
            compared: None,
            n_different: 0,
            lines: Vec::new(),
            repaired: Vec::new(),
            unproven: Vec::new(),
        }
    }

    /// Does all that was asked for.
    fn all(&mut self) -> Result<()> {
        self.check(checksums_of(self.place()))?;
        if self.args.repair {
            self.repair()?;
        }
        if self.args.deep {
            self.compare()?;
        }
        Ok(())
    }

    /// Takes in what has come of checking the member that lies at `prefix`.
    fn take_in(&mut self, prefix: &Path, other: Verified<'_>) {
        let named = |text: &str| prefix.join(text).to_string_lossy().into_owned();
        let Checked { objects, bytes, n_faults, faults } = other.checked;
        self.checked.objects += objects;
        self.checked.bytes += bytes;
        self.checked.n_faults += n_faults;
        let faults = faults.into_iter().map(|fault| Damage { object: named(&fault.object), ..fault });
        self.checked.faults.extend(faults);
        self.n_different += other.n_different;
        self.lines.extend(other.lines.into_iter().map(|line| format!("{}: {line}", prefix.display())));
        self.repaired.extend(other.repaired.iter().map(|object| named(object)));
        self.unproven.extend(other.unproven.into_iter().map(|line| format!("{}: {line}", prefix.display())));
        if let Some(compared) = other.compared {
            self.compared.get_or_insert_with(|| json!({}))[prefix.to_string_lossy().as_ref()] = compared;
        }
    }
}

impl Verified<'_> {
    fn place(&self) -> &Path {
        &self.args.output
    }

    fn run_args(&self) -> RunArgs {
        RunArgs { memory: self.args.memory, threads: self.args.threads, quiet: self.args.quiet, ..RunArgs::default() }
    }

    /// Checks every object by itself.
    fn check(&mut self, listed: Option<String>) -> Result<()> {
        match (listed, self.own["checksums"].as_str()) {
            (Some(listed), _) => {
                let threads = Resources::new(&self.run_args()).threads;
                self.checked = objects(self.place(), &listed, &self.sample, threads)?;
            }
            (None, Some(key)) => {
                let fault = Damage {
                    object: key.to_owned(),
                    kind: DamageKind::Missing,
                    text: "is not there, so no other object can be checked".to_owned(),
                };
                self.checked.n_faults += 1;
                self.checked.faults.insert(fault);
            }
            (None, None) => self.check_foreign()?,
        }
        Ok(())
    }

    /// Checks every entry of an archive by the checksum that the archive has of it.
    fn check_archive(&mut self) {
        let checked = &mut self.checked;
        let each = bytes::check_archive(&self.args.output, &mut |key, is_sound| match is_sound {
            Ok(true) => checked.objects += 1,
            Ok(false) => {
                checked.fault(key, DamageKind::Damaged, "is not what the archive's checksum is of".to_owned());
            }
            Err(e) => checked.fault(key, DamageKind::Unreadable, format!("cannot be read: {e}")),
        });
        if let Err(e) = each {
            checked.fault("", DamageKind::Damaged, e.to_string());
        }
        if self.own["crc64nvme"].is_null() {
            let text = "an archive's checksums do not prove that it holds what was written, nor that nothing is lost";
            self.unproven.push(text.to_owned());
        }
    }

    /// Checks a Zarr without checksums.
    fn check_foreign(&mut self) -> Result<()> {
        let is_archive = bytes::is_archive(self.place());
        let is_file = self.place().is_file() && !is_archive;
        if is_file && let Some(checked) = file(self.place())? {
            self.checked = checked;
            return Ok(());
        }
        if is_archive {
            self.check_archive();
            // What is damaged need not be decoded.
            if self.checked.n_faults > 0 {
                return Ok(());
            }
        }
        let arrays = if is_file { vec![self.place().to_owned()] } else { zarr::arrays(self.place())? };
        let budget = Resources::new(&self.run_args());
        for folder in &arrays {
            let array = match source::open(folder, &OpenOptions::default()) {
                Ok(array) => array,
                Err(e @ Error::Unsupported(_)) if !is_file => {
                    self.unproven.push(format!("{}: was passed over: {e}", folder.display()));
                    continue;
                }
                Err(e) if is_file && e.is_of_file() => {
                    let fault = Damage { object: String::new(), kind: DamageKind::Undecodable, text: e.to_string() };
                    self.checked.n_faults += 1;
                    self.checked.faults.insert(fault);
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let prefix = folder.strip_prefix(self.place()).unwrap_or(folder);
            let (mut checked, found) = chunks(&array, folder, &self.sample, budget.threads, budget.room(&*array))?;
            // The full resolution is the first.
            let written = self.own["crc64nvme"].as_str().filter(|_| folder == &arrays[0] && self.sample.share >= 1.0);
            if let Some(written) = written.filter(|written| checked.n_faults == 0 && **written != digest::text(found)) {
                let text = format!("its elements have the digest {}, were written with {written}", digest::text(found));
                checked.fault("", DamageKind::Damaged, text);
            }
            self.checked.objects += if is_archive { 0 } else { checked.objects };
            self.checked.bytes += checked.bytes;
            self.checked.n_faults += checked.n_faults;
            let named = |mut fault: Damage| {
                fault.object = prefix.join(&fault.object).to_string_lossy().into_owned();
                fault
            };
            self.checked.faults.extend(checked.faults.into_iter().map(named));
        }
        if is_archive {
            return Ok(());
        }
        let why = if is_file {
            "it holds no checksum: that all of it can be decoded does not prove that it holds what was written"
        } else {
            "no checksums are recorded with it: that chunks can be decoded does not prove that they hold what was \
             written, and a chunk that is not there cannot be told from one that was never stored"
        };
        self.unproven.push(why.to_owned());
        Ok(())
    }

    /// Says what has come of it.
    fn tell(self) -> Result<()> {
        let Self { args, checked, compared, n_different, lines, repaired, unproven, .. } = self;
        if args.json {
            print_json(&json!({
                "output": args.output.display().to_string(),
                "sample": args.sample.unwrap_or(1.0),
                "objects": checked.objects,
                "bytes": checked.bytes,
                "n_faults": checked.n_faults,
                "faults": checked.faults,
                "compared": compared,
                "repaired": repaired,
                "unproven": unproven,
            }))?;
        } else {
            let faults = checked.faults.iter().map(|f| match f.object.as_str() {
                "" => f.text.clone(),
                object => format!("{object}: {}", f.text),
            });
            let mut told: Vec<String> = faults.chain(lines).take(MOST_TOLD).collect();
            let n = checked.n_faults + n_different;
            if n > told.len() as u64 {
                told.push(format!("and {} more", n - told.len() as u64));
            }
            told.iter().try_for_each(|line| print(format!("{line}\n").as_bytes()))?;
            unproven.iter().for_each(|line| tell(format_args!("note: {line}")));
        }
        let (output, all) = (args.output.display(), count(checked.objects, "object"));
        let mut what = Vec::new();
        if checked.n_faults > 0 {
            what.push(format!("{} in {all}", count(checked.n_faults, "fault")));
        }
        if n_different > 0 {
            what.push(format!("{} from the inputs", count(n_different, "difference")));
        }
        if !what.is_empty() {
            return Err(Error::Fault(format!("{output}: {}", what.join(", "))).into());
        }
        if !args.quiet && !args.json {
            let deep = if compared.is_some() { ", and every pixel that was compared is as in the inputs" } else { "" };
            let how = if unproven.is_empty() { "as written" } else { "decoded" };
            let made =
                if repaired.is_empty() { String::new() } else { format!(", {} of them made again", repaired.len()) };
            tell(format_args!("{output}: {all}, {}, {how}{made}{deep}", Bytes(checked.bytes)));
        }
        Ok(())
    }
}

/// The array of the full resolution of the Zarr at `place`.
fn full_resolution(place: &Path) -> Result<PathBuf, Error> {
    let arrays = zarr::arrays(place)?;
    let zero = place.join("0");
    Ok(if arrays.contains(&zero) { zero } else { place.to_owned() })
}
