"""Writes the elements 0, 1, .. as uint16 (3, 37, 50) in many formats. Argument: a folder."""

import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np

WORK = Path(sys.argv[1])
A = np.arange(3 * 37 * 50, dtype="uint16").reshape(3, 37, 50)

np.save(WORK / "c.npy", A)
np.save(WORK / "fortran.npy", np.asfortranarray(A))
np.save(WORK / "big.npy", A.astype(">u2"))
with open(WORK / "version2.npy", "wb") as file:
    np.lib.format.write_array(file, A, version=(2, 0))

for name, unlimited in [("fixed", False), ("records", True)]:
    with netCDF4.Dataset(WORK / f"{name}.nc", "w", format="NETCDF3_64BIT_DATA") as file:
        for dim, length in zip("abc", A.shape):
            file.createDimension(dim, None if unlimited and dim == "a" else length)
        file.createVariable("v", "u2", ("a", "b", "c"))[:] = A
        # Records of another variable lie between those of the first.
        if unlimited:
            file.createVariable("odd", "i1", ("a",))[:] = 1

FILTERS = {
    "plain": {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "scaleoffset": {"scaleoffset": 0},
}
for libver in ["earliest", "latest"]:
    with h5py.File(WORK / f"contiguous_{libver}.h5", "w", libver=libver) as file:
        file.create_dataset("deep/er/v", data=A)
    for name, filters in FILTERS.items():
        for kind, maxshape in [("fixed", None), ("grows", (None, 37, 50)), ("both", (None, None, 50))]:
            with h5py.File(WORK / f"{name}_{kind}_{libver}.h5", "w", libver=libver) as file:
                file.create_dataset("v", data=A, chunks=(2, 16, 20), maxshape=maxshape, **filters)
with h5py.File(WORK / "single_latest.h5", "w", libver="latest") as file:
    file.create_dataset("v", data=A, chunks=A.shape, compression="gzip")
with h5py.File(WORK / "big_earliest.h5", "w") as file:
    file.create_dataset("v", data=A.astype(">u2"), chunks=(1, 37, 50), compression="gzip")
with h5py.File(WORK / "template.h5", "w") as file:
    for i in range(3):
        file.create_dataset(f"t{i:05}/s0/cells", data=A[i], chunks=(16, 16), compression="gzip")
