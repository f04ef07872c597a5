"""Compares the pictures of `stackctl view` with NumPy and Pillow. Arguments: the program, a folder, a part."""

import base64
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import tifffile
from PIL import Image

EXE, WORK = sys.argv[1], Path(sys.argv[2])
RNG = np.random.default_rng(5)
A = RNG.integers(0, 5000, (3, 7, 12, 20), dtype="u2")
tifffile.imwrite(WORK / "a.tif", A, imagej=True, metadata={"axes": "TZYX"})


def run(*arguments, code=0):
    done = subprocess.run([EXE, "view", *map(str, arguments), "--overwrite"], capture_output=True, cwd=WORK)
    assert done.returncode == code, (arguments, done.returncode, done.stderr.decode())
    return done


def picture(name):
    return np.array(Image.open(WORK / name).convert("RGB"))


def levels(panels):
    """Grey levels between the two percentiles, nearest rank, of all that is shown."""
    values = np.sort(np.concatenate([p.ravel() for p in panels]).astype("f8"))
    low, high = (values[round(p / 100 * (values.size - 1))] for p in (0.5, 99.8))
    return [np.floor(np.clip((p - low) / (high - low), 0, 1) * 255 + 0.5).astype("u1") for p in panels]


def close(got, expected):
    assert got.shape[:2] == expected.shape, (got.shape, expected.shape)
    assert np.abs(got.astype(int) - expected[..., None].astype(int)).max() <= 1


def slices(a, z, y, x):
    return a[z], a[:, y], a[:, :, x].T


def pictures():
    """Three planes of one time point, a projection, a part, channels in colour, photographs, and averages."""
    run("a.tif", "-o", "a.png")
    xy, xz, yz = levels(slices(A[1], 3, 6, 10))
    got = picture("a.png")
    assert got.shape == (12 + 2 + 7, 20 + 2 + 7, 3), got.shape
    close(got[:12, :20], xy)
    close(got[14:, :20], xz)
    close(got[:12, 22:], yz)
    for how, plane in [("max", A[2].max(0)), ("mean", A[2].mean(0))]:
        run("a.tif", "--select", "t=2", "--project", how, "-o", "p.png")
        close(picture("p.png"), levels([plane])[0])
    run("a.tif", "--select", "t=0,z=5,y=::-1,x=2:", "-o", "s.png")
    close(picture("s.png"), levels([A[0, 5, ::-1, 2:]])[0])
    # Where y or x is chosen, z by the other.
    for part, plane in [("y=5", A[1, :, 5]), ("x=5", A[1, :, :, 5])]:
        run("a.tif", "--select", f"t=1,{part}", "-o", "s.png")
        close(picture("s.png"), levels([plane])[0])
        assert b"leave one" in run("a.tif", "--select", part, "--project", "max", "-o", "s.png", code=2).stderr
    # Windows of four by four become their mean.
    large = RNG.integers(0, 60000, (64, 96), dtype="u2")
    tifffile.imwrite(WORK / "large.tif", large)
    run("large.tif", "-o", "small.png", "--size", "24")
    close(picture("small.png"), levels([large.reshape(16, 4, 24, 4).mean((1, 3))])[0])
    two = RNG.integers(0, 5000, (2, 12, 20), dtype="u2")
    tifffile.imwrite(WORK / "two.tif", two, imagej=True, metadata={"axes": "CYX"})
    run("two.tif", "-o", "two.png")
    # One is green, the other magenta, as the Zarr of it has them.
    one, other = (levels([channel])[0] for channel in two)
    got = picture("two.png")
    assert np.array_equal(got[..., 0], got[..., 2])
    if np.abs(got[..., 1].astype(int) - one).max() > 1:
        one, other = other, one
    close(got[..., 1:2].repeat(3, 2), one)
    close(got[..., 0:1].repeat(3, 2), other)
    photograph = RNG.integers(0, 256, (12, 20, 3), dtype="u1")
    tifffile.imwrite(WORK / "rgb.tif", photograph, photometric="rgb")
    run("rgb.tif", "-o", "rgb.png")
    np.testing.assert_array_equal(picture("rgb.png"), photograph)
    assert b"ends in .png" in run("a.tif", "-o", "a.jpg", code=2).stderr
    assert b"--along" in run("a.tif", "-o", "a.gif", code=2).stderr
    np.save(WORK / "numbers.npy", np.arange(5))
    assert b"two axes" in run("numbers.npy", "-o", "n.png", code=2).stderr


def spaces():
    """Planes lie as they do in space, in whatever units; too deep ones are told."""
    a = np.arange(3, dtype="u2")[:, None, None] * np.ones((1, 100, 100), "u2")
    for (z, unit), side, said in [((5.0, "µm"), 150, b""), ((0.005, "mm"), 150, b""), ((0.05, "µm"), 1, b""), ((100.0, "µm"), 800, b"3.75")]:
        sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": z, "PhysicalSizeZUnit": unit}
        tifffile.imwrite(WORK / "deep.ome.tif", a, metadata={"axes": "ZYX", **sizes})
        told = run("deep.ome.tif", "-o", "deep.png").stderr
        assert (said in told) if said else not told, told
        assert picture("deep.png").shape == (100 + 2 + side, 100 + 2 + side, 3), picture("deep.png").shape
    tifffile.imwrite(WORK / "tall.ome.tif", a[:, :40, :60], metadata={"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.4, "PhysicalSizeZ": 1.5})
    for part, shape in [("z=1", (160, 60)), ("y=5", (45, 60)), ("x=5", (11, 40))]:
        run("tall.ome.tif", "--select", part, "-o", "tall.png")
        assert picture("tall.png").shape[:2] == shape, (part, picture("tall.png").shape)


def flat():
    """What is of one value adds nothing, what is no number is black, and what is not flat is as `convert` has it."""
    two = np.zeros((2, 12, 20), "u2")
    two[0, :4] = 700
    tifffile.imwrite(WORK / "flat.tif", two, imagej=True, metadata={"axes": "CYX"})
    run("flat.tif", "-o", "flat.png")
    subprocess.run([EXE, "convert", "flat.tif", "--merge", "-o", "reference.png", "-q"], check=True, cwd=WORK)
    got = picture("flat.png")
    assert not got[4:].any() and (got[:4] == got[0, 0]).all() and set(got[0, 0]) == {0, 255}, got[0, 0]
    np.testing.assert_array_equal(got, picture("reference.png"))
    for name, value in [("zero", 0), ("seven", 7), ("nan", np.nan)]:
        np.save(WORK / f"{name}.npy", np.full((12, 20), value, "f4"))
        run(f"{name}.npy", "-o", f"{name}.png")
        assert not picture(f"{name}.png").any(), name
    some = np.full((12, 20), np.nan, "f4")
    some[3:6, 3:7] = np.linspace(0, 1, 12, dtype="f4").reshape(3, 4)
    np.save(WORK / "some.npy", some)
    run("some.npy", "-o", "some.png")
    close(picture("some.png"), np.floor(np.nan_to_num(some) * 255 + 0.5).astype("u1"))
    # A channel that is flat in the middle of a film is seen where it is not.
    film = np.zeros((5, 2, 12, 20), "u2")
    film[:, 0, :4] = 700
    film[0, 1, 6:9] = 500
    tifffile.imwrite(WORK / "sparse.tif", film, imagej=True, metadata={"axes": "TCYX"})
    run("sparse.tif", "--along", "t", "-o", "sparse.png")
    frames = Image.open(WORK / "sparse.png")
    for i in range(5):
        frames.seek(i)
        got = np.array(frames.convert("RGB"))
        assert got[:4].any() and (got[6:9].any() == (i == 0)) and not got[4:6].any() and not got[9:].any(), i


def moving():
    """A PNG that moves holds a frame for each index, a GIF the same; black and white do not change between them."""
    run("a.tif", "--select", "z=2", "--along", "t", "-o", "t.png")
    run("a.tif", "--select", "z=2", "--along", "t", "-o", "t.gif", "--rate", "4")
    values = np.sort(A[1, 2].ravel().astype("f8"))
    low, high = (values[round(p / 100 * (values.size - 1))] for p in (0.5, 99.8))
    for name, delay in [("t.png", 100), ("t.gif", 250)]:
        film = Image.open(WORK / name)
        assert film.n_frames == 3
        for i in range(3):
            film.seek(i)
            assert abs(film.info["duration"] - delay) < 1, film.info
            expected = np.clip((A[i, 2] - low) / (high - low), 0, 1) * 255
            close(np.array(film.convert("RGB")), np.floor(expected + 0.5).astype("u1"))
    run("a.tif", "--along", "q", "-o", "q.gif", code=2)
    # Films in which nothing moves.
    for argv, way_out in [
        (["a.tif", "--along", "z", "--project", "max"], b"leave out --project max, or move along t"),
        (["a.tif", "--along", "x", "--select", "z=2"], b"move along t"),
        (["a.tif", "--along", "y", "--select", "z=2,t=0"], b"leave out --along"),
    ]:
        said = run(*argv, "-o", "still.gif", code=2).stderr
        assert way_out in said, said
    run("a.tif", "--along", "y", "--select", "t=0", "-o", "y.gif")
    assert Image.open(WORK / "y.gif").n_frames == 12
    films()


def films():
    """ffmpeg is given the frames of the PNG, which it codes with losses, rows and columns padded to even numbers."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    (WORK / "bin").mkdir()
    (WORK / "bin/ffmpeg").symlink_to(ffmpeg)
    smooth = (np.linspace(0, 1000, 45)[:, None] + np.linspace(0, 2000, 61) + np.arange(5)[:, None, None] * 300).astype("u2")
    tifffile.imwrite(WORK / "m.tif", smooth, imagej=True, metadata={"axes": "TYX"})
    way = [EXE, "view", "m.tif", "--along", "t", "--overwrite", "--rate", "7", "-o"]
    none = subprocess.run([*way, "m.mp4"], capture_output=True, cwd=WORK, env={**os.environ, "PATH": "/nowhere"})
    assert none.returncode == 2 and b"write a .gif" in none.stderr, none.stderr
    search = f"{WORK / 'bin'}:{os.environ['PATH']}"
    for name in ["m.mp4", "m.png"]:
        done = subprocess.run([*way, name], capture_output=True, cwd=WORK, env={**os.environ, "PATH": search})
        assert done.returncode == 0, done.stderr
    raw = [ffmpeg, "-loglevel", "error", "-i", str(WORK / "m.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frames = np.frombuffer(subprocess.run(raw, capture_output=True, check=True).stdout, "u1").reshape(-1, 46, 62, 3)
    png = Image.open(WORK / "m.png")
    assert len(frames) == png.n_frames == 5
    for i, frame in enumerate(frames):
        png.seek(i)
        expected = np.array(png.convert("RGB")).astype(int)
        assert np.abs(frame[:45, :61].astype(int) - expected).mean() < 6, i
    assert not list(WORK.glob("*.partial*"))


def bounded():
    """Planes larger than the memory are shown in it, and what cannot be is refused."""
    a = np.arange(6000, dtype="u2")[:, None] * 3 + RNG.integers(0, 900, (2, 6000, 5000), dtype="u2")
    tifffile.imwrite(WORK / "l.tif", a, imagej=True, metadata={"axes": "TYX"}, rowsperstrip=50)
    tifffile.imwrite(WORK / "z.tif", a, compression="zlib", rowsperstrip=50, photometric="minisblack", tile=None)
    code = (
        "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]).returncode;"
        "print(r, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    limit = ["--memory", "56M", "--overwrite", "--size", "250"]
    for argv in [
        ["l.tif", "--along", "t", "-o", "l.gif"],
        ["l.tif", "--along", "t", "-o", "l.png"],
        ["z.tif", "--project", "mean", "-o", "m.png"],
        ["z.tif", "-o", "s.png"],
    ]:
        command = [sys.executable, "-c", code, EXE, "view", *argv, *limit]
        done = subprocess.run(command, capture_output=True, text=True, cwd=WORK)
        status, peak_kib = map(int, done.stdout.split())
        assert status == 0, done.stderr
        assert peak_kib <= 56 << 10, (argv, peak_kib)
    expected = a.astype("f8").mean(0).reshape(250, 24, 5000)[:, :, : 208 * 24].mean(1)
    assert picture("m.png").shape[:2] == (250, 208) == expected[:, ::24].shape
    said = run("l.tif", "-o", "l2.png", "--memory", "40M", "--size", "8000", code=2).stderr
    assert b"smaller --size" in said, said
    # The memory that is named does.
    for argv in [["z.tif", "-o", "z2.png"], ["z.tif", "--project", "max", "-o", "z2.png"], ["l.tif", "--size", "8", "-o", "l2.png"]]:
        said = run(*argv, "--memory", "20M", code=2).stderr
        enough = re.search(rb"--memory (\d+)M$", said.strip())
        assert enough, said
        run(*argv, "--memory", f"{int(enough[1])}M")


def unsixel(text):
    """A decoder of sixels."""
    width, height = map(int, re.match(r'"1;1;(\d+);(\d+)', text).groups())
    image, colours = np.zeros((height + 6, width, 3), "u1"), {}
    x = y = number = 0
    for token in re.findall(r'"[\d;]+|#\d+(?:;\d+)*|!\d+.|.', text):
        if token[0] == "#":
            number, *colour = map(int, token[1:].split(";"))
            if colour:
                colours[number] = [round(v * 255 / 100) for v in colour[1:]]
        elif token == "$":
            x = 0
        elif token == "-":
            x, y = 0, y + 6
        elif token[0] != '"':
            n = int(token[1:-1]) if token[0] == "!" else 1
            for bit in range(6):
                if ord(token[-1]) - 63 >> bit & 1:
                    image[y + bit, x : x + n] = colours[number]
            x += n
    return image[:height]


def terminals():
    """Kitty's graphics hold the pixels of the PNG, sixels nearly, half blocks two rows in a line."""
    # Without a terminal a letter has 8 by 16 pixels.
    text = run("a.tif", "--graphics", "kitty", "--size", "15").stdout.decode()
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    head = dict(entry.split("=") for entry in pieces[0][0].split(","))
    pixels = np.frombuffer(base64.b64decode("".join(p[1] for p in pieces)), "u1")
    got = pixels.reshape(int(head["v"]), int(head["s"]), 3)
    assert max(len(p[1]) for p in pieces) <= 4096 and pieces[-1][0].endswith("m=0")
    run("a.tif", "--size", "120", "-o", "b.png")
    np.testing.assert_array_equal(got, picture("b.png"))
    sixels = run("a.tif", "--graphics", "sixel", "--size", "15").stdout.decode()
    drawn = unsixel(re.search(r"\x1bPq(.*)\x1b\\", sixels, re.S).group(1))
    assert drawn.shape == got.shape and np.abs(drawn.astype(int) - got).max() <= 3
    blocks = subprocess.run(
        [EXE, "view", "a.tif", "--graphics", "blocks", "--size", "29"], cwd=WORK, capture_output=True, env={**os.environ, "COLORTERM": "truecolor"}
    ).stdout.decode()
    run("a.tif", "--size", "29", "-o", "c.png")
    rows = blocks.split("\r\n")[:-1]
    top, colour = [], None
    for row in rows:
        for code, letter in re.findall(r"\x1b\[38;2;(\d+;\d+;\d+)m|(▀)", row):
            if letter:
                top.append(colour)
            else:
                colour = tuple(map(int, code.split(";")))
    expected = picture("c.png")
    assert np.array_equal(np.array(top).reshape(expected[::2].shape), expected[::2])


def levels_():
    """Of an image with levels the coarsest that suffices is read: here nothing else is left."""
    large = np.add.outer(np.arange(512), np.arange(512)).astype("u2")
    tifffile.imwrite(WORK / "l.tif", large)
    subprocess.run([EXE, "stitch", "l.tif", "-o", "l.zarr", "--levels", "4", "--chunks", "1,1,1,64,64", "-q"], check=True, cwd=WORK)
    run("l.zarr", "-o", "before.png", "--size", "128")
    for level in (0, 1):
        shutil.rmtree(WORK / "l.zarr" / str(level) / "c")
    run("l.zarr", "-o", "after.png", "--size", "128")
    np.testing.assert_array_equal(picture("before.png"), picture("after.png"))
    assert picture("after.png").shape == (128, 128, 3)


def keys():
    """In a terminal, keys step t and z and end it; the screen is given back."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    before = termios.tcgetattr(child)
    process = subprocess.Popen([EXE, "view", "a.tif", "--graphics", "blocks"], stdin=child, stdout=child, stderr=child, cwd=WORK)
    seen = ""

    def until(text):
        nonlocal seen
        limit = time.monotonic() + 120
        while text not in seen:
            assert time.monotonic() < limit, seen[-500:]
            seen += os.read(parent, 65536).decode(errors="replace")
        seen = seen[seen.index(text) + len(text) :]

    until("t=1 of 3  z=3 of 7")
    os.write(parent, b"\x1b[C")
    until("t=2 of 3  z=3 of 7")
    os.write(parent, b"\x1b[A\x1b[A")
    until("t=2 of 3  z=5 of 7")
    os.write(parent, b"nnn\x1bOB")
    until("t=2 of 3  z=4 of 7")
    os.write(parent, b"pppppm")
    until("t=0 of 3  z=4 of 7")
    os.write(parent, b"q")
    until("\x1b[?1049l")
    assert process.wait() == 0
    assert termios.tcgetattr(child)[3] == before[3]
    # Whoever is killed gives it back as well.
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen([EXE, "view", "a.tif", "--graphics", "blocks"], stdin=child, stdout=child, stderr=child, cwd=WORK)
        until("t=1 of 3  z=3 of 7")
        assert termios.tcgetattr(child)[3] != before[3]
        process.send_signal(number)
        until("\x1b[?25h\x1b[?1049l")
        assert process.wait() == -number
        assert termios.tcgetattr(child)[3] == before[3]


{"levels": levels_}.get(sys.argv[3], globals()[sys.argv[3]])()
