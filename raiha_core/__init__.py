"""Retrieval-augmented image harmonization: gallery, retrieval, networks, rendering."""

__version__ = "0.1.0"
