"""Where a checkpoint comes from: a folder, the zoo, or the hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import inside, require_path
from infoflow.models.families import AutoFamily, ModelSpec, find_model, list_models

_ZOO = Path(__file__).parents[1] / "zoo"
_SETTINGS = ("*.json", "*.jinja", "*.txt", "*.model")
_PART_FILES = ("*.json", "*.safetensors", "tokenizer.model")
_UNREACHED = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError)


def locate(
    spec: ModelSpec, given: str | Path | None, revision: str | None, what: str = "checkpoint"
) -> tuple[Path, str | None]:
    """Find a model's checkpoint, or a part of it, given or not, with the hub's commit."""
    if given is not None:
        return require_path(given, what), None
    if spec.family is AutoFamily and Path(spec.name).is_dir():
        return Path(spec.name), None
    is_part = what in spec.family.parts
    hub_id = spec.family.parts[what] if is_part else spec.hub_id
    if hub_id is None:
        return _ZOO / spec.name, None
    patterns = _PART_FILES if is_part else spec.family.files
    folder = _fetch(spec.name, hub_id, revision, patterns, what)
    return folder, folder.name


def _fetch(
    name: str, hub_id: str, revision: str | None, patterns: tuple[str, ...], what: str
) -> Path:
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
    except _UNREACHED as error:
        version = f" at revision {revision!r}" if revision else ""
        raise InfoflowError(
            f"the {what} of {name} could not be fetched from the hub ({hub_id}{version}): "
            f"{type(error).__name__}. With it on this machine: load_lvlm({name!r}, {what}=folder)."
        ) from error


def locate_settings(name: str) -> Path:
    """Find a named model's files but its weights: configuration, processor and tokenizer."""
    spec = find_model(name)
    if spec.hub_id is None or Path(name).is_dir():
        return locate(spec, None, None)[0]
    return _fetch(spec.name, spec.hub_id, None, _SETTINGS, "configuration")


def split_revision(name: str, revision: str | None) -> tuple[str, str | None]:
    """Take apart a model's name and the version that it may name, as in ``name@commit``."""
    if not isinstance(name, str):
        raise unknown_name("model", name, list_models())
    own, at, within = name.partition("@")
    if at and revision is not None:
        raise InfoflowError(f"{name!r} and revision={revision!r} name two versions; drop one.")
    found = within if at else revision
    if found is not None:
        if not isinstance(found, str):
            raise InfoflowError(f"revision is {found!r}; valid: a commit, branch or tag.")
        inside(Path("the hub"), found, "revision")
    return own, found
