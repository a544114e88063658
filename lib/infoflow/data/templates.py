"""Prompt templates: each benchmark's questions as each family gets them, with their sources.

The files of a benchmark hold bare questions; what surrounds them differs between models and is part
of every published score. A template words the question; the family's conversation is put around it
(see ``prompts``). Shapes needs none: its questions are the zoo's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jinja2

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.scienceqa import LETTERS
from infoflow.data.task import Task
from infoflow.errors import InfoflowError, require_name, unknown_name

_SHORT = "\nAnswer the question using a single word or phrase."
_LETTER = "\nAnswer with the option's letter from the given choices directly."
_DESCRIBE = "Please describe this image in detail."
_LINES = "{% for text in choices %}\n{{ letters[loop.index0] }}. {{ text }}{% endfor %}"
_BRACKETS = "{% for text in choices %} ({{ letters[loop.index0] }}) {{ text }}{% endfor %}"


class Template(NamedTuple):
    """A benchmark's question as one family gets it.

    Attributes:
        text: In Jinja, over ``question``, ``context`` (empty without one), ``choices``, ``letters``
            and ``ocr`` (None where the prompt leaves the words out).
        source: Where it is published.
    """

    text: str
    source: str

    def phrase(
        self,
        question: str = "",
        context: str = "",
        choices: Sequence[str] = (),
        ocr: Sequence[str] | None = None,
    ) -> str:
        """Word a question; its own lines stay as they are."""
        if len(choices) > len(LETTERS):
            raise InfoflowError(f"{len(choices)} options, but letters for {len(LETTERS)} only.")
        fields = {"question": question, "context": context, "choices": choices, "ocr": ocr}
        return _compiled(self.text).render(letters=LETTERS, **fields)


@cache
def _compiled(text: str) -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)


def _tidied(text: str) -> str:
    """Make one space of two and strip the whole, as LLaVA's conversion of ScienceQA does."""
    return "{% filter replace('  ', ' ') | trim %}" + text + "{% endfilter %}"


def _llava(where: str) -> dict[str, Template]:
    """The benchmarks as LLaVA's question files have them."""
    question = "{% if context %}Context: {{ context }}\n{% endif %}{{ question }}"
    ocr = "{% if ocr is not none %}\nReference OCR token: {{ ocr | join(', ') }}{% endif %}"
    return {
        "pope": Template("{{ question }}" + _SHORT, f"{where}: llava_pope_test.jsonl"),
        "scienceqa": Template(
            _tidied(question + _LINES) + _LETTER,
            f"{where}: llava_test_CQM-A.json and model_vqa_science.py",
        ),
        "textvqa": Template(
            "{{ question | capitalize }}" + ocr + _SHORT,
            f"{where}: llava_textvqa_val_v051_ocr.jsonl",
        ),
        "chair": Template(_DESCRIBE, "shikiw/OPERA: chair_eval.py"),
    }


_LLAVA = _llava("haotian-liu/LLaVA")
WORDINGS: dict[str, dict[str, Template]] = {
    "llava-1.5": _LLAVA,
    "llava-1.6": _LLAVA,
    "internvl": _llava("InternVL-Chat 1.0, whose evaluation scripts read LLaVA's files"),
    "shikra": {
        "pope": Template("{{ question }}", "shikiw/OPERA: pope_eval.py"),
        "scienceqa": _llava("ours, for none is published; as LLaVA's")["scienceqa"],
        "textvqa": Template("{{ question }}", "ours, for none is published; the question alone"),
        "chair": _LLAVA["chair"],
    },
    "instructblip": {
        "pope": Template(
            "{{ question }} Please answer this question with one word.",
            "DAMO-NLP-SG/VCD: object_hallucination_vqa_instructblip.py",
        ),
        "scienceqa": Template(
            "{% if context %}Context: {{ context }} {% endif %}Question: {{ question }} Options:"
            "{% set letters = letters | lower %}" + _BRACKETS + ". Answer:",
            "the authors, in issue 326 of salesforce/LAVIS",
        ),
        "textvqa": Template(
            "{% if ocr is not none %}OCR tokens: {{ ocr[:30] | join(', ') }}. {% endif %}"
            "Question: {{ question }} Short answer:",
            "InstructBLIP (Dai et al., 2023), appendix; how many tokens, from salesforce/LAVIS: "
            "blip2_vicuna_instruct.py, which holds no file of prompts for TextVQA",
        ),
        "chair": _LLAVA["chair"],
    },
    "qwen-vl": {
        "pope": Template(
            "{{ question }} Answer:", "DAMO-NLP-SG/VCD: object_hallucination_vqa_qwenvl.py"
        ),
        "scienceqa": Template(
            "Context: {{ context or 'N/A' }}\nQuestion: {{ question }}\nOptions:"
            "{% for text in choices %}{{ '\n' if loop.index0 else ' ' }}"
            "{{ letters[loop.index0] }}. {{ text }}{% endfor %}\nAnswer:",
            "QwenLM/Qwen-VL: eval_mm/evaluate_multiple_choice.py",
        ),
        "textvqa": Template("{{ question }} Answer:", "QwenLM/Qwen-VL: eval_mm/evaluate_vqa.py"),
        "chair": Template(
            "Describe the image in English:", "QwenLM/Qwen-VL: eval_mm/evaluate_caption.py"
        ),
    },
}
"""The templates by family and benchmark. TextVQA's published scores of LLaVA-1.5 and InternVL are
with reference OCR tokens in the prompt; without them the line is left out."""

_CONTEXT_QUESTION_OPTIONS = Template(
    _tidied("Context: {{ context or 'N/A' }}\nQuestion: {{ question }}\nOptions:" + _BRACKETS)
    + _LETTER,
    "FanshuoZeng/Simignore: llava_test_CQM-A_image.json and inference_sqa_llava_7b.py; paper 1's "
    "first author shows the same prompt in issue 2 of alibaba/conv-llava",
)
_PAPER = "zhangbaijin/From-Redundancy-to-Relevance"
NAMED_WORDINGS: dict[str, dict[str, Template]] = {
    "paper": {
        "pope": Template("{{ question }}", f"{_PAPER}: pope_eval.py"),
        "scienceqa": _CONTEXT_QUESTION_OPTIONS,
        "chair": Template(_DESCRIBE, f"{_PAPER}: chair_eval.py"),
    },
    "simignore": {"scienceqa": _CONTEXT_QUESTION_OPTIONS},
}
"""Templates of a paper, by name and benchmark, to put to any family in place of its own:
``"paper"`` as *From Redundancy to Relevance* asks, ``"simignore"`` as Simignore does. The
conversation around them stays the family's."""


def worded(task: Task, model: str, wording: str | None = None) -> Task:
    """Word a task's questions for a model.

    The task then fits every measure: they put ``sample.question`` to the model as it stands. Its
    ``source`` says for which family it is worded, with a digest of the template, and so does the
    key of every result.

    Args:
        task: The task.
        model: Name of the model (``lvlm.name``), or of its family in :data:`WORDINGS`.
        wording: Name of the templates to take in place of the family's own, one of
            :data:`NAMED_WORDINGS`; None for the task's.

    Returns:
        The task with its questions worded; the task itself where they are already.

    Raises:
        UnknownNameError: No template is known for the model, or there are none of that name.
        InfoflowError: A wording is named, but the questions are worded already.
    """
    named = wording or task.wording
    if not task.bare:
        if named != task.wording:
            raise InfoflowError(f"the questions of {task.name} ({task.source}) are worded already.")
        return task
    family = wording_family(model)
    template, samples = find_wording(family, task.name, named), task.samples
    digest = hashlib.sha256(template.text.encode()).hexdigest()[:6]

    def worded_sample(place: int) -> Sample:
        s = samples[place]
        return s.with_question(template.phrase(s.question, s.context, s.choices, s.ocr))

    return replace(
        task,
        samples=LazySamples(len(samples), worded_sample),
        source=f"{task.source}, worded {f'as {named} ' if named else ''}for {family} {digest}",
        bare=False,
        wording=named,
    )


def wording_family(model: str) -> str:
    """Name the family in ``WORDINGS`` that the name of a model holds."""
    for family in WORDINGS:
        if family in str(model):
            return family
    raise unknown_name("family in the model's name", model, WORDINGS)


def find_wording(family: str, benchmark: str, wording: str | None = None) -> Template:
    """Find a family's template for a benchmark, or the one of a name in ``NAMED_WORDINGS``."""
    require_name(family, "family", WORDINGS)
    require_name(benchmark, "benchmark", WORDINGS[family])
    if wording is None:
        return WORDINGS[family][benchmark]
    fitting = {name: of[benchmark] for name, of in NAMED_WORDINGS.items() if benchmark in of}
    require_name(wording, f"wording of {benchmark}", fitting)
    return fitting[wording]
