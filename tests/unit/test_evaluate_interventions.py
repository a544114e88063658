import numpy as np
import pandas as pd
import pytest
import torch
from arm_pages import metrics_by_arm
from simignore_measure import tokens_ignored

from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate import answers as over_task
from infoflow.evaluate.answers import ByOptions, answers, answers_under
from infoflow.evaluate.flow import sink_density_by_head
from infoflow.interventions import (
    EAH,
    FastV,
    Simignore,
    Truncate,
    even_strengths,
    intervene,
    sink_density,
)
from infoflow.interventions.base import Effect, Intervention
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.architectures import find_architecture
from zoo.train import export

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    tiny_llava = find_architecture("tiny-llava-1.5")
    model = tiny_llava.new_model(0)
    with torch.no_grad():  # so that untrained answers depend on what is seen
        model.model.multi_modal_projector.linear_2.weight.mul_(20)
        for layer in model.model.language_model.layers:
            for project in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
                project.weight.mul_(10)
    export(tiny_llava, model, folder, {})
    return load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def task():
    return load_task("scienceqa", limit=3)


def said(lvlm, sample, task, *interventions):
    prompt = lvlm.prompt(sample.image, sample.question)
    with intervene(lvlm, *interventions):
        return lvlm.answer(prompt, task.max_new_tokens)


@pytest.mark.parametrize(
    "changes", [(Truncate(cut=0),), (Simignore(20), FastV(k=3, ratio=0.75))], ids=["one", "two"]
)
def test_rows_are_the_answers_inside_the_context(changes, lvlm, task, store):
    rows = answers_under(lvlm, task, store, *changes)
    assert list(rows["item"]) == [sample.id for sample in task]
    for row, sample in zip(rows.itertuples(), task, strict=True):
        assert row.text == said(lvlm, sample, task, *changes)
        assert row.score == task.score(sample, row.text)
    untouched = answers(lvlm, task, store)
    assert set(rows.columns) == set(untouched.columns)
    assert list(rows["text"]) != list(untouched["text"])


def test_no_change_is_the_untouched_model(lvlm, task, store):
    pd.testing.assert_frame_equal(answers_under(lvlm, task, store), answers(lvlm, task, store))


def test_the_model_is_left_as_it_was(lvlm, task, store):
    before = said(lvlm, task[0], task)
    answers_under(lvlm, task, store, Simignore(3))
    assert said(lvlm, task[0], task) == before


ARMS = [
    (),
    (EAH(),),
    (EAH(layers=(2, 3), beta=0.1),),
    (Simignore(20),),
    (Simignore(20, start=1),),
    (Simignore(20, text="red"),),
    (Simignore(20, text="[20, 21]"),),
    (Simignore(20, text=torch.tensor([20, 21])),),
    (ByOptions(Simignore(20)),),
    (Simignore(20), FastV()),
]


def test_every_setting_is_a_result_of_its_own(lvlm, tmp_path, monkeypatch):
    begun = []
    real = over_task.intervene
    monkeypatch.setattr(over_task, "intervene", lambda *a: begun.append(a) or real(*a))
    one, store = load_task("scienceqa", limit=1), Store(tmp_path)
    for changes in ARMS:
        answers_under(lvlm, one, store, *changes)
    assert len(begun) == len(ARMS)
    again = answers_under(lvlm, one, store, EAH(layers=range(2, 4), beta=0.1))
    assert len(begun) == len(ARMS), "the same settings, written in another way"
    (change,) = again.attrs["record"]["key"]["parameters"]["changes"]
    assert change["EAH"] | {"layers": [2, 3], "beta": 0.1} == change["EAH"]


def test_settings_that_have_no_plain_form_are_refused(lvlm, task, store):
    class Nameless(Intervention):
        def begin(self, lvlm, prompt):
            return Effect()

    with pytest.raises(InfoflowError, match="results cannot be kept by the setting"):
        answers_under(lvlm, task, store, Nameless())


def test_options_are_the_text_after_the_beginning(lvlm, task, store):
    for sample in task:
        ids = ByOptions(Simignore(20)).of(lvlm, sample).text
        assert int(ids[0]) == lvlm.tokenizer.bos_token_id
        assert lvlm.tokenizer.decode(ids[1:]).split() == " ".join(sample.choices).split()
    other = load_task("pope", limit=1)
    with pytest.raises(InfoflowError, match=f"{other[0].id} has no options"):
        answers_under(lvlm, other, store, ByOptions(Simignore(20)))


def test_ignored_tokens_are_counted_by_item_and_choice(lvlm, task, store):
    choices = [Simignore(20), Simignore(20, count="entries"), ByOptions(Simignore(64))]
    rows = tokens_ignored(lvlm, task, store, choices)
    table = rows.pivot(index="item", columns="choice", values="n_ignored")
    assert list(table[0]) == [44] * 3
    assert (table[1] >= 44).all()
    assert (table[1] > 44).any()
    assert list(table[2]) == [0] * 3
    assert set(rows["n_image"]) == {64}
    assert list(rows["keep"][:3]) == [20, 20, 64]


def test_metrics_by_arm_are_the_summaries_of_each_arm(lvlm, task, store):
    rows = {"none": answers_under(lvlm, task, store)}
    metrics = metrics_by_arm(task, rows)
    assert list(metrics.index) == ["none"]
    assert metrics["accuracy"]["none"] == rows["none"]["score"].mean()


def test_sink_rows_are_the_densities_of_each_item(lvlm, store):
    task, betas = load_task("pope", limit=2), [0.005, 0.01, 0.02]
    rows = sink_density_by_head(lvlm, task, store, betas)
    assert len(rows) == 2 * 3 * lvlm.n_layers * lvlm.n_heads
    for sample in task:
        prompt = lvlm.prompt(sample.image, sample.question)
        for beta in betas:
            part = rows[(rows["item"] == sample.id) & (rows["beta"] == beta)]
            table = part.pivot(index="layer", columns="head", values="density")
            assert list(table.index) == list(range(1, lvlm.n_layers + 1))
            np.testing.assert_allclose(table, sink_density(lvlm, prompt, beta), atol=1e-7)
            even = float((even_strengths(prompt.spans) > beta).double().mean())
            assert set(part["even"]) == {even}
    assert rows["density"].nunique() > 5


def test_a_threshold_is_a_number_of_at_least_0(lvlm, store, task):
    for beta in (-0.1, float("nan")):
        with pytest.raises(InfoflowError, match=r"beta is|plain JSON"):
            sink_density_by_head(lvlm, task, store, [beta])
