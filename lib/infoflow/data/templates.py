"""How each family is asked each benchmark's questions: tables, each entry with its source.

An entry words the question; the family's conversation is put around it (see ``prompts``).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infoflow.errors import InfoflowError, unknown_name

_SHORT = "\nAnswer the question using a single word or phrase."
_LETTER = "\nAnswer with the option's letter from the given choices directly."
_DESCRIBE = "Please describe this image in detail."


@dataclass(frozen=True)
class Wording:
    """A question as one family is asked it in one benchmark.

    Attributes:
        template: With the fields ``question``, ``capitalised`` (the question with one capital, its
            first letter), ``context``, ``options`` and ``ocr``. A part in square brackets is left
            out where an item has nothing for its field.
        source: Who asks so.
        ending: What follows the template.
        option: One option, with the fields ``letter`` and ``text``.
        letters: The options' letters.
        between: What stands between two options.
        no_context: What stands for a context that is empty.
        tidied: Whether the filled template loses the space at its ends and one of two spaces in a
            row, as by LLaVA's conversion of ScienceQA.
        most_ocr: How many OCR tokens are told at most; all if None.
    """

    template: str
    source: str
    ending: str = ""
    option: str = "{letter}. {text}"
    letters: str = "ABCDE"
    between: str = "\n"
    no_context: str = ""
    tidied: bool = False
    most_ocr: int | None = None


def _llava(where: str) -> dict[str, Wording]:
    """Word the benchmarks as LLaVA's question files do."""
    return {
        "pope": Wording("{question}", f"{where}: llava_pope_test.jsonl", _SHORT),
        "scienceqa": Wording(
            "[Context: {context}\n]{question}[\n{options}]",
            f"{where}: llava_test_CQM-A.json and model_vqa_science.py",
            _LETTER,
            tidied=True,
        ),
        "textvqa": Wording(
            "{capitalised}[\nReference OCR token: {ocr}]",
            f"{where}: llava_textvqa_val_v051_ocr.jsonl",
            _SHORT,
        ),
        "chair": Wording(_DESCRIBE, "shikiw/OPERA: chair_eval.py"),
    }


_LLAVA = _llava("haotian-liu/LLaVA")
WORDINGS: dict[str, dict[str, Wording]] = {
    "llava-1.5": _LLAVA,
    "llava-1.6": _LLAVA,
    "internvl": _llava("InternVL-Chat 1.0, whose evaluation scripts read LLaVA's files"),
    "shikra": {
        "pope": Wording("{question}", "shikiw/OPERA: pope_eval.py"),
        "scienceqa": _llava("ours, for none is published; as LLaVA's")["scienceqa"],
        "textvqa": Wording("{question}", "ours, for none is published; the question alone"),
        "chair": _LLAVA["chair"],
    },
    "instructblip": {
        "pope": Wording(
            "{question} Please answer this question with one word.",
            "DAMO-NLP-SG/VCD: object_hallucination_vqa_instructblip.py",
        ),
        "scienceqa": Wording(
            "[Context: {context} ]Question: {question} Options: {options}. Answer:",
            "the authors, in issue 326 of salesforce/LAVIS",
            option="({letter}) {text}",
            letters="abcde",
            between=" ",
        ),
        "textvqa": Wording(
            "[OCR tokens: {ocr}. ]Question: {question} Short answer:",
            "InstructBLIP (Dai et al., 2023), appendix; how many tokens, from salesforce/LAVIS: "
            "blip2_vicuna_instruct.py, which holds no file of prompts for TextVQA",
            most_ocr=30,
        ),
        "chair": _LLAVA["chair"],
    },
    "qwen-vl": {
        "pope": Wording(
            "{question} Answer:", "DAMO-NLP-SG/VCD: object_hallucination_vqa_qwenvl.py"
        ),
        "scienceqa": Wording(
            "Context: {context}\nQuestion: {question}\nOptions: {options}\nAnswer:",
            "QwenLM/Qwen-VL: eval_mm/evaluate_multiple_choice.py",
            no_context="N/A",
        ),
        "textvqa": Wording("{question} Answer:", "QwenLM/Qwen-VL: eval_mm/evaluate_vqa.py"),
        "chair": Wording(
            "Describe the image in English:", "QwenLM/Qwen-VL: eval_mm/evaluate_caption.py"
        ),
    },
}
"""The wording by family and benchmark. TextVQA's published scores of LLaVA-1.5 and InternVL are
with reference OCR tokens in the prompt; without them the line is left out."""

_CONTEXT_QUESTION_OPTIONS = Wording(
    "Context: {context}\nQuestion: {question}\nOptions: {options}",
    "FanshuoZeng/Simignore: llava_test_CQM-A_image.json and inference_sqa_llava_7b.py; paper 1's "
    "first author shows the same prompt in issue 2 of alibaba/conv-llava",
    _LETTER,
    option="({letter}) {text}",
    between=" ",
    no_context="N/A",
    tidied=True,
)
NAMED_WORDINGS: dict[str, dict[str, Wording]] = {
    "paper": {
        "pope": Wording("{question}", "zhangbaijin/From-Redundancy-to-Relevance: pope_eval.py"),
        "scienceqa": _CONTEXT_QUESTION_OPTIONS,
        "chair": Wording(_DESCRIBE, "zhangbaijin/From-Redundancy-to-Relevance: chair_eval.py"),
    },
    "simignore": {"scienceqa": _CONTEXT_QUESTION_OPTIONS},
}
"""Wordings of a paper, by name and benchmark, to put to any family in place of its own:
``"paper"`` as *From Redundancy to Relevance* asks, ``"simignore"`` as Simignore does. The
conversation around them stays the family's."""


def wording_family(model: str) -> str:
    """Tell by a model's name whose wording it is asked in.

    Args:
        model: A name of ``list_models()``, or of a family itself.

    Returns:
        The family in ``WORDINGS`` that the name holds.

    Raises:
        UnknownNameError: The name holds none.
    """
    found = [family for family in WORDINGS if family in str(model)]
    if not found:
        raise unknown_name("family in the model's name", model, WORDINGS)
    return found[0]


def find_wording(family: str, benchmark: str, wording: str | None = None) -> Wording:
    """Find how a benchmark's questions are worded.

    Args:
        family: One of ``WORDINGS``.
        benchmark: The benchmark.
        wording: One of ``NAMED_WORDINGS``; None for the family's own.

    Raises:
        UnknownNameError: There is no such family or wording, or it does not word the benchmark.
    """
    if family not in WORDINGS:
        raise unknown_name("family", family, WORDINGS)
    if benchmark not in WORDINGS[family]:
        raise unknown_name("benchmark", benchmark, WORDINGS[family])
    if wording is None:
        return WORDINGS[family][benchmark]
    fitting = [name for name, benchmarks in NAMED_WORDINGS.items() if benchmark in benchmarks]
    if wording not in fitting:
        raise unknown_name(f"wording of {benchmark}", wording, fitting)
    return NAMED_WORDINGS[wording][benchmark]


def phrase(
    family: str,
    benchmark: str,
    question: str = "",
    context: str = "",
    choices: Sequence[str] = (),
    ocr: Sequence[str] | None = None,
    wording: str | None = None,
) -> str:
    """Word a benchmark's question as a family is asked it.

    Lines of the item's own stay as they are, empty ones too.

    Args:
        family: One of ``WORDINGS``.
        benchmark: One of that family's.
        question: The question itself.
        context: What is told beforehand (ScienceQA's hint).
        choices: The options, in order of their letters.
        ocr: The words that were read from the picture; empty where none were, None where they are
            not to be told.
        wording: One of ``NAMED_WORDINGS``; None for the family's own.

    Raises:
        UnknownNameError: There is no such family, benchmark or wording.
        InfoflowError: There are more options than letters.
    """
    found = find_wording(family, benchmark, wording)
    if len(choices) > len(found.letters):
        raise InfoflowError(f"{len(choices)} options, but letters for {len(found.letters)} only.")
    options = found.between.join(
        found.option.format(letter=letter, text=text)
        for letter, text in zip(found.letters, choices, strict=False)
    )
    text = _fill(
        found.template,
        {
            "question": question,
            "capitalised": question.capitalize(),
            "context": context or found.no_context or None,
            "options": options or None,
            "ocr": None if ocr is None else ", ".join(ocr[: found.most_ocr]),
        },
    )
    if found.tidied:
        text = text.replace("  ", " ").strip()
    return text + found.ending


def _fill(template: str, fields: Mapping[str, str | None]) -> str:
    """Fill in the fields; a part in square brackets goes where one of its fields is None."""

    def part(match: re.Match[str]) -> str:
        missing = any(fields[name] is None for name in re.findall(r"{(\w+)}", match[1]))
        return "" if missing else match[1]

    whole = re.sub(r"\[(.*?)\]", part, template, flags=re.DOTALL)
    return whole.format(**{name: value or "" for name, value in fields.items()})
