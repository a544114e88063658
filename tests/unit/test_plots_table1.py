"""Table 1's page: what was printed stands as printed, what nobody ran says so."""

import numpy as np
import pandas as pd
import pytest

from infoflow import report
from infoflow.claims.findings import Evidence
from infoflow.claims.paper import paper_values, table1_row
from infoflow.claims.scores import METRICS, scores_of
from infoflow.claims.selection import biases_of
from infoflow.errors import UnknownNameError
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import cliff_layer

L, MODEL = 6, "tiny-llava-1.5"


def rows(gain, n_items=40):
    """All tasks' columns at once; at cuts from 3 on the score is higher by a gain."""
    frames = []
    for cut in range(L + 1):
        right = 0.3 if cut < 3 else 0.6 + gain * (cut < L)
        score = (np.arange(n_items) < right * n_items).astype(float)
        frame = pd.DataFrame({"item": [f"i{n:02}" for n in range(n_items)], "cut": cut})
        frame = frame.assign(score=score, kind="one", answer="yes", mentions=2, present=2)
        says = np.where(score == 1, "yes", "no")
        frames.append(frame.assign(prediction=says, hallucinated=1 - score, found=score))
    return pd.concat(frames, ignore_index=True)


def evidence(gain):
    cuts = {task: rows(gain) for task in METRICS}
    table = scores_by_cut(cuts["pope"])
    cliffs = {task: cliff_layer(table, table) for task in cuts}
    return Evidence(MODEL, L, cliffs, cuts, cuts, dict.fromkeys(cuts, 0.3))


@pytest.fixture(scope="module")
def paper():
    return paper_values()


@pytest.fixture(scope="module")
def better():
    return {MODEL: evidence(0.3)}


def scores(of):
    return {name: scores_of(e, margin=0.05) for name, e in of.items()}


def test_table_holds_all_that_was_printed(paper, better):
    data = report.table1_table(paper, scores(better), {}).data
    cells = {(model, row["score"]): row for model, row in data.iterrows()}
    pope = cells["LLaVA1.5-7B", "POPE accuracy"]
    assert (pope["paper: intact"], pope["paper: at cliff"]) == ("84.70", "85.51")
    assert cells["LLaVA1.5-7B", "CHAIR CHAIRs"]["paper: intact"] == "13.80"
    assert cells["LLaVA1.5-7B", "CHAIR CHAIRi"]["paper: intact"] == "-"
    assert cells["Qwen-VL-7B", "CHAIR CHAIRi"]["paper: intact"] == "12.50"
    assert ("LLaVA1.6-7B", "POPE accuracy") not in cells
    n_printed = sum(
        1 if task == "chair" else len(row["scores"][task])
        for row in paper["table1"]
        for task in row["scores"]
    )
    assert int((data["paper: intact"] != "-").sum()) == n_printed


def test_a_zoo_model_stands_beside_its_architecture_and_the_rest_is_not_run(paper, better):
    data = report.table1_table(paper, scores(better), {}).data
    ours = data["ours on Shapes"]
    assert (ours["LLaVA1.5-7B"] == f"{MODEL}: 60.0 to 90.0").any()
    assert (ours.drop("LLaVA1.5-7B") == "not run").all()
    assert (data["7B on the benchmark"] == "not run").all()


def test_a_run_on_the_benchmark_fills_its_row(paper, better):
    run = {"shikra-7b": scores(better)[MODEL]}
    column = report.table1_table(paper, scores(better), run).data["7B on the benchmark"]
    assert "60.0 to 90.0 (n = 40)" in set(column["Shikra"])
    assert (column.drop("Shikra") == "not run").all()


def test_a_run_on_a_part_of_the_benchmark_says_so(paper, better):
    run = {"llava-1.5-7b": scores(better)[MODEL]}
    wholes = {"llava-1.5-7b": {"scienceqa": 2017, "pope": 40, "textvqa": None}}
    data = report.table1_table(paper, {}, run, wholes).data.loc["LLaVA1.5-7B"]
    column = data.set_index("score")["7B on the benchmark"]
    assert column["ScienceQA accuracy"] == "60.0 to 90.0 (first 40 of 2017)"
    assert column["POPE accuracy"] == "60.0 to 90.0 (n = 40)"
    assert column["TextVQA accuracy"] == "60.0 to 90.0 (n = 40)"
    assert column["CHAIR recall"] == "30.0 to 45.0 (n = 40)", "shown, though not printed"


def test_tests_show_harm_and_gain_only_where_they_are(better):
    gained = report.table1_tests(scores(better)).data.set_index("score")
    tested = gained.drop(["POPE F1", "CHAIR CHAIRi", "CHAIR recall"])
    assert set(tested["no harm"]) == set(tested["better"]) == {"shown"}
    assert set(gained.drop(tested.index)["no harm"]) == {"-"}  # their bootstrap cannot tell
    assert (gained.loc["POPE accuracy", "lost"], gained.loc["POPE accuracy", "gained"]) == (0, 12)
    lost = {MODEL: evidence(-0.2)}
    worse = scores({MODEL: lost[MODEL]})
    # the cliff is then the intact model, so nothing is lost and nothing changes
    assert set(report.table1_tests(worse).data["cliff: cut"]) == {L}


def test_gains_count_upwards_for_every_score(paper, better):
    plot = report.table1_gains(paper, scores(better))
    assert (plot.table.xs(MODEL, level="model")["gain"] > 0).all()
    assert plot.table.loc[("InstructBLIP", "CHAIR CHAIRs"), "gain"] == pytest.approx(1.7)
    printed = plot.table.drop(MODEL, level="model")
    within = int(((printed["low"] <= 0) & (printed["high"] >= 0)).sum())
    assert f"{within} of {len(printed)} include 0" in plot.caption
    assert plot.png[:4] == b"\x89PNG"


def test_sampling_table_counts_items(paper):
    data = report.sampling_table(paper).data
    assert data.loc["LLaVA1.5-7B", "as items"] == "30 of 2017"
    assert data.loc["InstructBLIP", "significant only if"] == "never"


def test_selection_table_says_where_nothing_could_be_chosen(better):
    biases = {name: biases_of(e) for name, e in better.items()}
    data = report.selection_table(biases, better).data
    assert set(data["best of them"]) == {"+30.0"}
    nothing = {MODEL: evidence(-0.2)}
    empty = report.selection_table({MODEL: biases_of(nothing[MODEL])}, nothing)
    assert set(empty.data["best of them"]) == {"-"}
    assert "On 0 of 0 tasks" in empty.caption


@pytest.mark.parametrize(
    ("asked", "model", "row"),
    [
        (None, "tiny-shikra", "shikra-7b"),
        (None, "llava-1.6-7b", "llava-1.6-7b"),
        (None, "qwen-vl-chat-7b", "llava-1.5-7b"),  # it has no row: the first
        ("internvl-7b", "tiny-shikra", "internvl-7b"),
    ],
)
def test_a_model_is_looked_at_beside_its_own_row(asked, model, row):
    assert table1_row(paper_values(), asked, model)["model"] == row


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown model of Table 1 'lava'.*llava-1.5-7b"):
        table1_row(paper_values(), "lava", "tiny-shikra")


def test_the_wording_and_the_rule_behind_a_number_are_told(better):
    asked = {
        "rule": "opera",
        "source": "hub abc, worded as paper for llava-1.5 12ab",
        "split": "test",
    }
    for task, rows in better[MODEL].cuts.items():
        rows.attrs["record"] = {"key": asked if task == "pope" else asked | {"source": "shapes"}}
    told = report.table1_rules(better).data.set_index("task")
    assert told.loc["POPE"].to_dict() == {
        "scoring rule": "opera",
        "wording": "as paper for llava-1.5 12ab",
        "items": "hub abc, test",
    }
    assert told.loc["CHAIR", "wording"] == "Shapes' own"
