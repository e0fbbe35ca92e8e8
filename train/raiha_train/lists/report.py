"""Our list beside the official one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from raiha_core.data.iharmony4 import SUBSETS, parse_name
from raiha_core.data.raharmony4 import Listed

from .leaks import Leaks


def counts(listed: Sequence[Listed]) -> dict[str, int]:
    return dict(Counter(parse_name(entry.input).subset for entry in listed))


def overlap(ours: Sequence[Listed], official: Sequence[Listed]) -> dict[str, float]:
    """How far two lists agree, on items and on the references of the items that both have."""
    first, second = ({e.input: set(e.refs) for e in listed} for listed in (ours, official))
    both = sorted(set(first) & set(second))
    shared = [len(first[name] & second[name]) for name in both]
    photos = [{ref for refs in side.values() for ref in refs} for side in (first, second)]
    return {
        "items_ours": len(first),
        "items_official": len(second),
        "items_both": len(both),
        "items_with_a_shared_reference": sum(count > 0 for count in shared),
        "shared_references": sum(shared),
        "official_references_of_these_items": sum(len(second[name]) for name in both),
        "photos_ours": len(photos[0]),
        "photos_official": len(photos[1]),
        "photos_both": len(photos[0] & photos[1]),
    }


def list_report(
    ours: Sequence[Listed], official: Sequence[Listed], leaks: Leaks, sidecar: dict[str, Any], queries: int
) -> str:
    """The report as Markdown."""
    mine, theirs = counts(ours), counts(official)
    found = overlap(ours, official)
    lines = [
        f"# References for {queries} composites, mode {sidecar['rules']['mode']}",
        "",
        f"{len(ours)} of {queries} composites have a reference; {found['photos_ours']} photos serve. "
        f"Pool: {sidecar['pool_photos']} photos, features {sidecar['feature_spec']['name']}.",
        "",
        "| subset | ours | official list |",
        "| --- | --- | --- |",
        *(f"| {s} | {mine.get(s, 0)} | {theirs.get(s, 0)} |" for s in SUBSETS),
        f"| all | {len(ours)} | {len(official)} |",
        "",
        "References per composite: "
        + ", ".join(f"{n}: {c}" for n, c in sorted(Counter(len(e.refs) for e in ours).items())),
        "",
        "Exclusions over all queries, photo by photo, first rule that applies: "
        + ", ".join(f"{rule} {count}" for rule, count in sidecar["excluded"].items()),
        "",
        "## Overlap with the official list (its items among our queries)",
        "",
        *(f"- {name.replace('_', ' ')}: {value:g}" for name, value in found.items()),
        "",
        "## What the strict rules find in the official list (rules by name: own, test, sibling)",
        "",
        *(f"- {rule}: {slots} references, {items} items" for rule, (slots, items) in leaks.by_rule.items()),
        f"- {leaks.surviving_items} of {leaks.items} items keep a reference, {leaks.clean_items} keep all",
    ]
    return "\n".join(lines) + "\n"
