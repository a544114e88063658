"""A picture of the reader's own: its answers cut by cut, and where they come from."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from infoflow.data.sample import Sample
from infoflow.report.display import Plot, ProvenanceBox, Table
from infoflow.report.style import HOUSE_STYLE, WIDTH

_CHARACTERS = 42


def own_sheet(sample: Sample) -> Plot:
    """Show a picture with what was asked about it and what the model said.

    Args:
        sample: The picture; its answer is the model's.

    Returns:
        The plot; its table holds question and answer.
    """
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 2.6))
        picture, words = figure.subplots(1, 2, width_ratios=(1, 1.5))
        picture.imshow(sample.image)
        asked = "\n".join(fill(line, _CHARACTERS) for line in sample.question.splitlines())
        told = f"{asked}\n→ {fill(sample.answer, _CHARACTERS)}"
        words.text(0, 0.98, told, va="top", parse_math=False)  # dollars are dollars
        for axes in (picture, words):
            axes.axis("off")
    width, height = sample.image.size
    return Plot(
        figure,
        f"The picture, {width} by {height} pixels, with the question and the model's answer: "
        f"{sample.answer}"[:400],
        "The picture as it was given, the question, and after the arrow the model's answer.",
        pd.DataFrame({"question": [sample.question], "answer": [sample.answer]}),
    )


def cut_answers(cuts: Sequence[int], texts: Sequence[str], margins: Sequence[float]) -> Table:
    """The answers to one question by cut, without a judgement of what is right.

    Args:
        cuts: The cuts, ascending; the last one is the intact model.
        texts: The answer at each cut.
        margins: Lead of the first answer token's logit over the runner-up's.
    """
    settled = next(i for i in range(len(texts)) if len(set(texts[i:])) == 1)
    data = pd.DataFrame(
        {
            "paper's layer": [*(str(cut + 1) for cut in cuts[:-1]), "intact"],
            "answer": list(texts),
            "as intact": ["yes" if text == texts[-1] else "no" for text in texts],
            "margin": [f"{margin:.1f}" for margin in margins],
        },
        index=pd.Index(list(cuts), name="cut"),
    )
    return Table(
        data, f"Answers by cut. From cut {cuts[settled]} on, all are that of the intact model"
    )


def own_provenance(
    record: Mapping[str, Any], picture: str, parameters: Mapping[str, Any]
) -> ProvenanceBox:
    """Describe where the numbers about a single picture come from.

    Args:
        record: Of :func:`infoflow.results.provenance.provenance`, without a task.
        picture: Which picture it was, in words.
        parameters: The page's own parameters.
    """
    model, machine, code = record["model"], record["machine"], record["code"]
    return ProvenanceBox(
        summary=f"Provenance: {model['name']}, one picture and one question",
        lasting={
            "model": model["name"],
            "revision": model["revision"] or "none: local weights",
            "weights digest": model["digest"],
            "picture": picture,
            "parameters": _listed(parameters),
            "dtype, attention": f"{model['dtype']}, {model['attention']}",
        },
        circumstances={
            "device": f"{machine['device']} ({machine['device_name']}), "
            f"{machine['threads']} threads, Python {machine['python']}",
            "code digest": f"{code['digest'][:12]}; commit {code['commit'] or 'unknown'}",
            "packages": _listed(record["packages"]),
        },
    )


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
