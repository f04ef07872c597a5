//! The man pages in `man/` are what the command line declares and what `docs/` says; `UPDATE_GOLDEN=1 cargo test man::`
//! writes them anew.

use std::fs;
use std::path::Path;

use crate::common::roff;
use crate::common::tempdir;
use clap::CommandFactory;
use stackctl::cli::Cli;

/// Pages of section 7, the document each is made of, and what it is about.
const TOPICS: [(&str, &str, &str); 5] = [
    ("stackctl-patterns", "patterns.md", "how file names become positions in an array"),
    ("stackctl-select", "select.md", "how a part of an array is chosen"),
    ("stackctl-config", "config.md", "presets, layouts and the configuration file"),
    ("stackctl-calc", "calc.md", "arithmetic, filters and reductions in one expression"),
    ("stackctl-cookbook", "cookbook.md", "tasks with their commands"),
];

/// Most tasks of the cookbook that a page shows.
const MOST_EXAMPLES: usize = 8;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// A page for each command.
fn commands() -> Vec<(String, Vec<u8>)> {
    let mut root = Cli::command().version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    root.build();
    let mut commands = vec![root.clone()];
    commands.extend(root.get_subcommands().cloned().map(|c| {
        let name = format!("stackctl-{}", c.get_name());
        c.name(name.clone()).bin_name(name.replacen('-', " ", 1)).version(env!("CARGO_PKG_VERSION"))
    }));
    commands.into_iter().map(|command| (format!("{}.1", command.get_name()), page(command))).collect()
}

/// The page of one command: what clap knows of it, and what holds for all of them.
fn page(command: clap::Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let extra = command.get_after_long_help().map(|text| text.to_string());
    let has_subcommands = command.has_subcommands();
    // All flags on one line would say less than their list.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim().to_owned();
    // No date: a page changes only when the program does.
    let man = clap_mangen::Man::new(command).date("").manual("stackctl manual");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    page.extend(format!(".SH SYNOPSIS\n{}\n", usage.replace('-', "\\-")).into_bytes());
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if has_subcommands {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let mut text = extra.map_or_else(String::new, |extra| operators(&extra));
    text += &examples(&name);
    let reference = document("reference.md");
    let whole = if has_subcommands { &["Signals", "Promises"][..] } else { &[] };
    for title in ["Exit status", "Environment", "Files"].iter().chain(whole) {
        text += &format!(".SH \"{}\"\n{}", title.to_uppercase(), roff::body(roff::section(&reference, title)));
    }
    text += &see_also(&name);
    page.extend(text.into_bytes());
    page
}

/// The list under 'Operators:' of a help text, as terms.
fn operators(help: &str) -> String {
    let list = help.split("\n\n").next().unwrap_or_default().lines().skip(1);
    let term = |line: &str| {
        let (name, about) = line.trim().split_once("  ").unwrap_or((line, ""));
        format!(".TP 12\n\\fB{name}\\fR\n{}\n", about.trim().replace('-', "\\-"))
    };
    format!(".SH OPERATORS\n{}", list.map(term).collect::<String>())
}

/// Tasks of the cookbook that use the command.
fn examples(name: &str) -> String {
    let word = name.replacen('-', " ", 1);
    let cookbook = document("cookbook.md");
    let tasks = cookbook.split("\n## ").skip(1).filter(|task| {
        let code = task.split("```").nth(1).unwrap_or_default();
        code.lines().any(|line| line.contains(&format!("{word} ")))
    });
    let shown = tasks.take(MOST_EXAMPLES).map(|task| {
        let title = task.lines().next().unwrap_or_default().split_once(". ").map_or("", |t| t.1);
        let code = task.split("```").nth(1).unwrap_or_default();
        roff::body(&format!("{title}:\n```{code}```"))
    });
    let shown: String = shown.collect();
    let own = match name {
        "stackctl-patterns" => {
            "Presets of light-sheet microscopes:\n```sh\nstackctl patterns | grep -i light-sheet\n```"
        }
        "stackctl-completions" => {
            "For bash, of one user:\n```sh\ncd ~/.local/share/bash-completion/completions\nstackctl completions bash > stackctl\n```"
        }
        "stackctl-plan" | "stackctl-run" | "stackctl-finalize" | "stackctl-status" | "stackctl-place"
        | "stackctl-submit" => {
            let page = document("cluster.md");
            let code = page.split("```").nth(1).unwrap_or_default();
            return format!(
                ".SH EXAMPLES\n{}",
                roff::body(&format!("A plan from its beginning to its end:\n```{code}```"))
            );
        }
        _ => "",
    };
    format!(".SH EXAMPLES\n{}{shown}", roff::body(own))
}

/// The other pages.
fn see_also(name: &str) -> String {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let commands = root.get_subcommands().map(|c| (format!("stackctl-{}", c.get_name()), 1));
    let topics = TOPICS.iter().map(|(topic, ..)| ((*topic).to_owned(), 7));
    let all = [("stackctl".to_owned(), 1)].into_iter().chain(commands).chain(topics);
    let others = all.filter(|(other, section)| other != name || *section == 7);
    let words: Vec<String> =
        others.map(|(n, section)| format!("\\fB{}\\fR({section})", n.replace('-', "\\-"))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", words.join(",\n"))
}

/// The pages of section 7.
fn topics() -> Vec<(String, Vec<u8>)> {
    let page = |(name, file, about): &(&str, &str, &str)| {
        let dashes = name.replace('-', "\\-");
        let head = format!(".TH {name} 7 \"\" \"stackctl {}\" \"stackctl manual\"\n", env!("CARGO_PKG_VERSION"));
        let name_section = format!(".SH NAME\n{dashes} \\- {about}\n.SH DESCRIPTION\n");
        let text = format!("{head}{name_section}{}{}", roff::body(&document(file)), see_also(name));
        (format!("{name}.7"), text.into_bytes())
    };
    TOPICS.iter().map(page).collect()
}

fn pages() -> Vec<(String, Vec<u8>)> {
    commands().into_iter().chain(topics()).collect()
}

#[test]
fn man_pages_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages = pages();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let mut there: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut expected: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    there.sort();
    expected.sort();
    assert_eq!(there, expected, "refresh with UPDATE_GOLDEN=1 cargo test man::");
    for (name, page) in pages {
        let text = fs::read(folder.join(&name)).unwrap();
        assert!(text == page, "man/{name} is stale: refresh with UPDATE_GOLDEN=1 cargo test man::");
    }
}

/// What bash offers for the last of `words`.
fn offered(words: &[&str]) -> String {
    const SCRIPT: &str = r#"source <(stackctl completions bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_stackctl stackctl "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}""#;
    let program = Path::new(env!("CARGO_BIN_EXE_stackctl")).parent().unwrap().display().to_string();
    let run = std::process::Command::new("bash")
        .args(["-c", SCRIPT, "bash", "stackctl"])
        .args(words)
        .env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn bash_completes_words_of_flags() {
    for (words, some) in [
        (&["red"][..], "reduce"),
        (&["reduce", "--op", "m"], "max median min mode"),
        (&["reduce", "--axis", ""], "t c z y x"),
        (&["stitch", "--preset", "latt"], "lattice lattice-2014"),
        (&["stitch", "--codec", "bl"], "blosc blosc:lz4,5,shuffle"),
        (&["stitch", "--levels", ""], "auto none"),
        (&["stitch", "--shards", ""], "auto none"),
        (&["stitch", "--cast", ""], "error clip round"),
        (&["stitch", "--durability", ""], "none data full"),
        (&["stitch", "--missing", ""], "error fill skip"),
        (&["stitch", "--flip", ""], "t c z y x"),
        (&["calc", "a", "--dtype", "float"], "float16 float32 float64"),
        (&["pairwise", "--metric", "c"], "cityblock cosine correlation canberra"),
        (&["decompose", "--kind", ""], "pca svd qr"),
        (&["run", "--share-base", ""], "auto 0 1"),
    ] {
        let offered = offered(words);
        let lacks: Vec<&str> = some.split(' ').filter(|word| !offered.split_whitespace().any(|o| o == *word)).collect();
        assert!(lacks.is_empty(), "{words:?}: {lacks:?} are not in {offered}");
    }
}

#[test]
fn bash_completes_the_axes_of_the_input() {
    let raw = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/raw");
    let place = tempdir().unwrap();
    let odd = place.path().join("odd.zarr");
    fs::create_dir(&odd).unwrap();
    let grid = r#""chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}}"#;
    let rest = r#""chunk_key_encoding": {"name": "default"}, "fill_value": 0, "codecs": [{"name": "bytes"}]"#;
    let about = r#""zarr_format": 3, "node_type": "array", "shape": [2, 3], "data_type": "uint8""#;
    let names = r#""dimension_names": ["wavelength", "row"]"#;
    fs::write(odd.join("zarr.json"), format!("{{{about}, {grid}, {rest}, {names}}}")).unwrap();
    let odd = odd.to_str().unwrap();
    for (words, expected) in [
        (&["reduce", odd, "--axis", ""][..], "wavelength row"),
        (&["reduce", odd, "--op", "mean", "--axis", "wavelength,"], "wavelength,wavelength wavelength,row"),
        (&["stitch", odd, "-o", "out.zarr", "--flip", "r"], "row"),
        (&["pairwise", odd, "--along", "w"], "wavelength"),
        (&["reduce", "/nowhere/at/all.zarr", "--axis", ""], "t c z y x"),
        (&["reduce", raw, "--axis", ""], "t c z y x"),
    ] {
        let offered = offered(words);
        assert_eq!(offered.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{words:?}");
    }
}

#[test]
fn every_page_has_its_sections_and_lines_that_fit() {
    for (name, page) in pages() {
        let text = String::from_utf8(page).unwrap();
        let is_command = name.ends_with(".1");
        let wanted: &[&str] = if is_command {
            &[
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "EXAMPLES",
                "\"EXIT STATUS\"",
                "ENVIRONMENT",
                "FILES",
                "\"SEE ALSO\"",
            ]
        } else {
            &["NAME", "DESCRIPTION", "\"SEE ALSO\""]
        };
        for title in wanted {
            let bare = title.trim_matches('"');
            let is_there = [format!(".SH {bare}\n"), format!(".SH \"{bare}\"\n")].iter().any(|h| text.contains(h));
            assert!(is_there, "{} has no {title}", name);
        }
        // What stands as it is must fit beside the margin of an 80-column terminal.
        for block in text.split("\n.nf\n").skip(1) {
            let code = block.split("\n.fi").next().unwrap_or_default();
            let long =
                code.lines().map(|l| l.replace("\\-", "-").replace("\\e", "\\")).find(|l| l.chars().count() > 71);
            assert!(long.is_none(), "{}: longer than 71 characters: {}", name, long.unwrap());
        }
    }
}
