"""Makes what tests/report.rs reports on, and checks its pages with an HTML parser and NumPy."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

what, folder = sys.argv[1], Path(sys.argv[2])
T, C, Z, Y, X = 24, 2, 3, 96, 120


def values():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:Y, :X]
    spot = np.exp(-((y - 40) ** 2 + (x - 60) ** 2) / 300)
    a = np.empty((T, C, Z, Y, X))
    for t in range(T):
        for c in range(C):
            bright = (2000 * 0.97**t, 1200)[c] * (1.4 if (t, c) == (15, 1) else 1)
            for z in range(Z):
                a[t, c, z] = 300 + bright * (0.5 + spot * (1 - 0.2 * abs(z - 1))) + rng.normal(0, 5, (Y, X))
    a = a.round().astype("u2")
    a[9, 0] = a[8, 0]
    a[12, 1] = 0
    a[5, 1, 1, :4, :10] = 65535
    return a


def make():
    a = values()
    np.save(folder / "a.npy", a)
    (folder / "raw").mkdir()
    for t in range(T):
        for c in range(C):
            tifffile.imwrite(folder / f"raw/t{t:02}_c{c}.tif", a[t, c], photometric="minisblack", metadata=None)


VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data, self.text, self.pictures, self.references = [], [], "", [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            if key in ("src", "href"):
                self.references.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.data += data
        elif self.open[-1:] != ["style"]:
            self.text.append(data)


def check():
    a = np.load(folder / "a.npy")
    raw = (folder / "page.html").read_text()
    assert len(raw) < 5 << 20, len(raw)
    page = Page(raw)
    text = " ".join(page.text)
    # Nothing is fetched, and nothing of what users typed is markup.
    assert all(r.startswith("data:") for r in page.references), page.references
    outside = re.sub(r"data:image/[^\"]*", "", raw)
    assert not re.search(r"(src|href)=|@import|url\(", outside.replace('src=""', "")), "asks for something else"
    assert "Tom & <Jerry>" in text and "<b>GFP</b>" in text and "b" not in page.tags
    assert "prefers-color-scheme:dark" in raw
    data = json.loads(page.data)
    assert data["axes"] == list("tczyx") and data["shape"] == list(a.shape)
    for c, channel in enumerate(data["channels"]):
        np.testing.assert_allclose(channel["means_over_time"], a[:, c].mean((1, 2, 3)), rtol=1e-12)
        assert (channel["min"], channel["max"]) == (a[:, c].min(), a[:, c].max())
        np.testing.assert_allclose([channel["mean"], channel["std"]], [a[:, c].mean(), a[:, c].std()], rtol=1e-9)
        assert channel["saturated"] == (40 if c == 1 else 0)
    means = a[:, 0].mean((1, 2, 3))
    np.testing.assert_allclose(data["channels"][0]["brightness_change"], means[-2:].mean() / means[:2].mean() - 1)
    assert data["repeated"] == [f"t=9 c=0 z={z}" for z in range(Z)], data["repeated"]
    assert data["constant"] == [f"t=12 c=1 z={z} is 0 everywhere" for z in range(Z)], data["constant"]
    sudden = [t for t, _ in data["channels"][1]["sudden"]]
    assert {12, 15} <= set(sudden) and not data["channels"][0]["sudden"], sudden
    for words in ["darker at the end", "bit for bit", "t=12 c=1 z=0 is 0 everywhere", "65535", "Focus along z"]:
        assert words in text, words
    # Two lines for two channels, with as many points as there are.
    lines = re.findall(r'<polyline class="l(\d)" points="([^"]*)"', raw)
    assert [n for n, _ in lines[:2]] == ["0", "1"] and all(len(p.split()) == T for _, p in lines[:2])
    png = next(r for r in page.references if r.startswith("data:image/png"))
    picture = Image.open(io.BytesIO(base64.b64decode(png.split(",")[1])))
    assert picture.width > 200 and np.asarray(picture).std() > 10
    svg = base64.b64decode(next(r for r in page.references if "svg" in r).split(",")[1]).decode()
    assert svg.startswith("<svg") or "<svg" in svg[:200]
    part = json.loads(Page((folder / "part.html").read_text()).data)
    np.testing.assert_allclose(part["channels"][0]["means_over_time"], a[[3, 1], 0].mean((1, 2, 3)), rtol=1e-12)


{"make": make, "check": check}[what]()
