"""Single maps: siblings stacked or parted, low ranks factored, norms folded in."""
