"""Ship the rows of the zoo's models: ``python -m zoo.rows RESULTS`` after all is measured.

``make rows`` does both; the pages and ``zoo.resembles`` measure. Results of other models, or of
other data than Shapes, stay where they are.
"""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import weights_digest
from infoflow.results.parts import read_rows
from infoflow.results.shipped import FOLDER, shipped_file
from infoflow.results.sources import ROOT
from infoflow.results.store import read_meta
from zoo.command import ending_in_one_line


def ship(results: Path) -> list[Path]:
    """Write one file for each result of a zoo model on Shapes that a store holds."""
    models = {weights_digest([path.parent]) for path in ROOT.glob("zoo/**/model.safetensors")}
    written: dict[Path, Path] = {}
    for result in sorted(path.parent for path in results.glob("*/*/meta.json")):
        key = read_meta(result)["key"]
        model = str(key.get("model")).partition("-")[0]  # without what was planted in it
        if model not in models or not str(key["source"]).startswith("shapes"):
            continue
        path = shipped_file(key)
        if path in written:
            raise InfoflowError(f"{written[path]} and {result} differ in their code; keep one.")
        path.parent.mkdir(parents=True, exist_ok=True)
        _pack(read_rows(result), path)
        written[path] = result
    return list(written)


def _pack(rows: pa.Table, path: Path) -> None:
    """Write rows small: what is split by bytes, the numbers, packs to two thirds."""
    split = {field.name: pa.types.is_floating(field.type) for field in rows.schema}
    pq.write_table(
        rows,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name, number in split.items() if not number],
        use_byte_stream_split=[name for name, number in split.items() if number],
    )


def main(
    results: Annotated[Path, typer.Argument(help="The store that the pages have filled.")],
) -> None:
    """Put the rows of the zoo's models into the package."""
    with ending_in_one_line():
        files = ship(results)
    size = sum(path.stat().st_size for path in files) / 1e6
    typer.echo(f"{len(files)} results, {size:.1f} MB, in {FOLDER}")


if __name__ == "__main__":
    typer.run(main)
