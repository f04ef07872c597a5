//! The inputs of an output as its provenance tells of them, opened once more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::Verified;
use crate::array::{self, Array};
use crate::bytes;
use crate::cli::{InputArgs, NameArgs};
use crate::command::resolve;
use crate::error::{Error, Result};
use crate::open::inputs::state;
use crate::provenance::Input;
use crate::stack::Stack;

/// Inputs that are named in a message.
const MOST_NAMED: usize = 5;

/// The array that was written, as its inputs have it now.
pub(super) struct Reopened {
    pub(super) array: Arc<dyn Array>,
    pub(super) stack: Arc<Stack>,
    /// Shape of what the files store as one piece.
    pub(super) unit: Vec<u64>,
    /// Inputs whose size or time of change is another.
    pub(super) changed: Vec<PathBuf>,
}

impl Verified<'_> {
    /// Opens the inputs.
    ///
    /// # Errors
    /// `Usage` if none are recorded; `Format` if some are not there.
    pub(super) fn reopen(&self) -> Result<Reopened> {
        let names = self.own.get("names").filter(|names| names.is_object());
        let names = names.ok_or_else(|| {
            Error::usage(format!(
                "{}: it is not recorded from which files it was stitched: only its objects can be checked",
                self.place().display()
            ))
        })?;
        if let Some(flag) = ["computed", "flip"].iter().find(|key| !self.own[**key].is_null()) {
            let flag = if *flag == "flip" { "--flip" } else { "--calc, --dtype or --scale" };
            return Err(Error::usage(format!(
                "{}: it holds what {flag} made of the inputs: only its objects can be checked",
                self.place().display()
            )));
        }
        let names: NameArgs = serde_json::from_value(names.clone()).map_err(Error::format)?;
        let recorded = self.inputs()?;
        let folder = std::path::absolute(self.place()).map_err(|e| Error::io(self.place(), "cannot find", e))?;
        let folder = folder.parent().map(Path::to_owned).unwrap_or_default();
        let paths: Vec<PathBuf> = recorded.iter().map(|input| place_in(&folder, &input.path)).collect();
        let gone: Vec<PathBuf> =
            paths.iter().filter(|path| !bytes::is_remote(path) && !path.exists()).cloned().collect();
        if !gone.is_empty() {
            return Err(Error::format(format!("inputs that are not there:{}", named(&gone))));
        }
        let is_other = |(input, path): &(&Input, &PathBuf)| {
            let now = state(path);
            !path.is_dir() && (now.bytes, now.modified_unix_s) != (input.bytes, input.modified_unix_s)
        };
        let changed = recorded.iter().zip(&paths).filter(is_other).map(|(_, path)| path.clone()).collect();
        let stack = self.stack(&names, &paths)?;
        let unit = stack.layout().unit().to_vec();
        let stack = Arc::new(stack);
        let select = self.own["select"].as_str();
        let array = match select {
            Some(text) => array::select(Arc::clone(&stack) as _, text)?,
            None => Arc::clone(&stack) as _,
        };
        let unit = if select.is_some() { Vec::new() } else { unit };
        Ok(Reopened { array, stack, unit, changed })
    }

    fn stack(&self, names: &NameArgs, paths: &[PathBuf]) -> Result<Stack> {
        let inputs = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let is_set = |key: &str| self.own[key] == true;
        let input =
            InputArgs { inputs, skip_bad: is_set("skip_bad"), follow: is_set("follow"), ..InputArgs::default() };
        let mut request = resolve::request(&input, names, self.args.memory, self.args.threads)?;
        let by = |i: usize| self.own["by"].get(i).and_then(Value::as_str).map(str::to_owned);
        request.by = by(0);
        let wanted = by(1);
        let survey = request.survey(&mut |_, _| {})?.into_iter().find(|survey| survey.value == wanted);
        Ok(survey.ok_or_else(|| Error::format("the inputs make another array now"))?.open(&request)?.stack)
    }

    /// The inputs that are recorded.
    fn inputs(&self) -> Result<Vec<Input>> {
        let list = match (self.own.get("inputs"), self.own["inputs_file"].as_str()) {
            (Some(list), _) => list.clone(),
            (None, Some(key)) => {
                let path = self.place().join(key);
                let text = std::fs::read(&path).map_err(|e| Error::io(&path, "cannot read", e))?;
                serde_json::from_slice(&text).map_err(Error::format)?
            }
            (None, None) => Value::Array(Vec::new()),
        };
        serde_json::from_value(list).map_err(Error::format)
    }
}

/// Where an input is that is recorded as seen from `folder`.
fn place_in(folder: &Path, input: &str) -> PathBuf {
    if bytes::is_remote(Path::new(input)) { PathBuf::from(input) } else { folder.join(input) }
}

/// A line for each of the first few.
pub(super) fn named(paths: &[PathBuf]) -> String {
    let mut text: String = paths.iter().take(MOST_NAMED).map(|path| format!("\n  {}", path.display())).collect();
    if paths.len() > MOST_NAMED {
        text += &format!("\n  and {} more", paths.len() - MOST_NAMED);
    }
    text
}
