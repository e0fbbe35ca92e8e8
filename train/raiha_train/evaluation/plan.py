"""What is to be scored: each composite once untouched, once without a reference, once per reference.

Five runs of random references over lists of at most four would render many pairs of composite and reference
twice; a pair is rendered once, and the runs are put together from pairs afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raiha_core.data.item import Triple
from raiha_core.data.raharmony4 import Listed, draw_other_photo, draw_reference

UNTOUCHED = "(composite)"
NONE = ""  # harmonized without a reference

NO_REFERENCE, RANDOM_PHOTO, BEST = "no reference", "random photo", "best reference"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringPlan:
    """Variant name -> composite id -> the reference it uses (`NONE` for none)."""

    variants: dict[str, dict[str, str]]

    def references(self, item_id: str) -> list[str]:
        """The different references that one composite needs, in the order of the variants."""
        chosen = (table[item_id] for table in self.variants.values() if item_id in table)
        return list(dict.fromkeys(chosen))


def run_name(seed: int) -> str:
    return f"run {seed}"


def plan_without(items: Sequence[Triple]) -> ScoringPlan:
    return ScoringPlan(variants={NO_REFERENCE: {item.id: NONE for item in items}})


def plan_with(items: Sequence[Triple], listed: Sequence[Listed], seeds: int) -> ScoringPlan:
    """No reference, a random photo of the list's own pool, the best one, and `seeds` random draws.

    Items without an entry in `listed` (their references are missing) are in the first variant only.
    """
    by_id = {Path(entry.input).stem: entry for entry in listed}
    pool = sorted({ref for entry in listed for ref in entry.refs})
    known = [(item.id, by_id[item.id]) for item in items if item.id in by_id]
    variants = dict(plan_without(items).variants)
    others = {}
    for item_id, entry in known:
        try:
            others[item_id] = draw_other_photo(entry, pool, 0)
        except ValueError:  # a list of one item has no other photo; the variant says how many it has
            continue
    variants[RANDOM_PHOTO] = others
    variants[BEST] = {item_id: entry.refs[0] for item_id, entry in known}
    for seed in range(seeds):
        variants[run_name(seed)] = {item_id: draw_reference(entry, seed) for item_id, entry in known}
    return ScoringPlan(variants=variants)
