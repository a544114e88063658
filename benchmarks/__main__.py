"""The sweep and the flow against what one would do otherwise, with the predictions beside."""

import argparse

import torch
from transformers.utils import logging

from benchmarks.flow import print_flow
from benchmarks.model import SIZES, random_lvlm
from benchmarks.sweep import print_sweep
from benchmarks.table import n_image, n_user, print_heading


def main() -> None:
    """Measure at the size asked for and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick", help="default: quick, < 60 s")
    size = parser.parse_args().size
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    logging.set_verbosity_error()
    lvlm, prompt = random_lvlm(SIZES[size])
    print(
        f"{size}: {lvlm.n_layers} layers, {lvlm.n_heads} heads, {len(prompt)} tokens, of them "
        f"{n_image(prompt)} image and {n_user(prompt)} user; float32, one thread, CPU seconds"
    )
    print_heading()
    print_sweep(lvlm, prompt)
    print_flow(lvlm, prompt, size)


if __name__ == "__main__":
    main()
