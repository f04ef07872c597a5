"""Compares stitched outputs, read by zarr-python and tensorstore, with what tifffile and numpy make of the files.

Usage: read_stitched.py RAW OUT.zarr...    (axes t c z y x; names with _ch{c}_ and _stack{t}_)
"""

import re
import sys
from pathlib import Path

import numpy as np
import tensorstore
import tifffile
import zarr


def main():
    raw, *outputs = map(Path, sys.argv[1:])
    stacks = {}
    for path in raw.glob("*.tif"):
        c, t = map(int, re.search(r"_ch(\d+)_.*_stack(\d+)_", path.name).groups())
        stacks[t, c] = np.stack([page.asarray() for page in tifffile.TiffFile(path).pages])
    times, channels = (sorted({key[i] for key in stacks}) for i in (0, 1))
    expected = np.stack([np.stack([stacks[t, c] for c in channels]) for t in times])
    for output in outputs:
        group = zarr.open_group(output, mode="r")
        found = group["0"][...]
        assert found.dtype == expected.dtype and np.array_equal(found, expected), f"zarr-python: {output}"
        driver = "zarr" if (output / ".zgroup").exists() else "zarr3"
        store = tensorstore.open({"driver": driver, "kvstore": f"file://{output}/0/"}).result()
        found = store.read().result()
        assert found.dtype == expected.dtype and np.array_equal(found, expected), f"tensorstore: {output}"
    print(f"{len(outputs)} arrays of shape {expected.shape} read by zarr-python and tensorstore")


main()
