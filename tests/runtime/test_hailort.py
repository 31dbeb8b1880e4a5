"""HailoRT backend and its double. The double keeps to HailoRT's public code; there is no device here."""

import json
import re
import shutil
import sys
import threading

import board
import numpy as np
import pytest
from handmade import NAMES, SPEC, interpreted, networks, pictures

from fer_hailo.common.errors import UserError
from fer_hailo.formats.hef import read_hef
from fer_hailo.predict import advice, device, hailort
from fer_hailo.predict.hailort import HailoRT, check_hef

BATCH = 4


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    """Do not change it: copy it."""
    return board.make_deploy(tmp_path_factory.mktemp("board"))


@pytest.fixture
def order(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "SERVICE", tmp_path / "no-service")
    with board.double_of_hailort(monkeypatch, tmp_path / "record") as put:
        yield put


@pytest.fixture
def open_hef(deploy):
    """Open the HEF for a chip; closed at the end."""
    opened = []

    def call(chip="hailo8", spec=SPEC, labels=NAMES, batch=BATCH, path=None):
        opened.append(HailoRT(path or deploy / chip / "model.hef", spec, labels, batch))
        return opened[-1]

    yield call
    for model in opened:
        model.close()


def calls(path, name=None) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if name in (None, line["call"])]


def expected(images, hef) -> np.ndarray:
    """TensorFlow's interpreter on the INT8 TFLite, rounded to the 256 steps of the HEF's output."""
    output = read_hef(hef).groups[0].outputs[0]
    stored = np.clip(
        np.rint(interpreted(networks()["int8"], images) / output.qp_scale) + output.qp_zp, 0, 255
    )
    return (stored - output.qp_zp) * output.qp_scale


@pytest.mark.parametrize("api", ["jobs", "vstreams"])
@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, 2 * BATCH, 3 * BATCH + 1])
def test_answers_are_those_of_the_int8_tflite(deploy, order, open_hef, api, count):
    record = order(**({"api": "vstreams"} if api == "vstreams" else {}))
    images = pictures()[0][:count]
    answers = open_hef().logits(images, SPEC)
    assert calls(record, "configure")[0]["batch"] == BATCH
    wanted = expected(images, deploy / "hailo8" / "model.hef")
    assert answers.shape == (count, 4) and answers.dtype == np.float32
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
    # Rounding moves a value by half a step at most, where the range of the output holds it.
    step = read_hef(deploy / "hailo8" / "model.hef").groups[0].outputs[0].qp_scale
    assert np.median(np.abs(answers - interpreted(networks()["int8"], images))) <= step / 2


def test_the_answers_are_right_about_the_pictures(order, open_hef):
    order()
    images, labels = pictures()
    found = open_hef().logits(images, SPEC).argmax(1)
    assert (found == labels).mean() > 0.7 and (
        found == interpreted(networks()["int8"], images).argmax(1)
    ).mean() > 0.98


def test_the_predictor_opens_a_hef_with_the_labels_of_its_bundle(deploy, order):
    from fer_hailo.deploy.home import resolve
    from fer_hailo.predict.predictor import load

    record, images = order(), pictures()[0][:30]
    hef, tflite = resolve(deploy / "hailo8"), resolve(deploy / "model_float32.tflite")
    with load(hef, batch=5) as hef, load(tflite) as tflite:
        assert (hef.stage, hef.labels, hef.spec) == ("hef", NAMES, SPEC)
        answers, wanted = hef.predict(images), tflite.predict(images)
        assert np.abs(answers - wanted).mean() < 0.02 and (answers.argmax(1) == wanted.argmax(1)).mean() > 0.9
    assert [line["call"] for line in calls(record)][-2:] == ["shutdown", "release"] and calls(
        record, "configure"
    )[0]["batch"] == 5


def test_no_pictures(order, open_hef):
    order()
    assert open_hef().logits(np.empty((0, 16, 16, 3), np.uint8), SPEC).shape == (0, 4)


def test_calls_in_a_row_share_nothing(order, open_hef):
    record = order()
    images, model = pictures()[0], open_hef()
    first = model.logits(images[:9], SPEC)
    kept = first.copy()
    second = model.logits(images[9:18], SPEC)
    assert (first == kept).all()
    np.testing.assert_array_equal(np.concatenate([first, second]), model.logits(images[:18], SPEC))
    assert len(calls(record, "open")) == len(calls(record, "configure")) == 1  # the device stays open


def test_jobs_overlap_and_the_last_is_shorter(order, open_hef):
    record = order(seconds=0.005)
    open_hef().logits(pictures()[0][: 3 * BATCH + 1], SPEC)
    jobs = calls(record, "run_async")
    assert [job["pictures"] for job in jobs] == [4, 4, 4, 1] and calls(record, "configure")[0][
        "batch"
    ] == BATCH
    assert max(job["under_way"] for job in jobs) == 2 * BATCH  # one is computed while the next waits


def test_a_short_queue_is_waited_for(order, open_hef):
    record = order(queue=BATCH, seconds=0.002)
    images = pictures()[0][:11]
    answers = open_hef().logits(images, SPEC)
    assert answers.shape == (11, 4) and max(job["under_way"] for job in calls(record, "run_async")) <= BATCH


@pytest.mark.parametrize("api", ["jobs", "vstreams"])
def test_pictures_that_are_views_or_read_only(order, open_hef, api):
    order(**({"api": "vstreams"} if api == "vstreams" else {}))
    images, model = pictures()[0][:10], open_hef()
    wanted = model.logits(images, SPEC)
    frozen = images.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model.logits(frozen, SPEC), wanted)
    np.testing.assert_array_equal(model.logits(images[::-1], SPEC), wanted[::-1])
    np.testing.assert_array_equal(model.logits(np.asfortranarray(images), SPEC), wanted)


def test_swapped_colours_and_normalised_pictures_give_other_answers(order, open_hef):
    order()
    images, labels = pictures()
    model = open_hef()
    right = (model.logits(images, SPEC).argmax(1) == labels).mean()
    swapped = (model.logits(images[..., ::-1], SPEC).argmax(1) == labels).mean()
    assert swapped < right - 0.3  # blue and red are taken for each other
    # What an int8 network takes, given as bytes
    twice = ((images / 127.5 - 1) * 127).astype(np.int8).view(np.uint8)
    assert (model.logits(twice, SPEC).argmax(1) == labels).mean() < right - 0.3
    with pytest.raises(ValueError, match="must be uint8"):
        model.logits((images / 127.5 - 1).astype(np.float32), SPEC)
    with pytest.raises(ValueError, match=r"must be uint8 \(N, 16, 16, 3\), got uint8 \(2, 8, 8, 3\)"):
        model.logits(np.zeros((2, 8, 8, 3), np.uint8), SPEC)


def test_closing_gives_the_device_back(order, open_hef):
    record = order()
    model = open_hef()
    model.close()
    model.close()
    assert [line["call"] for line in calls(record)] == ["open", "configure", "shutdown", "release"]
    open_hef().logits(pictures()[0][:1], SPEC)


def test_nothing_stays_open_after_a_failed_start(order, open_hef):
    record = order(memory="short")
    with pytest.raises(UserError, match="memory ran out"):
        open_hef()
    assert [line["call"] for line in calls(record)] == ["open", "release"]


@pytest.mark.parametrize(
    ("device", "chip", "fits"),
    [("HAILO8", "hailo8", True), ("HAILO8", "hailo8r", True), ("HAILO8", "hailo8l", True), ("HAILO8L",
    "hailo8l", True),
     ("HAILO8L", "hailo8", False), ("HAILO15H", "hailo8", False)],
)  # fmt: skip
def test_which_chip_runs_which_hef(deploy, order, open_hef, device, chip, fits):
    order(architecture=device)
    if fits:
        assert open_hef(chip).logits(pictures()[0][:1], SPEC).shape == (1, 4)
        return
    wanted = "hailo8l" if device == "HAILO8L" else "a HAILO8 or HAILO8L is needed"
    with pytest.raises(UserError, match=f"is for HAILO8, but the device is a {device}.*{wanted}"):
        open_hef(chip)


def test_the_double_and_hailort_agree_on_what_runs(deploy, order):
    order()
    import hailo_platform.hef

    files = {chip: deploy / chip / "model.hef" for chip in ("hailo8", "hailo8l", "hailo8r")}
    for chip in ("HAILO8", "HAILO8L", "HAILO15H"):
        for path in files.values():
            try:
                hailo_platform.hef.HEF(str(path)).check(chip)
                runs = True
            except hailo_platform.HailoRTException:
                runs = False
            assert runs == device.runs_on(read_hef(path), chip)


# What is ordered from the double, and the line that a user sees.
FAULTS = [
    ({"devices": 0}, "no Hailo device found.*--doctor"),
    (
        {"busy": "program"},
        r"another program uses the device \(sudo lsof "
        r"/dev/hailo0.*hailort.service.*HAILO_OUT_OF_PHYSICAL_DEVICES",
    ),
    ({"driver": "other"}, "firmware, driver and library must be.*Exception: 76"),
    ({"driver": "absent"}, "driver is not loaded: sudo modprobe hailo_pci"),
    ({"node": "closed"}, "/dev/hailo0 cannot be opened"),
    ({"hef": "unsupported"}, "this HailoRT cannot use the file.*3.33 with 4.23"),
    ({"memory": "short"}, "memory ran out"),
    ({"pages": "large"}, "options hailo_pci force_desc_page_size=4096.*8 .HAILO_INTERNAL_FAILURE"),
    ({"queue": 3}, "give a smaller --batch"),
    ({"import": "library"}, "cannot be imported .*libhailort.so.4.23.0.*the version of the package hailort"),
]


@pytest.mark.parametrize(("switches", "line"), FAULTS, ids=[str(switches) for switches, _ in FAULTS])
def test_a_device_that_cannot_be_opened(order, open_hef, switches, line):
    order(**switches)
    with pytest.raises(UserError, match=line) as caught:
        open_hef()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("api", ["jobs", "vstreams"])
def test_a_device_that_is_lost_in_mid_run(order, open_hef, api):
    order(lost_after=6, **({"api": "vstreams"} if api == "vstreams" else {}))
    model = open_hef()
    model.logits(pictures()[0][:BATCH], SPEC)
    with pytest.raises(
        UserError, match=r"model.hef: the device was lost in mid-run: .*\(HailoRTStreamAborted: "
    ):
        model.logits(pictures()[0][:20], SPEC)
    with pytest.raises(UserError, match="lost in mid-run"):
        model.logits(pictures()[0][:1], SPEC)


def test_a_device_that_is_lost_in_the_last_job(order, open_hef):
    order(lost_after=BATCH - 1)
    with pytest.raises(UserError, match="lost in mid-run"):  # told to the job's callback, and nowhere else
        open_hef().logits(pictures()[0][:BATCH], SPEC)


@pytest.mark.parametrize("api", ["jobs", "vstreams"])
def test_a_device_that_hangs(order, open_hef, monkeypatch, api):
    monkeypatch.setattr(device, "TIMEOUT_MS", 200)
    order(hang_after=2, **({"api": "vstreams"} if api == "vstreams" else {}))
    with pytest.raises(UserError, match="the device gave no answer within 10 s.*HailoRTTimeout"):
        open_hef().logits(pictures()[0][:20], SPEC)


def test_the_service_shares_the_device(order, open_hef, tmp_path):
    record = order(busy="service")
    with pytest.raises(UserError, match="another program uses the device"):
        open_hef()
    device.SERVICE.touch()
    open_hef()
    assert [line["service"] for line in calls(record, "open")] == [True] and calls(record, "open")[0][
        "group"
    ] == "SHARED"


def test_a_service_that_does_not_answer(order, open_hef):
    order(service="silent")
    device.SERVICE.touch()
    with pytest.raises(UserError, match="service of HailoRT does not answer.*restart hailort.service"):
        open_hef()


def test_without_hailort(open_hef, monkeypatch):
    # So that the import finds none, whatever this machine has
    monkeypatch.setitem(sys.modules, "hailo_platform", None)
    with pytest.raises(
        UserError, match="not installed in this Python.*hailo-all.*Developer Zone.*--system-site-packages"
    ):
        open_hef()


def test_another_exception_is_not_dressed_up(order, open_hef, monkeypatch):
    order()
    model = open_hef()
    monkeypatch.setattr(device._Slot, "start", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.logits(pictures()[0][:1], SPEC)


def changed(**fields):
    """A fault put into what was read from the HEF: its group's fields, or its stream's after input_ or
    output_.
    """
    from dataclasses import replace

    def change(hef):
        if "architecture" in fields or "groups" in fields:
            return replace(hef, **fields)
        group = hef.groups[0]
        for key, value in fields.items():
            side, name = key.split("_", 1)
            streams = getattr(group, f"{side}s")
            group = replace(
                group,
                **{f"{side}s": streams * 2 if name == "twice" else (replace(streams[0], **{name: value}),)},
            )
        return replace(hef, groups=(group,))

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (changed(architecture="HAILO15H"), "is for HAILO15H, none of HAILO8, HAILO8L, HAILO8R"),
        (lambda hef: changed(groups=hef.groups * 2)(hef), "2 network groups instead of one"),
        (changed(input_twice=1), "2 inputs and 1 outputs"),
        (changed(output_twice=1), "1 inputs and 2 outputs"),
        (
            changed(input_shape=(96, 96, 3)),
            r"takes UINT8 NHWC \(96, 96, 3\), its files promise UINT8 NHWC \(16, 16, 3\)",
        ),
        (changed(input_type="UINT16"), "takes UINT16"),
        (changed(input_order="NCHW"), "takes UINT8 NCHW"),
        (changed(input_takes_bytes=False), r"does not take the bytes 0..255.*normalization\(\)"),
        (
            changed(output_qp_zp=18_000.0),
            "16-bit values that are called UINT8, a fault of Dataflow Compiler 3.33.0",
        ),
        (changed(output_shape=(7,)), "gives 7 values, its files name 4 classes"),
    ],
)
def test_a_hef_that_is_none_of_this_classifier(deploy, open_hef, monkeypatch, change, line):
    hef = change(read_hef(deploy / "hailo8" / "model.hef"))
    monkeypatch.setattr(hailort, "read_hef", lambda path: hef)
    monkeypatch.setattr(device, "import_hailort", lambda: pytest.fail("the device was touched"))
    with pytest.raises(UserError, match=line):
        open_hef()


def test_a_hef_whose_normalisation_no_name_proves_is_opened(order, deploy, open_hef, monkeypatch, capfd):
    order()
    hef = changed(input_normalised_on_chip=False)(read_hef(deploy / "hailo8" / "model.hef"))
    monkeypatch.setattr(hailort, "read_hef", lambda path: hef)
    open_hef().close()
    said = capfd.readouterr().err
    assert "warning: no name in " in said and "compare its predictions with the SDK's" in said


def test_a_real_hef(shared):
    from fer_hailo.common.preprocess import PreprocessSpec

    folder, spec, labels = (
        shared / "data" / "hef",
        PreprocessSpec(input_size=112),
        tuple(map(str, range(512))),
    )
    hef = read_hef(folder / "arcface_mobilefacenet_hailo8.hef")
    check_hef(hef, "face.hef", spec, labels)
    assert device.runs_on(hef, "HAILO8") and not device.runs_on(hef, "HAILO8L")
    with pytest.raises(UserError, match="512 values, its files name 5"):
        check_hef(hef, "face.hef", spec, labels[:5])
    with pytest.raises(UserError, match="HAILO15H"):
        check_hef(read_hef(folder / "arcface_mobilefacenet_hailo15h.hef"), "face.hef", spec, labels)


@pytest.mark.parametrize("batch", [0, 65536])
def test_impossible_batches(open_hef, batch):
    with pytest.raises(UserError, match="1 to 65535"):
        open_hef(batch=batch)


def test_every_advice_is_one_line_that_says_what_to_do():
    for name, text in advice.ADVICE.items():
        assert re.match(r"^[a-z].*[^.]$", text) and ": " in text, name
    assert set(advice.NUMBERS.values()) <= set(advice.ADVICE)


# The double itself: what it must refuse, so that the tests above mean something.


@pytest.fixture
def configured(deploy, order):
    order()
    import hailo_platform as platform

    with platform.VDevice(platform.VDevice.create_params()) as device:
        model = device.create_infer_model(str(deploy / "hailo8" / "model.hef"))
        model.set_batch_size(2)
        model.output().set_format_type(platform.FormatType.FLOAT32)
        with model.configure() as configured:
            yield platform, model, configured


@pytest.mark.parametrize(
    "buffer",
    [
        np.zeros((16, 16, 3), np.float32),
        np.zeros((16, 16, 3), np.int8),
        np.zeros((1, 16, 16, 3), np.uint8),
        np.zeros((16, 16, 6), np.uint8)[..., ::2],
        np.zeros((3, 16, 16), np.uint8).transpose(1, 2, 0),
    ],
)
def test_the_double_refuses_wrong_buffers(configured, buffer):
    bindings = configured[2].create_bindings()
    with pytest.raises(configured[0].HailoRTException):
        bindings.input().set_buffer(buffer)


def test_the_double_refuses_read_only_buffers(configured):
    buffer = np.zeros((16, 16, 3), np.uint8)
    buffer.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        configured[2].create_bindings().input().set_buffer(buffer)


def test_the_double_refuses_settings_that_come_too_late(configured):
    platform, model, _ = configured
    for call in (
        lambda: model.set_batch_size(4),
        lambda: model.output().set_format_type(platform.FormatType.UINT8),
    ):
        with pytest.raises(platform.HailoRTException, match="Invalid operation"):
            call()


def test_the_double_refuses_what_the_queue_does_not_hold(configured, monkeypatch):
    platform, model, ready = configured
    gate, (name,) = threading.Event(), model.output_names
    monkeypatch.setattr(ready._chip, "run", lambda stored: gate.wait(5) and {name: np.zeros(4, np.uint8)})
    bindings = ready.create_bindings()
    bindings.input().set_buffer(np.zeros((16, 16, 3), np.uint8))
    for _ in range(ready.get_async_queue_size()):
        bindings.output().set_buffer(np.zeros(4, np.float32))
        job = ready.run_async([bindings])
    with pytest.raises(platform.HailoRTException, match="HAILO_QUEUE_IS_FULL"):
        ready.run_async([bindings])
    with pytest.raises(platform.HailoRTException, match="timeout"):
        ready.wait_for_async_ready(timeout_ms=50)
    gate.set()
    job.wait(5000)
    ready.wait_for_async_ready(timeout_ms=1000)


def test_the_double_forgets_the_output_after_a_run(configured):
    ready, image = configured[2], pictures()[0][0].copy()
    bindings, answer = ready.create_bindings(), np.zeros(4, np.float32)
    bindings.input().set_buffer(image)
    bindings.output().set_buffer(answer)
    ready.run_async([bindings]).wait(1000)
    assert answer.any()
    answer[:] = 0
    ready.run_async([bindings]).wait(1000)
    assert not answer.any()  # HailoRT's own buffer got it


def test_the_double_tells_failures_to_the_callback_only(deploy, order):
    order(lost_after=0)
    import hailo_platform as platform
    from hailo_platform.infer_model import ConfiguredInferModel

    with platform.VDevice() as device:
        model = device.create_infer_model(str(deploy / "hailo8" / "model.hef"))
        with model.configure() as ready:
            assert isinstance(ready, ConfiguredInferModel)
            bindings, told = ready.create_bindings(), []
            bindings.input().set_buffer(np.zeros((16, 16, 3), np.uint8))
            bindings.output().set_buffer(np.zeros(4, np.uint8))
            ready.run_async([bindings], lambda completion_info: told.append(completion_info.exception)).wait(
                1000
            )
            assert type(told[0]).__name__ == "HailoRTStreamAborted"
        with pytest.raises(AttributeError):
            ready.run_async([bindings])


def test_the_double_holds_one_device_once(deploy, order):
    order()
    import hailo_platform as platform

    with platform.VDevice() as device:
        with pytest.raises(platform.HailoRTException, match="74 .HAILO_OUT_OF_PHYSICAL_DEVICES"):
            platform.VDevice()
        with pytest.raises(AttributeError):
            platform.VDevice.create_params().batch_size = 8
        with pytest.raises(TypeError):
            device.create_infer_model(deploy / "hailo8" / "model.hef")
    with pytest.raises(platform.HailoRTException):
        device.create_infer_model(str(deploy / "hailo8" / "model.hef"))


def test_the_double_refuses_damaged_and_foreign_files(deploy, order, tmp_path):
    order()
    import hailo_platform as platform

    content = (deploy / "hailo8" / "model.hef").read_bytes()
    shutil.copy(deploy / "hailo8" / "model.hef", tmp_path / "a.hef")
    (tmp_path / "a.hef").write_bytes(content[:-1] + b"\0" + b"x")
    with pytest.raises(platform.HailoRTException, match="91 .HAILO_HEF_FILE_CORRUPTED"):
        platform.HEF(str(tmp_path / "a.hef"))
    (tmp_path / "b.hef").write_bytes(b"no HEF at all")
    with pytest.raises(platform.HailoRTException, match="Invalid HEF"):
        platform.HEF(str(tmp_path / "b.hef"))


def test_the_double_refuses_switches_that_it_does_not_have(order):
    with pytest.raises(ValueError, match="no switch devces"):
        order(devces=0)
        import hailo_platform  # noqa: F401
