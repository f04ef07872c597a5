//! What was found out of inputs for a plan, written down so that the processes that go by it list no folder, and look at and
//! open no file but those whose pixels they read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OpenOptions;
use super::headers::Headers;
use super::packed::runs;
use super::scan::{self, Found, Inputs};
use crate::bytes::Watch;
use crate::error::{Error, Result};

/// Inputs by what was asked for; all copies are one.
#[derive(Clone, Debug, Default)]
pub struct KnownInputs(Arc<Mutex<Answers>>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answers {
    found: BTreeMap<String, Found>,
    states: BTreeMap<String, States>,
    headers: BTreeMap<String, Headers>,
}

/// [`Watch::sums`] and [`Watch::fingerprint`].
#[derive(Debug, Serialize, Deserialize)]
struct States {
    #[serde(with = "runs")]
    sums: Vec<u64>,
    fingerprint: Map<String, Value>,
}

impl KnownInputs {
    /// The files that `inputs` name, or named when it was asked first.
    ///
    /// # Errors
    /// As [`scan::scan`].
    pub fn found(&self, inputs: &Inputs) -> Result<Found> {
        let asked = format!("{inputs:?}");
        if let Some(found) = self.lock().found.get(&asked) {
            return Ok(found.clone());
        }
        let found = scan::scan(inputs)?;
        self.lock().found.insert(asked, found.clone());
        Ok(found)
    }

    /// The same files, which are to be what they were; `watch` itself if nothing is known of them.
    pub fn as_before(&self, watch: Watch) -> Option<Watch> {
        let all = self.lock();
        let States { sums, fingerprint } = all.states.get(&key(watch.paths(), &OpenOptions::default()))?;
        Some(watch.to_be(sums.clone(), fingerprint.clone()))
    }

    /// Keeps what was seen of files.
    ///
    /// # Errors
    /// `Io` if nobody has looked at them, and one cannot be.
    pub fn keep_states(&self, watch: &Watch) -> Result<()> {
        let states = States { sums: watch.sums(), fingerprint: watch.fingerprint()? };
        self.lock().states.insert(key(watch.paths(), &OpenOptions::default()), states);
        Ok(())
    }

    /// What the headers of `paths` said.
    pub fn find(&self, paths: &[PathBuf], options: &OpenOptions) -> Option<Headers> {
        self.lock().headers.get(&key(paths, options)).map(|headers| headers.only(|_| true))
    }

    /// Keeps what the headers of `paths` say, unless some cannot be read.
    pub fn keep(&self, paths: &[PathBuf], options: &OpenOptions, headers: &Headers) {
        if headers.broken.is_empty() {
            self.lock().headers.insert(key(paths, options), headers.only(|_| true));
        }
    }

    /// As it is written down: `Null` if it would not be the same again.
    pub fn to_json(&self) -> Value {
        let all = serde_json::to_value(&*self.lock()).unwrap_or_default();
        let same = serde_json::from_value::<Answers>(all.clone());
        let is_same = same.is_ok_and(|same| serde_json::to_value(same).is_ok_and(|same| same == all));
        if is_same { bits(all) } else { Value::Null }
    }

    /// As it was written down; nothing is known if it was not.
    ///
    /// # Errors
    /// `Format` if it is something else.
    pub fn from_json(value: Value) -> Result<Self> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let all = serde_json::from_value(floats(value)).map_err(|e| {
            Error::format(format!("what the plan knows of its inputs cannot be read: {e}: plan anew with --restart"))
        })?;
        Ok(Self(Arc::new(Mutex::new(all))))
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells files and how they are understood from others.
fn key(paths: &[PathBuf], options: &OpenOptions) -> String {
    let mut text = format!("{:?}", OpenOptions { limit_bytes: None, ..options.clone() }).into_bytes();
    for path in paths.iter().map(PathBuf::as_path).map(Path::as_os_str) {
        text.push(0);
        text.extend(path.as_encoded_bytes());
    }
    format!("{} files, {:08x}", paths.len(), crc32c::crc32c(&text))
}

/// Begins a number that is written as its bits: digits come back as a neighbour of what they were.
const BITS: &str = "\u{0}f64:";

fn bits(value: Value) -> Value {
    each(value, &|value| match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) => Value::String(format!("{BITS}{:016x}", number.to_bits())),
        None => value,
    })
}

fn floats(value: Value) -> Value {
    each(value, &|value| {
        let bits = value.as_str().and_then(|text| u64::from_str_radix(text.strip_prefix(BITS)?, 16).ok());
        bits.map_or(value, |bits| f64::from_bits(bits).into())
    })
}

/// The same with `f` of each value that holds no others.
fn each(value: Value, f: &impl Fn(Value) -> Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(|value| each(value, f)).collect(),
        Value::Object(all) => Value::Object(all.into_iter().map(|(key, value)| (key, each(value, f))).collect()),
        other => f(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_are_not_looked_for_again() {
        let known = KnownInputs::default();
        let names = |all: &[&str]| Found { paths: all.iter().map(PathBuf::from).collect(), n_left_out: 3 };
        let keep = |all: &[&str]| known.lock().found.insert(format!("{:?}", Inputs::from("raw")), names(all));
        let all = ["raw/a µ1.tif", "raw/a é2.tif", "raw/a", "raw/a 12", "raw/a 12.tif", "b"];
        keep(&all);
        let again = KnownInputs::from_json(known.to_json()).unwrap();
        assert_eq!(again.found(&"raw".into()).unwrap(), names(&all));
        assert!(again.found(&"other".into()).is_err(), "what was not asked for is looked for");
        keep(&["raw/two\nlines.tif"]);
        assert!(known.to_json().is_null(), "a name that is no line");
    }

    #[test]
    fn numbers_are_the_same_to_the_bit() {
        let all = serde_json::json!({"step": 0.1 + 0.2, "n": 3, "of": [1e-300, -0.0], "name": "f64:7"});
        let text = bits(all.clone()).to_string();
        assert_eq!(floats(serde_json::from_str(&text).unwrap()), all);
    }
}
