//! `report`: one page of HTML, as a parser, NumPy and a browser see it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::tempdir;
use crate::common::{self, run};
use run::{failure, message, stackctl};

fn report(folder: &Path, arguments: &[&str]) {
    let output = stackctl(folder).arg("report").args(arguments).arg("-q").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", message(&output));
}

/// A pile with a repeated frame, a dropped one, a flash, bleaching and saturation, of which the page tells.
#[test]
fn the_page_tells_what_is_wrong() {
    let folder = tempdir().unwrap();
    common::python("report.py", &[Path::new("make"), folder.path()]);
    if !folder.path().join("raw").exists() {
        return;
    }
    let names = ["--pattern", "t{t}_c{c}", "--channel-names", "DAPI,<b>GFP</b>", "--time-step", "2s"];
    report(folder.path(), &[&["raw", "-o", "page.html", "--title", "Tom & <Jerry>"], &names[..]].concat());
    for threads in ["1", "3"] {
        let way = ["-o", "again.html", "--overwrite", "--title", "Tom & <Jerry>", "--threads", threads];
        report(folder.path(), &[&["raw"], &way[..], &names[..]].concat());
        let [mut a, mut b] =
            ["page", "again"].map(|n| fs::read_to_string(folder.path().join(format!("{n}.html"))).unwrap());
        // The command that is told differs.
        for text in [&mut a, &mut b] {
            text.truncate(text.find("<h2>Provenance").unwrap());
        }
        assert!(a == b, "{threads} threads");
    }
    report(folder.path(), &[&["raw", "-o", "part.html", "--select", "t=[3,1],c=0"], &names[..]].concat());
    common::python("report.py", &[Path::new("check"), folder.path()]);
    browser(folder.path());
}

/// A browser draws it without a word of complaint and without asking for anything else.
fn browser(folder: &Path) {
    let Ok(found) = Command::new("chromium").arg("--version").output() else {
        common::skipped("no chromium");
        return;
    };
    assert!(found.status.success());
    let place = format!("file://{}", folder.join("page.html").display());
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", &profile];
    let output = Command::new("chromium").args(arguments).args(["--dump-dom", &place]).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.contains("<h2>Histograms</h2>") && dom.ends_with("</html>\n"), "{dom}");
    let said = message(&output);
    assert!(!said.contains("CONSOLE"), "{said}");
}

#[test]
fn what_has_no_planes_is_refused() {
    let folder = tempdir().unwrap();
    run::Acquisition::default().write(&folder.path().join("raw"));
    let input = ["report", "raw", "--pattern", run::PATTERN];
    for (arguments, says) in [
        (&["-o", "a.pdf"][..], ".html"),
        (&["-o", "a.html", "--select", "x=0,y=0,z=0,t=0"], "no planes of numbers"),
        (&["-o", "a.html", "--select", "q=0"], "there is no axis 'q'"),
        (&["-o", "no/a.html"], "no"),
    ] {
        let (code, said) = failure(folder.path(), &[&input[..], arguments].concat());
        assert!(code == 2 && said.contains(says), "{arguments:?}: {said}");
    }
}
