//! Datasets that one template names: `t{t}/s{c}/0/cells` of a BigDataViewer file.

use hdf5_reader::Dataset;
use hdf5_reader::group::Group;

use super::{Datasets, Structure, fault};
use crate::axis::Axis;
use crate::error::{Error, Result};
use crate::grid::positions;

/// Most datasets that one template names.
const MOST: u64 = 1 << 20;

/// The datasets that `template` names: a number stands for each field in braces, which becomes an axis; datasets that
/// are not there are absent.
///
/// # Errors
/// `Usage` if nothing matches, or a part holds two fields.
pub(super) fn find(structure: &Structure, template: &str) -> Result<Datasets> {
    let parts: Vec<&str> = template.split('/').filter(|part| !part.is_empty()).collect();
    let fields: Vec<Option<(&str, &str, &str)>> = parts.iter().map(|part| field(part)).collect::<Result<_>>()?;
    let root = structure.file.root_group().map_err(|e| fault(&e))?;
    let nothing = |part: &str| Error::usage(format!("--variable '{template}': nothing in the file is called '{part}'"));
    // The names that each field stands for, as the first branch has them.
    let (mut axes, mut names, mut group) = (Vec::new(), Vec::new(), root.clone());
    for (i, part) in parts.iter().enumerate() {
        let name = match fields[i] {
            None => (*part).to_owned(),
            Some((before, axis, after)) => {
                let (groups, datasets) = group.member_names().map_err(|e| fault(&e))?;
                let number = |name: &String| {
                    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
                    digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
                };
                let mut all: Vec<(u64, String)> =
                    groups.into_iter().chain(datasets).filter_map(|name| Some((number(&name)?, name))).collect();
                all.sort();
                let first = all.first().ok_or_else(|| nothing(part))?.1.clone();
                axes.push(Axis::new(axis, all.len() as u64));
                names.push((i, all.into_iter().map(|(_, name)| name).collect::<Vec<_>>()));
                first
            }
        };
        if i + 1 < parts.len() {
            group = group.group(&name).map_err(|_| nothing(part))?;
        }
    }
    let lengths: Vec<u64> = axes.iter().map(|axis| axis.length).collect();
    if crate::grid::n_elements(&lengths) > MOST {
        return Err(Error::limit(format!("--variable '{template}' names more than {MOST} datasets")));
    }
    let dataset = |position: Vec<u64>| {
        let mut path: Vec<&str> = parts.clone();
        names.iter().zip(&position).for_each(|((i, names), &p)| path[*i] = &names[p as usize]);
        at(&root, &path)
    };
    let list: Vec<Option<Dataset>> = positions(&lengths).map(dataset).collect();
    if list.iter().all(Option::is_none) {
        return Err(nothing(parts.last().copied().unwrap_or(template)));
    }
    Ok(Datasets { outer: axes, list, shape: None })
}

fn at(root: &Group, path: &[&str]) -> Option<Dataset> {
    let (last, groups) = path.split_last()?;
    groups.iter().try_fold(root.clone(), |group, name| group.group(name).ok())?.dataset(last).ok()
}

/// What stands before a field, its name, and what stands behind it, if a part holds one.
fn field(part: &str) -> Result<Option<(&str, &str, &str)>> {
    let Some((before, rest)) = part.split_once('{') else { return Ok(None) };
    let (name, after) =
        rest.split_once('}').ok_or_else(|| Error::usage(format!("--variable: '{part}' lacks a brace")))?;
    if after.contains('{') || name.is_empty() {
        return Err(Error::usage(format!("--variable: '{part}' holds more than one field, or one without a name")));
    }
    Ok(Some((before, name, after)))
}
