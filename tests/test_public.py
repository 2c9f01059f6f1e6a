"""The public surface: few names, sorted, documented, typed, and found in any order of import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onebyone
from tests.quick import slow_but

ROOT = Path(onebyone.__file__).parent
MODULES = sorted(
    ".".join(("onebyone", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("[!_]*.py")
)


def functions(module: str) -> list[tuple[str, object]]:
    """The functions and classes of `module.__all__` that the module defines itself."""
    home = import_module(module)
    found = [(name, getattr(home, name)) for name in home.__all__]
    return [(name, value) for name, value in found if getattr(value, "__module__", "") == module]


def test_public_names_are_few_sorted_and_there() -> None:
    assert onebyone.__all__ == sorted(onebyone.__all__)
    for name in onebyone.__all__:
        assert inspect.getdoc(getattr(onebyone, name)), name
    assert set(onebyone.__all__) <= set(dir(onebyone))


def test_unknown_name_is_an_attribute_error() -> None:
    name = "shrink"
    with pytest.raises(AttributeError, match="no attribute 'shrink'"):
        getattr(onebyone, name)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_is_public_and_documents_and_types_it(module: str) -> None:
    home = import_module(module)
    assert inspect.getdoc(home), "a module opens with what it does"
    assert all(hasattr(home, name) for name in home.__all__)
    for name, value in functions(module):
        assert inspect.getdoc(value), f"{module}.{name} has no docstring"
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
            assert not bare, f"{module}.{name}: {bare} have no type"
            assert signature.return_annotation is not signature.empty, f"{module}.{name}"


# Two names are a package and a function: each way of asking must give both, whatever came first.
WAYS = (
    "import onebyone; assert callable(onebyone.optimize)",
    "from onebyone import optimize, verify; assert callable(optimize) and callable(verify)",
    "import onebyone.verify.verify as v; assert callable(v.verify)",
    "from onebyone.optimize import optimize as f; assert callable(f)",
    "import onebyone; assert callable(onebyone.verify)",
)
PAIRS = {str(number): ways for number, ways in enumerate(permutations(WAYS, 2))}


@pytest.mark.parametrize("ways", slow_but("0", "7", "19", of=PAIRS))
def test_packages_are_callable_in_any_order_of_import(ways: tuple[str, str]) -> None:
    last = (
        "import onebyone, onebyone.verify.verify, onebyone.optimize.run; "
        "assert callable(onebyone.optimize) and callable(onebyone.verify)"
    )
    subprocess.run([sys.executable, "-c", "\n".join((*ways, last))], check=True)


def test_packages_show_the_signature_of_their_function() -> None:
    from onebyone.api import optimize
    from onebyone.optimize import optimize as stage
    from onebyone.verify.verify import verify

    assert inspect.signature(onebyone.verify) == inspect.signature(verify)
    assert inspect.signature(onebyone.optimize) == inspect.signature(optimize)
    shared = inspect.signature(stage).parameters
    assert shared.keys() - inspect.signature(optimize).parameters.keys() == set()


def test_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert onebyone.__version__ == version("onebyone")


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ["batch", 3, "height", "width"]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("input", "y"))
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "W")
    nodes = [
        helper.make_node("Conv", ["input", "W"], ["h"]),
        helper.make_node("Conv", ["h", "W"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    readme = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"))
    assert (tmp_path / "faster.onnx").exists()


def test_links_between_the_pages_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    for page in root.glob("benchmarks/*.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"
