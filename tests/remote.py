"""What others put into a bucket, and find in it: boto3, tifffile and zarr-python."""

import os
import sys
from pathlib import Path

import boto3
import numpy as np

url, command, *arguments = sys.argv[1:]
keys = dict(aws_access_key_id="someone", aws_secret_access_key="secret", region_name="us-east-1")
s3 = boto3.client("s3", endpoint_url=url, **keys)


def opened(key):
    import zarr

    options = dict(key="someone", secret="secret", endpoint_url=url, client_kwargs=dict(region_name="us-east-1"))
    found = zarr.open(f"s3://lab/{key}", mode="r", storage_options=options)
    return np.asarray(found["0"] if isinstance(found, zarr.Group) else found)


def keys_below(prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="lab", Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


if command == "make":
    s3.create_bucket(Bucket="lab")
elif command == "put":
    # A folder with all below it, under a prefix.
    folder, prefix = Path(arguments[0]), arguments[1]
    for path in folder.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), "lab", f"{prefix}/{path.relative_to(folder)}")
elif command == "list":
    print("\n".join(sorted(keys_below(arguments[0]))))
elif command == "remove":
    s3.delete_object(Bucket="lab", Key=arguments[0])
elif command == "stacks":
    # Files of 201 pages, written by somebody else.
    import tifffile

    folder = Path(arguments[0])
    folder.mkdir()
    for t in range(int(arguments[1])):
        pixels = (np.arange(201 * 64 * 64).reshape(201, 64, 64) + t).astype("uint16")
        tifffile.imwrite(folder / f"s_t{t:03}.tif", pixels, photometric="minisblack")
elif command == "zarrs":
    # Arrays by zarr-python, in a bucket: without and with shards, v2, with chunks that are absent.
    import zarr

    folder = Path(arguments[0])
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 4000, (3, 40, 50)).astype("uint16")
    pixels[1, :20] = 0
    for name, options in dict(
        plain=dict(chunks=(1, 20, 25)),
        sharded=dict(chunks=(1, 10, 10), shards=(1, 40, 50)),
        two=dict(chunks=(1, 20, 25), zarr_format=2),
    ).items():
        array = zarr.create_array(folder / f"{name}.zarr", shape=pixels.shape, dtype=pixels.dtype, **options)
        array[:] = pixels
    np.save(folder / "expected.npy", pixels)
elif command == "equal":
    # Arrays in the bucket and files of NumPy, in pairs.
    for key, path in zip(arguments[::2], arguments[1::2]):
        found, expected = opened(key), np.load(path)
        assert found.shape == expected.shape and found.dtype == expected.dtype, (key, found.shape, expected.shape)
        assert (found == expected).all(), key
else:
    raise SystemExit(command)
