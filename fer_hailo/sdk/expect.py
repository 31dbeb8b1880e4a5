"""What an optimization will do by its model script, and how long that takes: said before it begins."""

from __future__ import annotations

from fer_hailo.script.settings import settings_of

UNSTATED = (
    "the script states no optimization level: the SDK takes 2 with a GPU and 1024 images, 1 with a GPU and "
    "fewer, "
    "0 without a GPU"
)
FINE_TUNING = (
    "{why}, with a GPU or without: minutes with one; on a CPU it took half an hour for a network of 640 px, "
    "and "
    "may take hours (alls/bias.alls does without)"
)
ADAROUND = (
    "{why}, which trains the rounding of each layer, at level 4 for 320 epochs where fine-tuning has 4: "
    "expect "
    "it to take far longer than fine-tuning"
)
SHORT = "level {level} without fine-tuning: nothing is trained"


def what_to_expect(script: str) -> str:
    """A sentence. script: the text of a model script without errors.

    Source: the levels' meaning by Hailo's public model scripts; the half hour is a user's log of version
    3.33.
    """
    settings = settings_of(script, [])
    level, finetune = settings.get("optimization_level"), settings.get("finetune")
    if settings.get("adaround") == "enabled" or (
        level in ("3", "4") and settings.get("adaround") != "disabled"
    ):
        return ADAROUND.format(
            why=f"level {level} uses AdaRound" if level else "the script asks for AdaRound"
        )
    if finetune == "enabled" or (level == "2" and finetune != "disabled"):
        why = f"level {level} fine-tunes" if level == "2" else "the script asks for fine-tuning"
        return FINE_TUNING.format(why=f"{why} the quantized network")
    return UNSTATED if level is None else SHORT.format(level=level)
