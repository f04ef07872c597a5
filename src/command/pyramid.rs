//! `pyramid`: levels for an OME-Zarr image that has none, in place.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::progress::Progress;
use super::resources::{self, Came, Resources};
use super::{print_json, stop, tell};
use crate::array::Array;
use crate::block::size_bytes;
use crate::bytes::Watch;
use crate::cli::PyramidArgs;
use crate::consume::Consumer;
use crate::consume::levels::{Levels, Method};
use crate::error::Error;
use crate::exec::budget::{Bytes, peak_bytes};
use crate::report::{count, duration, tuple};
use crate::sink::Spec;
use crate::sink::zarr::{Contrast, Image, ImageOptions, ZarrOptions, ZarrSink};
use crate::source::{self, OpenOptions};

pub(super) fn run(args: &PyramidArgs) -> Result<()> {
    let start = Instant::now();
    super::refuse_remote(&args.image)?;
    // An earlier run may have been stopped between its last level and the metadata.
    if !args.run.dry_run && Image::adopt(&args.image)? {
        tell(format_args!("{}: the levels of an earlier run are in place", args.image.display()));
        return Ok(());
    }
    let image = Image::open(&args.image)?;
    let array: Arc<dyn Array> = source::open(&args.image, &OpenOptions::default())?;
    let options = options(args, &image);
    let spec = Spec::of(&*array);
    let sink = ZarrSink::adding(&image, &spec, &options)?;
    let shapes = sink.level_shapes();
    if shapes.len() < 2 {
        let why = match args.levels {
            Levels::Auto => "its planes are small enough: give --levels a number for more",
            _ => "no level is asked for beside the one that there is: give --levels auto, or a number from 2 on",
        };
        let (image, shape) = (args.image.display(), tuple(&array.shape()));
        return Err(Error::usage(format!("{image} {shape}: {why}")).into());
    }
    image.check(shapes.len() - 1)?;
    let budget = Resources::new(&args.run);
    let stop = stop::early(start, args.run.deadline)?;
    let n_files = sink.n_files();
    let mut consumers: [Box<dyn Consumer>; 1] = [Box::new(sink)];
    let plan = budget.plan(&*array, &[&*consumers[0]])?;
    let terms = budget.terms(&plan, &*array, &[&*consumers[0]], &stop);
    let texts: Vec<String> = shapes[1..].iter().map(|shape| tuple(shape)).collect();
    if args.run.dry_run {
        let text = format!(
            "{}: {} would be added, in {}: {}\n",
            args.image.display(),
            count(texts.len() as u64, "level"),
            count(n_files, "file"),
            texts.join(" ")
        );
        return super::print(text.as_bytes());
    }
    let bytes_in = size_bytes(&array.shape(), array.dtype());
    let mut progress = Progress::new(bytes_in, args.run.quiet);
    let settings = serde_json::json!({"codec": options.codec.to_string(), "image": format!("{:?}", options.image)});
    let inputs = Watch::new(vec![image.array()])?;
    let job = resources::job(&args.run, &*array, &inputs, &plan, settings, &Default::default())?;
    let came = resources::run(&args.run, &array, &plan, &mut consumers, &job, &terms, |bytes| progress.add(bytes))?;
    progress.finish();
    let ran = match came {
        Came::Whole(ran) => ran,
        Came::Part(told) if args.run.json => return print_json(&told),
        Came::Part(_) => return Ok(()),
    };
    Image::adopt(&args.image)?;
    let written = ran.products.iter().flatten().next();
    let (bytes, files) = written.map_or((0, 0), |w| (w.bytes, w.files));
    let profile = resources::profiled(&args.run);
    if args.run.json {
        let mut told = serde_json::json!({
            "output": args.image, "levels": shapes, "bytes_in": bytes_in, "bytes_out": bytes, "output_files": files,
            "wall_s": start.elapsed().as_secs_f64(), "measured_peak_bytes": peak_bytes(),
        });
        if let Some(profile) = profile {
            told["profile"] = serde_json::json!(profile);
        }
        return print_json(&told);
    }
    if !args.run.quiet {
        tell(format_args!(
            "{}: {} added: {}\n  {} in {} from {}, {}, peak {}",
            args.image.display(),
            count(texts.len() as u64, "level"),
            texts.join(" "),
            Bytes(bytes),
            count(files, "file"),
            Bytes(bytes_in),
            duration(start.elapsed().as_secs_f64()),
            Bytes(peak_bytes())
        ));
    }
    Ok(())
}

/// How the new levels are stored: cut as the full resolution is.
fn options(args: &PyramidArgs, image: &Image) -> ZarrOptions {
    let is_label = Path::new(&args.image).parent().is_some_and(|parent| parent.ends_with("labels"));
    let method = args.downsample.unwrap_or(if is_label { Method::Mode } else { Method::Mean });
    let own = ImageOptions { levels: args.levels, method, contrast: Contrast::None, ..ImageOptions::default() };
    ZarrOptions {
        format: image.format,
        chunks: image.chunks.clone(),
        shards: image.shards.clone(),
        codec: args.codec.clone(),
        overwrite: false,
        durability: args.run.durability,
        image: own,
    }
}
