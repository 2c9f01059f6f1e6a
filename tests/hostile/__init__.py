"""Hostile models: real ones, damaged or turned against their reader, and what must hold."""
