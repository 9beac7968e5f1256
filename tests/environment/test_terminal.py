"""Names that carry escape sequences are shown, not carried out."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys

import pytest
from support import draw_pair, environment
from tqdm import tqdm

from paddleseg_u2net.cli.app import configure_log, main
from paddleseg_u2net.environment.terminal import SafeStream, safe_streams
from paddleseg_u2net.errors import Fault, printable, terminal_safe

EVIL = "a\x1b[2J\x1b]0;title\x07\x9b31m\r\u202egnp\u2066\u2028"
KEPT = "Größe 図 画像　一 تصویر\u200cها שלום नमस्ते\u200d 👩\u200d👧"


def test_letters_of_all_scripts_stay():
    assert terminal_safe(KEPT) == printable(KEPT) == KEPT


def test_escape_sequences_and_reversing_letters_are_shown():
    shown = r"a\x1b[2J\x1b]0;title\x07\x9b31m\r\u202egnp\u2066\u2028"
    assert terminal_safe(f"{EVIL}\n\tb") == f"{shown}\n\tb"
    assert printable(f"{EVIL}\n\tb\udcff") == rf"{shown}\n\tb\udcff"
    assert str(Fault(f"{EVIL}\nerror", "what")) == rf"{shown}\nerror: what"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_bars_move_but_their_names_do_not():
    terminal = Terminal()
    with tqdm(total=2, desc=EVIL, file=SafeStream(terminal), leave=False) as bar:
        bar.update()
    assert terminal.getvalue().startswith("\r")
    assert not set(terminal.getvalue()[1:]) & set("\x1b\x07\x9b\u202e\u2028")
    plain = io.StringIO()
    SafeStream(plain).write("\rx\r")
    assert plain.getvalue() == r"\rx\r"


def test_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr
    with safe_streams():
        print(EVIL)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize(
    "words", [["predict", EVIL], ["val", "--model_path", EVIL], [EVIL], ["predict", f"--{EVIL}"]]
)
def test_commands_show_such_arguments(capsys, words):
    with contextlib.suppress(SystemExit):
        main(words)
    printed = "".join(capsys.readouterr())
    assert r"\x1b[2J" in printed
    assert not set(printed) & set("\x1b\x07\x9b\r\u202e\u2028")


FORGERIES = ["error: forged", "warning: forged", "u2net predict: error: forged", "Interrupted"]
FORGERIES += ["[EVAL] MAE: 0.0000", "2026-01-01 00:00:00 [INFO] forged"]


@pytest.mark.parametrize("line", FORGERIES)
def test_names_cannot_forge_a_message(capsys, line):
    assert main(["predict", f"a\n{line}"]) == 1
    printed = capsys.readouterr().err
    assert rf"a\n{line}" in printed
    with safe_streams():
        configure_log()
        logging.getLogger("paddleseg_u2net").error("%s: damaged", f"a\n{line}")
        print("Class IoU: \n[0.5 0.2]")
    first, *rest = capsys.readouterr().out.splitlines()
    assert rf"a\n{line}: damaged" in first
    assert rest == ["Class IoU: ", "[0.5 0.2]"]  # which PaddleSeg prints like that


def test_workers_escape_what_they_print():
    """A worker that is not forked has streams of its own."""
    start = "from paddleseg_u2net.environment.processes import start_worker; start_worker()"
    words = [sys.executable, "-c", rf"{start}; print('a\x1b[2J')"]
    assert subprocess.check_output(words, env=environment()) == b"a\\x1b[2J\n"


def test_commands_show_such_file_names(tmp_path, capsys):
    draw_pair(tmp_path, "good")
    (tmp_path / "images" / "a\x1b[2J\udcff.png").write_bytes(b"no image")
    assert main(["make-dataset", "--image_dir", "images", "--mask_dir", "masks", "--save_dir", "out"]) != 0
    logging.getLogger("paddleseg_u2net").error("%s", EVIL)
    printed = "".join(capsys.readouterr())
    assert r"a\x1b[2J\udcff" in printed
    assert "\x1b" not in printed
