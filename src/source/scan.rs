//! From what a command line names to a list of files: paths, directories, globs, lists of names.
//!
//! The list is the same on every machine: natural order, no duplicates. Files are not opened, and not
//! asked for their size.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FORMATS;
use super::packed::lines;
use crate::bytes;
use crate::error::{Error, Result};
use crate::pattern::natural_cmp;

/// What the user named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Paths, directories and globs as they were typed.
    pub named: Vec<String>,
    /// A file with one name per line, or names ended by NUL; `-` is standard input.
    pub files_from: Option<PathBuf>,
    /// Globs that a name must match, if there are any. With a `/` they are matched against the path.
    pub include: Vec<String>,
    /// Globs that a name must not match.
    pub exclude: Vec<String>,
}

impl<T: Into<String>> From<T> for Inputs {
    /// One path, directory or glob.
    fn from(named: T) -> Self {
        Self { named: vec![named.into()], ..Self::default() }
    }
}

impl Inputs {
    /// Whether one of them lies in a store of objects or on a web server, as far as names tell.
    pub fn is_remote(&self) -> bool {
        self.named.iter().any(|name| bytes::is_remote(Path::new(name)))
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The files, in natural order.
    #[serde(with = "lines")]
    pub paths: Vec<PathBuf>,
    /// Files that `--include` or `--exclude` left out.
    pub n_left_out: u64,
}

/// Lists the files that `inputs` name.
///
/// # Errors
/// `Usage` if an input does not exist, a glob is wrong or matches nothing; `Io` if a directory or a list
/// cannot be read.
pub fn scan(inputs: &Inputs) -> Result<Found> {
    let mut paths = Vec::new();
    for input in &inputs.named {
        expand(input, &mut paths)?;
    }
    if let Some(list) = &inputs.files_from {
        read_list(list, &mut paths)?;
    }
    let filter = Filter::new(inputs)?;
    let n_found = paths.len();
    paths.retain(|p| filter.keeps(p));
    let n_left_out = (n_found - paths.len()) as u64;
    sort(&mut paths);
    paths.dedup();
    if paths.is_empty() {
        let why = if n_left_out > 0 {
            format!("{n_left_out} files found, but --include and --exclude leave none")
        } else {
            "no input files: name files, directories, quoted globs, or a list with --files-from".into()
        };
        return Err(Error::usage(why));
    }
    Ok(Found { paths, n_left_out })
}

/// Sorts by natural order of the whole path, computed on text once per path.
fn sort(paths: &mut Vec<PathBuf>) {
    let mut keyed: Vec<(String, PathBuf)> = paths.drain(..).map(|p| (p.to_string_lossy().into_owned(), p)).collect();
    keyed.sort_by(|a, b| natural_cmp(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
    paths.extend(keyed.into_iter().map(|(_, p)| p));
}

fn expand(input: &str, paths: &mut Vec<PathBuf>) -> Result<()> {
    if bytes::is_remote(Path::new(input)) {
        if input.split_once("://").is_some_and(|(_, place)| place.is_empty() || place.starts_with('/')) {
            return Err(Error::usage(format!("{input}: names no bucket or server: it stands behind ://")));
        }
        return expand_remote(Path::new(input), paths);
    }
    if let Some((scheme, _)) = input.split_once("://").filter(|(scheme, _)| scheme.chars().all(char::is_alphanumeric)) {
        if let Some(path) = input.strip_prefix("file://") {
            return Err(Error::usage(format!("{input}: a file of this machine is named by its path alone: {path}")));
        }
        return Err(Error::usage(format!(
            "{input}: inputs are read from file systems and over s3, gs, az, http and https, not over {scheme}: copy \
             them, as with 'rclone copy', or mount the place, as with 'rclone mount'"
        )));
    }
    let path = &path_of_text(input);
    if bytes::is_archive(path) {
        paths.push(path.to_owned());
        return Ok(());
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() && !super::is_foldered_file(path) => return walk(path, paths),
        Ok(_) => {
            paths.push(path.to_owned());
            return Ok(());
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(path, "cannot look at", e)),
        Err(_) => {}
    }
    if !input.contains(['*', '?', '[']) {
        return Err(Error::usage(format!("{input}: no such file or directory")));
    }
    let glob = glob::glob_with(input, GLOB).map_err(|e| no_glob(input, &e))?;
    let before = paths.len();
    for entry in glob {
        let path = entry.map_err(|e| {
            let path = e.path().to_owned();
            Error::io(&path, "cannot list", e.into())
        })?;
        paths.push(path);
    }
    if paths.len() == before {
        return Err(Error::usage(format!("'{input}' matches no file")));
    }
    Ok(())
}

/// As in a shell, `*` leaves out hidden files, such as the `._` copies that macOS leaves on shared disks.
const GLOB: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

fn no_glob(input: &str, e: &glob::PatternError) -> Error {
    Error::usage(format!("'{input}' is not a glob: {} at column {}", e.msg, e.pos + 1))
}

/// Adds what a URL names: an object, an array, those that match a glob, or all images below it.
fn expand_remote(path: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let input = path.to_string_lossy();
    let listed = |place: &Path| bytes::listed(place).map_err(|e| Error::io(place, "cannot list", e));
    if let Some(wild) = input.find(['*', '?', '[']).filter(|_| !input.starts_with("http")) {
        let folder = input[..wild].rfind('/').map_or(path, |end| Path::new(&input[..end]));
        let glob = glob::Pattern::new(&input).map_err(|e| no_glob(&input, &e))?;
        let before = paths.len();
        // What matches and is a folder is an array.
        for object in listed(folder)? {
            let mut matching = object.ancestors().filter(|path| glob.matches_path_with(path, GLOB));
            paths.extend(matching.next().map(Path::to_owned));
        }
        paths[before..].sort();
        paths.dedup();
        return if paths.len() > before { Ok(()) } else { Err(Error::usage(format!("'{input}' matches no object"))) };
    }
    if super::is_image(path) || super::has_axes(path) {
        paths.push(path.to_owned());
        return Ok(());
    }
    let is_in_array = |object: &Path| object.ancestors().any(|folder| super::extension(folder) == "zarr");
    let objects = listed(path)?;
    let before = paths.len();
    paths.extend(objects.iter().filter(|object| super::is_image(object) && !is_in_array(object)).cloned());
    match (paths.len() > before, objects.iter().find_map(|o| o.ancestors().find(|f| super::extension(f) == "zarr"))) {
        (true, _) => Ok(()),
        (false, Some(array)) => Err(Error::usage(nothing_read(&[array.to_owned()], &[])).at(input)),
        (false, None) if objects.is_empty() => Err(Error::usage(format!("{input}: no object has such a name"))),
        (false, None) => Err(Error::usage(nothing_read(&[], &[])).at(input)),
    }
}

/// Adds all files below `directory` that an input format knows by extension: images, or where there are none those of
/// other formats, such as results that lie beside images. Hidden entries are passed over. The type of an entry comes
/// from the directory, without asking the file.
fn walk(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let before = paths.len();
    let (mut arrays, mut foreign, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut open = vec![directory.to_owned()];
    while let Some(current) = open.pop() {
        let entries = fs::read_dir(&current).map_err(|e| Error::io(&current, "cannot list", e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(&current, "cannot list", e))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let mut kind = entry.file_type().map_err(|e| Error::io(&path, "cannot look at", e))?;
            let is_link = kind.is_symlink();
            if is_link {
                // A link to a file counts; a link to a directory could lead in a circle.
                kind = match fs::metadata(&path) {
                    Ok(meta) => meta.file_type(),
                    Err(_) if !super::is_image(&path) && !super::has_axes(&path) => continue,
                    Err(e) => return Err(Error::io(&path, "cannot follow the link", e)),
                };
            }
            if kind.is_dir() && !is_link {
                let place = if super::is_foldered_file(&path) { &mut arrays } else { &mut open };
                place.push(path);
            } else if kind.is_file() && super::is_image(&path) {
                paths.push(path);
            } else if kind.is_file() && super::has_axes(&path) {
                others.push(path);
            } else if kind.is_file() && super::foreign::known(&path).is_some() {
                foreign.push(path);
            }
        }
    }
    if paths.len() == before {
        paths.append(&mut others);
    }
    if paths.len() == before {
        return Err(Error::usage(nothing_read(&arrays, &foreign)).at(directory.display()));
    }
    Ok(())
}

/// Why a folder that holds folders which are `arrays`, and files of `foreign` formats, holds no image files.
fn nothing_read(arrays: &[PathBuf], foreign: &[PathBuf]) -> String {
    if let Some(array) = arrays.iter().min() {
        let (n, array) = (arrays.len(), array.display());
        return format!("no image files in it, but {n} Zarr: name the one to read, such as {array}");
    }
    if let Some(what) = foreign.iter().min().and_then(|path| super::foreign::known(path)) {
        return format!("no image files in it that are read: {what}");
    }
    let known: Vec<&str> = FORMATS.iter().flat_map(|f| f.extensions).copied().collect();
    format!("no image files in it (looked for .{})", known.join(" ."))
}

fn read_list(list: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e| Error::named("--files-from", list, "cannot read names from", e);
    let bytes = match list == Path::new("-") {
        true => names_of(std::io::stdin().lock()),
        false => fs::File::open(list).map_err(failed).map(names_of)?,
    };
    let bytes = bytes.map_err(failed)?;
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(Error::usage("the list of names is encoded in UTF-16: save it as UTF-8").at(list.display()));
    }
    paths.extend(split_list(&bytes).map(path_of));
    Ok(())
}

/// The bytes of a list, which may be endless, such as a device, as long as there are names in it.
fn names_of(mut list: impl Read) -> std::io::Result<Vec<u8>> {
    /// No name is so long, and no file of names has a gap so long.
    const LONGEST: usize = 1 << 20;
    let mut bytes = Vec::new();
    while list.by_ref().take(LONGEST as u64).read_to_end(&mut bytes)? == LONGEST {
        let last = &bytes[bytes.len() - LONGEST..];
        let is_end = |b: &u8| matches!(b, 0 | b'\n');
        if !last.iter().any(is_end) || last.iter().all(is_end) {
            return Err(std::io::Error::other(format!("no name ends in {LONGEST} bytes: this is no list of names")));
        }
    }
    Ok(bytes)
}

/// Names separated by NUL if there is one, else by line ends; empty ones and a byte-order mark in front are passed
/// over.
pub fn split_list(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let nul = bytes.contains(&0);
    bytes
        .split(move |&b| if nul { b == 0 } else { b == b'\n' })
        .map(move |name| if nul { name } else { name.strip_suffix(b"\r").unwrap_or(name) })
        .filter(|name| !name.is_empty())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

/// The path that [`text_of`] made `text` of.
fn path_of_text(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(NO_TEXT) {
            Some(byte @ 0x80..=0xFF) => bytes.push(byte as u8),
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    path_of(&bytes)
}

/// Bytes of a name that are no UTF-8 stand in its text as characters that many above this, which are for private use.
const NO_TEXT: u32 = 0xF700;

/// An input as text, from which nothing is lost even where it is not UTF-8.
pub fn text_of(name: &std::ffi::OsStr) -> String {
    use std::os::unix::ffi::OsStrExt;
    let private = |b: &u8| char::from_u32(NO_TEXT + u32::from(*b)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let chunks = name.as_bytes().utf8_chunks();
    chunks.flat_map(|chunk| chunk.valid().chars().chain(chunk.invalid().iter().map(private))).collect()
}

/// `--include` and `--exclude`.
struct Filter {
    include: Vec<(glob::Pattern, bool)>,
    exclude: Vec<(glob::Pattern, bool)>,
}

impl Filter {
    fn new(inputs: &Inputs) -> Result<Self> {
        let parse = |flag: &str, globs: &[String]| {
            let one = |text: &String| {
                let pattern = glob::Pattern::new(text).map_err(|e| {
                    Error::usage(format!("{flag} '{text}' is not a glob: {} at column {}", e.msg, e.pos + 1))
                })?;
                Ok((pattern, text.contains('/')))
            };
            globs.iter().map(one).collect::<Result<Vec<_>>>()
        };
        Ok(Self { include: parse("--include", &inputs.include)?, exclude: parse("--exclude", &inputs.exclude)? })
    }

    fn keeps(&self, path: &Path) -> bool {
        let whole = path.to_string_lossy();
        let name = path.file_name().map_or(whole.clone(), |n| n.to_string_lossy());
        let hit = |globs: &[(glob::Pattern, bool)]| {
            globs.iter().any(|(glob, on_path)| glob.matches(if *on_path { &whole } else { &name }))
        };
        (self.include.is_empty() || hit(&self.include)) && !hit(&self.exclude)
    }
}
