"""Answers to a task from its text alone: no image tokens, and no gap where they stood."""

from dataclasses import replace

import torch

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.models.prompt import Prompt, Spans


def text_only(prompt: Prompt) -> Prompt:
    """Take the image tokens out of a prompt; what follows moves up, and so do its positions.

    At cut 0 the tokens behind the image keep their positions. A model whose positions matter may
    answer the two differently.
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


@measure
def text_answers(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Answer from the text alone, by transformers' own greedy decoding.

    Returns:
        One row a sample, with the columns of :meth:`infoflow.data.task.Task.details`.
    """
    prompt = text_only(lvlm.prompt(sample.image, sample.question))
    return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]
