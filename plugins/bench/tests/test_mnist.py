"""MNIST from IDX files: what is read, and what is refused."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch

from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore_bench import Totals
from nlcore_bench.data.mnist import _SHA256, _files, digest, idx, mnist
from nlcore_bench.tasks.base import task_settings


def write(folder, name: str, array: np.ndarray, *, zipped: bool) -> None:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path = folder / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, count in (("train", 5100), ("t10k", 5050)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write(tmp_path, f"{name}-images-idx3-ubyte", images, zipped=name == "train")
        write(tmp_path, f"{name}-labels-idx1-ubyte", random.integers(0, 10, count, dtype=np.uint8), zipped=True)
    return tmp_path


def test_parts_are_the_files_pooled(folder) -> None:
    scans = mnist(str(folder))
    assert (len(scans.train), len(scans.validation), len(scans.test)) == (100, 5000, 5050)
    raw = np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes(), dtype=np.uint8, offset=16)
    first = raw.reshape(-1, 28, 28)[7].astype(float) / 255
    pooled = first.reshape(14, 2, 14, 2).mean((1, 3)).ravel()
    torch.testing.assert_close(scans.test.images[7].double(), torch.from_numpy(pooled), rtol=1e-6, atol=1e-6)


def test_totals_read_them_and_record_their_digest(folder) -> None:
    task = Totals(length=3, batch=2, folder=str(folder))
    batch = next(task.batches(0))
    assert batch.inputs.shape == (2, 3, 196)
    assert task.network(0)(batch.inputs).shape == (2, 3)
    options = task_settings("bench/totals", {"folder": str(folder)})["options"]
    assert options == {"folder": digest(str(folder))}


def test_a_report_needs_the_records_but_not_the_data(folder, tmp_path, capsys) -> None:
    study = tmp_path / "digits.toml"
    study.write_text(
        'id = "digits"\ntitle = "Digits"\nsteps = 1\nevery = 1\nseeds = 1\ntuning_seeds = 1\nlearning_rates = [0.1]\n'
        '[methods.plain]\n[tasks.one]\nid = "bench/totals-v1"\noptions = { length = 2, batch = 2, hidden = [4] }\n'
    )
    out = ["--quiet", "--out", str(tmp_path / "runs")]
    assert main(["bench", "run", str(study), *out, "--workers", "1", "--option", f"folder={folder}"]) == 0
    (folder / "train-images-idx3-ubyte.gz").unlink()
    mnist.cache_clear()
    digest.cache_clear()
    assert main(["bench", "report", str(study), *out[1:]]) == 0
    page = (tmp_path / "runs/digits/report.md").read_text()
    assert "nlcore bench run digits --methods plain --option folder=FOLDER\n" in page
    capsys.readouterr()
    assert main(["bench", "run", str(study), *out]) == 1
    assert "folder is" in capsys.readouterr().err


def test_what_is_not_there_or_no_idx_file_is_named(folder) -> None:
    with pytest.raises(ConfigError, match=r"has neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        mnist(str(folder / "nowhere"))
    whole = (folder / "t10k-images-idx3-ubyte").read_bytes()
    for cut in (2, 6, 7, 10, 15):
        (folder / "t10k-images-idx3-ubyte").write_bytes(whole[:cut])
        with pytest.raises(ConfigError, match=f"it has {cut} bytes.*SHA-256 {_SHA256['t10k-images-idx3-ubyte']}"):
            mnist(str(folder))
    (folder / "t10k-images-idx3-ubyte").write_bytes(whole[:-1])
    with pytest.raises(
        ConfigError, match=r"cut off: it has \d+ bytes\. The t10k-images-idx3-ubyte of MNIST, unpacked, has"
    ):
        mnist(str(folder))
    write(folder, "t10k-images-idx3-ubyte", np.zeros((9, 28, 28), dtype=np.uint8), zipped=False)
    mnist.cache_clear()
    with pytest.raises(ConfigError, match="MNIST has"):
        mnist(str(folder))


def test_a_packed_file_that_is_cut_off_or_damaged_is_named_with_the_expected_checksum(folder) -> None:
    path = folder / "train-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for content in (whole[:-20], whole[:8], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"labels-idx1-ubyte\.gz .*SHA-256 {_SHA256[path.stem]}\. Get the file"):
            mnist(str(folder))


def test_another_data_set_of_the_same_size_is_refused(folder) -> None:
    write(folder, "t10k-labels-idx1-ubyte", np.zeros(10_000, dtype=np.uint8), zipped=True)
    with pytest.raises(
        ConfigError, match=r"damaged, or of another data set: its SHA-256 is [0-9a-f]{64}\. The t10k-lab"
    ):
        mnist(str(folder))


def test_offline_openml_is_named_and_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigError, match=r"MNIST cannot be downloaded from OpenML: .* four IDX files .* --option folder=DIR"
    ):
        Totals(folder="openml").network(0)


def test_a_table_of_all_scans_becomes_the_files() -> None:
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (60_003, 784)).astype(float), random.integers(0, 10, 60_003).astype(str)
    found = _files(pixels, labels)
    assert found.keys() == _SHA256.keys()
    last = np.frombuffer(found["t10k-images-idx3-ubyte"], dtype=np.uint8, offset=16).reshape(3, 28, 28)
    np.testing.assert_array_equal(last, pixels[-3:].reshape(3, 28, 28))
    assert found["train-labels-idx1-ubyte"] == idx(labels[:60_000].astype(np.uint8))
    assert found["train-images-idx3-ubyte"][:16] == struct.pack(">BBBBIII", 0, 0, 8, 3, 60_000, 28, 28)
