"""Tiny random checkpoints of architectures of today, with processors made here, as they are saved.

The tower's attention is taken out, so that a token depends on its own patches alone: that shows
where on the image a token lies.
"""

from pathlib import Path

import checkpoints
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from infoflow.models.miniature import tiny_model

WORDS = [*checkpoints.SPECIAL[:4], *checkpoints.VOCABULARY[5:]]
TEMPLATE = (
    "{% for message in messages %}USER : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %} ASSISTANT :{% endfor %}"
)
STATISTICS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def square(side):
    return {"height": side, "width": side}


def got_ocr(side):
    return GotOcr2ImageProcessorPil(
        size=square(side), crop_to_patches=True, min_patches=1, max_patches=6, **STATISTICS
    )


def qwen(patch):
    def make(side):
        pixels = {"shortest_edge": 16 * patch**2, "longest_edge": 64 * patch**2}
        return Qwen2VLImageProcessorPil(patch_size=patch, size=pixels, **STATISTICS)

    return make


def smolvlm(side):
    sizes = {"size": {"longest_edge": 2 * side}, "max_image_size": {"longest_edge": side}}
    return SmolVLMImageProcessorPil(**sizes, **STATISTICS)


def onevision(side):
    pins = [[side, side], [side, 2 * side], [2 * side, side]]  # those of the configuration
    return LlavaOnevisionImageProcessorPil(
        size=square(side), image_grid_pinpoints=pins, **STATISTICS
    )


def siglip(side):
    processor = SiglipImageProcessorPil(size=square(side), **STATISTICS)
    processor.image_seq_length = 16
    return processor


MROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
VISION = "<|vision_start|> <|image_pad|> <|vision_end|>"
SMOLVLM_MARKS = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
SMOLVLM_MARKS += [f"<row_{i}_col_{j}>" for i in (1, 2, 3) for j in (1, 2, 3)]
# by name: model type, image processor, image token, further tokens, what a template writes for an
# image, settings of the processor, and of the configuration
KINDS = {
    "internvl3": ("internvl", got_ocr, "<IMG_CONTEXT>", ["<img>", "</img>", "<video>"], None,
                  {"image_seq_length": 4}, {}),
    "internvl3.5": ("internvl", got_ocr, "<IMG_CONTEXT>", ["<img>", "</img>", "<video>"], None,
                    {"image_seq_length": 4}, {"text_config": {"model_type": "qwen3"}}),
    "qwen2.5-vl": ("qwen2_5_vl", qwen(14), "<|image_pad|>",
                   ["<|video_pad|>", "<|vision_start|>", "<|vision_end|>"], VISION, {},
                   {"text_config": {"rope_parameters": MROPE}}),
    "qwen3-vl": ("qwen3_vl", qwen(16), "<|image_pad|>",
                 ["<|video_pad|>", "<|vision_start|>", "<|vision_end|>"], VISION, {}, {}),
    "llava-onevision": ("llava_onevision", onevision, "<image>", ["<video>"], None,
                        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}, {}),
    "smolvlm2": ("smolvlm", smolvlm, "<image>",
                 ["<video>", *SMOLVLM_MARKS], None, {"image_seq_len": 4}, {}),
    "gemma3": ("gemma3", lambda side: Gemma3ImageProcessorPil(size=square(side), **STATISTICS),
               "<image_soft_token>", ["<start_of_image>", "<end_of_image>"], "<start_of_image>",
               {"image_seq_length": 4}, {}),
    "paligemma": ("paligemma", siglip, "<image>", [], None, {}, {}),
}  # fmt: skip
NAMES = {  # what processors ask their tokenizers for
    "internvl": {
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "video_token": "<video>",
    },
    "gemma3": {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    },
}


def save(name: str, folder: Path) -> Path:
    """Write a checkpoint of that kind: model, tokenizer, processor, chat template."""
    kind, processor, token, more, written, settings, changed = KINDS[name]
    words = [*WORDS, token, *more]
    save_tokenizer(folder, words, [token, *more], NAMES.get(kind, {"image_token": token}))
    config = AutoConfig.for_model(kind, **changed)
    ids = {"image_token_id": words.index(token), "image_token_index": words.index(token)}
    model = local_tower(tiny_model(config))
    if kind == "paligemma":  # its processor adds a thousand tokens of places
        model.resize_token_embeddings(1300)
    for part in (model.config, model.config.get_text_config()):
        part.eos_token_id, part.bos_token_id, part.pad_token_id = 2, 1, 0
    for key, value in ids.items():
        if hasattr(model.config, key):
            setattr(model.config, key, value)
    if "video_token_id" in model.config.to_dict() and more:
        model.config.video_token_id = words.index(more[0])
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    vision = model.config.vision_config
    patch = vision.patch_size
    side = 4 * (patch[0] if isinstance(patch, list | tuple) else patch)
    processor(side).save_pretrained(folder)
    checkpoints.write(folder / "processor_config.json", settings)
    if kind != "paligemma":
        template = TEMPLATE.replace("IMAGE", written or token)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def save_tokenizer(folder, words, special, named):
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=[AddedToken(t, special=True) for t in special],
        extra_special_tokens=named,
    )
    tokenizer.save_pretrained(folder)


def local_tower(model):
    """Take the attention out of a vision tower: what it adds to its patches is nothing."""
    last = ("attn.proj", "attn.out_proj", "attention.projection_layer")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model" not in name and name.rpartition(".")[0].endswith(last):
                weight.zero_()
    return model
