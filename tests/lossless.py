"""Lossless JPEG in TIFF, as tifffile and libjpeg-turbo write it. Arguments: the program, a folder to work in."""

import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(1)
WIDE = np.cumsum(RNG.integers(-40, 41, (3, 50, 70)), 2).astype("u2") % 4096


def stitched(name):
    done = subprocess.run([EXE, "stitch", f"{name}.tif", "-o", f"{name}.npy", "-q"], cwd=WORK, capture_output=True)
    return done.returncode, done.stderr.decode()


n_equal = 0
for name, array, bits, how in [
    ("u1", (WIDE % 256).astype("u1"), 8, {}),
    ("u2", WIDE * 16, 16, {}),
    ("tiles", WIDE * 16, 16, {"tile": (32, 48)}),
    ("strips", WIDE * 16, 16, {"rowsperstrip": 16}),
] + [(f"p{p}", WIDE * 16, 16, {"predictor_of_jpeg": p}) for p in range(1, 8)]:
    own = {"lossless": True, "bitspersample": bits, "predictor": how.pop("predictor_of_jpeg", 1)}
    tifffile.imwrite(WORK / f"{name}.tif", array, photometric="minisblack", compression="jpeg", compressionargs=own, **how)
    assert (tifffile.imread(WORK / f"{name}.tif") == array).all(), name
    code, said = stitched(name)
    assert code == 0, (name, said)
    np.testing.assert_array_equal(np.load(WORK / f"{name}.npy").reshape(array.shape), array, err_msg=name)
    n_equal += 1
# The stream has its own order of bytes, whatever the file's.
pages = [imagecodecs.jpeg8_encode(page * 16, lossless=True, bitspersample=16) for page in WIDE]
tifffile.imwrite(WORK / "big.tif", iter(pages), shape=WIDE.shape, dtype="u2", byteorder=">", photometric="minisblack",
                 compression="jpeg", rowsperstrip=50, bitspersample=16)
assert stitched("big")[0] == 0
np.testing.assert_array_equal(np.load(WORK / "big.npy").reshape(WIDE.shape), WIDE * 16)
# Cut in the middle of the last strip, and of three samples.
with tifffile.TiffFile(WORK / "u2.tif") as file:
    page = file.pages[2]
    at, n_bytes = page.dataoffsets[0], page.databytecounts[0]
cut = bytearray((WORK / "u2.tif").read_bytes())
cut[at + n_bytes // 2 : at + n_bytes] = bytes(n_bytes - n_bytes // 2)
(WORK / "cut.tif").write_bytes(cut)
rgb = imagecodecs.jpeg8_encode(np.stack([WIDE[0].astype("u1")] * 3, -1), lossless=True)
tifffile.imwrite(WORK / "rgb.tif", iter([rgb]), shape=(50, 70, 3), dtype="u1", photometric="rgb", compression="jpeg", rowsperstrip=50)
twelve = {"lossless": True, "bitspersample": 12}
tifffile.imwrite(WORK / "twelve.tif", WIDE, photometric="minisblack", compression="jpeg", compressionargs=twelve)
for name, words in [("cut", ["JPEG"]), ("rgb", ["lossless process of 3 samples"]), ("twelve", ["1 samples of 12 bits"])]:
    code, said = stitched(name)
    assert code == 1 and all(word in said for word in words) and "panicked" not in said, (name, code, said)
print(n_equal, "files of lossless JPEG are tifffile's")
