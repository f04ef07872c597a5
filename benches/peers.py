#!/usr/bin/env python3
"""stackctl beside other ways to do the same, on data made here: `benches/peers.py [--size GB] [FOLDER]`.

Each way runs as a process of its own, in turn with the others, several times over; every output is compared with the
pixels that were made. Printed are medians of wall and processor time, peak memory, size, and ratios to stackctl.
Peers that are not installed are left out and named. Needs numpy and tifffile; peers: zarr, tensorstore, dask.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNK = (1, 1, 16, 256, 256)
T, C, Z, Y, X = 3, 2, 32, 512, 512


def name(t, c):
    return f"sample_ch{c}_t{t:04d}.tif"


def planes(t, c, seed):
    """A volume of a specimen that moves, and a camera's noise: (z, y, x), uint16."""
    import numpy as np

    rng = np.random.default_rng([seed, t, c])
    z, y, x = np.ogrid[:Z, :Y, :X]
    blobs = sum(
        np.exp(-((z - cz) ** 2 / 40 + (y - cy) ** 2 / 900 + (x - cx - 3 * t) ** 2 / 900))
        for cz, cy, cx in rng.uniform((4, 60, 60), (Z - 4, Y - 60, X - 60), (6, 3))
    )
    return rng.poisson(110 + 400 * blobs.astype("float32")).astype("uint16")


def make(folder, n_times):
    import tifffile

    folder.mkdir(parents=True, exist_ok=True)
    for t in range(n_times):
        for c in range(C):
            path = folder / name(t, c)
            if not path.exists():
                tifffile.imwrite(path, planes(t, c, 7), photometric="minisblack")


# Each of these is called in a process of its own.


def tensorstore_peer(raw, output, threads, n_times):
    from concurrent.futures import ThreadPoolExecutor

    import tensorstore as ts
    import tifffile

    store = ts.open(
        {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": output, "file_io_sync": False},
            "metadata": {
                "shape": [n_times, C, Z, Y, X],
                "chunks": list(CHUNK),
                "dtype": "<u2",
                "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2},
            },
            "context": {"data_copy_concurrency": {"limit": threads}, "file_io_concurrency": {"limit": threads}},
        },
        create=True,
        delete_existing=True,
    ).result()

    def one(at):
        t, c = at
        store[t, c].write(tifffile.imread(os.path.join(raw, name(t, c)))).result()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, [(t, c) for t in range(n_times) for c in range(C)]))


def zarr_peer(raw, output, threads, n_times):
    from concurrent.futures import ThreadPoolExecutor

    import tifffile
    import zarr
    from zarr.codecs import BloscCodec

    zarr.config.set({"threading.max_workers": threads, "async.concurrency": threads})
    array = zarr.create_array(
        output,
        shape=(n_times, C, Z, Y, X),
        chunks=CHUNK,
        dtype="uint16",
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        overwrite=True,
    )

    def one(at):
        t, c = at
        array[t, c] = tifffile.imread(os.path.join(raw, name(t, c)))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, [(t, c) for t in range(n_times) for c in range(C)]))


def dask_peer(raw, output, threads, n_times):
    import dask
    import dask.array as da
    import tifffile
    import zarr
    from zarr.codecs import BloscCodec

    read = dask.delayed(tifffile.imread)

    def lazy(t, c):
        return da.from_delayed(read(os.path.join(raw, name(t, c))), (Z, Y, X), "uint16")

    array = da.stack([da.stack([lazy(t, c) for c in range(C)]) for t in range(n_times)]).rechunk(CHUNK)
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    store = zarr.create_array(
        output, shape=array.shape, chunks=CHUNK, dtype="uint16", compressors=codec, overwrite=True
    )
    with dask.config.set(scheduler="threads", num_workers=threads):
        da.store(array, store, lock=False)


PEERS = {
    "tifffile + tensorstore, without syncing": (tensorstore_peer, ["tensorstore"]),
    "tifffile + zarr-python": (zarr_peer, ["zarr"]),
    "dask, as in the post": (dask_peer, ["dask", "zarr"]),
}


def stackctl(binary, *options):
    def command(raw, output, threads, _):
        chunks = ",".join(map(str, CHUNK))
        fixed = ["--axes", "t,c,z,y,x", "--chunks", chunks, "--levels", "none", "--threads", str(threads), "--quiet"]
        return [binary, "stitch", raw, "-o", output, *fixed, *options]

    return command


def measured(command):
    """Runs a command: wall and processor seconds, and peak memory in MiB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status:
        sys.exit(f"{' '.join(command)}\nended with {os.waitstatus_to_exitcode(status)}:\n{told.decode()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def is_right(output, n_times):
    import numpy as np
    import zarr

    node = zarr.open(output, mode="r")
    array = node["0"] if isinstance(node, zarr.Group) else node
    return all((np.asarray(array[t, c]) == planes(t, c, 7)).all() for t in range(n_times) for c in range(C))


def size(output):
    files = [os.path.join(root, f) for root, _, names in os.walk(output) for f in names]
    return sum(map(os.path.getsize, files)) / 2**20, len(files)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="where data and outputs go [default: a folder in /dev/shm or /tmp]")
    parser.add_argument("--size", type=float, default=0.8, help="GB of pixels [default: 0.8]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--stackctl", default="target/release/stackctl")
    parser.add_argument("--json", help="write every figure here")
    parser.add_argument("--step", choices=["make", "check"], help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    args = parser.parse_args()
    n_times = max(1, round(args.size * 1e9 / (2 * C * Z * Y * X)))
    if args.step == "make":
        return make(Path(args.folder), n_times)
    if args.step == "check":
        return sys.exit(0 if is_right(args.output, n_times) else 1)
    if args.peer:
        return PEERS[args.peer][0](args.folder, args.output, args.threads, n_times)
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(args.folder or tempfile.mkdtemp(prefix="peers-", dir=place))
    raw = root / "raw"


    def step(what, *options):
        command = [sys.executable, __file__, str(raw), "--size", str(args.size), "--step", what, *options]
        return subprocess.run(command).returncode == 0

    # What a child takes at first is what this process has: it loads no array.
    if not step("make"):
        sys.exit("cannot make the data")
    contestants = {
        "stackctl, sharded (default)": stackctl(args.stackctl),
        "stackctl, a file per chunk": stackctl(args.stackctl, "--shards", "none"),
        "stackctl --codec smaller": stackctl(args.stackctl, "--codec", "smaller", "--shards", "none"),
        "stackctl --codec blosc:exact": stackctl(args.stackctl, "--codec", "blosc:exact", "--shards", "none"),
    }
    for label, (_, modules) in PEERS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            print(f"left out: {label}: {', '.join(missing)} not installed", file=sys.stderr)
            continue
        contestants[label] = lambda raw, output, threads, _, label=label: [
            sys.executable, __file__, raw, "--peer", label, "--output", output,
            "--threads", str(threads), "--size", str(args.size),
        ]
    figures = {label: [] for label in contestants}
    outputs = {}
    for i in range(args.rounds):
        for label, command in contestants.items():
            output = str(root / "output.zarr")
            shutil.rmtree(output, ignore_errors=True)
            figures[label].append(measured(command(str(raw), output, args.threads, n_times)))
            if i == 0:
                outputs[label] = (*size(output), step("check", "--output", output))
    shutil.rmtree(root / "output.zarr", ignore_errors=True)
    if args.folder is None:
        shutil.rmtree(root)
    middle = {label: [statistics.median(column) for column in zip(*rows)] for label, rows in figures.items()}
    first = middle["stackctl, a file per chunk"]
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "")
    print(f"{n_times} x {C} x ({Z}, {Y}, {X}) uint16, {n_times * C * Z * Y * X * 2 / 1e9:.2f} GB in {root.parent};")
    print(f"{args.threads} threads on {processor or platform.machine()}, medians of {args.rounds}, {time.strftime('%F')}\n")
    print("| | wall s | processor s | peak MiB | output MiB | files | wall, processor / stackctl | pixels |")
    print("|---|---|---|---|---|---|---|---|")
    for label, (wall, cpu, peak) in middle.items():
        mib, files, right = outputs[label]
        ratio = f"{wall / first[0]:.2f}, {cpu / first[1]:.2f}"
        told = "equal" if right else "WRONG"
        print(f"| {label} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {mib:.0f} | {files} | {ratio} | {told} |")
    if args.json:
        Path(args.json).write_text(json.dumps({"rounds": figures, "outputs": outputs}, indent=1))
    sys.exit(0 if all(right for *_, right in outputs.values()) else 1)


if __name__ == "__main__":
    main()
