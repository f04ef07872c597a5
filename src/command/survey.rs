//! What the files of a command are, found out from names and headers alone. `inspect` shows it; the other
//! commands check it and make a stack of it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::progress::HeaderProgress;
use super::{calibration, presets};
use crate::array::Array;
use crate::cli::{InputArgs, Missing, NameArgs, RunArgs};
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit};
use crate::layout::{Layout, LayoutOptions};
use crate::pattern::{self, Arrangement, FaultKind, InferOptions, Inferred, Pattern, TileOrder};
use crate::report::count;
use crate::source::headers::{Headers, name_of};
use crate::source::{Info, OpenOptions, Set, scan};
use crate::stack::Stack;

/// How a survey goes about reading headers.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Whether it says how far it is.
    pub(super) quiet: bool,
    /// Memory that the run may use, as it was asked for.
    pub(super) memory: Option<Bytes>,
}

impl Manner {
    /// Most that the index and the descriptions of one file may hold, in bytes: all readers together half of
    /// what there is.
    fn limit_bytes(self) -> u64 {
        Limit::resolve(self.memory).bytes / 2 / rayon::current_num_threads().max(1) as u64
    }
}

impl From<&RunArgs> for Manner {
    fn from(run: &RunArgs) -> Self {
        Self { quiet: run.quiet, memory: run.memory }
    }
}

/// What names and headers say.
pub(super) struct Survey {
    pub(super) paths: Vec<PathBuf>,
    pub(super) n_left_out: u64,
    pub(super) headers: Headers,
    pub(super) naming: Naming,
    options: OpenOptions,
}

/// How the files find their places.
pub(super) enum Naming {
    /// One file, which is the array.
    Single,
    /// The files describe themselves.
    Set {
        set: Arc<Set>,
        /// For every member of the set, the file, if it is there.
        members: Vec<Option<u32>>,
    },
    /// By their names, but nobody knows how; the reason.
    Unknown(Error),
    /// By their names.
    Names {
        pattern: Box<Pattern>,
        arrangement: Box<Arrangement>,
        names: Vec<String>,
        /// Why this pattern, if nobody gave it.
        why: Vec<String>,
        from: Origin,
    },
}

/// Who gave the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line.
    Given,
    /// A preset of this name, given or found to fit.
    Preset(String),
    /// It was found in the names.
    Inferred,
}

/// How names are to be read, from flags.
struct Reading {
    pattern: Option<Pattern>,
    from: Origin,
    why: Vec<String>,
    infer: InferOptions,
}

impl Reading {
    fn new(names: &NameArgs) -> Result<Self> {
        let own = presets::own(names.config.as_deref())?;
        let mut infer = InferOptions { presets: own, ..InferOptions::default() };
        for text in &names.layout {
            infer.arrange.layout.push(TileOrder::parse(text).map_err(|e| e.at("--layout"))?);
        }
        let mut from = Origin::Given;
        let pattern = match (&names.pattern, &names.regex, &names.preset) {
            (Some(text), ..) => Some(Pattern::parse(text)?),
            (_, Some(text), _) => Some(Pattern::regex(text)?),
            (.., Some(name)) => {
                let preset = presets::named(name, &infer.presets)?;
                infer.arrange.layout.extend(preset.layout()?);
                from = Origin::Preset(name.clone());
                Some(preset.pattern()?)
            }
            _ => None,
        };
        Ok(Self { pattern, from, why: Vec::new(), infer })
    }

    /// Reads all names by a pattern found in them.
    fn take(&mut self, found: Inferred) -> Result<()> {
        if let Some(name) = &found.preset {
            let layout = presets::named(name, &self.infer.presets)?.layout()?;
            self.infer.arrange.layout.extend(layout);
        }
        self.from = found.preset.map_or(Origin::Inferred, Origin::Preset);
        self.pattern = Some(found.pattern);
        self.why = found.why;
        Ok(())
    }
}

fn list(input: &InputArgs) -> Result<scan::Found> {
    let request = scan::Request {
        inputs: input.inputs.clone(),
        files_from: input.files_from.clone(),
        include: input.include.clone(),
        exclude: input.exclude.clone(),
    };
    Ok(scan::scan(&request)?)
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|p| p.to_string_lossy().into_owned()).collect()
}

impl Survey {
    /// Lists the files, reads their headers and arranges their names. Says how far it is, unless quiet.
    pub(super) fn new(input: &InputArgs, names: &NameArgs, manner: Manner) -> Result<Self> {
        let found = list(input)?;
        let reading = Reading::new(names)?;
        let survey = Self::headers(found.paths, found.n_left_out, names, manner);
        match reading.pattern {
            Some(_) => survey.by_names(&reading),
            None if survey.set().is_some_and(|set| survey.paths.len() > 1 || !set.elsewhere) => survey.by_set(),
            None if survey.paths.len() == 1 => Ok(survey),
            None => survey.by_names(&reading),
        }
    }

    /// As [`Survey::new`] for one array after the other: files divided by the value of a field, which is
    /// then no axis.
    pub(super) fn divided(
        input: &InputArgs,
        names: &NameArgs,
        field: &str,
        names_only: bool,
        manner: Manner,
    ) -> Result<Vec<(String, Self)>> {
        let found = list(input)?;
        let mut reading = Reading::new(names)?;
        let texts = texts(&found.paths);
        if reading.pattern.is_none() {
            let inferred = pattern::infer(&texts, &reading.infer)?;
            reading.take(inferred)?;
        }
        let Some(pattern) = &reading.pattern else { return Ok(Vec::new()) };
        let split = pattern::split(pattern, &texts, field)?;
        if !split.unmatched.is_empty() {
            let first = &texts[split.unmatched[0] as usize];
            let n = count(split.unmatched.len() as u64, "name");
            let what = format!("{n} cannot be divided by '{field}', since '{pattern}' does not match, such as {first}");
            return Err(Error::Format(format!("{what}\n  leave them out with --exclude")).into());
        }
        reading.infer.arrange.drop.push(field.to_owned());
        let mut surveys = Vec::new();
        for (label, files) in split.groups {
            let paths: Vec<PathBuf> = files.iter().map(|i| found.paths[*i as usize].clone()).collect();
            let survey = if names_only { Self::bare(paths, names) } else { Self::headers(paths, 0, names, manner) };
            surveys.push((label, survey.by_names(&reading)?));
        }
        Ok(surveys)
    }

    /// As [`Survey::new`], but from names alone: no file is opened.
    pub(super) fn of_names(input: &InputArgs, names: &NameArgs) -> Result<Self> {
        let found = list(input)?;
        let mut survey = Self::bare(found.paths, names);
        survey.n_left_out = found.n_left_out;
        survey.by_names(&Reading::new(names)?)
    }

    fn bare(paths: Vec<PathBuf>, names: &NameArgs) -> Self {
        let options = OpenOptions {
            series: names.series,
            level: names.level,
            pages: names.pages.clone(),
            ..OpenOptions::default()
        };
        Self { paths, n_left_out: 0, headers: Headers::default(), naming: Naming::Single, options }
    }

    fn headers(paths: Vec<PathBuf>, n_left_out: u64, names: &NameArgs, manner: Manner) -> Self {
        let mut survey = Self::bare(paths, names);
        survey.options.limit_bytes = Some(manner.limit_bytes());
        let mut progress = HeaderProgress::new(survey.paths.len(), manner.quiet);
        survey.headers = Headers::read_with(&survey.paths, &survey.options, |n| progress.reach(n));
        survey.n_left_out = n_left_out;
        survey
    }

    /// The data set that every readable file says it belongs to.
    fn set(&self) -> Option<&Set> {
        let first = self.headers.kinds.first()?.info.set.as_ref()?;
        let alike = |kind: &crate::source::headers::Kind| kind.info.set.as_ref().is_some_and(|s| s.id == first.id);
        self.headers.kinds.iter().all(alike).then_some(first)
    }

    fn by_set(mut self) -> Result<Self> {
        let Some(kind) = self.headers.kinds.iter().find(|k| k.info.set.is_some()) else { return Ok(self) };
        let Some(set) = kind.info.set.clone() else { return Ok(self) };
        let folder = self.paths[kind.first as usize].parent().map(PathBuf::from).unwrap_or_default();
        let mut paths = Vec::new();
        let mut members = Vec::new();
        for name in &set.files {
            let path = folder.join(name);
            if path.exists() {
                members.push(Some(paths.len() as u32));
                paths.push(path);
            } else {
                members.push(None);
            }
        }
        self.options.as_pages = true;
        self.headers = Headers::read(&paths, &self.options);
        self.paths = paths;
        self.naming = Naming::Set { set, members };
        Ok(self)
    }

    /// A pattern that was given must match; one that cannot be found is a fault to be told of.
    fn by_names(mut self, reading: &Reading) -> Result<Self> {
        let names = texts(&self.paths);
        self.naming = match &reading.pattern {
            Some(pattern) => {
                let arrangement = pattern::arrange(pattern, &names, &reading.infer.arrange)?;
                let (pattern, why) = (Box::new(pattern.clone()), reading.why.clone());
                Naming::Names { pattern, arrangement: Box::new(arrangement), names, why, from: reading.from.clone() }
            }
            None => match pattern::infer(&names, &reading.infer) {
                Ok(found) => Naming::Names {
                    pattern: Box::new(found.pattern),
                    arrangement: Box::new(found.arrangement),
                    names,
                    why: found.why,
                    from: found.preset.map_or(Origin::Inferred, Origin::Preset),
                },
                Err(reason) => Naming::Unknown(reason),
            },
        };
        Ok(self)
    }

    /// Refuses whatever would put a wrong pixel or none into the array.
    ///
    /// # Errors
    /// The first of: files that cannot be read, names that do not fit, holes that are not allowed.
    fn check(&mut self, missing: Missing) -> Result<()> {
        self.headers.check(&self.paths)?;
        match &self.naming {
            Naming::Single => {}
            Naming::Unknown(reason) => return Err(Error::Usage(reason.to_string()).into()),
            Naming::Set { set, members, .. } => {
                let absent: Vec<&str> =
                    set.files.iter().zip(members).filter(|(_, m)| m.is_none()).map(|(f, _)| f.as_str()).collect();
                if missing == Missing::Error && !absent.is_empty() {
                    let and = if absent.len() > 5 { format!(" and {} more", absent.len() - 5) } else { String::new() };
                    return Err(Error::Format(format!(
                        "{} of {} files of the data set are not there: {}{and}; bring them, or fill their planes with \
                         --missing fill",
                        absent.len(),
                        set.files.len(),
                        absent[..absent.len().min(5)].join(", ")
                    ))
                    .into());
                }
            }
            Naming::Names { arrangement, names, .. } => {
                let allowed = |kind| kind == FaultKind::Missing && missing != Missing::Error;
                let faults = arrangement.faults(names).into_iter().filter(|f| !allowed(f.kind));
                let faults: Vec<String> = faults
                    .map(|fault| match fault.kind {
                        FaultKind::Missing => format!("{}\n  bring them, or fill them with --missing fill", fault.text),
                        FaultKind::Unmatched => format!("{}\n  leave them out with --exclude", fault.text),
                        _ => fault.text,
                    })
                    .collect();
                if !faults.is_empty() {
                    return Err(Error::Format(faults.join("\n")).into());
                }
            }
        }
        Ok(())
    }

    /// Where every file lies.
    pub(super) fn layout(&self, names: &NameArgs) -> crate::error::Result<Layout> {
        let cells = match &self.naming {
            Naming::Names { arrangement, .. } => arrangement.cells.as_slice(),
            _ => &[(0, 0)],
        };
        self.layout_of(cells, &self.headers, names)
    }

    fn layout_of(&self, cells: &[(u64, u32)], headers: &Headers, names: &NameArgs) -> crate::error::Result<Layout> {
        let options = LayoutOptions {
            axes: names.axes.clone(),
            calibrations: calibration::from_flags(&names.voxel_size, names.time_step.as_deref())?,
            labels: names.channel_names.iter().map(|l| ("c".to_string(), l.clone())).collect(),
        };
        match &self.naming {
            Naming::Unknown(reason) => Err(Error::Usage(reason.to_string())),
            Naming::Single => Layout::arranged(&[], cells, headers, &self.paths, &options),
            Naming::Set { set, members } => Layout::of_set(set, members, headers, &self.paths, &options),
            Naming::Names { arrangement, .. } => {
                Layout::arranged(&arrangement.axes, cells, headers, &self.paths, &options)
            }
        }
    }

    /// The array as it would be without the files that stand in its way: of files at one position the first
    /// is taken; unreadable ones, those whose names do not match, and those unlike most are left out.
    ///
    /// Gives the stack, and the readable files at its positions that it leaves out because they are
    /// unlike most.
    ///
    /// # Errors
    /// Why there is no array even so.
    pub(super) fn fitting(&self, names: &NameArgs) -> crate::error::Result<(Stack, Vec<u32>)> {
        let mut cells: Vec<(u64, u32)> = match &self.naming {
            Naming::Names { arrangement, .. } => arrangement.cells.clone(),
            _ => (0..self.paths.len() as u32).map(|file| (0, file)).collect(),
        };
        let by_names = matches!(self.naming, Naming::Names { .. });
        if by_names {
            cells.dedup_by_key(|c| c.0);
        }
        cells.retain(|c| self.headers.info(c.1).is_some());
        let mut placed = vec![false; self.paths.len()];
        cells.iter().for_each(|c| placed[c.1 as usize] = true);
        let mut headers = self.headers.only(|file| placed[file as usize]);
        let mut odd = Vec::new();
        let layout = match self.layout_of(&cells, &headers, names) {
            Err(Error::Format(_)) if headers.kinds.len() > 1 && by_names => {
                let main = headers.main_kind().map(|k| k.info.clone());
                let alike =
                    |info: &Info| main.as_ref().is_some_and(|m| m.shape() == info.shape() && m.dtype == info.dtype);
                cells.retain(|c| {
                    let fits = headers.info(c.1).is_some_and(alike);
                    if !fits {
                        odd.push(c.1);
                        placed[c.1 as usize] = false;
                    }
                    fits
                });
                headers = headers.only(|file| placed[file as usize]);
                self.layout_of(&cells, &headers, names)?
            }
            other => other?,
        };
        let fill = fill(names, &layout)?;
        Ok((Stack::new(layout, headers, self.paths.clone(), self.options.clone(), fill), odd))
    }

    /// The array that the files make, after all checks.
    ///
    /// # Errors
    /// As [`Survey::check`] and [`Survey::layout`]; `Usage` if the fill value does not fit the dtype.
    pub(super) fn into_stack(mut self, names: &NameArgs) -> Result<Stack> {
        self.check(names.missing)?;
        let layout = self.layout(names)?;
        let fill = fill(names, &layout)?;
        Ok(Stack::new(layout, self.headers, self.paths, self.options, fill))
    }

    /// Says on standard error what a user should know before a run: the pattern, unless it was given, and what
    /// was assumed.
    pub(super) fn tell(&self, quiet: bool) {
        let Naming::Names { pattern, arrangement, why, from, .. } = &self.naming else { return };
        if quiet {
            return;
        }
        if *from != Origin::Given {
            eprintln!("pattern '{pattern}'");
            why.iter().for_each(|why| eprintln!("  {why}"));
        }
        arrangement.notes.iter().for_each(|note| eprintln!("note: {note}"));
    }

    /// What is to be kept with an output: how the names were read.
    pub(super) fn pattern(&self) -> Option<String> {
        match &self.naming {
            Naming::Names { pattern, .. } => Some(pattern.to_string()),
            _ => None,
        }
    }
}

fn fill(names: &NameArgs, layout: &Layout) -> crate::error::Result<Vec<u8>> {
    let dtype = layout.dtype();
    match &names.fill_value {
        Some(text) => dtype.parse_element(text).map_err(|e| e.at("--fill-value")),
        None => Ok(vec![0; dtype.size()]),
    }
}

/// Origin of an output: program, command line, pattern and input files with size and time.
pub(super) fn provenance(stack: &Stack, pattern: Option<&str>) -> serde_json::Value {
    /// More inputs than this are counted, not listed: the list would outweigh the array's metadata.
    const LISTED: usize = 10_000;
    let inputs: Vec<serde_json::Value> = stack
        .paths()
        .iter()
        .take(LISTED)
        .map(|path| {
            let meta = std::fs::metadata(path).ok();
            let modified = meta.as_ref().and_then(|m| m.modified().ok());
            let seconds = modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map(|d| d.as_secs());
            serde_json::json!({ "name": name_of(path), "bytes": meta.map(|m| m.len()), "modified_unix_s": seconds })
        })
        .collect();
    serde_json::json!({
        "program": concat!("stackctl ", env!("CARGO_PKG_VERSION")),
        "command": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).take(64).collect::<Vec<_>>(),
        "pattern": pattern,
        "n_inputs": stack.paths().len(),
        "n_elements": crate::grid::n_elements(&stack.shape()),
        "inputs": inputs,
    })
}
