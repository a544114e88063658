"""R1 to R6 of the shipped models are what their cards say.

Of each result the first item is measured anew; the others' rows come with the package.
"""

import json
from pathlib import Path

import pytest

import zoo
from infoflow.data.load import list_tasks, load_task
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.architectures import ARCHITECTURES
from zoo.resembles import PROPERTIES, measure, summarise, verdicts

ARMS = Path(zoo.__file__).parents[1] / "book" / "arms"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_shipped_model_has_the_properties_that_its_card_names(name, tmp_path, monkeypatch):
    monkeypatch.delenv("INFOFLOW_SHIPPED")
    lvlm, store, found = load_lvlm(name, device="cpu"), Store(tmp_path), {}
    card = json.loads((ARMS / f"{name}-shapes-seed0.json").read_text("utf-8"))
    assert card["weights"] == lvlm.digest
    for task in list_tasks():
        items = load_task(task)
        rows = measure(lvlm, items, store)
        for result in (rows.flow, rows.cuts, *rows.hidden, rows.fastv):
            assert result.attrs["record"]["shipped"] == len(items) - 1
        found[task] = summarise(items, rows)
        for kind, of_card in card["tasks"][task]["scores"].items():
            assert found[task]["scores"][kind]["mean"] == pytest.approx(of_card["mean"], abs=1e-3)
    holds = {each: verdicts(found)[each]["holds"] for each in PROPERTIES}
    assert holds == {each: card[each]["holds"] for each in PROPERTIES}
