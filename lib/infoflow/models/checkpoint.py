"""Reading a checkpoint folder: whole, or one error that says what is missing."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import logging

from infoflow import files
from infoflow.errors import InfoflowError
from infoflow.models.config import require_config
from infoflow.models.placement import Placement, Weights, map_devices, naming_exhaustion
from infoflow.models.quantisation import quantisation_settings
from infoflow.models.weights import read_headers, require_finite_weights, require_room_for

CONFIG, PROCESSOR, GENERATION = (
    "config.json",
    "preprocessor_config.json",
    "generation_config.json",
)
JOINT_PROCESSOR = "processor_config.json"
"""Where transformers 5 saves the image processor's settings, beside those of the text."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Buffers that older conversions stored; transformers computes them.
HARMLESS = ("rotary_emb.inv_freq", "embeddings.position_ids")
_LONGEST_REASON = 300


def weight_files(
    folder: Path, kinds: Sequence[tuple[str, str]] = ((INDEX, WEIGHTS),)
) -> list[Path]:
    """List the files of a checkpoint's weights, sorted by name.

    Args:
        folder: The checkpoint.
        kinds: The names of the index and of the single file, for each kind of file that is read.

    Raises:
        InfoflowError: There are none, or the index is damaged or names files that are not there.
    """
    for index, single in kinds:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            shards = sorted(set(weight_map(folder / index).values()))
            require_files(folder, shards)
            return [folder / shard for shard in shards]
    names = [name for kind in kinds for name in reversed(kind)]
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    hint = f" Found: {some(pickled)}; save it anew with transformers." if pickled else ""
    raise InfoflowError(f"{folder} holds no weights: none of {', '.join(names)}.{hint}")


def weight_map(index: Path) -> dict[str, str]:
    """Read which file holds which tensor, from an index.

    Raises:
        InfoflowError: It is damaged, names no weights, or a file outside its folder.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InfoflowError(f"{index} names no weights; the checkpoint is damaged.")
    for name in names.values():
        if not isinstance(name, str):
            raise InfoflowError(f"{index} names {name!r} in place of a file.")
        files.inside(index.parent, name, f"{index} names a file outside:")
    return names


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights, file after file in order of name."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def load_weights(
    architecture: Any, folder: Path, model_type: str, placement: Placement, dtype: torch.dtype
) -> Any:
    """Load the weights of a checkpoint folder into an architecture, strictly.

    Of its generation settings only the ids are kept: whatever else they ask for, such as penalties,
    answers are greedy.

    Args:
        architecture: The transformers class to load.
        folder: The checkpoint.
        model_type: What its configuration must call itself.
        placement: Where the weights go.
        dtype: What they are converted to.

    Returns:
        The model, in evaluation mode, its parameters frozen, attention through SDPA.

    Raises:
        InfoflowError: A file is missing or damaged, the checkpoint is of another architecture, its
            tensors are not exactly the ones that the configuration asks for, or not finite numbers
            of a floating type, or they do not fit.
    """
    require_files(folder, (CONFIG, processor_file(folder), "tokenizer.json"))
    config = read_json(folder / CONFIG)
    if (found := config.get("model_type")) != model_type:
        raise InfoflowError(
            f"{folder} holds a model of type {found!r}; this family loads {model_type!r}."
        )
    if (folder / GENERATION).is_file():
        read_json(folder / GENERATION)  # a damaged one would be passed over
    damage = f"the checkpoint in {folder} cannot be loaded"
    with in_one_line(damage):
        headers = read_headers(weight_files(folder), HARMLESS)
        require_config(config, folder / CONFIG, n_tensors=len(headers))
        empty = _without_weights(architecture, folder)
        require_room_for(empty, headers, folder)
        n_numbers = sum(shape.numel() for shape in headers.values())
        weights = Weights(folder, n_numbers, dtype)
        device_map = map_devices(placement, weights, lambda: empty)
        with _quiet(), naming_exhaustion(placement, weights):
            model, report = architecture.from_pretrained(
                folder,
                dtype=dtype,
                device_map=device_map,
                quantization_config=quantisation_settings(placement.quantise, dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are told below, by name
                output_loading_info=True,
            )
    _refuse_strangers(folder, report)
    require_finite_weights(model, folder)
    for module in model.modules():
        if own := getattr(module, "config", None):
            own.return_dict = True
        if ids := getattr(module, "generation_config", None):
            module.generation_config = GenerationConfig(
                bos_token_id=ids.bos_token_id, eos_token_id=ids.eos_token_id
            )
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path, tokens: Sequence[str] = ()) -> Any:
    """Load a checkpoint's tokenizer.

    Args:
        folder: The checkpoint.
        tokens: Tokens that the prompts are made of, and that it must have.

    Raises:
        InfoflowError: Its files are damaged, it has no token to begin a sequence with, or lacks one
            of those.
    """
    tokenizer = read_tokenizer(folder, tokens)
    if tokenizer.bos_token_id is None:
        raise InfoflowError(f"the tokenizer in {folder} names no bos_token.")
    return tokenizer


def read_tokenizer(folder: Path, tokens: Sequence[str] = ()) -> Any:
    """Load a tokenizer, whether or not it has a token to begin a sequence with.

    Args:
        folder: Where it is.
        tokens: As for ``load_tokenizer``.

    Raises:
        InfoflowError: Its files are damaged, or it lacks one of the tokens.
    """
    damage = f"the tokenizer in {folder} cannot be read"
    with in_one_line(damage), _quiet():
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
    """Load a checkpoint's image processor.

    Args:
        processor: The transformers class to load.
        folder: The checkpoint.
        **options: What to set otherwise than the checkpoint does.

    Raises:
        InfoflowError: Its configuration is damaged.
    """
    path = folder / processor_file(folder)
    settings = read_json(path)
    if path.name == JOINT_PROCESSOR:
        settings = settings["image_processor"]
    with in_one_line(f"the image processor of {path} cannot be made"), _quiet():
        return processor(**settings | options)


@contextmanager
def in_one_line(beginning: str) -> Iterator[None]:
    """Turn whatever a library raises on damaged files into one error of one line.

    Args:
        beginning: What failed; the library's reason follows.

    Raises:
        InfoflowError: Something was raised inside.
    """
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


def _without_weights(architecture: Any, folder: Path) -> Any:
    """Build a checkpoint's model on no device, to see of what it is made."""
    with torch.device("meta"), _quiet():
        config = architecture.config_class.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return architecture(config)


def _refuse_strangers(folder: Path, report: dict[str, Any]) -> None:
    """Raise unless the checkpoint's tensors are exactly the architecture's."""
    unexpected = [k for k in report["unexpected_keys"] if not k.endswith(HARMLESS)]
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(unexpected),
        "of another shape": sorted(str(key[0]) for key in report["mismatched_keys"]),
    }
    found = [f"{len(keys)} {what} ({some(keys)})" for what, keys in wrong.items() if keys]
    if found:
        raise InfoflowError(
            f"the tensors in {folder} are not those its {CONFIG} asks for: {'; '.join(found)}."
        )


def some(names: Sequence[str], limit: int = 3) -> str:
    """Name the first few of many."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def require_files(folder: Path, names: Sequence[str]) -> None:
    """Raise unless a checkpoint has some files.

    Raises:
        InfoflowError: One is missing.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: {some(missing)}.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InfoflowError: The file is missing, damaged, or holds something else.
    """
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise InfoflowError(f"{path} is not a JSON object.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loading report: whatever it would say is raised as an error instead."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
