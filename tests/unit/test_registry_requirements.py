"""The requirement on nlcore, compared with what `packaging` says."""

from __future__ import annotations

import itertools

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from nlcore.registry.discovery import unmet_requirement

VERSIONS = [
    "0", "0.1", "0.1.0", "0.1.1", "0.2", "0.10", "1", "1.0", "1.0.1", "1.2.3.4", "2", "10.0",
    "0.1.dev1", "0.1a1", "0.1a2", "0.1b1", "0.1rc1", "0.1.post1", "0.1.post2.dev1", "0.1a1.dev3",
    "1.0.0.dev1", "1.0rc2", "1.0.post3", "v1.0", "1.0-alpha.3", "1.0+local.1",
]  # fmt: skip
PUBLIC = [version for version in VERSIONS if "+" not in version]
FINAL = [version for version in PUBLIC if version.replace(".", "").isdigit()]
SPECIFIERS = [f"{operator}{version}" for operator, version in itertools.product([">=", "<=", "==", "!="], PUBLIC)]
# Releases of `packaging` differ on < and > with a bound that is itself a pre-release or a post-release.
SPECIFIERS += [f"{operator}{version}" for operator, version in itertools.product(["<", ">"], FINAL)]
SPECIFIERS += ["~=0.1.0", "~=0.1", "~=1.0rc1", "~=1.2.3", "==0.*", "==0.1.*", "!=0.1.*", "==1.0.0.*"]
SPECIFIERS += [">=0.1,<1", ">=0.1,!=0.1.1,<2", ">0.1,<=1.0", ">=0.1,<0.2,==0.1.*", ""]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_clause_holds_exactly_where_packaging_says_so(version):
    differing = [
        text
        for text in SPECIFIERS
        if (unmet_requirement([f"nlcore{text}"], "nlcore", version) is None)
        != SpecifierSet(text).contains(Version(Version(version).public), prereleases=True)
    ]
    assert differing == []


@pytest.mark.parametrize(
    "requirement",
    [
        "nlcore>=0.5,<1",
        "nlcore >=0.5, <1",
        "nlcore (>=0.5,<1)",
        "nlcore[sorting,bench]>=0.5",
        "NLCore >= 0.5",
        "nlcore  ==  0.5.*",
    ],
)
def test_the_ways_to_write_a_requirement(requirement):
    assert unmet_requirement(["torch>=99", requirement, "nlcore-sorting>=99"], "nlcore", "0.4") == requirement
    assert unmet_requirement([requirement], "nlcore", "0.5.1") is None


@pytest.mark.parametrize(
    "requirement",
    [
        "nlcore",
        "nlcore>=99; extra == 'later'",
        "nlcore>=99 ; python_version < '3'",
        "nlcore @ https://example.org/nlcore.whl",
        "nlcore-sorting>=99",
        "nlcore_x>=99",
        "nlcore===whatever",
        "nlcore>=not.a.version",
        "???",
        "",
    ],
)
def test_what_is_left_to_the_installer(requirement):
    assert unmet_requirement([requirement], "nlcore", "0.1") is None


def test_the_first_that_is_unmet_is_returned():
    assert unmet_requirement(["nlcore>=0.1", "nlcore<0.2", "nlcore>=0.4"], "nlcore", "0.3") == "nlcore<0.2"


@pytest.mark.parametrize(
    ("bound", "version", "holds"),
    [
        ("<1.0rc2", "1.0rc1", True),
        ("<1.0rc2", "1.0rc2", False),
        ("<1.0.post3", "1.0rc1", True),
        (">1.0rc1", "1.0.post1", True),
        (">1.0.post1", "1.0.post2", True),
        (">1.0rc1", "1.0rc1", False),
    ],
)
def test_bounds_that_are_early_or_late_themselves(bound, version, holds):
    assert (unmet_requirement([f"nlcore{bound}"], "nlcore", version) is None) == holds


def test_a_version_that_is_not_known_meets_everything():
    assert unmet_requirement(["nlcore>=99"], "nlcore", "weird") is None


@pytest.mark.parametrize("requirement", [f"nlcore>={'9' * 5000}", f"nlcore=={'9' * 5000}.*", f"nlcore~=1.{'9' * 5000}"])
def test_a_number_that_no_version_has_is_left_to_the_installer(requirement):
    assert unmet_requirement([requirement, "nlcore>=2"], "nlcore", "1.0") == "nlcore>=2"
    assert unmet_requirement(["nlcore>=2"], "nlcore", "9" * 5000) is None
