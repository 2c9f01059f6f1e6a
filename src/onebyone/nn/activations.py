"""PyTorch's layers that are a fixed function of each element."""

from __future__ import annotations

__all__ = ["ACTIVATIONS"]

ACTIVATIONS = """
CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6 SELU
SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Threshold
"""
