//! Parts of remote objects in memory: those asked for ahead until they have been read, and those that small reads come
//! from again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use object_store::GetRange;

use super::spot::{Failure, Known, Spot, lock, spawn};

/// Memory for parts of remote objects, in bytes.
const HELD_BYTES: u64 = 64 << 20;
/// Bytes of the least that is asked for, which is more than any read of headers; of the most that one request asks for; and of
/// what a read asks for at once.
const LEAST: u64 = 72 << 10;
const MOST: u64 = 2 << 20;
const AT_ONCE: u64 = 16 << 20;
/// What is nearer to the end of an object is fetched up to there.
const NEAR_END: u64 = 512 << 10;
/// Where a whole object is kept, whatever its size.
const WHOLE: u64 = u64::MAX;

/// What becomes of a request.
type Answer = Arc<OnceLock<Result<Vec<u8>, Failure>>>;

/// A part of an object.
struct Part {
    end: u64,
    n_bytes: u64,
    n_read: u64,
    /// Whether it is read more than once.
    is_kept: bool,
    answer: Answer,
}

/// Parts by object and place, in the order they were asked for.
#[derive(Default)]
struct Parts {
    by_place: BTreeMap<(Arc<str>, u64), Part>,
    order: VecDeque<(Arc<str>, u64)>,
    held_bytes: u64,
}

static PARTS: LazyLock<Mutex<Parts>> = LazyLock::new(Mutex::default);
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Known>>> = LazyLock::new(Mutex::default);

impl Parts {
    /// Makes room for `n_bytes`, as far as what has come and was not read goes; says whether there is enough.
    fn make_room(&mut self, n_bytes: u64) -> bool {
        let mut i = 0;
        while self.held_bytes + n_bytes > HELD_BYTES
            && let Some(place) = self.order.get(i).cloned()
        {
            if self.by_place.get(&place).is_some_and(|part| part.answer.get().is_none()) {
                i += 1;
                continue;
            }
            self.order.remove(i);
            self.drop_part(&place);
        }
        self.held_bytes + n_bytes <= HELD_BYTES
    }

    fn drop_part(&mut self, place: &(Arc<str>, u64)) {
        self.held_bytes -= self.by_place.remove(place).map_or(0, |part| part.n_bytes);
    }

    /// The part that holds the byte at `at`.
    fn find(&self, name: &Arc<str>, at: u64) -> Option<(u64, u64, Answer)> {
        let before = self.by_place.range(..=(Arc::clone(name), at)).next_back();
        let ((_, start), part) = before.filter(|((of, _), part)| of == name && at < part.end)?;
        Some((*start, part.end, Arc::clone(&part.answer)))
    }

    fn add(&mut self, place: (Arc<str>, u64), part: Part) {
        self.drop_part(&place);
        self.held_bytes += part.n_bytes;
        self.by_place.insert(place.clone(), part);
        self.order.push_back(place);
    }

    /// Counts bytes of a part as read; one that is read whole has done its service.
    fn count(&mut self, place: &(Arc<str>, u64), n_bytes: u64) {
        if let Some(part) = self.by_place.get_mut(place) {
            part.n_read += n_bytes;
            if !part.is_kept && part.n_read >= part.end - place.1 {
                self.drop_part(place);
            }
        }
    }
}

/// Asks for a whole object of about `n_bytes`, unless it is on its way. Gives nothing where that would take too much
/// memory for an object that is not needed at once.
fn whole(path: &Path, n_bytes: u64, is_kept: bool, is_needed: bool) -> io::Result<Option<Answer>> {
    let place: (Arc<str>, u64) = (path.to_string_lossy().into(), WHOLE);
    let spot = Spot::of(path)?;
    let mut parts = lock(&PARTS);
    if let Some(part) = parts.by_place.get(&place) {
        return Ok(Some(Arc::clone(&part.answer)));
    }
    if !parts.make_room(n_bytes) && !is_needed {
        return Ok(None);
    }
    let answer = Answer::default();
    parts.add(place, Part { end: WHOLE, n_bytes, n_read: 0, is_kept, answer: Arc::clone(&answer) });
    drop(parts);
    let given = Arc::clone(&answer);
    spawn(async move {
        let fetched = spot.fetch(None, None).await;
        let _ = given.set(fetched.map(|(bytes, ..)| bytes));
    })?;
    Ok(Some(answer))
}

/// Fetches the object at `path`, which will be read soon and is no larger than `n_bytes`.
pub(super) fn ask(path: &Path, n_bytes: u64) {
    // Who reads it is told what is wrong.
    let _ = whole(path, n_bytes, false, false);
}

/// All bytes of the object at `path`; kept for those that ask again if `is_kept`.
pub(in crate::bytes) fn read(path: &Path, is_kept: bool) -> io::Result<Vec<u8>> {
    let answer = whole(path, LEAST, is_kept, true)?.ok_or(ErrorKind::OutOfMemory)?;
    let bytes = answer.wait().clone().map_err(io::Error::from);
    let failed = bytes.as_ref().is_err_and(|e| e.kind() != ErrorKind::NotFound);
    if !is_kept || failed {
        forget(path);
    }
    bytes
}

/// Forgets what is in memory of the object at `path`.
pub(super) fn forget(path: &Path) {
    let name: Arc<str> = path.to_string_lossy().into();
    let mut parts = lock(&PARTS);
    let places = parts.by_place.range((Arc::clone(&name), 0)..=(name, WHOLE)).map(|(place, _)| place.clone());
    places.collect::<Vec<_>>().iter().for_each(|place| parts.drop_part(place));
    lock(&KNOWN).remove(path);
}

/// Remembers what a listing says of the object at `path`.
pub(super) fn remember(path: PathBuf, known: Known) {
    lock(&KNOWN).insert(path, known);
}

/// Size, time and version of the object at `path`, as they were when it was first looked at.
pub(super) fn known(path: &Path) -> io::Result<Known> {
    if let Some(known) = lock(&KNOWN).get(path) {
        return Ok(known.clone());
    }
    let known = Spot::of(path)?.head()?;
    remember(path.to_owned(), known.clone());
    Ok(known)
}

/// Objects that are looked at to tell whether any has changed.
const MOST_LOOKED_AT: usize = 100_000;

/// What the object at `path` is, or, if it is none, what lies below.
pub(in crate::bytes) fn state(path: &Path) -> io::Result<String> {
    match known(path) {
        Ok(known) => Ok(known.words()),
        Err(e) if e.kind() == ErrorKind::NotFound => folder_state(path),
        Err(e) => Err(e),
    }
}

fn folder_state(path: &Path) -> io::Result<String> {
    // Of what cannot be listed, metadata must do.
    let (objects, _) = match Spot::of(path)?.below(MOST_LOOKED_AT) {
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            let documents = ["zarr.json", ".zarray", ".zattrs", ".zgroup"].map(|name| read(&path.join(name), true));
            let sum = documents.iter().flatten().fold(0, |sum, text| crc32c::crc32c_append(sum, text));
            return Ok(format!("metadata {sum:08x}"));
        }
        listed => listed?,
    };
    let one = |(key, known): &(String, Known)| crc32c::crc32c(format!("{key} {}", known.words()).as_bytes());
    Ok(format!("{} objects, {:08x}", objects.len(), objects.iter().map(one).fold(0, u32::wrapping_add)))
}

/// An object that is read in ranges, all of one version.
#[derive(Debug)]
pub struct Object {
    name: Arc<str>,
    spot: Spot,
    known: Known,
}

impl Object {
    /// The object at `path`, whose beginning is read first.
    pub(in crate::bytes) fn open(path: &Path) -> io::Result<Self> {
        let known = lock(&KNOWN).get(path).cloned();
        if let Some(known) = known {
            return Ok(Self { name: path.to_string_lossy().into(), spot: Spot::of(path)?, known });
        }
        let object = Self::first(path, GetRange::Bounded(0..LEAST))?;
        remember(path.to_owned(), object.known.clone());
        Ok(object)
    }

    /// The object at `path`, whose last `n_bytes` are read first.
    pub(in crate::bytes) fn open_end(path: &Path, n_bytes: u64) -> io::Result<Self> {
        match Self::first(path, GetRange::Suffix(n_bytes)) {
            // Azure knows no such ranges.
            Err(e) if e.kind() == ErrorKind::Other => {
                let spot = Spot::of(path)?;
                Ok(Self { name: path.to_string_lossy().into(), known: spot.head()?, spot })
            }
            object => object,
        }
    }

    fn first(path: &Path, range: GetRange) -> io::Result<Self> {
        let (name, spot): (Arc<str>, Spot) = (path.to_string_lossy().into(), Spot::of(path)?);
        let answer = Arc::new(OnceLock::new());
        let (given, asked) = (Arc::clone(&answer), spot.clone());
        spawn(async move {
            let _ = given.set(asked.fetch(Some(range), None).await);
        })?;
        let (bytes, known, start) = answer.wait().clone()?;
        let n_bytes = bytes.len() as u64;
        let object = Self { name: Arc::clone(&name), spot, known };
        let mut parts = lock(&PARTS);
        parts.make_room(n_bytes);
        let answer = Arc::new(OnceLock::from(Ok(bytes)));
        parts.add((name, start), Part { end: start + n_bytes, n_bytes, n_read: 0, is_kept: true, answer });
        Ok(object)
    }

    /// Its size in bytes.
    pub(in crate::bytes) fn n_bytes(&self) -> u64 {
        self.known.n_bytes
    }

    /// Asks for `range`, which lies in the object.
    fn request(&self, parts: &mut Parts, range: Range<u64>, is_kept: bool) -> io::Result<()> {
        let n_bytes = range.end - range.start;
        let answer = Answer::default();
        let part = Part { end: range.end, n_bytes, n_read: 0, is_kept, answer: Arc::clone(&answer) };
        parts.add((Arc::clone(&self.name), range.start), part);
        let (spot, tag) = (self.spot.clone(), self.known.tag.clone());
        spawn(async move {
            let fetched = spot.fetch(Some(GetRange::Bounded(range)), tag).await;
            let _ = answer.set(fetched.map(|(bytes, ..)| bytes));
        })
    }

    /// Asks for those of `range` that are not on their way, in as many requests as that takes.
    fn request_all(&self, range: Range<u64>, is_needed: bool) -> io::Result<()> {
        let mut parts = lock(&PARTS);
        let mut at = range.start;
        while at < range.end {
            if let Some((_, end, _)) = parts.find(&self.name, at) {
                at = end;
                continue;
            }
            let next =
                parts.by_place.range((Arc::clone(&self.name), at)..).next().map(|((name, start), _)| (name, *start));
            let free = next.filter(|(name, _)| **name == self.name).map_or(u64::MAX, |(_, start)| start);
            let end = range.end.min(at + MOST).min(free);
            if !parts.make_room(end - at) && !is_needed {
                return Ok(());
            }
            self.request(&mut parts, at..end, false)?;
            at = end;
        }
        Ok(())
    }

    /// Fetches what will be read soon.
    pub(in crate::bytes) fn advise(&self, at: u64, n_bytes: u64) {
        // Who reads it is told what is wrong.
        let _ = self.request_all(at..at.saturating_add(n_bytes).min(self.n_bytes()), false);
    }

    /// Fills `bytes` with what lies at `at`.
    pub(in crate::bytes) fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(bytes.len() as u64).filter(|end| *end <= self.n_bytes());
        let end = end.ok_or(ErrorKind::UnexpectedEof)?;
        let mut from = at;
        while from < end {
            let found = lock(&PARTS).find(&self.name, from);
            let Some((start, part_end, answer)) = found else {
                self.need(from, end)?;
                continue;
            };
            let place = (Arc::clone(&self.name), start);
            let n_bytes = end.min(part_end) - from;
            match answer.wait() {
                Ok(part) => {
                    let into = (from - at) as usize;
                    let own = part.get((from - start) as usize..).and_then(|part| part.get(..n_bytes as usize));
                    bytes[into..into + n_bytes as usize].copy_from_slice(own.ok_or(ErrorKind::UnexpectedEof)?);
                }
                Err(failure) => {
                    lock(&PARTS).drop_part(&place);
                    return Err(failure.clone().into());
                }
            }
            lock(&PARTS).count(&place, n_bytes);
            from += n_bytes;
        }
        Ok(())
    }

    /// Asks for what is needed now: at least as much as is worth a request, and more where reads go on.
    fn need(&self, from: u64, end: u64) -> io::Result<()> {
        if end - from >= LEAST {
            return self.request_all(from..end.min(from + AT_ONCE), true);
        }
        let mut parts = lock(&PARTS);
        let before = from.checked_sub(1).and_then(|at| parts.find(&self.name, at));
        let wanted = before.map_or(LEAST, |(start, end, _)| (4 * (end - start)).clamp(LEAST, MOST));
        let is_near = self.n_bytes() - from <= NEAR_END;
        let to = if is_near { self.n_bytes() } else { self.n_bytes().min(from + wanted) };
        parts.make_room(to - from);
        self.request(&mut parts, from..to, true)
    }
}
