//! What can be refused from the command line alone, before any file is opened.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::plot;
use crate::array::Selection;
use crate::bytes;
use crate::cli::{
    BesideArgs, CalcArgs, DecomposeArgs, InputArgs, NameArgs, PairwiseArgs, ReduceArgs, ReportArgs, RunArgs,
    StitchArgs, StorageArgs,
};
use crate::codec::Codec;
use crate::consume::levels::Levels;
use crate::error::{Error, Result};
use crate::layout::ORDER;
use crate::reduce::{Predicate, check_operators};
use crate::sink::zarr::ZarrFormat;
use crate::sink::{self, Sharding};
use crate::source::is_foldered_file;
use crate::store::Checkpoints;

/// Refuses what `stitch` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn stitch(args: &StitchArgs) -> Result<()> {
    let by: Vec<&str> = args.by.iter().flat_map(|by| by.split(',')).map(str::trim).collect();
    once("--by", &by)?;
    let output = args.output.to_string_lossy();
    let how = |field: &str| {
        let axis = field.split('@').next().unwrap_or_default();
        format!("--by {field} writes one output for each value that names have, --select {axis}=0 takes one of an axis")
    };
    places(&output, &by, how)?;
    if !args.collection {
        all_placed(&output, &by, ", or use --collection")?;
    }
    axes(&args.names)?;
    args.select.as_deref().map_or(Ok(()), Selection::check)?;
    expression(args.calc.as_deref())?;
    storage(&args.storage, &args.output)?;
    beside(&args.beside)?;
    if sink::is_stream(&args.output) {
        return stream(args);
    }
    let is_shared = args.run.share.is_some() || args.run.planned.is_some();
    if is_shared && sink::is_ome_tiff(&args.output) {
        return Err(Error::usage("an OME-TIFF is written from its beginning to its end: use .zarr to share"));
    }
    if args.collection || sink::zarr::is_label(&args.output) {
        super::refuse_remote(&args.output)?;
    }
    if args.collection && is_shared {
        return Err(Error::usage("a collection is not shared out: share the images of --by alone"));
    }
    if sink::zarr::is_label(&args.output) && args.output.parent().is_some_and(|labels| !labels.exists()) {
        return Ok(());
    }
    free(&args.output, &args.input, args.overwrite)
}

/// Refuses what cannot go down a pipe.
fn stream(args: &StitchArgs) -> Result<()> {
    let others = [
        ("--by", args.by.is_some()),
        ("--share", args.run.share.is_some() || args.run.planned.is_some()),
        ("--json", args.run.json && !args.run.dry_run),
    ];
    if let Some((flag, _)) = others.iter().find(|(_, is_given)| *is_given) {
        return Err(Error::usage(format!("{flag} with -o -: standard output holds one array: name a file")));
    }
    no_terminal(args.force)
}

/// Refuses to write elements to a screen.
fn no_terminal(is_forced: bool) -> Result<()> {
    match std::io::stdout().is_terminal() && !is_forced {
        true => Err(Error::usage(
            "-o -: elements say nothing on a terminal: send them on with > or |, or insist with --force",
        )),
        false => Ok(()),
    }
}

/// Refuses what `reduce` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn reduce(args: &ReduceArgs) -> Result<()> {
    check_operators(&args.op).map_err(|e| e.at("--op"))?;
    axes(&args.names)?;
    list("--axis", &args.axis)?;
    args.elements.select.as_deref().map_or(Ok(()), Selection::check)?;
    args.elements.condition.as_deref().map_or(Ok(()), |text| text.parse::<Predicate>().map(|_| ()))?;
    expression(args.elements.calc.as_deref())?;
    if args.output.as_deref() == Some("-") {
        no_terminal(args.force)?;
    }
    let by: Vec<&str> = args.by.iter().flat_map(|by| by.split(',')).map(str::trim).collect();
    if let Some(plot) = &args.plot {
        plot::check(plot, args.overwrite)?;
        all_placed(&plot.to_string_lossy(), &by, "")?;
    }
    let Some(output) = args.output.as_deref().filter(|name| *name != "-") else { return Ok(()) };
    let how = |field: &str| format!("{{op}} is the operator, and --by {field} gives one output for each of its values");
    places(output, &[&by[..], &["op"]].concat(), how)?;
    all_placed(output, &by, "")?;
    if sink::is_zarr(Path::new(output)) {
        args.codec.as_ref().map_or(Ok(()), Codec::check_zarr)?;
    }
    free(Path::new(output), &args.input, args.overwrite)
}

/// Refuses an expression that cannot be read.
fn expression(text: Option<&str>) -> Result<()> {
    text.map_or(Ok(()), |text| crate::expression::syntax::parse(text).map(|_| ()))
}

/// Refuses names and operators that nothing is made of beside an output.
fn beside(args: &BesideArgs) -> Result<()> {
    for text in &args.mip {
        let operators = text.split_once('=').map_or("max", |(_, operators)| operators);
        check_operators(operators).map_err(|e| e.at(format!("--mip {text}")))?;
    }
    args.mip_output.as_deref().map_or(Ok(()), |name| sink::check_name(Path::new(name)))?;
    let endings = [("--stats", &args.stats, &["json", "csv"][..]), ("--preview", &args.preview, &["png"])];
    for (flag, path, known) in endings {
        if let Some(path) = path.as_deref().filter(|path| !known.contains(&&*sink::extension(path))) {
            let known = known.join(" or .");
            return Err(Error::usage(format!("{flag} {}: expected a name that ends in .{known}", path.display())));
        }
    }
    Ok(())
}

/// Refuses what `report` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn report(args: &ReportArgs) -> Result<()> {
    axes(&args.names)?;
    args.select.as_deref().map_or(Ok(()), Selection::check)?;
    if sink::extension(&args.output) != "html" {
        return Err(Error::usage(format!("-o {}: a report goes to a name that ends in .html", args.output.display())));
    }
    crate::store::check_free(&args.output, args.overwrite, crate::store::OutputKind::File)
}

/// Refuses what `calc` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn calc(args: &CalcArgs) -> Result<()> {
    axes(&args.names)?;
    expression(Some(&args.expression))?;
    args.plot.as_deref().map_or(Ok(()), |plot| plot::check(plot, args.overwrite))?;
    if args.output.as_deref() == Some("-") {
        no_terminal(args.force)?;
    }
    let Some(output) = args.output.as_deref().filter(|name| *name != "-") else { return Ok(()) };
    places(output, &[], |_| "calc writes one output".to_owned())?;
    storage(&args.storage, Path::new(output))?;
    free(Path::new(output), &args.input, args.overwrite)
}

/// Refuses what `pairwise` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn pairwise(args: &PairwiseArgs) -> Result<()> {
    axes(&args.names)?;
    args.select.as_deref().map_or(Ok(()), Selection::check)?;
    args.plot.as_deref().map_or(Ok(()), |plot| plot::check(plot, args.overwrite))?;
    undivided(&args.run)?;
    list("--along", &args.along)?;
    if let Some(name) = args.keep.iter().find(|name| args.along.contains(name)) {
        return Err(Error::usage(format!(
            "--keep {name}: its indices are the slices, by --along: leave it out of one"
        )));
    }
    let Some(output) = args.output.as_deref().map(Path::new) else { return Ok(()) };
    if sink::is_stream(output) {
        return no_terminal(false);
    }
    fresh(output, &args.input, args.overwrite)
}

/// As [`free`], for what is kept on the way to an output: where it stands, nothing is needed any more.
fn fresh(output: &Path, input: &InputArgs, overwrite: bool) -> Result<()> {
    free(output, input, overwrite)
        .or_else(|e| if output.exists() { Checkpoints::forget(output).and(Err(e)) } else { Err(e) })
}

/// Refuses to divide what one process sums up.
fn undivided(run: &RunArgs) -> Result<()> {
    match run.share.is_some() || run.planned.is_some() {
        true => Err(Error::unsupported("sums over all rows are made by one process: run it without --share and plan")),
        false => Ok(()),
    }
}

/// Refuses what `decompose` could not do whatever the files hold.
///
/// # Errors
/// `Usage`, saying which flag and what would do.
pub(super) fn decompose(args: &DecomposeArgs) -> Result<()> {
    axes(&args.names)?;
    args.select.as_deref().map_or(Ok(()), Selection::check)?;
    undivided(&args.run)?;
    list("--along", &args.along)?;
    if args.denoised.as_ref() == Some(&args.output) {
        return Err(Error::usage(format!("{}: two outputs would have this name", args.output.display())));
    }
    for output in std::iter::once(&args.output).chain(&args.denoised) {
        storage(&args.storage, output)?;
        fresh(output, &args.input, args.overwrite)?;
    }
    Ok(())
}

/// Refuses braces in the name of an output that nothing fills in; `how` says what would.
fn places(output: &str, known: &[&str], how: impl Fn(&str) -> String) -> Result<()> {
    // Names of pictures and series hold axes, which nobody knows yet.
    if sink::takes_fields(Path::new(output)) {
        return Ok(());
    }
    let fields = output.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(field, _)| field);
    match fields.into_iter().find(|field| !known.contains(field)) {
        Some(field) => Err(Error::usage(format!(
            "-o {output}: nothing fills in {{{field}}}: {}, or leave the braces out",
            how(field)
        ))),
        None => Ok(()),
    }
}

/// Refuses a name that lacks a field of `by`, all of whose values it must tell apart; `or` says what else would do.
fn all_placed(output: &str, by: &[&str], or: &str) -> Result<()> {
    match by.iter().find(|field| !output.contains(&format!("{{{field}}}"))) {
        Some(lost) => Err(Error::usage(format!(
            "{output}: --by {} gives many outputs: put {{{lost}}} into the name{or}",
            by.join(",")
        ))),
        None => Ok(()),
    }
}

/// Refuses a name that is taken, or of no known format. Where braces are filled in, what will stand there is not known.
fn free(output: &Path, input: &InputArgs, overwrite: bool) -> Result<()> {
    refuse_remote(&output.to_string_lossy())?;
    let arrays = input.inputs.iter().map(PathBuf::from).filter(|path| is_foldered_file(path));
    super::refuse_input(output, &arrays.collect::<Vec<_>>())?;
    if output.to_string_lossy().contains('{') {
        return sink::check_name(output);
    }
    sink::check_free(output, overwrite)
}

/// Refuses an output that lies on another machine.
fn refuse_remote(output: &str) -> Result<()> {
    match output.split_once("://") {
        Some((scheme, _)) if !bytes::is_remote(Path::new(output)) || scheme.starts_with("http") => {
            Err(Error::usage(format!(
                "-o {output}: outputs are written to file systems, and Zarr over s3, gs and az, not over {scheme}: write \
                 to a folder and copy it, as with 'rclone copy'"
            )))
        }
        Some(_) if !matches!(sink::extension(Path::new(output)).as_str(), "zarr") => Err(Error::usage(format!(
            "-o {output}: only Zarr is written there: write a file here and copy it, as with 'rclone copy'"
        ))),
        _ => Ok(()),
    }
}

/// Refuses axes without commas, and twice the same.
fn axes(names: &NameArgs) -> Result<()> {
    list("--axes", names.axes.as_deref().unwrap_or_default())
}

fn list(flag: &str, axes: &[String]) -> Result<()> {
    if let [word] = axes {
        let letters: Vec<String> = word.chars().map(String::from).collect();
        if letters.len() > 1 && letters.iter().all(|letter| ORDER.contains(&letter.as_str())) {
            return Err(Error::usage(format!("{flag} {word}: separate axes by commas: {flag} {}", letters.join(","))));
        }
    }
    once(flag, &axes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Refuses a name that stands twice.
fn once(flag: &str, names: &[&str]) -> Result<()> {
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        Some((_, name)) => Err(Error::usage(format!("{flag} {}: {name} is named twice", names.join(",")))),
        None => Ok(()),
    }
}

/// Refuses what only a Zarr, or a file with levels, can hold for another output.
fn storage(flags: &StorageArgs, output: &Path) -> Result<()> {
    let (is_ome, is_zarr) = (sink::is_ome_tiff(output), sink::is_zarr(output));
    if let Some(codec) = &flags.codec {
        match (is_zarr, is_ome) {
            (true, _) => codec.check_zarr()?,
            (_, true) => _ = codec.tiff()?,
            _ => {}
        }
    }
    flags.channel_colors.iter().try_for_each(|colour| sink::zarr::check_colour(colour))?;
    if is_zarr && flags.format() == ZarrFormat::V2 && matches!(flags.shards, Sharding::Shape(_)) {
        return Err(Error::usage(format!("--shards {}: Zarr v2 has none: leave out --zarr-format 2", flags.shards)));
    }
    let wanted = [
        ("--shards", matches!(flags.shards, Sharding::Shape(_))),
        ("--levels", flags.levels.is_some_and(|levels| levels != Levels::None) && !is_ome),
        ("--channel-colors", !flags.channel_colors.is_empty() && !is_ome),
        ("--plain", flags.plain),
        ("--coordinates", flags.coordinates),
    ];
    if let Some((flag, _)) = wanted.iter().find(|(_, is_wanted)| *is_wanted && !is_zarr) {
        return Err(Error::usage(format!("{flag} is for Zarr: use an output that ends in .zarr")));
    }
    let cut = [
        ("--codec", flags.codec.as_ref().is_some_and(|codec| *codec != Codec::None)),
        ("--chunks", flags.chunks.is_some()),
    ];
    match cut.iter().find(|(_, is_wanted)| *is_wanted && !is_zarr && !is_ome) {
        Some((flag, _)) => Err(Error::usage(format!(
            "{flag}: {} holds elements as they are: use an output that ends in .zarr or .ome.tif",
            output.display()
        ))),
        None => Ok(()),
    }
}
