"""Values as they are typed or stand in a file: read by their declared kind, or one error."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.files import read_yaml
from infoflow.options import read_options, read_value, require_kind

# no surrogates, of which YAML makes no pairs, and no zero byte, which no command line can hold;
# a key of YAML may have 1,024 characters, of which JSON can take six for one
TEXTS = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=160,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(),
    "int | None": st.none() | st.integers(),
    "float": FLOATS | st.integers(-(2**60), 2**60),
    "bool": st.booleans(),
    "list[int]": st.lists(st.integers()),
    "list[str]": st.lists(TEXTS),
    "list[list[float]] | None": st.none() | st.lists(st.lists(FLOATS)),
    "dict": st.dictionaries(TEXTS, FLOATS),
    "list": st.lists(st.none() | st.booleans() | st.integers() | FLOATS | TEXTS),
}


@pytest.mark.parametrize("kind", list(OF_KIND))
def test_what_json_writes_is_read_back_equal(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "values.yml"

    @settings(max_examples=50, deadline=None, database=None, derandomize=True)
    @given(OF_KIND[kind])
    def check(value: Any) -> None:
        text = json.dumps(value)
        read = read_value(text, kind, "it")
        assert (read, type(read)) == (value, type(value))
        path.write_text(f'{{"it": {text}}}')
        (in_file,) = read_yaml(path).values()
        require_kind(in_file, kind, "it")
        assert (in_file, type(in_file)) == (value, type(value))

    check()


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(TEXTS)
def test_text_stands_as_it_is(text: str) -> None:
    assert read_value(text, "str", "it") == text
    if text not in ("null", "None"):
        assert read_value(text, "str | None", "it") == text
        assert read_value(text, "int | str", "it") == text


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1e-3", "float", 1e-3),
        ("-2E+5", "float", -2e5),
        ("3", "float", 3),
        ("010", "str", "010"),
        ("null", "str", "null"),
        ("None", "str | None", None),
    ],
)
def test_values_are_read_by_their_kind(text: str, kind: str, value: object) -> None:
    assert read_value(text, kind, "it") == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            "int",
            [
                "010",
                "1:30",
                "1.5",
                "2.0",
                "1e3",
                "1_000",
                "+5",
                "0x10",
                "٣",
                "nan",
                "true",
                "null",
                "[1]",
                "one",
                "1,2",
                "",
                "-",
            ],
        ),
        ("int", ["9" * 5000]),
        (
            "float",
            ["nan", "NaN", "Infinity", "-inf", "1e999", ".inf", "1_0", "true", "null", "half"],
        ),
        ("bool", ["yes", "no", "on", "off", "True", "1", "0", "null"]),
        ("list[int]", ["[a, b]", "[1, 2.0]", "[true]", "[1", "1", "1 2", '["1"]', "[null]"]),
        ("list[str]", ["[a]", "[1]", "a"]),
        ("list[float]", ["[NaN]", "[1e999]"]),
        ("dict", ['{"a": 1, "a": 2}', "[]", "a: 1"]),
        ("list", ["[" * 5000, "[NaN]", "[1]]"]),
        ("list[int] | None", ["none", "~", ""]),
        ("None", ["0"]),
    ],
)
def test_what_is_of_another_kind_is_refused(kind: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(InfoflowError, match="it is declared") as caught:
            read_value(text, kind, "it")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (math.nan, "float"),
        (math.inf, "float | None"),
        ([1.0, math.nan], "list[float]"),
        ([math.nan], "list"),
        ({"a": math.nan}, "Any"),
        (True, "int"),
        (1, "bool"),
        ("\udcff", "str"),
        ("a\0b", "str"),
        ((1, 2), "list[int]"),
    ],
)
def test_a_value_of_another_kind_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InfoflowError, match="it is declared"):
        require_kind(value, kind, "it")


@pytest.mark.parametrize(
    "kind", ["lst[int]", "int |", "list[nothing]", "tuple[int, ...]", "", "str, int", "f()"]
)
def test_a_kind_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(InfoflowError, match="unknown kind of values"):
        require_kind([1], kind, "it")


def test_options_are_named_and_given_once() -> None:
    kinds = {"name": "str", "n": "int"}
    assert read_options(kinds, ["name=a=b # c", "n=3"], "x") == {"name": "a=b # c", "n": 3}
    with pytest.raises(InfoflowError, match="parameter 'n' of x is given twice"):
        read_options(kinds, ["n=3", "n=4"], "x")
    with pytest.raises(UnknownNameError, match="unknown parameter of x"):
        read_options(kinds, ["nme=a"], "x")
    with pytest.raises(InfoflowError, match="as NAME=VALUE; got 'name'"):
        read_options(kinds, ["name"], "x")


def test_yaml_is_read_without_its_guesses(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(
        "\ufeffa: [on, 010, 1:30, 2024-01-01, 1_000, .nan, .inf, 1.]\nb: 1e3\nc: ~\nd:\n"
        "1: !!timestamp 2001-01-01\n"
    )
    guessed = ["on", "010", "1:30", "2024-01-01", "1_000", ".nan", ".inf", "1."]
    assert read_yaml(path) == {"a": guessed, "b": 1000.0, "c": None, "d": None, "1": "2001-01-01"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: the key 'c' is there twice"),
        ("a: &x [*x]", "line 1: found unconstructable recursive node"),
        (f"a: {'9' * 5000}", "cannot be read"),
        ("a: 1\n\tb: 2", "line 2: .*t"),
        ("[" * 3000, "recursion"),
        ("a: 1\n---\nb: 2", "another document"),
        (b"a: \xff", "cannot be read"),
        (b"a: \x00", "cannot be read"),
    ],
)
def test_damaged_yaml_is_one_line_with_its_place(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "a.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InfoflowError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path} cannot be read")


def test_what_is_no_file_with_an_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(InfoflowError, match=f"{path} cannot be read"):
            read_yaml(path)
