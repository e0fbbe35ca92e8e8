"""Readers of the data sets, and synthesis of training pairs."""
