"""CHAIR: which objects of a caption are in the image, and which are made up."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from infoflow.data import captions
from infoflow.data.captions import RULES, Table, caption_objects
from infoflow.data.sample import Sample
from infoflow.data.sets import checks, own
from infoflow.data.sets.own import ClosedSample, OwnData
from infoflow.data.sets.rows import IMAGE, Row
from infoflow.data.task import Task, check_rows
from infoflow.errors import InfoflowError
from infoflow.files import inside, read_text, require_path

N_IMAGES = 500
_INSTANCES, _CAPTIONS = "instances_val2014.json", "captions_val2014.json"
_LISTED = re.compile(r"(?:.*/)?(?:COCO_val2014_)?([0-9]{1,12})(?:\.jpg)?")
_COUNTS = ("mentions", "hallucinated", "found", "present")


@dataclass
class ChairData(OwnData):
    """Images of COCO's val2014, and which objects they show.

    What an image shows is, as published, the classes of its instances and of those that its five
    reference captions name, read by the same rule as the model's.

    Of COCO's files ``"test"`` is 500 images, drawn with a seed or listed in a file;
    ``"calibration"`` the next 500 drawn (papers shuffled the listing of a folder). Of rows
    ``"test"`` is all images, ``"calibration"`` half of them or, if images are listed, others.
    ``"held-out"`` is what is reported beside it: the other half of rows, else as ``"test"``.
    512 tokens, as OPERA. Synonyms are those given, the folder's ``synonyms.txt``, or the published.
    """

    _: KW_ONLY
    synonyms: str | Path | None = None
    pictures: str | Path | None = None

    name = "chair"
    hub = "tsunghanwu/mscoco_chair"
    stored = "test"
    columns: ClassVar = {IMAGE: checks.IMAGE, "question_id": checks.ID, "gt_object": checks.TEXTS}
    marks = (_INSTANCES, _CAPTIONS)
    originals = f"annotations/{_INSTANCES}, annotations/{_CAPTIONS}, val2014/COCO_val2014_*.jpg"
    max_new_tokens = 512

    def __post_init__(self) -> None:
        self.listed = None if self.pictures is None else _read_numbers(self.pictures)
        beside = self.folder / "synonyms.txt" if self.folder else None
        table = beside if beside and beside.is_file() else None
        if self.synonyms is not None:
            table = require_path(self.synonyms, "synonyms=")
        self.table = captions.read_synonyms(table or captions.published_synonyms())
        self.class_of = {entry.strip(): line[0].strip() for line in self.table for entry in line}
        self.settings = {"synonyms": self.table}
        self.label = f", synonyms {captions.synonyms_digest(self.table)[:8]}"
        if self.listed is not None:  # in whatever order
            digest = hashlib.sha256(repr(sorted(self.listed)).encode()).hexdigest()
            self.label += f", pictures {digest[:8]}"

    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        numbers = [_number(str(row["question_id"]), where) for row in rows]
        checks.require_once(numbers, "the image", where)
        by_number = dict(zip(numbers, rows, strict=True))
        chosen = self._chosen(numbers, split, whole=not any("captions" in row for row in rows[:1]))
        return [self._sample(number, by_number[number]) for number in chosen]

    def _chosen(self, numbers: Sequence[int], split: str, whole: bool) -> Sequence[int]:
        drawn = [int(name) for name in own.in_drawn_order(map(str, numbers))]
        if whole and self.listed is None:
            half = map(int, own.drawn_half(map(str, numbers), split))
            return numbers if split == "test" else [*half]
        test = drawn[:N_IMAGES] if self.listed is None else self.listed
        checks.require_known("image", test, "the list of images", drawn, "the data")
        if split != "calibration":
            return test
        taken = set(test)
        if not (rest := [number for number in drawn if number not in taken][:N_IMAGES]):
            left = "none is left to choose on; list fewer, or give COCO's own files"
            raise InfoflowError(f"all {len(drawn)} images are for reporting, so {left}.")
        return rest

    def _sample(self, number: int, row: Row) -> ClosedSample:
        texts, shown, where = row.get("captions", ()), row["gt_object"], f"image {number}"
        checks.require_known("class", shown, where, self.class_of, "the list of synonyms")
        named = (name for text in texts for name in caption_objects(text, self.table, self.rule))
        objects = tuple(sorted({*map(self.class_of.__getitem__, shown), *named}))
        return ClosedSample(
            id=f"chair-{number}",
            origin=row[IMAGE],
            question="Please describe this image in detail.",
            answer=texts[0] if texts else ", ".join(objects),
            kind="caption",
            objects=objects,
        )

    def read_originals(self, folder: Path, split: str) -> list[Row]:
        content, captioned = (own.read_original(folder, name) for name in self.marks)
        images = _texts(content, "images", "file_name")
        categories = _texts(content, "categories", "name")
        instances = _by_image(_INSTANCES, content, "category_id", images)
        texts = _by_image(_CAPTIONS, captioned, "caption", images)
        with_text = [number for number in images if "".join(texts[number]).strip()]
        shown = {category for some in instances.values() for category in some}
        checks.require_known("image", images, _INSTANCES, with_text, _CAPTIONS)
        checks.require_known("category", shown, _INSTANCES, categories, "its list of categories")
        return [
            {
                "question_id": number,
                "gt_object": [categories[one] for one in instances[number]],
                "captions": texts[number],
                IMAGE: inside(folder / "val2014", name, "the image"),
            }
            for number, name in images.items()
        ]


def _read_numbers(listed: str | Path) -> list[int]:
    """Read which images to take: a line has COCO's number of one, or its file's name."""
    path = require_path(listed, "pictures=")
    where = f"the list of images {str(path)!r}"
    if not (numbers := [_number(line, where) for line in read_text(path).split()]):
        raise InfoflowError(f"{where} is empty.")
    checks.require_once(numbers, "the image", where)
    return numbers


def _number(text: str, where: str) -> int:
    if not (listed := _LISTED.fullmatch(text)):
        valid = "42 or COCO_val2014_000000000042.jpg"
        raise InfoflowError(f"{text!r} in {where} is no image of COCO; valid: {valid}.")
    return int(listed[1])


def _texts(content: Any, key: str, name: str) -> dict[int, str]:
    checks.require_once((entry["id"] for entry in content[key]), f"an id of {key}", _INSTANCES)
    return {entry["id"]: entry[name] for entry in content[key]}


def _by_image(file: str, content: Any, key: str, images: Any) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for entry in content["annotations"]:
        found[entry["image_id"]].append(entry[key])
    checks.require_known("image", found, file, images, f"the list of images in {_INSTANCES}")
    return found


@dataclass(frozen=True)
class Chair(Task):
    """CHAIR (Rohrbach et al., 2018): hallucinated objects in captions.

    A caption's score is the F1 of the objects it names, because CHAIR alone rewards silence.
    """

    synonyms: Table = ()  # for each class its name and then its synonyms

    name = "chair"
    rules = RULES
    data = ChairData
    shapes_tokens = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.synonyms:
            raise InfoflowError("task 'chair' has no synonyms; it needs a table, a class a line.")
        caption_objects("", self.synonyms, self.rule)  # so that missing data stop it at once

    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        """List the mentions, which are counted, as are distinct objects found and present."""
        named, present = caption_objects(text, self.synonyms, self.rule), set(sample.objects)
        hallucinated = sum(name not in present for name in named)
        counts = (len(named), hallucinated, len(present.intersection(named)), len(present))
        score = _f1(set(named), present)
        return ", ".join(named), score, dict(zip(_COUNTS, counts, strict=True))

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """CHAIR's metrics (Rohrbach et al., 2018, Eq. 1 and 2), pooled over captions; mean F1.

        ``CHAIRs``: captions with a hallucinated mention; ``CHAIRi``: hallucinated mentions of all
        (0 of none); ``recall``: distinct objects mentioned of those present (1 of none).
        """
        check_rows(rows, "score", *_COUNTS)
        mentions, hallucinated, found, present = (int(rows[column].sum()) for column in _COUNTS)
        return {
            "CHAIRs": float((rows["hallucinated"] > 0).mean()),
            "CHAIRi": hallucinated / mentions if mentions else 0.0,
            "recall": found / present if present else 1.0,
            "f1": float(rows["score"].mean()),
        }

    def best_constant(self) -> float:
        """Mean F1 of the best caption that names the k most frequent objects, over all k."""
        present = [set(sample.objects) for sample in self]
        frequency = Counter(name for names in present for name in names)
        ranked = [name for name, _ in frequency.most_common()]
        guesses = [set(ranked[:k]) for k in range(len(ranked) + 1)]
        return max(sum(_f1(guess, names) for names in present) for guess in guesses) / len(present)


def _f1(named: set[str], present: set[str]) -> float:
    total = len(named) + len(present)
    return 2 * len(named & present) / total if total else 1.0
