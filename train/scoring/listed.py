"""References that a list names, made ready for a harmonizer: pixels, features, matched patches."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor

from raiha_core.data.pictures import decode_rgb
from raiha_core.features.encoders import Encoder
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import Reference
from raiha_core.gallery.memory import MemoryGallery, memory_gallery
from raiha_core.protocols import to_tensor
from raiha_core.retrieval.search import make_query, references, search_many

KEPT = 24  # photos whose features stay in memory: some serve 49 composites


class ListedReferences:
    """Loads the photos of a list, and matches their patches with a composite's."""

    def __init__(self, root: Path, encoder: Encoder) -> None:
        self.root = root
        self.encoder = encoder
        self._kept: OrderedDict[str, MemoryGallery] = OrderedDict()

    def _gallery(self, path: str) -> MemoryGallery:
        """A gallery of the one photo."""
        if path not in self._kept:
            pixels = to_tensor(decode_rgb(self.root / path)).float() / 255
            self._kept[path] = memory_gallery([pixels], self.encoder, ids=[path], name=path)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]

    def encode(self, composite: Tensor) -> PatchFeatures:
        return self.encoder.encode(composite)

    def reference(self, path: str, features: PatchFeatures, mask: Tensor) -> Reference:
        """The photo as a reference for one composite.

        A list says that the photo fits; our encoder may disagree. Then it has the matches it has
        (content alone, or none) and the weight 0 where nothing matches.
        """
        gallery = self._gallery(path)
        query = make_query(mask.new_zeros(1, 3, *mask.shape[-2:]), mask, features=features, query_id=path)
        for by in ("both", "content"):
            found = search_many(gallery, [query], by=by, top_k=1)[0]
            if found.items:
                return references(found)[0]
        image = gallery.load(0)
        return Reference(id=path, image=image, weight=0.0, features=self.encoder.encode(image))
