"""Tiny LLaVA checkpoints with random weights, in transformers' layout and in the published one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

IMAGE_SIZE, PATCH = 56, 7
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
TEXT_OF_ALL_WORDS = """
A chat between a curious user and an artificial intelligence assistant The assistant gives
helpful detailed polite answers to the user ' s questions USER ASSISTANT : . , ? what is in
this picture how many yes no one two three red green blue circle square star left right of
"""
VOCABULARY = SPECIAL + list(dict.fromkeys(TEXT_OF_ALL_WORDS.split()))
BOS, EOS, IMAGE = 1, 2, 4
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 160,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-5,
    # wide enough that attention is far from uniform and answers depend on the cut
    "initializer_range": 0.15,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH,
    "projection_dim": 32,
    "initializer_range": 0.3,
}


def random_model(text_config=None, seed=0):
    """A float32 LLaVA-1.5 with random weights; `text_config` replaces the small LLaMA."""
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=text_config or LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(IMAGE_SIZE // PATCH) ** 2,
    )
    model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    # an image that drowns in the text would make every test of its removal vacuous
    model.model.multi_modal_projector.linear_2.weight.mul_(10)
    model.generation_config.eos_token_id = EOS
    return model


def save_zoo_layout(model, folder: Path) -> Path:
    """Save as the zoo's models are: one float16 file, transformers' own key names."""
    model.half().save_pretrained(folder)
    save_companions(folder, {"image_processor_type": "LlavaImageProcessor"})
    return folder


def save_published_layout(model, folder: Path) -> Path:
    """Save in the layout of llava-hf/llava-1.5-7b-hf: old key names, shards, its configuration."""
    save_shards({old_name(k): v.half() for k, v in model.state_dict().items()}, folder)
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": IMAGE,
        "model_type": "llava",
        "pad_token_id": 0,
        "projector_hidden_act": "gelu",
        "text_config": {
            **{k: v for k, v in TEXT.items() if k != "initializer_range"},
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "float16",
        },
        "torch_dtype": "float16",
        "transformers_version": "4.36.0.dev0",
        "vision_config": {
            **{k: v for k, v in VISION.items() if k != "initializer_range"},
            "model_type": "clip_vision_model",
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    write(folder / "config.json", config)
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": 0}
    write(folder / "generation_config.json", generation)
    save_companions(folder, {"image_processor_type": "CLIPImageProcessor", "do_center_crop": True})
    return folder


def say_in_text_config(folder: Path, **values) -> None:
    """Name more of the decoder in a saved configuration, which says little of it as published."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= values
    write(folder / "config.json", config)


def save_shards(state, folder: Path, n=3) -> None:
    """Save tensors as a sharded safetensors checkpoint with its index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(state)
    shards = {
        f"model-{i + 1:05d}-of-{n:05d}.safetensors": {k: state[k].contiguous() for k in names[i::n]}
        for i in range(n)
    }
    for shard, tensors in shards.items():
        save_file(tensors, folder / shard, metadata={"format": "pt"})
    write(folder / "model.safetensors.index.json", index_of(shards))


def index_of(shards) -> dict:
    """Describe shards as an index file does."""
    sizes = (v.numel() * v.element_size() for tensors in shards.values() for v in tensors.values())
    names = {name: shard for shard, tensors in shards.items() for name in tensors}
    return {"metadata": {"total_size": sum(sizes)}, "weight_map": names}


def old_name(name: str) -> str:
    if name == "lm_head.weight":
        return "language_model.lm_head.weight"
    name = name.removeprefix("model.")
    if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
        return name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return name.replace("language_model.", "language_model.model.", 1)


def save_companions(folder: Path, processor: dict, image_size=IMAGE_SIZE) -> None:
    save_tokenizer(folder)
    square = {"height": image_size, "width": image_size}
    size = {"size": {"shortest_edge": image_size}, "crop_size": square}
    statistics = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}
    write(folder / "preprocessor_config.json", {**size, **statistics, **processor})


def save_tokenizer(folder: Path) -> None:
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(VOCABULARY)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    ).save_pretrained(folder)


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
