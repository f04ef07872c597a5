//! The terminal: what it can draw, how large it is, and keys that are pressed in it.

use std::io::{IsTerminal, Read, Write, stdin, stdout};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::draw::canvas::Canvas;
use crate::draw::terminal;

/// How pictures are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Graphics {
    Kitty,
    Sixel,
    Blocks,
}

/// Pixels of a letter, where the terminal does not say.
const LETTER: (u32, u32) = (8, 16);

impl Graphics {
    /// The one called `name`, or what the terminal can do.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "kitty" => Self::Kitty,
            "sixel" => Self::Sixel,
            "blocks" => Self::Blocks,
            _ => Self::found(),
        }
    }

    /// What the terminal says it can do. What runs in tmux and screen asks these, not the terminal around them.
    fn found() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let (term, program) = (variable("TERM"), variable("TERM_PROGRAM"));
        if !variable("TMUX").is_empty() || term.starts_with("screen") || term.starts_with("tmux") || !is_interactive() {
            return Self::Blocks;
        }
        if term == "xterm-kitty" || term == "xterm-ghostty" || matches!(program.as_str(), "WezTerm" | "ghostty") {
            return Self::Kitty;
        }
        if asked("\x1b[c").is_some_and(|answer| answer.trim_end_matches('c').split(';').any(|part| part == "4")) {
            return Self::Sixel;
        }
        Self::Blocks
    }

    /// Pixels of a picture that fills the terminal, or `columns` of it, and leaves room for a line.
    pub(super) fn room(self, columns: Option<u32>) -> (usize, usize) {
        let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (all, rows) = size.map_or((80, 24), |size| (u32::from(size.ws_col), u32::from(size.ws_row)));
        let rows = (rows - 1).max(1);
        let columns = columns.map_or(all, |columns| columns.min(if size.is_some() { all } else { columns }));
        // Without a terminal nothing limits the height.
        let rows = if size.is_some() { rows } else { columns };
        let pixels = size.map(|size| (u32::from(size.ws_xpixel) / all, u32::from(size.ws_ypixel) / (rows + 1)));
        let (width, height) = match (self, pixels.filter(|(w, h)| *w > 0 && *h > 0)) {
            (Self::Blocks, _) => (1, 2),
            (_, Some(letter)) => letter,
            _ => LETTER,
        };
        ((columns * width) as usize, (rows * height) as usize)
    }

    /// `canvas` as text.
    pub(super) fn text(self, canvas: &Canvas) -> String {
        let has_true_colour = std::env::var("COLORTERM").is_ok_and(|v| v == "truecolor" || v == "24bit");
        match self {
            Self::Kitty => terminal::kitty(canvas),
            Self::Sixel => terminal::sixel(canvas),
            Self::Blocks => terminal::blocks(canvas, has_true_colour),
        }
    }
}

/// Goes to a screen of our own, without a cursor, and back.
pub(super) const OTHER_SCREEN: &[u8] = b"\x1b[?1049h\x1b[?25l";
pub(super) const OWN_SCREEN: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Whether somebody looks and presses keys.
pub(super) fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Keys come one by one and are not shown, until this is dropped.
pub(super) struct Keys(Termios);

impl Keys {
    /// With `tenths` of a second after which nothing was pressed; 0 waits for ever.
    pub(super) fn begin(tenths: u8) -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = u8::from(tenths == 0);
        raw.special_codes[SpecialCodeIndex::VTIME] = tenths;
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }

    /// Gives the terminal back where a signal ends the process.
    ///
    /// # Errors
    /// Where signals cannot be watched.
    pub(super) fn give_back_at_signals(&self) -> std::io::Result<()> {
        let (before, mut signals) = (Self(self.0.clone()), Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?);
        let watch = std::thread::Builder::new().name("signals".into()).stack_size(64 << 10);
        let end = move || {
            let Some(signal) = signals.forever().next() else { return };
            // A terminal that is gone needs no restoring. The lock of the other thread may be held for ever.
            let _ = rustix::io::write(rustix::stdio::stdout(), OWN_SCREEN);
            drop(before);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        };
        watch.spawn(end).map(drop)
    }

    /// What was pressed: letters, and those of special keys together.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(super) fn read(&self) -> std::io::Result<Vec<String>> {
        let text = self.answer()?;
        if text.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (mut keys, mut rest) = (Vec::new(), text.as_str());
        while let Some(first) = rest.chars().next() {
            let special = rest.starts_with("\x1b[") || rest.starts_with("\x1bO");
            let n = if special { rest.len().min(3) } else { first.len_utf8() };
            // Some terminals send the letter O for the bracket.
            keys.push(rest.get(..n).unwrap_or(rest).replace("\x1bO", "\x1b["));
            rest = rest.get(n..).unwrap_or_default();
        }
        Ok(keys)
    }

    fn answer(&self) -> std::io::Result<String> {
        let mut bytes = [0; 256];
        let n = stdin().lock().read(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..n]).into_owned())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// The terminal's answer, if it gives one soon.
fn asked(question: &str) -> Option<String> {
    let keys = Keys::begin(3)?;
    stdout().write_all(question.as_bytes()).and_then(|()| stdout().flush()).ok()?;
    keys.answer().ok().filter(|answer| !answer.is_empty())
}
