"""What a compilation was really run with: what the script asks for, and what the SDK's log says it got."""

from __future__ import annotations

from fer_hailo.script.text import Statement, parse_script, render_value
from fer_hailo.script.vocabulary import topic_of

ASKED = ("optimization_level", "compression_level", "calibset_size", "batch_size", "precision_mode")
CORRECTIONS = ("bias_correction", "equalization", "finetune", "adaround")  # what the SDK does to the weights: on or off


def settings_of(script: str, log: list[dict]) -> dict[str, str]:
    """Settings by name, as text. log: the findings of fer_hailo.sdk.log; a level found there replaces the script's."""
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
    levels = [finding["level"] for finding in log if finding["level"] is not None]
    if levels:
        asked = settings.get("optimization_level", "not stated")
        settings["optimization_level"] = f"{min(levels)} (the script asks for {asked}: lowered by the SDK)"
    return settings


def _name(statement: Statement, key: str) -> str:
    return f"{key} of {render_value(statement.args[0])}" if key == "precision_mode" and statement.args else key
