"""What a page says of its items' source, and that no column of it says Shapes where it is not."""

import pandas as pd
import pytest
from PIL import Image

from infoflow import load_task, report
from infoflow.data.sample import Sample
from infoflow.report import NOT_RUN, Table

MODEL, OTHER = "llava-1.5-7b", "qwen-vl-7b"
PHOTOGRAPH = Sample("t-1", Image.new("RGB", (32, 24)), "Is $5 or $6 the price?", "$5", "reading")


def comparison(model):
    return Table(
        pd.DataFrame(
            {
                f"paper, {MODEL}": ["84.70"],
                f"ours, {MODEL} on the benchmark": [NOT_RUN],
                f"ours, {model} on Shapes: cut": ["3"],
                f"ours, {model}: POPE": ["yes"],
            }
        ),
        "beside",
        comparison=True,
    )


def test_a_page_on_shapes_says_nothing_of_its_source_and_keeps_its_tables():
    assert report.source_words("shapes", ["pope"]) is None
    table = comparison("tiny-llava-1.5")
    assert report.on_source(table, "shapes", "tiny-llava-1.5") is table


@pytest.mark.parametrize("source", ["hub", "/data"])
def test_another_source_is_named_with_what_it_cannot_give(source):
    told = report.source_words(source, ["scienceqa", "pope"]).text
    assert ("from the hub" if source == "hub" else "from the folder /data") in told
    assert "ScienceQA and POPE" in told
    assert "Of POPE the held-out images are reported; cliffs are chosen on others." in told
    both = report.source_words(source, ["pope", "textvqa", "chair"]).text
    assert "Of POPE and CHAIR the held-out images are reported" in both
    assert "needs Shapes' masks: not run on this source" in told
    assert "held-out" not in report.source_words(source, ["scienceqa"]).text


def test_a_run_of_the_papers_model_takes_the_place_of_not_run():
    table = report.on_source(comparison(MODEL), "hub", MODEL)
    assert list(table.data) == [
        f"paper, {MODEL}",
        f"ours, {MODEL} on the benchmark: cut",
        f"ours, {MODEL}: POPE",
    ]
    assert table.comparison


def test_a_run_of_another_model_leaves_the_papers_not_run():
    data = report.on_source(comparison(OTHER), "hub", OTHER).data
    assert data[f"ours, {MODEL} on the benchmark"].tolist() == [NOT_RUN]
    assert f"ours, {OTHER} on the benchmark: cut" in data
    assert not any("Shapes" in name for name in data)


def test_items_are_said_to_be_of_shapes_only_if_they_are():
    drawn = report.sample_sheet([load_task("pope")[0]], "pope")
    assert "in Shapes" in drawn.caption
    assert drawn.alt.startswith("Drawn scenes")
    taken = report.sample_sheet([PHOTOGRAPH], "textvqa")
    assert "Shapes" not in taken.caption
    assert taken.alt == "Images with question and answer: Is $5 or $6 the price? $5"
    assert taken.png[:4] == b"\x89PNG"


def test_dollars_in_a_question_are_no_formula():
    wrong = PHOTOGRAPH.with_question(r"Is $\frac{ or $ right?")
    assert report.sample_sheet([wrong], "textvqa").png[:4] == b"\x89PNG"
