"""Reference lists, made by our own retrieval."""
