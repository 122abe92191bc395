"""The loader: what it reads, against a reader that takes one word at a time, and every way a line can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nlcore_bench.data.letor import LetorError, load

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
    first = {query: position for position, (query, _, _) in reversed(list(enumerate(rows)))}
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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_is_read_as_word_by_word(tmp_path: Path, end: str) -> None:
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
    with pytest.raises(LetorError, match=rf"train.txt, line 4: .*{line}.* is not a row. A row is 'grade qid:query"):
        load(written(tmp_path, f"# head\n\n{GOOD}{line}\n{GOOD}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-1 qid:3 1:1", "the grade -1 is not a finite number from 0 on"),
        ("nan qid:3 1:1", "the grade nan"),
        ("inf qid:3 1:1", "the grade inf"),
        ("1e300 qid:3 1:1", "the grade 1e.300"),
        ("x qid:3 1:1", "'x qid:3 1:1': could not convert string to float: b'x'"),
        ("1 qid:a 1:1", "'1 qid:a 1:1' is not a row"),
        ("1 qid:3.5 1:1", "'1 qid:3.5 1:1' is not a row"),
        ("1 qid: 1:1", "'1 qid: 1:1' is not a row"),
        ("1 qid:9223372036854775808 1:1", "'1 qid:9223372036854775808 1:1': .*too large"),
        ("1 qid:-9223372036854775809 1:1", "'1 qid:-9223372036854775809 1:1': .*too large"),
        ("1 qid:3 0:1", "'1 qid:3 0:1': Invalid index 0"),
        ("1 qid:3 -1:1", "'1 qid:3 -1:1' is not a row"),
        ("1 qid:3 1.5:1", "'1 qid:3 1.5:1' is not a row"),
        ("1 qid:3 9999999999:1", "'1 qid:3 9999999999:1': .*too large"),
        ("1 qid:3 2:1 1:1", "'1 qid:3 2:1 1:1': Feature indices .* should be sorted and unique"),
        ("1 qid:3 2:1 2:1", "'1 qid:3 2:1 2:1': Feature indices .* should be sorted and unique"),
        ("1 qid:3 2:inf", "feature 2 is inf"),
        ("1 qid:3 1:1 2:nan", "feature 2 is nan"),
        ("1 qid:3 2:1e300", "feature 2 is inf, not a finite number in float32"),
        ("1 qid:3 2:abc", "'1 qid:3 2:abc': could not convert string to float: b'abc'"),
        ("1 qid:3 2:1 qid:4", "'1 qid:3 2:1 qid:4' is not a row"),
        ("1 qid:3 2:0x10", "'1 qid:3 2:0x10': could not convert string to float: b'0x10'"),
        ("1 qid:3 2:1_0", "'1 qid:3 2:1_0' is not a row"),
        ("1 qid:3 2:1\x0b3:1", ".* is not a row"),
        ("1 qid:3 2:1 # old\r0 qid:3 2:1", ".* is not a row"),
        ("1 qid:3 2:1\x003", ".* is not a row"),
    ],
)
def test_a_word_that_means_nothing_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(LetorError, match=f"train.txt, line 3: {message}"):
        load(written(tmp_path, f"{GOOD}\n{line}\n{GOOD}"))


def test_line_numbers_count_all_lines(tmp_path: Path) -> None:
    with pytest.raises(LetorError, match="line 51:"):
        load(written(tmp_path, GOOD * 50 + "1 qid:x\n"))
    for last in ("nan qid:1 1:1", "1 qid:1 1:nan", "1 qid:1\n1 qid:1 1:1 2:nan\n1 qid:1\n1 qid:1 3:nan"):
        with pytest.raises(LetorError, match=rf"line {7 + last.count('2:nan')}: .*nan"):
            load(written(tmp_path, f"# head\n\n{GOOD}\n3 qid:1\n\n{last}\n1 qid:2 1:inf\n"))


def test_ids_of_queries_are_exact_up_to_the_largest(tmp_path: Path) -> None:
    ids = [2**53 + 1, 2**53, 2**63 - 1, 2**63 - 2, -(2**63), 0, -1]
    data = load(written(tmp_path, "".join(f"1 qid:{one} 1:1\n" for one in ids)))
    assert data.queries.tolist() == ids
    assert data.starts.tolist() == list(range(8))


def test_numbers_are_read_as_python_reads_them(tmp_path: Path) -> None:
    data = load(written(tmp_path, " \t2.5 \t qid:007  1:+.5\t2:-1e-3 3:1.  \n+0 qid:7 1:1E2#no space\n-0 qid:7 2:-0\n"))
    rows = np.array([[0.5, -1e-3, 1], [100, 0, 0], [0, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(data.features, rows)
    assert data.relevance.tolist() == [2.5, 0, 0]
    assert data.queries.tolist() == [7]


def test_marks_of_the_encoding_and_bytes_in_comments_are_passed_over(tmp_path: Path) -> None:
    assert load(written(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())).queries.tolist() == [10]
    assert load(written(tmp_path, b"1 qid:3 1:1 # caf\xe9 \x00 \xff\n")).queries.tolist() == [3]
    with pytest.raises(LetorError, match=r"line 1: .* is not a row"):
        load(written(tmp_path, GOOD.encode("utf-16")))
    with pytest.raises(LetorError, match=r"line 2: .* is not a row"):
        load(written(tmp_path, GOOD.encode() + b"\xef\xbb\xbf" + GOOD.encode()))


@pytest.mark.parametrize("end", ["1", "1 ", "1 qid", "1 qid:", "1 qid:3 1", "1 qid:3 1:", "1 qid:3 1:1 2"])
def test_a_last_line_that_is_cut_off_is_named(tmp_path: Path, end: str) -> None:
    with pytest.raises(LetorError, match=r"line 2: .* is not a row"):
        load(written(tmp_path, GOOD + end))


def test_packed_files_that_are_cut_off_damaged_or_not_packed_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    text = random_text(300, 9, seed=2).encode()
    packed = gzip.compress(text)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 255
    for data in (packed[:-20], packed[:-1], packed[: len(packed) // 2], packed[:5], bytes(flipped), text):
        path.write_bytes(data)
        with pytest.raises(LetorError, match=r"train\.txt\.gz.*line"):
            load(path)
    path.write_bytes(gzip.compress(GOOD.encode()) * 2)  # members one after the other are one file
    assert load(path).starts.tolist() == [0, 2]


def test_an_index_that_asks_for_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch) -> None:
    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("scipy.sparse.csr_matrix.toarray", full)
    monkeypatch.setattr("scipy.sparse.csr_array.toarray", full)
    with pytest.raises(LetorError, match=r"1 rows of 2147483647 features do not fit .* Is the index 2147483647 a m"):
        load(written(tmp_path, "1 qid:1 2147483647:1\n"))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\r\n", "\ufeff"])
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


def test_the_old_module_still_gives_the_names_and_says_where_they_are_now() -> None:
    from nlcore_bench import letor as old

    with pytest.warns(DeprecationWarning, match=r"import nlcore_bench\.data\.letor\.load"):
        assert old.load is load
    with pytest.raises(AttributeError, match="no attribute 'save'"):
        _ = old.save
