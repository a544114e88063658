"""Rows that come with the package are taken if one item, measured anew, agrees."""

import pandas as pd
import pytest

from infoflow.results import shipped
from infoflow.results.parts import make_table
from infoflow.results.shipped import agree
from infoflow.results.store import Store
from zoo.rows import ship

KEY = {"measure": "toy", "model": "m", "source": "shapes", "code": "old"}
ITEMS = ["a", "b", "c", "d"]


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The items that were measured, where rows of three of four come with the package."""
    monkeypatch.delenv("INFOFLOW_SHIPPED", raising=False)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "package")
    monkeypatch.setattr("zoo.rows.weights_digest", lambda folders: "m")
    store = Store(tmp_path / "old")
    store.collect(KEY, ITEMS[:3], rows_of, item_id=str)
    ship(store.root)
    return []


def rows_of(item):
    return [] if item == "a" else [{"text": item * n, "value": n / 3} for n in (1, 2)]


def collect(store, measured, change=0.0, key=KEY):
    def measure(item):
        measured.append(item)
        return [{**row, "value": row["value"] + change} for row in rows_of(item)]

    return store.collect({**key, "code": "new"}, ITEMS, measure, item_id=str)


def test_one_item_is_measured_and_the_others_are_taken(measured, tmp_path):
    rows = collect(Store(tmp_path / "new"), measured)
    assert measured == ["b", "d"]  # the first that has rows, and the one that did not come along
    whole = Store(tmp_path / "whole").collect(KEY, ITEMS, rows_of, item_id=str)
    pd.testing.assert_frame_equal(rows, whole)
    assert rows.attrs["record"]["shipped"] == 2
    assert collect(Store(tmp_path / "new"), measured).equals(rows)
    assert measured == ["b", "d"]


def test_rows_that_differ_are_measured_anew(measured, tmp_path, caplog):
    rows = collect(Store(tmp_path / "new"), measured, change=0.01)
    assert sorted(measured) == ITEMS
    assert rows["value"].tolist() == pytest.approx([1 / 3 + 0.01, 2 / 3 + 0.01] * 3)
    assert "rows of b that come with the package differ" in caplog.text
    assert "shipped" not in rows.attrs["record"]


@pytest.mark.parametrize("other", [{"model": "n"}, {"source": "hub"}, {"seed": 1}])
def test_rows_of_another_key_are_not_taken(measured, tmp_path, other):
    collect(Store(tmp_path / "new"), measured, key=KEY | other)
    assert measured == ITEMS


def test_they_can_be_left_aside(measured, tmp_path, monkeypatch):
    monkeypatch.setenv("INFOFLOW_SHIPPED", "no")
    collect(Store(tmp_path / "new"), measured)
    assert measured == ITEMS


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"text": "x", "value": 1.0004, "n": None}, True),
        ({"text": "y", "value": 1.0, "n": None}, False),
        ({"text": "x", "value": 1.1, "n": None}, False),
        ({"text": "x", "value": 1.0, "n": 1.0}, False),
    ],
)
def test_texts_agree_to_the_letter_and_numbers_to_their_rounding(other, same):
    one = {"text": "x", "value": 1.0, "n": float("nan")}
    other = {**other, "n": float("nan") if other["n"] is None else other["n"]}
    assert agree(make_table({"a": [one]}), make_table({"a": [other]})) is same
    assert not agree(make_table({"a": [one]}), make_table({"a": [one, one]}))
