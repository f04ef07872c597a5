//! Patterns of acquisition programs, and the user's own from a small file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Pattern, TileOrder};
use crate::error::{Error, Result};

/// A named pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preset {
    /// What `--preset` takes.
    pub name: String,
    /// The program or microscope that writes such names.
    pub program: String,
    /// The pattern, or the regular expression.
    pub pattern: String,
    /// Whether `pattern` is a regular expression.
    pub regex: bool,
    /// The order of running tile numbers, as `--layout` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// A name that it reads.
    pub example: String,
}

impl Preset {
    /// The pattern, ready to match.
    ///
    /// # Errors
    /// `Usage` if it has a mistake.
    pub fn pattern(&self) -> Result<Pattern> {
        if self.regex { Pattern::regex(&self.pattern) } else { Pattern::parse(&self.pattern) }
    }

    /// The order of its tiles.
    ///
    /// # Errors
    /// `Usage` if it has a mistake.
    pub fn layout(&self) -> Result<Option<TileOrder>> {
        self.layout.as_deref().map(TileOrder::parse).transpose()
    }
}

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut built_in = user_presets(include_str!("presets.toml")).expect("the tests read them");
    let text =
        |p: &Preset| p.pattern.split(['{', '<']).map(|part| part.rsplit(['}', '>']).next().map_or(0, str::len)).sum();
    built_in.sort_by_key(|p| std::cmp::Reverse::<usize>(text(p)));
    built_in
});

/// The built-in presets, those with the most text first.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// What a user's file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    preset: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pattern: Option<String>,
    regex: Option<String>,
    about: Option<String>,
    layout: Option<String>,
    example: Option<String>,
}

/// Reads a user's presets from the text of a TOML file:
///
/// ```toml
/// [preset.our-spim]
/// pattern = '_ch{c}_t{t}_z{z}.tif'     # or regex = '...'
/// about = 'the SPIM in the basement'   # the rest is optional
/// example = 'a_ch0_t001_z012.tif'      # must match
/// layout = 'tile=x:4,y:3,snake'
/// ```
///
/// # Errors
/// `Usage`, naming the preset or the line, if the text is not such a file, a pattern has a mistake, or an
/// example does not match its pattern.
pub fn user_presets(text: &str) -> Result<Vec<Preset>> {
    let file: File = toml::from_str(text).map_err(|e| Error::usage(e.to_string().trim_end()))?;
    let mut found = Vec::new();
    for (name, entry) in file.preset {
        let place = format!("preset '{name}'");
        let (pattern, regex) = match (entry.pattern, entry.regex) {
            (Some(pattern), None) => (pattern, false),
            (None, Some(regex)) => (regex, true),
            _ => return Err(Error::usage("give either a pattern or a regex").at(place)),
        };
        let preset = Preset {
            name,
            program: entry.about.unwrap_or_default(),
            pattern,
            regex,
            layout: entry.layout,
            example: entry.example.unwrap_or_default(),
        };
        let parsed = preset.pattern().map_err(|e| e.at(&place))?;
        preset.layout().map_err(|e| e.at(&place))?;
        if !preset.example.is_empty() && parsed.matches(&preset.example).is_none() {
            return Err(Error::usage(format!("the example '{}' does not match '{parsed}'", preset.example)).at(place));
        }
        found.push(preset);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_its_example() {
        let mut names: Vec<&str> = Vec::new();
        for preset in presets() {
            let pattern = preset.pattern().unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(pattern.matches(&preset.example).is_some(), "{}: {} on {}", preset.name, pattern, preset.example);
            assert!(!names.contains(&preset.name.as_str()), "{} twice", preset.name);
            names.push(&preset.name);
        }
    }
}
