"""Where a page's numbers come from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infoflow.report.display import ProvenanceBox

Record = Mapping[str, Any]


def provenance_box(store: Any) -> ProvenanceBox:
    """Describe where the rows of a page came from, all read through one store, and its settings."""
    records: Sequence[Record] = store.records
    found = [record["provenance"] for record in records]
    models = [one["model"] for one in found]
    counts = _counts(records)
    machine, code = found[0]["machine"], found[0]["code"]
    seconds = sum(record.get("seconds", 0.0) for record in records)
    peak = max(record.get("peak_rss_mb", 0.0) for record in records)
    return ProvenanceBox(
        summary=f"Provenance: {_several(model['name'] for model in models)}, "
        f"{sum(counts.values())} answers to {len(counts)} sets of items",
        lasting={
            "model": _several(model["name"] for model in models),
            "revision": _several(model["revision"] or "none: local weights" for model in models),
            "weights digest": _several(model["digest"] for model in models),
            "items": "; ".join(f"{name}: {count}" for name, count in counts.items()),
            "parameters": _listed(page_parameters()),
            "measured with": _several(sorted(_listed(r["key"]["parameters"]) for r in records)),
            "dtype, attention": _several(f"{m['dtype']}, {m['attention']}" for m in models),
        },
        circumstances={
            "part of the set": _several(sorted(filter(None, map(_part, records))))
            or "no: all items of each",
            "device": f"{machine['device']} ({machine['device_name']}), "
            f"{machine['threads']} threads, Python {machine['python']}",
            "code digest": f"{_several(sorted(one['code']['digest'][:12] for one in found))}; "
            f"commit {code['commit'] or 'unknown'}",
            "packages": _listed(found[0]["packages"]),
            "wall time, peak memory": f"{seconds:.1f} s measuring, {peak:.0f} MB",
        },
    )


def page_parameters() -> dict[str, Any]:
    """Return the values that this kernel's notebook has now for the names it declares with a type.

    The kernel's list of cells would not do: nbval runs cells without noting them there. Outside
    IPython there are none.
    """
    from IPython import get_ipython  # slow to import, and at hand where a notebook runs

    shell = get_ipython()
    names = shell.user_ns if shell else {}
    return {name: names[name] for name in names.get("__annotations__", {}) if name in names}


def _counts(records: Iterable[Record]) -> dict[str, int]:
    """The items by what was measured on which set; by model, too, if there are several."""
    several = len({record["provenance"]["model"]["name"] for record in records}) > 1
    counts: dict[str, int] = {}
    for record in records:
        data, model = record["provenance"]["data"], record["provenance"]["model"]["name"]
        place = f"{data['task']} {data['split']} ({data['source']})"
        name = f"{f'{model}: ' if several else ''}{record['key']['measure']} on {place}"
        counts[name] = max(record["n_items"], counts.get(name, 0))
    return counts


def _part(record: Record) -> str:
    """Say that only some items of a set were measured; nothing if it is whole."""
    data, count = record["provenance"]["data"], record["n_items"]
    whole, name = data.get("of"), f"{data['task']} {data['split']}"
    if whole is None:
        return f"{count} of {name}, a set of unknown size"
    return f"only {count} of the {whole} items of {name}" if count < whole else ""


def _several(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
