"""Reads every file of a list with NumPy, tifffile or Pillow and compares it with its raw bytes.

Usage: read_output.py cases.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def check_tiff(path, expected, case):
    with tifffile.TiffFile(path) as file:
        found = file.asarray()
        axes = file.series[0].axes
        page = file.pages.first
        # ImageJ's order of axes, and its habit of leaving out those of length 1.
        wanted, names = expected, [a.upper() for a in case["axes"]]
        if file.is_imagej:
            order = sorted(range(len(names)), key=lambda i: "TZCYXS".find(names[i]) if names[i] != "C" or i < len(names) - 1 else 9)
            wanted = np.transpose(wanted, order)
            found, wanted = np.squeeze(found), np.squeeze(wanted)
        elif wanted.ndim == 0:
            wanted = wanted.reshape(1, 1)
        found = found.reshape(wanted.shape) if not file.is_imagej else found
        if case["dtype"] == "bool":
            found = found.astype(bool)
        expect = case["expect"]
        if expect:
            assert axes == expect["axes"], axes
            for key, value in expect["imagej"].items():
                assert file.imagej_metadata[key] == value, (key, file.imagej_metadata)
            resolution = [n / d for n, d in (page.tags["XResolution"].value, page.tags["YResolution"].value)]
            assert resolution == expect["resolution"], resolution
    return found, wanted


def check_png(path, expected, case):
    with Image.open(path) as picture:
        assert picture.mode == case["expect"], picture.mode
        found = np.asarray(picture)
    wanted = expected.astype(np.float64)
    finite = np.sort(wanted.ravel())
    low, high = (finite[int(np.floor(p * (finite.size - 1) + 0.5))] for p in (0.001, 0.999))
    assert [low, high] == [case["window"]["low"], case["window"]["high"]], (low, high, case["window"])
    wanted = np.clip(np.floor((wanted - low) / (high - low) * 255 + 0.5), 0, 255).astype(np.uint8)
    # Half levels may go either way.
    assert np.abs(found.reshape(wanted.shape).astype(int) - wanted).max() <= 1
    return wanted, wanted


def main():
    cases = Path(sys.argv[1])
    problems = []
    listed = json.loads(cases.read_text())
    for number, case in enumerate(listed):
        path = Path(case["path"])
        expected = np.frombuffer((cases.parent / f"{number}.raw").read_bytes(), case["dtype"]).reshape(case["shape"])
        try:
            if path.suffix == ".npy":
                found, wanted = np.load(path), expected
            elif path.suffix == ".tif":
                found, wanted = check_tiff(path, expected, case)
            else:
                found, wanted = check_png(path, expected, case)
            assert found.dtype == wanted.dtype, f"dtype {found.dtype}"
            assert found.shape == wanted.shape, f"shape {found.shape} is not {wanted.shape}"
            assert found.tobytes() == wanted.tobytes(), "values differ"
        except Exception as error:
            problems.append(f"{case}: {type(error).__name__}: {str(error)[:300]}")
    print(f"{len(listed)} files read")
    for line in problems:
        print(line)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
