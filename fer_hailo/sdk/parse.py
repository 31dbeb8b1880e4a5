"""From a bundle's TFLite to the parsed network, by the first road that the SDK's parser takes: the network as
it is, else the same in plain operators. A retry with the end nodes that the parser recommends comes before.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError, with_class
from fer_hailo.deploy.bundle import FLOAT, PRIMITIVE, Bundle
from fer_hailo.formats.tflite import WEIGHTED
from fer_hailo.script.layers import Layers
from fer_hailo.sdk import client as sdk
from fer_hailo.sdk.reason import advice_for, out_of_memory, reason_of

SHOWN = 300  # characters of a reason in a note


class Refused(UserError):
    """The parser does not take a file, or makes another network of it."""


@dataclass(frozen=True)
class Parsed:
    """runner: the SDK's, in which the network is. file: that it came from. layers: how many. notes: sentences
    on what is worth a look.
    """

    runner: Any
    file: str
    layers: int
    notes: tuple[str, ...]


def parse(bundle: Bundle, hw_arch: str, net_name: str, log: Path) -> Parsed:
    """Parse the first of the bundle's float TFLite files that the parser takes.

    Raises UserError where it takes none: the reason of the last, those of the others were said before. What
    is no fault of the file (memory, a disk) ends at once: another file does not help.
    """
    first, *others = bundle.roads
    try:
        return _parsed(first, bundle, hw_arch, net_name, log)
    except Refused as reason:
        if not others:
            why = bundle.manifest.without.get(PRIMITIVE, "convert the model again for it")
            raise UserError(f"parse: {reason}; the bundle has no {PRIMITIVE} to try ({why})") from reason
        _say(f"parse: {reason}")
        note = (
            f"the parser did not take {FLOAT}: {PRIMITIVE} was parsed, the same network in plain operators "
            f"(of the first: {str(reason).removeprefix(f'{FLOAT}: ')[:SHOWN]})"
        )
    _say(f"parse: tries {PRIMITIVE}, the same network in plain operators")
    try:
        parsed = _parsed(others[0], bundle, hw_arch, net_name, log)
    except Refused as reason:
        raise UserError(f"parse: {reason}") from reason
    return Parsed(parsed.runner, parsed.file, parsed.layers, (note, *parsed.notes))


def _parsed(path: Path, bundle: Bundle, hw_arch: str, net_name: str, log: Path) -> Parsed:
    """Raises Refused where the parser does not take the file."""
    with sdk.calling("parse", log):
        try:
            runner, notes = _translated(path, hw_arch, net_name)
            hn = runner.get_hn_dict()
        except Exception as error:
            if isinstance(error, (OSError, ImportError)) or out_of_memory(error):
                raise
            reason = with_class(error, reason_of(error))
            raise Refused(f"{path.name}: {advice_for(error)} ({reason}); the whole log is {log}") from error
    layers = Layers.from_hn(hn)
    try:
        notes += check_parsed(bundle, hn, layers)
    except Refused as reason:
        raise Refused(f"{path.name}: {'; '.join([*notes, str(reason)])}") from reason
    for line in (f"the parser took {path.name}: {len(layers.layers)} layers", *notes):
        _say(f"parse: {line}")
    return Parsed(runner, path.name, len(layers.layers), tuple(notes))


def _translated(path: Path, hw_arch: str, net_name: str) -> tuple[Any, list[str]]:
    """(runner, notes). Where the parser stops, it is run again with the end nodes that it recommends."""

    def translate(**options: Any) -> Any:
        runner = sdk.client().ClientRunner(hw_arch=hw_arch)
        runner.translate_tf_model(str(path), net_name, **options)
        return runner

    try:
        return translate(), []
    except Exception as error:
        names = _recommended(str(error)) if sdk.has_name(error, "ParsingWithRecommendationException") else []
        if not names:
            raise
        note = (
            f"the parser stopped ({reason_of(error)}); it was run again with the end nodes that it "
            f"recommended: {', '.join(names)}"
        )
        return translate(end_node_names=names), [note]


def check_parsed(bundle: Bundle, hn: dict, layers: Layers) -> list[str]:
    """What else than its shapes is worth a look in a parsed network: sentences.

    Raises Refused where it is not the network in the bundle.
    """
    side, count = bundle.spec.input_size, len(bundle.labels)
    for name, layer in hn["layers"].items():
        shape = list((layer.get("output_shapes") or [[]])[0])
        if layer.get("type") == "input_layer" and shape[1:] != [side, side, 3]:
            raise Refused(
                f"the network's input {name} came out with shape {shape}, not (-1, {side}, {side}, 3)"
            )
        if layer.get("type") == "output_layer" and shape and shape[-1] != count:
            raise Refused(
                f"the network ends at {name} with shape {shape}, not with {count} logits: the parser cut off "
                "its end; see the operators in conversion.html"
            )
    notes = [
        f"the parser made the normalization layer {name} (of "
        f"{', '.join(layer.original_names) or 'no layer'}): a MUL by "
        "a constant in the TFLite; where it is not folded, the compiler stops at it"
        for name, layer in layers.layers.items()
        if layer.type == "normalization"
    ]
    if any(layer.original_names for layer in layers.layers.values()):
        # Both roads have them, by the same names
        weighted = [layer.name for layer in bundle.network.layers if layer.operator in WEIGHTED]
        lost = [name for name in weighted if not layers.quoted(name)]
        # No error: how the parser names layers is not known well enough, and the scores tell whether they are
        # lost
        if lost:
            notes.append(
                f"{len(lost)} layers of the TFLite are not found by name in the parsed network, the first is "
                f"{lost[0]}"
            )
    return notes


def _recommended(text: str) -> list[str]:
    """End nodes from `... using these end node names: a, b`."""
    match = re.search(r"end node names:\s*(.+)", text)
    return [name.strip(" '\"[].") for name in match[1].split(",") if name.strip(" '\"[].")] if match else []


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
