//! Devices that make elements: which there are, what each may hold, and the lanes that work goes through.
//!
//! A lane is a queue with memory of its own. Three of a device let one part go there, one be computed and one come back at
//! the same time; lanes of several devices take parts as they become free. What is to be done comes as a
//! [`Routine`]: nothing here knows what it computes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::array::kernel::{Datum, Elsewhere, Launch, Load, Routine};
use crate::error::{Error, Result};
use crate::profile::{self, Stage};
use crate::size::Bytes;

mod offload;
pub mod opencl;

pub use offload::Offloaded;
use opencl::{BuiltProgram, Device, DeviceContext, DeviceMemory, Kernel, KernelRun, Queue, Staging};

/// Lanes of a device.
pub const LANES: usize = 3;
/// Bytes a second between pinned memory and a device, where a device is to pay: PCIe 5, measured on one H100.
const LINK_BYTES_PER_S: f64 = 55e9;
/// Steps that one thread takes a second, such as a tap of a filter: measured with a Gaussian in `float32`.
const STEPS_PER_S: f64 = 2e9;
/// Bytes that are copied into pinned memory at once while as many cross the link.
const PIECE_BYTES: usize = 4 << 20;
/// Counts of a launch: what [`CastTally::add`](crate::array::CastTally::add) takes, and of elements that end the run.
const N_COUNTS: usize = 5;

/// Which devices are to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// None: the processors.
    #[default]
    Cpu,
    /// Graphics processors where they pay and work.
    Auto,
    /// Graphics processors, or it is an error.
    Gpu,
    /// Those whose name, platform or version has this in it.
    Named(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "cpu" => Self::Cpu,
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            name => Self::Named(name.to_lowercase()),
        })
    }
}

impl DeviceChoice {
    fn takes(&self, device: &Device) -> bool {
        match self {
            Self::Cpu => false,
            Self::Auto | Self::Gpu => !device.is_cpu,
            Self::Named(name) => {
                [&device.name, &device.platform, &device.version].iter().any(|text| text.to_lowercase().contains(name))
            }
        }
    }
}

/// A queue with memory and kernels of its own.
struct Lane {
    device: usize,
    queue: Queue,
    memory: Vec<DeviceMemory>,
    /// Pinned memory for what comes from elsewhere, one piece to be filled while the other is on its way.
    pieces: Vec<Staging>,
    kernels: HashMap<String, Kernel>,
}

/// What lanes of a device hold.
#[derive(Default)]
struct DeviceLoad {
    idle: Vec<Lane>,
    n_busy: usize,
    busy_bytes: u64,
}

/// What the devices have done.
#[derive(Clone, Debug, Default)]
pub struct DevicesDone {
    /// Names of the devices.
    pub names: Vec<String>,
    /// Parts that devices made.
    pub n_parts: u64,
    /// Parts that were left to the processors.
    pub n_left: u64,
    /// Why devices are not used any more, if they failed.
    pub failure: Option<String>,
}

/// The devices of a run.
pub struct Devices {
    context: Arc<DeviceContext>,
    chosen: DeviceChoice,
    /// Of each device, in bytes.
    limits: Vec<u64>,
    n_threads: usize,
    loads: Mutex<Vec<DeviceLoad>>,
    freed: Condvar,
    programs: Mutex<HashMap<String, Arc<BuiltProgram>>>,
    failure: Mutex<Option<String>>,
    n_parts: AtomicU64,
    n_left: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Devices {
    /// The devices that are `chosen`, each to hold `memory_bytes` (80 % of what is free if not given), beside so many
    /// threads; none where the processors are to do it.
    ///
    /// # Errors
    /// `Unsupported` if there is no such device, saying which there are, or no library, saying where it was looked for.
    pub fn open(chosen: &DeviceChoice, memory_bytes: Option<u64>, n_threads: usize) -> Result<Option<Arc<Self>>> {
        // The library takes its share of memory: it is loaded where it was asked for.
        let all = match chosen {
            DeviceChoice::Cpu => return Ok(None),
            DeviceChoice::Auto => opencl::devices().unwrap_or_default(),
            _ => opencl::devices()?,
        };
        let takes = |d: &&Device| chosen.takes(d) && d.has_double;
        let Some(first) = all.iter().find(takes) else {
            if *chosen == DeviceChoice::Auto {
                return Ok(None);
            }
            let known: Vec<&str> = all.iter().map(|d| &d.name[..]).collect();
            let there = if known.is_empty() {
                "none".to_owned()
            } else {
                format!("{} (--device NAME takes one)", known.join(", "))
            };
            let why = if all.iter().any(|d| chosen.takes(d)) { "no double precision" } else { "no such device" };
            return Err(Error::unsupported(format!("{why}: OpenCL has {there}; --device cpu needs none")));
        };
        // Only devices of one platform share memory.
        let own: Vec<Device> = all.iter().filter(takes).filter(|d| d.is_beside(first)).cloned().collect();
        let limit = |d: &Device| memory_bytes.unwrap_or(d.free_bytes.unwrap_or(d.memory_bytes) / 5 * 4);
        let limits = own.iter().map(limit).collect();
        let context = match DeviceContext::new(&own) {
            Err(_) if *chosen == DeviceChoice::Auto => return Ok(None),
            context => Arc::new(context?),
        };
        Ok(Some(Arc::new(Self {
            context,
            chosen: chosen.clone(),
            limits,
            n_threads,
            loads: Mutex::new(own.iter().map(|_| DeviceLoad::default()).collect()),
            freed: Condvar::new(),
            programs: Mutex::default(),
            failure: Mutex::default(),
            n_parts: AtomicU64::new(0),
            n_left: AtomicU64::new(0),
        })))
    }

    /// What they have done so far.
    pub fn done(&self) -> DevicesDone {
        DevicesDone {
            names: self.context.devices().iter().map(|d| d.name.clone()).collect(),
            n_parts: self.n_parts.load(Ordering::Relaxed),
            n_left: self.n_left.load(Ordering::Relaxed),
            failure: lock(&self.failure).clone(),
        }
    }

    /// Whether a routine whose result has `n_bytes` is to be run here: always unless it was left open, then if processors
    /// take longer than the way there and back.
    fn takes(&self, routine: &Routine, n_bytes: u64) -> bool {
        if self.chosen != DeviceChoice::Auto {
            return true;
        }
        let bytes = routine.loads.iter().map(|l| l.n_bytes()).sum::<u64>() + n_bytes;
        let processors_s = routine.n_steps as f64 / (self.n_threads as f64 * STEPS_PER_S);
        lock(&self.failure).is_none() && processors_s > bytes as f64 / LINK_BYTES_PER_S
    }

    /// Goes on without devices, if that was left open.
    fn failed(&self, error: Error) -> Result<()> {
        if self.chosen != DeviceChoice::Auto {
            return Err(error);
        }
        lock(&self.failure).get_or_insert(error.to_string());
        Ok(())
    }

    /// A lane with room for `n_bytes`, when one is free.
    fn lane(&self, n_bytes: u64) -> Result<Lane> {
        let most = self.limits.iter().copied().max().unwrap_or(0);
        if n_bytes > most {
            return Err(Error::limit(format!(
                "one part needs {} on the device, which may hold {}: raise --device-memory, or lower --memory, for smaller \
                 parts",
                Bytes(n_bytes),
                Bytes(most)
            )));
        }
        let mut loads = lock(&self.loads);
        let (device, idle) = loop {
            let has_room = |&i: &usize| loads[i].n_busy < LANES && loads[i].busy_bytes + n_bytes <= self.limits[i];
            if let Some(device) = (0..loads.len()).filter(has_room).min_by_key(|&i| loads[i].n_busy) {
                let load = &mut loads[device];
                load.n_busy += 1;
                load.busy_bytes += n_bytes;
                let mut lane = load.idle.pop();
                if let Some(lane) = lane.as_mut().filter(|lane| lane.held_bytes() > n_bytes) {
                    lane.memory.clear();
                }
                let idle_bytes: u64 = load.idle.iter().map(Lane::held_bytes).sum();
                if load.busy_bytes + idle_bytes > self.limits[device] {
                    load.idle.iter_mut().for_each(|lane| lane.memory.clear());
                }
                break (device, lane);
            }
            loads = self.freed.wait(loads).unwrap_or_else(PoisonError::into_inner);
        };
        drop(loads);
        let new = || -> Result<Lane> {
            let queue = self.context.queue(device)?;
            Ok(Lane { device, queue, memory: Vec::new(), pieces: Vec::new(), kernels: HashMap::new() })
        };
        idle.map_or_else(new, Ok).inspect_err(|_| self.free(device, n_bytes, None))
    }

    fn free(&self, device: usize, n_bytes: u64, lane: Option<Lane>) {
        let load = &mut lock(&self.loads)[device];
        load.n_busy -= 1;
        load.busy_bytes -= n_bytes;
        load.idle.extend(lane);
        self.freed.notify_all();
    }

    /// Does `routine` with what was `brought`, into pinned memory or not, and puts each result into its place in `out`. Gives
    /// the counts of each launch.
    fn run(&self, routine: &Routine, brought: Brought<'_>, out: &mut [&mut [u8]]) -> Result<Vec<[u32; N_COUNTS]>> {
        let n_bytes = sizes(routine).iter().sum();
        let mut lane = self.lane(n_bytes)?;
        let device = lane.device;
        let mut counts = vec![[0u32; N_COUNTS]; routine.launches.len()];
        let done = self.enqueue(&mut lane, routine, brought, out, &mut counts);
        // What is on its way reads and writes memory that goes after this.
        let done = done.and(lane.queue.finish());
        self.free(device, n_bytes, done.is_ok().then_some(lane));
        done.map_err(|e| e.at(&self.context.devices()[device].name))?;
        Ok(counts)
    }

    fn enqueue(
        &self,
        lane: &mut Lane,
        routine: &Routine,
        brought: Brought<'_>,
        out: &mut [&mut [u8]],
        counts: &mut [[u32; N_COUNTS]],
    ) -> Result<()> {
        let n_loads = routine.loads.len();
        lane.provide(&self.context, &sizes(routine))?;
        let sizes: Vec<u64> = routine.loads.iter().map(Load::n_bytes).collect();
        profile::stage(Stage::Send, sizes.iter().sum(), || {
            for (i, n) in sizes.iter().map(|n| *n as usize).enumerate() {
                match brought {
                    Brought::Pinned(all) => lane.queue.write(&lane.memory[i], 0, &all[i].bytes()[..n])?,
                    Brought::Given(all) => lane.bring(&self.context, i, &all[i][..n])?,
                }
            }
            lane.queue.finish()
        })?;
        let made = routine.launches.iter().map(|launch| launch.n_bytes).sum();
        profile::stage(Stage::Wait, 0, || {
            let runs = self.compute(lane, routine, counts)?;
            profile::took(Stage::Kernel, made, || runs.iter().map(KernelRun::taken_ns).sum());
            Ok::<_, Error>(())
        })?;
        profile::stage(Stage::Fetch, out.iter().map(|place| place.len() as u64).sum(), || {
            let mut results = routine.results.iter().zip(out);
            results.try_for_each(|(datum, out)| lane.queue.read(&lane.memory[place(datum, n_loads)], out))?;
            lane.queue.finish()
        })
    }

    /// Runs the kernels of `routine`, whose loads are there. Gives their runs, which are over.
    fn compute(&self, lane: &mut Lane, routine: &Routine, counts: &mut [[u32; N_COUNTS]]) -> Result<Vec<KernelRun>> {
        let mut runs = Vec::new();
        let n_loads = routine.loads.len();
        let mut next = n_loads + routine.launches.len();
        for (number, launch) in routine.launches.iter().enumerate() {
            let from = launch.from.iter().map(|datum| place(datum, n_loads));
            let mut arguments: Vec<usize> = std::iter::once(n_loads + number).chain(from).collect();
            let own = bytemuck::cast_slice(&counts[number]);
            for table in launch.tables.iter().map(|t| &t[..]).chain([own]) {
                lane.queue.write(&lane.memory[next], 0, table)?;
                arguments.push(next);
                next += 1;
            }
            if launch.tally.is_none() {
                arguments.pop();
            }
            runs.extend(self.launch(lane, launch, &arguments)?);
            lane.queue.read(&lane.memory[next - 1], bytemuck::cast_slice_mut(&mut counts[number]))?;
        }
        lane.queue.finish().map(|()| runs)
    }

    fn launch(&self, lane: &mut Lane, launch: &Launch, arguments: &[usize]) -> Result<Option<KernelRun>> {
        if !lane.kernels.contains_key(&launch.text) {
            lane.kernels.insert(launch.text.clone(), self.program(&launch.text)?.kernel()?);
        }
        let Some(kernel) = lane.kernels.get_mut(&launch.text) else { return Ok(None) };
        let arguments: Vec<&DeviceMemory> = arguments.iter().map(|&i| &lane.memory[i]).collect();
        let [x, y, z] = launch.range.map(|n| n as usize);
        let wide = x.next_power_of_two().min(64);
        let group = launch.group.map(|own| own.map(|n| n as usize));
        let [own_x, own_y] = group.unwrap_or([wide, y.next_power_of_two().min(128 / wide)]);
        let range = [x.next_multiple_of(own_x), y.next_multiple_of(own_y), z];
        lane.queue.run(kernel, &arguments, range, [own_x, own_y, 1]).map(Some)
    }

    /// The program of `text`, built once.
    fn program(&self, text: &str) -> Result<Arc<BuiltProgram>> {
        let mut programs = lock(&self.programs);
        if let Some(program) = programs.get(text) {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(self.context.program(text)?);
        programs.insert(text.to_owned(), Arc::clone(&program));
        Ok(program)
    }
}

impl Elsewhere for Devices {
    fn make(&self, routine: &Routine, given: &[&[u8]], out: &mut [&mut [u8]]) -> Result<bool> {
        let n_bytes = out.iter().map(|place| place.len() as u64).sum();
        if !self.takes(routine, n_bytes) {
            return Ok(false);
        }
        if let Err(e) = self.run(routine, Brought::Given(given), out) {
            return self.failed(e).map(|()| false);
        }
        self.n_parts.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    fn leave(&self) {
        self.n_left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which piece of a lane's memory holds `datum`, after `n_loads` that are brought.
fn place(datum: &Datum, n_loads: usize) -> usize {
    match *datum {
        Datum::Loaded(i) => i,
        Datum::Made(i) => n_loads + i,
    }
}

/// What is brought to a device.
#[derive(Clone, Copy)]
enum Brought<'a> {
    /// In pinned memory.
    Pinned(&'a [Staging]),
    /// In any memory.
    Given(&'a [&'a [u8]]),
}

/// Memory that `routine` needs piece by piece, in bytes: what is brought, what is made, then tables and counts.
fn sizes(routine: &Routine) -> Vec<u64> {
    let tables = |l: &Launch| {
        let counts = (N_COUNTS * size_of::<u32>()) as u64;
        l.tables.iter().map(|t| t.len() as u64).chain([counts]).collect::<Vec<_>>()
    };
    let made = routine.launches.iter().map(|l| l.n_bytes);
    routine.loads.iter().map(|l| l.n_bytes()).chain(made).chain(routine.launches.iter().flat_map(tables)).collect()
}

impl Lane {
    /// Sees to it that pieces of memory are as large as `sizes` say.
    fn provide(&mut self, context: &DeviceContext, sizes: &[u64]) -> Result<()> {
        let suits = |(have, need): (&DeviceMemory, &u64)| have.n_bytes() >= *need;
        if self.memory.len() < sizes.len() || !self.memory.iter().zip(sizes).all(suits) {
            // All go before others come: there may be no room for both.
            self.memory.clear();
            self.memory = sizes.iter().map(|&n| context.memory(n)).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Copies `bytes` to piece number `to` of its memory, by way of pinned memory.
    fn bring(&mut self, context: &Arc<DeviceContext>, to: usize, bytes: &[u8]) -> Result<()> {
        while self.pieces.len() < 2 {
            self.pieces.push(context.staging(PIECE_BYTES as u64)?);
        }
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let staging = &mut self.pieces[number % 2].bytes_mut()[..piece.len()];
            staging.copy_from_slice(piece);
            // The piece before is there, and its memory free.
            self.queue.finish()?;
            self.queue.write(&self.memory[to], number * PIECE_BYTES, staging)?;
        }
        self.queue.finish()
    }

    fn held_bytes(&self) -> u64 {
        self.memory.iter().map(DeviceMemory::n_bytes).sum()
    }
}
