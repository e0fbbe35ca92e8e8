"""What an experiment trains on and is validated on: from folders and lists to two feeds.

One process of a machine packs what is not packed yet; the others wait and read. Validation rows are held out
by group (`photos.in_validation`) and have a seed of their own, so that all runs meet the same pictures.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from tqdm import tqdm

from raiha_core.data import iharmony4
from raiha_core.data.item import Triple
from raiha_core.data.raharmony4 import TRAIN_REFERENCES, Listed, listed_triples, read_references
from raiha_core.features.encoders import Encoder, build_encoder

from ..experiment import Experiment, ReferenceShares
from .augment import CropConfig
from .cache import PhotoCache, Photos, UnpackedPhotos, cache_folder, open_cache
from .feed import Feed, ReferenceBank
from .made_once import is_whole
from .photos import PhotoRow, fingerprint, in_validation, read_photos
from .recolour import listed_lights
from .reference_features import StoredFeatures, feature_bytes, feature_folder, open_features
from .synthesis import Synthesis

SCENES = Path(__file__).resolve().parents[3] / "assets" / "scenes"
VALIDATION_SEED = 1_000_003


class First(Protocol):
    """What is needed of an Accelerator: which process of a machine packs."""

    is_local_main_process: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """Both feeds, and what a weight file says about them."""

    training: Feed
    validation: Feed | None  # None where the config holds nothing out
    encoder: Encoder | None
    fingerprint: str  # changes whenever a photo, a mask or a list does
    about: str
    licence: str
    disk: tuple[str, ...] = ()  # what is packed or still to be packed, in words

    @property
    def shown(self) -> Feed:
        """What samples are drawn from: held-out pictures, else the whole pictures of training."""
        if self.validation is not None:
            return self.validation
        t = self.training
        e = for_validation(t.experiment)
        return Feed(
            e,
            t.cache,
            t.rows,
            t.device,
            composites=t.composites,
            truth_of=t.truth_of,
            synthesis=t.synthesis,
            bank=t.bank,
            encoder=t.encoder,
        )


def open_training_data(
    experiment: Experiment,
    *,
    data: Path | None,
    illuminants: Path | None,
    lists: Path | None,
    cache: Path,
    encoder_weights: Path | None = None,
    device: torch.device,
    first: First,
    look: bool = False,
) -> TrainingData:
    """The feeds of an experiment.

    Args:
        data: iHarmony4's root, or a folder of photos; None: the photos that come with the project.
        illuminants: CCHarmony's folder, where the config gives that family a share.
        encoder_weights: of the config's encoder, where it does not come with the packages.
        lists: reference lists, where the config gives retrieved references a share; None: the authors'
            IHD_train_all.jsonl where it lies in `data`.
        look: only to see the first pictures: nothing is packed, no feature is computed.
    Raises: ValueError naming the folder, list or share that is missing or does not fit.
    """
    made = experiment.source == "synthesis"
    needs_lists = experiment.references.retrieved > 0 or experiment.source == "raharmony4"
    if lists is None and needs_lists and data is not None and (data / TRAIN_REFERENCES).is_file():
        lists = data / TRAIN_REFERENCES  # the authors'
    if data is None and not made:
        raise ValueError(f"'{experiment.name}' trains on {experiment.source}: give its root with --data")
    if experiment.references.retrieved > 0 and lists is None:
        raise ValueError(
            f"'{experiment.name}' gives retrieved references a share: give their list with --lists"
        )
    if experiment.source == "raharmony4" and lists is None:
        raise ValueError(f"'{experiment.name}' trains on the composites of a list: give it with --lists")
    encoder = None
    if experiment.encoder:
        encoder = build_encoder(experiment.encoder, weights=encoder_weights, device=device)
    packer = _Packer(experiment, cache, mine=first.is_local_main_process, look=look)
    if made:
        return _from_photos(experiment, data or SCENES, illuminants, lists, encoder, device, packer)
    assert data is not None
    return _from_composites(experiment, data, lists, encoder, device, packer)


class _Packer:
    """Opens caches with the experiment's settings, with a bar on a terminal; or only looks at the photos."""

    def __init__(self, experiment: Experiment, folder: Path, *, mine: bool, look: bool) -> None:
        self.experiment, self.folder, self.mine, self.look = experiment, folder, mine, look
        self.disk: list[str] = []

    def open(self, rows: Sequence[PhotoRow], what: str) -> Photos:
        size = self.experiment.packed
        if self.look:
            if not rows:
                raise ValueError("there is no photo to pack")
            seen = UnpackedPhotos(tuple(rows), size, fingerprint(list(rows)), copies=self.experiment.copies)
            target = cache_folder(seen.fingerprint, size, self.folder, seen.copies)
            self._note(f"{len(rows):,} {what}", len(rows) * size * size * 4, target)
            return seen
        with self._bar(len(rows), f"pack {what}") as bar:
            found = open_cache(
                rows,
                size,
                self.folder,
                allowed_bad=self.experiment.allowed_bad,
                progress=lambda done, _: bar.update(done - bar.n),
                mine=self.mine,
                copies=self.experiment.copies,
            )
        if found.skipped and self.mine:
            tqdm.write(f"{len(found.skipped)} of {len(rows)} {what} cannot be read and are left out:")
            for _, reason in found.skipped[:10]:
                tqdm.write(f"  {reason}")
        return found

    def features(self, cache: Photos, rows: Sequence[int], encoder: Encoder) -> StoredFeatures | None:
        """Stored features of rows of a cache; None where this is only a look."""
        size = self.experiment.size
        if self.look:
            target = feature_folder(cache, rows, encoder, self.folder, size)
            self._note(f"features of {len(rows):,} photos", feature_bytes(len(rows), encoder), target)
            return None
        assert isinstance(cache, PhotoCache)
        with self._bar(len(rows), "features of references") as bar:
            return open_features(
                cache,
                rows,
                encoder,
                self.folder,
                size,
                progress=lambda done, _: bar.update(done - bar.n),
                mine=self.mine,
            )

    def _bar(self, total: int, text: str) -> tqdm:
        return tqdm(total=total, desc=text, unit="img", disable=not self.mine or not sys.stderr.isatty())

    def _note(self, what: str, size: int, target: Path) -> None:
        state = "there" if is_whole(target) else "to be made"
        self.disk.append(f"{what} {size / 2**30:.2f} GiB ({state})")


def split(rows: Sequence[PhotoRow], experiment: Experiment) -> tuple[list[int], list[int]]:
    """Indices of the training and of the held-out rows; a share of 0 holds none out.

    Raises: ValueError where either is empty otherwise.
    """
    if experiment.validation_share == 0:
        return list(range(len(rows))), []
    held = [in_validation(row, experiment.validation_share) for row in rows]
    training = [i for i, out in enumerate(held) if not out]
    validation = [i for i, out in enumerate(held) if out]
    if len({rows[i].group or rows[i].image.name for i in validation}) == 1:
        print(
            f"a validation share of {experiment.validation_share} holds out one photo or scene; its score "
            "says nothing of others",
            file=sys.stderr,
        )
    if not training or not validation:
        raise ValueError(
            f"a validation share of {experiment.validation_share} leaves {len(training)} of {len(rows)} "
            f"pictures to train on and {len(validation)} to validate on"
        )
    return training, validation


def for_validation(experiment: Experiment) -> Experiment:
    """The experiment as validation sees it: own seed, whole pictures, no reference made from the truth."""
    shares = experiment.references
    kept = (
        replace(shares, augmented=0.0)
        if shares.retrieved
        else ReferenceShares(none=1, retrieved=0, augmented=0)
    )
    return replace(experiment, seed=VALIDATION_SEED, crop=CropConfig(smallest=1.0, flip=0.0), references=kept)


def _from_photos(
    experiment: Experiment,
    root: Path,
    illuminants: Path | None,
    lists: Path | None,
    encoder: Encoder | None,
    device: torch.device,
    packer: _Packer,
) -> TrainingData:
    lights = open_illuminants(experiment, illuminants)
    synthesis = Synthesis(experiment.synthesis, lights)
    cache = packer.open(read_photos(root), "photos")
    training, validation = split(cache.rows, experiment)
    if lists is not None:
        raise ValueError(f"'{experiment.name}' makes its composites from photos; it takes no reference lists")
    feeds = [
        Feed(e, cache, rows, device, synthesis=synthesis, encoder=encoder)
        for e, rows in ((experiment, training), (for_validation(experiment), validation))
        if rows or e is experiment
    ]
    return TrainingData(
        training=feeds[0],
        validation=feeds[1] if validation else None,
        encoder=encoder,
        fingerprint="-".join(
            [cache.fingerprint, *([] if lights is None else [_digest(lights.numpy().tobytes())])]
        ),
        about=f"recolourings of {len(training)} photos (or masks in them) of '{root.name}', "
        f"{len(validation) or 'none'} more held out",
        licence="that of the photos it was trained on: see data",
        disk=tuple(packer.disk),
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def open_illuminants(experiment: Experiment, folder: Path | None) -> torch.Tensor | None:
    """CCHarmony's measured lights of its training list, where the experiment gives them a share.

    Raises: ValueError where it does and there is no folder, or what the folder lacks.
    """
    if experiment.synthesis.illuminant == 0:
        return None
    if folder is None:
        raise ValueError(
            f"'{experiment.name}' gives measured illuminants a share of {experiment.synthesis.illuminant}: "
            "give CCHarmony's folder with --illuminants, or copy the config and set the share to 0"
        )
    return listed_lights(folder, "train")


def _from_composites(
    experiment: Experiment,
    root: Path,
    lists: Path | None,
    encoder: Encoder | None,
    device: torch.device,
    packer: _Packer,
) -> TrainingData:
    listed = read_references(lists, empty=True) if lists is not None else []
    if experiment.source == "raharmony4":
        items = listed_triples(root, listed)
    else:
        items = iharmony4.read_iharmony4(root, iharmony4.TRAIN_LIST)
    if not items:
        raise ValueError(f"the list of '{root}' is empty")
    composites = packer.open([composite_row(item) for item in items], "composites")
    reals = packer.open(real_rows(root, items, listed), "real photos")
    place = {row.id: i for i, row in enumerate(reals.rows)}
    real_of = {item.composite: item.real for item in items}
    # -1: a composite whose real photo could not be read
    truth_of = [place.get(real_of[row.id], -1) for row in composites.rows]
    training, validation = (
        [i for i in rows if truth_of[i] >= 0] for rows in split(composites.rows, experiment)
    )
    bank = None
    if experiment.references.retrieved > 0:
        bank = open_bank(experiment, composites, reals, listed, encoder, packer)
    feeds = [
        Feed(e, reals, rows, device, composites=composites, truth_of=truth_of, bank=bank, encoder=encoder)
        for e, rows in ((experiment, training), (for_validation(experiment), validation))
        if rows or e is experiment
    ]
    marks = [composites.fingerprint, reals.fingerprint, *([_digest(lists.read_bytes())] if lists else [])]
    return TrainingData(
        training=feeds[0],
        validation=feeds[1] if validation else None,
        encoder=encoder,
        fingerprint="-".join(marks),
        about=f"{len(training)} composites of {experiment.source}, {len(validation) or 'none'} more held out",
        licence="iHarmony4 is for research; its photos keep their own terms",
        disk=tuple(packer.disk),
    )


def composite_row(item: Triple) -> PhotoRow:
    """A composite with its mask; the group is its real photo, at Hday2night its camera."""
    image = iharmony4.parse_name(item.composite).image
    group = iharmony4.camera(image) if item.subset == "Hday2night" else image
    return PhotoRow(id=item.composite, image=item.composite_path, mask=item.mask_path, group=group)


def real_rows(root: Path, items: Sequence[Triple], listed: Sequence[Listed]) -> list[PhotoRow]:
    """Every real photo that is a truth or a reference, once."""
    paths = {item.real for item in items} | {path for entry in listed for path in entry.refs}
    return [PhotoRow(id=path, image=root / path, mask=None, group=_group_of(path)) for path in sorted(paths)]


def _group_of(real: str) -> str:
    stem = Path(real).stem
    return iharmony4.camera(stem) if real.startswith("Hday2night/") else stem


def open_bank(
    experiment: Experiment,
    composites: Photos,
    reals: Photos,
    listed: Sequence[Listed],
    encoder: Encoder | None,
    packer: _Packer,
) -> ReferenceBank:
    """The photos that lists name, joined by id, and their stored features.

    Held-out scenes are no references: what a run is validated on must not teach it.
    Raises: ValueError where no composite has a reference.
    """
    place = {row.id: i for i, row in enumerate(reals.rows)}
    allowed = [not in_validation(row, experiment.validation_share) for row in reals.rows]
    known = {row.id for row in composites.rows}
    joined = {}
    for entry in listed:
        rows = [place[path] for path in entry.refs if path in place and allowed[place[path]]]
        if entry.input in known and rows:
            joined[entry.input] = rows
    if not joined:
        raise ValueError(
            f"none of the list's {len(listed)} composites is among the {len(known)} of the data: "
            "are they lists for training?"
        )
    content = None
    if encoder is not None:
        used = sorted({row for rows in joined.values() for row in rows})
        content = packer.features(reals, used, encoder)
    return ReferenceBank(reals, joined, content)
