"""The table that the benchmarks print."""

from infoflow.lvlm import Prompt

_ROW = "{:42}{:>11}{:>11}{:>9}{:>11}"


def print_heading() -> None:
    """Print the names of the columns."""
    print(_ROW.format("", "baseline s", "infoflow s", "ratio", "predicted"))


def print_row(name: str, baseline: float, ours: float, predicted: str) -> None:
    """Print what was measured, in seconds, and the ratio that was predicted."""
    ratio = baseline / ours
    cells = f"{baseline:.2f}", f"{ours:.2f}", f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"
    print(_ROW.format(name, *cells, predicted), flush=True)


def n_image(prompt: Prompt) -> int:
    """Count the image tokens."""
    return int(prompt.spans.image.stop - prompt.spans.image.start)


def n_user(prompt: Prompt) -> int:
    """Count the tokens after the image."""
    return int(prompt.spans.user.stop - prompt.spans.user.start)
