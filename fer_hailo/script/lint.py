"""Rules for model scripts: what a run of some hours on the SDK machine would otherwise find out, or never
would.

Errors stop a compilation, so only what cannot be right is one: faults of grammar, impossible values, a layer
that the parsed network does not have. What is probably wrong, or is not known here, is a warning; the
compiler decides. What is this project's choice (one normalisation, a stated calibration size, no 4-bit
weights, ...) is a warning for a foreign script, and an error or a warning, as each rule says, for the script
of a deploy bundle. What cannot be checked is said in a note. Every rule holds on the scripts of Hailo's
public model zoo: none of them gets an error.

Partial 16-bit blocks. Concat, shortcut and feature splitter cannot change precision, so such a layer, all
that feed it and, for shortcut and splitter, all that read it should have the same number of bits; elementwise
layers are judged alike. A warning, since the compiler puts in precision changes of its own. Inputs, outputs
and constants are left out. An add that the parser fused into a convolution is no layer of the HN and is not
seen. Without a HAR only one thing can be said: a script whose 16-bit layers are concats, shortcuts or
splitters and nothing else is doubtful.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.script.layers import Layers, bare
from fer_hailo.script.text import (
    Finding,
    Glob,
    Items,
    Keyword,
    Level,
    Name,
    Number,
    Statement,
    Text,
    Value,
    format_finding,
    parse_script,
    render,
)
from fer_hailo.script.vocabulary import COMMANDS, check, layer_values, near, topic_of

__all__ = ["Finding", "format_finding", "lint_script", "specialise", "strictly"]

THROWAWAY = "placeholder"  # the name real scripts give to every result that nobody uses
FINETUNE_IMAGES = 1024  # what optimization levels 2 and 4 train on
UNIFORM_STD = 255 / 12**0.5  # standard deviation of images that use 0..255 evenly
# Means and scales (0..255, RGB) in wide use. Exchanged, they still give values near 0, so that no range shows
# the mistake.
STATISTICS = (
    ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # ImageNet
    ((122.771, 116.746, 104.094), (68.501, 66.632, 70.323)),  # CLIP
    ((127.0,) * 3, (128.0,) * 3),
    ((127.5,) * 3, (128.0,) * 3),
)
MAX_FINDINGS = 100  # of each rule: nobody reads more, and to look for what was meant takes time
MAX_SCOPES = 20  # they are compared pair by pair; real scripts speak of one network
RIGID = ("concat", "shortcut", "feature_splitter")  # layers that cannot change precision
# Layers that the compiler makes and names after others: sh_from_conv1_to_conv2, concat_f_from_dw9_d0_..., ...
DERIVED = re.compile(
    r"(sh|concat|fs|ws|ddr_portal|l4_portal|auto_reshape|auto_spatial_reshape)(_[wf])?_from_"
)


@dataclass(frozen=True)
class _Script:
    """What a rule looks at. broken: some statement could not be read, so that nothing may be called
    missing.
    """

    statements: list[Statement]
    spec: PreprocessSpec | None
    calib_count: int | None
    layers: Layers | None
    broken: bool

    @property
    def choice(self) -> Level:
        """The level of a breach of this project's choices."""
        return "warning" if self.spec is None and self.calib_count is None else "error"

    def all(self, *commands: str, topic: str = "") -> list[Statement]:
        return [s for s in self.statements if s.command in commands and (not topic or topic_of(s) == topic)]

    def defined(self) -> dict[str, Value]:
        """The results of all statements by bare name, where they first stand."""
        results: dict[str, Value] = {}
        for statement in self.statements:
            for result in statement.results:
                results.setdefault(bare(str(result.value)), result)
        return results


def lint_script(
    text: str,
    spec: PreprocessSpec | None = None,
    calib_count: int | None = None,
    layers: Layers | None = None,
) -> list[Finding]:
    """What is to be said of a model script, sorted by place.

    spec, calib_count: preprocessing and number of calibration images of the deploy bundle that the script
    belongs to; with either given, this project's rules apply in full. layers: the parsed network; without it
    layer names are called unchecked.
    """
    statements, findings = parse_script(text)
    broken = any(finding.level == "error" for finding in findings)
    script = _Script(statements, spec, calib_count, layers, broken)
    for rule in (_statements, *RULES):
        some = list(itertools.islice(rule(script), MAX_FINDINGS + 1))
        findings += some[:MAX_FINDINGS]
        if len(some) > MAX_FINDINGS:
            findings.append(_at(None, "note", f"there is more of the kind: {some[0].message}"))
    return sorted(set(findings))


def strictly(findings: list[Finding]) -> list[Finding]:
    """The same findings with warnings as errors."""
    return [dataclasses.replace(f, level="error") if f.level == "warning" else f for f in findings]


def specialise(text: str, spec: PreprocessSpec, calib_count: int) -> str:
    """The script of a bundle: normalised as `spec` says, on three channels, and calibrated on all
    `calib_count` images.

    Raises UserError for a script with faults of grammar, without exactly one normalization, or without a
    calibration statement.
    """
    statements, findings = parse_script(text)
    for finding in findings:
        if finding.level == "error":
            raise UserError(format_finding(finding, "the model script"))
    counts = [
        sum(s.command == "normalization" for s in statements),
        sum(topic_of(s) == "calibration" for s in statements),
    ]
    if counts[0] != 1:
        raise UserError(
            f"the model script has {counts[0]} normalization statements, exactly one is needed: "
            f"{_wanted(spec)}"
        )
    if not counts[1]:
        raise UserError(
            "the model script needs a line model_optimization_config(calibration, batch_size=8, "
            f"calibset_size={calib_count})"
        )
    return render([_specialised(statement, spec, calib_count) for statement in statements])


def _specialised(statement: Statement, spec: PreprocessSpec, calib_count: int) -> Statement:
    if statement.command == "normalization":
        lists = [_list([float(value)] * 3) for value in (spec.mean, spec.scale)]
        return dataclasses.replace(statement, args=(*lists, *statement.args[2:]))
    if topic_of(statement) == "calibration":
        size = Keyword("calibset_size", _number(calib_count), 0, 0)
        others = [size if keyword.key == size.key else keyword for keyword in statement.kwargs]
        return dataclasses.replace(statement, kwargs=tuple(others if size in others else [*others, size]))
    return statement


def _number(value: int | float) -> Value:
    return Number(value, 0, 0, repr(value))


def _list(values: list[float]) -> Value:
    return Items(tuple(map(_number, values)), 0, 0)


def _wanted(spec: PreprocessSpec) -> str:
    mean, scale = ([float(value)] * 3 for value in (spec.mean, spec.scale))
    return f"input_normalization = normalization({mean}, {scale})"


def _at(
    place: Value | Keyword | Statement | None, level: Level, message: str, suggestion: str = ""
) -> Finding:
    """A finding at a place; the start of the script where there is none."""
    return Finding(level, place.line if place else 1, place.column if place else 1, message, suggestion)


def _statements(script: _Script) -> Iterator[Finding]:
    for statement in script.statements:
        yield from check(statement)


# Names


def _duplicate_results(script: _Script) -> Iterator[Finding]:
    seen: dict[str, Value] = {}
    for statement in script.statements:
        for result in statement.results:
            first = seen.setdefault(bare(str(result.value)), result)
            if first is not result and result.value != THROWAWAY and isinstance(result, Name):
                message = (
                    f"{result.value} is already the result of line {first.line}: every result needs "
                    "its own name"
                )
                yield _at(result, "warning", message)


def _undefined_results(script: _Script) -> Iterator[Finding]:
    """Names that only a statement of the script can make, but none does, or only a later one."""
    if script.broken:
        return
    defined = script.defined()
    defused = {bare(str(s.args[0].value)) for s in script.all("defuse") if s.args}
    stems = {name.rstrip("0123456789") for name in defined if name[-1:].isdigit()}
    derived = {match[0] for name in defined if (match := DERIVED.match(name))}

    def made_here(name: str) -> bool:
        match = DERIVED.match(name)
        return (
            (name[-1].isdigit() and name.rstrip("0123456789") in stems)
            or (match is not None and match[0] in derived)
            or any(name[: under.start()] in defused for under in re.finditer("_", name))
        )

    for statement in script.statements:
        if statement.scope and statement.scope not in defined:
            guess = near(statement.scope, defined)
            yield Finding(
                "warning", statement.line, statement.column, f"no statement makes {statement.scope}", guess
            )
        for value in layer_values(statement):
            name = bare(str(value.value))
            if not isinstance(value, Name) or not name:
                continue
            if name in defined:
                if (defined[name].line, defined[name].column) > (value.line, value.column):
                    message = (
                        f"{value.value} is used here but made only in line {defined[name].line}: move "
                        "that line up"
                    )
                    yield _at(value, "warning", message)
            elif made_here(name) and (script.layers is None or _graph(statement)):
                guess = near(name, defined, 0.5)
                message = (
                    f"no statement makes {value.value}, though others of its kind are made in this script"
                )
                yield _at(value, "warning", message, guess)


def _scopes(script: _Script) -> Iterator[Finding]:
    """A scope that differs by a letter or so from the one that the rest of the script uses.

    With a HAR, `_layer_names` knows better.
    """
    if script.layers:
        return
    places: dict[str, list[Value]] = {}
    for statement in script.statements:
        for value in (*statement.results, *layer_values(statement)):
            if isinstance(value, Name) and "/" in str(value.value):
                places.setdefault(str(value.value).split("/")[0], []).append(value)
    groups = {
        str(item.value)
        for s in script.all("network_group")
        for arg in s.args
        if isinstance(arg, Items)
        for item in arg.value
    }
    known = dict.fromkeys([*places, *groups])
    if len(known) > MAX_SCOPES:
        return
    for scope, values in places.items():
        if scope in groups:
            continue
        others = [
            other
            for other in known
            if other != scope and difflib.SequenceMatcher(None, scope, other).ratio() >= 0.8
        ]
        usual = [
            other for other in others if other in groups or (len(values) == 1 and len(places[other]) > 1)
        ]
        if usual:
            message = f"{values[0].value} is in the network {scope}, the rest of the script in {usual[0]}"
            yield _at(values[0], "warning", message, usual[0])
        elif (
            others
            and places[others[0]][0].line <= values[0].line
            and len(values) == 1 == len(places[others[0]])
        ):
            yield _at(
                values[0],
                "warning",
                f"the script speaks of two networks, {others[0]} and {scope}: is one of them misspelt?",
            )


def _layer_names(script: _Script) -> Iterator[Finding]:
    defined = script.defined()
    unchecked: list[Value] = []
    for statement in script.statements:
        for value in layer_values(statement):
            if bare(str(value.value)) in defined and isinstance(value, Name):
                continue
            if script.layers is None or (_graph(statement) and not isinstance(value, Text)):
                unchecked.append(value)
            else:
                yield from _unknown_layer(value, script.layers, defined)
    if unchecked:
        kinds = {"plain": Name, "patterns": Glob, "quoted": Text}
        found = {word: sum(isinstance(value, kind) for value in unchecked) for word, kind in kinds.items()}
        counts = ", ".join(f"{count} {word}" for word, count in found.items() if count)
        why = (
            "they need the parsed network (a HAR)"
            if script.layers is None
            else "the compiler makes such layers after the parse"
        )
        plural = "layer names are" if len(unchecked) > 1 else "layer name is"
        yield _at(
            min(unchecked, key=lambda v: (v.line, v.column)),
            "note",
            f"{len(unchecked)} {plural} unchecked ({counts}): {why}",
        )


def _graph(statement: Statement) -> bool:
    return statement.command in COMMANDS and COMMANDS[statement.command].graph


def _unknown_layer(value: Value, layers: Layers, defined: dict[str, Value]) -> Iterator[Finding]:
    name = str(value.value)
    scope = name.rsplit("/", 1)[0] if "/" in name else ""
    if isinstance(value, Text):
        if not layers.quoted(name):
            yield _at(
                value, "error", f'no layer of {layers.name} comes from "{name}"', layers.nearest_quoted(name)
            )
    elif isinstance(value, Glob):
        if not layers.match(name) and not fnmatch.filter(defined, bare(name)):
            yield _at(value, "warning", f"{{{name}}} fits no layer of {layers.name}")
    elif scope and scope not in layers.scopes:
        yield _at(
            value, "error", f"{name} is in the network {scope}, but the network is {layers.name}", layers.name
        )
    elif not layers.find(name):
        yield _at(
            value, "error", f"{layers.name} has no layer {name}", near(name, [layers.nearest(name), *defined])
        )


# Values that must fit each other


def _normalizations(script: _Script) -> Iterator[Finding]:
    normalised: dict[str, Statement] = {}  # by input layer, "" for the only one
    made: set[str] = set()
    for statement in script.all("normalization"):
        source = bare(str(statement.args[2].value)) if len(statement.args) > 2 else ""
        twice = normalised.get(source) or (
            normalised and ("" in normalised or not source) and next(iter(normalised.values()))
        )
        if source in made:
            message = f"{source} is normalised already: a second normalisation spoils it"
            yield _at(statement, script.choice, message)
        elif twice:
            message = f"the input is normalised already in line {twice.line}: keep one normalization"
            yield _at(statement, script.choice, message)
        normalised.setdefault(source, statement)
        made |= {bare(str(result.value)) for result in statement.results}
        yield from _statistics(statement, script.spec)
    if script.spec and not normalised and not script.broken:
        yield _at(None, "error", f"the script does not normalise the images: write {_wanted(script.spec)}")
    elif not normalised and not script.broken:
        yield _at(
            None,
            "warning",
            "the script has no normalization: the device must then be fed normalised images, not bytes",
        )


def _statistics(statement: Statement, spec: PreprocessSpec | None) -> Iterator[Finding]:
    """Mean and scale of one normalization."""
    if len(statement.args) < 2:
        return
    means, scales = statement.args[:2]
    mean, scale = _numbers(means), _numbers(scales)
    if mean is None or scale is None:
        return
    if len(mean) != len(scale):
        yield _at(
            scales, "error", f"{len(mean)} means but {len(scale)} scales: one of each for every channel"
        )
    elif spec:
        wanted = [spec.mean] * 3, [spec.scale] * 3
        if (mean, scale) != wanted:
            wrong = (
                "mean and scale are exchanged"
                if (scale, mean) == wanted
                else "this is not how the bundle's images are normalised"
            )
            yield _at(means if mean != wanted[0] else scales, "error", f"{wrong}: write {_wanted(spec)}")
    elif any(_alike(scale, known[0]) and _alike(mean, known[1]) for known in STATISTICS):
        yield _at(means, "warning", "mean and scale are exchanged: the mean stands first")
    elif any(s > 0 and s != 1 and not _plausible(m, s) for m, s in zip(mean, scale, strict=True)):
        unit = max(mean) <= 1 and max(scale) <= 1
        reason = (
            "these are numbers for images in 0..1, multiply them by 255" if unit else "check mean and scale"
        )
        yield _at(
            means,
            "warning",
            f"images in 0..255 would lie around {_landing(mean, scale)}, "
            f"too far from 0 or too wide: {reason}",
        )


def _numbers(value: Value) -> list[int | float] | None:
    """What a list of numbers holds; None of any other value."""
    if not isinstance(value, Items):
        return None
    found = [item.value for item in value.value if isinstance(item, Number)]
    return found if len(found) == len(value.value) else None


def _alike(values: list, known: tuple) -> bool:
    return len(values) == len(known) and all(
        abs(a - b) < 0.3 for a, b in zip(sorted(values), sorted(known), strict=True)
    )


def _plausible(mean: float, scale: float) -> bool:
    """Hailo's own diagnostic asks for inputs with a mean in (-2, 5) and a standard deviation in (0.1, 5).

    A scale of 1 is let pass by the caller: networks in Caffe's manner take 0..255 less the mean.
    """
    return -2 < (127.5 - mean) / scale < 5 and 0.1 < UNIFORM_STD / scale < 5


def _landing(mean: list, scale: list) -> str:
    m, s = next((m, s) for m, s in zip(mean, scale, strict=True) if s > 0 and s != 1 and not _plausible(m, s))
    return f"{(127.5 - m) / s:.4g} with a deviation of {UNIFORM_STD / s:.3g}"


def _loss_lists(script: _Script) -> Iterator[Finding]:
    for statement in script.all("post_quantization_optimization"):
        keys = [
            keyword
            for keyword in statement.kwargs
            if keyword.key in ("loss_layer_names", "loss_types", "loss_factors")
        ]
        lists = [(keyword, len(keyword.value.value)) for keyword in keys if isinstance(keyword.value, Items)]
        for keyword, count in lists[1:]:
            first, wanted = lists[0]
            if count != wanted:
                yield _at(
                    keyword,
                    "error",
                    f"{wanted} values for {first.key}, but {count} for {keyword.key}: one each for every "
                    "layer",
                )


def _settings(script: _Script) -> Iterator[Finding]:
    """The same setting given two values in two statements: which one holds is not documented."""
    seen: dict[tuple, Keyword] = {}
    for statement in script.statements:
        if statement.command not in COMMANDS or _graph(statement) or statement.get("layers"):
            continue
        if statement.args and not COMMANDS[statement.command].topics:
            continue
        for keyword in statement.kwargs:
            first = seen.setdefault((statement.command, topic_of(statement), keyword.key), keyword)
            if first.value != keyword.value:
                yield _at(
                    keyword, "warning", f"{keyword.key} has another value in line {first.line}: state it once"
                )


def _precisions(script: _Script) -> Iterator[Finding]:
    """One layer named twice with two precisions.

    A narrower pattern after a wider one is usual, and no contradiction.
    """
    seen: dict[str, tuple[str, Value]] = {}
    for value, mode in _modes(script):
        first, place = seen.setdefault(bare(str(value.value)), (mode, value))
        if first != mode:
            message = f"{value.value} is given {mode} here but {first} in line {place.line}: keep one"
            yield _at(value, "warning", message)


def _modes(script: _Script) -> Iterator[tuple[Value, str]]:
    for statement in script.all("quantization_param"):
        mode = statement.get("precision_mode")
        if mode is not None and isinstance(mode, Name):
            for value in layer_values(statement):
                yield value, str(mode.value)


def _partial_blocks(script: _Script) -> Iterator[Finding]:
    wide = [value for value, mode in _modes(script) if mode.startswith("a16")]
    if script.layers is None:
        rigid = re.compile(rf"({'|'.join(RIGID)})[\d*?\[\]!-]*")
        names = [bare(str(value.value)) for value in wide]
        alone = [
            v
            for v, name in zip(wide, names, strict=True)
            if not isinstance(v, Text) and rigid.fullmatch(name)
        ]
        if alone and all(rigid.fullmatch(name) or name.startswith("output_layer") for name in names):
            message = (
                f"{alone[0].value} cannot change precision, and nothing else is 16 bit: convert the "
                "layers around it too"
            )
            yield _at(alone[0], "warning", message)
        return
    bits: dict[str, tuple[int, Value]] = {}
    for value, mode in _modes(script):
        for name in _meant(value, script.layers):
            bits[name] = 16 if mode.startswith("a16") else 8, value
    for name, layer in script.layers.layers.items():
        if layer.type not in RIGID and not layer.type.startswith("ew_"):
            continue
        readers = layer.outputs if layer.type in ("shortcut", "feature_splitter") else ()
        block = [
            name,
            *(
                m
                for m in (*layer.inputs, *readers)
                if not re.search("input|output", script.layers.layers[m].type)
            ),
        ]
        wide_ones = [member for member in block if member in bits and bits[member][0] == 16]
        narrow = [member for member in block if member not in wide_ones]
        if wide_ones and narrow:
            there, rest = ", ".join(map(bare, wide_ones)), ", ".join(map(bare, narrow))
            message = (
                f"only part of the block of {bare(name)} is 16 bit ({there}), the rest is not "
                f"({rest}): convert all or none"
            )
            yield _at(bits[wide_ones[0]][1], "warning", message)


def _meant(value: Value, layers: Layers) -> list[str]:
    if isinstance(value, Text):
        return layers.quoted(str(value.value))
    if isinstance(value, Glob):
        return layers.match(str(value.value))
    found = layers.find(str(value.value))
    return [found] if found else []


# This project's choices


def _levels(script: _Script) -> Iterator[Finding]:
    if script.broken:
        return
    flavors = script.all("model_optimization_flavor")
    place = flavors[0] if flavors else None
    compression = _last(flavors, "compression_level")
    if compression is None:
        yield _at(
            place,
            script.choice,
            "compression_level is not stated: write 0, or the SDK may choose 4-bit weights",
        )
    elif compression.value != 0 and isinstance(compression, Number):
        yield _at(
            compression, script.choice, f"compression_level {compression.text} makes weights 4 bit: write 0"
        )
    level = _last(flavors, "optimization_level")
    if level is None:
        yield _at(
            place,
            script.choice,
            "optimization_level is not stated, and its default differs between versions of the SDK",
        )
    elif script.calib_count is not None and level.value in (2, 4) and script.calib_count < FINETUNE_IMAGES:
        message = (
            f"optimization_level {level.text} trains on {FINETUNE_IMAGES} images, the bundle has "
            f"{script.calib_count}"
        )
        yield _at(level, "warning", f"{message}: the SDK may lower the level")


def _calibration(script: _Script) -> Iterator[Finding]:
    if script.broken:
        return
    statements = script.all("model_optimization_config", topic="calibration")
    place = statements[0] if statements else None
    size, count = _last(statements, "calibset_size"), script.calib_count
    if size is None:
        yield _at(
            place,
            script.choice,
            "calibset_size is not stated: the SDK then uses 64 images, however many there are",
        )
    elif count is not None and isinstance(size.value, (int, float)) and size.value != count:
        more = size.value > count
        message = f"calibset_size is {size.text}, the bundle has {count} images" + (
            "" if more else ": use them all"
        )
        yield _at(size, "error" if more else "warning", message, str(count))
    if _last(statements, "batch_size") is None:
        yield _at(place, "warning", "the batch_size of the calibration is not stated")


def _bias_correction(script: _Script) -> Iterator[Finding]:
    """Without it these networks lose 3 to 5 points in 8 bit; level 0 does not switch it on, and fine-tuning
    does not replace it.
    """
    if script.broken or script.choice == "warning":
        return
    statements = script.all("post_quantization_optimization", topic="bias_correction")
    policy = _last(statements, "policy")
    if policy is None or policy.value != "enabled":
        message = "bias correction is not switched on, which costs 8 bit some points: write"
        place = policy or (statements[0] if statements else None)
        yield _at(
            place, "warning", f"{message} post_quantization_optimization(bias_correction, policy=enabled)"
        )


def _last(statements: list[Statement], key: str) -> Value | None:
    values = [value for statement in statements if (value := statement.get(key)) is not None]
    return values[-1] if values else None


def _pictures_and_logits(script: _Script) -> Iterator[Finding]:
    """Statements that would change what goes in or comes out, against what the rest of the project feeds and
    expects.
    """
    for statement in script.all("input_conversion"):
        conversion = statement.args[-1] if statement.args else None
        if conversion is not None and conversion.value != "tf_rgb_to_hailo_rgb":
            yield _at(
                conversion,
                script.choice,
                f"{conversion.value} would change the colours: this project's images are RGB already",
            )
    for statement in script.all("resize"):
        yield _at(
            statement, script.choice, "no resize on the chip: this project's images have the network's size"
        )
    for statement in script.all("change_output_activation", "logits_layer", "nms_postprocess"):
        if not any(arg.value == "linear" for arg in statement.args):
            yield _at(
                statement,
                "warning",
                f"{statement.command} changes the logits: this project applies softmax on the host",
            )
    for value, mode in _modes(script):
        if "w4" in mode:
            yield _at(
                value, "warning", f"{mode} gives {value.value} 4-bit weights: this project does not use them"
            )


RULES = (
    _duplicate_results,
    _undefined_results,
    _scopes,
    _layer_names,
    _normalizations,
    _loss_lists,
    _settings,
    _precisions,
    _partial_blocks,
    _levels,
    _calibration,
    _bias_correction,
    _pictures_and_logits,
)
