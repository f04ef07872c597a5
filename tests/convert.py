"""Makes and checks what tests/convert.rs converts."""

import json
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr
from PIL import Image

what, folder = sys.argv[1], Path(sys.argv[2])
NAMED = {"id": 77, "name": "odd one", "rdefs": {"model": "greyscale", "defaultT": 3, "defaultZ": 1}}
ODD = {"lab": {"nested": [1, {"b": None}], "ü": "é ∞"}, "bignumber": 12345678901234567, "empty": {}}


def make():
    a = np.random.default_rng(7).integers(0, 60000, (5, 2, 4, 40, 60)).astype("u2")
    np.save(folder / "odd.npy", a)
    group = zarr.open_group(folder / "odd.zarr", mode="w", zarr_format=3)
    group.create_array("full", data=a, chunks=(1, 1, 2, 16, 16), dimension_names=list("tczyx"))
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 1, 0.5, 0.1, 0.1]}]
    channels = [
        {"label": "DAPI", "color": "112233", "active": False, "window": {"min": 0, "max": 60000, "start": 5, "end": 77}},
        {"label": "GFP", "color": "445566", "active": True, "window": {"min": 0, "max": 60000, "start": 9, "end": 99}},
    ]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": scale}], "name": "x"}],
        "omero": {**NAMED, "channels": channels},
    }
    for key, value in ODD.items():
        group.attrs[key] = value
    group["full"].attrs["long_name"] = "photons"
    cells = group.create_group("labels", attributes={"ome": {"version": "0.5", "labels": ["cells"]}}).create_group("cells")
    axes, scale = axes[:1] + axes[2:], [{"type": "scale", "scale": [2.0, 0.5, 0.1, 0.1]}]
    cells.create_array("0", data=a[:, 0] % 7, chunks=(1, 2, 16, 16), dimension_names=list("tzyx"))
    cells.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}], "name": "cells"}],
        "image-label": {"source": {"image": "../../"}, "colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}]},
    }
    zarr.create_array(
        folder / "model.zarr", shape=(9, 9, 9, 99, 99), chunks=(1, 1, 1, 8, 20), shards=(2, 1, 4, 32, 60), dtype="i4",
        dimension_names=list("tczyx"), compressors=[zarr.codecs.ZstdCodec(level=7)],
    )


def zarrs():
    a = np.load(folder / "odd.npy")
    for name in ["again", "old", "like"]:
        group = zarr.open_group(folder / f"{name}.zarr", mode="r")
        assert (group["0"][:] == a).all(), name
        attributes = dict(group.attrs)
        for key, value in ODD.items():
            assert attributes[key] == value, (name, key)
        ome = attributes if name == "old" else attributes["ome"]
        assert shown(ome) == [("DAPI", "112233", False, 77), ("GFP", "445566", True, 99)], (name, ome["omero"])
        assert {key: ome["omero"][key] for key in NAMED} == NAMED, (name, ome["omero"])
        assert group["0"].attrs["long_name"] == "photons", name
        (transform,) = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][:1]
        assert transform["scale"] == [2.0, 1, 0.5, 0.1, 0.1], transform
    again = zarr.open_array(folder / "again.zarr/0")
    assert again.chunks == (2, 1, 3, 20, 20) and again.shards is None
    like = zarr.open_array(folder / "like.zarr/0")
    assert like.chunks == (1, 1, 1, 8, 20) and like.shards == (2, 1, 4, 32, 60), (like.chunks, like.shards)
    assert like.compressors[0].level == 7
    turned = zarr.open_group(folder / "turned.zarr", mode="r")["0"][:]
    assert (turned == a[::2, 1, :, ::-1, ::-1]).all()
    # One channel is shown as among others, with or without an axis.
    for name, wanted in [
        ("turned", [("GFP", "445566", True, 99)]),
        ("back", [("GFP", "445566", True, 99), ("DAPI", "112233", False, 77)]),
        ("max", [("DAPI", "112233", False, 77), ("GFP", "445566", True, 99)]),
        ("crop", [("DAPI", "112233", False, 77), ("GFP", "445566", True, 99)]),
    ]:
        ome = zarr.open_group(folder / f"{name}.zarr", mode="r").attrs["ome"]
        assert shown(ome) == wanted, (name, ome["omero"])
        assert "id" not in ome["omero"] and ome["omero"]["rdefs"] != NAMED["rdefs"], (name, ome["omero"])
    with tifffile.TiffFile(folder / "turned.ome.tif") as tif:
        (channel,) = ElementTree.fromstring(tif.ome_metadata).iterfind(".//{*}Channel")
        assert (channel.get("Name"), int(channel.get("Color"))) == ("GFP", 0x445566FF), channel.attrib
    # Windows are of other values where sums and products are; without channels nothing is said of them.
    for name in ("sum", "twice"):
        group = zarr.open_group(folder / f"{name}.zarr", mode="r")
        found = shown(group.attrs["ome"])
        assert [f[:3] for f in found] == [("DAPI", "112233", False), ("GFP", "445566", True)], found
        assert found[0][3] != 77 and found[1][3] != 99 and "long_name" not in group["0"].attrs, found
    (one,) = zarr.open_group(folder / "gone.zarr", mode="r").attrs["ome"]["omero"]["channels"]
    assert (one["label"], one["color"]) == ("intensity", "FFFFFF"), one
    for name in ("max", "sum", "crop", "twice", "gone"):
        attributes = dict(zarr.open_group(folder / f"{name}.zarr", mode="r").attrs)
        assert all(attributes[key] == value for key, value in ODD.items()), (name, attributes)
    # Labels that were taken along as it was said.
    taken = zarr.open_group(folder / "again.zarr/labels/cells", mode="r")
    assert (np.squeeze(taken["0"][:]) == a[:, 0] % 7).all()
    label = taken.attrs["ome"]["image-label"]
    assert label["source"]["image"] == "../../" and label["colors"][0]["rgba"] == [1, 2, 3, 4], label


def shown(ome):
    return [(c["label"], c["color"], c["active"], c["window"]["end"]) for c in ome["omero"]["channels"]]


def halved(a, how):
    for axis in (-2, -1):
        if a.shape[axis] % 2:
            width = [(0, 0)] * a.ndim
            width[axis] = (0, 1)
            a = np.pad(a, width, mode="edge")
    y, x = a.shape[-2] // 2, a.shape[-1] // 2
    return how(a.reshape(*a.shape[:-2], y, 2, x, 2), (-3, -1))


def ome():
    import ome_types

    full = zarr.open_group(folder / "in.zarr", mode="r")["0"][:]
    files = sorted(p for p in folder.iterdir() if ".ome." in p.name and not p.name.endswith(".npy"))
    assert len(files) == 9, files
    for path in files:
        name = path.name.split(".")[0]
        expected = full
        if name in ("float", "double"):
            expected = full.astype("f4" if name == "float" else "f8")
        if name == "float":
            expected = (full * 0.25).astype("f4")
        if name == "order":
            expected = full[1:].transpose(0, 2, 1, 3, 4)
        if name == "wells":
            expected = np.stack([full[0], full[0]])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with tifffile.TiffFile(path) as tif:
                assert tif.is_ome and tif.is_bigtiff == (name == "big"), name
                found = np.stack([s.asarray() for s in tif.series]) if name == "wells" else tif.series[0].asarray()
                assert found.dtype == expected.dtype and found.shape == expected.shape, (name, found.shape)
                np.testing.assert_array_equal(found, expected, err_msg=name)
                page = tif.pages[0]
                codec = {"zstd": 50000, "lzw": 5, "double": 5, "none": 1}.get(name, 8)
                predictor = {"none": 1, "float": 1, "double": 1}.get(name, 2)
                assert (int(page.compression), int(page.predictor)) == (codec, predictor), name
                assert page.is_tiled and len(tif.pages) == expected.size // (140 * 200), name
                levels = tif.series[0].levels
                assert len(levels) == {"zstd": 3, "big": 2, "float": 2, "lzw": 9}.get(name, 1), (name, len(levels))
                before = found
                for level in levels[1:]:
                    # Each is made of the one before it.
                    smaller = level.asarray()
                    made = halved(before.astype("f8"), np.max if name == "big" else np.mean)
                    made = made.astype("f4") if smaller.dtype == "f4" else np.round(made)
                    np.testing.assert_allclose(smaller, made, rtol=1e-6, err_msg=name)
                    before = smaller
                ours = np.load(folder / f"{path.name}.npy") if name != "wells" else None
                if name not in ("wells", "order"):
                    np.testing.assert_array_equal(ours, expected, err_msg=name)
        document = ome_types.from_tiff(path, validate=True)
        pixels = document.images[0].pixels
        assert abs(pixels.physical_size_x - 0.104) < 1e-9 and pixels.physical_size_x_unit.value == "µm"
        assert (pixels.physical_size_z, pixels.time_increment if name != "wells" else 43.7) == (0.5, 43.7)
        assert [c.name for c in pixels.channels] == ["DAPI", "µ <GFP>"]
        assert len(document.images) == (2 if name == "wells" else 1)
        if name == "order":
            assert pixels.dimension_order.value == "XYCZT"
            assert [c.color.as_hex() for c in pixels.channels] == ["#f00", "#00f"]


def places():
    import ome_types

    steps = {"z": 0.5, "y": 0.1, "x": 0.104}
    origin = {"z": 1.0, "y": 1.0, "x": 2.08}
    pixels = ome_types.from_tiff(folder / "part.ome.tif", validate=True).images[0].pixels
    assert len(pixels.planes) == 3 * 2 * 2
    for plane in pixels.planes:
        at = {"z": plane.position_z, "y": plane.position_y, "x": plane.position_x}
        expected = {**origin, "z": origin["z"] + plane.the_z * steps["z"]}
        assert all(abs(at[axis] - expected[axis]) < 1e-9 for axis in at), (at, expected)
        assert plane.position_x_unit.value == plane.position_z_unit.value == "µm"
    with tifffile.TiffFile(folder / "part.tif") as tif:
        told = tif.imagej_metadata
    assert told["Labels"] == ["DAPI", "µ <GFP>"] * (3 * 2), told
    assert np.allclose([told[f"{axis}origin"] for axis in "xyz"], [-20, -10, -2]), told
    for table, colour in zip(told["LUTs"], [(255, 128, 0), (0, 0, 255)], strict=True):
        ramp = np.arange(256)[None] * np.array(colour)[:, None] / 255
        assert np.abs(table.astype("f8") - ramp).max() <= 0.5 and table.shape == (3, 256)
    with tifffile.TiffFile(folder / "cut/s_t0001_c0.tif") as tif:
        assert tif.imagej_metadata["finterval"] == 43.7, tif.imagej_metadata
    sizes = {"micrometer": 1, "nanometer": 1e-3, "second": 1}
    for name in ["part_ome_tif", "part_tif", "cut"]:
        attributes = zarr.open_group(folder / f"{name}.zarr", mode="r").attrs["ome"]
        (image,) = attributes["multiscales"]
        scale, translation = image["datasets"][0]["coordinateTransformations"]
        factors = {axis["name"]: sizes.get(axis.get("unit"), 0) for axis in image["axes"]}
        found = {n: s * factors[n] for n, s in zip("tczyx", scale["scale"])}
        assert all(abs(found[n] - s) < 1e-9 for n, s in {**steps, "t": 43.7}.items()), (name, found)
        found = {n: s * factors[n] for n, s in zip("tczyx", translation["translation"])}
        assert all(abs(found[n] - s) < 1e-9 for n, s in origin.items()), (name, found)
        channels = [(c["label"], c["color"]) for c in attributes["omero"]["channels"]]
        assert name == "cut" or channels == [("DAPI", "FF8000"), ("µ <GFP>", "0000FF")], (name, channels)


def select():
    import re

    import xarray

    full = zarr.open_group(folder / "in.zarr", mode="r")["0"][:]
    names = ["DAPI", "µ <GFP>"]
    steps = {"t": 43.7, "z": 0.5, "y": 0.1, "x": 0.104}
    coordinates = {n: np.arange(full.shape["tczyx".index(n)]) * s for n, s in steps.items()}
    array = xarray.DataArray(full, dims=list("tczyx"), coords={**coordinates, "c": names})
    factors = {"s": 1, "min": 60, "um": 1, "nm": 1e-3}
    for i, text in enumerate((folder / "selections.txt").read_text().split("\n")):
        found = array
        for part in re.split(r",(?![^\[]*\])", text):
            name, choice = part.split("=", 1)
            axis, _, unit = name.partition("@")
            is_list = choice.startswith("[")
            if ":" in choice and not is_list:
                if unit:
                    low, high = (float(v) * factors[unit] for v in choice.split(":"))
                    inside = (found[axis] >= low - 1e-9) & (found[axis] < high - 1e-9)
                    found = found.isel({axis: np.flatnonzero(inside.values)})
                else:
                    bounds = [int(v) if v else None for v in choice.split(":")]
                    found = found.isel({axis: slice(*bounds)})
                continue
            items = choice.strip("[]").split(",")
            if unit:
                wanted = [float(v.strip("~")) * factors[unit] for v in items]
                tolerance = None if any("~" in v for v in items) else 1e-6
                chosen = found.sel({axis: wanted if is_list else wanted[0]}, method="nearest", tolerance=tolerance)
            elif axis == "c" and not items[0].lstrip("-").isdigit():
                chosen = found.sel({axis: items if is_list else items[0]})
            else:
                numbers = [int(v) for v in items]
                chosen = found.isel({axis: numbers if is_list else numbers[0]})
            found = chosen
        ours = np.load(folder / f"select{i}.npy")
        np.testing.assert_array_equal(ours, found.values, err_msg=text)
        sums = np.load(folder / f"reduce{i}.npy")
        np.testing.assert_array_equal(sums, found.values.sum(-1, dtype="u8"), err_msg=text)


def planes():
    rng = np.random.default_rng(3)
    np.save(folder / "whole.npy", rng.gamma(2, 300, (12, 2, 400, 500)).astype("u2"))
    real = rng.normal(-1e-3, 1e4, (12, 2, 400, 500)).astype("f4")
    real[:, :, ::7, ::5] = np.nan
    real[3, 1, 0, 0] = np.inf
    np.save(folder / "real.npy", real)


def pictures():
    def levels(a, planes, most):
        values = np.sort(planes[np.isfinite(planes)].astype("f8"))
        low, high = (values[round(p / 100 * (values.size - 1))] for p in (0.1, 99.9))
        return np.nan_to_num(np.clip((a - low) / (high - low), 0, 1)) * most

    for name, most in [("whole", 255), ("real", 65535)]:
        a = np.load(folder / f"{name}.npy")
        for t in range(12):
            for c in range(2):
                got = np.array(Image.open(folder / f"{name}_{t:02}_{c}.png")).astype("f8")
                assert np.abs(got - levels(a[t, c], a[:, c], most)).max() <= 0.5 + 1e-6, (name, t, c)
    a = np.load(folder / "whole.npy")
    got = np.array(Image.open(folder / "whole_07_merged.png")).astype("f8")
    one, two = (levels(a[7, c], a[7, c], 255) for c in range(2))
    # Two channels are green and magenta.
    assert got.shape == (400, 500, 3)
    assert all(any(np.abs(got[..., i] - plane).max() < 1 for i in range(3)) for plane in (one, two))


def series():
    full = zarr.open_group(folder / "in.zarr", mode="r")["0"][:]
    with np.load(folder / "all.npz") as npz:
        # Reading checks the sum.
        np.testing.assert_array_equal(npz["arr_0"], full)
    for t in range(3):
        np.testing.assert_array_equal(np.load(folder / f"npy/t{t}.npy"), full[t])
        for c in range(2):
            with tifffile.TiffFile(folder / f"out0/s_t{t:04}_c{c}.tif") as tif:
                assert tif.is_imagej and tif.series[0].axes == "ZYX", tif.series[0].axes
                np.testing.assert_array_equal(tif.asarray(), full[t, c])
    with tifffile.TiffFile(folder / "out3/c1.btf") as tif:
        np.testing.assert_array_equal(tif.asarray(), full[:, 1])
    names = sorted(p.name for p in (folder / "out2").iterdir() if p.suffix == ".tif")
    assert names[:3] == ["z0_00000ms.tif", "z0_43700ms.tif", "z0_87400ms.tif"] or names[0] == "z0_0ms.tif", names
    tif = tifffile.imread(folder / "new" / "DAPI_43.7.tif")
    np.testing.assert_array_equal(tif, full[1, 0])


parts = [make, zarrs, ome, places, series, select, planes, pictures]
{part.__name__: part for part in parts}[what]()
