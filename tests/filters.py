"""Writes Zarr v2 arrays with the compressors and filters of numcodecs, each beside the raw bytes that zarr-python reads.

Usage: filters.py folder
"""

import sys
from pathlib import Path

import numcodecs
import numpy as np
import zarr

FOLDER = Path(sys.argv[1])
WHOLE = (np.arange(4 * 20 * 24).reshape(4, 20, 24) % 500 - 100).astype("i4")
FLOAT = np.linspace(0, 10, WHOLE.size).reshape(WHOLE.shape)
ARRAYS = {
    "lz4": (WHOLE, [], numcodecs.LZ4()),
    "lzma": (WHOLE, [], numcodecs.LZMA()),
    "lzma-filter": (WHOLE, [numcodecs.LZMA()], None),
    "delta": (WHOLE, [numcodecs.Delta(dtype="i4")], numcodecs.Zlib()),
    "delta-narrow": (WHOLE, [numcodecs.Delta(dtype="i4", astype="i2")], numcodecs.Blosc()),
    "delta-big": (WHOLE.astype(">i4"), [numcodecs.Delta(dtype=">i4")], numcodecs.LZ4()),
    "delta-unsigned": (WHOLE.astype("u2"), [numcodecs.Delta(dtype="u2")], numcodecs.Zstd()),
    "delta-float": (FLOAT.astype("f4"), [numcodecs.Delta(dtype="f4")], numcodecs.Zlib()),
    "fixedscaleoffset": (FLOAT, [numcodecs.FixedScaleOffset(offset=1, scale=1000, dtype="f8", astype="i2")], numcodecs.Zlib()),
    "astype": (WHOLE, [numcodecs.AsType("i2", "i4")], numcodecs.Zlib()),
    "quantize": (FLOAT, [numcodecs.Quantize(3, "f8", "f4")], numcodecs.Zlib()),
    "bitround": (FLOAT, [numcodecs.BitRound(10)], numcodecs.Zlib()),
    "two": (WHOLE, [numcodecs.Delta(dtype="i4"), numcodecs.Shuffle(4)], numcodecs.LZ4()),
}
for name, (data, filters, compressor) in ARRAYS.items():
    path = FOLDER / f"{name}.zarr"
    array = zarr.create_array(
        str(path), shape=data.shape, chunks=(2, 10, 12), dtype=data.dtype, zarr_format=2, filters=filters, compressors=compressor
    )
    array[...] = data
    read = array[...]
    (FOLDER / f"{name}.raw").write_bytes(read.astype(read.dtype.newbyteorder("=")).tobytes())
