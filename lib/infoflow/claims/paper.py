"""What the paper printed: the values of ``book/paper_values.yml``, which pages set beside ours."""

from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import read_yaml

PLACE = Path("book") / "paper_values.yml"


def paper_values(start: Path | str | None = None) -> dict[str, Any]:
    """Read the published values.

    Args:
        start: Folder of the repository, or one inside it. ``None`` looks upwards from the working
            folder, then from this library's own source.

    Returns:
        The file's content: ``sources``, ``table1``, ``cliffs``, ``no_image``,
        ``attention_claims``, the sister papers' values under ``simignore`` and ``eah``, and what
        the audit goes by: ``n_items``, ``released_code`` and ``claims``; ``truncation_diagram``
        and ``topk``, of Figure 6 and appendix A.2.

    Raises:
        InfoflowError: The file is not there or is no YAML.
    """
    starts = [Path.cwd(), Path(__file__).parent] if start is None else [Path(start)]
    folders = [folder for s in starts for folder in (s.resolve(), *s.resolve().parents)]
    path = next((folder / PLACE for folder in folders if (folder / PLACE).is_file()), None)
    if path is None:
        raise InfoflowError(
            f"no {PLACE} upwards of {starts[0]}; start the notebook inside a clone of the "
            "repository, where the paper's values are kept."
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InfoflowError(f"{path} must map names to values.")
    return content


def table1_row(paper: dict[str, Any], name: str | None, model: str) -> dict[str, Any]:
    """Find a row of Table 1.

    Args:
        paper: Of :func:`paper_values`.
        name: The row's model; None for the one that is ``model``, or has its architecture, and for
            the first row where none does.
        model: Name of our model.

    Raises:
        UnknownNameError: Table 1 has no such row.
    """
    rows: dict[str, dict[str, Any]] = {row["model"]: row for row in paper["table1"]}
    if name is None:
        return next((row for own, row in rows.items() if is_twin(model, own)), paper["table1"][0])
    if name not in rows:
        raise unknown_name("model of Table 1", name, rows)
    return rows[name]


def is_twin(model: str, published: str) -> bool:
    """Whether a model is the published one, or the zoo's of its architecture."""
    return model in (published, f"tiny-{published.removesuffix('-7b')}")
