//! Every pixel of the full resolution against the inputs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::inputs::{Reopened, named};
use super::{Verified, full_resolution};
use crate::block::size_bytes;
use crate::command::progress::Progress;
use crate::command::resources::Resources;
use crate::command::tell;
use crate::consume::Job;
use crate::draw::values::element;
use crate::error::Error;
use crate::report::tuple;
use crate::run;
use crate::source::{self, OpenOptions};
use crate::verify::{Compare, Damage, Difference, Differences, Only};

impl Verified<'_> {
    /// Compares the pixels.
    pub(super) fn compare(&mut self) -> Result<()> {
        let inputs = self.reopen()?;
        if !inputs.changed.is_empty() {
            tell(format_args!("note: inputs have changed since:{}", named(&inputs.changed)));
        }
        let theirs = source::open(&full_resolution(self.place())?, &OpenOptions::default())?;
        let array = Arc::clone(&inputs.array);
        if array.shape() != theirs.shape() || array.dtype() != theirs.dtype() {
            let (ours, found) = (tuple(&array.shape()), tuple(&theirs.shape()));
            let (dtype, found_dtype) = (array.dtype(), theirs.dtype());
            let text = format!("is {found} {found_dtype}, but the inputs make {ours} {dtype} now");
            return Err(Error::format(text).at(self.place().display()).into());
        }
        let found = Arc::new(Mutex::new(Differences::default()));
        let compare = Compare::new(theirs, Arc::clone(&found));
        let budget = Resources::new(&self.run_args());
        let plan = budget.plan(&*array, &[&compare])?;
        let terms = budget.terms(&plan, &*array, &[&compare], self.stop);
        let left_out: BTreeSet<u64> = (0..plan.n_units()).filter(|unit| !self.sample.has(*unit)).collect();
        let mut consumers: [Box<dyn crate::consume::Consumer>; 1] = [Box::new(Only::new(Box::new(compare), left_out))];
        let mut progress = Progress::new(size_bytes(&array.shape(), array.dtype()), self.args.quiet);
        run::run(&array, &plan, &mut consumers, &Job::default(), &terms, |bytes| progress.add(bytes))?;
        progress.finish();
        let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        self.take(&inputs, found);
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
        let axes = self.array.axes();
        let at: Map<String, Value> =
            axes.iter().zip(&difference.at).map(|(axis, n)| (axis.name.clone(), json!(n))).collect();
        let (file, page) = self.stack.origin(&self.array.original(&difference.at)).unzip();
        let text = |bytes: &[u8]| element(self.array.dtype(), bytes);
        json!({
            "at": at,
            "file": file.map(|file| file.display().to_string()),
            "page": page,
            "input": text(&difference.shown),
            "output": text(&difference.found),
        })
    }
}

/// The same in words.
fn line(told: &Value) -> String {
    let words =
        |at: &Map<String, Value>| at.iter().map(|(axis, n)| format!("{axis}={n}")).collect::<Vec<_>>().join(" ");
    let at = told["at"].as_object().map(words).unwrap_or_default();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let origin = match told["file"].as_str() {
        Some(file) => format!("{file} page {}", told["page"]),
        None => "no file, so the fill value,".to_owned(),
    };
    format!("{at}: {origin} has {}, the output {}", text("input"), text("output"))
}
