"""The photos of an answer, each explained when it is looked at: a search within them needs only rows."""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from .candidates import Candidate
from .ranking import Hit

GATHER = 64  # photos read at once to be explained


class Explained(Sequence[Candidate]):
    """Like a tuple of candidates, but the reasons for one are computed when it is first asked for."""

    def __init__(self, hits: Sequence[Hit], explain: Callable[[Sequence[Hit]], list[Candidate]]) -> None:
        self.hits = tuple(hits)
        self._explain = explain
        self._known: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        places = range(len(self.hits))[index]
        if isinstance(places, int):
            return self._of([places])[0]
        return tuple(self._of(places))

    def __iter__(self) -> Iterator[Candidate]:
        for start in range(0, len(self.hits), GATHER):
            yield from self._of(range(start, min(start + GATHER, len(self.hits))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.hits)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _of(self, places: Sequence[int]) -> list[Candidate]:
        missing = [place for place in places if place not in self._known]
        for start in range(0, len(missing), GATHER):
            part = missing[start : start + GATHER]
            self._known.update(zip(part, self._explain([self.hits[place] for place in part]), strict=True))
        return [self._known[place] for place in places]
