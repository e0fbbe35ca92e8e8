"""Weights after training: the parts that are fitted apart, and the file made ready to ship."""
