"""Makes multiscale inputs with zarr-python, and compares the levels that were made of them with NumPy's.

Usage: levels.py make FOLDER
       levels.py check CASES.json [folder of ngff_0.4 and ngff_0.5 with the JSON schemas]
       levels.py coordinates OUT.zarr...
"""

import json
import sys
from pathlib import Path

import numpy as np
import zarr

SHAPE, CHUNKS = (2, 2, 5, 23, 30), (1, 1, 3, 7, 9)
HOLE = (slice(1, 2), slice(0, 1), slice(3, 5), slice(7, 14), slice(18, 27))
DTYPES = "uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bool complex64 complex128".split()


def elements(dtype):
    """Values of the whole range, many of them equal, and the odd ones of floats."""
    random, dtype = np.random.default_rng(7), np.dtype(dtype)
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        wide = random.integers(info.min, info.max, SHAPE, dtype, endpoint=True)
        return np.where(random.random(SHAPE) < 0.5, wide, random.integers(0, 4, SHAPE).astype(dtype))
    if dtype.kind == "b":
        return random.random(SHAPE) < 0.5
    found = random.normal(size=SHAPE) * 100
    found = np.where(random.random(SHAPE) < 0.5, found, random.integers(-2, 3, SHAPE))
    if dtype.kind == "c":
        return (found + 1j * random.normal(size=SHAPE)).astype(dtype)
    found[random.random(SHAPE) < 0.01] = np.nan
    found[random.random(SHAPE) < 0.01] = np.inf
    return found.astype(dtype)


def make(folder):
    for dtype in DTYPES:
        group = zarr.create_group(folder / f"{dtype}.zarr", zarr_format=3)
        array = group.create_array("0", shape=SHAPE, chunks=CHUNKS, dtype=dtype, dimension_names=list("tczyx"))
        data = elements(dtype)
        array[...] = data
        # One chunk that is not stored.
        (folder / f"{dtype}.zarr/0/c/1/0/1/1/2").unlink()
        axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
        axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        scale = {"type": "scale", "scale": [2.0, 1.0, 0.3, 0.1, 0.1]}
        move = {"type": "translation", "translation": [5.0, 0.0, 1.0, 0.0, -4.0]}
        datasets = [{"path": "0", "coordinateTransformations": [scale, move]}]
        window = {"min": 0, "max": 200, "start": 3, "end": 99}
        channels = [{"label": "GFP", "color": "123456", "window": window}, {"label": "b", "color": "00FF00", "window": window}]
        group.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [{"axes": axes, "datasets": datasets, "name": "a"}],
            "omero": {"channels": channels},
        }
        group.attrs["sample"] = {"mouse": 7}


def mean(values, there):
    """Sums in the order of the windows; integers exactly, halves to even."""
    dtype, n = values.dtype, there.sum(-1)
    if dtype.kind in "uib":
        total = np.zeros(n.shape, object)
        for i in range(values.shape[-1]):
            total = total + np.where(there[..., i], values[..., i].astype(object), 0)
        n = np.maximum(n, 1).astype(object)
        quotient, rest = total // n, total % n
        up = (2 * rest > n) | ((2 * rest == n) & (quotient % 2 == 1))
        return (quotient + up.astype(object)).astype(dtype)
    total = np.zeros(n.shape, complex if dtype.kind == "c" else float)
    for i in range(values.shape[-1]):
        total = np.where(there[..., i], total + values[..., i], total)
    n = np.maximum(n, 1)
    return (total.real / n + 1j * (total.imag / n) if dtype.kind == "c" else total / n).astype(dtype)


def pick(values, there, method):
    """Order statistics of what is there; NaN is the largest."""
    n, last = there.sum(-1), values.shape[-1]
    # What is not there comes last, NaN before it.
    is_nan = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    order = np.lexsort((np.where(is_nan, 0, values), is_nan, ~there), axis=-1)
    ordered = np.take_along_axis(values, order, -1)
    at = lambda i: np.take_along_axis(ordered, np.clip(i, 0, last - 1)[..., None], -1)[..., 0]
    if method == "mode":
        same = (values[..., :, None] == values[..., None, :]) | (is_nan[..., :, None] & is_nan[..., None, :])
        counts = (same & there[..., None, :]).sum(-1) * there
        best = there & (counts == counts.max(-1, keepdims=True))
        return pick(values, best, "min_of_numbers")
    if method == "min_of_numbers":
        return at(np.zeros_like(n))
    if method == "median":
        pair = np.stack([at((n - 1) // 2), at(n // 2)], -1)
        found = np.where(n % 2 == 0, mean(pair, np.ones(pair.shape, bool)), pair[..., 0]).astype(values.dtype)
    else:
        found = at(n - 1 if method == "max" else np.zeros_like(n))
    any_nan = (is_nan & there).any(-1)
    return np.where(any_nan, np.nan, found).astype(values.dtype) if values.dtype.kind == "f" else found


def halve(array, covered, factor, method):
    """The next level, and which of its elements anything covers."""
    pad = [(0, -n % f) for n, f in zip(array.shape, factor)]
    array, covered = np.pad(array, pad), np.pad(covered, pad)
    split = [k for n, f in zip(array.shape, factor) for k in (n // f, f)]
    order = list(range(0, 2 * array.ndim, 2)) + list(range(1, 2 * array.ndim, 2))
    windows = lambda a: a.reshape(split).transpose(order).reshape([n // f for n, f in zip(a.shape, factor)] + [-1])
    values, there = windows(array), windows(covered)
    if method == "nearest":
        values, there = values[..., :1], there[..., :1]
        found = values[..., 0]
    else:
        with np.errstate(all="ignore"):
            found = mean(values, there) if method == "mean" else pick(values, there, method)
    covered = there.any(-1)
    return np.where(covered, found, np.zeros((), array.dtype)).astype(array.dtype), covered


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def load_schemas(folder):
    import jsonschema
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    validators = {}
    for version in ("0.4", "0.5"):
        documents = [json.loads(p.read_text()) for p in (folder / f"ngff_{version}" / "schemas").glob("*.schema")]
        resources = [(d["$id"], DRAFT202012.create_resource(d)) for d in documents]
        registry = Registry().with_resources(resources)
        image = next(d for d in documents if d["$id"].endswith(f"{version}/schemas/image.schema"))
        strict = next((d for d in documents if d["$id"].endswith(f"{version}/schemas/strict_image.schema")), image)
        validators[version] = jsonschema.Draft202012Validator(strict, registry=registry)
    return validators


def check_metadata(group, case, schemas):
    import ome_zarr_models

    attributes = dict(group.attrs)
    version = "0.4" if case["format"] == 2 else "0.5"
    if schemas:
        schemas[version].validate(attributes)
    image = ome_zarr_models.open_ome_zarr(group)
    assert image.ome_zarr_version == version, image.ome_zarr_version
    claim = attributes if case["format"] == 2 else attributes["ome"]
    multiscale = claim["multiscales"][0]
    shift = 0.0 if case["method"] == "nearest" else 0.5
    factor = np.ones(5)
    for level, dataset in enumerate(multiscale["datasets"]):
        factor = factor * (case["factors"][level - 1] if level else 1)
        step, origin = np.array([2.0, 1.0, 0.3, 0.1, 0.1]), np.array([5.0, 0.0, 1.0, 0.0, -4.0])
        scale, move = dataset["coordinateTransformations"]
        assert np.allclose(scale["scale"], step * factor), dataset
        assert np.allclose(move["translation"], origin + step * (factor - 1) * shift), dataset
    assert attributes["sample"] == {"mouse": 7}
    first = claim["omero"]["channels"][0]
    assert (first["label"], first["color"], first["window"]["end"]) == ("GFP", "123456", 99), first


def check(cases, schemas):
    problems, listed = [], json.loads(cases.read_text())
    for case in listed:
        try:
            group = zarr.open_group(cases.parent / case["path"], mode="r")
            wanted = elements(case["dtype"])
            wanted[HOLE] = 0
            covered = np.ones(SHAPE, bool)
            covered[HOLE] = False
            for level in range(len(case["factors"]) + 1):
                if level:
                    wanted, covered = halve(wanted, covered, case["factors"][level - 1], case["method"])
                found = group[str(level)][...]
                assert same(found, wanted), f"level {level}: {np.argwhere(found != wanted)[:3].tolist()}"
            assert str(level + 1) not in group
            check_metadata(group, case, schemas)
        except Exception as error:
            problems.append(f"{case}: {type(error).__name__}: {str(error)[:400]}")
    print(f"{len(listed)} images with levels read by zarr-python")
    return problems


def coordinates(outputs):
    import xarray

    for path in outputs:
        found = xarray.open_zarr(path, consolidated=True)
        image = found["0"]
        assert image.dims == ("t", "c", "z", "y", "x"), image.dims
        assert found["t"].values.tolist() == [5.0, 7.0] and found["t"].attrs["units"] == "second", found["t"]
        assert found["c"].values.tolist() == ["GFP", "b"], found["c"]
        assert np.allclose(found["x"].values, -4 + 0.1 * np.arange(30)), found["x"]
        assert image.sel(c="GFP", t=7.0).shape == (5, 23, 30)
    print(f"{len(outputs)} images with coordinates read by xarray")
    return []


def main():
    what, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    if what == "make":
        problems = make(paths[0])
    elif what == "check":
        problems = check(paths[0], load_schemas(paths[1]) if len(paths) > 1 else None)
    else:
        problems = coordinates(paths)
    for line in problems or []:
        print(line)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
