//! Pictures as text that terminals show: half blocks in colours, sixels, and kitty's graphics. Pure.
//!
//! Source: DEC STD 070 (sixel); "Terminal graphics protocol", kitty.

use std::fmt::Write;

use super::canvas::Canvas;
use super::palette::Palette;

/// Bytes of text in one of kitty's pieces.
const PIECE: usize = 4096;

/// Two pixels, one above the other, for each letter; in 256 colours unless `is_true_colour`.
pub fn blocks(canvas: &Canvas, is_true_colour: bool) -> String {
    let mut text = String::new();
    let colour = |p: &[u8]| {
        if is_true_colour {
            return format!("2;{};{};{}", p[0], p[1], p[2]);
        }
        let near = |v: u8| (usize::from(v) * 5 + 127) / 255;
        let is_grey = p[0] == p[1] && p[1] == p[2];
        let grey = (usize::from(p[1]).saturating_sub(3) / 10).min(23);
        let number =
            if is_grey && p[1] < 244 { 232 + grey } else { 16 + 36 * near(p[0]) + 6 * near(p[1]) + near(p[2]) };
        format!("5;{number}")
    };
    let row_bytes = 3 * canvas.width;
    for rows in canvas.bytes.chunks(2 * row_bytes.max(1)) {
        let (above, below) = rows.split_at(row_bytes);
        let mut last = (String::new(), String::new());
        for (i, top) in above.chunks_exact(3).enumerate() {
            let now = (colour(top), below.get(3 * i..3 * i + 3).map_or_else(String::new, colour));
            if now.0 != last.0 {
                let _ = write!(text, "\x1b[38;{}m", now.0);
            }
            if now.1 != last.1 && !now.1.is_empty() {
                let _ = write!(text, "\x1b[48;{}m", now.1);
            }
            text.push('▀');
            last = now;
        }
        text.push_str("\x1b[0m\r\n");
    }
    text
}

/// Kitty's graphics: the pixels as they are.
pub fn kitty(canvas: &Canvas) -> String {
    let encoded = base64(&canvas.bytes);
    let mut text = String::new();
    let n_pieces = encoded.len().div_ceil(PIECE);
    for (i, piece) in encoded.as_bytes().chunks(PIECE).enumerate() {
        let more = u8::from(i + 1 < n_pieces);
        let head = if i == 0 { format!("a=T,f=24,q=2,s={},v={},", canvas.width, canvas.height) } else { String::new() };
        let _ = write!(text, "\x1b_G{head}m={more};{}\x1b\\", String::from_utf8_lossy(piece));
    }
    text + "\r\n"
}

/// Sixels: columns of six pixels, colour by colour.
pub fn sixel(canvas: &Canvas) -> String {
    let palette = Palette::of(canvas);
    let numbers = palette.numbers(canvas);
    let mut text = format!("\x1bPq\"1;1;{};{}", canvas.width, canvas.height);
    let mut is_used = [false; 256];
    numbers.iter().for_each(|&n| is_used[usize::from(n)] = true);
    for (n, colour) in palette.colours().iter().enumerate().filter(|(n, _)| is_used[*n]) {
        let [r, g, b] = colour.map(|v| u32::from(v) * 100 / 255);
        let _ = write!(text, "#{n};2;{r};{g};{b}");
    }
    for band in numbers.chunks(6 * canvas.width.max(1)) {
        let mut columns = vec![[0u8; 256]; 0];
        columns.resize(canvas.width, [0u8; 256]);
        let mut here = [false; 256];
        for (i, &n) in band.iter().enumerate() {
            columns[i % canvas.width][usize::from(n)] |= 1 << (i / canvas.width);
            here[usize::from(n)] = true;
        }
        for n in (0..256).filter(|&n| here[n]) {
            let _ = write!(text, "#{n}");
            let mut at = 0;
            while at < canvas.width {
                let bits = columns[at][n];
                let run = columns[at..].iter().take_while(|column| column[n] == bits).count();
                let letter = char::from(63 + bits);
                match run {
                    0..4 => (0..run).for_each(|_| text.push(letter)),
                    _ => drop(write!(text, "!{run}{letter}")),
                }
                at += run;
            }
            text.push('$');
        }
        text.push('-');
    }
    text + "\x1b\\\r\n"
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let all = three.iter().fold(0u32, |all, b| all << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648s() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn half_blocks_hold_two_rows() {
        let mut canvas = Canvas::new(2, 3, [0; 3]);
        canvas.set(1, 0, [255, 0, 0]);
        let text = blocks(&canvas, true);
        assert_eq!(text.matches('▀').count(), 4);
        assert_eq!(text.matches("\r\n").count(), 2);
        assert!(text.contains("\x1b[38;2;255;0;0m"));
        assert!(blocks(&canvas, false).contains("\x1b[38;5;196m"));
    }

    #[test]
    fn sixels_are_runs_of_columns() {
        let text = sixel(&Canvas::new(10, 7, [255; 3]));
        assert_eq!(text, "\x1bPq\"1;1;10;7#255;2;100;100;100#255!10~$-#255!10@$-\x1b\\\r\n");
    }
}
