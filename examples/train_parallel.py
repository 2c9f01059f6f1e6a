"""Train one network by two processes and by one, and compare their losses with a derived bound.

    torchrun --nproc-per-node 2 examples/train_parallel.py [--steps N]
    python examples/train_parallel.py [--steps N]           starts the line above

needs `pip install 'onebyone[torch]' mlxtend`. Each process takes a half of every batch, and their
gradients are averaged (`DistributedDataParallel` over gloo): the same sum as one process's, in
another order. So losses differ by rounding only, and how much that can be is worked out for this
very run (`parallel_bound`), in float64, step by step. Exits with 1 if a loss differs by more.

The network has no batch normalisation. That would take mean and variance of the half of a batch
that a process has, which is another function: what it does to the losses is printed as well.
`SyncBatchNorm` shares the statistics but exists for GPUs only; `GroupNorm` would have done.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
from digits import CLASSES, Images, load
from parallel_bound import bounded_losses
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.parallel import DistributedDataParallel
from training import Goal, epochs, fixed, verdict

from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.mlpconv import MLPConv

SEED, STEPS, BATCH, RATE = 3, 20, 32, 0.05
KERNEL, STRIDE, WIDTHS = 5, 3, (8, 12)
PROCESSES = 2

Batch = tuple[Tensor, Tensor]


def network(norm: Callable[[int], nn.Module] | None = None) -> nn.Sequential:
    """A network in network (N, 1, 28, 28) -> (N, 10), the same at each call, in float64."""
    torch.manual_seed(SEED)
    layers = MLPConv(1, WIDTHS, KERNEL, STRIDE, norm=norm)
    return nn.Sequential(layers, ClassMaps(WIDTHS[-1], CLASSES)).double()


def batches(digits: Images, steps: int) -> Iterator[Batch]:
    """Batches of digits in float64, the same at each call."""
    order = epochs(fixed(SEED), len(digits.labels), BATCH)
    for _, chosen in zip(range(steps), order, strict=False):
        yield digits.images[chosen].double(), digits.labels[chosen]


def share(batch: Batch, rank: int, processes: int) -> Batch:
    """What one of so many processes takes of a batch."""
    images, labels = batch
    return images.chunk(processes)[rank], labels.chunk(processes)[rank]


def train(network: nn.Module, data: Iterator[Batch]) -> list[Tensor]:
    """Gradient descent; the loss before each step: squared distance, mean over the images."""
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    losses = []
    for images, labels in data:
        off = network(images) - one_hot(labels, CLASSES)
        loss = off.square().sum() / len(labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def train_alone(network: nn.Module, data: Iterator[Batch]) -> list[float]:
    """By this process."""
    return torch.stack(train(network, data)).tolist()


def train_together(network: nn.Module, data: Iterator[Batch]) -> list[float]:
    """By all processes of the group, each with its share; the mean of their losses."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    shares = (share(batch, rank, processes) for batch in data)
    losses = torch.stack(train(DistributedDataParallel(network), shares))
    dist.all_reduce(losses)
    return (losses / processes).tolist()


def furthest(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def compare(alone: Sequence[float], together: Sequence[float], bounds: Sequence[float]) -> Goal:
    """Print the losses; the goal that each two are as near as their bound."""
    print(f"{'step':>4} {'one process':>20} {'two processes':>20} {'differ by':>11} {'bound':>9}")
    for number, (a, b, bound) in enumerate(zip(alone, together, bounds, strict=True)):
        print(f"{number:4} {a:20.16f} {b:20.16f} {abs(a - b):11.1e} {bound:9.1e}")
    near = all(abs(a - b) <= bound for a, b, bound in zip(alone, together, bounds, strict=True))
    most = furthest(alone, together)
    return Goal(
        f"losses differ by {most:.1e} at most, within the bounds up to {max(bounds):.1e}", near
    )


def work(steps: int) -> int:
    """What each process does; the first one also trains alone, compares and prints."""
    dist.init_process_group("gloo")
    digits, _ = load(fixed(SEED))
    together = train_together(network(), batches(digits, steps))
    halves = train_together(network(nn.BatchNorm2d), batches(digits, steps))
    first = dist.get_rank() == 0
    # Together, so that nobody goes while the other still closes its connections.
    dist.barrier()
    dist.destroy_process_group()
    if not first:
        return 0
    alone = train_alone(network(), batches(digits, steps))
    parameters = [parameter.detach() for parameter in network().parameters()]
    near = bounded_losses(
        parameters, batches(digits, steps), kernel=KERNEL, stride=STRIDE, rate=RATE
    )
    goal = compare(alone, together, [2 * loss.error.item() for loss in near])
    whole = train_alone(network(nn.BatchNorm2d), batches(digits, steps))
    print(f"with batch normalisation of each half: {furthest(whole, halves):.1e} apart")
    return verdict([goal])


def main() -> int:
    """Work, if started by torchrun; else start torchrun with this script."""
    parser = argparse.ArgumentParser(description="Train by two processes and by one, and compare.")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of gradient descent")
    steps = parser.parse_args().steps
    if "TORCHELASTIC_RUN_ID" in os.environ:
        reached = work(steps)
        sys.stdout.flush()
        # At once: threads that torch (2.13) leaves behind now and then abort a process that ends.
        os._exit(reached)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    return subprocess.run([sys.executable, *launch, __file__, f"--steps={steps}"]).returncode


if __name__ == "__main__":
    sys.exit(main())
