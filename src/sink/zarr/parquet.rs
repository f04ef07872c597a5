//! The four columns of kerchunk's references as Parquet: one group of rows, one page for each column, ZSTD.
//!
//! Source: Apache Parquet's format, version 2.11 (`parquet.thrift`), and Thrift's compact protocol.

use crate::codec::{Codec, Contexts};
use crate::consume::statistics::put;
use crate::error::Result;

/// Where one chunk is: a file, and bytes of it. Of one that is absent nothing is said.
pub(super) type Reference<'r> = Option<(&'r str, u64, u64)>;

/// Types of fields in the compact protocol.
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Types, codecs and encodings of Parquet.
const INT64: i64 = 2;
const BYTE_ARRAY: i64 = 6;
const ZSTD: i64 = 6;
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// A structure in the compact protocol.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    last: u8,
}

impl Thrift {
    fn field(mut self, id: u8, kind: u8) -> Self {
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
        self
    }

    fn number(self, id: u8, kind: u8, n: i64) -> Self {
        let mut to = self.field(id, kind);
        put(&mut to.bytes, (n << 1 ^ n >> 63) as u64);
        to
    }

    fn text(self, id: u8, text: &str) -> Self {
        let mut to = self.field(id, BINARY);
        put(&mut to.bytes, text.len() as u64);
        to.bytes.extend(text.as_bytes());
        to
    }

    fn nested(self, id: u8, inner: Self) -> Self {
        let mut to = self.field(id, STRUCT);
        to.bytes.extend(inner.end());
        to
    }

    /// A list of fewer than 15 elements, each as it is encoded.
    fn list(self, id: u8, kind: u8, elements: &[Vec<u8>]) -> Self {
        let mut to = self.field(id, LIST);
        to.bytes.push((elements.len() as u8) << 4 | kind);
        to.bytes.extend(elements.concat());
        to
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// A column: its name, what it holds, whether values may be absent, and its values, those of a page.
struct Column {
    name: &'static str,
    kind: i64,
    is_optional: bool,
    n_absent: usize,
    page: Vec<u8>,
}

impl Column {
    /// Of texts, some of which are absent.
    fn texts<'t>(name: &'static str, texts: impl Iterator<Item = Option<&'t str>> + Clone) -> Self {
        // Levels one by one: runs of bits, eight in a byte.
        let is_there: Vec<bool> = texts.clone().map(|text| text.is_some()).collect();
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        let levels: Vec<u8> = is_there.chunks(8).map(byte).collect();
        let mut head = Vec::new();
        put(&mut head, (levels.len() as u64) << 1 | 1);
        let n_absent = is_there.iter().filter(|is_there| !**is_there).count();
        let length = (head.len() + levels.len()) as u32;
        let mut page = [&length.to_le_bytes()[..], &head, &levels].concat();
        texts.flatten().for_each(|text| {
            page.extend((text.len() as u32).to_le_bytes());
            page.extend(text.as_bytes());
        });
        Self { name, kind: BYTE_ARRAY, is_optional: true, n_absent, page }
    }

    fn numbers(name: &'static str, numbers: impl Iterator<Item = u64>) -> Self {
        let page = numbers.flat_map(u64::to_le_bytes).collect();
        Self { name, kind: INT64, is_optional: false, n_absent: 0, page }
    }

    fn schema(&self) -> Vec<u8> {
        let schema = Thrift::default().number(1, I32, self.kind).number(3, I32, i64::from(self.is_optional));
        let schema = schema.text(4, self.name);
        // Paths are text, which is the first converted type.
        if self.name == "path" { schema.number(6, I32, 0).end() } else { schema.end() }
    }
}

/// A file of `references`.
///
/// # Errors
/// Those of the encoder.
pub(super) fn file(references: &[Reference<'_>]) -> Result<Vec<u8>> {
    let n = references.len() as i64;
    let place = |of: fn((&str, u64, u64)) -> u64| references.iter().map(move |r| r.map_or(0, of));
    let columns = [
        Column::texts("path", references.iter().map(|r| r.map(|(path, ..)| path))),
        Column::numbers("offset", place(|(_, offset, _)| offset)),
        Column::numbers("size", place(|(_, _, size)| size)),
        Column::texts("raw", references.iter().map(|_| None)),
    ];
    let mut bytes = b"PAR1".to_vec();
    let mut chunks = Vec::new();
    let begin = bytes.len();
    for column in &columns {
        let mut packed = Vec::new();
        Codec::Zstd { level: 3 }.encode(&column.page, 1, &mut packed, &mut Contexts::default())?;
        let page = Thrift::default().number(1, I32, n).number(2, I32, PLAIN).number(3, I32, RLE).number(4, I32, RLE);
        let header = Thrift::default().number(1, I32, 0).number(2, I32, column.page.len() as i64);
        let header = header.number(3, I32, packed.len() as i64).nested(5, page).end();
        let (start, head) = (bytes.len() as i64, header.len() as i64);
        bytes.extend(header);
        bytes.extend(&packed);
        let mut name = Vec::new();
        put(&mut name, column.name.len() as u64);
        name.extend(column.name.as_bytes());
        // Numbers of a list are zigzag, as all are.
        let encodings = [PLAIN, RLE].map(|encoding| vec![(encoding << 1) as u8]);
        let about = Thrift::default().number(1, I32, column.kind).list(2, I32, &encodings).list(3, BINARY, &[name]);
        let about = about.number(4, I32, ZSTD).number(5, I64, n).number(6, I64, head + column.page.len() as i64);
        let about = about.number(7, I64, head + packed.len() as i64).number(9, I64, start);
        // Without a count of those that are absent, fastparquet takes integers for floats.
        let about = about.nested(12, Thrift::default().number(3, I64, column.n_absent as i64));
        chunks.push(Thrift::default().number(2, I64, start).nested(3, about).end());
    }
    let group = Thrift::default().list(1, STRUCT, &chunks).number(2, I64, (bytes.len() - begin) as i64);
    let root = Thrift::default().text(4, "schema").number(5, I32, columns.len() as i64).end();
    let schema: Vec<Vec<u8>> = std::iter::once(root).chain(columns.iter().map(Column::schema)).collect();
    let footer = Thrift::default().number(1, I32, 1).list(2, STRUCT, &schema).number(3, I64, n);
    let footer = footer.list(4, STRUCT, &[group.number(3, I64, n).end()]);
    let footer = footer.text(6, concat!("stackctl ", env!("CARGO_PKG_VERSION"))).end();
    bytes.extend(&footer);
    bytes.extend((footer.len() as u32).to_le_bytes());
    bytes.extend(b"PAR1");
    Ok(bytes)
}
