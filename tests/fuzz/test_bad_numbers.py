"""Arguments of measures, interventions and models that are none, or out of range."""

import bad
import numpy as np
import pytest
import torch

from infoflow import (
    EAH,
    FastV,
    Simignore,
    Truncate,
    attention_flow,
    cliff_layer,
    intervene,
    llava_cam,
    load_task,
    truncated_log_probs,
    truncation_sweep,
)

NAN = float("nan")
# by what a number must be: what is none
NOT_WHOLE = (1.5, NAN, True, "2", None, [1], 2.0, float("inf"))
NEGATIVE = (-1, -(10**9))
NOT_FINITE = (NAN, float("inf"), "1", None, True, [0.1])


def cases(*named):
    return [
        pytest.param(act, value, id=f"{name}-{value!r}"[:60])
        for name, act, values in named
        for value in values
    ]


CAM = {"n_samples": 1, "sigma": 0.0, "answer": "yes"}


@pytest.mark.parametrize(
    ("act", "value"),
    cases(
        ("tokens", lambda m, p, v: m.generate(p, v), (*NOT_WHOLE, 0, *NEGATIVE, 10**9)),
        ("answer", lambda m, p, v: m.answer(p, v), (*NOT_WHOLE, 0, *NEGATIVE, 10**9)),
        (
            "sweep-tokens",
            lambda m, p, v: truncation_sweep(m, p, max_new_tokens=v),
            (*NOT_WHOLE, 0, *NEGATIVE, 10**9),
        ),
        (
            "sweep-keep",
            lambda m, p, v: truncation_sweep(m, p, keep=v),
            (*NOT_WHOLE, *NEGATIVE, 10**9, 65),
        ),
        (
            "sweep-cuts",
            lambda m, p, v: truncation_sweep(m, p, cuts=v),
            ([], [1.5], [True], ["2"], [NAN], [-1], [13], [10**9], 3, "12", [[1]]),
        ),
        (
            "sweep-ranking",
            lambda m, p, v: truncation_sweep(m, p, keep=2, cuts=[3], ranking=v),
            (torch.zeros(3), torch.full((64,), NAN), torch.zeros(2, 64), "best", torch.zeros(())),
        ),
        (
            "log-probs",
            lambda m, p, v: truncated_log_probs(m, p, v),
            ("", " ", torch.tensor([10**6]), torch.tensor([-1]), torch.zeros(0), 3, None, b"yes"),
        ),
        ("flow", lambda m, p, v: attention_flow(m, p, answer=v), ("", 5, torch.tensor([10**6]))),
        (
            "cam-samples",
            lambda m, p, v: llava_cam(m, p, **CAM | {"n_samples": v}),
            (*NOT_WHOLE, 0, *NEGATIVE),
        ),
        (
            "cam-sigma",
            lambda m, p, v: llava_cam(m, p, **CAM | {"sigma": v}),
            (*NOT_FINITE, -0.1),
        ),
        ("cam-seed", lambda m, p, v: llava_cam(m, p, **CAM, seed=v), (*NOT_WHOLE, *NEGATIVE)),
        (
            "cam-batch",
            lambda m, p, v: llava_cam(m, p, **CAM, micro_batch=v),
            (*NOT_WHOLE, 0, *NEGATIVE),
        ),
        ("cam-site", lambda m, p, v: llava_cam(m, p, **CAM, site=v), ("mlp", "", None, 3)),
        ("cam-weights", lambda m, p, v: llava_cam(m, p, **CAM, weights=v), ("max", None, 1)),
        (
            "cam-answer",
            lambda m, p, v: llava_cam(m, p, **CAM | {"answer": v}),
            ("", torch.tensor([-3]), torch.zeros(1, 1, 1, dtype=torch.long), 7, b"yes"),
        ),
    ),
)
def test_measures_refuse_what_is_no_such_number(tiny, prompt, act, value):
    bad.refuse(lambda: act(tiny, prompt, value))


def apply(lvlm, prompt, change):
    with intervene(lvlm, change):
        return lvlm.answer(prompt, 1)


@pytest.mark.parametrize(
    ("act", "value"),
    cases(
        ("fastv-k", lambda v: FastV(k=v), (*NOT_WHOLE, 0, *NEGATIVE, 12, 10**9)),
        ("fastv-ratio", lambda v: FastV(ratio=v), (*NOT_FINITE, -0.1, 1.1)),
        ("cut", lambda v: Truncate(v), (*NOT_WHOLE, *NEGATIVE, 13)),
        ("keep", lambda v: Truncate(3, keep=v), (*NOT_WHOLE, *NEGATIVE, 65)),
        ("span", lambda v: Truncate(3, span_mode=v), ("near", None, 1)),
        ("layers", lambda v: EAH(layers=v), ((), (12,), (-1,), (1.5,), (True,), 1, "1", None)),
        ("beta", lambda v: EAH(beta=v), (*NOT_FINITE, -0.1)),
        ("gamma", lambda v: EAH(gamma=v), (*NOT_FINITE, -0.1, 1.1)),
        ("divisor", lambda v: EAH(divisor=v), ("n", None)),
        ("columns", lambda v: EAH(columns=v), ("text", 0)),
        ("simignore", lambda v: Simignore(v), (*NOT_WHOLE, *NEGATIVE, 65)),
        ("start", lambda v: Simignore(4, start=v), (*NOT_WHOLE, *NEGATIVE)),
        ("stride", lambda v: Simignore(4, stride=v), (*NOT_WHOLE, 0, *NEGATIVE)),
        ("text", lambda v: Simignore(4, text=v), ("", 3, torch.tensor([10**6]))),
        ("metric", lambda v: Simignore(4, metric=v), ("dot", None)),
        ("order", lambda v: Simignore(4, order=v), ("worst", 2)),
        ("none", lambda v: v, ("FastV", FastV, None, 3)),
    ),
)
def test_interventions_refuse_what_is_no_such_number(tiny, prompt, act, value):
    bad.refuse(lambda: apply(tiny, prompt, act(value)))


SCORES = np.array([[0.0, 0.5, 1.0], [0.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    ("act", "value"),
    cases(
        (
            "scores",
            lambda v: cliff_layer(v),
            ([], [[]], [1, 2], [["a", "b"]], [[NAN, 1.0]], [[1.0]], None, [[1, 2], [3]], "text"),
        ),
        ("test", lambda v: cliff_layer(SCORES, v), ([[1.0, 1.0]], [], [[NAN] * 3], 4)),
        ("margin", lambda v: cliff_layer(SCORES, margin=v), (NAN, -1, float("inf"), "5", True)),
        ("resamples", lambda v: cliff_layer(SCORES, n_resamples=v), (*NOT_WHOLE, 0, *NEGATIVE)),
        ("seed", lambda v: cliff_layer(SCORES, seed=v), (*NOT_WHOLE, *NEGATIVE)),
        ("limit", lambda v: load_task("pope", limit=v), (1.5, NAN, True, "2", [1], 0, *NEGATIVE)),
        (
            "length",
            lambda v: load_task("pope", max_new_tokens=v),
            (1.5, NAN, True, "2", [1], 0, *NEGATIVE),
        ),
    ),
)
def test_cliffs_and_tasks_refuse_what_is_no_such_number(act, value):
    bad.refuse(lambda: act(value))


QUESTIONS = (None, 3, b"text", ["Is there a dog?"], "Is <image> there?", "word " * 3000, "a\ud800b")
PICTURES = (None, 3, "", "no such file.png", ".", np.zeros((8, 8, 3), np.uint8), "a\0b", b"bytes")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: repr(q)[:30])
def test_questions_that_are_none(tiny, pope, question):
    bad.refuse(lambda: tiny.prompt(pope[0].image, question))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda p: type(p).__name__ + str(p)[:12])
def test_pictures_that_are_none(tiny, picture):
    bad.refuse(lambda: tiny.prompt(picture, "Is there a dog?"))


ELSEWHERE = {
    "flow": attention_flow,
    "cam": lambda m, p: llava_cam(m, p, **CAM),
    "sweep": truncation_sweep,
    "log-probs": lambda m, p: truncated_log_probs(m, p, "yes"),
    "answer": lambda m, p: m.answer(p),
    "fastv": lambda m, p: apply(m, p, FastV()),
    "eah": lambda m, p: apply(m, p, EAH()),
}


@pytest.mark.parametrize("measure", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_prompt_of_another_model(other, prompt, measure):
    bad.refuse(lambda: measure(other, prompt))


@pytest.mark.parametrize(
    "change",
    [
        lambda ids, pixels: (ids[:5], pixels),
        lambda ids, pixels: (ids[None, None], pixels),
        lambda ids, pixels: (ids.float(), pixels),
        lambda ids, pixels: (ids * 0 + 10**6, pixels),
        lambda ids, pixels: (ids - 10**6, pixels),
        lambda ids, pixels: (ids, pixels[..., :5]),
        lambda ids, pixels: (ids, pixels[0]),
        lambda ids, pixels: (ids, torch.full_like(pixels, NAN)),
        lambda ids, pixels: (ids, pixels.repeat(2, 1, 1, 1)),
        lambda ids, pixels: (ids.tolist(), pixels),
        lambda ids, pixels: (ids, None),
    ],
)
def test_ids_and_pixels_that_fit_no_prompt(tiny, prompt, change):
    bad.refuse(lambda: tiny.embed(*change(prompt.input_ids, prompt.pixel_values)))
