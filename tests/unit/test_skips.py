"""Every test that may be skipped or may fail stands in ``tests/SKIPS.md`` with its reason."""

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
WAYS_OUT = {"skip", "skipif", "xfail", "importorskip"}


def ways_out(path: Path) -> int:
    """Count the places of a file that name a way out of a test: ``pytest.skip`` and its like."""
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr in WAYS_OUT
        and ast.unparse(node.value) in ("pytest", "pytest.mark")
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_every_way_out_of_a_test_has_its_row() -> None:
    found = {path.relative_to(TESTS).as_posix(): ways_out(path) for path in TESTS.rglob("*.py")}
    rows = re.findall(r"^\| `([^`]+)` \|", (TESTS / "SKIPS.md").read_text(), flags=re.MULTILINE)
    assert Counter(rows) == Counter({name: count for name, count in found.items() if count})


def test_every_row_has_a_reason_and_an_end() -> None:
    for line in (TESTS / "SKIPS.md").read_text().splitlines():
        if line.startswith("| `"):
            assert all(cell.strip() for cell in line.strip("|").split("|")), line
            assert line.count("|") == 5, line


def test_ways_out_are_found(tmp_path: Path) -> None:
    code = tmp_path / "test_a.py"
    code.write_text(
        "import pytest\npytestmark = pytest.mark.skipif(True, reason='')\n"
        "@pytest.mark.xfail\ndef test():\n    pytest.skip('')\n    x.skip\n"
    )
    assert ways_out(code) == 3
