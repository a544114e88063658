import pytest

from infoflow.data.load import blind_guess, list_tasks, load_task
from infoflow.errors import InfoflowError, UnknownNameError


def test_names_are_in_the_papers_order():
    assert list_tasks() == ["scienceqa", "pope", "textvqa", "chair"]


@pytest.mark.parametrize("name", list_tasks())
def test_reference_answers_score_one(name):
    task = load_task(name, limit=8)
    assert len(list(task)) == len(task) == 8
    for sample in task:
        assert task.score(sample, sample.answer) == 1
        assert task.score(sample, "I would not know.") == (
            float(sample.answer == "no") if name == "pope" else 0
        )


@pytest.mark.parametrize("name", list_tasks())
def test_limit_takes_the_first_items(name):
    whole, part = load_task(name), load_task(name, limit=3)
    assert len(whole) == 500
    assert [sample.id for sample in part] == [whole[i].id for i in range(3)]
    assert len(load_task(name, limit=10_000)) == 500


def test_a_guess_without_the_picture_is_worth_little():
    assert 0.45 <= blind_guess(load_task("pope", limit=60)) <= 0.6
    assert blind_guess(load_task("textvqa", limit=60)) <= 0.1
    assert blind_guess(load_task("chair", limit=60)) <= 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "popes"}, r"unknown task 'popes'. Did you mean 'pope'\?"),
        ({"name": "pope", "split": "testing"}, "unknown split of pope 'testing'"),
        ({"name": "pope", "source": "shape"}, r"unknown source 'shape'. Did you mean 'shapes'\?"),
        ({"name": "pope", "rule": "llava"}, "unknown pope scoring rule 'llava'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        load_task(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0; valid: a whole number of at least 1"),
        ({"limit": -1}, "limit is -1"),
        ({"source": "hub", "synonyms": "nowhere.txt"}, "the list of synonyms 'nowhere"),
        ({"rule": "original"}, "valid: corrected"),
    ],
)
def test_what_cannot_be_loaded(arguments, message):
    with pytest.raises(InfoflowError, match=message):
        load_task("chair", **arguments)


def test_the_large_world_is_a_source_of_its_own():
    large, default = (load_task("pope", source, limit=2) for source in ("shapes-large", "shapes"))
    assert (large.source, default.source) == ("shapes-large", "shapes")
    assert (large.n_whole, large.bare) == (500, False)
    assert large[0].objects != default[0].objects


def test_the_rule_can_be_chosen():
    assert load_task("pope").rule == "official"
    assert load_task("chair").rule == "corrected"
    strict = load_task("pope", rule="lmms-eval")
    assert strict.score(strict[0], f"{strict[0].answer}.") == 0
