"""CHAIR's published list: fetched once from a server on this machine, verified, and kept."""

import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import real_sets

from infoflow.data import captions
from infoflow.data.captions import (
    kept_synonyms,
    parse_synonyms,
    published_synonyms,
    read_synonyms,
    synonyms_digest,
)
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError

LIST = "motorcycle, scooter,  motor bike\ncow, ox \n\ncup\n"
TABLE = [["motorcycle", "scooter", " motor bike"], ["cow", "ox"], ["cup"]]


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What the server has, which is the list; with a cache of its own and a count of visits."""
    held = {"content": LIST.encode(), "visits": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            held["visits"] += 1
            if held["content"] is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(held["content"])

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{http.server_address[1]}/synonyms.txt"
        monkeypatch.setattr(captions, "ADDRESS", address)
        monkeypatch.setattr(captions, "CHECKSUM", synonyms_digest(TABLE))
        monkeypatch.setenv("INFOFLOW_CACHE", str(tmp_path / "cache"))
        yield held
        http.shutdown()
        thread.join()


def test_it_is_fetched_once_and_kept_as_it_came(served):
    assert published_synonyms() == TABLE
    assert kept_synonyms().read_bytes() == LIST.encode()
    assert list(kept_synonyms().parent.iterdir()) == [kept_synonyms()]
    served["content"] = None
    assert published_synonyms() == TABLE
    assert served["visits"] == 1


def test_a_copy_put_there_by_hand_needs_no_server(served):
    served["content"] = None
    kept_synonyms().parent.mkdir()
    kept_synonyms().write_text(LIST.replace("\n", "\r\n"))
    assert published_synonyms() == TABLE
    assert served["visits"] == 0


@pytest.mark.parametrize("content", [b"", b"motorcycle", b"\xff\xfe", LIST[:-3].encode()])
def test_a_damaged_copy_is_refused_by_name(served, content):
    kept_synonyms().parent.mkdir()
    kept_synonyms().write_bytes(content)
    with pytest.raises(InfoflowError, match=f"what {kept_synonyms()} holds is not that list"):
        published_synonyms()
    assert served["visits"] == 0


@pytest.mark.parametrize(
    "content", [LIST.replace("  ", " "), LIST + "cat, kitten\n", "<html>Sign in</html>", "", "\xe9"]
)
def test_anything_else_is_refused_with_both_digests_and_not_kept(served, content):
    served["content"] = content.encode("latin-1")
    with pytest.raises(InfoflowError, match="is not that list") as caught:
        published_synonyms()
    told = str(caught.value)
    found = synonyms_digest(parse_synonyms(content.replace("\xe9", "\N{REPLACEMENT CHARACTER}")))
    assert f"SHA-256 {found}, not {synonyms_digest(TABLE)}" in told
    assert_says_what_to_do(told)
    assert not kept_synonyms().exists()


def test_a_server_that_lacks_it_is_one_error(served):
    served["content"] = None
    with pytest.raises(InfoflowError, match=r"cannot be fetched .*: HTTP Error 404") as caught:
        published_synonyms()
    assert_says_what_to_do(str(caught.value))


def test_out_of_reach_is_one_error(served, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/synonyms.txt"
    monkeypatch.setattr(captions, "ADDRESS", address)
    with pytest.raises(InfoflowError, match=f"'{address}' cannot be fetched") as caught:
        published_synonyms()
    assert_says_what_to_do(str(caught.value))


def assert_says_what_to_do(told):
    assert "data/synonyms.txt of the GitHub repository LisaAnne/Hallucination" in told
    assert str(kept_synonyms()) in told
    assert "synonyms=path" in told
    assert "synonyms.txt in the folder" in told
    assert "\n" not in told


def test_a_cache_that_cannot_be_written_is_named(served, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INFOFLOW_CACHE", str(tmp_path / "file"))
    with pytest.raises(InfoflowError, match=r"list of synonyms is not at hand .*/file/chair"):
        published_synonyms()


def test_the_digest_is_that_of_the_entries_as_they_stand(tmp_path):
    lines = "motorcycle, scooter,  motor bike\ncow, ox\ncup"
    for text in (LIST, lines, lines.replace("\n", "\r\n")):
        (tmp_path / "list.txt").write_text(text)
        assert synonyms_digest(read_synonyms(tmp_path / "list.txt")) == synonyms_digest(TABLE)
    assert synonyms_digest(parse_synonyms(LIST.replace("  ", " "))) != synonyms_digest(TABLE)
    # as sha256sum has it
    assert synonyms_digest([["cup", "mug"], ["cow"]]) == (
        "3596bc4a7221bcca85d12da29533e36fac7ce86d5d1fe0ed6a55ca9d0ac87f44"
    )


def test_the_revision_is_a_commit():
    path = r"/LisaAnne/Hallucination/[0-9a-f]{40}/data/synonyms\.txt"
    assert re.fullmatch(rf"https://[\w.]+{path}", captions.ADDRESS)
    assert re.fullmatch(r"[0-9a-f]{64}", captions.CHECKSUM)


@pytest.mark.parametrize("layout", ["parquet", "originals"])
def test_a_folders_own_list_comes_first_and_the_published_one_next(
    served, monkeypatch, tmp_path, layout
):
    real_sets.MAKERS["chair", layout](tmp_path / "set")
    own = load_task("chair", tmp_path / "set")
    assert served["visits"] == 0
    served["content"] = real_sets.SYNONYMS.encode() + b"cat, kitten\n"
    published = parse_synonyms(served["content"].decode())
    monkeypatch.setattr(captions, "CHECKSUM", synonyms_digest(published))
    (tmp_path / "set" / "synonyms.txt").unlink()
    task = load_task("chair", tmp_path / "set")
    assert served["visits"] == 1
    assert task.source.endswith(f", synonyms {synonyms_digest(published)[:8]}")
    assert task.source != own.source
