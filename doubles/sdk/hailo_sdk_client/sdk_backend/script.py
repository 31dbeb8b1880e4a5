"""Model scripts: what a script asks for. Takes the layers' HN names only, no comments, and no command that is
not emulated.

A script's grammar is a small part of Python's but for patterns ({conv*}), so Python's parser reads it.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from dataclasses import dataclass, field

from hailo_sdk_client.sdk_backend.sdk_backend_exceptions import BackendValueError

PRECISIONS = {"a8_w8": (8, 8), "a8_w4": (8, 4), "a16_w16": (16, 16)}
# The keys of each command, or of a command and its first argument. What no comment says so has no effect
# here.
KEYS = {
    "normalization": "",  # has effect
    # The first two have effect
    "model_optimization_flavor": "optimization_level compression_level batch_size",
    "model_optimization_config calibration": "calibset_size batch_size",  # the first has effect
    "model_optimization_config negative_exponent": "layers rank",
    "model_optimization_config compression_params": "auto_4bit_weights_ratio",  # has effect
    "quantization_param": "precision_mode",  # has effect
    "pre_quantization_optimization equalization": "policy layers",
    "pre_quantization_optimization activation_clipping": "layers mode clipping_values",
    "pre_quantization_optimization weights_clipping": "layers mode clipping_values",
    "pre_quantization_optimization global_avgpool_reduction": "layers division_factors",
    "pre_quantization_optimization se_optimization": "layers method mode",
    "post_quantization_optimization bias_correction": "policy layers",
    "post_quantization_optimization finetune": "policy epochs learning_rate batch_size dataset_size "
    "loss_layer_names",
    "post_quantization_optimization adaround": "policy epochs learning_rate batch_size dataset_size",
    "performance_param": "compiler_optimization_level",
    "resources_param": "max_control_utilization max_compute_utilization max_memory_utilization",
    "context_switch_param": "mode",
    "set_seed": "seed",
}


class Quoted(str):
    """A text in quotes."""


class Pattern(str):
    """{conv*}, without its braces."""


@dataclass
class Settings:
    """What a script asks for. bits: by scoped layer name, (of the output, of the kernel). compression: share
    of weights in 4 bits.
    """

    normalization: tuple[list[float], list[float]] | None = None  # mean, deviation
    normalization_name: str = ""
    level: int | None = None  # None: not stated
    compression: float = 0.0
    compression_level: int = 0
    calibset_size: int = 64
    bits: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_script(text: str, hn: dict) -> Settings:
    """Raises BackendValueError, with the line, for all that is not understood or not emulated."""
    settings, line = Settings(), 1
    try:
        if "#" in re.sub("\"[^\"]*\"|'[^']*'", "", text):
            raise ValueError("unexpected '#'")
        for statement in ast.parse(re.sub(r"\{([\w*?/.]+)\}", r'_pattern("\1")', text)).body:
            line = statement.lineno
            _apply(settings, hn, *_parts(statement))
    except SyntaxError as error:
        raise BackendValueError(f"Model script parsing failed in line {error.lineno}: {error.msg}") from None
    except (ValueError, TypeError) as error:
        raise BackendValueError(f"Model script parsing failed in line {line}: {error}") from None
    return settings


def _parts(statement: ast.stmt) -> tuple[list[str], str, list, dict]:
    """result, result = command(argument, ..., key=value, ...)"""
    call, results = statement.value if isinstance(statement, (ast.Assign, ast.Expr)) else None, []
    if isinstance(statement, ast.Assign):
        results = [_value(name) for name in getattr(statement.targets[0], "elts", statement.targets)]
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("not a command")
    return (
        results,
        call.func.id,
        [_value(node) for node in call.args],
        {pair.arg: _value(pair.value) for pair in call.keywords},
    )


def _value(node: ast.expr):
    """A number, name, Quoted, Pattern, or a list of them."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return Quoted(node.value)
    if isinstance(node, ast.Constant):  # True and False are words
        return node.value if type(node.value) in (int, float) else str(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # net/conv1
        return f"{_value(node.left)}/{_value(node.right)}"
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_pattern":
        return Pattern(node.args[0].value)
    raise ValueError(f"unexpected {ast.unparse(node)}")


def _apply(
    settings: Settings, hn: dict, results: list[str], command: str, arguments: list, keys: dict
) -> None:
    topic = f"{command} {arguments[0]}" if arguments else ""
    if topic not in KEYS and command not in KEYS:
        raise ValueError(f"unknown command {topic or command}, or one that the double does not emulate")
    if unknown := set(keys) - set(KEYS[topic if topic in KEYS else command].split()):
        raise ValueError(f"unknown key {min(unknown)}")
    if len(results) != (command == "normalization"):
        raise ValueError(f"{command} with {len(results)} results")
    for key in ("layers", "loss_layer_names"):
        layers_of(keys.get(key, []), hn)
    if command == "normalization":
        _normalization(settings, hn, results[0], *arguments)
    elif command == "quantization_param":
        (layers,) = arguments
        mode = _one_of(keys.get("precision_mode"), *PRECISIONS)
        settings.bits |= dict.fromkeys(layers_of(layers, hn), PRECISIONS[mode])
    elif len(arguments) != (topic in KEYS):
        raise ValueError(f"{command} with {len(arguments)} arguments")
    if "optimization_level" in keys:
        settings.level = _one_of(keys["optimization_level"], -100, 0, 1, 2, 3, 4)
    if "compression_level" in keys:
        settings.compression_level = _one_of(keys["compression_level"], 0, 1, 2, 3, 4, 5)
        settings.compression = 0.2 * settings.compression_level
    settings.compression = float(keys.get("auto_4bit_weights_ratio", settings.compression))
    settings.calibset_size = int(keys.get("calibset_size", settings.calibset_size))


def _normalization(
    settings: Settings, hn: dict, result: str, mean: list, deviation: list, layer: str = "input_layer1"
) -> None:
    (input_layer,) = layers_of("input_layer1", hn)
    channels = hn["layers"][input_layer]["output_shapes"][0][-1]
    if layers_of(layer, hn) != [input_layer] or settings.normalization:
        raise ValueError("one normalization, of the input layer, is possible")
    if f"{hn['name']}/{result}" in hn["layers"]:
        raise ValueError(f"layer {result} exists already in the network")
    if len(mean) != channels or len(deviation) != channels or not all(deviation):
        raise ValueError(f"a mean and a deviation (not 0) are needed for each of {channels} channels")
    settings.normalization, settings.normalization_name = (
        ([*map(float, mean)], [*map(float, deviation)]),
        result,
    )


def layers_of(value, hn: dict) -> list[str]:
    """Scoped names that a layer, a pattern or a list stands for.

    Raises ValueError for one that the HN does not have.
    """
    if isinstance(value, list):
        return [name for one in value for name in layers_of(one, hn)]
    if isinstance(value, Quoted) or not isinstance(value, str):
        raise ValueError(f"{value!r} is not a layer name")
    scoped = value if "/" in value else f"{hn['name']}/{value}"
    found = (
        fnmatch.filter(hn["layers"], scoped)
        if isinstance(value, Pattern)
        else [name for name in hn["layers"] if name == scoped]
    )
    if not found:
        raise ValueError(f"the layer {value} doesn't exist in the HN")
    return found


def _one_of(value, *allowed):
    if value not in allowed:
        raise ValueError(f"{value} is none of {', '.join(map(str, allowed))}")
    return value
