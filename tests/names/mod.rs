//! Sets of names made from templates, each with the answer a careful person gives; README.md says how they are written.

use std::path::Path;

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Right,
    Either,
    Asks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    pub(crate) what: String,
    names: String,
    pub(crate) answer: Answer,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
}

/// Names, and for every axis of more than one value its name, its length and the place of each name along it.
pub(crate) struct Truth {
    pub(crate) names: Vec<String>,
    pub(crate) axes: Vec<(String, Vec<usize>)>,
    pub(crate) n_members: usize,
}

enum Piece {
    Text(String),
    Value(usize),
    Tied(usize, Vec<String>),
    Running(usize),
    Guid,
}

pub(crate) fn all() -> Vec<Set> {
    #[derive(Deserialize)]
    struct File {
        set: Vec<Set>,
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let read = |f: &std::path::PathBuf| toml::from_str::<File>(&std::fs::read_to_string(f).unwrap()).unwrap().set;
    files.iter().flat_map(read).collect()
}

/// `001..120`, `-10..10/5`, or texts with commas between.
fn values(text: &str) -> Vec<String> {
    let Some((first, rest)) = text.split_once("..") else { return text.split(',').map(str::to_owned).collect() };
    let (last, step) = rest.split_once('/').unwrap_or((rest, "1"));
    let width = if first.len() > 1 && first.starts_with('0') { first.len() } else { 0 };
    let (from, to, step): (i64, i64, i64) = (first.parse().unwrap(), last.parse().unwrap(), step.parse().unwrap());
    (0..).map(|k| from + k * step).take_while(|n| *n <= to).map(|n| format!("{n:0width$}")).collect()
}

impl Set {
    fn pieces(&self) -> (Vec<Piece>, Vec<(String, Vec<String>)>) {
        let (mut pieces, mut axes): (Vec<Piece>, Vec<(String, Vec<String>)>) = (Vec::new(), Vec::new());
        let text = self.names.replace("{{", "\u{1}").replace("}}", "\u{2}");
        for (i, part) in text.split('{').enumerate() {
            let (body, rest) = if i == 0 { ("", part) } else { part.split_once('}').unwrap() };
            if let Some(noise) = body.strip_prefix('#') {
                pieces.push(noise.parse().map_or(Piece::Guid, Piece::Running));
            } else if let Some((axis, list)) = body.split_once(':') {
                pieces.push(Piece::Value(axes.len()));
                axes.push((axis.to_owned(), values(list)));
            } else if let Some((axis, list)) = body.split_once('=') {
                // May stand before its axis.
                pieces.push(Piece::Tied(usize::MAX, values(list)));
                axes.push((format!("={axis}"), Vec::new()));
            } else if !body.is_empty() {
                pieces.push(Piece::Value(axes.iter().position(|a| a.0 == body).unwrap()));
            }
            pieces.push(Piece::Text(rest.replace('\u{1}', "{").replace('\u{2}', "}")));
        }
        let ties: Vec<String> = axes.iter().filter_map(|a| a.0.strip_prefix('=').map(str::to_owned)).collect();
        let kept: Vec<(String, Vec<String>)> = axes.iter().filter(|a| !a.0.starts_with('=')).cloned().collect();
        let mut ties = ties.into_iter();
        for piece in &mut pieces {
            match piece {
                Piece::Tied(axis, _) => {
                    let name = ties.next().unwrap();
                    *axis = kept.iter().position(|a| a.0 == name).unwrap();
                }
                Piece::Value(axis) => *axis = kept.iter().position(|a| a.0 == axes[*axis].0).unwrap(),
                _ => {}
            }
        }
        (pieces, kept)
    }

    pub(crate) fn truth(&self) -> Truth {
        let (pieces, axes) = self.pieces();
        let lengths: Vec<usize> = axes.iter().map(|a| a.1.len()).collect();
        let (mut names, mut places) = (Vec::new(), Vec::new());
        for cell in 0..lengths.iter().product() {
            let at = crate::schemes::unravel(cell, &lengths);
            let name: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Value(axis) => axes[*axis].1[at[*axis]].clone(),
                    Piece::Tied(axis, texts) => texts[at[*axis]].clone(),
                    Piece::Running(width) => {
                        format!("{:0width$}", 1 + cell * 7919 % 99_991 % 10usize.pow(*width as u32))
                    }
                    Piece::Guid => crate::schemes::guid(&at),
                })
                .collect();
            if !self.without.contains(&name) {
                names.push(name);
                places.push(at);
            }
        }
        let n_members = names.len();
        names.extend(self.also.iter().cloned());
        let along = |k: usize| places.iter().map(|at| at[k]).collect();
        let axes =
            axes.iter().enumerate().filter(|(_, a)| a.1.len() > 1).map(|(k, a)| (a.0.clone(), along(k))).collect();
        Truth { names, axes, n_members }
    }
}
