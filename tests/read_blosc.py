"""Reads every array of one chunk below a folder with numcodecs, python-blosc2, zarr-python and tensorstore, and
compares it with the bytes beside it."""

import pathlib
import sys

import blosc2
import numcodecs.blosc
import numpy as np
import tensorstore
import zarr

folder = pathlib.Path(sys.argv[1])
arrays = sorted(folder.iterdir())
for array in arrays:
    raw = (array / "raw").read_bytes()
    size = int(array.name.split("_")[1])
    expected = np.frombuffer(raw, f"<u{size}")
    container = (array / "v2" / "0").read_bytes()
    assert bytes(numcodecs.blosc.decompress(container)) == raw, f"{array.name}: numcodecs"
    assert blosc2.decompress(container) == raw, f"{array.name}: blosc2"
    for version, driver in [("v2", "zarr"), ("v3", "zarr3")]:
        read = zarr.open_array(array / version, mode="r")[:]
        assert np.array_equal(read, expected), f"{array.name}: zarr-python, {version}"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{array / version}/"}}
        read = tensorstore.open(spec, open=True).result().read().result()
        assert np.array_equal(read, expected), f"{array.name}: tensorstore, {version}"
print(f"{len(arrays)} containers read by four readers")
