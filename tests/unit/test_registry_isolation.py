"""Standard output while it is reserved: what goes where, and that everything is as before afterwards."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest

from nlcore.registry.isolation import StandardOutput, standard_output


def test_what_is_written_meanwhile_goes_to_standard_error(capfd):
    before = sys.stdin, sys.stdout, sys.stderr
    with standard_output.reserved():
        print("print")
        os.write(1, b"write\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        standard_output.write("answer ‖\n")
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    print("after")
    out, err = capfd.readouterr()
    assert out == "answer ‖\nafter\n"
    assert sorted(err.split()) == ["child", "print", "write"]


def test_standard_input_is_at_its_end():
    with standard_output.reserved():
        assert os.read(0, 1) == b""
        assert sys.stdin.read() == ""
        with pytest.raises(EOFError):
            input()


def test_whatever_the_code_does_to_the_streams_is_undone(capfd):
    before = sys.stdin, sys.stdout, sys.stderr
    with standard_output.reserved():
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        sys.stdout.close()
        sys.stdin = sys.stdout = sys.stderr = None
        os.close(1)
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    os.write(1, b"out\n")
    print("err", file=sys.stderr)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_nested_and_from_several_threads_it_is_one_reservation(capfd):
    output, barrier = StandardOutput(), threading.Barrier(8)

    def work():
        barrier.wait()
        for _ in range(50):
            with output.reserved(), output.reserved():
                os.write(1, b"")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"out\n")
    assert capfd.readouterr() == ("out\n", "")


def test_a_stream_in_memory_gets_the_answer(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with standard_output.reserved():
        standard_output.write("λ")
    standard_output.write("μ")
    assert stream.buffer.getvalue() == b"\\u03bb\\u03bc"


PROBE = """
import os, sys
from nlcore.registry.isolation import standard_output
with standard_output.reserved():
    print("print")
    os.write(1, b"write")
    sys.__stdout__.write("kept") if sys.__stdout__ else None
    standard_output.write("answer")
"""


@pytest.mark.skipif(os.name != "posix", reason="descriptors are closed by a shell")
@pytest.mark.parametrize(
    ("closed", "out"), [("", "answer"), ("2>&-", "answer"), ("<&-", "answer"), ("<&- 2>&-", "answer")]
)
def test_streams_may_be_closed(closed, out):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, PROBE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, out), done.stderr


def test_after_an_error_all_is_as_before(capfd):
    with pytest.raises(ZeroDivisionError), standard_output.reserved():
        raise ZeroDivisionError
    os.write(1, b"out\n")
    assert capfd.readouterr().out == "out\n"
