//! Pictures and tables as text: aligned columns, the presence map, and the block diagram. Pure.

pub mod canvas;
pub mod chart;
pub mod curves;
pub mod diagram;
pub mod heatmap;
pub mod palette;
pub mod presence;
pub mod scale;
pub mod surface;
pub mod table;
pub mod terminal;
pub mod values;

/// `text` broken between words so that no line is longer than `width`, each but the first indented by
/// `indent`. Words longer than a line are broken behind separators of names, if they have any, but for quoted ones, which
/// are there to be copied.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let mut gap = usize::from(!out.is_empty());
        let is_long = indent + word.chars().count() > width && !word.starts_with('\'');
        for piece in if is_long { pieces(word) } else { vec![word] } {
            let length = piece.chars().count();
            if column > indent && column + gap + length > width {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                out.extend(std::iter::repeat_n(' ', gap));
                column += gap;
            }
            out.push_str(piece);
            column += length;
            gap = 0;
        }
    }
    out
}

/// `text` without what would drive a terminal, such as the name of a file can hold; lines, tabs and plain colours stay.
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let drives = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(drives) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(drives) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let colours = ["\x1b[0m", "\x1b[1m", "\x1b[1;31m", "\x1b[1;33m"];
        let (mark, shown) = match colours.iter().find(|colour| after.starts_with(**colour)) {
            Some(colour) => (colour.len(), (*colour).to_owned()),
            None => {
                let c = after.chars().next().unwrap_or_default();
                (c.len_utf8(), c.escape_default().to_string())
            }
        };
        out.push_str(&shown);
        rest = &after[mark..];
    }
    (out + rest).into()
}

/// A name in pieces that end in its separators.
fn pieces(name: &str) -> Vec<&str> {
    name.split_inclusive(['_', '-', '/', '.', ',', ':']).collect()
}

/// `text` with its middle left out, if it has more than `width` characters.
pub fn shortened(text: &str, width: usize) -> String {
    let n = text.chars().count();
    if n <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width / 2).collect();
    let tail: String = text.chars().skip(n - (width - width / 2).saturating_sub(1)).collect();
    format!("{head}…{tail}")
}

/// A message of several lines, each broken to fit into `width`; names with carets below them are cut instead, so that
/// the carets stay below what they point at.
pub fn fitted(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.find('^').filter(|at| line[..*at].trim().is_empty()) {
            Some(at) => point(&mut lines, line, at, width),
            None => lines.push(line.to_owned()),
        }
    }
    let is_pointed_at =
        |i: usize| lines[i].starts_with("  ") && lines[i + 1..].iter().take(2).any(|l| l.trim_start().starts_with('^'));
    let fitted: Vec<String> =
        (0..lines.len()).map(|i| if is_pointed_at(i) { lines[i].clone() } else { hanging(&lines[i], width) }).collect();
    fitted.join("\n")
}

/// One line broken to fit, further ones indented by two more; a command stays whole, to be copied.
fn hanging(line: &str, width: usize) -> String {
    let rest = line.trim_start_matches(' ');
    if rest.starts_with("stackctl ") {
        return line.to_owned();
    }
    let indent = line.len() - rest.len();
    wrapped(rest, width.saturating_sub(indent).max(20), 2).lines().fold(String::new(), |mut all, line| {
        all += &format!("{}{:indent$}{line}", if all.is_empty() { "" } else { "\n" }, "");
        all
    })
}

/// Adds `carets`, a line that has them at `at`, and cuts the names above it so that both are seen.
fn point(lines: &mut Vec<String>, carets: &str, at: usize, width: usize) {
    let n = carets[at..].chars().take_while(|c| *c == '^').count();
    let remark = carets[at + n..].trim();
    let is_name = |line: &&mut String| line.starts_with("  ") && line.chars().count() > at;
    let names: Vec<&mut String> = lines.iter_mut().rev().take(2).take_while(is_name).collect();
    // The carets end a quarter before the end of the line.
    let cut =
        if names.iter().any(|name| name.chars().count() > width) { (at + n).saturating_sub(width * 3 / 4) } else { 0 };
    for name in names {
        let kept: String = name.chars().skip(2 + cut).collect();
        let begin = if cut > 0 { "  …" } else { "  " };
        let room = width.saturating_sub(4);
        let end = if kept.chars().count() > room { "…" } else { "" };
        *name = format!("{begin}{}{end}", kept.chars().skip(usize::from(cut > 0)).take(room).collect::<String>());
    }
    lines.push(format!("{:1$}{2}", "", at - cut, "^".repeat(n)));
    if at - cut + n + 1 + remark.chars().count() <= width {
        lines.last_mut().into_iter().for_each(|line| *line = format!("{line} {remark}").trim_end().to_owned());
    } else {
        lines.push(format!("  {remark}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{fitted, wrapped};

    #[test]
    fn carets_stay_below_what_they_point_at() {
        let text = format!("no name matches\n  {}X{}\n  {:40}^ here", "a".repeat(40), "b".repeat(40), "");
        for width in [40, 60, 100] {
            let lines: Vec<Vec<char>> = fitted(&text, width).lines().map(|l| l.chars().collect()).collect();
            let caret = lines[2].iter().position(|c| *c == '^').unwrap();
            assert_eq!(lines[1][caret], 'X', "{width}: {lines:?}");
            assert!(lines.iter().all(|line| line.len() <= width), "{width}: {lines:?}");
        }
        assert_eq!(
            fitted("one two three four five\n  name\n  ^ here", 20),
            "one two three four\n  five\n  name\n  ^ here"
        );
        let text = "one two three four five\n  one two three four five";
        assert_eq!(fitted(text, 20), "one two three four\n  five\n  one two three four\n    five");
        assert_eq!(fitted("  stackctl stitch a b c d e f", 20), "  stackctl stitch a b c d e f");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8, 2), "one two\n  three");
        assert_eq!(wrapped("anylongword b", 4, 1), "anylongword\n b");
        assert_eq!(wrapped("", 4, 1), "");
        assert_eq!(wrapped("in raw/ex6_CamA_ch0.tif: cut", 12, 2), "in raw/ex6_\n  CamA_ch0.\n  tif: cut");
    }
}
