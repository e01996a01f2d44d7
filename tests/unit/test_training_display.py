"""What a terminal shows of a training."""

from __future__ import annotations

import io
import logging
import math

from rich.console import Console

from flows.training_summary import TrainingDisplay, TrainSummary, print_training, spark
from models.training.history import TrainingEvent, to_line


def _record(stage, unit):
    record = logging.LogRecord("infra.progress", logging.DEBUG, "", 0, "", (), None)
    record.stage, record.unit = stage, unit
    return record


def _line(kind, step, **values):
    return to_line(TrainingEvent(kind=kind, step=step, steps=40, values=values)).rstrip()


def test_bar_losses_and_figures_are_drawn():
    display = TrainingDisplay()
    for step in (1, 2, 3):
        display.emit(_record("train", _line("step", step, loss=4.0 / step, grad_norm=0.5)))
    display.emit(_record("train", _line("evaluation", 3, score=0.625)))
    display.emit(_record("cube", "another flow's unit"))
    said = io.StringIO()
    Console(width=120, file=said).print(display)
    text = said.getvalue()
    assert "3/40" in text
    assert "█▃▁ 1.333" in text
    assert "grad_norm 0.5" in text
    assert "score 0.625" in text


def test_a_course_is_as_wide_as_asked_and_leaves_out_what_is_no_number():
    assert spark([]) == ""
    assert spark([math.nan]) == ""
    assert spark([1.0, 1.0]) == "▁▁"
    assert spark([float(i) for i in range(8)]) == "▁▂▃▄▅▆▇█"
    assert len(spark([float(i % 7) for i in range(999)], width=30)) == 30


def test_a_stopped_training_says_how_to_go_on(capsys):
    summary = TrainSummary(
        store="/data/[/b]x",
        training="line-0123456789ab",
        model="line",
        steps=10,
        planned_steps=40,
        finished=False,
        reused=False,
        best_step=10,
        figures={"score": -1.0},
        device="a machine",
        trained_seconds=61.0,
        result="/data/[/b]x/training/line-0123456789ab/result",
    )
    print_training(summary)
    said = capsys.readouterr().out
    assert "10 of 40 steps in 1.0 minutes on a machine" in said
    assert "terraloom train line --resume line-0123456789ab --store /data/[/b]x" in said
    print_training(summary.model_copy(update={"finished": True}))
    assert "go on" not in capsys.readouterr().out
