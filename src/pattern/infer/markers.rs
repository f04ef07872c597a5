//! What the letters around a number say about it.

use super::super::value::Unit;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It numbers the positions of this axis.
    Axis(&'static str),
    /// Two axes are meant by it, in different programs.
    Either(&'static str, &'static str),
}

/// Letters that name an axis, in lower case.
const MARKERS: [(&str, Meaning); 70] = {
    use Meaning::{Axis, Either};
    [
        ("c", Axis("c")),
        ("ch", Axis("c")),
        ("chn", Axis("c")),
        ("chan", Axis("c")),
        ("channel", Axis("c")),
        ("wavelength", Axis("c")),
        ("w", Either("c", "well")),
        ("wv", Axis("c")),
        ("t", Axis("t")),
        ("tp", Axis("t")),
        ("tl", Axis("t")),
        ("tm", Axis("t")),
        ("time", Axis("t")),
        ("timepoint", Axis("t")),
        ("stack", Either("t", "z")),
        ("frame", Either("t", "z")),
        ("fr", Either("t", "z")),
        ("image", Either("t", "z")),
        ("img", Either("t", "z")),
        ("page", Either("t", "z")),
        ("z", Axis("z")),
        ("zs", Axis("z")),
        ("zstep", Axis("z")),
        ("zpos", Axis("z")),
        ("slice", Axis("z")),
        ("sl", Axis("z")),
        ("sec", Either("z", "t")),
        ("section", Axis("z")),
        ("plane", Axis("z")),
        ("fp", Axis("z")),
        ("focal", Axis("z")),
        ("x", Axis("x")),
        ("y", Axis("y")),
        ("r", Either("y", "row")),
        ("row", Either("y", "row")),
        ("col", Either("x", "column")),
        ("column", Either("x", "column")),
        ("p", Either("p", "z")),
        ("pos", Axis("p")),
        ("position", Axis("p")),
        ("xy", Axis("p")),
        ("point", Axis("p")),
        ("s", Either("series", "z")),
        ("sp", Axis("series")),
        ("series", Axis("series")),
        ("scene", Axis("scene")),
        ("site", Axis("site")),
        ("f", Either("field", "t")),
        ("fld", Axis("field")),
        ("field", Axis("field")),
        ("fov", Axis("fov")),
        ("tile", Axis("tile")),
        ("m", Axis("tile")),
        ("view", Axis("view")),
        ("v", Axis("view")),
        ("angle", Axis("angle")),
        ("ang", Axis("angle")),
        ("rot", Axis("angle")),
        ("illum", Axis("illumination")),
        ("ill", Axis("illumination")),
        ("cam", Axis("camera")),
        ("cm", Axis("camera")),
        ("camera", Axis("camera")),
        ("cyc", Axis("cycle")),
        ("cycle", Axis("cycle")),
        ("reg", Axis("region")),
        ("region", Axis("region")),
        ("well", Axis("well")),
        ("plate", Axis("plate")),
        ("iter", Axis("iteration")),
    ]
};

/// What `letters` before a number mean: the whole word, or its last capital (`exT`).
pub(super) fn before(letters: &str) -> Option<Meaning> {
    let lower = letters.to_lowercase();
    let find = |word: &str| MARKERS.iter().find(|(marker, _)| *marker == word).map(|(_, meaning)| *meaning);
    find(&lower).or_else(|| {
        let mut tail = letters.char_indices().rev().take_while(|(_, c)| c.is_uppercase());
        let (from, _) = tail.by_ref().last()?;
        let head = letters.get(..from)?;
        let is_camel = head.ends_with(char::is_lowercase);
        if is_camel { find(&letters.get(from..)?.to_lowercase()) } else { None }
    })
}

/// What `letters` after a number mean: an axis (`000x`) or a unit with its axis (`560nm`).
pub(super) fn after(letters: &str) -> Option<(&'static str, Option<Unit>)> {
    let axis = match letters {
        "x" | "X" => "x",
        "y" | "Y" => "y",
        "z" | "Z" => "z",
        "t" | "T" => "t",
        _ => {
            let unit = Unit::parse(letters)?;
            let axis = match unit.name {
                "nanometer" => "c",
                "microsecond" | "millisecond" | "second" | "minute" | "hour" | "day" => "t",
                "degree" => "angle",
                // A length other than a wavelength may be a depth, a distance or a size.
                _ => return None,
            };
            // Single letters are abbreviations of too many things.
            return (letters.len() > 1).then_some((axis, Some(unit)));
        }
    };
    Some((axis, None))
}

/// Names of stains, dyes, lights and kinds of contrast, in lower case without digits and dashes.
const CHANNELS: [&str; 56] = [
    "dapi",
    "gfp",
    "egfp",
    "rfp",
    "mrfp",
    "yfp",
    "eyfp",
    "cfp",
    "ecfp",
    "bfp",
    "ebfp",
    "mcherry",
    "cherry",
    "tdtomato",
    "tomato",
    "dsred",
    "mscarlet",
    "mneongreen",
    "mkate",
    "irfp",
    "venus",
    "citrine",
    "cy",
    "fitc",
    "tritc",
    "rhodamine",
    "texasred",
    "texred",
    "alexa",
    "af",
    "atto",
    "hoechst",
    "sytox",
    "draq",
    "phalloidin",
    "actin",
    "tubulin",
    "nuclei",
    "nucleus",
    "er",
    "mito",
    "agp",
    "rna",
    "dna",
    "bf",
    "brightfield",
    "phase",
    "ph",
    "dic",
    "trans",
    "transmitted",
    "red",
    "green",
    "blue",
    "farred",
    "cyan",
];

/// Whether a word names a channel.
pub(super) fn is_channel(word: &str) -> bool {
    let letters: String = word.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    CHANNELS.contains(&letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_say_what_a_number_counts() {
        assert_eq!(before("timepoint"), Some(Meaning::Axis("t")));
        assert_eq!(before("CH"), Some(Meaning::Axis("c")));
        assert_eq!(before("exT"), Some(Meaning::Axis("t")));
        assert_eq!(before("banana"), None);
        assert_eq!(before("EXT"), None);
        assert_eq!(after("msec").unwrap().0, "t");
        assert_eq!(after("x"), Some(("x", None)));
        assert!(after("h").is_none() && after("um").is_none());
        assert!(is_channel("Cy5") && is_channel("Alexa488") && !is_channel("dorsal"));
    }
}
