"""References matched anew: of another feature space, or given by hand; the others are left as they are."""

from dataclasses import replace

import torch

from raiha_core.features.encoders import build_encoder
from raiha_core.features.references import Reference
from raiha_core.features.spec import differences
from raiha_core.gallery.memory import memory_gallery
from raiha_core.harmonizer import shipped_gate
from raiha_core.images import read_mask, read_picture
from raiha_core.mask_meaning import understand
from raiha_core.pipeline import harmonize, harmonize_with_beliefs
from raiha_core.retrieval.rematch import in_space
from raiha_core.retrieval.search import references, search
from tests.golden.make_node_ids import ROOT


def scene():
    name = ROOT / "assets/demo/grapefruit"
    composite = read_picture(f"{name}.png").pixels
    return composite, understand(composite, read_mask(f"{name}_mask.png")).mask


def test_pictures_of_another_encoder_or_of_none_are_matched_by_the_gates_own():
    # Oracle: a search with the gate's encoder in a gallery of the same picture.
    composite, mask = scene()
    spec, encoder = shipped_gate().spec, build_encoder("lite0")
    picture = read_picture(next((ROOT / "assets/scenes/photos").glob("palapeli_citrus*"))).pixels
    (own,) = references(search(memory_gallery([picture], encoder), composite, mask, encoder=encoder))
    other = replace(own, features=replace(own.features, spec=replace(spec, encoder="another")), id="other")
    given = Reference(id="given", image=picture)
    kept, foreign, bare = in_space([[own, other, given]], composite, mask, spec)[0]
    assert kept is own
    for found in (foreign, bare):
        assert found.content_matches == own.content_matches
        assert found.illumination_matches == own.illumination_matches
        assert found.similarity_margin == own.similarity_margin
        assert differences(found.features.spec, spec) == []
    assert bare.score is None
    done = harmonize_with_beliefs(composite, mask, [given])
    assert done.beliefs[0][0].largest > 0.05
    torch.testing.assert_close(done.image, harmonize(composite, mask, [own]), atol=1e-4, rtol=0)


def test_nothing_is_encoded_where_all_were_matched_by_the_gates_encoder():
    composite, mask = scene()
    found = Reference(id="found", image=composite, score=0.2)  # searched for, and nothing matched
    rows = [[found], ()]
    both = (torch.cat((part, part)) for part in (composite, mask))
    assert in_space(rows, *both, shipped_gate().spec) == rows
