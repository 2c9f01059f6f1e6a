"""Single maps: those of low rank as two."""
