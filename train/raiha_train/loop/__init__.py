"""One run: what it starts with, its steps, and what it leaves behind."""
