"""References of every kind for recoloured objects: by these their worth is measured, and the gate fitted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from raiha_core.data.pictures import decode_mask, decode_rgb
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.gallery.memory import memory_gallery
from raiha_core.gallery.protocol import Gallery
from raiha_core.retrieval.request import LIKENESS
from raiha_core.retrieval.search import Exclusion, Query, make_query, references, search_many

from ..data.augment import self_references
from ..data.batch import as_batch
from ..data.photos import PhotoRow, in_validation
from ..data.recolour import relight
from ..data.synthesis import Synthesis
from ..evaluation.listed_references import ListedReferences
from ..prepare.gather_photos import NEAR, brightness_signs
from ..seeds import generator

REFERENCE_KINDS = (
    "other crop",
    "relit crop",
    "own shoot",
    "own four",
    "own random",
    "own other light",
    "by both",
    "by content",
    "other light",
    "best four",
    "random",
    "nothing suitable",
    "gallery 100",
    "gallery 400",
    "gallery 2000",
    "relit best",
)
OWN = tuple(kind for kind in REFERENCE_KINDS if kind.startswith("own "))
HELD_OUT_SHARE = 0.07  # of photos that are held out, as in every config
OTHER_LIGHT = (0.7, 0.85)  # appearance cosines that are clearly below the threshold
ORDINARY = {"gallery 100": 100, "gallery 400": 400, "gallery 2000": 2000}  # photos drawn at random
RELIT_OF = "gallery 400"  # whose best photo is shown in another light
LOWERED = 0.05  # content threshold that nearly every photo passes
TEACHING = 0.5  # of all shoots: by these a gate learns, by the others it is judged


def shoot_teaches(row: PhotoRow) -> bool:
    """Whether a row's shoot is one to learn from; the same on every machine."""
    return bool(row.group) and in_validation(row, TEACHING, seed=1)


@dataclass(frozen=True, slots=True)
class RecolouredObject:
    """A recoloured object of a photo."""

    row: PhotoRow
    truth: Tensor  # (1, 3, H, W)
    mask: Tensor  # (1, 1, H, W)
    composite: Tensor
    features: PatchFeatures


class ReferencesOfKinds:
    """References of each kind for an object."""

    def __init__(
        self,
        gallery: Gallery,
        rows: Sequence[PhotoRow],
        encoder: ListedReferences,
        lights: Tensor | None = None,
    ) -> None:
        """Args: lights: as `recolour.load_illuminants` gives, where relit crops are asked for."""
        self.lights = lights
        self.gallery, self.listed = gallery, encoder
        self.stored = {photo.id for photo in gallery.photos}
        self.looks: dict[str, NDArray[np.uint8]] = {}
        self.groups: dict[str, set[str]] = {}
        for row in rows:
            if row.group:
                self.groups.setdefault(row.group, set()).add(row.image.name)

    def group(self, row: PhotoRow) -> list[str]:
        """All other files of the object's group, copies of its photo among them, by name."""
        return sorted(self.groups.get(row.group, set()) - {row.image.name})

    def mates(self, row: PhotoRow) -> list[str]:
        """Other *photos* of the group: a copy of the true photo under another name is no reference."""
        own = self._look(row.image.name)
        return [n for n in self.group(row) if int(np.unpackbits(self._look(n) ^ own).sum()) >= NEAR]

    def _look(self, name: str) -> NDArray[np.uint8]:
        if name not in self.looks:
            self.looks[name] = brightness_signs(Image.open(self.listed.root / name))
        return self.looks[name]

    def _alike(self, name: str, thing: RecolouredObject) -> Reference:
        """One photo as a search without thresholds gives it."""
        return self.listed.reference(name, thing.features, thing.mask, by=(LIKENESS,))

    def _shoot(self, thing: RecolouredObject) -> list[Reference]:
        """All photos of the object's own shoot, best match first."""
        found = [self._alike(name, thing) for name in self.mates(thing.row)]
        return sorted(found, key=lambda reference: -(reference.score or 0.0))  # stable: equal ones by name

    def _relit(self, thing: RecolouredObject, query: Query, g: torch.Generator) -> list[Reference]:
        """The best matching photo of the object's own shoot, in another light."""
        return self._in_another_light(self._shoot(thing)[:1], query, g)

    def _in_another_light(
        self, found: Sequence[Reference], query: Query, g: torch.Generator
    ) -> list[Reference]:
        if not found:
            return []
        assert self.lights is not None
        gallery = memory_gallery([relight(found[0].image, self.lights, g)], self.listed.encoder)
        return list(references(search_many(gallery, [query], by=LIKENESS, top_k=1)[0]))

    def _ordinary(self, thing: RecolouredObject, query: Query, count: int, seed: int) -> list[Reference]:
        """The four most alike of some photos drawn at random, a larger draw holding the smaller ones.

        None where the gallery holds too few photos of others.
        """
        own = {thing.row.image.name, *self.group(thing.row)}
        names = [photo.id for photo in self.gallery.photos if photo.id not in own]
        if len(names) < 0.9 * count:
            return []
        order = torch.randperm(len(names), generator=generator("gallery", seed, thing.row.id)).tolist()
        left_out = Exclusion(ids=[*(own & self.stored), *(names[n] for n in order[count:])])
        return list(references(search_many(self.gallery, [query], by=LIKENESS, exclude=left_out)[0]))

    def of(self, kind: str, thing: RecolouredObject, seed: int) -> list[Reference]:
        """One reference, up to four for the kinds of four, or none where the kind has none."""
        g = generator("references", seed, thing.row.id, kind)
        own = [name for name in (thing.row.image.name, *self.group(thing.row)) if name in self.stored]
        query = make_query(thing.composite, thing.mask, features=thing.features, query_id=thing.row.id)
        if kind in ("other crop", "relit crop"):
            crop = self_references(thing.truth, thing.mask, g)
            if kind == "relit crop":
                assert self.lights is not None
                crop = relight(crop, self.lights, g)
            gallery = memory_gallery([crop], self.listed.encoder)
            for by in ("both", "content"):  # as retrieval would, where both conditions can hold
                hits = search_many(gallery, [query], by=by, top_k=1)[0]
                if hits.items:
                    return list(references(hits))
            return []
        if kind in ("own shoot", "own four"):
            return self._shoot(thing)[: 4 if kind == "own four" else 1]
        if kind in ORDINARY:
            return self._ordinary(thing, query, ORDINARY[kind], seed)
        if kind == "relit best":
            best = self._ordinary(thing, query, ORDINARY[RELIT_OF], seed)[:1]
            return self._in_another_light(best, query, g)
        if kind == "own random":
            names = self.mates(thing.row)
            picked = [names[int(torch.randint(len(names), (1,), generator=g))]] if names else []
            return [self._alike(name, thing) for name in picked]
        if kind == "own other light":
            return self._relit(thing, query, g)
        if kind == "random":
            pool = sorted(self.stored - set(own))
            name = pool[int(torch.randint(len(pool), (1,), generator=g))]
            return [self.listed.reference(name, thing.features, thing.mask)]
        exclude = Exclusion(ids=own)
        if kind == "nothing suitable":  # a gallery without the photos that qualify, asked all the same
            good = search_many(self.gallery, [query], by="content", top_k=None, exclude=exclude)[0]
            rest = Exclusion(ids=[*own, *(item.photo.id for item in good.items)])
            poor = search_many(
                self.gallery, [query], by="content", top_k=4, exclude=rest, content_threshold=LOWERED
            )[0]
            return list(references(poor))
        if kind == "other light":
            hits = search_many(self.gallery, [query], by="content", top_k=40, exclude=exclude)[0]
            wider = search_many(
                self.gallery, [query], by="both", top_k=None, exclude=exclude,
                appearance_threshold=OTHER_LIGHT[0],
            )[0]  # fmt: skip
            light = {item.row: item.illumination for item in wider.items}
            rows = {item.row for item in hits.items if light.get(item.row, 0.0) < OTHER_LIGHT[1]}
            return [r for r, item in zip(references(hits), hits.items, strict=True) if item.row in rows][:1]
        by = "content" if kind == "by content" else "both"
        top = 4 if kind == "best four" else 1
        return list(references(search_many(self.gallery, [query], by=by, top_k=top, exclude=exclude)[0]))


def recoloured_objects(
    rows: Sequence[PhotoRow], synthesis: Synthesis, listed: ListedReferences, seed: int
) -> Iterator[RecolouredObject]:
    for row in rows:
        assert row.mask is not None
        truth = as_batch(decode_rgb(row.image)).float() / 255
        mask = (as_batch(decode_mask(row.mask)) > 127).float()
        if not 0.01 < float(mask.mean()) < 0.7:
            continue
        g = generator("object", seed, row.id)
        truth, composite, _ = synthesis.recolour(truth, mask, truth, mask, g)
        yield RecolouredObject(row, truth, mask, composite, listed.encode(composite))
