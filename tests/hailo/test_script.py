"""The grammar of model scripts: parsing, rendering, places of faults, quoted layer names."""

import io
import json
import re
import tarfile

import pytest
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.script.clash import without_clashes
from fer_hailo.script.files import read_scripts
from fer_hailo.script.layers import Layers, resolve
from fer_hailo.script.lint import lint_script, specialise
from fer_hailo.script.text import (
    Finding,
    Glob,
    Items,
    Name,
    Number,
    Text,
    format_finding,
    parse_script,
    read_script,
    render,
)


def parsed(text: str):
    statements, findings = parse_script(text)
    assert findings == []
    return statements


def test_one_statement_with_every_kind_of_argument():
    (s,) = parsed("a, net/b = cmd(1, -2.5e-3, conv1, 'p \"q\"', {net/conv*_[0-9]}, [x, [2]], key=enabled)")
    assert ([r.value for r in s.results], s.scope, s.command) == (["a", "net/b"], "", "cmd")
    assert [type(v) for v in s.args] == [Number, Number, Name, Text, Glob, Items]
    assert [v.value for v in s.args[:5]] == [1, -0.0025, "conv1", 'p "q"', "net/conv*_[0-9]"]
    assert (s.args[5].value[0].value, s.args[5].value[1].value[0].value) == ("x", 2)
    assert (s.get("key").value, s.get("other")) == ("enabled", None)
    assert (s.line, s.column) == (1, 12)
    assert [(v.line, v.column) for v in s.args] == [(1, 16), (1, 19), (1, 28), (1, 35), (1, 44), (1, 63)]
    assert (s.kwargs[0].column, s.kwargs[0].value.column) == (73, 77)


def test_rare_forms():
    statements = parsed(
        "context_0.place(0, [a,\r\n    b])\n\n{} = defuse_block(x, defuse_count=4)\nplace(1,[c])\n"
    )
    assert [(s.scope, s.command, s.line) for s in statements] == [
        ("context_0", "place", 1),
        ("", "defuse_block", 4),
        ("", "place", 5),
    ]
    assert [type(r) for r in statements[1].results] == [Glob]
    assert statements[0].args[1].value[1].line == 2
    assert (
        render(statements)
        == "context_0.place(0, [a, b])\n{} = defuse_block(x, defuse_count=4)\nplace(1, [c])\n"
    )


def test_rendering_keeps_numbers_and_strings_as_written():
    text = 'cmd(1e-3, 0., 0.00005, -100, "../a.json", \'"x"\')\n'
    assert render(parsed(text)) == text


def test_comments_are_one_warning_and_are_not_rendered():
    statements, findings = parse_script("# one\ncmd(1) # two\n")
    assert render(statements) == "cmd(1)\n"
    assert [(f.level, f.line, f.column) for f in findings] == [("warning", 1, 1)]
    assert "2 comments" in findings[0].message


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("cmd(1", 1, 4, "never closed"),
        ("cmd(", 1, 4, "never closed"),
        ("cmd(1, [", 1, 8, "never closed"),
        ("cmd(1,", 1, 4, "never closed"),
        ("cmd(a=", 1, 7, "a value is expected"),
        ("cmd(1\nother(2)", 1, 4, "never closed"),
        ("cmd([1, 2)", 1, 10, "']' is expected"),
        ("cmd(1))", 1, 7, "ends before"),
        ("cmd 1)", 1, 5, "'(' is expected"),
        ("cmd(1 2)", 1, 7, "comma"),
        ("cmd(a=1 b=2)", 1, 9, "comma"),
        ("cmd(1,,2)", 1, 7, "missing"),
        ("cmd([1,])", 1, 8, "missing"),
        ('cmd("abc)', 1, 5, "quotes"),
        ("cmd({conv*, 1)", 1, 5, "never closed"),
        ("cmd(conv*)", 1, 5, "braces"),
        ("cmd(a=1, 2)", 1, 10, "positional"),
        ("cmd(a=1,\n    a=2)", 2, 5, "twice"),
        ("cmd(../x.json)", 1, 5, "'../x.json'"),
        ("cmd(127.5.5)", 1, 5, "'127.5.5'"),
        ("x cmd(1)", 1, 3, "'(' is expected"),
        ("1 = cmd(1)", 1, 1, "name of a result"),
        ("a, b cmd(1)", 1, 6, "'='"),
        ("a = (1)", 1, 5, "command"),
        ("cmd(" + "[" * 40 + "]" * 40 + ")", 1, 21, "nested"),
        ("cmd(" + "x" * 500 + ")", 1, 5, "500 letters"),
        ("cmd(1) cmd(2)", 1, 8, "one statement a line"),
    ],
)
def test_faults_have_a_place_and_leave_the_rest(text, line, column, word):
    statements, findings = parse_script(f"{text}\nlast(7)\n")
    (finding,) = findings
    assert (finding.level, finding.line, finding.column) == ("error", line, column)
    assert word in finding.message and "\n" not in finding.message
    assert statements[-1].command == "last"


def test_findings_are_written_as_compilers_do_and_sort_by_place():
    finding = Finding("error", 3, 9, "unknown key lyers", "layers")
    assert format_finding(finding, "a.alls") == "a.alls:3:9: error: unknown key lyers (did you mean layers?)"
    later, note = Finding("error", 4, 1, "a"), Finding("note", 3, 9, "a")
    assert sorted([later, note, finding]) == [finding, note, later]


def test_files_that_are_no_script(tmp_path):
    (tmp_path / "b.alls").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "c.alls").write_bytes(b"\xef\xbb\xbfcmd(1)\n")
    with pytest.raises(UserError, match="cannot read"):
        read_script(tmp_path / "a.alls")
    with pytest.raises(UserError, match="cannot read"):
        read_script(tmp_path)
    with pytest.raises(UserError, match="not text"):
        read_script(tmp_path / "b.alls")
    assert parsed(read_script(tmp_path / "c.alls"))[0].command == "cmd"
    with open(tmp_path / "d.alls", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="larger"):
        read_script(tmp_path / "d.alls")


def count_calls(text: str) -> int:
    """Opening parentheses outside of comments, strings and other brackets: one a statement."""
    depth = count = 0
    for line in text.splitlines():
        for part in re.sub('"[^"]*"', "", line.split("#")[0]):
            count += part == "(" and depth == 0
            depth += (part in "([") - (part in ")]")
    return count


def test_real_scripts_parse_and_render(shared):
    paths = sorted((shared / "data/alls").glob("*.alls"))
    assert len(paths) == 125
    for path in paths:
        text = read_script(path)
        statements, findings = parse_script(text)
        assert [f for f in findings if f.level == "error"] == [], path.name
        assert len(statements) == count_calls(text), path.name
        assert parse_script(render(statements)) == (statements, []), path.name


# A network of two residual blocks as an HN describes it, with fused names as TensorFlow gives them.
HN = {
    "name": "net",
    "net_params": {},
    "layers": {
        "net/input_layer1": {
            "type": "input_layer",
            "input": [],
            "output": ["net/conv1"],
            "original_names": ["image"],
        },
        "net/conv1": {
            "type": "conv",
            "input": ["net/input_layer1"],
            "output": ["net/conv2", "net/ew_add1"],
            "original_names": ["small/b1_project/conv;small/b1_bn/add"],
        },
        "net/conv2": {
            "type": "conv",
            "input": ["net/conv1"],
            "output": ["net/ew_add1"],
            "original_names": ["b2_project"],
        },
        "net/ew_add1": {
            "type": "ew_add",
            "input": ["net/conv1", "net/conv2"],
            "output": ["net/concat1"],
            "original_names": ["b2_add"],
        },
        "net/conv3": {
            "type": "conv",
            "input": ["net/conv2"],
            "output": ["net/concat1"],
            "original_names": ["b3_project", "b3_act"],
        },
        "net/concat1": {
            "type": "concat",
            "input": ["net/ew_add1", "net/conv3"],
            "output": ["net/fc1"],
            "original_names": ["join"],
        },
        "net/fc1": {
            "type": "dense",
            "input": ["net/concat1"],
            "output": ["net/output_layer1"],
            "original_names": ["logits"],
        },
        "net/output_layer1": {
            "type": "output_layer",
            "input": ["net/fc1"],
            "output": [],
            "original_names": ["logits"],
        },
    },
}


def resolved(text: str) -> str:
    return render(resolve(parsed(text), Layers.from_hn(HN)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'quantization_param("b2_project", precision_mode=a16_w16)',
            "quantization_param(net/conv2, precision_mode=a16_w16)",
        ),
        (
            'quantization_param("b1_project", precision_mode=a8_w8)',
            "quantization_param(net/conv1, precision_mode=a8_w8)",
        ),
        (
            'quantization_param(["b2_add", conv3, "b3_act"])',
            "quantization_param([net/ew_add1, conv3, net/conv3])",
        ),
        ('quantization_param("b?_project")', "quantization_param([net/conv1, net/conv2, net/conv3])"),
        (
            'pre_quantization_optimization(equalization, layers=["b2_*"], policy=disabled)',
            "pre_quantization_optimization(equalization, layers=[net/conv2, net/ew_add1], policy=disabled)",
        ),
        ('nms_postprocess("b2_add", yolov5)', 'nms_postprocess("b2_add", yolov5)'),
        ("quantization_param([conv1, conv1])", "quantization_param([conv1, conv1])"),
    ],
)
def test_quoted_names_become_the_parsers(before, after):
    assert resolved(before) == after + "\n"


def test_quoted_names_that_do_not_fit():
    with pytest.raises(
        UserError,
        match=r'line 2, column 20: no layer of net comes from "b2_projct" \(did you mean b2_project\?\)',
    ):
        resolved('cmd(1)\nquantization_param("b2_projct")')
    with pytest.raises(
        UserError, match=r"fits net/conv1, net/conv2, net/conv3, but change_output_activation takes one"
    ):
        resolved('change_output_activation("b?_project", sigmoid)')
    with pytest.raises(UserError, match="no layer"):
        resolved('quantization_param("b[9-0]*")')
    # A part of a part is no name: b2 is not "b2_add".
    with pytest.raises(UserError, match="no layer"):
        resolved('quantization_param("b2")')


def write_har(path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_layers_of_a_har(tmp_path, mode):
    good = json.dumps(HN).encode()
    members = {
        "net.metadata.json": b"{}",
        "net.native.hn": b"{}",
        "net.hn": good,
        "net.fp.hn": b"{}",
        "net.npz": bytes(5000),
    }
    write_har(tmp_path / "m.har", members, mode)
    layers = Layers.from_har(tmp_path / "m.har")
    assert layers == Layers.from_hn(HN)
    assert layers.layers["net/concat1"].inputs == ("net/ew_add1", "net/conv3")
    assert (
        layers.find("conv3"),
        layers.find("net/conv3"),
        layers.find("conv4"),
        layers.find("other/conv3"),
    ) == ("net/conv3",) * 2 + (None,) * 2
    assert layers.match("conv*") == layers.match("net/conv*") == ["net/conv1", "net/conv2", "net/conv3"]


def test_a_har_without_a_usable_hn(tmp_path):
    for hn, word in (
        ({"layers": {"a/b": {"type": "conv", "input": "x"}}}, "no list"),
        ({"layers": {"a/b": 3}}, "no type"),
    ):
        write_har(tmp_path / "m.har", {"a.hn": json.dumps(hn).encode()})
        with pytest.raises(UserError, match=word) as error:
            Layers.from_har(tmp_path / "m.har")
        assert "m.har" in str(error.value)


SCRIPT = """normalization1 = normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])
model_optimization_flavor(optimization_level=2, compression_level=0)
model_optimization_config(calibration, batch_size=8, calibset_size=1024)
post_quantization_optimization(bias_correction, policy=enabled)
"""


def test_a_script_is_fitted_to_its_bundle():
    spec = PreprocessSpec(mean=114.75, scale=57.375)
    text = specialise("# ours\n" + SCRIPT, spec, 512)
    assert text == (
        "normalization1 = normalization([114.75, 114.75, 114.75], [57.375, 57.375, 57.375])\n"
        "model_optimization_flavor(optimization_level=2, compression_level=0)\n"
        "model_optimization_config(calibration, batch_size=8, calibset_size=512)\n"
        "post_quantization_optimization(bias_correction, policy=enabled)\n"
    )
    assert [f for f in lint_script(text, spec, 512) if f.level == "error"] == []
    assert specialise(SCRIPT, PreprocessSpec(), 1024) == SCRIPT
    assert "batch_size=8, calibset_size=7)" in specialise(SCRIPT.replace(", calibset_size=1024", ""), spec, 7)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (SCRIPT.split("\n", 1)[1], "0 normalization"),
        (SCRIPT + SCRIPT.replace("1 =", "2 ="), "2 normalization"),
        (SCRIPT.rsplit("\n", 3)[0], "calibset_size=9"),
        (SCRIPT + "cmd(", ":5:4: error"),
    ],
)
def test_what_cannot_be_fitted(text, word):
    with pytest.raises(UserError, match=word):
        specialise(text, PreprocessSpec(), 9)


NETWORKS = ("mobilenet_v3_small", "mobilenet_v3_small_minimalistic")


@pytest.mark.parametrize(("name", "level"), [("int8", 2), ("fast", 0), ("bias", 2)])
@pytest.mark.parametrize("own", [None, *NETWORKS])
@pytest.mark.parametrize("more", [None, "negative_exponent", "output16"])
def test_the_projects_scripts(name, level, own, more):
    parts = [part for part in (name, own and f"{own}_a16", more) if part]
    text = read_scripts([ROOT / "alls" / f"{part}.alls" for part in parts]).text
    assert [f for f in lint_script(text, PreprocessSpec(), 1024) if f.level != "note"] == []
    flavor = next(s for s in parsed(text) if s.command == "model_optimization_flavor")
    assert (flavor.get("optimization_level").value, flavor.get("compression_level").value) == (level, 0)
    assert text.count("a16_w16") == bool(own) + (more == "output16")


def chain(minimal: bool) -> dict:
    """An HN with the layers of MobileNetV3Small (Howard et al. 2019, table 2), one for each TFLite operator
    that is named in a script.

    Squeeze-and-excite is left out, as where the clean-up removed it.
    """
    layers = {
        "net/input_layer1": {"type": "input_layer", "input": [], "output": [], "original_names": ["image"]}
    }

    def add(kind: str, original: str, *sources: str) -> str:
        name = f"net/{kind}{sum(layer['type'] == kind for layer in layers.values()) + 1}"
        layers[name] = {"type": kind, "input": list(sources), "output": [], "original_names": [original]}
        for source in sources:
            layers[source]["output"].append(name)
        return name

    last = add("conv", "conv", "net/input_layer1")
    for block in range(11):
        prefix, before = f"expanded_conv_{block}" if block else "expanded_conv", last
        last = add("conv", f"{prefix}_expand", last) if block else last
        last = add("conv", f"{prefix}_project", add("dw", f"{prefix}_depthwise", last))
        if block in (2, 4, 5, 7, 9, 10):
            last = add("ew_add", f"{prefix}_add", before, last)
    last = add("avgpool", "head_pool", add("conv", "conv_1" if minimal else "conv_1;act/mul", last))
    add("fc", "logits", add("fc", "head_dense1", last))
    return {"name": "net", "layers": layers}


def test_a_finding_is_told_by_its_own_file(tmp_path):
    shared, own = tmp_path / "shared.alls", tmp_path / "own.alls"
    shared.write_text("normalization1 = normalization([0], [1])\nnormalisation(1)")  # without an end of line
    own.write_text("quantization_param(conv1, precision_mode=a8_w8)\nquantization_parm(conv1)\n")
    script = read_scripts([shared, own])
    assert [statement.line for statement in parsed(script.text)] == [1, 2, 3, 4]
    told = [
        script.format(finding) for finding in lint_script(script.text) if "as a command" in finding.message
    ]
    assert [line.partition(": warning")[0] for line in told] == [f"{shared}:2:1", f"{own}:2:1"]
    assert script.name == f"{shared} + {own}"
    nowhere = Finding("warning", 9, 1, "beyond the end")  # stays in the last file
    assert script.format(nowhere).startswith(f"{own}:7:1: warning")


def test_results_make_way_for_layers_of_the_same_name():
    hn = {
        "name": "net",
        "layers": {f"net/{name}": {"type": "conv"} for name in ("input_layer1", "normalization1", "conv1")},
    }
    text = (
        "normalization1 = normalization([1.0], [2.0], input_layer1)\n"
        "resize1 = resize(net/normalization1, resize_shapes=[9, 9])\n"
        "quantization_param([normalization1, conv1], precision_mode=a8_w8)\n"
    )
    changed, notes = without_clashes(parsed(text), Layers.from_hn(hn))
    assert render(changed) == text.replace("normalization1", "input_normalization")
    (note,) = notes
    assert "normalization1 is called input_normalization" in note
    # Nothing clashes: nothing changes. A name that is taken is numbered.
    assert without_clashes(changed, Layers.from_hn(hn)) == (changed, [])
    hn["layers"]["net/input_normalization"] = {"type": "conv"}
    assert render(without_clashes(changed, Layers.from_hn(hn))[0]) == text.replace(
        "normalization1", "input_normalization_2"
    )
    # After quantization a result takes the place of a layer.
    graph = parsed("conv1, conv1_d0, conv1_dc = defuse(conv1, 2)\n")
    assert without_clashes(graph, Layers.from_hn(hn)) == (graph, [])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_16_bit_scripts_name_whole_blocks(network):
    layers = Layers.from_hn(chain("minimal" in network))
    text = read_scripts([ROOT / "alls/int8.alls", ROOT / f"alls/{network}_a16.alls"]).text
    assert lint_script(text, PreprocessSpec(), 1024, layers) == []
    effective = render(resolve(parsed(text), layers))
    assert '"' not in effective and lint_script(effective, PreprocessSpec(), 1024, layers) == []
    # Numbered by hand: conv1 and dw1 are the first of their kind; 1 + 10 + 11 convolutions come before the
    # last one.
    more = "" if "minimal" in network else ", net/conv23, net/avgpool1"
    assert effective.endswith(f"quantization_param([net/conv1, net/dw1{more}], precision_mode=a16_w16)\n")


def test_what_a_script_holds_cannot_command_the_terminal():
    _, (finding, *_) = parse_script("quantization_param({conv\x1b[31m*}, precision_mode=a16_w16)")
    assert format_finding(finding, "a.alls").startswith(
        "a.alls:1:20: error: {conv\\x1b[31m*} is no layer pattern"
    )
