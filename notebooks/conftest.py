"""How nbval re-runs the committed notebooks: in forks, and comparing words, not pixels.

A page spends half of its time on imports. Each kernel is therefore a fork of this process, which
imports them once; it has a folder, an environment and a memory of its own, as any kernel has. It
is spoken to through files, not ports, for which kernels that start together would compete.
"""

import functools
import gc
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbFile


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb" and not parent.config.option.nbval:
        return Page.from_parent(parent, path=file_path)
    return None


def pytest_collectstart(collector):
    """Compare the text that holds the numbers.

    Left out are the HTML beside it, which holds pictures and costs, and what libraries say on
    stderr, which varies with the machine.
    """
    if getattr(collector, "skip_compare", None) is not None:
        collector.skip_compare += ("text/html", "stderr")


class Page(IPyNbFile):
    """A notebook for nbval, with another kernel."""

    def setup(self):
        self.kernel = ForkedKernel(self.path.parent)
        self.setup_sanitize_files()


class ForkedKernel(RunningKernel):
    """A kernel that is a fork of this process, with nbval's way to ask it."""

    def __init__(self, folder: Path):
        _import_once()
        self.files = tempfile.TemporaryDirectory()
        file, _ = write_connection_file(
            f"{self.files.name}/kernel.json", ip=f"{self.files.name}/kernel", transport="ipc"
        )
        self.process = multiprocessing.get_context("fork").Process(
            target=_run, args=(file, folder, os.getpid()), daemon=True
        )
        self.process.start()
        self.kc = BlockingKernelClient(connection_file=file)
        self.kc.load_connection_file()
        self.kc.start_channels()
        self.kc.wait_for_ready(timeout=60)
        self._ensure_iopub_up()

    def is_alive(self):
        return self.process.is_alive()

    def interrupt(self):
        os.kill(self.process.pid, signal.SIGINT)

    def restart(self):
        self.process.kill()  # what follows in the page fails, as it hung

    def stop(self):
        self.kc.stop_channels()
        self.process.kill()
        self.process.join()
        self.files.cleanup()

    @property
    def language(self):
        return "python"


@functools.cache
def _import_once():
    """Do once what most pages do: imports, reading, a first figure, and finding the test scenes."""
    from infoflow import load_lvlm
    from infoflow.claims.paper import paper_values
    from infoflow.data import shapes
    from infoflow.data.load import list_tasks, load_task
    from infoflow.report import Plot, style
    from infoflow.results.sources import code_digest

    code_digest()
    paper_values()
    assert Plot(style.figure()[0], "", "", None).png
    load_lvlm("tiny-llava-1.5", device="cpu")  # a GPU cannot be shared with forks
    for task in list_tasks():
        for number in range(len(load_task(task))):
            shapes.scene_of(task, "test", number)
    gc.collect()
    gc.freeze()  # a fork that goes through what it shares would copy it


def _run(connection_file: str, folder: Path, parent: int) -> None:
    import torch  # not above: who only shares out the tests can do without

    from infoflow.report import display, style

    # pictures are drawn, but not compared: nobody sees how sharp they are, or how laid out
    display.SAVED = {"dpi": 50}
    style.HOUSE_STYLE["figure.constrained_layout.use"] = False
    # A fork loses torch's pool of threads. If several threads were the first to miss it, as when
    # weights are loaded, one would find none while another makes it anew (Invalid thread pool).
    torch.set_num_threads(torch.get_num_threads())
    os.environ.pop("INFOFLOW_SHIPPED", None)  # which the tests set for themselves
    os.environ["JPY_PARENT_PID"] = str(parent)  # it ends when its parent does
    os.chdir(folder)
    IPKernelApp.launch_instance(["-f", connection_file, "--log-level=ERROR"])
