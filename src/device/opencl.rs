//! The one door to OpenCL: its library, looked for when it is first asked for, and its objects, which free themselves.
//! Knows nothing of arrays.
//!
//! Source: The OpenCL Specification, version 1.2, Khronos OpenCL Working Group.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crate::error::{Error, Result};

type Handle = *mut c_void;
type Release = unsafe extern "system" fn(Handle) -> i32;
type Notify = *const c_void;

macro_rules! functions {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions that are used, as the headers of OpenCL 1.2 declare them.
        #[allow(non_snake_case)]
        struct Functions { $($name: unsafe extern "system" fn($($argument),*) -> $result,)* }

        impl Functions {
            #[allow(non_snake_case)]
            fn of(library: Handle) -> Result<Self, &'static str> {
                $(
                    let symbol = system::symbol(library, concat!(stringify!($name), "\0"));
                    if symbol.is_null() {
                        return Err(stringify!($name));
                    }
                    // SAFETY: the symbol is the function of that name, whose type the specification gives.
                    let $name = unsafe {
                        std::mem::transmute::<Handle, unsafe extern "system" fn($($argument),*) -> $result>(symbol)
                    };
                )*
                Ok(Self { $($name),* })
            }
        }
    };
}

functions! {
    clGetPlatformIDs(u32, *mut Handle, *mut u32) -> i32;
    clGetPlatformInfo(Handle, u32, usize, *mut u8, *mut usize) -> i32;
    clGetDeviceIDs(Handle, u64, u32, *mut Handle, *mut u32) -> i32;
    clGetDeviceInfo(Handle, u32, usize, *mut u8, *mut usize) -> i32;
    clCreateContext(*const isize, u32, *const Handle, Notify, Handle, *mut i32) -> Handle;
    clReleaseContext(Handle) -> i32;
    clCreateCommandQueue(Handle, Handle, u64, *mut i32) -> Handle;
    clReleaseCommandQueue(Handle) -> i32;
    clCreateBuffer(Handle, u64, usize, Handle, *mut i32) -> Handle;
    clReleaseMemObject(Handle) -> i32;
    clCreateProgramWithSource(Handle, u32, *const *const c_char, *const usize, *mut i32) -> Handle;
    clBuildProgram(Handle, u32, *const Handle, *const c_char, Notify, Handle) -> i32;
    clGetProgramBuildInfo(Handle, Handle, u32, usize, *mut u8, *mut usize) -> i32;
    clReleaseProgram(Handle) -> i32;
    clCreateKernel(Handle, *const c_char, *mut i32) -> Handle;
    clReleaseKernel(Handle) -> i32;
    clSetKernelArg(Handle, u32, usize, *const c_void) -> i32;
    clEnqueueNDRangeKernel(Handle, Handle, u32, *const usize, *const usize, *const usize, u32, *const Handle, *mut Handle) -> i32;
    clEnqueueWriteBuffer(Handle, Handle, u32, usize, usize, *const u8, u32, *const Handle, *mut Handle) -> i32;
    clEnqueueReadBuffer(Handle, Handle, u32, usize, usize, *mut u8, u32, *const Handle, *mut Handle) -> i32;
    clEnqueueMapBuffer(Handle, Handle, u32, u64, usize, usize, u32, *const Handle, *mut Handle, *mut i32) -> *mut u8;
    clEnqueueUnmapMemObject(Handle, Handle, *mut u8, u32, *const Handle, *mut Handle) -> i32;
    clFinish(Handle) -> i32;
    clGetEventProfilingInfo(Handle, u32, usize, *mut u8, *mut usize) -> i32;
    clReleaseEvent(Handle) -> i32;
}

const DEVICE_TYPE_ALL: u64 = 0xFFFF_FFFF;
const DEVICE_TYPE_CPU: u64 = 1 << 1;
const MEM_READ_WRITE: u64 = 1;
const MEM_ALLOC_HOST_PTR: u64 = 1 << 4;
const MAP_READ_WRITE: u64 = 3;
const QUEUE_PROFILING_ENABLE: u64 = 1 << 1;

/// Names that the library has on this system, first the one that is most likely there.
#[cfg(target_os = "macos")]
const NAMES: &[&str] = &["/System/Library/Frameworks/OpenCL.framework/OpenCL"];
#[cfg(windows)]
const NAMES: &[&str] = &["OpenCL.dll"];
#[cfg(not(any(target_os = "macos", windows)))]
const NAMES: &[&str] = &["libOpenCL.so.1", "libOpenCL.so"];

#[cfg(unix)]
mod system {
    use std::ffi::CString;

    use super::Handle;

    pub(super) fn open(name: &str) -> Handle {
        let Ok(name) = CString::new(name) else { return std::ptr::null_mut() };
        // SAFETY: the name ends in NUL; what the library does when it is loaded is its own.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) }
    }

    /// `name` ends in NUL.
    pub(super) fn symbol(library: Handle, name: &str) -> Handle {
        // SAFETY: the library is open for good, and the name ends in NUL.
        unsafe { libc::dlsym(library, name.as_ptr().cast()) }
    }
}

#[cfg(windows)]
mod system {
    use std::ffi::{CString, c_char};

    use super::Handle;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn LoadLibraryA(name: *const c_char) -> Handle;
        fn GetProcAddress(library: Handle, name: *const c_char) -> Handle;
    }

    pub(super) fn open(name: &str) -> Handle {
        let Ok(name) = CString::new(name) else { return std::ptr::null_mut() };
        // SAFETY: the name ends in NUL; what the library does when it is loaded is its own.
        unsafe { LoadLibraryA(name.as_ptr()) }
    }

    /// `name` ends in NUL.
    pub(super) fn symbol(library: Handle, name: &str) -> Handle {
        // SAFETY: the library is open for good, and the name ends in NUL.
        unsafe { GetProcAddress(library, name.as_ptr().cast()) }
    }
}

fn library() -> Result<&'static Functions> {
    static LIBRARY: OnceLock<Result<Functions, String>> = OnceLock::new();
    let load = || {
        let found = NAMES.iter().map(|name| system::open(name)).find(|library| !library.is_null());
        let names = NAMES.join(" or ");
        let found = found.ok_or_else(|| {
            format!(
                "no OpenCL: {names} is not where the system looks for libraries: install the driver of the device, or an \
                 ICD loader (Debian: ocl-icd-libopencl1), or leave --device out"
            )
        })?;
        Functions::of(found).map_err(|name| format!("no OpenCL: {names} has no {name}, which OpenCL 1.2 has"))
    };
    LIBRARY.get_or_init(load).as_ref().map_err(Error::unsupported)
}

/// Calls a function of the library.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?)) => {{
        let function = library()?.$name;
        // SAFETY: handles are alive as long as what holds them, pointers point to as many elements as are said beside
        // them, and outlive the call, or the queue is emptied before they go.
        unsafe { function($($argument),*) }
    }};
}

/// What the library answered, in its own words.
fn failed(what: &str, code: i32) -> Error {
    let name = match code {
        -1 => "no such device",
        -2 => "the device is not available",
        -4 => "out of memory on the device",
        -5 => "out of resources",
        -6 => "out of memory on the host",
        -11 => "the kernel cannot be built",
        -36 => "the device is lost",
        -54 => "invalid size of work groups",
        -61 => "a buffer larger than the device has",
        -1001 => "no platform is installed",
        _ => "see the specification of OpenCL",
    };
    Error::unsupported(format!("{what} gives {code}: {name}"))
}

fn checked(what: &str, code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(failed(what, code)) }
}

/// An object of the library.
struct Object(Handle, Release);

// SAFETY: OpenCL's objects may be used from any thread; arguments of a kernel are set through `&mut` alone.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    fn new(what: &str, handle: Handle, code: i32, release: Release) -> Result<Self> {
        checked(what, code).map(|()| Self(handle, release))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the handle is released once.
        unsafe { (self.1)(self.0) };
    }
}

/// A device, as it describes itself.
#[derive(Clone, Debug)]
pub struct Device {
    id: usize,
    platform_id: usize,
    /// Its platform.
    pub platform: String,
    /// The platform's version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Version of its driver.
    pub driver: String,
    /// Whether its kernels run on the processors.
    pub is_cpu: bool,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory that is free, in bytes, where it says so.
    pub free_bytes: Option<u64>,
    /// Largest buffer, in bytes.
    pub largest_bytes: u64,
    /// Units that compute side by side.
    pub n_units: u32,
    /// Whether it computes in double precision.
    pub has_double: bool,
    /// Whether it can round quotients and roots of `float32` as processors do.
    pub rounds: bool,
}

impl Device {
    /// Whether it is of the same platform.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.platform_id == other.platform_id
    }
}

/// A value that is asked for twice: how long it is, and what it is.
fn told(ask: impl Fn(usize, *mut u8, *mut usize) -> Result<i32>) -> Result<Vec<u8>> {
    let mut n = 0;
    if ask(0, null_mut(), &mut n)? != 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; n];
    ask(n, bytes.as_mut_ptr(), null_mut())?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_matches(['\0', ' ', '\n']).to_owned()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Every device of every platform.
///
/// # Errors
/// `Unsupported`, saying where the library was looked for.
pub fn devices() -> Result<Vec<Device>> {
    let mut platforms = vec![null_mut(); 32];
    let mut n = 0;
    match call!(clGetPlatformIDs(32, platforms.as_mut_ptr(), &mut n)) {
        // A loader without a platform.
        -1001 => return Ok(Vec::new()),
        code => checked("clGetPlatformIDs", code)?,
    }
    let mut all = Vec::new();
    for &platform in platforms.iter().take(n as usize) {
        let of = |what| told(|n, to, length| Ok(call!(clGetPlatformInfo(platform, what, n, to, length))));
        let (mut ids, mut n) = (vec![null_mut(); 64], 0);
        // A platform without devices says so by an error.
        if call!(clGetDeviceIDs(platform, DEVICE_TYPE_ALL, 64, ids.as_mut_ptr(), &mut n)) != 0 {
            continue;
        }
        for &id in ids.iter().take(n as usize) {
            let own = |what| told(|n, to, length| Ok(call!(clGetDeviceInfo(id, what, n, to, length))));
            all.push(Device {
                id: id as usize,
                platform_id: platform as usize,
                platform: text(&of(0x0902)?),
                version: text(&of(0x0901)?),
                name: text(&own(0x102B)?),
                driver: text(&own(0x102D)?),
                is_cpu: number(&own(0x1000)?) & DEVICE_TYPE_CPU != 0,
                memory_bytes: number(&own(0x101F)?),
                // CL_DEVICE_GLOBAL_FREE_MEMORY_AMD, in KiB; others have nothing like it.
                free_bytes: Some(number(&own(0x4039)?) << 10).filter(|&n| n > 0),
                largest_bytes: number(&own(0x1010)?),
                n_units: number(&own(0x1002)?) as u32,
                has_double: text(&own(0x1030)?).contains("cl_khr_fp64"),
                // CL_DEVICE_SINGLE_FP_CONFIG, CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT.
                rounds: number(&own(0x101B)?) & 1 << 7 != 0,
            });
        }
    }
    Ok(all)
}

/// Where devices of one platform meet: memory and kernels are theirs together.
pub struct DeviceContext {
    /// What staging memory is mapped by.
    mapping: Object,
    own: Object,
    devices: Vec<Device>,
}

impl DeviceContext {
    /// Of `devices`, all of one platform.
    ///
    /// # Errors
    /// `Unsupported` if the library refuses.
    pub fn new(devices: &[Device]) -> Result<Self> {
        let ids: Vec<Handle> = devices.iter().map(|d| d.id as Handle).collect();
        let platform = devices.first().map_or(0, |d| d.platform_id);
        // CL_CONTEXT_PLATFORM.
        let properties = [0x1084, platform as isize, 0];
        let mut code = 0;
        let n = ids.len() as u32;
        let handle = call!(clCreateContext(properties.as_ptr(), n, ids.as_ptr(), null(), null_mut(), &mut code));
        let own = Object::new("clCreateContext", handle, code, library()?.clReleaseContext)?;
        let mapping = queue(&own, &devices[0])?;
        Ok(Self { mapping, own, devices: devices.to_vec() })
    }

    /// The devices.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// A queue of device number `device`.
    ///
    /// # Errors
    /// `Unsupported` if the library refuses.
    pub fn queue(&self, device: usize) -> Result<Queue> {
        queue(&self.own, &self.devices[device]).map(Queue)
    }

    /// `n_bytes` on the devices.
    ///
    /// # Errors
    /// `Unsupported` if there is no room.
    pub fn memory(&self, n_bytes: u64) -> Result<DeviceMemory> {
        Ok(DeviceMemory { object: self.buffer(n_bytes, MEM_READ_WRITE)?, n_bytes })
    }

    /// Memory of this machine that devices reach fast: pinned, and mapped for good.
    ///
    /// # Errors
    /// `Unsupported` if there is no room.
    pub fn staging(self: &std::sync::Arc<Self>, n_bytes: u64) -> Result<Staging> {
        let object = self.buffer(n_bytes, MEM_READ_WRITE | MEM_ALLOC_HOST_PTR)?;
        let (mut code, len) = (0, n_bytes as usize);
        let queue = self.mapping.0;
        let (n, wait) = (len.max(1), null());
        let place = call!(clEnqueueMapBuffer(queue, object.0, 1, MAP_READ_WRITE, 0, n, 0, wait, null_mut(), &mut code));
        checked("clEnqueueMapBuffer", code)?;
        Ok(Staging { place, len, object, of: std::sync::Arc::clone(self) })
    }

    fn buffer(&self, n_bytes: u64, flags: u64) -> Result<Object> {
        let mut code = 0;
        let handle = call!(clCreateBuffer(self.own.0, flags, n_bytes.max(8) as usize, null_mut(), &mut code));
        Object::new(&format!("clCreateBuffer of {n_bytes} bytes"), handle, code, library()?.clReleaseMemObject)
    }

    /// The kernel `run` of the OpenCL C in `source`, built for all devices.
    ///
    /// # Errors
    /// `Unsupported`, with what the compiler says.
    pub fn program(&self, source: &str) -> Result<BuiltProgram> {
        let mut code = 0;
        let (place, length) = (source.as_ptr().cast::<c_char>(), source.len());
        let handle = call!(clCreateProgramWithSource(self.own.0, 1, &place, &length, &mut code));
        let program = Object::new("clCreateProgramWithSource", handle, code, library()?.clReleaseProgram)?;
        let options = match self.devices.iter().all(|device| device.rounds) {
            true => c"-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt",
            false => c"-cl-std=CL1.2",
        };
        let code = call!(clBuildProgram(program.0, 0, null(), options.as_ptr(), null(), null_mut()));
        if code != 0 {
            let device = self.devices[0].id as Handle;
            // CL_PROGRAM_BUILD_LOG.
            let log = told(|n, to, length| Ok(call!(clGetProgramBuildInfo(program.0, device, 0x1183, n, to, length))))?;
            return Err(failed("clBuildProgram", code).at(&self.devices[0].name).and(format_args!("\n{}", text(&log))));
        }
        Ok(BuiltProgram(program))
    }
}

fn queue(context: &Object, device: &Device) -> Result<Object> {
    let mut code = 0;
    let handle = call!(clCreateCommandQueue(context.0, device.id as Handle, QUEUE_PROFILING_ENABLE, &mut code));
    Object::new("clCreateCommandQueue", handle, code, library()?.clReleaseCommandQueue)
}

/// Memory on a device.
pub struct DeviceMemory {
    object: Object,
    n_bytes: u64,
}

impl DeviceMemory {
    /// How much it is.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }
}

/// Pinned memory of this machine.
pub struct Staging {
    place: *mut u8,
    len: usize,
    object: Object,
    of: std::sync::Arc<DeviceContext>,
}

// SAFETY: the memory is this value's own, and is reached through it alone.
unsafe impl Send for Staging {}

impl Staging {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is mapped for as long as this lives.
        unsafe { std::slice::from_raw_parts(self.place, self.len) }
    }

    /// The bytes, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.place, self.len) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let unmap = || -> Result<i32> {
            let queue = self.of.mapping.0;
            call!(clEnqueueUnmapMemObject(queue, self.object.0, self.place, 0, null(), null_mut()));
            Ok(call!(clFinish(queue)))
        };
        // Where that fails, the memory goes with its context.
        let _ = unmap();
    }
}

/// A program that was built.
pub struct BuiltProgram(Object);

impl BuiltProgram {
    /// Its kernel, with arguments of its own.
    ///
    /// # Errors
    /// `Unsupported` if the library refuses.
    pub fn kernel(&self) -> Result<Kernel> {
        let (mut code, name) = (0, CString::new("run").map_err(Error::format)?);
        let handle = call!(clCreateKernel(self.0.0, name.as_ptr(), &mut code));
        Object::new("clCreateKernel", handle, code, library()?.clReleaseKernel).map(Kernel)
    }
}

/// A kernel with arguments.
pub struct Kernel(Object);

/// A run of a kernel.
pub struct KernelRun(Object);

impl KernelRun {
    /// Nanoseconds on the device, once the queue is empty; 0 where it does not say.
    pub fn taken_ns(&self) -> u64 {
        let at = |what| told(|n, to, length| Ok(call!(clGetEventProfilingInfo(self.0.0, what, n, to, length))));
        // CL_PROFILING_COMMAND_START and CL_PROFILING_COMMAND_END.
        let [begun, ended] = [0x1282, 0x1283].map(|what| at(what).map_or(0, |bytes| number(&bytes)));
        ended.saturating_sub(begun)
    }
}

/// What a device is to do, in order.
pub struct Queue(Object);

impl Queue {
    /// Copies `bytes` to the device, from byte `at` on; they must stay until the queue is empty.
    ///
    /// # Errors
    /// `Unsupported` if the device fails.
    pub fn write(&self, to: &DeviceMemory, at: usize, bytes: &[u8]) -> Result<()> {
        assert!((at + bytes.len()) as u64 <= to.n_bytes, "what is written fits");
        let (queue, n) = (self.0.0, bytes.len());
        let code = call!(clEnqueueWriteBuffer(queue, to.object.0, 0, at, n, bytes.as_ptr(), 0, null(), null_mut()));
        checked("clEnqueueWriteBuffer", code)
    }

    /// Copies from the device into `bytes`, which are there once the queue is empty.
    ///
    /// # Errors
    /// `Unsupported` if the device fails.
    pub fn read(&self, from: &DeviceMemory, bytes: &mut [u8]) -> Result<()> {
        assert!(bytes.len() as u64 <= from.n_bytes, "what is read is there");
        let (queue, n, place) = (self.0.0, bytes.len(), bytes.as_mut_ptr());
        checked(
            "clEnqueueReadBuffer",
            call!(clEnqueueReadBuffer(queue, from.object.0, 0, 0, n, place, 0, null(), null_mut())),
        )
    }

    /// Runs `kernel` for each place of `range`, the first of which varies fastest, in groups of `group`, which divides it.
    /// Gives what tells how long that took.
    ///
    /// # Errors
    /// `Unsupported` if the device fails.
    pub fn run(
        &self,
        kernel: &mut Kernel,
        arguments: &[&DeviceMemory],
        range: [usize; 3],
        group: [usize; 3],
    ) -> Result<KernelRun> {
        for (i, argument) in (0..).zip(arguments) {
            let place: *const Handle = &argument.object.0;
            checked("clSetKernelArg", call!(clSetKernelArg(kernel.0.0, i, size_of::<Handle>(), place.cast())))?;
        }
        let (range, group) = (range.as_ptr(), group.as_ptr());
        let mut event = null_mut();
        let code = call!(clEnqueueNDRangeKernel(self.0.0, kernel.0.0, 3, null(), range, group, 0, null(), &mut event));
        Object::new("clEnqueueNDRangeKernel", event, code, library()?.clReleaseEvent).map(KernelRun)
    }

    /// Waits until all is done.
    ///
    /// # Errors
    /// `Unsupported` if the device failed.
    pub fn finish(&self) -> Result<()> {
        checked("clFinish", call!(clFinish(self.0.0)))
    }
}
