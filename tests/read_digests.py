"""Computes the digests of outputs and inputs anew: CRC-64/NVME of all elements, row-major and little-endian."""
import json
import os
import sys

import tifffile
import zarr

from crc64 import crc

folder = sys.argv[1]


def opened(name):
    node = zarr.open(os.path.join(folder, name), mode="r")
    array = node["0"] if hasattr(node, "array_keys") else node
    return array[...], node.attrs["stackctl"]


whole, own = opened("out.zarr")
digest = crc(whole)
assert own["crc64nvme"] == digest, (own["crc64nvme"], digest)
for name in ("v0", "v1", "v2", "v3", "copy"):
    pixels, other = opened(name + ".zarr")
    assert (pixels == whole).all() and other["crc64nvme"] == digest, name
for name in ("out", "v0", "v1", "v2"):
    inputs = opened(name + ".zarr")[1]["inputs"]
    assert len(inputs) == 6
    for entry in inputs:
        path = os.path.join(folder, entry["path"])
        assert entry["bytes"] == os.path.getsize(path)
        assert entry["modified_unix_s"] == int(os.path.getmtime(path))
        assert entry["crc64nvme"] == crc(tifffile.imread(path)), (name, entry)
assert all("crc64nvme" not in entry for entry in opened("v3.zarr")[1]["inputs"])
pixels, own = opened("part.zarr")
assert own["crc64nvme"] == crc(pixels)
assert all("crc64nvme" not in entry for entry in own["inputs"])
mean, own = opened("mean.zarr")
assert own["crc64nvme"] == crc(mean)
assert [e["crc64nvme"] for e in own["inputs"]] == [e["crc64nvme"] for e in opened("out.zarr")[1]["inputs"]]
# The chain of a copy leads to the files.
(entry,) = opened("copy.zarr")[1]["inputs"]
assert entry["crc64nvme"] == digest == entry["provenance"]["crc64nvme"]
assert entry["provenance"]["inputs"] == opened("v0.zarr")[1]["inputs"]
