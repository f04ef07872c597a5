"""Stitches real files of the corpus alone and compares the Zarr, read by zarr-python, with the truth: with STACKCTL_FILES=all
every one, else one in three of those that lie together and end as one must.

Usage: stitch_corpus.py STACKCTL CORPUS    prints a table by kind of file; exits with 1 if a file that must
decode does not, or if any file gives other pixels than its truth.
"""

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr


def in_order_of(array, names, truth):
    """The array with its axes in the order of tifffile's, axes of length 1 left out."""
    lengths = dict(zip(names, array.shape))
    letters = [a for a, n in zip(truth["axes"], truth["series0"]["shape"]) if n != 1]
    ours = {"T": "t", "C": "c", "Z": "z", "Y": "y", "X": "x"}
    ours["S"] = "s" if "s" in names else "c"
    wanted = [ours.get(letter) for letter in letters]
    rest = [n for n in names if lengths[n] != 1 and n not in wanted]
    # Letters without a name of ours (I, Q, ..) are whatever is left, in order.
    wanted = [w if w is not None and lengths.get(w, 1) != 1 else (rest.pop(0) if rest else None) for w in wanted]
    if None in wanted or rest:
        return None
    squeezed = [n for n in names if lengths[n] != 1]
    array = array.reshape([lengths[n] for n in squeezed])
    return array.transpose([squeezed.index(w) for w in wanted])


def check(exe, path, file, folder):
    out = folder / "out.zarr"
    shutil.rmtree(out, ignore_errors=True)
    # What one thread makes, all do; syncing so many small files takes longer than making them.
    command = [exe, "stitch", path, "-o", out, "-q", "--codec", "none", "--memory", "2G", "--threads", "1"]
    command += ["--durability", "none"]
    try:
        run = subprocess.run(command, capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return "wrong", "takes longer than 20 s"
    text = run.stderr.decode(errors="replace").strip()
    if run.returncode not in (0, 1, 2) or (run.returncode == 0) != out.exists():
        return "wrong", f"exit code {run.returncode}: {text[:200]}"
    if run.returncode:
        return "refused", text.splitlines()[0][:200]
    truth = file.get("truth") or {}
    if "series0" not in truth or file.get("unstable"):
        return "decoded", ""
    array = zarr.open_group(out, mode="r")["0"]
    names = array.metadata.dimension_names
    data = in_order_of(array[...], names, truth)
    if data is None:
        return "wrong", f"{dict(zip(names, array.shape))}, truth {truth['axes']} {truth['series0']['shape']}"
    if data.dtype.name != truth["series0"]["dtype"]:
        return "wrong", f"dtype {data.dtype.name}, truth {truth['series0']['dtype']}"
    digest = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
    if digest != truth["series0"]["sha256"]:
        return "wrong", f"other pixels, {dict(zip(names, array.shape))}, truth {truth['axes']} {truth['series0']['shape']}"
    return "equal", ""


def main():
    exe, corpus = sys.argv[1], Path(sys.argv[2])
    manifest = json.loads((corpus / "manifest.json").read_text())
    table = collections.defaultdict(collections.Counter)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        alike = collections.Counter()
        for file in manifest["files"]:
            kind = Path(file["path"]).parent, file["expect"]
            alike[kind] += 1
            if alike[kind] % 3 != 1 and os.environ.get("STACKCTL_FILES") != "all":
                continue
            outcome, why = check(exe, corpus / file["path"], file, Path(folder))
            group = file["path"].split("/")[0]
            table[group, file["expect"]][outcome] += 1
            must = file["expect"] == "decode" and outcome != "equal"
            other = outcome == "wrong" and file["expect"] != "contested"
            if must or other:
                problems.append(f"{file['path']} ({file['expect']}): {outcome}: {why}")
            elif outcome == "refused" and file["expect"] == "decode-or-unsupported":
                print(f"  refused {file['path']}: {why.split(': ', 2)[-1]}")
    for (group, expect), counts in sorted(table.items()):
        print(f"{group:9} {expect:22}", *(f"{n} {outcome}," for outcome, n in sorted(counts.items())))
    for line in problems:
        print("PROBLEM", line)
    sys.exit(bool(problems))


main()
