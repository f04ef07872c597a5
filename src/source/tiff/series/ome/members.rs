//! Which files the members of a data set are: those of their names, unless these say that they are others.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::xml::identity;
use super::{Context, is_ome};
use crate::bytes::within;
use crate::error::Result;
use crate::source::OpenOptions;
use crate::source::tiff::directory::Directory;
use crate::source::tiff::series::{DESCRIPTION_BYTES, IMAGE_DESCRIPTION};

/// What a member of a set is asked for by: its name, and its identity if the text gives one.
type Asked = Vec<(String, Option<String>)>;

/// A folder, and when files in it were last made or renamed.
type Place = (PathBuf, Option<SystemTime>);

/// Members of a set of which one that cannot be read is looked at again and again, as it may be whole by then.
const FEW: usize = 256;

/// The members of a set, and in which files they are found.
struct Settled {
    place: Place,
    asked: Asked,
    text: Option<String>,
    found: Vec<String>,
}

/// The set that was looked at last: every one of its files asks for it again.
static LAST: Mutex<Option<Settled>> = Mutex::new(None);

/// Name of the file in which each member of `names` is found. `wanted` are the identities that the text gives them,
/// `text` is that of the text.
///
/// A file that is another by its own identity is not taken for the member of its name: the one of that identity is,
/// or else a name that no file has, which says why. Files without an identity, or with a copy of that of the text, are
/// what their names say.
pub(super) fn found(cx: &Context<'_>, names: &[String], wanted: &[Option<&str>], text: Option<&str>) -> Vec<String> {
    let wanted: Vec<Option<String>> = wanted.iter().map(|id| id.and_then(plain)).collect();
    if names.len() < 2 || wanted.iter().all(Option::is_none) {
        return names.to_vec();
    }
    let folder = cx.directory.path().parent().unwrap_or(Path::new(""));
    let (text, asked): (_, Asked) = (text.and_then(plain), names.iter().cloned().zip(wanted.iter().cloned()).collect());
    let changed = folder.metadata().and_then(|found| found.modified()).ok();
    let place = (folder.to_owned(), changed);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = last.as_ref().filter(|l| l.place == place && l.asked == asked && l.text == text) {
        return known.found.clone();
    }
    let own: Vec<Result<Option<String>>> = names.iter().map(|name| own_identity(folder, name, cx.options)).collect();
    let is_settled = names.len() > FEW || own.iter().all(Result::is_ok);
    let own: Vec<Option<String>> = own.into_iter().map(|id| id.ok().flatten()).collect();
    let found = settle(names, &wanted, &own, text.as_deref());
    *last = is_settled.then(|| Settled { place, asked, text, found: found.clone() });
    found
}

/// The file of each member, by what was `wanted` and what the files of `names` say that they are.
fn settle(names: &[String], wanted: &[Option<String>], own: &[Option<String>], text: Option<&str>) -> Vec<String> {
    let one = |i: usize| {
        let (name, id) = (&names[i], wanted[i].as_ref());
        let Some(id) = id.filter(|id| own[i].as_ref() != Some(id)) else { return name.clone() };
        // An identity that several share tells none of them from the others.
        if wanted.iter().filter(|other| other.as_ref() == Some(id)).count() > 1 {
            return name.clone();
        }
        let mut of_it = (0..names.len()).filter(|&j| own[j].as_ref() == Some(id));
        match (&own[i], of_it.next(), of_it.next()) {
            // What it is nobody says.
            (None, ..) => name.clone(),
            (Some(_), Some(j), None) => names[j].clone(),
            (Some(other), ..) if Some(other.as_str()) == text => name.clone(),
            (Some(other), ..) => format!("{name} (urn:uuid:{id} is wanted, the file is urn:uuid:{other})"),
        }
    };
    (0..names.len()).map(one).collect()
}

/// What the file called `name` says that it is.
fn own_identity(folder: &Path, name: &str, options: &OpenOptions) -> Result<Option<String>> {
    if !folder.join(name).exists() {
        return Ok(None);
    }
    let directory = Directory::first_page(&within(folder, name, options.follow)?, options)?;
    let most = options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
    let text = directory.tag(0, IMAGE_DESCRIPTION, 0, most)?.map(|tag| tag.text());
    Ok(text.filter(|text| is_ome(text)).and_then(|text| identity(&text)).and_then(|id| plain(&id)))
}

/// An identity as it is compared.
fn plain(id: &str) -> Option<String> {
    let id = id.trim().to_lowercase();
    let id = id.strip_prefix("urn:uuid:").unwrap_or(&id);
    (!id.is_empty()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(own: [Option<&str>; 2], wanted: [Option<&str>; 2]) -> Vec<String> {
        let list = |ids: [Option<&str>; 2]| ids.map(|id| id.and_then(plain));
        settle(&["a".to_owned(), "b".to_owned()], &list(wanted), &list(own), Some("1"))
    }

    #[test]
    fn a_file_is_what_it_says_it_is() {
        let wanted = [Some("urn:uuid:1"), Some("urn:uuid:2")];
        assert_eq!(settled([Some("1"), Some("2")], wanted), ["a", "b"]);
        assert_eq!(settled([Some("2"), Some("1")], wanted), ["b", "a"], "names were exchanged");
        let other = settled([Some("1"), Some("3")], wanted);
        assert_eq!(other, ["a", "b (urn:uuid:2 is wanted, the file is urn:uuid:3)"]);
    }

    #[test]
    fn a_file_that_does_not_say_so_is_what_its_name_says() {
        let wanted = [Some("1"), Some("2")];
        assert_eq!(settled([Some("1"), None], wanted), ["a", "b"]);
        assert_eq!(settled([Some("1"), Some("1")], wanted), ["a", "b"], "the text was copied with its identity");
        assert_eq!(settled([Some("1"), Some("4")], [Some("1"), Some("1")]), ["a", "b"], "one identity for all");
    }
}
