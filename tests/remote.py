"""What others put into a bucket, and find in it: boto3, Google's JSON and Azure's SDK, tifffile and zarr-python.

Usage: remote.py SCHEME URL    answers each line, a JSON list of a bucket, a command and its arguments, with a line of JSON
that has its answer or what went wrong; of S3 it is the server too.
"""

import json
import logging
import sys
import tempfile
import traceback
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np

scheme, url = sys.argv[1:]


class S3:
    def __init__(self):
        import boto3
        from moto.server import ThreadedMotoServer

        for name in ["werkzeug", "asyncio"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ThreadedMotoServer("127.0.0.1", int(url.rsplit(":", 1)[1]), verbose=False).start()
        keys = dict(aws_access_key_id="someone", aws_secret_access_key="secret", region_name="us-east-1")
        self.s3 = boto3.client("s3", endpoint_url=url, **keys)

    def make(self):
        self.s3.create_bucket(Bucket=self.name)

    def put(self, key, bytes):
        self.s3.put_object(Bucket=self.name, Key=key, Body=bytes)

    def get(self, key):
        return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()

    def below(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def remove(self, key):
        self.s3.delete_object(Bucket=self.name, Key=key)


class Google:
    def asked(self, method, target, bytes=None, kind="application/octet-stream"):
        request = urllib.request.Request(url + target, bytes, {"Content-Type": kind}, method=method)
        return urllib.request.urlopen(request).read()

    def make(self):
        self.asked("POST", "/storage/v1/b?project=x", b'{"name": "lab"}', "application/json")

    def put(self, key, bytes):
        name = urllib.parse.quote(key, safe="")
        self.asked("POST", f"/upload/storage/v1/b/lab/o?uploadType=media&name={name}", bytes)

    def get(self, key):
        return self.asked("GET", f"/storage/v1/b/lab/o/{urllib.parse.quote(key, safe='')}?alt=media")

    def below(self, prefix):
        found = json.loads(self.asked("GET", f"/storage/v1/b/lab/o?prefix={prefix}"))
        return [item["name"] for item in found.get("items", [])]


class Azure:
    def __init__(self):
        from azure.storage.blob import BlobServiceClient

        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        account = dict(account_name="devstoreaccount1", account_key=key)
        self.lab = BlobServiceClient(f"{url}/devstoreaccount1", credential=account).get_container_client("lab")

    def make(self):
        self.lab.create_container()

    def put(self, key, bytes):
        self.lab.upload_blob(key, bytes, overwrite=True)

    def get(self, key):
        return self.lab.download_blob(key).readall()

    def below(self, prefix):
        return list(self.lab.list_blob_names(name_starts_with=prefix))


bucket = dict(s3=S3, gs=Google, az=Azure)[scheme]()


def opened(key):
    import zarr

    if scheme == "s3":
        options = dict(key="someone", secret="secret", endpoint_url=url, client_kwargs=dict(region_name="us-east-1"))
        # What was found earlier may be another array by now.
        options |= dict(use_listings_cache=False, skip_instance_cache=True)
        found = zarr.open(f"s3://{bucket.name}/{key}", mode="r", storage_options=options)
    else:
        folder = Path(tempfile.mkdtemp())
        for name in bucket.below(key + "/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bucket.get(name))
        found = zarr.open(folder / key, mode="r")
    return np.asarray(found["0"] if isinstance(found, zarr.Group) else found)


def answer(command, arguments):
    if command == "make":
        bucket.make()
    elif command == "put":
        # A folder with all below it, under a prefix.
        folder, prefix = Path(arguments[0]), arguments[1]
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
    elif command == "list":
        return "\n".join(sorted(bucket.below(arguments[0])))
    elif command == "remove":
        bucket.remove(arguments[0])
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
        raise ValueError(command)
    return ""


for line in sys.stdin:
    bucket.name, command, *arguments = json.loads(line)
    try:
        said = dict(answer=answer(command, arguments))
    except Exception:
        said = dict(error=traceback.format_exc())
    print(json.dumps(said), flush=True)
