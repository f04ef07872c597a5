//! The ranks of an MPI launcher, by whichever MPI it belongs to: the library is loaded when the program runs, and nothing
//! of it is needed to build it.
//!
//! Three binary interfaces are known: that of Open MPI 4 and 5, that of MPICH and all that go by it (Intel, Cray, MVAPICH),
//! and the standard one of MPI 5. Eight functions, one communicator and one type are used, with plain messages of bytes:
//! how many at once is bounded, and none of its reductions, whose order is its own.
//!
//! Source: MPI 5.0, chapter 20 (the standard interface); `mpi.h` of Open MPI 4.1 and MPICH 4.0.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::exec::world::World;
use crate::place::{Environment, Ranks};

/// Bytes of a message; more are sent one behind the other.
const PIECE_BYTES: usize = 8 << 20;

/// A communicator or a type: an address, or a number of 32 bits, which is the low half of a register then.
type Handle = usize;

/// What differs between binary interfaces.
struct Abi {
    name: &'static str,
    /// All processes; 0 if it is the address of `ompi_mpi_comm_world`.
    world: Handle,
    /// Bytes; 0 if it is the address of `ompi_mpi_byte`.
    byte: Handle,
    /// No status is wanted.
    no_status: usize,
    /// Threads call it one at a time.
    serialized: c_int,
}

const OPEN_MPI: Abi = Abi { name: "Open MPI", world: 0, byte: 0, no_status: 0, serialized: 2 };
const MPICH: Abi = Abi { name: "MPICH", world: 0x4400_0000, byte: 0x4c00_010d, no_status: 1, serialized: 2 };
const MPI_5: Abi = Abi { name: "MPI 5", world: 0x101, byte: 0x247, no_status: 0, serialized: 2048 };

type Init = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int, *mut c_int) -> c_int;
type Number = unsafe extern "C" fn(Handle, *mut c_int) -> c_int;
type Send = unsafe extern "C" fn(*const c_void, c_int, Handle, c_int, c_int, Handle) -> c_int;
type Receive = unsafe extern "C" fn(*mut c_void, c_int, Handle, c_int, c_int, Handle, usize) -> c_int;
type Version = unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int;
type Abort = unsafe extern "C" fn(Handle, c_int) -> c_int;
type Finalize = unsafe extern "C" fn() -> c_int;

/// An MPI that this process has joined.
pub struct Mpi {
    abi: &'static str,
    world: Handle,
    byte: Handle,
    no_status: usize,
    send: Send,
    receive: Receive,
    version: Version,
    abort: Abort,
    finalize: Finalize,
    rank: u64,
    size: u64,
    /// Held by whoever calls it.
    turn: Mutex<()>,
}

impl Mpi {
    /// Joins the ranks that were started together, by the library `named`, or else by that of the launcher.
    ///
    /// # Errors
    /// `Usage` if nothing says that a launcher started this process, or no library is found; `Launcher` if it belongs to
    /// another one.
    pub fn join(named: Option<&Path>, env: Environment<'_>) -> Result<Self> {
        let told = Ranks::find(env)?;
        if told.from.is_empty() {
            return Err(Error::usage(
                "--mpi: no launcher has started this: mpirun -n N stackctl ..., or srun --mpi=pmix -n N stackctl ...",
            ));
        }
        let mpi = Library::open(named, &told, env)?.join()?;
        if (mpi.rank, mpi.size) != (told.rank, told.size) {
            let text = format!(
                "--mpi: this is rank {} of {} to {}, but rank {} of {} to the library ({}): the launcher is of another MPI \
                 than the library; use the one that belongs to it, or name its library: --mpi=/path/libmpi.so",
                told.rank, told.size, told.from, mpi.rank, mpi.size, mpi.abi
            );
            mpi.finish();
            return Err(Error::Launcher(text));
        }
        Ok(mpi)
    }

    /// What it says of itself, and by what it sends messages, as far as that is seen from outside.
    pub fn describe(&self) -> String {
        let mut text = vec![0u8; 1 << 14];
        let mut length: c_int = 0;
        // SAFETY: no version is longer than 8192 bytes (MPI_MAX_LIBRARY_VERSION_STRING of all three), and ends with a zero.
        unsafe { (self.version)(text.as_mut_ptr().cast(), &raw mut length) };
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines =
            text.lines().map(words).filter(|line| ["Open MPI", "ersion:", "evice:"].iter().any(|w| line.contains(w)));
        let version = lines.collect::<Vec<_>>().join(", ");
        let layers = layers(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default());
        format!("rank {} of {}, interface of {}: {version}; loaded: {layers}", self.rank, self.size, self.abi)
    }

    /// Leaves, when all ranks have come so far.
    pub fn finish(&self) {
        // SAFETY: it was begun, and is called once: nothing is sent or received any more.
        unsafe { (self.finalize)() };
    }

    /// Ends all ranks.
    pub fn abort(&self, code: u8) {
        // SAFETY: it was begun and not ended.
        unsafe { (self.abort)(self.world, c_int::from(code)) };
    }

    fn checked(&self, code: c_int) -> Result<()> {
        // Errors end all ranks by default: this is for a library that was told otherwise.
        if code == 0 { Ok(()) } else { Err(Error::format(format!("{} has failed with code {code}", self.abi))) }
    }
}

impl World for Mpi {
    fn rank(&self) -> u64 {
        self.rank
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn send(&self, to: u64, bytes: &[u8]) -> Result<()> {
        let _turn = self.turn.lock();
        let length = (bytes.len() as u64).to_le_bytes();
        for piece in std::iter::once(&length[..]).chain(bytes.chunks(PIECE_BYTES)) {
            let (at, n) = (piece.as_ptr().cast(), piece.len() as c_int);
            // SAFETY: so many bytes are there, and the call ends when they are no longer needed. One thread calls at a time.
            self.checked(unsafe { (self.send)(at, n, self.byte, to as c_int, 0, self.world) })?;
        }
        Ok(())
    }

    fn receive(&self, from: u64) -> Result<Vec<u8>> {
        let _turn = self.turn.lock();
        let receive = |piece: &mut [u8]| {
            let (at, n) = (piece.as_mut_ptr().cast(), piece.len() as c_int);
            // SAFETY: there is room for so many bytes, and no message is longer: both sides cut alike. One thread calls at a
            // time.
            self.checked(unsafe { (self.receive)(at, n, self.byte, from as c_int, 0, self.world, self.no_status) })
        };
        let mut length = [0; 8];
        receive(&mut length)?;
        let n = u64::from_le_bytes(length);
        let mut bytes = Vec::new();
        let room = usize::try_from(n).ok().filter(|n| bytes.try_reserve_exact(*n).is_ok());
        bytes.resize(room.ok_or_else(|| Error::limit(format!("rank {from} sends {n} bytes: too many")))?, 0);
        bytes.chunks_mut(PIECE_BYTES).try_for_each(receive)?;
        Ok(bytes)
    }
}

/// A library that is loaded, for good: its threads and what it does at the end of the process outlive any handle.
struct Library {
    name: String,
    handle: *mut c_void,
}

impl Library {
    /// The one `named`, or the first of those that belong to the launcher.
    fn open(named: Option<&Path>, told: &Ranks, env: Environment<'_>) -> Result<Self> {
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return Err(Error::unsupported("--mpi: only for processors of the kinds x86-64 and aarch64"));
        }
        let names = named.map_or_else(|| usual(told, env), |path| vec![path.to_string_lossy().into_owned()]);
        let mut refused = Vec::new();
        for name in names {
            let path = CString::new(name.clone()).map_err(|_| Error::usage(format!("--mpi: {name:?} is no name")))?;
            // SAFETY: the library's beginnings run, which is what it is loaded for. Its plug-ins look for its names among
            // those of all.
            let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
            if !handle.is_null() {
                return Ok(Self { name, handle });
            }
            refused.push(reason());
        }
        Err(Error::usage(format!(
            "--mpi: no library of {} can be loaded ({}): load its module, or name the library: --mpi=/path/libmpi.so",
            told.from,
            refused.join("; ")
        )))
    }

    /// The address of what is called `name`.
    fn address(&self, name: &CStr) -> Result<usize> {
        // SAFETY: the library is loaded and the name ends with a zero.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if address.is_null() {
            let name = name.to_string_lossy();
            return Err(Error::usage(format!("--mpi: {} is no library of MPI: it has no {name}", self.name)));
        }
        Ok(address as usize)
    }

    fn abi(&self) -> &'static Abi {
        let file = Path::new(&self.name).file_name().unwrap_or_default().to_string_lossy();
        match self.address(c"ompi_mpi_comm_world") {
            _ if file.contains("mpi_abi") => &MPI_5,
            Ok(_) => &OPEN_MPI,
            Err(_) => &MPICH,
        }
    }

    /// Joins the others.
    fn join(self) -> Result<Mpi> {
        let abi = self.abi();
        let handle = |number: Handle, name: &CStr| if number > 0 { Ok(number) } else { self.address(name) };
        /// The function of a name.
        macro_rules! function {
            ($name:literal: $kind:ty) => {{
                let address = self.address($name)?;
                // SAFETY: the function of this name has these arguments in every MPI. An argument that is an address in one
                // and a number of 32 bits in another has a register of its own on the processors that are let through.
                unsafe { std::mem::transmute::<usize, $kind>(address) }
            }};
        }
        let init = function!(c"MPI_Init_thread": Init);
        let (rank_of, size_of) = (function!(c"MPI_Comm_rank": Number), function!(c"MPI_Comm_size": Number));
        let mut mpi = Mpi {
            abi: abi.name,
            world: handle(abi.world, c"ompi_mpi_comm_world")?,
            byte: handle(abi.byte, c"ompi_mpi_byte")?,
            no_status: abi.no_status,
            send: function!(c"MPI_Send": Send),
            receive: function!(c"MPI_Recv": Receive),
            version: function!(c"MPI_Get_library_version": Version),
            abort: function!(c"MPI_Abort": Abort),
            finalize: function!(c"MPI_Finalize": Finalize),
            rank: 0,
            size: 0,
            turn: Mutex::new(()),
        };
        let (nothing, mut provided, mut rank, mut size) = (std::ptr::null_mut(), 0, 0, 0);
        // SAFETY: it is begun once, without arguments, and the numbers are written to places of their own.
        let codes = unsafe {
            [
                init(nothing, nothing, abi.serialized, &raw mut provided),
                rank_of(mpi.world, &raw mut rank),
                size_of(mpi.world, &raw mut size),
            ]
        };
        codes.into_iter().try_for_each(|code| mpi.checked(code))?;
        if provided < abi.serialized {
            return Err(Error::usage(format!("--mpi: {} was built for programs of one thread", self.name)));
        }
        (mpi.rank, mpi.size) = (rank.unsigned_abs().into(), size.unsigned_abs().into());
        Ok(mpi)
    }
}

/// Libraries of the launcher that started this: by their names that hold the interface's version.
fn usual(told: &Ranks, env: Environment<'_>) -> Vec<String> {
    let open_mpi = ["libmpi.so.40"];
    let mpich = ["libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi.so.12", "libmpich.so.12"];
    let names: Vec<&str> = match told.from {
        "Open MPI" => open_mpi.to_vec(),
        "PMI" => mpich.to_vec(),
        _ if env("PMIX_RANK").is_some() => [&open_mpi[..], &mpich].concat(),
        _ => [&mpich[..], &open_mpi].concat(),
    };
    names.into_iter().map(str::to_owned).collect()
}

/// Why the last library was not loaded.
fn reason() -> String {
    // SAFETY: what it gives stays there until this thread loads another library.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason is known".to_owned();
    }
    // SAFETY: it is not null, and ends with a zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What of an MPI's layers for messages is mapped: the others it has unloaded when it chose.
fn layers(maps: &str) -> String {
    let file = |line: &str| {
        let name = line.rsplit('/').next()?.split(".so").next()?.to_owned();
        ["mca_pml_", "mca_btl_", "mca_mtl_", "libucp", "libfabric"].iter().any(|p| name.starts_with(p)).then_some(name)
    };
    let found: std::collections::BTreeSet<String> = maps.lines().filter_map(file).collect();
    if found.is_empty() { "nothing beside it".to_owned() } else { found.into_iter().collect::<Vec<_>>().join(", ") }
}
