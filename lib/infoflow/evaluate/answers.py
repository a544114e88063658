"""A model's answers to a task: of the model as it is, or under interventions."""

from dataclasses import dataclass, replace

import torch

from infoflow.errors import InfoflowError
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.interventions import intervene
from infoflow.interventions.base import Intervention
from infoflow.interventions.simignore import Simignore


@dataclass(frozen=True)
class ByOptions:
    """Simignore that compares the image with each sample's options, as the released code does.

    The text is the options without their letters, joined by spaces, after the tokenizer's token
    that begins a sequence, if it has one.

    Attributes:
        simignore: All other settings; its ``text`` is replaced.
    """

    simignore: Simignore

    def of(self, lvlm: LVLM, sample: Sample) -> Simignore:
        """The settings for one sample.

        Raises:
            InfoflowError: The sample has no options.
        """
        if not sample.choices:
            raise InfoflowError(
                f"{sample.id} has no options to compare the image with; "
                "valid for it: Simignore(...) itself, which reads the whole question."
            )
        begin = lvlm.tokenizer.bos_token_id
        options = lvlm.encode_answer(" ".join(sample.choices))
        first = options.new_tensor([] if begin is None else [begin])
        return replace(self.simignore, text=torch.cat([first, options]))


@measure
def answers(
    lvlm: LVLM, task: Task, sample: Sample, *changes: Intervention | ByOptions
) -> list[Row]:
    """Answer by transformers' own greedy decoding.

    Settings:
        *changes: Interventions, all at work at once; none for the model as it is.

    Returns:
        One row a sample, with the columns of :meth:`infoflow.data.task.Task.details`.

    Raises:
        InfoflowError: A setting does not suit the model, a prompt or a sample.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    own = (c.of(lvlm, sample) if isinstance(c, ByOptions) else c for c in changes)
    with intervene(lvlm, *own):
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]
