"""Tiny sets in the very schemas of the hub's and in the originals' files, each about the same."""

import io
import json

import datasets
import huggingface_hub
import numpy as np
from datasets import Dataset, Features, Image, List, Value
from datasets.utils.logging import disable_progress_bar
from PIL import Image as Pictures

from infoflow.data import captions

disable_progress_bar()
TEXT, NUMBER = Value("string"), Value("int64")
KINDS = ("random", "popular", "adversarial")

SYNONYMS = """person, man, woman
dog, puppy
bus, minibus
hot dog
chair, seat
toilet
dining table, table
"""


def picture(seed, form="PNG"):
    """An encoded picture of noise, each seed another."""
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Pictures.fromarray(pixels).save(content, form)
    return content.getvalue()


def write_picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(seed, "JPEG" if path.suffix == ".jpg" else "PNG"))


def cell(seed, name=None):
    return {"bytes": picture(seed), "path": name}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save(path, rows, features, group=2):
    """Write rows as the hub's parquet files are written, in several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(path, batch_size=group)


SCIENCEQA_FEATURES = Features(
    {
        "image": Image(),
        "question": TEXT,
        "choices": List(TEXT),
        "answer": Value("int8"),
        **dict.fromkeys(
            ("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture"), TEXT
        ),
        "solution": TEXT,
    }
)
# number, question, choices, answer, hint, subject, whether there is a picture
SCIENCEQA = {
    "test": [
        ("11", "Which is red?", ["the cup", "the hat"], 1, "A shelf.", "natural science", True),
        ("12", "What is 1 + 1?", ["one", "two"], 1, "", "natural science", False),
        ("13", "Where?", ["Ohio", "Maine", "Iowa"], 0, "", "social science", True),
        ("14", "Who?", ["a", "b", "c", "d", "e"], 4, "", "social science", True),
    ],
    "validation": [("21", "Why?", ["this", "that"], 0, "", "language science", True)],
}


def _problem(item, image):
    _, question, choices, answer, hint, subject, _ = item
    about = ("task", "grade", "topic", "category", "skill", "lecture", "solution")
    return {
        "question": question,
        "choices": choices,
        "answer": answer,
        "hint": hint,
        "subject": subject,
        "image": image,
        **dict.fromkeys(about, "-"),
    }


def scienceqa_rows(split):
    items = SCIENCEQA[split]
    return [_problem(item, cell(int(item[0])) if item[6] else None) for item in items]


def scienceqa_parquet(folder):
    for split in SCIENCEQA:
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        save(path, scienceqa_rows(split), SCIENCEQA_FEATURES)


def scienceqa_originals(folder):
    names = {"test": "test", "validation": "val"}
    problems = {
        item[0]: {**_problem(item, "image.png" if item[6] else None), "split": names[split]}
        for split, items in SCIENCEQA.items()
        for item in items
    }
    write_json(folder / "problems.json", problems)
    splits = {names[split]: [item[0] for item in items] for split, items in SCIENCEQA.items()}
    write_json(folder / "pid_splits.json", {**splits, "train": []})
    for split, items in SCIENCEQA.items():
        for item in items:
            if item[6]:
                path = folder / "images" / names[split] / item[0] / "image.png"
                write_picture(path, int(item[0]))


POPE_FEATURES = Features(
    {
        **dict.fromkeys(("id", "question_id", "question", "answer", "image_source"), TEXT),
        "image": Image(),
        "category": TEXT,
    }
)
POPE_PICTURES = [f"COCO_val2014_{number:012}" for number in (42, 73, 74, 133)]


def pope_questions(kind):
    """Two questions about each of the four pictures: there is a dog, and no cat."""
    objects = (("dog", "yes"), ("cat", "no"))
    questions = [(name, *told) for name in POPE_PICTURES for told in objects]
    return [
        (number, name, f"Is there a {kind} {thing} in the image?", answer)
        for number, (name, thing, answer) in enumerate(questions, start=1)
    ]


def pope_rows(kinds=("adversarial", "popular", "random")):
    rows = []
    for kind in kinds:
        for number, name, question, answer in pope_questions(kind):
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": str(number),
                    "question": question,
                    "answer": answer,
                    "image_source": name,
                    "image": cell(POPE_PICTURES.index(name)),
                    "category": kind,
                }
            )
    return rows


def pope_parquet(folder):
    save(folder / "data" / "test-00000-of-00001.parquet", pope_rows(), POPE_FEATURES, group=5)


def pope_originals(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        lines = [
            {"question_id": number, "image": f"{name}.jpg", "text": question, "label": answer}
            for number, name, question, answer in pope_questions(kind)
        ]
        text = "\n".join(json.dumps(line) for line in lines)
        (folder / f"coco_pope_{kind}.json").write_text(text + "\n")
    for seed, name in enumerate(POPE_PICTURES):
        write_picture(folder / "val2014" / f"{name}.jpg", seed)


TEXTVQA_FEATURES = Features(
    {
        "image_id": TEXT,
        "question_id": Value("int32"),
        "question": TEXT,
        "question_tokens": List(TEXT),
        "image": Image(),
        "image_width": Value("int32"),
        "image_height": Value("int32"),
        "flickr_original_url": TEXT,
        "flickr_300k_url": TEXT,
        "answers": List(TEXT),
        "image_classes": List(TEXT),
        "set_name": TEXT,
        "ocr_tokens": List(TEXT),
    }
)
# question_id, image_id, question, what most people answer, OCR tokens
TEXTVQA = {
    "validation": [
        (34602, "003a", "what is the brand?", "nokia", ["NOKIA", "2010"]),
        (34603, "003a", "what is the year?", "2010", ["NOKIA", "2010"]),
        (34604, "0054", "how many?", "two", []),
    ],
    "train": [(1, "0101", "what is written?", "exit", ["EXIT"])],
}


def _reading(item, split):
    number, image, question, answer, _ = item
    return {
        "image_id": image,
        "question_id": number,
        "question": question,
        "question_tokens": question.rstrip("?").split(),
        "image_width": 32,
        "image_height": 24,
        "flickr_original_url": "-",
        "flickr_300k_url": "-",
        "answers": [answer] * 8 + ["unanswerable", "x"],
        "image_classes": ["Sign"],
        "set_name": "val" if split == "validation" else split,
    }


def textvqa_rows(split):
    return [
        {**_reading(item, split), "image": cell(int(item[1], 16)), "ocr_tokens": item[4]}
        for item in TEXTVQA[split]
    ]


def textvqa_parquet(folder):
    for split in TEXTVQA:
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        save(path, textvqa_rows(split), TEXTVQA_FEATURES)


def textvqa_originals(folder):
    for split, items in TEXTVQA.items():
        short = "val" if split == "validation" else split
        questions = [_reading(item, split) for item in items]
        write_json(folder / f"TextVQA_0.5.1_{short}.json", {"data": questions})
        words = {item[1]: item[4] for item in items}
        read = [{"image_id": name, "ocr_tokens": tokens} for name, tokens in words.items()]
        write_json(folder / f"TextVQA_Rosetta_OCR_v0.2_{short}.json", {"data": read})
        for name in words:
            write_picture(folder / "train_images" / f"{name}.jpg", int(name, 16))


CHAIR_FEATURES = Features({"image": Image(), "question_id": NUMBER, "gt_object": List(TEXT)})
# COCO's number, categories of the instances, captions
CHAIR = [
    (42, ["dog", "dog"], ["A dog on a seat.", "One puppy."]),
    (73, ["person"], ["Two men eat hot dogs at a table."]),
    (74, ["toilet"], ["The seat of the toilet is up."]),
    (133, [], ["A bus."]),
]
CHAIR_OBJECTS = {
    42: ["chair", "dog"],
    73: ["dining table", "hot dog", "person"],
    74: ["toilet"],
    133: [],  # by the original rule, which loses the bus
}
CATEGORIES = ["person", "bus", "dog", "chair", "dining table", "toilet", "hot dog"]


def chair_rows():
    return [
        {"image": cell(number), "question_id": number, "gt_object": CHAIR_OBJECTS[number]}
        for number, _, _ in CHAIR
    ]


def chair_parquet(folder):
    save(folder / "data" / "test-00000-of-00001.parquet", chair_rows(), CHAIR_FEATURES)
    (folder / "synonyms.txt").write_text(SYNONYMS)


def chair_originals(folder):
    names = {number: f"COCO_val2014_{number:012}.jpg" for number, _, _ in CHAIR}
    instances = {
        "images": [{"id": number, "file_name": name} for number, name in names.items()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CATEGORIES)],
        "annotations": [
            {"image_id": number, "category_id": CATEGORIES.index(name)}
            for number, objects, _ in CHAIR
            for name in objects
        ],
    }
    captions = [
        {"image_id": number, "caption": text} for number, _, texts in CHAIR for text in texts
    ]
    write_json(folder / "annotations" / "instances_val2014.json", instances)
    write_json(folder / "annotations" / "captions_val2014.json", {"annotations": captions})
    for number, name in names.items():
        write_picture(folder / "val2014" / name, number)
    (folder / "synonyms.txt").write_text(SYNONYMS)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def install_hub(monkeypatch):
    """Put a hub with these sets in place of the real one; return what it was asked for."""
    made = {
        "ScienceQA": (scienceqa_rows, SCIENCEQA_FEATURES),
        "POPE": (lambda _: pope_rows(), POPE_FEATURES),
        "textvqa": (textvqa_rows, TEXTVQA_FEATURES),
        "mscoco_chair": (lambda _: chair_rows(), CHAIR_FEATURES),
    }
    asked = []

    def load_dataset(repository, config, split, revision):
        asked.append((repository, config, split, revision))
        rows, features = made[repository.split("/")[1]]
        return Dataset.from_list(rows(split), features=features)

    class Api:
        def dataset_info(self, repository, revision, timeout):
            asked.append((repository, revision))
            return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return asked


def publish_synonyms(monkeypatch, folder):
    """Let these synonyms be the published list."""
    (folder / "published.txt").write_text(SYNONYMS)
    monkeypatch.setattr(captions, "published_synonyms", lambda: folder / "published.txt")


MAKERS = {
    ("scienceqa", "parquet"): scienceqa_parquet,
    ("scienceqa", "originals"): scienceqa_originals,
    ("pope", "parquet"): pope_parquet,
    ("pope", "originals"): pope_originals,
    ("textvqa", "parquet"): textvqa_parquet,
    ("textvqa", "originals"): textvqa_originals,
    ("chair", "parquet"): chair_parquet,
    ("chair", "originals"): chair_originals,
}
