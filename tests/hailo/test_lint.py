"""The linter: silent on real scripts, exact on planted faults, strict on this project's own, robust on
rubbish.
"""

import random
import re

import pytest
from conftest import ROOT
from test_script import HN, SCRIPT

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.script.layers import Layers
from fer_hailo.script.lint import lint_script
from fer_hailo.script.text import read_script

LAYERS = Layers.from_hn(HN)


def found(text: str, level: str = "error", **given) -> list:
    return [f for f in lint_script(text, **given) if f.level == level]


def test_real_scripts_have_no_error(shared):
    for path in sorted((shared / "data/alls").glob("*.alls")):
        assert found(read_script(path)) == [], path.name
        notes = found(read_script(path), "note")
        assert len(notes) <= 1 and all("unchecked" in note.message for note in notes), path.name


# script, text to replace (its first occurrence), replacement with ^ before the place of the error, a word of
# the message, suggestion
PLANTED = [
    ("generic__resnext26_32x4d", "= normalization(", "= ^normalisation(", "normalisation is not known here",
    "normalization"),
    ("generic__cas_vit_s", "se_optimization,", "^se_optimisation,", "topic of pre_quantization_optimization",
    "se_optimization"),
    ("generic__inception_v1", "policy=disabled", "^polcy=disabled", "polcy is not known here", "policy"),
    ("generic__yolov11n", "width_splitter_defuse", "^width_spliter_defuse", "is not known here",
    "width_splitter_defuse"),
    ("generic__mobilenet_v3", "policy=enabled", "policy=^enabeld", "policy: enabeld", "enabled"),
    ("generic__scrfd_500m", "sigmoid", "^sigmoyd", "sigmoyd is not known here", "sigmoid"),
    ("generic__scdepthv3", "optimization_level=2", "optimization_level=^9", "from 0 to 4 or -100", ""),
    ("generic__face_attr_resnet_v1_18", "compression_level=2", "compression_level=^-1", "from 0 to 5", ""),
    ("generic__fcn8_resnet_v1_18", "batch_size=1", "batch_size=^0", "from 1 up", ""),
    ("generic__fast_depth", "calibset_size=128", "calibset_size=^-128", "from 1 up", ""),
    ("generic__efficientnet_s", "compression_level=1", "compression_level=^1.5", "a whole number", ""),
    ("generic__repvgg_a1", "learning_rate=1e-3", "learning_rate=^-1e-3", "above 0", ""),
    ("generic__damoyolo_tinynasL25_S", "level=max", "level=^7", "from 0 to 2 or max", ""),
    ("generic__vit_pose_small_bn", "timeout=5h", "timeout=^5x", "a time is expected", ""),
    ("generic__hardnet39ds", "57.12,", "^0.0,", "a number above 0", ""),
    ("generic__regnetx_800mf", ", 103.53], [", "], ^[", "2 means but 3 scales", ""),
    (
        "generic__squeezenet_v1.1", "[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]",
        "^[58.395, 57.12, 57.375], [123.675, 116.28, 103.53]", "exchanged", "",
    ),
    ("generic__efficientnet_lite2", "[127, 127, 127], [128, 128, 128]", "^[128, 128, 128], [127, 127, 127]",
    "exchanged", ""),
    ("generic__arcface_mobilefacenet", "([127.5, 127.5, 127.5], [127.5,", "(^[127.5, 127.5, 127.5], [1.275,",
    "a deviation of 57.7", ""),
    ("generic__yolov5s_seg", "([0.0,", "([^-127.5,", "from 0 to 255", ""),
    ("generic__person_attr_resnet_v1_18", "7.375])", "7.375])\nb = ^normalization([0.0], [255.0])",
    "normalised already in line 1", ""),
    ("generic__zero_dce", "(optimization_level=0, compression_level=0)",
    "^(optimization_level=0, compression_level=0", "never closed", ""),
    ("generic__espcn_x3", "([0.]", "(0.^]", "')' is expected", ""),
    ("generic__depth_anything_v2_vits", "{matmul*}", "^{matmul*", "never closed", ""),
    (
        "generic__yolov7_tiny", '"../../postprocess_config/yolov7_tiny_nms_config.json"',
        '^"../../postprocess_config/yolov7_tiny_nms_config.json', "quotes", "",
    ),
    (
        "generic__yolox_s_wide_leaky", '"../../postprocess_config/nms_config_yolox_s_wide_leaky.json"',
        "^../../postprocess_config/nms_config_yolox_s_wide_leaky.json", "a value is expected", "",
    ),
    ("generic__tiny_yolov3", "batch_size=4, calib", "batch_size=4 ^calib", "comma is missing", ""),
    ("generic__lightface_slim_nv12_fhd", "yuv_to_rgb1 =", "^resize_input1 =", "already the result of line 2",
    ""),
    ("generic__unet_mobilenet_v2", "calibset_size=256", "^batch_size=256", "batch_size is given twice", ""),
    ("generic__siglip2_b_32_256_image_encoder", "{conv_feature*}", "^{conv*}",
    "a8_w8 here but a16_w16 in line 8", ""),
    ("generic__yolov5m_seg", "output_layer2, precision_mode=a16_w16", "^output_layer1, precision_mode=a8_w8",
    "a16_w16 in line 3", ""),
    (
        "hailo8__base__deeplab_v3_mobilenet_v2", "input_layer1, deeplab_v3_mobilenet_v2/normalization1",
        "input_layer1, ^deeplab_v3_mobilenet_v2/normalization7", "no statement makes", "normalization1",
    ),
    (
        "hailo8l__base__paddle_ocr_v5_mobile_detection", "concat([dw10_d0_defuse_1x1",
        "concat([^dw10_d9_defuse_1x1",
        "no statement makes dw10_d9", "dw10_d5_defuse_1x1",
    ),
    ("hailo8__base__detr_resnet_v1_18_bn", "context_3.place(2", "^context_30.place(2",
    "no statement makes context_30", "context_3"),
    (
        "hailo8__base__stereonet", "shortcut(conv46_sdc, [conv48_sd0,", "shortcut(conv46_sdc, [^conv48_sd22,",
        "no statement makes conv48_sd22", "conv48_sd2",
    ),
    ("generic__fast_sam_s", "fast_sam_s/conv41", "^fast_sm_s/conv41", "in the network fast_sm_s",
    "fast_sam_s"),
    ("generic__davit_tiny", "davit_tiny/matmul7", "^davit_tny/matmul7", "in the network davit_tny",
    "davit_tiny"),
    ("generic__yolov5s_bbox_decoding_only", "bbox_decoding_only=True", "^True", "positional", ""),
    ("generic__petrv2_repvggB0_transformer_pp_800x320", "optimization_level=0", 'optimization_level=^"0"',
    "leave out the quotes", "0"),
    ("generic__whisper_tiny_10s_no_kqs_decoder", "a16_w16", "^a8_w16", "a8_w16 is not known here", None),
    ("generic__tiny_yolov4_license_plates", "output_layer1", "^concat1", "concat1 cannot change precision",
    ""),
    ("generic__yolov6n_0.2.1_nms_core", "fused_bbox_decoder_8, ", "^", "name of one layer", ""),
    ("generic__yolov5n_seg_nv12_fhd", "[1080, 1920]", "^[1080]", "2 values are expected, not 1", ""),
    ("generic__vit_base_bn", "[0.01, 99.9]", "^[100.0, 99.9]", "must be above", ""),
    ("generic__yolov8l", "loss_factors=[1,", "^loss_factors=[", "10 values for loss_layer_names, but 9", ""),
    ("generic__nanodet_repvgg_a1_640", "input_conversion = ", "^", "needs a name", ""),
    ("generic__yolov10b", "model_optimization_flavor", "^level = model_optimization_flavor",
    "gives no result", ""),
    ("generic__deeplab_v3_mobilenet_v2_wo_dilation", "calibration, ", "calibration, ^8, ",
    "one argument too many", ""),
]  # fmt: skip


# What is only probably wrong, or not known here: the others cannot be right.
PROBABLY = {
    "generic__resnext26_32x4d", "generic__cas_vit_s", "generic__inception_v1", "generic__yolov11n",
    "generic__scrfd_500m",
    "generic__squeezenet_v1.1", "generic__efficientnet_lite2", "generic__arcface_mobilefacenet",
    "generic__person_attr_resnet_v1_18", "generic__lightface_slim_nv12_fhd",
    "generic__siglip2_b_32_256_image_encoder",
    "generic__yolov5m_seg", "hailo8__base__deeplab_v3_mobilenet_v2",
    "hailo8l__base__paddle_ocr_v5_mobile_detection",
    "hailo8__base__detr_resnet_v1_18_bn", "hailo8__base__stereonet", "generic__fast_sam_s",
    "generic__davit_tiny",
    "generic__whisper_tiny_10s_no_kqs_decoder", "generic__tiny_yolov4_license_plates",
}  # fmt: skip


def test_every_fault_is_in_another_script():
    assert len({case[0] for case in PLANTED}) == len(PLANTED) >= 25


def marked(text: str) -> tuple[str, tuple[int, int]]:
    """The text without its ^, and the line and column where that stood."""
    before, after = text.split("^")
    return before + after, (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


@pytest.mark.parametrize(
    ("name", "old", "new", "word", "suggestion"), PLANTED, ids=[case[0] for case in PLANTED]
)
def test_planted_faults(shared, name, old, new, word, suggestion):
    text = read_script(shared / "data/alls" / f"{name}.alls")
    assert found(text) == [] and old in text
    changed, place = marked(text.replace(old, new, 1))
    level = "warning" if name in PROBABLY else "error"
    assert level == "error" or found(changed) == []  # the compiler decides
    here = [f for f in found(changed, level) if (f.line, f.column) == place]
    assert here and word in here[0].message
    assert suggestion is None or here[0].suggestion == suggestion
    assert level == "warning" or found(changed)[0] == here[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a, b = defuse(conv1, 2)", "defuse into 2 gives 3 results, not 2"),
        ("a, b, c, d = defuse(conv1, 2)", "defuse into 2 gives 3 results, not 4"),
        ("n = normalization([], [])", "an empty one"),
        ("n = normalization([a], [1])", "a number from 0 to 255"),
        ("a.defuse(conv1, 2)", "only place"),
        ("a = defuse(conv1, 2)", "at least 2 names"),
        ("quantization_param(3, precision_mode=a8_w8)", "layers are expected"),
        ('quantization_param(conv1, precision_mode="a8_w8")', "without quotes"),
        ("change_output_activation(conv1, 3)", "one of linear"),
        ("model_optimization_config()", "needs a first argument"),
        ("model_optimization_config(3)", "3 is nothing that model_optimization_config takes"),
        ('nms_postprocess("a.json", meta_archyolov8)', "no argument of its own"),
        ("quantization_param({conv[0-9*}, precision_mode=a8_w8)", "no layer pattern"),
        ("normalization()", "needs a name"),
        ("set_seed(seed=1.5)", "a whole number"),
        ("post_quantization_optimization(finetune, policy=yes)", "yes is not one of enabled, disabled"),
    ],
)
def test_faults_that_real_scripts_have_no_room_for(text, word):
    assert any(word in error.message for error in found(text))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("n = normalization([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])", "multiply them by 255"),
        ("n = normalization([0.5], [0.5])", "multiply them by 255"),
        ("n = normalization([66.632, 68.501, 70.323], [104.1, 116.7, 122.8])", "exchanged"),
        (
            "a = normalization([0.0], [255.0])\nb = normalization([0.0], [255.0], a)",
            "a is normalised already",
        ),
        (
            "a = normalization([0.0], [255.0], input_layer1)\n"
            "b = normalization([0.0], [255.0], input_layer1)",
            "in line 1",
        ),
        ("a = normalization([0.0], [255.0], input_layer1)\nb = normalization([0.0], [255.0])", "in line 1"),
        (
            "buffers(conv1, conv1_d0, 1)\nconv1_d0, conv1_d1, conv1_dc = defuse(conv1, 2)",
            "made only in line 2",
        ),
        (
            "quantization_param([concat1, {shortcut*}, feature_splitter2], precision_mode=a16_w16)",
            "concat1 cannot",
        ),
        ("dequantize(conv1)", "dequantize is not known here as a command, so it is not checked"),
        ("model_optimization_config(new_topic, rank=2)", "new_topic is not known here as a topic"),
        ("performance_param(turbo=1)", "turbo is not known here as a key of performance_param"),
    ],
)
def test_what_may_be_right_never_stops_a_script(text, word):
    assert found(text) == [] and any(word in warning.message for warning in found(text, "warning"))


@pytest.mark.parametrize(
    "text",
    [
        # Words of public scripts of which no more is known.
        "hef_param(should_use_sequencer=enabled)", "pre_quantization_optimization(zero_static_channels, "
                                                   "policy=enabled)",
        "pre_quantization_optimization(dead_layers_removal, policy=disabled)", "quantization_param(conv1, "
                                                                               "weight_group_size=32)",
        "performance_param(fps=null)", "a = format_conversion(conv1, f8cr_to_hailo_rgb)",
        "model_optimization_config(negative_exponent, layers={*}, rank=0)", "quantization_param(conv1, "
                                                                            "precision_mode=a16_w8)",
        "a, b, c, d, e = defuse(conv1, 3, defuse_type=SPATIAL)",
    ],
)  # fmt: skip
def test_what_public_scripts_hold_is_known(text):
    about = [
        f for f in lint_script(text) if f.level != "note" and "not" in f.message and "stated" not in f.message
    ]
    assert [f for f in about if "known here" in f.message or f.level == "error"] == []


def test_line_ends_of_windows_change_nothing(shared):
    for path in sorted((shared / "data/alls").glob("*.alls")):
        text = read_script(path)
        assert lint_script(text.replace("\n", "\r\n")) == lint_script(text), path.name


@pytest.mark.parametrize(
    "text",
    [
        "n = normalization([103.94, 116.78, 123.68], [1.0, 1.0, 1.0])",  # Caffe's manner
        "a = normalization([0.0], [255.0], input_layer1)\nb = normalization([0.0], [255.0], input_layer2)",
        "model_optimization_flavor(optimization_level=-100, compression_level=5)",
        "quantization_param({conv*}, precision_mode=a16_w16)\n"
        "quantization_param(conv3, precision_mode=a8_w8)",
        "quantization_param([one/conv1, two/conv1])\nquantization_param([one/conv2, two/conv2])",
        "quantization_param({concat*}, precision_mode=a16_w16)\nquantization_param({conv*}, "
        "precision_mode=a16_w16)",
    ],
)
def test_what_is_unusual_but_right(text):
    assert found(text) == []


def test_a_foreign_script_gets_warnings_only():
    text = (
        "n = normalization([0.0], [255.0])\n"
        "c = input_conversion(bgr_to_rgb)\n"
        "r = resize(input_layer1, resize_shapes=[720, 1280])\n"
        "quantization_param(conv1, precision_mode=a8_w4)\n"
        "logits_layer1 = logits_layer(net/fc1, softmax, 1)\n"
        "allocator_param(no_such_knob=3)\n"
        "post_quantization_optimization(finetune, policy=enabled, epochs=4)\n"
        "post_quantization_optimization(finetune, policy=disabled)\n"
    )
    assert found(text) == []
    warnings = {(f.line, f.message.split(":")[0].split(" ")[0]) for f in found(text, "warning")}
    assert warnings == {
        (1, "compression_level"), (1, "optimization_level"), (1, "calibset_size"), (1, "the"),
        (2, "bgr_to_rgb"), (3, "no"), (4, "a8_w4"),
        (5, "logits_layer"), (6, "no_such_knob"), (8, "policy"),
    }  # fmt: skip
    (note,) = found(text, "note")
    assert (note.line, note.column) == (3, 12) and "3 layer names are unchecked (3 plain)" in note.message


OURS = {"spec": PreprocessSpec(), "calib_count": 1024}


NORMALIZATION = SCRIPT.split("\n")[0]
FLAVOR, CALIBRATION = (
    "model_optimization_flavor(optimization_level=2",
    "model_optimization_config(calibration, batch_size=8",
)

CORRECTION = "post_quantization_optimization(bias_correction, policy=enabled)\n"


@pytest.mark.parametrize(
    ("old", "new", "level", "word"),
    [
        (", [127.5, 127.5, 127.5]", ", ^[128.0, 128.0, 128.0]", "error", "not how the bundle's images are "
                                                                         "normalised"),
        ("[127.5, 127.5, 127.5], [127.5, 127.5, 127.5]", "^[127.5], [127.5]", "error",
        "write input_normalization ="),
        (f"{NORMALIZATION}\n", "^", "error", "does not normalise"),
        ("model_opt", "n2 = ^normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])\nmodel_opt",
        "error", "in line 1"),
        ("calibset_size=1024", "calibset_size=^2048", "error", "the bundle has 1024"),
        ("calibset_size=1024", "calibset_size=^64", "warning", "use them all"),
        (f"{CALIBRATION}, calibset_size=1024", f"^{CALIBRATION}", "error", "64 images"),
        ("model_optimization_config(calibration, batch_size=8, ", "^model_optimization_config(calibration, ",
        "warning", "batch_size"),
        ("compression_level=0", "compression_level=^1", "error", "4 bit"),
        (f"{FLAVOR}, compression_level=0", f"^{FLAVOR}", "error", "compression_level is not stated"),
        ("model_optimization_flavor(optimization_level=2, ", "^model_optimization_flavor(", "error",
        "optimization_level is not stated"),
        ("model_opt", "c = input_conversion(input_layer1, ^bgr_to_rgb)\nmodel_opt", "error", "RGB already"),
        ("model_opt", "r = ^resize(input_layer1, resize_shapes=[9, 9])\nmodel_opt", "error", "no resize"),
        ("model_opt", "^change_output_activation(fc1, sigmoid)\nmodel_opt", "warning", "changes the logits"),
        ("model_opt", "l = ^logits_layer(fc1, softmax, 1)\nmodel_opt", "warning", "changes the logits"),
        ("model_opt", "quantization_param(^conv1, precision_mode=a8_w4)\nmodel_opt", "warning", "4-bit"),
        ("model_opt", "^# why\nmodel_opt", "warning", "comment"),
        ("policy=enabled", "policy=^disabled", "warning", "bias correction is not switched on"),
    ],
)  # fmt: skip
def test_the_script_of_a_bundle(old, new, level, word):
    assert lint_script(SCRIPT, **OURS) == []
    changed, place = marked(SCRIPT.replace(old, new, 1))
    (finding,) = [f for f in lint_script(changed, **OURS) if f.level != "note"]
    assert (finding.level, (finding.line, finding.column)) == (level, place)
    assert word in finding.message


def test_a_script_of_a_bundle_without_bias_correction():
    (warning,) = found(SCRIPT.replace(CORRECTION, ""), "warning", **OURS)
    assert "bias correction is not switched on" in warning.message and CORRECTION.strip() in warning.message
    # Foreign
    assert not any("bias" in warning.message for warning in found(SCRIPT.replace(CORRECTION, ""), "warning"))


def test_our_own_scripts_correct_biases_at_every_level():
    levels = set()
    for name in ("int8", "fast", "bias"):
        text = read_script(ROOT / "alls" / f"{name}.alls")
        assert [f for f in lint_script(text, **OURS) if f.level != "note"] == [] and CORRECTION in text, name
        levels.add(re.search(r"optimization_level=(\d)", text)[1])
    assert levels == {"0", "2"}


def test_exchanged_against_the_bundle():
    text = SCRIPT.replace(
        "[127.5, 127.5, 127.5], [127.5, 127.5, 127.5]", "[57.0, 57.0, 57.0], [115.0, 115.0, 115.0]"
    )
    (error,) = found(text, spec=PreprocessSpec(mean=115.0, scale=57.0), calib_count=1024)
    assert "exchanged" in error.message
    assert found(text) == []  # no well-known numbers: without the bundle nobody could tell


def test_too_few_pictures_for_fine_tuning():
    (warning,) = found(SCRIPT.replace("1024", "500"), "warning", spec=PreprocessSpec(), calib_count=500)
    assert "trains on 1024" in warning.message and (warning.line, warning.column) == (2, 46)


def test_a_script_with_a_fault_of_grammar_is_not_said_to_lack_things():
    (error,) = found(SCRIPT.replace("batch_size=8,", "batch_size=8"), **OURS)
    assert "comma" in error.message


@pytest.mark.parametrize(
    ("text", "level", "column", "word", "suggestion"),
    [
        ("quantization_param(conv9, precision_mode=a8_w8)", "error", 20, "net has no layer conv9", "conv3"),
        ("quantization_param(nett/conv2, precision_mode=a8_w8)", "error", 20, "in the network nett", "net"),
        (
            'quantization_param("b2_projet", precision_mode=a8_w8)',
            "error",
            20,
            'comes from "b2_projet"',
            "b2_project",
        ),
        ('quantization_param("b9_*", precision_mode=a8_w8)', "error", 20, 'comes from "b9_*"', None),
        ("quantization_param({conw*}, precision_mode=a8_w8)", "warning", 20, "{conw*} fits no layer", ""),
        (
            "pre_quantization_optimization(equalization, layers=[conv1, covn2])",
            "error",
            60,
            "no layer covn2",
            "conv2",
        ),
    ],
)
def test_layer_names_with_the_network(text, level, column, word, suggestion):
    (finding,) = [f for f in lint_script(SCRIPT + text, layers=LAYERS) if f.line == 5]
    assert (finding.level, finding.column) == (level, column)
    assert word in finding.message and suggestion in (None, finding.suggestion)


@pytest.mark.parametrize(
    "text",
    [
        'quantization_param(["b2_*", conv1, net/conv3], precision_mode=a8_w8)',
        "quantization_param({net/conv*}, precision_mode=a8_w8)",
        "quantization_param([normalization1, {norm*}], precision_mode=a8_w8)",
    ],
)
def test_known_layer_names(text):
    assert lint_script(SCRIPT + text, layers=LAYERS) == []


def test_names_that_the_compiler_makes_stay_unchecked():
    (note,) = lint_script(SCRIPT + "buffers(precision_change1, conv1, 2)", layers=LAYERS)
    assert note.level == "note" and "2 layer names" in note.message


@pytest.mark.parametrize(
    ("layers", "level", "word"),
    [
        ("[conv3, ew_add1, conv1, conv2, concat1]", None, ""),  # both blocks whole
        (
            "[conv1, conv2, ew_add1, concat1]",
            "warning",
            "concat1 is 16 bit (concat1, ew_add1), the rest is not (conv3)",
        ),
        (
            "[conv1, conv2, ew_add1]",
            "warning",
            "concat1 is 16 bit (ew_add1), the rest is not (concat1, conv3)",
        ),
        ("concat1", "warning", "concat1 is 16 bit (concat1), the rest is not (ew_add1, conv3)"),
        (
            "[conv3, ew_add1, concat1]",
            "warning",
            "ew_add1 is 16 bit (ew_add1), the rest is not (conv1, conv2)",
        ),
        ('["b?_project", "b2_add", "join"]', None, ""),
        ("fc1", None, ""),
        ("{*}", None, ""),
    ],
)
def test_partial_16_bit_blocks(layers, level, word):
    findings = lint_script(SCRIPT + f"quantization_param({layers}, precision_mode=a16_w16)", layers=LAYERS)
    # The compiler puts in precision changes of its own
    assert not [f for f in findings if f.level == "error"]
    assert (findings == []) == (level is None)
    assert level is None or any(word in f.message for f in findings if f.level == level)


def test_a_later_exception_breaks_a_block():
    text = "quantization_param({*}, precision_mode=a16_w16)\nquantization_param(conv3, precision_mode=a8_w8)"
    (warning,) = found(SCRIPT + text, "warning", layers=LAYERS)
    assert (warning.line, warning.column) == (5, 20) and "(conv3)" in warning.message


def test_rubbish_gives_findings_with_places_in_the_text(shared):
    rng = random.Random(20)
    paths = [p for p in sorted((shared / "data/alls").glob("*.alls")) if p.stat().st_size < 20_000]
    for _ in range(600):
        tokens = re.findall(r"\w+|\s+|.", read_script(rng.choice(paths))[:3000])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(tokens))
            tokens[at : at + 1] = rng.choice([[], [], [rng.choice("()[]{}=,\"'#.\0é")], [tokens[at]] * 2])
        text = "".join(tokens)
        lines = text.split("\n")
        given = rng.choice([{}, OURS, {"layers": LAYERS}])
        for finding in lint_script(text, **given):
            assert 1 <= finding.line <= len(lines)
            assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
            assert "\n" not in finding.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "a, " * 100_000,
        "a(" + "[" * 50_000,
        "x" * 1_000_000,
        "a({" * 50_000,
        "\n" * 300_000,
        "a(b=" * 50_000,
        "\0" * 100_000,
        "",
    ]
    + [
        "\n".join(f"quantization_param(n{i}/conv)" for i in range(3000)),
        "cmd(" + "9" * 900 + ")",
        "quantization_param({" + "*" * 300 + "})",
    ],
)
def test_no_input_hangs(text):
    assert len(lint_script(text, **OURS, layers=LAYERS)) >= 1
