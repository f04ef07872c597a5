"""Compares steps, units and places of axes with what names and files of zarr-python and tifffile say, and with xarray's
coarsen. Arguments: the program, a folder to work in."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
import xarray as xr
import zarr

EXE, WORK = sys.argv[1], Path(sys.argv[2])
KINDS = {"t": "time", "c": "channel"}
UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
STEPS, ORIGINS = [2.0, 0.5, 0.1, 0.2], [10.0, 100.0, 7.0, -3.0]
PIXELS = np.random.default_rng(3).integers(0, 9999, (4, 4, 20, 30)).astype("u2")


def run(*arguments, code=0):
    done = subprocess.run([EXE, *map(str, arguments)], capture_output=True, cwd=WORK)
    said = done.stderr.decode()
    assert done.returncode == code, (arguments, done.returncode, said)
    return said


def image(name, array, axes, steps, origins):
    """An OME-Zarr of zarr-python."""
    group = zarr.open_group(WORK / name, mode="w")
    group.create_array("0", data=array, dimension_names=list(axes))
    about = [{"name": n, "type": KINDS.get(n, "space"), **({"unit": UNITS[n]} if n in UNITS else {})} for n in axes]
    moves = [{"type": "scale", "scale": steps}, {"type": "translation", "translation": origins}]
    multiscale = {"axes": about, "datasets": [{"path": "0", "coordinateTransformations": moves}], "name": "x"}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}


def plane(name, value=0):
    path = WORK / name
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, np.full((8, 10), value, "u2"))


def expect(*arguments, code=0, said=(), **expected):
    """Runs to a Zarr, of which each axis that is named has this step, unit and origin."""
    told = run(*arguments, "-o", "out.zarr", "--overwrite", "-q", code=code)
    for words in said:
        assert words in told, (arguments, words, told)
    (multiscale,) = zarr.open_group(WORK / "out.zarr", mode="r").attrs["ome"]["multiscales"]
    names, moves = [axis["name"] for axis in multiscale["axes"]], multiscale["datasets"][0]["coordinateTransformations"]
    origins = moves[1]["translation"] if len(moves) > 1 else [0.0] * len(names)
    for name, (step, unit, origin) in expected.items():
        i = names.index(name)
        found = (moves[0]["scale"][i], multiscale["axes"][i].get("unit"), origins[i])
        assert np.allclose([found[0], found[2]], [step, origin]) and found[1] == unit, (arguments, name, found)
    return told


def values(axis):
    """Places one by one, as the attributes keep them."""
    axes = zarr.open_group(WORK / "out.zarr", mode="r").attrs["stackctl"]["axes"]
    return next(a for a in axes if a["name"] == axis).get("coordinates")


def units():
    """A step in another unit leaves elements where names and files put them."""
    for i in range(3):
        plane(f"times/a_{5000 + 2000 * i}ms.tif", i)
    times = ("stitch", "times", "--pattern", "a_{t@ms}ms")
    expect(*times, t=(2000, "millisecond", 5000))
    expect(*times, "--time-step", "1min", t=(1, "minute", 5 / 60))
    expect(*times, "--time-step", "2s", "--coordinates", t=(2, "second", 5))
    array = zarr.open_array(WORK / "out.zarr/t", mode="r")
    assert np.allclose(array[...], [5, 7, 9]) and array.attrs["units"] == "second"
    run("convert", "out.zarr", "-o", "times.ome.tif", "-q")
    assert 'TimeIncrement="2"' in tifffile.TiffFile(WORK / "times.ome.tif").ome_metadata
    sizes = ("--voxel-size", "z=500nm,y=100nm,x=200nm", "--time-step", "1min")
    placed = {"z": (500, "nanometer", 1e5), "y": (100, "nanometer", 7000), "x": (200, "nanometer", -3000)}
    for command in (("convert", "in.zarr"), ("calc", "a+0", "in.zarr"), ("reduce", "in.zarr", "--op", "max", "--every", "t=1")):
        expect(*command, *sizes, t=(1, "minute", 10 / 60), **placed)
    expect("convert", "in.zarr", *sizes, "--select", "y=5:", **{**placed, "y": (100, "nanometer", 7500)})


def blocks():
    """What groups of elements become lies in their middle."""
    expected = xr.DataArray(
        PIXELS.astype("f8"),
        dims=list("tzyx"),
        coords={n: o + s * np.arange(k) for n, o, s, k in zip("tzyx", ORIGINS, STEPS, PIXELS.shape)},
    )
    expected = expected.coarsen(t=2, y=4, x=5).mean()
    places = {n: (float(expected[n][1] - expected[n][0]), UNITS[n], float(expected[n][0])) for n in "tyx"}
    for command in (
        ("reduce", "in.zarr", "--op", "mean", "--every", "t=2,y=4,x=5"),
        ("calc", "bin(a, t=2, y=4, x=5, mean)", "in.zarr"),
    ):
        expect(*command, **places)
        found = zarr.open_group(WORK / "out.zarr", mode="r")["0"][...]
        assert np.allclose(found.reshape(expected.shape), expected)


def uneven():
    """Without one step the median stands for all, or that of the array of which places are chosen, and a note says so."""
    for command, axis, step, places in (
        (("convert", "in.zarr", "--select", "t=[3,0,1]"), "t", 2, [16, 10, 12]),
        (("convert", "in.zarr", "--select", "t=[0,0,1]"), "t", 2, [10, 10, 12]),
        (("convert", "in.zarr", "--select", "t=[0,1,3]"), "t", 2, [10, 12, 16]),
        (("convert", "in.zarr", "--select", "x=[3,4,7]"), "x", 0.2, [-2.4, -2.2, -1.6]),
    ):
        expect(*command, said=[f"axis {axis} has no one step", "--coordinates"], **{axis: (step, UNITS[axis], places[0])})
        assert np.allclose(values(axis), places), (command, values(axis))
    told = expect("convert", "in.zarr", "--select", "t=[0,2]", t=(4, "second", 10))
    assert "no one step" not in told and values("t") is None, told
    for t in (0, 100, 250, 1000, 1100):
        plane(f"uneven/a_{t}ms.tif", t)
    expect("stitch", "uneven", "--pattern", "a_{t@ms}ms", said=["has no one step: 100 ms"], t=(100, "millisecond", 0))
    assert values("t") == [0, 100, 250, 1000, 1100]
    # A copy of what is kept keeps it, and a part of it may be even.
    run("convert", "out.zarr", "-o", "kept.zarr", "-q", "--coordinates")
    assert zarr.open_array(WORK / "kept.zarr/t", mode="r")[...].tolist() == [0, 0.1, 0.25, 1, 1.1]
    expect("convert", "kept.zarr", "--select", "t=1:3", t=(150, "millisecond", 100))
    told = run("convert", "kept.zarr", "-o", "kept.ome.tif", "-q")
    assert "no one step" in told and "TimeIncrement" not in tifffile.TiffFile(WORK / "kept.ome.tif").ome_metadata, told


def names():
    """Units in names place slices, and tiles by their first elements."""
    for z in (10, 20, 30):
        plane(f"even/a_z{z}um_.tif", z)
    for z in (10, 20, 35):
        plane(f"odd/a_z{z}um_.tif", z)
    for x in (100, 108, 116):
        plane(f"tiles/a_x{x}.tif", x)
    slices = ("stitch", "even", "--pattern", "a_z{z@um}um_")
    expect(*slices, "--coordinates", z=(10, "micrometer", 10))
    assert zarr.open_array(WORK / "out.zarr/z", mode="r")[...].tolist() == [10, 20, 30]
    expect(*slices, "--select", "z@um=20")
    assert (zarr.open_group(WORK / "out.zarr", mode="r")["0"][...] == 20).all()
    expect(*slices, "--voxel-size", "z=5000nm", z=(5000, "nanometer", 10000))
    expect("stitch", "odd", "--pattern", "a_z{z@um}um_", said=["axis z has no one step"], z=(10, "micrometer", 10))
    assert values("z") == [10, 20, 35]
    tiles = ("stitch", "tiles", "--pattern", "a_x{x@um}.tif")
    said = ["8 µm apart", "10 µm long", "overlap by 2 µm"]
    expect(*tiles, "--voxel-size", "y=1um,x=1um", said=said, x=(1, "micrometer", 100))
    told = expect(*tiles, "--voxel-size", "y=0.8um,x=0.8um", x=(0.8, "micrometer", 100))
    assert "apart" not in told, told
    expect(*tiles, said=["--voxel-size"], x=(1, None, 0))


def chosen():
    """Names of channels, axes and files are those of what is chosen."""
    image("channels.zarr", PIXELS[:3], "czyx", [1.0, 0.5, 0.1, 0.2], [0.0] * 4)
    for names in ("R,B", "R,G,B"):
        channels = ("--select", "c=[0,2]", "--channel-names", names, "--channel-colors", "red,blue")
        expect("convert", "channels.zarr", *channels)
        omero = zarr.open_group(WORK / "out.zarr", mode="r").attrs["ome"]["omero"]["channels"]
        assert [(c["label"], c["color"]) for c in omero] == [("R", "FF0000"), ("B", "0000FF")], omero
    wrong = ("convert", "channels.zarr", "-o", "w.zarr", "--select", "c=[0,2]", "--channel-names", "R")
    assert "3 elements, of which 2 are chosen" in run(*wrong, code=2)
    for angle in (10, 20, 30):
        plane(f"angles/b_angle{angle}deg_.tif", angle)
    turned = ("stitch", "angles", "--pattern", "b_angle{angle@deg}deg_", "--axes", "z,y,x")
    expect(*turned, "--select", "angle=1")
    array = zarr.open_group(WORK / "out.zarr", mode="r")["0"]
    assert array.metadata.dimension_names == ("z", "y", "x") and (array[...] == 20).all()
    run("verify", "out.zarr", "--deep")
    assert "leaves out angle" in run(*turned, "-o", "w.zarr", "--select", "angle=1:", code=2)
    for c, wavelength in ((0, 488), (1, 561)):
        plane(f"colours/a_ch{c}_{wavelength}nm.tif", c)
    series = ("stitch", "colours", "--pattern", "_ch{c}_{c@nm}nm", "-q", "-o")
    run(*series, "series/a_{c@nm}nm.tif")
    run(*series, "one/a_{c@nm}nm.tif", "--select", "c=1:")
    found = [sorted(path.name for path in (WORK / folder).glob("*.tif")) for folder in ("series", "one")]
    assert found == [["a_488nm.tif", "a_561nm.tif"], ["a_561nm.tif"]], found
    assert (tifffile.imread(WORK / "series/a_561nm.tif") == 1).all()
    # Of one array axes are taken by --select, which is what is said.
    for arguments in (("-o", "a_t{t}.zarr"), ("-o", "a_t{t}.zarr", "--by", "t")):
        assert "--select t=0" in run("convert", "in.zarr", *arguments, code=2)


image("in.zarr", PIXELS, "tzyx", STEPS, ORIGINS)
for check in (units, blocks, uneven, names, chosen):
    check()
print("axes lie where they should")
