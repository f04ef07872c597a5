"""Reads every array of a list with zarr-python and tensorstore and compares it with its raw bytes.

Usage: read_zarr.py cases.json [folder of ngff_0.4 and ngff_0.5 with the JSON schemas]
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorstore
import zarr


def read_tensorstore(path, case):
    driver = "zarr" if case["format"] == 2 else "zarr3"
    store = tensorstore.open({"driver": driver, "kvstore": f"file://{path}/0/"}).result()
    return store.read().result()


def check_ngff(path, case, schemas):
    """Validates the group's attributes where the axes allow an NGFF claim."""
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    claim = attributes if case["format"] == 2 else attributes.get("ome", {})
    fits = "".join(case["axes"]) in ("tczyx", "czyx", "zyx", "tyx", "yx")
    assert ("multiscales" in claim) == fits, f"{path}: NGFF claim {claim.keys()}"
    assert [a["name"] for a in attributes["stackctl"]["axes"]] == case["axes"]
    if not fits or schemas is None:
        return
    version = "0.4" if case["format"] == 2 else "0.5"
    schemas[version].validate(attributes)


def load_schemas(folder):
    import jsonschema
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    validators = {}
    for version in ("0.4", "0.5"):
        registry = Registry()
        documents = [json.loads(p.read_text()) for p in (folder / f"ngff_{version}" / "schemas").glob("*.schema")]
        for document in documents:
            registry = registry.with_resource(document["$id"], DRAFT202012.create_resource(document))
        image = next(d for d in documents if d["$id"].endswith(f"{version}/schemas/image.schema"))
        validators[version] = jsonschema.Draft202012Validator(image, registry=registry)
    return validators


def main():
    cases = Path(sys.argv[1])
    folder = cases.parent
    schemas = load_schemas(Path(sys.argv[2])) if len(sys.argv) > 2 else None
    problems = []
    listed = json.loads(cases.read_text())
    for number, case in enumerate(listed):
        path = folder / case["path"]
        expected = np.frombuffer((folder / f"{number}.raw").read_bytes(), case["dtype"]).reshape(case["shape"])
        for reader in ("zarr-python", "tensorstore"):
            try:
                if reader == "zarr-python":
                    group = zarr.open_group(path, mode="r", use_consolidated=True)
                    array = group["0"]
                    names = array.metadata.dimension_names if case["format"] == 3 else array.attrs["_ARRAY_DIMENSIONS"]
                    assert list(names or []) == case["axes"], names
                    found = array[...]
                    check_ngff(path, case, schemas)
                else:
                    found = read_tensorstore(path, case)
                found = np.asarray(found)
                assert found.dtype == expected.dtype, f"dtype {found.dtype}"
                assert found.shape == expected.shape, f"shape {found.shape}"
                assert found.tobytes() == expected.tobytes(), "values differ"
            except Exception as error:
                problems.append(f"{reader}: {case}: {type(error).__name__}: {str(error)[:300]}")
    print(f"{len(listed)} arrays read by zarr-python and tensorstore")
    for line in problems:
        print(line)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
