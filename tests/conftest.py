"""How the tests are shared out among the workers of ``make test``."""

import gc

import pytest
from xdist.scheduler import LoadFileScheduling


@pytest.fixture(scope="session", autouse=True)
def nothing_shipped():
    """Tests measure; what comes with the package is looked at in ``test_shipped.py`` alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("INFOFLOW_SHIPPED", "no")
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the garbage collector seldom go through what is old: most of it stays for good."""
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 200)
    gc.enable()
    return collected


class Shared(LoadFileScheduling):
    """A file at a time, in the files' own order; the committed notebooks as if they were one.

    They share most of the rows that they measure. Run side by side, one would wait for another to
    release the rows both want, and by their numbers of tests the longest files would come last.
    """

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "notebooks" if file.startswith("notebooks/") else file


def pytest_xdist_make_scheduler(config, log):
    return Shared(config, log)
