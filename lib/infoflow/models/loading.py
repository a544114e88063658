"""Where a checkpoint comes from: a folder, the zoo, or the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import inside, require_path
from infoflow.models.families import ModelSpec, list_models

_ZOO = Path(__file__).parents[1] / "zoo"
_UNREACHED = (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, ValueError)


def locate(
    spec: ModelSpec, checkpoint: str | Path | None, revision: str | None
) -> tuple[Path, str | None]:
    """Find a model's checkpoint, fetching it from the hub if need be; with the hub's commit."""
    if checkpoint is not None:
        return require_path(checkpoint, "checkpoint"), None
    if spec.hub_id is None:
        return _ZOO / spec.name, None
    folder = _fetch(spec.hub_id, spec.family.files, revision, spec.name, "checkpoint")
    return folder, folder.name


def split_revision(name: str, revision: str | None) -> tuple[str, str | None]:
    """Take apart a model's name and the version that it may name, as in ``name@commit``."""
    if not isinstance(name, str):
        raise unknown_name("model", name, list_models())
    own, at, within = name.partition("@")
    if at and (not within or revision is not None):
        raise InfoflowError(
            f"{name!r} names {'no version' if not within else 'one version of two'}; "
            f"valid: {own!r}, '{own}@REVISION', or revision=REVISION beside it."
        )
    found = within if at else revision
    if found is not None:
        if not isinstance(found, str):
            raise InfoflowError(f"revision is {found!r}; valid: a commit, branch or tag.")
        inside(Path("the hub"), found, "revision")
    return own, found


def locate_part(spec: ModelSpec, part: str, given: Mapping[str, str | Path]) -> Path:
    """Find what a model's checkpoint needs beside itself, fetching it from the hub if need be."""
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
