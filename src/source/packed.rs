//! Long lists as short text, for what is written down of inputs: paths that begin alike, numbers that repeat.

/// Long lists of paths, most of which begin as the one before: lines of how many bytes they share and how they go on.
pub(super) mod lines {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(in crate::source) fn serialize<S: Serializer>(all: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        let (mut text, mut before) = (String::new(), "");
        for path in all {
            let path = path.to_str().filter(|path| !path.contains('\n')).ok_or_else(|| S::Error::custom("no line"))?;
            let alike = |(a, b): &(char, char)| a == b;
            let n: usize = path.chars().zip(before.chars()).take_while(alike).map(|(c, _)| c.len_utf8()).sum();
            text.push_str(&format!("{n} {}\n", &path[n..]));
            before = path;
        }
        serializer.serialize_str(&text)
    }

    pub(in crate::source) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
        let mut path = String::new();
        let next = |line: &str| {
            let (n, rest) = line.split_once(' ')?;
            path.truncate(n.parse().ok().filter(|n| path.is_char_boundary(*n))?);
            path.push_str(rest);
            Some(PathBuf::from(&path))
        };
        let all = String::deserialize(from)?.lines().map(next).collect::<Option<Vec<_>>>();
        all.ok_or_else(|| D::Error::custom("a list of paths is broken"))
    }
}

/// Long rows of numbers, most of them alike: `7*1000,9,-` with `-` for none.
pub(super) mod runs {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// What is a number, or none.
    pub(in crate::source) trait Entry: Copy + PartialEq {
        fn number(self) -> Option<u64>;
        fn of(number: Option<u64>) -> Option<Self>;
    }

    impl Entry for u64 {
        fn number(self) -> Option<u64> {
            Some(self)
        }

        fn of(number: Option<u64>) -> Option<Self> {
            number
        }
    }

    impl Entry for Option<u32> {
        fn number(self) -> Option<u64> {
            self.map(u64::from)
        }

        fn of(number: Option<u64>) -> Option<Self> {
            number.map_or(Some(None), |number| u32::try_from(number).ok().map(Some))
        }
    }

    pub(in crate::source) fn serialize<T: Entry, S: Serializer>(all: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        let word = |run: &[T]| {
            let number = run[0].number().map_or_else(|| "-".to_owned(), |number| number.to_string());
            if run.len() == 1 { number } else { format!("{number}*{}", run.len()) }
        };
        serializer.serialize_str(&all.chunk_by(|a, b| a == b).map(word).collect::<Vec<_>>().join(","))
    }

    pub(in crate::source) fn deserialize<'de, T: Entry, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let text = String::deserialize(from)?;
        let mut all = Vec::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (number, n) = word.split_once('*').unwrap_or((word, "1"));
            let number = if number == "-" { None } else { Some(number.parse().map_err(D::Error::custom)?) };
            let entry = T::of(number).ok_or_else(|| D::Error::custom("a number is too large"))?;
            let n: usize = n.parse().map_err(D::Error::custom)?;
            all.extend(std::iter::repeat_n(entry, n));
        }
        Ok(all)
    }
}
