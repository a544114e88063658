"""All that the audit goes by, gathered for one model: rows that other pages measure as well."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infoflow.claims.findings import Evidence, Rows
from infoflow.claims.on_interventions import BROADCAST, MASK, NONE
from infoflow.data.items import Items
from infoflow.data.load import Task, blind_guess, load_task
from infoflow.evaluate.cam import cam_by_layer
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.interventions import ByOptions, answers_under
from infoflow.evaluate.last_layer import last_layer_gradients
from infoflow.evaluate.localisation import localisation_by_layer
from infoflow.evaluate.truncation import scores_by_cut, truncation_by_cut
from infoflow.interventions import EAH, Simignore
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store
from infoflow.stats.cliff import cliff_layer

SITE_TASKS = ("scienceqa", "pope", "textvqa")
"""Where sites are compared: an answer of one word can be read from one place, a caption cannot."""


def truncation_evidence(
    lvlm: LVLM,
    tasks: Sequence[str],
    limit: int | None,
    store: Store,
    seed: int = 0,
    source: str | Path = "shapes",
) -> Evidence:
    """Gather the scores at every cut, with the cliffs chosen on calibration items.

    There are as many of these as of test items, or all where there are fewer: what a cliff is
    chosen on need not be known better than what is reported.

    Args:
        lvlm: The model.
        tasks: Names of the tasks.
        limit: Items a task and split; None for all test items.
        store: Where the rows are kept.
        seed: Of the bootstrap behind the cliffs' intervals.
        source: Where the items come from (:class:`infoflow.data.items.Items`).

    Raises:
        UnknownNameError: There is no such task or source.
        InfoflowError: The limit leaves no item, or the source lacks them.
    """
    items = Items(lvlm.name, source)
    test = {name: items.test(name, limit) for name in tasks}
    chosen_on = {name: items.calibration(name, len(task)) for name, task in test.items()}
    cuts = {name: truncation_by_cut(lvlm, task, store) for name, task in test.items()}
    calibration = {name: truncation_by_cut(lvlm, task, store) for name, task in chosen_on.items()}
    return Evidence(
        model=lvlm.name,
        n_layers=lvlm.n_layers,
        cliffs={
            name: cliff_layer(
                scores_by_cut(calibration[name]), scores_by_cut(cuts[name]), seed=seed
            )
            for name in tasks
        },
        cuts=cuts,
        calibration=calibration,
        guesses={name: blind_guess(task) for name, task in test.items()},
    )


def audit_evidence(
    lvlm: LVLM,
    tasks: Sequence[str],
    limit: int,
    cam_limit: int,
    site_samples: int,
    store: Store,
    paper: Mapping[str, Any],
    seed: int = 0,
) -> Evidence:
    """Gather all that the measured claims are decided by.

    Args:
        lvlm: The model.
        tasks: Names of the tasks.
        limit: Items a task and split.
        cam_limit: Items a task for what needs many gradients.
        site_samples: Noisy pictures an item where the sites of gradient maps are compared.
        store: Where the rows are kept.
        paper: The paper's values, for the sister papers' settings.
        seed: Of the bootstrap behind the cliffs' intervals.

    Raises:
        UnknownNameError: There is no such task.
        InfoflowError: The limit leaves no item.
    """
    test = {name: load_task(name, limit=limit) for name in tasks}
    few = {name: load_task(name, limit=min(cam_limit, limit)) for name in tasks}
    return replace(
        truncation_evidence(lvlm, tasks, limit, store, seed),
        flow={name: flow_by_layer(lvlm, task, store) for name, task in test.items()},
        last_layer={name: last_layer_gradients(lvlm, task, store) for name, task in test.items()},
        cam={name: cam_by_layer(lvlm, task, store) for name, task in few.items()},
        localisation={
            name: localisation_by_layer(lvlm, task, store, n_samples=site_samples)
            for name, task in few.items()
            if name in SITE_TASKS
        },
        arms=_arms(lvlm, test, store, paper),
    )


def _arms(
    lvlm: LVLM, test: Mapping[str, Task], store: Store, paper: Mapping[str, Any]
) -> dict[str, Rows]:
    """Answers with and without the sister papers' methods, on the tasks they speak of."""
    printed = paper["eah"]["settings"][0]
    broadcast = EAH(layers=(min(printed["layer"], lvlm.n_layers - 1),), beta=printed["beta"])
    masked = {name: task for name, task in test.items() if name == paper["simignore"]["task"]}
    sunk = {name: task for name, task in test.items() if name in ("pope", "chair")}
    return {
        NONE: {name: answers_under(lvlm, task, store) for name, task in {**masked, **sunk}.items()},
        MASK: {
            name: answers_under(lvlm, task, store, _released_mask(lvlm, task, paper["simignore"]))
            for name, task in masked.items()
        },
        BROADCAST: {
            name: answers_under(lvlm, task, store, broadcast) for name, task in sunk.items()
        },
    }


def _released_mask(lvlm: LVLM, task: Task, simignore: Mapping[str, Any]) -> ByOptions:
    """Simignore as its code was released, with the same share of this model's image tokens."""
    first = task[0]
    image = lvlm.prompt(first.image, first.question).spans.image
    setting = simignore["settings"][0]
    kept = round(setting["keep"] * (image.stop - image.start) / simignore["n_image"])
    return ByOptions(Simignore(kept, start=setting["start"], stride=setting["stride"]))
