"""What a scan needs comes with an extra, and Zarr 3 needs Python 3.11."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("zarr") and find_spec("dask") else ["test_*.py"]
