"""Files and folders of commands: whole or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from nlcore.cli.files import new_file, new_folder
from nlcore.errors import ConfigError


def test_a_file_takes_its_place_when_it_is_written(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old", "utf-8")
    with new_file(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("new", "utf-8")
        assert path.read_text("utf-8") == "old"
    assert path.read_text("utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ZeroDivisionError(), KeyboardInterrupt()])
def test_what_is_there_stays_when_writing_fails(tmp_path, error):
    path = tmp_path / "picture.png"
    path.write_text("old", "utf-8")
    expected = ConfigError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match=r"^$|cannot write .*: No space left on device"), new_file(path) as temporary:
        temporary.write_text("half", "utf-8")
        raise error
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "is a folder"), ("none/x.png", "cannot write"), ("file/x.png", "cannot write"), ("x" * 300, "cannot write")],
)
def test_a_file_that_cannot_be_is_refused_before_anything_is_done(tmp_path, name, message):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ConfigError, match=message), new_file(tmp_path / name):
        pytest.fail("it was begun")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_long_name_that_the_disk_takes(tmp_path):
    path = tmp_path / f"{'x' * 250}.png"
    with new_file(path) as temporary:
        temporary.write_text("new", "utf-8")
    assert path.read_text("utf-8") == "new"


@pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")
def test_a_link_and_a_device_stay_what_they_are(tmp_path):
    link, target = tmp_path / "link.png", tmp_path / "target.png"
    link.symlink_to(target)
    with new_file(link) as temporary:
        temporary.write_text("new", "utf-8")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "new"
    device = tmp_path / "device.png"
    os.mkfifo(device)
    with new_file(device) as direct:
        assert direct == device
    assert stat.S_ISFIFO(device.stat().st_mode)


def test_a_folder_takes_its_place_when_it_is_written(tmp_path):
    with new_folder(tmp_path / "a" / "b") as temporary:
        (temporary / "file").write_text("new", "utf-8")
        assert not (tmp_path / "a" / "b").exists()
    assert [one.name for one in (tmp_path / "a" / "b").iterdir()] == ["file"]
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_no_half_of_a_folder_is_left(tmp_path, error):
    expected = ConfigError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), new_folder(tmp_path / "b") as temporary:
        (temporary / "file").write_text("new", "utf-8")
        raise error
    assert list(tmp_path.iterdir()) == []
