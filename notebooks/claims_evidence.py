"""All that the page on claims goes by, measured on one model as other pages measure it."""

from dataclasses import replace

from simignore_measure import at_share

from infoflow.claims.gather import truncation_evidence
from infoflow.claims.paper import paper_values
from infoflow.data.items import Items
from infoflow.evaluate.answers import ByOptions, answers
from infoflow.evaluate.cam import cam_by_layer, last_layer_gradients
from infoflow.evaluate.flow import flow_by_layer, similarity_by_layer
from infoflow.evaluate.knockout import knockout_by_layer
from infoflow.evaluate.localisation import localisation_by_layer
from infoflow.evaluate.truncation import frozen_by_cut
from infoflow.evaluate.words import words_by_cut
from infoflow.interventions import EAH
from infoflow.stats.layers import depths

# where sites are compared: an answer of one word can be read from one place, a caption cannot
SITE_TASKS = ("scienceqa", "pope", "textvqa")


def audit_evidence(
    lvlm, tasks, limit, cam_limit, road_limit, site_samples, store, seed=0, source="shapes"
):
    """Measure all that the claims are decided by: :func:`truncation_evidence` and the rest.

    What needs gradients, follows words or freezes takes the first ``cam_limit`` items only, what
    blocks attention ``road_limit``; ``site_samples`` noisy images an item are taken where the sites
    of gradient maps are compared.
    """
    items = Items(lvlm.name, source)
    test = {name: items.test(name, limit) for name in tasks}
    few = {name: items.test(name, min(cam_limit, len(task))) for name, task in test.items()}
    blocked = {name: items.test(name, min(road_limit, len(task))) for name, task in test.items()}
    regions = {name: few[name] for name in few if source == "shapes" and name in SITE_TASKS}
    masked = {name: test[name] for name in test if name == "scienceqa"}
    sunk = {name: test[name] for name in test if name in ("pope", "chair")}
    printed = paper_values()["eah"]["settings"][0]
    eah = EAH(layers=(min(printed["layer"], lvlm.n_layers - 1),), beta=printed["beta"])
    shallow = depths(lvlm.n_layers)[0].last
    return replace(
        truncation_evidence(lvlm, tasks, limit, store, seed, source),
        flow=_rows(flow_by_layer, lvlm, test, store),
        knockout=_rows(knockout_by_layer, lvlm, blocked, store),
        last_layer=_rows(last_layer_gradients, lvlm, test, store),
        cam=_rows(cam_by_layer, lvlm, few, store),
        localisation=_rows(localisation_by_layer, lvlm, regions, store, n_samples=site_samples),
        intact=_rows(answers, lvlm, masked | sunk, store),
        masked={n: answers(lvlm, t, store, _released_mask(lvlm, t)) for n, t in masked.items()},
        broadcast={n: answers(lvlm, task, store, eah) for n, task in sunk.items()},
        similarity=_rows(similarity_by_layer, lvlm, few, store),
        words={n: words_by_cut(lvlm, t, store, shallow) for n, t in few.items() if n == "chair"},
        frozen=_rows(frozen_by_cut, lvlm, few, store),
    )


def _rows(measure, lvlm, tasks, store, **options):
    return {name: measure(lvlm, task, store, **options) for name, task in tasks.items()}


def _released_mask(lvlm, task):
    """Simignore as its code was released, with the same share of this model's image tokens."""
    image = lvlm.prompt(task[0].image, task[0].question).spans.image
    setting = paper_values()["simignore"]["settings"][0]
    return ByOptions(at_share(setting, image.stop - image.start))
