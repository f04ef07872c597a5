//! Figures of results: curves and heat maps show the numbers that the same command prints.

use std::fs;
use std::path::Path;

use crate::common::run;
use crate::common::tempdir;
use run::{Acquisition, PATTERN, message, names, stackctl};

const INPUT: [&str; 3] = ["raw", "--pattern", PATTERN];

fn ran(folder: &Path, words: &[&str]) -> String {
    let output = stackctl(folder).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", message(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn pile() -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    Acquisition::default().write(&folder.path().join("raw"));
    folder
}

/// Ends of the lines of an SVG, with their colours.
fn strokes(svg: &str) -> Vec<(String, [f64; 4])> {
    let one = |line: &str| {
        let numbers = line.split_once("d=\"M")?.1.split_once('"')?.0.replace('L', " ");
        let numbers: Vec<f64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
        let colour = line.split_once("stroke=\"")?.1.split_once('"')?.0.to_owned();
        Some((colour, numbers.try_into().unwrap()))
    };
    svg.lines().filter_map(one).collect()
}

#[test]
fn a_curve_for_each_channel_goes_through_the_numbers() {
    let folder = pile();
    let mean = [&["reduce"], &INPUT[..], &["--op", "mean", "--axis", "z,y,x", "-q"]].concat();
    let drawn = ["--plot", "mean.svg", "--time-step", "2min", "--channel-names", "DAPI,GFP"];
    assert_eq!(ran(folder.path(), &[&mean[..], &drawn].concat()), "");
    let printed: serde_json::Value =
        serde_json::from_str(&ran(folder.path(), &[&mean[..], &["--json"]].concat())).unwrap();
    let values: Vec<Vec<f64>> = serde_json::from_value(printed["outputs"][0]["value"].clone()).unwrap();
    let svg = fs::read_to_string(folder.path().join("mean.svg")).unwrap();
    for text in [">DAPI</text>", ">GFP</text>", ">t (s)</text>", ">mean</text>", ">200</text>"] {
        assert!(svg.contains(text), "{text}");
    }
    let strokes = strokes(&svg);
    let n_times = values.len();
    assert_eq!(strokes.len(), 2 * (n_times - 1));
    // Heights on the paper and numbers are in one proportion.
    let points: Vec<(f64, f64)> = (0..2)
        .flat_map(|c| {
            let own = &strokes[c * (n_times - 1)..][..n_times - 1];
            assert!(own.iter().all(|s| s.0 == own[0].0) && own[0].0 != strokes[(1 - c) * (n_times - 1)].0);
            let heights = own.iter().map(|s| s.1[1]).chain([own[n_times - 2].1[3]]).collect::<Vec<_>>();
            heights.into_iter().zip(values.iter().map(move |row| row[c])).collect::<Vec<_>>()
        })
        .collect();
    let (low, high) = points
        .iter()
        .fold((points[0], points[0]), |(l, h), p| (if p.1 < l.1 { *p } else { l }, if p.1 > h.1 { *p } else { h }));
    assert!(low.0 > high.0 + 300.0, "greater is higher up");
    for (height, value) in points {
        let expected = low.0 + (high.0 - low.0) * (value - low.1) / (high.1 - low.1);
        assert!((height - expected).abs() < 0.2, "{value} at {height}, not {expected}");
    }
}

#[test]
fn every_result_of_one_or_two_axes_has_a_figure_and_no_other() {
    let folder = pile();
    let reduce = [&["reduce"], &INPUT[..]].concat();
    let both = ["--op", "max,std", "--axis", "c,z,y", "-o", "x_{op}.csv", "--plot", "x_{op}.png"];
    ran(folder.path(), &[&reduce[..], &both].concat());
    let made = |name: &str| fs::read(folder.path().join(name)).unwrap();
    for name in ["x_max", "x_std"] {
        assert_eq!(made(&format!("{name}.png"))[..8], *b"\x89PNG\r\n\x1a\n");
        assert!(made(&format!("{name}.csv")).starts_with(b"t,x,"), "{name}: beside the figure");
    }
    // By field, of a calculation, of a histogram, of distances.
    let by = ["--op", "mean", "--axis", "z,y,x", "--by", "c", "-o", "{c}.npy", "--plot", "{c}.svg"];
    ran(folder.path(), &[&reduce[..], &by].concat());
    ran(folder.path(), &[&["calc", "mean(a, c, z, y)[z=0]", "--plot", "calc.png"], &INPUT[..]].concat());
    ran(folder.path(), &[&reduce[..], &["--op", "histogram=16:0:256", "--plot", "h.svg"]].concat());
    ran(folder.path(), &[&["pairwise", "--along", "t,c", "--plot", "d.svg"], &INPUT[..]].concat());
    assert_eq!(strokes(&fs::read_to_string(folder.path().join("h.svg")).unwrap()).len(), 15);
    let before = names(folder.path());
    for (words, expected) in [
        (&["--op", "mean", "--plot", "a.png"][..], "the result is a number"),
        (&["--op", "mean", "--axis", "y,x", "--plot", "a.png"], "t, c, z"),
        (&["--op", "mean", "--axis", "z,y,x", "--plot", "a.jpg"], "ends in .png or .svg"),
        (&["--op", "mean", "--axis", "z,y,x", "--plot", "h.svg"], "exists already"),
        (&["--op", "mean,max", "--axis", "z,y,x", "--plot", "a.svg"], "put {op} into it"),
        (&["--op", "mean", "--axis", "z,y,x", "--by", "c", "-o", "{c}_2.npy", "--plot", "a.svg"], "put {c} into"),
    ] {
        let output = stackctl(folder.path()).args(&reduce).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(message(&output).contains(expected), "{words:?}: {}", message(&output));
    }
    assert_eq!(names(folder.path()), before);
}
