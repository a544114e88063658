"""Qwen's tokenizer from its file: the ids are those of byte-pair encoding by rank, restated."""

import random
import unicodedata

import pytest
import tiny_tiktoken
from tiny_tiktoken import PATTERN, SPECIAL, TRAINED_ON, single_bytes, trained

from infoflow.models.convert.tokenizers import SPLIT, qwen_tokenizer

TEXTS = [
    "",
    " ",
    "how many red circles are left of the blue square?",
    "A chat between a curious user and an artificial intelligence assistant.",
    "IT'S you're WE'LL don't 'S ''' rock'n'roll",
    "12345 6.78 x9y 1,000",
    "line\nline\r\n\r\n  indented\n   \n\n last   ",
    "tabs\tand\u00a0other\u2003spaces   \u3000 end",
    "naïve café — “quotes” … 漢字仮名 한국어 العربية हिन्दी",
    "cafe\u0301 A\u030angstro\u0308m \ufb01 \u1112\u1161\u11ab",
    "😀👩‍👩‍👧 \U0001f1e9\U0001f1ea ™®\x00\x7f",
    "aaaaaaaaaaaaaaaaa  bababababab          ----------- !!!!!!!\n\n\n",
    "<|im_start|>user\nPicture 1:<img><imgpad></img>\nhow?<|im_end|>\n<|endoftext|>",
    "<|extra_0|><|extra_204|><ref>a</ref><box>(1,2)</box><quad></quad> <|extra_205|> <img",
]


def random_texts(n, letters, seed):
    draw = random.Random(seed)
    return ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(n)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "qwen.tiktoken"
    tiny_tiktoken.save(path)
    return qwen_tokenizer(path)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_encoded_as_restated_and_come_back(tiny, text):
    ids = tiny(text, add_special_tokens=False).input_ids
    assert ids == tiny_tiktoken.encode(text)
    assert tiny.decode(ids) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("letters", ["abc", "a ", "ab' \n", "éa\u0301 9", TRAINED_ON])
def test_random_texts_are_encoded_as_restated(tiny, letters):
    for text in random_texts(200, letters, seed=1):
        assert tiny(text).input_ids == tiny_tiktoken.encode(text), repr(text)


def saved(tokens, tmp_path):
    path = tmp_path / "qwen.tiktoken"
    tiny_tiktoken.save(path, tokens)
    return qwen_tokenizer(path)


@pytest.mark.parametrize("seed", range(6))
def test_vocabularies_of_repetitive_texts_are_exact(tmp_path, seed):
    """Runs of few letters are where neighbours that join could be confused."""
    tokens = trained(" ".join(random_texts(60, "aab", seed)), 80)
    tokenizer = saved(tokens, tmp_path)
    for text in random_texts(300, "aab", seed + 100):
        assert tokenizer(text).input_ids == tiny_tiktoken.encode(text, tokens), repr(text)


@pytest.mark.parametrize("seed", range(6))
def test_any_ranks_are_exact(tmp_path, seed):
    """Even of ranks that no training gives: parts after wholes, strings that nothing leads to."""
    draw = random.Random(seed)
    strings = {"".join(draw.choices("ab", k=draw.randint(2, 6))).encode() for _ in range(40)}
    tokens = single_bytes() + sorted(strings, key=lambda _: draw.random())
    tokenizer = saved(tokens, tmp_path)
    for text in random_texts(300, "ab", seed + 100):
        assert tokenizer(text).input_ids == tiny_tiktoken.encode(text, tokens), repr(text)


def test_special_tokens_follow_the_vocabulary_in_the_published_order(tiny):
    first = len(tiny_tiktoken.vocabulary())
    assert tiny.convert_tokens_to_ids(SPECIAL) == list(range(first, first + len(SPECIAL)))
    # published: 151643 ranks, <img> is 151857 and <imgpad> the last one
    assert 151643 + SPECIAL.index("<img>") == 151857
    assert 151643 + len(SPECIAL) - 1 == 151859
    assert tiny.decode([first, 33, first + 2], skip_special_tokens=True) == tiny.decode([33])


def test_it_adds_no_token_of_its_own(tiny):
    assert tiny(" red").input_ids == tiny(" red", add_special_tokens=False).input_ids
    assert tiny.bos_token_id is None


def test_the_split_is_the_published_one():
    assert SPLIT == PATTERN
