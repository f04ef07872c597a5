//! What inference makes of names alone: the table says for each way of naming files whether the pattern found is
//! the right one or the question was put to the user. None may be wrong.

use crate::common::skipped;
use crate::{names, schemes};
use names::{Answer, Truth};
use stackctl::pattern::{Arrangement, InferOptions, Pattern, TileOrder, arrange, infer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// Right, with running tile numbers where a layout would give rows and columns.
    Running,
    Refused,
    Wrong,
}

/// For every name, the labels of its position along the axes that are longer than one.
fn positions(found: &Arrangement, names: usize) -> Vec<Vec<(String, String)>> {
    let mut positions = vec![Vec::new(); names];
    for (cell, name) in &found.cells {
        let mut rest = *cell;
        let mut at = Vec::new();
        for axis in found.axes.iter().rev() {
            let i = (rest % axis.len()) as usize;
            rest /= axis.len();
            if axis.len() > 1 {
                at.push((axis.name.clone(), axis.labels[i].clone()));
            }
        }
        positions[*name as usize] = at;
    }
    positions
}

/// Whether both arrangements put names together in the same way, and agree on t, c, z, y and x.
fn agree(a: &Arrangement, b: &Arrangement, names: usize) -> bool {
    let (a, b) = (positions(a, names), positions(b, names));
    let named = ["t", "c", "z", "y", "x"];
    // Values of the same part may be written with more or less around them.
    let matches =
        |x: &str, y: &str| x == y || x.ends_with(y) || y.ends_with(x) || x.parse::<u64>().ok() == y.parse::<u64>().ok();
    let axes = |p: &Vec<Vec<(String, String)>>| -> Vec<String> {
        p.iter().max_by_key(|p| p.len()).map(|p| p.iter().map(|(n, _)| n.clone()).collect()).unwrap_or_default()
    };
    let (in_a, in_b) = (axes(&a), axes(&b));
    if in_a.len() != in_b.len() {
        return false;
    }
    in_a.iter().all(|axis| {
        let column = |p: &Vec<Vec<(String, String)>>, axis: &str| -> Vec<String> {
            p.iter().map(|p| p.iter().find(|(n, _)| n == axis).map_or_else(String::new, |(_, l)| l.clone())).collect()
        };
        let labels = column(&a, axis);
        let same = |other: &str| {
            let others = column(&b, other);
            labels.iter().zip(&others).all(|(x, y)| matches(x, y))
        };
        if named.contains(&axis.as_str()) { same(axis) } else { in_b.iter().any(|other| same(other)) }
    })
}

#[test]
fn inference_is_right_or_asks() {
    let mut wrong = Vec::new();
    let mut counts = [0; 4];
    println!("{:<5} {:<8} {:<16} pattern or question", "", "", "preset");
    for scheme in schemes::all() {
        let mut names = scheme.names.clone();
        names.extend(scheme.strangers.iter().cloned());
        let pattern = Pattern::parse(scheme.pattern).unwrap();
        let truth = arrange(&pattern, &names, &Default::default()).unwrap();
        let (outcome, preset, text) = match infer(&names, &InferOptions::default()) {
            Err(e) => (Outcome::Refused, String::new(), e.to_string().lines().next().unwrap_or_default().to_owned()),
            Ok(found) => {
                let outcome = match (agree(&truth, &found.arrangement, names.len()), scheme.layout) {
                    (true, None) => Outcome::Right,
                    (true, Some(_)) => Outcome::Running,
                    (false, _) => Outcome::Wrong,
                };
                (outcome, found.preset.unwrap_or_default(), found.pattern.to_string())
            }
        };
        println!("{:<5} {:<8} {preset:<16} {text}", scheme.name, format!("{outcome:?}").to_lowercase());
        counts[outcome as usize] += 1;
        if outcome == Outcome::Wrong {
            wrong.push(scheme.name);
        }
    }
    println!("right {}, running {}, refused {}, wrong {}", counts[0], counts[1], counts[2], counts[3]);
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
    assert!(counts[0] + counts[1] >= 45, "right {}", counts[0]);
}

/// Whether every file lies where the truth says, and no other axis is longer than one.
fn is_right(found: &Arrangement, truth: &Truth) -> bool {
    let mut places = vec![None; truth.names.len()];
    for (cell, name) in &found.cells {
        let mut rest = *cell as usize;
        let mut at: Vec<usize> =
            found.axes.iter().rev().map(|a| (rest % a.labels.len(), rest /= a.labels.len()).0).collect();
        at.reverse();
        places[*name as usize] = Some(at);
    }
    let Some(places) = places[..truth.n_members].iter().cloned().collect::<Option<Vec<_>>>() else { return false };
    let long: Vec<usize> = (0..found.axes.len()).filter(|i| found.axes[*i].labels.len() > 1).collect();
    let is_named = |name: &str| ["t", "c", "z", "y", "x"].contains(&name);
    found.duplicates.is_empty()
        && found.cells.len() == truth.n_members
        && long.len() == truth.axes.len()
        && truth.axes.iter().all(|(name, along)| {
            long.iter().any(|i| {
                let other = &found.axes[*i].name;
                (if is_named(name) { name == other } else { !is_named(other) })
                    && places.iter().zip(along).all(|(at, place)| at[*i] == *place)
            })
        })
}

/// The patterns that a message shows, as a shell would read them.
fn shown(message: &str) -> Vec<String> {
    let quoted = |text: &str| text.replace(r"'\''", "\u{0}").split('\'').next().unwrap().replace('\u{0}', "'");
    message.split("--pattern '").skip(1).map(quoted).collect()
}

#[test]
fn names_of_all_kinds_are_read_right_or_asked_about() {
    let mut wrong = Vec::new();
    let mut counts = [0; 2];
    for set in names::all() {
        let truth = set.truth();
        let what = &set.what;
        let answered = match infer(&truth.names, &InferOptions::default()) {
            Err(e) => {
                let message = e.to_string();
                println!("asks   {what}: {}", message.lines().next().unwrap_or_default());
                for text in shown(&message) {
                    let tried = Pattern::parse(&text).and_then(|p| arrange(&p, &truth.names, &Default::default()));
                    match tried {
                        Ok(found) if found.duplicates.is_empty() && found.unmatched.is_empty() => {}
                        other => {
                            wrong.push(format!("{what}: {text} is suggested, but {:?}", other.map(|f| f.unmatched)))
                        }
                    }
                }
                None
            }
            Ok(found) => {
                println!("answer {what}: {}", found.pattern);
                let faults = found.arrangement.faults(&truth.names).len();
                let right = is_right(&found.arrangement, &truth);
                if faults == 0 || !right { Some((right, found.pattern.to_string())) } else { None }
            }
        };
        counts[usize::from(answered.is_some())] += 1;
        match (set.answer, answered) {
            (Answer::Right | Answer::Either, Some((true, _))) | (Answer::Either | Answer::Asks, None) => {}
            (Answer::Right, None) => wrong.push(format!("{what}: not answered")),
            (_, Some((_, pattern))) => wrong.push(format!("{what}: read as {pattern}")),
        }
    }
    println!("asked {}, answered {}", counts[0], counts[1]);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn layouts_of_presets_can_be_given_with_them() {
    let scheme = schemes::all().into_iter().find(|s| s.name == "23").unwrap();
    let mut options = InferOptions::default();
    options.arrange.layout.push(TileOrder::parse(scheme.layout.unwrap()).unwrap());
    let found = infer(&scheme.names, &options).unwrap();
    let axes: Vec<(&str, usize)> = found.arrangement.axes.iter().map(|a| (a.name.as_str(), a.labels.len())).collect();
    assert_eq!(axes, [("p", 2), ("y", 4), ("x", 5), ("z", 4), ("c", 3)]);
}

/// The folder of real files with known truths, if it is there.
fn corpus() -> Option<std::path::PathBuf> {
    let shared = std::env::var_os("STACKCTL_SHARED")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), Into::into);
    let corpus = shared.join("corpus");
    corpus.join("manifest.json").is_file().then_some(corpus)
}

/// Each set of the corpus in this language: `Some` fields divide the set, the rest are axes.
const SETS: [(&str, &str); 14] = [
    ("cp_human_dapi_ph3", "AS_{plate}_{run}_{row:[A-P]}{col:2}f{field}d{c:1}.tif"),
    ("cp_fly_pos_channel", "^01_POS{pos}_{c:[A-Z]}.TIF$"),
    ("cp_track_timelapse", "^DrosophilaEmbryo_GFPHistone_{t:4}.tif$"),
    ("cp_wells_fields", "AS_{plate}_{run}_{row:[A-P]}{col:2}f{field}d{c:1}.TIF"),
    ("yokogawa_cv8000", "^*_{well:well}_T{t:4}F{field:3}L{l:2}A{_a:2}Z{z:2}C{c:2}.tif$"),
    ("bdp_c2_t6", "image--C{c}--T{t}.tif"),
    ("bdp_c2_t6_subfolders", "ch{c}/T{t}.tif"),
    ("mitocheck_movie", "--W{well}--P{pos}--T{t}--Z{z}--C.tif"),
    ("em_volume_z", "_z{z}.tif"),
    ("cytokit_t_c", "^T{t}_C{c}.tif$"),
    ("viv_channels", "^Channel_{c}.tif$"),
    ("ome_multifile_companion", "-Z{z}.ome.tiff$"),
    ("banana_z", "banana{z}.tif"),
    ("dice_timelapse", "Img_{t}.tif"),
];

/// Names of the files under `folder`, relative to it.
fn listing(folder: &std::path::Path, base: &std::path::Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            listing(&path, base, names);
        } else {
            names.push(path.strip_prefix(base).unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn real_sets_have_their_labels_and_inference_is_never_wrong() {
    let Some(corpus) = corpus() else {
        skipped("no corpus");
        return;
    };
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(corpus.join("manifest.json")).unwrap()).unwrap();
    let strings = |v: &serde_json::Value| -> Vec<String> {
        v.as_array().map(|a| a.iter().filter_map(|s| s.as_str().map(str::to_owned)).collect()).unwrap_or_default()
    };
    let mut wrong = Vec::new();
    for set in manifest["series"].as_array().unwrap() {
        let name = set["name"].as_str().unwrap();
        let Some((_, text)) = SETS.iter().find(|(n, _)| *n == name) else {
            println!("{name}: no pattern written for it");
            continue;
        };
        let folder = corpus.join(set["path"].as_str().unwrap());
        let mut names = Vec::new();
        listing(&folder, &folder, &mut names);
        let pattern = Pattern::parse(text).unwrap();
        let found = arrange(&pattern, &names, &Default::default()).unwrap();
        let mut unmatched: Vec<String> = found.unmatched.iter().map(|i| names[*i as usize].clone()).collect();
        unmatched.sort();
        assert_eq!(unmatched, strings(&set["unmatched"]), "{name}");
        assert!(found.duplicates.is_empty(), "{name}");
        let mut seen = 0;
        for group in set["groups"].as_array().unwrap() {
            let inside: Vec<String> = found
                .cells
                .iter()
                .map(|(_, i)| names[*i as usize].clone())
                .filter(|n| {
                    let values = pattern.matches(n).unwrap();
                    group["group"].as_object().unwrap().iter().all(|(field, value)| {
                        let at = pattern.fields().iter().position(|f| f.name == *field).unwrap();
                        values[at] == value.as_str()
                    })
                })
                .collect();
            seen += inside.len();
            let own = arrange(&pattern, &inside, &Default::default()).unwrap();
            for (axis, labels) in group["labels"].as_object().unwrap() {
                let axis = own.axes.iter().find(|a| a.name == *axis).unwrap();
                assert_eq!(axis.labels, strings(labels), "{name} {}", axis.name);
            }
            let missing = group["missing"].as_array().unwrap().len() as u64;
            assert_eq!(own.holes.count, missing, "{name}");
        }
        assert_eq!(seen, found.cells.len(), "{name}");
        match infer(&names, &InferOptions::default()) {
            Err(e) => println!("{name:<24} refused  {}", e.to_string().lines().next().unwrap_or_default()),
            Ok(inferred) => {
                let right = agree(&found, &inferred.arrangement, names.len());
                println!("{name:<24} {}    {}", if right { "right" } else { "WRONG" }, inferred.pattern);
                if !right {
                    wrong.push(name.to_owned());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
}

/// Small random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// Enough to have met every mistake that three thousand found.
const N_CASES: usize = 500;

/// Names made of parts in any order, some of them misleading, some files missing.
#[test]
fn made_up_names_are_never_read_wrong() {
    let markers: [(&str, &[&str]); 6] = [
        ("c", &["ch", "C", "c", "channel", "CH"]),
        ("t", &["t", "T", "tp", "stack", "time"]),
        ("z", &["z", "Z", "slice", "zs"]),
        ("p", &["pos", "xy", "scene", "Pos"]),
        // What no marker tells.
        ("u", &["n", "img", "foo", "", "s", "p", "f"]),
        ("v", &["DAPI", "Trans", "left"]),
    ];
    let mut dice = Dice(0x1234_5678_9ABC_DEF1);
    let mut counts = [0; 4];
    for case in 0..N_CASES {
        let mut axes: Vec<(&str, &str, usize, usize, usize)> = Vec::new();
        for _ in 0..=dice.roll(4) {
            let (axis, spellings) = markers[dice.roll(5)];
            if !axes.iter().any(|a| a.0 == axis) {
                axes.push((axis, dice.pick(spellings), 1 + dice.roll(6), dice.roll(3), dice.pick(&[1, 1, 2, 3, 4])));
            }
        }
        let separator = dice.pick(&["_", "-", "_", " ", ""]);
        let head = dice.pick(&["", "exp01_", "2019-03-04 mouse7", "a_t0_", "raw/s1/", "CamA_"]);
        let tail = dice.pick(&["", "_ORG", "_488nm", "_000x_000y", "_t"]);
        let decoy = dice.roll(6);
        let total: usize = axes.iter().map(|a| a.2).product();
        let names: Vec<String> = (0..total)
            .map(|cell| {
                let lengths: Vec<usize> = axes.iter().map(|a| a.2).collect();
                let at = schemes::unravel(cell, &lengths);
                let mut name = head.to_owned();
                for (k, (axis, marker, _, first, width)) in axes.iter().enumerate() {
                    // Side by side without a separator, letters must divide the numbers.
                    let marker = if separator.is_empty() && marker.is_empty() { "q" } else { marker };
                    let width = if separator.is_empty() { 3 } else { *width };
                    name.push_str(&format!("{}{marker}{:0width$}", if k > 0 { separator } else { "" }, at[k] + first));
                    let _ = axis;
                }
                match decoy {
                    // Different for every file, or together with the first part.
                    1 => name.push_str(&format!("_{:08}", 1000 + cell * 37)),
                    2 => name.push_str(&format!("_{:05}msec", at[0] * 250)),
                    3 => name.push_str(&format!("_{}", at[0] * 7)),
                    4 => name.push_str(&format!("_{}nm", 405 + at[at.len() - 1] * 80)),
                    _ => {}
                }
                name + tail + ".tif"
            })
            .collect();
        if total < 2 {
            continue;
        }
        let missing = if total > 12 { dice.roll(3) * total / 20 } else { 0 };
        let mut kept: Vec<usize> = (0..total).collect();
        for _ in 0..missing {
            kept.remove(dice.roll(kept.len()));
        }
        let names: Vec<String> = kept.iter().map(|cell| names[*cell].clone()).collect();
        let outcome = match infer(&names, &InferOptions::default()) {
            Err(_) => Outcome::Refused,
            Ok(found) => {
                let read = positions(&found.arrangement, names.len());
                let lengths: Vec<usize> = axes.iter().map(|a| a.2).collect();
                let right = kept.iter().enumerate().all(|(i, cell)| {
                    let at = schemes::unravel(*cell, &lengths);
                    axes.iter().enumerate().filter(|(_, a)| a.2 > 1).all(|(k, (axis, _, _, first, _))| {
                        let value = (at[k] + first) as u64;
                        let is_value = |label: &str| label.parse::<u64>().ok() == Some(value);
                        match *axis {
                            "c" | "t" | "z" => read[i].iter().any(|(n, label)| n == axis && is_value(label)),
                            _ => read[i].iter().any(|(_, label)| is_value(label)),
                        }
                    })
                });
                if right { Outcome::Right } else { Outcome::Wrong }
            }
        };
        counts[outcome as usize] += 1;
        assert_ne!(
            outcome,
            Outcome::Wrong,
            "case {case}: {axes:?}\n{}\n{:?}",
            names[..names.len().min(6)].join("\n"),
            infer(&names, &InferOptions::default()).map(|f| (f.pattern.to_string(), f.why))
        );
    }
    println!("right {}, refused {}", counts[0], counts[2]);
    assert!(counts[0] > N_CASES / 4, "{counts:?}");
}

/// Names that look like something they may not be.
#[test]
fn misleading_names_are_asked_about() {
    let names = |make: &dyn Fn(usize) -> String| -> Vec<String> { (0..12).map(make).collect() };
    let lists: [(&str, Vec<String>); 10] = [
        ("a column beside a constant row", names(&|i| format!("img_r000_c{i:03}.tif"))),
        ("exposures", names(&|i| format!("cell_{}ms.tif", (i + 1) * 10))),
        ("magnifications", names(&|i| format!("cell_{}x.tif", (i + 1) * 10))),
        ("beads", names(&|i| format!("bead_{}nm.tif", (i + 1) * 20))),
        ("a stack of slices", names(&|i| format!("stack{i:04}.tif"))),
        ("frames", names(&|i| format!("frame_{i:04}.tif"))),
        ("a date and a time", names(&|i| format!("20190304_{:06}.tif", 120_000 + i * 7))),
        ("z and t together", names(&|i| format!("a_z{i:02}_t{i:02}.tif"))),
        ("a channel and a plane run together", names(&|i| format!("ch{:02}{:04}.tif", i % 2, i / 2))),
        ("samples", names(&|i| format!("mouse{}_ch{}.tif", i / 2 + 3, i % 2))),
    ];
    for (what, names) in lists {
        if let Ok(found) = infer(&names, &InferOptions::default()) {
            panic!("{what}: read as {} ({:?})", found.pattern, found.why);
        }
    }
    // With a partner the same letters are clear.
    let clear: [(&str, Vec<String>); 4] = [
        ("t", names(&|i| format!("a_stack{:04}_{:07}msec.tif", i, i * 500))),
        ("t", names(&|i| format!("frame{:04}_z{:02}.tif", i / 3, i % 3))),
        ("c", names(&|i| format!("a_{}nm_t{:02}.tif", [488, 561][i % 2], i / 2))),
        ("x", names(&|i| format!("a_{:03}x_{:03}y.tif", i / 3, i % 3))),
    ];
    for (axis, names) in clear {
        let found = infer(&names, &InferOptions::default()).unwrap_or_else(|e| panic!("{axis}: {e}"));
        assert!(found.arrangement.axes.iter().any(|a| a.name == axis), "{axis}: {}", found.pattern);
    }
}
