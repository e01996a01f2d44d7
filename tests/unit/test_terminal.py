"""What foreign text does to a terminal: nothing."""

from __future__ import annotations

from flows.cli import run
from flows.summary import Quarantine, RunSummary
from flows.terminal import print_rows, print_summary

BRACKETS = "/data/[/b][bold]x"


def test_a_message_is_one_line_without_escape_sequences(capsys):
    assert run(["ser\x1b[31mve\nit"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 1


def test_brackets_in_paths_and_ids_are_printed_as_they_are(capsys):
    summary = RunSummary(
        run="r",
        store=BRACKETS,
        catalogue=f"{BRACKETS}/catalogue.sqlite",
        planned=1,
        written=1,
        reused=0,
        catalogued=1,
        quarantined=0,
        seconds=1.0,
        bytes_written=0,
        tiles_read=0,
        stage_seconds={},
        item_ids=(),
    )
    print_summary(summary)
    print_rows("plan", [{"cube": BRACKETS}])
    assert capsys.readouterr().out.count(BRACKETS) == 4


def test_escape_sequences_in_foreign_text_reach_no_terminal(capsys):
    print_rows("items", [{"title": "harbour\x1b]0;owned\x07\x1b[2J"}])
    summary = RunSummary(
        run="r",
        store="s",
        catalogue="c",
        planned=1,
        written=0,
        reused=0,
        catalogued=0,
        quarantined=1,
        quarantine=(Quarantine(id="q", reason="file \x1b[31mx\x1b[0m\nis damaged"),),
        seconds=1.0,
        report="r\x1b[2J",
        item_ids=(),
    )
    print_summary(summary)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "is damaged" in said
