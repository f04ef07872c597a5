"""Compares what stackctl reads of NPY, NetCDF and HDF5 with xarray and h5py. Arguments: the program, a folder, a part."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import xarray as xr
import zarr

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(11)
SHAPE = (4, 13, 20)


def run(*arguments, code=0):
    done = subprocess.run([EXE, *map(str, arguments)], capture_output=True, cwd=WORK, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done


def array(command, *arguments):
    run(*command.split(" ", 1)[:1], *arguments, "-o", "out.npy", "--overwrite", "-q")
    return np.load(WORK / "out.npy")


def day(folder, k, format, packed=True, missing=False, calendar="standard", name=None, scales=True, **storage):
    """Six-hourly values of one day; of odd days, times count from another date."""
    (WORK / folder).mkdir(exist_ok=True)
    with netCDF4.Dataset(WORK / folder / (name or f"x{(7 * k) % 10}.nc"), "w", format=format) as file:
        file.createDimension("time", None)
        file.createDimension("latitude", SHAPE[1])
        file.createDimension("longitude", SHAPE[2])
        time = file.createVariable("time", "f8", ("time",))
        start = "2014-01-01" if k % 2 else "1900-01-01 00:00:00.0"
        time.units, time.calendar = f"hours since {start}", calendar
        dates = [netCDF4.num2date(24 * (k + 88) + 6 * i, "hours since 2014-01-01", calendar) for i in range(4)]
        time[:] = netCDF4.date2num(dates, time.units, calendar)
        latitude = file.createVariable("latitude", "f4", ("latitude",))
        latitude.units = "degrees_north"
        latitude[:] = np.linspace(90, -90, SHAPE[1])
        longitude = file.createVariable("longitude", "f4", ("longitude",))
        longitude.units = "degrees_east"
        longitude[:] = np.arange(SHAPE[2]) * 18
        fill = -32767 if packed else 1e20
        values = file.createVariable("t2m", "i2" if packed else "f4", ("time", "latitude", "longitude"), fill_value=fill, **storage)
        values.units = "K"
        file.createVariable("orography", "i4", ("latitude", "longitude"))[:] = 7
        new = 280 + 10 * np.sin(k) + RNG.normal(size=SHAPE)
        if packed:
            values.set_auto_maskandscale(False)
            if scales:
                values.scale_factor, values.add_offset = 0.001 * (1 + k / 7), 270.0 + k
                new = (new - values.add_offset) / values.scale_factor
            new = np.round(new).astype("i2")
        if missing:
            new[RNG.random(SHAPE) < 0.1] = fill
        values[:] = new


def pile(folder, n=6, **how):
    for k in range(n):
        day(folder, k, **how)
    files = [xr.open_dataset(f)[["t2m"]].astype("f8") for f in (WORK / folder).glob("*.nc")]
    files.sort(key=lambda f: f.time.values[0])
    return np.concatenate([f.t2m.values for f in files])


def piles():
    """Means, differences and anomalies of packed and compressed piles, whose names say nothing of the order."""
    kinds = {
        "classic": dict(format="NETCDF3_CLASSIC"),
        "offset64": dict(format="NETCDF3_64BIT_OFFSET", missing=True),
        "cdf5": dict(format="NETCDF3_64BIT_DATA"),
        "nc4": dict(format="NETCDF4", packed=False, zlib=True, shuffle=True, chunksizes=(1, 5, 7)),
        "nc4packed": dict(format="NETCDF4", zlib=True, complevel=1, missing=True),
        "nc4plain": dict(format="NETCDF4_CLASSIC", packed=False, missing=True, contiguous=False),
    }
    for folder, how in kinds.items():
        x = pile(folder, **how)
        inputs = [f"{folder}/", "--variable", "t2m", "--unpack", "--missing", "fill"]
        exact = dict(rtol=0, atol=1e-9)
        for threads in [1, 3]:
            # The file's own name of the axis says the same.
            axis = "t" if threads == 1 else "time"
            got = array("reduce", *inputs, "--op", "mean", "--axis", axis, "--dtype", "float64", "--threads", threads)
            np.testing.assert_allclose(got, x.mean(0), **exact)
        skipped = array("reduce", *inputs[:-1], "skip", "--op", "mean", "--axis", "t", "--dtype", "float64")
        np.testing.assert_allclose(skipped, np.nanmean(x, 0), **exact)
        got = array("calc", "a[t=10] - mean(float64(a), t)", *inputs)
        np.testing.assert_allclose(np.squeeze(got), x[10] - x.mean(0), **exact)
        got = array("calc", "mean(float64(a[time=::4]), time) - mean(float64(a[t=2::4]), t)", *inputs)
        np.testing.assert_allclose(np.squeeze(got), x[::4].mean(0) - x[2::4].mean(0), **exact)
        # Without being told, means of float32 are float32, as NumPy's.
        got = array("reduce", *inputs, "--op", "mean", "--axis", "t")
        np.testing.assert_allclose(got, x.mean(0), **exact if how.get("packed", True) else dict(rtol=6e-8))
        run("stitch", *inputs, "-o", f"{folder}.zarr", "-q")
        back = zarr.open_group(WORK / f"{folder}.zarr", mode="r")["0"]
        np.testing.assert_allclose(np.squeeze(back[...]), x, **exact)


def dates():
    """Labels are dates of the calendar; months, days and spans of them are chosen."""
    for calendar in ["standard", "noleap", "360_day"]:
        folder = calendar
        x = pile(folder, format="NETCDF3_CLASSIC", calendar=calendar)
        files = sorted((WORK / folder).glob("*.nc"))
        times = []
        for file in files:
            with netCDF4.Dataset(file) as f:
                times += list(zip(netCDF4.num2date(f["time"][:], f["time"].units, calendar), [file.name] * 4))
        times = [t.isoformat() for t, _ in sorted(times, key=lambda p: p[0].isoformat())]
        inputs = [folder, "--unpack"]
        months = sorted({t[:7] for t in times})
        for text, keeps in [
            (months[0], [t.startswith(months[0]) for t in times]),
            (months[-1], [t.startswith(months[-1]) for t in times]),
            (times[5][:10], [t.startswith(times[5][:10]) for t in times]),
            (f"{times[3]}:{times[9]}", [times[3] <= t <= times[9] for t in times]),
            (f"{times[7][:10]}:", [t >= times[7][:10] for t in times]),
            (f":{times[7][:10]}", [t[:10] <= times[7][:10] for t in times]),
        ]:
            got = array("reduce", *inputs, "--select", f"t@date={text}", "--op", "sum", "--axis", "y,x")
            np.testing.assert_allclose(got, x[np.array(keeps)].sum((1, 2)), rtol=1e-12, err_msg=text)
        one = array("reduce", *inputs, "--select", f"t@date={times[5]}", "--op", "sum", "--axis", "x")
        np.testing.assert_allclose(one, x[5].sum(1), rtol=1e-12)
        found = json.loads(run("inspect", folder, "--variable", "t2m", "--unpack", "--json").stdout)
        axis = next(a for a in found["arrays"][0]["array"]["axes"] if a["name"] == "t")
        short = [t.removesuffix("T00:00:00") if all(u.endswith("T00:00:00") for u in times) else t for t in times]
        assert axis["labels"] == short, axis
        assert axis["calibration"]["step"] == 21600 and axis["calibration"]["unit"] == "second"
        said = run("reduce", *inputs, "--select", "t@date=1999", "--op", "sum", code=2).stderr
        assert times[0] in said and times[-1] in said, said


def variables():
    """inspect lists variables; a choice that is to be made is said."""
    day("one", 0, format="NETCDF4")
    said = run("inspect", "one/x0.nc").stdout
    assert "t2m (time=4, latitude=13, longitude=20) int16 in K (this one)" in said, said
    assert "orography (latitude=13, longitude=20) int32" in said, said
    got = array("reduce", "one/x0.nc", "--variable", "orography", "--op", "sum")
    assert got == 7 * 13 * 20
    with h5py.File(WORK / "two.h5", "w") as file:
        file["g/a"], file["g/b"] = np.ones((3, 4), "u1"), np.ones((3, 4), "f4")
        file["g/text"] = "no numbers"
        file["g/pairs"] = np.zeros(3, [("p", "i4"), ("q", "f8")])
    said = run("reduce", "two.h5", "--op", "sum", code=2).stderr
    assert "g/a (3, 4) uint8" in said and "g/b (3, 4) float32" in said and "--variable g/a" in said, said
    assert run("reduce", "two.h5", "--variable", "b", "--op", "sum").stdout.strip() == "12"
    assert "do you mean g/a?" in run("reduce", "two.h5", "--variable", "g/aa", "--op", "sum", code=2).stderr
    assert "only numbers are read" in run("reduce", "two.h5", "--variable", "pairs", "--op", "sum", code=1).stderr


def packed_zarr():
    """What xarray packs into Zarr, v2 and v3, chunks that are not stored among it, is unpacked by the same attributes."""
    x = RNG.normal(280, 10, (4, 6, 9))
    x[RNG.random(x.shape) < 0.1] = np.nan
    kinds = {
        "packed": dict(dtype="int16", scale_factor=0.01, add_offset=270.0, _FillValue=-32767),
        "shifted": dict(dtype="float32", add_offset=-3.0, _FillValue=1e20),
        "plain": dict(dtype="float32", _FillValue=1e20),
    }
    for version, (name, how) in [(v, kind) for v in (2, 3) for kind in kinds.items()]:
        path = WORK / f"{name}{version}.zarr"
        data = xr.Dataset({"v": (("time", "y", "x"), x)})
        data.to_zarr(path, mode="w", zarr_format=version, consolidated=False, encoding={"v": {**how, "chunks": (1, 4, 4)}})
        (path / "v" / ("1.0.1" if version == 2 else "c/1/0/1")).unlink()
        stored = zarr.open_array(path / "v", mode="r")[...]
        missing = stored == np.array(how["_FillValue"], stored.dtype)
        assert missing.sum() > 9
        values = stored.astype("f8") * how.get("scale_factor", 1) + how.get("add_offset", 0)
        expected = np.where(missing, np.nan, values)
        inputs = [f"{path.name}/v", "--unpack", "--missing"]
        got = array("stitch", *inputs, "fill")
        assert got.dtype == ("f4" if name == "plain" else "f8"), got.dtype
        np.testing.assert_allclose(np.squeeze(got), expected, rtol=0, atol=1e-9, err_msg=path.name)
        got = array("stitch", *inputs, "fill", "--select", "y=1:5,x=3:8", "--fill-value", "-1")
        np.testing.assert_allclose(np.squeeze(got), np.where(missing, -1, values)[:, 1:5, 3:8], rtol=0, atol=1e-9)
        got = array("reduce", *inputs, "skip", "--op", "sum", "--axis", "time", "--dtype", "float64")
        # What is not stored is a hole, whatever value it has.
        expected[1, 0:4, 4:8] = np.nan
        np.testing.assert_allclose(np.squeeze(got), np.nansum(expected, 0), rtol=1e-9)
        assert "missing values" in run("reduce", *inputs, "error", "--op", "mean", code=2).stderr
        said = run("inspect", f"{path.name}/v").stdout
        assert name == "plain" or "--unpack gives them" in " ".join(said.split()), said


def scales_of_text():
    """A scale that is written as text is a number if it reads as one; else it is told, and nothing is unpacked by it."""
    for format in ["NETCDF3_CLASSIC", "NETCDF4"]:
        day("text", 0, format=format, scales=False, name="a.nc")
        for scale in ["0.5", "half"]:
            with netCDF4.Dataset(WORK / "text/a.nc", "a") as file:
                file.set_auto_maskandscale(False)
                file["t2m"].scale_factor, file["t2m"].add_offset = scale, "-10"
                stored = file["t2m"][:]
            inputs = ["text/a.nc", "--variable", "t2m"]
            if scale == "0.5":
                got = array("stitch", *inputs, "--unpack", "--missing", "fill")
                np.testing.assert_allclose(np.squeeze(got), stored * 0.5 - 10)
                continue
            assert "scale_factor 'half' is no number" in run("stitch", *inputs, "--unpack", "-o", "half.npy", code=1).stderr
            assert "scale_factor 'half' of t2m is no number" in " ".join(run("inspect", *inputs).stdout.split())


def faults():
    """Nothing wrong passes: other scales, calendars, holes, missing values, files that are cut off."""
    pile("packed", format="NETCDF3_CLASSIC", missing=True)
    said = run("reduce", "packed", "--op", "mean", code=1).stderr
    assert "scales of their own" in said and "--unpack" in said, said
    said = run("reduce", "packed", "--op", "mean", "--unpack", code=2).stderr
    assert "missing values" in said and "--missing skip" in said, said
    pile("same", n=2, format="NETCDF3_CLASSIC", scales=False)
    assert -3000 < float(run("reduce", "same", "--op", "mean", "-q").stdout) < 3000
    day("mixed", 0, format="NETCDF3_CLASSIC")
    day("mixed", 1, format="NETCDF3_CLASSIC", calendar="noleap")
    said = run("reduce", "mixed", "--op", "mean", "--unpack", code=1).stderr
    assert "calendar standard" in said and "calendar noleap" in said, said
    for format in ["NETCDF3_CLASSIC", "NETCDF4"]:
        day("cut", 0, format=format, name="whole.nc")
        whole = (WORK / "cut" / "whole.nc").read_bytes()
        for n in [0, 3, 10, 100, len(whole) // 2, len(whole) - 30]:
            (WORK / "cut" / "cut.nc").write_bytes(whole[:n])
            said = run("reduce", "cut/cut.nc", "--variable", "t2m", "--op", "mean", code=1).stderr
            assert "cut.nc" in said, said
        for at in range(0, min(len(whole), 3000), 23):
            broken = bytearray(whole)
            broken[at] ^= 0xFF
            (WORK / "cut" / "cut.nc").write_bytes(broken)
            done = subprocess.run([EXE, "reduce", WORK / "cut/cut.nc", "--op", "mean", "--memory", "300M"], capture_output=True)
            assert done.returncode in (0, 1, 2), (at, done.stderr)


def microscopes():
    """Imaris, BigDataViewer, and plain datasets with axes that nobody names."""
    rng = np.random.default_rng(3)
    a = rng.integers(0, 60000, (2, 3, 5, 19, 30), dtype="u2")
    with h5py.File(WORK / "cells.ims", "w") as file:
        letters = lambda text: np.array([c.encode() for c in str(text)], "S1")
        for level in range(2):
            own = a[..., :: level + 1, :: level + 1]
            for t in range(2):
                for c in range(3):
                    group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}")
                    for name, n in zip("ZYX", own.shape[2:]):
                        group.attrs[f"ImageSize{name}"] = letters(n)
                    full = np.zeros((8, 32, 32), "u2")
                    full[tuple(slice(n) for n in own.shape[2:])] = own[t, c]
                    group.create_dataset("Data", data=full, chunks=(4, 16, 16), compression="gzip")
        image = file.create_group("DataSetInfo/Image")
        for i, extent in enumerate([15.0, 9.5, 10.0]):
            image.attrs[f"ExtMin{i}"], image.attrs[f"ExtMax{i}"] = letters(0), letters(extent)
        image.attrs["Unit"] = letters("um")
        for c, name in enumerate(["DAPI", "GFP", "RFP"]):
            file.create_group(f"DataSetInfo/Channel {c}").attrs["Name"] = letters(name)
    run("stitch", "cells.ims", "-o", "ims.npy", "-q")
    np.testing.assert_array_equal(np.load(WORK / "ims.npy"), a)
    run("stitch", "cells.ims", "--level", "1", "--select", "c=GFP", "-o", "level.npy", "-q")
    np.testing.assert_array_equal(np.squeeze(np.load(WORK / "level.npy")), a[:, 1, :, ::2, ::2])
    found = json.loads(run("inspect", "cells.ims", "--json").stdout)
    steps = {a["name"]: a.get("calibration", {}).get("step") for a in found["arrays"][0]["array"]["axes"]}
    assert (steps["z"], steps["y"], steps["x"]) == (2.0, 0.5, 0.5), steps

    with h5py.File(WORK / "bdv.h5", "w") as file:
        for t in range(2):
            for s in range(3):
                if (t, s) != (1, 2):
                    file.create_dataset(f"t{t:05}/s{s:02}/0/cells", data=a[t, s].astype("i2"), chunks=(2, 8, 8), compression="gzip")
    run("stitch", "bdv.h5", "--variable", "t{t}/s{c}/0/cells", "-o", "bdv.npy", "-q")
    expected = a.astype("i2")
    expected[1, 2] = 0
    np.testing.assert_array_equal(np.load(WORK / "bdv.npy"), expected)

    with h5py.File(WORK / "plain.h5", "w") as file:
        file["a/image"] = a[0, 0]
    run("stitch", "plain.h5", "--select", "z=2:,x=::-2", "-o", "plain.npy", "-q")
    np.testing.assert_array_equal(np.squeeze(np.load(WORK / "plain.npy")), a[0, 0, 2:, :, ::-2])
    hdf5_kinds()


def hdf5_kinds():
    """What is put in front, shapes that may grow, records that are not written; numbers of other kinds are refused."""
    a = np.arange(1, 25, dtype="u2").reshape(4, 6)
    same = lambda name, what: np.testing.assert_array_equal(array("convert", name).reshape(a.shape), a, err_msg=str(what))
    for libver in ["earliest", "latest"]:
        for storage in [{}, dict(chunks=(2, 3)), dict(chunks=(2, 3), compression="gzip", maxshape=(None, 6))]:
            with h5py.File(WORK / "block.h5", "w", userblock_size=1024, libver=libver) as file:
                file.create_dataset("d", data=a, **storage)
            same("block.h5", (libver, storage))
    for most in [(10, 10), (4, 10), (4, 7), (100, 100), (60, 100), (400, 600), (None, 10), (10, None), (None, None)]:
        for storage in [{}, dict(compression="gzip")]:
            with h5py.File(WORK / "most.h5", "w", libver="latest") as file:
                file.create_dataset("d", data=a, chunks=(2, 3), maxshape=most, **storage)
            same("most.h5", (most, storage))
    with h5py.File(WORK / "shrunk.h5", "w", libver="latest") as file:
        d = file.create_dataset("d", data=np.zeros((8, 10), "u2"), chunks=(2, 3), maxshape=(8, 10))
        d.resize(a.shape)
        d[...] = a
    same("shrunk.h5", "shrunk")
    with h5py.File(WORK / "early.h5", "w", libver="latest") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((2, 3))
        how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple(a.shape, (10, 10))
        h5py.Dataset(h5py.h5d.create(file.id, b"d", h5py.h5t.STD_U16LE, space, how))[...] = a
    same("early.h5", "early")

    short, shifted, brain = h5py.h5t.STD_I16LE.copy(), h5py.h5t.STD_I16LE.copy(), h5py.h5t.IEEE_F32LE.copy()
    short.set_precision(12)
    shifted.set_precision(12)
    shifted.set_offset(4)
    brain.set_fields(15, 7, 8, 0, 7)
    brain.set_size(2)
    for kind, found in [(short, "12 bits from bit 0"), (shifted, "12 bits from bit 4"), (brain, "8 bits of exponent")]:
        with h5py.File(WORK / "odd.h5", "w") as file:
            h5py.Dataset(h5py.h5d.create(file.id, b"d", kind, h5py.h5s.create_simple(a.shape)))[...] = a
        said = run("convert", "odd.h5", "-o", "odd.npy", code=1).stderr
        assert "odd.h5" in said and found in said and "Python" in said, said
    for names in [("lat", "lon"), ("i", "r")]:
        with h5py.File(WORK / "pair.h5", "w") as file:
            file["d"] = np.ones((3, 4), [(name, "f4") for name in names])
        said = run("convert", "pair.h5", "-o", "pair.npy", code=1).stderr
        assert "pair.h5" in said and ", ".join(names) in said, said
    with h5py.File(WORK / "complex.h5", "w") as file:
        file["d"] = a * (1 + 2j)
    np.testing.assert_array_equal(array("convert", "complex.h5").reshape(a.shape), a * (1 + 2j))

    for chunks in [None, (1, 3), (3, 2), (8, 3)]:
        with netCDF4.Dataset(WORK / "records.nc", "w") as file:
            file.createDimension("time", None)
            file.createDimension("x", 3)
            time = file.createVariable("time", "f8", ("time",))
            time.units = "days since 2000-01-01"
            time[:] = np.arange(4)
            file.createVariable("v", "f4", ("time", "x"), chunksizes=chunks, fill_value=-9)[:2] = np.arange(6).reshape(2, 3)
        expected = np.concatenate([np.arange(6.0).reshape(2, 3), np.full((2, 3), -9.0)])
        np.testing.assert_array_equal(np.squeeze(array("convert", "records.nc")), expected, err_msg=str(chunks))
        found = json.loads(run("inspect", "records.nc", "--json").stdout)
        axis = next(a for a in found["arrays"][0]["array"]["axes"] if a["name"] == "t")
        assert axis["labels"][-1].startswith("2000-01-04"), axis


def numpy_files():
    """What NumPy writes is read, and what is written is the same."""
    for dtype in ["u1", "i1", "<u2", ">u2", ">i4", "<f4", ">f8", "<c8", "?", "<f2"]:
        a = (RNG.random((3, 4, 5, 6)) * 100).astype(dtype)
        for name, order in [("c", a), ("f", np.asfortranarray(a))]:
            np.save(WORK / f"{name}.npy", order)
            run("stitch", f"{name}.npy", "-o", "back.npy", "-q", "--overwrite")
            np.testing.assert_array_equal(np.load(WORK / "back.npy").reshape(a.shape), a, err_msg=f"{dtype} {name}")
    for i in range(3):
        np.save(WORK / f"p_{i}.npy", np.full((4, 5), i, "u2"))
    assert array("reduce", "p_*.npy", "--pattern", "p_{t}.npy", "--op", "sum", "--axis", "y,x").ravel().tolist() == [0, 20, 40]
    np.save(WORK / "pairs.npy", np.zeros(3, [("p", "i4"), ("q", "f8")]))
    assert "one number for each element" in run("stitch", "pairs.npy", "-o", "no.npy", code=1).stderr


def bounded():
    """Ten days of a globe in 100 MB."""
    global SHAPE
    SHAPE = (4, 361, 720)
    for k in range(8):
        day("globe", k, format="NETCDF3_CLASSIC", name=f"a{k}.nc")
        day("globe4", k, format="NETCDF4", packed=False, name=f"a{k}.nc", zlib=True, complevel=1, chunksizes=(1, 181, 360))
    for folder in ["globe", "globe4"]:
        argv = [EXE, "reduce", folder, "--variable", "t2m", "--unpack", "--op", "mean", "--axis", "t", "-o", "mean.npy", "--overwrite"]
        argv += ["--memory", "100M", "--threads", "2", "-q"]
        code = (
            "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]).returncode;"
            "print(r, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, cwd=WORK)
        status, peak_kib = map(int, done.stdout.split())
        assert status == 0, done.stderr
        assert peak_kib < 100 * 1024, (folder, peak_kib)


def readers():
    """The readers of the documentation give what the formats do; their faults are told."""
    document = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
    examples = [part.split("```")[0] for part in document.split("```python\n")[1:]]
    (WORK / "read.py").write_text(examples[0])
    (WORK / "serve.py").write_text(examples[1])
    a = RNG.integers(0, 60000, (3, 3, 16, 20), dtype="<u2")
    (WORK / "raw").mkdir()
    for t in range(3):
        a[t].tofile(WORK / "raw" / f"a b_t{t}.raw")
    inputs = ["raw/*.raw", "--pattern", "_t{t}.raw", "-q"]
    python = sys.executable
    for reader in [f"'{python}' read.py {{file}}", f"{python} 'serve.py'"]:
        for threads in [1, 3]:
            run("stitch", *inputs, "--reader", reader, "-o", "out.npy", "--overwrite", "--threads", threads)
            np.testing.assert_array_equal(np.squeeze(np.load(WORK / "out.npy")), a, err_msg=reader)
        got = array("reduce", *inputs[:-1], "--reader", reader, "--op", "mean", "--axis", "t", "--select", "y=3:9,x=::2")
        np.testing.assert_allclose(np.squeeze(got), a[:, :, 3:9, ::2].mean(0))
    # Another order of elements, and bytes.
    (WORK / "odd.py").write_text(
        "import sys, numpy\n"
        "a = numpy.fromfile(sys.argv[1], '<u2').reshape(3, 16, 20)\n"
        "numpy.save(sys.stdout.buffer, numpy.asfortranarray(a.astype('>u2')))\n"
    )
    run("stitch", *inputs, "--reader", f"{python} odd.py {{file}}", "-o", "out.npy", "--overwrite")
    np.testing.assert_array_equal(np.squeeze(np.load(WORK / "out.npy")), a)
    for code, expected in [
        ("import sys; sys.exit('the detector is on holiday')", "the detector is on holiday"),
        ("print('hello')", "not a .npy"),
        ("import sys; sys.stdin.readline(); print('error no such thing')", "not a .npy"),
        (examples[0] + "sys.exit('too late')", "too late"),
        (examples[0].replace("numpy.save(sys.stdout.buffer, ", "import io; b = io.BytesIO(); numpy.save(b, ") + "sys.stdout.buffer.write(b.getvalue()[:400]); sys.exit('cut')", "cut"),
    ]:
        (WORK / "bad.py").write_text(code)
        said = run("stitch", *inputs, "--reader", f"{python} bad.py {{file}}", "-o", "bad.npy", "--overwrite", code=1).stderr
        assert expected in said and "a b_t" in said, (code, said)
    for code, expected in [
        ("import sys\nfor l in sys.stdin: print('error no such thing', flush=True)", "no such thing"),
        ("import sys\nsys.exit('went home')", "went home"),
        ("import sys\nfor l in sys.stdin: print('{}', flush=True)", "missing field"),
        (examples[1].replace("array = ", "assert '_t2' not in words[3], 'bad sector'; array = "), "bad sector"),
    ]:
        (WORK / "bad.py").write_text(code)
        said = run("stitch", *inputs, "--reader", f"{python} bad.py", "-o", "bad.npy", "--overwrite", code=1).stderr
        assert expected in said and "a b_t" in said, (code, said)
    assert "cannot be run" in run("stitch", *inputs, "--reader", "nobody {file}", "-o", "bad.npy", code=2).stderr


globals()[sys.argv[3]]()
