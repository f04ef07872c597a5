//! Tests of the language, the matcher and arrangements together.

use proptest::prelude::*;

use stackctl::pattern::{ArrangeOptions, Pattern, arrange};

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
    matches("{p}_*_{p}.tif", "1_2_x_2.tif", &["2"]);
    matches("{p}_*{p}_{t}", "7_8_07_5.tif", &["7", "5"]);
    matches("^{q:text}_{p:text}-<{p:text}>-{t}", "a_b-b-3.tif", &["a", "b", "3"]);
    matches("<{p}_>{t}_{p}$", "4_5_04", &["4", "5"]);
    matches("{z:3+}.tif", "z1204.tif", &["1204"]);
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
    refuses("{z:3+}.tif", "z12.tif");
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

#[test]
fn letters_with_marks_are_one_letter_however_they_are_stored() {
    let names = ["Pru\u{308}fling_a\u{308}_t1.tif", "Pr\u{fc}fling_\u{e4}_t2.tif"];
    let pattern = Pattern::parse("Pru\u{308}fling_{c:word}_t{t}").unwrap();
    let found = arrange(&pattern, &names, &ArrangeOptions::default()).unwrap();
    assert_eq!((found.axes[0].labels.as_slice(), found.axes[1].len()), (["\u{e4}".to_owned()].as_slice(), 2));
    assert!(Pattern::regex("Pru\u{308}f.*_t(?P<t>[0-9])").unwrap().matches("Pr\u{fc}f_t1").is_some());
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_a_mistake(text in "[\\PC{}<>*?\\[\\]:|.@a-c0-9/\\\\^$+-]{0,40}", name in "\\PC{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            // Where it does not match, the error explains how far it came.
            let _ = arrange(&pattern, &[name.as_str()], &ArrangeOptions::default());
        }
    }
}
