"""What reaches a terminal or a pipe: literal names, progress, colours, closed pipes, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import dcz
from dcz.cli import main

Capture = pytest.CaptureFixture[str]
RUN = "import sys; from dcz.cli import main; sys.exit(main(sys.argv[1:]))"
# A clock on which every look takes ten seconds, and one that stands still.
FAST = "import itertools, time; time.monotonic = map(float, itertools.count(0, 10)).__next__; "
STILL = "import time; time.monotonic = lambda: 0.0; "

NAMES = (
    "[red]markup[/red].weight",
    "stray[/b].weight",
    "[link=http://example.org]x[/link]",
    "escape\x1b[31m.weight",
    "osc\x1b]0;title\x07",
    "bell\x07",
    "two\nlines",
    "return\rcarriage",
    "tab\there",
    "nul\0x",
    "delete\x7f",
    "c1\x9b31m",
    "override\u202ecba",
    "separator\u2028line",
    "日本語.weight",
    "emoji😀.weight",
    "combining e\u0301",
    "long." * 120 + "weight",
    ":smile:",
    "",
    " ",
    "-",
)
METADATA = {"[bold]key[/bold]": "[red]value[/red]", "[/x]": "a\x1b[2Jb\nc", "emoji😀": "日本語"}
# What a terminal acts on, and what breaks or turns lines; lines may only end in \n.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    values = np.random.default_rng(0).standard_normal((80, 50)).astype(np.float32)
    save_file({"layer.weight": values, "layer.bias": values[0].copy()}, path)
    return path


@pytest.fixture
def packed(source: Path) -> Path:
    path = source.with_suffix(".dcz")
    dcz.pack(source, path)
    return path


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strange") / "strange.safetensors"
    draw = np.random.default_rng(0).standard_normal
    tensors = {name: draw((20, 20)).astype(np.float32) for name in NAMES}
    save_file(tensors, path, metadata=METADATA)
    dcz.pack(path, path.with_suffix(".dcz"))
    return path


def spoken(command: str, strange: Path) -> list[str]:
    packed = str(strange.with_suffix(".dcz"))
    return {
        "pack": ["pack", str(strange), "-o", packed],
        "inspect": ["inspect", str(strange)],
        "inspect-packed": ["inspect", packed],
        "report": ["report", packed],
        "verify": ["verify", packed],
        "against": ["verify", packed, "--against", str(strange)],
        "diff": ["diff", packed, str(strange)],
    }[command]


@pytest.mark.parametrize(
    "command", ["pack", "inspect", "inspect-packed", "report", "verify", "against", "diff"]
)
def test_names_cannot_steer_a_terminal(command: str, strange: Path, capsys: Capture) -> None:
    assert main(spoken(command, strange)) == (1 if command == "diff" else 0)
    captured = capsys.readouterr()
    assert not UNSAFE.search(captured.out)
    assert captured.err == ""


@pytest.mark.parametrize(
    "command", ["pack", "inspect", "inspect-packed", "report", "against", "diff"]
)
def test_names_are_shown_literally(command: str, strange: Path, capsys: Capture) -> None:
    main(spoken(command, strange))
    out = capsys.readouterr().out
    for name in NAMES:
        if name.isprintable() and len(name) < 40:
            assert name in out
    assert r"escape\x1b[31m.weight" in out
    assert r"two\nlines" in out
    if command not in ("against", "diff"):
        assert "[bold]key[/bold]" in out
        assert "[red]value[/red]" in out


@pytest.mark.parametrize("command", ["inspect", "report"])
def test_json_has_the_names_as_they_are(command: str, strange: Path, capsys: Capture) -> None:
    assert main([command, str(strange.with_suffix(".dcz")), "--json"]) == 0
    out = capsys.readouterr().out
    assert {t["name"] for t in json.loads(out)["tensors"]} == set(NAMES)
    assert not UNSAFE.search(out)


def test_tied_names_cannot_steer_a_terminal(tmp_path: Path, capsys: Capture) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.ones(4, 5)
    source, packed = tmp_path / "tied.pt", tmp_path / "tied.dcz"
    torch.save({"a\x1b[31m": weight, "b": weight}, source)
    assert main(["pack", str(source), "-o", str(packed)]) == 0
    for command in ("inspect", "report"):
        assert main([command, str(packed)]) == 0
    out = capsys.readouterr().out
    assert not UNSAFE.search(out)
    assert r"= a\x1b[31m" in out


def test_messages_cannot_steer_a_terminal(tmp_path: Path, capsys: Capture) -> None:
    packed = tmp_path / "model.dcz"
    values = np.random.default_rng(0).standard_normal((20, 20)).astype(np.float32)
    dcz.save_file({"a\x1b[31m\u202e": values}, packed)
    content = bytearray(packed.read_bytes())
    content[40] ^= 1
    packed.write_bytes(content)
    assert main(["verify", str(packed)]) == 3
    assert main(["unpack", str(packed), "--tensor", "b\x1b[31m"]) == 2
    assert main(["verify", str(tmp_path / "c\x1b[31m")]) == 4
    assert not UNSAFE.search(capsys.readouterr().err)


def test_file_names_cannot_steer_a_terminal(packed: Path, capsys: Capture) -> None:
    path = packed.rename(packed.with_name("x\x1b[31m.dcz"))
    assert main(["verify", str(path)]) == 0
    assert not UNSAFE.search(capsys.readouterr().out)


def run(
    *arguments: object, setup: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", setup + RUN, *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", ["inspect", "report", "against"])
def test_output_that_cannot_show_a_name(command: str, encoding: str, strange: Path) -> None:
    done = run(*spoken(command, strange), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "[red]markup[/red].weight" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_file_name_that_is_not_text(packed: Path) -> None:
    path = os.fsdecode(os.fsencode(packed.parent) + b"/\xff.dcz")
    os.rename(packed, path)
    for command in ("verify", "inspect", "report"):
        done = run(command, path, PYTHONIOENCODING="utf-8:strict")
        assert done.returncode == 0, done.stderr
    missing = path.replace(".dcz", ".npz")
    done = run("verify", missing, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


def on_terminal(*arguments: object, setup: str = "", columns: int = 80, **environment: str) -> str:
    """Run with a terminal on all three standard streams and return what it got."""
    pty = pytest.importorskip("pty")
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    mine, theirs = pty.openpty()
    size = np.array([24, columns, 0, 0], np.uint16).tobytes()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", setup + RUN, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables | {"TERM": "xterm-256color"} | environment,
    )
    os.close(theirs)
    chunks = []
    while True:
        try:
            chunk = os.read(mine, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(mine)
    assert process.wait(timeout=60) == 0, b"".join(chunks)
    return b"".join(chunks).decode()


def work(command: str, source: Path, packed: Path) -> list[object]:
    return {
        "pack": ["pack", source, "-o", packed],
        "unpack": ["unpack", packed, "-o", packed.with_suffix(".npz"), "--force"],
        "verify": ["verify", packed],
    }[command]


@pytest.mark.parametrize("command", ["pack", "unpack", "verify"])
def test_progress_on_a_terminal_after_a_second(command: str, source: Path, packed: Path) -> None:
    arguments = work(command, source, packed)
    assert re.search(r"(pack|unpack|verify)ing.*\d+%", on_terminal(*arguments, setup=FAST))
    assert not re.search(r"(pack|unpack|verify)ing", on_terminal(*arguments, setup=STILL))


@pytest.mark.parametrize("command", ["pack", "unpack", "verify"])
def test_no_progress_into_a_pipe(command: str, source: Path, packed: Path) -> None:
    done = run(*work(command, source, packed), setup=FAST)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "%|" not in done.stdout
    assert "\x1b" not in done.stdout


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m")


def test_no_color(packed: Path) -> None:
    assert not COLOUR.search(on_terminal("report", packed, setup=STILL, NO_COLOR="1"))


def test_no_escapes_to_a_dumb_terminal(packed: Path) -> None:
    assert "\x1b" not in on_terminal("report", packed, setup=STILL, TERM="dumb")


@pytest.mark.parametrize("columns", [1, 10, 40, 80, 200])
def test_terminals_of_any_width(columns: int, strange: Path) -> None:
    packed = strange.with_suffix(".dcz")
    shown = on_terminal("report", packed, setup=STILL, columns=columns)
    assert "Traceback" not in shown


def piped_to_nobody(*arguments: object, lines: int = 0) -> tuple[int, str]:
    """Run with a reader that takes some lines and leaves; exit code and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(lines):
        process.stdout.readline()
    process.stdout.close()
    message = process.stderr.read().decode()
    process.stderr.close()
    return process.wait(timeout=60), message


@pytest.mark.parametrize(
    "arguments",
    [
        ("report",),
        ("report", "--json"),
        ("inspect",),
        ("verify",),
        ("unpack", "-o", "-"),
        ("--version",),
        ("--help",),
    ],
)
def test_closed_pipe_is_quiet_and_no_difference(arguments: tuple[str, ...], packed: Path) -> None:
    file = [] if arguments[0].startswith("--") else [packed]
    code, message = piped_to_nobody(*arguments, *file)
    assert message == ""
    # 1 would say that a difference was found, 3 that the file is bad.
    assert code in (0, 4, 128 + signal.SIGPIPE)


def test_closed_pipe_of_a_diff(source: Path, packed: Path) -> None:
    code, message = piped_to_nobody("diff", packed, packed)
    assert message == ""
    assert code in (0, 4, 128 + signal.SIGPIPE)


def test_head(packed: Path) -> None:
    code, message = piped_to_nobody("report", packed, lines=1)
    assert message == ""
    assert code in (0, 4, 128 + signal.SIGPIPE)


def test_a_full_disk_behind_standard_output(packed: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    for command in (["report"], ["inspect"], ["verify"], ["unpack", "-o", "-"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-c", RUN, *command, str(packed)],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 4, command
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_whole_way_through_pipes(source: Path) -> None:
    command = [sys.executable, "-c", RUN]
    with source.open("rb") as stdin:
        pack = subprocess.Popen(
            [*command, "pack", "-", "-o", "-"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    unpack = subprocess.run(
        [*command, "unpack", "-", "-o", "-"],
        stdin=pack.stdout,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert pack.stdout is not None
    pack.stdout.close()
    assert (pack.wait(timeout=60), unpack.returncode) == (0, 0)
    back = source.with_name("back.safetensors")
    back.write_bytes(unpack.stdout)
    packed = source.with_suffix(".dcz")
    dcz.pack(source, packed)
    assert main(["diff", str(back), str(packed)]) == 0


# Jobs in the background of a shell inherit that interrupts are ignored.
SLOW = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "import time; from dcz.codec import pipeline; encode = pipeline.encode\n"
    "def slow(*arguments, **more):\n"
    "    print('started', flush=True); time.sleep(30)\n"
    "    return encode(*arguments, **more)\n"
    "pipeline.encode = slow\n"
)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("through", ["file", "pipe"])
def test_interrupted_pack_leaves_nothing(through: str, source: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    dest = source.with_name("out.dcz")
    dest.write_bytes(b"")
    before = set(tmp_path.iterdir())
    files = ["-", "-o", "-"] if through == "pipe" else [str(source), "-o", str(dest)]
    with source.open("rb") as stdin:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW + RUN, "pack", *files, "--jobs", "1"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(scratch)},
        )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.decode() == "dcz: interrupted\n"
    assert set(tmp_path.iterdir()) == before
    assert list(scratch.iterdir()) == []
    assert dest.read_bytes() == b""
