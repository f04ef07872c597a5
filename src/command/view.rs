//! `view`: an array in the terminal, or as a picture that may move.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Result;

use super::resolve;
use super::resources::Resources;
use crate::array::{Array, select};
use crate::axis::{Axis, AxisKind, position};
use crate::cli::{RunArgs, ViewArgs};
use crate::draw::canvas::Canvas;
use crate::draw::scale::short;
use crate::error::Error;
use crate::open::{Opened, Request};
use crate::sink::animation;
use crate::sink::zarr::ImageOptions;
use crate::sink::{self, extension};

mod scene;
mod terminal;

use scene::{Scene, ViewMode};
use terminal::{Graphics, Keys};

/// Largest width and height of a picture in a file, unless somebody says otherwise.
const SIZE: u32 = 1024;
/// Pixels that an element takes at most: in a file one, in a terminal more, so that small arrays are seen.
const MOST_FILE: f64 = 1.0;
const MOST_TERMINAL: f64 = 16.0;

pub(super) fn run(args: &ViewArgs) -> Result<()> {
    if let Some(output) = args.output.as_deref() {
        check_output(output, args)?;
    }
    let graphics = Graphics::named(if args.output.is_some() { "blocks" } else { &args.graphics });
    let (room, most) = match (args.output.is_some(), args.size) {
        (true, size) => {
            let size = size.unwrap_or(SIZE) as usize;
            ((size, size), if args.size.is_some() { MOST_TERMINAL } else { MOST_FILE })
        }
        (false, columns) => (graphics.room(columns), MOST_TERMINAL),
    };
    let mut scene = open(args, room, most)?;
    if let Some(times) = scene.flattened().filter(|_| !args.quiet) {
        super::tell(format_args!("z is {} times as deep as it is drawn", short(times)));
    }
    match args.output.as_deref() {
        Some(output) => write(output, args, &mut scene, room, most),
        None if terminal::is_interactive() => interact(&mut scene, graphics, args.size),
        None => super::print(graphics.text(&scene.draw(room, most)?).as_bytes()),
    }
}

/// Refuses an output that could not be written.
fn check_output(output: &Path, args: &ViewArgs) -> Result<(), Error> {
    let moves = args.along.is_some();
    match extension(output).as_str() {
        "png" | "apng" => {}
        "gif" | "mp4" if moves => {}
        "gif" | "mp4" => {
            return Err(Error::usage(format!("-o {}: say with --along which axis it moves along", output.display())));
        }
        _ => return Err(Error::usage(format!("-o {}: a picture ends in .png, .gif or .mp4", output.display()))),
    }
    if output.exists() && !args.overwrite {
        return Err(Error::usage(format!("{} exists already: replace it with --overwrite", output.display())));
    }
    Ok(())
}

/// The array, at the coarsest level that has enough elements for a picture of `room`.
fn open(args: &ViewArgs, room: (usize, usize), most: f64) -> Result<Scene> {
    let request = resolve::request(&args.input, &args.names, args.memory, None)?;
    let request = Request { stored_order: true, select: args.select.clone(), ..request };
    let run = RunArgs { quiet: true, memory: args.memory, ..RunArgs::default() };
    let budget = Resources::new(&run);
    let opened = resolve::open(&request, &run)?.pop().ok_or_else(|| Error::usage("nothing is there"))?;
    let paths = opened.stack.paths().to_vec();
    let is_single = opened.is_single;
    let mut best = scene(args, opened, &budget)?;
    // Slices are of the full resolution, as is what was asked for.
    let levels = is_single && paths.len() == 1 && args.names.level.is_none() && args.select.is_none();
    for level in (1..).take_while(|_| levels) {
        let mut coarser = request.clone();
        coarser.source.level = Some(level);
        let Ok(opened) = coarser.open() else { break };
        let Ok(next) = scene(args, opened, &budget) else { break };
        let [y, x] = best.needs(room, most);
        if next.axes().len() != best.axes().len()
            || next.axes()[next.y].length < y
            || next.axes()[next.x].length < x
            || next.axes()[next.x].length >= best.axes()[best.x].length
        {
            break;
        }
        best = next;
    }
    Ok(best)
}

fn scene(args: &ViewArgs, opened: Opened, budget: &Resources) -> Result<Scene> {
    let Opened { stack, is_single, .. } = opened;
    // Samples of a pixel lie side by side in photographs alone.
    let last = stack.headers().main_kind().and_then(|kind| kind.info.axes.last());
    let is_photograph = last.is_some_and(|axis| axis.kind == AxisKind::Channel);
    let chosen = resolve::own_axes(&stack, is_single, &args.names, args.select.as_slice());
    let array: Arc<dyn Array> = select(Arc::new(stack), &chosen)?;
    let shown = sink::zarr::shown(array.axes(), array.dtype(), &ImageOptions::default());
    let colours = shown.iter().map(|(_, hex)| sink::preview::colour(hex)).collect();
    let mode = match args.project.as_deref() {
        Some("max") => ViewMode::Max,
        Some(_) => ViewMode::Mean,
        None => ViewMode::Slices,
    };
    let scene = Scene::new(array, colours, mode, args.percentiles, is_photograph, budget.limit.bytes)
        .ok_or_else(|| Error::usage("only real numbers along two axes or more can be shown"))?;
    match &args.project {
        Some(how) if scene.axes()[scene.y].name == "z" => {
            Err(Error::usage(format!("--project {how}: z is an edge of what --select leaves: leave one of both out"))
                .into())
        }
        _ => Ok(scene),
    }
}

/// Writes a picture, or one that moves.
fn write(output: &Path, args: &ViewArgs, scene: &mut Scene, room: (usize, usize), most: f64) -> Result<()> {
    let Some(along) = &args.along else {
        return Ok(crate::store::replace(output, &sink::png::encode(&scene.draw(room, most)?)?)?);
    };
    let axis = position(scene.axes(), along).ok_or_else(|| {
        let known: Vec<&str> = scene.axes().iter().map(|a| a.name.as_str()).collect();
        Error::usage(format!("--along {along}: the array has {}", known.join(",")))
    })?;
    if !scene.varies_along(axis) {
        let folded = args.project.as_ref().filter(|_| scene.z == Some(axis));
        let way_out = folded.map_or(String::new(), |how| format!("leave out --project {how}, or "));
        let others: Vec<&str> = (0..scene.axes().len())
            .filter(|&i| scene.varies_along(i) && scene.axes()[i].length > 1)
            .map(|i| scene.axes()[i].name.as_str())
            .collect();
        let others =
            if others.is_empty() { "leave out --along".into() } else { format!("move along {}", others.join(", ")) };
        return Err(Error::usage(format!("--along {along}: every picture shows all of it: {way_out}{others}")).into());
    }
    let n = scene.axes()[axis].length as u32;
    // What is black and white is the same in every picture: that of the middle one.
    scene.draw(room, most)?;
    let is_grey = scene.is_grey();
    let mut frame = |i: u32| {
        scene.at[axis] = u64::from(i);
        scene.draw(room, most)
    };
    if extension(output) == "mp4" {
        return film(output, n, args.rate, frame);
    }
    let failed = |e| Error::io(output, "cannot write", e);
    Ok(crate::store::replaced(output, |to| match extension(output).as_str() {
        "gif" => animation::gif(to, is_grey, (n, args.rate), &mut frame, &failed),
        _ => animation::png(to, (n, args.rate), &mut frame, &failed),
    })?)
}

/// Has ffmpeg make a film.
fn film(output: &Path, n: u32, rate: u16, mut frame: impl FnMut(u32) -> Result<Canvas, Error>) -> Result<()> {
    let first = frame(0)?;
    let partial = output.with_extension(format!("{}.partial.mp4", std::process::id()));
    let size = format!("{}x{}", first.width, first.height);
    let rate = rate.to_string();
    let input = ["-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &rate, "-i", "-"];
    // Films have even numbers of rows and columns.
    let coding = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-y"];
    let started = Command::new("ffmpeg").args(input).args(coding).arg(&partial).stdin(Stdio::piped()).spawn();
    let mut process = started.map_err(|e| {
        Error::usage(format!("-o {}: ffmpeg makes films, and does not run here ({e}): write a .gif", output.display()))
    })?;
    let mut to = process.stdin.take().ok_or_else(|| Error::usage("ffmpeg takes no input"))?;
    let mut send = |i: u32| Ok::<_, Error>(to.write_all(&frame(i)?.bytes));
    // Where it stops taking pictures, its own message says why.
    let sent = (0..n).map(&mut send).take_while(|sent| !matches!(sent, Ok(Err(_)))).find_map(Result::err);
    drop(to);
    let ended = process.wait()?;
    sent.map_or(Ok(()), Err)?;
    if !ended.success() {
        return Err(Error::format(format!("ffmpeg: {ended}")).into());
    }
    Ok(std::fs::rename(&partial, output)?)
}

/// Shows the scene until q is pressed.
fn interact(scene: &mut Scene, graphics: Graphics, columns: Option<u32>) -> Result<()> {
    let Some(keys) = Keys::begin(0) else { return Err(Error::usage("the terminal takes no keys").into()) };
    keys.give_back_at_signals()?;
    super::print(terminal::OTHER_SCREEN)?;
    let ended = shown(scene, graphics, columns, &keys);
    super::print(terminal::OWN_SCREEN)?;
    drop(keys);
    ended
}

fn shown(scene: &mut Scene, graphics: Graphics, columns: Option<u32>, keys: &Keys) -> Result<()> {
    loop {
        let canvas = scene.draw(graphics.room(columns), MOST_TERMINAL)?;
        let clear = if graphics == Graphics::Kitty { "\x1b_Ga=d,q=2\x1b\\\x1b[2J\x1b[H" } else { "\x1b[2J\x1b[H" };
        super::print(format!("{clear}{}{}", graphics.text(&canvas), status(scene)).as_bytes())?;
        let others = |i: usize| ![Some(scene.y), Some(scene.x), scene.z].contains(&Some(i));
        let moves = |i: usize| scene.axes()[i].length > 1 && scene.axes()[i].kind != AxisKind::Channel;
        let time = (0..scene.axes().len()).find(|&i| others(i) && moves(i));
        // The cross moves by a twentieth.
        let lengths: Vec<i64> = scene.axes().iter().map(|axis| axis.length as i64).collect();
        let far = |axis: usize| (lengths[axis] / 20).max(1);
        let step = |scene: &mut Scene, axis: Option<usize>, by: i64| {
            if let Some(i) = axis {
                scene.at[i] = scene.at[i].saturating_add_signed(by).min(scene.axes()[i].length - 1);
            }
        };
        for key in keys.read()? {
            match key.as_str() {
                "q" | "Q" | "\x1b" | "\x03" | "\x04" => return Ok(()),
                "\x1b[C" | "n" | "." => step(scene, time, 1),
                "\x1b[D" | "p" | "," => step(scene, time, -1),
                "\x1b[A" | "k" => step(scene, scene.z, 1),
                "\x1b[B" | "j" => step(scene, scene.z, -1),
                "h" => step(scene, Some(scene.x), -far(scene.x)),
                "l" => step(scene, Some(scene.x), far(scene.x)),
                "u" => step(scene, Some(scene.y), -far(scene.y)),
                "d" => step(scene, Some(scene.y), far(scene.y)),
                "m" => {
                    scene.mode = if scene.mode == ViewMode::Slices { ViewMode::Max } else { ViewMode::Slices };
                    scene.forget_windows();
                }
                "w" => scene.forget_windows(),
                _ => {}
            }
        }
    }
}

/// Where the picture lies, and what keys do, as far as a line has room for that.
fn status(scene: &Scene) -> String {
    const KEYS: [&str; 5] = ["q end", "arrows t z", "m max", "w contrast", "h l u d cross"];
    let place = |(axis, at): (&Axis, &u64)| {
        let label = axis.labels.as_ref().and_then(|labels| labels.get(*at as usize));
        let label = label.map_or(String::new(), |label| format!(" {label}"));
        (axis.length > 1 && axis.kind != AxisKind::Channel)
            .then(|| format!("{}={} of {}{label}", axis.name, at, axis.length))
    };
    let places: Vec<String> = scene.axes().iter().zip(&scene.at).filter_map(place).collect();
    let places = places.join("  ");
    let mut room = super::voice::width().saturating_sub(places.chars().count() + 2);
    let fits = |key: &&&str| {
        let rest = room.checked_sub(key.len() + 2);
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    let keys: Vec<&str> = KEYS.iter().take_while(fits).copied().collect();
    format!("\x1b[7m {places} \x1b[0m {}", keys.join(", "))
}
