"""Times of a device: kernels, beside CuPy's where it is installed; then whole commands beside their longest stage. Arguments:
the program, a folder, a device's name, and how many planes of 4 MiB go through from end to end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

EXE, WORK, DEVICE, PLANES = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
TIMES = 3
RNG = np.random.default_rng(1)
try:
    import cupy
    import cupyx.scipy.ndimage as filters
except ImportError:
    cupy = filters = None


def run(arguments, device):
    """The profile of the fastest of some runs, by stage, with what it took as a whole."""
    runs = []
    for _ in range(TIMES):
        command = [EXE, *arguments, "--overwrite", "--profile", "--json", "--device", device]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, cwd=WORK)
        wall = time.monotonic() - begun
        assert done.returncode == 0, done.stderr.decode()
        told = json.loads(done.stdout)
        profile = told.get("figures", told)["profile"]
        stages = {s["stage"]: s["cpu_s"] + s["wait_s"] for s in profile["stages"]}
        runs.append((wall, stages, profile))
    return min(runs, key=lambda r: r[0]), min(r[1].get("kernel", 0) for r in runs)


def cupy_s(make, array):
    """Seconds that CuPy's kernels take on what lies on the device."""
    if cupy is None:
        return None
    there = cupy.asarray(array)
    taken = []
    for _ in range(5):
        begun, ended = cupy.cuda.Event(), cupy.cuda.Event()
        begun.record()
        make(there)
        ended.record()
        ended.synchronize()
        taken.append(cupy.cuda.get_elapsed_time(begun, ended) / 1e3)
    return min(taken)


np.save(WORK / "plane.npy", RNG.integers(-128, 128, (10000, 10000), dtype=np.int8))
np.save(WORK / "whole.npy", RNG.integers(0, 4096, (64, 512, 512), dtype=np.uint16))
np.save(WORK / "float.npy", np.load(WORK / "whole.npy").astype("float32"))
np.save(WORK / "big.npy", RNG.integers(0, 4096, (PLANES, 1024, 2048), dtype=np.uint16))
for name, chunks in [("big.zarr", "32,512,512"), ("tall.zarr", f"{PLANES},128,512")]:
    command = [EXE, "calc", "a", "a=big.npy", "-o", name, "--codec", "none", "--chunks", chunks, "--shards", "none", "-q"]
    subprocess.run(command, check=True, cwd=WORK)

# Each with what one H100 took when this was begun.
KERNELS = [
    ("3 x 3 mean of (10000, 10000) int8", 0.36e-3, ["calc", "uniform(a, 3)", "plane.npy", "-o", "out.npy"],
     lambda a: filters.uniform_filter(a, 3)),
    ("gaussian, sigma 2, of (64, 512, 512) float32", 1.23e-3, ["calc", "gaussian(a, 2)", "float.npy", "-o", "out.npy"],
     lambda a: filters.gaussian_filter(a, 2)),
    ("median 3 x 3 x 3 of (64, 512, 512) uint16", 1.58e-3, ["calc", "median(a, 3)", "whole.npy", "-o", "out.npy"],
     lambda a: filters.median_filter(a, 3)),
    (f"mean of {PLANES} planes of 4 MiB", 0.41e-3 * PLANES / 192, ["reduce", "tall.zarr", "--op", "mean", "--axis", "0", "-o", "out.npy"],
     lambda a: a.mean(0)),
]
for name, goal, arguments, make in KERNELS:
    _, own = run([*arguments, "--memory", "16G"], DEVICE)
    peer = cupy_s(make, np.load(WORK / (arguments[2] if arguments[0] == "calc" else "big.npy")))
    beside = "CuPy is not installed" if peer is None else f"CuPy {peer * 1e3:.2f} ms"
    print(f"{name}: kernels {own * 1e3:.2f} ms, {beside}, goal {goal * 1e3:.2f} ms", flush=True)

N_THREADS = len(os.sched_getaffinity(0))
for arguments in [
    ["calc", "gaussian(a, 2)", "big.zarr", "-o", "out.zarr", "--codec", "none"],
    ["calc", "median(a, 3)", "big.zarr", "-o", "out.zarr", "--codec", "none"],
    ["calc", "sqrt(a) * 2 + 1", "big.zarr", "-o", "out.zarr", "--codec", "none"],
    ["reduce", "big.zarr", "--op", "median", "--axis", "0", "-o", "out.npy"],
]:
    (cpu_wall, _, _), _ = run(arguments, "cpu")
    (wall, stages, profile), _ = run(arguments, DEVICE)
    # Kernels take turns on the device; the rest is done by all workers at once.
    alone = {stage: s if stage == "kernel" else s / N_THREADS for stage, s in stages.items() if stage != "wait"}
    longest = max(alone, key=alone.get)
    told = ", ".join(f"{stage} {s:.3f}" for stage, s in alone.items())
    print(f"{' '.join(arguments[:3])}: {wall:.3f} s, processors {cpu_wall:.3f} s, {wall / alone[longest]:.2f} times {longest} ({told}; "
          f"processor time {profile['user_s'] + profile['system_s']:.2f} s)", flush=True)
