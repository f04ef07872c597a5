//! The command to run next, ready to copy.

use crate::command::quoted;
use std::path::{Path, PathBuf};

use crate::cli::{InspectArgs, Missing};
use crate::command::resolve;
use crate::open::Found;
use crate::sink::Sharding;
use crate::sink::zarr::Contrast;

/// What is known when the command is made.
pub(super) struct NextCommand<'a> {
    pub(super) args: &'a InspectArgs,
    /// How names were read, if nobody had said it.
    pub(super) found: Option<Found>,
    pub(super) paths: &'a [PathBuf],
    /// Names of files that are to be left out.
    pub(super) exclude: &'a [String],
    pub(super) fill: bool,
}

impl NextCommand<'_> {
    /// The command, word by word.
    pub(super) fn words(&self) -> Vec<String> {
        let (args, names, storage) = (self.args, &self.args.names, &self.args.storage);
        let mut words = vec!["stackctl".to_owned(), "stitch".to_owned()];
        words.extend(self.found.iter().flat_map(resolve::flags));
        let mut maybe = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([name.to_owned(), value]);
            }
        };
        maybe("--preset", names.preset.clone());
        maybe("--regex", names.regex.clone());
        maybe("--pattern", names.pattern.clone());
        // All that it holds are presets.
        let config = names.config.as_ref().filter(|_| self.found.is_none());
        maybe("--config", config.map(|p| p.display().to_string()));
        maybe("--by", args.by.clone());
        maybe("--axes", names.axes.as_ref().map(|a| a.join(",")));
        maybe("--pages", names.pages.clone());
        maybe("--series", names.series.map(|n| n.to_string()));
        maybe("--level", names.level.map(|n| n.to_string()));
        maybe("--variable", names.variable.clone());
        maybe("--reader", names.reader.clone());
        for layout in &names.layout {
            maybe("--layout", Some(layout.clone()));
        }
        maybe("--voxel-size", (!names.voxel_size.is_empty()).then(|| names.voxel_size.join(",")));
        maybe("--time-step", names.time_step.clone());
        maybe("--channel-names", names.channel_names.as_ref().map(|n| n.join(",")));
        maybe("--missing", (self.fill || names.missing == Missing::Fill).then(|| "fill".into()));
        maybe("--fill-value", names.fill_value.clone());
        maybe("--zarr-format", storage.zarr_format.map(|n| n.to_string()));
        maybe("--chunks", storage.chunks.as_ref().map(|c| joined(c)));
        maybe("--shards", (storage.shards != Sharding::Auto).then(|| storage.shards.to_string()));
        maybe("--codec", storage.codec.as_ref().map(ToString::to_string));
        maybe("--max-files", storage.max_files.map(|n| n.to_string()));
        maybe("--levels", storage.levels.map(|levels| levels.to_string()));
        maybe("--downsample", storage.downsample.map(|method| method.name().into()));
        maybe("--contrast", (storage.contrast != Contrast::Kept).then(|| storage.contrast.name().into()));
        maybe("--channel-colors", (!storage.channel_colors.is_empty()).then(|| storage.channel_colors.join(",")));
        maybe("--memory", args.memory.map(|b| size(b.0)));
        maybe("--threads", args.threads.map(|n| n.to_string()));
        maybe("--files-from", args.input.files_from.as_ref().map(|p| p.display().to_string()));
        for glob in &args.input.include {
            maybe("--include", Some(glob.clone()));
        }
        for glob in &args.input.exclude {
            maybe("--exclude", Some(glob.clone()));
        }
        for name in self.exclude {
            maybe("--exclude", Some(glob::Pattern::escape(name)));
        }
        let switches = [
            ("--unpack", names.unpack),
            ("--follow", args.input.follow),
            ("--skip-bad", args.input.skip_bad),
            ("--plain", storage.plain),
            ("--coordinates", storage.coordinates),
        ];
        words.extend(switches.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| (*name).to_owned()));
        words.extend(self.inputs());
        words.extend(["-o".to_owned(), self.output()]);
        words
    }

    /// The inputs as typed; names that a shell made of a glob become one again.
    fn inputs(&self) -> Vec<String> {
        const FEW: usize = 4;
        let typed = &self.args.input.inputs;
        if typed.len() <= FEW {
            return typed.clone();
        }
        as_glob(typed).map_or_else(|| typed.clone(), |glob| vec![glob])
    }

    /// The folder that all files are below.
    fn common_folder(&self) -> PathBuf {
        let folder = |path: Option<&PathBuf>| path.and_then(|p| p.parent()).unwrap_or(Path::new("")).to_owned();
        // Sorted names: what the first and the last share, all do.
        let (first, last) = (folder(self.paths.first()), folder(self.paths.last()));
        first.components().zip(last.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    }

    fn output(&self) -> String {
        let first = self.paths.first().map(PathBuf::as_path).unwrap_or(Path::new("data"));
        let text = |part: Option<&std::ffi::OsStr>| part.map(|n| n.to_string_lossy().into_owned());
        let name = match self.paths.len() {
            1 => text(first.file_stem()).map(|n| n.trim_end_matches(".ome").to_owned()),
            _ => text(self.common_folder().file_name()),
        };
        // Braces would be filled in, and a dash would begin a flag.
        let name = name.unwrap_or_else(|| "data".into()).replace(['{', '}'], "_");
        let name = if name.starts_with('-') { format!("./{name}") } else { name };
        if let Some(by) = &self.args.by {
            let fields: Vec<String> = by.split(',').map(|field| format!("{{{}}}", field.trim())).collect();
            return format!("{name}-zarr/{}.zarr", fields.join("_"));
        }
        // Neither an input nor anything else that stands there is replaced.
        let numbered = (2..).map(|n| format!("{name}-{n}.zarr"));
        let mut names = std::iter::once(format!("{name}.zarr")).chain(numbered);
        names.find(|name| !Path::new(name).exists()).unwrap_or(name)
    }
}

/// `raw/*.tif`, if that names exactly `inputs`.
fn as_glob(inputs: &[String]) -> Option<String> {
    let first = Path::new(inputs.first()?);
    let (folder, extension) = (first.parent()?, first.extension()?.to_str()?);
    let alike = |p: &Path| p.parent() == Some(folder) && p.extension().is_some_and(|e| e == extension);
    if !inputs.iter().all(|i| alike(Path::new(i))) {
        return None;
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(here).ok()?.filter_map(Result::ok);
    let named = |e: &std::fs::DirEntry| {
        let name = e.file_name();
        Path::new(&name).extension().is_some_and(|x| x == extension) && !name.as_encoded_bytes().starts_with(b".")
    };
    let n = entries.filter(named).count();
    let folder = glob::Pattern::escape(folder.to_str()?);
    let glob = if folder.is_empty() { format!("*.{extension}") } else { format!("{folder}/*.{extension}") };
    (n == inputs.len()).then_some(glob)
}

fn joined(lengths: &[u64]) -> String {
    lengths.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Bytes as `--memory` reads them.
fn size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}G", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b => b.to_string(),
    }
}

/// The words as a shell reads them back, on lines of at most `width` that end in a backslash.
pub(super) fn shell_lines(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = words.iter().map(|w| quoted(w)).peekable();
    while let Some(mut word) = words.next() {
        // A flag stays with its value.
        if (word.starts_with("--") || word == "-o")
            && let Some(value) = words.next()
        {
            word = format!("{word} {value}");
        }
        let fits = line.chars().count() + 1 + word.chars().count() + 2 <= width;
        if line.is_empty() {
            line = word;
        } else if fits {
            line = format!("{line} {word}");
        } else {
            lines.push(format!("{line} \\"));
            line = format!("  {word}");
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_lines_kept_short() {
        assert_eq!(quoted("raw/a.tif"), "raw/a.tif");
        assert_eq!(quoted("_ch{c}_*"), "'_ch{c}_*'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        assert_eq!([size(3 << 30), size(512 << 20), size(1000)], ["3G", "512M", "1000"]);
        let words: Vec<String> =
            ["stackctl", "stitch", "--pattern", "a b", "in", "-o", "x.zarr"].map(String::from).into();
        assert_eq!(shell_lines(&words, 40), ["stackctl stitch --pattern 'a b' in \\", "  -o x.zarr"]);
        assert_eq!(shell_lines(&words, 100).len(), 1);
    }
}
