"""Ctrl-C and its like, with real processes, and a real terminal where keys and the cursor matter."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.terminal import (
    BENCH,
    CTRL_BACKSLASH,
    CTRL_C,
    HIDE,
    SHOW,
    Terminal,
    alive,
    catches,
    ended,
    surroundings,
    wait_for,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what a process catches")

STUCK = """
import os, signal, time
from pathlib import Path
from losses.module import Loss

def stuck(shape):
    \"\"\"A loss that hears no signal and never ends.\"\"\"
    return Loss(shape, _never)

def _never(embeddings, labels):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path({place!r}, str(os.getpid())).touch()
    time.sleep(10**6)
"""
LONG = ["data", "prepare", "glyphs", "--set", "classes=150", "--set", "images_per_class=3000"]
"""Minutes of rendering letters, without torch and without workers."""


def begun(*arguments: object, **options: object) -> subprocess.Popen:
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": surroundings()}
    return subprocess.Popen([*BENCH, *map(str, arguments)], **{**piped, **options})


def drafts(cache: Path) -> list[Path]:
    return list(cache.glob(".writing-*"))


def test_a_second_ctrl_c_ends_workers_that_hear_nothing(tmp_path: Path) -> None:
    """The first one says what it waits for; after the second come many more, which change nothing."""
    from support.jobs import matrix_file  # which takes longer to import than the other tests to run

    place = tmp_path / "stuck"
    place.mkdir()
    plugin = tmp_path / "my_losses.py"
    plugin.write_text(STUCK.format(place=str(place)))
    matrix = matrix_file(tmp_path, losses='["stuck"]', seeds="2")
    with Terminal("run", matrix, "--results", tmp_path / "runs", "--workers", "2", "--plugin", plugin) as terminal:
        terminal.wait_for(lambda: len(list(place.iterdir())) == 2)
        workers = [psutil.Process(int(file.name)) for file in place.iterdir()]
        terminal.press(CTRL_C)
        terminal.until("once more (Ctrl-C) stops at once")
        assert len(alive(workers)) == 2
        for _ in range(30):
            terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert alive(workers) == []
    assert "Traceback" not in terminal.shown
    assert terminal.shown.rindex(SHOW) > terminal.shown.rindex(HIDE)
    assert not list((tmp_path / "runs").glob("[!.]*"))  # no row says that a job failed


@pytest.mark.parametrize(("key", "code"), [(CTRL_C, 130), (CTRL_BACKSLASH, 131)])
def test_the_cursor_comes_back_and_drafts_go(tmp_path: Path, key: bytes, code: int) -> None:
    with Terminal(*LONG, BENCH_CACHE=str(tmp_path)) as terminal:
        terminal.until("decoding")
        terminal.wait_for(lambda: drafts(tmp_path))
        terminal.press(key)
        assert terminal.end() == code
    assert "interrupted; the same command continues" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert terminal.shown.rindex(SHOW) > terminal.shown.rindex(HIDE)
    assert drafts(tmp_path) == []


def test_a_closed_terminal_ends_the_command(tmp_path: Path) -> None:
    with Terminal(*LONG, BENCH_CACHE=str(tmp_path)) as terminal:
        terminal.wait_for(lambda: drafts(tmp_path))
        terminal.close()
        assert terminal.process.wait(60) == 129
    assert drafts(tmp_path) == []


LOST = """
import os, signal, sys, time
from bench.cli import interrupts

class Freed:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        for _ in range(100):
            time.sleep(0.001)

interrupts.catch()
try:
    with interrupts.at_work():
        Freed()
        time.sleep(100)
except KeyboardInterrupt:
    interrupts.end(interrupts.exit_code())
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 130), ("SIGHUP", 129)])
def test_an_interruption_that_comes_while_an_object_is_freed_is_not_lost(name: str, code: int) -> None:
    """Python prints it and goes on; by its code, it is no end after the time that tidying up may take."""
    command = [sys.executable, "-c", LOST, name]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings(), timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_sigterm_leaves_no_drafts_in_the_cache(tmp_path: Path) -> None:
    process = begun(*LONG, env=surroundings(BENCH_CACHE=str(tmp_path)))
    with ended(process):
        wait_for(lambda: drafts(tmp_path))
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert (process.returncode, said) == (130, "bench: interrupted; the same command continues\n")
    assert drafts(tmp_path) == []


def test_thirty_interruptions_while_it_imports_are_one_word() -> None:
    process = begun("run", "demo")
    with ended(process):
        wait_for(lambda: catches(process.pid, signal.SIGTERM))  # python itself catches SIGINT alone
        for _ in range(30):
            process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    assert (process.returncode, out, said) == (130, "", "bench: interrupted\n")


def test_interruptions_while_it_ends_change_nothing() -> None:
    process = begun("list", "datasets", bufsize=0, text=False)
    with ended(process):
        assert process.stdout.read(1)  # it is at work, and prints what it has found
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)  # it has to come to its end in between
        said = process.stderr.read().decode()
    assert process.returncode in (0, 130)
    assert said in ("", "bench: interrupted; the same command continues\n", "bench: interrupted\n")


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` and a shell's & ask for."""
    with_hup_ignored = ["bash", "-c", "trap '' HUP; exec \"$@\"", "bash", *BENCH, *LONG]
    process = subprocess.Popen(with_hup_ignored, stderr=subprocess.PIPE, env=surroundings(BENCH_CACHE=str(tmp_path)))
    with ended(process):
        wait_for(lambda: drafts(tmp_path))
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 130  # not 129


AT_WORK = """
import sys
from bench.cli import interrupts
interrupts.catch()
with interrupts.at_work():
    try:
        print("begun", flush=True)
        {work}
    except KeyboardInterrupt:
        print("tidying", flush=True)
        {work}
"""


@pytest.mark.parametrize(
    "work",
    [
        "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",  # a long call, which no handler can end
        "while True: pass",
    ],
)
def test_a_second_interruption_ends_what_does_not_end_by_itself(work: str) -> None:
    code = AT_WORK.format(work=work)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=surroundings(), text=True)
    with ended(process):
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        if "while" in work:
            assert process.stdout.readline() == "tidying\n"
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_an_error_that_an_interruption_makes_is_an_interruption() -> None:
    """As that of a library which takes KeyboardInterrupt for a fault of what it imports."""
    code = """
import os, signal, sys
from bench.cli import interrupts
interrupts.catch()
from typer import Typer
from bench.cli.exit_codes import guarded
app = Typer()
def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("cannot be imported")
guarded(app)(work)
app()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings())
    assert (done.returncode, done.stderr) == (130, "bench: interrupted; the same command continues\n")
