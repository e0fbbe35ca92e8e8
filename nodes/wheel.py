"""The widgets of Harmonize that say what is made of the harmonizer's answer: `controls.Controls`."""

from ..raiha_core.controls import BY_GATE, BY_HARMONIZER, MOST, UNLIMITED, Controls
from ..raiha_core.mask_shape import LARGEST
from .compat import io


def _number(name: str, default: float, least: float, most: float, step: float, tooltip: str) -> io.Input:
    return io.Float.Input(
        name,
        default=default,
        min=least,
        max=most,
        step=step,
        optional=True,
        advanced=True,
        tooltip=tooltip,
    )


def _pixels(name: str, least: int, tooltip: str) -> io.Input:
    return io.Int.Input(
        name, default=0, min=least, max=LARGEST, optional=True, advanced=True, tooltip=tooltip
    )


def control_inputs() -> list[io.Input]:
    """In the order of `Controls`; each has that class's default."""
    return [*_of_the_change(), *_of_the_region()]


def _of_the_change() -> list[io.Input]:
    return [
        _number(
            "light",
            1.0,
            0.0,
            MOST,
            0.05,
            "Of the change of lightness: 0 keeps the object's own, 2 twice as much.",
        ),
        _number(
            "colour",
            1.0,
            0.0,
            MOST,
            0.05,
            "Of the change of colour: 0 keeps the object's own, 2 twice as much.",
        ),
        _number(
            "contrast",
            1.0,
            0.0,
            MOST,
            0.05,
            "Of the change of contrast: 0 keeps the object's own, 2 twice as much.",
        ),
        _number(
            "reference_strength",
            BY_GATE,
            -1.0,
            1.0,
            0.05,
            "How far references are followed: below 0 as far as believed, 0 not at all, 1 all the way.",
        ),
        _number(
            "limit",
            UNLIMITED,
            0.0,
            UNLIMITED,
            1.0,
            "The furthest that a colour may move, in Lab units (black to white: 100); 100 limits nothing.",
        ),
        io.Boolean.Input(
            "keep_hue",
            default=Controls().keep_hue,
            optional=True,
            advanced=True,
            tooltip="The object keeps its own hues: colours become stronger or weaker, but not other ones.",
        ),
    ]


def local_light_input() -> io.Input:
    """The last of Harmonize's inputs, which are never reordered."""
    return _number(
        "local_light",
        0.0,
        0.0,
        MOST,
        0.05,
        "Turns the light across the object to that of the background along its border, where one side is "
        "too bright: 0 never, 1 as far as it is likely right, 2 all the way.",
    )


def _of_the_region() -> list[io.Input]:
    return [
        _pixels(
            "grow",
            -LARGEST,
            "Pixels by which the mask is grown; negative shrinks it. Outside of it nothing changes.",
        ),
        _pixels(
            "feather", 0, "Width in pixels of the soft border that the mask gets, half of it to each side."
        ),
        _number(
            "context",
            Controls().context,
            BY_HARMONIZER,
            100.0,
            0.25,
            "How much around the object is looked at, in lengths of its longer side; 0 is the whole picture. "
            "-1 looks closer at small objects where the harmonizer sees better so.",
        ),
        io.Mask.Input(
            "background",
            optional=True,
            tooltip="White marks the background to fit; without it all that is not object. "
            "Networks know no such mask: for them the rest is painted over with the background's colours.",
        ),
    ]


def controls_of(
    light: float,
    colour: float,
    contrast: float,
    reference_strength: float,
    limit: float,
    keep_hue: bool,
    grow: int,
    feather: int,
    context: float,
    local_light: float,
) -> Controls:
    return Controls(
        light=light,
        colour=colour,
        contrast=contrast,
        reference_strength=BY_GATE if reference_strength < 0 else reference_strength,
        limit=limit,
        keep_hue=keep_hue,
        grow=grow,
        feather=feather,
        context=BY_HARMONIZER if context < 0 else context,
        local_light=local_light,
    )
