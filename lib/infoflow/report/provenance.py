"""Where a page's numbers come from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infoflow.report.display import ProvenanceBox

Record = Mapping[str, Any]


def provenance_box(store: Any) -> ProvenanceBox:
    """Describe where the rows of a page came from, all read through one store, and its settings."""
    records: Sequence[Record] = store.records
    found = [record["provenance"] for record in records]
    counts, parts = _counts(records), sorted(filter(None, map(_part, records)))
    seconds = sum(record.get("seconds", 0.0) for record in records)
    peak = max(record.get("peak_rss_mb", 0.0) for record in records)
    about = {
        "items": "; ".join(f"{name}: {count}" for name, count in counts.items()),
        "parameters": listed_values(page_parameters()),
        "measured with": _several(sorted(listed_values(r["key"]["parameters"]) for r in records)),
    }
    return ProvenanceBox(
        summary=f"Provenance: {_several(one['model']['name'] for one in found)}, "
        f"{sum(counts.values())} answers to {len(counts)} sets of items",
        lasting=lasting(found, about),
        circumstances={
            "part of the set": _several(parts) or "no: all items of each",
            "from the package": f"{sum(r.get('shipped', 0) for r in records)} answers (make rows)",
            **circumstances(found),
            "wall time, peak memory": f"{seconds:.1f} s measuring, {peak:.0f} MB",
        },
    )


def box_without_store(found: Record, summary: str, about: Mapping[str, str]) -> ProvenanceBox:
    """Describe where numbers came from that a page measured without storing them."""
    settings = {"parameters": listed_values(page_parameters())}
    return ProvenanceBox(summary, lasting([found], {**about, **settings}), circumstances([found]))


def lasting(found: Sequence[Record], about: Mapping[str, str]) -> dict[str, str]:
    """List what another run must reproduce: the models, and what was asked of them."""
    models = [one["model"] for one in found]
    return {
        "model": _several(model["name"] for model in models),
        "revision": _several(model["revision"] or "none: local weights" for model in models),
        "weights digest": _several(model["digest"] for model in models),
        **about,
        "dtype, attention": _several(f"{m['dtype']}, {m['attention']}" for m in models),
    }


def circumstances(found: Sequence[Record]) -> dict[str, str]:
    """List what may differ between runs: the machine, the code and the packages."""
    machine, code = found[0]["machine"], found[0]["code"]
    return {
        "device": f"{machine['device']} ({machine['device_name']}), "
        f"{machine['threads']} threads, Python {machine['python']}",
        "code digest": f"{_several(sorted(one['code']['digest'][:12] for one in found))}; "
        f"commit {code['commit'] or 'unknown'}",
        "packages": listed_values(found[0]["packages"]),
    }


def page_parameters() -> dict[str, Any]:
    """Return what a notebook has now for the names it declares with a type; none elsewhere."""
    from IPython import get_ipython  # slow to import, and at hand where a notebook runs

    # not its list of cells: nbval runs them without noting them there
    names = getattr(get_ipython(), "user_ns", {})
    return {name: names[name] for name in names.get("__annotations__", {}) if name in names}


def _counts(records: Iterable[Record]) -> dict[str, int]:
    models = {record["provenance"]["model"]["name"] for record in records}
    counts: dict[str, int] = {}
    for record in records:
        data, model = record["provenance"]["data"], record["provenance"]["model"]["name"]
        measured = f"{record['key']['measure']} on {data['task']} {data['split']}"
        name = f"{f'{model}: ' if len(models) > 1 else ''}{measured} ({data['source']})"
        counts[name] = max(record["n_items"], counts.get(name, 0))
    return counts


def _part(record: Record) -> str:
    data, count = record["provenance"]["data"], record["n_items"]
    whole, name = data.get("of"), f"{data['task']} {data['split']}"
    if whole is None:
        return f"{count} of {name}, a set of unknown size"
    return f"only {count} of the {whole} items of {name}" if count < whole else ""


def _several(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(values))


def listed_values(values: Mapping[str, Any]) -> str:
    """Write values with their names."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())
