"""A checkpoint folder, read in whichever layout it has, and the model that is built from it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from infoflow.models.placement import Placement, map_devices, quantisation_settings

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer.json"
PROCESSOR, JOINT_PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""Where an image processor's settings are; transformers 5 saves them beside those of the text."""
WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_BUFFERS = ("rotary_emb.inv_freq", "position_ids", ".attn.bias", ".attn.masked_bias")
"""How tensors end that older conversions stored, and that are computed."""
_FLOATING = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Checkpoint:
    """All that a model is built from, in transformers' names; tensors are mapped from the disk."""

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    processor: dict[str, Any]  # the image processor's settings
    tokenizer: Any
    generation: dict[str, Any] = field(default_factory=dict)  # ids, and what a family says there


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint in the layout of transformers."""
    joint = read_json(folder / JOINT_PROCESSOR, needed=False).get("image_processor")
    return Checkpoint(
        folder,
        read_json(folder / CONFIG),
        read_tensors(weight_files(folder)),
        joint or read_json(folder / PROCESSOR),
        load_tokenizer(folder),
        read_json(folder / GENERATION, needed=False),
    )


def weight_files(folder: Path) -> list[Path]:
    """List the files of a checkpoint's weights: the first name there is, or what an index names."""
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InfoflowError(f"{folder} holds no weights: none of {', '.join(WEIGHTS)}.")
    if path.suffix != ".json":
        return [path]
    with in_one_line(f"{path} names no weights"):
        names = sorted(set(read_json(path)["weight_map"].values()))
        return [files.inside(folder, name, f"{path} names a file outside:") for name in names]


def weights_digest(folders: Iterable[Path]) -> str:
    """Return the SHA-256 of the weights in folders, file after file in order of name."""
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in weight_files(folder)):
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
        if double := sorted(found.keys() & content.keys()):
            raise InfoflowError(f"{path} holds {some(double)}, and so does another of the files.")
        found |= content
    return {name: tensor for name, tensor in found.items() if not name.endswith(_BUFFERS)}


def load_model(
    architecture: Any, checkpoint: Checkpoint, placement: Placement, dtype: torch.dtype
) -> Any:
    """Build a model of a transformers class from a checkpoint, strictly, and freeze it."""
    folder = checkpoint.folder
    with in_one_line(f"the checkpoint in {folder} cannot be loaded"):
        for name, tensor in checkpoint.tensors.items():
            require_value(tensor.dtype, f"the type of {name} in {folder}", *_FLOATING)
        config = architecture.config_class.from_dict(checkpoint.config)
        _check_numbers(checkpoint)
        with torch.device("meta"):
            empty = architecture(config)
        model, report = architecture.from_pretrained(
            None,
            config=config,
            state_dict=checkpoint.tensors,
            dtype=dtype,
            device_map=map_devices(placement, folder, empty, dtype),
            quantization_config=quantisation_settings(placement.quantise, dtype),
            attn_implementation="sdpa",
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
        ids = {"eos_token_id": model.generation_config.eos_token_id} | checkpoint.generation
    _refuse_misfits(folder, report)
    _require_finite(model, folder)
    for module in model.modules():
        if own := getattr(module, "config", None):
            own.return_dict = True
        if getattr(module, "generation_config", None):
            # the ids alone: answers are greedy whatever else it asks for
            module.generation_config = GenerationConfig(eos_token_id=ids["eos_token_id"])
    return model.eval().requires_grad_(False)


def _check_numbers(checkpoint: Checkpoint) -> None:
    """Refuse numbers that transformers takes and that no model has."""
    parts = [checkpoint.config, *checkpoint.config.values()]
    for part in (part for part in parts if isinstance(part, dict)):
        for name in ("rms_norm_eps", "layer_norm_eps", "rope_theta"):
            if not part.get(name, 1) > 0:
                raise InfoflowError(f"{name} in {checkpoint.folder / CONFIG} must be positive.")
        if (n_layers := part.get("num_hidden_layers", 0)) > len(checkpoint.tensors):
            # to make a billion of them would never end
            few = f"{n_layers} layers; the checkpoint has {len(checkpoint.tensors)} tensors"
            raise InfoflowError(f"{checkpoint.folder / CONFIG} asks for {few}.")


def _refuse_misfits(folder: Path, report: Mapping[str, Any]) -> None:
    misfits = {
        "missing": report["missing_keys"],
        "unexpected": report["unexpected_keys"],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    names = {what: sorted(found) for what, found in misfits.items()}
    if said := [f"{len(found)} {what} ({some(found)})" for what, found in names.items() if found]:
        raise InfoflowError(
            f"the tensors in {folder} are not those its {CONFIG} asks for: {'; '.join(said)}."
        )


def _require_finite(model: nn.Module, folder: Path) -> None:
    """Raise unless all weights are finite; each is read where it lies, 3 s for 7B on a CPU."""
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, tensor in module.named_parameters(recurse=False):
                if tensor.is_floating_point() and not all(map(isfinite, tensor.detach().aminmax())):
                    where = f"{path}.{name} in {folder} is not finite in {tensor.dtype}"
                    raise InfoflowError(f"{where}: it is damaged, or too large for that type.")


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer as transformers saves it."""
    files.read_json(folder / TOKENIZER)  # without one, transformers makes one up
    with in_one_line(f"the tokenizer in {folder}, or its {CONFIG}, cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer.decode(tokenizer("a b").input_ids)  # some damage shows in use alone
    return tokenizer


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
        raise InfoflowError(f"{beginning}: {type(error).__name__}: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def require_value(found: Any, what: str, *valid: Any) -> None:
    """Raise unless what is found is one of the valid values."""
    if found not in valid:
        said = " or ".join(map(repr, valid))
        raise InfoflowError(f"{what} is {found!r}; valid: {said}.")


def some(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def read_json(path: Path, needed: bool = True) -> dict[str, Any]:
    """Read a JSON object; one that is not needed is empty where there is no file."""
    if not needed and not path.is_file():
        return {}
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise InfoflowError(f"{path} is not a JSON object.")
    return content
