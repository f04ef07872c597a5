//! Bad objects made again: the same run, in which every unit without one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Verified;
use super::inputs::{Reopened, named};
use crate::block::size_bytes;
use crate::cli::StorageArgs;
use crate::command::planning::storage;
use crate::command::progress::Progress;
use crate::command::resources::Resources;
use crate::consume::{Consumer, Job};
use crate::error::Error;
use crate::grid::Region;
use crate::plan::Plan;
use crate::run;
use crate::sink::zarr::{ZarrOptions, ZarrSink};
use crate::sink::{Sharding, Spec};
use crate::store::sums::{self, Sum};
use crate::verify::{DamageKind, Only, checksums_of, object};

impl Verified<'_> {
    /// Makes bad objects of pixels again; those that cannot be stay faults.
    pub(super) fn repair(&mut self) -> Result<()> {
        let bad: BTreeSet<String> = self
            .checked
            .faults
            .iter()
            .filter(|fault| fault.kind != DamageKind::Foreign)
            .map(|fault| fault.object.clone())
            .collect();
        let Some(listed) = checksums_of(self.place()).filter(|_| !bad.is_empty()) else { return Ok(()) };
        let mut sums = BTreeMap::new();
        let read = sums::each(&self.place().join(&listed), |sum| {
            if bad.contains(&sum.key) {
                sums.insert(sum.key.clone(), sum);
            }
            Ok(())
        });
        if read.is_err() || sums.is_empty() {
            return Ok(());
        }
        let inputs = self.reopen()?;
        if !inputs.changed.is_empty() {
            let text = "inputs have changed since it was written, and what is made of them would not fit the rest:";
            return Err(Error::format(format!("{text}{}", named(&inputs.changed))).into());
        }
        let scratch = scratch(self.place());
        let made = self.make(&inputs, &sums, &scratch);
        let put = made.and_then(|()| self.put(&scratch, &sums));
        let removed = match fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&scratch, "cannot remove", e)),
            _ => Ok(()),
        };
        put?;
        Ok(removed?)
    }

    /// Makes the units that hold `sums` once more, in `scratch`.
    fn make(&self, inputs: &Reopened, sums: &BTreeMap<String, Sum>, scratch: &Path) -> Result<()> {
        let array = &inputs.array;
        let spec = Spec::of(&**array);
        let mut options: ZarrOptions = storage(&self.storage()?, true, false, &**array, &inputs.unit)?;
        options.image.contrast = crate::sink::zarr::Contrast::None;
        let sink = ZarrSink::new(scratch, &spec, &options)?;
        let budget = Resources::new(&self.run_args());
        let plan = budget.plan(&**array, &[&sink])?;
        let terms = budget.terms(&plan, &**array, &[&sink], self.stop);
        let wanted = wanted(&plan, &sink, sums);
        if wanted.is_empty() {
            return Ok(());
        }
        let n_bytes = size_bytes(&array.shape(), array.dtype()) / plan.n_units().max(1) * wanted.len() as u64;
        let done = (0..plan.n_units()).filter(|unit| !wanted.contains(unit)).collect();
        let mut consumers: [Box<dyn Consumer>; 1] = [Box::new(Only::new(Box::new(sink), done))];
        let mut progress = Progress::new(n_bytes, self.args.quiet);
        run::run(array, &plan, &mut consumers, &Job::default(), &terms, |bytes| progress.add(bytes))?;
        progress.finish();
        Ok(())
    }

    /// Puts what was made in place of what is bad, if it is what was written.
    fn put(&mut self, scratch: &Path, sums: &BTreeMap<String, Sum>) -> Result<()> {
        for (key, sum) in sums {
            if object(scratch, sum, &mut Vec::new()).is_err() {
                continue;
            }
            let (from, to) = (scratch.join(key), self.place().join(key));
            let folder = to.parent().unwrap_or(Path::new("."));
            let moved = fs::create_dir_all(folder)
                .and_then(|()| fs::rename(&from, &to))
                .and_then(|()| fs::File::open(folder)?.sync_all());
            moved.map_err(|e| Error::io(&to, "cannot put in place", e))?;
            self.repaired.push(key.clone());
        }
        let repaired: BTreeSet<&String> = self.repaired.iter().collect();
        let before = self.checked.faults.len();
        self.checked.faults.retain(|fault| !repaired.contains(&fault.object));
        self.checked.n_faults -= (before - self.checked.faults.len()) as u64;
        Ok(())
    }

    /// How it is stored, as flags that say so.
    fn storage(&self) -> Result<StorageArgs, Error> {
        let recorded = &self.own["storage"];
        let lengths = |key: &str| -> Option<Vec<u64>> { serde_json::from_value(recorded[key].clone()).ok() };
        let text = |key: &str| recorded[key].as_str().unwrap_or_default();
        Ok(StorageArgs {
            zarr_format: recorded["zarr_format"].as_u64().map(|n| n as u8),
            chunks: lengths("chunks"),
            shards: lengths("shards").map_or(Sharding::None, Sharding::Shape),
            codec: Some(text("codec").parse()?),
            levels: Some(text("levels").parse()?),
            downsample: Some(text("downsample").parse()?),
            plain: recorded["plain"] == true,
            ..StorageArgs::default()
        })
    }
}

/// Units of `plan` that make one of the objects.
fn wanted(plan: &Plan, sink: &ZarrSink, sums: &BTreeMap<String, Sum>) -> BTreeSet<u64> {
    let regions: Vec<_> = sums.keys().filter_map(|key| sink.region_of(key)).collect();
    let holds =
        |region: &Region| regions.iter().any(|wanted| wanted.intersect(region).is_some_and(|both| !both.is_empty()));
    plan.tasks().filter(|task| holds(&task.region)).map(|task| task.unit).collect()
}

/// Where objects are made, beside the output.
fn scratch(place: &Path) -> PathBuf {
    let place: PathBuf = place.components().collect();
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place.with_file_name(format!(".{name}.repair"))
}
