"""Qwen-VL checkpoints as they are published, turned into what ``qwen_model`` loads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow.models.checkpoint import CONFIG, GENERATION, read_json
from infoflow.models.config import require_config, require_value
from infoflow.models.convert.conversion import (
    CLIP_STATISTICS,
    Converted,
    Rules,
    read_renamed,
    require_fields,
    require_settings,
)
from infoflow.models.convert.tokenizers import IMAGE_START, qwen_tokenizer
from infoflow.options import require_finite, require_whole

_POOL_HEAD_WIDTH = 128
_MOST_LAYERS = 1000  # the tensors are not counted yet; no published decoder is as deep
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
_TEXT_OTHERWISE = ("seq_length", "layer_norm_epsilon", "intermediate_size", "rotary_emb_base")
_VISION = ("image_size", "patch_size", "width", "layers", "heads")
_VISION_OTHERWISE = ("image_start_id", "mlp_ratio", "output_dim")
"""What is said as by Qwen2 and ``VisionShape``, and what they say in other names or numbers."""


def convert(folder: Path, tokenizer: Path, parts: Mapping[str, Path]) -> Converted:
    """Convert Qwen-VL or Qwen-VL-Chat to ``QwenVLForConditionalGeneration``."""
    config, words = native_config(folder), qwen_tokenizer(tokenizer)
    named = read_json(folder / CONFIG)["visual"]["image_start_id"]
    what = f"the id of {IMAGE_START} in {tokenizer}, which is not this checkpoint's,"
    require_value(words.convert_tokens_to_ids(IMAGE_START), what, named)
    side, chat_format = config["vision_config"]["image_size"], read_chat_format(folder)
    processor = {"size": {"height": side, "width": side}} | CLIP_STATISTICS
    tensors = read_renamed(folder, _RULES)
    return Converted(tensors, config, processor, {"chat_format": chat_format}, words)


def read_chat_format(folder: Path) -> Any:
    """Read which conversation the answers are generated for, if that is said."""
    path = folder / GENERATION
    return read_json(path).get("chat_format") if path.is_file() else None


def native_config(folder: Path) -> dict[str, Any]:
    """Build the configuration from the published one.

    The context is ``seq_length``. Up to there the published code's two ways to reach further, a
    wider rotary base and queries scaled by the logarithm of their place, change nothing; beyond,
    Qwen2 does not have them.
    """
    path = folder / CONFIG
    published = read_json(path)
    require_value(published.get("model_type"), f"the model_type in {path}", "qwen")
    visual = published.get("visual")
    visual = visual if isinstance(visual, dict) else {}
    require_fields(published, (*_TEXT, *_TEXT_OTHERWISE))
    require_fields(visual, (*_VISION, *_VISION_OTHERWISE))
    require_config(published, path, _MOST_LAYERS)
    require_settings(published, path, _FIXED)
    out = require_whole(visual["output_dim"], f"visual.output_dim in {path}", 1)
    ratio = require_finite(visual["mlp_ratio"], f"visual.mlp_ratio in {path}", 0.0)
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
            "mlp_width": int(visual["width"] * ratio),
            "output_width": out,
            "pool_heads": out // _POOL_HEAD_WIDTH,
            "raster": round(visual.get("n_queries", 256) ** 0.5),
        },
    }
