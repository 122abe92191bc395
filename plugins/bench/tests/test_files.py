"""Files that are written whole or not at all: short writes, a full disk, an error of the disk, a kill."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from nlcore.errors import NlcoreError
from nlcore_bench.files import Appender, WriteError, make_folder, write_whole


class Disk(io.FileIO):
    """A file on a disk that takes few bytes at a time, and no more than it has room for."""

    def __init__(self, path: Path, *, room: int = 10**9, refusals: int = 0) -> None:
        super().__init__(path, "ab")
        self.room, self.refusals = room, refusals

    def write(self, data) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = super().write(memoryview(data)[: min(7, self.room)])
        self.room -= count
        return count

    def truncate(self, size: int | None = None) -> int:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EIO, "Input/output error")
        return super().truncate(size)


def test_short_writes_are_completed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with Disk(path) as disk:
        appender = Appender(disk)
        for number in range(3):
            appender.append(b"a line of some length, number %d\n" % number)
    assert path.read_bytes().splitlines() == [b"a line of some length, number %d" % number for number in range(3)]


@pytest.mark.parametrize("room", [1, 7, 20, 29])
def test_what_a_full_disk_took_of_a_line_is_cut_off(tmp_path: Path, room: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"first\n")
    with Disk(path, room=room) as disk:
        appender = Appender(disk)
        with pytest.raises(OSError, match="No space left"):
            appender.append(b"x" * 30 + b"\n")
        assert path.read_bytes() == b"first\n"
        disk.room = 1000
        appender.append(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


def test_what_could_not_be_cut_off_at_once_is_cut_off_before_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with Disk(path, room=3, refusals=2) as disk:
        appender = Appender(disk)
        with pytest.raises(OSError, match="No space left"):
            appender.append(b"first\n")
        assert path.read_bytes() == b"fir"
        disk.room = 1000
        with pytest.raises(OSError, match="Input/output"):
            appender.append(b"first\n")
        appender.append(b"second\n")
    assert path.read_bytes() == b"second\n"


def test_a_line_that_did_not_reach_the_disk_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines"

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Disk(path) as disk, monkeypatch.context() as patch:
        patch.setattr("nlcore_bench.files.os.fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            Appender(disk).append(b"first\n")
    assert path.read_bytes() == b""


def test_a_deleted_file_takes_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with Disk(path) as disk:
        path.unlink()
        with pytest.raises(OSError, match="deleted"):
            Appender(disk).append(b"first\n")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WriteError, match=r"cannot write .*absent/table\.md: No such file.*--out"):
        write_whole(tmp_path / "absent" / "table.md", "text")
    path = tmp_path / "table.md"
    write_whole(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nlcore_bench.files.os.fsync", full)
    with pytest.raises(NlcoreError, match=r"cannot write .*table\.md: No space left on device\. Nothing was changed"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_utf_8_cannot_encode_is_escaped(tmp_path: Path) -> None:
    write_whole(tmp_path / "table.md", "queries of caf\udce9")
    assert (tmp_path / "table.md").read_text() == r"queries of caf\udce9"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(WriteError, match=r"cannot make the folder .*taken/runs.*--out"):
        make_folder(tmp_path / "taken" / "runs")
