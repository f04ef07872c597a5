//! The man pages in `man/` are what the command line declares; `UPDATE_GOLDEN=1 cargo test --test man`
//! writes them anew.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use stackctl::cli::Cli;

fn pages() -> Vec<(String, Vec<u8>)> {
    let root = Cli::command().version(env!("CARGO_PKG_VERSION"));
    let mut commands = vec![root.clone()];
    commands.extend(root.get_subcommands().cloned().map(|c| {
        let name = format!("stackctl-{}", c.get_name());
        c.name(name.clone()).bin_name(name).version(env!("CARGO_PKG_VERSION"))
    }));
    commands
        .into_iter()
        .map(|command| {
            let name = format!("{}.1", command.get_name());
            let mut page = Vec::new();
            // No date: a page changes only when the program does.
            clap_mangen::Man::new(command).date("").render(&mut page).unwrap();
            (name, page)
        })
        .collect()
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
    assert_eq!(there, expected, "refresh with UPDATE_GOLDEN=1 cargo test --test man");
    for (name, page) in pages {
        let text = fs::read(folder.join(&name)).unwrap();
        assert!(text == page, "man/{name} is stale: refresh with UPDATE_GOLDEN=1 cargo test --test man");
    }
}
