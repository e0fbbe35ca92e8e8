"""What the rules of a leak-free list find in a list that somebody made."""

from collections.abc import Sequence
from dataclasses import dataclass

from raiha_core.data.iharmony4 import parse_name
from raiha_core.data.raharmony4 import Listed

from .siblings import Pool


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaks:
    """Counts over one list."""

    items: int
    references: int  # entries of all lists together
    by_rule: dict[str, tuple[int, int]]  # rule -> references it names, items with at least one
    clean_items: int  # items of whose references none is named
    surviving_items: int  # items that keep at least one reference
    surviving_by_subset: dict[str, int]


def find_leaks(listed: Sequence[Listed], test_reals: Sequence[str]) -> Leaks:
    """Rules 1 to 3, which need names only: own photo, photo of the test split, sibling by id."""
    pool = Pool({ref for entry in listed for ref in entry.refs}, test_reals)
    slots: dict[str, int] = {}
    items: dict[str, int] = {}
    clean = 0
    surviving: dict[str, int] = {}
    for entry in listed:
        named = pool.excluded(entry.input, (), strict=True)
        rules = [named[ref] for ref in entry.refs if ref in named]
        for rule in rules:
            slots[rule] = slots.get(rule, 0) + 1
        for rule in set(rules):
            items[rule] = items.get(rule, 0) + 1
        clean += not rules
        if len(rules) < len(entry.refs):
            subset = parse_name(entry.input).subset
            surviving[subset] = surviving.get(subset, 0) + 1
    return Leaks(
        items=len(listed),
        references=sum(len(entry.refs) for entry in listed),
        by_rule={rule: (slots[rule], items[rule]) for rule in sorted(slots)},
        clean_items=clean,
        surviving_items=sum(surviving.values()),
        surviving_by_subset=dict(sorted(surviving.items())),
    )
