"""Pictures from files and from a server on this machine."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from PIL import Image

from infoflow.errors import InfoflowError
from infoflow.pictures import MAX_BYTES, open_picture


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


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/green.png")
            self.end_headers()
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
        ("no-such.png", "answers 404"),
        ("page.html", "no readable picture"),
        ("cut-short.png", "no readable picture"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_address(server, name, told):
    with pytest.raises(InfoflowError, match=f"{name}.*{told}"):
        open_picture(f"{server}/{name}")


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


@pytest.mark.parametrize("address", ["http://", "http://[", "https://exa mple.invalid/a b"])
def test_malformed_addresses_are_refused(address):
    with pytest.raises(InfoflowError):
        open_picture(address)


@pytest.mark.parametrize("address", ["ftp://host/a.png", "file:///etc/passwd", "data://x"])
def test_other_ways_of_fetching_are_refused(address):
    with pytest.raises(InfoflowError, match="valid: a path, or an address"):
        open_picture(address)


def test_files_are_read(tmp_path):
    path = tmp_path / "green.png"
    path.write_bytes(png())
    for place in (path, str(path)):
        assert open_picture(place).getpixel((0, 0)) == (10, 200, 30)
    with pytest.raises(InfoflowError, match="no picture at"):
        open_picture(tmp_path / "absent.png")
    path.write_bytes(png((300, 300))[:200])
    with pytest.raises(InfoflowError, match=r"green\.png cannot be read"):
        open_picture(path)


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    path.write_bytes(png((60, 60)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InfoflowError, match="too many pixels"):
        open_picture(path)


def test_the_limit_lets_photographs_through():
    assert MAX_BYTES >= 10_000_000
