//! Running the executable, and acquisitions whose pixels encode their own coordinates.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use stackctl::array::Scratch;
use stackctl::block::Buffer;
use stackctl::grid::Region;
use stackctl::source::{OpenOptions, open};

use super::tiff::{Layout, Numbers};

/// Files of an acquisition: `c` channels, `t` time points, each `(z, y, x)` uint16.
pub(crate) struct Acquisition {
    pub(crate) c: usize,
    pub(crate) t: usize,
    pub(crate) z: usize,
    pub(crate) layout: Layout,
}

impl Default for Acquisition {
    fn default() -> Self {
        let layout = Layout { width: 50, height: 37, bits: 16, rows_per_strip: Some(10), ..Layout::default() };
        Self { c: 2, t: 3, z: 5, layout }
    }
}

/// The pattern of the names.
pub(crate) const PATTERN: &str = "_ch{c}_*_stack{t}_";

impl Acquisition {
    /// Shape in the order t c z y x.
    pub(crate) fn shape(&self) -> [usize; 5] {
        [self.t, self.c, self.z, self.layout.height, self.layout.width]
    }

    /// The element at a position: its number in the array, folded into 16 bits.
    pub(crate) fn element(&self, at: [usize; 5]) -> u16 {
        (self.number(at) % 65_521) as u16
    }

    fn number(&self, at: [usize; 5]) -> usize {
        at.iter().zip(self.shape()).fold(0, |n, (i, length)| n * length + i)
    }

    pub(crate) fn name(c: usize, t: usize) -> String {
        let ms = t * 43_748;
        let nm = [488, 560, 642, 405][c];
        format!(
            "ex6-2_CamA_ch{c}_CAM1_stack{t:04}_{nm}nm_{ms:07}msec_{:010}msecAbs_000x_000y_000z_0000t.tif",
            ms + 1_291_795
        )
    }

    pub(crate) fn pages(&self, c: usize, t: usize) -> Vec<Vec<u8>> {
        let plane = |z| {
            let [.., height, width] = self.shape();
            // Numbers of a plane follow one another.
            let first = self.number([t, c, z, 0, 0]);
            (first..first + height * width).flat_map(|n| ((n % 65_521) as u16).to_ne_bytes()).collect()
        };
        (0..self.z).map(plane).collect()
    }

    /// Writes every file into `folder`.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for c in 0..self.c {
            for t in 0..self.t {
                fs::write(folder.join(Self::name(c, t)), self.layout.write(&self.pages(c, t))).unwrap();
            }
        }
    }

    /// All elements in the order t c z y x.
    pub(crate) fn elements(&self) -> Vec<u16> {
        let number: usize = self.shape().iter().product();
        (0..number).map(|n| (n % 65_521) as u16).collect()
    }
}

/// Where the program lies.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_stackctl");

/// The program, in `folder`, free of the caller's terminal and scheduler.
pub(crate) fn stackctl(folder: &Path) -> Command {
    freed(Command::new(PROGRAM), folder)
}

/// As [`stackctl`], which ends with code 124 where it takes longer.
pub(crate) fn within_a_minute(folder: &Path) -> Command {
    let mut command = freed(Command::new("timeout"), folder);
    command.args(["60", PROGRAM]);
    command
}

fn freed(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder);
    for name in ["SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "PBS_RESC_MEM", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// Runs that must end well.
pub(crate) trait Succeeds {
    /// Runs it, and gives what it wrote.
    fn succeeds(&mut self) -> Output;
}

impl Succeeds for Command {
    #[track_caller]
    fn succeeds(&mut self) -> Output {
        let output = self.output().unwrap();
        assert!(output.status.success(), "{self:?}: {}", message(&output));
        output
    }
}

/// What a run writes that reads `input`.
pub(crate) fn fed(command: &mut Command, input: &str) -> Output {
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever has seen enough may be gone.
    let _ = run.stdin.take().unwrap().write_all(input.as_bytes());
    run.wait_with_output().unwrap()
}

/// What a failed run says.
pub(crate) fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs and gives code and message of a run that must fail.
pub(crate) fn failure(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = stackctl(folder).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} should have failed");
    (output.status.code().unwrap_or(-1), message(&output))
}

/// Runs that are killed at random moments of `wall`, and one that is left alone: it ends well, or finds everything done.
pub(crate) fn killed(folder: &Path, arguments: &[&str], n_kills: u64, wall: Duration, random: &mut Numbers) {
    for _ in 0..n_kills {
        let mut run = Command::new(PROGRAM)
            .args(arguments)
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wall.mul_f64(random.below(1000) as f64 / 1000.0));
        let _ = run.kill();
        if run.wait().unwrap().success() {
            break;
        }
    }
    let last = stackctl(folder).args(arguments).output().unwrap();
    assert!(last.status.success() || message(&last).contains("exists already"), "{arguments:?}: {}", message(&last));
}

/// All elements of the array in a Zarr, as bytes in native order, and its shape.
pub(crate) fn read_zarr(path: &Path) -> (Vec<u64>, Vec<u8>) {
    let source = open(path, &OpenOptions::default()).unwrap();
    let region = Region::whole(&source.shape());
    let block = source.clone().reader(Scratch::default()).block(&region, source.dtype(), Buffer::default()).unwrap();
    (region.shape, block.bytes().to_vec())
}

/// Every file below a folder with its bytes, by relative path.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(current) = open.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Names in a folder, hidden ones too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
