"""A checkpoint folder: its files and weights, whole, or one error that says what is missing."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import align_module_device
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import logging

from infoflow import files
from infoflow.errors import InfoflowError
from infoflow.models.config import require_config, require_value
from infoflow.models.placement import (
    Placement,
    Weights,
    map_devices,
    naming_out_of_memory,
    quantisation_settings,
)

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer.json"
PROCESSOR, JOINT_PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""Where an image processor's settings are; transformers 5 saves them beside those of the text."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Buffers that older conversions stored; transformers computes them.
HARMLESS = ("rotary_emb.inv_freq", "embeddings.position_ids")
_FLOATING = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_LONGEST_REASON = 300


def weight_files(folder: Path, names: Sequence[str] = (WEIGHTS, INDEX)) -> list[Path]:
    """List the files of a checkpoint's weights: the first name there is, or what an index names."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        hint = f" Found: {some(pickled)}; save it anew with transformers." if pickled else ""
        raise InfoflowError(f"{folder} holds no weights: none of {', '.join(names)}.{hint}")
    if path.suffix != ".json":
        return [path]
    shards = sorted(set(weight_map(path).values()))
    require_files(folder, shards)
    return [folder / shard for shard in shards]


def weight_map(index: Path) -> dict[str, str]:
    """Read which file of its folder holds which tensor, from an index."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InfoflowError(f"{index} names no weights; the checkpoint is damaged.")
    for name in names.values():
        files.inside(index.parent, name, f"{index} names a file outside:")
    return names


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights, file after file in order of name."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def read_tensors(paths: Iterable[Path]) -> dict[str, Tensor]:
    """Map the tensors of some files by name; none is read before it is used, and no code is run."""
    found: dict[str, Tensor] = {}
    for path in paths:
        with in_one_line(f"{path} cannot be read as tensors alone"):
            if path.suffix == ".safetensors":
                content = load_file(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        values = content.values() if isinstance(content, dict) else [content, None]
        if not all(isinstance(value, Tensor) for value in values):
            raise InfoflowError(f"{path} holds more than named tensors; it is not read.")
        if double := sorted(found.keys() & content.keys()):
            raise InfoflowError(f"{path} holds {some(double)}, and so does another of the files.")
        found |= content
    return found


def load_weights(architecture: Any, folder: Path, placement: Placement, dtype: torch.dtype) -> Any:
    """Load the weights of a checkpoint into a transformers class, strictly, and freeze them.

    Of its generation settings only the ids are kept: whatever else they ask for, such as penalties,
    answers are greedy.
    """
    require_files(folder, (CONFIG, processor_file(folder), TOKENIZER))
    config, model_type = read_json(folder / CONFIG), architecture.config_class.model_type
    require_value(config.get("model_type"), f"the model_type in {folder / CONFIG}", model_type)
    if (folder / GENERATION).is_file():
        read_json(folder / GENERATION)  # a damaged one would be passed over
    with in_one_line(f"the checkpoint in {folder} cannot be loaded"):
        sizes = {}
        for name, tensor in read_tensors(weight_files(folder)).items():
            if not name.endswith(HARMLESS):
                require_value(tensor.dtype, f"the type of {name} in {folder}", *_FLOATING)
                sizes[name] = tensor.numel()
        require_config(config, folder / CONFIG, n_tensors=len(sizes))
        weights = Weights(folder, sum(sizes.values()), dtype)
        empty = _without_weights(architecture, weights)
        device_map = map_devices(placement, weights, empty)
        with naming_out_of_memory(placement, weights):
            model, report = architecture.from_pretrained(
                folder,
                dtype=dtype,
                device_map=device_map,
                quantization_config=quantisation_settings(placement.quantise, dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # refused below, by name
                output_loading_info=True,
            )
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith(HARMLESS)]
    misshapen = [str(key[0]) for key in report["mismatched_keys"]]
    refuse_misfits(folder, report["missing_keys"], unexpected, misshapen)
    _require_finite(model, folder)
    for module in model.modules():
        if own := getattr(module, "config", None):
            own.return_dict = True
        if ids := getattr(module, "generation_config", None):
            module.generation_config = GenerationConfig(
                bos_token_id=ids.bos_token_id, eos_token_id=ids.eos_token_id
            )
    return model.eval().requires_grad_(False)


def refuse_misfits(
    folder: Path, missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str]
) -> None:
    """Raise unless a checkpoint's tensors are exactly those of its architecture."""
    misfits = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    names = {what: sorted(found) for what, found in misfits.items()}
    if said := [f"{len(found)} {what} ({some(found)})" for what, found in names.items() if found]:
        raise InfoflowError(
            f"the tensors in {folder} are not those its {CONFIG} asks for: {'; '.join(said)}."
        )


def _without_weights(architecture: Any, weights: Weights) -> Any:
    """Build a model without memory, which must not be far larger than its weights."""
    with torch.device("meta"):
        config = architecture.config_class.from_pretrained(
            weights.folder, local_files_only=True, trust_remote_code=False
        )
        empty = architecture(config)
    needed = sum(parameter.numel() for parameter in empty.parameters())
    # tensors are compared one by one as they are loaded; what is missing has memory by then
    if needed > 2 * weights.n_numbers:
        raise InfoflowError(
            f"the tensors in {weights.folder} are not those its {CONFIG} asks for: they hold "
            f"{weights.n_numbers} numbers in place of {needed}."
        )
    return empty


def _require_finite(model: nn.Module, folder: Path) -> None:
    """Raise unless all weights are finite; each is read where it lies, 3 s for 7B on a CPU."""
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, tensor in module.named_parameters(recurse=False):
                if tensor.is_floating_point() and not all(map(isfinite, tensor.detach().aminmax())):
                    raise InfoflowError(
                        f"{path}.{name} in {folder} is not finite in {tensor.dtype}: the "
                        "checkpoint is damaged or has numbers too large for that type."
                    )


def load_tokenizer(folder: Path, tokens: Sequence[str] = ()) -> Any:
    """Load a checkpoint's tokenizer, which must have the tokens that prompts are made of."""
    require_files(folder, (TOKENIZER,))
    with in_one_line(f"the tokenizer in {folder} cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        vocabulary = tokenizer.get_vocab()
        tokenizer.decode(tokenizer("a b").input_ids)  # some damage shows in use alone
    if missing := [token for token in tokens if token not in vocabulary]:
        raise InfoflowError(f"the tokenizer in {folder} lacks the tokens {', '.join(missing)}.")
    return tokenizer


def processor_file(folder: Path) -> str:
    """Name the file that holds a checkpoint's image processor, the joint one before its own."""
    joint = folder / JOINT_PROCESSOR
    is_joint = joint.is_file() and "image_processor" in read_json(joint)
    return JOINT_PROCESSOR if is_joint else PROCESSOR


def load_image_processor(processor: Any, folder: Path, **options: Any) -> Any:
    """Load a checkpoint's image processor; options go before what the checkpoint says."""
    path = folder / processor_file(folder)
    settings = read_json(path)
    settings = settings.get("image_processor", settings)
    with in_one_line(f"the image processor of {path} cannot be made"):
        return processor(**settings | options)


@contextmanager
def in_one_line(beginning: str) -> Iterator[None]:
    """Turn whatever a library raises or reports on damaged files into one error of one line."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except InfoflowError:
        raise
    except BaseException as error:
        # a panic within the tokenizers library is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise InfoflowError(f"{beginning}: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def some(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def require_files(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: {some(missing)}.")


def read_json(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise InfoflowError(f"{path} is not a JSON object.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
