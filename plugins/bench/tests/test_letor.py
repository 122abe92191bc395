"""The loader: what it reads, against a reader that takes one word at a time, and every way a line can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nlcore_bench import letor
from nlcore_bench.letor import LetorError, load

GOOD = "2 qid:10 1:0.03 3:1e-3 # a page 1:2\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def slow(text: str, width: int) -> tuple[list[list[float]], list[float], list[int]]:
    """Read one word at a time; rows by query, queries in the order of their first row."""
    rows = []
    for line in text.split("\n"):
        words = line.partition("#")[0].split()
        if words:
            features = [0.0] * width
            for word in words[2:]:
                index, _, value = word.partition(":")
                features[int(index) - 1] = float(value)
            rows.append((int(words[1].removeprefix("qid:")), float(words[0]), features))
    first = {query: place for place, (query, _, _) in reversed(list(enumerate(rows)))}
    rows.sort(key=lambda row: first[row[0]])
    return [row[2] for row in rows], [row[1] for row in rows], [row[0] for row in rows]


def random_text(rows: int, width: int, seed: int) -> str:
    random = np.random.RandomState(seed)
    lines = []
    for row in range(rows):
        named = np.flatnonzero(random.rand(width) < 0.6)
        words = [f"{i + 1}:{random.randn():.6g}" for i in named]
        comment = ["", " # docid = GX-00 inc = 1 prob = 0.5", " #", "\t"][row % 4]
        lines.append(" ".join([str(random.randint(5)), f"qid:{random.randint(rows // 4) + 7}", *words]) + comment)
        lines += [[], [""], ["# a line of nothing else"]][row % 3]
    return "\n".join(lines)


@pytest.mark.parametrize("chunk", [1, 300, 1 << 24])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_is_read_as_word_by_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, end: str) -> None:
    monkeypatch.setattr(letor, "_CHUNK", chunk)
    text = random_text(60, 9, seed=1)
    data = load(written(tmp_path, text.replace("\n", end)), features=9)
    features, relevance, queries = slow(text, 9)
    np.testing.assert_array_equal(data.features, np.array(features, dtype=np.float32))
    np.testing.assert_array_equal(data.relevance, np.array(relevance, dtype=np.float32))
    np.testing.assert_array_equal(np.repeat(data.queries, np.diff(data.starts)), queries)
    assert len(set(data.queries.tolist())) == len(data.queries)
    assert data.features.dtype == data.relevance.dtype == np.float32


def test_small_files_by_hand(tmp_path: Path) -> None:
    data = load(written(tmp_path, GOOD + "0 qid:9 2:1\n1 qid:10 1:4"))
    np.testing.assert_array_equal(data.features, np.array([[0.03, 0, 1e-3], [4, 0, 0], [0, 1, 0]], dtype=np.float32))
    assert data.relevance.tolist() == [2, 1, 0]
    assert data.starts.tolist() == [0, 2, 3]
    assert data.queries.tolist() == [10, 9]
    assert load(written(tmp_path, "3 qid:1\n"), features=2).features.tolist() == [[0.0, 0.0]]


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert load(path).queries.tolist() == [10]


@pytest.mark.parametrize(
    "line",
    [
        *("1", "1 3 1:0.3", "qid:3 1:1", ":1 qid:3", "1 qd:3 1:0.3", "1 1:0.3 qid:3", "1 qid 3 1:1"),
        *(
            "1 qid:3 1 0.3",
            "1 qid:3 1:0.3 4",
            "1 qid:3 1:2:3",
            "1 qid:3 1:2:3 4",
            "1 qid:3 1: 3",
            "1 qid:3 :1 3",
            "1 qid:3 1:",
        ),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(LetorError, match=rf"train.txt, line 4: .*{line}.* is no row. A row is 'grade qid:query"):
        load(written(tmp_path, f"# head\n\n{GOOD}{line}\n{GOOD}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-1 qid:3 1:1", "the grade -1 is no number from 0 on"),
        ("nan qid:3 1:1", "the grade nan"),
        ("x qid:3 1:1", "'x' is no number"),
        ("1 qid:a 1:1", "'a' is no number"),
        ("1 qid:3.5 1:1", "the query 3.5 is no whole number"),
        ("1 qid:3 0:1", "the feature index 0 is no whole number from 1 on"),
        ("1 qid:3 1.5:1", "the feature index 1.5"),
        ("1 qid:3 2:1 1:1", "feature 1 comes after 2"),
        ("1 qid:3 2:1 2:1", "feature 2 comes after 2"),
        ("1 qid:3 2:inf", "feature 2 is inf"),
        ("1 qid:3 2:1e300", "feature 2 is 1e.300"),
        ("1 qid:3 2:abc", "'abc' is no number"),
        ("1 qid:3 2:1 qid:4", "'qid' is no number"),
        ("1 qid:3 2:0x10", "'0x10' is no number"),
        ("1 qid:3 2:1_0", "'1_0' is no number"),
    ],
)
def test_a_word_that_means_nothing_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(LetorError, match=f"train.txt, line 3: {message}"):
        load(written(tmp_path, f"{GOOD}\n{line}\n{GOOD}"))


def test_line_numbers_count_on_from_chunk_to_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letor, "_CHUNK", 100)
    with pytest.raises(LetorError, match="line 51:"):
        load(written(tmp_path, GOOD * 50 + "1 qid:x\n"))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LetorError, match="holds no row"):
        load(written(tmp_path, text))


def test_more_features_than_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LetorError, match="has a feature 3, and 2 were asked for"):
        load(written(tmp_path, GOOD), features=2)


def test_a_file_of_many_rows_takes_little_time(tmp_path: Path) -> None:
    import time

    row = " ".join(f"{i}:0.{i}" for i in range(1, 101))
    path = written(tmp_path, "".join(f"{q % 5} qid:{q // 50} {row}\n" for q in range(5000)))
    start = time.process_time()
    data = load(path)
    assert data.features.shape == (5000, 100)
    assert time.process_time() - start < 2  # word by word it takes longer
