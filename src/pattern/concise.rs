//! A found pattern without what need not be said: names are read the same by a piece of it.

use super::Pattern;

/// Of more names not all are tried, and the pattern stays as it is.
const MOST_NAMES: usize = 20_000;

impl Pattern {
    /// The piece of this pattern from the text before its first field that is not passed over to the text after the last
    /// one, if it reads the same from all `names`; otherwise this pattern.
    #[must_use]
    pub fn concise<N: AsRef<str>>(self, names: &[N]) -> Self {
        let piece = middle(&self.text).filter(|_| !self.is_regex() && names.len() <= MOST_NAMES);
        let Some(piece) = piece.and_then(|text| Self::parse(text).ok()) else { return self };
        let reads_alike = |name: &N| piece.read(name.as_ref()) == self.read(name.as_ref());
        if names.iter().all(reads_alike) { piece } else { self }
    }

    /// The text of every field that is not passed over.
    fn read<'n>(&self, name: &'n str) -> Option<Vec<Option<&'n str>>> {
        let values = self.matches(name)?.into_iter().zip(&self.fields);
        Some(values.filter(|(_, field)| field.axis.is_some()).map(|(value, _)| value).collect())
    }
}

/// The middle of the text of a pattern, if it has text around the fields that are not passed over, and nothing but plain
/// parts.
fn middle(text: &str) -> Option<&str> {
    if text.contains(['<', '/', '\\']) {
        return None;
    }
    let opens = || text.match_indices('{').map(|(at, _)| at).filter(|at| !text[at + 1..].starts_with('_'));
    let (first, last) = (opens().next()?, opens().next_back()?);
    let start = text[..first].rfind(['}', '*', '?', '^']).map_or(0, |at| at + 1);
    let close = last + text[last..].find('}')? + 1;
    let end = text[close..].find(['{', '*', '?', '$']).map_or(text.len(), |at| close + at);
    (start < first && close < end).then(|| &text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_the_same_is_left_out_at_both_ends() {
        let short = |pattern: &str, names: &[&str]| Pattern::parse(pattern).unwrap().concise(names).to_string();
        let names = ["x_CamA_ch0_CAM1_stack0003_560nm_07msec.tif", "x_CamB_ch1_CAM1_stack0004_560nm_08msec.tif"];
        let whole = "^*Cam{_:[A-Z]}_ch{c}_CAM{_}_stack{t}_{_}nm_{_}msec.tif$";
        assert_eq!(short(whole, &names), "_ch{c}_CAM{_}_stack{t}_");
        // Without its beginning it would read another place.
        assert_eq!(short("^*_t{_}_t{t}_", &["a_t1_t2_", "a_t1_t3_"]), "^*_t{_}_t{t}_");
        // Nothing may be lost: text is kept on both sides, optional parts and folders are left alone.
        for kept in ["{_:1}{t}_", "^a{t}$", "a<_{t}>_", "/a/{t}_"] {
            assert_eq!(short(kept, &["/a/12_"]), kept);
        }
    }
}
