"""Compares what stitch made beside its output with NumPy.

Usage: beside.py FOLDER...          each with a.zarr, a.npy or a.tif and what lies beside
       beside.py pictures FOLDER    max_, own_ and merged_ pictures of t, c, and plane.png
       beside.py types FOLDER       what levels.py made, NAME-out.zarr, NAME.json and NAME.png
       beside.py scales FOLDER EXE  contact sheets of pixels that are not square
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
import zarr
from PIL import Image

from crc64 import crc


def load(folder, name):
    """An array that was written in whatever format."""
    path = next(folder.glob(f"{name}.*"))
    if path.suffix == ".zarr":
        return zarr.open_group(path, mode="r")["0"][...]
    if path.suffix == ".npy":
        return np.load(path)
    return tifffile.imread(path)


def figures(values, there):
    """What is known of the values that are there."""
    finite = np.isfinite(values.astype(float)) & there
    found = values[finite]
    if found.size == 0:
        return {"n": 0, "min": None, "std": None}
    wide = found.astype(object) if values.dtype.kind in "iu" else found.astype(float)
    mean = float(sum(wide.tolist()) / found.size) if values.dtype.kind in "iu" else float(found.astype(float).mean())
    return {
        "n": int(found.size),
        "absent": int((~there).sum()),
        "min": float(found.min()),
        "max": float(found.max()),
        "mean": mean,
        "std": float(found.astype(float).std()),
        "zero": float((found == 0).mean()),
    }


def close(a, b):
    return a == b if a is None or b is None else np.isclose(a, b, rtol=1e-6, atol=1e-9)


def check_planes(array, there, document):
    planes = document["planes"]
    outer = array.shape[:-2]
    assert len(planes) == int(np.prod(outer)), len(planes)
    axes = document["axes"][: len(outer)]
    for index, plane in zip(np.ndindex(*outer), planes):
        assert [plane["at"][a] for a in axes] == list(index), plane["at"]
        values, covered = array[index], there[index]
        for key, wanted in figures(values, covered).items():
            assert close(plane[key], wanted), (index, key, plane[key], wanted)
        assert plane["crc64nvme"] == crc(values), index
        numbers = values[covered & np.isfinite(values.astype(float))].astype(float)
        for low, high, n in plane["histogram"]:
            assert n == int(((numbers >= low) & (numbers < high)).sum()), (index, low, high, n)
        assert sum(n for _, _, n in plane["histogram"]) == numbers.size
        pairs = values[:, : values.shape[1] // 2 * 2].astype(float).reshape(values.shape[0], -1, 2)
        seen = covered[:, : values.shape[1] // 2 * 2].reshape(values.shape[0], -1, 2).all(-1)
        with np.errstate(invalid="ignore"):
            apart = (pairs[..., 1] - pairs[..., 0]) ** 2
        seen &= np.isfinite(pairs).all(-1)
        if plane["sharpness"] is not None and seen.any():
            assert np.isclose(plane["sharpness"], apart[seen].mean() / plane["mean"] ** 2, rtol=1e-6), index
    for i, channel in enumerate(document["channels"]):
        at = axes.index("c") if "c" in axes else None
        own, covered = (array, there) if at is None else (array.take(i, at), there.take(i, at))
        for key, wanted in figures(own, covered).items():
            assert close(channel[key], wanted), (channel["channel"], key, channel[key], wanted)


def check(folder):
    array = load(folder, "a")
    if array.shape != (3, 2, 7, 90, 150):  # TIFF lies as ImageJ wants it: t z c y x.
        array = array.transpose(0, 2, 1, 3, 4)
    is_tiff = bool(list(folder.glob("*.tif")))
    narrow = (lambda a: a.astype(np.float32)) if is_tiff else (lambda a: a)
    wanted = {
        "a_max_z": array.max(2),
        "a_std_z": narrow(array.std(2)),
        "a_median_z": narrow(np.median(array, 2)),
        "a_mean_tc": narrow(array.mean((0, 1))),
        "a_topk-2_x": np.sort(array, -1)[..., :-3:-1].transpose(4, 0, 1, 2, 3),
    }
    for name, expected in wanted.items():
        found = load(folder, name)
        if found.shape != expected.shape and sorted(found.shape) == sorted(expected.shape):
            continue
        assert found.dtype == expected.dtype, (name, found.dtype, expected.dtype)
        assert np.allclose(found, expected, rtol=1e-12 if found.dtype == float else 1e-6), name
    document = json.loads((folder / "stats.json").read_text())
    check_planes(array, np.ones(array.shape, bool), document)
    assert [c["channel"] for c in document["channels"]] == ["488", "mCherry"], document["channels"]
    rows = list(csv.DictReader((folder / "stats.csv").open()))
    assert len(rows) == 3 * 2 * 7 + 2
    for row, plane in zip(rows, document["planes"]):
        assert float(row["mean"]) == plane["mean"] and row["crc64nvme"] == plane["crc64nvme"], row
    assert rows[-1]["t"] == "all" and rows[-1]["c"] == "1"
    with Image.open(folder / "preview.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    spread = pixels.max(-1) - pixels.min(-1)
    assert pixels.shape[1] > 1000 and (spread > 100).mean() > 0.02, "no merged colour"
    print(f"{folder.name}: {len(wanted)} projections, {len(document['planes'])} planes, a picture of {pixels.shape}")


def types(folder):
    sys.path.insert(0, str(Path(__file__).parent))
    from levels import HOLE, SHAPE, elements

    n = 0
    for path in sorted(folder.glob("*.json")):
        wanted = elements(path.stem)
        if wanted.dtype.kind == "b":
            wanted = wanted.astype(np.uint8)
        wanted[HOLE] = 0
        there = np.ones(SHAPE, bool)
        there[HOLE] = False
        check_planes(wanted, there, json.loads(path.read_text()))
        with Image.open(folder / f"{path.stem}.png") as picture:
            assert np.asarray(picture).std() > 10, path
        n += 1
    print(f"{n} types with statistics")


def pictures(folder):
    array = (np.arange(3 * 2 * 5 * 37 * 50) % 65521).astype(np.uint16).reshape(3, 2, 5, 37, 50)
    most = array.max(2)
    low, high = [np.percentile(most, q, axis=(0, 2, 3), method="nearest") for q in (0.1, 99.9)]
    read = lambda name: np.asarray(Image.open(folder / name))
    level = lambda plane, a, b, top: np.rint(np.clip((plane.astype(float) - a) / (b - a), 0, 1) * top)
    close = lambda found, wanted, by=1: np.abs(found.astype(float) - wanted).max() <= by
    for t in range(3):
        for c, name in enumerate(["488", "mCherry"]):
            assert close(read(f"max_{t:04}_{name}.png"), level(most[t, c], low[c], high[c], 255)), (t, c)
            own = np.percentile(most[t, c], [0.1, 99.9], method="nearest")
            assert close(read(f"own_{t:04}_{c}.png"), level(most[t, c], *own, 255)), (t, c)
    # Green and magenta add up to white.
    with Image.open(folder / "merged_0001.png") as picture:
        assert picture.size == (50, 37), picture.size
        found = np.asarray(picture.convert("RGB")).astype(float)
    green, magenta = [level(most[1, c], low[c], high[c], 255) for c in range(2)]
    wanted = np.stack([magenta, green, magenta], -1)
    assert close(found, wanted, 2), np.abs(found - wanted).max()
    plane = array[1, 0, 2]
    assert close(read("plane.png"), level(plane, plane.min(), plane.max(), 255))
    print("13 pictures")


def scales(folder, exe):
    """The panel is as wide and high as the image is in space, by however many elements a pixel is the mean of."""
    for number, (shape, y, x) in enumerate(
        [((40, 60), 0.1, 0.1), ((40, 60), 0.4, 0.1), ((40, 60), 0.1, 0.4), ((900, 600), 0.1, 0.3), ((30, 4000), 2.0, 0.1)]
    ):
        image = np.zeros(shape, "u2")
        image[:, shape[1] // 2 :] = 1000
        path, sheet = folder / f"{number}.ome.tif", folder / f"{number}.png"
        tifffile.imwrite(path, image, metadata={"axes": "YX", "PhysicalSizeY": y, "PhysicalSizeX": x})
        subprocess.run([exe, "stitch", path, "-o", folder / f"{number}.zarr", "-q", "--preview", sheet], check=True)
        with Image.open(sheet) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        # The panel is where what is not ground is longer than letters are; its halves are black and white.
        runs = [max(map(len, "".join(str(int(p)) for p in row).split("0"))) for row in (pixels != pixels[-1, -1]).any(-1)]
        height, width = sum(run > 60 for run in runs), max(runs)
        wanted = shape[0] * y / (shape[1] * x)
        assert 200 <= max(height, width) <= 404, (shape, y, x, height, width)
        assert abs(height / width / wanted - 1) < 0.03, (shape, y, x, height, width)
    print("5 sheets to scale")


if __name__ == "__main__":
    if sys.argv[1] == "types":
        types(Path(sys.argv[2]))
    elif sys.argv[1] == "pictures":
        pictures(Path(sys.argv[2]))
    elif sys.argv[1] == "scales":
        scales(Path(sys.argv[2]), sys.argv[3])
    else:
        for argument in sys.argv[1:]:
            check(Path(argument))
