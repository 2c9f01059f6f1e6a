"""`python -m onebyone`: the command line, for where the program is not on the path."""

from __future__ import annotations

from onebyone.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
