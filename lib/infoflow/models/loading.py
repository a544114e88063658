"""Where a checkpoint comes from, and on which device and in which type it is loaded."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import inside, require_path
from infoflow.models.families import ModelSpec, list_models
from infoflow.models.placement import Placement
from infoflow.models.quantisation import require_quantisable

_ZOO = Path(__file__).parents[1] / "zoo"
_ARGUMENTS = ("checkpoint", "revision", "device", "dtype", "quantise")
_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "cuda:1")
_UNREACHED = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def locate(
    spec: ModelSpec, checkpoint: str | Path | None, revision: str | None
) -> tuple[Path, str | None]:
    """Find a model's checkpoint, fetching it from the hub if need be.

    Args:
        spec: The model.
        checkpoint: A local folder to take instead.
        revision: The hub's commit, branch or tag; None for the newest.

    Returns:
        The folder, and the hub's commit if it comes from there.

    Raises:
        InfoflowError: The hub is out of reach or has no such revision.
    """
    if checkpoint is not None:
        return require_path(checkpoint, "checkpoint"), None
    if spec.hub_id is None:
        return _ZOO / spec.name, None
    folder = _fetch(spec.hub_id, spec.family.files, revision, spec.name, "checkpoint")
    return folder, folder.name


def split_revision(name: str, revision: str | None) -> tuple[str, str | None]:
    """Take apart a model's name and the version of it that the name may say, as in ``name@commit``.

    Args:
        name: The name as given.
        revision: The version, if it was given apart.

    Returns:
        The model's own name, and the version.

    Raises:
        InfoflowError: No version follows the ``@``, or there are two versions.
    """
    if not isinstance(name, str):
        raise unknown_name("model", name, list_models())
    own, at, within = name.partition("@")
    if not at:
        if revision is not None:
            _require_revision(revision)
        return name, revision
    if not within or revision is not None:
        raise InfoflowError(
            f"{name!r} names {'no version' if not within else 'one version of two'}; "
            f"valid: {own!r}, '{own}@REVISION', or revision=REVISION beside it."
        )
    _require_revision(within)
    return own, within


def _require_revision(revision: str) -> None:
    """Raise unless a version can be the name of a commit, branch or tag of the hub."""
    if not isinstance(revision, str):
        raise InfoflowError(f"revision is {revision!r}; valid: a commit, branch or tag.")
    inside(Path("the hub"), revision, "revision")


def require_parts(spec: ModelSpec, given: Iterable[str]) -> None:
    """Raise unless a model has the parts for which folders are given.

    Raises:
        UnknownNameError: It has no such part.
    """
    for part in given:
        if part not in spec.family.parts:
            raise unknown_name(f"argument for {spec.name}", part, (*_ARGUMENTS, *spec.family.parts))


def locate_part(spec: ModelSpec, part: str, given: Mapping[str, str | Path]) -> Path:
    """Find what a model's checkpoint needs beside itself, fetching it from the hub if need be.

    Args:
        spec: The model.
        part: One of its family's parts.
        given: Local folders to take instead, by part.

    Raises:
        InfoflowError: The hub is out of reach.
    """
    if part in given:
        return require_path(given[part], part)
    patterns = ("*.json", "*.safetensors", "tokenizer.model")
    return _fetch(spec.family.parts[part], patterns, None, spec.name, part)


def _fetch(
    hub_id: str, patterns: Sequence[str], revision: str | None, name: str, argument: str
) -> Path:
    try:
        snapshot = snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns))
    except _UNREACHED as error:
        version = f" at revision {revision!r}" if revision else ""
        what = name if argument == "checkpoint" else f"the {argument} of {name}"
        raise InfoflowError(
            f"{what} could not be fetched from the hub ({hub_id}{version}): "
            f"{type(error).__name__}. With it on this machine, give its folder: "
            f"load_lvlm({name!r}, {argument}=folder)."
        ) from error
    return Path(snapshot)


def choose_placement(device: str | torch.device, quantise: str | None) -> Placement:
    """Choose where a model is loaded, and how its weights are quantised.

    Args:
        device: ``"auto"`` for GPUs if there are any, and as many as it takes; or a single device.
        quantise: ``"8bit"``, ``"4bit"`` or None.

    Raises:
        UnknownNameError: There is no such device or quantisation.
        InfoflowError: A GPU is asked for that is not there, or the weights cannot be quantised.
    """
    place = choose_device(device)
    require_quantisable(quantise, place)
    return Placement(place, device == "auto" and place.type == "cuda", quantise)


def choose_device(device: str | torch.device) -> torch.device:
    """Choose where a model is loaded; ``"auto"`` takes a GPU if there is one.

    Raises:
        UnknownNameError: There is no such device.
        InfoflowError: A GPU is asked for that is not there.
    """
    if not isinstance(device, str | torch.device):
        raise unknown_name("device", str(device), _DEVICES)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise unknown_name("device", str(device), _DEVICES) from error
    if place.type not in {"cpu", "cuda"}:
        raise unknown_name("device", str(device), _DEVICES)
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InfoflowError(
            f"device {str(device)!r} asked for, but this machine has {torch.cuda.device_count()} "
            "usable GPUs; device='cpu' always works."
        )
    return place


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Choose the type of weights and activations.

    ``"auto"`` is float32 on a CPU, and on a GPU bfloat16, or float16 where that is not supported.

    Raises:
        UnknownNameError: There is no such type.
    """
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise unknown_name("dtype", str(dtype), ("auto", *_DTYPES))
    return _DTYPES[dtype]
