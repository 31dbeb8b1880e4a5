"""The two networks under POSTER and POSTER V2: IR-50's first three stages, of face recognition, and
MobileFaceNet, of facial landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keras import layers

from fer_hailo.training.networks.blocks import conv, conv_block, depthwise, norm, prelu, project

UNITS = (3, 4, 14)  # of IR-50; its fourth stage is not used
WIDTHS = (64, 128, 256)
BLOCKS = (4, 6, 2)  # of MobileFaceNet

# MobileFaceNet's parts, in order.
PARTS = (
    "conv1.",
    "conv2_dw.",
    "conv_23.",
    "conv_3.",
    "conv_34.",
    "conv_4.",
    "conv_45.",
    "conv_5.",
    "conv_6_sep.",
)


def renamed(bodies: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Where the names of checkpoints of both networks stand in the POSTERs: {beginning: beginnings}. bodies:
    of IR-50's stages or units.
    """
    parts = ("conv1.conv.", "conv1.bn.", "conv1.prelu.", *PARTS[1:])  # POSTER V2 has a layer conv1 of its own
    below = (
        {start: f"face_landback.{start}" for start in parts}
        | {"input_layer.": "ir_back.input_layer."}
        | dict(bodies)
    )
    return {start: (end,) for start, end in below.items()}


def ir50(x, name: Callable[[int, int], str]) -> list:
    """IR-50 (Deng et al. 2019): (B, S, S, 3) to maps of S / 2, S / 4 and S / 8 a side, with 64, 128 and 256
    channels.

    name: gives the unit i of stage k, both from 0, its name below ir_back.
    """
    x = norm(conv(x, WIDTHS[0], 3, name="ir_back-input_layer-0"), "ir_back-input_layer-1")
    x, maps = prelu(x, "ir_back-input_layer-2"), []
    for stage, (units, filters) in enumerate(zip(UNITS, WIDTHS, strict=True)):
        for i in range(units):
            x = _unit(x, filters, 2 if i == 0 else 1, f"ir_back-{name(stage, i)}")
        maps.append(x)
    return maps


def mobile_face_net(x) -> list:
    """MobileFaceNet (Chen et al. 2018): (B, S, S, 3) to maps of S / 4, S / 8 and S / 16 a side, with 64, 128
    and 512 channels.
    """
    top = "face_landback"
    x = conv_block(x, 64, 3, 2, name=f"{top}-conv1")
    x = _filter(x, 3, 1, f"{top}-conv2_dw")
    maps = []
    for number, (filters, inside, wide) in enumerate(((64, 128, 128), (128, 256, 256), (128, 512, 256)), 3):
        x = _inverted(x, filters, 2, inside, f"{top}-conv_{number - 1}{number}")
        for i in range(BLOCKS[number - 3]):
            block = f"{top}-conv_{number}-model-{i}"
            x = layers.Add(name=block)([x, _inverted(x, filters, 1, wide, block)])
        maps.append(x)
    return [*maps[:2], conv_block(x, 512, 1, name=f"{top}-conv_6_sep")]


def _unit(x, filters: int, stride: int, name: str):
    if x.shape[-1] == filters:
        short = layers.MaxPooling2D(1, stride, name=f"{name}-shortcut")(x) if stride > 1 else x
    else:
        short = norm(conv(x, filters, 1, stride, name=f"{name}-shortcut_layer-0"), f"{name}-shortcut_layer-1")
    x = conv(norm(x, f"{name}-res_layer-0"), filters, 3, name=f"{name}-res_layer-1")
    x = conv(prelu(x, f"{name}-res_layer-2"), filters, 3, stride, name=f"{name}-res_layer-3")
    return layers.Add(name=name)([norm(x, f"{name}-res_layer-4"), short])


def _inverted(x, filters: int, stride: int, inside: int, name: str):
    """Expand, filter each channel, project."""
    x = conv_block(x, inside, 1, name=f"{name}-conv")
    return project(_filter(x, 3, stride, f"{name}-conv_dw"), filters, f"{name}-project")


def _filter(x, size: int, stride: int, name: str):
    return prelu(norm(depthwise(x, size, stride, name=f"{name}-conv"), f"{name}-bn"), f"{name}-prelu")
