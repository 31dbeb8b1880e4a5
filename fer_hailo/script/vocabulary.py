"""What is known of each model-script command: its arguments, keys and the values they take.

Sources: the scripts of Hailo's public model zoo (which commands and keys exist, and what stands there), and
public reports of what the SDK takes or refuses (levels, 4-bit shares, activations, conversions). The vendor's
own reference could not be had, and the language grows with each version. So a command, topic, key or word
that is not listed is a warning, with the listed one that is like it: it is not known here, which does not
make it wrong. Errors are values that what is known cannot take: a number out of its bounds, a list for a
number, `policy=yes`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

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
    render_value,
)

MAX_KNOWN = 5000  # the largest known script makes 335 layers


Kind = Literal["integer", "number", "word", "layer", "layers", "string", "time", "list", "any"]


@dataclass(frozen=True)
class Domain:
    """Which values an argument takes.

    kind: "integer", "number", "word", "layer" (one), "layers" (one, a pattern or a list), "string", "time",
    "list" of `item`, or "any". low, high: bounds of a number, low itself excluded when `above`. words: the
    words that are allowed, for numbers beside the numbers. unlike: level of the finding for a word that is
    none of `words`: "error" where there can be no others (True and False, enabled and disabled), "warning"
    where there may be, "" where anything goes. item, size, rising: of lists: what they hold, how many (None:
    any number but 0), whether each number must exceed the one before.
    """

    kind: Kind
    low: float | None = None
    high: float | None = None
    above: bool = False
    words: tuple[str, ...] = ()
    unlike: Level | Literal[""] = "warning"
    item: Domain | None = None
    size: int | None = None
    rising: bool = False


@dataclass(frozen=True)
class Command:
    """What a command takes.

    args: domains of the positional arguments, of which the first `needed` must be there (None: all); more:
    domain of any that follow. results: how many names may stand before `=`, least and most (None: any
    number). topics: for commands whose first argument is a topic, the keys of each; then `keys` are those
    that all topics share. graph: acts on the graph after quantization, whose layers are partly made by the
    compiler: their names cannot be checked.
    """

    args: tuple[Domain, ...] = ()
    needed: int | None = None
    more: Domain | None = None
    results: tuple[int, int | None] = (0, 0)
    keys: dict[str, Domain] = field(default_factory=dict)
    topics: dict[str, dict[str, Domain]] = field(default_factory=dict)
    graph: bool = False


def integer(low: int | None = None, high: int | None = None, *words: str) -> Domain:
    return Domain("integer", low, high, words=words)


def number(low: float | None = None, high: float | None = None, above: bool = False, *words: str) -> Domain:
    return Domain("number", low, high, above, words)


def words(known: str, unlike: Level | Literal[""] = "warning") -> Domain:
    return Domain("word", words=tuple(known.split()), unlike=unlike)


def several(item: Domain, size: int | None = None, rising: bool = False) -> Domain:
    return Domain("list", item=item, size=size, rising=rising)


def same(domain: Domain, keys: str) -> dict[str, Domain]:
    """The same domain for several keys."""
    return dict.fromkeys(keys.split(), domain)


ANY, LAYER, LAYERS, STRING, TIME = (
    Domain("any"),
    Domain("layer"),
    Domain("layers"),
    Domain("string"),
    Domain("time"),
)
BOOL, FLAG = words("True False", "error"), words("enabled disabled", "error")
SWITCH = words("enabled disabled allowed", "error")
EITHER = words("enabled disabled True False", "error")  # both spellings are found for some keys
COUNT, POSITIVE = integer(1), number(0, above=True)
RANGE = several(number(), 2, rising=True)
LAYER_LIST = several(LAYER)
NETWORKS = several(words("", ""))

PRECISION = words("a8_w8 a8_w4 a16_w16 a16_w8 a8_w8_a8 a8_w8_a16")
ACTIVATION = words(
    "linear relu relu6 leaky prelu elu sigmoid tanh exp swish silu hardswish hardsigmoid gelu mish softplus"
)
CONVERSION = words(
    "bgr_to_rgb rgb_to_bgr yuv_to_rgb yuv_to_bgr nv12_to_rgb nv21_to_rgb nv12_to_hailo_yuv nv21_to_hailo_yuv "
    "yuy2_to_hailo_yuv "
    "i420_to_hailo_yuv tf_rgbx_to_hailo_rgb tf_rgb_to_hailo_rgb",
)
FORMAT = words(
    "spatial_reshape reshape_1xw0_to_hxw transpose_matmul tf_rgb_to_hailo_rgb hailo_rgb_to_tf_rgb "
    "hailo_rgb_to_lcu hailo_rgb_to_ppu "
    "ppu_to_hailo_rgb hailo_rgb_to_f8cr f8cr_to_hailo_rgb",
    unlike="",  # layer names stand among them
)
META_ARCH = words("yolov5 yolov5_seg yolov6 yolov7 yolov8 yolov8_seg yolox ssd centernet")
LOSS = words("l2 l2rel ce cosine")

LEARNING = {
    "policy": SWITCH,
    "learning_rate": number(0, 1, above=True),
    **same(COUNT, "batch_size dataset_size epochs val_images val_batch_size"),
    "warmup_epochs": integer(0),
    "loss_layer_names": LAYER_LIST,
    "loss_types": several(LOSS),
    "loss_factors": several(number(0)),
    "def_loss_type": LOSS,
    "native_layers": LAYER_LIST,
    **same(EITHER, "train_scales train_bias native_activations stop_gradient_at_loss force_pruning shuffle"),
}

COMMANDS: dict[str, Command] = {
    # The graph before quantization
    "normalization": Command((several(number(0, 255)), several(POSITIVE), LAYER), 2, results=(1, None)),
    "input_conversion": Command((CONVERSION, CONVERSION), 1, results=(1, 2), keys={"emulator_support": BOOL}),
    "resize": Command(
        (LAYER,),
        results=(1, None),
        keys={
            "resize_shapes": several(COUNT, 2),
            "resize_method": words("bilinear nearest_neighbor"),
            "engine": words("nn_core cpu auto"),
        },
    ),
    "transpose": Command((LAYER,), 0, results=(0, None)),
    "change_output_activation": Command((ACTIVATION, ACTIVATION), 1),
    "logits_layer": Command(
        (LAYER, words("softmax argmax"), integer(-4, 3), words("cpu nn_core")), 2, results=(1, 1)
    ),
    "nms_postprocess": Command(
        (STRING, META_ARCH),
        0,
        results=(0, None),
        keys={
            "meta_arch": META_ARCH,
            "engine": words("cpu nn_core auto"),
            "bbox_decoding_only": BOOL,
            **same(number(0, 1), "nms_scores_th nms_iou_th"),
            **same(COUNT, "classes max_proposals_per_class regression_length"),
            "image_dims": several(COUNT, 2),
        },
    ),
    "set_seed": Command(keys={"seed": integer(0)}),
    # Quantization
    "model_optimization_flavor": Command(
        keys={
            "optimization_level": integer(0, 4, "-100"),
            "compression_level": integer(0, 5),
            "batch_size": COUNT,
        }
    ),
    "model_optimization_config": Command(
        topics={
            "calibration": same(COUNT, "batch_size calibset_size"),
            "compression_params": same(number(0, 1), "auto_4bit_weights_ratio auto_16bit_weights_ratio"),
            "negative_exponent": {"layers": LAYERS, "rank": integer(0)},
            "globals": same(FLAG, "multiproc_policy output_16bit output_encoding_vector"),
            "checker_cfg": {
                "policy": FLAG,
                "analyze_mode": words("simple advanced"),
                "batch_norm_checker": BOOL,
                **same(COUNT, "dataset_size batch_size"),
            },
        }
    ),
    "pre_quantization_optimization": Command(
        keys={"policy": SWITCH, "layers": LAYERS},
        topics={
            "equalization": {"equalization_target": words("activation weights")},
            "activation_clipping": {
                "mode": words("disabled manual percentile percentile_force"),
                "clipping_values": RANGE,
                "recollect_stats": BOOL,
            },
            "weights_clipping": {
                "mode": words("disabled manual percentile mmse mmse_if4b"),
                "clipping_values": RANGE,
            },
            "global_avgpool_reduction": {"division_factors": several(COUNT)},
            "se_optimization": {
                "method": words("tse"),
                "mode": words("sequential"),
                **same(COUNT, "count tile_height"),
            },
            "ew_add_fusing": {},
            "layer_norm_decomposition": {
                "equalization": FLAG,
                "bit_decomposition_mode": words("uniform_precision"),
            },
            "matmul_equalization": {"matmul_bias": FLAG},
            "matmul_correction": {"correction_type": words("zp_comp_none zp_comp_block zp_comp_block_3")},
            "matmul_decomposition": {"precision_mode": PRECISION},
            "resolution_reduction": {"shape": several(COUNT, 2), "interpolation": words("disabled bilinear")},
        },
    ),
    "post_quantization_optimization": Command(
        keys={"policy": SWITCH},
        topics={
            "finetune": LEARNING,
            "train_encoding": LEARNING,
            "bias_correction": {"layers": LAYERS, "cache_compression": EITHER, "batch_size": COUNT},
            "adaround": LEARNING
            | {
                "layers": LAYERS,
                "mode": words("train_4bit train_all"),
                "cache_compression": EITHER,
                **same(number(0, 1), "warmup weight decay_start"),
                "bias_correction_count": COUNT,
                "b_range": several(POSITIVE, 2),
            },
            "mix_precision_search": {
                "dataset_size": COUNT,
                "snr_cap": POSITIVE,
                "comprecision_metric": words("bops"),
                "optimizer": words("linear pareto"),
            },
        },
    ),
    "quantization_param": Command(
        (LAYERS,),
        keys={
            "precision_mode": PRECISION,
            "bias_mode": words(
                "single_scale_decomposition double_scale_initialization double_scale_decomposition"
            ),
            "activation_fit": FLAG,
            **same(RANGE, "force_range_in force_range_out"),
            "force_range_index": integer(0),
            "max_elementwise_feed_repeat": COUNT,
        },
    ),
    # Compilation
    "performance_param": Command(
        keys={
            **same(integer(0, 2, "max"), "compiler_optimization_level optimization_level"),
            "optimize_for_batch": COUNT,
            "optimize_for_power": BOOL,
            "fps": number(0, None, True, "null"),
        },
    ),
    "resources_param": Command(
        keys={
            **same(
                number(0, 10),
                "max_utilization max_apu_utilization max_compute_utilization max_compute_16bit_utilization "
                "max_control_utilization "
                "max_input_aligner_utilization max_memory_utilization",
            ),
            "strategy": words("greedy"),
        },
    ),
    "context_switch_param": Command(
        keys={"mode": SWITCH, "slotter_chances": COUNT, "allow_auto_merge_in_multicontext": BOOL}
    ),
    "platform_param": Command(keys={"hef_version": COUNT, **same(several(ANY), "targets hints")}),
    "allocator_param": Command(
        keys={
            **same(TIME, "timeout cluster_timeout splitter_timeout"),
            **same(
                integer(0),
                "automatic_ddr_l3_cuts_threshold automatic_l4_portals_l3_cuts_threshold "
                "input_layer_max_successors max_auto_defuse "
                "max_auto_merge_depth ppu_reshape_slack seed",
            ),
            **same(
                number(0, 10),
                "merge_min_layer_utilization merge_max_layer_utilization merge_max_memory_utilization",
            ),
            **same(
                EITHER,
                "auto_split_const_inputs automatic_ddr automatic_l4_portals automatic_reshapes "
                "automatic_resize_reshapes "
                "calculate_power defuse_by_validator disable_row_per_cut enable_auto_spatial_collapse "
                "enable_auto_spatial_reshapes enable_automatic_offdevice_outputs enable_axis_upsize "
                "enable_collapser "
                "enable_defuse_with_slack enable_fixer enable_lanes enable_lcu_ecc enable_muxer "
                "enable_partial_row_buffers "
                "enable_post_split_average_buffers enable_swapper force_map_on_mirror "
                "optimize_pipeline_stoppage validate "
                "width_splitter_defuse",
            ),
        },
    ),
    "compilation_param": Command(
        (LAYERS,),
        keys={
            **same(
                SWITCH,
                "balance_output_multisplit compress_l3_weights enable_ew_add_optimization mixed_mem "
                "no_contexts parallel_activation "
                "resize_bilinear_streaming use_16x4_sc",
            ),
            **same(BOOL, "buffer_in_l4 defuse_spatial_w"),
            **same(
                integer(0), "defuse_num_layers number_of_apus number_of_input_aligners number_of_subclusters"
            ),
            "hw_layer_type_list": several(words("lcu ppu")),
            "layer_output_buffers_format": words("automatic consecutive row_per_cut"),
            "resources_allocation_strategy": words("manual_scs_selection"),
        },
        graph=True,
    ),
    "network_group": Command((NETWORKS,), results=(1, 1), graph=True),
    "context": Command((LAYER_LIST,), results=(1, 1), graph=True),
    "place": Command((integer(0), LAYER_LIST), graph=True),
    "buffers": Command(
        (
            LAYER,
            LAYER,
            integer(0),
            integer(0, None, "FULL_ROW", "PARTIAL_ROW"),
            words("FULL_ROW PARTIAL_ROW"),
        ),
        3,
        graph=True,
    ),
    "remove_node": Command((LAYER,), graph=True),
    "defuse": Command(
        (LAYER, COUNT),
        results=(2, None),
        keys={
            "defuse_type": words(
                "SPATIAL SPATIAL_RESHAPE INPUT_FEATURES COMPUTE_LANES SUPER_DW SUPER_DECONV DECONV "
                "RESIZE_TRANSPOSE NMS"
            ),
            "axis": words("FEATURES WIDTH HEIGHT"),
            "splitter": BOOL,
        },
        graph=True,
    ),
    "defuse_block": Command(
        (LAYER,), more=LAYER, results=(1, None), keys={"defuse_count": COUNT}, graph=True
    ),
    "format_conversion": Command(
        (LAYER, FORMAT),
        more=Domain("integer", 0, words=FORMAT.words, unlike=""),
        results=(1, None),
        keys={"collapse": BOOL, **same(several(COUNT, 3), "input_windows output_windows")},
        graph=True,
    ),
    "concat": Command((LAYER_LIST, LAYER), results=(1, 1), graph=True),
    "shortcut": Command((LAYER, LAYERS), results=(1, 1), graph=True),
    "shape_splitter": Command(
        (words("SPLIT_FEATURES SPLIT_WIDTH SPLIT_HEIGHT"), LAYER, LAYER_LIST), results=(1, 1), graph=True
    ),
    "transpose_concat": Command((LAYER,), results=(1, None), graph=True),
    "mux_demux": Command((LAYER_LIST, LAYER_LIST), results=(2, 2), graph=True),
    "merge": Command((LAYER, LAYER), more=LAYER, results=(1, 1), graph=True),
    "l4_portal": Command((LAYER, LAYERS), results=(1, 1), graph=True),
    "ddr": Command((LAYER, LAYERS), results=(1, 1), graph=True),
}


# Words of public scripts, of which no more is known than that they exist: as a command, a topic or a key.
SEEN = (
    "bucket", "dead_layers_removal", "eq_consumer", "hef_param", "infusible_ew_add_type", "join", "meta_arch",
    "output_layer", "weight_group_size", "zero_static_channels",
)  # fmt: skip


def near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word that is most like `word`, or "" when none is, or when there are too many to compare."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=cutoff) if len(known) <= MAX_KNOWN else []
    return found[0] if found else ""


def topic_of(statement: Statement) -> str:
    """The topic of model_optimization_config and its like (calibration, finetune, ...), or "" for other
    commands.
    """
    command = COMMANDS.get(statement.command)
    return str(statement.args[0].value) if command and command.topics and statement.args else ""


def check(statement: Statement) -> Iterator[Finding]:
    """What is wrong with one statement by itself: its command, number of results and arguments, keys and
    values.
    """
    command = COMMANDS.get(statement.command)
    if command is None:
        yield from _unknown(statement, statement.command, "as a command", COMMANDS)
        return
    yield from _check_results(statement, command)
    if statement.scope and statement.command != "place":
        yield Finding(
            "error",
            statement.line,
            statement.column,
            f"only place stands after a dot, {statement.command} does not",
        )
    known_keys = command.keys
    if command.topics:
        known_keys = yield from _check_topic(statement, command)
        if known_keys is None:
            return
    else:
        yield from _check_args(statement, command)
    for keyword in statement.kwargs:
        yield from _check_key(statement, command, keyword, known_keys)


def _unknown(
    place: Statement | Keyword | Value, word: str, what: str, known: Iterable[str]
) -> Iterator[Finding]:
    if word not in SEEN:
        message = f"{word[:60]} is not known here {what}, so it is not checked"
        yield Finding("warning", place.line, place.column, message, near(word, known))


def layer_values(statement: Statement) -> Iterator[Value]:
    """Every value of a statement that names layers: names, patterns and strings, also those inside lists."""
    for value, domain in typed_values(statement):
        if names_layers(domain):
            yield from _flat(value)


def names_layers(domain: Domain) -> bool:
    """Whether values of this domain are names of layers."""
    return domain.kind in ("layer", "layers") or (
        domain.kind == "list" and domain.item is not None and domain.item.kind == "layer"
    )


def typed_values(statement: Statement) -> Iterator[tuple[Value, Domain]]:
    """Every argument of a statement with what it should be; what is not known is "any"."""
    command = COMMANDS.get(statement.command)
    if command is None:
        return
    if command.topics:
        keys = command.keys | command.topics.get(topic_of(statement), {})
    else:
        keys = command.keys
        for index, value in enumerate(statement.args):
            yield value, _argument(statement, command, index)
    for keyword in statement.kwargs:
        yield keyword.value, keys.get(keyword.key, ANY)


def _flat(value: Value) -> Iterator[Value]:
    if isinstance(value, Items):
        for item in value.value:
            yield from _flat(item)
    elif isinstance(value, Name | Glob | Text):
        yield value


def _argument(statement: Statement, command: Command, index: int) -> Domain:
    # input_conversion(conversion), input_conversion(layer, conversion) and change_output_activation alike:
    # the layer may be left out.
    if (
        statement.command in ("input_conversion", "change_output_activation")
        and index == 0
        and len(statement.args) > 1
    ):
        return LAYER
    if statement.command == "format_conversion" and index == 1 and isinstance(statement.args[1], Name):
        return LAYER
    if index < len(command.args):
        return command.args[index]
    return command.more or ANY


def _check_results(statement: Statement, command: Command) -> Iterator[Finding]:
    least, most = command.results
    count = len(statement.results)
    if count < least:
        message = (
            f"{statement.command} makes a layer that needs a name: write NAME = {statement.command}(...)"
        )
        if least > 1:
            message = f"{statement.command} needs at least {least} names before '=', not {count}"
        if not (statement.results and isinstance(statement.results[0], Glob)):
            yield Finding("error", statement.line, statement.column, message)
    elif statement.command == "defuse" and statement.get("defuse_type") is None:
        yield from _check_defused(statement)
    elif most is not None and count > most:
        place = statement.results[most]
        message = (
            f"{statement.command} gives no result"
            if most == 0
            else f"{statement.command} gives {most} result{'s' * (most > 1)}, not {count}"
        )
        yield Finding("error", place.line, place.column, message)


def _check_defused(statement: Statement) -> Iterator[Finding]:
    """Its parts, and what joins them.

    Of the other types real scripts have as many, one or two more, by the layer.
    """
    parts = statement.args[1] if len(statement.args) > 1 else None
    if (
        isinstance(parts, Number)
        and isinstance(parts.value, int)
        and len(statement.results) != parts.value + 1
    ):
        message = f"defuse into {parts.value} gives {parts.value + 1} results, not {len(statement.results)}"
        yield Finding("error", statement.line, statement.column, message)


def _check_topic(statement: Statement, command: Command):
    """Check the one positional argument; returns the keys that go with it, or None when they cannot be
    told.
    """
    known = ", ".join(command.topics)
    if not statement.args:
        yield Finding(
            "error",
            statement.line,
            statement.column,
            f"{statement.command} needs a first argument: one of {known}",
        )
        return None
    topic, *others = statement.args
    for value in others:
        yield Finding(
            "error",
            value.line,
            value.column,
            f"{render_value(value)[:60]} is one argument too many: write key=value",
        )
    if not isinstance(topic, Name):
        message = f"{render_value(topic)[:60]} is nothing that {statement.command} takes: one of {known}"
        yield Finding("error", topic.line, topic.column, message)
        return None
    if topic.value not in command.topics:
        yield from _unknown(topic, topic.value, f"as a topic of {statement.command}", command.topics)
        return None
    return command.keys | command.topics[topic.value]


def _check_args(statement: Statement, command: Command) -> Iterator[Finding]:
    needed = len(command.args) if command.needed is None else command.needed
    if len(statement.args) < needed:
        message = (
            f"{statement.command} needs {needed} positional argument{'s' * (needed > 1)}, not "
            f"{len(statement.args)}"
        )
        yield Finding("error", statement.line, statement.column, message)
    for index, value in enumerate(statement.args):
        if index >= len(command.args) and command.more is None:
            takes = len(command.args) or "none without a key"
            message = (
                f"{render_value(value)[:60]} is one argument too many: {statement.command} takes {takes}"
            )
            yield Finding("error", value.line, value.column, message)
            return
        domain, word = _argument(statement, command, index), str(value.value)
        key = next((key for key in command.keys if word.startswith(key)), "")
        if key and isinstance(value, Name) and not names_layers(domain) and word not in domain.words:
            yield Finding(
                "error",
                value.line,
                value.column,
                f"{word[:60]} is no argument of its own",
                f"{key}={word[len(key) :]}",
            )
            continue
        yield from _check_value(value, domain, "")


def _check_key(
    statement: Statement, command: Command, keyword: Keyword, known: dict[str, Domain]
) -> Iterator[Finding]:
    if keyword.key in known:
        yield from _check_value(keyword.value, known[keyword.key], keyword.key)
        return
    of = f"{statement.command}({topic_of(statement)})" if command.topics else statement.command
    yield from _unknown(keyword, keyword.key, f"as a key of {of}", known)


def _check_value(value: Value, domain: Domain, key: str) -> Iterator[Finding]:
    shown, lead = render_value(value)[:60], f"{key}: " if key else ""

    def fault(message: str, suggestion: str = "", level: Level = "error") -> Finding:
        return Finding(level, value.line, value.column, lead + message, suggestion)

    if domain.kind in ("integer", "number") and (isinstance(value, Number) or not isinstance(value, Name)):
        yield from _check_number(value, domain, fault, shown)
    elif domain.kind in ("word", "integer", "number"):
        yield from _check_word(value, domain, fault, shown)
    elif domain.kind == "list":
        yield from _check_list(value, domain, fault, shown, key)
    elif domain.kind == "string" and not isinstance(value, Text):
        yield fault(f"a string in quotes is expected, not {shown}")
    elif (
        domain.kind == "time"
        and not (isinstance(value.value, int) and value.value > 0)
        and not re.fullmatch(r"[1-9]\d*[smh]", str(value.value))
    ):
        yield fault(f"a time is expected (seconds, or with a unit: 90s, 25m, 5h), not {shown}")
    elif domain.kind == "layer" and not isinstance(value, Name | Text):
        yield fault(f"the name of one layer is expected, not {shown}")
    elif domain.kind == "layers" and any(
        isinstance(v, Number) for v in ([*value.value] if isinstance(value, Items) else [value])
    ):
        yield fault(f"layers are expected (a name, {{pattern}} or [list]), not {shown}")


def _check_number(value: Value, domain: Domain, fault, shown: str) -> Iterator[Finding]:
    expected = f"{_described(domain)} is expected, not {shown}"
    if not isinstance(value, Number):
        quoted = isinstance(value, Text) and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value.value)
        yield fault(expected + (": leave out the quotes" if quoted else ""), value.value if quoted else "")
        return
    if value.text in domain.words:
        return
    number = value.value
    low = domain.low is not None and (number <= domain.low if domain.above else number < domain.low)
    whole = domain.kind == "number" or isinstance(number, int)
    if (
        low
        or not whole
        or (domain.high is not None and number > domain.high)
        or number != number
        or abs(number) == float("inf")
    ):
        yield fault(expected)


def _check_word(value: Value, domain: Domain, fault, shown: str) -> Iterator[Finding]:
    word = str(value.value)
    if isinstance(value, Name) and word in domain.words:
        return
    expected = _described(domain)
    if isinstance(value, Text) and word in domain.words:
        yield fault(f"{expected} is expected without quotes, not {shown}", word)
    elif not isinstance(value, Name) or (not domain.words and domain.kind != "word"):
        yield fault(f"{expected} is expected, not {shown}")
    elif domain.unlike == "error":
        yield fault(f"{shown} is not {expected}", near(word, domain.words))
    elif domain.unlike:
        known = f"{shown} is not known here, so it is not checked; known: {', '.join(domain.words)}"
        yield fault(known, near(word, domain.words), domain.unlike)


def _check_list(value: Value, domain: Domain, fault, shown: str, key: str) -> Iterator[Finding]:
    if not isinstance(value, Items) or not value.value:
        yield fault(f"a list in [ ] is expected, not {'an empty one' if isinstance(value, Items) else shown}")
        return
    if domain.size is not None and len(value.value) != domain.size:
        yield fault(f"{domain.size} values are expected, not {len(value.value)}")
    if domain.item:
        for item in value.value:
            yield from _check_value(item, domain.item, key)
    numbers = [item.value for item in value.value if isinstance(item, Number)]
    if domain.rising and any(b <= a for a, b in zip(numbers, numbers[1:], strict=False)):
        yield fault(f"the second value must be above the first, unlike {shown}")


def _described(domain: Domain) -> str:
    if domain.kind == "word":
        return domain.words[0] if len(domain.words) == 1 else f"one of {', '.join(domain.words)}"
    what = "a whole number" if domain.kind == "integer" else "a number"
    if domain.low is not None and domain.high is not None:
        what += f" {'above' if domain.above else 'from'} {domain.low:g} to {domain.high:g}"
    elif domain.low is not None:
        what += f" {'above' if domain.above else 'from'} {domain.low:g}"
        what += "" if domain.above else " up"
    return " or ".join([what, *domain.words])
