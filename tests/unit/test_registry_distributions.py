"""Distributions as folders of metadata: which of them count, whatever their folders are called and hold."""

from __future__ import annotations

import sys

import pytest

from nlcore.registry.discovery import (
    UNKNOWN_VERSION,
    core_version,
    everything,
    installed_as,
    installed_candidates,
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that writes a folder of metadata with one entry point, in front of everything installed."""

    def write(folder, metadata, *, namespace="stale", module="stale_plugin", path="site"):
        info = tmp_path / path / folder
        info.mkdir(parents=True)
        if metadata is not None:
            (info / "METADATA").write_bytes(metadata if isinstance(metadata, bytes) else metadata.encode())
        if namespace:
            (info / "entry_points.txt").write_text(f"[nlcore.plugins.v1]\n{namespace} = {module}\n", "utf-8")
        if str(tmp_path / path) not in sys.path:
            monkeypatch.syspath_prepend(tmp_path / path)
        return info

    return write


def about(name, version="1.0"):
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def found(namespace="stale"):
    return [
        (one.distribution, one.version, one.entry_point.value, bool(one.fault))
        for one in installed_candidates()
        if one.entry_point.name == namespace
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("nlcore_stale-1.0.dist-info", "nlcore-stale"),
        ("something_else-1.0.dist-info", "nlcore-stale"),
        ("nlcore-stale-1.0.dist-info", "nlcore-stale"),
        ("nlcore_stale-1.0.dist-info", "nlcore stale"),
        ("nlcore_stale-1.0.dist-info", "UNKNOWN"),
        ("nlcore stale-1.0.dist-info", "nlcore.stale"),
        ("-1.0.dist-info", "nlcore-stale"),
        (".dist-info", "nlcore-stale"),
        ("nlcore_stale.egg-info", "nlcore-stale"),
    ],
)
def test_a_name_need_not_lead_back_to_its_folder(site, folder, name):
    site(folder, about(name))
    assert found() == [(name, "1.0", "stale_plugin", False)]
    assert found("core") != []


def test_what_pip_has_set_aside_does_not_count(site):
    info = site("~lcore_stale-2.0.dist-info", about("nlcore-stale", "2.0"))
    assert found() == []
    assert installed_as("nlcore-stale") is None
    assert [one.folder for one in everything() if one.left_over] == [str(info)]
    site("nlcore_stale-1.0.dist-info", about("nlcore-stale"))
    assert found() == [("nlcore-stale", "1.0", "stale_plugin", False)]


@pytest.mark.parametrize("versions", [("1.9", "1.10"), ("1.10", "1.9"), ("1.10.dev1", "1.10"), ("nonsense", "1.10")])
def test_of_two_versions_in_one_folder_the_newer_counts(site, versions):
    for version in versions:
        site(f"nlcore_stale-{version}.dist-info", about("nlcore-stale", version), module=f"m_{version[:3]}")
    assert [one[1] for one in found()] == ["1.10"]
    assert installed_as("nlcore_stale").version == "1.10"


def test_of_two_folders_the_first_on_the_path_counts(site):
    site("nlcore_stale-2.0.dist-info", about("nlcore-stale", "2.0"), path="behind")
    site("nlcore_stale-1.0.dist-info", about("Nlcore_Stale", "1.0"), path="front")
    assert found() == [("Nlcore_Stale", "1.0", "stale_plugin", False)]


def test_a_newer_copy_without_entry_points_hides_an_older_one(site):
    site("nlcore_stale-1.0.dist-info", about("nlcore-stale"), path="behind")
    site("nlcore_stale-2.0.dist-info", about("nlcore-stale", "2.0"), namespace="", path="front")
    assert found() == []


def test_two_without_a_name_are_two(site):
    site("one-1.0.dist-info", about("UNKNOWN"), namespace="one")
    site("two-1.0.dist-info", None, namespace="two")
    assert len(found("one")) == len(found("two")) == 1


@pytest.mark.parametrize("metadata", [b"Name: caf\xe9\nVersion: 1.0\n", b"\xff\xfe\x00"])
def test_metadata_that_cannot_be_decoded_is_a_fault_of_its_own(site, metadata):
    info = site("nlcore_stale-1.0.dist-info", metadata)
    (fault,) = [one.fault for one in installed_candidates() if one.entry_point.name == "stale"]
    assert fault.startswith(f"its metadata {info} cannot be read: UnicodeDecodeError")
    assert found("core") != []


@pytest.mark.parametrize("metadata", [None, b"", b"\n\nno header\n", b"Name: \nVersion: \n"])
def test_metadata_that_says_nothing(site, metadata):
    site("nlcore_stale-1.0.dist-info", metadata)
    assert found() == [("", "", "stale_plugin", False)]


def test_a_line_that_continues_nothing_is_a_fault_of_its_own(site):
    info = site("nlcore_stale-1.0.dist-info", about("nlcore-stale"))
    (info / "entry_points.txt").write_text("[nlcore.plugins.v1]\nstale\n  continued\n", "utf-8")
    (fault,) = [one.fault for one in installed_candidates() if one.distribution == "nlcore-stale"]
    assert fault.startswith("its entry_points.txt cannot be read: ")


class TestCoreVersion:
    def test_a_folder_that_begins_like_nlcore_is_not_nlcore(self, site):
        before = core_version()
        site("nlcore-stale-77.0.dist-info", about("nlcore-stale", "77.0"))
        assert core_version() == before != UNKNOWN_VERSION

    @pytest.mark.parametrize("metadata", [None, b"", b"Name: caf\xe9\n", b"Name: nlcore\n"])
    def test_a_stale_folder_of_nlcore_says_nothing(self, site, metadata):
        site("nlcore-77.0.dist-info", metadata, namespace="")
        assert core_version() not in {"77.0", "", UNKNOWN_VERSION}
