//! `stitch`: the files as one array.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::calculated::{Calculated, calculated};
use super::collection::Building;
use super::kept::{self, Kept};
use super::many::Many;
use super::writing::{self, Lineage, Writing};
use super::{early, like, print_json, resolve, stop, tell};
use crate::array::{Array, Selection, select};
use crate::axis::Axis;
use crate::bytes::Watch;
use crate::cli::{BesideArgs, Missing, StitchArgs};
use crate::error::Error;
use crate::expression::Output;
use crate::open::Opened;
use crate::sink;
use crate::sink::zarr::misfit;
use crate::source::NoteKind;
use crate::source::headers::GroupedNote;
use crate::source::zarr::Storage;

pub(super) fn run(args: &StitchArgs) -> Result<()> {
    if args.names.missing == Missing::Skip {
        let why =
            "--missing skip leaves holes out of what is computed, but an array has an element everywhere: use fill";
        return Err(Error::Usage(why.into()).into());
    }
    early::stitch(args)?;
    let model = like::model(args)?;
    let mut request = resolve::request(&args.input, &args.names, args.run.memory, args.run.threads)?;
    request.by.clone_from(&args.by);
    request.select.clone_from(&args.select);
    if let (Some(model), None) = (&model, &args.names.axes) {
        request.layout.axes = Some(model.axes.clone());
    }
    let stop = stop::early(Instant::now(), args.run.deadline)?;
    // Every array is checked before the first one is written.
    let opened = resolve::open(&request, &args.run)?;
    let collection = if args.collection { Some(building(args, &opened)?) } else { None };
    let mut all: Vec<Single> = Vec::new();
    for (i, opened) in opened.into_iter().enumerate() {
        let single = Single::new(args, collection.as_ref().map(|c| c.place(i)), opened)?;
        if all.iter().any(|known| known.output == single.output) {
            let field = args.by.as_deref().unwrap_or_default();
            let text = format!("two values of '{field}' would be written to {}", single.output.display());
            return Err(Error::Usage(text).into());
        }
        all.push(single);
    }
    let mut told = Vec::new();
    let mut many = Many::new(all.len(), collection.is_some() || args.run.is_partial());
    if let Some(collection) = collection.as_ref().filter(|_| !args.run.dry_run) {
        collection.begin(args.run.restart)?;
    }
    for single in all.into_iter().filter(|single| args.run.makes(&single.output)) {
        if let Some(folder) = folder_of(&single.output).filter(|_| args.by.is_some() && !args.run.dry_run) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot make the folder", e))?;
        }
        if collection.is_some() && single.output.exists() {
            tell(format_args!("{}: an earlier run has written it", single.shown.display()));
            continue;
        }
        let (output, is_one_of_many) = (single.output.clone(), many.is_many());
        let run = || one(args, single, model.as_ref(), is_one_of_many, &stop);
        told.extend(many.one(&output, run)?.flatten());
    }
    many.finish()?;
    if let Some(collection) = collection.filter(|_| !args.run.dry_run) {
        let words = collection.words();
        collection.finish(args.storage.format())?;
        if !args.run.quiet {
            tell(format_args!("{}: {words}", args.output.display()));
        }
    }
    match told.as_slice() {
        [only] if args.by.is_none() => print_json(only),
        all if args.run.json => print_json(&all),
        _ => Ok(()),
    }
}

/// The one Zarr that all arrays go into.
fn building<'a>(args: &'a StitchArgs, opened: &[Opened]) -> Result<Building<'a>, Error> {
    let n_fields = args.by.iter().flat_map(|by| by.split(',')).count();
    let value = |opened: &Opened| {
        let values: Vec<String> = opened.value.iter().flat_map(|v| v.split(',')).map(str::to_owned).collect();
        Some(values).filter(|v| v.len() == n_fields)
    };
    let values: Option<Vec<Vec<String>>> = opened.iter().map(value).collect();
    let values = values.ok_or_else(|| Error::usage("a value of --by holds a comma, which tells fields apart"))?;
    let inputs: Vec<PathBuf> = opened.iter().flat_map(|o| o.stack.paths().to_vec()).collect();
    super::refuse_input(&args.output, &inputs)?;
    Building::new(args, &values, &inputs)
}

/// One array that is to be written.
struct Single {
    output: PathBuf,
    /// Where it will stand when all is done.
    shown: PathBuf,
    beside: BesideArgs,
    opened: Opened,
}

impl Single {
    /// The array that `opened` is, which is built in one place and stands in another if it is part of a collection.
    fn new(args: &StitchArgs, place: Option<(PathBuf, PathBuf)>, opened: Opened) -> Result<Self, Error> {
        let by = args.by.as_deref().zip(opened.value.as_deref());
        let named = |template: &Path| by.map_or(Ok(template.to_owned()), |(by, value)| place_for(template, by, value));
        let optional = |path: &Option<PathBuf>| path.as_deref().map(named).transpose();
        let mip_output = args.beside.mip_output.as_deref().map(|template| match by {
            // Its name may hold that of the output instead.
            Some((by, value)) if place.is_some() || template.contains(&format!("{{{by}}}")) => {
                place_for(Path::new(template), by, value).map(|path| path.to_string_lossy().into_owned())
            }
            _ => Ok(template.to_owned()),
        });
        if place.is_some() && !args.beside.mip.is_empty() && args.beside.mip_output.is_none() {
            let by = args.by.as_deref().unwrap_or_default();
            return Err(Error::usage(format!(
                "--mip with --collection: say with --mip-output where, such as 'mips/{{{by}}}_{{op}}_{{axis}}.zarr'"
            )));
        }
        let beside = BesideArgs {
            stats: optional(&args.beside.stats)?,
            preview: optional(&args.beside.preview)?,
            mip_output: mip_output.transpose()?,
            ..args.beside.clone()
        };
        let (output, shown) = match place {
            Some(place) => place,
            None => {
                let output = named(&args.output)?;
                sink::check_name(&output)?;
                (output.clone(), output)
            }
        };
        Ok(Self { output, shown, beside, opened })
    }
}

/// The name that `template` becomes for the `values` of the fields `by`, both joined by commas.
fn place_for(template: &Path, by: &str, values: &str) -> Result<PathBuf, Error> {
    let mut text = template.to_string_lossy().into_owned();
    for (field, label) in by.split(',').map(str::trim).zip(values.split(',')) {
        let place = format!("{{{field}}}");
        if !text.contains(&place) {
            return Err(Error::Usage(format!(
                "{text}: --by {by} writes many outputs: put {place} into the name, such as 'out/{place}.zarr'"
            )));
        }
        text = text.replace(&place, &super::one_part(label));
    }
    Ok(PathBuf::from(text))
}

/// The folder that `output` is to lie in, if it is not the current one.
fn folder_of(output: &Path) -> Option<&Path> {
    output.parent().filter(|f| !f.as_os_str().is_empty())
}

/// Writes one array; what is to be printed as JSON, if that was asked for.
fn one(
    args: &StitchArgs,
    single: Single,
    model: Option<&Storage>,
    is_one_of_many: bool,
    stop: &AtomicBool,
) -> Result<Option<Value>> {
    let start = Instant::now();
    let Single { output, shown, beside, opened } = single;
    let (mut lineage, opened) = Lineage::of(opened, &args.run)?;
    super::refuse_inputs(&sink::place_of(&output), &lineage.inputs)?;
    let provenance = &mut lineage.provenance;
    provenance["names"] = resolve::recorded(&args.names, opened.found.as_ref());
    provenance["skip_bad"] = args.input.skip_bad.into();
    provenance["follow"] = args.input.follow.into();
    provenance["select"] = args.select.clone().into();
    provenance["by"] = args.by.clone().zip(opened.value.clone()).map(|(field, value)| [field, value].to_vec()).into();
    let Opened { stack, is_single, value, .. } = opened;
    lineage.ledger = resolve::ledger(&stack, &output);
    // Of a part nobody knows how much of it is absent.
    lineage.n_absent = if args.select.is_none() { stack.layout().n_absent_elements() } else { 0 };
    lineage.may_lack = !beside.mip.is_empty() && stack.may_lack();
    let stack = stack.summed(resolve::sums_inputs(&output, &args.run));
    let stored = stack.axes().len();
    let mut kept = Kept::of(&stack, is_single, &args.names, args.input.follow)?;
    let all: Arc<dyn Array> = Arc::new(stack);
    let part = chosen(args, Arc::clone(&all))?;
    if !Arc::ptr_eq(&all, &part) {
        kept = kept.chosen(&all, &*part)?;
    }
    let (array, calculated) = made(args, part, &lineage.inputs, &output, stop)?;
    if let Some(made) = &calculated {
        kept = kept.calculated(args.calc.as_deref().unwrap_or("a"), &args.values.output()?, &*array)?;
        made.tell_narrowed(&shown, &args.values.output()?);
        lineage.provenance["computed"] = serde_json::json!({"calc": args.calc, "values": format!("{:?}", args.values)});
    }
    if !args.flip.is_empty() {
        lineage.provenance["flip"] = args.flip.clone().into();
    }
    if args.select.is_some() || array.axes().len() != stored {
        lineage.unit = Vec::new();
    }
    lineage.kept = kept;
    let is_image = sink::is_zarr(&output) && !sink::zarr::is_label(&output) && !args.storage.plain;
    if let ([input], true) = (lineage.inputs.paths(), is_single && is_image)
        && let Some(text) = labels_left(args, input, &output, all.axes())
    {
        let note = GroupedNote::of_all(NoteKind::LabelsLeft, text);
        tell(format_args!("note: {note}"));
        lineage.notes.push(note);
    }
    if let Some(why) = misfit(array.axes()).filter(|_| args.collection) {
        return Err(Error::usage(format!("{}: a collection holds images, but {why}", shown.display())).into());
    }
    let settings = serde_json::json!({
        "select": args.select,
        "flip": args.flip,
        "missing": format!("{:?}", args.names.missing),
        "beside": format!("{beside:?}"),
        "picture": format!("{:?}", args.picture),
        "calc": args.calc,
        "values": format!("{:?}", args.values),
    });
    let alike = model.map(|model| like::alike(&args.storage, model, &*array)).transpose()?;
    let writing = Writing {
        shown: &shown,
        name: value.filter(|_| args.collection).map(|value| value.replace(',', " ")),
        beside,
        png: args.picture.options(),
        stream: args.stream,
        lineage,
        is_one_of_many,
        settings,
        calculated: calculated.as_ref(),
        start,
        ..Writing::new(alike.as_ref().unwrap_or(&args.storage), &args.run, args.overwrite, &output)
    };
    let told = writing::write(&writing, array, stop)?;
    if let Some(made) = calculated.filter(|_| !args.run.reads_nothing()) {
        made.tell_counts();
    }
    Ok(told)
}

/// What of `array` is chosen, and turned.
pub(super) fn chosen(args: &StitchArgs, mut array: Arc<dyn Array>) -> Result<Arc<dyn Array>, Error> {
    if let Some(text) = &args.select {
        array = select(array, text)?;
    }
    if !args.flip.is_empty() {
        let turned: Vec<String> = args.flip.iter().map(|axis| format!("{}=::-1", axis.trim())).collect();
        super::pairwise::axes_named(&args.flip, array.axes(), "--flip")?;
        array = select(array, &turned.join(","))?;
    }
    Ok(array)
}

/// What `array`, which is [`chosen`] of what is read from `inputs`, becomes by what is calculated for `output`, and how that is.
pub(super) fn made(
    args: &StitchArgs,
    array: Arc<dyn Array>,
    inputs: &Watch,
    output: &Path,
    stop: &AtomicBool,
) -> Result<(Arc<dyn Array>, Option<Calculated>), Error> {
    let (how, narrow, dtype) = (args.values.output()?, resolve::narrow(output), array.dtype());
    let is_narrowed = dtype.size() == 8 && !dtype.is_complex() && narrow.is_some_and(|narrow| narrow != dtype);
    if args.calc.is_none() && how == Output::default() && !is_narrowed {
        return Ok((array, None));
    }
    let text = args.calc.as_deref().unwrap_or("a");
    let asked = Output { narrow, ..how };
    let made = calculated(text, &[("a".into(), array)], inputs, output, &asked, &args.run, stop)?;
    Ok((Arc::clone(&made.array), Some(made)))
}

/// What is to be told of the labels of the image at `input` that `output` does not have: the same flags choose of them what is
/// chosen of the array of `axes`.
fn labels_left(args: &StitchArgs, input: &Path, output: &Path, axes: &[Axis]) -> Option<String> {
    let c = kept::channel(axes).map_or("", |i| axes[i].name.as_str());
    let turned: Vec<&str> = args.flip.iter().map(|axis| axis.trim()).filter(|axis| *axis != c).collect();
    let flags = [
        ("--select", args.select.as_deref().and_then(|text| Selection::without(text, c).ok())),
        ("--flip", Some(turned.join(","))),
        ("--level", args.names.level.map(|level| level.to_string())),
        ("--zarr-format", args.storage.zarr_format.filter(|format| *format != 3).map(|format| format.to_string())),
    ];
    let flags = flags.into_iter().filter_map(|(flag, text)| Some((flag, text.filter(|text| !text.is_empty())?)));
    let more: Vec<String> = flags.flat_map(|(flag, text)| [flag.to_owned(), text]).collect();
    kept::labels_left(input, &kept::which(&args.names, args.input.follow), output, &more)
}
