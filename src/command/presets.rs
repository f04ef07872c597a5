//! `patterns`, and where presets come from: the built-in ones and the user's file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::PatternsArgs;
use crate::error::Error;
use crate::open;
use crate::pattern::{self, Preset};

pub(super) fn run(args: &PatternsArgs) -> Result<()> {
    let own = own(args.config.as_deref())?;
    let all: Vec<&Preset> = own.iter().chain(pattern::presets()).collect();
    if args.json {
        return super::print_json(&all);
    }
    let mut text = String::new();
    for preset in all {
        let kind = if preset.regex { "regex  " } else { "pattern" };
        text += &format!("{}: {}\n  {kind}  {}\n", preset.name, preset.program, preset.pattern);
        if let Some(layout) = &preset.layout {
            text += &format!("  layout   {layout}\n");
        }
        text += &format!("  example  {}\n\n", preset.example);
    }
    super::print(text.trim_end_matches('\n').as_bytes())?;
    super::print(b"\n")
}

/// The user's presets: from `config`, or from the usual place if there is such a file.
///
/// # Errors
/// `Io` if `config` cannot be read; `Usage` if a file has a mistake.
pub(super) fn own(config: Option<&Path>) -> Result<Vec<Preset>, Error> {
    let path = match config {
        Some(path) => path.to_owned(),
        None => match usual_place().filter(|p| p.is_file()) {
            Some(path) => path,
            None => return Ok(Vec::new()),
        },
    };
    if path.is_dir() {
        return Err(Error::usage(format!("--config {}: is a folder: name a file of presets", path.display())));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::named("--config", &path, "cannot read presets", e))?;
    pattern::user_presets(&text).map_err(|e| e.at(path.display()))
}

fn usual_place() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("stackctl/config.toml"))
}

/// The preset called `name`; the user's come first.
///
/// # Errors
/// `Usage` if there is none.
pub(super) fn named<'p>(name: &str, own: &'p [Preset]) -> Result<&'p Preset, Error> {
    open::preset(name, own).ok_or_else(|| {
        let begin = name.get(..3).unwrap_or(name);
        let near: Vec<&str> =
            pattern::presets().iter().map(|p| p.name.as_str()).filter(|n| n.contains(begin)).collect();
        let hint = if near.is_empty() { String::new() } else { format!(" (near: {})", near.join(", ")) };
        Error::Usage(format!("--preset '{name}' is not known{hint}: 'stackctl patterns' lists them"))
    })
}
