//! Image file directories, classic and big, whose pages differ in nothing but where their plane begins.

/// A value of a tag.
pub(super) enum TagValue {
    /// 16-bit numbers.
    Shorts(Vec<u16>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// One 32-bit number.
    Long(u32),
    /// 32-bit numbers.
    Longs(Vec<u32>),
    /// A size in bytes, as wide as offsets are.
    Size(u64),
    /// Places or sizes in bytes.
    Sizes(Vec<u64>),
    /// Numerator and denominator.
    Rational((u32, u32)),
    /// ASCII text, ended by a NUL.
    Text(String),
    /// Where the page's plane begins.
    PlaneOffset,
}

struct Entry {
    tag: u16,
    value: TagValue,
    first_only: bool,
    /// Where the value lies if it does not fit into the entry.
    offset: u64,
}

/// The directory that all pages have, the first with a few entries more. Native byte order.
pub(super) struct DirectoryTemplate {
    big: bool,
    entries: Vec<Entry>,
}

/// The file's header, pointing to the directory at `first`.
pub(super) fn header(big: bool, first: u64) -> Vec<u8> {
    let mut bytes = if cfg!(target_endian = "little") { b"II".to_vec() } else { b"MM".to_vec() };
    if big {
        bytes.extend([43u16, 8, 0].map(u16::to_ne_bytes).concat());
        bytes.extend(first.to_ne_bytes());
    } else {
        bytes.extend(42u16.to_ne_bytes());
        bytes.extend((first as u32).to_ne_bytes());
    }
    bytes
}

impl DirectoryTemplate {
    pub(super) fn new(big: bool) -> Self {
        Self { big, entries: vec![] }
    }

    /// Adds an entry to every page; tags come in ascending order.
    pub(super) fn add(&mut self, tag: u16, value: TagValue) {
        self.entries.push(Entry { tag, value, first_only: false, offset: 0 });
    }

    /// Adds an entry to the first page.
    pub(super) fn add_to_first(&mut self, tag: u16, value: TagValue) {
        self.entries.push(Entry { tag, value, first_only: true, offset: 0 });
    }

    /// Gives the values that do not fit into entries their places from `start` on, and returns them.
    pub(super) fn place(&mut self, start: u64) -> Vec<u8> {
        let room = self.room();
        let mut shared = Vec::new();
        for entry in &mut self.entries {
            let bytes = entry.value.bytes(0, self.big);
            if bytes.len() > room {
                shared.resize(shared.len().next_multiple_of(8), 0);
                entry.offset = start + shared.len() as u64;
                shared.extend(bytes);
            }
        }
        shared
    }

    /// Bytes of a value within its entry.
    fn room(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    fn n_entries(&self, is_first: bool) -> u64 {
        self.entries.iter().filter(|e| is_first || !e.first_only).count() as u64
    }

    /// Bytes of a page's directory.
    pub(super) fn n_bytes(&self, is_first: bool) -> u64 {
        let (count, entry, next) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        (count + self.n_entries(is_first) * entry + next).next_multiple_of(8)
    }

    /// Appends the directory of a page whose plane begins at `plane`; the next page's directory is at
    /// `next`, 0 for none.
    pub(super) fn write(&self, is_first: bool, plane: u64, next: u64, to: &mut Vec<u8>) {
        let end = to.len() + self.n_bytes(is_first) as usize;
        let offset = |to: &mut Vec<u8>, at: u64| {
            if self.big {
                to.extend(at.to_ne_bytes());
            } else {
                to.extend((at as u32).to_ne_bytes());
            }
        };
        let n = self.n_entries(is_first);
        if self.big {
            to.extend(n.to_ne_bytes());
        } else {
            to.extend((n as u16).to_ne_bytes());
        }
        for entry in self.entries.iter().filter(|e| is_first || !e.first_only) {
            let mut bytes = entry.value.bytes(plane, self.big);
            let (kind, size) = entry.value.kind(self.big);
            to.extend(entry.tag.to_ne_bytes());
            to.extend(kind.to_ne_bytes());
            offset(to, (bytes.len() / size) as u64);
            if bytes.len() > self.room() {
                offset(to, entry.offset);
            } else {
                bytes.resize(self.room(), 0);
                to.extend(bytes);
            }
        }
        offset(to, next);
        to.resize(end, 0);
    }
}

impl TagValue {
    /// TIFF's number for the type, and bytes of one value.
    fn kind(&self, big: bool) -> (u16, usize) {
        match self {
            Self::Bytes(_) => (1, 1),
            Self::Text(_) => (2, 1),
            Self::Shorts(_) => (3, 2),
            Self::Long(_) | Self::Longs(_) => (4, 4),
            Self::Size(_) | Self::Sizes(_) | Self::PlaneOffset if big => (16, 8),
            Self::Size(_) | Self::Sizes(_) | Self::PlaneOffset => (4, 4),
            Self::Rational(_) => (5, 8),
        }
    }

    fn bytes(&self, plane: u64, big: bool) -> Vec<u8> {
        let wide = |n: u64| if big { n.to_ne_bytes().to_vec() } else { (n as u32).to_ne_bytes().to_vec() };
        match self {
            Self::Shorts(values) => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            Self::Bytes(bytes) => bytes.clone(),
            Self::Long(value) => value.to_ne_bytes().to_vec(),
            Self::Longs(values) => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            Self::Size(value) => wide(*value),
            Self::Sizes(values) => values.iter().flat_map(|value| wide(*value)).collect(),
            Self::PlaneOffset => wide(plane),
            Self::Rational((numerator, denominator)) => [numerator.to_ne_bytes(), denominator.to_ne_bytes()].concat(),
            Self::Text(text) => [text.as_bytes(), &[0]].concat(),
        }
    }
}
