//! Every known way of naming files: names to axes, labels, coordinates and cells, and the properties that
//! keep a plane from the wrong place.

use crate::common::{run, tempdir};
use crate::schemes;
use proptest::prelude::*;
use schemes::Scheme;
use stackctl::pattern::{
    ArrangeOptions, Arrangement, InferOptions, Pattern, Split, TileOrder, arrange, infer, natural_cmp, split,
    user_presets,
};

fn options(scheme: &Scheme) -> ArrangeOptions {
    let layout = scheme.layout.iter().map(|text| TileOrder::parse(text).unwrap()).collect();
    ArrangeOptions { layout, ..ArrangeOptions::default() }
}

fn arranged(scheme: &Scheme, names: &[String]) -> Arrangement {
    let pattern = Pattern::parse(scheme.pattern).unwrap_or_else(|e| panic!("scheme {}: {e}", scheme.name));
    arrange(&pattern, names, &options(scheme)).unwrap_or_else(|e| panic!("scheme {}: {e}", scheme.name))
}

/// A fixed shuffle.
fn shuffled(names: &[String]) -> Vec<String> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut names = names.to_vec();
    for i in (1..names.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        names.swap(i, (state % (i as u64 + 1)) as usize);
    }
    names
}

#[test]
fn every_scheme_gives_the_axes_a_person_expects() {
    for scheme in schemes::all() {
        let mut names = scheme.names.clone();
        names.extend(scheme.strangers.iter().cloned());
        let names = shuffled(&names);
        let found = arranged(&scheme, &names);
        let label = scheme.name;
        let axes: Vec<(&str, Vec<String>)> = found.axes.iter().map(|a| (a.name.as_str(), a.labels.clone())).collect();
        assert_eq!(axes, scheme.axes, "scheme {label}");
        found.check(&names).unwrap_or_else(|e| panic!("scheme {label}: {e}"));
        for (cell, name) in &found.cells {
            assert_eq!(names[*name as usize], scheme.names[*cell as usize], "scheme {label}: cell {cell}");
        }
        assert_eq!(found.cells.len(), scheme.names.len(), "scheme {label}");
        let mut strangers: Vec<&str> = scheme.strangers.iter().map(String::as_str).collect();
        strangers.sort_by(|a, b| natural_cmp(a, b));
        let unmatched: Vec<&str> = found.unmatched.iter().map(|i| names[*i as usize].as_str()).collect();
        assert_eq!(unmatched, strangers, "scheme {label}");
        for (axis, unit, values) in &scheme.coordinates {
            let axis = found.axes.iter().find(|a| a.name == *axis).unwrap();
            assert_eq!(axis.unit.as_deref(), Some(*unit), "scheme {label}");
            let measured = axis.coordinates.as_deref().unwrap();
            assert_eq!(measured.len(), values.len(), "scheme {label}");
            for (a, b) in measured.iter().zip(values) {
                assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "scheme {label}: {a}, expected {b}");
            }
            let even = axis.name != "c" && values.len() > 1;
            assert!(!even || axis.step.is_some(), "scheme {label}: {} is evenly spaced", axis.name);
        }
    }
}

#[test]
fn all_forty_eight_are_there_with_hundreds_of_names() {
    let mut numbers: Vec<u32> = Vec::new();
    for scheme in schemes::all() {
        numbers.push(scheme.name.trim_end_matches(char::is_alphabetic).parse().unwrap());
        assert!(scheme.names.len() >= 90 || scheme.name == "33b", "scheme {}: {}", scheme.name, scheme.names.len());
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=48).collect::<Vec<_>>());
}

#[test]
fn names_written_from_their_values_read_the_same() {
    for scheme in schemes::all() {
        let pattern = Pattern::parse(scheme.pattern).unwrap();
        for name in &scheme.names {
            let values = pattern.matches(name).unwrap_or_else(|| panic!("scheme {}: {name}", scheme.name));
            let written = pattern.format(&values).unwrap_or_else(|e| panic!("scheme {}: {e}", scheme.name));
            assert_eq!(pattern.matches(&written).as_ref(), Some(&values), "scheme {}", scheme.name);
        }
    }
}

#[test]
fn a_removed_file_is_exactly_that_hole() {
    for scheme in schemes::all() {
        let total = scheme.names.len();
        // Ends of a lone axis cannot be missed: nothing says that they should be there.
        for cell in [total / 3, total / 2, total - 2, 1] {
            let lone = scheme.axes.iter().filter(|a| a.1.len() > 1).count() == 1;
            if lone && (!matches!(scheme.axes[0].0, "t" | "z") || cell == 0 || cell + 1 == total) {
                continue;
            }
            let mut names = scheme.names.clone();
            names.remove(cell);
            let found = arranged(&scheme, &names);
            assert_eq!(found.holes.iter().collect::<Vec<_>>(), [cell as u64], "scheme {}", scheme.name);
            assert_eq!(found.axes.iter().map(|a| a.labels.len()).product::<usize>(), total, "scheme {}", scheme.name);
            assert!(found.check(&names).is_err() && found.duplicates.is_empty());
        }
    }
}

#[test]
fn a_file_renamed_to_anothers_position_is_exactly_that_duplicate() {
    for scheme in schemes::all() {
        let pattern = Pattern::parse(scheme.pattern).unwrap();
        let total = scheme.names.len();
        let (from, to) = (total / 3, total / 2);
        let lone = scheme.axes.iter().filter(|a| a.1.len() > 1).count() == 1;
        if lone && !matches!(scheme.axes[0].0, "t" | "z") {
            continue;
        }
        // Another folder's file of the same name, or a copy, claims the position.
        let mut names = scheme.names.clone();
        names[from] = if pattern.in_path() { format!("copy/{}", names[to]) } else { format!("copy of/{}", names[to]) };
        let found = arranged(&scheme, &names);
        assert_eq!(found.holes.iter().collect::<Vec<_>>(), [from as u64], "scheme {}", scheme.name);
        let [duplicate] = found.duplicates.as_slice() else { panic!("scheme {}: {:?}", scheme.name, found.duplicates) };
        assert_eq!(duplicate.cell, to as u64, "scheme {}", scheme.name);
        let mut claimed = duplicate.names.clone();
        claimed.sort_unstable();
        assert_eq!(claimed, [from as u32, to as u32], "scheme {}", scheme.name);
    }
}

#[test]
fn patterns_are_taken_by_a_shell_as_they_are_printed() {
    let folder = tempdir().unwrap();
    for z in -1..2 {
        std::fs::write(folder.path().join(format!("-z{z}.tif")), "").unwrap();
    }
    for flags in ["--pattern '-z{z:int}.tif'", "--regex '-z(?P<z>-?[0-9]).tif'", "--pattern '-z{z:int}' --axes z,y,x"] {
        let line = format!("{} inspect --names-only {flags} .", run::PROGRAM);
        let ran = std::process::Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        assert!(ran.status.success(), "{flags}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

fn blog(n_t: usize) -> Vec<String> {
    let mut names = Vec::new();
    for t in 0..n_t {
        for (c, nm) in [488, 560, 642].iter().enumerate() {
            names.push(format!(
                "ex6-2_CamA_ch{c}_CAM1_stack{t:04}_{nm}nm_{:07}msec_{:010}msecAbs_000x_000y_000z_0000t.tif",
                t * 43749,
                1_423_040 + t * 43749 + c * 10
            ));
        }
    }
    names
}

#[test]
fn values_with_units_are_coordinates() {
    let pattern = Pattern::parse("_ch{c}_*_stack{t}_{c@nm}nm_{t@ms}msec_").unwrap();
    let names = blog(7);
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    found.check(&names).unwrap();
    let [c, t] = found.axes.as_slice() else { panic!("{:?}", found.axes) };
    assert_eq!(c.coordinates.as_deref(), Some([488.0, 560.0, 642.0].as_slice()));
    assert_eq!((t.step, t.unit.as_deref(), t.len()), (Some(43749.0), Some("millisecond"), 7));
    assert_eq!(found.cells.len(), 21);
}

#[test]
fn coordinates_must_follow_their_axis() {
    let pattern = Pattern::parse("_ch{c}_*_stack{t}_*_{t@ms}msecAbs_").unwrap();
    let names = blog(3);
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    assert_eq!(found.conflicts[0].positions, 3);
    let text = found.check(&names).unwrap_err().to_string();
    assert!(text.contains("{t@ms} is not the same for every file of one t"), "{text}");
}

#[test]
fn missing_and_double_files_are_told_by_position() {
    let pattern = Pattern::parse("_ch{c}_*_stack{t}_").unwrap();
    let mut names = blog(20);
    names.retain(|n| !(n.contains("stack0007") || n.contains("ch2") && n.contains("stack0011")));
    let copy = names[4].replace(".tif", "_copy.tif");
    names.push(copy);
    names.push("AVG_DF400_CamA_10ms.tif".to_owned());
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    assert_eq!(found.holes.count, 4);
    assert_eq!(found.duplicates.len(), 1);
    assert_eq!(found.unmatched, [names.len() as u32 - 1]);
    let faults: Vec<String> = found.faults(&names).into_iter().map(|f| f.text).collect();
    assert!(faults[1].contains("t=7 (every c, 3 files)"), "{}", faults[1]);
    assert!(faults[1].contains("c=2 t=11"), "{}", faults[1]);
    assert!(faults[0].contains("c=1 t=1"), "{}", faults[0]);
    assert!(faults[2].contains("AVG_DF400"), "{}", faults[2]);
}

#[test]
fn channels_may_skip_numbers_but_time_may_not() {
    let pattern = Pattern::parse("T{t}_CH{c}").unwrap();
    let names: Vec<String> =
        [1, 2, 4].iter().flat_map(|c| [3, 4, 5, 7, 8].map(|t| format!("T{t:02}_CH{c}.tif"))).collect();
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    assert_eq!(found.axes[1].labels, ["1", "2", "4"]);
    assert_eq!(found.axes[0].labels, ["03", "04", "05", "06", "07", "08"]);
    assert_eq!(found.axes[0].inserted, [3]);
    assert_eq!(found.holes.count, 3);
}

#[test]
fn a_series_with_more_holes_than_files_is_not_squeezed() {
    let names: Vec<String> = [0, 1, 2, 9, 10, 20, 21].map(|z| format!("z{z:03}.tif")).into();
    let arranged = |text: &str, names: &[String]| {
        arrange(&Pattern::parse(text).unwrap(), names, &ArrangeOptions::default()).unwrap()
    };
    let found = arranged("z{z}", &names);
    assert_eq!((found.axes[0].len(), found.holes.count), (22, 15));
    let text = found.check(&names).unwrap_err().to_string();
    assert!(text.contains("{z:word} takes them in order"), "{text}");
    let found = arranged("z{z:word}", &names);
    assert_eq!((found.axes[0].len(), found.holes.count), (7, 0));
    // Signs and decimals are parts of numbers.
    let names: Vec<String> = ["-1.0", "-0.5", "0.5", "1", "1.5"].map(|z| format!("z{z}.tif")).into();
    let found = arranged("z{z:float}.tif", &names);
    assert_eq!(found.axes[0].labels, ["-1.0", "-0.5", "0.0", "0.5", "1", "1.5"]);
    assert_eq!(found.holes.iter().collect::<Vec<_>>(), [2]);
    // Time stamps without a common step have only their order.
    let names: Vec<String> = [0, 43, 86, 130, 173].map(|t| format!("t{t}.tif")).into();
    let found = arranged("t{t}", &names);
    assert_eq!((found.axes[0].len(), found.holes.count), (5, 0));
    assert!(found.notes[0].contains("not evenly spaced"), "{:?}", found.notes);
    // Numbers at the ends of what can be counted are no series.
    let names =
        ["t-9223372036854775808.tif", "t9223372036854775807.tif", "t9223372036854775806.tif"].map(str::to_owned);
    assert_eq!(arranged("t{t:int}", &names).axes[0].len(), 3);
}

#[test]
fn no_match_shows_the_nearest_name() {
    let pattern = Pattern::parse("_chan{c}_stack{t}_").unwrap();
    let text = arrange(&pattern, &blog(2), &ArrangeOptions::default()).unwrap_err().to_string();
    assert!(text.contains("here the pattern wants '_chan'"), "{text}");
    assert!(text.contains("\n            ^^^ here"), "{text}");
    let told = |pattern: &str, name: &str| {
        arrange(&Pattern::parse(pattern).unwrap(), &[name], &ArrangeOptions::default()).unwrap_err().to_string()
    };
    assert!(told("_z{z}_", "a_z-10_b").contains("{z:int}"), "{}", told("_z{z}_", "a_z-10_b"));
    assert!(told("_z{z}um", "a_z1.5um").contains("{z:float}"), "{}", told("_z{z}um", "a_z1.5um"));
}

#[test]
fn names_divide_by_the_value_of_a_field() {
    let pattern = Pattern::parse("{w.row:[A-H]}{w.col:2}_t{t}").unwrap();
    let names = ["B02_t1", "A10_t0", "A02_t0", "x", "A02_t1"];
    let Split { groups, unmatched } = split(&pattern, &names, &["w"], &["w".to_owned()]).unwrap();
    let own: Vec<(&str, &[u32])> = groups.iter().map(|group| (group.value.as_str(), &group.names[..])).collect();
    assert_eq!(own, [("A-02", &[2, 4][..]), ("A-10", &[1]), ("B-02", &[0])]);
    // The times of all, which some of them share, are those of each, but for what is behind its last one.
    let more: Vec<Vec<&str>> =
        groups.iter().map(|group| group.elsewhere.iter().map(|(_, name)| name.as_str()).collect()).collect();
    assert_eq!(more, [vec![], vec![], vec!["A10_t0"]]);
    let notes: Vec<usize> = groups.iter().map(|group| group.notes.len()).collect();
    assert_eq!((notes, groups[1].notes[0].contains("axis t ends 1 before")), (vec![0, 1, 0], true));
    assert_eq!(unmatched, [3]);
    assert!(split(&pattern, &names, &["q"], &[]).is_err());
}

proptest! {
    #[test]
    fn any_names_are_arranged_or_refused(
        names in prop::collection::vec("[a-cChtz0-2_./ -]{0,14}|\\PC{0,12}", 0..16),
        text in "[{}<>*tcz:@ms0-3_/?|a.]{1,16}",
        cut in 0..9usize,
    ) {
        let _ = infer(&names, &InferOptions::default());
        let patterns = [text.as_str(), "{t}", "{c:letters}{t}<_{z}>", "{x:float}*{y@um}", "{c.a:word}_{c.b}"];
        for text in patterns {
            let Ok(pattern) = Pattern::parse(text) else { continue };
            let _ = split(&pattern, &names, &["t"], &[]);
            if let Ok(found) = arrange(&pattern, &names, &ArrangeOptions::default()) {
                let total = found.cells.len() + found.unmatched.len();
                prop_assert_eq!(total, names.len());
                let _ = found.faults(&names);
                let _ = found.holes.describe(&found.axes, cut);
            }
        }
    }

    #[test]
    fn any_order_of_names_gives_the_same_arrangement(names in Just(blog(6)).prop_shuffle()) {
        let pattern = Pattern::parse("_ch{c}_*_stack{t}_").unwrap();
        let sorted = blog(6);
        let by_name = |names: &[String]| {
            let found = arrange(&pattern, names, &ArrangeOptions::default()).unwrap();
            let cells: Vec<_> = found.cells.iter().map(|(cell, i)| (*cell, names[*i as usize].clone())).collect();
            (found.axes, cells)
        };
        prop_assert_eq!(by_name(&names), by_name(&sorted));
    }
}

fn with_holes(n_t: usize, n_z: usize, keep: impl Fn(usize, usize, usize) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for t in 0..n_t {
        for c in 0..2 {
            names.extend((0..n_z).filter(|z| keep(t, c, *z)).map(|z| format!("c{c}_t{t:03}_z{z}.tif")));
        }
    }
    names
}

#[test]
fn holes_are_seen() {
    let pattern = Pattern::parse("c{c}_t{t}_z{z}").unwrap();
    let names = with_holes(20, 3, |t, c, z| t != 7 && !(t == 11 && c == 1 && z > 0));
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    let picture = found.presence(40, 10).unwrap();
    assert_eq!(picture.lines(), ["t   0         10", "c0  ███████·████████████", "c1  ███████·███░████████"]);
    let coarse = found.presence(10, 1).unwrap();
    assert_eq!(coarse.lines()[1], "c0-1  ███▓█▓████");
    let filled: u64 = coarse.filled.iter().flatten().sum();
    let cells: u64 = coarse.cells.iter().flatten().sum();
    assert_eq!((filled, cells), (found.cells.len() as u64, found.holes.total));
}

#[test]
fn one_axis_and_none() {
    let pattern = Pattern::parse("t{t}").unwrap();
    let arranged = |names: &[&str]| arrange(&pattern, names, &ArrangeOptions::default()).unwrap();
    let found = arranged(&["t0", "t1", "t2", "t4"]);
    assert_eq!(found.presence(80, 20).unwrap().lines(), ["t  0", "   ███·█"]);
    assert!(arranged(&["t0"]).presence(80, 20).is_none());
}

#[test]
fn users_keep_their_own() {
    let text = "[preset.ours]\npattern = '_ch{c}_t{t}.tif'\nabout = 'basement'\nexample = 'a_ch0_t1.tif'\n";
    let found = user_presets(text).unwrap();
    assert_eq!((found[0].name.as_str(), found[0].program.as_str()), ("ours", "basement"));
    for (text, says) in [
        ("[preset.a]\npattern = '_{c'\n", "preset 'a': pattern column 2"),
        ("[preset.a]\nabout = 'x'\n", "either a pattern or a regex"),
        ("[preset.a]\npattern = '{t}'\nexample = 'x'\n", "does not match"),
        ("[preset.a]\npattern = '{t}'\nlayuot = 'x'\n", "layuot"),
        ("[preset.a]\npattern = '{t}'\nlayout = 'x'\n", "layout 'x'"),
        ("preset = 3", "line 1"),
    ] {
        let message = user_presets(text).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    assert!(user_presets("").unwrap().is_empty());
}
