"""How each family is asked each benchmark's questions: a table, each entry with its source.

An entry words the question; the family's conversation is put around it (see ``prompts``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infoflow.errors import unknown_name

_SHORT = "Answer the question using a single word or phrase."
_LETTER = "Answer with the option's letter from the given choices directly."
_LLAVA_SCRIPTS = "evaluation scripts of the LLaVA repository"


@dataclass(frozen=True)
class Wording:
    """A question as one family is asked it in one benchmark.

    Attributes:
        template: With the fields ``question``, ``context``, ``options`` and ``ocr``.
        source: Who asks so.
        option: One option, with the fields ``letter`` and ``text``.
        letters: The options' letters.
        between: What stands between two options.
        no_context: What stands for a context that is empty.
    """

    template: str
    source: str
    option: str = "{letter}. {text}"
    letters: str = "ABCDE"
    between: str = "\n"
    no_context: str = ""


_LLAVA = {
    "pope": Wording(f"{{question}}\n{_SHORT}", _LLAVA_SCRIPTS),
    "scienceqa": Wording(f"{{context}}\n{{question}}\n{{options}}\n{_LETTER}", _LLAVA_SCRIPTS),
    "textvqa": Wording(f"{{question}}\nReference OCR token: {{ocr}}\n{_SHORT}", _LLAVA_SCRIPTS),
    "chair": Wording("Please describe this image in detail.", "OPERA (Huang et al., 2024)"),
}
_INTERNVL_SOURCE = "evaluation scripts of InternVL-Chat 1.0, which are LLaVA's"
_QWEN_SOURCE = "evaluation scripts of the Qwen-VL repository"
_QWEN = {
    "pope": Wording("{question} Answer:", "VCD (Leng et al., 2024)"),
    "scienceqa": Wording(
        "Context: {context}\nQuestion: {question}\nOptions: {options}\nAnswer:",
        _QWEN_SOURCE,
        no_context="N/A",
    ),
    "textvqa": Wording("{question} Answer:", _QWEN_SOURCE),
    "chair": Wording("Describe the image in English:", _QWEN_SOURCE),
}
WORDINGS: dict[str, dict[str, Wording]] = {
    "llava-1.5": _LLAVA,
    "llava-1.6": _LLAVA,
    "internvl": {
        **{
            name: Wording(_LLAVA[name].template, _INTERNVL_SOURCE)
            for name in ("pope", "scienceqa", "textvqa")
        },
        "chair": _LLAVA["chair"],
    },
    "shikra": {
        "pope": Wording("{question}", "OPERA (Huang et al., 2024)"),
        "scienceqa": Wording(_LLAVA["scienceqa"].template, "ours: none is published; as LLaVA's"),
        "textvqa": Wording("{question}", "ours: none is published; the question alone"),
        "chair": _LLAVA["chair"],
    },
    "instructblip": {
        "pope": Wording(
            "{question} Please answer this question with one word.", "VCD (Leng et al., 2024)"
        ),
        "scienceqa": Wording(
            "Context: {context} Question: {question} Options: {options} Answer:",
            "the authors, in issue 326 of the LAVIS repository",
            option="({letter}) {text}",
            letters="abcde",
            between=" ",
        ),
        "textvqa": Wording(
            "OCR tokens: {ocr}. Question: {question} Short answer:",
            "LAVIS; its wording as remembered, to be checked against the repository",
        ),
        "chair": _LLAVA["chair"],
    },
    "qwen-vl": _QWEN,
}
"""The wording by family and benchmark. TextVQA's published scores of LLaVA-1.5 and InternVL are
with reference OCR tokens in the prompt; without them the line is left out."""


def wording_family(model: str) -> str:
    """Tell by a model's name whose wording it is asked in.

    Args:
        model: A name of ``list_models()``, or of a family itself.

    Returns:
        The family in ``WORDINGS`` that the name holds.

    Raises:
        UnknownNameError: The name holds none.
    """
    found = [family for family in WORDINGS if family in model]
    if not found:
        raise unknown_name("family in the model's name", model, WORDINGS)
    return found[0]


def phrase(
    family: str,
    benchmark: str,
    question: str = "",
    context: str = "",
    choices: Sequence[str] = (),
    ocr: Sequence[str] = (),
) -> str:
    """Word a benchmark's question as a family is asked it.

    Lines that are empty, or hold nothing but an empty list of OCR tokens, are left out.

    Args:
        family: One of ``WORDINGS``.
        benchmark: One of that family's.
        question: The question itself.
        context: What is told beforehand (ScienceQA's hint).
        choices: The options, in order of their letters.
        ocr: The words that were read from the picture.

    Raises:
        UnknownNameError: There is no such family or benchmark.
    """
    if family not in WORDINGS:
        raise unknown_name("family", family, WORDINGS)
    if benchmark not in WORDINGS[family]:
        raise unknown_name("benchmark", benchmark, WORDINGS[family])
    wording = WORDINGS[family][benchmark]
    options = wording.between.join(
        wording.option.format(letter=letter, text=text)
        for letter, text in zip(wording.letters, choices, strict=False)
    )
    template = wording.template if ocr else _without_ocr(wording.template)
    text = template.format(
        question=question,
        context=context or wording.no_context,
        options=options,
        ocr=", ".join(ocr),
    )
    return "\n".join(line for line in text.split("\n") if line)


def _without_ocr(template: str) -> str:
    """Leave out what speaks of OCR tokens: a line, or a sentence at the beginning."""
    lines = (line for line in template.split("\n") if not line.startswith("Reference OCR token"))
    return "\n".join(lines).removeprefix("OCR tokens: {ocr}. ")
