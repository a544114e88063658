"""CHAIR: which objects of a caption are in the image, and which are made up."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from infoflow.data import captions
from infoflow.data.captions import RULES, Table, caption_objects
from infoflow.data.sample import Sample
from infoflow.data.sets import checks, own
from infoflow.data.sets.checks import TEXTS, WHOLE, require_known, require_once
from infoflow.data.sets.own import ClosedSample, OwnData
from infoflow.data.sets.rows import IMAGE, HubSet, Row
from infoflow.data.task import Task, check_rows
from infoflow.errors import InfoflowError
from infoflow.files import inside, read_json, read_text, require_path

__all__ = ["Chair", "ChairData", "ChairScores", "Table", "caption_objects", "chair_scores"]

N_IMAGES = 500
_SYNONYMS = "the list of synonyms"
_INSTANCES, _CAPTIONS = "instances_val2014.json", "captions_val2014.json"
_LISTED = re.compile(r"(?:.*/)?(?:COCO_val2014_)?([0-9]{1,12})(?:\.jpg)?")
_FILE_NAME = re.compile(r"COCO_val2014_([0-9]{12})\.jpg")


class ChairScores(NamedTuple):
    """The metrics of CHAIR over a set of captions, each from 0 to 1.

    Attributes:
        chair_i: Share of object mentions that are hallucinated; 0 where nothing is mentioned.
        chair_s: Share of captions with at least one hallucinated mention.
        recall: Share of the objects present that are mentioned; 1 where none is present.
    """

    chair_i: float
    chair_s: float
    recall: float


_COUNTS = ("mentions", "hallucinated", "found", "present")


def _count(mentioned: Collection[str], present: Iterable[str]) -> dict[str, int]:
    truth = set(present)
    hallucinated = sum(name not in truth for name in mentioned)
    found = len(truth.intersection(mentioned))
    return dict(zip(_COUNTS, (len(mentioned), hallucinated, found, len(truth)), strict=True))


def _scores(counts: pd.DataFrame) -> ChairScores:
    mentions, hallucinated, found, present = (int(counts[c].sum()) for c in _COUNTS)
    return ChairScores(
        chair_i=hallucinated / mentions if mentions else 0.0,
        chair_s=float((counts["hallucinated"] > 0).mean()),
        recall=found / present if present else 1.0,
    )


def chair_scores(
    mentioned: Sequence[Collection[str]], present: Sequence[Iterable[str]]
) -> ChairScores:
    """Compute CHAIRi and CHAIRs (Rohrbach et al., 2018, Eq. 1 and 2) and recall.

    CHAIRi = hallucinated mentions / all mentions;
    CHAIRs = captions with a hallucinated mention / all captions;
    recall = distinct objects present and mentioned / distinct objects present.
    All three pool the captions before dividing. Mentions count as often as they occur.

    Args:
        mentioned: Classes that each caption mentions (:func:`caption_objects`).
        present: Classes that are in each image.

    Returns:
        The three metrics.

    Raises:
        InfoflowError: There is no caption, or the two lengths differ.
    """
    if not len(mentioned) or len(mentioned) != len(present):
        raise InfoflowError(
            f"got {len(mentioned)} captions and {len(present)} pictures; "
            "they must be as many, and at least one."
        )
    pairs = zip(mentioned, present, strict=True)
    return _scores(pd.DataFrame([_count(named, truth) for named, truth in pairs]))


@dataclass
class ChairData(OwnData):
    """Images of COCO's val2014, and which objects they show.

    What an image shows is, as published, the union of the classes of its instances and of those
    that its five reference captions name. The captions are read by the same rule as the model's.

    Of COCO's files ``"test"`` is 500 images, drawn with a seed or given as a list;
    ``"calibration"`` the next 500 drawn. Published choices differ from paper to paper: they
    shuffled the listing of a folder. Of rows ``"test"`` is all images and ``"calibration"`` half of
    them, drawn with the seed; if images are listed, it is others. ``"held-out"`` is what is
    reported beside ``"calibration"``: the other half of rows, else the same as ``"test"``.
    512 tokens, as OPERA and most later work.

    Attributes:
        synonyms: A file with the list of synonyms; None for the folder's ``synonyms.txt`` or,
            without one, the published list.
        pictures: A file with the images to take in place of the draw; None for the draw.
    """

    _: KW_ONLY
    synonyms: str | Path | None = None
    pictures: str | Path | None = None

    name = "chair"
    hub = HubSet("tsunghanwu", "mscoco_chair")
    stored = "test"
    columns: ClassVar = {"question_id": checks.ID, "gt_object": TEXTS}
    marks = (f"annotations/{_INSTANCES}", _INSTANCES, f"annotations/{_CAPTIONS}", _CAPTIONS)
    originals = f"annotations/{_INSTANCES}, annotations/{_CAPTIONS}, val2014/COCO_val2014_*.jpg"
    max_new_tokens = 512

    def __post_init__(self) -> None:
        listed = None if self.pictures is None else require_path(self.pictures, "pictures=")
        path = None if self.synonyms is None else require_path(self.synonyms, "synonyms=")
        if path is None and self.folder and own.is_file(self.folder / "synonyms.txt"):
            path = self.folder / "synonyms.txt"
        self.listed = _read_numbers(listed) if listed else None
        self.table = captions.read_synonyms(path) if path else captions.published_synonyms()
        self.class_of = {entry.strip(): line[0].strip() for line in self.table for entry in line}

    def settings(self) -> dict[str, Any]:
        """The table of synonyms."""
        return {"synonyms": self.table}

    def label(self) -> str:
        """Digests of the synonyms and of which images were listed, in whatever order."""
        label = f", synonyms {captions.synonyms_digest(self.table)[:8]}"
        listed = hashlib.sha256(repr(sorted(self.listed or ())).encode()).hexdigest()[:8]
        return label if self.listed is None else f"{label}, pictures {listed}"

    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        """Make the samples of the chosen images; rows of the hub hold objects gathered already."""
        numbers = []
        for row in rows:
            if not re.fullmatch("[0-9]{1,12}", number := str(row["question_id"])):
                raise InfoflowError(f"{where} numbers a picture {number!r}; valid: as COCO does.")
            numbers.append(int(number))
        require_once(numbers, "the picture", where)
        places = {number: place for place, number in enumerate(numbers)}
        chosen = self._chosen(numbers, split, whole=not any("captions" in row for row in rows[:1]))
        return [self._sample(number, rows[places[number]], places[number]) for number in chosen]

    def _chosen(self, numbers: Sequence[int], split: str, whole: bool) -> Sequence[int]:
        """Numbers of a split's images, of a set that is itself a choice or of all of COCO's.

        Nothing that is reported here is chosen on, so ``"held-out"`` is ``"test"`` but for halves.
        """
        drawn = [int(name) for name in own.in_drawn_order(map(str, numbers))]
        if whole and self.listed is None:
            half = own.drawn_half(map(str, numbers), split)
            return numbers if split == "test" else [*map(int, half)]
        test = drawn[:N_IMAGES] if self.listed is None else self.listed
        require_known("picture", test, "the list of pictures", drawn, "the data")
        if split != "calibration":
            return test
        taken = set(test)
        rest = [number for number in drawn if number not in taken][:N_IMAGES]
        if not rest:
            raise InfoflowError(
                f"all {len(drawn)} pictures are for reporting, so none is left to choose on; list "
                "fewer of them, or give COCO's own files, which have more."
            )
        return rest

    def _sample(self, number: int, row: Row, place: int) -> ClosedSample:
        texts = row.get("captions", ())
        classes = self.class_of.values()
        require_known("class", row["gt_object"], f"row {place}", classes, _SYNONYMS)
        named = (name for text in texts for name in caption_objects(text, self.table, self.rule))
        objects = tuple(sorted({*row["gt_object"], *named}))
        return ClosedSample(
            id=f"chair-{number}",
            origin=row[IMAGE],
            question="Please describe this image in detail.",
            answer=texts[0] if texts else ", ".join(objects),
            kind="caption",
            objects=objects,
        )

    def read_originals(self, folder: Path, split: str) -> list[Row]:
        """Read COCO's annotations, with the images in ``val2014``."""
        content, instances = _annotations(folder, _INSTANCES, "category_id", WHOLE)
        _, texts = _annotations(folder, _CAPTIONS, "caption", checks.STRING)
        images = _list(content, "images", "file_name", "picture")
        for number, name in images.items():
            if (numbered := _FILE_NAME.fullmatch(name)) and int(numbered[1]) != number:
                raise InfoflowError(f"{_INSTANCES} gives the picture {number} the file {name}.")
        for file, found in ((_INSTANCES, instances), (_CAPTIONS, texts)):
            require_known("picture", found, file, images, f"the list of images in {_INSTANCES}")
        captioned = [number for number in images if "".join(texts[number]).strip()]
        require_known("picture", images, _INSTANCES, captioned, _CAPTIONS)
        categories = _list(content, "categories", "name", "category")
        require_known("class", categories.values(), _INSTANCES, self.class_of, _SYNONYMS)
        shown = {category for some in instances.values() for category in some}
        require_known("category", shown, _INSTANCES, categories, "its list of categories")
        return [
            {
                "question_id": number,
                "gt_object": [self.class_of[categories[one]] for one in instances[number]],
                "captions": texts[number],
                IMAGE: inside(folder / "val2014", name, "the picture"),
            }
            for number, name in images.items()
        ]


def _read_numbers(path: Path) -> list[int]:
    """Read which images to take: a line has COCO's number of one, or its file's name."""
    where = f"the list of pictures {str(path)!r}"
    lines = read_text(path).split()
    if not lines:
        raise InfoflowError(f"{where} is empty.")
    for line in lines:
        if not _LISTED.fullmatch(line):
            raise InfoflowError(
                f"{line!r} in {str(path)!r} is no picture of COCO; valid: 42 or "
                "COCO_val2014_000000000042.jpg."
            )
    numbers = [int(_LISTED.sub(r"\1", line)) for line in lines]
    require_once(numbers, "the picture", where)
    return numbers


def _annotations(
    folder: Path, name: str, key: str, kind: checks.Kind
) -> tuple[Any, Mapping[int, list[Any]]]:
    """Read a file of annotations; and by image what they have under a key."""
    content = read_json(own.find_file(folder, f"annotations/{name}", name))
    annotations = checks.require_fields(content, {"annotations": checks.LIST}, name)["annotations"]
    if not annotations:
        raise InfoflowError(f"{name} has no annotation.")
    checks.require_entries(annotations, {"image_id": WHOLE, key: kind}, name, "annotation")
    numbered = [entry for entry in annotations if "id" in entry]
    checks.require_entries(numbered, {"id": WHOLE}, name, "annotation")
    require_once([entry["id"] for entry in numbered], "the annotation", name)
    by_image: dict[int, list[Any]] = defaultdict(list)
    for entry in annotations:
        by_image[entry["image_id"]].append(entry[key])
    return content, by_image


def _list(instances: Any, name: str, text: str, noun: str) -> dict[int, str]:
    """Read one of COCO's lists, whose entries have an id and a text, each of them once."""
    entries = checks.require_fields(instances, {name: checks.LIST}, _INSTANCES)[name]
    checks.require_entries(entries, {"id": WHOLE, text: checks.TEXT}, _INSTANCES, noun)
    for key in ("id", text):
        require_once([entry[key] for entry in entries], f"the {noun}", _INSTANCES)
    return {entry["id"]: entry[text] for entry in entries}


@dataclass(frozen=True)
class Chair(Task):
    """CHAIR (Rohrbach et al., 2018): hallucinated objects in captions.

    The score of one caption is the F1 of the set of objects it names against the set in the
    image, because CHAIR alone rewards silence: a caption that names nothing hallucinates nothing.

    Attributes:
        synonyms: For each class its name and then its synonyms.
    """

    rule: str = RULES[0]
    max_new_tokens: int = field(default=32, kw_only=True)
    synonyms: Table = ()

    name = "chair"
    rules = RULES
    data = ChairData

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.synonyms:
            raise InfoflowError(
                "task 'chair' has no synonyms; it needs a table with a class a line."
            )
        caption_objects("", self.synonyms, self.rule)  # so that missing data stop it at once

    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        """List the mentions, separated by commas; see :meth:`Task.details`.

        Its own columns count ``mentions``, those ``hallucinated``, and the distinct objects
        ``found`` and ``present``.
        """
        named = caption_objects(text, self.synonyms, self.rule)
        score = _f1(set(named), set(sample.objects))
        return ", ".join(named), score, _count(named, sample.objects)

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``CHAIRs``, ``CHAIRi``, ``recall`` and the mean ``f1``; see :meth:`Task.summary`."""
        check_rows(rows, "score", *_COUNTS)
        scores = _scores(rows)
        return {
            "CHAIRs": scores.chair_s,
            "CHAIRi": scores.chair_i,
            "recall": scores.recall,
            "f1": float(rows["score"].mean()),
        }

    def best_constant(self) -> float:
        """Mean F1 of the best caption that names the k most frequent objects, over all k."""
        present = [set(sample.objects) for sample in self]
        frequency = Counter(name for names in present for name in names)
        ranked = [name for name, _ in frequency.most_common()]
        totals = (
            sum(_f1(set(ranked[:k]), names) for names in present) for k in range(len(ranked) + 1)
        )
        return max(totals) / len(present)


def _f1(named: set[str], present: set[str]) -> float:
    total = len(named) + len(present)
    return 2 * len(named & present) / total if total else 1.0
