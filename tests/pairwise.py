"""Compares `stackctl pairwise` with scipy cdist and `decompose` with numpy.linalg. Arguments: the program, a folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import tifffile
import xarray
import zarr
from scipy.spatial.distance import cdist

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(11)
METRICS = ["euclidean", "sqeuclidean", "cityblock", "chebyshev", "cosine", "correlation", "canberra", "braycurtis"]
n_checked = 0


def run(*arguments, code=0):
    done = subprocess.run([EXE, *map(str, arguments)], capture_output=True, cwd=WORK)
    assert done.returncode == code, (arguments, done.returncode, done.stderr.decode())
    return done


def stored(name, array, dims, chunks=None):
    z = zarr.create_array(WORK / f"{name}.zarr", shape=array.shape, dtype=array.dtype, chunks=chunks or array.shape,
                          dimension_names=list(dims))
    z[...] = array
    return f"{name}.zarr"


def close(got, expected, rtol, what):
    global n_checked
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol, err_msg=str(what))
    n_checked += 1


def distances(name, *flags):
    run("pairwise", name, "-o", "d.npy", "--overwrite", "-q", *flags)
    return np.load(WORK / "d.npy")


def metrics():
    for dtype in ["u2", "u1", "i2", "i4", "f4", "f8"]:
        whole = dtype[0] != "f"
        size = (7, 3, 33, 50)
        a = RNG.integers(0, 250, size) if dtype == "u1" else RNG.integers(-3000 if dtype[0] == "i" else 0, 30000, size)
        a = (a if whole else RNG.normal(5, 3, size)).astype(dtype)
        a[3] = a[5]
        name = stored(f"a{dtype}", a, "tzyx", (1, 2, 16, 20))
        x = a.reshape(7, -1).astype("f8")
        planes = a.reshape(21, -1).astype("f8")
        for metric in METRICS:
            for threads in [1, 3] if dtype in ["u2", "f4"] else [2]:
                got = distances(name, "--along", "t", "--metric", metric, "--threads", threads)
                # SciPy leaves 1e-16 where rows are the same.
                close(got, cdist(x, x, metric), 1e-12, (dtype, metric))
                assert got[3, 5] <= 1e-15 and (np.diag(got) == 0).all() and (got == got.T).all(), (dtype, metric)
                assert not whole or metric in ("cosine", "correlation") or got[3, 5] == 0
            close(distances(name, "--along", "t,z", "--metric", metric), cdist(planes, planes, metric), 1e-12, metric)
        close(distances(name, "--along", "t", "--metric", "dot"), x @ x.T, 1e-12, (dtype, "dot"))
        b = stored(f"b{dtype}", a[2:6] + np.array(1, dtype), "tzyx", (2, 3, 8, 50))
        y = (a[2:6] + np.array(1, dtype)).reshape(4, -1).astype("f8")
        for metric in METRICS:
            close(distances(name, "--along", "t", "--metric", metric, "--with", b), cdist(x, y, metric), 1e-12, metric)
    kept = distances("au2.zarr", "--along", "t", "--keep", "z")
    a = zarr.open_array(WORK / "au2.zarr")[...].astype("f8")
    close(kept, np.stack([cdist(a[:, z].reshape(7, -1), a[:, z].reshape(7, -1)) for z in range(3)]), 1e-12, "keep")


def exact():
    """A float32 trick would lose the distance of near duplicates; whole numbers are exact whatever their number."""
    a = RNG.integers(60000, 65536, (40, 300, 300), dtype="u2")
    a[7] = a[9]
    a[7, 0, 0] ^= 1
    name = stored("near", a, "tyx", (1, 100, 300))
    x = a.reshape(40, -1).astype("i8")
    square = np.array([((x - r) ** 2).sum(1) for r in x])
    for memory in ["512M", "48M"]:
        np.testing.assert_array_equal(distances(name, "--along", "t", "--metric", "sqeuclidean", "--memory", memory), square)
        got = distances(name, "--along", "t", "--metric", "cityblock", "--memory", memory)
        np.testing.assert_array_equal(got, np.array([abs(x - r).sum(1) for r in x]))
    assert distances(name, "--along", "t")[7, 9] == 1
    np.testing.assert_array_equal(distances(name, "--along", "t", "--metric", "dot"), x @ x.T)
    # Numbers of all sizes, whose middle is no number, or that 16 bits about their middle do not hold.
    for low, high, dtype in [(0, 65536, "u2"), (0, 65535, "u2"), (-32768, 32768, "i2"), (-128, 128, "i1"), (0, 2, "u1")]:
        w = RNG.integers(low, high, (9, 70, 70)).astype(dtype)
        w[0, 0, :2] = low, high - 1
        wide, x64 = stored(f"w{low}{high}", w, "tyx", (2, 70, 64)), w.reshape(9, -1).astype("i8")
        np.testing.assert_array_equal(distances(wide, "--along", "t", "--metric", "dot"), x64 @ x64.T)
        square = np.array([((x64 - r) ** 2).sum(1) for r in x64])
        np.testing.assert_array_equal(distances(wide, "--along", "t", "--metric", "sqeuclidean"), square)
    # Another input cut into other chunks, in blocks that are parts of both.
    b = a[3:12] ^ 5
    other = stored("cut", b, "tyx", (3, 64, 64))
    got = distances(name, "--along", "t", "--with", other, "--metric", "sqeuclidean", "--memory", "48M")
    np.testing.assert_array_equal(got, np.array([((b.astype("i8") - r) ** 2).sum((1, 2)) for r in a.astype("i8")]))
    turned = stored("turned", b.swapaxes(1, 2), "txy", (3, 64, 64))
    done = run("pairwise", name, "--along", "t", "--with", turned, code=2)
    assert b"y=300, x=300" in done.stderr and b"x=300, y=300" in done.stderr, done.stderr
    done = run("pairwise", name, "--along", "t", "--memory", "21M", code=2)
    assert b"MiB" in done.stderr, done.stderr


def outputs():
    x = zarr.open_array(WORK / "au2.zarr")[...].reshape(7, -1).astype("f8")
    expected = cdist(x, x)
    run("pairwise", "au2.zarr", "--along", "t", "-o", "d.csv", "-q")
    lines = [line.split(",") for line in (WORK / "d.csv").read_text().splitlines()]
    assert lines[0] == ["t", *map(str, range(7))] and [line[0] for line in lines[1:]] == lines[0][1:], lines[0]
    close(np.array([line[1:] for line in lines[1:]], "f8"), expected, 1e-12, "csv")
    run("pairwise", "au2.zarr", "--along", "t", "-o", "d.csv", code=2)
    z = zarr.open_array(WORK / "au2.zarr")[...].astype("f8").swapaxes(0, 1).reshape(3, 7, -1)
    named = xarray.DataArray(z.reshape(3, 7, 33, 50), dims=("c", "t", "y", "x"), name="v",
                             coords={"t": ("t", np.arange(7) * 2.5, {"units": "seconds"})})
    named.to_netcdf(WORK / "named.nc")
    run("pairwise", "named.nc", "--along", "t", "--keep", "c", "--channel-names", "DAPI,GFP,RFP", "-o", "d.tsv", "-q")
    lines = [line.split("\t") for line in (WORK / "d.tsv").read_text().splitlines()]
    assert lines[0] == ["c", "t", "t@s", "0", "2.5", "5", "7.5", "10", "12.5", "15"], lines[0]
    assert [line[0] for line in lines[1::7]] == ["DAPI", "GFP", "RFP"] and lines[2][:3] == ["DAPI", "1", "2.5"], lines[2]
    close(np.array([line[3:] for line in lines[1:]], "f8"), np.concatenate([cdist(rows, rows) for rows in z]), 1e-12, "tsv")
    run("pairwise", "au2.zarr", "--along", "t", "-o", "d.tif", "-q")
    close(tifffile.imread(WORK / "d.tif").reshape(7, 7), expected, 1e-12, "tif")
    run("pairwise", "au2.zarr", "--along", "t", "-o", "d.zarr", "-q", "--png", "d.png")
    close(zarr.open_array(WORK / "d.zarr")[...], expected, 1e-12, "zarr")
    picture = np.asarray(PIL.Image.open(WORK / "d.png"))
    assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    head, *printed = run("pairwise", "au2.zarr", "--along", "t", "-q").stdout.decode().split("\n")[:-1]
    assert head.split("\t")[0] == "t" and head.split("\t")[-1] == "euclidean", head
    close(np.array([float(r.split("\t")[-1]) for r in printed]).reshape(7, 7), expected, 1e-12, "printed")
    value = json.loads(run("pairwise", "au2.zarr", "--along", "t", "-q", "--json").stdout)["value"]
    close(np.array(value), expected, 1e-12, "json")
    assert b"rows of" in run("pairwise", "au2.zarr", "--along", "t", "--dry-run").stdout
    done = run("pairwise", "au2.zarr", "--along", "q", code=2)
    assert b"--along q" in done.stderr


def decompositions():
    t, d = 30, (40, 60)
    base = RNG.normal(size=(5, *d))
    weights = RNG.normal(size=(t, 5)) * [900, 300, 120, 50, 20]
    movie = np.clip(np.tensordot(weights, base, 1) + 20000 + RNG.normal(0, 3, (t, *d)), 0, 65535).astype("u2")
    for dtype in ["u2", "f4"]:
        a = movie.astype(dtype)
        name = stored(f"movie{dtype}", a, "tyx", (5, 16, 60))
        x = a.reshape(t, -1).astype("f8")
        for kind, matrix in [("pca", x - x.mean(0)), ("svd", x)]:
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
            run("decompose", name, "--along", "t", "--kind", kind, "--components", 5, "-o", "p.zarr", "--denoised", "back.npy",
                "--overwrite", "-q")
            components = zarr.open_array(WORK / "p.zarr/0")[...].reshape(5, -1)
            scores, values = np.load(WORK / "p_scores.npy"), np.load(WORK / "p_values.npy")
            close(values, s[:5], 1e-10 * s[0], (dtype, kind, "values"))
            close(components @ components.T, np.eye(5), 1e-8, "orthogonal")
            close(abs(np.sum(components * v[:5], 1)), np.ones(5), 1e-8, "up to sign")
            close(scores @ components, u[:, :5] * s[:5] @ v[:5], 1e-7 * s[0], "reconstruction")
            back = np.load(WORK / "back.npy").reshape(t, -1)
            mean = x.mean(0) if kind == "pca" else 0
            close(back, mean + u[:, :5] * s[:5] @ v[:5], 1e-7 * s[0], "denoised")
        run("decompose", name, "--along", "t", "--kind", "qr", "-o", "q.npy", "--overwrite", "-q")
        q, triangle = np.load(WORK / "q.npy").reshape(t, -1), np.load(WORK / "q_scores.npy")
        close(q @ q.T, np.eye(t), 1e-9, "q")
        close(triangle @ q, x, 1e-9 * abs(x).max(), "qr")
        assert np.allclose(triangle, np.tril(triangle))
    # Values that products of the rows have lost.
    u, v = np.linalg.qr(RNG.normal(size=(12, 12)))[0], np.linalg.qr(RNG.normal(size=(400, 12)))[0]
    s = 10.0 ** -np.arange(12)
    a = (u * s @ v.T).reshape(12, 20, 20)
    name = stored("graded", a, "tyx", (3, 20, 7))
    done = run("decompose", name, "--along", "t", "--kind", "svd", "--components", 12, "-o", "g.npy")
    assert b"reflections" in done.stderr, done.stderr
    exact = np.linalg.svd(a.reshape(12, -1), compute_uv=False)
    np.testing.assert_allclose(np.load(WORK / "g_values.npy"), exact, rtol=1e-4, atol=3e-16)
    done = run("decompose", name, "--along", "t", "--kind", "qr", "-o", "gq.npy")
    assert b"reflections" in done.stderr
    # Many rows of which few components are wanted.
    a = RNG.normal(size=(320, 3, 30, 40)).astype("f4") + np.linspace(0, 3, 320)[:, None, None, None].astype("f4") * 5
    a[:, 1] += np.sin(np.arange(320))[:, None, None].astype("f4") * 9
    name = stored("many", a, "tcyx", (64, 1, 30, 40))
    run("decompose", name, "--along", "t", "--components", 2, "-o", "many.npy", "-q")
    x = a.reshape(320, -1).astype("f8")
    close(np.load(WORK / "many_values.npy"), np.linalg.svd(x - x.mean(0), compute_uv=False)[:2], 1e-9, "many")
    # Rows along two axes, of which memory holds a part, and components of which it holds few: the same bytes as with more.
    a = RNG.integers(0, 4096, (40, 4, 300, 320), dtype="u2")
    name = stored("large", a, "tcyx", (1, 1, 160, 160))
    for memory in ["54M", "1G"]:
        run("decompose", name, "--along", "t,c", "--kind", "svd", "--components", 3, "-o", f"large{memory}.zarr", "--memory", memory, "-q")
    few, more = [zarr.open_array(WORK / f"large{memory}.zarr/0")[...].reshape(3, -1) for memory in ["54M", "1G"]]
    np.testing.assert_array_equal(few, more)
    x = a.reshape(160, -1).astype("f8")
    close(x @ few.T, np.load(WORK / "large54M_scores.npy"), 1e-7 * np.linalg.norm(x), "large")
    done = run("decompose", "many.zarr", "--along", "t", "--components", 400, "-o", "no.npy", code=2)
    assert b"components" in done.stderr


def decompositions_at_limits():
    def made(a, *args, code=0):
        np.save(WORK / "limits.npy", a)
        done = run("decompose", "limits.npy", "--along", "z", "-o", "l.npy", "--overwrite", *args, code=code)
        return done.stderr if code else [np.load(WORK / name) for name in ["l_values.npy", "l.npy"]]

    def denoised(a, *args):
        made(a, "--denoised", "e.npy", *args)
        return np.load(WORK / "e.npy")

    rng = np.random.default_rng(0)
    normal = rng.normal(size=(5, 4, 6))
    # What has no component is the mean, once.
    for number in [7.0, 0.1]:
        close(denoised(np.full((4, 3, 3), number)), np.full((4, 3, 3), number), 1e-14, "equal rows")
    close(denoised(10 + normal), 10 + normal, 1e-11, "all components")
    # Far from zero, of floats and of whole numbers.
    for a in [1e4 + normal, 1e6 + normal, 1e8 + normal, np.round(60000 + normal).astype("u2")]:
        x = (a.astype("f8") - a.mean(0, dtype="f8")).reshape(5, -1)
        u, s, v = np.linalg.svd(x, full_matrices=False)
        close(made(a, "--components", 3)[0], s[:3], 1e-6 * s[0] if a.max() > 1e7 else 1e-8 * s[0], "far: values")
        expected = a.mean(0, dtype="f8") + (u[:, :3] * s[:3] @ v[:3]).reshape(a.shape)
        close(denoised(a, "--components", 3) - expected, np.zeros(a.shape), 4e-15 * a.max(), "far: denoised")
    # Rows that have nearly all in common.
    for offset in [1e3, 1e8, 1e12]:
        for kind in ["qr", "svd"]:
            components = made(offset + rng.normal(size=(6, 40, 50)), "--kind", kind)[1].reshape(6, -1)
            close(components @ components.T, np.eye(6), 2e-8 if offset < 1e6 else 1e-10, (offset, kind, "orthonormal"))
    # The mean takes a dimension: what is left has no further component.
    eight = rng.normal(size=(8, 10, 12))
    for args in [[], ["--components", 8]]:
        values, components = made(eight, *args)
        assert len(values) == 7 and len(components) == 7, values
        close(np.linalg.norm(components.reshape(7, -1), axis=1), np.ones(7), 1e-10, "length")
    np.save(WORK / "limits.npy", eight)
    said = run("decompose", "limits.npy", "--along", "z", "--components", 8, "-o", "l.npy", "--overwrite").stderr
    assert b"1 component left out" in said, said
    # Rows that depend on each other have no QR.
    for seed in range(8):
        r = np.random.default_rng(seed)
        told = made((r.normal(size=(6, 2)) @ r.normal(size=(2, 24))).reshape(6, 4, 6), "--kind", "qr", code=1)
        assert b"depend on each other" in told, told
    # Squares that float64 does not hold, and numbers that are none.
    small = np.array([[[1.0, 2]], [[3, 5]]])
    for unit in [1e155, 1e-200]:
        for kind in ["svd", "qr"]:
            expected = np.linalg.svd(small[:, 0], compute_uv=False) if kind == "svd" else abs(np.diag(np.linalg.qr(small[:, 0].T)[1]))
            values, components = made(small * unit, "--kind", kind)
            np.testing.assert_allclose(values, expected * unit, rtol=1e-12)
            close(components[:, 0] @ components[:, 0].T, np.eye(2), 1e-12, "large or small")
    for bad in [np.nan, np.inf]:
        a = normal.copy()
        a[1, 2, 3] = bad
        for kind in ["pca", "svd", "qr"]:
            assert b"row 1 along z has a NaN or infinite number" in made(a, "--kind", kind, code=1)
    # More rows than elements.
    many = rng.normal(size=(12, 2, 3))
    exact = np.linalg.svd(many.reshape(12, 6), compute_uv=False)
    close(made(many, "--kind", "svd", "--components", 6)[0], exact, 1e-12, "more rows than elements")
    close(made(many, "--kind", "svd")[0], exact, 1e-12, "more rows than elements, by default")
    assert b"have 1 to 6" in made(many, "--components", 7, code=2)


for check in [metrics, exact, outputs, decompositions, decompositions_at_limits]:
    check()
print(n_checked, "results are SciPy's and NumPy's")
