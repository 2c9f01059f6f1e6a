"""Each rewrite by itself: what it replaced and what it put there, compared in float64."""
