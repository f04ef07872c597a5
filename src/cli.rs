//! The command line as declared: flags become plain structs. Help, man pages and completions come from
//! here; no work is done here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::exec::budget::Bytes;

/// Turns piles of TIFF files into one n-dimensional array, or reduces it, in bounded memory.
#[derive(Debug, Parser)]
#[command(name = "stackctl", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a pile of files is: fields, array, holes, duplicates, and the command to run
    Inspect(InspectArgs),
    /// Write the files as one Zarr array
    Stitch(StitchArgs),
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
    #[arg(value_name = "INPUT", value_hint = ValueHint::AnyPath)]
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
}

/// How names and pages become axes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Names and axes")]
pub struct NameArgs {
    /// File-name template: fields in braces, * any text, ? any character, such as '_ch{c}_*_stack{t}_';
    /// inferred from the names if not given
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Regular expression with named groups instead of a pattern
    #[arg(long, value_name = "REGEX", conflicts_with = "pattern")]
    pub regex: Option<String>,
    /// Order of the array's axes, slowest first [default: t,c,z,y,x, others in front]
    #[arg(long, value_name = "AXES", value_delimiter = ',')]
    pub axes: Option<Vec<String>>,
    /// What the pages of a file are, where the file does not say [default: z]
    #[arg(long, value_name = "AXIS")]
    pub pages: Option<String>,
    /// Which series of every file, from 0 [default: the main one; inspect lists them]
    #[arg(long, value_name = "N")]
    pub series: Option<usize>,
    /// What to do about positions without a file
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

/// What to do about positions without a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Missing {
    /// Stop, listing them
    #[default]
    Error,
    /// Put the fill value there and count them
    Fill,
}

/// How a run uses the machine and what it says.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Running")]
pub struct RunArgs {
    /// Ceiling of the process's resident memory, such as 512M or 2GiB
    /// [default: half of what the job may use]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// Worker threads; the output does not depend on it [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the plan (array, chunks, files, memory) and stop before any pixel is read
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress and no summary; errors are still printed
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// How names become axes.
    #[command(flatten)]
    pub names: NameArgs,
    /// Print what was found as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if anything is missing, double, odd or unreadable
    #[arg(long)]
    pub strict: bool,
    /// Threads that read headers [default: all processors the job may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Arguments of `stitch`.
#[derive(Args, Clone, Debug)]
pub struct StitchArgs {
    /// Which files.
    #[command(flatten)]
    pub input: InputArgs,
    /// Where to write, ending in .zarr
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub output: PathBuf,
    /// Replace an existing output, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
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

/// How an array is stored.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Zarr format: 3 (OME-Zarr 0.5) or 2 (OME-Zarr 0.4)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub zarr_format: u8,
    /// Shape of a chunk in the order of the axes [default: about 1 MiB that suits axes and files]
    #[arg(long, value_name = "SHAPE", value_delimiter = ',')]
    pub chunks: Option<Vec<u64>>,
    /// Shape of a shard (Zarr 3), a multiple of the chunk; auto, or none for one file per chunk
    #[arg(long, value_name = "SHAPE", default_value = "auto")]
    pub shards: String,
    /// Codec of chunks: blosc, blosc:lz4,5,shuffle, zstd:3, gzip:6, none
    #[arg(long, value_name = "CODEC", default_value = "blosc:zstd,3,bitshuffle")]
    pub codec: String,
    /// Largest number of files that the output may have; shards grow to keep it
    #[arg(long, value_name = "N")]
    pub max_files: Option<u64>,
}
