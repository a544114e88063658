"""The fast paths against the naive ones, with what the arithmetic predicts beside: one table.

At the size of LLaVA-1.5-7B it needs a CUDA device; nothing is downloaded.
"""

import argparse
from itertools import chain
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks.cam import cam_lines
from benchmarks.flow import flow_lines
from benchmarks.interventions import intervention_lines
from benchmarks.knockout import knockout_lines
from benchmarks.model import SIZES, random_lvlm
from benchmarks.sweep import sweep_lines
from benchmarks.table import describe, machine, print_heading, print_line, write_results
from benchmarks.teacher_forcing import teacher_forcing_lines
from benchmarks.threads import thread_lines

PARTS = (
    sweep_lines,
    teacher_forcing_lines,
    knockout_lines,
    flow_lines,
    cam_lines,
    intervention_lines,
    thread_lines,
)


def main() -> None:
    """Measure at the size asked for, print one table, and write it to a file if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small", help="default: small")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    options = parser.parse_args()
    size = SIZES[options.size]
    on_gpu = size.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        others = ", ".join(name for name, other in SIZES.items() if other.device == "cpu")
        parser.exit(
            2,
            f"error: the size {options.size} needs a CUDA device, and this machine has none; "
            f"for a CPU there are {others}.\n",
        )
    if not on_gpu:
        torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    logging.set_verbosity_error()
    lvlm, prompt = random_lvlm(size)
    what, where = describe(options.size, size, prompt.spans), machine(lvlm.device)
    print(what, ", ".join(f"{name} {value}" for name, value in where.items()), sep="\n")
    print_heading(on_gpu)
    lines = []
    for line in chain(*(part(size, lvlm, prompt) for part in PARTS)):
        print_line(line, on_gpu)
        lines.append(line)
    if options.output:
        write_results(options.output, what, where, lines)


if __name__ == "__main__":
    main()
