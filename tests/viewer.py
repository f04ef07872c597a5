"""Opens OME-Zarr images in neuroglancer, in a browser without a screen, and looks at what it shows.

Usage: viewer.py make FOLDER                        writes a specimen of two channels, spec_c0.tif and spec_c1.tif
       viewer.py look CHROMIUM FOLDER NAME.zarr ..  must show it, with the names of the channels
"""

import base64
import contextlib
import http.server
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import neuroglancer
import numpy as np
import PIL.Image
import tifffile

PATIENCE_S = 240


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the folder and parts of them, for pages of any server."""

    def do_GET(self):
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range", "")
        if not (wanted.startswith("bytes=") and path.is_file()):
            return super().do_GET()
        data = path.read_bytes()
        first, last = wanted.removeprefix("bytes=").split("-")
        start, end = (int(first), int(last or len(data) - 1) + 1) if first else (max(len(data) - int(last), 0), len(data))
        part = data[start:end]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def do_OPTIONS(self):
        self.send_response(204)
        self.end_headers()

    def end_headers(self):
        self.send_header("Access-Control-Allow-Headers", "*")
        self.send_header("Access-Control-Expose-Headers", "*")
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *_):
        pass


class Browser:
    """A Chromium that is spoken to through two pipes."""

    def __init__(self, executable, profile):
        (self.theirs, ours), (back, theirs) = os.pipe(), os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--disable-gpu-sandbox",
                 "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--window-size=700,600", "--remote-debugging-pipe"]

        def pipes():
            os.dup2(self.theirs, 3)
            os.dup2(theirs, 4)

        # Numbers 3 and 4 are what the browser reads and writes.
        high = [os.dup2(fd, fd + 40) for fd in (self.theirs, theirs)]
        self.theirs, theirs = high
        self.process = subprocess.Popen([executable, *flags, f"--user-data-dir={profile}"], preexec_fn=pipes, pass_fds=(3, 4),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=True)
        self.out, self.back = os.fdopen(ours, "wb", 0), os.fdopen(back, "rb", 0)
        os.close(self.theirs), os.close(theirs)
        self.number, self.rest = 0, b""

    def ask(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                more = self.back.read(1 << 20)
                assert more, "the browser is gone"
                self.rest += more
            answer, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(answer)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]


def likeness(shown, expected):
    """The best correlation of the expected picture with any part of what is shown, at any of some sizes."""
    from scipy.signal import fftconvolve

    best = 0.0
    for height in range(120, shown.shape[0], 20):
        width = round(height * expected.shape[1] / expected.shape[0])
        if width > shown.shape[1]:
            break
        wanted = np.asarray(PIL.Image.fromarray(expected).resize((width, height)))
        wanted = wanted - wanted.mean()
        ones = np.ones_like(wanted)
        sums, squares = (fftconvolve(a, ones, "valid") for a in (shown, shown * shown))
        spread = np.sqrt(np.maximum(squares - sums * sums / ones.size, 1e-9))
        products = fftconvolve(shown, wanted[::-1, ::-1], "valid")
        # Where little differs, all is like everything.
        sure = spread > 0.05 * np.sqrt(ones.size)
        best = max(best, float((products / spread / np.sqrt((wanted**2).sum()))[sure].max(initial=0)))
    return best


def make(folder):
    """Round cells on a dark ground, all in the lowest hundredth of what 16 bits hold."""
    y, x = np.mgrid[:200, :260]
    random = np.random.default_rng(3)
    for c in range(2):
        cells = sum(400 * np.exp(-((y - random.uniform(30, 170)) ** 2 + (x - random.uniform(30, 230)) ** 2) / 288) for _ in range(6))
        tifffile.imwrite(folder / f"spec_c{c}.tif", (100 + cells + random.normal(0, 5, (3, 200, 260))).astype("u2"))


def look(executable, folder, names):
    planes = [tifffile.imread(folder / f"spec_c{c}.tif")[1].astype("f4") for c in range(2)]
    ends = [np.percentile(plane, [0.1, 99.9]) for plane in planes]
    expected = np.max([((p - low) / (high - low)).clip(0, 1) for p, (low, high) in zip(planes, ends)], 0).astype("f4")
    neuroglancer.set_server_bind_address("127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(executable, profile)
        try:
            for name in names:
                shows(browser, f"zarr://{address}/{name}/", folder / name, expected)
        finally:
            with contextlib.suppress(Exception):
                browser.ask("Browser.close")
            browser.process.kill()
            browser.process.wait()


def shows(browser, source, path, expected):
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        state.layers["image"] = neuroglancer.Layer({"type": "auto", "source": source})
        # Of more dimensions than three it shows the first ones unless told.
        state.dimensions = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="um", scales=[0.2, 0.2, 1.0])
        state.layout, state.show_axis_lines = "xy", False
    target = browser.ask("Target.createTarget", url=viewer.get_viewer_url())["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    start, best = time.monotonic(), 0.0
    while best < 0.8:
        assert time.monotonic() - start < PATIENCE_S, f"{path.name}: what is shown is like the specimen by {best:.2f} only"
        time.sleep(1)
        picture = base64.b64decode(browser.ask("Page.captureScreenshot", session, format="png")["data"])
        path.with_suffix(".png").write_bytes(picture)
        shown = np.asarray(PIL.Image.open(io.BytesIO(picture)).convert("RGB")).max(-1).astype("f4") / 255
        best = likeness(shown, expected)
    text = browser.ask("Runtime.evaluate", session, expression="document.body.innerText")["result"]["value"]
    inputs = "Array.from(document.querySelectorAll('input')).map(i => i.value).join(' ')"
    text += browser.ask("Runtime.evaluate", session, expression=inputs)["result"]["value"]
    assert "DAPI" in text and "GFP" in text, f"{path.name}: the names of the channels are not in {text}"
    browser.ask("Target.closeTarget", targetId=target)
    print(f"{path.name}: shown, like the specimen by {best:.2f}")


if sys.argv[1] == "make":
    make(Path(sys.argv[2]))
else:
    look(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
