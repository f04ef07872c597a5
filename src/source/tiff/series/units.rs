//! Names of units as programs write them, and what UDUNITS calls them.

/// UDUNITS name of `text`, if it names a unit of length or time; pixels and the like do not.
pub(super) fn udunits(text: &str) -> Option<&'static str> {
    let text = text.trim().trim_matches('"').trim();
    // ImageJ escapes what is not ASCII; two signs look like micro.
    let plain = text.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace('\u{3bc}', "µ");
    let exact = match plain.as_str() {
        "Mm" => Some("megameter"),
        "Å" | "\u{212b}" | "\\u00C5" => Some("angstrom"),
        // Micro in UTF-8 that somebody read as Latin-1.
        "Âµm" => Some("micrometer"),
        _ => None,
    };
    exact.or_else(|| {
        Some(match plain.to_lowercase().as_str() {
            "µm" | "um" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre" | "micrometres" | "mu" => {
                "micrometer"
            }
            "nm" | "nanometer" | "nanometers" | "nanometre" | "nanometres" => "nanometer",
            "pm" | "picometer" | "picometers" | "picometre" | "picometres" => "picometer",
            "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => "millimeter",
            "cm" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => "centimeter",
            "dm" | "decimeter" | "decimetre" => "decimeter",
            "m" | "meter" | "meters" | "metre" | "metres" => "meter",
            "km" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => "kilometer",
            "å" | "angstrom" | "angstroms" | "ångström" => "angstrom",
            "in" | "inch" | "inches" | "\\\"" => "inch",
            "ft" | "foot" | "feet" => "foot",
            "yd" | "yard" | "yards" => "yard",
            "mi" | "mile" | "miles" => "mile",
            "s" | "sec" | "secs" | "second" | "seconds" => "second",
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => "millisecond",
            "µs" | "us" | "usec" | "microsecond" | "microseconds" => "microsecond",
            "ns" | "nsec" | "nanosecond" | "nanoseconds" => "nanosecond",
            "min" | "mins" | "minute" | "minutes" => "minute",
            "h" | "hr" | "hrs" | "hour" | "hours" => "hour",
            "d" | "day" | "days" => "day",
            _ => return None,
        })
    })
}

/// Whether `text` says that distances are counted in pixels.
pub(super) fn is_pixel(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "pixel" | "pixels" | "px" | "reference frame" | "frame")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_micrometres_is_one_unit() {
        for text in ["µm", "μm", "um", "micron", "Microns", "\\u00B5m", "Âµm", " micrometre "] {
            assert_eq!(udunits(text), Some("micrometer"), "{text}");
        }
        assert_eq!(udunits("Mm"), Some("megameter"));
        assert_eq!(udunits("mm"), Some("millimeter"));
        for text in ["", "pixel", "px", "voxels", "grey value"] {
            assert_eq!(udunits(text), None, "{text}");
        }
        assert!(is_pixel("Pixels"));
    }
}
