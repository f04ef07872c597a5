"""Compares what a device makes with what the processors make. Arguments: the program, a folder, a device's name, of how
many comparisons one is made, spread over all of them: 1 for all; and which of so many [the last]."""

import functools
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

EXE, WORK, DEVICE, ONE_OF = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
WHICH = int(sys.argv[5]) % ONE_OF if len(sys.argv) > 5 else 0
RNG = np.random.default_rng(11)
DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()
# Lengths that no group of work items divides, and one element.
SHAPES = [(3, 7, 65), (1, 33, 129), (5, 1, 1)]
n_asked = n_checked = 0
LOG = WORK / "oclgrind.log"
if DEVICE == "oclgrind":
    # It stands in for a device and watches each access to memory.
    os.environ.update(OCL_ICD_VENDORS="/usr/lib/oclgrind/liboclgrind-rt-icd.so", OCLGRIND_DATA_RACES="1", OCLGRIND_LOG=str(LOG))


failed = []


def comparison(compare):
    """Makes the comparison if it is its turn; what is not as it should be is told at the end."""

    @functools.wraps(compare)
    def made_in_turn(*arguments, **named):
        global n_asked, n_checked
        n_asked += 1
        if n_asked % ONE_OF != WHICH:
            return
        n_checked += 1
        try:
            compare(*arguments, **named)
        except AssertionError as e:
            failed.append(f"{compare.__name__}{arguments} {named or ''}: {e}")

    return made_in_turn


def made(dtype, shape):
    kind = np.dtype(dtype).kind
    if kind == "b":
        return RNG.random(shape) < 0.5
    if kind in "iu":
        info = np.iinfo(dtype)
        return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = (RNG.normal(size=shape) * 100).astype(dtype)
    values.flat[::97] = np.nan
    values.flat[1::101] = np.inf
    return values


def calc(expression, inputs, flags):
    command = [EXE, "calc", expression, *inputs, "-o", "out.npy", "--overwrite", "--json", *flags]
    done = subprocess.run(command, capture_output=True, cwd=WORK)
    return done.returncode, done.stderr.decode(), np.load(WORK / "out.npy") if done.returncode == 0 else None


@comparison
def check(expression, inputs, flags=(), ulps=0):
    """The same on the device: bit by bit, or within so many units in the last place of the largest value."""
    code, text, expected = calc(expression, inputs, flags)
    own_code, own_text, got = calc(expression, inputs, [*flags, "--device", DEVICE])
    assert code == own_code, (expression, flags, text, own_text)
    if code != 0:
        assert text.splitlines()[-1] == own_text.splitlines()[-1], (text, own_text)
        return
    assert "made" in own_text and "the processors" not in own_text, (expression, own_text)
    assert got.dtype == expected.dtype and got.shape == expected.shape, expression
    if got.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=f"{expression} {flags}")
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(got[~finite], expected[~finite], err_msg=f"{expression} {flags}")
        if ulps:
            scale = np.abs(expected[finite]).max(initial=0)
            worst = np.abs(got[finite].astype(float) - expected[finite]).max(initial=0)
            assert worst <= ulps * np.finfo(got.dtype).eps * max(scale, 1e-30), (expression, flags, worst, scale)
            return
    np.testing.assert_array_equal(got, expected, err_msg=f"{expression} {flags}")


@comparison
def reduce(ops, axis, dtype, tolerance=0):
    """Whole numbers are the same; floats are within `tolerance` of themselves."""
    results = []
    for flags in [[], ["--device", DEVICE]]:
        command = [EXE, "reduce", f"{dtype}0.npy", "--op", ops, "--axis", axis, "-o", "r_{op}.npy", "--overwrite", *flags]
        done = subprocess.run(command, capture_output=True, cwd=WORK)
        assert done.returncode == 0, (command, done.stderr.decode())
        results.append([np.load(WORK / f"r_{re.sub('[=:]', '-', op)}.npy") for op in ops.split(",")])
    assert " made " in done.stderr.decode() and "made no part" not in done.stderr.decode(), (command, done.stderr.decode())
    for op, expected, got in zip(ops.split(","), *results):
        assert got.dtype == expected.dtype, (command, op, got.dtype)
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=0, err_msg=f"{op} of {dtype} along {axis}")


@comparison
def pairs(metric, dtype, *flags):
    """Distances of whole numbers of up to 16 bits are the same; others are within 1e-12 of the largest."""
    results = []
    for more in [[], ["--device", DEVICE]]:
        command = [EXE, "pairwise", f"rows_{dtype}.npy", "--metric", metric, "-o", "d.npy", "--overwrite", *flags, *more]
        done = subprocess.run(command, capture_output=True, cwd=WORK)
        assert done.returncode == 0, (command, done.stderr.decode())
        results.append(np.load(WORK / "d.npy"))
    text = done.stderr.decode()
    assert " made " in text and "the processors" not in text, (command, text)
    expected, got = results
    bound = 0 if np.dtype(dtype).itemsize <= 2 and dtype != "float16" and metric not in ("canberra", "braycurtis") else 1e-12
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=str(command))
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.nanmax(np.abs(expected)), err_msg=str(command))


@comparison
def parts(kind):
    """Values and components are the same within 1e-9."""
    results = []
    for more in [[], ["--device", DEVICE]]:
        command = [EXE, "decompose", "rows_float64.npy", "--along", "z", "--kind", kind, "-o", "p.npy", "--overwrite", *more]
        done = subprocess.run(command, capture_output=True, cwd=WORK)
        assert done.returncode == 0, (command, done.stderr.decode())
        results.append((np.load(WORK / "p_values.npy"), np.load(WORK / "p.npy")))
    assert " made " in done.stderr.decode(), (command, done.stderr.decode())
    for expected, got in zip(*results):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=kind)


for i, (dtype, shape) in enumerate(itertools.product(DTYPES, SHAPES[:2])):
    np.save(WORK / f"{dtype}{i % 2}.npy", made(dtype, shape))
np.save(WORK / "one.npy", made("uint16", SHAPES[2]))
np.save(WORK / "wide.npy", RNG.integers(0, 999, (12, 90, 150)).astype("float32"))
np.save(WORK / "kernel.npy", RNG.normal(size=(1, 3, 4)))


def of(dtype, second=None):
    inputs = [f"a={dtype}0.npy"]
    return inputs + ([f"b={second}0.npy"] if second else [])


# Element-wise: every type with every operation, whole numbers that divide by zero and that do not fit.
for dtype in DTYPES:
    a = of(dtype)
    whole = np.dtype(dtype).kind != "f"
    exact = "where(a > 3, float64(a) * 2, -float64(a)) + (a != a) + sign(float64(a)) + abs(float64(a)) / 3"
    check(exact, a)
    check("floor(float64(a) / 7) + ceil(float64(a) / 5) + round(float64(a)) + sqrt(abs(float64(a)))", a)
    check("exp(-abs(float64(a)) / 1e4) + log(abs(float64(a)) + 1) + log2(abs(float64(a)) + 1) + float64(a) ** 3", a, ulps=64)
    for cast in ["clip", "round", "error"]:
        check("float64(a) / 3", a, ["--dtype", "uint8", "--cast", cast])
    check("float64(a) + 1", a, ["--dtype", "float16", "--cast", "clip"])
    check("float64(a) // -7.5 + float64(a) % -2.5 + float64(a) // (float64(a) / 0)", a)
    if whole and dtype != "bool":
        check("a + 0", a, ["--dtype", "int16", "--cast", "clip"])
        check("(a ^ 5) | (a & 3)", a)
        if dtype not in ("uint64", "int64"):
            check("a // 7 + a % 5 - min(a, 3) + max(a, -2) - a", a)
            check("a // (a - a % 3)", a)
for one, two in [("uint16", "uint16"), ("int8", "float32"), ("int32", "uint32"), ("float32", "float64"), ("bool", "int16")]:
    check("a + b", of(one, two))
    check("a * b - b", of(one, two))
    check("(a < b) & (b <= a * 2)", of(one, two))
    check("a / b", of(one, two))
    check("excess(a, b) + hypot(a, b)", of(one, two), ulps=8)
# Axes that are stretched, and another order of axes.
check("a - a[z=1] + a[y=3]", of("int32"))
check("where(a > a[x=4], a, 0)", of("uint16"))

# Filters: every type, both shapes, every edge.
for i, dtype in enumerate(DTYPES):
    a = [f"a={dtype}{i % 2}.npy"]
    check("gaussian(a, z=0.5, y=2, x=1)", a)
    check("uniform(a, y=3, x=4)", a)
    check("median(a, 3)", a)
    check("percentile(a, 80, y=7, x=6)", a)
    check("minimum(a, y=3, x=5)", a)
    check("tophat(a, y=4, x=3)" if dtype not in ("bool", "uint64", "int64") else "maximum(a, x=9)", a)
for dtype in ["int16", "float32"]:
    a = of(dtype)
    for mode in ["reflect", "nearest", "mirror", "wrap", "constant"]:
        check("gaussian(gaussian(a, x=2, mode=M), y=2, mode=M)".replace("M", mode), a)
        check("median(maximum(a, 5, mode=M), 3, mode=M)".replace("M", mode), a)
    check("convolve(a, kernel.npy)", a)
    check("total(a, y=3, x=3)", a)
    check("sobel(a, x) + laplace(a) + dog(a, 1, 2)", a)
    check("rolling_ball(a, y=5, x=5)", a)
    check("bilateral(a, y=1, x=1, range=50)", a, ulps=64)
    check("unsharp(a, y=1, x=2) + gradient_magnitude(a, y=1, x=1)", a, ulps=8)
    # Parts whose edges fall anywhere, and little room on the device.
    check("gaussian(a, 1) - median(a, y=3, x=3)", a, ["--device-memory", "24M"])
check("gaussian(a, 1) + median(a, 3)", ["a=one.npy"])
# Many parts, each with what it needs of others.
for expression in ["gaussian(a, 2, mode=wrap) - median(a, 3)", "opening(uniform(a, 4), 3)", "sobel(a, y) + rolling_ball(a, 3)"]:
    check(expression, ["a=wide.npy"], ["--memory", "36M"])

# More rows and planes than devices take groups along one axis.
for name, shape in [("planes", (131101, 2, 3)), ("lines", (2, 300007, 3))]:
    np.save(WORK / f"{name}.npy", made("uint16", shape))
    for expression in ["gaussian(a, z=1, y=1, x=1)", "median(a, 3)", "a[x=0] * 2 + a", "a - max(a, x)"]:
        check(expression, [f"a={name}.npy"])

# Reductions of lines, several operators in one reading; and in expressions that keep them.
for dtype in DTYPES:
    wide = np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize == 8
    for axis in ["z", "y", "z,y"]:
        reduce("min,max,argmin,argmax", axis, dtype)
        if not wide:
            reduce("sum,mean,var,std", axis, dtype, tolerance=1e-3 if dtype == "float16" else 1e-6)
    if dtype != "float16":
        reduce("median,quantile=0.9", "y" if wide else "x", dtype)
    if dtype in ("uint8", "float32"):
        reduce("median,quantile=0.25", "z", dtype)
for dtype in ["bool", "uint8", "int16", "uint16"]:
    reduce("histogram,max", "y", dtype)
for dtype in ["int8", "uint32", "int64", "uint64", "float16", "float32", "float64"]:
    reduce("histogram=7:-0.3:100,histogram=100:-128:127.5,min", "z,y", dtype)
for dtype in ["uint8", "uint64", "float32"]:
    reduce("quantile=0.1:0.5:0.97,median", "y", dtype)

# Light sheets, to both sides, by parts of an element and whole ones.
for dtype in ["uint8", "int32", "float16", "float32", "float64"]:
    for angle, step in [("30", "0.4um"), ("140", "0.7um"), ("60", "0.25um")]:
        check(f"deskew(a, angle={angle}, z={step}, x=0.125um)", of(dtype))
check("gaussian(deskew(median(a, 3), angle=30, z=0.4um, x=0.1um), 1)", ["a=wide.npy"])

# Distances: fewer rows than a tile has, more, and as many; columns that no part divides.
ROWS = ["bool", "uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64"]
for dtype in ROWS:
    values = made(dtype, (37, 19, 83))
    np.save(WORK / f"rows_{dtype}.npy", values if values.dtype.kind != "f" else np.nan_to_num(values, posinf=5))
for dtype in ROWS:
    for metric in "euclidean sqeuclidean cityblock chebyshev cosine correlation canberra braycurtis dot".split():
        pairs(metric, dtype, "--along", "z")
    pairs("correlation", dtype, "--along", "z", "--with", "rows_uint16.npy")
    pairs("cityblock", dtype, "--along", "y", "--keep", "z", "--select", "z=:3,y=3:19")
np.save(WORK / "rows_float32.npy", made("float32", (5, 41, 83)))
for metric in ["euclidean", "chebyshev", "dot", "cosine"]:
    pairs(metric, "float32", "--along", "z")
for kind in ["pca", "svd", "qr"]:
    parts(kind)

check("a - mean(a, z) + median(gaussian(a, 1), y)", ["a=wide.npy"], ulps=8)
print(f"{n_checked} of {n_asked} comparisons made on {DEVICE}, {len(failed)} failed")
print("\n".join(failed))
assert not failed
assert not LOG.exists() or LOG.read_text() == "", LOG.read_text()
