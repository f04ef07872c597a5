//! Devices: whatever OpenCL device there is, PoCL's on plain processors where it is installed, makes what the processors
//! make.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::tempdir;
use crate::common::{self, run};
use serde_json::Value;

use common::skipped;
use run::{Succeeds as _, message, stackctl};

/// The name of the first device there is; where there is none, this test says so and checks nothing.
fn device() -> Option<String> {
    let listed = stackctl(Path::new(".")).args(["devices", "--json"]).output().unwrap();
    let devices: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    match devices.first() {
        Some(device) => device["name"].as_str().map(str::to_owned),
        None => {
            skipped(format_args!("no device (Debian: pocl-opencl-icd, ocl-icd-libopencl1): {}", message(&listed)));
            None
        }
    }
}

#[test]
fn devices_are_listed_and_measured() {
    let Some(name) = device() else { return };
    let listed = stackctl(Path::new(".")).args(["devices", "--json", "--measure"]).output().unwrap();
    let devices: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(devices[0]["name"], name);
    assert!(devices[0]["memory_bytes"].as_u64() > Some(0) && devices[0]["to_bytes_per_s"].as_u64() > Some(0));
    let table = stackctl(Path::new(".")).arg("devices").output().unwrap();
    assert!(String::from_utf8_lossy(&table.stdout).contains(&name[..8]), "{table:?}");
}

/// Compares what the device makes with what the processors make, one in so many times.
fn compared(device: &str, one_of: &str) {
    let work = tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_stackctl"));
    common::python("device.py", &[program, work.path(), Path::new(device), Path::new(one_of)]);
}

/// One in 23 comparisons, or as `STACKCTL_DEVICE_CHECKS` says: 1 for all.
#[test]
fn devices_make_what_processors_make() {
    let Some(name) = device() else { return };
    compared(&name, &std::env::var("STACKCTL_DEVICE_CHECKS").unwrap_or_else(|_| "23".into()));
}

/// A folder with `a.npy`, float32 of shape (8, 40, 50).
fn array() -> tempfile::TempDir {
    let folder = tempdir().unwrap();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (8, 40, 50), }}{:>50}", "\n");
    let mut bytes = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    (0..8 * 40 * 50).for_each(|i| bytes.extend(((i * 7919 % 1013) as f32).to_le_bytes()));
    fs::write(folder.path().join("a.npy"), bytes).unwrap();
    folder
}

const SMOOTH: [&str; 6] = ["calc", "gaussian(a, 2)", "a.npy", "-o", "out.npy", "--overwrite"];

/// What the processors make of [`SMOOTH`].
fn expected(folder: &Path) -> Vec<u8> {
    stackctl(folder).args(SMOOTH).succeeds();
    fs::read(folder.join("out.npy")).unwrap()
}

#[test]
fn without_a_device_it_is_said_what_there_is() {
    let folder = array();
    let expected = expected(folder.path());
    // A loader that finds no platform.
    let mut none = stackctl(folder.path());
    let output = none.args(SMOOTH).args(["--device", "gpu"]).env("OCL_ICD_VENDORS", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = message(&output);
    assert!(text.contains("--device") && (text.contains("libOpenCL.so.1") || text.contains("has none")), "{text}");
    let mut auto = stackctl(folder.path());
    auto.args(SMOOTH).args(["--device", "auto"]).env("OCL_ICD_VENDORS", "/nonexistent").succeeds();
    assert!(fs::read(folder.path().join("out.npy")).unwrap() == expected);
    // No library at all.
    let broken = tempdir().unwrap();
    for name in ["libOpenCL.so.1", "libOpenCL.so"] {
        fs::write(broken.path().join(name), "none").unwrap();
    }
    let run = |device: &str| {
        let mut run = stackctl(folder.path());
        run.args(SMOOTH).args(["--device", device]).env("LD_LIBRARY_PATH", broken.path()).output().unwrap()
    };
    let told = message(&run("gpu"));
    assert!(told.contains("libOpenCL.so.1 or libOpenCL.so is not where the system looks for libraries"), "{told}");
    let auto = run("auto");
    assert!(auto.status.success() && message(&auto).contains("the processors do all of it"), "{}", message(&auto));
    if let Some(name) = device() {
        let output = stackctl(folder.path()).args(SMOOTH).args(["--device", "no-such-name"]).output().unwrap();
        assert!(message(&output).contains(&name), "{}", message(&output));
    }
}

#[test]
fn what_has_no_kernel_says_so() {
    let (Some(name), folder) = (device(), array()) else { return };
    let command = ["calc", "cumsum(a, z)", "a.npy", "-o", "out.npy", "--device", &name];
    let output = stackctl(folder.path()).args(command).output().unwrap();
    assert!(output.status.success() && message(&output).contains("made no part"), "{}", message(&output));
    let reduce = ["reduce", "a.npy", "--op", "mode", "--axis", "z", "-o", "mode.npy", "--device", &name];
    let output = stackctl(folder.path()).args(reduce).output().unwrap();
    assert!(output.status.success() && message(&output).contains("the processors"), "{}", message(&output));
}

#[test]
fn what_computes_nothing_on_devices_refuses_them() {
    let folder = array();
    let copied = ["convert", "a.npy", "-o", "copy.zarr"];
    let refused = stackctl(folder.path()).args(copied).args(["--device", "gpu"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(message(&refused).contains("--device: no part of this is for devices"), "{}", message(&refused));
    let left = stackctl(folder.path()).args(copied).args(["--device", "auto"]).output().unwrap();
    assert!(left.status.success() && message(&left).contains("the processors do it"), "{}", message(&left));
}

#[test]
fn several_devices_take_parts_of_one_plan() {
    let (Some(_), folder) = (device(), array()) else { return };
    let expected = expected(folder.path());
    let mut two = stackctl(folder.path());
    // PoCL makes as many devices of the processors as are named.
    two.env("POCL_DEVICES", "pthread pthread").args(SMOOTH).args(["--device", "pthread", "--json", "--memory", "64M"]);
    let output = two.output().unwrap();
    let text = message(&output);
    if text.contains("no such device") {
        return skipped("no PoCL");
    }
    assert!(output.status.success(), "{text}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let devices = &told["counts"]["devices"];
    assert!(devices["names"].as_array().map(Vec::len) == Some(2) && devices["parts"].as_u64() > Some(0), "{told}");
    assert!(fs::read(folder.path().join("out.npy")).unwrap() == expected);
}

/// A library that is OpenCL's, but for two things: processors call themselves a graphics processor, and what `FAIL` names
/// fails after so many calls, as in `clFinish:3`. A program whose source fails is built of nonsense; `load` ends the
/// process that loads it.
const SHIM: &str = r#"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
static void *real(const char *name) {
    static void *library;
    if (!library) library = dlopen(REAL, RTLD_NOW);
    return dlsym(library, name);
}
__attribute__((constructor)) static void loaded(void) {
    if (getenv("FAIL") && !strcmp(getenv("FAIL"), "load")) abort();
}
static int fails(const char *name) {
    static int n;
    const char *which = getenv("FAIL"), *after = which ? strchr(which, ':') : 0;
    if (!after || strncmp(which, name, after - which) || name[after - which]) return 0;
    return __sync_fetch_and_add(&n, 1) >= atoi(after + 1);
}
typedef long (*any)(long, long, long, long, long, long, long, long, long, long);
#define FORWARD(name, code) long name(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j) \
    { long given = ((any)real(#name))(a, b, c, d, e, f, g, h, i, j); return fails(#name) ? code : given; }
FORWARD(clGetPlatformIDs, -1) FORWARD(clGetPlatformInfo, -1) FORWARD(clGetDeviceIDs, -1) FORWARD(clCreateContext, 0)
FORWARD(clReleaseContext, -1) FORWARD(clCreateCommandQueue, 0) FORWARD(clReleaseCommandQueue, -1)
FORWARD(clReleaseMemObject, -1) FORWARD(clBuildProgram, -11) FORWARD(clGetProgramBuildInfo, -1)
FORWARD(clReleaseProgram, -1) FORWARD(clCreateKernel, 0) FORWARD(clReleaseKernel, -1) FORWARD(clSetKernelArg, -1)
FORWARD(clEnqueueWriteBuffer, -5) FORWARD(clEnqueueReadBuffer, -5) FORWARD(clEnqueueMapBuffer, 0)
FORWARD(clEnqueueUnmapMemObject, -5) FORWARD(clFinish, -36) FORWARD(clGetEventProfilingInfo, -7) FORWARD(clReleaseEvent, -1)
FORWARD(clEnqueueNDRangeKernel, -5)
void *clCreateBuffer(void *context, unsigned long flags, size_t n, void *host, int *code) {
    if (fails("clCreateBuffer")) { *code = -4; return 0; }
    return ((void *(*)(void *, unsigned long, size_t, void *, int *))real("clCreateBuffer"))(context, flags, n, host, code);
}
void *clCreateProgramWithSource(void *context, unsigned n, const char **text, const size_t *lengths, int *code) {
    const char *nonsense = "__kernel void run(no_such_type *out) {}";
    size_t length = strlen(nonsense);
    int fail = fails("clCreateProgramWithSource");
    return ((void *(*)(void *, unsigned, const char **, const size_t *, int *))real("clCreateProgramWithSource"))(
        context, n, fail ? &nonsense : text, fail ? &length : lengths, code);
}
int clGetDeviceInfo(void *device, unsigned what, size_t n, void *value, size_t *length) {
    int code = ((int (*)(void *, unsigned, size_t, void *, size_t *))real("clGetDeviceInfo"))(device, what, n, value, length);
    if (what == 0x1000 && value) *(unsigned long *)value = 4;
    return code;
}
"#;

/// A folder in which a library is that fails, if one can be made here.
fn shim() -> Option<tempfile::TempDir> {
    device()?;
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let real = folders.map(|folder| Path::new(folder).join("libOpenCL.so.1")).into_iter().find(|path| path.exists());
    let folder = tempdir().unwrap();
    let source = folder.path().join("shim.c");
    fs::write(&source, SHIM).unwrap();
    let build = |real: PathBuf| {
        let define = format!("-DREAL=\"{}\"", real.display());
        let library = folder.path().join("libOpenCL.so.1");
        let command = ["-shared", "-fPIC", "-w", &define, "-o"].map(str::to_owned);
        Command::new("cc").args(command).arg(library).arg(&source).arg("-ldl").status().ok()
    };
    if real.and_then(build).is_some_and(|status| status.success()) {
        return Some(folder);
    }
    skipped("no library can be built that stands before OpenCL's");
    None
}

/// What fails, after how many calls, and what is said.
const FAILURES: [(&str, &str); 5] = [
    ("clCreateBuffer:4", "gives -4: out of memory on the device"),
    ("clCreateProgramWithSource:1", "no_such_type"),
    ("clEnqueueNDRangeKernel:1", "clEnqueueNDRangeKernel gives -5: out of resources"),
    ("clEnqueueReadBuffer:2", "clEnqueueReadBuffer gives -5"),
    ("clFinish:0", "clFinish gives -36: the device is lost"),
];

#[test]
fn a_device_that_fails_ends_the_run_or_leaves_it_to_the_processors() {
    let (Some(library), folder) = (shim(), array()) else { return };
    let commands = [
        ("out.npy", &SMOOTH[..]),
        ("mid.npy", &["reduce", "a.npy", "--op", "median", "--axis", "0", "-o", "mid.npy", "--overwrite"]),
        ("far.npy", &["pairwise", "a.npy", "--along", "z", "-o", "far.npy", "--overwrite"]),
    ];
    for (output, command) in commands {
        let output = folder.path().join(output);
        stackctl(folder.path()).args(command).succeeds();
        let expected = fs::read(&output).unwrap();
        let run = |device: &str, fail: &str| {
            let mut run = stackctl(folder.path());
            run.env("LD_LIBRARY_PATH", library.path()).env("FAIL", fail);
            run.args(command).args(["--device", device, "--threads", "2"]);
            run.output().unwrap()
        };
        let told = message(&run("gpu", ""));
        assert!(told.contains(" made ") && !told.contains("the processors"), "{told}");
        for (fail, says) in FAILURES {
            // Few kernels are run here.
            let fail = if output.ends_with("out.npy") { fail } else { fail.split_once(':').map_or(fail, |f| f.0) };
            let fail = if fail.contains(':') { fail.to_owned() } else { format!("{fail}:0") };
            fs::remove_file(&output).unwrap();
            let failed = run("gpu", &fail);
            assert_eq!(failed.status.code(), Some(1), "{fail}: {}", message(&failed));
            assert!(message(&failed).contains(says) && !output.exists(), "{fail}: {}", message(&failed));
            let left = run("auto", &fail);
            let told = message(&left);
            assert!(
                left.status.success() && told.contains("the processors went on: ") && told.contains(says),
                "{fail}: {told}"
            );
            assert!(fs::read(&output).unwrap() == expected, "{fail}");
        }
    }
    // Nobody loads what was not asked for: drivers take memory and time.
    let mut plain = stackctl(folder.path());
    plain.env("LD_LIBRARY_PATH", library.path()).env("FAIL", "load").args(SMOOTH).succeeds();
    // Adding costs less than the way there and back.
    let mut cheap = stackctl(folder.path());
    cheap.env("LD_LIBRARY_PATH", library.path());
    cheap.args(["calc", "a + 1", "a.npy", "-o", "out.npy", "--overwrite", "--device", "auto", "--threads", "8"]);
    let output = cheap.output().unwrap();
    assert!(message(&output).contains("made no part"), "{}", message(&output));
}

#[test]
fn a_part_that_the_device_cannot_hold_is_refused() {
    let (Some(name), folder) = (device(), array()) else { return };
    let bound = ["--device", &name, "--device-memory", "21M"];
    let whole = ["calc", "gaussian(pad(a, z=30, y=300, x=300), 1)", "a.npy", "-o", "large.npy"];
    let output = stackctl(folder.path()).args(whole).args(bound).output().unwrap();
    let text = message(&output);
    assert!(output.status.code() == Some(2) && text.contains("--device-memory"), "{text}");
}

/// No kernel reads or writes beyond its memory, and no two work items the same place: Oclgrind watches each access. One in
/// 150 comparisons, or a tenth of those that `STACKCTL_DEVICE_CHECKS` asks for.
#[test]
fn kernels_keep_within_bounds() {
    if Command::new("oclgrind").arg("--version").output().is_err() {
        return skipped("no Oclgrind (Debian: oclgrind, ocl-icd-libopencl1)");
    }
    let one_of = std::env::var("STACKCTL_DEVICE_CHECKS").map_or("150".into(), |one_of| format!("{one_of}0"));
    compared("oclgrind", &one_of);
}
