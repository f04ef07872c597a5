//! `link`: TIFF files as a Zarr array, by reference.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::{refuse_input, resolve, tell};
use crate::array::Array;
use crate::block::size_bytes;
use crate::cli::{LinkArgs, Missing, RunArgs};
use crate::error::Error;
use crate::exec::budget::Bytes;
use crate::open::Opened;
use crate::report::{count, tuple};
use crate::sink::Spec;
use crate::sink::zarr::{References, kind_of_links};
use crate::store::check_free;

pub(super) fn run(args: &LinkArgs) -> Result<()> {
    if args.names.missing == Missing::Skip {
        return Err(Error::usage("--missing skip leaves holes out of what is computed: use fill").into());
    }
    check_free(&args.output, args.overwrite, kind_of_links(&args.output)?)?;
    let request = resolve::request(&args.input, &args.names, args.memory, args.threads)?;
    let run = RunArgs { quiet: args.quiet, ..RunArgs::default() };
    let opened = resolve::open(&request, &run)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
    let provenance = resolve::provenance(&opened, &run);
    let Opened { stack, .. } = opened;
    refuse_input(&args.output, stack.paths())?;
    let found = stack.encodings()?;
    // Rows that are in one piece in every page, and of which strips and pages are made.
    let height = stack.axes().iter().position(|axis| axis.name == "y").map_or(1, |i| stack.layout().first_cell()[i]);
    let rows = match found.encoding.codec {
        None if !found.is_tiled && found.is_whole => height,
        None if !found.is_tiled => divisor(found.rows, height),
        _ => found.rows,
    };
    let cell = stack.cell(rows, found.columns)?;
    let spec = Spec { provenance, ..Spec::of(&stack) };
    let name = args.output.file_stem().unwrap_or_default().to_string_lossy();
    let encoding = &found.encoding;
    let files: Vec<_> = stack.paths().iter().map(|path| absolute(path)).collect::<Result<_, Error>>()?;
    let coding = (encoding.codec, encoding.predictor);
    let mut references = References::new(&spec, &name, &cell, coding, encoding.big_endian, &files)?;
    stack.each_piece(rows, &mut |file, piece| references.add(&piece.region, file, piece.offset, piece.n_bytes))?;
    let (n, of) = references.counts();
    references.write(&args.output, args.overwrite)?;
    let bytes = size_bytes(&stack.shape(), stack.dtype());
    if args.json {
        return super::print_json(&json!({
            "output": args.output, "axes": stack.axes(), "shape": stack.shape(), "dtype": stack.dtype(),
            "chunks": cell, "references": n, "absent": of - n, "bytes": bytes, "encoding": found.to_string(),
        }));
    }
    if !args.quiet {
        tell(format_args!(
            "{}: {} {} ({}) in {}, {} of them, {found}",
            args.output.display(),
            tuple(&stack.shape()),
            stack.dtype(),
            Bytes(bytes),
            count(stack.paths().len() as u64, "file"),
            count(n, "chunk"),
        ));
        let needs: Vec<&str> =
            encoding.codec.into_iter().chain(encoding.predictor).filter(|c| c.starts_with("image")).collect();
        if !needs.is_empty() {
            tell(format_args!(
                "note: readers need {}: imagecodecs.numcodecs.register_codecs() in Python",
                needs.join(" and ")
            ));
        }
        tell(format_args!(
            "open it with zarr.open_group('reference://', storage_options={{'fo': '{}'}}, mode='r', zarr_format=2)",
            args.output.display()
        ));
    }
    Ok(())
}

/// The most rows that both strips and pages are made of.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::io(path, "cannot find", e))
}
