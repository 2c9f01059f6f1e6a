"""A whole classifier as a network that slides over images of any size.

trace                   the classifier as an fx graph, with shapes at the original size
walk, site              from node to node, with a rule for each operation
views, positions,       the rules: flattening and reshaping, elementwise and per channel,
windows, heads          convolutions and pools, linear layers
fully_convolutional     the conversion

Where the result looks (stride, receptive field, offset) is the mathematics of `algebra.geometry`.
"""
