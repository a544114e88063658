"""CHAIR's list of synonyms: the published one, and which one is taken."""

import hashlib

import pytest
import real_sets

from infoflow.data import captions
from infoflow.data.captions import published_synonyms, read_synonyms, synonyms_digest
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError

LIST = "motorcycle, scooter,  motor bike\ncow, ox \n\ncup\n"
TABLE = [["motorcycle", "scooter", " motor bike"], ["cow", "ox"], ["cup"]]


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """What is served instead of the list, and the addresses that were asked for it."""
    served = {"content": LIST.encode(), "addresses": []}

    def fetch(address, max_bytes):
        served["addresses"].append(address)
        return served["content"]

    monkeypatch.setattr(captions, "fetch", fetch)
    monkeypatch.setattr(captions, "CHECKSUM", hashlib.sha256(LIST.encode()).hexdigest())
    monkeypatch.setenv("INFOFLOW_CACHE", str(tmp_path / "cache"))
    return served


def test_the_published_list_is_fetched_once_and_kept(fetched):
    assert read_synonyms(published_synonyms()) == TABLE
    fetched["content"] = b""
    assert published_synonyms().read_bytes() == LIST.encode()
    assert fetched["addresses"] == [captions.ADDRESS]


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", LIST[:-3].encode()])
def test_another_list_is_refused_and_not_kept(fetched, content):
    fetched["content"] = content
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(InfoflowError, match=f"of the SHA-256 {found}") as caught:
        published_synonyms()
    assert captions.ADDRESS in str(caught.value)
    assert "synonyms=path" in str(caught.value)
    fetched["content"] = LIST.encode()
    published_synonyms().write_bytes(content)  # by hand
    with pytest.raises(InfoflowError, match=found):
        published_synonyms()


def test_the_digest_is_that_of_the_entries_as_they_stand(tmp_path):
    def digest(text):
        (tmp_path / "list.txt").write_text(text)
        return synonyms_digest(read_synonyms(tmp_path / "list.txt"))

    lines = "motorcycle, scooter,  motor bike\ncow, ox\ncup"
    for text in (LIST, lines, lines.replace("\n", "\r\n")):
        assert digest(text) == synonyms_digest(TABLE)
    assert digest(LIST.replace("  ", " ")) != synonyms_digest(TABLE)
    # as sha256sum has it
    assert synonyms_digest([["cup", "mug"], ["cow"]]) == (
        "3596bc4a7221bcca85d12da29533e36fac7ce86d5d1fe0ed6a55ca9d0ac87f44"
    )


@pytest.mark.parametrize("layout", ["parquet", "originals"])
def test_a_folders_own_list_comes_first_and_the_published_one_next(
    fetched, monkeypatch, tmp_path, layout
):
    real_sets.MAKERS["chair", layout](tmp_path / "set")
    (tmp_path / "other.txt").write_text(real_sets.SYNONYMS)
    own = load_task("chair", tmp_path / "set")
    (tmp_path / "set" / "synonyms.txt").unlink()
    published = real_sets.SYNONYMS + "cat, kitten\n"
    fetched["content"] = published.encode()
    monkeypatch.setattr(captions, "CHECKSUM", hashlib.sha256(published.encode()).hexdigest())
    task = load_task("chair", tmp_path / "set")
    table = [*read_synonyms(tmp_path / "other.txt"), ["cat", "kitten"]]
    assert task.source.endswith(f", synonyms {synonyms_digest(table)[:8]}")
    assert task.source != own.source
    assert (
        load_task("chair", tmp_path / "set", synonyms=tmp_path / "other.txt").source == own.source
    )
