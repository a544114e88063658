import pandas as pd
import pytest
from PIL import Image

from infoflow.data.captions import read_synonyms
from infoflow.data.chair import Chair, caption_objects
from infoflow.data.sample import Sample
from infoflow.data.task import blind_guess
from infoflow.errors import InfoflowError, UnknownNameError

PICTURE = Image.new("RGB", (2, 2))
COCO = [
    ["person", "man", "woman", "people", "child", "children", "baby", "passenger", "adult"],
    ["airplane", "jet", "plane"],
    ["bus", "minibus"],
    ["train"],
    ["bird"],
    ["dog", "puppy"],
    ["sheep"],
    ["bear"],
    ["tie", "bow", "bow tie"],
    ["wine glass"],
    ["knife", "knive"],
    ["hot dog"],
    ["chair", "seat"],
    ["dining table", "table"],
    ["toilet"],
    ["oven", "stove", "stove top oven"],
    ["cell phone", "phone", "iPhone"],
    ["teddy bear"],
]
RULE = "corrected"
SHAPES = [[f"{colour} {shape}"] for colour in ("red", "blue") for shape in ("circle", "cross")]


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("A man walks two dogs.", ["person", "dog"]),
        ("a puppy and a dog", ["dog", "dog"]),
        ("A hot dog on a table", ["hot dog", "dining table"]),
        ("Two hot dogs!", ["hot dog"]),
        ("It is hot. Dog days", ["dog"]),
        ("a toilet seat", ["toilet"]),
        ("the seat of the toilet", ["toilet"]),
        ("the seat of the bus driver's train", ["chair", "bus", "train"]),
        ("a baby bird and an adult sheep", ["bird", "sheep"]),
        ("a baby with a bird", ["person", "bird"]),
        ("a passenger jet, a passenger", ["airplane", "person"]),
        ("a wine glass", ["wine glass"]),
        ("three wine glasses", ["wine glass"]),
        ("a glass of water", []),
        ("a bow tie", ["tie"]),
        ("a teddy bear near a bear", ["teddy bear", "bear"]),
        ("knives", ["knife"]),
        ("a train on a train track", ["train"]),
        ("women and children", ["person", "person"]),
        ("", []),
    ],
)
def test_what_both_rules_find_in_a_caption(caption, objects):
    if "bus" not in caption:
        assert caption_objects(caption, COCO, "original") == objects
    assert caption_objects(caption, COCO, "corrected") == objects


@pytest.mark.parametrize(
    ("caption", "original", "corrected"),
    [
        ("a bus", [], ["bus"]),
        ("two buses", ["bus"], ["bus"]),
        ("a buss", ["bus"], []),
        ("two ties", [], ["tie"]),
        ("a stove top oven", ["oven", "oven"], ["oven"]),
        ("an iPhone", [], ["cell phone"]),
        ("a hot-dog", [], ["hot dog"]),
        ("a baby puppy", ["person", "dog"], ["dog"]),
        ("a passenger bus", ["person"], ["bus"]),
    ],
)
def test_quirks_of_the_original_that_the_corrected_rule_puts_right(caption, original, corrected):
    assert caption_objects(caption, COCO, "original") == original
    assert caption_objects(caption, COCO, "corrected") == corrected


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("red circle, blue cross", ["red circle", "blue cross"]),
        ("two red circles and blue crosses.", ["red circle", "blue cross"]),
        ("red, circle", []),
        ("red circle red circle", ["red circle", "red circle"]),
        ("red red circle circle", ["red circle"]),
        ("green circle", []),
    ],
)
def test_double_words_of_a_table_are_found(caption, objects):
    assert caption_objects(caption, SHAPES, "corrected") == objects


def test_synonyms_from_a_file(tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text("motorcycle, scooter,  motor bike\n\ncup\n")
    assert read_synonyms(path) == [["motorcycle", "scooter", " motor bike"], ["cup"]]
    # the stray space in the published file makes the original rule lose the motor bike
    assert caption_objects("a motor bike, cups", path, "original") == ["cup"]
    assert caption_objects("a motor bike, cups", str(path), "corrected") == ["motorcycle", "cup"]


def test_errors_name_the_offender(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'orignal'.*'original'"):
        caption_objects("", COCO, "orignal")
    with pytest.raises(InfoflowError, match=r"none\.txt.*cannot be read"):
        caption_objects("", tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InfoflowError, match="is empty"):
        read_synonyms(tmp_path / "empty.txt")
    with pytest.raises(InfoflowError, match="no synonyms"):
        Chair([picture("red circle")], "test", "test")


def picture(*objects: str) -> Sample:
    return Sample(" ".join(objects), PICTURE, "?", ", ".join(objects), "caption", objects=objects)


def test_a_caption_scores_the_f1_of_its_objects():
    sample = picture("red circle", "blue circle", "blue circle")
    task = Chair([sample], "test", "test", RULE, SHAPES)
    assert task.score(sample, "blue circle, red circle") == 1
    assert task.score(sample, "red circle, red circle") == pytest.approx(2 / 3)
    assert task.score(sample, "red circle, red cross") == pytest.approx(1 / 2)
    assert task.score(sample, "") == 0
    assert task.score(picture(), "nothing") == 1


def summary(*captions: tuple[str, list[str]]) -> dict[str, float]:
    task = Chair([picture(*present) for _, present in captions], "test", "test", RULE, SHAPES)
    texts = [text for text, _ in captions]
    rows = [task.details(sample, text) for sample, text in zip(task, texts, strict=True)]
    return task.summary(pd.DataFrame(rows))


def test_metrics_worked_by_hand():
    # mentions 3 + 2 + 0, hallucinated 2 + 0 + 0, present 2 + 2 + 1, found 1 + 2 + 0
    both = ["red circle", "blue cross"]
    assert summary(
        ("red circle, red cross, red cross", both),
        ("blue cross and a red circle", both),
        ("", ["blue circle"]),
    ) == pytest.approx(
        {"CHAIRi": 2 / 5, "CHAIRs": 1 / 3, "recall": 3 / 5, "f1": (1 / 2 + 1 + 0) / 3}
    )


def test_silence_hallucinates_nothing_and_nothing_present_is_nothing_missed():
    silent = summary(("", ["red circle"]))
    assert silent == {"CHAIRs": 0, "CHAIRi": 0, "recall": 0, "f1": 0}
    assert summary(("red circle", [])) == {"CHAIRs": 1, "CHAIRi": 1, "recall": 1, "f1": 0}


def test_blind_guess_is_the_best_caption_of_frequent_objects():
    samples = [picture("red circle", "blue cross"), picture("red circle"), picture("blue circle")]
    task = Chair(samples, "test", "test", RULE, SHAPES)
    one = 2 / 3 + 1 + 0
    two = 1 + 2 / 3 + 0
    three = 4 / 5 + 1 / 2 + 1 / 2
    assert blind_guess(task) == pytest.approx(max(one, two, three) / 3)
