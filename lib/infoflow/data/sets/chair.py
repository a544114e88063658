"""CHAIR's own data: pictures of COCO's val2014, and which objects they show.

What a picture shows is, as published, the union of the classes of its instances and of those that
its five reference captions name. The captions are read by the same rule as the model's.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infoflow.data.captions import Table, caption_objects
from infoflow.data.sets.benchmark import Benchmark, Wishes
from infoflow.data.sets.draw import drawn_half, in_drawn_order
from infoflow.data.sets.entries import Entry, Fields
from infoflow.data.sets.files import find_file
from infoflow.data.sets.kinds import (
    ID,
    LIST,
    STRING,
    TEXT,
    TEXTS,
    WHOLE,
    Kind,
    require_fields,
    require_items,
    require_once,
)
from infoflow.data.sets.rows import Rows, require_every_picture
from infoflow.errors import InfoflowError
from infoflow.files import inside, read_json

QUESTION = "Please describe this image in detail."
N_PICTURES = 500
_INSTANCES, _CAPTIONS = "instances_val2014.json", "captions_val2014.json"
_KINDS = {"question_id": ID, "gt_object": TEXTS}
_LISTED = re.compile(r"(?:.*/)?(?:COCO_val2014_)?([0-9]{1,12})(?:\.jpg)?")
_FILE_NAME = re.compile(r"COCO_val2014_([0-9]{12})\.jpg")


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
        InfoflowError: The file cannot be read, is empty, a line is neither, or a picture stands
            there twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InfoflowError(
            f"cannot read the list of pictures {str(path)!r} ({type(error).__name__})."
        ) from error
    if not lines:
        raise InfoflowError(f"the list of pictures {str(path)!r} is empty.")
    numbers = []
    for line in lines:
        if not (listed := _LISTED.fullmatch(line)):
            raise InfoflowError(
                f"{line!r} in {str(path)!r} is no picture of COCO; valid: 42 or "
                "COCO_val2014_000000000042.jpg."
            )
        numbers.append(int(listed[1]))
    require_once(numbers, "the picture", f"the list of pictures {str(path)!r}")
    return tuple(numbers)


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
    numbers = [_number(row["question_id"], rows.where) for row in rows.fields]
    require_once(numbers, "the picture", rows.where)
    places = {number: place for place, number in enumerate(numbers)}
    entries = []
    for number in _of_rows(places, split, wishes):
        place = places[number]
        objects = rows.fields[place]["gt_object"]
        _require_classes(objects, classes, f"row {place}")
        entries.append(Entry(_fields(number, (), objects), rows.picture(place)))
    return entries


def _of_rows(available: Iterable[int], split: str, wishes: Wishes) -> Iterable[int]:
    """Numbers of a split's pictures where there are no others: the set is itself a choice."""
    if wishes.pictures is not None:
        return _chosen(available, split, wishes)
    if split == "test":
        return available
    return map(int, drawn_half(map(str, available), split))


def _number(name: int | str, where: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", str(name)):
        raise InfoflowError(f"{where} numbers a picture {name!r}; valid: a number of COCO.")
    return int(name)


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from COCO's annotations, with the pictures in ``val2014``."""
    instances = _annotations(folder, _INSTANCES, {"category_id": WHOLE})
    captions = _annotations(folder, _CAPTIONS, {"caption": STRING})
    files = _files(instances, folder / "val2014")
    texts = _by_picture(captions, "caption", files, _CAPTIONS)
    if without := [number for number in files if not "".join(texts[number]).strip()]:
        raise InfoflowError(
            f"{_CAPTIONS} has no caption of {len(without)} pictures of {_INSTANCES}, the first of "
            f"them {without[0]}."
        )
    classes = _classes(instances, wishes.synonyms)
    categories = _by_picture(instances, "category_id", files, _INSTANCES)
    if unknown := {number for numbers in categories.values() for number in numbers} - set(classes):
        raise InfoflowError(f"{_INSTANCES} has no category {min(unknown)}, which instances are of.")
    entries = []
    for number in _chosen(files, split, wishes):
        named = (
            name
            for text in texts[number]
            for name in caption_objects(text, wishes.synonyms, wishes.rule)
        )
        shown = (classes[category] for category in categories[number])
        entries.append(Entry(_fields(number, texts[number], (*shown, *named)), files[number]))
    return entries


def _annotations(folder: Path, name: str, kinds: Mapping[str, Kind]) -> Any:
    """Read a file of annotations, each of which must have an ``image_id`` and what is asked for."""
    content = read_json(find_file(folder, f"annotations/{name}", name))
    require_fields(content, {"annotations": LIST}, name)
    annotations = content["annotations"]
    if not annotations:
        raise InfoflowError(f"{name} has no annotation.")
    require_items(annotations, {"image_id": WHOLE, **kinds}, name, "annotation")
    numbered = [item for item in annotations if "id" in item]
    require_items(numbered, {"id": WHOLE}, name, "annotation")
    require_once([item["id"] for item in numbered], "the annotation", name)
    return content


def _table(instances: Any, name: str, text: str, noun: str) -> list[dict[str, Any]]:
    """Read one of COCO's lists, whose entries have an id and a text, each of them once."""
    require_fields(instances, {name: LIST}, _INSTANCES)
    rows: list[dict[str, Any]] = instances[name]
    require_items(rows, {"id": WHOLE, text: TEXT}, _INSTANCES, noun)
    for key in ("id", text):
        require_once([row[key] for row in rows], f"the {noun}", _INSTANCES)
    return rows


def _files(instances: Any, folder: Path) -> dict[int, Path]:
    """File of each picture; COCO's names of them tell their numbers, too."""
    images = _table(instances, "images", "file_name", "picture")
    for image in images:
        told = _FILE_NAME.fullmatch(image["file_name"])
        if told and int(told[1]) != image["id"]:
            raise InfoflowError(
                f"{_INSTANCES} gives the picture {image['id']} the file {image['file_name']}."
            )
    return {image["id"]: inside(folder, image["file_name"], "the picture") for image in images}


def _classes(instances: Any, synonyms: Table) -> dict[int, str]:
    """Class of each category, by the table of synonyms."""
    categories = _table(instances, "categories", "name", "category")
    class_of = {entry.strip(): line[0].strip() for line in synonyms for entry in line}
    _require_classes((category["name"] for category in categories), set(class_of), _INSTANCES)
    return {category["id"]: class_of[category["name"]] for category in categories}


def _by_picture(
    content: Any, key: str, pictures: Mapping[int, Path], name: str
) -> Mapping[int, list[Any]]:
    """What the annotations say of each picture, all of which must be known."""
    found: dict[int, list[Any]] = defaultdict(list)
    for item in content["annotations"]:
        found[item["image_id"]].append(item[key])
    if unknown := found.keys() - pictures.keys():
        raise InfoflowError(
            f"{name} speaks of {len(unknown)} pictures that {_INSTANCES} does not list, such as "
            f"{min(unknown)}."
        )
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
    columns=_KINDS,
    marks=(f"annotations/{_INSTANCES}", _INSTANCES, f"annotations/{_CAPTIONS}", _CAPTIONS),
    originals=f"annotations/{_INSTANCES}, annotations/{_CAPTIONS}, val2014/COCO_val2014_*.jpg",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=512,
    pieces={},
)
"""Of COCO's files ``"test"`` is 500 pictures of val2014, drawn with a seed
(:func:`infoflow.data.sets.draw.in_drawn_order` of COCO's numbers) or given as a list;
``"calibration"`` the next 500 drawn. Published choices differ from paper to paper: they shuffled
the listing of a folder. Of rows ``"test"`` is all pictures and ``"calibration"`` half of them,
drawn with the seed; if pictures are listed, it is others. ``"held-out"`` is what is reported beside
``"calibration"``:
the other half of rows, else the same as ``"test"``. 512 tokens, as OPERA and most later work."""
