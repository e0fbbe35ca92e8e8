"""Which photos must not serve as references, because they show the answer.

The rules of a leak-free list, in their order; a photo falls to the first rule that names it.
Photos are named by their path in iHarmony4, 'SUBSET/real_images/IMAGE.jpg'.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from raiha_core.data.iharmony4 import camera, number, parse_name

RULES = ("own", "test", "sibling", "near-duplicate")
SERIES = {  # ids this close may show one scene
    "HFlickr": 3,  # 59 of 112 official HFlickr items have a reference this close; chance gives none
    "HAdobe5k": 5,  # the official list has none this close; its nearest pair is at 8
}


def photo_of(path: str) -> tuple[str, str]:
    """'SUBSET/real_images/IMAGE.jpg' -> (SUBSET, IMAGE). Raises: ValueError naming another form."""
    pure = PurePosixPath(path)
    if len(pure.parts) != 3 or pure.parts[1] != "real_images":
        raise ValueError(f"'{path}' is not SUBSET/real_images/IMAGE.jpg")
    return pure.parts[0], pure.stem


class Pool:
    """The photos that may be retrieved, with what is needed to exclude some of them quickly."""

    def __init__(self, photos: Iterable[str], test_reals: Iterable[str]) -> None:
        self.photos = tuple(sorted(photos))
        self._known = frozenset(self.photos)
        self._test = self._known & frozenset(test_reals)
        self._cameras: dict[str, list[str]] = {}
        self._numbers: dict[tuple[str, int], str] = {}
        for photo in self.photos:
            subset, image = photo_of(photo)
            if subset == "Hday2night":
                self._cameras.setdefault(camera(image), []).append(photo)
            elif subset in SERIES:
                self._numbers[subset, number(image)] = photo

    def siblings(self, subset: str, image: str) -> set[str]:
        """Photos of the pool that belong to the image by their ids, the image itself included."""
        if subset == "Hday2night":
            return set(self._cameras.get(camera(image), ()))
        if subset not in SERIES:
            return set()
        reach, centre = SERIES[subset], number(image)
        numbers = range(centre - reach, centre + reach + 1)
        return {self._numbers[subset, n] for n in numbers if (subset, n) in self._numbers}

    def excluded(self, query: str, near_duplicates: Iterable[str], strict: bool) -> dict[str, str]:
        """Photo of the pool -> rule, for the composite `query` ('SUBSET/composite_images/NAME.jpg').

        Args:
            near_duplicates: photos that look like the query's own real photo (rule 4).
            strict: False applies rule 1 alone, as the paper says it did.
        """
        name = parse_name(query)
        own = set({name.real_path} & self._known)
        sets = [own]
        if strict:
            alike = set(near_duplicates) & self._known
            sets += [set(self._test), self.siblings(name.subset, name.image), alike]
        found: dict[str, str] = {}
        for rule, photos in zip(RULES, sets, strict=False):
            for photo in photos:
                found.setdefault(photo, rule)
        return found
