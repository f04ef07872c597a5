"""Compares `stackctl reduce` with NumPy. Arguments: the program, a folder to work in."""

import csv
import hashlib
import io
import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import tifffile
import zarr

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(5)
INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
FLOATS = ["float16", "float32", "float64"]
OPERATORS = (
    "sum,mean,min,max,range,argmin,argmax,var,std,rms,median,quantile=0.1:0.75,mode,unique,count,any,all,topk=2,topk=-2,"
    "histogram=7:-50:50"
)
AXES = {"t": (0,), "z": (1,), "y,x": (2, 3), "-1": (3,), "0,2": (0, 2), "all": (0, 1, 2, 3)}
n_checked = 0


def run(*arguments, code=0):
    done = subprocess.run([EXE, "reduce", *map(str, arguments)], capture_output=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr.decode())
    return done


def stored(name, array, **kwargs):
    path = WORK / f"{name}.zarr"
    z = zarr.create_array(path, shape=array.shape, dtype=array.dtype, dimension_names=["t", "z", "y", "x"], **kwargs)
    z[...] = array
    return path


def slug(operator):
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in operator)


def reduced(path, operators, axes, *flags):
    run(path, "--op", operators, f"--axis={axes}", "-o", WORK / "out_{op}.npy", "--overwrite", "-q", *flags)
    return {o: np.load(WORK / f"out_{slug(o)}.npy") for o in operators.split(",")}


def columns(array, axes):
    """The elements of every output as a row."""
    kept = [i for i in range(array.ndim) if i not in axes]
    moved = np.transpose(array, kept + list(axes))
    return moved.reshape([array.shape[i] for i in kept] + [-1])


def exact(rows, function):
    """Correctly rounded values of a function of integers without bounds that gives a fraction."""
    flat = rows.reshape(-1, rows.shape[-1])
    return np.array([float(function(row)) for row in flat.tolist()]).reshape(rows.shape[:-1])


def fmean(v):
    return Fraction(sum(v), len(v))


def fvar(v):
    return Fraction(len(v) * sum(x * x for x in v) - sum(v) ** 2, len(v) ** 2)


def mode(row):
    values, counts = np.unique(row, return_counts=True)
    return values[counts.argmax()] if not np.isnan(row.astype("f8")).any() else np.nan


def per_row(rows, function, dtype=None):
    flat = rows.reshape(-1, rows.shape[-1])
    return np.array([function(row) for row in flat], dtype=dtype).reshape(rows.shape[:-1])


def quantile(row, q):
    """NumPy's linear method, but that there is always an infinity between a number and an infinity, and never NaN."""
    row = np.sort(row.astype("f8"))
    position = q * (len(row) - 1)
    low = int(position)
    if np.isnan(row[-1]) or position == low:
        return np.nan if np.isnan(row[-1]) else row[low]
    a, b, share = row[low], row[low + 1], position - low
    if a == b or not np.isfinite([a, b]).all():
        return a if a == b else a + b
    if share == 0.5:
        return (a + b) / 2
    return a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share)


def expected(array, axes):
    """What every operator should give, with the relative tolerance."""
    rows = columns(array, axes)
    dtype = array.dtype
    integer = dtype.kind in "iu"
    wide = rows if integer else rows.astype("f8")
    ulp = 0 if integer else np.finfo(dtype).eps
    with np.errstate(all="ignore"):
        both = np.stack([per_row(rows, lambda r: quantile(r, q), "f8") for q in (0.1, 0.75)])
        finite = np.isfinite(rows.astype("f8")).all(-1)
        given = np.quantile(rows.astype("f8"), [0.1, 0.75], axis=-1)
        np.testing.assert_allclose(both[:, finite], given[:, finite], rtol=1e-15, atol=1e-13)
        small = integer and dtype.itemsize < 8
        far = 4e-16 if small else max(4e-16, ulp)
        if integer:
            total = rows.sum(-1, dtype="u8" if dtype.kind == "u" else "i8")
            mean = exact(rows, fmean)
            var = exact(rows, fvar)
            rms = np.sqrt(exact(rows, lambda v: fmean([x * x for x in v])))
        else:
            total = per_row(wide, lambda r: math.fsum(r) if np.isfinite(r).all() else r.sum()).astype(dtype)
            mean = per_row(wide, lambda r: math.fsum(r) / len(r) if np.isfinite(r).all() else r.mean()).astype(dtype)
            var = np.var(wide.astype("g"), axis=-1).astype("f8")
            rms = np.sqrt(np.mean(wide.astype("g") ** 2, axis=-1)).astype("f8")
        loose = 1e-12 if not small else 4e-16
        ascending = np.sort(rows, axis=-1)
        return {
            "sum": (total, ulp),
            "mean": (mean, ulp),
            "min": (rows.min(-1), 0),
            "max": (rows.max(-1), 0),
            "range": (np.ptp(wide, axis=-1), ulp),
            "argmin": (rows.argmin(-1), 0),
            "argmax": (rows.argmax(-1), 0),
            "var": (var, max(loose, ulp) if dtype.kind == "f" or not small else 0),
            "std": (np.sqrt(var), max(loose, ulp)),
            "rms": (rms, max(loose, ulp)),
            "median": (np.median(rows.astype("f8"), axis=-1), far),
            "quantile=0.1:0.75": (both, max(1e-15, ulp)),
            "mode": (per_row(rows, mode, None if integer else "f8").astype(dtype), 0),
            "unique": (per_row(rows, lambda r: len(np.unique(r))), 0),
            "count": (np.full(rows.shape[:-1], rows.shape[-1]), 0),
            "any": (rows.any(-1), 0),
            "all": (rows.all(-1), 0),
            "topk=2": (np.moveaxis(ascending[..., ::-1][..., :2], -1, 0), 0),
            "topk=-2": (np.moveaxis(ascending[..., :2], -1, 0), 0),
            "histogram=7:-50:50": (
                np.moveaxis(
                    np.array(
                        [np.histogram(r[np.isfinite(r.astype("f8"))].astype("f8"), 7, (-50, 50))[0] for r in rows.reshape(-1, rows.shape[-1])]
                    ).reshape(rows.shape[:-1] + (7,)),
                    -1,
                    0,
                ),
                0,
            ),
        }


DTYPES = {"argmin": "i8", "argmax": "i8", "unique": "i8", "count": "i8", "any": "?", "all": "?", "histogram=7:-50:50": "i8"}


def result_dtype(operator, dtype):
    if operator in DTYPES:
        return np.dtype(DTYPES[operator])
    if operator == "sum" and dtype.kind in "iu":
        return np.dtype("u8" if dtype.kind == "u" else "i8")
    if operator in ("min", "max", "range", "mode", "topk=2", "topk=-2") or dtype.kind == "f":
        return dtype
    return np.dtype("f8")


def check(array, got, axes, where):
    global n_checked
    for operator, (value, tolerance) in expected(array, axes).items():
        result = got[operator]
        place = (where, operator, axes)
        assert result.dtype == result_dtype(operator, array.dtype), (place, result.dtype)
        assert result.shape == np.shape(value), (place, result.shape, np.shape(value))
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(result.astype("f8"), np.asarray(value).astype("f8"), rtol=2 * tolerance, atol=0, err_msg=str(place)) if tolerance else np.testing.assert_array_equal(result, value, err_msg=str(place))
        n_checked += 1


def sample(dtype, shape, special):
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = (info.min // 2**22, info.max // 2**22) if dtype.itemsize == 8 else (info.min // 2, info.max // 2)
        array = RNG.integers(low, high, shape, dtype=dtype, endpoint=True)
        if special:
            # Few values, so that modes are contested; bright, so that variances could cancel.
            array = (np.asarray(high - 3) + RNG.integers(0, 3, shape)).astype(dtype)
        return array
    array = (RNG.normal(0, 30, shape)).astype(dtype)
    if special:
        pick = RNG.integers(0, 12, shape)
        array = np.select([pick == 0, pick == 1, pick == 2], [-0.0, np.inf, 0.0], array).astype(dtype)
        array[0, 0, 0, 0] = np.nan
        array[-1, -1, -1, :2] = [-np.inf, np.nan]
    return array


def operators_types_and_axes():
    for dtype in INTEGERS + FLOATS:
        for special in (False, True):
            array = sample(dtype, (5, 3, 7, 9), special)
            path = stored(f"{dtype}_{special}", array, chunks=(2, 3, 4, 9))
            for names, axes in AXES.items():
                # What is special are values, which make the same difference along any axis.
                if special and names not in ("t", "y,x", "all"):
                    continue
                check(array, reduced(path, OPERATORS, names), axes, f"{dtype} special={special}")


def long_axes():
    """Columns that are counted, not held; and the same bits for any number of threads and memory."""
    for dtype in ("uint8", "uint16", "int32", "float32", "float64"):
        array = sample(dtype, (1100, 1, 2, 3), False)
        if dtype == "float64":
            array[7, 0, 0, 0] = np.nan
        path = stored(f"long_{dtype}", array, chunks=(100, 1, 2, 3))
        one = reduced(path, OPERATORS, "t", "--threads", 1)
        check(array, one, (0,), f"long {dtype}")
        many = reduced(path, OPERATORS, "t", "--threads", 3, "--memory", "100M")
        for operator in one:
            np.testing.assert_array_equal(one[operator], many[operator], err_msg=operator)
        whole = reduced(path, OPERATORS, "all", "--threads", 3)
        check(array, whole, (0, 1, 2, 3), f"long {dtype}")


def chosen_elements():
    array = sample("int16", (5, 3, 7, 9), False)
    path = stored("where", array)
    got = reduced(path, "mean,count,sum", "t,z", "--where", ">0")
    masked = np.ma.masked_less_equal(array, 0)
    np.testing.assert_array_equal(got["count"], masked.count((0, 1)))
    np.testing.assert_array_equal(got["sum"], masked.sum((0, 1)).filled(0))
    np.testing.assert_allclose(got["mean"], masked.mean((0, 1)).filled(np.nan), rtol=1e-15)
    got = reduced(path, "max,median", "all", "--where", ">=-100,<20")
    inside = array[(array >= -100) & (array < 20)]
    assert got["max"] == inside.max() and got["median"] == np.median(inside)
    assert b"no element is left" in run(path, "--op", "min", "--where", ">40000", code=2).stderr

    array = sample("float32", (5, 3, 7, 9), True)
    array[:, 0, 0, 0] = np.nan
    path = stored("skipna", array)
    got = reduced(path, "mean,max,median,count,std,argmax", "z", "--skipna")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got["mean"], np.nanmean(array.astype("f8"), 1), rtol=1e-6)
        np.testing.assert_array_equal(got["max"], np.nanmax(array, 1))
        np.testing.assert_allclose(got["median"], np.nanmedian(array, 1), rtol=1e-6)
    np.testing.assert_array_equal(got["count"], (~np.isnan(array)).sum(1))


def parts_of_an_axis():
    array = sample("uint16", (11, 3, 7, 9), False)
    path = stored("groups", array)
    got = reduced(path, "sum,argmax", "t", "--every", 4)
    np.testing.assert_array_equal(got["sum"], np.add.reduceat(array.astype("u8"), [0, 4, 8], axis=0))
    np.testing.assert_array_equal(got["argmax"][1], array[4:8].argmax(0) + 4)
    got = reduced(path, "max", "z", "--every", 2, "--trim")
    np.testing.assert_array_equal(got["max"], array[:, :2].max(1, keepdims=True))
    got = reduced(path, "mean,median", "t", "--window", 5)
    windows = np.lib.stride_tricks.sliding_window_view(array, 5, axis=0)
    np.testing.assert_array_equal(got["mean"], windows.mean(-1))
    np.testing.assert_array_equal(got["median"], np.median(windows, -1))
    got = reduced(path, "max", "0,2", "--keepdims")
    np.testing.assert_array_equal(got["max"], array.max((0, 2), keepdims=True))
    got = reduced(path, "max", "t", "--select", "t=::4,y=5:1:-2,z=1")
    np.testing.assert_array_equal(got["max"], array[::4, 1, 5:1:-2].max(0))
    got = reduced(path, "sum,median", "t,z", "--every", "t=4,x=2", "--window", "y=3")
    boxes = [array[t : t + 4, :, y : y + 3, x : x + 2] for t in (0, 4, 8) for y in range(5) for x in range(0, 9, 2)]
    for name, f in [("sum", np.sum), ("median", np.median)]:
        np.testing.assert_array_equal(got[name].ravel(), [f(box) for box in boxes])
    assert got["sum"].shape == (3, 5, 5)
    weights = RNG.normal(2, 1, 11)
    np.save(WORK / "weights.npy", weights)
    got = reduced(path, "mean", "t,z", "--weights", WORK / "weights.npy")
    expected = np.average(array.mean(1), axis=0, weights=weights)
    np.testing.assert_allclose(got["mean"], expected, rtol=1e-12)


def other_types():
    truth = RNG.integers(0, 2, (4, 3, 5, 7)).astype(bool)
    path = stored("bool", truth)
    got = reduced(path, "sum,mean,any,all,count,max", "t")
    for operator, value in {"sum": truth.sum(0), "mean": truth.mean(0), "any": truth.any(0), "all": truth.all(0), "max": truth.max(0)}.items():
        assert got[operator].dtype == value.dtype, operator
        np.testing.assert_array_equal(got[operator], value)
    z = (RNG.normal(size=(4, 3, 5, 7)) + 1j * RNG.normal(size=(4, 3, 5, 7))).astype("c8")
    path = stored("complex", z)
    got = reduced(path, "sum,mean", "y")
    np.testing.assert_allclose(got["sum"], z.sum(2), rtol=1e-5)
    np.testing.assert_allclose(got["mean"], z.astype("c16").mean(2), rtol=1e-6)
    assert got["sum"].dtype == "c8"
    assert b"max is not defined for complex" in run(path, "--op", "max", code=2).stderr


def ways_out():
    big = np.full((3, 1, 1, 2), 2**63, "u8")
    path = stored("big", big)
    assert b"does not fit uint64" in run(path, "--op", "sum", code=2).stderr
    assert float(run(path, "--op", "sum", "--dtype", "float64", "-q").stdout) == 6 * 2.0**63
    small = stored("small", np.array([100, 100, 100, 90], "u1").reshape(4, 1, 1, 1))
    assert run(small, "--op", "sum", "-q").stdout == b"390\n"
    assert b"does not fit uint8" in run(small, "--op", "sum", "--dtype", "uint8", code=2).stderr
    assert run(small, "--op", "mean,max", "-q").stdout == b"mean\t97.5\nmax\t100\n"
    told = json.loads(run(small, "--op", "quantile=0:1", "--json", "-q").stdout)
    assert told["outputs"][0]["value"] == [90.0, 100.0], told
    piped = run(small, "--op", "max", "--axis", "t", "--keepdims", "-o", "-", "-q").stdout
    assert np.load(io.BytesIO(piped)).tolist() == [[[[100]]]]
    assert b"'mix' is not an operator" in run(small, "--op", "mix", code=2).stderr
    run(small, "--op", "max", "--axis", "w", code=2)
    assert b"{op}" in run(small, "--op", "max,min", "-o", WORK / "x.npy", code=2).stderr


def archives():
    array = RNG.integers(0, 4096, (3, 24, 300, 400), dtype="u2")
    path = stored("deep", array, chunks=(1, 5, 128, 90))
    for memory, axis, expected in [("2G", "t,z", array.max((0, 1))), ("40M", "t", array.max(0)), ("2G", "x", array.max(3))]:
        run(path, "--op", "max", "--axis", axis, "-o", WORK / "max.npz", "--overwrite", "-q", "--memory", memory)
        assert (np.load(WORK / "max.npz")["arr_0"] == expected).all(), (memory, axis)


def holes():
    folder = WORK / "pile"
    folder.mkdir()
    array = sample("uint16", (4, 3, 7, 9), False)
    for t in range(4):
        if t != 2:
            tifffile.imwrite(folder / f"a_t{t}.tif", array[t], photometric="minisblack")
    pile = [folder, "--pattern", "_t{t}", "--axes", "t,c,z,y,x"]
    expected = array[[0, 1, 3]]
    run(*pile, "--op", "mean", "--axis", "t", code=1)
    run(*pile, "--op", "mean,count", "--axis", "t", "-o", WORK / "holes_{op}.npy", "--missing", "skip", "-q")
    np.testing.assert_array_equal(np.load(WORK / "holes_mean.npy")[0], expected.mean(0))
    np.testing.assert_array_equal(np.load(WORK / "holes_count.npy"), 3)
    run(*pile, "--op", "min", "--axis", "t", "-o", WORK / "fill.npy", "--missing", "fill", "-q")
    np.testing.assert_array_equal(np.load(WORK / "fill.npy"), 0)
    # Other kinds of output.
    run(*pile, "--op", "max", "--axis", "t", "-o", WORK / "max.tif", "--missing", "skip", "-q")
    np.testing.assert_array_equal(tifffile.imread(WORK / "max.tif"), expected.max(0))
    run(*pile, "--op", "max", "--axis", "t", "-o", WORK / "max.zarr", "--missing", "skip", "-q")
    np.testing.assert_array_equal(zarr.open(WORK / "max.zarr", mode="r")["0"][0], expected.max(0))
    run(*pile, "--op", "max", "--axis", "t,z", "-o", WORK / "max.png", "--missing", "skip", "-q")
    assert (WORK / "max.png").read_bytes().startswith(b"\x89PNG")

    # Within an expression holes are left out too; what a filter makes of one is a hole.
    def within(expression, op, *flags):
        out = ["--op", op, "--axis", "t", "-o", WORK / "within.npy", "--overwrite", "-q"]
        run(*pile, "--calc", expression, *out, "--missing", "skip", *flags)
        return np.load(WORK / "within.npy")[0]

    wide = expected.astype("f8")
    for expression, op, there in [
        ("a - mean(a, t)", "max", (wide - wide.mean(0)).max(0)),
        ("mean(a, t)", "mean", wide.mean(0)),
        ("min(a, t)", "min", wide.min(0)),
        ("count(a, t)", "max", 3),
        ("a - quantile(a, 0.1, t) + quantile(a, 0.9, t) * 0", "max", (wide - np.quantile(wide, 0.1, axis=0)).max(0)),
        ("bin(a, t=4, mean)", "max", wide.mean(0)),
        ("bin(a, t=4, min)", "max", wide.min(0)),
        ("bin(a, t=2, sum)", "max", np.maximum(wide[0] + wide[1], wide[2])),
        ("cumsum(a, t)", "max", wide.sum(0)),
        ("gaussian(a, y=1)", "count", 3),
        ("gaussian(a, t=1)", "count", 0),
        ("minimum(a, t=2)", "count", 2),
        # Of nothing but a hole there is nothing.
        ("min(a[t=2:3], t)", "count", 0),
        ("a[t=2:] - max(a[t=2:3], t)", "count", 0),
    ]:
        # Means of boxes have single precision.
        rtol = 1e-6 if expression.startswith("bin") else 1e-12
        np.testing.assert_allclose(within(expression, op), np.broadcast_to(there, wide.shape[1:]), rtol=rtol, atol=1e-9,
                                   err_msg=expression)
    done = run(*pile, "--op", "max", "--axis", "z", "--missing", "skip", "-q", code=2)
    assert b"--calc 'float64(a)'" in done.stderr, done.stderr
    run(*pile, "--op", "max", "--axis", "z", "--calc", "float64(a)", "-o", WORK / "nan.npy", "--missing", "skip", "-q")
    assert np.isnan(np.load(WORK / "nan.npy")).sum() == 7 * 9
    # Projections beside a stitch leave them out too.
    stitch = [EXE, "stitch", *pile, "--missing", "fill", "--fill-value", "7", "-o", WORK / "mip.zarr", "-q"]
    stitch += ["--mip", "t=min,mean,count", "--mip", "z=max"]
    assert subprocess.run(stitch).returncode == 0
    for name, there in [("min_t", wide.min(0)), ("mean_t", wide.mean(0)), ("count_t", np.full(wide.shape[1:], 3))]:
        np.testing.assert_allclose(zarr.open(WORK / f"mip_{name}.zarr", mode="r")["0"][0], there, rtol=1e-12, err_msg=name)
    # Where there is nothing stands the fill value.
    most = zarr.open(WORK / "mip_max_z.zarr", mode="r")["0"][:, 0]
    np.testing.assert_array_equal(most, [expected[0].max(0), expected[1].max(0), np.full((7, 9), 7), expected[2].max(0)])


def pictures():
    """Grey levels between percentiles, in 8 and 16 bits; the message says which values are black and white."""
    array = RNG.normal(1000, 50, (3, 60, 70)).astype("f4")
    array[0, :, :] = 2000
    tifffile.imwrite(WORK / "picture.tif", array, photometric="minisblack")
    plane = array.max(0)
    array[0, 5, 5] = -7
    for bits, flags, (low, high) in [
        (8, [], (0.1, 99.9)),
        (8, ["--percentiles", "5,95"], (5, 95)),
        (16, ["--png-bits", "16", "--percentiles=0,100"], (0, 100)),
    ]:
        source = tifffile.memmap(WORK / "picture.tif")[1:]
        plane = source.max(0)
        path = WORK / f"picture{bits}.png"
        done = run(
            WORK / "picture.tif", "--op", "max", "--axis", "z", "--select", "z=1:", "-o", path, "--overwrite", *flags
        )
        black, white = np.percentile(plane, [low, high], method="nearest")
        said = done.stderr.decode()
        assert f"black is {black:.7g}"[:13] in said and f"white is {white:.7g}"[:13] in said, (said, black, white)
        most = 2**bits - 1
        expected = np.clip((plane.astype("f8") - black) / (white - black) * most, 0, most)
        got = np.array(PIL.Image.open(path))
        assert got.dtype == (np.uint8 if bits == 8 else np.uint16), got.dtype
        assert np.abs(got - expected).max() <= 0.5 + 1e-6
    for wrong in (["--percentiles", "95,5"], ["--percentiles", "5"], ["--png-bits", "12"]):
        run(WORK / "picture.tif", "--op", "max", "--axis", "z", "-o", WORK / "no.png", *wrong, code=2)


def pipes():
    """Standard output takes results larger than the memory, band by band, whatever the tiles are."""
    array = RNG.integers(0, 60000, (3, 8, 225, 310), dtype="u2")
    path = stored("pipe", array, chunks=(1, 8, 32, 64), shards=None)
    for operators, axis, expected in [
        ("mean", "t", array.mean(0)),
        ("std", "0", array.std(0)),
        ("max", "z", array.max(1)),
        ("median", "z", np.median(array, 1)),
        ("topk=2", "t", -np.sort(-array.astype("i4"), 0)[:2]),
        ("argmin", "y,x", None),
    ]:
        for threads in (1, 2):
            done = run(path, "--op", operators, "--axis", axis, "-o", "-", "-q", "--threads", threads)
            got = np.load(io.BytesIO(done.stdout))
            if expected is not None:
                np.testing.assert_allclose(got, expected, rtol=1e-12)
            else:
                np.testing.assert_array_equal(got, array.reshape(3, 8, -1).argmin(2))
    # 57 MB of float64 in less memory than that.
    array = RNG.integers(0, 60000, (2, 8, 900, 1000), dtype="u2")
    path = stored("large_pipe", array, chunks=(1, 8, 128, 256), shards=None)
    done = run(path, "--op", "mean", "--axis", "t", "-o", "-", "--memory", "48M")
    np.testing.assert_array_equal(np.load(io.BytesIO(done.stdout)), array.mean(0))


def compressed_files():
    """Strips and tiles that must be decoded whole, reduced along every axis."""
    array = np.cumsum(RNG.integers(0, 9, (2, 3, 90, 100), dtype="u2"), 3, dtype="u2")
    for compression, predictor, tile, bigendian in [
        ("zlib", True, None, False),
        ("lzw", True, (64, 48), True),
        ("zstd", None, (32, 176), False),
        ("packbits", None, None, True),
        ("jpeg2000", None, (64, 48), False),
    ]:
        folder = WORK / f"compressed_{compression}"
        folder.mkdir()
        for t in range(2):
            tifffile.imwrite(
                folder / f"a_t{t}.tif", array[t], compression=compression, predictor=predictor, tile=tile,
                byteorder=">" if bigendian else "<", photometric="minisblack", rowsperstrip=None if tile else 40,
                compressionargs={"reversible": True} if compression == "jpeg2000" else None,
            )  # fmt: skip
        pile = [*sorted(folder.glob("*.tif")), "--pattern", "_t{t}", "-q"]
        whole = array[:, None]
        for axis, axes in (("t", (0,)), ("z", (2,)), ("y", (3,)), ("x", (4,)), ("t,y,x", (0, 3, 4))):
            for flags in ([], ["--memory", "49M", "--threads", "1"]):
                run(*pile, "--op", "mean,max,median", "--axis", axis, "-o", WORK / "c_{op}.npy", "--overwrite", *flags)
                np.testing.assert_array_equal(np.load(WORK / "c_max.npy"), whole.max(axes))
                np.testing.assert_allclose(np.load(WORK / "c_mean.npy"), whole.mean(axes), rtol=1e-14)
                np.testing.assert_array_equal(np.load(WORK / "c_median.npy"), np.median(whole, axes))


def refusals():
    """What could never be stored, and what stands in the way, is said before anything is read."""
    array = RNG.integers(0, 60000, (2, 3, 200, 300), dtype="u2")
    path = stored("refused", array)
    done = run(path, "--op", "histogram", "--axis", "t", "-o", WORK / "h.zarr", code=2)
    assert b"reduce more axes" in done.stderr, done.stderr
    assert not (WORK / "h.zarr").exists()
    # Small results too find out about their place first.
    (WORK / "there.npy").write_bytes(b"precious")
    done = run(path, "--op", "sum", "-o", WORK / "there.npy", code=2)
    assert b"--overwrite" in done.stderr and b"reading" not in done.stderr, done.stderr
    assert (WORK / "there.npy").read_bytes() == b"precious"
    empty = stored("empty", array[:0])
    assert b"axis t has length 0" in run(empty, "--op", "sum", "-o", WORK / "empty.npy", code=2).stderr
    # Too little memory: the number that is named would do.
    done = run(path, "--op", "median", "--axis", "t", "-o", WORK / "m.npy", "--memory", "8M", code=2)
    enough = done.stderr.decode().split("give --memory ")[1].split()[0]
    run(path, "--op", "median", "--axis", "t", "-o", WORK / "m.npy", "--memory", enough, "-q")


def foreign_zarr():
    """Every real array of the shared corpus, through the whole program: a maximum of groups of one."""
    corpus = Path(os.environ.get("STACKCTL_CORPUS", "/nowhere"))
    if not (corpus / "manifest.json").exists():
        print(f"skipped: no corpus in {corpus}")
        return
    n_equal = 0
    for store in json.loads((corpus / "manifest.json").read_text())["zarr"]:
        for entry in store["arrays"]:
            truth, path = entry.get("truth") or {}, corpus / store["path"] / entry["path"]
            real = truth.get("sha256") and not truth["dtype"].lstrip("<>|").startswith(("complex", "r"))
            if entry["expect"] != "decode" or not real or not truth["shape"] or 0 in truth["shape"]:
                continue
            out = WORK / "foreign.npy"
            run(path, "--op", "max", "--axis", "0", "--every", "1", "-o", out, "--overwrite", "-q")
            got = np.load(out)
            assert list(got.shape) == truth["shape"], (path, got.shape, truth)
            assert hashlib.sha256(got.tobytes()).hexdigest() == truth["sha256"], (path, got.dtype, truth)
            n_equal += 1
    print(f"{n_equal} arrays of others are equal")
    assert n_equal > 50


def tables():
    """What is printed and what spreadsheets read: places with labels and coordinates, values exactly."""
    array = RNG.normal(0, 1e3, (2, 4, 5, 6)).astype("f4")
    folder = WORK / "tables"
    folder.mkdir()
    for t in range(2):
        for c in range(4):
            tifffile.imwrite(folder / f"a_t{t}_c{c}.tif", array[t, c])
    pile = (folder / "*.tif", "--pattern", "a_t{t}_c{c}", "--time-step", "0.1min", "--channel-names", 'a,b,"c",d e')
    means, tops = array.mean((2, 3), dtype="f8").astype("f4"), array.max((2, 3))
    printed = run(*pile, "--op", "mean,max", "--axis", "y,x", "-q").stdout.decode()
    rows = list(csv.reader(io.StringIO(printed), dialect="excel-tab"))
    assert rows[0][:3] == ["t", "t@s", "c"] and rows[0][-2:] == ["mean", "max"], rows[0]
    assert [row[:3] for row in rows[1:]] == [[str(t), str(6 * t), c] for t in range(2) for c in ["a", "b", '"c"', "d e"]]
    np.testing.assert_array_equal(np.array([row[-1] for row in rows[1:]], "f4").reshape(2, 4), tops)
    np.testing.assert_allclose(np.array([row[-2] for row in rows[1:]], "f4").reshape(2, 4), means, rtol=1e-5)
    for ending, dialect in (("csv", "excel"), ("tsv", "excel-tab")):
        run(*pile, "--op", "max,quantile=0.1:0.9", "--axis", "y,x", "-o", WORK / f"t_{{op}}.{ending}", "-q")
        with open(WORK / f"t_max.{ending}", newline="") as file:
            read = list(csv.DictReader(file, dialect=dialect))
        assert [row["c"] for row in read[:4]] == ["a", "b", '"c"', "d e"], read[:4]
        np.testing.assert_array_equal(np.array([row["max"] for row in read], "f4").reshape(2, 4), tops)
        with open(WORK / f"t_quantile-0.1-0.9.{ending}", newline="") as file:
            read = list(csv.DictReader(file, dialect=dialect))
        values = np.array([row["quantile=0.1:0.9"] for row in read], "f4").reshape(2, 2, 4)
        assert [row["quantile"] for row in read] == ["0.1"] * 8 + ["0.9"] * 8
        np.testing.assert_allclose(values, np.quantile(array, [0.1, 0.9], (2, 3)), rtol=1e-4)
    assert b"table takes" in run(stored("wide", np.zeros((1, 1, 1100, 1100), "u1")), "--op", "max", "--axis", "t", "-o",
                                 WORK / "wide.csv", code=2).stderr  # fmt: skip


def chunks_are_decoded_once():
    """Steps, groups and windows that cut stored pieces; done in seconds only if each is decoded about once."""
    array = RNG.integers(0, 1000, (200, 64, 128), dtype="u2")
    path = WORK / "once.zarr"
    z = zarr.create_array(path, shape=array.shape, chunks=array.shape, dtype="u2", dimension_names=["z", "y", "x"])
    z[...] = array
    for select, index in [
        ("x=::2", np.s_[:, :, ::2]),
        ("z=::3,y=::-2,x=5:100:7", np.s_[::3, ::-2, 5:100:7]),
        ("x=::-1", np.s_[:, :, ::-1]),
    ]:
        chosen = array[index]
        for operator, expected in (("mean", chosen.mean(0)), ("median", np.median(chosen, 0)), ("max", chosen.max(0))):
            run(path, "--op", operator, "--select", select, "--axis", "z", "-o", WORK / "o.npy", "--overwrite", "-q")
            np.testing.assert_array_equal(np.load(WORK / "o.npy"), expected)
    for axis in (0, 1, 2):
        for n in (2, 5, 64):
            told = run(path, "--op", "max", "--axis", axis, "--every", n, "-o", WORK / "o.npy", "--overwrite", "--json")
            assert json.loads(told.stdout)["figures"]["read_amplification"] < 2, (axis, n)
            starts = range(0, array.shape[axis], n)
            expected = np.maximum.reduceat(array, list(starts), axis=axis)
            np.testing.assert_array_equal(np.load(WORK / "o.npy"), expected)
        run(path, "--op", "sum", "--axis", axis, "--window", 3, "-o", WORK / "o.npy", "--overwrite", "-q")
        expected = np.lib.stride_tricks.sliding_window_view(array, 3, axis=axis).sum(-1, dtype="u8")
        np.testing.assert_array_equal(np.load(WORK / "o.npy"), expected)


def flags_that_matter():
    """Axes are counted as they are stored; flags without effect and outputs over inputs are refused."""
    array = np.arange(24).reshape(2, 3, 4).astype("i4")
    path = WORK / "order.zarr"
    z = zarr.create_array(path, shape=array.shape, chunks=array.shape, dtype="i4", dimension_names=["x", "y", "t"])
    z[...] = array
    for axis in (0, 1, 2, -1):
        run(path, "--op", "sum", "--axis", axis, "-o", WORK / "order.npy", "--overwrite", "-q")
        np.testing.assert_array_equal(np.load(WORK / "order.npy"), array.sum(axis))
    np.save(WORK / "w.npy", np.ones(2))
    for flags in (["--op", "max", "--weights", WORK / "w.npy"], ["--op", "mean", "--ddof", "1"]):
        run(path, *flags, "--axis", "0", "-o", WORK / "no.npy", code=2)
    run(path, "--op", "mean", "--level", "7", code=2)
    done = run(path, "--op", "sum", "--axis", "0", "-o", path, "--overwrite", code=2)
    assert b"would replace the input" in done.stderr, done.stderr
    np.testing.assert_array_equal(zarr.open(path, mode="r")[...], array)
    huge = stored("huge", np.full((3, 1, 1, 1), 1e300))
    assert b"does not fit float32" in run(huge, "--op", "max", "--dtype", "float32", code=2).stderr


def examples():
    """Those of the help, which are those of the man page, as they stand."""
    folder = WORK / "examples"
    (folder / "raw").mkdir(parents=True)
    array = RNG.integers(0, 4096, (9, 2, 5, 12, 14), dtype="u2")
    for t in range(9):
        for c in range(2):
            tifffile.imwrite(folder / "raw" / f"a_t{t}_c{c}.tif", array[t, c], photometric="minisblack")
    text = subprocess.run([EXE, "reduce", "--help"], capture_output=True, text=True, check=True).stdout
    text = text.split("Examples:")[1]
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("stackctl ")]
    assert len(commands) == 10, commands
    out = []
    for command in commands:
        command = command.replace("stackctl", EXE, 1)
        out.append(subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout)
    np.testing.assert_array_equal(zarr.open(folder / "mean.zarr", mode="r")["0"][...], array.mean(0))
    np.testing.assert_allclose(tifffile.imread(folder / "z_std.tif"), array.std(2), rtol=1e-6)
    assert out[2] == f"{array.sum()}\n"
    assert float(out[3]) == array[array > 0].mean()
    np.testing.assert_array_equal(np.load(folder / "first.npy"), array[::4].mean(0))
    np.testing.assert_array_equal(np.load(folder / "later.npy"), array[2::4].mean(0))
    head, *lines = (line.split("\t") for line in out[6].splitlines())
    assert head[-3:] == ["mean", "std", "max"], head
    assert len(lines) == 90 and float(lines[-1][-3]) == array[-1, -1, -1].mean()
    assert int(out[7]) == 128 + 5 * 12 * 14 * 8
    counts = [int(line.split("\t")[-1]) for line in out[8].splitlines()[1:]]
    assert counts == np.histogram(array[:, 1], 16, (0, 4096))[0].tolist()


if __name__ == "__main__":
    parts = (
        operators_types_and_axes,
        long_axes,
        chosen_elements,
        parts_of_an_axis,
        other_types,
        ways_out,
        archives,
        holes,
        pictures,
        pipes,
        tables,
        compressed_files,
        refusals,
        chunks_are_decoded_once,
        flags_that_matter,
        foreign_zarr,
        examples,
    )
    for part in parts:
        # Names behind the folder choose parts, while one of them is being mended.
        if len(sys.argv) == 3 or part.__name__ in sys.argv[3:]:
            part()
    print(f"{n_checked} results are NumPy's")
