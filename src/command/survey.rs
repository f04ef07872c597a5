//! What the files of a command are, found out from names and headers alone. `inspect` shows it; the other
//! commands check it and make a stack of it.

use std::path::PathBuf;

use anyhow::Result;

use super::calibration;
use crate::array::Array;
use crate::cli::{InputArgs, Missing, NameArgs};
use crate::error::Error;
use crate::layout::{Layout, LayoutOptions};
use crate::pattern::{self, Arrangement, FaultKind, Pattern};
use crate::source::headers::{Headers, name_of};
use crate::source::{OpenOptions, Set, scan};
use crate::stack::Stack;

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
        set: Box<Set>,
        /// For every member of the set, the file, if it is there.
        members: Vec<Option<u32>>,
    },
    /// By their names.
    Names {
        pattern: Box<Pattern>,
        arrangement: Box<Arrangement>,
        names: Vec<String>,
        /// Why this pattern, if nobody gave it.
        why: Vec<String>,
    },
}

impl Survey {
    /// Lists the files, reads their headers and arranges their names.
    pub(super) fn new(input: &InputArgs, names: &NameArgs) -> Result<Self> {
        let request = scan::Request {
            inputs: input.inputs.clone(),
            files_from: input.files_from.clone(),
            include: input.include.clone(),
            exclude: input.exclude.clone(),
        };
        let found = scan::scan(&request)?;
        let options = OpenOptions {
            series: names.series,
            level: names.level,
            pages: names.pages.clone(),
            ..OpenOptions::default()
        };
        let headers = Headers::read(&found.paths, &options);
        let explicit = match (&names.pattern, &names.regex) {
            (Some(text), _) => Some(Pattern::parse(text)?),
            (None, Some(text)) => Some(Pattern::regex(text)?),
            (None, None) => None,
        };
        let survey =
            Self { paths: found.paths, n_left_out: found.n_left_out, headers, naming: Naming::Single, options };
        match explicit {
            Some(pattern) => survey.by_names(Some(pattern)),
            None if survey.set().is_some_and(|set| survey.paths.len() > 1 || !set.elsewhere) => survey.by_set(),
            None if survey.paths.len() == 1 => Ok(survey),
            None => survey.by_names(None),
        }
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
        self.naming = Naming::Set { set: Box::new(set), members };
        Ok(self)
    }

    fn by_names(mut self, explicit: Option<Pattern>) -> Result<Self> {
        let names: Vec<String> = self.paths.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let options = pattern::ArrangeOptions::default();
        let (pattern, why) = match explicit {
            Some(pattern) => (pattern, Vec::new()),
            None => return Err(Error::usage("more than one file: say with --pattern where the names put them").into()),
        };
        let arrangement = pattern::arrange(&pattern, &names, &options)?;
        self.naming = Naming::Names { pattern: Box::new(pattern), arrangement: Box::new(arrangement), names, why };
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
        let options = LayoutOptions {
            axes: names.axes.clone(),
            calibrations: calibration::from_flags(&names.voxel_size, names.time_step.as_deref())?,
            labels: names.channel_names.iter().map(|l| ("c".to_string(), l.clone())).collect(),
        };
        match &self.naming {
            Naming::Single => Layout::arranged(&[], &[(0, 0)], &self.headers, &self.paths, &options),
            Naming::Set { set, members } => Layout::of_set(set, members, &self.headers, &self.paths, &options),
            Naming::Names { arrangement, .. } => {
                Layout::arranged(&arrangement.axes, &arrangement.cells, &self.headers, &self.paths, &options)
            }
        }
    }

    /// The array that the files make, after all checks.
    ///
    /// # Errors
    /// As [`Survey::check`] and [`Survey::layout`]; `Usage` if the fill value does not fit the dtype.
    pub(super) fn into_stack(mut self, names: &NameArgs) -> Result<Stack> {
        self.check(names.missing)?;
        let layout = self.layout(names)?;
        let dtype = layout.dtype();
        let fill = match &names.fill_value {
            Some(text) => dtype.parse_element(text).map_err(|e| e.at("--fill-value"))?,
            None => vec![0; dtype.size()],
        };
        Ok(Stack::new(layout, self.headers, self.paths, self.options, fill))
    }

    /// What is to be kept with an output: how the names were read.
    pub(super) fn pattern(&self) -> Option<String> {
        match &self.naming {
            Naming::Names { pattern, .. } => Some(pattern.to_string()),
            _ => None,
        }
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
