//! What `docs/` says is so: its examples are run, its keys are those that are printed, its links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::tempdir;
use crate::common::{roff, run};
use serde_json::Value;
use stackctl::array::{Array, select};
use stackctl::open::{Names, Request};
use stackctl::pattern::{Pattern, TileOrder, presets, user_presets};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// Rows of all tables of `text` whose first column is called `head`, cells without the marks of code.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut is_wanted = false;
    let mut lines = text.lines().peekable();
    let mut before = "";
    while let Some(line) = lines.next() {
        let is_row = line.starts_with('|');
        if is_row && !before.starts_with('|') {
            is_wanted = roff::cells(line).first().is_some_and(|cell| cell == head);
            lines.next();
        } else if is_row && is_wanted {
            found.push(roff::cells(line).iter().map(|cell| cell.replace('`', "")).collect());
        }
        before = line;
    }
    assert!(!found.is_empty(), "no table of '{head}'");
    found
}

/// Blocks of code in the language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// `c=1 t=0003`: what a pattern reads from a name.
fn read(pattern: &Pattern, name: &str) -> String {
    let Some(values) = pattern.matches(name) else { return "does not match".to_owned() };
    let named = pattern.fields().iter().zip(values).filter(|(field, _)| field.axis.is_some());
    named.map(|(field, value)| format!("{}={}", field.name, value.unwrap_or("-"))).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_element_of_the_pattern_language_has_an_example_that_holds() {
    let text = document("patterns.md");
    for row in rows(&text, "pattern").iter().filter(|row| row.len() == 3) {
        assert_eq!(read(&Pattern::parse(&row[0]).unwrap(), &row[1]), row[2], "{}", row[0]);
    }
    for row in rows(&text, "regex") {
        assert_eq!(read(&Pattern::regex(&row[0]).unwrap(), &row[1]), row[2], "{}", row[0]);
    }
    for row in rows(&text, "pattern").iter().filter(|row| row.len() == 2) {
        Pattern::parse(&row[0]).unwrap();
    }
    for row in [rows(&text, "layout"), rows(&document("config.md"), "layout")].concat() {
        TileOrder::parse(&row[0]).unwrap();
    }
}

#[test]
fn selections_choose_what_is_said() {
    let text = document("select.md");
    let pattern = Pattern::parse("_ch{c}_*_stack{t}_{c@nm}nm_{t@ms}msec_").unwrap();
    let inputs = root().join("fixtures/raw").display().to_string().as_str().into();
    let request = Request { inputs, names: Names { pattern: Some(pattern), ..Names::default() }, ..Request::default() };
    let array: Arc<dyn Array> = Arc::new(request.open().unwrap().stack);
    for row in rows(&text, "selection") {
        let shape: Vec<String> = select(array.clone(), &row[0]).unwrap().shape().iter().map(u64::to_string).collect();
        assert_eq!(shape.join(" "), row[1], "{}", row[0]);
    }
}

#[test]
fn the_config_file_is_one() {
    let text = document("config.md");
    let found = user_presets(blocks(&text, "toml")[0]).unwrap();
    assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["mosaic", "our-spim"]);
    assert!((35..=50).contains(&presets().len()), "'some forty' presets are {}", presets().len());
}

/// All tasks one after the other, as `sh` runs them.
#[test]
fn the_cookbook_works() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("raw")).unwrap();
    for entry in fs::read_dir(root().join("fixtures/raw")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join("raw").join(path.file_name().unwrap())).unwrap();
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_stackctl"));
    let search = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let text = format!("{}\n## Clusters\n{}", document("cookbook.md"), document("cluster.md"));
    let tasks: Vec<&str> = text.split("\n## ").skip(1).collect();
    let n_recipes = tasks.iter().filter(|task| task.starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(n_recipes, 35);
    for task in tasks {
        let title = task.lines().next().unwrap();
        for code in blocks(task, "sh") {
            let run = Command::new("sh")
                .args(["-euc", code])
                .current_dir(folder.path())
                .env("PATH", &search)
                .output()
                .unwrap();
            let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert!(run.status.success(), "{title}:\n{code}{said}");
        }
    }
}

/// Keys under a heading of json.md.
fn documented(title: &str) -> BTreeSet<String> {
    rows(roff::section(&document("json.md"), title), "key").into_iter().map(|row| row[0].clone()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_key_of_the_json_is_documented() {
    let folder = tempdir().unwrap();
    run::Acquisition::default().write(&folder.path().join("raw"));
    let json = |arguments: &[&str]| -> Value {
        let output = run::stackctl(folder.path())
            .args(arguments)
            .args(["raw", "--json", "-q", "--pattern", run::PATTERN])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", run::message(&output)))
    };
    let missing =
        |value: &Value, title: &str| -> Vec<String> { keys(value).difference(&documented(title)).cloned().collect() };
    let none: Vec<String> = Vec::new();
    assert_eq!(missing(&json(&["stitch", "-o", "a.zarr"]), "stitch"), none);
    assert_eq!(missing(&json(&["stitch", "-o", "b.zarr", "--dry-run"]), "stitch --dry-run"), none);
    let reduced = json(&["reduce", "--op", "mean", "--axis", "z", "-o", "c.npy"]);
    let planned = json(&["reduce", "--op", "median", "--axis", "z", "--dry-run"]);
    for value in [&reduced["outputs"][0], &reduced["figures"], &planned["outputs"][0], &planned["plan"], &reduced] {
        assert_eq!(missing(value, "reduce"), none);
    }
}

/// Links of `text` to places that are no web addresses.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn links_lead_somewhere_and_every_page_is_in_the_summary() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    pages.extend(
        fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    let summary = document("SUMMARY.md");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            let Some(anchor) = anchor else { continue };
            let text = fs::read_to_string(&target).unwrap();
            let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            assert!(text.lines().any(|l| l.starts_with('#') && slug(l) == anchor), "{}: no {link}", page.display());
        }
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let is_page = page.parent() == Some(&root().join("docs")) && name != "SUMMARY.md";
        assert!(!is_page || summary.contains(&format!("({name})")), "{name} is not in docs/SUMMARY.md");
    }
}

#[test]
fn exit_codes_are_those_documented() {
    let codes: Vec<String> = rows(&document("reference.md"), "code").into_iter().map(|row| row[0].clone()).collect();
    use stackctl::error::Error;
    let all = [
        Error::usage(""),
        Error::format(""),
        Error::unsupported(""),
        Error::limit(""),
        Error::Fault(String::new()),
        Error::Stopped(String::new()),
    ];
    for error in all {
        assert!(codes.contains(&error.exit_code().to_string()), "{error:?}");
    }
}

/// Variables that the source asks for by name, in calls and in tables of names.
#[test]
fn every_variable_of_the_environment_is_documented() {
    let (call, name) = (r#"\b(?:var|var_os|env)\("([A-Z_]+)"\)"#, r#""([A-Z]+_[A-Z_]+|NCPUS|NSLOTS)""#);
    let [call, name] = [call, name].map(|pattern| regex::Regex::new(pattern).unwrap());
    let described = document("reference.md");
    let mut sources = vec![root().join("src")];
    let mut n_found = 0;
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let is_table = path.ends_with("place.rs") || path.ends_with("budget.rs");
        for found in if is_table { &name } else { &call }.captures_iter(text) {
            n_found += 1;
            assert!(described.contains(&format!("`{}`", &found[1])), "{} of {}", &found[1], path.display());
        }
    }
    assert!(n_found > 30, "{n_found}");
}

/// What the README shows of `inspect` is what it prints, but for the figures of one machine at the end.
#[test]
fn the_readme_shows_what_is_printed() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("$ stackctl inspect fixtures/raw\n").nth(1).unwrap().split("```").next().unwrap();
    let output =
        run::stackctl(root()).args(["inspect", "fixtures/raw", "--no-sample"]).env("COLUMNS", "80").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let until_figures = |text: &str| text.split("  would write").next().unwrap().replace("raw-2.zarr", "raw.zarr");
    assert_eq!(until_figures(shown), until_figures(&printed));
}
