//! A writer of Zstandard frames whose blocks are made here: stored, of one byte repeated, or Huffman-coded.
//!
//! Source: RFC 8878, section 3.1.1.

/// Magic_Number, and the Frame_Header_Descriptor: Frame_Content_Size_Flag 2, the size has 4 bytes, and
/// Single_Segment_Flag, the window is the content.
const HEAD: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 2 << 6 | 1 << 5];
const CONTENT_SIZE_BYTES: usize = 4;
const BLOCK_HEADER_BYTES: usize = 3;
const LAST_BLOCK: u8 = 1;
/// Most bytes of a block's content.
///
/// Source: RFC 8878, section 3.1.1.2.3.
pub(super) const BLOCK_BYTES: usize = 128 << 10;

/// A frame at the end of a vector, begun by its first block. It must be ended.
#[derive(Default)]
pub(super) struct Frame {
    /// Where it begins, and its latest block.
    begun: Option<(usize, usize)>,
    content_bytes: usize,
}

impl Frame {
    /// The most bytes that a block adds to what it holds, with the frame's head.
    pub(super) const OVERHEAD_BYTES: usize = HEAD.len() + CONTENT_SIZE_BYTES + BLOCK_HEADER_BYTES;

    /// Appends a block of `data`, at most [`BLOCK_BYTES`], as it is.
    pub(super) fn raw(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.block(0, data.len(), data.len(), out);
        out.extend_from_slice(data);
    }

    /// Appends a block of `n` times `byte`, at most [`BLOCK_BYTES`].
    pub(super) fn repeated(&mut self, byte: u8, n: usize, out: &mut Vec<u8>) {
        self.block(1, n, n, out);
        out.push(byte);
    }

    /// Appends a compressed block of `size` bytes, which `write` writes, for `n` bytes of content, at most
    /// [`BLOCK_BYTES`].
    pub(super) fn compressed(&mut self, n: usize, size: usize, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        self.block(2, n, size, out);
        let start = out.len();
        write(out);
        debug_assert_eq!(out.len() - start, size);
    }

    /// Appends the header of a block of `n` bytes of content.
    fn block(&mut self, kind: u32, n: usize, size: usize, out: &mut Vec<u8>) {
        let start = self.begun.map_or(out.len(), |(start, _)| start);
        if self.begun.is_none() {
            out.extend_from_slice(&HEAD);
            out.extend_from_slice(&[0; CONTENT_SIZE_BYTES]);
        }
        self.begun = Some((start, out.len()));
        self.content_bytes += n;
        out.extend_from_slice(&block_header(kind, size));
    }

    /// Ends the frame, if it was begun: marks its last block and notes its size. The next block begins another.
    pub(super) fn end(&mut self, out: &mut [u8]) {
        if let Some((start, last)) = self.begun {
            out[last] |= LAST_BLOCK;
            let size = (self.content_bytes as u32).to_le_bytes();
            out[start + HEAD.len()..][..CONTENT_SIZE_BYTES].copy_from_slice(&size);
        }
        *self = Self::default();
    }
}

fn block_header(kind: u32, size: usize) -> [u8; BLOCK_HEADER_BYTES] {
    let [low, middle, high, _] = (kind << 1 | (size as u32) << 3).to_le_bytes();
    [low, middle, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_one_another() {
        let (mut frame, mut out) = (Frame::default(), vec![]);
        frame.raw(&[1, 2, 3], &mut out);
        frame.repeated(7, BLOCK_BYTES, &mut out);
        frame.raw(&vec![5; BLOCK_BYTES], &mut out);
        frame.end(&mut out);
        frame.end(&mut out);
        frame.repeated(9, 1, &mut out);
        frame.end(&mut out);
        let expected = [vec![1, 2, 3], vec![7; BLOCK_BYTES], vec![5; BLOCK_BYTES], vec![9]].concat();
        let mut decoded = vec![0; expected.len() + 1];
        assert_eq!(zstd_safe::decompress(&mut decoded[..], &out), Ok(expected.len()));
        assert!(decoded[..expected.len()] == expected);
    }
}
