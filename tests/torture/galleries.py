"""Small galleries, the work that is done on them, and what must hold after that work was cut."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raiha_core.gallery import shards
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from raiha_core.gallery.writer import Writer
from tests.gallery_fakes import FakeEncoder, digest, write_photo, write_photos

# what a writer that was cut may leave; no reader sees it
HARMLESS = {"leftover-file", "unlisted-shard", "manifest-torn", "unfinished"}
EMPTY = "nothing yet"


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work on a gallery: what it begins with, and what a reader sees before and after."""

    name: str
    base: str  # the folder of the store that it begins with, "" for none
    do: Callable[[Path], object]  # on a store
    before: str  # digest, or EMPTY
    after: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Photos and stores that trials copy from, made once per process."""

    root: Path
    works: tuple[Work, ...]


def small_shards() -> None:
    """Four photos in a shard, so that these galleries have several."""
    shards._MOST_PHOTOS = 4


def _remove_some(store: Path) -> None:
    """Removing what is gone already is refused; that is the end that was wanted."""
    if any(photo.id == "002.png" for photo in open_gallery(store).photos):
        remove(store, ["day/*", "002.png"])
    with Writer(store, None):  # the next writer, whoever it is, clears away what an earlier one left
        pass


def make_stage(root: Path) -> Stage:
    """The stage in a folder; what is there already is used again."""
    small_shards()
    photos, changed, trip = root / "photos", root / "changed", root / "trip"
    encoder = FakeEncoder()
    fresh = not root.exists()
    if fresh:
        write_photos(photos)
        write_photos(trip, 6, first_seed=40)
        shutil.copytree(photos, changed)
        write_photos(changed / "more", 6, first_seed=80)
        write_photo(changed / "005.png", seed=70, size=(11, 11))
        (changed / "008.png").unlink()
        build(photos, root / "old", encoder=encoder)
        shutil.copytree(root / "old", root / "thin")
        remove(root / "thin", ["00?.png", "night/*"])
        shutil.copytree(root / "old", root / "bare")
        shutil.rmtree(root / "bare" / "index")

    def seen(base: str, do: Callable[[Path], object]) -> str:
        """The digest after some work on a copy of a store."""
        place = root / "scratch"
        shutil.rmtree(place, ignore_errors=True)
        if base:
            shutil.copytree(root / base, place)
        do(place)
        return digest(open_gallery(place))

    old, thin = seen("old", lambda _: None), seen("thin", lambda _: None)
    jobs: dict[str, tuple[str, str, Callable[[Path], object]]] = {
        "build": ("", EMPTY, lambda store: build(photos, store, encoder=encoder)),
        "update": ("old", old, lambda store: build(changed, store, encoder=encoder, moved=True)),
        "add": ("old", old, lambda store: add(trip, store, encoder=encoder)),
        "remove": ("old", old, _remove_some),
        "repair": ("thin", thin, repair),
        "index": ("bare", old, lambda store: build(photos, store, encoder=encoder)),
    }
    works = [Work(name, base, do, before, seen(base, do)) for name, (base, before, do) in jobs.items()]
    same = [work.name for work in works if work.before == work.after]
    assert same == ["repair", "index"], f"work that changes nothing: {same}"
    return Stage(root, tuple(works))


def prepare(stage: Stage, work: Work, store: Path) -> None:
    """The store that the work begins with."""
    if work.base:
        shutil.copytree(stage.root / work.base, store)


def view(store: Path) -> str:
    """What a reader sees: a digest, or EMPTY where the gallery was never whole. Raises: as `open_gallery`."""
    try:
        return digest(open_gallery(store))
    except ValueError as error:
        if any(text in str(error) for text in ("is unfinished", "is not a gallery", "does not exist")):
            return EMPTY
        raise


def trouble_after_cut(work: Work, store: Path) -> str:
    """What does not hold for a store whose writer was cut; "" for nothing."""
    seen = view(store)
    if seen not in (work.before, work.after):
        return f"{work.name}: a reader sees neither the gallery before nor the one after"
    if seen == EMPTY and not (store / "lock").exists():
        return ""
    report = check(store, with_photos=False)
    if kinds := {damage.kind for damage in report.damages} - HARMLESS:
        return f"{work.name}: check finds {', '.join(sorted(kinds))}"
    if report.readable_as_whole == (seen == EMPTY):
        return f"{work.name}: check says readable {report.readable_as_whole}, reading says otherwise"
    return ""


def trouble_after_end(work: Work, store: Path) -> str:
    """What does not hold for a store on which the work was done to its end; "" for nothing."""
    if view(store) != work.after:
        return f"{work.name}: done again, the gallery is not what undisturbed work gives"
    if damages := check(store).damages:
        return f"{work.name}: done again, check finds {damages[0].message}"
    gallery = open_gallery(store)
    if work.name != "repair" and (gallery.index is None or not gallery.index.covered.all()):
        return f"{work.name}: done again, the index does not cover every photo"
    if left := list(store.rglob("*.part*")):
        return f"{work.name}: done again, {left[0].name} is left"
    return ""
