//! Every pixel of the full resolution against the inputs, and of every level against what it was made from.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::inputs::{Reopened, named};
use super::{Verified, full_resolution};
use crate::array::Array;
use crate::block::size_bytes;
use crate::command::progress::Progress;
use crate::command::resources::Resources;
use crate::command::results;
use crate::command::tell;
use crate::consume::levels::{Levels, Method, factors};
use crate::consume::{Consumer, Job};
use crate::draw::values::element;
use crate::error::Error;
use crate::plan::Task;
use crate::reduce::Reducer;
use crate::report::tuple;
use crate::run;
use crate::sink::Spec;
use crate::source::zarr;
use crate::source::{self, FileArray, OpenOptions};
use crate::verify::{Compare, Damage, Difference, Differences, Only};

impl Verified<'_> {
    /// Compares the pixels.
    pub(super) fn compare(&mut self) -> Result<()> {
        let inputs = self.reopen()?;
        if !inputs.changed.is_empty() {
            tell(format_args!("note: inputs have changed since:{}", named(&inputs.changed)));
        }
        let theirs = open(&full_resolution(self.place())?)?;
        let (array, spec) = (&inputs.array, inputs.spec());
        if spec.shape() != theirs.shape() || spec.dtype != theirs.dtype() {
            let (ours, found) = (tuple(&spec.shape()), tuple(&theirs.shape()));
            let (dtype, found_dtype) = (spec.dtype, theirs.dtype());
            let text = format!("is {found} {found_dtype}, but the inputs make {ours} {dtype} now");
            return Err(Error::format(text).at(self.place().display()).into());
        }
        let found = Arc::new(Mutex::new(Differences::default()));
        let compare = || Compare::new(Arc::clone(&theirs), Arc::clone(&found));
        let (levels, are_added) = self.levels(&*theirs)?;
        let levels = levels.iter().map(|folder| open(folder)).collect::<Result<Vec<_>, Error>>()?;
        let reducer = inputs.reducer.as_ref();
        let sampled = |task: &Task| self.sample.has(task.unit);
        if levels.is_empty() {
            self.show(array, reducer, Box::new(compare()), sampled)?;
        } else if are_added {
            // They were made of what is stored.
            let own = compare().with_levels(levels, self.method()?, theirs.fill_bytes())?.of_levels_alone();
            self.show(array, reducer, Box::new(compare()), sampled)?;
            let stored: Arc<dyn Array> = Arc::clone(&theirs) as _;
            self.show(&stored, None, Box::new(own), sampled)?;
        } else {
            let all = compare().with_levels(levels, self.method()?, array.fill_bytes())?;
            self.show(array, reducer, Box::new(all), sampled)?;
        }
        let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        self.take(&inputs, found);
        Ok(())
    }

    /// Folders of the levels below `full`, and whether they were added to it later.
    pub(super) fn levels(&self, full: &dyn Array) -> Result<(Vec<PathBuf>, bool), Error> {
        let arrays = zarr::arrays(self.place())?;
        let folders = (1..).map(|n: u32| self.place().join(n.to_string()));
        let levels: Vec<PathBuf> = folders.take_while(|folder| arrays.contains(folder)).collect();
        let written = self.own["storage"]["levels"].as_str().and_then(|text| text.parse::<Levels>().ok());
        let are_added = factors(full.axes(), written.unwrap_or_default()).is_empty();
        Ok((levels, are_added))
    }

    /// How levels were made.
    pub(super) fn method(&self) -> Result<Method, Error> {
        zarr::downsampling(self.place())?.unwrap_or_default().parse()
    }

    /// Shows `consumer` the units of `array` that have a task which is `wanted`, or all that is reduced of it.
    pub(super) fn show(
        &self,
        array: &Arc<dyn Array>,
        reducer: Option<&Arc<Reducer>>,
        consumer: Box<dyn Consumer>,
        wanted: impl Fn(&Task) -> bool,
    ) -> Result<()> {
        let budget = Resources::new(&self.run_args());
        let n_bytes = size_bytes(&array.shape(), array.dtype());
        let (plan, consumer, n_bytes): (_, Box<dyn Consumer>, _) = match reducer {
            None => {
                let plan = budget.plan(&**array, &[&*consumer])?;
                let wanted: BTreeSet<u64> = plan.tasks().filter(wanted).map(|task| task.unit).collect();
                if wanted.is_empty() {
                    return Ok(());
                }
                let left_out = (0..plan.n_units()).filter(|unit| !wanted.contains(unit)).collect();
                let n_bytes = n_bytes / plan.n_units().max(1) * wanted.len() as u64;
                (plan, Box::new(Only::new(consumer, left_out)), n_bytes)
            }
            Some(reducer) => {
                let reduction = results::on_the_way(reducer);
                let plan = budget.plan_beside(&**array, &reduction, consumer.held_bytes())?;
                let fitted = reduction.fitted(&plan, vec![consumer]);
                (plan, Box::new(fitted), n_bytes.saturating_mul(u64::from(reducer.n_passes())))
            }
        };
        let mut consumers = [consumer];
        let terms = budget.terms(&plan, &**array, &[&*consumers[0]], self.stop);
        let mut progress = Progress::new(n_bytes, self.args.quiet);
        run::run(array, &plan, &mut consumers, &Job::default(), &terms, |bytes| progress.add(bytes))?;
        progress.finish();
        Ok(())
    }

    /// Takes in what the comparison has found.
    fn take(&mut self, inputs: &Reopened, found: Differences) {
        let place = format!("{}/", self.place().display());
        for text in &found.unreadable {
            let (object, text) = text.strip_prefix(&place).unwrap_or(text).split_once(": ").unwrap_or(("", text));
            let fault = Damage { object: object.to_owned(), kind: Differences::UNREADABLE, text: text.to_owned() };
            // The check of objects may have found the same.
            if !self.checked.faults.iter().any(|f| f.object == fault.object) {
                self.checked.n_faults += 1;
                self.checked.faults.insert(fault);
            }
        }
        let told: Vec<Value> = found.first.iter().map(|difference| inputs.told(difference)).collect();
        self.lines.extend(told.iter().map(line));
        self.n_different = found.n_different;
        self.compared =
            Some(json!({"elements": found.n_elements, "different": found.n_different, "differences": told}));
    }
}

impl Reopened {
    /// A difference by coordinates, file and page.
    fn told(&self, difference: &Difference) -> Value {
        let Spec { axes, dtype, .. } = self.spec();
        let at: Map<String, Value> =
            axes.iter().zip(&difference.at).map(|(axis, n)| (axis.name.clone(), json!(n))).collect();
        let text = |bytes: &[u8]| element(dtype, bytes);
        let mut told = json!({
            "level": difference.level,
            "at": at,
            "input": text(&difference.shown),
            "output": text(&difference.found),
        });
        if let Some(stack) = self.origin.as_ref().filter(|_| difference.level == 0) {
            let (file, page) = stack.origin(&self.array.original(&difference.at)).unzip();
            told["file"] = file.map(|file| file.display().to_string()).into();
            told["page"] = page.into();
        }
        told
    }
}

/// The same in words.
fn line(told: &Value) -> String {
    let words =
        |at: &Map<String, Value>| at.iter().map(|(axis, n)| format!("{axis}={n}")).collect::<Vec<_>>().join(" ");
    let at = told["at"].as_object().map(words).unwrap_or_default();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let (input, output) = (text("input"), text("output"));
    let origin = match (told["level"].as_u64(), told.get("file").map(Value::as_str)) {
        (Some(level @ 1..), _) => {
            return format!("level {level}, {at}: the level before it makes {input}, the output has {output}");
        }
        (_, None) => return format!("{at}: the inputs make {input}, the output has {output}"),
        (_, Some(Some(file))) => format!("{file} page {}", told["page"]),
        (_, Some(None)) => "no file, so the fill value,".to_owned(),
    };
    format!("{at}: {origin} has {input}, the output {output}")
}

/// The array in `folder`.
pub(super) fn open(folder: &std::path::Path) -> Result<Arc<dyn FileArray>, Error> {
    source::open(folder, &OpenOptions::default())
}
