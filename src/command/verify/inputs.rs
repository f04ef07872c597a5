//! The inputs of an output as its provenance tells of them, opened once more, and what its command makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::Verified;
use crate::array::{Array, Held, select};
use crate::bytes::{self, Seen, Watch};
use crate::cli::{CalcArgs, Command, DecomposeArgs, Flags, InputArgs, NameArgs, PairwiseArgs, ReduceArgs, StitchArgs};
use crate::command::calculated::{Calculated, calculated};
use crate::command::pairwise::Pairs;
use crate::command::reduce::Folded;
use crate::command::resources::Resources;
use crate::command::{calc, decompose, plan, reduce, resolve, stitch, way};
use crate::error::{Error, Result};
use crate::open::{Opened, Request};
use crate::provenance::Input;
use crate::reduce::Reducer;
use crate::sink::Spec;
use crate::stack::Stack;

/// Inputs that are named in a message.
const MOST_NAMED: usize = 5;

/// What was written, as its inputs make it now.
pub(super) struct Reopened {
    /// The array, or the one that is reduced.
    pub(super) array: Arc<dyn Array>,
    /// How it is reduced, if it is.
    pub(super) reducer: Option<Arc<Reducer>>,
    /// The files, if elements are theirs.
    pub(super) origin: Option<Arc<Stack>>,
    /// Shape of what the files store as one piece.
    pub(super) unit: Vec<u64>,
    /// Inputs whose size or time of change is another.
    pub(super) changed: Vec<PathBuf>,
    /// What keeps reductions on the way.
    _calculated: Option<Calculated>,
}

impl Reopened {
    fn new(array: Arc<dyn Array>, calculated: Option<Calculated>) -> Self {
        let (unit, changed) = (Vec::new(), Vec::new());
        Self { array, reducer: None, origin: None, unit, changed, _calculated: calculated }
    }

    /// What it is as an output.
    pub(super) fn spec(&self) -> Spec {
        let own = Spec::of(&*self.array);
        match self.reducer.as_ref().map(|reducer| &reducer.outputs()[0]) {
            Some(output) => {
                Spec { axes: output.axes.clone(), dtype: output.dtype, fill: vec![0; output.dtype.size()], ..own }
            }
            None => own,
        }
    }
}

impl Verified<'_> {
    /// Opens the inputs.
    ///
    /// # Errors
    /// `Usage` if it is not recorded how it was made; `Format` if some inputs are not there.
    pub(super) fn reopen(&self) -> Result<Reopened> {
        let recorded = self.inputs()?;
        if recorded.is_empty() {
            return Err(self.unknown("it is not recorded of which files it was made"));
        }
        let folder = std::path::absolute(self.place()).map_err(|e| Error::io(self.place(), "cannot find", e))?;
        let folder = folder.parent().map(Path::to_owned).unwrap_or_default();
        let paths: Vec<PathBuf> = recorded.iter().map(|input| place_in(&folder, &input.path)).collect();
        let gone: Vec<PathBuf> =
            paths.iter().filter(|path| !bytes::is_remote(path) && !path.exists()).cloned().collect();
        if !gone.is_empty() {
            return Err(Error::format(format!(
                "inputs that are not there:{}\nput them back, or check without --deep what was recorded of the output",
                named(&gone)
            )));
        }
        let mut changed = Vec::new();
        for (input, path) in recorded.iter().zip(&paths).filter(|(_, path)| !path.is_dir()) {
            let now = Seen::of(path)?;
            if (now.bytes, now.modified_unix_s) != (input.bytes, input.modified_unix_s) {
                changed.push(path.clone());
            }
        }
        let is_stacked = self.own["names"].is_object() && self.own["computed"].is_null() && self.own["flip"].is_null();
        let made = if is_stacked { self.stacked(&paths)? } else { self.made(&paths)? };
        Ok(Reopened { changed, ..made })
    }

    /// Says that pixels cannot be compared.
    fn unknown(&self, why: &str) -> Error {
        Error::usage(format!("{}: {why}: only its objects can be checked", self.place().display()))
    }

    /// The files as one array, or what was chosen of it.
    fn stacked(&self, paths: &[PathBuf]) -> Result<Reopened> {
        let stack = self.stack(paths)?;
        let unit = if self.own["select"].is_null() { stack.layout().unit().to_vec() } else { Vec::new() };
        let stack = Arc::new(stack);
        let array = match self.own["select"].as_str() {
            Some(text) => select(Arc::clone(&stack) as _, text)?,
            None => Arc::clone(&stack) as _,
        };
        Ok(Reopened { origin: Some(stack), unit, ..Reopened::new(array, None) })
    }

    /// What the command that is recorded makes of the files.
    fn made(&self, paths: &[PathBuf]) -> Result<Reopened> {
        let words: Vec<String> = serde_json::from_value(self.own["command"].clone()).unwrap_or_default();
        if words.iter().any(|word| word.starts_with("--reader")) {
            return Err(
                self.unknown("a program of yours has read its inputs, which is not run for a file that says so")
            );
        }
        let command = words.get(1..).filter(|_| words.len() < resolve::MOST_WORDS);
        match command.and_then(|words| plan::parsed(words).ok()) {
            Some(Command::Stitch(Flags(args)) | Command::Convert(Flags(args))) => self.calculated(*args, paths),
            Some(Command::Reduce(Flags(args))) => self.reduced(*args, paths),
            Some(Command::Calc(Flags(args))) => self.expressed(*args, paths),
            Some(Command::Pairwise(Flags(args))) => self.paired(*args, paths),
            Some(Command::Decompose(Flags(args))) => self.decomposed(*args, paths),
            _ => Err(self.unknown("it is not recorded in full how it was made")),
        }
    }

    fn calculated(&self, mut args: StitchArgs, paths: &[PathBuf]) -> Result<Reopened> {
        args.run = self.run_args();
        let stack = Arc::new(self.stack(paths)?);
        let unit = if args.select.is_some() { Vec::new() } else { stack.layout().unit().to_vec() };
        let part = stitch::chosen(&args, stack)?;
        let (array, made) = stitch::made(&args, part, &Watch::unseen(paths.to_vec()), self.place(), self.stop)?;
        let unit = Some(unit).filter(|unit| unit.len() == array.axes().len()).unwrap_or_default();
        Ok(Reopened { unit, ..Reopened::new(array, made) })
    }

    fn reduced(&self, mut args: ReduceArgs, paths: &[PathBuf]) -> Result<Reopened> {
        (args.run, args.input) = (self.run_args(), of_files(&args.input, paths));
        self.own["operator"].as_str().unwrap_or_default().clone_into(&mut args.op);
        let Opened { stack, is_single, .. } = self.opened(reduce::request(&args)?)?;
        let Folded { array, reducer, calculated, .. } =
            reduce::folded(&args, stack, is_single, self.place(), self.stop)?;
        Ok(Reopened { reducer: Some(reducer), ..Reopened::new(array, calculated) })
    }

    fn expressed(&self, mut args: CalcArgs, paths: &[PathBuf]) -> Result<Reopened> {
        args.run = self.run_args();
        let (mut rest, mut inputs) = (paths.iter(), Vec::new());
        for (name, _) in calc::requests(&args)? {
            let n = self.own["operands"][&name]["n_inputs"].as_u64().unwrap_or(0) as usize;
            inputs.extend(rest.by_ref().take(n).map(|path| format!("{name}={}", path.display())));
        }
        args.input = InputArgs { inputs, ..of_files(&args.input, &[]) };
        let array = |(name, request)| Ok((name, chosen(&request, &args.names, &[])?));
        let arrays = calc::requests(&args)?.into_iter().map(array).collect::<Result<Vec<_>>>()?;
        let how = args.values.output()?;
        let made = calculated(
            &args.expression,
            &arrays,
            &Watch::unseen(paths.to_vec()),
            self.place(),
            &how,
            &args.run,
            self.stop,
        )?;
        Ok(Reopened::new(Arc::clone(&made.array), Some(made)))
    }

    fn paired(&self, mut args: PairwiseArgs, paths: &[PathBuf]) -> Result<Reopened> {
        args.run = self.run_args();
        let n = self.own["n_inputs"].as_u64().unwrap_or(0) as usize;
        let (first, second) = paths.split_at_checked(n).ok_or_else(|| self.unknown("it is not recorded in full"))?;
        let array = |paths| self.array(&args.input, &args.names, args.select.as_slice(), paths);
        let (a, b) = (array(first)?, args.with.as_ref().map(|_| array(second)).transpose()?);
        let pairs = Pairs::new(&args, &a, b.as_ref())?;
        let block = pairs.measured(&mut way(None, &Value::Null, &args.run, self.stop, None)?, |_| {})?;
        Ok(Reopened::new(Arc::new(Held::new(pairs.axes, block)), None))
    }

    fn decomposed(&self, mut args: DecomposeArgs, paths: &[PathBuf]) -> Result<Reopened> {
        args.run = self.run_args();
        let array = self.array(&args.input, &args.names, args.select.as_slice(), paths)?;
        let (budget, mut way) = (Resources::new(&args.run), way(None, &Value::Null, &args.run, self.stop, None)?);
        let made = decompose::made(&args, &array, &budget, &mut way, |_| {})?;
        let denoised = if self.own["denoised"] == true { made.denoised() } else { None };
        Ok(Reopened::new(denoised.unwrap_or(made.components), None))
    }

    /// What is `selected` of the one array that `paths` make, read as `input` were.
    fn array(
        &self,
        input: &InputArgs,
        names: &NameArgs,
        selected: &[String],
        paths: &[PathBuf],
    ) -> Result<Arc<dyn Array>> {
        let mut request = resolve::request(&of_files(input, paths), names, self.args.memory, self.args.threads)?;
        request.stored_order = true;
        request.select = selected.first().cloned();
        chosen(&request, names, selected)
    }

    fn stack(&self, paths: &[PathBuf]) -> Result<Stack> {
        let names: NameArgs = serde_json::from_value(self.own["names"].clone()).map_err(Error::format)?;
        let is_set = |key: &str| self.own[key] == true;
        let input = InputArgs {
            skip_bad: is_set("skip_bad"),
            follow: is_set("follow"),
            ..of_files(&InputArgs::default(), paths)
        };
        let mut request = resolve::request(&input, &names, self.args.memory, self.args.threads)?;
        request.by = self.own["by"].get(0).and_then(Value::as_str).map(str::to_owned);
        request.select = self.own["select"].as_str().map(str::to_owned);
        Ok(self.opened(request)?.stack)
    }

    /// The one array that is asked for, with the positions that files of other arrays had.
    fn opened(&self, mut request: Request) -> Result<Opened> {
        let elsewhere = Some(&self.own["elsewhere"]).filter(|list| list.is_array());
        let elsewhere =
            elsewhere.map(|list| serde_json::from_value(list.clone()).map_err(Error::format)).transpose()?;
        request.names.infer.arrange.elsewhere = elsewhere.unwrap_or_default();
        request.open()
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

/// Files as inputs, read as `input` were.
fn of_files(input: &InputArgs, paths: &[PathBuf]) -> InputArgs {
    let inputs = paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    InputArgs { inputs, skip_bad: input.skip_bad, follow: input.follow, ..InputArgs::default() }
}

/// What is `selected` of the one array that is asked for.
fn chosen(request: &Request, names: &NameArgs, selected: &[String]) -> Result<Arc<dyn Array>> {
    let Opened { stack, is_single, .. } = request.open()?;
    let chosen = resolve::own_axes(&stack, is_single, names, selected);
    select(Arc::new(stack), &chosen)
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
