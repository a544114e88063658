"""What answers given without the image are worth, and what they rest on.

An answer can be right blind because the model guessed, because it always says the same and that is
often right, or because the wording gives the answer away.
"""

from dataclasses import replace

import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from infoflow.data.load import blind_guess
from infoflow.data.scienceqa import LETTERS
from infoflow.stats.intervals import mean_estimate


def blind_scores(task, rows, seed=0):
    """Score answers given without the image, one a sample, against guessing, by kind.

    One row a kind, `"all"` first: `items`; the mean `score` with its 95 % interval `low` to `high`;
    `guess`, the score of the best blind guess for these very samples; and `p_value`: how likely
    guessing at that rate is to score as well or better (exact binomial test, one-sided; missing
    where a score is not 0 or 1).
    """
    bare = {"image": Image.new("RGB", (1, 1)), "regions": {}, "targets": ()}
    samples = {sample.id: replace(sample, **bare) for sample in task}  # images would fill memory

    def against_guessing(part):
        mean, p_value = mean_estimate(part["score"], seed), float("nan")
        guess = blind_guess(replace(task, samples=[samples[name] for name in part["item"]]))
        if part["score"].isin([0, 1]).all():
            p_value = binomtest(int(part["score"].sum()), len(part), guess, "greater").pvalue
        found = {"items": len(part), "score": mean.value, "low": mean.low, "high": mean.high}
        return found | {"guess": guess, "p_value": p_value}

    return _by_kind(rows, against_guessing)


def blind_habits(rows):
    """Look for a habit in answers given without the image, one a sample, by kind of sample.

    One row a kind, `"all"` first: how many `distinct` answers; the `favourite`, given most often,
    and `favourite_share`; `modal`, the right answer that is most frequent, and `modal_share`;
    `agreement`, the share of answers that are `modal`; and `right_by_habit`: of those wholly right,
    the share that are `favourite`. The first in the alphabet stands for several as frequent.
    """
    return _by_kind(rows, _habit)


def _habit(rows):
    said, true = rows["prediction"].fillna("(unread)").astype(str), rows["answer"].astype(str)
    favourite, modal = (str(answers.mode().iloc[0]) for answers in (said, true))  # sorted
    agrees = said.str.casefold() == modal.casefold()  # a reference may be written in capitals
    return {
        **{"distinct": said.nunique(), "favourite": favourite, "modal": modal},
        **{"favourite_share": (said == favourite).mean(), "modal_share": (true == modal).mean()},
        "agreement": agrees.mean(),
        "right_by_habit": (said[rows["score"] == 1] == favourite).mean(),
    }


def by_wording(task, rows):
    """Name options by their words in place of their letters, in `prediction` and `answer`.

    A letter moves from sample to sample; a model with a prior prefers a wording, wherever it is.
    """
    options = {(s.id, at): c for s in task for at, c in zip(LETTERS, s.choices, strict=False)}
    pairs = {name: zip(rows["item"], rows[name], strict=True) for name in ("prediction", "answer")}
    return rows.assign(**{name: [*map(options.get, letters)] for name, letters in pairs.items()})


def _by_kind(rows, summary):
    """Summarise all rows and, where there are several kinds, those of each."""
    kinds = {str(kind): part for kind, part in rows.groupby("kind")}
    parts = {"all": rows, **(kinds if len(kinds) > 1 else {})}
    lines = {kind: summary(part) for kind, part in parts.items()}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("kind")
