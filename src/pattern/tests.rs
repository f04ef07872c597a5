//! Tests of the language, the matcher and arrangements together.

use proptest::prelude::*;

use super::*;

fn values(pattern: &str, name: &str) -> Option<Vec<String>> {
    let pattern = Pattern::parse(pattern).unwrap_or_else(|e| panic!("{e}"));
    let found = pattern.matches(name)?;
    Some(found.into_iter().map(|v| v.unwrap_or("<absent>").to_owned()).collect())
}

#[track_caller]
fn matches(pattern: &str, name: &str, expected: &[&str]) {
    assert_eq!(values(pattern, name).unwrap_or_else(|| panic!("'{pattern}' does not match '{name}'")), expected);
}

#[track_caller]
fn refuses(pattern: &str, name: &str) {
    assert_eq!(values(pattern, name), None, "'{pattern}' on '{name}'");
}

#[track_caller]
fn mistake(pattern: &str, column: usize, says: &str) {
    let text = Pattern::parse(pattern).map(|_| ()).unwrap_err().to_string();
    assert!(text.starts_with(&format!("pattern column {column}: ")) && text.contains(says), "{text}");
}

#[test]
fn values_are_found_where_the_pattern_says() {
    let blog = "ex6-2_CamA_ch1_CAM1_stack0003_560nm_0131245msec_0001423040msecAbs_000x_000y_000z_0000t.tif";
    matches("_ch{c}_*_stack{t}_*_{x}x_{y}y_", blog, &["1", "0003", "000", "000"]);
    matches(
        "_ch{c}_*_stack{t}_*_{c@nm}nm_{t@ms}msec_",
        &blog.replace("stack0003_", "stack0003__"),
        &["1", "0003", "560", "0131245"],
    );
    matches("_{c@nm}nm_{t@ms}msec_", blog, &["560", "0131245"]);
    matches("Cam{c.camera:[AB]}_ch{c.channel}_", blog, &["A", "1"]);
    matches(
        "Pos{p}/img_{t:9}_{c:word}_{z:3}.tif",
        "a/1-Pos7/img_000000012_DAPI_003.tif",
        &["7", "000000012", "DAPI", "003"],
    );
    matches("ch{c:2}{z:4}", "background_ch010000.tif", &["01", "0000"]);
    matches("{z}.tif", "a12/slice0012.tif", &["0012"]);
    matches("_w{c:1}*", "AD_A01_w2247376DD-6ADD.tif", &["2"]);
    matches(
        "r{row:2}c{col:2}f{f:2}p{z:2}-ch{c}sk{t}fk{k}fl{l}",
        "r01c02f03p04-ch1sk5fk1fl1.tiff",
        &["01", "02", "03", "04", "1", "5", "1", "1"],
    );
    matches(
        "{row:[A-P]} - {col}(fld {f} wv {c:text})",
        "B - 02(fld 01 wv DAPI - DAPI).tif",
        &["B", "02", "01", "DAPI - DAPI"],
    );
    matches("_{t:duration}.tif", "VID1607_C1_2_00d03h00m.tif", &["00d03h00m"]);
    matches("{well:well}_{f:int}_{i}_{c:word}_", "A1_-2_1_DAPI_003.tif", &["A1", "-2", "1", "DAPI"]);
    matches("_Mag{m:float}x_", "name_Mag1.25x_Tile0.tiff", &["1.25"]);
    matches("Pos{p}<_{z}>.ome", "x_MMStack_Pos0.ome.tif", &["0", "<absent>"]);
    matches("Pos{p}<_{z}>.ome", "x_MMStack_Pos0_2.ome.tif", &["0", "2"]);
    matches("/{z}.tif", "00012.tif", &["00012"]);
    matches("/{z}.tif", "a/00012.tif", &["00012"]);
    matches("^{z}.tif$", "a/00012.tif", &["00012"]);
    matches("^ch{c}/T{t}.tif$", "/data/ch7/ch1/T0002.tif", &["1", "0002"]);
    matches("**/c{c}/**/{t}.tif", "a/b/c1/d/e/07.tif", &["1", "07"]);
    matches("_c{c:DAPI|GFP|GFP2}", "a_cGFP2_1.tif", &["GFP2"]);
    matches("_{name:word}_", "a_Zellgröße_1.tif", &["Zellgröße"]);
    matches("{p}_x_{p}", "03_x_3.tif", &["03"]);
}

#[test]
fn nothing_is_cut_out_of_a_number() {
    refuses("img_{t:3}", "img_0001.tif");
    refuses("{z:4}.tif", "slice00012.tif");
    refuses("^{z}.tif", "slice0012.tif");
    refuses("^ch{c}/T{t}.tif$", "data/xch1/T0002.tif");
    refuses("_{t}*0_", "a_1230_.tif");
    refuses("Pos{p}/img_*{z:3}.tif", "Pos1/img/a_003.tif");
    refuses("_c{c:1|2}", "a_c12.tif");
    refuses("{p}_x_{p}", "03_x_4.tif");
    refuses("{c:letters}.tif", "a1b2.tif");
}

#[test]
fn mistakes_are_pointed_at() {
    mistake("_ch{c_stack", 4, "never closed");
    mistake("_ch}c_", 4, "'}' without '{'");
    mistake("_{c:wrod}_", 5, "did you mean 'word'");
    mistake("_{t}{z}_", 5, "give a width");
    mistake("_{c:word}{t}_", 10, "give a width");
    mistake("_{t@parsec}", 5, "unknown unit 'parsec'");
    mistake("_{3}", 3, "begins with a letter");
    mistake("_{}", 3, "needs a name");
    mistake("_{z:03d}", 5, "write ':03'");
    mistake("_<_part{z}", 2, "never closed");
    mistake("test_Z<0-1>{c}", 7, "Bio-Formats");
    mistake("abc", 4, "nothing in it is a field");
    mistake("é_{t", 3, "never closed");
    mistake("_{c:[]}", 5, "empty");
    mistake("_{c:[A-C][0-9]+}", 5, "one set");
    mistake("_{c:a||b}", 5, "word 2");
    mistake("*{c:text}_{t}", 2, "leave '*' out");
}

#[test]
fn names_are_written_as_they_are_read() {
    let pattern = Pattern::parse("Pos{p}<_{z}>_{c:word}*.ome").unwrap();
    assert_eq!(pattern.format(&[Some("3"), None, Some("GFP")]).unwrap(), "Pos3_GFP.ome");
    assert_eq!(pattern.format(&[Some("3"), Some("04"), Some("GFP")]).unwrap(), "Pos3_04_GFP.ome");
    assert!(pattern.format(&[Some("x"), None, Some("GFP")]).is_err());
    // '_04' would be read as the optional part, and the channel would be missing.
    assert!(pattern.format(&[Some("3"), None]).is_err());
}

#[test]
fn regular_expressions_name_fields_too() {
    let pattern = Pattern::regex(r"_ch(?P<c>\d)_stack(?P<t>\d+)_(?<c_nm>\d+)nm_(?<_rest>.*)").unwrap();
    let names: Vec<String> =
        (0..12).map(|i| format!("a_ch{}_stack{:03}_{}nm_x.tif", i % 3, i / 3, 400 + i % 3 * 50)).collect();
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    assert_eq!(found.axes[0].coordinates, Some(vec![400.0, 450.0, 500.0]));
    assert_eq!(found.axes[0].unit.as_deref(), Some("nanometer"));
    assert_eq!(found.axes[1].labels, ["000", "001", "002", "003"]);
    let folders = Pattern::regex(r"^ch(?P<c>\d+)/T(?P<t>\d+)\.tif$").unwrap();
    assert_eq!(folders.matches("/data/ch1/T0002.tif"), Some(vec![Some("1"), Some("0002")]));
    assert_eq!(folders.matches("/data/xch1/T0002.tif"), None);
    assert!(Pattern::regex("(a").is_err() && Pattern::regex("(a)").is_err());
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
}

#[test]
fn names_divide_by_the_value_of_a_field() {
    let pattern = Pattern::parse("{w.row:[A-H]}{w.col:2}_t{t}").unwrap();
    let names = ["B02_t1", "A10_t0", "A02_t0", "x", "A02_t1"];
    let Split { groups, unmatched } = split(&pattern, &names, "w").unwrap();
    assert_eq!(groups, [("A-02".to_owned(), vec![2, 4]), ("A-10".to_owned(), vec![1]), ("B-02".to_owned(), vec![0])]);
    assert_eq!(unmatched, [3]);
    assert!(split(&pattern, &names, "q").is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_a_mistake(text in "[\\PC{}<>*?\\[\\]:|.@a-c0-9/\\\\^$+-]{0,40}", name in "\\PC{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.matches(&name);
            let _ = pattern.explain(&name);
        }
    }

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
            let _ = split(&pattern, &names, "t");
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
