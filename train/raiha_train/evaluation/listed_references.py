"""References that a list names, made ready for a harmonizer: pixels, features, matched patches."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from raiha_core.data.pictures import decode_rgb
from raiha_core.features.encoders import Encoder
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.gallery.memory import MemoryGallery, memory_gallery
from raiha_core.retrieval.search import make_query, references, search_many

from ..data.batch import as_batch

KEPT = 24  # photos whose features stay in memory: some serve 49 composites


class _Known:
    """An encoder that has its answer already: the photo is encoded once, for matching and for the model."""

    def __init__(self, features: PatchFeatures) -> None:
        self.spec = features.spec
        self.features = features

    def encode(self, images: Tensor) -> PatchFeatures:
        return self.features


class ListedReferences:
    """Loads the photos of a list, and matches their patches with a composite's."""

    def __init__(self, root: Path, encoder: Encoder) -> None:
        self.root = root
        self.encoder = encoder
        self._kept: OrderedDict[str, tuple[MemoryGallery, PatchFeatures]] = OrderedDict()

    def _gallery(self, path: str) -> tuple[MemoryGallery, PatchFeatures]:
        """A gallery of the one photo, and the photo's features."""
        if path not in self._kept:
            pixels = as_batch(decode_rgb(self.root / path)).float() / 255
            features = self.encoder.encode(pixels)
            gallery = memory_gallery([pixels], _Known(features), ids=[path], name=path)
            self._kept[path] = gallery, features
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]

    def encode(self, composite: Tensor) -> PatchFeatures:
        return self.encoder.encode(composite)

    def reference(
        self,
        path: str,
        features: PatchFeatures,
        mask: Tensor,
        by: Sequence[str] = ("both", "content"),
    ) -> Reference:
        """The photo as a reference for one composite.

        A list says that the photo fits; our encoder may disagree. Then it has the matches it has
        (content alone, or none) and the score 0 where nothing matches.
        Args: by: of the searches, the first that finds it.
        """
        gallery, own = self._gallery(path)
        query = make_query(mask.new_zeros(1, 3, *mask.shape[-2:]), mask, features=features, query_id=path)
        for asked in by:
            found = search_many(gallery, [query], by=asked, top_k=1)[0]
            if found.items:
                return references(found)[0]
        return Reference(id=path, image=gallery.load(0), score=0.0, features=own)
