"""Which parquet files of a folder make up a split, and whether they are all there."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from infoflow.errors import InfoflowError, one_line

_SHARD = re.compile(r"(.*?)-?([0-9]{1,9})-of-([0-9]{1,9})")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})()")  # the same three parts, without an N
_SPLITS = {"train", "validation", "val", "dev", "test"}  # words that a file's name may begin with


def files_of_split(
    parquet: Sequence[Path], split: str, pieces: Sequence[str] = ()
) -> dict[str, list[Path]]:
    """Find the files of a split by their names or folders, or else of its pieces; or none."""
    others = _SPLITS.union(pieces)
    words = {path: path.stem.split("-")[0] for path in parquet}
    for names in ((split,), pieces):
        found = {
            name: [
                path
                for path, word in words.items()
                if word == name or (path.parent.name == name and word not in others)
            ]
            for name in names
        }
        if found and all(found.values()):
            return {name: _in_order(paths, name) for name, paths in found.items()}
    return {}


def _in_order(paths: Sequence[Path], split: str) -> list[Path]:
    """Order files by their numbers, which must be those of one whole series."""
    folders = sorted({str(path.parent) for path in paths})
    if len(folders) > 1:
        raise InfoflowError(
            f"parquet files of the split {split!r} lie in several folders "
            f"({', '.join(folders)}); give the one that is meant as the source."
        )
    shards = [match for path in paths if (match := _SHARD.match(path.stem))]
    if len(paths) == 1 and not shards:
        return list(paths)
    names = ", ".join(path.name for path in paths[:5]) + (", ..." if len(paths) > 5 else "")
    these = f"the parquet files of the split {split!r} ({names})"
    series = shards or [match for path in paths if (match := _NUMBERED.fullmatch(path.stem))]
    if len(series) < len(paths) or len({match.groups()[::2] for match in series}) > 1:
        raise InfoflowError(
            f"{these} are not of one series; valid: one file, or files with numbers, such as "
            "test-00000-of-00002."
        )
    numbers = [int(match[2]) for match in series]
    n_files = int(shards[0][3]) if shards else len(paths)
    first = 0 if shards else min(1, *numbers)
    present, expected = set(numbers), range(first, first + n_files)
    if missing := list(islice((n for n in expected if n not in present), 5)):
        raise InfoflowError(f"{these} lack number {', '.join(map(str, missing))} of {n_files}.")
    if len(numbers) > n_files:
        raise InfoflowError(f"{these} are more than the {n_files} that their names tell of.")
    return [path for _, path in sorted(zip(numbers, paths, strict=True))]


def require_size_of_card(files: Mapping[str, Sequence[Path]], n_rows: int, folder: Path) -> None:
    """Hold the number of rows against those in the cards beside the files and in folders above."""
    first = next(chain(*files.values()))
    for place in (path for path in first.parents if path == folder or folder in path.parents):
        sizes = [card for card in _cards(place, first.parent.name) if card.keys() >= files.keys()]
        totals = [sum(card[split] for split in files) for card in sizes]
        if totals and n_rows not in totals:
            raise InfoflowError(
                f"the parquet files of {', '.join(files)} in {first.parent} hold {n_rows} rows; "
                f"the data set's card in {place} tells of {' or '.join(map(str, totals))}."
            )


def _cards(place: Path, config: str) -> list[dict[str, int]]:
    """For each config, or for the one of this name, the number of rows of each split."""
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict

    infos: dict[str, DatasetInfo] = {}
    # a card is anything: YAML or JSON with wrong fields of any type
    with one_line(f"the data set's card in {place} cannot be read", Exception):
        if _is_card(place / "README.md") or (place / "dataset_infos.json").is_file():
            infos |= DatasetInfosDict.from_directory(str(place))
        if (place / "dataset_info.json").is_file():
            infos["the only one"] = DatasetInfo.from_directory(str(place))
        sizes = {
            name: {split: int(part.num_examples) for split, part in (info.splits or {}).items()}
            for name, info in infos.items()
        }
    return [sizes[config]] if config in sizes else list(sizes.values())


def _is_card(readme: Path) -> bool:
    """Whether a README is a data set's card, and not somebody's own notes."""
    try:
        return "dataset_info:" in readme.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
