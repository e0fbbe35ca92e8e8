"""Picture files: one module for each format, what they declare of colours, and what a file carries."""
