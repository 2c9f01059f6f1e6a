"""The networks of winograd.py as files of LiteRT, which runs no ONNX.

    python -m venv apart && apart/bin/pip install . torch==2.13.0 litert-torch pytorchcv
    apart/bin/python benchmarks/tflite.py FOLDER            all of them
    apart/bin/python benchmarks/tflite.py FOLDER vgg16      one

In an environment of its own: the converter wants other versions than the rest. Of each network,
with the weights that winograd.py gives it, FOLDER/NAME.tflite is written by LiteRT's own converter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from winograd import NETWORKS, built


def main() -> int:
    """Write what is asked for; 1 if a network cannot be converted."""
    import litert_torch

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="*", help=", ".join(NETWORKS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.networks or NETWORKS:
        module, x = built(name)
        try:
            litert_torch.convert(module, (x,)).export(str(options.folder / f"{name}.tflite"))
        except Exception as error:  # the converter raises what it likes
            print(f"{name}: {type(error).__name__}: {error}"[:300])
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
