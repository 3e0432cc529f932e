"""Layers whose gradients do not depend on the number of threads.

On the CPU torch adds up the gradients of a layer norm's weight and bias, and of a convolution's kernel, in one buffer
per thread, so that the sums round differently with another number of them. Matrix products do not, where MKL_CBWR is
AUTO,STRICT before the first of them, as it is in every job. Element-wise kernels treat the last few elements of each
thread's part differently; halves of tensors with a multiple of 32 elements have none, thirds may: `MAX_THREADS`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

MAX_THREADS = 2


class _LayerNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> torch.Tensor:
        out, mean, rstd = torch.native_layer_norm(x, list(weight.shape), weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        grad = grads[0].contiguous()
        to_x = torch.ops.aten.native_layer_norm_backward(
            grad, x, list(weight.shape), mean, rstd, weight, bias, [True, False, False]
        )[0]
        rows = grad.reshape(-1, grad.shape[-1])
        unit = ((x - mean) * rstd).reshape(rows.shape)
        ones = rows.new_ones(1, rows.shape[0])
        return to_x, (ones @ (rows * unit))[0], (ones @ rows)[0], None


class OrderedLayerNorm(nn.LayerNorm):
    """nn.LayerNorm over the last dimension, with the gradients of weight and bias as products."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = _LayerNormFunction.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        return out


class OrderedPatches(nn.Conv2d):
    """nn.Conv2d whose stride is its kernel, as one matrix product over patches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels, H, W) to (n, out, H / p, W / p)."""
        n, channels, height, width = x.shape
        p = self.kernel_size[0]
        rows, columns = height // p, width // p
        patches = x.reshape(n, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5)
        flat = patches.reshape(n * rows * columns, channels * p * p)
        out = flat @ self.weight.reshape(self.out_channels, -1).T
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(n, rows, columns, self.out_channels).permute(0, 3, 1, 2)


def order_gradients(model: nn.Module) -> None:
    """Give the model's layer norms and patch convolutions their ordered forms, in place.

    Parameters, their names and the saved files stay what they were.
    """
    for module in model.modules():
        if type(module) is nn.LayerNorm:
            module.__class__ = OrderedLayerNorm
        elif type(module) is nn.Conv2d and module.stride == module.kernel_size:
            module.__class__ = OrderedPatches
