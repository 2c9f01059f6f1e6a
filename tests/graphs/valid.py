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
    # ONNX (1.23) follows sizes into the branches of an If without the constants around it: a Slice
    # there that reads its bounds from outside gives all sizes, and a Resize has too many.
    flat = not any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute)
    try:
        checker.check_model(model, full_check=True)
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=flat)
    except Exception as error:
        return [f"{type(error).__name__}: {' '.join(str(error).split())}"]
    return []


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
