"""Ideas tried on what stands behind a frozen trunk: pooled features once, then heads of equal budget."""
