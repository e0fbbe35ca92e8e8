"""A table of named damages: what `check` must say, and what `repair` must keep."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raiha_core.gallery import journal
from raiha_core.gallery.build import add, build
from raiha_core.gallery.check import check
from raiha_core.gallery.info import info
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, digest, tree, write_photo

pytestmark = pytest.mark.usefixtures("small_shards")


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])


def restate(place: Path, field: str, value: str) -> None:
    """One field of spec.json as a flipped bit or a hand would leave it: readable, and wrong."""
    spec = json.loads((place / "spec.json").read_text())
    assert spec["spec"][field] != value
    spec["spec"][field] = value
    (place / "spec.json").write_text(json.dumps(spec))


def middle(place: Path) -> Path:
    return place / "shards" / "000001.safetensors"


def lose_manifest_and_spec(place: Path) -> None:
    (place / "manifest.jsonl").unlink()
    (place / "spec.json").unlink()


def leave_orphan(place: Path) -> None:
    shutil.copy(middle(place), place / "shards" / "000007.safetensors")


def leave_parts(place: Path) -> None:
    (place / "shards" / ".000009.77.part.safetensors").write_bytes(b"half")
    (place / ".manifest.77.part.jsonl").write_bytes(b"half")


@dataclass(frozen=True)
class Case:
    """One damage. The store has 11 photos in shards of 4, 4 and 2 rows; two equal photos share a row of
    the middle one, which therefore holds 5 photos."""

    name: str
    damage: Callable[[Path], object]
    kinds: set[str]
    readable: bool = False  # as a whole, before the repair
    kept: int = 11  # photos after the repair
    unfinished: bool = False  # after the repair


CASES = [
    Case("nothing", lambda place: None, set(), readable=True),
    Case("shard cut", lambda place: cut(middle(place), 0.5), {"shard-truncated"}, kept=6),
    Case("shard emptied", lambda place: cut(middle(place), 0), {"shard-truncated"}, kept=6),
    Case("shard longer", lambda place: middle(place).write_bytes(middle(place).read_bytes() + b"x"),
         {"shard-truncated"}, kept=6),
    Case("header byte", lambda place: flip(middle(place), 0.01), {"shard-damaged"}, kept=6),
    Case("first number", lambda place: flip(middle(place), 0.6), {"shard-damaged"}, kept=6),
    Case("last byte", lambda place: flip(middle(place), 0.9999), {"shard-damaged"}, kept=6),
    Case("shard missing", lambda place: middle(place).unlink(), {"shard-missing"}, kept=6),
    Case("all shards missing", lambda place: shutil.rmtree(place / "shards"), {"shard-missing"}, kept=0),
    # the last batch only says that the build is over: without it nobody knows
    Case("manifest tail", lambda place: cut(place / "manifest.jsonl", 0.999), {"manifest-torn", "unfinished"},
         unfinished=True),
    Case("manifest half", lambda place: cut(place / "manifest.jsonl", 0.5),
         {"manifest-torn", "unfinished", "unlisted-shard"}, unfinished=True),
    Case("manifest byte", lambda place: flip(place / "manifest.jsonl", 0.5),
         {"manifest-damaged", "unlisted-shard"}),
    Case("manifest missing", lambda place: (place / "manifest.jsonl").unlink(),
         {"manifest-missing", "unlisted-shard"}, unfinished=True),
    Case("manifest emptied", lambda place: cut(place / "manifest.jsonl", 0),
         {"manifest-missing", "unlisted-shard"}, unfinished=True),
    Case("spec missing", lambda place: (place / "spec.json").unlink(), {"spec-missing"}),
    Case("spec cut", lambda place: cut(place / "spec.json", 0.5), {"spec-damaged"}),
    Case("spec of nonsense", lambda place: (place / "spec.json").write_text("[1]"), {"spec-damaged"}),
    Case("both missing", lose_manifest_and_spec,
         {"manifest-missing", "spec-missing", "unlisted-shard"}, unfinished=True),
    Case("shard nobody names", leave_orphan, {"unlisted-shard"}, readable=True),
    Case("half-written files", leave_parts, {"leftover-file"}, readable=True),
    Case("calibration cut", lambda place: (place / "calibration.json").write_text("{"),
         {"calibration-damaged"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_damage_is_found_and_mended(place, photos, case):
    whole = open_gallery(place)
    everything, features = digest(whole), {p.id: whole.gather([n]) for n, p in enumerate(whole.photos)}
    case.damage(place)
    before = tree(place)
    found = check(place)
    assert {damage.kind for damage in found.damages} == case.kinds
    assert all(damage.message and damage.where for damage in found.damages)
    assert found.readable_as_whole is case.readable
    assert tree(place) == before  # looking changes nothing
    if not case.readable and case.kinds != {"shard-damaged"}:  # opening does not read every byte
        with pytest.raises(ValueError, match=r"damaged|unfinished"):
            open_gallery(place)
    report = repair(place)
    assert report.photos == case.kept
    assert {file.id for file in report.dropped}.isdisjoint(report.recovered)
    assert len(report.dropped) == 11 - case.kept
    assert bool(report.actions) == bool(case.kinds)
    again = {damage.kind for damage in check(place).damages}
    assert again == ({"unfinished"} if case.unfinished else set())
    kept = open_gallery(place, allow_partial=case.unfinished)
    assert len(kept) == case.kept
    for row, photo in enumerate(kept.photos):  # what is kept is what it was
        assert photo == whole.photos[[p.id for p in whole.photos].index(photo.id)]
        assert bool((kept.gather([row]).content == features[photo.id].content).all())
    assert repair(place).actions == ()  # once is enough
    encoder = FakeEncoder()
    build(photos, place, encoder=encoder)
    assert encoder.calls == 11 - case.kept
    assert digest(open_gallery(place)) == everything
    assert check(place).sound


def test_damage_of_the_photos_is_not_damage_of_the_gallery(place, photos, tmp_path):
    (photos / "002.png").unlink()
    write_photo(photos / "005.png", seed=66, size=(20, 20))
    found = check(place)
    assert {(damage.kind, damage.where) for damage in found.damages} == {
        ("photo-missing", "002.png"),
        ("photo-changed", "005.png"),
    }
    assert found.readable_as_whole
    assert check(place, with_photos=False).sound
    assert repair(place).actions == ()
    photos.rename(tmp_path / "away")
    assert [damage.kind for damage in check(place).damages] == ["photo-folder-missing"]  # once, not 11 times
    assert len(check(place, photos=tmp_path / "away").damages) == 2


def test_the_document_names_every_damage_and_every_line(place):
    remove(place, ["002.png"])
    root = Path(__file__).parent.parent
    text = (root / "docs/store-format.md").read_text(encoding="utf-8")
    source = (root / "raiha_core/gallery/check.py").read_text(encoding="utf-8")
    damages = set(re.findall(r'Damage\(\s*"([a-z-]+)"', source))
    assert {kind for case in CASES for kind in case.kinds} < damages
    lines = {str(line["kind"]) for batch in journal.read(place / "manifest.jsonl").batches for line in batch}
    for word in sorted(damages | lines):
        assert f"`{word}`" in text, word


def test_check_shows_its_progress(place):
    seen = []
    check(place, progress=lambda *step: seen.append(step[:2]))
    assert seen == [(n, 14) for n in range(1, 15)]  # three shards, eleven photos


def test_a_gallery_without_anything_whole_is_given_up(place):
    lose_manifest_and_spec(place)
    for path in (place / "shards").iterdir():
        cut(path, 0.5)
    with pytest.raises(ValueError, match=r"cannot be repaired: neither .* nor any shard is whole"):
        repair(place)


def test_a_folder_that_is_no_gallery_is_left_alone(tmp_path):
    (tmp_path / "plain").mkdir()
    for look in (check, repair, info):
        with pytest.raises(ValueError, match="plain is not a gallery"):
            look(tmp_path / "plain")
    assert list((tmp_path / "plain").iterdir()) == []


def test_repair_reclaims_the_space_of_dead_photos(place, photos):
    before = info(place)
    remove(place, ["00?.png", "night/*"])
    whole = digest(open_gallery(place))
    assert info(place).in_use == 0.4  # four of ten rows; the equal pair loses one photo, not its row
    report = repair(place)
    assert any("merged" in action for action in report.actions)
    after = info(place)
    assert (after.in_use, after.shards, after.photos, after.excluded) == (0.8, 2, 4, 7)
    assert after.bytes < 0.6 * before.bytes
    assert digest(open_gallery(place)) == whole
    encoder = FakeEncoder()
    add(photos, place, encoder=encoder)
    assert encoder.calls == 6  # their rows are gone for good


def test_many_small_shards_are_merged(photos, tmp_path):
    place = tmp_path / "store"
    files = sorted(photos.rglob("*.png"))
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(photos, away / "photos")
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(away / "photos" / path.relative_to(photos), path)
        build(photos, place, encoder=FakeEncoder())
    whole = digest(open_gallery(place))
    assert info(place).shards == 10
    repair(place)
    assert info(place).shards == 3
    assert digest(open_gallery(place)) == whole
    assert check(place).sound


def test_info_tells_what_there_is(place, photos):
    found = info(place)
    assert (found.finished, found.being_written, found.photos, found.expected) == (True, False, 11, 11)
    assert (found.shards, found.duplicates, found.in_use, found.bad) == (3, 1, 1.0, ())
    assert found.bytes == sum(path.stat().st_size for path in (place / "shards").iterdir())
    assert found.folders == (str(photos),)
    assert found.spec["name"] == "fake-3-8"
    assert json.loads(json.dumps(found.to_json()))["photos"] == 11
    (photos / "bad.png").write_bytes(b"")
    build(photos, place, encoder=FakeEncoder())
    assert [file.id for file in info(place).bad] == ["bad.png"]


@pytest.mark.parametrize(("field", "value"), [("encoder", "fakf"), ("weights", "f" * 16), ("layer", "nonf")])
def test_a_spec_of_another_space_than_the_shards_is_found_and_mended(place, field, value):
    before, whole = (place / "spec.json").read_bytes(), digest(open_gallery(place))
    restate(place, field, value)
    (damage,) = check(place).damages
    assert (damage.kind, damage.where) == ("spec-damaged", "spec.json")
    assert f"{field}: {value} != " in damage.message
    assert repair(place).actions == ("restored spec.json from a shard",)
    assert (place / "spec.json").read_bytes() == before
    assert check(place).sound
    assert digest(open_gallery(place)) == whole
