"""Makes TIFF files of many flavours, and opens what tests/link.rs links of them with zarr-python."""

import json
import sys
from pathlib import Path

import fsspec
import imagecodecs.numcodecs
import numpy as np
import tifffile
import zarr

what, folder = sys.argv[1], Path(sys.argv[2])


def values(shape, dtype):
    a = np.arange(np.prod(shape)).reshape(shape)
    return (a * 0.37 - 99).astype(dtype) if np.dtype(dtype).kind == "f" else (a * 7 + a // 50).astype(dtype)


# shape of a file, dtype, how tifffile writes it
GOOD = {
    "plain": ((48, 60), "u2", {}),
    "pages": ((5, 40, 60), "u1", {"contiguous": False}),
    "rows": ((48, 60), "u2", {"rowsperstrip": 10}),
    "apart": ((45, 60), "u2", {"rowsperstrip": 10}),
    "big_endian": ((3, 40, 60), "i2", {"byteorder": ">"}),
    "bigtiff": ((40, 60), "f8", {"bigtiff": True}),
    "tiles": ((3, 70, 90), "u2", {"tile": (32, 48)}),
    "deflate": ((3, 40, 60), "u2", {"compression": "zlib", "rowsperstrip": 10}),
    "deflate_big_endian": ((40, 60), "f4", {"compression": "zlib", "rowsperstrip": 20, "byteorder": ">"}),
    "zstd_tiles": ((70, 90), "u4", {"compression": "zstd", "tile": (32, 48)}),
    "lzw_tiles": ((70, 90), "u1", {"compression": "lzw", "tile": (16, 16)}),
    "lzw_predictor": ((2, 70, 90), "u2", {"compression": "lzw", "tile": (32, 32), "predictor": 2}),
    "deflate_predictor": ((40, 60), "i4", {"compression": "zlib", "rowsperstrip": 8, "predictor": 2}),
    "predictor_big_endian": ((40, 60), "u2", {"compression": "zlib", "rowsperstrip": 8, "predictor": 2, "byteorder": ">"}),
    "float_predictor": ((64, 64), "f4", {"compression": "zstd", "tile": (32, 32), "predictor": 3}),
    "rgb": ((40, 60, 3), "u1", {"photometric": "rgb"}),
    "rgb_predictor": ((64, 64, 3), "u2", {"photometric": "rgb", "compression": "lzw", "tile": (32, 32), "predictor": 2}),
    "planar": ((3, 40, 60), "u2", {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib", "rowsperstrip": 20}),
    "many": ((11, 1000, 8), "u2", {"compression": "zlib", "rowsperstrip": 1}),
    "hole": ((2, 40, 60), "u2", {"compression": "zlib", "rowsperstrip": 10}),
}
BAD = {
    "short": ((45, 60), "u2", {"compression": "zlib", "rowsperstrip": 10}, "page 0: its last strip has 5 rows"),
    "jpeg": ((64, 64), "u1", {"compression": "jpeg", "tile": (32, 32)}, "page 0: JPEG"),
    "rgb_first": ((40, 60, 3), "u1", {"photometric": "rgb"}, "--axes t,z,y,x,c"),
}


def files(name):
    """Numbers of the files of a flavour: one, or several."""
    return [0, 2, 3] if name == "hole" else [0, 1] if name in ("tiles", "deflate") else [0]


def make():
    for name, (shape, dtype, how, *why) in {**GOOD, **BAD}.items():
        prefix = "good" if name in GOOD else "bad"
        place = folder / f"{prefix}_{name.replace('rgb_first', 'colour')}"
        place.mkdir()
        if why:
            (folder / f"{place.name}.txt").write_text(why[0])
        for t in files(name):
            a = values(shape, dtype) + np.array(t, dtype)
            how = {"photometric": "minisblack", "metadata": None, **how}
            tifffile.imwrite(place / f"t{t}.tif", a, **how)
    # 12 bits, packed, by the fields of a directory.
    place = folder / "bad_packed"
    place.mkdir()
    data = imagecodecs.packints_encode(np.arange(32 * 32, dtype="u2").reshape(32, 32), 12)
    tifffile.imwrite(place / "t0.tif", np.frombuffer(data, "u1").reshape(32, 48), metadata=None)
    with tifffile.TiffFile(place / "t0.tif", mode="r+") as tif:
        tif.pages[0].tags[256].overwrite(32)
        tif.pages[0].tags[258].overwrite(12)
    (folder / "bad_packed.txt").write_text("page 0: samples of 12 bits")
    # Two ways in one set of files.
    place = folder / "bad_two"
    place.mkdir()
    tifffile.imwrite(place / "t0.tif", values((40, 60), "u2"), compression="zlib", rowsperstrip=20, metadata=None)
    tifffile.imwrite(place / "t1.tif", values((40, 60), "u2"), compression="zstd", rowsperstrip=20, metadata=None)
    (folder / "bad_two.txt").write_text("t1.tif: zstd, strips of 20 rows, but")


def opened(name, ending):
    system = fsspec.filesystem("reference", fo=str(folder / f"good_{name}.{ending}"), asynchronous=True, remote_protocol="file")
    return zarr.open_group(zarr.storage.FsspecStore(system, read_only=True), mode="r", zarr_format=2)


def check():
    imagecodecs.numcodecs.register_codecs()
    for name, (shape, dtype, _how) in GOOD.items():
        assert json.loads((folder / f"good_{name}.json").read_text())["version"] == 1
        expected = values(shape, dtype)
        numbers = files(name)
        if len(numbers) > 1:
            n = max(numbers) + 1
            stack = np.full((n, *shape), 7, dtype)
            for t in numbers:
                stack[t] = expected + np.array(t, dtype)
            expected = stack
        for ending in ["json", "parq"]:
            group = opened(name, ending)
            array = group["0"]
            if name == "many":
                # Of 11000 chunks, which need two files of Parquet.
                assert array.shape[-3:] == shape
                for z, y in [(0, 0), (9, 999), (10, 0), (10, 999)]:
                    np.testing.assert_array_equal(np.squeeze(array[..., z, y, :]), expected[z, y], err_msg=f"{z} {y}")
                continue
            found = array[:]
            found = found.reshape(expected.shape) if found.size == expected.size else found
            assert found.dtype.newbyteorder("=") == np.dtype(dtype) and found.shape == expected.shape, (name, found.shape)
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {ending}")
            if name != "planar":
                assert "rgb" in name or group.attrs["multiscales"][0]["version"] == "0.4"
    # As xarray and kerchunk's users open them.
    import xarray

    plain = fsspec.get_mapper("reference://", fo=str(folder / "good_plain.parq"), remote_protocol="file")
    found = xarray.open_zarr(plain, consolidated=False, zarr_format=2, mask_and_scale=False)["0"]
    np.testing.assert_array_equal(np.squeeze(found.values), values(*GOOD["plain"][:2]))


{"make": make, "check": check}[what]()
