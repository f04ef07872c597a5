//! What `stitch` makes beside its output of the same reading: projections, statistics, a picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::kept::Kept;
use super::resolve::{narrow, reduced_axes};
use crate::array::Array;
use crate::cli::BesideArgs;
use crate::consume::Consumer;
use crate::consume::levels::Levels;
use crate::dtype::DType;
use crate::error::Error;
use crate::plan::Wants;
use crate::reduce::{OperatorOutput, Projection, Reducer, Settings, stays_within};
use crate::sink::zarr::{ZarrOptions, ZarrSink};
use crate::sink::{self, OutputOptions, Spec, figures, preview};

/// What is made beside the output, and where.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) consumers: Vec<Box<dyn Consumer>>,
    /// What each makes, in the order of their products.
    pub(super) paths: Vec<PathBuf>,
    /// Files of all of it, at most.
    pub(super) n_files: u64,
    /// What is to be told.
    pub(super) notes: Vec<String>,
}

/// The output that all this lies beside.
pub(super) struct Main<'a> {
    pub(super) path: &'a Path,
    pub(super) spec: &'a Spec,
    pub(super) options: &'a ZarrOptions,
    pub(super) wants: Wants,
    /// Whether nothing may cover some elements.
    pub(super) may_lack: bool,
}

impl Main<'_> {
    /// How what lies beside it is written.
    fn beside(&self, options: &ZarrOptions) -> OutputOptions {
        OutputOptions { first: Some(self.path.to_owned()), ..OutputOptions::from(options) }
    }
}

impl Beside {
    /// What `args` ask for beside `main`, the output of `array`.
    ///
    /// # Errors
    /// `Usage` if an operator, an axis or a name does not fit.
    pub(super) fn new(args: &BesideArgs, main: &Main<'_>, array: &dyn Array) -> Result<Self, Error> {
        let mut this = Self::default();
        for text in &args.mip {
            this.project(text, args.mip_output.as_deref(), main, array)?;
        }
        let output = main.beside(main.options);
        if let Some(path) = &args.stats {
            this.add(figures::create(path, main.spec, &output)?, path.clone(), 1);
        }
        if let Some(path) = &args.preview {
            this.add(preview::create(path, main.spec, &output)?, path.clone(), 1);
        }
        let mut all: Vec<&Path> = this.paths.iter().map(PathBuf::as_path).chain([main.path]).collect();
        all.sort_unstable();
        match all.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::usage(format!("{}: two outputs would have this name", pair[0].display()))),
            None => Ok(this),
        }
    }

    fn add(&mut self, consumer: Box<dyn Consumer>, path: PathBuf, n_files: u64) {
        self.consumers.push(consumer);
        self.paths.push(path);
        self.n_files = self.n_files.saturating_add(n_files);
    }

    /// Adds the projection that `text` asks for, `z` or `t,z=mean,std`.
    fn project(&mut self, text: &str, template: Option<&str>, main: &Main<'_>, array: &dyn Array) -> Result<(), Error> {
        let (axes, operators) = text.split_once('=').unwrap_or((text, "max"));
        let names: Vec<String> = axes.split(',').map(|name| name.trim().to_owned()).collect();
        let at = |e: Error| e.at(format!("--mip {text}"));
        let reduced = reduced_axes("--mip", &names, array.axes())?;
        let extension = sink::extension(main.path);
        let template = template.map_or_else(|| format!("{{name}}_{{op}}_{{axis}}.{extension}"), str::to_owned);
        let narrow = narrow(Path::new(&template));
        let settings = Settings {
            operators: operators.to_owned(),
            axes: reduced.clone(),
            narrow,
            skip_absent: main.may_lack,
            empty: main.may_lack.then(|| array.fill_bytes()),
            ..Settings::default()
        };
        let reducer = Arc::new(Reducer::new(array.axes(), array.dtype(), &settings).map_err(at)?);
        let mut outputs = Vec::new();
        for quantity in reducer.outputs() {
            let path = named(&template, main.path, quantity, &names.join(""));
            if quantity.natural != quantity.dtype {
                self.notes.push(narrowed(&path, quantity.dtype));
            }
            let (output, n_files) = projected(&path, quantity, &reduced, main)?;
            outputs.push(output);
            self.paths.push(path);
            self.n_files = self.n_files.saturating_add(n_files);
        }
        self.consumers.push(Box::new(Projection::new(reducer, outputs, &main.wants.object).map_err(at)?));
        Ok(())
    }
}

/// Says that what ImageJ is to open has fewer digits than there are.
pub(super) fn narrowed(path: &Path, dtype: DType) -> String {
    format!("{}: written as {dtype}, since ImageJ and OME-TIFF have no such elements of 64 bits", path.display())
}

/// Where the projection of `main` goes.
fn named(template: &str, main: &Path, quantity: &OperatorOutput, axes: &str) -> PathBuf {
    let name = main.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split_once('.').map_or(&*name, |(name, _)| name);
    let text = template.replace("{op}", &quantity.file_part()).replace("{axis}", axes).replace("{name}", name);
    let path = PathBuf::from(text);
    // A name alone is one beside the output.
    if path.components().count() == 1 { main.with_file_name(path) } else { path }
}

/// The output of one operator, and its number of files. Of a Zarr beside a Zarr, chunks are those of the output
/// without the axes that are gone.
fn projected(
    path: &Path,
    quantity: &OperatorOutput,
    reduced: &[usize],
    main: &Main<'_>,
) -> Result<(Box<dyn Consumer>, u64), Error> {
    let mut provenance = main.spec.provenance.clone();
    provenance["operator"] = quantity.label.clone().into();
    let (axes, dtype) = (quantity.axes.clone(), quantity.dtype);
    let spec = Spec { axes, dtype, fill: vec![0; dtype.size()], provenance };
    let mut options = main.options.clone();
    let kept = Kept::of_image(&options.image, &main.spec.axes);
    kept.made(&spec.axes, dtype, stays_within(&quantity.label)).say(&mut options.image);
    if !sink::is_zarr(path) {
        return Ok((sink::create(path, &spec, &main.beside(&options))?, 1));
    }
    if !sink::is_zarr(main.path) {
        let why = "a projection beside such an output has no chunks: write it as .tif or .npy with --mip-output";
        return Err(Error::usage(format!("{}: {why}", path.display())));
    }
    let left = |shape: &[u64]| -> Vec<u64> {
        let kept = shape.iter().enumerate().filter(|(i, _)| !reduced.contains(i)).map(|(_, n)| *n);
        // The operator's own axis comes first.
        let own = spec.axes.len() - (shape.len() - reduced.len());
        spec.axes[..own].iter().map(|a| a.length).chain(kept).collect()
    };
    (options.chunks, options.shards) = (left(&options.chunks), options.shards.as_deref().map(&left));
    options.image.levels = Levels::None;
    options.image.is_archived = sink::zarr::is_archive(path);
    options.shards = options.shards.filter(|_| !options.image.is_archived);
    let sink = ZarrSink::new(path, &spec, &options)?;
    Ok((sink::create(path, &spec, &main.beside(&options))?, sink.n_files()))
}
