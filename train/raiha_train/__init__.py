"""Training and evaluation of Raiha: everything that runs before and beside the core."""
