"""Answers to a task: of the model as it is, under interventions, or from the text alone."""

from dataclasses import dataclass, replace

import torch

from infoflow.errors import InfoflowError
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.interventions import Intervention, Simignore, intervene
from infoflow.models.prompt import Prompt, Spans


@dataclass(frozen=True)
class ByOptions:
    """Simignore with each sample's options for its text, as in the released code.

    They stand without letters, joined by spaces, after the token that begins a sequence, if any.
    """

    simignore: Simignore  # all other settings; its text is replaced

    def of(self, lvlm: LVLM, sample: Sample) -> Simignore:
        if not sample.choices:
            raise InfoflowError(f"{sample.id} has no options to compare the image with.")
        begin = lvlm.tokenizer.bos_token_id
        options = lvlm.encode_answer(" ".join(sample.choices))
        first = options.new_tensor([] if begin is None else [begin])
        return replace(self.simignore, text=torch.cat([first, options]))


@measure
def answers(
    lvlm: LVLM, task: Task, sample: Sample, *changes: Intervention | ByOptions
) -> list[Row]:
    """Answer greedily: a row with the columns of :meth:`infoflow.data.task.Task.details`.

    Settings:
        *changes: Interventions, all at work at once; none for the model as it is.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    own = (c.of(lvlm, sample) if isinstance(c, ByOptions) else c for c in changes)
    with intervene(lvlm, *own):
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]


answers_under = answers  # as pages call it that try interventions


def text_only(prompt: Prompt) -> Prompt:
    """Take the image tokens out of a prompt; what follows moves up, unlike at cut 0."""
    image = prompt.spans.image
    stays = torch.ones(len(prompt), dtype=torch.bool, device=prompt.input_ids.device)
    stays[image] = False
    here, ids = slice(image.start, image.start), prompt.input_ids[stays]
    places = prompt.position_ids
    if places is not None:
        places = places[..., :1] + torch.arange(len(ids), device=places.device)
    return replace(
        prompt,
        input_ids=ids,
        inputs_embeds=prompt.inputs_embeds[:, stays],
        position_ids=places,
        mask=None if prompt.mask is None else prompt.mask[stays][:, stays],
        deepstack=(),
        spans=Spans(prompt.spans.system, here, slice(image.start, int(stays.sum()))),
    )


@measure
def text_answers(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Answer from the text alone, with the columns of :func:`answers`."""
    prompt = text_only(lvlm.prompt(sample.image, sample.question))
    return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]
