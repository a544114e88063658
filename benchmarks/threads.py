"""A zoo model beside a busy program: on as many threads as there are cores, against one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.data.load import load_task
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.lvlm import LVLM, Prompt, load_lvlm

_N_CAPTIONS = 3
_BUSY = "while True: pass"


def thread_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Time three caption sweeps by the clock, while another program keeps a core busy."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if size.device != "cpu" or n_cores == 1:
        return
    with subprocess.Popen([sys.executable, "-c", _BUSY]) as busy:
        try:
            many, one = _seconds(str(n_cores)), _seconds("")
        finally:
            busy.kill()
    yield Line(
        f"caption sweeps, {n_cores} threads, against one",
        *("s", many, one),
        remark="by the clock, beside a program that keeps one core busy",
    )


def _seconds(threads: str) -> float:
    os.environ["INFOFLOW_THREADS"] = threads
    lvlm = load_lvlm("tiny-llava-1.5", device="cpu")
    prompts = [lvlm.prompt(s.image, s.question) for s in load_task("chair", limit=_N_CAPTIONS)]
    start = time.perf_counter()
    for prompt in prompts:
        truncation_sweep(lvlm, prompt, max_new_tokens=8)
    seconds = time.perf_counter() - start
    del os.environ["INFOFLOW_THREADS"]
    return seconds
