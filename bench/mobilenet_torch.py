"""MobileNetV3Small with the project's head in plain PyTorch, channels last: what a training step costs
without Keras.
"""

import torch
from torch import nn
from torch.nn import functional

# Howard et al. 2019, table 2: expanded channels, output channels, kernel, stride, squeeze and excitation,
# hard swish.
BLOCKS = (
    (16, 16, 3, 2, True, False), (72, 24, 3, 2, False, False), (88, 24, 3, 1, False, False),
    (96, 40, 5, 2, True, True),
    (240, 40, 5, 1, True, True), (240, 40, 5, 1, True, True), (120, 48, 5, 1, True, True),
    (144, 48, 5, 1, True, True),
    (288, 96, 5, 2, True, True), (576, 96, 5, 1, True, True), (576, 96, 5, 1, True, True),
)  # fmt: skip


class Gate(nn.Module):
    """Squeeze and excitation: (B, C, H, W) times a number a channel."""

    def __init__(self, channels: int):
        super().__init__()
        inner = (channels // 4 + 4) // 8 * 8 or 8
        self.squeeze, self.excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * functional.hardsigmoid(
            self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        )


class Block(nn.Module):
    """An inverted residual."""

    def __init__(
        self, channels: int, expanded: int, out: int, kernel: int, stride: int, gate: bool, swish: bool
    ):
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        parts = [] if expanded == channels else [*_conv(channels, expanded, 1), activation()]
        parts += [*_conv(expanded, expanded, kernel, stride, groups=expanded), activation()]
        parts += [Gate(expanded)] if gate else []
        self.path, self.residual = (
            nn.Sequential(*parts, *_conv(expanded, out, 1)),
            stride == 1 and channels == out,
        )

    def forward(self, x):
        return x + self.path(x) if self.residual else self.path(x)


def mobilenet_v3_small(classes: int, units: tuple[int, ...], dropout: tuple[float, ...]) -> nn.Module:
    """From (B, 3, I, I) to logits (B, classes)."""
    parts, channels = [*_conv(3, 16, 3, 2), nn.Hardswish()], 16
    for block in BLOCKS:
        parts.append(Block(channels, *block))
        channels = block[1]
    parts += [*_conv(channels, 576, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    parts += [nn.BatchNorm1d(576, 1e-3), nn.Dropout(dropout[0])]
    for inputs, outputs, share in zip((576, *units), units, dropout[1:], strict=False):
        parts += [
            nn.Linear(inputs, outputs, bias=False),
            nn.BatchNorm1d(outputs, 1e-3),
            nn.ReLU(),
            nn.Dropout(share),
        ]
    return nn.Sequential(*parts, nn.Linear(units[-1], classes)).to(memory_format=torch.channels_last)


def _conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, 1e-3),
    ]
