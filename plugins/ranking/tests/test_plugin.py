"""The plugin: registered, conforming, lazy, immutable."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

import nlcore
import nlcore_ranking
from nlcore.testing import check_algorithm
from nlcore_ranking import ListLoss, ListMLE, TopKClassification

IDS = nlcore.names("ranking")


def test_the_registry_lists_them_and_makes_them() -> None:
    assert {"ranking/listnet-v1", "ranking/topk_classification-v1"} <= set(IDS)
    for id in IDS:
        loss = nlcore.make(id)
        assert isinstance(loss, ListLoss)
        assert loss.id == id
        assert nlcore.restore(nlcore.dump(loss)) == loss


def test_the_kit_finds_no_fault(loss: ListLoss) -> None:
    options = loss._options()
    check_algorithm(loss, config=loss.config, options=options)


def test_registering_and_configuring_import_no_torch() -> None:
    code = (
        "import sys, nlcore_ranking, nlcore_ranking._plugin as plugin\n"
        "list(plugin.nlcore_algorithms())\n"
        "nlcore_ranking.PiRankConfig(k=2, block=4)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_listed() -> None:
    for name in nlcore_ranking.__all__:
        assert getattr(nlcore_ranking, name) is not None
        assert name in dir(nlcore_ranking)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nlcore_ranking.nothing


def test_objects_are_values(loss: ListLoss) -> None:
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), type(loss)(**loss._options())):
        assert twin == loss
        assert hash(twin) == hash(loss)
    with pytest.raises(FrozenInstanceError):
        loss.id = "mine"  # type: ignore[misc]


def test_options_are_read_as_the_configuration_reads_them() -> None:
    assert ListMLE(ties="index") == nlcore.make("ranking/listmle", ties="index")
    assert TopKClassification(p_k=[0.5, 0.5]).p_k == (0.5, 0.5)  # type: ignore[arg-type]
