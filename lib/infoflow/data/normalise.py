"""What the benchmarks' rules share: what an answer is, and VQA's normalisation of it."""

import re
from typing import Any

from infoflow.errors import InfoflowError

MOST_CHARACTERS = 100_000

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
EVALAI_FULL_STOP = re.compile(r"\.(?!\d)")
VLMEVALKIT_FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
# The published codes hand a flag to a substitution where the number of replacements belongs.
_MOST_FULL_STOPS = int(re.UNICODE)

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five"),
    *("six", "seven", "eight", "nine", "ten"),
)
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
_ARTICLES = frozenset(("a", "an", "the"))

# Every form below is recognised with exactly one of its apostrophes left out.
_CONTRACTIONS = re.findall(
    r"\S+",
    """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll
you're you've
""",
)


def _without_one_apostrophe(form: str) -> list[str]:
    return [form[:i] + form[i + 1 :] for i, char in enumerate(form) if char == "'"]


_RESTORED = {short: form for form in _CONTRACTIONS for short in _without_one_apostrophe(form)}
# The published table takes this one apostrophe out instead of putting it in.
_RESTORED["somebody'd"] = "somebodyd"


def require_answer(text: Any) -> str:
    """Return an answer as it is, if it can be one.

    Raises:
        InfoflowError: It is no text, or longer than 100,000 characters.
    """
    if not isinstance(text, str):
        raise InfoflowError(f"an answer is of type {type(text).__name__}; it must be text.")
    if len(text) > MOST_CHARACTERS:
        raise InfoflowError(
            f"an answer has {len(text)} characters; it may have at most {MOST_CHARACTERS}."
        )
    return text


def strip_punctuation(text: str, full_stop: re.Pattern[str]) -> str:
    """Remove punctuation as VQA's evaluation does.

    A mark is deleted where the text has it next to a space anywhere, or has a comma inside a
    number; else a space takes its place. Of the full stops that the pattern finds, the first 32 go.
    """
    stripped = text
    number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        spaced = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if spaced or number else " ")
    return full_stop.sub("", stripped, count=_MOST_FULL_STOPS)


def normalise_answer(text: str) -> str:
    """Normalise a short answer as EvalAI's TextVQA server does.

    As in the evaluation code of LLaVA (``m4c_evaluator.py``) and lmms-eval, quirks included. Lower
    case; commas and question marks deleted; punctuation removed (:func:`strip_punctuation`; a full
    stop goes unless a digit follows); number words to ten as digits; articles dropped; apostrophes
    of contractions restored.

    Args:
        text: The answer.

    Returns:
        The normalised answer, its words joined by single spaces.

    Raises:
        InfoflowError: It is no text, or longer than 100,000 characters.
    """
    lowered = require_answer(text).lower().replace(",", "").replace("?", "").replace("'s", " 's")
    one_line = lowered.strip().replace("\n", " ").replace("\t", " ").strip()
    words = strip_punctuation(one_line, EVALAI_FULL_STOP).split()
    numbered = [_DIGITS.get(word, word) for word in words]
    return " ".join(_RESTORED.get(word, word) for word in numbered if word not in _ARTICLES)
