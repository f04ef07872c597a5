"""Compares `stackctl calc` with NumPy. Arguments: the program, a folder to work in."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
import zarr

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(7)
n_checked = 0


def run(*arguments, code=0):
    done = subprocess.run([EXE, "calc", *map(str, arguments)], capture_output=True, cwd=WORK)
    assert done.returncode == code, (arguments, done.returncode, done.stderr.decode())
    return done


def stored(name, array, dims, chunks=None, **kwargs):
    z = zarr.create_array(
        WORK / f"{name}.zarr", shape=array.shape, dtype=array.dtype, chunks=chunks or array.shape,
        dimension_names=list(dims), **kwargs,
    )
    z[...] = array
    return f"{name}={name}.zarr"


def calc(expression, *inputs, flags=()):
    run(expression, *inputs, "-o", "out.npy", "--overwrite", "-q", *flags)
    return np.load(WORK / "out.npy")


def equal(expression, inputs, expected, dtype=None, rtol=0, flags=()):
    global n_checked
    got = calc(expression, *inputs, flags=flags)
    assert got.shape == expected.shape, (expression, got.shape, expected.shape)
    assert dtype is None or got.dtype == dtype, (expression, got.dtype, dtype)
    if rtol:
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol, err_msg=expression)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=expression)
    n_checked += 1


def operations():
    """Every operation on integers of every pair of types is exact, in a type that holds it; floats are NumPy's."""
    for one, other in itertools.product(["uint8", "int8", "uint16", "int16", "uint32", "int32"], repeat=2):
        info = [np.iinfo(d) for d in (one, other)]
        a, b = (RNG.integers(i.min, i.max, (3, 5), dtype=i.dtype, endpoint=True) for i in info)
        a[0, :2], b[0, :2] = info[0].min, info[1].max
        b[0, 2], a[1, 0] = 0, info[0].max
        inputs = [stored(f"a{one}{other}", a, "yx"), stored(f"b{one}{other}", b, "yx")]
        inputs = ["a=" + inputs[0].split("=")[1], "b=" + inputs[1].split("=")[1]]
        x, y = a.astype(object), b.astype(object)
        for operator in "+-*":
            wide = eval(f"x {operator} y").astype(np.float64 if operator == "*" and "32" in one + other else object)
            if operator == "*" and one == other == "uint32" or abs(wide).max() < 2**63:
                equal(f"a {operator} b", inputs, eval(f"x {operator} y"))
        zero = b == 0
        p, q, b = a.astype("i8"), np.where(zero, 1, b).astype("i8"), b.astype("i8")
        compared = {"a < b": p < b, "a <= b": p <= b, "a > b": p > b, "a >= b": p >= b, "a == b": p == b, "a != b": p != b}
        counted = {
            "a // b": np.where(zero, 0, p // q), "a % b": np.where(zero, 0, p % q), "min(a, b)": np.minimum(p, b),
            "max(a, b, 3)": np.maximum(np.maximum(p, b), 3), "where(a > b, a, b)": np.maximum(p, b),
            "abs(a - b)": abs(p - b), "-a": -p, "sign(a)": np.sign(p), "(a & b) | (a ^ b)": p | b,
        }
        for results in (compared, counted):
            dtype = bool if results is compared else None
            if one == other:
                for expression, expected in results.items():
                    equal(expression, inputs, expected, dtype)
            else:
                equal(f"stack({', '.join(results)}, axis=c)", inputs, np.stack([*results.values()]), dtype)
        with np.errstate(all="ignore"):
            ratio = "f4" if "32" not in one + other else "f8"
            equal("a / b", inputs, a.astype(ratio) / b.astype(ratio), ratio)
            equal("hypot(a, b)", inputs, np.hypot(a.astype("f8"), b), ratio, rtol=1e-6)
        if one == other:
            equal("~a", inputs, ~a, one)
            equal("a ** 2", inputs, x**2)
    f = RNG.normal(0, 9, (4, 6)).astype("f4")
    f[0, :4] = [np.nan, np.inf, -np.inf, 0]
    i = RNG.integers(0, 5, (4, 6), dtype="u2")
    inputs = [stored("f", f, "yx"), stored("i", i, "yx")]
    with np.errstate(all="ignore"):
        for name in ["abs", "sqrt", "exp", "log", "log2", "log10", "floor", "ceil", "sign"]:
            equal(f"{name}(f)", inputs, getattr(np, name)(f), "f4", rtol=3e-7)
        equal("round(f)", inputs, np.rint(f), "f4")
        equal("isnan(f)", inputs, np.isnan(f), bool)
        equal("f + i", inputs, f + i, "f4")
        equal("f * 1.5 - 3", inputs, f * np.float32(1.5) - np.float32(3), "f4")
        equal("f // 2", inputs, f // np.float32(2), "f4")
        equal("f % 3", inputs, f % np.float32(3), "f4", rtol=1e-6)
        equal("f ** 2", inputs, f * f, "f4")
        equal("f ** i", inputs, f.astype("f4") ** i.astype("f4"), "f4", rtol=1e-6)
        equal("i / 0", inputs, i.astype("f4") / np.float32(0), "f4")
        equal("min(f, i)", inputs, np.minimum(f, i.astype("f4")), "f4")
        equal("clip(f, -1, 2.5)", inputs, np.clip(f, -1, np.float32(2.5)), "f4")
        equal("float64(f) / 3", inputs, f.astype("f8") / 3, "f8")
        equal("i * 0.5", inputs, i * np.float32(0.5), "f4")
        equal("(f > 0) & ~(i == 2)", inputs, (f > 0) & ~(i == 2), bool)
    odd = [3, -3, 0, -0.0, np.inf, -np.inf, np.nan, 7.5, -7.5, 0.1, -0.1, 1e30, -1e30, 1e-30]
    for dtype in ["f4", "f8"]:
        p, q = (g.copy() for g in np.meshgrid(np.array(odd, dtype), np.array(odd, dtype)))
        inputs = [stored(f"n{dtype}", p, "yx").replace(f"n{dtype}=", "n="), stored(f"d{dtype}", q, "yx").replace(f"d{dtype}=", "d=")]
        with np.errstate(all="ignore"):
            equal("n // d", inputs, p // q, dtype)
            equal("n % d", inputs, p % q, dtype)
            # Of which sign a zero is.
            equal("1 / (n // d)", inputs, 1 / (p // q), dtype)
            equal("1 / (n % d)", inputs, 1 / (p % q), dtype)
    done = run("100 - 103", stored("n", i, "yx"), code=2)
    assert b"is a number" in done.stderr


def remainders():
    """Nothing is left of the least number by -1, whose quotient its type does not hold."""
    for dtype in ["i1", "i2", "i4", "i8"]:
        least = np.iinfo(dtype).min
        inputs = [stored(f"least{dtype}", np.array([[least, least, 7]], dtype), "yx"),
                  stored(f"by{dtype}", np.array([[-1, 1, -1]], dtype), "yx")]
        inputs = [f"{name}={text.split('=')[1]}" for name, text in zip("ab", inputs)]
        for expression in ["a % b", "a % -1"] + ["a // b * b + a % b - a"] * (dtype != "i8"):
            equal(expression, inputs, np.zeros((1, 3)))
    inputs = [stored("wide", np.array([[5, 2**64 - 1]], "u8"), "yx").replace("wide=", "a=")]
    equal(f"a % {2**64 - 1}", inputs, np.array([[5, 0]]))


def whole():
    """Pitfall: uint16 differences wrap elsewhere."""
    a = np.array([[100, 65535]], "u2")
    equal("p - q", [stored("p", a, "yx"), stored("q", np.array([[103, 0]], "u2"), "yx")], np.array([[-3, 65535]]), "i4")
    u = np.array([[2**64 - 1]], "u8")
    done = run("u + u", stored("u", u, "yx"), code=2)
    assert b"no integer type" in done.stderr and b"character 1" in done.stderr, done.stderr
    equal("float64(u) + u", ["u=u.zarr"], u.astype("f8") * 2, "f8")


def broadcasting():
    a = RNG.integers(0, 60000, (3, 2, 4, 5, 6), dtype="u2")
    flat = RNG.integers(1, 60000, (5, 6), dtype="u2")
    z = RNG.integers(1, 60000, (4,), dtype="u2")
    turned = RNG.integers(1, 60000, (6, 5), dtype="u2")
    inputs = [
        stored("a", a, "tczyx", (1, 1, 2, 3, 4)), stored("flat", flat, "yx"), stored("depth", z, "z"),
        stored("turned", turned, "xy"),
    ]
    wide = a.astype("i8")
    equal("a - flat", inputs, wide - flat, "i4")
    equal("flat - a", inputs, flat - wide, "i4")
    equal("a * depth", inputs, wide * z[:, None, None])
    equal("a - turned", inputs, wide - turned.T)
    equal("turned - a", inputs, turned.T - wide)
    equal("depth + flat", inputs, z[:, None, None].astype("i8") + flat)
    equal("(a - flat) / (flat + depth)", inputs,
          (wide - flat).astype("f4") / (flat.astype("f4") + z[:, None, None]), "f4")
    equal("a[c=0] - a[c=1]", inputs, wide[:, 0] - wide[:, 1], "i4")
    equal("a[t=[2,0]] - a[t=1]", inputs, wide[[2, 0]] - wide[1], "i4")
    equal("a[t=[2,0,1,2],x=::-2]", inputs, a[[2, 0, 1, 2], ..., ::-2], "u2")
    equal("a[t=0:2] - a[t=1:3]", inputs, wide[:2] - wide[1:], "i4")
    done = run("a - flat[y=0:3]", *inputs, code=2)
    assert b"lengths 5 and 3 along axis y" in done.stderr, done.stderr
    done = run("a - q", *inputs, code=2)
    assert b"character 5: there is no input q" in done.stderr, done.stderr


def shapes():
    a = RNG.integers(-300, 300, (4, 5, 6), dtype="i2")
    inputs = [stored("s", a, "tyx", (2, 2, 3))]
    wide = a.astype("i8")

    def shifted(by, fill=0):
        return np.pad(a, [(max(b, 0), max(-b, 0)) for b in by], constant_values=fill)[
            tuple(slice(max(-b, 0), max(-b, 0) + n) for b, n in zip(by, a.shape))
        ]

    equal("shift(s, t=1, x=-2)", inputs, shifted((1, 0, -2)), "i2")
    equal("shift(s, y=9, value=7)", inputs, np.full_like(a, 7), "i2")
    equal("shift(s, x=2, mode=wrap)", inputs, np.roll(a, 2, 2), "i2")
    equal("diff(s, t)", inputs, np.diff(wide, axis=0))
    equal("cumsum(s, y)", inputs, np.cumsum(wide, axis=1))
    equal("stack(s, s + 1, axis=c)", inputs, np.stack([wide, wide + 1], 1))
    equal("stack(s, s + 1, axis=q)", inputs, np.stack([wide, wide + 1]))
    equal("concat(s, -s, axis=t)", inputs, np.concatenate([wide, -wide]))
    equal("flip(s, x, t)", inputs, a[::-1, :, ::-1], "i2")
    equal("transpose(s, x, t, y)", inputs, a.transpose(2, 0, 1), "i2")
    equal("transpose(s)", inputs, a.T, "i2")
    equal("crop(s, y=1:4, t=0)", inputs, a[0, 1:4], "i2")
    for mode, theirs in [("constant", "constant"), ("reflect", "symmetric"), ("mirror", "reflect"), ("nearest", "edge"),
                         ("wrap", "wrap")]:
        equal(f"pad(s, y=3:1, x=2, mode={mode})", inputs, np.pad(a, [(0, 0), (3, 1), (2, 2)], mode=theirs), "i2")
        equal(f"pad(s, x=17, mode={mode})", inputs, np.pad(a, [(0, 0), (0, 0), (17, 17)], mode=theirs), "i2")
    grouped = wide[:, :4].reshape(4, 2, 2, 2, 3)
    equal("bin(s[y=:4], y=2, x=3, mean)", inputs, grouped.mean((2, 4)), "f4", rtol=1e-6)
    equal("bin(s[y=:4], y=2, x=3, sum)", inputs, grouped.sum((2, 4)))
    equal("bin(s[y=:4], y=2, x=3, max)", inputs, grouped.max((2, 4)), "i2")
    equal("bin(s, y=4, min)", inputs, np.stack([a[:, :4].min(1), a[:, 4:].min(1)], 1), "i2")
    equal("bin(s, y=4)", inputs, np.stack([wide[:, :4].mean(1), wide[:, 4:].mean(1)], 1), rtol=1e-6)


def reductions():
    a = RNG.integers(0, 65536, (8, 2, 3, 20, 30), dtype="u2")
    inputs = [stored("r", a, "tczyx", (1, 1, 2, 8, 16))]
    wide = a.astype("f8")
    for memory in ["64M", "40M"]:
        flags = ["--memory", memory]
        equal("r - mean(r, t)", inputs, wide - wide.mean(0), "f8", flags=flags)
        equal("r - mean(r, z, y, x)", inputs, wide - wide.mean((2, 3, 4), keepdims=True), rtol=1e-12, flags=flags)
        equal("r - median(r, t)", inputs, wide - np.median(wide, 0), flags=flags)
        equal("r > 2 * std(r, z,y,x)", inputs, wide > 2 * wide.std((2, 3, 4), keepdims=True), flags=flags)
        equal("(r - min(r)) / (max(r) - min(r))", inputs, (a - a.min()).astype("f4") / (int(a.max()) - int(a.min())), "f4",
              flags=flags)
        equal("r - quantile(r, 0.1, t)", inputs, wide - np.quantile(wide, 0.1, axis=0), rtol=1e-12, flags=flags)
        equal("(r - mean(r, t)) / std(r, t, ddof=1)", inputs, (wide - wide.mean(0)) / wide.std(0, ddof=1), rtol=1e-9,
              flags=flags)
        equal("r - sum(r, x)", inputs, a.astype("i8") - a.astype("i8").sum(-1, keepdims=True), flags=flags)
        equal("mean(r - mean(r, t), x)", inputs, (wide - wide.mean(0)).mean(-1, keepdims=True), rtol=1e-6, flags=flags)
        equal("(r - mean(r, z)) / std(r - mean(r, z))", inputs,
              (wide - wide.mean(2, keepdims=True)) / (wide - wide.mean(2, keepdims=True)).std(), rtol=1e-9, flags=flags)
        equal("max(r - median(r, t), t)", inputs, (wide - np.median(wide, 0)).max(0, keepdims=True), flags=flags)
    run("r - mean(r, t)", *inputs, "-o", "anomaly.zarr", "-q", "--chunks", "1,1,2,8,16")
    np.testing.assert_array_equal(zarr.open_array(WORK / "anomaly.zarr/0")[...], wide - wide.mean(0))
    done = run("sum(r > 30000, z,y,x)", *inputs)
    head, *rows = [line.split("\t") for line in done.stdout.decode().split("\n")[:-1]]
    assert head[0] == "t" and head[-1] == "sum(r > 30000, z,y,x)", head
    np.testing.assert_array_equal([int(r[-1]) for r in rows], (a > 30000).sum((2, 3, 4)).ravel())
    value = json.loads(run("max(r)", *inputs, "--json").stdout)["value"]
    assert value == a.max()
    piped = run("r[t=0] + 1", *inputs, "-o", "-").stdout
    np.testing.assert_array_equal(np.lib.format.read_array(__import__("io").BytesIO(piped)), a[0].astype("i8") + 1)
    piped = run("r - mean(r, t)", *inputs, "-o", "-").stdout
    np.testing.assert_array_equal(np.lib.format.read_array(__import__("io").BytesIO(piped)), wide - wide.mean(0))


def casts():
    x = np.array([[-1.5, 0.5, 1.5, 2.5, 70000, np.nan, 3]], "f4")
    inputs = [stored("v", x, "yx")]
    done = run("v", *inputs, "-o", "y.npy", "--dtype", "uint16", code=1)
    assert b"x=0: -1.5" in done.stderr and b"--cast clip" in done.stderr, done.stderr
    done = run("v", *inputs, "-o", "y.npy", "--dtype", "uint16", "--cast", "clip", "-q")
    np.testing.assert_array_equal(np.load(WORK / "y.npy"), [[0, 0, 2, 2, 65535, 0, 3]])
    assert b"3 elements" in done.stderr, done.stderr
    done = run("v[x=1:4]", *inputs, "-o", "z.npy", "--dtype", "uint16", "--cast", "error", code=1)
    assert b"has a fraction" in done.stderr, done.stderr
    equal("v[x=1:4]", inputs, np.array([[5, 15, 25]], "u2"), "u2", flags=["--dtype", "uint16", "--scale", "10"])
    equal("v[x=1:4]", inputs, np.array([[6, 16, 26]], "u2"), "u2",
          flags=["--dtype", "uint16", "--scale", "10", "--offset", "1"])
    w = np.array([[2**24 + 1, 2**24, -(2**24) - 1, 5]], "i4")
    long = [stored("long", w, "yx")]
    done = run("long", *long, "-o", "y.npy", "--dtype", "float32", "--overwrite", "-q")
    np.testing.assert_array_equal(np.load(WORK / "y.npy"), w.astype("f4"))
    assert b"2 elements lost digits" in done.stderr, done.stderr
    done = run("long", *long, "-o", "z.npy", "--dtype", "float32", "--cast", "error", code=1)
    assert b"x=0: 16777217 has more digits than float32" in done.stderr, done.stderr
    equal("long[x=1:2]", long, w[:, 1:2].astype("f4"), "f4", flags=["--dtype", "float32", "--cast", "error"])
    u = np.array([[2**64 - 1, 2**63, 2**53 + 1, 2**53]], "u8")
    done = run("u", stored("u64", u, "yx").replace("u64=", "u="), "-o", "y.npy", "--dtype", "float64", "--overwrite", "-q")
    np.testing.assert_array_equal(np.load(WORK / "y.npy"), u.astype("f8"))
    assert b"2 elements lost digits" in done.stderr, done.stderr
    h = np.array([[1e300, -1e300, 65519, -65520, 7e4, np.inf, np.nan, 0.1]])
    wide = [stored("h", h, "yx")]
    for dtype, n in [("float16", 4), ("float32", 2)]:
        most = np.finfo(dtype).max
        done = run("h", *wide, "-o", "y.npy", "--dtype", dtype, "--cast", "clip", "--overwrite", "-q")
        expected = np.where(np.isinf(h), h, h.clip(-most, most)).astype(dtype)
        np.testing.assert_array_equal(np.load(WORK / "y.npy"), expected)
        assert f"{n} elements outside the type".encode() in done.stderr, done.stderr
        for how in ["round", "error"]:
            done = run("h", *wide, "-o", "z.npy", "--dtype", dtype, "--cast", how, code=1)
            assert b"x=0: 1" in done.stderr and b"is too large" in done.stderr, done.stderr
        equal("h[x=5:]", wide, h[:, 5:].astype(dtype), dtype, flags=["--dtype", dtype, "--cast", "error"])
    clipped = run("long * 9", *long, "-o", "y.npy", "--dtype", "float16", "--cast", "clip", "--overwrite", "-q")
    np.testing.assert_array_equal(np.load(WORK / "y.npy"), np.array([[65504, 65504, -65504, 45]], "f2"))
    assert b"3 elements outside" in clipped.stderr and b"lost" not in clipped.stderr, clipped.stderr
    done = run("v / (v - v)", *inputs)
    assert b"infinite" in done.stderr and b"NaN" in done.stderr, done.stderr
    i = np.array([[7, 8]], "u2")
    done = run("i // (i - 7)", stored("i0", i, "yx").replace("i0=", "i="))
    assert b"divided as whole numbers by zero" in done.stderr, done.stderr


def inputs_and_errors():
    (WORK / "pile").mkdir()
    a = RNG.integers(0, 4096, (3, 4, 10, 12), dtype="u2")
    for t in range(3):
        tifffile.imwrite(WORK / f"pile/im_t{t}.tif", a[t])
    dark = RNG.integers(0, 100, (10, 12), dtype="u2")
    tifffile.imwrite(WORK / "dark.tif", dark)
    got = calc("raw - dark", "raw=pile/", "dark=dark.tif")
    np.testing.assert_array_equal(got.reshape(a.shape), a.astype("i8") - dark)
    got = calc("clip(a - median(a, t), 0, 65535)", "pile/", flags=["--dtype", "uint16"])
    np.testing.assert_array_equal(got.reshape(a.shape), np.clip(a - np.median(a, 0), 0, 65535))
    for expression, said in [
        ("a - mean(a, q)", b"there is no axis q"), ("a +", b"character 4"), ("a - gauss(a)", b"there is no function gauss"),
        ("mean(a, t", b"',' or ')'"), ("a[q=1]", b"there is no axis 'q'"), ("a & 1.5", b"truth values"),
        ("threshold(a / 2, otsu)", b"a threshold by otsu is of whole numbers"), ("gaussian(a, 1, 2)", b"as in gaussian(a, z=1um"),
        ("convolve(a, 3)", b"an .npy by its path"),
    ]:
        done = run(expression, "pile/", code=2)
        assert said in done.stderr and b"^" in done.stderr, (expression, done.stderr)
    done = run("a - mean(a, t)", "pile/", "--dry-run", "-o", "dry.zarr")
    assert b"mean(a, t)" in done.stdout, done.stdout
    assert b"pass 1: mean(a, t), reads 2.8 KiB, kept in memory" in done.stdout, done.stdout
    # A box of 5 x 3 reaches two before and behind, one to both sides.
    done = run("median(a, y=5, x=3)", "pile/", "--dry-run", "-o", "dry.npy", "--json")
    (line,) = json.loads(done.stdout)["tree"]
    task = json.loads(done.stdout)["task_shape"]
    reach = lambda n, task, r: sum(min(at + task + r, n) - max(at - r, 0) for at in range(0, n, task)) / n
    expected = reach(10, task[-2], 2) * reach(12, task[-1], 1)
    assert f"reads {expected:.2f} of" in line, (line, task, expected)
    assert not (WORK / "dry.zarr").exists()


def results_on_the_way_that_do_not_fit():
    """A mean that a task cannot hold the lines of, and the memory not the result: it goes through a temporary Zarr."""
    a = RNG.integers(0, 255, (16, 1024, 1024), dtype="u1")
    w = stored("w", a, "tyx", (1, 1024, 1024))
    little = ["--memory", "48M", "--threads", "1"]
    done = run("a - mean(a, t)", w.replace("w=", "a="), "--dry-run", "-o", "dry.npy", *little)
    assert b"kept in a temporary Zarr" in done.stdout, done.stdout
    expected = (a - a.mean(0)).astype("f4")
    equal("a - mean(a, t)", [w.replace("w=", "a=")], expected, "f4", flags=["--dtype", "float32", *little])
    done = run("a - mean(a, t)", w.replace("w=", "a="), "--dry-run", "-o", "dry.npy", "--memory", "1G")
    assert b"pass" not in done.stdout and b"float64, reads 16.00 of what it gives" in done.stdout, done.stdout


def axes_of_results():
    """What is joined agrees as operands do; names, steps and places of results are those of what they are made of."""
    a = np.zeros((2, 2, 3, 8, 9), "u1")
    a[:, 1] = 2
    np.save(WORK / "j.npy", a)

    def image(name, channels="DAPI,GFP", x="5um"):
        stitch = [EXE, "stitch", "j.npy", "--pages", "t,c,z", "--channel-names", channels, "--voxel-size",
                  f"z=2um,y=3um,x={x}", "--time-step", "10s", "-o", f"of_{name}.zarr", "-q"]
        assert subprocess.run(stitch, cwd=WORK).returncode == 0
        return f"{name}=of_{name}.zarr"

    def written(expression, *inputs):
        run(expression, *inputs, "-o", "joined.zarr", "--overwrite", "-q")
        attributes = json.loads((WORK / "joined.zarr/zarr.json").read_text())["attributes"]["ome"]
        (found,) = attributes["multiscales"]
        scale = found["datasets"][0]["coordinateTransformations"][0]["scale"]
        return scale, [channel["label"] for channel in attributes["omero"]["channels"]]

    p, turned, wider = image("p"), image("turned", channels="GFP,DAPI"), image("wider", x="6um")
    for expression, other, said in [
        ("concat(p, turned, axis=t)", turned, b"'concat' meets labels 'DAPI' and 'GFP' at c=0"),
        ("stack(p[t=0], turned[t=0], axis=t)", turned, b"'stack' meets labels 'DAPI' and 'GFP' at c=0"),
        ("concat(p, wider, axis=t)", wider, b"meets steps of"),
        ("concat(p, wider, axis=x)", wider, b"meets steps of"),
    ]:
        done = run(expression, p, other, "-o", "no.zarr", code=2)
        assert said in done.stderr, (expression, done.stderr)
    own = [10, 1, 2, 3, 5]
    for expression in ["concat(p, p, axis=x)", "concat(p, p, axis=t)", "concat(p[z=2:], p[z=:2], axis=z)", "concat(p, turned[c=[1,0]], axis=z)"]:
        found = written(expression, p, turned)
        assert np.allclose(found[0], own) and found[1] == ["DAPI", "GFP"], (expression, found)
    for expression, labels in [
        ("concat(p, p, axis=c)", ["DAPI", "GFP", "DAPI", "GFP"]),
        ("concat(p, mean(p, c), axis=c)", ["DAPI", "GFP", "c 2"]),
        ("stack(p[c=GFP], p[c=DAPI], axis=c)", ["GFP", "DAPI"]),
        ("stack(p[c=GFP] * 2, p[c=DAPI] - p[c=GFP], axis=c)", ["GFP", "c 1"]),
        ("pad(p, c=1)", ["c 0", "DAPI", "GFP", "c 3"]),
    ]:
        assert written(expression, p)[1] == labels, (expression, labels)
    np.testing.assert_array_equal(calc("stack(p[c=GFP], p[c=DAPI], axis=c)", p), a[:, ::-1])
    # Planes of a stage scan: sin(angle) of its way from each other, cos(angle) to the side.
    assert np.allclose(written("deskew(p, angle=30)", p)[0], [10, 1, 1, 3, 5])
    assert np.allclose(written("deskew(p, angle=30, z=1um, x=0.5um)", p)[0], [10, 1, 0.5, 3, 0.5])
    for angle, more in [(90, 0), (60, 1), (120, 1)]:
        assert calc(f"deskew(p, angle={angle}, z=10um)", p).shape == (2, 2, 3, 8, 9 + 2 * more), angle
    # The place of a bin is the mean of its elements' places.
    (WORK / "uneven").mkdir()
    for t, ms in enumerate((0, 1000, 2000, 7000, 20000)):
        tifffile.imwrite(WORK / f"uneven/s_t{t}_{ms:05d}ms.tif", np.zeros((8, 9), "u2"))
    run("bin(a, t=2)", "uneven", "--pattern", "s_t{t}_{t@ms}ms", "-o", "binned.zarr", "--coordinates", "-q")
    np.testing.assert_allclose(zarr.open_group(WORK / "binned.zarr")["t"][:], [0.5, 4.5, 20])


def other_commands():
    a = RNG.integers(0, 4096, (4, 3, 10, 12), dtype="u2")
    stored("o", a, "tzyx", (1, 2, 5, 12))

    def other(*arguments):
        done = subprocess.run([EXE, *map(str, arguments)], capture_output=True, cwd=WORK)
        assert done.returncode == 0, done.stderr.decode()
        return done

    other("stitch", "o.zarr", "--calc", "a - median(a, t)", "-o", "s.npy", "-q")
    np.testing.assert_array_equal(np.load(WORK / "s.npy").reshape(a.shape), a - np.median(a, 0))
    done = other("stitch", "o.zarr", "--dtype", "uint8", "--cast", "clip", "-o", "s8.npy", "-q")
    np.testing.assert_array_equal(np.load(WORK / "s8.npy").reshape(a.shape), a.clip(0, 255))
    assert b"outside the type" in done.stderr
    other("stitch", "o.zarr", "--select", "t=[2,0]", "-o", "l.npy", "-q")
    np.testing.assert_array_equal(np.load(WORK / "l.npy").reshape(2, 3, 10, 12), a[[2, 0]])
    other("reduce", "o.zarr", "--calc", "a - quantile(a, 0.1, t)", "--op", "max", "--axis", "z", "-o", "m.npy", "-q")
    np.testing.assert_allclose(np.load(WORK / "m.npy"), (a - np.quantile(a, 0.1, axis=0)).max(1), rtol=1e-12)


for check in [operations, remainders, whole, broadcasting, shapes, reductions, casts, inputs_and_errors, axes_of_results, other_commands,
              results_on_the_way_that_do_not_fit]:
    check()
assert not [p.name for p in WORK.iterdir() if "reduced" in p.name]
print(n_checked, "results are NumPy's")
