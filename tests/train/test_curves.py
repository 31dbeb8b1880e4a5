"""The curves of a training while it runs: in the terminal, and as an image."""

import io

from fer_hailo.common.progress import Line
from fer_hailo.common.runs import CURVES
from fer_hailo.training.fit.callbacks import Draw, Tell
from fer_hailo.training.fit.state import Progress

LOSSES, SHARES = (2.0, 1.0, 1.5), (0.25, 0.75, 0.5)
ROWS = [
    {"stage": 1, "epoch": i + 1, "loss": loss, "accuracy": share, "val_loss": loss, "val_accuracy": share,
     "seconds": 3.0}
    for i, (loss, share) in enumerate(zip(LOSSES, SHARES, strict=True))
]  # fmt: skip
LOGS = ROWS[-1] | {"val_macro_recall": 0.5, "learning_rate": 1e-3}


class Stream(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return self.terminal


def said(terminal: bool) -> str:
    stream, now = Stream(), [0.0]
    stream.terminal = terminal
    teller = Tell(Progress("key", history=list(ROWS), stage=1), epochs=3, steps=4, later_epochs=0)
    teller.line = Line(stream, lambda: now[0])
    teller.on_epoch_begin(2)
    for batch, seconds in enumerate((90, 2)):
        now[0] += seconds
        teller.on_train_batch_end(batch)
    teller.on_epoch_end(2, LOGS)
    return stream.getvalue()


def test_a_terminal_shows_the_curves_so_far():
    shown = said(True)
    assert "\x1b[Kstage 1 epoch 3/3: compiling the training step\r" in shown
    # The first step's 90 seconds tell nothing of the others, which take 2 each
    assert "step\r\x1b[Kstage 1 epoch 3/3: [##########..........] 2 of 4, 4 s left\r" in shown
    # Half of the way up the eight steps is 3.5, which rounds to 4: the fifth of them
    assert "  loss                2.000 █▁▅ 1.500\n" in shown
    assert "  validation accuracy 0.250 ▁█▅ 0.500\n" in shown


def test_a_file_gets_one_line_an_epoch():
    shown = said(False)
    minute, epoch = shown.splitlines()
    assert minute == "stage 1 epoch 3/3: 2 of 4, 4 s left"
    assert epoch.startswith("stage 1 epoch 3/3: loss 1.5000") and shown.isascii()


def test_the_image_is_drawn_once_a_minute(tmp_path):
    now = [0.0]
    drawer = Draw(tmp_path / CURVES, Progress("key", history=list(ROWS), stage=1), lambda: now[0])
    for second, there in ((59.0, False), (61.0, True), (120.0, False), (122.0, True)):
        now[0] = second
        drawer.on_epoch_end(0)
        assert (tmp_path / CURVES).exists() == there, second
        (tmp_path / CURVES).unlink(missing_ok=True)
