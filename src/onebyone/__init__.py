"""onebyone: the algebra of 1x1 convolutions, made usable."""
