//! Every known way of naming files: names to axes, labels, coordinates and cells, and the properties that
//! keep a plane from the wrong place.

mod schemes;

use schemes::Scheme;
use stackctl::pattern::{ArrangeOptions, Arrangement, Pattern, TileOrder, arrange, natural_cmp};

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
