"""A module is optimised as if its user had exported it, by both exporters."""

from __future__ import annotations

from math import inf

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import onebyone
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.write import to_proto
from onebyone.nn.to_onnx import to_onnx

EXPORTERS = [{"dynamo": True}, {"dynamo": False}]
# By those who call the exporter themselves, which the last tests do.
_QUIET = pytest.mark.filterwarnings("ignore")


class Two(nn.Module):
    """Two 1x1 convolutions of small integers, a dropout that evaluation takes out, two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.second = nn.Conv2d(3, 16, 1), nn.Dropout(), nn.Conv2d(16, 5, 1)
        for p in self.parameters():
            p.data = torch.randint(-3, 4, p.shape).float()

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.second(self.drop(self.first(x))) * scale


def example() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(-3, 4, (2, 3, 5, 7)).float(), torch.randint(-3, 4, (1, 5, 1, 1)).float()


@pytest.mark.parametrize("options", EXPORTERS, ids=str)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_module_is_exported_and_optimised(options: dict[str, bool], by_name: bool) -> None:
    torch.manual_seed(0)
    module, (x, scale) = Two(), example()
    given = {"x": x, "scale": scale} if by_name else (x, scale)
    result = onebyone.optimize(module, given, export=options, lost_bits=inf)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    assert (result.report.before.macs, result.report.after.macs) == (2 * 35 * 128, 2 * 35 * 15)
    assert module.training, "left in the mode that it was in"
    session = onnxruntime.InferenceSession(to_proto(result.model).SerializeToString())
    fed = dict(zip([i.name for i in session.get_inputs()], (x.numpy(), scale.numpy()), strict=True))
    assert np.array_equal(session.run(None, fed)[0], module.eval()(x, scale).detach().numpy())


def test_sizes_can_be_left_open() -> None:
    module = Two()
    for options in (
        {"dynamic_shapes": ({0: "batch"}, None)},
        {"dynamo": False, "input_names": ["x", "scale"], "dynamic_axes": {"x": {0: "batch"}}},
    ):
        result = onebyone.optimize(module, example(), export=options)
        assert [str(d) for d in result.model.graph.inputs[0].shape or ()][1:] == ["3", "5", "7"]
        assert result.report.before.count.inputs[0][1] == (1, 3, 5, 7)


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str]) -> None:
    to_onnx(nn.Linear(3, 4), torch.empty(2, 3))
    to_onnx(nn.Linear(3, 4), torch.empty(2, 3), {"dynamo": False})
    assert capfd.readouterr() == ("", "")


def test_a_part_in_another_mode_stays_in_it() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    module[1].eval()
    to_onnx(module, torch.randn(2, 3), {"dynamo": False})
    assert [part.training for part in module.modules()] == [True, True, False]


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if "odd" in open("no such file").read() else -x


@pytest.mark.parametrize("options", EXPORTERS, ids=str)
def test_what_cannot_be_exported_names_the_other_way(options: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match=rf"export={{'dynamo': {not options['dynamo']}}}") as told:
        onebyone.optimize(Odd(), torch.empty(2), export=options)
    assert "\n" not in str(told.value)


def test_an_example_goes_with_a_module() -> None:
    with pytest.raises(UsageError, match=r"without an example, wanted one: torch\.empty"):
        onebyone.optimize(nn.Linear(3, 4))
    model = to_onnx(nn.Linear(3, 4), torch.empty(2, 3), {"dynamo": False})
    with pytest.raises(UsageError, match="no module, wanted shapes="):
        onebyone.optimize(model, torch.empty(2, 3))
    with pytest.raises(UnreadableModel, match=r"export a PyTorch module with torch\.onnx\.export"):
        onebyone.read(nn.Linear(3, 4))


@_QUIET
def test_an_onnx_program_is_a_model() -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 5, 1)).eval()
    program = torch.onnx.export(module, (torch.zeros(1, 3, 5, 7),), dynamo=True, verbose=False)
    assert program is not None
    assert onebyone.count(program).macs == 35 * 128
    result = onebyone.optimize(program)
    assert result.report.after.macs == 35 * 15
    assert onebyone.verify(program, result).passed
    assert len(program.model.graph) == 2, "the program is not changed"
