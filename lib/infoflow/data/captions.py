"""Which objects a caption names: CHAIR's extraction, as published, as OPERA's, and put right."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import inflect

from infoflow.data.pictures import fetch
from infoflow.data.task import require_answer
from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.files import atomic_write, cache_folder, read_text

Table = Sequence[Sequence[str]]
RULES = ("original", "opera", "corrected")

# Rohrbach et al. (2018), utils/chair.py: words that belong together, and how they count. Its list
# has "stove top oven" as well, which its look at two words at a time can never find.
_DOUBLE_WORDS = """
motor bike, motor cycle, air plane, traffic light, street light, traffic signal, stop light,
fire hydrant, stop sign, parking meter, suit case, sports ball, baseball bat, baseball glove,
tennis racket, wine glass, hot dog, cell phone, mobile phone, teddy bear, hair drier, potted plant,
bow tie, laptop computer, home plate, train track"""
_ANIMALS = ["bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"]
_UNLISTED_ANIMALS = ["animal", "cub"]
_COCO_DOUBLES = {
    **{double: double for double in " ".join(_DOUBLE_WORDS.split()).split(", ")},
    **{f"{age} {name}": name for age in ("baby", "adult") for name in _ANIMALS + _UNLISTED_ANIMALS},
    **{f"passenger {vehicle}": vehicle for vehicle in ("jet", "train")},
    **{"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"},
}
_NLTK_DATA = ("punkt_tab", "averaged_perceptron_tagger_eng", "wordnet")
_PARTS_OF_SPEECH = {"J": "a", "V": "v", "N": "n", "R": "r"}  # of a tag's first letter, in WordNet
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_NOUNS = inflect.engine()
_TOKEN = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_QUALIFIERS = ("baby", "adult", "passenger")
_CARRIERS = ("airplane", "bus", "car", "train", "truck", "boat")
COMMIT = "6e4d33c4bedf6dfcd24c61bf527f40714717be47"
ADDRESS = f"https://raw.githubusercontent.com/LisaAnne/Hallucination/{COMMIT}/data/synonyms.txt"
"""Where the authors of CHAIR (Rohrbach et al., 2018) keep the list: 80 classes with 416 entries, of
which two begin with a stray space, which matters to ``"original"``."""
CHECKSUM = "b685537b36fe21b791c87151b96a991ceb582edff19f3da204dcc7a7905502f2"
_MAX_BYTES = 1_000_000  # the list has four thousand


def caption_objects(
    caption: str, synonyms: str | Path | Table, rule: str = "original"
) -> list[str]:
    """List the class of each object that a caption mentions, in order, as often as it does.

    ``"original"`` follows the published code of CHAIR (Rohrbach et al., 2018), meant for COCO's
    classes: every token is made singular by Pattern's rules (TextBlob), double words of a fixed
    list are joined, and what is in the table counts. So "bus" becomes "bu" and is never counted.
    Sentences are split at punctuation, where the published code uses a trained splitter.

    ``"opera"`` follows the code of OPERA (Huang et al., 2024), which paper 1 and EAH share: every
    token is brought to its WordNet lemma instead, so that "bus" is counted. It needs NLTK's data.

    ``"corrected"`` looks for the longest entry of the table at each place; a word is made singular
    only where the table does not know it as it stands. A hyphen counts as a space, and other
    punctuation ends an entry. The qualifiers "baby" and "adult" before an animal and "passenger"
    before a vehicle are no persons, a toilet's seat is no chair, and a train track is no train.

    Args:
        caption: The caption.
        synonyms: A file (:func:`read_synonyms`), or for each class its name and its synonyms.
        rule: ``"original"``, ``"opera"`` or ``"corrected"``.

    Raises:
        InfoflowError: The synonyms cannot be read, the caption is no text or too long, there is no
            such rule, or NLTK's data are missing.
    """
    require_name(rule, "CHAIR extraction rule", RULES)
    table = read_synonyms(synonyms) if isinstance(synonyms, str | Path) else synonyms
    lowered = require_answer(caption).lower()
    if rule == "corrected":
        entries = _entries(tuple(map(tuple, table)))
        words, classes = _longest_entries(lowered, entries), entries.classes
    else:
        words = _joined(_singulars(lowered) if rule == "original" else _lemmas(lowered))
        classes = {entry: line[0] for line in table for entry in line}
    if "toilet" in words:  # "the seat of the toilet" is no chair
        words = [word for word in words if word != "seat"]
    return [classes[word] for word in words if word in classes]


@cache
def _pattern_singular(word: str) -> str:
    from textblob.en.inflect import singularize  # loads the whole of NLTK

    return str(singularize(word))


def _singulars(caption: str) -> list[str]:
    from nltk.tokenize import NLTKWordTokenizer

    tokenize, sentences = NLTKWordTokenizer().tokenize, _SENTENCE_END.split(caption)
    return [_pattern_singular(word) for sentence in sentences for word in tokenize(sentence)]


def _lemmas(caption: str) -> list[str]:
    import nltk

    fetched = f"python -m nltk.downloader {' '.join(_NLTK_DATA)} fetches them"
    with one_line(f"CHAIR's rule 'opera' needs data of NLTK ({fetched})", LookupError):
        lemmatise = nltk.WordNetLemmatizer().lemmatize
        tagged = nltk.pos_tag(nltk.word_tokenize(caption))
        return [lemmatise(word, _PARTS_OF_SPEECH.get(tag[:1], "n")) for word, tag in tagged]


def _joined(tokens: list[str]) -> list[str]:
    words, i = [], 0
    while i < len(tokens):
        double = _COCO_DOUBLES.get(" ".join(tokens[i : i + 2]))
        words.append(double or tokens[i])
        i += 2 if double else 1
    return words


@cache
def _singular(word: str) -> str:
    known = word.isalpha() and not word.endswith("ss")  # inflect would make "glas" of "glass"
    return (known and _NOUNS.singular_noun(word)) or word


class _Entries(NamedTuple):
    """Entries of a table, cleaned of stray spaces and capitals, and how they begin."""

    classes: dict[str, str]
    openings: set[tuple[str, ...]]  # all words but the last

    def match(self, tokens: list[str]) -> tuple[str, int]:
        """The longest entry that the tokens begin with, or the first token; its words."""
        for n_words in range(len(tokens), 0, -1):
            *start, last = tokens[:n_words]
            if tuple(start) in self.openings:
                phrase = " ".join((*start, last))
                if phrase not in self.classes:
                    phrase = " ".join((*start, _singular(last)))
                if phrase in self.classes:
                    return phrase, n_words
        return tokens[0], 1

    def is_qualifier(self, word: str, rest: list[str]) -> bool:
        """Whether a word only says more about what follows it."""
        if word not in _QUALIFIERS or not rest:
            return False
        following, _ = self.match(rest)
        if word == "passenger":
            return self.classes.get(following) in _CARRIERS
        return self.classes.get(following) in _ANIMALS or _singular(following) in _UNLISTED_ANIMALS


@cache
def _entries(table: tuple[tuple[str, ...], ...]) -> _Entries:
    tidy = [[" ".join(e.lower().replace("-", " ").split()) for e in line] for line in table]
    classes = {entry: line[0] for line in tidy for entry in line}
    return _Entries(classes, {tuple(entry.split()[:-1]) for entry in classes})


def _longest_entries(caption: str, entries: _Entries) -> list[str]:
    """The longest entry at each place, or the word there; qualifiers are left out."""
    longest = 1 + max(map(len, entries.openings), default=0)
    tokens = _TOKEN.findall(caption.replace("-", " "))
    words, i = [], 0
    while i < len(tokens):
        word, n_words = entries.match(tokens[i : i + longest])
        rest = tokens[i + n_words : i + n_words + longest]
        if word == "train" and rest and _singular(rest[0]) == "track":
            n_words += 1
        elif not entries.is_qualifier(word, rest):
            words.append(word)
        i += n_words
    return words


def published_synonyms() -> Path:
    """Return the list that CHAIR was published with, fetched once and checked by its SHA-256."""
    path = cache_folder() / f"chair-synonyms-{COMMIT[:12]}.txt"
    mended = f"save {ADDRESS} as {path}; or give your own: load_task('chair', ..., synonyms=path)"
    with one_line(f"CHAIR's synonyms are not at hand ({mended})", InfoflowError, OSError):
        content = path.read_bytes() if path.is_file() else fetch(ADDRESS, _MAX_BYTES)
        if (found := hashlib.sha256(content).hexdigest()) != CHECKSUM:
            raise InfoflowError(f"it is another list, of the SHA-256 {found}, not {CHECKSUM}")
        if not path.is_file():
            atomic_write(path, content)
    return path


def read_synonyms(path: str | Path) -> list[list[str]]:
    """Read a list of synonyms: a class a line, its name and then its synonyms, parted by ", ".

    They stay as they stand: the original rule depends on the file's stray spaces and capitals.
    """
    where = f"the list of synonyms {str(path)!r}"
    with one_line(where, InfoflowError):
        lines = [line.strip() for line in read_text(Path(path)).splitlines()]
    if not (table := [line.split(", ") for line in lines if line]):
        raise InfoflowError(f"{where} is empty; it needs a class a line.")
    class_of: dict[str, int] = {}
    for number, line in enumerate(table):
        for entry in map(str.strip, line):
            if not entry or "," in entry or class_of.setdefault(entry, number) != number:
                valid = "words, parted by a comma and a space, each in one class"
                raise InfoflowError(f"{where} has the entry {entry!r}; valid: {valid}.")
    return table


def synonyms_digest(table: Table) -> str:
    """Digest a table of synonyms, in 64 digits, whatever the lines of its file end with."""
    lines = "\n".join(", ".join(line) for line in table)
    return hashlib.sha256(lines.encode()).hexdigest()
