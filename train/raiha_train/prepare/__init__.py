"""Sets of photos and of composites, made from other sets."""
