"""Scan: a network slid over images larger than memory."""
