//! A small TIFF writer, written for tests: it can lay a file out in every way that the reader must
//! understand, and knows nothing of the reader.

/// How a file is laid out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) big_endian: bool,
    pub(crate) big_tiff: bool,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) samples: usize,
    pub(crate) planar: bool,
    /// Bits of a sample: 8, 16, 32, 64 or, packed, fewer than 32.
    pub(crate) bits: usize,
    /// TIFF SampleFormat.
    pub(crate) format: u16,
    pub(crate) photometric: u16,
    pub(crate) compression: u16,
    pub(crate) predictor: u16,
    pub(crate) fill_order: u16,
    /// Rows of a strip, if strips.
    pub(crate) rows_per_strip: Option<usize>,
    /// Rows and columns of a tile, if tiles.
    pub(crate) tile: Option<(usize, usize)>,
    /// Bytes left free between strips or tiles.
    pub(crate) gap: usize,
    /// Numbers of strips or tiles that are not stored.
    pub(crate) absent: Vec<usize>,
    pub(crate) description: Option<String>,
    pub(crate) level: i32,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            big_endian: false,
            big_tiff: false,
            width: 16,
            height: 16,
            samples: 1,
            planar: false,
            bits: 8,
            format: 1,
            photometric: 1,
            compression: 1,
            predictor: 1,
            fill_order: 1,
            rows_per_strip: None,
            tile: None,
            gap: 0,
            absent: Vec::new(),
            description: None,
            level: 3,
        }
    }
}

impl Layout {
    /// Bytes of an element in memory.
    pub(crate) fn size(&self) -> usize {
        self.bits.next_multiple_of(8).next_power_of_two() / 8
    }

    /// Bytes of one page in memory.
    pub(crate) fn page_bytes(&self) -> usize {
        self.width * self.height * self.samples * self.size()
    }

    /// A file with `pages`, each the native elements in the order of the file: (y, x, sample), or
    /// (sample, y, x) if planar.
    pub(crate) fn write(&self, pages: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Out { bytes: Vec::new(), big_endian: self.big_endian, big_tiff: self.big_tiff };
        out.bytes.extend(if self.big_endian { b"MM" } else { b"II" });
        let mut link;
        if self.big_tiff {
            out.uint(43, 2);
            out.uint(8, 2);
            out.uint(0, 2);
            link = out.bytes.len();
            out.uint(0, 8);
        } else {
            out.uint(42, 2);
            link = out.bytes.len();
            out.uint(0, 4);
        }
        for page in pages {
            assert_eq!(page.len(), self.page_bytes());
            let (offsets, counts) = self.chunks(page, &mut out);
            let at = out.bytes.len().next_multiple_of(2);
            out.bytes.resize(at, 0);
            out.set(link, at as u64);
            link = self.directory(&offsets, &counts, &mut out);
        }
        out.bytes
    }

    fn chunks(&self, page: &[u8], out: &mut Out) -> (Vec<u64>, Vec<u64>) {
        let (rows, columns) = self.tile.unwrap_or((self.rows_per_strip.unwrap_or(self.height), self.width));
        let planes = if self.planar { self.samples } else { 1 };
        let pixel = self.size() * if self.planar { 1 } else { self.samples };
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for plane in 0..planes {
            let plane = &page[plane * self.height * self.width * pixel..];
            for y in (0..self.height).step_by(rows) {
                for x in (0..self.width).step_by(columns) {
                    let stored_rows = if self.tile.is_some() { rows } else { rows.min(self.height - y) };
                    let mut chunk = vec![0; stored_rows * columns * pixel];
                    for r in 0..rows.min(self.height - y) {
                        let n = columns.min(self.width - x) * pixel;
                        let from = ((y + r) * self.width + x) * pixel;
                        chunk[r * columns * pixel..][..n].copy_from_slice(&plane[from..from + n]);
                    }
                    if self.absent.contains(&offsets.len()) {
                        offsets.push(0);
                        counts.push(0);
                        continue;
                    }
                    let stored = self.encode(chunk, columns * pixel);
                    offsets.push(out.bytes.len() as u64);
                    counts.push(stored.len() as u64);
                    out.bytes.extend(&stored);
                    out.bytes.resize(out.bytes.len() + self.gap, 0xee);
                }
            }
        }
        (offsets, counts)
    }

    /// Predictor, byte order, bits, compression.
    fn encode(&self, mut chunk: Vec<u8>, row_bytes: usize) -> Vec<u8> {
        let size = self.size();
        let samples = if self.planar { 1 } else { self.samples };
        if !self.bits.is_multiple_of(8) || self.bits == 24 {
            chunk = pack(&chunk, row_bytes, size, self.bits);
        } else if self.predictor == 3 && self.compression != 1 {
            for row in chunk.chunks_exact_mut(row_bytes) {
                let n = row.len() / size;
                let floats = row.to_vec();
                for (i, float) in floats.chunks_exact(size).enumerate() {
                    for b in 0..size {
                        row[b * n + i] = float[size - 1 - b];
                    }
                }
                for i in (samples..row.len()).rev() {
                    row[i] = row[i].wrapping_sub(row[i - samples]);
                }
            }
        } else {
            if self.predictor == 2 && self.compression != 1 {
                for row in chunk.chunks_exact_mut(row_bytes) {
                    for i in (samples..row.len() / size).rev() {
                        let get = |k: usize| {
                            let mut b = [0; 8];
                            b[..size].copy_from_slice(&row[k * size..][..size]);
                            u64::from_le_bytes(b)
                        };
                        let d = get(i).wrapping_sub(get(i - samples)).to_le_bytes();
                        row[i * size..][..size].copy_from_slice(&d[..size]);
                    }
                }
            }
            if self.big_endian {
                chunk.chunks_exact_mut(size).for_each(<[u8]>::reverse);
            }
        }
        let mut stored = compress(self.compression, &chunk, self.level);
        if self.fill_order == 2 {
            stored.iter_mut().for_each(|b| *b = b.reverse_bits());
        }
        stored
    }

    /// Writes a directory; gives where the link to the next one is.
    fn directory(&self, offsets: &[u64], counts: &[u64], out: &mut Out) -> usize {
        let long = if self.big_tiff { 16 } else { 4 };
        let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
            (256, 4, vec![self.width as u64]),
            (257, 4, vec![self.height as u64]),
            (258, 3, vec![self.bits as u64; self.samples]),
            (259, 3, vec![u64::from(self.compression)]),
            (262, 3, vec![u64::from(self.photometric)]),
            (266, 3, vec![u64::from(self.fill_order)]),
            (277, 3, vec![self.samples as u64]),
            (284, 3, vec![if self.planar { 2 } else { 1 }]),
            (317, 3, vec![u64::from(self.predictor)]),
            (339, 3, vec![u64::from(self.format); self.samples]),
        ];
        if let Some((rows, columns)) = self.tile {
            tags.push((322, 3, vec![columns as u64]));
            tags.push((323, 3, vec![rows as u64]));
            tags.push((324, long, offsets.to_vec()));
            tags.push((325, long, counts.to_vec()));
        } else {
            tags.push((273, long, offsets.to_vec()));
            tags.push((279, long, counts.to_vec()));
            if let Some(rows) = self.rows_per_strip {
                tags.push((278, 4, vec![rows as u64]));
            }
        }
        if let Some(text) = &self.description {
            tags.push((270, 2, text.bytes().chain([0]).map(u64::from).collect()));
        }
        tags.sort_by_key(|t| t.0);
        let (count, entry, inline) = if self.big_tiff { (8, 20, 8) } else { (2, 12, 4) };
        let after = out.bytes.len() + count + tags.len() * entry + inline;
        let mut values = Out { bytes: Vec::new(), ..*out };
        out.uint(tags.len() as u64, count);
        for (tag, field_type, list) in &tags {
            let size = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8][usize::from(*field_type)];
            out.uint(u64::from(*tag), 2);
            out.uint(u64::from(*field_type), 2);
            out.uint(list.len() as u64, inline);
            let end = out.bytes.len() + inline;
            if list.len() * size <= inline {
                list.iter().for_each(|&v| out.uint(v, size));
            } else {
                out.uint((after + values.bytes.len()) as u64, inline);
                list.iter().for_each(|&v| values.uint(v, size));
                values.bytes.resize(values.bytes.len().next_multiple_of(2), 0);
            }
            out.bytes.resize(end, 0);
        }
        let link = out.bytes.len();
        out.uint(0, inline);
        out.bytes.extend(values.bytes);
        link
    }
}

struct Out {
    bytes: Vec<u8>,
    big_endian: bool,
    big_tiff: bool,
}

impl Out {
    fn encoded(&self, value: u64, size: usize) -> Vec<u8> {
        if self.big_endian { value.to_be_bytes()[8 - size..].to_vec() } else { value.to_le_bytes()[..size].to_vec() }
    }

    fn uint(&mut self, value: u64, size: usize) {
        let bytes = self.encoded(value, size);
        self.bytes.extend(bytes);
    }

    fn set(&mut self, at: usize, value: u64) {
        let bytes = self.encoded(value, if self.big_tiff { 8 } else { 4 });
        self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    }
}

/// Packs unsigned elements of `size` bytes to `bits` each, rows beginning at whole bytes.
fn pack(chunk: &[u8], row_bytes: usize, size: usize, bits: usize) -> Vec<u8> {
    let mut packed = Vec::new();
    for row in chunk.chunks_exact(row_bytes) {
        let (mut held, mut n) = (0u64, 0);
        for element in row.chunks_exact(size) {
            let value = element.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
            held = held << bits | value & ((1 << bits) - 1);
            n += bits;
            while n >= 8 {
                n -= 8;
                packed.push((held >> n) as u8);
            }
            held &= (1 << n) - 1;
        }
        if n > 0 {
            packed.push((held << (8 - n)) as u8);
        }
    }
    packed
}

fn compress(compression: u16, bytes: &[u8], level: i32) -> Vec<u8> {
    match compression {
        1 => bytes.to_vec(),
        5 => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8).encode(bytes).unwrap(),
        8 | 32946 => {
            let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
            let mut out = vec![0; encoder.zlib_compress_bound(bytes.len())];
            let n = encoder.zlib_compress(bytes, &mut out).unwrap();
            out.truncate(n);
            out
        }
        32773 => {
            let mut out = Vec::new();
            let mut rest = bytes;
            while let Some(&first) = rest.first() {
                let run = rest.iter().take(128).take_while(|&&b| b == first).count();
                if run > 1 {
                    out.extend([(1 - run as i32) as u8, first]);
                    rest = &rest[run..];
                } else {
                    let n = rest.len().min(3);
                    out.push(n as u8 - 1);
                    out.extend(&rest[..n]);
                    rest = &rest[n..];
                }
            }
            out
        }
        50000 => {
            let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
            let n = zstd_safe::compress(&mut out[..], bytes, level).unwrap();
            out.truncate(n);
            out
        }
        other => panic!("this writer has no compression {other}"),
    }
}

/// A reproducible sequence of numbers.
pub(crate) struct Numbers(pub u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// Adds the pages of the classic little-endian file `more` to those of `bytes`.
pub(crate) fn append(bytes: &mut Vec<u8>, more: &[u8]) {
    let base = bytes.len() as u32;
    let u16_at = |b: &[u8], at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
    let u32_at = |b: &[u8], at: usize| u32::from_le_bytes(b[at..at + 4].try_into().unwrap());
    let mut moved = more.to_vec();
    let mut shift = |at: usize| {
        let value = u32_at(more, at) + base;
        moved[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    let mut ifd = u32_at(more, 4) as usize;
    while ifd != 0 {
        let n = usize::from(u16_at(more, ifd));
        for entry in (0..n).map(|i| ifd + 2 + i * 12) {
            let (tag, kind, count) = (u16_at(more, entry), u16_at(more, entry + 2), u32_at(more, entry + 4));
            let outside = count * [0, 1, 1, 2, 4][usize::from(kind)] > 4;
            let is_offset = matches!(tag, 273 | 324);
            if outside || is_offset {
                shift(entry + 8);
            }
            if outside && is_offset {
                let table = u32_at(more, entry + 8) as usize;
                (0..count as usize).for_each(|i| shift(table + 4 * i));
            }
        }
        let link = ifd + 2 + 12 * n;
        ifd = u32_at(more, link) as usize;
        if ifd != 0 {
            shift(link);
        }
    }
    let mut link = 4;
    loop {
        let at = u32_at(bytes, link) as usize;
        if at == 0 {
            break;
        }
        link = at + 2 + 12 * usize::from(u16_at(bytes, at));
    }
    bytes[link..link + 4].copy_from_slice(&(base + u32_at(more, 4)).to_le_bytes());
    bytes.extend(moved);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where the entry of `tag` is in the directory of page number `page`.
pub(crate) fn entry(bytes: &[u8], page: usize, tag: u16) -> usize {
    let n_fields = |ifd: usize| usize::from(u16::from_le_bytes([bytes[ifd], bytes[ifd + 1]]));
    let next = |ifd: usize| u32_at(bytes, ifd + 2 + 12 * n_fields(ifd));
    let ifd = (0..page).fold(u32_at(bytes, 4), |ifd, _| next(ifd));
    (0..n_fields(ifd)).map(|i| ifd + 2 + 12 * i).find(|&at| bytes[at..at + 2] == tag.to_le_bytes()).unwrap()
}
