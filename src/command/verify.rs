//! `verify`: whether a Zarr is what was written and what its inputs say, and making bad objects again.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};

use super::resources::Resources;
use super::{print, print_json, stop, tell};
use crate::cli::{RunArgs, VerifyArgs};
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::report::count;
use crate::source::{self, OpenOptions, zarr};
use crate::verify::{Checked, FaultKind, Sample, checksums_of, chunks, objects};

mod deep;
mod inputs;
mod repair;

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
    let listed = checksums_of(place);
    if listed.is_none() && !place.exists() {
        return Err(Error::usage(format!("{}: there is no such Zarr", place.display())).into());
    }
    let stop = stop::early(Instant::now(), None)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let sample = args.sample.map_or(Sample::ALL, |share| Sample { share, seed });
    // What cannot be read of it is found below.
    let own = zarr::provenance(place).ok().flatten().unwrap_or_default();
    let mut verified = Verified {
        args,
        own,
        sample,
        stop: &stop,
        checked: Checked::default(),
        compared: None,
        n_different: 0,
        lines: Vec::new(),
        repaired: Vec::new(),
        unproven: Vec::new(),
    };
    verified.check(listed)?;
    if args.repair {
        verified.repair()?;
    }
    if args.deep {
        verified.compare()?;
    }
    verified.tell()
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
                let fault = crate::verify::Fault {
                    object: key.to_owned(),
                    kind: FaultKind::Missing,
                    text: "is not there, so no other object can be checked".to_owned(),
                };
                self.checked.n_faults += 1;
                self.checked.faults.insert(fault);
            }
            (None, None) => self.check_foreign()?,
        }
        Ok(())
    }

    /// Checks a Zarr without checksums.
    fn check_foreign(&mut self) -> Result<()> {
        let arrays = zarr::arrays(self.place())?;
        let budget = Resources::new(&self.run_args());
        for folder in &arrays {
            let array = match source::open(folder, &OpenOptions::default()) {
                Ok(array) => array,
                Err(e @ Error::Unsupported(_)) => {
                    self.unproven.push(format!("{}: was passed over: {e}", folder.display()));
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let prefix = folder.strip_prefix(self.place()).unwrap_or(folder);
            let checked = chunks(&array, folder, &self.sample, budget.threads, budget.room(&*array))?;
            self.checked.objects += checked.objects;
            self.checked.bytes += checked.bytes;
            self.checked.n_faults += checked.n_faults;
            let named = |mut fault: crate::verify::Fault| {
                fault.object = prefix.join(&fault.object).to_string_lossy().into_owned();
                fault
            };
            self.checked.faults.extend(checked.faults.into_iter().map(named));
        }
        self.unproven.push(
            "no checksums are recorded with it: that chunks can be decoded does not prove that they hold what was \
             written, and a chunk that is not there cannot be told from one that was never stored"
                .to_owned(),
        );
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
            let faults = checked.faults.iter().map(|f| format!("{}: {}", f.object, f.text));
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
