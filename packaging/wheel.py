"""Puts an executable into a wheel: python wheel.py PROGRAM VERSION FOLDER.

A wheel is a zip with the program as a script and three files about it (PEP 427). Names, times and order are fixed, so that the
same program makes the same wheel.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

TAG = "py3-none-manylinux2014_x86_64"


def main(program, version, folder):
    info = f"stackctl-{version}.dist-info"
    readme = pathlib.Path("README.md").read_text()
    metadata = (
        f"Metadata-Version: 2.1\nName: stackctl\nVersion: {version}\n"
        "Summary: Turns a pile of TIFF files into one n-dimensional Zarr array, or reduces it, in bounded memory\n"
        "License: MIT OR Apache-2.0\nDescription-Content-Type: text/markdown\n\n" + readme
    )
    files = {
        f"stackctl-{version}.data/scripts/stackctl": pathlib.Path(program).read_bytes(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: stackctl\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode(),
        f"{info}/licenses/LICENSE-MIT": pathlib.Path("LICENSE-MIT").read_bytes(),
        f"{info}/licenses/LICENSE-APACHE": pathlib.Path("LICENSE-APACHE").read_bytes(),
    }
    record = "".join(f"{name},{digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = pathlib.Path(folder) / f"stackctl-{version}-{TAG}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, data)
    print(path)


def digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


main(*sys.argv[1:])
