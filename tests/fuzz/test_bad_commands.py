"""The command line, the result store and the workflow files given what they cannot take."""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import bad
import forked
import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from infoflow import Store, cli
from infoflow.evaluate.running import check_evaluation
from infoflow.files import read_checked
from infoflow.results.shards import Shard, merge, sign

ROOT = Path(__file__).resolve().parents[2]
ITEM = type("Item", (), {"id": "one"})
PARAMETERS = (
    "model: str = 'tiny'\nlimit: int = 3\nsigma: float = 0.1\ncuts: list[int] = [1]\n"
    "deep: bool = False\ncheckpoint: str | None = None\nname: str = 'x'\nrest: dict = {}"
)


@pytest.fixture
def told(monkeypatch, capfd, tmp_path):
    """Call the command line in an empty folder; what it must say is one line, and exit code 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFOFLOW_QUIET", "1")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["infoflow", *map(str, arguments)])
        with bad.soon(), pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert ended.value.code == 2, said
        assert "Traceback" not in said.err
        return said.err

    return call


@pytest.fixture
def notebook(tmp_path):
    cells = [
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell("limit"),
    ]
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


VALUES = {
    "limit": ("1.5", "", "many", "010", "1_0", "1e3", "[1]", "true", "nan", "9" * 5000, "1:30"),
    "sigma": ("", "nan", "inf", "-inf", "1:30", "true", "[0.1]", "0x1", "1e999", "1_0.5", "none"),
    "cuts": (
        "1",
        "[a, b]",
        "[1.5]",
        "[true]",
        '["1"]',
        "[1",
        "{}",
        "",
        "[[1]]",
        "[1, null]",
        "1,2",
    ),
    "deep": ("yes", "1", "on", "", "TRUE!", "null"),
    "rest": ("[]", "1", "{a: 1}", "{", ""),
    "limt": ("3",),
    "": ("3",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_values_that_are_not_of_the_declared_kind(told, notebook, name, value):
    assert not told("run", notebook, "out.ipynb", "-p", f"{name}={value}").count("\n") > 1
    assert not Path("out.ipynb").exists()


def test_notebooks_and_targets_that_are_none(told, notebook):
    Path("folder").mkdir()
    Path("text.ipynb").write_text("no notebook")
    Path("empty.ipynb").write_text("{}")
    before = notebook.read_bytes()
    for source in ("absent.ipynb", "folder", "text.ipynb", "empty.ipynb", "n" * 300):
        told("run", source, "out.ipynb")
        told("refresh", source)
    for target in (
        notebook,
        "folder",
        "text.ipynb/out.ipynb",
        "n" * 300 + ".ipynb",
        "./page.ipynb",
    ):
        told("run", notebook, target)
    assert notebook.read_bytes() == before


EVALUATIONS = (
    ["tiny-lava", "pope", "answers"],
    ["tiny-llava-1.5", "pop", "answers"],
    ["tiny-llava-1.5", "pope", "answer"],
    ["tiny-llava-1.5", "pope", "answers", "--limit", "0"],
    ["tiny-llava-1.5", "pope", "answers", "--limit", "x"],
    ["tiny-llava-1.5", "pope", "answers", "--limit", "1.5"],
    ["tiny-llava-1.5", "pope", "answers", "--split", "best"],
    ["tiny-llava-1.5", "pope", "answers", "--rule", "best"],
    ["tiny-llava-1.5", "pope", "answers", "--source", "nowhere"],
    ["tiny-llava-1.5", "pope", "answers", "--checkpoint", "nowhere"],
    ["tiny-llava-1.5", "pope", "answers", "--revision", "main"],
    ["tiny-llava-1.5", "pope", "answers", "--device", "tpu"],
    ["tiny-llava-1.5", "pope", "answers", "--dtype", "int8"],
    ["tiny-llava-1.5", "pope", "answers", "--quantise", "4bit"],
    ["tiny-llava-1.5", "pope", "answers", "-p", "seed=1"],
    ["tiny-llava-1.5", "pope", "answers", "-t", "max_new_tokens=1.5"],
    ["tiny-llava-1.5", "pope", "answers", "-t", "max_new_tokens=0"],
    ["tiny-llava-1.5", "pope", "answers", "-t", "ocr=true"],
    ["tiny-llava-1.5", "pope", "cam_by_layer", "-p", "sigma=nan", "--limit", "2"],
    ["tiny-llava-1.5", "pope", "cam_by_layer", "-p", "n_samples=0", "--limit", "2"],
    ["tiny-llava-1.5", "pope", "cam_by_layer", "-p", "seed=-1", "--limit", "2"],
    ["tiny-llava-1.5", "pope", "topk_by_cut", "-p", "keeps=[1]", "-p", "cuts=[a]"],
    ["tiny-llava-1.5", "pope", "topk_by_cut", "-p", "keeps=[1]", "-p", "cuts=[99]", "--limit", "2"],
    ["tiny-llava-1.5", "pope", "topk_by_cut", "-p", "keeps=[]", "-p", "cuts=[3]", "--limit", "2"],
    ["tiny-llava-1.5", "pope", "sink_density_by_head", "-p", "betas=[nan]", "--limit", "2"],
    *(
        ["tiny-llava-1.5", "pope", "answers", "--limit", "4", "--shard", shard]
        for shard in (
            "0/2",
            "3/2",
            "1/0",
            "5/5",
            "1",
            "a/b",
            "-1/2",
            "1/9999999999",
            "rank",
            "1/2/3",
        )
    ),
    *(
        ["tiny-llava-1.5", "pope", "answers", "--limit", "2", "--results", results]
        for results in ("file", "file/below", "n" * 300)
    ),
)


@pytest.mark.parametrize("arguments", EVALUATIONS, ids=lambda a: " ".join(a[1:])[:70])
def test_evaluations_that_cannot_be_made(told, monkeypatch, arguments):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    Path("file").write_text("here already")
    told("evaluate", *arguments)
    assert Path("file").read_text() == "here already"


def test_answers_and_merges_that_cannot_be_given(told, tmp_path):
    Path("text.png").write_text("no picture")
    for picture in ("absent.png", "text.png", ".", "n" * 300):
        told("answer", "tiny-llava-1.5", picture, "Is there a dog?")
    Path("empty").mkdir()
    for folder in ("absent", "empty", "text.png"):
        told("merge", folder, "--results", "merged")
    told("costs", "tiny-nothing")
    told("costs", "llava-1.5-70b")


ROWS = [{"layer": 1, "share": 0.5}, {"layer": 2, "share": 0.25}]
KEY = {"measure": "flow", "model": "m"}


def collect(root, measure=lambda item: ROWS, key=KEY, **options):
    items = [type("Item", (), {"id": name}) for name in ("one", "two", "three")]
    return Store(root).collect(key, items, measure, **options)


KEYS = (
    {},
    {"measure": None},
    {"measure": ""},
    {"measure": "../../x"},
    {"measure": "/tmp/x"},
    {"measure": "a/b"},
    {"measure": "."},
    {"measure": ".."},
    {"measure": "a\0b"},
    {"measure": "n" * 300},
    {"measure": "flow", "value": float("nan")},
    {"measure": "flow", "value": {1, 2}},
    {"measure": "flow", "value": b"x"},
)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_keys_that_name_no_result(tmp_path, key):
    bad.refuse(lambda: collect(tmp_path / "results", key=key))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}, {"b": 2}],
        [{"a": 1}, {"a": "x"}],
        [{"a": object()}],
        [{"item": "one"}],
        [3],
        "rows",
        None,
    ],
    ids=range(7),
)
def test_rows_that_are_none(tmp_path, rows):
    bad.refuse(lambda: collect(tmp_path, lambda item: rows))


def test_every_flipped_bit_of_a_result_is_noticed(tmp_path):
    """Damaged rows are measured again; nothing wrong is used."""
    sound = collect(tmp_path / "sound", batch=2)
    chance = random.Random(0)
    for number in range(60):
        root = shutil.copytree(tmp_path / "sound", tmp_path / str(number))
        folder = Store(root).folder(KEY)
        path = chance.choice(sorted(folder.glob("*.parquet")))
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(content))
        assert collect(root).equals(sound)
        shutil.rmtree(root)


def test_a_key_that_was_altered_is_not_merged(tmp_path):
    store = Store(tmp_path / "shards" / "1-of-1")
    items = [type("Item", (), {"id": "one"})]
    store.collect(KEY, items, lambda item: ROWS)
    sign(Shard(1, 1), store, KEY, ["one"])
    folder = store.folder(KEY)
    meta = json.loads((folder / "meta.json").read_text())
    for key in ({**KEY, "model": "other"}, {"measure": "../../x"}, None, {}):
        (folder / "meta.json").write_text(json.dumps({**meta, "key": key}))
        bad.refuse(lambda: merge([folder], Store(tmp_path / "whole")))


EXPERIMENTS = yaml.safe_load((ROOT / "experiments.yml").read_text())


def changed(*path_and_value):
    *path, last, value = path_and_value
    content = json.loads(json.dumps(EXPERIMENTS))
    place = content
    for step in path:
        place = place[step]
    place[last] = value
    return yaml.safe_dump(content)


PAGE = ("notebooks", "fig2_attention_flow")
ONE = {"model": "tiny-llava-1.5", "task": "pope", "measure": "answers", "shards": 2}
# what tests/book/test_build.py and test_evaluation.py do not try
WORKFLOWS = {
    "experiments": (
        "",
        "[]",
        "models: [tiny-llava-1.5]\nmodels: [tiny-shikra]\nnotebooks: {}",
        "\tmodels: 3",
        changed("models", []),
        changed("models", [3]),
        changed("models", "tiny-llava-1.5"),
        changed("revisions", {"llava-1.5-7b": "main"}),
        changed(*PAGE, "parameters", [3]),
        changed("notebooks", "../fig2_attention_flow", {"seconds": 3}),
    ),
    "evaluations": (
        "evaluations: {a: 1}",
        *(
            yaml.safe_dump({"evaluations": {"one": ONE | each}})
            for each in (
                {"model": 3},
                {"measure": "answer"},
                {"shards": 1.5},
                {"shards": True},
                {"limit": 0},
                {"limit": "4"},
                {"split": "best"},
                {"source": "nowhere"},
                {"dtype": "int8"},
                {"measure": "cam_by_layer", "parameters": {"sigma": float("nan")}},
                {"measure": "topk_by_cut", "parameters": {"keeps": ["a"], "cuts": [1]}},
                {"measure": "topk_by_cut"},
                {"task_options": {"lenght": 3}},
            )
        ),
    ),
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in WORKFLOWS.items() for text in texts]
)
def test_workflow_files_that_are_none(tmp_path, monkeypatch, name, text):
    shutil.copy(ROOT / f"{name}.schema.yml", tmp_path)
    (tmp_path / f"{name}.yml").write_text(text)
    monkeypatch.chdir(tmp_path)

    def read():
        content = read_checked(name)
        for one, entry in content.get("evaluations", {}).items():
            check_evaluation(entry, f"evaluations.yml: evaluations: {one}")

    assert bad.refuse(read).startswith(f"{name}.yml")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name in ("lib", "notebooks", "book"):
        (folder / name).symlink_to(ROOT / name)
    for path in [*ROOT.glob("*.yml"), ROOT / "Snakefile", ROOT / "requirements.lock"]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        changed("revisions", {"tiny-llava-1.5": "0" * 40}),
        changed(*PAGE, "parameters", {"limit": True}),
        changed(*PAGE, "hub", {"limt": None}),
        changed("notebooks", "fig99", {"seconds": 3}),
    ],
    ids=range(4),
)
def test_experiments_are_refused_before_the_first_job(project, text):
    sound = (project / "experiments.yml").read_text()
    (project / "experiments.yml").write_text(text)
    options = ["--snakefile", "Snakefile", "--dry-run", "--cores", "1", "--nolock", "--quiet"]
    try:
        said = forked.snakemake(options, project, os.environ)
    finally:
        (project / "experiments.yml").write_text(sound)
    assert said.returncode != 0
    assert "Traceback" not in said.stderr
    lines = [line for line in said.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, said.stderr
    assert lines[0].startswith("error: ")
