//! The fixtures as the tiff crate reads them, and as we do.

use std::fs::File;
use std::path::Path;

use stackctl::array::Scratch;
use stackctl::block::Buffer;
use stackctl::grid::Region;
use stackctl::source::{self, OpenOptions};
use tiff::decoder::{Decoder, DecodingResult};

#[test]
fn another_decoder_gives_the_same_pixels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/raw");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut decoder = Decoder::new(File::open(&path).unwrap()).unwrap();
        let mut expected: Vec<u16> = Vec::new();
        loop {
            let DecodingResult::U16(page) = decoder.read_image().unwrap() else { panic!("the fixtures are uint16") };
            expected.extend(page);
            if !decoder.more_images() {
                break;
            }
            decoder.next_image().unwrap();
        }
        let source = source::open(&path, &OpenOptions::default()).unwrap();
        let region = Region::whole(&source.shape());
        let mut reader = source.clone().reader(Scratch::default());
        let block = reader.block(&region, source.dtype(), Buffer::default()).unwrap();
        assert!(block.elements::<u16>() == expected, "{}", path.display());
        n_files += 1;
    }
    assert_eq!(n_files, 12);
}
