//! The command line as declared: flags become plain structs. Help, man pages and completions come from
//! here; no work is done here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

use crate::array::calc::Cast;
use crate::codec::Codec;
use crate::consume::levels::{Levels, Method};
use crate::decompose::Factors;
use crate::device::DeviceChoice;
use crate::dtype::DType;
use crate::error::Error;
use crate::exec::budget::{Bytes, Limit};
pub use crate::open::Missing;
use crate::pairwise::Metric;
use crate::pattern::presets;
use crate::place::{Base, Which};
use crate::plan::{Document, Share};
use crate::reduce::{OPERATORS, OperatorKind};
use crate::sink::Sharding;
use crate::sink::png::PngOptions;
use crate::sink::zarr::{Contrast, ZarrFormat};
use crate::source::known::KnownInputs;
use crate::source::scan::text_of;
use crate::store::Durability;

/// Turns piles of TIFF files into one n-dimensional array, or reduces it, in bounded memory.
#[derive(Debug, Parser)]
#[command(name = "stackctl", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is said of it.
    #[command(flatten)]
    pub voice: VoiceArgs,
}

impl Cli {
    /// Reads a command line, the program first.
    ///
    /// # Errors
    /// What clap says of it.
    pub fn read<W: Into<OsString> + Clone>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        Self::try_parse_from(words)
    }
}

/// The flags of a command, which are not made where another one is called. A negative number is a value of theirs, which they
/// may refuse, and no flag.
#[derive(Clone, Debug)]
pub struct Flags<T>(pub Box<T>);

/// Adds flags by `add` to a command that has what is said of it, and the flags of all commands, which stay the last.
fn flagged(command: clap::Command, add: impl FnOnce(clap::Command) -> clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let long_about = command.get_long_about().cloned();
    let of_all: Vec<clap::Id> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let is_valued = |arg: &clap::Arg| arg.get_action().takes_values() && !arg.is_positional();
    let numbered = |arg| if is_valued(&arg) { arg.allow_negative_numbers(true) } else { arg };
    let command = add(command).about(about).long_about(None::<&'static str>).mut_args(numbered);
    let command = long_about.into_iter().fold(command, clap::Command::long_about);
    // What is changed comes to the end.
    of_all.into_iter().fold(command, |command, id| command.mut_arg(id, |arg| arg))
}

impl<T: Args> Args for Flags<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        flagged(command, T::augment_args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        flagged(command, T::augment_args_for_update)
    }
}

impl<T: Args> FromArgMatches for Flags<T> {
    fn from_arg_matches(found: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(found).map(|args| Self(Box::new(args)))
    }

    fn update_from_arg_matches(&mut self, found: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(found)
    }
}

impl<T> Deref for Flags<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Flags<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What a command says, and where; every command takes these.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Messages")]
pub struct VoiceArgs {
    /// Say also why: how a pattern was found, what was left out as constant
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Add all messages to FILE too, each with the seconds since the start
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, global = true)]
    pub log: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Show what a pile of files is: fields, array, holes, duplicates, and the command to run
    Inspect(Flags<InspectArgs>),
    /// Try codecs on a few chunks: sizes, rates, files, and which to take
    Advise(Flags<AdviseArgs>),
    /// Write the files as one Zarr array
    Stitch(Flags<StitchArgs>),
    /// Write any array in another format, or stored otherwise: Zarr, TIFF, series of TIFF, NPY, PNG, raw elements
    ///
    /// The same as stitch, under the name of what is asked of an array that is one already: its input is a Zarr, one
    /// file or many, and a part of it, with other axes, values, chunks or levels, is written as the output's name says
    Convert(Flags<StitchArgs>),
    /// Describe TIFF files as a Zarr array whose chunks are their strips and tiles, without copying a pixel
    Link(Flags<LinkArgs>),
    /// Add levels to an OME-Zarr image that has one, in place
    Pyramid(Flags<PyramidArgs>),
    /// Reduce files or a Zarr array along axes: mean, max, median, histogram and more
    Reduce(Flags<ReduceArgs>),
    /// Say on one page of HTML what an array is like: brightness over time, focus, saturation, histograms, previews
    Report(Flags<ReportArgs>),
    /// Compute with arrays: arithmetic, filters and reductions in one expression
    Calc(Flags<CalcArgs>),
    /// Check a Zarr: every object against the checksums that were recorded with it, every pixel against the inputs
    Verify(Flags<VerifyArgs>),
    /// Measure how far the slices of an array are from each other
    Pairwise(Flags<PairwiseArgs>),
    /// Find principal components, singular values or the QR of an array cut into long rows
    Decompose(Flags<DecomposeArgs>),
    /// Write down a stitch, reduction or calculation that many processes are to do, without doing it
    Plan(Flags<PlanArgs>),
    /// Do a share of a plan: which one is told by flags, or by the array or launcher that started this process
    Run(Flags<ShareArgs>),
    /// Put together what the shares of a plan have done, and give the output its name; where units are missing, name their
    /// shares, change nothing, and end with exit code 3
    #[command(visible_alias = "merge")]
    Finalize(Flags<FinalizeArgs>),
    /// Show what of a plan is done, and which shares are to be run again
    Status(Flags<StatusArgs>),
    /// Show which share, memory and processors a process would take that is started in this way, and why
    Place(Flags<PlaceArgs>),
    /// Print the commands that give a plan to a scheduler as an array of jobs
    Submit(Flags<SubmitArgs>),
    /// Show slices or a projection of an array, in the terminal or as a picture
    View(Flags<ViewArgs>),
    /// List the patterns of acquisition programs that --preset takes, each with a name it reads
    Patterns(Flags<PatternsArgs>),
    /// List the devices of OpenCL that --device takes: memory, double precision, and how fast pixels get there
    Devices(Flags<DevicesArgs>),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which files.
#[derive(Args, Clone, Debug, Default)]
pub struct InputArgs {
    /// Files, directories, or quoted globs such as 'raw/*.tif'
    #[arg(value_name = "INPUT", value_hint = ValueHint::AnyPath, value_parser = name())]
    pub inputs: Vec<String>,
    /// Read names from FILE, one a line or ended by NUL; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files_from: Option<PathBuf>,
    /// Use only names that match GLOB (with a / the whole path); may be given several times
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out names that match GLOB; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Read files that metadata name outside of the folder that they lie in (OME-XML, levels of a Zarr), which is refused
    /// otherwise
    #[arg(long)]
    pub follow: bool,
    /// Pass over what cannot be read: corrupt, cut off or unreadable files and pages are holes, by --missing, and told
    #[arg(long)]
    pub skip_bad: bool,
}

/// Inputs, of which names need not be UTF-8.
fn name() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|name| text_of(&name))
}

/// How names and pages become axes.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[command(next_help_heading = "Names and axes")]
#[serde(default)]
pub struct NameArgs {
    /// File-name template: fields in braces, * any text, ? any character, such as '_ch{c}_*_stack{t}_';
    /// inferred from the names if not given
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub pattern: Option<String>,
    /// Regular expression with named groups instead of a pattern
    #[arg(long, value_name = "REGEX", conflicts_with = "pattern", allow_hyphen_values = true)]
    pub regex: Option<String>,
    /// Pattern of an acquisition program, by name; `stackctl patterns` lists them
    #[arg(long, value_name = "NAME", value_parser = PRESET, hide_possible_values = true, conflicts_with_all = ["pattern", "regex"])]
    pub preset: Option<String>,
    /// File with presets of your own
    /// [default: stackctl/config.toml in $XDG_CONFIG_HOME or ~/.config, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Order in which a running number walks over tiles, such as 'tile=x:4,y:3,snake'
    #[arg(long, value_name = "ORDER")]
    pub layout: Vec<String>,
    /// Order of the array's axes, slowest first [default: t,c,z,y,x, others in front]
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub axes: Option<Vec<String>>,
    /// What the pages of a file are, slowest axis first, with lengths where there are several, such as t,z=3,c=2; of NPY,
    /// the axes before y and x [default: what the file says, else z]
    #[arg(long, value_name = "AXES")]
    pub pages: Option<String>,
    /// Which series of every file, from 0 [default: the main one; inspect lists them]
    #[arg(long, value_name = "N")]
    pub series: Option<usize>,
    /// Which level of a multiscale image, from 0, the full resolution; inspect lists them [default: 0]
    #[arg(long, value_name = "N")]
    pub level: Option<usize>,
    /// Which variable of NetCDF and HDF5 files [default: the only one that is no coordinate; inspect lists them]. A
    /// template such as t{t}/s{c}/0/cells joins the datasets that it matches
    #[arg(long, value_name = "NAME")]
    pub variable: Option<String>,
    /// Command that reads files instead of the program itself: with {file} in it, it is run for each file and writes
    /// .npy to standard output; without, it lives on and answers lines, as docs/formats.md says
    // Never recorded: what a Zarr says is not to be run.
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    #[serde(skip)]
    pub reader: Option<String>,
    /// Make of packed numbers the values that they stand for, by scale_factor, add_offset and _FillValue of each file;
    /// missing values end the run, or by --missing become NaN or are left out
    #[arg(long)]
    pub unpack: bool,
    /// What to do about positions without a file, and planes that a file should hold and does not
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Missing::Error)]
    pub missing: Missing,
    /// Value of elements that no file covers [default: 0]
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub fill_value: Option<String>,
    /// Voxel size with unit, such as z=0.5um,y=104nm,x=104nm; wins over what the files say
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    pub voxel_size: Vec<String>,
    /// Time between time points, such as 43.7s or 200ms; wins over files and names
    #[arg(long, value_name = "TIME")]
    pub time_step: Option<String>,
    /// Names of the channels in order, such as DAPI,GFP
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub channel_names: Option<Vec<String>>,
}

impl ValueEnum for Missing {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Error, Self::Fill, Self::Skip]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Error => ("error", "Stop, listing them"),
            Self::Fill => ("fill", "Put the fill value there and count them"),
            Self::Skip => ("skip", "Leave them out of what is computed; for reduce only"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// How a run uses the machine and what it says.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Ceiling of the process's resident memory, such as 512M or 2GiB
    /// [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Worker threads; the output does not depend on it [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
    /// Begin anew instead of going on where an earlier run stopped
    #[arg(long)]
    pub restart: bool,
    /// Stop after so long, such as 55m or 3h, with exit code 75: the same command goes on
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    pub deadline: Option<Duration>,
    /// Do one of N shares of the work, counted from 0, beside other processes that do the others on this or other
    /// machines (with the same --memory); when all have ended, the same command without it puts together what they did
    #[arg(long, value_name = "I/N", value_parser = share, conflicts_with = "restart")]
    pub share: Option<Share>,
    /// What must be on the disk before an output gets its name: none, data, or full (a power cut loses no finished part
    /// either)
    #[arg(long, value_name = "WHAT", default_value = "data", value_parser = Words(DURABILITIES), hide_possible_values = true)]
    pub durability: Durability,
    /// What computes expressions, filters, reductions and products of rows: cpu, the processors; gpu; auto, a GPU where one is
    /// and it pays, else the processors; or a device by a part of its name, as `stackctl devices` lists them
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub device: DeviceChoice,
    /// Most memory of each device [default: 80 % of what is free]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub device_memory: Option<Bytes>,
    /// Tell where the time went: of each stage seconds on processors, seconds of waiting, and bytes
    #[arg(long)]
    pub profile: bool,
    /// Do not compute a checksum of the pixels of every input, which a Zarr output records
    #[arg(long)]
    pub no_input_checksums: bool,
    /// Print the plan (array, chunks, files, memory) and stop before any pixel is read
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Refuse to run where a warning would be told, as of a disk with too little space
    #[arg(long)]
    pub strict: bool,
    /// No progress and no summary; notes and errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
    /// The plan that this run goes by, if it is part of one; never typed.
    #[arg(skip)]
    pub planned: Option<Planned>,
}

/// How a run goes by a plan.
#[derive(Clone, Debug)]
pub enum Planned {
    /// It writes down what there is to do, and does nothing: of such a command, for so many shares.
    Writes {
        /// What was typed, after the program's name.
        command: Vec<String>,
        /// Number of shares, if it was asked for.
        n_shares: Option<u64>,
        /// What the headers of inputs say.
        known: KnownInputs,
    },
    /// It does its share of what was written down, or all that is left of it.
    Goes {
        /// What was written down.
        document: Box<Document>,
        /// The most memory that this process may use.
        limit: Limit,
        /// What the headers of inputs say.
        known: KnownInputs,
        /// Units that are left out for now.
        except: Arc<BTreeSet<u64>>,
    },
}

impl RunArgs {
    /// Whether no pixel is read.
    pub fn reads_nothing(&self) -> bool {
        self.dry_run || matches!(self.planned, Some(Planned::Writes { .. }))
    }

    /// What a plan knows of the headers of its inputs, or is to know.
    pub fn known(&self) -> Option<&KnownInputs> {
        self.planned.as_ref().map(|(Planned::Writes { known, .. } | Planned::Goes { known, .. })| known)
    }

    /// Whether it does a part of what others end, or nothing.
    pub fn is_partial(&self) -> bool {
        self.dry_run || self.share.is_some() || self.planned.is_some()
    }
}

/// Arguments of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// How many shares there are; the array of jobs has as many
    /// [default: one for 16 GiB of pixels, at most 1000]
    #[arg(long, visible_alias = "shards", value_name = "N", value_parser = whole::<u64, 1, { u64::MAX }>)]
    pub shares: Option<u64>,
    /// The command with all its flags, as it would be typed after stackctl: stitch, convert, reduce or calc. Without --memory its
    /// tasks are cut for half of what this job may use, at most 2 GiB
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
}

/// Which share a process does.
#[derive(Args, Clone, Debug, Default)]
pub struct WhichArgs {
    /// The share: its number, counted from 0, or that and how many there are, such as 3/64
    /// [default: $STACKCTL_SHARD, else the index of the array of jobs, else all; ranks of a launcher divide it]
    #[arg(long, visible_alias = "shard", value_name = "I[/N]", value_parser = which)]
    pub share: Option<Which>,
    /// Index of the first job of an array: 0 or 1, or auto, which is 1 under LSF and SGE and else 0
    #[arg(long, visible_alias = "shard-base", value_name = "N", default_value = "auto", value_parser = Words(BASES), hide_possible_values = true)]
    pub share_base: Base,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct ShareArgs {
    /// The output, as the command of the plan names it
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Which share.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Ceiling of the process's resident memory, such as 512M or 2GiB
    /// [default: half of what the job may use, divided among its processes on this machine]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Worker threads [default: all processors the job may use, divided likewise]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
    /// Stop after so long, such as 55m or 3h, with exit code 75: the same command goes on
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    pub deadline: Option<Duration>,
    /// Leave units out that could not be done so often, by all processes together: an input that cannot be read is not tried
    /// for ever. The other units are done first; exit code 1 then
    #[arg(long, value_name = "N", default_value_t = RETRIES, value_parser = whole::<u64, 1, { u64::MAX }>)]
    pub retries: u64,
    /// Print what was done as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress and no summary; notes and errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

/// How often a unit is tried.
pub const RETRIES: u64 = 3;

/// Arguments of `finalize`.
#[derive(Args, Clone, Debug)]
pub struct FinalizeArgs {
    /// The output, as the command of the plan names it
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Ceiling of the process's resident memory, such as 512M or 2GiB [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Print the result as JSON on standard output, as the command of the plan would
    #[arg(long)]
    pub json: bool,
    /// No progress and no summary; notes and errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The output, as the command of the plan names it
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Print nothing but the shares that are not done, as --array of sbatch takes them: 3,7,12-15
    #[arg(long, conflicts_with = "json")]
    pub array: bool,
    /// Index that the first job of an array has
    #[arg(long, visible_alias = "shard-base", value_name = "N", default_value_t = 0, value_parser = whole::<u64, 0, 1>)]
    pub share_base: u64,
    /// Units that could not be done so often have failed: their shares are not among those that are missing
    #[arg(long, value_name = "N", default_value_t = RETRIES, value_parser = whole::<u64, 1, { u64::MAX }>)]
    pub retries: u64,
    /// Print it as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `place`.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// The output of a plan, which says how many shares there are
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: Option<PathBuf>,
    /// Which share.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print it as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `submit`.
#[derive(Args, Clone, Debug)]
pub struct SubmitArgs {
    /// The output, as the command of the plan names it
    #[arg(value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// To Slurm, by sbatch
    #[arg(long, required = true)]
    pub slurm: bool,
    /// Submit it, instead of printing what would
    #[arg(long)]
    pub go: bool,
    /// Time limit of each job, such as 90m or 4h: a share that does not end in it is put into the queue again
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = deadline)]
    pub time: Duration,
    /// Processors of each job
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = threads)]
    pub cpus: u16,
    /// Flags for sbatch, such as --partition=long --account=lab
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}

/// Arguments of `inspect`.
#[derive(Args, Clone, Debug, Default)]
pub struct InspectArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How stitch would store the array.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Look at one array for each value of FIELD: positions, wells, plates
    #[arg(long, value_name = "FIELD")]
    pub by: Option<String>,
    /// Use names alone: files are not opened and need not exist; names come from standard input unless given
    #[arg(long)]
    pub names_only: bool,
    /// Do not estimate the size of the output, which reads a few chunks
    #[arg(long)]
    pub no_sample: bool,
    /// Read all pixels too, and find frames of one value and frames that are the same as an earlier one
    #[arg(long, conflicts_with = "names_only")]
    pub pixels: bool,
    /// How far a step between time points of the names may be from the median step, in percent, before it is a fault
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percent)]
    pub time_tolerance: f64,
    /// Draw the array, its chunks and the positions that have files, as SVG
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Print what was found as JSON on standard output; docs/inspect-json.md describes it
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if anything is missing, double, odd, unreadable, could be lost or is noted
    #[arg(long)]
    pub strict: bool,
    /// Memory that stitch would have, such as 512M or 2GiB [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Threads that read headers, and that stitch would have [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
}

/// Arguments of `advise`.
#[derive(Args, Clone, Debug)]
pub struct AdviseArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How stitch would store the array.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Try this codec too; may be given several times
    #[arg(long = "try", value_name = "CODEC", value_parser = CODEC, hide_possible_values = true)]
    pub also: Vec<Codec>,
    /// Chunks that are tried
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = whole::<u64, 1, { u64::MAX }>)]
    pub sample: u64,
    /// How the run would go.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `patterns`.
#[derive(Args, Clone, Debug)]
pub struct PatternsArgs {
    /// File with presets of your own
    /// [default: stackctl/config.toml in $XDG_CONFIG_HOME or ~/.config, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print them as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `devices`.
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// Measure how fast bytes cross the link to each device and back
    #[arg(long)]
    pub measure: bool,
    /// Print them as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stitch`.
#[derive(Args, Clone, Debug)]
pub struct StitchArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to write: a name ending in .zarr (a folder), .ozx or .zarr.zip (a Zarr in one file), .ome.tif (tiles,
    /// levels and OME-XML), .tif (as ImageJ has it), .npy, .npz, .raw or .png, or - for standard output; 'out/t{t:04}_c{c}.tif'
    /// writes a file for each t and c; with --by FIELD it holds {FIELD}, such as 'out/{p}.zarr'; IMAGE.zarr/labels/NAME
    /// adds labels to an image
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// What goes to standard output with -o -: npy, or raw (the elements alone, row-major and little-endian)
    #[arg(long = "as", value_name = "FORMAT", value_enum, default_value_t = StreamFormat::Npy)]
    pub stream: StreamFormat,
    /// Store as another Zarr is: its axes in their order, Zarr format, chunks, shards and codec, where no flag says
    /// otherwise
    #[arg(long, value_name = "ZARR", value_hint = ValueHint::DirPath)]
    pub like: Option<PathBuf>,
    /// Write one array for each value of FIELD, or of several joined by commas: positions, wells, plates
    #[arg(long, value_name = "FIELD")]
    pub by: Option<String>,
    /// With --by: write all arrays into one Zarr, a plate if divided by well (or row,column) and field, else a series
    /// as bioformats2raw lays it out
    #[arg(long, requires = "by")]
    pub collection: bool,
    /// Write a part: slices of axes by NumPy's rules, such as 'c=1,t=::4,z=10:20'; labels (c=GFP) and
    /// coordinates (t@s=10:20) too
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Turn axes round, after --select: the last element of each comes first
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub flip: Vec<String>,
    /// Write what an expression gives for the array, which it calls a, such as 'a - median(a, t)'
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub calc: Option<String>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// With -o -: write to a terminal all the same
    #[arg(long)]
    pub force: bool,
    /// What becomes of the values.
    #[command(flatten)]
    pub values: ValueArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How the array is stored.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// How values become a picture.
    #[command(flatten)]
    pub picture: PictureArgs,
    /// What is made of the same reading.
    #[command(flatten)]
    pub beside: BesideArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

impl StorageArgs {
    /// The Zarr format that is meant.
    pub fn format(&self) -> ZarrFormat {
        if self.zarr_format == Some(2) { ZarrFormat::V2 } else { ZarrFormat::V3 }
    }
}

/// Reads a value of which completions know some.
#[derive(Clone)]
struct Known<T> {
    some: fn() -> Vec<&'static str>,
    read: fn(&str) -> Result<T, Error>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Known<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        let read = self.read;
        StringValueParser::new().try_map(move |text| read(&text)).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.some)().into_iter().map(PossibleValue::new)))
    }
}

/// Reads one of a few words, all of which completions know.
#[derive(Clone)]
struct Words<T: 'static>(&'static [(&'static str, T)]);

impl<T: Copy + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        let words = self.0;
        let read = move |text: String| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
            found.ok_or_else(|| match known.split_last() {
                Some((last, others)) => format!("expected {} or {last}", others.join(", ")),
                None => String::new(),
            })
        };
        StringValueParser::new().try_map(read).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|(word, _)| PossibleValue::new(*word))))
    }
}

const CASTS: &[(&str, Cast)] = &[("error", Cast::Error), ("clip", Cast::Clip), ("round", Cast::Round)];
const DURABILITIES: &[(&str, Durability)] =
    &[("none", Durability::None), ("data", Durability::Data), ("full", Durability::Full)];
const BASES: &[(&str, Base)] = &[("auto", Base::Auto), ("0", Base::Zero), ("1", Base::One)];
const PICTURE_BITS: &[(&str, u8)] = &[("8", 8), ("16", 16)];

const CODEC: Known<Codec> = Known {
    some: || vec!["blosc", "smaller", "blosc:zstd,3,bitshuffle", "blosc:lz4,5,shuffle", "zstd:3", "gzip:6", "none"],
    read: str::parse,
};
const PRESET: Known<String> =
    Known { some: || presets().iter().map(|p| p.name.as_str()).collect(), read: |text| Ok(text.to_owned()) };
const OP: Known<String> =
    Known { some: || OPERATORS.iter().map(|kind| kind.name).collect(), read: |text| Ok(text.to_owned()) };
const DTYPE: Known<DType> = Known { some: || DType::ALL.iter().map(|dtype| dtype.name()).collect(), read: str::parse };
const METRIC: Known<Metric> =
    Known { some: || crate::pairwise::METRICS.iter().map(|(name, _)| *name).collect(), read: str::parse };
const KIND: Known<Factors> = Known { some: || vec!["pca", "svd", "qr"], read: str::parse };
const SHARDS: Known<Sharding> = Known { some: || vec!["auto", "none"], read: str::parse };
const LEVELS: Known<Levels> = Known { some: || vec!["auto", "none", "4"], read: str::parse };
const METHOD: Known<Method> =
    Known { some: || vec!["mean", "nearest", "max", "min", "median", "mode"], read: str::parse };
const CONTRAST: Known<Contrast> = Known { some: || vec!["auto", "data", "dtype", "none"], read: str::parse };

/// Arguments of `pyramid`.
#[derive(Args, Clone, Debug)]
pub struct PyramidArgs {
    /// Folder of the image; its metadata name the new levels when all of them are there
    #[arg(value_name = "IMAGE.zarr", value_hint = ValueHint::DirPath)]
    pub image: PathBuf,
    /// Number of resolutions, the full one included: a number, or auto, which halves until y and x have at most 512
    /// elements
    #[arg(long, value_name = "N", value_parser = LEVELS, hide_possible_values = true, default_value = "auto")]
    pub levels: Levels,
    /// How each level is made of the one before: mean (halves to even), nearest, max, min, median, mode (labels)
    /// [default: mode for an image under labels/, else mean]
    #[arg(long, value_name = "HOW", value_parser = METHOD, hide_possible_values = true)]
    pub downsample: Option<Method>,
    /// Codec of the new chunks: blosc, smaller, blosc:lz4,5,shuffle, zstd:3, gzip:6, none
    #[arg(long, value_name = "CODEC", value_parser = CODEC, hide_possible_values = true,
        default_value = "blosc:zstd,3,bitshuffle")]
    pub codec: Codec,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Which files, or which Zarr array.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to write: a name ending in .html; one file that needs no other and no network
    #[arg(long, short, value_name = "FILE.html", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// What stands above everything [default: the name of the input]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Report on a part: slices of axes by NumPy's rules, such as 'c=1,t=::4'; docs/select.md has all ways
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `link`.
#[derive(Args, Clone, Debug)]
pub struct LinkArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to write the references, which fsspec and kerchunk open as a Zarr: a name ending in .json, or .parq for a
    /// folder of Parquet, of which readers take only what they need
    #[arg(long, short, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Replace an existing output
    #[arg(long)]
    pub overwrite: bool,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// Memory of what is known of the files, such as 512M or 2GiB [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Threads that read headers [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No summary; notes and errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is made beside an output of the same reading.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "From the same reading")]
pub struct BesideArgs {
    /// Project along AXES, by the maximum or by operators of reduce: z, t=mean, 'z=max,std'; may be given several times
    #[arg(long, value_name = "AXES[=OPS]")]
    pub mip: Vec<String>,
    /// What projections are called: {name} stands for the output's name, {op} for the operator, {axis} for the axes;
    /// ends in .zarr, .tif or .npy [default: '{name}_{op}_{axis}', beside the output and of its format]
    #[arg(long, value_name = "NAME", requires = "mip")]
    pub mip_output: Option<String>,
    /// Write what every plane and channel is like to FILE.json or FILE.csv: least, largest, mean, deviation, histogram,
    /// zero and saturated fraction, sharpness, checksum
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub stats: Option<PathBuf>,
    /// Draw a contact sheet of the image: slices along xy, xz and yz and the maximum along z for each channel, and all
    /// channels in colour; FILE ends in .png
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub preview: Option<PathBuf>,
}

/// Arguments of `verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The Zarr, a collection of many, or a .npy, .npz, .tif or .png that holds its checksum; of other files it can
    /// be said that all of it is decoded, no more
    #[arg(value_name = "OUTPUT", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Compare every pixel with the inputs as well, or with what the recorded command makes of them, and every level with
    /// what it was made of
    #[arg(long)]
    pub deep: bool,
    /// Make bad objects again from the inputs, and no others
    #[arg(long, conflicts_with = "sample")]
    pub repair: bool,
    /// Check a share of the objects, chosen anew each time, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = sample)]
    pub sample: Option<f64>,
    /// Ceiling of the process's resident memory, such as 512M or 2GiB
    /// [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// Worker threads [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress and no summary; faults and errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

/// Examples for `reduce`, each of which a test runs.
const REDUCE_EXAMPLES: &str = "\
Examples:
  The mean over time, and three projections from one reading:
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op mean --axis t -o mean.zarr
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op max,mean,std --axis z -o 'z_{op}.tif'

  One exact number; the mean of all positive elements:
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op sum
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op mean --where '>0'

  Every fourth time point against those two later:
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --select t=::4 --op mean --axis t -o first.npy
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --select t=2::4 --op mean --axis t -o later.npy

  Statistics of every plane, as text:
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op mean,std,max --axis y,x

  The median of a Zarr array along its first axis, into a pipe:
    stackctl reduce mean.zarr --op median --axis 0 -o - | wc -c

  A histogram of one channel, and the means of groups of three time points:
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --select c=1 --op histogram=16:0:4096
    stackctl reduce raw/*.tif --pattern '_t{t}_c{c}' --op mean --axis t --every 3 -o groups.zarr";

/// The operators and what they give, for the help.
fn operators() -> String {
    let line = |kind: &OperatorKind| format!("  {:<32} {}", format!("{}{}", kind.name, kind.argument), kind.about);
    let lines: Vec<String> = OPERATORS.iter().map(line).collect();
    format!("Operators:\n{}\n\n{REDUCE_EXAMPLES}", lines.join("\n"))
}

/// Arguments of `reduce`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = operators())]
pub struct ReduceArgs {
    /// Which files, or which Zarr array.
    #[command(flatten)]
    pub input: InputArgs,
    /// What to compute: operators joined by commas, such as max,mean,quantile=0.1:0.9; all of them read
    /// the input once
    #[arg(long, value_name = "OPS", value_parser = OP, hide_possible_values = true, required = true)]
    pub op: String,
    /// Axes to reduce, by name or number (from 0, or from -1 backwards); all if not given
    #[arg(long, value_name = "AXES", value_delimiter = ',', allow_hyphen_values = true)]
    pub axis: Vec<String>,
    /// Where to write: a name ending in .zarr, .npy, .tif, .png, .csv or .tsv; {op} in it stands for the
    /// operator; - writes .npy to standard output. Without it, numbers are printed, with their places
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath, allow_hyphen_values = true)]
    pub output: Option<String>,
    /// Draw the result too, of one or two axes, to FILE.png or FILE.svg: a curve for each channel, or a heat map with a
    /// bar of colours; {op} in it stands for the operator. Without -o numbers are not printed then
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub plot: Option<PathBuf>,
    /// Fold together with the other ranks that an MPI launcher has started, as in mpirun -n 4 stackctl reduce --mpi ...; rank
    /// 0 writes. The MPI is the launcher's, loaded when the program runs, or LIBRARY; -v tells which, and its way for messages
    #[arg(long, value_name = "LIBRARY", num_args = 0..=1, require_equals = true, default_missing_value = "auto", value_hint = ValueHint::FilePath, conflicts_with = "dry_run")]
    pub mpi: Option<PathBuf>,
    /// The same, as others spell it
    #[arg(long, value_name = "HOW", value_parser = ["mpi"], hide = true, conflicts_with_all = ["mpi", "dry_run"])]
    pub reduce: Option<String>,
    /// Reduce one array for each value of FIELD: positions, wells, plates; -o holds {FIELD}, such as '{p}_{op}.tif'
    #[arg(long, value_name = "FIELD", requires = "output", conflicts_with = "json")]
    pub by: Option<String>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// With -o -: write to a terminal all the same
    #[arg(long)]
    pub force: bool,
    /// What goes into the result.
    #[command(flatten)]
    pub elements: ElementArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// Zarr format of a .zarr output: 3 or 2
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = zarr_format, help_heading = "Storage")]
    pub zarr_format: u8,
    /// Codec of a .zarr output: blosc, smaller, blosc:lz4,5,shuffle, zstd:3, gzip:6, none [default:
    /// blosc:lz4,1,bitshuffle]; of tiles of an .ome.tif: deflate:6, zstd:3, lzw, none [default: deflate:6]
    #[arg(long, value_name = "CODEC", value_parser = CODEC, hide_possible_values = true, help_heading = "Storage")]
    pub codec: Option<Codec>,
    /// How values become a picture.
    #[command(flatten)]
    pub picture: PictureArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `calc`.
#[derive(Args, Clone, Debug)]
pub struct CalcArgs {
    /// What to compute, such as 'a - mean(a, t)', of the inputs by their names
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub expression: String,
    /// The inputs: NAME=PATH for each, such as raw=raw/ dark=dark.tif; those without a name are together 'a'.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to write: a name ending in .zarr, .npy, .tif or .png; - writes .npy to standard output. Without it,
    /// numbers are printed
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath, allow_hyphen_values = true)]
    pub output: Option<String>,
    /// Draw the result, of one or two axes, to FILE.png or FILE.svg instead of printing numbers: a curve for each channel,
    /// or a heat map with a bar of colours
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "output")]
    pub plot: Option<PathBuf>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// With -o -: write to a terminal all the same
    #[arg(long)]
    pub force: bool,
    /// What becomes of the values.
    #[command(flatten)]
    pub values: ValueArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How the array is stored.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `pairwise`.
#[derive(Args, Clone, Debug)]
pub struct PairwiseArgs {
    /// Which files, or which Zarr array.
    #[command(flatten)]
    pub input: InputArgs,
    /// Axes whose indices are the slices, such as t or t,c,z; all others are flattened
    #[arg(long, value_name = "AXES", value_delimiter = ',', required = true)]
    pub along: Vec<String>,
    /// Axes along which distances are measured one by one, such as c
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// How: euclidean, sqeuclidean, cityblock, chebyshev, cosine, correlation, canberra, braycurtis, or dot (products)
    #[arg(long, value_name = "METRIC", default_value = "euclidean", value_parser = METRIC, hide_possible_values = true)]
    pub metric: Metric,
    /// A second array, from whose slices distances are measured instead
    #[arg(long, value_name = "INPUT", value_hint = ValueHint::AnyPath)]
    pub with: Option<String>,
    /// Take a part: slices of axes by NumPy's rules, such as 'c=1,t=::4'
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Where to write: a name ending in .npy, .zarr, .tif, or .csv and .tsv, tables with labels or coordinates beside rows
    /// and above columns. Without it, and without --plot, numbers are printed
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output: Option<String>,
    /// Draw them too, with axes and a bar of colours, to FILE.png or FILE.svg
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, visible_alias = "png")]
    pub plot: Option<PathBuf>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How a .zarr is stored.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `decompose`.
#[derive(Args, Clone, Debug)]
pub struct DecomposeArgs {
    /// Which files, or which Zarr array.
    #[command(flatten)]
    pub input: InputArgs,
    /// Axes whose indices are the rows, such as t; all others are the columns
    #[arg(long, value_name = "AXES", value_delimiter = ',', required = true)]
    pub along: Vec<String>,
    /// What: pca (the mean of all rows is taken away first), svd (rows as they are), or qr
    #[arg(long, value_name = "KIND", default_value = "pca", value_parser = KIND, hide_possible_values = true)]
    pub kind: Factors,
    /// Number of components [default: 10, or one for each row or element where there are fewer]; a QR has one for each row
    #[arg(long, value_name = "N")]
    pub components: Option<usize>,
    /// Where to write the components: a name ending in .zarr, .npy or .tif. Weights of the rows and singular values go
    /// beside it: out_scores.npy and out_values.npy of out.zarr
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Write the rows as far as the components make them up, too
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub denoised: Option<PathBuf>,
    /// Element type of components: float64 or float32 [default: float64]
    #[arg(long, value_name = "DTYPE", value_parser = DTYPE, hide_possible_values = true)]
    pub dtype: Option<DType>,
    /// Take a part: slices of axes by NumPy's rules, such as 'c=1,t=::4'
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// How the components are stored.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `view`.
#[derive(Args, Clone, Debug)]
pub struct ViewArgs {
    /// Which files, or which Zarr array.
    #[command(flatten)]
    pub input: InputArgs,
    /// Show a part: slices of axes by NumPy's rules, such as 'c=1,t=4,y=100:400'. Where two indices of an axis remain,
    /// the middle one is shown
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Show what lies along z as its max or mean, instead of slices along three planes
    #[arg(long, value_name = "HOW", value_parser = ["max", "mean"])]
    pub project: Option<String>,
    /// Write a picture instead: .png, or with --along a .png or .gif that moves, or a .mp4 if ffmpeg is installed
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replace an existing output
    #[arg(long)]
    pub overwrite: bool,
    /// Let the picture move along this axis, such as t or z
    #[arg(long, value_name = "AXIS", requires = "output")]
    pub along: Option<String>,
    /// Pictures in a second, with --along
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<u16, 1, 60>)]
    pub rate: u16,
    /// Largest width and height: pixels with -o [default: 1024], else columns of the terminal [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<u32, 8, 16384>)]
    pub size: Option<u32>,
    /// Ceiling of the process's resident memory, such as 512M or 2GiB [default: half of what the job may use]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<Bytes>,
    /// How to draw in the terminal: kitty, sixel, blocks, or auto, which asks it
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = ["auto", "kitty", "sixel", "blocks"])]
    pub graphics: String,
    /// Percentiles of the values shown that become black and white
    #[arg(long, value_name = "LOW,HIGH", default_value = "0.5,99.8", value_parser = percentiles)]
    pub percentiles: (f64, f64),
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// What becomes of the values of an expression.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Values")]
pub struct ValueArgs {
    /// Element type of the result, such as uint16 or float32 [default: the one that holds every value]
    #[arg(long, value_name = "DTYPE", value_parser = DTYPE, hide_possible_values = true)]
    pub dtype: Option<DType>,
    /// What becomes of values that the type does not hold: error (any value that would change ends the run, except
    /// floats that become narrower), round (to the nearest whole number; outside the type ends the run), clip (to the
    /// nearest value of the type, counted)
    #[arg(long, value_name = "HOW", default_value = "round", value_parser = Words(CASTS), hide_possible_values = true)]
    pub cast: Cast,
    /// Multiply every value by this first
    #[arg(long, value_name = "FACTOR", allow_hyphen_values = true)]
    pub scale: Option<f64>,
    /// Then add this
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub offset: Option<f64>,
}

/// What goes down a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StreamFormat {
    /// NumPy's .npy
    #[default]
    Npy,
    /// The elements alone
    Raw,
}

/// How the values of a plane become a .png picture.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct PictureArgs {
    /// Percentiles of the values that become black and white in a .png output
    #[arg(long, value_name = "LOW,HIGH", default_value = "0.1,99.9", value_parser = percentiles)]
    pub percentiles: (f64, f64),
    /// Bits of a sample of a .png output: 8 or 16
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = Words(PICTURE_BITS), hide_possible_values = true)]
    pub png_bits: u8,
    /// Put the channels together in colour in a .png output
    #[arg(long)]
    pub merge: bool,
    /// Take percentiles of every .png picture by itself [default: of all pictures, for each channel]
    #[arg(long)]
    pub each_window: bool,
}

impl PictureArgs {
    /// The same for the picture's sink.
    pub fn options(&self) -> PngOptions {
        let (low, high) = self.percentiles;
        PngOptions { low, high, bits: self.png_bits, merge: self.merge, each: self.each_window }
    }
}

/// Less than any run takes, and a sign that a unit was forgotten.
const LEAST_MEMORY: Bytes = Bytes(1 << 20);

fn memory(text: &str) -> Result<Bytes, Error> {
    let size: Bytes = text.parse()?;
    if size >= LEAST_MEMORY {
        return Ok(size);
    }
    Err(Error::usage(format!(
        "'{text}' is {size}, and the program alone takes 25 MiB: give a unit, such as 512M or 2G"
    )))
}

/// Reads a whole number from `LOW` to `HIGH`.
fn whole<T: TryFrom<u64>, const LOW: u64, const HIGH: u64>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|n| (LOW..=HIGH).contains(n)).and_then(|n| T::try_from(n).ok());
    number.ok_or_else(|| match HIGH {
        u64::MAX => format!("expected a whole number, at least {LOW}"),
        _ => format!("expected a whole number from {LOW} to {HIGH}"),
    })
}

fn length(text: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| "expected lengths from 1 on, joined by commas, such as 1,1,16,256,256".into())
}

fn threads(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=1024).contains(n))
        .ok_or_else(|| "expected a number of threads from 1 to 1024; without the flag all processors work".into())
}

fn zarr_format(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|n| matches!(n, 2 | 3))
        .ok_or_else(|| "expected 3, for OME-Zarr 0.5, or 2, for OME-Zarr 0.4".into())
}

fn percent(text: &str) -> Result<f64, String> {
    text.trim_end_matches('%')
        .parse()
        .ok()
        .filter(|n| *n >= 0.0)
        .ok_or_else(|| "expected a percentage, such as 10".into())
}

fn percentiles(text: &str) -> Result<(f64, f64), String> {
    let (low, high) = text.split_once(',').unwrap_or((text, ""));
    match (low.trim().parse(), high.trim().parse()) {
        (Ok(low), Ok(high)) if (0.0..high).contains(&low) && high <= 100.0 => Ok((low, high)),
        _ => Err("expected two percentiles from 0 to 100, the lower first, such as 0.1,99.9".into()),
    }
}

fn share(text: &str) -> Result<Share, String> {
    let parsed = text.split_once('/').and_then(|(rank, n)| Some((rank.trim().parse().ok()?, n.trim().parse().ok()?)));
    match parsed {
        Some((rank, n)) if rank < n => Ok(Share { rank, n }),
        _ => Err(format!("'{text}' is no share: give its number, counted from 0, and how many there are, such as 0/8")),
    }
}

fn which(text: &str) -> Result<Which, Error> {
    text.parse()
}

fn deadline(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time with its unit, such as 90s, 55m or 3h".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?);
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

fn sample(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let share = percent.filter(|n| *n > 0.0 && *n <= 100.0).map(|n| n / 100.0);
    share.ok_or_else(|| "expected a share above 0% and up to 100%, such as 5%".into())
}

fn device(text: &str) -> Result<DeviceChoice, std::convert::Infallible> {
    text.parse()
}

/// Elements of an axis that are reduced together; of the only one that is reduced if it is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// The axis.
    pub axis: Option<String>,
    /// How many.
    pub n: u64,
}

fn part(text: &str) -> Result<PartOf, String> {
    let (axis, n) = text.split_once('=').map_or((None, text), |(axis, n)| (Some(axis.trim().to_owned()), n));
    let n = n.trim().parse().ok().filter(|n| *n > 0);
    let n = n.ok_or("expected a number of elements from 1 on, or an axis with one, such as t=3")?;
    Ok(PartOf { axis, n })
}

/// What goes into a result, and what comes out.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Elements")]
pub struct ElementArgs {
    /// Reduce a part: slices of axes by NumPy's rules, such as 'c=1,t=::4,z=10:20'; labels (c=GFP) and
    /// coordinates (t@s=10:20) too
    #[arg(long, value_name = "SLICES", allow_hyphen_values = true)]
    pub select: Option<String>,
    /// Reduce what an expression gives for the array, which it calls a, such as 'a - quantile(a, 0.1, t)'
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    pub calc: Option<String>,
    /// Use only elements that satisfy CONDITION: '>0', '!=nan', '>=10,<20'
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Leave NaN out; otherwise a NaN makes its result NaN
    #[arg(long)]
    pub skipna: bool,
    /// Degrees of freedom taken off the number of elements in var and std
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub ddof: u64,
    /// Weights for the mean: a one-dimensional .npy as long as the first reduced axis
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub weights: Option<PathBuf>,
    /// Reduce the axis in groups of N; the last may be shorter. Of several axes as in t=2,y=4: these are reduced beside
    /// those of --axis, or alone without it
    #[arg(long, value_name = "N|AXIS=N", value_delimiter = ',', value_parser = part)]
    pub every: Vec<PartOf>,
    /// With --every: leave a shorter last group out
    #[arg(long, requires = "every")]
    pub trim: bool,
    /// Reduce every run of N neighbours along the axis; the result is N-1 shorter. Of several axes as with --every
    #[arg(long, value_name = "N|AXIS=N", value_delimiter = ',', value_parser = part)]
    pub window: Vec<PartOf>,
    /// Keep reduced axes, with length 1
    #[arg(long)]
    pub keepdims: bool,
    /// Element type of the results, such as float32; a value that does not fit is an error
    /// [default: NumPy's]
    #[arg(long, value_name = "DTYPE", value_parser = DTYPE, hide_possible_values = true)]
    pub dtype: Option<DType>,
}

/// How an array is stored.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Zarr format: 3 (OME-Zarr 0.5) or 2 (OME-Zarr 0.4) [default: 3]
    #[arg(long, value_name = "N", value_parser = zarr_format)]
    pub zarr_format: Option<u8>,
    /// Shape of a chunk, or of a tile of an .ome.tif, in the order of the axes [default: about 1 MiB that suits axes and
    /// files; tiles of 512 x 512]
    #[arg(long, value_name = "SHAPE", value_delimiter = ',', value_parser = length)]
    pub chunks: Option<Vec<u64>>,
    /// Shape of a shard (Zarr 3), a multiple of the chunk; auto, or none for one file per chunk
    #[arg(long, value_name = "SHAPE", default_value = "auto", value_parser = SHARDS, hide_possible_values = true)]
    pub shards: Sharding,
    /// Codec of chunks: blosc, smaller, blosc:lz4,5,shuffle, zstd:3, gzip:6, none [default: blosc:zstd,3,bitshuffle]; of
    /// tiles of an .ome.tif: deflate:6, zstd:3, lzw, none, the first three behind a predictor [default: deflate:6]
    #[arg(long, alias = "compression", value_name = "CODEC", value_parser = CODEC, hide_possible_values = true)]
    pub codec: Option<Codec>,
    /// Largest number of files that the output may have; shards grow to keep it
    #[arg(long, value_name = "N")]
    pub max_files: Option<u64>,
    /// Number of resolutions, the full one included, made in the same pass: a number, none, or auto, which halves until
    /// y and x have at most 512 elements; time and channels are never halved, and z not before voxels are nearly cubic
    /// [default: auto where y or x has more than 1024 elements or a volume more than 134217728, else none]
    #[arg(long, value_name = "N", value_parser = LEVELS, hide_possible_values = true)]
    pub levels: Option<Levels>,
    /// How each level is made of the one before: mean (halves to even), nearest, max, min, median, mode (labels)
    /// [default: mode where the input is a label image or the names say labels or masks, else mean]
    #[arg(long, value_name = "HOW", value_parser = METHOD, hide_possible_values = true)]
    pub downsample: Option<Method>,
    /// Values that viewers are told to show, for each channel: data (percentiles 0.1 and 99.9 of all elements, or of a
    /// sample of more than 16 million and of those wider than 16 bits), dtype (the whole range), none (nothing is said of
    /// channels), or auto (as an OME-Zarr input says, else data)
    #[arg(long, value_name = "HOW", value_parser = CONTRAST, hide_possible_values = true, default_value = "auto")]
    pub contrast: Contrast,
    /// Colours of the channels in order, such as 00FF00,magenta
    /// [default: as the input says, else by wavelength, dye and order]
    #[arg(long, alias = "colors", value_name = "COLORS", value_delimiter = ',')]
    pub channel_colors: Vec<String>,
    /// Write the array alone: a plain Zarr array without group, levels and OME-Zarr metadata
    #[arg(long)]
    pub plain: bool,
    /// Write coordinates of axes as arrays beside the full resolution, where xarray finds them: seconds, places, names
    /// of channels
    #[arg(long)]
    pub coordinates: bool,
}
