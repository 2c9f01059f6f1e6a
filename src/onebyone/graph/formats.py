"""What a file is that is no ONNX model, told by what is in it, and what to do about it.

    first bytes, names in a zip, files in a folder ──▶ one line: what it is, how to export it

Nothing is unpickled, unpacked or believed of a file's name.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress

__all__ = ["HEAD", "foreign"]

HEAD = 4096
"""Bytes from the beginning of a file that tell what it is."""

_TORCH = "torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True)"
_TENSORFLOW = "python -m tf2onnx.convert --{} {} --output model.onnx"
_KERAS = "keras.saving.load_model(path).export('model.onnx', format='onnx')"
_UNPACK = "unpack it and give the .onnx file"
_CHECKPOINT = "a PyTorch checkpoint, which holds weights or a pickled module"
_LOAD = f"load it in Python and export: {_TORCH}"


def foreign(path: str) -> str | None:
    """What is at `path`, where it is something known that is no ONNX model; else None.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([28, 0, 0, 0]) + b"TFL3")
    ...     foreign(path)[:46]
    'a TensorFlow Lite model, wanted an ONNX model:'
    """
    answer: tuple[str, str] | None = None
    with suppress(OSError):
        if os.path.isdir(path):
            answer = _folder(os.listdir(path))
        else:
            with open(path, "rb") as file:
                answer = _file(path, file.read(HEAD))
    return None if answer is None else f"{answer[0]}, wanted an ONNX model: {answer[1]}"


# Not implemented: a compression that the library does not know.
_DAMAGED = (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error)


def _file(path: str, head: bytes) -> tuple[str, str] | None:
    if head[:4] == b"PK\3\4":
        with suppress(*_DAMAGED), zipfile.ZipFile(path) as archive:
            return _zip(archive.namelist())
        return "a zip archive that is cut short or damaged", "download or export it again"
    return next((row[1:] for row in _FILES if row[0](head)), None)


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


def _has(magic: bytes, at: int) -> Callable[[bytes], bool]:
    return lambda head: head[at : at + len(magic)] == magic


def _is_safetensors(head: bytes) -> bool:
    """A length in eight bytes, then JSON that begins with a name."""
    length = int.from_bytes(head[:8], "little")
    # Any eight bytes are a length: one of more than 128 MiB is none of a list of names.
    return 2 <= length < 1 << 27 and re.match(rb'\{\s*("|\})', head[8:64]) is not None


def _is_ir(head: bytes) -> bool:
    return head.startswith(b"<?xml") and re.search(rb"<net[\s>]", head) is not None


def _is_page(head: bytes) -> bool:
    return re.match(rb"\s*<(!doctype html|html|head)\b", head, re.IGNORECASE) is not None


def _is_text(head: bytes) -> bool:
    return re.match(rb"\s*(<\s*)?ir_version\s*:", head) is not None


def _is_graphdef(head: bytes) -> bool:
    """The first node of a frozen graph, or the version of a saved one and what follows."""
    frozen = head[:1] == b"\n" and re.search(rb"\x12(\x0bPlaceholder|\x05Const|\x04NoOp)", head)
    return bool(frozen) or head[:3] == b"\x08\x01\x12"


def _is_metadata(head: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        return isinstance(json.loads(head), dict)
    return False


_FILES: Sequence[tuple[Callable[[bytes], bool], str, str]] = (
    (_begins(b"version https://git-lfs"), "a pointer of Git LFS, not the file",
     "run `git lfs pull`, or download it whole"),
    (_is_page, "a web page", "download the file itself, not the page about it"),
    (_is_text, "ONNX as text", "onnx.save(onnx.load(path, format='onnxtxt'), 'model.onnx')"),
    (_is_ir, "an OpenVINO model", "convert the model that it was made from"),
    (_has(b"TFL3", 4), "a TensorFlow Lite model", _TENSORFLOW.format("tflite", "model.tflite")),
    (_has(b"ORTM", 4), "a model in ONNX Runtime's own format (.ort)",
     "give the .onnx file that it was made from"),
    (_begins(b"\x89HDF\r\n\x1a\n"), "a Keras model, or another HDF5 file", _KERAS),
    (_begins(b"GGUF"), "a GGUF file of llama.cpp", "export the PyTorch model that it was made of"),
    (_begins(b"\x1f\x8b"), "compressed by gzip", "unpack it first: gunzip"),
    (_begins(b"BZh"), "compressed by bzip2", "unpack it first: bunzip2"),
    (_begins(b"\xfd7zXZ"), "compressed by xz", "unpack it first: unxz"),
    (_begins(b"\x28\xb5\x2f\xfd"), "compressed by zstd", "unpack it first: unzstd"),
    (_begins(b"7z\xbc\xaf", b"Rar!"), "an archive", _UNPACK),
    (_has(b"ustar", 257), "a tar archive", _UNPACK),
    (_begins(b"\x93NUMPY"), "a NumPy array", "give the model; arrays go with --data, as .npz"),
    # Before torch 1.6: a pickle of its magic number.
    (_begins(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"), _CHECKPOINT, _LOAD),
    (_begins(*(bytes([0x80, version]) for version in range(2, 6))), "a Python pickle",
     f"load it in Python if you trust it, and export: {_TORCH}"),
    (_is_safetensors, "weights alone (safetensors), which hold no network",
     f"load them into the PyTorch module and export: {_TORCH}"),
    (_is_graphdef, "a TensorFlow graph", _TENSORFLOW.format("saved-model", "FOLDER")),
    (_is_metadata, "JSON", "give the .onnx file"),
)  # fmt: skip
"""What the first bytes say, what that is, what to do: the first row that holds counts."""


def _zip(names: Sequence[str]) -> tuple[str, str]:
    return next((row[1:] for row in _ZIPS if any(re.search(row[0], n) for n in names)), _ARCHIVE)


_ARCHIVE = "a zip archive", _UNPACK

_ZIPS: Sequence[tuple[str, str, str]] = (
    (r"(^|/)(archive_format|serialized_exported_program\.json|models/\w+\.json)$",
     "a program of torch.export (.pt2)",
     "torch.onnx.export(torch.export.load(path), dynamo=True).save('model.onnx')"),
    (r"(^|/)code/.*\.py$", "a TorchScript module",
     "load it with torch.jit.load and export: torch.onnx.export(model, (example,), "
     "'model.onnx', dynamo=False)"),
    (r"(^|/)data\.pkl$", _CHECKPOINT, _LOAD),
    (r"^model\.weights\.h5$", "a Keras model", _KERAS),
    (r"\.onnx$", "a zip archive with an .onnx file in it", _UNPACK),
    (r"\.npy$", "arrays of NumPy (.npz)", "give the model first; arrays go with --data"),
)  # fmt: skip
"""A name in a zip, what that is, what to do."""


def _folder(names: Sequence[str]) -> tuple[str, str] | None:
    models = sorted(name for name in names if name.endswith(".onnx"))
    if models:
        return "a folder", f"name a file in it, like {models[0]}"
    return next((row[1:] for row in _FOLDERS if row[0] in names), None)


_HUGGING_FACE = "a model of Hugging Face", "optimum-cli export onnx --model FOLDER onnx/"

_FOLDERS = (
    ("saved_model.pb", "a SavedModel of TensorFlow", _TENSORFLOW.format("saved-model", "FOLDER")),
    ("model.safetensors", *_HUGGING_FACE),
    ("pytorch_model.bin", *_HUGGING_FACE),
    ("Manifest.json", "a Core ML package", "export the model that it was made from"),
)
"""A file in a folder, what that is, what to do."""
