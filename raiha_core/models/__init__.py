"""Harmonizers: networks, their parts, and the presets that name them."""
