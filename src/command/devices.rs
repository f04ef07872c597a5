//! `devices`, and what is told of the devices of a run.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::tell;
use crate::array::kernel::Elsewhere;
use crate::cli::{Command, DevicesArgs, RunArgs};
use crate::device::opencl::{self, Device, DeviceContext};
use crate::device::{DeviceChoice, Devices, LANES};
use crate::draw::table::Table;
use crate::error::Error;
use crate::report::count;
use crate::size::Bytes;

/// Bytes that cross the link when it is measured, and how often.
const MEASURED: (usize, u32) = (256 << 20, 5);

pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let devices = opencl::devices()?;
    let rates = |device: &Device| args.measure.then(|| measured(device)).transpose();
    let rates = devices.iter().map(rates).collect::<Result<Vec<_>, Error>>()?;
    if args.json {
        return super::print_json(&devices.iter().zip(rates).map(|(d, rate)| as_json(d, rate)).collect::<Vec<_>>());
    }
    let mut table = Table::default();
    table.row(["device", "kind", "memory", "double", "link", "platform"]);
    for (device, rate) in devices.iter().zip(rates) {
        let rate = rate.map_or("-".into(), |(to, from)| format!("{}/s to, {}/s from", Bytes(to), Bytes(from)));
        table.row([
            device.name.clone(),
            if device.is_cpu { "processors" } else { "gpu" }.into(),
            Bytes(device.memory_bytes).to_string(),
            if device.has_double { "yes" } else { "no" }.into(),
            rate,
            format!("{}, {}", device.platform, device.version),
        ]);
    }
    let lines =
        if devices.is_empty() { vec!["no device: no platform of OpenCL has one".into()] } else { table.lines(140) };
    super::print(format!("{}\n", lines.join("\n")).as_bytes())
}

fn as_json(device: &Device, rate: Option<(u64, u64)>) -> Value {
    json!({
        "name": device.name,
        "kind": if device.is_cpu { "processors" } else { "gpu" },
        "platform": device.platform,
        "version": device.version,
        "driver": device.driver,
        "memory_bytes": device.memory_bytes,
        "free_bytes": device.free_bytes,
        "largest_buffer_bytes": device.largest_bytes,
        "units": device.n_units,
        "double": device.has_double,
        "rounds": device.rounds,
        "to_bytes_per_s": rate.map(|r| r.0),
        "from_bytes_per_s": rate.map(|r| r.1),
    })
}

/// Bytes a second from pinned memory to the device, and back.
fn measured(device: &Device) -> Result<(u64, u64), Error> {
    let context = Arc::new(DeviceContext::new(std::slice::from_ref(device))?);
    let (queue, (n, times)) = (context.queue(0)?, MEASURED);
    let (there, mut here) = (context.memory(n as u64)?, context.staging(n as u64)?);
    here.bytes_mut().fill(1);
    let rate = |start: Instant| (n as f64 / start.elapsed().as_secs_f64().max(1e-9)) as u64;
    let mut best = (0, 0);
    for _ in 0..times {
        let start = Instant::now();
        queue.write(&there, 0, here.bytes())?;
        queue.finish()?;
        best.0 = best.0.max(rate(start));
        let start = Instant::now();
        queue.read(&there, here.bytes_mut())?;
        queue.finish()?;
        best.1 = best.1.max(rate(start));
    }
    Ok(best)
}

/// Refuses a device where nothing is computed on one; where it was left open, that is told.
///
/// # Errors
/// `Usage`, saying what is.
pub(super) fn check(command: &Command) -> Result<(), Error> {
    let run = match command {
        Command::Stitch(args) | Command::Convert(args) if args.calc.is_none() => &args.run,
        Command::Advise(args) => &args.run,
        Command::Pyramid(args) => &args.run,
        Command::Report(args) => &args.run,
        _ => return Ok(()),
    };
    let why = "no part of this is for devices, which make expressions, filters, reductions and products of rows";
    match run.device {
        DeviceChoice::Cpu => Ok(()),
        DeviceChoice::Auto => {
            tell(format_args!("note: --device: {why}: the processors do it"));
            Ok(())
        }
        _ => Err(Error::usage(format!("--device: {why}: leave it out"))),
    }
}

/// The devices that a run is to use, which has `threads`: none if it reads nothing.
pub(super) fn opened(args: &RunArgs, threads: usize) -> Result<Option<Arc<Devices>>, Error> {
    if args.reads_nothing() {
        return Ok(None);
    }
    let devices =
        Devices::open(&args.device, args.device_memory.map(|m| m.0), threads).map_err(|e| e.at("--device"))?;
    if devices.is_none() && args.device == DeviceChoice::Auto && !args.quiet {
        tell("--device auto: OpenCL has no graphics processor here: the processors do all of it");
    }
    Ok(devices)
}

/// Workers of a run: enough to keep three parts on their way, if devices were asked for and nobody said how many.
pub(super) fn workers(args: &RunArgs, threads: usize) -> usize {
    let is_open = args.threads.is_none() && args.device != DeviceChoice::Cpu;
    if is_open { threads.max(LANES) } else { threads }
}

/// Devices as what makes something in place of the processors.
pub(super) fn elsewhere(devices: Option<&Arc<Devices>>) -> Option<Arc<dyn Elsewhere>> {
    devices.map(|devices| Arc::clone(devices) as _)
}

/// Tells what devices have done.
pub(super) fn tell_done(devices: &Devices, is_quiet: bool) {
    let done = devices.done();
    if let Some(failure) = &done.failure {
        tell(format_args!("note: a device failed, and the processors went on: {failure}"));
    }
    let names = done.names.join(", ");
    match (done.n_parts, done.n_left) {
        (0, 0) => tell("note: no part of this is for devices: the processors did all of it"),
        (n, 0) => _ = (!is_quiet).then(|| tell(format_args!("{names} made {}", count(n, "part")))),
        (0, left) => tell(format_args!("note: {names} made no part, the processors {}", count(left, "part"))),
        (n, left) => {
            let (n, left) = (count(n, "part"), count(left, "part"));
            tell(format_args!("note: {names} made {n}, the processors {left}"));
        }
    }
}

/// The same as JSON.
pub(super) fn done(devices: &Devices) -> Value {
    let done = devices.done();
    json!({ "names": done.names, "parts": done.n_parts, "parts_left": done.n_left, "failure": done.failure })
}
