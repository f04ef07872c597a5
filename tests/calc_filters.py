"""Compares the filters of `stackctl calc` with scipy.ndimage. Arguments: the program, a folder to work in."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import scipy.ndimage as nd
import zarr

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(3)
MODES = ["reflect", "nearest", "mirror", "wrap", "constant"]
n_checked = 0


def calc(expression, inputs, flags=()):
    command = [EXE, "calc", expression, *inputs, "-o", "out.npy", "--overwrite", "-q", *flags]
    done = subprocess.run(command, capture_output=True, cwd=WORK)
    assert done.returncode == 0, (expression, done.stderr.decode())
    return np.load(WORK / "out.npy")


def check(expression, inputs, expected, rtol=0, flags=()):
    global n_checked
    got = calc(expression, inputs, flags)
    if rtol:
        scale = np.abs(expected).max()
        worst = np.abs(got - expected).max() / max(scale, 1e-30)
        assert worst <= rtol, (expression, flags, worst)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=f"{expression} {flags}")
    n_checked += 1


def stored(name, array, dims, chunks):
    z = zarr.create_array(WORK / f"{name}.zarr", shape=array.shape, dtype=array.dtype, chunks=chunks, dimension_names=list(dims))
    z[...] = array
    return [f"{name}={name}.zarr"]


a = RNG.integers(0, 65536, (2, 11, 40, 75), dtype="u2")
inputs = stored("a", a, "tzyx", (1, 4, 16, 32))
f = a.astype("f8")
for mode in MODES:
    m = f", mode={mode}"
    for axes, text in [((0, 0, 2.0, 2.0), "y=2, x=2"), ((0, 1.5, 0.7, 3.0), "z=1.5, y=0.7, x=3")]:
        check(f"gaussian(a, {text}{m})", inputs, nd.gaussian_filter(f, axes, mode=mode), 2e-6)
    check(f"uniform(a, y=5, x=4{m})", inputs, nd.uniform_filter(f, (1, 1, 5, 4), mode=mode), 2e-6)
    check(f"gaussian(a, y=2, order=1{m})", inputs, nd.gaussian_filter1d(f, 2, axis=2, order=1, mode=mode), 2e-6)
    for size, text in [((1, 1, 3, 3), "y=3, x=3"), ((1, 3, 3, 3), "3"), ((1, 1, 4, 15), "y=4, x=15"), ((1, 5, 1, 1), "z=5")]:
        results = {
            f"minimum(a, {text}{m})": nd.minimum_filter(a, size, mode=mode),
            f"maximum(a, {text}{m})": nd.maximum_filter(a, size, mode=mode),
            f"median(a, {text}{m})": nd.median_filter(a, size, mode=mode),
            f"percentile(a, 20, {text}{m})": nd.percentile_filter(a, 20, size=size, mode=mode),
            f"opening(a, {text}{m})": nd.grey_opening(a, size, mode=mode),
            f"closing(a, {text}{m})": nd.grey_closing(a, size, mode=mode),
            f"erosion(a, {text}{m})": nd.grey_erosion(a, size, mode=mode),
            f"dilation(a, {text}{m})": nd.grey_dilation(a, size, mode=mode),
        }
        if mode == "reflect":
            for expression, expected in results.items():
                check(expression, inputs, expected)
        else:
            check(f"stack({', '.join(results)}, axis=c)", inputs, np.stack([*results.values()], 1))
    check(f"tophat(a, y=15, x=15{m})", inputs, nd.white_tophat(a, (1, 1, 15, 15), mode=mode))
    # SciPy's wraps where a constant beyond the edges takes the closing below the elements: a difference has a sign.
    closed = nd.grey_closing(a, (1, 1, 15, 15), mode=mode).astype("i8")
    check(f"black_tophat(a, y=15, x=15{m})", inputs, closed - a)
    check(f"rank(a, -2, y=3, x=5{m})", inputs, nd.rank_filter(a, -2, size=(1, 1, 3, 5), mode=mode))
    check(f"laplace(a, y, x{m})", inputs, sum(nd.correlate1d(f, [1, -2, 1], i, mode=mode) for i in (2, 3)), 2e-6)
    volumes = [nd.laplace(v, mode=mode) for v in f]
    check(f"laplace(a{m})", inputs, np.stack(volumes), 2e-6)
    check(f"log(a, 1.5{m})", inputs, np.stack([nd.gaussian_laplace(v, 1.5, mode=mode) for v in f]), 2e-6)
    check(f"gradient_magnitude(a, 1.5{m})", inputs,
          np.stack([nd.gaussian_gradient_magnitude(v, 1.5, mode=mode) for v in f]), 2e-6)
    check(f"sobel(a, y{m})", inputs, np.stack([nd.sobel(v, 1, mode=mode) for v in f]), 2e-6)
    check(f"prewitt(a, x{m})", inputs, np.stack([nd.prewitt(v, 2, mode=mode) for v in f]), 2e-6)
    kernel = RNG.normal(size=(3, 4, 5))
    np.save(WORK / "kernel.npy", kernel)
    check(f"convolve(a, kernel.npy{m})", inputs, np.stack([nd.convolve(v, kernel, mode=mode) for v in f]), 2e-6)
    np.save(WORK / "whole.npy", np.arange(6, dtype="i4").reshape(2, 3) - 2)
    check(f"convolve(a, whole.npy{m})", inputs,
          nd.convolve(a.astype("i8"), (np.arange(6).reshape(1, 1, 2, 3) - 2), mode=mode))
# By a path, in quotes or not.
(WORK / "my-kernels").mkdir()
np.save(WORK / "my-kernels/3.npy", kernel)
for path in ["my-kernels/3.npy", "'my-kernels/3.npy'", "./my-kernels/3.npy"]:
    check(f"convolve(a, {path})", inputs, np.stack([nd.convolve(v, kernel) for v in f]), 2e-6)
g = nd.gaussian_filter
check("dog(a, 1, 2)", inputs, np.stack([g(v, 1) - g(v, 2) for v in f]), 2e-6)
check("unsharp(a, 2, amount=0.7)", inputs, np.stack([v + 0.7 * (v - g(v, 2)) for v in f]), 2e-6)
check("total(a, y=3, x=3) // 9", inputs, nd.convolve(a.astype("i8"), np.ones((1, 1, 3, 3), "i8")) // 9)
mean, square = (nd.uniform_filter(v, (1, 1, 5, 5)) for v in (f, f * f))
check("variance(a, y=5, x=5)", inputs, square - mean * mean, 1e-9)
check("gaussian(a, y=2, x=2) > 3 * std(a, z,y,x)", inputs,
      g(f, (0, 0, 2, 2)).astype("f4") > 3 * f.std((1, 2, 3), keepdims=True))
check("median(a, t) - a", inputs, np.median(a, 0, keepdims=True) - f)
for dtype in ["u1", "i1", "i2", "u4", "i4", "i8", "u8", "f4", "f8"]:
    b = (RNG.normal(0, 60, (3, 20, 33)).clip(-120, 120) if dtype[0] != "u" else RNG.integers(0, 200, (3, 20, 33))).astype(dtype)
    own = stored(f"b{dtype}", b, "zyx", (2, 8, 16))
    name = f"b{dtype}"
    check(f"median({name}, 3)", own, nd.median_filter(b, 3))
    check(f"maximum({name}, y=6)", own, nd.maximum_filter(b, (1, 6, 1)))
    check(f"gaussian({name}, 1)", own, nd.gaussian_filter(b.astype("f8"), 1), 2e-6 if dtype[1] in "12" or dtype == "f4" else 1e-12)



# NaN spreads to every window that holds it, wherever it is: as NumPy's least and greatest of all windows.
for dtype, chunks in [("f4", (2, 8, 16)), ("f8", (3, 20, 33)), ("f2", (1, 5, 7))]:
    n = RNG.normal(size=(3, 20, 33)).astype(dtype)
    n[RNG.random(n.shape) < 0.02] = np.nan

    def extreme(a, size, of):
        before = [((s // 2), (s - 1) // 2) for s in size]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(a, before, mode="symmetric"), size)
        return of(windows, axis=(-3, -2, -1))

    own = stored(f"n{dtype}", n, "zyx", chunks)
    for size, text in [((1, 3, 5), "y=3, x=5"), ((3, 3, 3), "3"), ((1, 1, 9), "x=9"), ((1, 7, 1), "y=7")]:
        least, greatest = extreme(n, size, np.min), extreme(n, size, np.max)
        check(f"minimum(n{dtype}, {text})", own, least)
        check(f"maximum(n{dtype}, {text})", own, greatest)
        check(f"opening(n{dtype}, {text})", own, extreme(least, size, np.max))
        check(f"closing(n{dtype}, {text})", own, extreme(greatest, size, np.min))


def brute(a, radius, make):
    """What `make` gives for every element of a plane, from the shifted planes with their offsets."""
    n = int(np.ceil(radius))
    padded = np.pad(a.astype("f8"), n, mode="symmetric")
    offsets = [(y, x) for y in range(-n, n + 1) for x in range(-n, n + 1)]
    shifted = [padded[n + y : n + y + a.shape[0], n + x : n + x + a.shape[1]] for y, x in offsets]
    return make(np.array(offsets), np.array(shifted))


p = RNG.integers(0, 4000, (23, 31), dtype="u2")
own = stored("p", p, "yx", (8, 16))


def bilateral(offsets, shifted, sigma=1.5, spread=500):
    weights = np.exp(-0.5 * (offsets**2).sum(1)[:, None, None] / sigma**2 - 0.5 * ((shifted - p) / spread) ** 2)
    return (weights * shifted).sum(0) / weights.sum(0)


check("bilateral(p, 1.5, range=500)", own, brute(p, 3, bilateral), 2e-6)
r = 5.0
q = np.pad(p.astype("f8"), 5, constant_values=65535)
ball = [q[5 + y : 28 + y, 5 + x : 36 + x] + r - np.sqrt(r * r - y * y - x * x)
        for y in range(-5, 6) for x in range(-5, 6) if y * y + x * x <= r * r]
check("rolling_ball(p, 5)", own, np.min(ball, 0), 2e-6)
skew = 0.5 / 0.2 * np.cos(np.deg2rad(31.8))
width = a.shape[3] + int(np.ceil(skew * (a.shape[1] - 1)))
expected = np.stack([np.stack([nd.affine_transform(v[z], np.eye(2), [0, -skew * z], (a.shape[2], width), order=1)
                               for z in range(a.shape[1])]) for v in f])
# Half an element beyond the last one SciPy fades out; here nothing was seen there.
got = calc("deskew(a, angle=31.8, z=0.5um, x=0.2um)", inputs)
assert got.shape == expected.shape and np.abs(got - expected).max() <= 2e-6 * 65535, np.abs(got - expected).max()
lumps = np.concatenate([RNG.normal(100, 9, 4000), RNG.normal(400, 30, 1000)]).clip(0).astype("u2").reshape(50, 100)
values = np.arange(lumps.min(), lumps.max() + 1)
counts = np.bincount(lumps.ravel())[values[0] :].astype("f8")
below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
mean_below = np.cumsum(counts * values) / below
mean_above = (np.cumsum((counts * values)[::-1]) / above[::-1])[::-1]
cut = values[:-1][np.argmax(below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2)]
check("threshold(l, otsu)", stored("l", lumps, "yx", (16, 30)), lumps > cut)
check("threshold(same, otsu)", stored("same", np.full((9, 8), 7, "u2"), "yx", (4, 8)), np.zeros((9, 8), bool))
dark, flat = (RNG.integers(low, high, (3, 40, 75), dtype="u2") for low, high in [(90, 110), (9000, 20000)])
frames = inputs + stored("dark", dark, "zyx", (1, 40, 75)) + stored("flat", flat, "zyx", (1, 40, 75))
gain = np.median(flat, 0) - np.median(dark, 0)
check("flatfield(a, flat, dark)", frames, (f - np.median(dark, 0)) / gain * gain.mean(), 2e-6)

# No seams: bytes do not depend on chunks, threads, memory.
for expression in ["gaussian(a, 2)", "median(a, 3)", "tophat(a, y=15, x=15)", "variance(a, 3)", "sobel(a, x)"]:
    whole = calc(expression, inputs, ["--threads", "1"])
    for flags in (["--threads", "3"], ["--memory", "34M"], ["--memory", "40M", "--threads", "2"]):
        np.testing.assert_array_equal(calc(expression, inputs, flags), whole)
    for chunks in ["1,2,16,16", "1,11,8,75", "2,4,40,20"]:
        done = subprocess.run([EXE, "calc", expression, *inputs, "-o", "o.zarr", "--overwrite", "-q", "--chunks", chunks],
                              capture_output=True, cwd=WORK)
        assert done.returncode == 0, done.stderr.decode()
        np.testing.assert_array_equal(zarr.open_array(WORK / "o.zarr/0")[...], whole, err_msg=f"{expression} {chunks}")
# What is asked for is done or refused: no argument is passed over.
for expression in ["gaussian(a, -1)", "gaussian(a, 1, 2)", "median(a, 3, 3)", "median(a, y=3, y=5)", "uniform(a, 1e7)",
                   "gaussian(a, 1, truncate=-3)", "shift(a, 3)", "pad(a, 2)", "bin(a, mean, 2)",
                   "rolling_ball(a, 200)", "bilateral(a, 200, range=9)", "median(a, 400)"]:
    done = subprocess.run([EXE, "calc", expression, *inputs, "-o", "o.npy", "--overwrite"], capture_output=True, cwd=WORK)
    assert done.returncode == 2 and b"^" in done.stderr, (expression, done.returncode, done.stderr.decode())
print(n_checked, "filters are SciPy's")
