"""A tiny InstructBLIP of random weights, laid out as Salesforce/instructblip-vicuna-7b is."""

from pathlib import Path

import checkpoints
import restated
import torch
from checkpoints import CLIP_MEAN, CLIP_STD, TEXT, VOCABULARY
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

SIDE, PATCH, HEADS = 56, 7, 2
QUERIES = 64  # published: 32; here as many as the other tiny models have image tokens
IMAGE, BOUNDARY, PAD = 4, 2, 0
QUESTION = "how many red circle left of blue square ?"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += sorted({word.lower() for word in VOCABULARY[5:]})
TEXT_CONFIG = {**TEXT, "rms_norm_eps": 1e-6}
VISION_CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "image_size": SIDE,
    "patch_size": PATCH,
}
QFORMER_CONFIG = {
    "vocab_size": len(WORDS) + 1,  # the published one has a token of BLIP's decoder more
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "intermediate_size": 40,
    "encoder_hidden_size": 32,
    "max_position_embeddings": 64,
    "cross_attention_frequency": 2,
}


def random_model(seed=0):
    torch.manual_seed(seed)
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**VISION_CONFIG),
        qformer_config=InstructBlipQFormerConfig(**QFORMER_CONFIG),
        text_config=LlamaConfig(**TEXT_CONFIG),
        num_query_tokens=QUERIES,
        image_token_index=IMAGE,
    )
    model = InstructBlipForConditionalGeneration(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        if not name.startswith("language_model."):
            gain = "norm" in name.lower() and name.endswith("weight")
            wide = 1.0 if "query_tokens" in name or "position_embedding" in name else 0.4
            if name.startswith("qformer.") and not name.endswith(("query.weight", "key.weight")):
                wide = 0.1  # else the queries become all alike
            tensor.copy_(
                gain + (0.1 if gain else wide) * torch.randn(tensor.shape, generator=generator)
            )
    weights = model.state_dict()
    tokens, _ = image_tokens(weights, restated.noise(SIDE), QUESTION)
    model.load_state_dict(restated.balanced(weights, "language_projection", tokens))
    return model


def image_tokens(weights, pixels, question):
    """The queries' embeddings, and where each looked among the patches, written out."""
    tower = restated.starting_with("vision_model.", weights)
    patches = restated.eva(tower, pixels, HEADS)
    text = torch.tensor(encode_for_qformer(question))
    asking = restated.starting_with("qformer.", weights)
    states, looks = restated.qformer(asking, weights["query_tokens"][0], text, patches, HEADS)
    looks = looks[:, 1:] / looks[:, 1:].sum(1, keepdim=True)
    return restated.linear(states, weights, "language_projection"), looks


def save(folder: Path) -> dict:
    """Write the checkpoint; give what ``load_lvlm`` takes."""
    state = {k: v.float() for k, v in random_model().state_dict().items()}
    state["qformer.embeddings.position_ids"] = torch.arange(64)[None]
    checkpoints.save_shards(state, folder, n=4)
    config = {
        "architectures": ["InstructBlipForConditionalGeneration"],
        "image_token_index": IMAGE,
        "model_type": "instructblip",
        "num_query_tokens": QUERIES,
        "qformer_config": {**QFORMER_CONFIG, "model_type": "instructblip_qformer"},
        "text_config": {
            **{k: v for k, v in TEXT_CONFIG.items() if k != "initializer_range"},
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_decoder_only_language_model": True,
        "vision_config": {**VISION_CONFIG, "model_type": "instructblip_vision_model"},
    }
    checkpoints.write(folder / "config.json", config)
    generation = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": PAD}
    checkpoints.write(folder / "generation_config.json", generation)
    checkpoints.save_tokenizer(folder)
    processor = {
        "do_center_crop": False,
        "image_mean": CLIP_MEAN,
        "image_processor_type": "BlipImageProcessor",
        "image_std": CLIP_STD,
        "size": {"height": SIDE, "width": SIDE},
    }
    checkpoints.write(folder / "preprocessor_config.json", processor)
    save_qformer_tokenizer(folder / "qformer_tokenizer")
    return {"checkpoint": folder}


def save_qformer_tokenizer(folder):
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(WORDS)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        pad_token="[PAD]",
    ).save_pretrained(folder)


def encode_for_qformer(text):
    return [2, *(WORDS.index(word) for word in text.lower().split()), 3]
