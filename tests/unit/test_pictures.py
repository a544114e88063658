"""Pictures as people have them: files of every kind, damaged ones, and a server on this machine."""

import contextlib
import os
import random
import socket
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from infoflow.data import pictures
from infoflow.data.pictures import MAX_BYTES, decode_image, open_picture, read_image
from infoflow.data.sets.own import ClosedSample
from infoflow.errors import InfoflowError
from infoflow.models.families import llava
from infoflow.models.families.llava import resized_square


def png(size=(12, 8), colour=(10, 200, 30)):
    sink = BytesIO()
    Image.new("RGB", size, colour).save(sink, "PNG")
    return sink.getvalue()


CONTENT = {
    "/green.png": png(),
    "/cut-short.png": png((300, 300))[:200],
    "/page.html": b"<html>no picture</html>",
    "/large.png": png() + b"\0" * 5000,
}


MOVED = {
    "/moved.png": "/green.png",
    "/to-file.png": "file:///etc/passwd",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in MOVED:
            self.send_response(302)
            self.send_header("Location", MOVED[self.path])
            self.end_headers()
        elif self.path.startswith("/dripping"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client has gone
                for _ in range(40):
                    self.wfile.write(b"H")
                    time.sleep(0.1)
        elif self.path in CONTENT:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT[self.path])
        else:
            self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["green.png", "moved.png"])
def test_a_picture_is_fetched(server, name):
    picture = open_picture(f"{server}/{name}")
    assert picture.mode == "RGB"
    assert picture.size == (12, 8)
    assert picture.getpixel((3, 3)) == (10, 200, 30)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-such.png", "HTTP Error 404: Not Found"),
        ("page.html", "in none of the formats PNG, JPEG"),
        ("cut-short.png", "cannot be read"),
        ("to-file.png", "'file:///etc/passwd' is not allowed"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(server, name, told):
    with pytest.raises(InfoflowError, match=told) as caught:
        open_picture(f"{server}/{name}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_drips_meets_the_deadline(server, monkeypatch):
    monkeypatch.setattr(pictures, "DEADLINE", 0.6)
    begin = time.monotonic()
    with pytest.raises(InfoflowError, match="longer than 1 seconds"):
        open_picture(f"{server}/dripping.png")
    assert time.monotonic() - begin < 5


def test_no_more_is_fetched_than_allowed(server):
    size = len(CONTENT["/large.png"])
    assert open_picture(f"{server}/large.png", max_bytes=size).size == (12, 8)
    with pytest.raises(InfoflowError, match=r"larger than 0 MB"):
        open_picture(f"{server}/large.png", max_bytes=size - 1)


def test_without_a_server_the_way_out_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InfoflowError, match=r"cannot be fetched.*give the path of a file"):
        open_picture(f"http://127.0.0.1:{port}/green.png")


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://[",
        "https://exa mple.invalid/a b",
        "http://h:port/",
        "http://me:secret@h/",
    ],
)
def test_malformed_addresses_are_refused(address):
    with pytest.raises(InfoflowError) as caught:
        open_picture(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["ftp://host/a.png", "file:///etc/passwd", "data://x"])
def test_other_ways_of_fetching_are_refused(address):
    with pytest.raises(InfoflowError, match="valid: a path, or an address"):
        open_picture(address)


def test_files_are_read(tmp_path):
    path = tmp_path / "green.png"
    path.write_bytes(png())
    for place in (path, str(path)):
        assert open_picture(place).getpixel((0, 0)) == (10, 200, 30)
    path.write_bytes(png((300, 300))[:200])
    with pytest.raises(InfoflowError, match=r"green\.png' cannot be read"):
        open_picture(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait
    (tmp_path / "empty.png").touch()
    for place, told in (
        (tmp_path / "absent.png", "No such file"),
        (tmp_path, "a folder, a pipe or a device"),
        (tmp_path / "pipe.png", "a folder, a pipe or a device"),
        ("/dev/zero", "a folder, a pipe or a device"),
        (tmp_path / "empty.png", "damaged or in none of the formats"),
        ("", "a folder, a pipe or a device"),
        ("a\0b.png", "null"),
        ("x" * 5000, "too long"),
        ("half of a \ud800 character", "surrogates"),
        (np.zeros((2, 2, 3)), "fromarray"),
        (b"a.png", "a PIL image or a path, not bytes"),
    ):
        with pytest.raises(InfoflowError, match=told) as caught:
            read_image(place)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= min(1200, len(str(place)) + 200)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((0, 5), "0 x 5 pixels; valid: from 1 to 120 million"),
        ((11000, 11000), "11000 x 11000 pixels; valid: from 1 to 120 million"),
        ((14000, 14000), r"14000 x 14000 pixels|\(196000000 pixels\) exceeds"),
        ((2, 60000), "2 x 60000 pixels; valid.*32768 along a side"),
    ],
)
def test_limits_are_those_of_files_and_of_pictures(tmp_path, size, told):
    picture = Image.new("1", size)
    with pytest.raises(InfoflowError, match=told):
        read_image(picture)
    if all(size):
        picture.save(tmp_path / "large.png")
        warnings.simplefilter("error")  # pytest puts the filters back
        with pytest.raises(InfoflowError, match=told):
            read_image(tmp_path / "large.png")


CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:8, :8], CORNERS[-8:, :8], CORNERS[:8, -8:] = np.eye(3) * 255
TURNS = {
    **{1: lambda image: image, 2: ImageOps.mirror, 3: lambda image: image.rotate(180)},
    **{4: ImageOps.flip, 5: lambda image: image.transpose(Image.Transpose.TRANSPOSE)},
    **{6: lambda image: image.rotate(90, expand=True)},
    **{7: lambda image: image.transpose(Image.Transpose.TRANSVERSE)},
    **{8: lambda image: image.rotate(270, expand=True)},
}


def saved(image, form, **settings):
    sink = BytesIO()
    image.save(sink, form, **settings)
    return sink.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_are_turned_as_their_tag_says(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = TURNS[orientation](Image.fromarray(CORNERS))
    content = saved(stored, form, exif=exif, **({} if form in ("PNG", "TIFF") else {"quality": 95}))
    shown = decode_image(content, "it")
    assert shown.size == (48, 32)
    assert np.abs(np.asarray(shown) - CORNERS.astype(int)).mean() < 6
    opened = Image.open(BytesIO(content))
    for given in (opened, opened.convert("RGB"), shown):
        assert np.array_equal(read_image(given), shown)


def test_a_benchmarks_files_and_rows_are_shown_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(TURNS[6](Image.fromarray(CORNERS)), "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(content)
    for source in (tmp_path / "turned.png", lambda: content):
        shown = ClosedSample(id="7", origin=source).image
        assert np.array_equal(shown, CORNERS)


RAMP = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(8, 0)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"),
        saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
        saved(Image.fromarray(RAMP.astype(">u2") * 257), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.int32) * 257), "PPM"),
        b"P2 64 8 1023 " + b" ".join(str(int(v) * 1023 // 255).encode() for v in RAMP.flat),
        saved(Image.fromarray(RAMP), "TIFF"),
    ],
    ids=["png", "little", "big", "pgm", "plain pgm of 10 bits", "8 bits"],
)
def test_grey_of_more_bits_is_the_same_grey(content):
    shown = np.asarray(decode_image(content, "it")).astype(int)
    assert np.abs(shown - RAMP[..., None]).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_of_which_none_is_white_are_refused(dtype):
    picture = Image.fromarray(RAMP.astype(dtype))
    for attempt in (
        lambda: read_image(picture),
        lambda: decode_image(saved(picture, "TIFF"), "it"),
    ):
        with pytest.raises(InfoflowError, match="which is white"):
            attempt()


def test_grey_that_is_stored_otherwise_is_refused():
    inverted = saved(Image.fromarray(RAMP.astype(np.uint16)), "TIFF", tiffinfo={262: 0})
    with pytest.raises(InfoflowError, match="white as 0"):
        decode_image(inverted, "it")


INK = np.zeros((8, 8, 4), np.uint8)
INK[2:4, 1:6, 3] = 255
ON_WHITE = np.where(INK[..., 3:] == 255, 0, 255).repeat(3, -1)


def keyed(mode, key, dtype=np.uint8):
    """Black ink on a ground of one value, which a key makes transparent."""
    values = np.where(INK[..., 3] == 255, 0, 200).astype(dtype)
    picture = Image.fromarray(values)
    return saved(picture if mode is None else picture.convert(mode), "PNG", transparency=key)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(INK), "PNG"),
        saved(Image.fromarray(INK).convert("LA"), "PNG"),
        saved(Image.fromarray(INK).quantize(), "PNG"),
        saved(Image.fromarray(INK), "WEBP", lossless=True),
        saved(Image.fromarray(INK), "GIF"),
        saved(Image.fromarray(INK), "TIFF"),
        keyed("L", 200),
        keyed("RGB", (200, 200, 200)),
        keyed("P", 200),
        keyed(None, 200, np.uint16),
    ],
)
def test_what_is_transparent_lies_on_white(content):
    assert np.array_equal(decode_image(content, "it"), ON_WHITE)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces_give_the_same_colour(mode):
    colour = np.array(read_image(Image.new("RGB", (2, 2), (200, 30, 90)).convert(mode)))[0, 0]
    assert np.abs(colour - (200, 30, 90)).max() <= 2


def test_lab_gives_the_same_colour():
    red = np.array(read_image(Image.new("LAB", (2, 2), (136, 208, 195))))[0, 0]
    assert np.abs(red - (255, 0, 0)).max() <= 12


def test_of_an_animation_the_first_frame_is_shown():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        content = saved(frames[0], form, save_all=True, append_images=frames[1:])
        assert decode_image(content, form).getpixel((4, 4))[0] > 250


@pytest.mark.parametrize("form", ["EPS", "PDF", "ICO", "TGA", "JPEG2000"])
def test_other_formats_are_refused_by_the_list(form):
    content = saved(Image.new("RGB", (16, 16)), form)
    with pytest.raises(InfoflowError, match="in none of the formats PNG, JPEG, WEBP"):
        decode_image(content, "it")


def damaged(content, rng):
    """Cut a file, or change, remove or insert some bytes of it."""
    content = bytearray(content)
    place, some = rng.randrange(len(content)), rng.randbytes(rng.randint(1, 20))
    end = rng.choice([place, place + 1, place + len(some), len(content)])
    content[place:end] = b"" if end == len(content) else some[: end - place] or some
    return bytes(content)


def test_damaged_files_give_an_error_of_one_line_or_a_picture():
    picture = Image.fromarray(CORNERS)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = [
        *(saved(picture.convert(mode), "PNG", exif=exif) for mode in ("1", "L", "LA", "P", "RGBA")),
        *(saved(picture.convert(mode), "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK")),
        *(saved(picture, form) for form in ("WEBP", "AVIF", "GIF", "BMP", "PPM", "MPO")),
        *(saved(picture, "TIFF", compression=c) for c in (None, "tiff_lzw", "jpeg", "packbits")),
        saved(picture, "JPEG", progressive=True, icc_profile=b"no profile"),
        saved(Image.fromarray(RAMP.astype(np.uint16)), "PNG"),
    ]
    rng, refusals = random.Random(0), []
    for content in whole:
        decode_image(content, "whole")
        for _ in range(100):
            try:
                decode_image(damaged(content, rng), "it")
            except InfoflowError as error:
                refusals.append(str(error))
    assert len(refusals) > len(whole) * 30
    assert all(told.startswith("it cannot be read: ") and "\n" not in told for told in refusals)


def test_of_a_truncated_file_nothing_is_shown():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF", "AVIF"):
        content = saved(noise, form)
        with pytest.raises(InfoflowError, match="it cannot be read"):
            decode_image(content[: len(content) * 2 // 3], "it")


@pytest.mark.parametrize("size", [(7, 7), (50, 30), (30, 50), (1, 90), (90, 1), (200, 333)])
def test_a_square_made_in_bands_is_that_of_the_padded_picture(size, monkeypatch):
    monkeypatch.setattr(llava, "_PIXELS_A_BAND", 1000)
    width, height = size
    rng, side = np.random.default_rng(0), max(size)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    square = Image.new("RGB", (side, side), (120, 7, 255))
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    for pixels in (5, 30, 64):
        for resample in Image.Resampling:
            made = resized_square(picture, (120, 7, 255), pixels, resample)
            assert np.array_equal(made, square.resize((pixels, pixels), resample))


def test_the_square_of_a_long_and_thin_picture_is_never_in_memory(monkeypatch):
    made, new = [], Image.new
    monkeypatch.setattr(llava.Image, "new", lambda *a: made.append(a[1][0] * a[1][1]) or new(*a))
    for size in ((20, 8000), (8000, 20)):
        resized_square(new("RGB", size), (0, 0, 0), 96, Image.Resampling.BICUBIC)
    assert sum(made) < 8000**2 * 1.2  # one after the other, the largest of them small
    assert max(made) < 2e6


def test_the_limit_lets_photographs_through():
    assert MAX_BYTES >= 10_000_000


def test_an_odd_tag_beside_the_orientation_does_not_matter():
    """Writing such a block anew, as turning in place does, fails."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "camera"
    content = saved(TURNS[6](Image.fromarray(CORNERS)), "JPEG", exif=exif, quality=95)
    # the type of the tag Software: a pair of numbers in place of text
    odd = content.replace(b"\x01\x31\x00\x02", b"\x01\x31\x00\x05")
    odd = odd.replace(b"\x31\x01\x02\x00", b"\x31\x01\x05\x00")
    assert odd != content
    assert np.array_equal(decode_image(odd, "it"), decode_image(content, "it"))
