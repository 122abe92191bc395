"""The command line on pipes and files that are narrow, full, closed or gone: a line and an exit code, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nlcore

COMMANDS = ["list", "list --json", "list --help", "show core/squared_error", "plugins", "--version", "--help", "nope"]
SOURCES = str(Path(nlcore.__file__).parents[1])


def nlcore_command(words, redirect="", cwd=None, **environ):
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -X dev -W error -m nlcore "$@" {redirect}', sys.executable, *words.split()],
        capture_output=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SOURCES, "NLCORE_PLUGINS": "", **environ},
    )


pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams are redirected by a shell")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environ: "-".join(environ.values()),
)
@pytest.mark.parametrize("words", COMMANDS)
def test_a_narrow_encoding(words, environ):
    done = nlcore_command(words, **environ)
    assert done.returncode == (2 if words == "nope" else 0)
    assert b"Traceback" not in done.stderr
    encoding = environ.get("PYTHONIOENCODING", "ascii")
    text = done.stdout.decode(encoding)
    assert bool(text) == (words != "nope")
    if words == "list --json":
        assert any("‖" in one["summary"] for one in json.loads(text))


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", sorted({*COMMANDS} - {"nope"}))
def test_a_full_disk_is_a_line_and_a_failure(words, unbuffered):
    done = nlcore_command(words, ">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == b"nlcore: error: standard output: No space left on device.\n"


@pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&-", ">&- 2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_closed_stream(words, redirect):
    done = nlcore_command(words, redirect)
    assert done.returncode == (2 if words == "nope" else 0)
    assert b"Traceback" not in done.stderr
    if words == "list --json" and ">&-" not in redirect.split():
        assert json.loads(done.stdout)


@needs_full
@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_standard_error(words):
    done = nlcore_command(words, "2>/dev/full")
    assert done.returncode == (2 if words == "nope" else 0)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", sorted({*COMMANDS} - {"nope"}))
def test_a_reader_that_has_gone(words, unbuffered):
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "nlcore", *words.split()],
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": SOURCES, "NLCORE_PLUGINS": "", "PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_file_does_not_become_standard_output(tmp_path):
    """With standard output closed, the first file that is opened would get its descriptor."""
    done = nlcore_command("new mine", ">&- 2>&-", cwd=tmp_path)
    assert done.returncode == 0
    texts = [file.read_text("utf-8") for file in (tmp_path / "nlcore-mine").rglob("*") if file.is_file()]
    assert len(texts) > 8
    assert not [text for text in texts if "the plugin nlcore-mine" in text]
