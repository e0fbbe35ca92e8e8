"""The field's networks in Table I: which ruler each is measured by, and the published figure beside it.

Where a method's scores are published image by image, their mean over the pictures at hand is that figure;
else the row that the paper prints, with the protocol it most likely used; else what its authors print.
"""

from collections.abc import Collection

from raiha_core.models.presets import PRESETS

from .published import REBUILT, paper_tables
from .published_lines import peer_means
from .table_rows import RowSpec

FULL_SIZE, SMALL = "C-float", "A"
# preset -> the method of the per-image figures that is its own
PER_IMAGE = {
    "pctnet-cnn": "PCT-Net CNN",
    "pctnet-vit": "PCT-Net ViT",
    "harmonizer": REBUILT[0],
    "dccf-issam": "DCCF",
    "dccf-idih": "DCCF",
}
# preset -> the printed row, where it is not the one of the method's own name; None: no row is its
PRINTED: dict[str, str | None] = {}
# preset -> what keeps the published figure from being this network's beyond doubt
DOUBTS = {
    "dccf-issam": "on which base is not stated",
    "dccf-idih": "on which base is not stated",
    "dht": "of the network of ICCV 2021, not this one",
    "intrinsic": "of the network of CVPR 2021, not this one",
}


def network_rows() -> list[RowSpec]:
    """A row for each published network, measured as its published figure was: full size or 256 pixels."""
    return [
        RowSpec(
            title=preset.published.method,
            model=name,
            run=name,
            protocols=(FULL_SIZE if name in PER_IMAGE else SMALL,),
        )
        for name, preset in PRESETS.items()
        if preset.published is not None
    ]


def published_figure(preset: str, ids: Collection[str]) -> str:
    """The published MSE and PSNR (dB) of a network's method, as 'MSE / PSNR (protocol and pictures)'.

    The head of this file says how the figure is chosen; '' where none is known of `preset`.
    Args: ids: of the pictures at hand, over which published per-image scores are averaged.
    """
    card = PRESETS[preset].published if preset in PRESETS else None
    if card is None:
        return ""
    doubt = f"; {DOUBTS[preset]}" if preset in DOUBTS else ""
    for (method, protocol), (scores, count) in peer_means(ids).items():
        if method == PER_IMAGE.get(preset):
            return f"{scores['mse']:.2f} / {scores['psnr']:.2f} ({protocol}, per image, n {count}{doubt})"
    table = paper_tables()["1"]
    printed = PRINTED.get(preset, card.method.partition(" (")[0])
    for row in table["rows"]:
        if row["method"] == printed:
            scores, ruler = row["scores"]["average"], row["protocol"]
            means = f"{scores['mse']:.2f} / {scores['psnr']:.2f}"
            return f"{means} (printed, protocol {ruler}, n {table['count']}{doubt})"
    rulers = dict.fromkeys(name.rpartition(", ")[0] for name in card.scores)
    for ruler in rulers:
        mse, decibels = (card.scores.get(f"{ruler}, {metric}") for metric in ("MSE", "PSNR"))
        if mse is not None and decibels is not None:
            return f"{mse:.2f} / {decibels:.2f} (its authors: {ruler})"
    return ""
