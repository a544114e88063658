"""POPE's own data: three kinds of questions about the same 500 pictures of COCO."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.tasks.benchmark import Benchmark, Wishes, require_keys
from infoflow.tasks.draw import drawn_half
from infoflow.tasks.entries import Entry, Fields
from infoflow.tasks.files import find_file, read_json_lines
from infoflow.tasks.rows import Rows, require_every_picture

KINDS = ("random", "popular", "adversarial")
_ORIGINAL_KEYS = ("question_id", "image", "text", "label")


def _fields(row: Mapping[str, Any]) -> Fields:
    name = f"pope-{row['category']}-{row['question_id']}"
    if row["category"] not in KINDS:
        raise InfoflowError(f"the category of item {name!r} is none of {', '.join(sorted(KINDS))}.")
    if row["answer"] not in ("yes", "no"):
        raise InfoflowError(f"item {name!r} has the answer {row['answer']!r}; valid: no, yes.")
    return Fields(
        id=name, question=str(row["question"]), answer=row["answer"], kind=row["category"]
    )


def _in_turn(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Order rows so that the kinds take turns: any first few items then hold all three."""
    seen = dict.fromkeys(KINDS, 0)
    keys = []
    for place, row in enumerate(rows):
        kind = row["category"]
        keys.append((seen.get(kind, 0), KINDS.index(kind) if kind in KINDS else 0, place))
        seen[kind] = seen.get(kind, 0) + 1
    return [place for _, _, place in sorted(keys)]


def _of_split(rows: Sequence[Mapping[str, Any]], split: str) -> list[int]:
    """Places of a split's rows: all, or those of one half of the pictures."""
    order = _in_turn(rows)
    if split == "test":
        return order
    chosen = set(drawn_half((PurePath(row["image_source"]).stem for row in rows), split))
    return [place for place in order if PurePath(rows[place]["image_source"]).stem in chosen]


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows."""
    require_every_picture(rows)
    return [
        Entry(_fields(rows.fields[place]), partial(rows.picture, place))
        for place in _of_split(rows.fields, split)
    ]


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from the three files of questions, with COCO's pictures in ``val2014``."""
    rows = [row for kind in KINDS for row in _questions(folder, kind)]
    return [
        Entry(_fields(rows[place]), folder / "val2014" / rows[place]["image_source"])
        for place in _of_split(rows, split)
    ]


def _questions(folder: Path, kind: str) -> list[dict[str, Any]]:
    name = f"coco_pope_{kind}.json"
    path = find_file(folder, name, f"output/coco/{name}")
    rows = []
    for number, line in enumerate(read_json_lines(path), start=1):
        require_keys(line, _ORIGINAL_KEYS, f"question {number} of {name}")
        rows.append(
            {
                "question_id": line["question_id"],
                "question": line["text"],
                "answer": line["label"],
                "category": kind,
                "image_source": str(line["image"]),
            }
        )
    return rows


POPE = Benchmark(
    splits={"test": "test", "calibration": "calibration", "held-out": "held-out"},
    stored={"test": "test", "calibration": "test", "held-out": "test"},
    columns=("image", "question_id", "question", "answer", "image_source", "category"),
    marks=("coco_pope_*.json", "output/coco/coco_pope_*.json"),
    originals="coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json "
    "(or in output/coco), val2014/COCO_val2014_*.jpg",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=128,
    pieces={"test": KINDS},
)
"""``"test"`` is all of POPE (3 times 3000 items), what everyone reports. There are no other items,
so ``"calibration"`` is half of its pictures, drawn with a seed, and ``"held-out"`` the other half.
What is chosen on the one is to be reported on the other. 128 tokens, as LLaVA's script."""
