"""CHAIR's own data: pictures of COCO's val2014, and which objects they show.

What a picture shows is, as published, the union of the classes of its instances and of those that
its five reference captions name. The captions are read by the same rule as the model's.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from infoflow.errors import InfoflowError
from infoflow.tasks.benchmark import Benchmark, Wishes, require_keys, require_texts
from infoflow.tasks.captions import Table, caption_objects
from infoflow.tasks.draw import drawn_half, in_drawn_order
from infoflow.tasks.entries import Entry, Fields
from infoflow.tasks.files import find_file, read_json
from infoflow.tasks.rows import Rows, require_every_picture

_T = TypeVar("_T")

QUESTION = "Please describe this image in detail."
N_PICTURES = 500
_INSTANCES, _CAPTIONS = "instances_val2014.json", "captions_val2014.json"


def _fields(number: int, captions: Sequence[str], objects: Iterable[str]) -> Fields:
    names = tuple(sorted(set(objects)))
    reference = captions[0] if captions else ", ".join(names)
    return Fields(f"chair-{number}", QUESTION, reference, "caption", objects=names)


def read_numbers(path: str | Path) -> tuple[int, ...]:
    """Read which pictures to take.

    Args:
        path: A text file with a picture a line: COCO's number of it, or its file's name.

    Returns:
        The numbers, in the file's order.

    Raises:
        InfoflowError: The file cannot be read, is empty, or a line is neither.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InfoflowError(
            f"cannot read the list of pictures {str(path)!r} ({type(error).__name__})."
        ) from error
    if not lines:
        raise InfoflowError(f"the list of pictures {str(path)!r} is empty.")
    ends = [Path(line).stem.rpartition("_")[2] for line in lines]
    if wrong := [line for line, end in zip(lines, ends, strict=True) if not end.isdecimal()]:
        raise InfoflowError(
            f"{wrong[0]!r} in {str(path)!r} is no picture of COCO; valid: 42 or "
            "COCO_val2014_000000000042.jpg."
        )
    return tuple(int(end) for end in ends)


def _chosen(available: Iterable[int], split: str, wishes: Wishes) -> list[int]:
    """Numbers of a split's pictures: those wished for or the first drawn, or the next drawn.

    Nothing that is reported here is chosen on, so ``"held-out"`` is ``"test"``.
    """
    drawn = [int(name) for name in in_drawn_order(map(str, available))]
    test = list(drawn[:N_PICTURES] if wishes.pictures is None else wishes.pictures)
    if absent := sorted(set(test) - set(drawn)):
        raise InfoflowError(
            f"{len(absent)} of the {len(test)} pictures asked for are not in the data, the first "
            f"of them {absent[0]}."
        )
    if split != "calibration":
        return test
    taken = set(test)
    rest = [number for number in drawn if number not in taken][:N_PICTURES]
    if not rest:
        raise InfoflowError(
            f"all {len(drawn)} pictures are for reporting, so none is left to choose on; list "
            "fewer of them, or give COCO's own files, which have more."
        )
    return rest


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows, whose objects someone has gathered already."""
    require_every_picture(rows)
    classes = {line[0].strip() for line in wishes.synonyms}
    places = _once(((row["question_id"], n) for n, row in enumerate(rows.fields)), rows.where)
    entries = []
    for number in _of_rows(places, split, wishes):
        place = places[number]
        objects = require_texts(rows.fields[place]["gt_object"], f"'gt_object' of row {place}")
        _require_classes(objects, classes, f"row {place}")
        entries.append(Entry(_fields(number, (), objects), partial(rows.picture, place)))
    return entries


def _of_rows(available: Iterable[int], split: str, wishes: Wishes) -> Iterable[int]:
    """Numbers of a split's pictures where there are no others: the set is itself a choice."""
    if wishes.pictures is not None:
        return _chosen(available, split, wishes)
    if split == "test":
        return available
    return map(int, drawn_half(map(str, available), split))


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from COCO's annotations, with the pictures in ``val2014``."""
    instances = _annotations(folder, _INSTANCES, ("images", "categories", "annotations"))
    captions = _annotations(folder, _CAPTIONS, ("annotations",))
    images = _all_with(instances["images"], ("id", "file_name"), _INSTANCES)
    files = _once(((image["id"], image["file_name"]) for image in images), _INSTANCES)
    chosen = _chosen(files, split, wishes)
    texts = _texts(captions["annotations"], set(chosen))
    objects = _instances(instances, set(chosen), wishes.synonyms)
    entries = []
    for number in chosen:
        named = (
            name
            for text in texts[number]
            for name in caption_objects(text, wishes.synonyms, wishes.rule)
        )
        fields = _fields(number, texts[number], (*objects[number], *named))
        entries.append(Entry(fields, folder / "val2014" / files[number]))
    return entries


def _once(pairs: Iterable[tuple[Any, _T]], where: str) -> dict[int, _T]:
    """Index values by COCO's numbers, each of which must be one and stand once."""
    found: dict[int, _T] = {}
    for name, value in pairs:
        if not str(name).isdecimal():
            raise InfoflowError(f"{where} numbers a picture {name!r}; valid: a number of COCO.")
        if int(name) in found:
            raise InfoflowError(f"{where} holds the picture {name} twice.")
        found[int(name)] = value
    return found


def _annotations(folder: Path, name: str, keys: Sequence[str]) -> Any:
    content = read_json(find_file(folder, f"annotations/{name}", name))
    require_keys(content, keys, name)
    return content


def _all_with(items: Sequence[Any], keys: Sequence[str], name: str) -> Sequence[Any]:
    for number, item in enumerate(items, start=1):
        require_keys(item, keys, f"entry {number} of {name}")
    return items


def _texts(annotations: Sequence[Any], chosen: set[int]) -> Mapping[int, list[str]]:
    texts: dict[int, list[str]] = defaultdict(list)
    for item in _all_with(annotations, ("image_id", "caption"), _CAPTIONS):
        if item["image_id"] in chosen:
            texts[item["image_id"]].append(item["caption"])
    return texts


def _instances(content: Any, chosen: set[int], synonyms: Table) -> Mapping[int, set[str]]:
    """Classes of each chosen picture's instances."""
    categories = _all_with(content["categories"], ("id", "name"), _INSTANCES)
    names = {category["id"]: category["name"] for category in categories}
    class_of = {entry.strip(): line[0].strip() for line in synonyms for entry in line}
    _require_classes(names.values(), set(class_of), _INSTANCES)
    found: dict[int, set[str]] = defaultdict(set)
    for item in _all_with(content["annotations"], ("image_id", "category_id"), _INSTANCES):
        if item["image_id"] in chosen:
            found[item["image_id"]].add(class_of[names[item["category_id"]]])
    return found


def _require_classes(names: Iterable[str], classes: set[str], where: str) -> None:
    if unknown := sorted(set(names) - classes):
        raise InfoflowError(
            f"{where} names {unknown[0]!r}, which the file of synonyms does not know; the two must "
            "be about the same classes."
        )


CHAIR = Benchmark(
    splits={"test": "test", "calibration": "calibration", "held-out": "held-out"},
    stored={"test": "test", "calibration": "test", "held-out": "test"},
    columns=("image", "question_id", "gt_object"),
    marks=(f"annotations/{_INSTANCES}", _INSTANCES, f"annotations/{_CAPTIONS}", _CAPTIONS),
    originals=f"annotations/{_INSTANCES}, annotations/{_CAPTIONS}, val2014/COCO_val2014_*.jpg",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=512,
    pieces={},
)
"""Of COCO's files ``"test"`` is 500 pictures of val2014, drawn with a seed
(:func:`infoflow.tasks.draw.in_drawn_order` of COCO's numbers) or given as a list; ``"calibration"``
the next 500 drawn. Published choices differ from paper to paper: they shuffled the listing of a
folder. Of rows ``"test"`` is all pictures and ``"calibration"`` half of them, drawn with the seed;
if pictures are listed, it is others. ``"held-out"`` is what is reported beside ``"calibration"``:
the other half of rows, else the same as ``"test"``. 512 tokens, as OPERA and most later work."""
