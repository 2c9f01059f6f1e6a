"""Scan: a network slid over images larger than memory. Call it: `onebyone.scan(...)`.

    source ──tile and halo──▶ ONNX Runtime ──one chunk──▶ target ──▶ marker

The call is `onebyone.scan.scan.scan`. It needs `pip install 'onebyone[scan]'`: Dask runs the tasks,
Zarr holds the maps.
"""

from __future__ import annotations

from onebyone.callable import calls

__all__: list[str] = []

calls(__name__, "onebyone.scan.scan", "scan")
