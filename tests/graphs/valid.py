"""Is a model one that engines take? By the operators' definitions, and by asking one."""

from __future__ import annotations

import onnxruntime as ort
from onnx import ModelProto, checker, shape_inference

__all__ = ["faults", "refusal", "refused"]


def faults(model: ModelProto) -> list[str]:
    """What is wrong with a model by the rules of ONNX; nothing, for what an engine should take.

    Attributes, element types and opsets as the operators' definitions have them, all inputs of one
    type variable of one type, declared types and shapes as they are inferred.
    """
    try:
        checker.check_model(model, full_check=True)
        shape_inference.infer_shapes(
            model,
            check_type=True,
            strict_mode=True,
            data_prop=not _branches_read_constants(model),
        )
    except Exception as error:
        return [f"{type(error).__name__}: {' '.join(str(error).split())}"]
    return []


def _branches_read_constants(model: ModelProto) -> bool:
    """Whether a graph inside a node reads an initialiser that stands around it.

    ONNX (1.23) follows sizes into the branches of an If without these: a Slice there that has its
    bounds from outside gives all sizes, and a Resize too many.
    """
    around = {tensor.name for tensor in model.graph.initializer}
    inner = [
        graph
        for node in model.graph.node
        for each in node.attribute
        for graph in ([each.g] if each.HasField("g") else each.graphs)
    ]
    return any(name in around for graph in inner for node in graph.node for name in node.input)


def refusal(model: ModelProto, optimised: bool = False) -> str:
    """Why ONNX Runtime refuses a model; "" where it takes it."""
    options = ort.SessionOptions()
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:
        return " ".join(str(error).split())
    return ""


def refused(before: ModelProto, after: ModelProto) -> list[str]:
    """Why a rewritten model is refused where the original is not, by the rules or the engine."""
    found = [] if faults(before) else faults(after)
    for optimised in (False, True):
        if not refusal(before, optimised) and (why := refusal(after, optimised)):
            found.append(f"optimisations {'on' if optimised else 'off'}: {why}")
    return found
