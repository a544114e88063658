"""What the explorer holds of an item: small enough for a hundred of them on one page."""

import json
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import torch

from infoflow import attention_flow, llava_cam, report, truncation_sweep
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.flow import group_shares
from infoflow.report import TASK_TITLES


@measure
def examined(
    lvlm: LVLM, task: Task, sample: Sample, n_samples: int = 4, seed: int = 0
) -> list[Row]:
    """Measure an item: answers by cut, attention by layer and head, gradient maps by layer."""
    prompt = lvlm.prompt(sample.image, sample.question)
    flow = attention_flow(lvlm, prompt)
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=task.max_new_tokens)
    ids = lvlm.before_eos(sweep.tokens[-1])
    rows = torch.cat([flow.rows, flow.rows.mean(1, keepdim=True)], 1)  # last: heads averaged
    item = {
        "id": sample.id,
        "task": TASK_TITLES[task.name],
        "question": report.asked(sample.question),
        "reference": sample.answer,
        "answers": [lvlm.decode(tokens) or "(nothing)" for tokens in sweep.tokens],
        "image": _image(prompt.image),
        "shares": (1000 * group_shares(rows.flatten(0, 1), prompt)).round().int().tolist(),
        "attention": _packed(prompt.grid.cells(rows[..., prompt.spans.image].numpy())),
        "text": _packed(rows[..., prompt.spans.user].numpy()),
        "words": [lvlm.tokenizer.decode([i]) for i in prompt.input_ids[prompt.spans.user].tolist()],
    }
    if len(ids):
        cam = llava_cam(lvlm, prompt, ids, n_samples=n_samples, seed=seed)
        item["cam"] = _packed(np.nan_to_num(cam.maps.numpy()))
    return [{"examined": json.dumps(item)}]


def _image(image):
    sink = BytesIO()
    image.save(sink, format="WEBP", quality=90)  # to look at; measured was the image itself
    return b64encode(sink.getvalue()).decode()


def _packed(values):
    """A byte a value, the square root of its part of the largest: small ones keep their places."""
    top = float(values.max())
    bytes_ = np.rint(255 * np.sqrt(values / top if top > 0 else values)).astype(np.uint8)
    return {
        "shape": list(values.shape),
        "top": float(f"{top:.4g}"),
        "data": b64encode(bytes_).decode(),
    }


@dataclass(frozen=True)
class Explorer:
    """Items for ``explorer.js``; without it, a list of them with their answers by cut."""

    model: str
    items: list

    def _repr_mimebundle_(self, include=None, exclude=None):
        lines = "".join(
            f"<tr><th>{escape(item['id'])}</th><td class=words>{escape(item['question'])}</td>"
            f"<td>{escape(item['reference'])}</td><td>{escape(answers_by_cut(item))}</td></tr>"
            for item in self.items
        )
        heads = "".join(f"<th>{head}</th>" for head in ("item", "question", "reference", "answers"))
        label = f"All items, and what {escape(self.model)} answers from which cut on"
        data = json.dumps({"model": self.model, "items": self.items}).replace("<", "\\u003c")
        html = (
            f'<div class="explorer"><script type="application/json">{data}</script></div>'
            f'<div class="table-scroll" role="region" tabindex="0" aria-label="{label}">'
            f'<table class="dataframe"><caption>{label}</caption>'
            f"<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
        return {
            "text/html": html,
            "text/plain": "\n".join(map(in_words, self.items)),
        }


def in_words(item):
    """What a re-run must reproduce of an item."""
    n_heads = item["attention"]["shape"][1]  # the mean is the last
    image = [share / 10 for _, share, _ in item["shares"][n_heads - 1 :: n_heads]]
    return f"{item['id']}: {answers_by_cut(item)}. The image's share by layer (%): {image}"


def answers_by_cut(item):
    """The answers in words, each with its first cut: "no, from cut 4 yes"."""
    parts, before = [], None
    for cut, answer in enumerate(item["answers"]):
        if answer != before:
            parts.append(f"from cut {cut} {answer}" if parts else answer)
        before = answer
    return ", ".join(parts)
