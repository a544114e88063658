"""Answers to a task from its text alone: no image tokens, and no gap where they stood."""

from dataclasses import replace

import pandas as pd
import torch

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.evaluate.collecting import Row, collect
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.prompt import Spans
from infoflow.results.store import Store


def text_only(prompt: Prompt) -> Prompt:
    """Take the image tokens out of a prompt; what follows moves up, and so do its positions.

    At cut 0 the tokens behind the image keep their positions; here they do not. A model whose
    positions matter may answer the two differently.

    Args:
        prompt: The picture and question.

    Returns:
        The prompt with an empty image span.
    """
    image = prompt.spans.image
    stays = torch.ones(len(prompt), dtype=torch.bool, device=prompt.input_ids.device)
    stays[image] = False
    here = slice(image.start, image.start)
    return replace(
        prompt,
        input_ids=prompt.input_ids[stays],
        inputs_embeds=prompt.inputs_embeds[:, stays],
        spans=Spans(prompt.spans.system, here, slice(image.start, int(stays.sum()))),
    )


def text_answers(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item from its text alone, by transformers' own greedy decoding.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item`` and those of :meth:`infoflow.data.load.Task.details`.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = text_only(lvlm.prompt(sample.image, sample.question))
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]

    parameters = {"max_new_tokens": task.max_new_tokens}
    return collect("text_answers", lvlm, task, store, parameters, measure)
