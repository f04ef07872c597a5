//! Where the strips and tiles of a file lie, for readers that know nothing of TIFF: each as a chunk of a regular grid.

use super::Tiff;
use super::page::{Chunk, Packing, PageKind};
use super::read::Five;
use crate::error::{Error, Result};
use crate::grid::{Region, positions};
use crate::source::{Encoding, Encodings, Piece};

impl Tiff {
    /// How every page of the series is encoded.
    ///
    /// # Errors
    /// `Unsupported`, naming the page, if one cannot be read as chunks, or not as the others.
    pub(super) fn encodings(&self) -> Result<Encodings> {
        let mut found: Option<Encodings> = None;
        for plane in 0..self.index.series.pages.len() {
            let Some((page, offset)) = self.plane(plane) else { continue };
            let no = |why: String| Error::unsupported(format!("page {page}: {why}"));
            let kind = self.directory.kind(page);
            let encoding = self.encoding(kind).map_err(no)?;
            let is_whole = offset.is_some() || self.directory.contiguous_offset(page).is_some();
            let cell = [kind.chunk[1].min(if kind.is_tiled() { u64::MAX } else { kind.height }), kind.chunk[2]];
            let one = Encodings { encoding, is_whole, is_tiled: kind.is_tiled(), rows: cell[0], columns: cell[1] };
            match &mut found {
                None => found = Some(one),
                Some(first) => {
                    first.is_whole &= is_whole;
                    if !first.is_like(&one) {
                        return Err(no(format!("is stored otherwise than the page before it: {one}, not {first}")));
                    }
                }
            }
        }
        found.ok_or_else(|| Error::unsupported("no page is there"))
    }

    /// How a page is encoded, or why no other reader could decode it.
    fn encoding(&self, kind: &PageKind) -> Result<Encoding, String> {
        let codec = match kind.compression {
            1 => None,
            5 => Some("imagecodecs_lzw"),
            8 | 32946 => Some("zlib"),
            50000 => Some("zstd"),
            other => {
                let name = super::codec::Compression::of(other).name;
                return Err(format!("{name} (compression {other}) is no codec of chunks alone"));
            }
        };
        if kind.packing != Packing::Native {
            return Err(format!("samples of {} bits are packed, which Zarr has no type for", kind.bits));
        }
        if kind.fill_order != 1 && kind.compression != 1 {
            return Err("its bits are in reverse order".into());
        }
        if kind.depth > 1 {
            return Err(format!("is a volume of {} planes", kind.depth));
        }
        let predictor = match (kind.compression, kind.predictor) {
            (1, _) | (_, 1) => None,
            (_, 2) => Some("imagecodecs_delta"),
            (_, 3) => Some("imagecodecs_floatpred"),
            (_, other) => return Err(format!("predictor {other} is not known")),
        };
        if codec.is_some() && !kind.is_tiled() && !kind.height.is_multiple_of(kind.chunk[1].min(kind.height)) {
            return Err(format!(
                "its last strip has {} rows and the others {}, which chunks cannot have",
                kind.height % kind.chunk[1],
                kind.chunk[1]
            ));
        }
        Ok(Encoding { codec, predictor, big_endian: self.directory.index().big_endian })
    }

    /// Gives every stored piece of `region`, in rows of `rows` where pages are not coded: its box in the axes of the
    /// file, clipped to it, its offset and its length in bytes.
    pub(super) fn each_piece(
        &self,
        region: &Region,
        rows: u64,
        give: &mut dyn FnMut(Piece) -> Result<()>,
    ) -> Result<()> {
        let n_leading = region.rank() - self.index.inner.len();
        for position in positions(&region.shape[..n_leading]) {
            let Some((page, offset)) = self.plane(self.plane_index(region, &position)) else { continue };
            // Planes are counted from the region's beginning, and boxes within a plane from its own.
            let mut own = region.clone();
            own.origin[n_leading..].fill(0);
            let mut at_page = |at: Five, shape: Five, chunk: Chunk| {
                let region = self.outer_box(&own, &position, at, shape);
                give(Piece { region, offset: chunk.offset, n_bytes: chunk.count })
            };
            self.page_pieces(page, offset, rows, &mut at_page)?;
        }
        Ok(())
    }

    fn page_pieces(
        &self,
        page: u32,
        offset: Option<u64>,
        rows: u64,
        give: &mut dyn FnMut(Five, Five, Chunk) -> Result<()>,
    ) -> Result<()> {
        let kind = self.directory.kind(page);
        let samples = kind.chunk_samples();
        let whole = offset.or_else(|| self.directory.contiguous_offset(page));
        let [_, high, wide] = kind.grid();
        for plane in 0..kind.n_planes() {
            if kind.compression == 1 && !kind.is_tiled() {
                for row in (0..kind.height).step_by(rows as usize) {
                    let n_bytes = rows * kind.row_bytes();
                    let chunk = match whole {
                        Some(start) => {
                            Chunk { offset: start + (plane * kind.height + row) * kind.row_bytes(), count: n_bytes }
                        }
                        None => match self.directory.chunk(page, plane * high + row / kind.chunk[1]) {
                            Chunk::ABSENT => continue,
                            Chunk { offset, .. } => {
                                let offset = offset + row % kind.chunk[1] * kind.row_bytes();
                                Chunk { offset, count: n_bytes }
                            }
                        },
                    };
                    give([plane, 0, row, 0, 0], [1, 1, rows, kind.width, samples], chunk)?;
                }
                continue;
            }
            for (h, w) in (0..high).flat_map(|h| (0..wide).map(move |w| (h, w))) {
                let chunk = match whole {
                    Some(start) => Chunk { offset: start, count: kind.height * kind.row_bytes() },
                    None => self.directory.chunk(page, (plane * high + h) * wide + w),
                };
                if chunk == Chunk::ABSENT {
                    continue;
                }
                let (row, column) = (h * kind.chunk[1], w * kind.chunk[2]);
                let shape =
                    [1, 1, kind.chunk[1].min(kind.height - row), kind.chunk[2].min(kind.width - column), samples];
                give([plane, 0, row, column, 0], shape, chunk)?;
            }
        }
        Ok(())
    }

    /// Shape of a piece in the axes of the file.
    pub(super) fn cell(&self, rows: u64, columns: u64) -> Vec<u64> {
        let axes = &self.index.info.axes;
        let n_leading = axes.len() - self.index.inner.len();
        let inner = self.index.inner.iter().zip(&axes[n_leading..]).map(|(role, axis)| match role {
            2 => rows,
            3 => columns,
            4 => axis.length,
            _ => 1,
        });
        std::iter::repeat_n(1, n_leading).chain(inner).collect()
    }
}
