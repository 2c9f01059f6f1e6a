"""Demand: positions that nobody asks for, strides and crops, are not computed."""
