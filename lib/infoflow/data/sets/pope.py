"""POPE's own data: three kinds of questions about the same 500 pictures of COCO."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

from infoflow.data.sets.benchmark import Benchmark, Wishes
from infoflow.data.sets.draw import drawn_half
from infoflow.data.sets.entries import Entry, Fields, Picture, require_sound
from infoflow.data.sets.files import find_file, read_json_lines
from infoflow.data.sets.kinds import ID, TEXT, one_of, require_items, require_once
from infoflow.data.sets.rows import Rows, require_every_picture
from infoflow.errors import InfoflowError
from infoflow.files import inside

KINDS = ("random", "popular", "adversarial")
_ANSWER = one_of("yes", "no")
_KINDS = {
    "question_id": ID,
    "question": TEXT,
    "answer": _ANSWER,
    "image_source": TEXT,
    "category": one_of(*KINDS),
}
_ORIGINAL_KINDS = {"question_id": ID, "image": TEXT, "text": TEXT, "label": _ANSWER}
# Older files of POPE, which OPERA and later projects carry on, lack 90
# questions of the random kind, all of them with the answer no.
_OLDER_TOTALS = Counter(
    {(kind, answer): 1500 for kind in KINDS for answer in ("yes", "no")} | {("random", "no"): 1410}
)


def _fields(row: Mapping[str, Any]) -> Fields:
    name = f"pope-{row['category']}-{row['question_id']}"
    return Fields(id=name, question=row["question"], answer=row["answer"], kind=row["category"])


def _picture(row: Mapping[str, Any]) -> str:
    return PurePath(row["image_source"]).stem


def _require_balance(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless the questions are as many as POPE makes them, by their own numbers.

    Of each kind there are as many about each picture, half of them to be answered with yes. Only
    the older release may lack questions of the random kind.
    """
    totals = Counter((row["category"], row["answer"]) for row in rows)
    older = totals == _OLDER_TOTALS
    sizes = {kind: totals[kind, "yes"] + totals[kind, "no"] for kind in KINDS}
    if not older and len(set(sizes.values())) > 1:
        told = ", ".join(f"{kind} {n}" for kind, n in sizes.items())
        raise InfoflowError(
            f"the kinds of POPE are not equal in number ({told}), so some questions are missing; "
            "valid: as many of each, such as 3000; or of the older release 2910, 1500 of them yes, "
            "3000 and 3000."
        )
    asked = Counter((row["category"], _picture(row), row["answer"]) for row in rows)
    pictures = sorted({picture for _, picture, _ in asked})
    n = max(Counter((row["category"], _picture(row)) for row in rows).values())
    for kind in KINDS:
        for picture in pictures:
            yes, no = asked[kind, picture, "yes"], asked[kind, picture, "no"]
            lacks_some = older and kind == "random" and 2 * yes == n and yes >= no
            if not lacks_some and (yes + no != n or abs(yes - no) > n % 2):
                raise InfoflowError(
                    f"the {kind} kind of POPE has {yes} questions with the answer yes and {no} "
                    f"with no about the picture {picture}; valid: {n} about each, half of them yes."
                )


def _require_own_questions(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise if two kinds ask the very same: one file was then saved under two names."""
    asked: dict[str, set[tuple[str, str]]] = {kind: set() for kind in KINDS}
    for row in rows:
        asked[row["category"]].add((_picture(row), row["question"]))
    for one, other in combinations(KINDS, 2):
        if len(asked[one]) > 1 and asked[one] == asked[other]:
            raise InfoflowError(
                f"the {one} and the {other} kind of POPE hold the same questions; each has a file "
                "of its own."
            )


def _in_turn(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Order rows so that the kinds take turns: any first few items then hold all three."""
    seen = dict.fromkeys(KINDS, 0)
    keys = []
    for place, row in enumerate(rows):
        kind = row["category"]
        keys.append((seen[kind], KINDS.index(kind), place))
        seen[kind] += 1
    return [place for _, _, place in sorted(keys)]


def _of_split(rows: Sequence[Mapping[str, Any]], split: str) -> list[int]:
    """Places of a split's rows: all, or those of one half of the pictures."""
    order = _in_turn(rows)
    if split == "test":
        return order
    chosen = set(drawn_half(map(_picture, rows), split))
    return [place for place in order if _picture(rows[place]) in chosen]


def _entries(
    rows: Sequence[Mapping[str, Any]], pictures: Sequence[Picture], split: str
) -> list[Entry]:
    entries = [Entry(_fields(row), picture) for row, picture in zip(rows, pictures, strict=True)]
    require_sound(entries, "POPE")
    asked = (f"{row['question']} ({row['category']}, {_picture(row)})" for row in rows)
    require_once(asked, "the question", "POPE")
    _require_balance(rows)
    _require_own_questions(rows)
    return [entries[place] for place in _of_split(rows, split)]


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows."""
    require_every_picture(rows)
    return _entries(rows.fields, [rows.picture(n) for n in range(len(rows.fields))], split)


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from the three files of questions, with COCO's pictures in ``val2014``."""
    rows = [row for kind in KINDS for row in _questions(folder, kind)]
    pictures = [inside(folder / "val2014", row["image_source"], "the picture") for row in rows]
    return _entries(rows, pictures, split)


def _questions(folder: Path, kind: str) -> list[dict[str, Any]]:
    name = f"coco_pope_{kind}.json"
    lines = read_json_lines(find_file(folder, name, f"output/coco/{name}", f"coco/{name}"))
    require_items(lines, _ORIGINAL_KINDS, name, "question")
    return [
        {
            "question_id": line["question_id"],
            "question": line["text"],
            "answer": line["label"],
            "category": kind,
            "image_source": line["image"],
        }
        for line in lines
    ]


POPE = Benchmark(
    splits={"test": "test", "calibration": "calibration", "held-out": "held-out"},
    stored={"test": "test", "calibration": "test", "held-out": "test"},
    columns=_KINDS,
    marks=("coco_pope_*.json", "output/coco/coco_pope_*.json", "coco/coco_pope_*.json"),
    originals="coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json "
    "(or in output/coco or coco), val2014/COCO_val2014_*.jpg",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=128,
    pieces={"test": KINDS},
)
"""``"test"`` is all of POPE (3 times 3000 items), what everyone reports. There are no other items,
so ``"calibration"`` is half of its pictures, drawn with a seed, and ``"held-out"`` the other half.
What is chosen on the one is to be reported on the other. 128 tokens, as LLaVA's script."""
