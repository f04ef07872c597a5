//! Bad objects made again: the same run, in which every unit without one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::deep::open;
use super::inputs::named;
use super::{Verified, full_resolution};
use crate::array::Array;
use crate::cli::StorageArgs;
use crate::command::planning::storage;
use crate::consume::levels::Levels;
use crate::consume::{Assemble, Consumer};
use crate::error::Error;
use crate::grid::Region;
use crate::plan::Task;
use crate::reduce::Reducer;
use crate::sink::zarr::{Contrast, ImageOptions, ZarrFormat, ZarrOptions, ZarrSink};
use crate::sink::{Sharding, Spec};
use crate::source::OpenOptions;
use crate::source::zarr;
use crate::store::sums::{self, Sum, checksums_of};
use crate::verify::{DamageKind, object};

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
        let full = open(&full_resolution(self.place())?)?;
        let (levels, are_added) = self.levels(&*full)?;
        let is_added = |key: &str| are_added && levels.iter().any(|folder| self.place().join(key).starts_with(folder));
        let (added, written): (BTreeMap<_, _>, _) = sums.into_iter().partition(|(key, _)| is_added(key));
        let scratch = scratch(self.place());
        let made = self.again(&written, &scratch).and_then(|()| self.added_again(&levels, &added, &scratch));
        let removed = match fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&scratch, "cannot remove", e)),
            _ => Ok(()),
        };
        made?;
        Ok(removed?)
    }

    /// Makes the objects of `sums` of the inputs again, in `scratch` first.
    fn again(&mut self, sums: &BTreeMap<String, Sum>, scratch: &Path) -> Result<()> {
        if sums.is_empty() {
            return Ok(());
        }
        let inputs = self.reopen()?;
        if !inputs.changed.is_empty() {
            let text = "inputs have changed since it was written, and what is made of them would not fit the rest:";
            return Err(Error::format(format!("{text}{}", named(&inputs.changed))).into());
        }
        let options = match &inputs.reducer {
            Some(_) => self.stored(ImageOptions {
                plain: self.place() == full_resolution(self.place())?,
                contrast: Contrast::None,
                ..ImageOptions::default()
            })?,
            None => {
                let options = storage(&self.storage()?, true, false, &*inputs.array, &inputs.unit)?;
                let image = ImageOptions { contrast: Contrast::None, ..options.image };
                ZarrOptions { image, ..options }
            }
        };
        let (array, spec) = (&inputs.array, inputs.spec());
        self.make((array, inputs.reducer.as_ref()), &spec, &options, sums, scratch)
    }

    /// The same with those of `levels` that were added to what is stored.
    fn added_again(&mut self, levels: &[PathBuf], sums: &BTreeMap<String, Sum>, scratch: &Path) -> Result<()> {
        let Some(first) = levels.first().filter(|_| !sums.is_empty()) else { return Ok(()) };
        let image = ImageOptions {
            levels: Levels::Count(levels.len() as u64 + 1),
            method: self.method()?,
            contrast: Contrast::None,
            ..ImageOptions::default()
        };
        let codec = zarr::storage(first, &OpenOptions::default())?.codec;
        let options = ZarrOptions { codec, ..self.stored(image)? };
        let array: Arc<dyn Array> = open(self.place())?;
        self.make((&array, None), &Spec::of(&*array), &options, sums, scratch)
    }

    /// How the full resolution is stored.
    fn stored(&self, image: ImageOptions) -> Result<ZarrOptions, Error> {
        let stored = zarr::storage(&full_resolution(self.place())?, &OpenOptions::default())?;
        Ok(ZarrOptions {
            format: if stored.version == 2 { ZarrFormat::V2 } else { ZarrFormat::V3 },
            chunks: stored.chunks,
            shards: stored.shards,
            codec: stored.codec,
            overwrite: true,
            durability: Default::default(),
            image,
        })
    }

    /// Makes the units of `array` that hold `sums` once more, in `scratch`, and puts objects in place.
    fn make(
        &mut self,
        (array, reducer): (&Arc<dyn Array>, Option<&Arc<Reducer>>),
        spec: &Spec,
        options: &ZarrOptions,
        sums: &BTreeMap<String, Sum>,
        scratch: &Path,
    ) -> Result<()> {
        let sink = ZarrSink::new(scratch, spec, options)?;
        let regions: Vec<Region> = sums.keys().filter_map(|key| sink.region_of(key)).collect();
        let wanted = |task: &Task| {
            regions.iter().any(|wanted| wanted.intersect(&task.region).is_some_and(|both| !both.is_empty()))
        };
        let shape = spec.shape();
        let consumer: Box<dyn Consumer> = match reducer {
            // Its tiles need not be chunks.
            Some(_) => Box::new(Assemble::new(&shape, &shape, spec.dtype, Some(Box::new(sink)))),
            None => Box::new(sink),
        };
        self.show(array, reducer, consumer, wanted)?;
        self.put(scratch, sums)
    }

    /// Puts what was made in place of what is bad, if it is what was written.
    fn put(&mut self, scratch: &Path, sums: &BTreeMap<String, Sum>) -> Result<()> {
        for (key, sum) in sums {
            if object(scratch, sum).is_err() {
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

/// Where objects are made, beside the output.
fn scratch(place: &Path) -> PathBuf {
    let place: PathBuf = place.components().collect();
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    place.with_file_name(format!(".{name}.repair"))
}
