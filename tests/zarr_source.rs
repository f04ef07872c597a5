//! The Zarr source on arrays that other programs wrote.

mod common;

use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};
use stackctl::block::{Block, Buffer};
use stackctl::error::{Error, Result};
use stackctl::grid::Region;
use stackctl::source::zarr::ZarrSource;
use stackctl::source::{OpenOptions, Scratch, Source};

/// The whole array in the folder.
fn read(path: &std::path::Path) -> Result<(Block, ZarrSource)> {
    let source = ZarrSource::open(path, &OpenOptions::default())?;
    let region = Region::whole(&source.info().shape());
    let mut block = Block::reusing(Buffer::default(), region.clone(), source.info().dtype)?;
    source.read(&region, &mut block.target(), &vec![0; source.info().dtype.size()], &mut Scratch::default())?;
    Ok((block, source))
}

#[test]
fn arrays_of_others_read_as_zarr_python_reads_them() {
    let Some(corpus) = common::corpus() else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(corpus.join("manifest.json")).unwrap()).unwrap();
    let (mut n_equal, mut problems) = (0, vec![]);
    for store in manifest["zarr"].as_array().unwrap() {
        for array in store["arrays"].as_array().unwrap() {
            let name = format!("{}/{}", store["path"].as_str().unwrap(), array["path"].as_str().unwrap());
            let expect = array["expect"].as_str().unwrap();
            let truth = &array["truth"];
            match read(&corpus.join(name.trim_end_matches('/'))) {
                Ok((block, source)) => {
                    let found = Sha256::digest(block.bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
                    let dtype = truth["dtype"].as_str().map(|d| d.trim_start_matches(['<', '>']).to_owned());
                    if truth["sha256"].is_null() {
                        println!("{name}: read, no truth");
                    } else if truth["sha256"] == found && dtype.as_deref() == Some(source.info().dtype.name()) {
                        n_equal += 1;
                    } else {
                        problems.push(format!("{name}: {found} {} is not {truth}", source.info().dtype));
                    }
                }
                Err(Error::Unsupported(why)) if expect != "decode" => println!("{name}: {why}"),
                Err(e) => problems.push(format!("{name}: {expect}: {e}")),
            }
        }
    }
    println!("{n_equal} arrays equal");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
