//! Units of measure: the one table of how people and programs write them, what UDUNITS calls them, and what
//! they are in metres or seconds; and sizes with a unit, as people type and read them: `0.5um`, `43.748 s`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, nearest};

/// Where a calibration came from. Earlier variants win over later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// A flag of the command line.
    CommandLine,
    /// OME-XML in the file, or NGFF metadata of a Zarr group.
    Ome,
    /// ImageJ's description and resolution tags.
    ImageJ,
    /// Another program's own tags: MetaMorph, LSM, Micro-Manager.
    Vendor,
    /// Coordinate variables of a NetCDF or HDF5 file.
    Coordinates,
    /// TIFF resolution tags with an absolute unit.
    Resolution,
    /// The file names.
    Name,
}

impl Provenance {
    /// The same in words: `OME metadata`.
    pub fn words(self) -> &'static str {
        match self {
            Self::CommandLine => "the command line",
            Self::Ome => "OME metadata",
            Self::ImageJ => "ImageJ's description",
            Self::Vendor => "the acquisition program's tags",
            Self::Coordinates => "the coordinates in the file",
            Self::Resolution => "the TIFF resolution tags",
            Self::Name => "the names",
        }
    }
}

/// What one step of an axis measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Distance between neighbouring indices, in `unit`.
    pub step: f64,
    /// Unit by its UDUNITS name (`micrometer`, `second`, `degree`), if known.
    pub unit: Option<String>,
    /// Who said so.
    pub from: Provenance,
}

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A length; the factor leads to metres.
    Length,
    /// A time; the factor leads to seconds.
    Time,
    /// Anything else; the factor says nothing.
    Other,
}

use Quantity::{Length, Other, Time};

/// UDUNITS name, quantity, factor, and spellings with the shortest first.
const UNITS: [(&str, Quantity, f64, &str); 36] = [
    ("picometer", Length, 1e-12, "pm picometers picometre picometres"),
    ("angstrom", Length, 1e-10, "A Å å angstroms ångström"),
    ("nanometer", Length, 1e-9, "nm nanometers nanometre nanometres"),
    ("micrometer", Length, 1e-6, "um µm µ micron microns mu micrometers micrometre micrometres"),
    ("millimeter", Length, 1e-3, "mm millimeters millimetre millimetres"),
    ("centimeter", Length, 1e-2, "cm centimeters centimetre centimetres"),
    ("decimeter", Length, 1e-1, "dm decimeters decimetre decimetres"),
    ("meter", Length, 1.0, "m meters metre metres"),
    ("kilometer", Length, 1e3, "km kilometers kilometre kilometres"),
    ("megameter", Length, 1e6, "Mm"),
    ("inch", Length, 0.0254, "in inches"),
    ("foot", Length, 0.3048, "ft feet"),
    ("yard", Length, 0.9144, "yd yards"),
    ("mile", Length, 1609.344, "mi miles"),
    ("nanosecond", Time, 1e-9, "ns nsec nanoseconds"),
    ("microsecond", Time, 1e-6, "us µs usec microseconds"),
    ("millisecond", Time, 1e-3, "ms msec msecs milliseconds"),
    ("second", Time, 1.0, "s sec secs seconds"),
    ("minute", Time, 60.0, "min mins minutes"),
    ("hour", Time, 3600.0, "h hr hrs hours"),
    ("day", Time, 86_400.0, "d days"),
    ("degree", Other, 1.0, "deg ° degrees"),
    ("radian", Other, 1.0, "rad radians"),
    ("milliwatt", Other, 1.0, "mW"),
    ("watt", Other, 1.0, "W"),
    ("millivolt", Other, 1.0, "mV"),
    ("volt", Other, 1.0, "V"),
    ("kilovolt", Other, 1.0, "kV"),
    ("electronvolt", Other, 1.0, "eV"),
    ("kiloelectronvolt", Other, 1.0, "keV"),
    ("hertz", Other, 1.0, "Hz"),
    ("kilohertz", Other, 1.0, "kHz"),
    ("megahertz", Other, 1.0, "MHz"),
    ("kelvin", Other, 1.0, "K"),
    ("celsius", Other, 1.0, "°C"),
    ("percent", Other, 1.0, "pct"),
];

type Row = (&'static str, Quantity, f64, &'static str);

/// One sign for micro and for ångström, without the escapes and quotes that programs put around them.
fn plain(text: &str) -> String {
    let text = text.trim().trim_matches('"').trim();
    let replaced = text.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\\u00C5", "Å");
    // The last is micro in UTF-8 that somebody read as Latin-1.
    replaced.replace('\u{3bc}', "µ").replace('\u{212b}', "Å").replace("Âµ", "µ")
}

fn row(text: &str) -> Option<&'static Row> {
    UNITS.iter().find(|(name, _, _, spellings)| *name == text || spellings.split(' ').any(|s| s == text))
}

/// UDUNITS name of `text` as it is written, however it spells micro.
pub fn named(text: &str) -> Option<&'static str> {
    row(&plain(text)).map(|r| r.0)
}

/// UDUNITS name of a length or time in a program's text, where capitals mean little; pixels and the like have
/// none.
pub fn described(text: &str) -> Option<&'static str> {
    let text = plain(text);
    let found = row(&text).or_else(|| row(&text.to_lowercase()))?;
    (found.1 != Other).then_some(found.0)
}

/// The shortest way to write the unit that UDUNITS calls `name`.
pub fn short(name: &str) -> &str {
    row(name).and_then(|r| r.3.split(' ').next()).unwrap_or(name)
}

/// The sign of the unit that UDUNITS calls `name`, for people: `µm`.
pub fn symbol(name: &str) -> &str {
    match short(name) {
        "um" => "µm",
        "us" => "µs",
        short => short,
    }
}

/// What one `unit` is in metres or seconds, and which of both; `None` if it is neither or unknown.
pub fn factor(unit: &str) -> Option<(f64, Quantity)> {
    row(&plain(unit)).filter(|r| r.1 != Other).map(|r| (r.2, r.1))
}

/// Metres that the unit called `name` has, if it is a length.
pub fn metres(name: &str) -> Option<f64> {
    factor(name).filter(|f| f.1 == Length).map(|f| f.0)
}

/// Seconds that the unit called `name` has, if it is a time.
pub fn seconds(name: &str) -> Option<f64> {
    factor(name).filter(|f| f.1 == Time).map(|f| f.0)
}

/// How many `to` one `from` is; `None` if they do not measure the same, or nobody knows them.
pub fn ratio(from: &str, to: &str) -> Option<f64> {
    if from == to || named(from).is_some_and(|name| Some(name) == named(to)) {
        return Some(1.0);
    }
    let ((a, kind), (b, other)) = (factor(from)?, factor(to)?);
    // Powers of ten are exact as whole numbers alone.
    let exact = |n: f64| if (n - n.round()).abs() <= 1e-9 * n { n.round() } else { n };
    (kind == other).then(|| if a >= b { exact(a / b) } else { 1.0 / exact(b / a) })
}

/// Whether `text` says that distances are counted in pixels.
pub fn is_pixel(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "pixel" | "pixels" | "px" | "reference frame" | "frame")
}

/// A unit that values of a name are in.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// As written: `nm`, `0.1um`.
    pub text: String,
    /// UDUNITS name, as OME-Zarr wants it: `nanometer`.
    pub name: &'static str,
    /// What one of the numbers is, in units of `name`.
    pub factor: f64,
}

impl Unit {
    /// Reads `nm`, `ms`, or a number and a unit: `0.1um`.
    pub fn parse(text: &str) -> Option<Self> {
        let start = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let factor = if start == 0 { 1.0 } else { text.get(..start)?.parse().ok()? };
        let name = named(text.get(start..)?)?;
        (factor > 0.0).then(|| Self { text: text.to_owned(), name, factor })
    }

    /// Seconds, the unit of durations.
    pub fn second() -> Self {
        Self { text: "s".to_owned(), name: "second", factor: 1.0 }
    }

    /// What it measures.
    pub fn quantity(&self) -> Quantity {
        row(self.name).map_or(Other, |r| r.1)
    }

    /// Says that nobody knows `text`, which unit it may be, and which there are.
    pub fn unknown(text: &str) -> String {
        let all = UNITS.iter().flat_map(|r| r.3.split(' ').chain([r.0]));
        let near = nearest(text, all).map_or(String::new(), |unit| format!(" (do you mean {unit}?)"));
        format!("unknown unit '{text}'{near}; known are {}", UNITS.map(|r| short(r.0)).join(" "))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a positive size with its unit, such as `0.5um`, as the command line states it.
///
/// # Errors
/// `Usage` if it is no positive number with a known unit.
pub fn quantity(text: &str) -> Result<Calibration> {
    let example = "a number with a unit, such as 0.5um or 200ms";
    let no = |why: &str| Error::usage(format!("'{text}' {why}: {example}"));
    let trimmed = text.trim();
    let split = trimmed
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || ((*c == '-' || *c == '+') && *i == 0)))
        .map_or(trimmed.len(), |(i, _)| i);
    let step: f64 = trimmed[..split].parse().map_err(|_| no("is not a size"))?;
    if !(step.is_finite() && step > 0.0) {
        return Err(no("is not a positive size"));
    }
    let symbol = trimmed[split..].trim();
    if symbol.is_empty() {
        return Err(no("has no unit"));
    }
    let unit = named(symbol).ok_or_else(|| Error::usage(format!("'{text}': {}: {example}", Unit::unknown(symbol))))?;
    Ok(Calibration { step, unit: Some(unit.into()), from: Provenance::CommandLine })
}

/// Whether two say the same, be it in other units.
pub fn agree(a: &Calibration, b: &Calibration) -> bool {
    in_one_unit(a, b).is_some_and(|(a, b)| (a - b).abs() <= 1e-3 * a.abs())
}

/// How many times as long as a step of `b` one of `a` is, whichever way they go, if that is known; nobody means more than a
/// million.
pub fn ratio_of_steps(a: &Calibration, b: &Calibration) -> Option<f64> {
    in_one_unit(a, b).map(|(a, b)| (a / b).abs()).filter(|ratio| (1e-6..=1e6).contains(ratio))
}

/// Two steps in the same unit, if they measure the same.
fn in_one_unit(a: &Calibration, b: &Calibration) -> Option<(f64, f64)> {
    match (&a.unit, &b.unit) {
        (None, None) => Some((a.step, b.step)),
        (own, other) => ratio(other.as_deref()?, own.as_deref()?).map(|ratio| (a.step, b.step * ratio)),
    }
}

/// Units that a long step is told in: a thousand of each are one of the next.
const LARGER: [&[&str]; 2] = [
    &["picometer", "nanometer", "micrometer", "millimeter", "meter"],
    &["nanosecond", "microsecond", "millisecond", "second"],
];

/// A step in a unit that keeps it short, in five digits: `0.104 µm`, `43.75 s`.
pub fn words(calibration: &Calibration) -> String {
    let mut calibration = calibration.clone();
    while calibration.step.abs() >= 1e3 {
        let is_unit = |pair: &&[&str]| pair.first().copied() == calibration.unit.as_deref();
        let Some([_, larger]) = LARGER.iter().flat_map(|units| units.windows(2)).find(is_unit) else { break };
        calibration.step /= 1e3;
        calibration.unit = Some((*larger).to_owned());
    }
    let magnitude = calibration.step.abs().max(1e-9).log10().floor();
    let scale = 10f64.powi((4 - magnitude as i32).max(0));
    let step = (calibration.step * scale).round() / scale;
    match &calibration.unit {
        Some(unit) => format!("{step} {}", symbol(unit)),
        None => format!("{step} (no unit)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_known_unit() {
        let size = quantity("0.5um").unwrap();
        assert_eq!((size.step, size.unit.as_deref()), (0.5, Some("micrometer")));
        assert_eq!(quantity("200 ms").unwrap().unit.as_deref(), Some("millisecond"));
        assert_eq!(words(&size), "0.5 µm");
        assert_eq!(words(&quantity("43748.333ms").unwrap()), "43.748 s");
        assert_eq!(words(&quantity("106496nm").unwrap()), "106.5 µm");
        assert!(agree(&quantity("43.7483s").unwrap(), &quantity("43748.33ms").unwrap()));
        assert!(agree(&quantity("2min").unwrap(), &quantity("120s").unwrap()));
        assert!(!agree(&size, &quantity("0.5mm").unwrap()));
        let ratio = ratio_of_steps(&quantity("1mm").unwrap(), &size).unwrap();
        assert!((ratio - 2000.0).abs() < 1e-9, "{ratio}");
        assert_eq!(ratio_of_steps(&quantity("1s").unwrap(), &size), None);
        assert_eq!((symbol("micrometer"), symbol("um"), symbol("nanometer")), ("µm", "µm", "nm"));
        for wrong in ["0.5", "um", "-1um", "0um", "1parsec", ""] {
            assert_eq!(quantity(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn every_way_to_write_micrometres_is_one_unit() {
        for text in ["µm", "μm", "um", "micron", "Microns", "\\u00B5m", "Âµm", " micrometre ", "µ", "\u{3bc}"] {
            assert_eq!(described(text), Some("micrometer"), "{text}");
        }
        assert_eq!((described("Mm"), described("mm")), (Some("megameter"), Some("millimeter")));
        for text in ["", "pixel", "px", "voxels", "grey value", "Hz"] {
            assert_eq!(described(text), None, "{text}");
        }
        assert!(is_pixel("Pixels"));
    }

    #[test]
    fn no_spelling_means_two_units() {
        let mut all: Vec<&str> = UNITS.iter().flat_map(|r| r.3.split(' ').chain([r.0])).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
        assert!(named("uM").is_none() && named("MS").is_none());
    }

    #[test]
    fn units_have_udunits_names_and_factors() {
        let unit = Unit::parse("0.1\u{3bc}m").unwrap();
        assert_eq!((unit.name, unit.factor), ("micrometer", 0.1));
        assert_eq!(Unit::parse("msec").unwrap().name, "millisecond");
        assert!(Unit::parse("parsec").is_none() && Unit::parse("0nm").is_none());
        assert_eq!((metres("inch"), seconds("minute"), metres("minute")), (Some(0.0254), Some(60.0), None));
        assert_eq!(
            (ratio("um", "nanometer"), ratio("ms", "min"), ratio("V", "volt")),
            (Some(1e3), Some(1.0 / 6e4), Some(1.0))
        );
        assert_eq!(
            (ratio("um", "s"), ratio("", "s"), ratio("", ""), ratio("inch", "cm")),
            (None, None, Some(1.0), Some(2.54))
        );
    }
}
