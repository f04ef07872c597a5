//! What is around a part of the names, and in it, says what it may be: one table, and the few doubts that
//! other parts of the same names raise.

use std::collections::BTreeSet;
use std::ops::Range;

use super::atoms::{Column, Sort};
use crate::unit::{Quantity, Unit};

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// Never believed without being asked for.
    Possible,
    /// Believed where nothing else is as likely.
    Likely,
    /// Believed, and others that go with it follow it.
    Certain,
}

/// One thing that a column may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) axis: String,
    /// The unit that makes it a coordinate.
    pub(super) unit: Option<Unit>,
    pub(super) strength: Strength,
}

impl Reading {
    pub(super) fn new(axis: &str, strength: Strength) -> Self {
        Self { axis: axis.to_owned(), unit: None, strength }
    }
}

/// Where a clue stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a number: `ch1`, `ch_1`.
    Before,
    /// After a number: `000x`.
    After,
    /// Before a number in names that have wells.
    Plate,
    /// It is the value, without its digits: `DAPI`, `Cy5`.
    Value,
}

use At::{After, Before, Plate, Value};
use Strength::{Certain, Likely, Possible};

/// Where, which words in lower case, what they may mean, and how surely. Words of several rows mean different
/// things in different programs.
const CLUES: [(At, &str, &str, Strength); 46] = [
    (Plate, "f", "field", Certain),
    (Plate, "s", "site", Certain),
    (Plate, "w", "c", Certain),
    (Before, "c ch chn chan channel wavelength wv", "c", Certain),
    (Before, "t tp tl tm time timepoint", "t", Certain),
    (Before, "z zs zstep zpos slice sl section plane fp focal", "z", Certain),
    (Before, "x", "x", Certain),
    (Before, "y", "y", Certain),
    (After, "x", "x", Certain),
    (After, "y", "y", Certain),
    (After, "z", "z", Certain),
    (After, "t", "t", Certain),
    (Before, "pos position xy point stage", "p", Certain),
    (Before, "sp series", "series", Certain),
    (Before, "scene", "scene", Certain),
    (Before, "site", "site", Certain),
    (Before, "fld field", "field", Certain),
    (Before, "fov", "fov", Certain),
    (Before, "tile m", "tile", Certain),
    (Before, "view v", "view", Certain),
    (Before, "angle ang rot", "angle", Certain),
    (Before, "illum ill", "illumination", Certain),
    (Before, "cam cm camera", "camera", Certain),
    (Before, "cyc cycle", "cycle", Certain),
    (Before, "reg region", "region", Certain),
    (Before, "well", "well", Certain),
    (Before, "plate", "plate", Certain),
    (Before, "iter", "iteration", Certain),
    (Before, "frame fr", "t", Likely),
    (Before, "frame fr", "z", Likely),
    // Seconds or sections, stacks of several times or places: what else the names count does not tell.
    (Before, "stack page sec", "t", Possible),
    (Before, "stack page sec", "z", Possible),
    (Before, "depth", "z", Likely),
    (Before, "f", "field", Likely),
    (Before, "f", "t", Likely),
    (Before, "p", "p", Likely),
    (Before, "p", "z", Likely),
    (Before, "s", "series", Likely),
    (Before, "s", "z", Likely),
    (Before, "w", "c", Likely),
    (Before, "w", "well", Likely),
    (Before, "r row", "y", Likely),
    (Before, "r row", "row", Likely),
    (Before, "col column", "x", Likely),
    (Before, "col column", "column", Likely),
    (
        Value,
        "dapi gfp egfp rfp mrfp yfp eyfp cfp ecfp bfp ebfp mcherry cherry tdtomato tomato dsred mscarlet \
         mneongreen mkate mruby mturquoise irfp venus mvenus citrine mcitrine cerulean mcerulean cy fitc tritc rhodamine texasred \
         texred alexa alexafluor af atto hoechst sytox draq phalloidin actin tubulin nuclei nucleus er mito agp \
         rna dna bf brightfield phase ph dic trans transmitted red green blue farred cyan",
        "c",
        Certain,
    ),
];

/// Whether `word` is one of `words`, which are in lower case.
fn is_among(words: &str, word: &str) -> bool {
    let lower = word.to_lowercase();
    words.split_whitespace().any(|w| w == lower)
}

/// What a word means at a place.
fn clues(at: At, word: &str) -> Vec<Reading> {
    let says = |row: &&(At, &str, &str, Strength)| row.0 == at && is_among(row.1, word);
    CLUES.iter().filter(says).map(|(_, _, axis, strength)| Reading::new(axis, *strength)).collect()
}

/// Words that say no more than that a number follows.
const NUMBERS: &str = "position pos point stage step number no nr num index idx id";
/// Words before one for time that make it how long something lasts.
const LASTING: &str = "exposure integration shutter dwell bleach delay lag";

/// What letters before a number mean: the whole word, or what its last capital begins (`exT`, `HybCycle`).
pub(super) fn before(letters: &str) -> Vec<Reading> {
    let whole = clues(Before, letters);
    let (head, last) = letters.split_at(letters.rfind(char::is_uppercase).unwrap_or(0));
    if whole.is_empty() && head.ends_with(char::is_lowercase) { of_two(head, last) } else { whole }
}

/// What two words before a number mean: both as one (`time_point`), the first where the second only counts
/// (`z_position`), or the second.
fn of_two(first: &str, second: &str) -> Vec<Reading> {
    let (both, one) = (clues(Before, &format!("{first}{second}")), clues(Before, first));
    let mut found = match () {
        () if !both.is_empty() => both,
        () if is_among(NUMBERS, second) && !one.is_empty() => one,
        () => clues(Before, second),
    };
    if is_among(LASTING, first) && is_among("time", second) {
        found.iter_mut().filter(|r| r.axis == "t").for_each(|r| r.strength = Possible);
    }
    found
}

/// What letters after a number mean: a unit with the axis that is measured in it (`560nm`), or an axis (`000x`).
fn after(letters: &str) -> Vec<Reading> {
    let unit = Unit::parse(letters).filter(|_| letters.chars().count() > 1);
    let measured = |axis: &str, strength, unit| vec![Reading { unit: Some(unit), ..Reading::new(axis, strength) }];
    match unit {
        Some(unit) if unit.name == "nanometer" => measured("c", Certain, unit),
        Some(unit) if unit.quantity() == Quantity::Time => measured("t", Certain, unit),
        Some(unit) if unit.name == "degree" => measured("angle", Likely, unit),
        // A length other than a wavelength may be a depth, a distance or a size.
        Some(unit) if unit.quantity() == Quantity::Length => measured("z", Possible, unit),
        Some(unit) => measured(of_quantity(unit.name), Possible, unit),
        None => clues(After, letters),
    }
}

/// What a unit that is neither of length nor of time measures.
fn of_quantity(unit: &str) -> &'static str {
    const QUANTITIES: [(&str, &str); 5] = [
        ("electronvolt", "energy"),
        ("watt", "power"),
        ("volt", "voltage"),
        ("hertz", "frequency"),
        ("percent", "part"),
    ];
    QUANTITIES.iter().find(|(end, _)| unit.ends_with(end)).map_or("temperature", |(_, quantity)| quantity)
}

/// Whether the texts are `CamA`, `CamB`.
pub(super) fn is_camera(texts: &[&str]) -> bool {
    let letter = |t: &&str| {
        let is_cam = t.get(..3).is_some_and(|head| matches!(head, "Cam" | "CAM" | "cam"));
        is_cam && t.len() == 4 && t.ends_with(|c: char| c.is_ascii_uppercase())
    };
    texts.len() > 1 && texts.iter().all(letter)
}

/// What the values of a column of words mean.
fn of_words(texts: &[&str]) -> Vec<Reading> {
    if is_camera(texts) {
        return vec![Reading::new("camera", Certain)];
    }
    let letters = |t: &str| t.chars().filter(|c| c.is_alphabetic()).collect::<String>();
    let known = texts.iter().filter(|t| !clues(Value, &letters(t)).is_empty()).count();
    match known {
        0 => Vec::new(),
        n if n == texts.len() => vec![Reading::new("c", Certain)],
        // `GFP` beside `control` is a plasmid.
        _ => vec![Reading::new("c", Possible)],
    }
}

/// Lines of the lasers that microscopes have, in nanometers.
const LASERS: [&str; 40] = [
    "355", "375", "395", "405", "440", "442", "445", "458", "470", "473", "476", "488", "491", "496", "505", "514",
    "515", "532", "543", "552", "555", "559", "560", "561", "568", "590", "592", "594", "607", "633", "635", "637",
    "638", "639", "640", "642", "647", "660", "730", "785",
];

/// Wavelengths of light that microscopes see, in nanometers.
const LIGHT: Range<f64> = 300.0..1700.0;

fn are_within(texts: &[&str], range: Range<f64>) -> bool {
    texts.iter().all(|text| text.parse().is_ok_and(|number| range.contains(&number)))
}

/// Words for what is measured in nanometers and is no light.
const MEASURED: &str =
    "defocus df focus offset height bead beads size diameter thickness width gap pitch pixel step dz";

/// Whether the texts are whole numbers each of which follows the one before.
fn is_run(texts: &[&str]) -> bool {
    let numbers: Option<Vec<u64>> = texts.iter().map(|t| t.parse().ok()).collect();
    numbers.is_some_and(|n| n.windows(2).all(|pair| pair[0] + 1 == pair[1]))
}

/// What may be said of the column at `at`, and the letters or values it is called by.
pub(super) fn readings(columns: &[Column<'_>], at: usize) -> (Vec<Reading>, String) {
    let Some(column) = columns.get(at) else { return (Vec::new(), String::new()) };
    let texts = column.texts();
    let quoted = texts.first().copied().unwrap_or_default().to_owned();
    match column.sort {
        Sort::Number => {}
        Sort::Well => return (vec![Reading::new("well", Certain)], quoted),
        Sort::Duration => {
            return (vec![Reading { unit: Some(Unit::second()), ..Reading::new("t", Certain) }], quoted);
        }
        Sort::Stamp => return (vec![Reading::new("t", Possible)], quoted),
        Sort::Letters | Sort::Word => return (of_words(&texts), quoted),
        Sort::Guid | Sort::Separator => return (Vec::new(), quoted),
    }
    let before_it = |k: usize| at.checked_sub(k).and_then(|i| columns.get(i));
    let is_edge = |column: Option<&Column<'_>>| column.is_none_or(|c| c.sort == Sort::Separator);
    let glued = before_it(1).and_then(Column::letters);
    // The whole word that ends before the separator `k` columns before.
    let loose = |k: usize| {
        let divides = matches!(before_it(k)?.same()?, "_" | "-" | " " | "=");
        before_it(k + 1)?.letters().filter(|_| divides && is_edge(before_it(k + 2)))
    };
    let (head, first) = match glued {
        Some(_) => (glued, loose(2)),
        None => (loose(1), loose(3)),
    };
    let tail = columns.get(at + 1).and_then(Column::letters).filter(|_| is_edge(columns.get(at + 2)));
    let is_plate = columns.iter().any(|c| c.sort == Sort::Well);
    let on_plate = head.filter(|_| is_plate).map(|h| clues(Plate, h)).filter(|found| !found.is_empty());
    let of_head = || head.map(|last| first.map_or_else(|| before(last), |first| of_two(first, last)));
    let mut from_head = on_plate.or_else(of_head).unwrap_or_default();
    // `vitC5` is no channel; `cellC0T000` counts along two axes.
    let is_last = columns.get(at + 1).and_then(Column::letters).is_none() || tail.is_some();
    let is_letter = |l: &str| l.len() > 1 && l.rfind(char::is_uppercase) == Some(l.len() - 1);
    if is_last && glued.is_some_and(|l| is_letter(l) && clues(Before, l).is_empty()) {
        from_head.iter_mut().for_each(|r| r.strength = Possible);
    }
    if is_well_of_row(columns, at, &texts) {
        from_head.push(Reading::new("well", Possible));
    }
    let mut from_tail = tail.map(after).unwrap_or_default();
    // A marker says along what a length is; what else is measured in nanometers is no light.
    for r in from_tail.iter_mut().filter(|r| r.unit.as_ref().is_some_and(|u| u.quantity() == Quantity::Length)) {
        let along = from_head.iter().filter(|h| matches!(h.axis.as_str(), "z" | "x" | "y")).max_by_key(|h| h.strength);
        // One that may count something else says less than a wavelength: `s_488nm`.
        let is_light = r.axis == "c" && are_within(&texts, LIGHT);
        let is_sure = |along: &Reading| from_head.iter().all(|h| h.axis == along.axis);
        if let Some(along) = along.filter(|along| !is_light || is_sure(along)) {
            (r.axis, r.strength) = (along.axis.clone(), along.strength);
        } else if head.is_some_and(|word| is_among(MEASURED, word)) {
            (r.axis, r.strength) = ("z".to_owned(), Possible);
        }
    }
    // A marker before a number makes its unit sure: `z=0.5um`.
    for r in from_tail.iter_mut().filter(|r| r.unit.is_some()) {
        let marked = from_head.iter().filter(|h| h.axis == r.axis).map(|h| h.strength).max();
        r.strength = marked.map_or(r.strength, |strength| strength.max(r.strength));
    }
    let agree = |r: &Reading| glued.is_none() || from_head.iter().any(|h| h.axis == r.axis);
    let called = head.or(tail).map_or(quoted, str::to_owned);
    match (from_head.is_empty(), from_tail.first()) {
        // A unit says more than a letter, unless that speaks of another axis.
        (_, Some(r)) if from_head.is_empty() || r.unit.is_some() && agree(r) => {
            (from_tail, tail.unwrap_or_default().to_owned())
        }
        (false, _) => (from_head, called),
        _ if texts.len() > 1 && texts.iter().all(|t| LASERS.contains(t)) && !is_run(&texts) => {
            (vec![Reading::new("c", Likely)], called)
        }
        _ => (Vec::new(), called),
    }
}

/// Makes no more than possible what other parts of the names, or the values, speak against.
pub(super) fn doubt(columns: &[Column<'_>], at: usize, found: &mut [Reading]) {
    let Some(column) = columns.get(at) else { return };
    let texts = column.texts();
    // Axes that any number of the names is marked with, be it constant.
    let marked = |axis: &str, counted: bool| {
        (0..columns.len()).filter(|other| *other != at).any(|other| {
            readings(columns, other)
                .0
                .iter()
                .any(|r| r.axis == axis && (!counted || r.unit.is_none() && columns[other].varies()))
        })
    };
    let all = |from, to| are_within(&texts, from..to);
    let letters_at = |at: Option<usize>| at.and_then(|i| columns.get(i)).and_then(Column::letters).unwrap_or_default();
    let (head, tail) = (letters_at(at.checked_sub(1)), letters_at(Some(at + 1)));
    let is_end = columns.get(at + 2).is_none_or(|c| c.sort == Sort::Separator);
    for reading in found {
        let is_measure = reading.unit.is_some() && column.sort == Sort::Number;
        let doubtful = match reading.axis.as_str() {
            // `20x` is a magnification.
            "x" if tail == "x" && texts.iter().all(|t| MAGNIFICATIONS.contains(t)) => !marked("y", true),
            "x" => !marked("y", false) || column.is_signed() && all(f64::MIN, 0.0),
            "y" => !marked("x", false) || column.is_signed() && all(f64::MIN, 0.0),
            // `z-10` may be a dash.
            "z" | "angle" => column.is_signed() && all(f64::MIN, 0.0),
            // `50ms` is an exposure.
            "t" if is_measure => !marked("t", true),
            // `T37C` and `T300K` are temperatures, and `7T` is a magnetic field.
            "t" if is_end && matches!(tail, "C" | "K") && !head.is_empty() => true,
            "t" if is_end && tail == "T" && head.is_empty() && texts.iter().all(|t| t.len() < 3) => !is_run(&texts),
            // `100nm` is a bead.
            "c" if is_measure => !are_within(&texts, LIGHT),
            // `C01` to `C12` may be wells of one row, and so may `C02` to `C05` beside another channel.
            "c" if is_well_of_row(columns, at, &texts) => {
                texts.len() > 5 || texts.first() != Some(&"01") || marked("c", false)
            }
            "c" => column.is_signed(),
            _ if is_measure => false,
            _ => column.is_signed() || column.is_decimal(),
        };
        if doubtful || reading.unit.is_none() && (two_numbers(column).is_some() || is_point_or_position(column)) {
            reading.strength = Possible;
        }
    }
}

/// Whether the numbers of two digits and the capital before them are words such as `C02`.
fn is_well_of_row(columns: &[Column<'_>], at: usize, texts: &[&str]) -> bool {
    let edge = |column: Option<&Column<'_>>| column.is_none_or(|c| c.sort == Sort::Separator);
    let column = |k: usize| at.checked_sub(k).and_then(|i| columns.get(i));
    let capital = column(1).and_then(Column::letters).is_some_and(|l| matches!(l.as_bytes(), [b'A'..=b'P']));
    let counts = texts.iter().all(|t| t.len() == 2 && t.parse::<u8>().is_ok_and(|n| (1..=24).contains(&n)));
    capital && counts && edge(column(2)) && edge(columns.get(at + 1))
}

/// What objectives magnify.
const MAGNIFICATIONS: [&str; 14] = ["1", "2", "4", "5", "10", "16", "20", "25", "40", "50", "60", "63", "100", "150"];

/// Whether `1p1` to `2p3` may count positions within something, since every whole part has every fraction.
pub(super) fn is_point_or_position(column: &Column<'_>) -> bool {
    let texts = column.texts();
    column.sort == Sort::Number && are_of_two(&texts, |text| text.split_once('p'))
}

/// Whether the texts, each cut in two, are all that some heads and some tails make.
fn are_of_two<'n>(texts: &[&'n str], cut: impl Fn(&'n str) -> Option<(&'n str, &'n str)>) -> bool {
    let Some(parts) = texts.iter().map(|text| cut(text)).collect::<Option<Vec<_>>>() else { return false };
    let (heads, tails): (BTreeSet<&str>, BTreeSet<&str>) = parts.into_iter().unzip();
    heads.len() > 1 && tails.len() > 1 && heads.len() * tails.len() == texts.len()
}

/// Where digits such as `010000`, a channel and a plane without anything between, may be cut in two.
pub(super) fn two_numbers(column: &Column<'_>) -> Option<(usize, usize)> {
    let texts = column.texts();
    let width = texts.first().filter(|_| column.sort == Sort::Number)?.len();
    if width < 4 || texts.len() < 4 || texts.iter().any(|t| t.len() != width) {
        return None;
    }
    let numbers: Vec<u64> = texts.iter().map(|t| t.parse().ok()).collect::<Option<_>>()?;
    if numbers.last()?.checked_sub(*numbers.first()?)? < 2 * numbers.len() as u64 {
        return None;
    }
    let cuts = |cut: &usize| are_of_two(&texts, |text| text.split_at_checked(*cut));
    (1..width).find(cuts).map(|cut| (cut, width - cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_say_what_a_number_counts() {
        let axes = |found: Vec<Reading>| found.into_iter().map(|r| r.axis).collect::<Vec<_>>();
        assert_eq!(axes(before("timepoint")), ["t"]);
        assert_eq!(axes(before("CH")), ["c"]);
        assert_eq!(axes(before("exT")), ["t"]);
        assert_eq!(axes(before("HybCycle")), ["cycle"]);
        assert_eq!(axes(before("frame")), ["t", "z"]);
        assert!(before("banana").is_empty() && before("EXT").is_empty());
        assert_eq!(axes(after("msec")), ["t"]);
        assert_eq!(axes(after("x")), ["x"]);
        assert!(after("h").is_empty() && after("uM").is_empty());
        assert_eq!(of_words(&["Cy5", "Alexa488"])[0].strength, Certain);
        assert_eq!(of_words(&["DAPI", "dorsal"])[0].strength, Possible);
        assert!(of_words(&["dorsal", "left"]).is_empty());
    }
}
