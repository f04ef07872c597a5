//! Errors, sorted by whose turn it is.
//!
//! The library returns these; `command` adds context and `main` prints the chain once and chooses the
//! exit code. Wording: lower case, no full stop, place first, then found and expected, then the way out.

use std::path::{Path, PathBuf};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request contradicts itself or does not fit what is there: the user changes the command.
    #[error("{0}")]
    Usage(String),
    /// A file contradicts itself or its neighbours: the data is at fault.
    #[error("{0}")]
    Format(String),
    /// Valid, but not handled by this version.
    #[error("{0}")]
    Unsupported(String),
    /// Would exceed `--memory`.
    #[error("{0}")]
    Limit(String),
    /// The operating system said no.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb phrase: `cannot read`.
        action: &'static str,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// A check asked for by the user found a fault (`inspect --strict`, `verify`).
    #[error("{0}")]
    Fault(String),
    /// Nothing is left to do: an earlier run had done it all.
    #[error("{0}")]
    Complete(String),
    /// What started this process is not what it was taken for.
    #[error("{0}")]
    Launcher(String),
    /// A signal asked for an early end; what is done so far is said in the text.
    #[error("{0}")]
    Stopped(String),
}

/// The result type of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The one of `known` that `word` was probably meant to be, if there is one near enough.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |k: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &k.to_lowercase());
    let most = word.chars().count().div_ceil(3);
    known.into_iter().map(|k| (distance(k), k)).filter(|(d, _)| *d <= most).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

impl Error {
    /// A [`Error::Usage`] from anything that prints.
    pub fn usage(text: impl std::fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    /// A [`Error::Format`] from anything that prints.
    pub fn format(text: impl std::fmt::Display) -> Self {
        Self::Format(text.to_string())
    }

    /// A [`Error::Unsupported`] from anything that prints.
    pub fn unsupported(text: impl std::fmt::Display) -> Self {
        Self::Unsupported(text.to_string())
    }

    /// A [`Error::Limit`] from anything that prints.
    pub fn limit(text: impl std::fmt::Display) -> Self {
        Self::Limit(text.to_string())
    }

    /// An [`Error::Io`]; `action` is a verb phrase such as `cannot open`.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// What became of a file that `flag` names: one that is not there is a mistake of the command.
    pub fn named(flag: &str, path: &Path, action: &'static str, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::NotFound => {
                Self::usage(format!("{flag} {}: there is no such file or folder", path.display()))
            }
            _ => Self::io(path, action, source),
        }
    }

    /// Puts `place` (a file, a page) in front of the message, keeping whose turn it is.
    #[must_use]
    pub fn at(self, place: impl std::fmt::Display) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(format!("{place}: {text}")),
            Self::Format(text) => Self::Format(format!("{place}: {text}")),
            Self::Unsupported(text) => Self::Unsupported(format!("{place}: {text}")),
            Self::Limit(text) => Self::Limit(format!("{place}: {text}")),
            Self::Fault(text) => Self::Fault(format!("{place}: {text}")),
            Self::Complete(text) => Self::Complete(format!("{place}: {text}")),
            Self::Launcher(text) => Self::Launcher(format!("{place}: {text}")),
            Self::Stopped(text) => Self::Stopped(format!("{place}: {text}")),
            io @ Self::Io { .. } => io,
        }
    }

    /// Puts a way out, or what else there is to say, behind the message of a file's fault.
    #[must_use]
    pub fn and(self, more: impl std::fmt::Display) -> Self {
        match self {
            Self::Unsupported(text) => Self::Unsupported(format!("{text}{more}")),
            fault @ (Self::Format(_) | Self::Io { .. }) => Self::Format(format!("{fault}{more}")),
            other => other,
        }
    }

    /// Whether it is a file's fault, not that of the request, the machine or the user.
    pub fn is_of_file(&self) -> bool {
        matches!(self, Self::Format(_) | Self::Unsupported(_) | Self::Io { .. })
    }

    /// The exit code of the process: 0 nothing to do, 1 failed, 2 usage or a plan that does not fit, 3 fault found,
    /// 4 another launcher than is needed, 75 stopped early.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Complete(_) => 0,
            Self::Usage(_) | Self::Limit(_) => 2,
            Self::Fault(_) => 3,
            Self::Launcher(_) => 4,
            Self::Stopped(_) => 75,
            Self::Format(_) | Self::Unsupported(_) | Self::Io { .. } => 1,
        }
    }
}
