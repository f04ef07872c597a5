//! Pictures and tables as text: aligned columns, the presence map, and the block diagram. Pure.

pub mod diagram;
pub mod presence;
pub mod table;

/// `text` broken between words so that no line is longer than `width`, each but the first indented by
/// `indent`. Words longer than a line stay whole.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !out.is_empty() {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrapped("a-long-word b", 4, 1), "a-long-word\n b");
        assert_eq!(wrapped("", 4, 1), "");
    }
}
