"""What the paper printed: the values of ``book/paper_values.yml``, which pages set beside ours."""

from pathlib import Path
from typing import Any

import yaml

from infoflow.errors import InfoflowError

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
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InfoflowError(f"{path} cannot be read: {error}") from error
