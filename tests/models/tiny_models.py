"""Tiny random models of every family, and what they are asked."""

from functools import partial

import checkpoints
import numpy as np
import tiny_instructblip
import tiny_internvl
import tiny_llava_next
import tiny_qwen_vl
import tiny_shikra
from PIL import Image

from infoflow.models.lvlm import load_lvlm

QUESTION = "how many red circle left of blue square ?"


def picture(seed=0, size=(50, 80)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def load_random(folder, text_config=None, seed=0):
    checkpoints.save_zoo_layout(checkpoints.random_model(text_config, seed), folder)
    return never_ending(load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu"))


def never_ending(lvlm):
    lvlm.eos_token_ids = (10**6,)  # random answers must not end early unless a test says so
    return lvlm


PUBLISHED = {
    "instructblip-7b": tiny_instructblip.save,
    "internvl-7b": tiny_internvl.save,
    "llava-1.6-7b": tiny_llava_next.save,
    "qwen-vl-7b": tiny_qwen_vl.save,
    "qwen-vl-chat-7b": partial(tiny_qwen_vl.save, chat_format="chatml"),
    "shikra-7b": tiny_shikra.save,
}
"""Writers of tiny random checkpoints as they are published: what to give ``load_lvlm``."""


LLAVA = ("heads", "grouped")
CORNERS = ("grouped", "instructblip-7b", "llava-1.6-7b", "qwen-vl-7b")
"""A key for several queries, prompts that begin with the image, tiles, and a decoder of its own:
what others have is among these. Shikra and InternVL run LLaVA's decoder on LLaVA's kind of prompt,
the chat model of Qwen-VL is Qwen-VL asked in other words."""
SIZES = ((50, 80), (80, 50), (56, 56), (9, 190), (190, 9))
"""Heights and widths of pictures: landscape, portrait, square, and extreme ones."""
