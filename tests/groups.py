"""Looks at collections and archives with other readers.

Usage: groups.py groups FOLDER [folder of ngff_0.4 and ngff_0.5 with the JSON schemas]
       groups.py archives FOLDER
       groups.py repacked FOLDER
"""

import json
import sys
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
import ome_zarr_models
import zarr


def validators(folder):
    import jsonschema
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    found = {}
    for version in ("0.4", "0.5"):
        documents = [json.loads(p.read_text()) for p in (folder / f"ngff_{version}" / "schemas").glob("*.schema")]
        registry = Registry().with_resources([(d["$id"], DRAFT202012.create_resource(d)) for d in documents])
        for document in documents:
            name = document["$id"].rsplit("/", 1)[1].removesuffix(".schema")
            found[version, name] = jsonschema.Draft202012Validator(document, registry=registry)
    return found


def opened(path):
    """What ome-zarr-py finds at `path`."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    return list(Reader(parse_url(path, mode="r"))())


def groups(folder, schemas):
    known = validators(schemas) if schemas else {}

    def valid(group, version, *names):
        for name in names:
            if (version, name) in known:
                known[version, name].validate(dict(group.attrs))

    for number, version in (("3", "0.5"), ("2", "0.4")):
        claim = lambda group: group.attrs["ome"] if version == "0.5" else dict(group.attrs)
        plate = zarr.open_group(folder / f"plate{number}.zarr", mode="r")
        valid(plate, version, "plate", "strict_plate")
        model = ome_zarr_models.open_ome_zarr(plate)
        assert type(model).__name__ == "HCS", type(model)
        described = claim(plate)["plate"]
        assert [w["path"] for w in described["wells"]] == ["A/01", "B/03", "B/12"], described
        assert described["field_count"] == 2
        for w, well in enumerate(described["wells"]):
            group = plate[well["path"]]
            valid(group, version, "well", "strict_well")
            images = claim(group)["well"]["images"]
            assert len(images) == (1 if w == 2 else 2), images
            for image in images:
                field = group[image["path"]]
                valid(field, version, "image")
                values = field["0"][...]
                for c in range(2):
                    wanted = 100 * w + 10 * (int(image["path"]) + 1) + c
                    assert (values[0, c] == wanted).all(), (well, image, values[0, c, 0, 0, 0], wanted)
        # The first field of each well, at its row and column of the plate.
        (shown,) = opened(folder / f"plate{number}.zarr")
        assert [type(spec).__name__ for spec in shown.specs] == ["Plate"]
        assert shown.data[0].shape == (1, 2, 1, 2 * 30, 3 * 40), shown.data[0].shape
        for c in range(2):
            tiles = np.asarray(shown.data[0][0, c, 0]).reshape(2, 30, 3, 40).swapaxes(1, 2)
            assert (tiles == np.array([[10 + c, 0, 0], [0, 110 + c, 210 + c]])[:, :, None, None]).all()
        series = zarr.open_group(folder / f"series{number}.zarr", mode="r")
        valid(series, version, "bf2raw")
        valid(series["OME"], version, "ome")
        assert claim(series)["bioformats2raw.layout"] == 3
        assert claim(series["OME"])["series"] == ["0", "1"]
        assert claim(series["1"])["multiscales"][0]["name"] == "2" if "multiscales" in claim(series["1"]) else True
        image = zarr.open_group(folder / f"image{number}.zarr", mode="r")
        assert claim(image["labels"])["labels"] == ["cells", "nuclei"], dict(image["labels"].attrs)
        label = image["labels/cells"]
        valid(label, version, "label", "image")
        assert claim(label)["image-label"]["source"]["image"] == "../../"
        levels = claim(label)["multiscales"][0]
        assert levels["type"] == "mode"
        assert len(levels["datasets"]) == len(claim(image)["multiscales"][0]["datasets"]) == 3
        assert "omero" not in claim(label)
        assert type(ome_zarr_models.open_ome_zarr(label)).__name__ == "ImageLabel"
        assert (label["0"][...] == image["0"][...]).all()
        # They lie where the image does, but for what they say themselves.
        own, whole = claim(label)["multiscales"][0], claim(image)["multiscales"][0]
        assert own["axes"] == whole["axes"] and whole["axes"][2]["unit"] == "micrometer", own["axes"]
        place = lambda scales: scales["datasets"][0]["coordinateTransformations"]
        assert place(own) == place(whole) == [{"type": "scale", "scale": [1, 1, 2, 0.5, 0.25]}], place(own)
        moved = place(claim(image["labels/nuclei"])["multiscales"][0])
        assert moved == [{"type": "scale", "scale": [1, 1, 3, 0.5, 0.25]}], moved
        # What the image's documents became is listed.
        listed, under = {}, ""
        for line in (folder / f"image{number}.zarr/0/stackctl.checksums").read_text().splitlines()[1:-1]:
            if line.endswith("/"):
                under = line.lstrip("/")
            else:
                key, n_bytes, crc = line.rsplit(" ", 2)
                listed[under + key] = int(n_bytes), int(crc, 16)
        document = "zarr.json" if version == "0.5" else ".zmetadata"
        text = (folder / f"image{number}.zarr" / document).read_bytes()
        assert b"labels/nuclei" in text and listed[document] == (len(text), google_crc32c.value(text)), listed
        found = [[type(spec).__name__ for spec in node.specs] for node in opened(folder / f"image{number}.zarr")]
        assert sorted(kind for kinds in found for kind in kinds if kind == "Label") == ["Label"] * 2, found
    print("plates, series and labels of two versions")


def archives(folder):
    wanted = zarr.open_group(folder / "a.zarr", mode="r")
    for name in ("a.ozx", "b.zarr.zip", "c.zip"):
        with zipfile.ZipFile(folder / name) as archive:
            assert archive.testzip() is None
            infos = archive.infolist()
            assert all(i.compress_type == zipfile.ZIP_STORED for i in infos)
            assert len({i.filename for i in infos}) == len(infos)
            if name == "a.ozx":
                comment = json.loads(archive.comment)
                assert comment["ome"]["version"] == "0.5" and comment["ome"]["zipFile"]["centralDirectory"]["jsonFirst"]
                assert infos[0].filename == "zarr.json"
                documents = [i.filename.endswith("zarr.json") for i in infos]
                assert documents == sorted(documents, reverse=True)
        store = zarr.storage.ZipStore(folder / name, mode="r")
        group = zarr.open_group(store, mode="r")
        for level in ("0", "1", "2"):
            assert np.array_equal(group[level][...], wanted[level][...]), (name, level)
        claim = group.attrs.get("ome", dict(group.attrs))
        assert claim["multiscales"][0]["name"] == name.split(".")[0], claim["multiscales"][0]["name"]
        assert type(ome_zarr_models.open_ome_zarr(group)).__name__ == "Image"
    print("3 archives")


def repacked(folder):
    """a.zarr packed as folders are, and b.zarr.zip without a chunk, and with two of them in each other's place."""
    with zipfile.ZipFile(folder / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "a.zarr").rglob("*")):
            archive.write(path, path.relative_to(folder))
    with zipfile.ZipFile(folder / "b.zarr.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    first, second = [name for name in content if name.startswith("0/c/")][:2]
    lost = {name: data for name, data in content.items() if name != second}
    swapped = {**content, first: content[second], second: content[first]}
    assert content[first] != content[second]
    for name, entries in (("lost.zip", lost), ("swapped.zip", swapped)):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for key, data in entries.items():
                archive.writestr(key, data)


if __name__ == "__main__":
    if sys.argv[1] == "groups":
        groups(Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    elif sys.argv[1] == "repacked":
        repacked(Path(sys.argv[2]))
    else:
        archives(Path(sys.argv[2]))
