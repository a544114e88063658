"""CHAIR's list of synonyms: the published one, and which one is taken."""

import pytest
import real_sets

from infoflow.data.captions import PUBLISHED, read_synonyms, synonyms_digest
from infoflow.data.load import load_task

LIST = "motorcycle, scooter,  motor bike\ncow, ox \n\ncup\n"
TABLE = [["motorcycle", "scooter", " motor bike"], ["cow", "ox"], ["cup"]]


def test_the_published_list_is_whole():
    table = read_synonyms(PUBLISHED)
    assert (len(table), sum(map(len, table))) == (80, 416)
    assert [entry for line in table for entry in line if entry != entry.strip()] == [
        " motor bike",
        " cheesecake",
    ]
    assert synonyms_digest(table) == (
        "7dfc27d79057ee0dcdb37144c501c0f1e83e818fef39d730dc859a376a5431a4"
    )


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
def test_a_folders_own_list_comes_first_and_the_published_one_next(tmp_path, layout):
    real_sets.MAKERS["chair", layout](tmp_path / "set")
    own = load_task("chair", tmp_path / "set")
    (tmp_path / "set" / "synonyms.txt").unlink()
    task = load_task("chair", tmp_path / "set")
    assert task.source.endswith(f", synonyms {synonyms_digest(read_synonyms(PUBLISHED))[:8]}")
    assert task.source != own.source
    other = tmp_path / "other.txt"
    other.write_text(real_sets.SYNONYMS)
    assert load_task("chair", tmp_path / "set", synonyms=other).source == own.source
