"""The zoo's tokenizer: one token a word; what a sign says is spelled, one token a letter."""

from dataclasses import dataclass
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from infoflow.data.shapes.questions import CAPTION_PROMPT, CONTEXT, DIRECTIONS, NUMBERS, plural
from infoflow.data.shapes.world import COLOURS, LETTERS, SHAPES, SIGNS
from infoflow.models.families.llava import VICUNA_V1 as TEMPLATE

PAD, BOS, EOS, UNK, IMAGE = range(5)


@dataclass(frozen=True)
class Specials:
    """What a family calls its special tokens; the ids are the same for all.

    Attributes:
        end: Ends an answer.
        image: Stands for an image token.
        marks: Further ones, after the words.
    """

    end: str = "</s>"
    image: str = "<image>"
    marks: tuple[str, ...] = ()


_LLAVAS = Specials()
PLACES = tuple(f"<{i}>" for i in range(24))
"""Words for columns and rows of a raster of 4 pixels, for models that read texts first."""

_PHRASES = (
    f"Context: {CONTEXT}\nQuestion: Options: (A) (B) (C) (D) Answer with the option's letter.",
    "What colour is the circle?",
    "How many red objects are there?",
    "What is left, seen from the red circle?",
    "Is there a red circle an orange star in the image?",
    "What does the white sign say?",
    "yes no ,",
    CAPTION_PROMPT,
)
# options, words with a colon, single capitals (letters of a sign), words, newlines, punctuation
_TOKEN = r"\([A-D]\)|[A-Za-z]+:|[A-Z0-9](?![a-z'])|[A-Za-z]+(?:'[a-z]+)?|\n|[^\sA-Za-z0-9]"


def _split() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_TOKEN), behavior="removed", invert=True)


@cache
def vocabulary(specials: Specials) -> tuple[str, ...]:
    """Every token; the index is its id."""
    text = " ".join(
        (
            TEMPLATE.replace("<image>", "").replace("{question}", ""),
            *_PHRASES,
            *SHAPES,
            *map(plural, SHAPES),
            *COLOURS,
            *SIGNS,
            *NUMBERS,
            *DIRECTIONS,
        )
    )
    words = {piece for piece, _ in _split().pre_tokenize_str(text)}
    first = ("<pad>", "<s>", specials.end, "<unk>", specials.image)
    return (*first, *sorted(words | set(LETTERS)), *specials.marks)


def build_tokenizer(context_length: int, specials: Specials = _LLAVAS) -> PreTrainedTokenizerFast:
    """Build the tokenizer.

    Args:
        context_length: Longest sequence, in tokens, that the model takes.
        specials: The special tokens; LLaVA's by default.

    Returns:
        A tokenizer that ``AutoTokenizer`` reads back after ``save_pretrained``.
    """
    ids = {token: i for i, token in enumerate(vocabulary(specials))}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = _split()
    # join with spaces, then close up spelled letters and the space before a comma
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=[A-Z0-9]) (?=[A-Z0-9])"), ""),
            decoders.Replace(" ,", ","),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token=specials.end,
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=[specials.image, *specials.marks],
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )
