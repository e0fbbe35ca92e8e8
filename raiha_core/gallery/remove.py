"""Taking photos out of a gallery. The photo files stay; later builds leave them out."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from .layout import photo_paths
from .manifest import State
from .writer import Writer


def remove(store: str | Path, patterns: Sequence[str] = (), *, groups: Sequence[str] = ()) -> tuple[str, ...]:
    """Remove photos by id, by pattern over ids (`*` also crosses folders), by file path, or by group.

    Removed photos are gone for readers that open the gallery from now on; their features go with the
    next `repair`. `add` brings one back.

    Returns: the ids removed, sorted.
    Raises: ValueError naming a pattern or group that fits no photo (then nothing is removed).
    """
    if not patterns and not groups:
        raise ValueError("name a photo, a pattern, or a group to remove")
    with Writer(Path(store), None) as writer:
        state = writer.state
        roots = photo_paths(writer.layout, state.folders, None)
        chosen: set[str] = set()
        for pattern in patterns:
            found = _matching(state, roots, pattern)
            if not found:
                raise ValueError(f"no photo of gallery {store} fits '{pattern}'")
            chosen |= found
        for group in groups:
            found = {name for name, entry in state.live.items() if entry.photo.group == group}
            if not found:
                raise ValueError(f"no photo of gallery {store} is in group '{group}'")
            chosen |= found
        removed = tuple(sorted(chosen))
        writer.remove(removed)
    return removed


def _matching(state: State, roots: Sequence[Path], pattern: str) -> set[str]:
    if pattern in state.live:  # a name may hold the signs of a pattern, as "IMG [1].jpg" does
        return {pattern}
    path = Path(pattern).absolute()
    for index, root in enumerate(roots):
        if root in path.parents:
            name = state.folders[index].id_of(path.relative_to(root).as_posix())
            if name in state.live:
                return {name}
    return {name for name in state.live if fnmatchcase(name, pattern)}
