"""Channels through a whole graph: which become which, which are dead, how they are ordered."""
