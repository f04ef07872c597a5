"""Compares .npy and .tif files with raw uint16 elements, axes t c z y x.

Arguments: the elements, their shape, files.
"""

import sys

import numpy as np
import tifffile

shape = tuple(int(n) for n in sys.argv[2].split(","))
truth = np.fromfile(sys.argv[1], "<u2").reshape(shape)
for path in sys.argv[3:]:
    if path.endswith(".npy"):
        found = np.load(path)
    else:
        with tifffile.TiffFile(path) as tif:
            series = tif.series[0]
            assert len(tif.pages) == np.prod(shape[:-2]), (path, len(tif.pages))
            found = series.asarray().transpose([series.axes.index(axis) for axis in "TCZYX"])
    assert found.dtype == np.uint16 and found.shape == shape, (path, found.dtype, found.shape)
    np.testing.assert_array_equal(found, truth, err_msg=path)
print(f"{len(sys.argv) - 3} files are equal")
