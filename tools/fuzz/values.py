"""Put strange values into JSON: it stays JSON, and what it says makes no sense."""

from __future__ import annotations

import json
from typing import Any

from tools.fuzz.mutate import Rng

STRANGE_TEXTS = ("", "a\nb", "\x1b[31mred", "\u202e", "\ud800", "x" * 5000, "../../etc", "NaN")
STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**300, 1e308, float("nan"), float("inf"), [], {}, [[]], [[-1]], [None] * 300),
    *({"type": "conv"}, [[-1, 2**70, -5, 0]], *STRANGE_TEXTS),
)


def strange_json(content: bytes, rng: Rng) -> bytes:
    """JSON with one value or key replaced or taken out; anything else as it is."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return content
    change(values, rng)
    return json.dumps(values).encode()


def change(values: Any, rng: Rng) -> None:
    """Replace, rename or take out one thing somewhere in lists and dictionaries."""
    place = values
    while isinstance(place, (dict, list)) and place:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if rng.random() < 0.3 or not isinstance(place[key], (dict, list)):
            _change_at(place, key, rng)
            return
        place = place[key]


def _change_at(place: Any, key: Any, rng: Rng) -> None:
    if rng.random() < 0.2:
        del place[key]
    elif isinstance(place, dict) and rng.random() < 0.2:
        place[rng.choice(STRANGE_TEXTS)] = place.pop(key)
    else:
        place[key] = rng.choice(STRANGE)
