"""Photos on disk, searchable by patch."""
