"""How nbval compares a re-run with what is stored: by words and numbers, not by pixels."""


def pytest_collectstart(collector):
    """Compare the text that holds the numbers.

    Left out are the HTML beside it, which holds pictures and costs, and what libraries say on
    stderr, which varies with the machine.
    """
    if getattr(collector, "skip_compare", None) is not None:
        collector.skip_compare += ("text/html", "stderr")
