"""What a compilation was really run with: what the script asks for, and what the SDK's log says it got."""

from __future__ import annotations

from collections.abc import Sequence

from fer_hailo.script.text import Statement, parse_script, render_value
from fer_hailo.script.vocabulary import topic_of

ASKED = ("optimization_level", "compression_level", "calibset_size", "batch_size", "precision_mode")
# What the SDK does to the weights: on or off
CORRECTIONS = ("bias_correction", "equalization", "finetune", "adaround")


def settings_of(script: str, levels: Sequence[int]) -> dict[str, str]:
    """Settings by name, as text. levels: optimization levels that the SDK's log names; the lowest replaces
    the script's.
    """
    statements, _ = parse_script(script)
    settings: dict[str, str] = {}
    for statement in statements:
        if statement.command == "normalization":
            settings["normalization"] = f"({', '.join(render_value(value) for value in statement.args)})"
        if topic_of(statement) in CORRECTIONS and (policy := statement.get("policy")):
            settings[topic_of(statement)] = render_value(policy)
        for key in ASKED:
            if value := statement.get(key):
                settings[_name(statement, key)] = render_value(value)
    if levels:
        asked = settings.get("optimization_level", "not stated")
        settings["optimization_level"] = f"{min(levels)} (the script asks for {asked}: lowered by the SDK)"
    return settings


def _name(statement: Statement, key: str) -> str:
    return (
        f"{key} of {render_value(statement.args[0])}" if key == "precision_mode" and statement.args else key
    )
