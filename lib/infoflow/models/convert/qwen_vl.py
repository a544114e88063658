"""Qwen-VL checkpoints as they are published, turned into what ``qwen_model`` loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow.models.checkpoint import CONFIG, GENERATION, Checkpoint, read_json, require_value
from infoflow.models.convert import CLIP_STATISTICS, Rules, read_renamed, require_settings
from infoflow.models.convert.tokenizers import IMAGE_START, qwen_tokenizer

_POOL_HEAD_WIDTH = 128
_FIXED = {"rotary_pct": 1.0, "scale_attn_weights": True, "tie_word_embeddings": False}
"""What the published code can vary, and Qwen2 cannot."""
_OLD, _NEW = r"transformer\.h\.(\d+)\.", r"model.layers.\1."
_RULES: Rules = {
    r"transformer\.wte\.weight": "model.embed_tokens.weight",
    r"transformer\.ln_f\.weight": "model.norm.weight",
    r"transformer\.(visual\..+)": r"\1",
    rf"{_OLD}ln_1\.weight": rf"{_NEW}input_layernorm.weight",
    rf"{_OLD}ln_2\.weight": rf"{_NEW}post_attention_layernorm.weight",
    rf"{_OLD}attn\.c_attn\.(weight|bias)": " ".join(
        rf"{_NEW}self_attn.{part}_proj.\2" for part in "qkv"
    ),
    rf"{_OLD}attn\.c_proj\.weight": rf"{_NEW}self_attn.o_proj.weight",
    rf"{_OLD}mlp\.w1\.weight": rf"{_NEW}mlp.up_proj.weight",
    rf"{_OLD}mlp\.w2\.weight": rf"{_NEW}mlp.gate_proj.weight",
    rf"{_OLD}mlp\.c_proj\.weight": rf"{_NEW}mlp.down_proj.weight",
}
_TEXT = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
_VISION = ("image_size", "patch_size", "width", "layers", "heads")
"""What is said as by Qwen2 and ``VisionShape``."""


def convert_qwen_vl(folder: Path, parts: Mapping[str, Path]) -> Checkpoint:
    """Read Qwen-VL or Qwen-VL-Chat for ``QwenVLForConditionalGeneration``."""
    config, words = native_config(folder), qwen_tokenizer(folder / "qwen.tiktoken")
    named = read_json(folder / CONFIG)["visual"]["image_start_id"]
    what = f"the id of {IMAGE_START} in {folder}"
    require_value(words.convert_tokens_to_ids(IMAGE_START), what, named)
    side = config["vision_config"]["image_size"]
    processor = {"size": {"height": side, "width": side}} | CLIP_STATISTICS
    generation = read_json(folder / GENERATION, needed=False)
    return Checkpoint(folder, config, read_renamed(folder, _RULES), processor, words, generation)


def native_config(folder: Path) -> dict[str, Any]:
    """Build the configuration from the published one; the context is ``seq_length``.

    Only beyond it do the published code's two ways to reach further, which Qwen2 lacks, matter.
    """
    path = folder / CONFIG
    published = read_json(path)
    require_value(published.get("model_type"), f"the model_type in {path}", "qwen")
    require_settings(published, path, _FIXED)
    visual, out = published["visual"], published["visual"]["output_dim"]
    return {name: published[name] for name in _TEXT} | {
        "architectures": ["QwenVLForConditionalGeneration"],
        "model_type": "qwen_vl",
        "num_key_value_heads": published["num_attention_heads"],
        "max_position_embeddings": published["seq_length"],
        "rms_norm_eps": published["layer_norm_epsilon"],
        "intermediate_size": published["intermediate_size"] // 2,  # published: of both branches
        "rope_parameters": {"rope_type": "default", "rope_theta": published["rotary_emb_base"]},
        "tie_word_embeddings": False,
        "vision_config": {name: visual[name] for name in _VISION}
        | {
            "mlp_width": int(visual["width"] * visual["mlp_ratio"]),
            "output_width": out,
            "pool_heads": out // _POOL_HEAD_WIDTH,
            "raster": round(visual.get("n_queries", 256) ** 0.5),
        },
    }
