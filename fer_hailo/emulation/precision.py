"""What of a model script the emulation follows, and which of its lines it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fer_hailo.emulation.scheme import MODES, Precision
from fer_hailo.script.layers import Layers
from fer_hailo.script.text import (
    Glob,
    Items,
    Number,
    Statement,
    Text,
    Value,
    parse_script,
    render,
    render_value,
)
from fer_hailo.script.vocabulary import COMMANDS, topic_of

CALIBSET = 64  # what the compiler takes where a script states no number
# Statements that change no number that the network computes; so do all that act on the compiled graph.
WITHOUT_NUMBERS = {"normalization", "performance_param", "resources_param", "context_switch_param",
    "allocator_param", "platform_param",
                   "hef_param", "set_seed"}  # fmt: skip
LEVELS: dict[float, str] = {0: "equalisation", 1: "equalisation and iterative bias correction",
    2: "equalisation and fine-tuning",
          3: "AdaRound on 256 images", 4: "AdaRound on 1,024 images"}  # fmt: skip


@dataclass
class Followed:
    """precisions: of layers by TFLite name, those that the script names. ignored: a sentence for each line
    that is not followed.
    """

    precisions: dict[str, Precision] = field(default_factory=dict)
    calibset_size: int = CALIBSET
    bias_correction: bool = False
    ignored: list[str] = field(default_factory=list)

    @property
    def wide(self) -> list[str]:
        """The layers with 16 bits."""
        return [name for name, precision in self.precisions.items() if precision.activations == 16]


def followed(script: str, layers: Layers) -> Followed:
    """Read a model script before the parse, when layers have their TFLite names only. Later statements win
    over earlier ones.

    layers: those of the TFLite. Quoted names and {*} are understood; the compiler's own names do not exist
    yet.
    """
    found = Followed()
    for statement in parse_script(script)[0]:
        for reason in _follow(statement, layers, found):
            found.ignored.append(f"line {statement.line}: {render([statement]).strip()}: {reason}")
    return found


def _follow(statement: Statement, layers: Layers, found: Followed) -> Iterator[str]:
    """Take over what can be; yields what cannot."""
    topic, command = topic_of(statement), statement.command
    if command in WITHOUT_NUMBERS or (command in COMMANDS and COMMANDS[command].graph):
        return
    if command == "model_optimization_flavor":
        yield from _flavor(statement)
    elif topic == "calibration":
        size = statement.get("calibset_size")
        found.calibset_size = int(size.value) if isinstance(size, Number) else CALIBSET
    elif topic == "bias_correction":
        found.bias_correction = _word(statement.get("policy")) == "enabled"
        if statement.get("layers"):
            yield "the biases of all layers are corrected, not of these alone"
    elif command == "quantization_param":
        yield from _precision(statement, layers, found)
    elif _word(statement.get("policy")) != "disabled":
        yield "not emulated"


def _flavor(statement: Statement) -> Iterator[str]:
    level, compression = statement.get("optimization_level"), statement.get("compression_level")
    if isinstance(level, Number) and level.value in LEVELS:
        yield (
            f"the {LEVELS[level.value]} of this level {'are' if ' and ' in LEVELS[level.value] else 'is'} "
            "not emulated"
        )
    if compression and compression.value:
        yield "4-bit weights are not emulated"


def _precision(statement: Statement, layers: Layers, found: Followed) -> Iterator[str]:
    mode = statement.get("precision_mode")
    others = [keyword.key for keyword in statement.kwargs if keyword.key != "precision_mode"]
    if others:
        yield f"{', '.join(others)}: not emulated"
    if mode is None:
        return
    if _word(mode) not in MODES:
        yield f"{render_value(mode)} is not emulated; known are {', '.join(MODES)}"
        return
    for value in _flat(statement.args):
        if isinstance(value, Text):
            names = layers.quoted(value.value)
        elif isinstance(value, Glob) and value.value == "*":
            names = list(layers.layers)
        else:
            yield (
                f"{render_value(value)}: the compiler's own names are known after the parse only, quoted "
                "TFLite names before it"
            )
            continue
        found.precisions |= dict.fromkeys(names, MODES[_word(mode)])


def _flat(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if isinstance(value, Items):
            yield from _flat(value.value)
        else:
            yield value


def _word(value: Value | None) -> str:
    return str(value.value) if value else ""
