"""Answers without the picture: against guessing, by habit, in several ways."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.load import blind_guess, load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.blind import blind_habits, blind_scores, by_wording
from infoflow.evaluate.text_only import text_answers, text_only
from infoflow.results.store import Store

torch.set_num_threads(1)

MODEL = "some-model"


def answered(task, say):
    return pd.DataFrame(
        [{"item": sample.id, **task.details(sample, say(sample))} for sample in task]
    )


@pytest.fixture(scope="module")
def scienceqa():
    return load_task("scienceqa", limit=24)


@pytest.fixture(scope="module")
def pope():
    return load_task("pope", limit=24)


def test_a_constant_answer_is_no_better_than_guessing(pope):
    table = blind_scores(pope, answered(pope, lambda sample: "no"))
    assert table.index[0] == "all"
    assert set(table.index[1:]) == {"random", "popular", "adversarial"}
    assert (table["score"] <= table["guess"]).all()
    assert (table["p_value"] > 0.5).all()
    whole = table.loc["all"]
    assert whole["low"] < whole["score"] < whole["high"]
    assert whole["items"] == len(pope)


def test_the_test_is_the_binomial_tail(pope):
    wrong = {sample.id for sample in list(pope)[:3]}
    other = {"yes": "no", "no": "yes"}
    rows = answered(pope, lambda s: other[s.answer] if s.id in wrong else s.answer)
    whole = blind_scores(pope, rows).loc["all"]
    assert whole["guess"] == blind_guess(pope)
    n, hits = len(pope), len(pope) - 3
    assert whole["p_value"] == pytest.approx(binom.sf(hits - 1, n, whole["guess"]))


def test_guesses_are_those_for_the_kind(scienceqa):
    table = blind_scores(scienceqa, answered(scienceqa, lambda sample: "A"))
    for kind in set(table.index) - {"all"}:
        of_kind = replace(scienceqa, samples=[s for s in scienceqa if s.kind == kind])
        assert table.loc[kind, "guess"] == blind_guess(of_kind)


def test_soft_scores_are_not_tested():
    task = load_task("chair", limit=4)
    table = blind_scores(task, answered(task, lambda sample: sample.objects[0]))
    assert table["p_value"].isna().all()
    assert table.loc["all", "low"] <= table.loc["all", "score"] <= table.loc["all", "high"]


def test_every_item_must_be_answered_once(pope):
    rows = answered(pope, lambda sample: "no")
    for bad in (rows.iloc[1:], pd.concat([rows, rows.iloc[:1]])):
        with pytest.raises(InfoflowError, match="one answer to each is needed"):
            blind_scores(pope, bad)


def test_habits_of_a_parrot_and_of_a_seer(scienceqa):
    parrot = blind_habits(answered(scienceqa, lambda sample: "B")).loc["all"]
    assert (parrot["distinct"], parrot["favourite"], parrot["favourite_share"]) == (1, "B", 1.0)
    assert parrot["right_by_habit"] == 1
    assert parrot["agreement"] == float(parrot["modal"] == "B")
    seer = blind_habits(answered(scienceqa, lambda sample: sample.answer)).loc["all"]
    assert seer["agreement"] == pytest.approx(seer["modal_share"])
    assert seer["right_by_habit"] == pytest.approx(seer["favourite_share"])
    dumb = blind_habits(answered(scienceqa, lambda sample: "what?")).loc["all"]
    assert dumb["favourite"] == "(unread)"
    assert np.isnan(dumb["right_by_habit"])


def test_capitals_do_not_hide_a_habit():
    task = load_task("textvqa", limit=4)
    word = task[0].answer
    rows = answered(task, lambda sample: word.lower()).iloc[:1]
    assert word.isupper()
    assert blind_habits(rows).loc["all", "agreement"] == 1


def test_a_prior_on_wording_shows_only_by_wording(scienceqa):
    """A model that likes one colour, wherever its option stands."""

    def says(sample):
        return next(
            (letter for letter, c in zip("ABCD", sample.choices, strict=True) if c == "red"), "none"
        )

    rows = answered(scienceqa, says)
    rows = rows[rows["prediction"].notna()]
    letters, words = blind_habits(rows), blind_habits(by_wording(scienceqa, rows))
    assert words.loc["all", "favourite"] == "red"
    assert words.loc["all", "favourite_share"] == 1
    assert letters.loc["all", "favourite_share"] < 1


def test_wording_needs_options(pope):
    with pytest.raises(InfoflowError, match="has no options"):
        by_wording(pope, answered(pope, lambda sample: "no"))


def test_text_alone_is_the_prompt_without_image_tokens(lvlm, tmp_path):
    task = load_task("pope", limit=2)
    sample = task[0]
    whole = lvlm.prompt(sample.image, sample.question)
    alone = text_only(whole)
    ids = whole.input_ids[whole.input_ids != lvlm.family.image_token_id]
    assert torch.equal(alone.input_ids, ids)
    torch.testing.assert_close(alone.inputs_embeds, lvlm.decoder.embed_tokens(ids)[None])
    system, image, user = alone.spans
    assert (image.start, image.stop) == (system.stop, system.stop)
    assert (user.start, user.stop) == (system.stop, len(alone))
    rows = text_answers(lvlm, task, Store(tmp_path))
    assert list(rows["text"]) == [
        lvlm.answer(text_only(lvlm.prompt(s.image, s.question)), task.max_new_tokens) for s in task
    ]


def all_ways(task):
    sees = answered(task, lambda sample: sample.answer)
    constant = answered(task, lambda sample: "no")
    contrary = answered(task, lambda sample: "yes")
    return {"seen": {"pope": sees}, "blind": {"pope": constant}, "other": {"pope": contrary}}


def test_ways_are_compared_item_by_item(pope):
    ways = all_ways(pope)
    yes = sum(sample.answer == "yes" for sample in pope)
    data = report.ways_table(ways, "blind").data.set_index("way")
    assert data["same answer as blind"].to_dict() == {
        **{"seen": f"{24 - yes} of 24", "blind": "24 of 24", "other": "0 of 24"},
    }
    assert data["right"]["other"] == f"{yes} of 24"
    fate = report.fate_table(ways, ["blind", "other"]).data.loc["POPE"]
    assert fate.tolist() == ["0 of 24", "24 of 24", "0 of 24"]


def test_figures_tell_where_guessing_is_beaten(pope):
    ways = all_ways(pope)
    scores = {"pope": blind_scores(pope, ways["blind"]["pope"])}
    seen = {"pope": blind_scores(pope, ways["seen"]["pope"])}
    plot = report.blind_plot(scores, ways["seen"], MODEL)
    assert plot.caption.endswith("for 4 of them: nowhere.")
    assert "POPE (all)" in report.blind_plot(seen, ways["seen"], MODEL).caption
    assert plot.table.loc[("pope", "all"), "intact"] == 100
    drawn = report.ways_plot(ways, {"pope": 0.5}, 0, MODEL)
    assert drawn.table.loc[("pope", "blind"), "score"] == pytest.approx(
        100 * ways["blind"]["pope"]["score"].mean()
    )
    for figure in (plot, drawn):
        assert 20 <= len(figure.alt) <= 400
    again = report.ways_plot(all_ways(pope), {"pope": 0.5}, 0, MODEL)
    assert drawn.png == again.png


def test_tables_tell_habits_and_scores(pope):
    rows = all_ways(pope)["blind"]["pope"]
    scores, habits = {"pope": blind_scores(pope, rows)}, {"pope": blind_habits(rows)}
    text = report.habit_words(scores, habits).text
    assert "gives 1 answer to 24 items, “no” to 100.0 % of them" in text
    assert report.blind_table(scores).data["kind"].tolist()[0] == "all"
    shown = report.habit_table({"POPE": habits["pope"]}).data.iloc[0]
    assert shown["says most"] == "no (100.0 %)"
    listed = report.way_answers_table([pope[0]], {"blind": rows}).data
    assert listed["blind"].tolist() == ["no"]


def test_published_scores_stand_beside_ours(scienceqa):
    published = [
        {"what": "a", "accuracy": 47.5, "place": "here", "ours": "score"},
        {"what": "b", "accuracy": 53.35, "place": "there", "ours": "score"},
        {"what": "c", "accuracy": 35.5, "place": "counted", "ours": ""},
        {"what": "d", "accuracy": 36.0, "place": "counted", "ours": "guess"},
    ]
    blind = blind_scores(scienceqa, answered(scienceqa, lambda sample: "A"))
    data = report.no_image_paper_table(published, blind, "llava-1.5-7b", MODEL).data
    ours = data[f"ours, {MODEL} on Shapes %"]
    assert ours["a"].startswith(f"{100 * blind.loc['all', 'score']:.1f} [")
    assert ours["c"] == "-"
    assert ours["d"] == f"{100 * blind.loc['all', 'guess']:.1f}"
    assert data["ours, llava-1.5-7b on the benchmark"]["a"] == report.NOT_RUN
    text = report.no_image_words(published, 2017).text
    assert "5.85 points apart" in text
    assert "Chance alone does not explain it" in text
    assert "Chance could explain it" in report.no_image_words(published, 100).text


def test_published_guesses_are_counted_from_the_questions():
    guesses = paper_values()["blind_guesses"]
    assert all(25 < entry["accuracy"] < 50 for entry in guesses)
