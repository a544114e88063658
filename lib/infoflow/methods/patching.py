"""Activation patching: which states bring a run's answer along when put into another run."""

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.hooks.forward import Stream, answer_ids, forward_pass, modifier_of
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads


@on_own_threads
def activation_patching(
    lvlm: LVLM, clean: Prompt, other: Prompt, answers: tuple[str, str], groups: Tensor
) -> Tensor:
    """Put the clean run's states of a group of rows into the other run, behind 0 layers to L.

    recovery = (m_patched - m_other) / (m_clean - m_other), m the logit of the clean prompt's answer
    less that of the other's, by their first tokens (arXiv 2406.04236; NOTICE, arXiv 2406.16320). A
    patched run goes on from the other's states, bit by bit as a whole pass.

    Args:
        lvlm: The model.
        clean: An image and a question.
        other: Another image and the same question.
        answers: What is answered to the clean prompt, and to the other.
        groups: Rows that are patched together: boolean of shape (G, S).

    Returns:
        Recovery, float64 of shape (G, L + 1): not finite if m is the same in both runs.

    Raises:
        InfoflowError: The questions differ, the answers begin alike, groups have another shape, or
            the model cannot be observed, or is intervened in.
    """
    first, second = (answer_ids(lvlm, clean, answer)[0] for answer in answers)
    if first == second or not torch.equal(clean.input_ids, other.input_ids):
        asked = f"{clean.question!r} and {other.question!r}, answered {answers}"
        raise InfoflowError(f"{asked}; valid: one question, answers that begin otherwise.")
    if groups.dtype != torch.bool or groups.shape[1:] != clean.input_ids.shape:
        given = f"groups of rows are {groups.dtype}, {tuple(groups.shape)}"
        raise InfoflowError(f"{given}; valid: boolean, (G, {len(clean)}).")
    if other.deepstack:
        raise InfoflowError(f"{lvlm.name} adds to image tokens inside (DeepStack); patches do not.")
    if modifier_of(lvlm):
        raise InfoflowError("an intervention is at work; patching takes the model as it is.")

    def lead(hidden: Tensor) -> float:
        # the head over all rows, as in an ordinary pass: one row alone rounds differently
        logits = lvlm.lm_head(hidden)[0, -1].float()
        return float(logits[first] - logits[second])

    def patched_lead(depth: int, rows: Tensor) -> float:
        source, own = ours.states[depth], theirs.states[depth]  # both where the layer is
        states = torch.where(rows.to(own.device)[:, None], source, own)
        for layer, arguments in zip(lvlm.layers[depth:], theirs.arguments[depth:], strict=True):
            states = layer.forward(states, **arguments)  # not layer(...), which is watched
        return lead(lvlm.norm(states))

    ours, theirs = Stream(), Stream()
    with torch.inference_mode():
        with forward_pass(lvlm, clean, observer=ours) as hidden:
            m_clean = lead(hidden)
        with forward_pass(lvlm, other, observer=theirs) as hidden:
            m_other = lead(hidden)
            m = [[patched_lead(d, rows) for d in range(lvlm.n_layers + 1)] for rows in groups]
    return (torch.tensor(m, dtype=torch.float64) - m_other) / (m_clean - m_other)
