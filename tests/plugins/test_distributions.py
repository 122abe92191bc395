"""Broken and quarrelling plugins as real distributions on sys.path, seen by a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import nlcore

GOOD = """
from nlcore.plugin import AlgorithmSpec, hookimpl

@hookimpl
def nlcore_algorithms():
    return [AlgorithmSpec(id="{namespace}/blur-v1", factory="{module}:Blur", summary="blurs")]

class Blur:
    traits = None
    def __call__(self, prediction, target, *, generator=None):
        return prediction
"""

HOOK = "from nlcore.plugin import AlgorithmSpec, hookimpl\n@hookimpl\ndef nlcore_algorithms({arguments}):\n    {body}\n"


class Site:
    """A folder like site-packages, with metadata as pip writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.distributions: set[str] = set()
        folder.mkdir()

    def install(
        self,
        distribution: str,
        namespace: str,
        source: str,
        *,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        group: str = "nlcore.plugins.v1",
        module: str | None = None,
    ) -> None:
        module = module or f"{distribution.replace('-', '_').lower()}_plugin"
        text = textwrap.dedent(source).replace("{namespace}", namespace).replace("{module}", module)
        (self.folder / f"{module}.py").write_text(text, "utf-8")
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        self.metadata(distribution, version, "\n".join(lines) + "\n", f"[{group}]\n{namespace} = {module}\n")

    def metadata(self, distribution: str, version: str, metadata: str | None, entry_points: str) -> None:
        self.distributions.add(distribution)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata is not None:
            (info / "METADATA").write_text(metadata, "utf-8")
        (info / "entry_points.txt").write_text(entry_points, "utf-8")


def python(code: str, *sites: Site, argv: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the sites and this nlcore, and no setting from outside."""
    paths = [*(str(site.folder) for site in sites), str(Path(nlcore.__file__).parents[1])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NLCORE_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::nlcore.errors.PluginLoadWarning", "-c", code, *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**kept, **environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"},
    )


def evaluate(expression: str, *sites: Site, **environ: str):
    """Return the value of an expression over `nlcore` in a fresh interpreter."""
    done = python(f"import json, nlcore\nprint(json.dumps({expression}))", *sites, **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def message(statement: str, *sites: Site, **environ: str) -> str:
    """Return class, message and cause of the error that a statement raises in a fresh interpreter."""
    code = f"""
import nlcore
try:
    {statement}
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}} <- {{type(error.__cause__).__name__}}")
"""
    done = python(code, *sites, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def command(*words: str, sites: tuple[Site, ...], **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from nlcore.cli import main; sys.exit(main())"
    return python(code, *sites, argv=words, **environ)


RECORDS = "[[r.namespace, r.distribution, r.state, r.error] for r in nlcore.plugins()]"


def states(*sites: Site, **environ: str) -> dict[tuple[str, str], str]:
    """Return the state of what the sites and the core bring, whatever else is installed here."""
    found = evaluate(RECORDS, *sites, **environ)
    ours = {"nlcore", ""}.union(*(site.distributions for site in sites))
    return {(namespace, distribution): state for namespace, distribution, state, _ in found if distribution in ours}


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "site")


@pytest.fixture
def good(site):
    site.install("good-plugin", "good", GOOD)
    return site


FAULTS = {
    "crashes at import": ("raise RuntimeError('boom at import')", "RuntimeError: boom at import", "RuntimeError"),
    "exits": ("import sys; sys.exit('leaving')", "SystemExit: leaving", "SystemExit"),
    "panics": ("class Panic(BaseException): pass\nraise Panic('deep within')", "Panic: deep within", "Panic"),
    "has an error without a text": (
        "class Mute(Exception):\n    def __str__(self): raise SystemExit(7)\nraise Mute",
        "Mute (its text cannot be read)",
        "Mute",
    ),
    "has a summary that is no text": (
        HOOK.format(arguments="", body="return [AlgorithmSpec(id='bad/a-v1', factory='a:b', summary=3)]"),
        "bad/a-v1: summary is of type int",
        "RegistryError",
    ),
    "lacks a dependency": ("import nlcore_no_such", "No module named 'nlcore_no_such'", "ModuleNotFoundError"),
    "takes an argument": (HOOK.format(arguments="registry", body="return []"), "registry", "PluginValidationError"),
    "returns nothing": (HOOK.format(arguments="", body="pass"), "returned None", "RegistryError"),
    "returns a number": (HOOK.format(arguments="", body="return 3"), "returned 3 (int)", "RegistryError"),
    "returns text": (HOOK.format(arguments="", body="return ['a/b-v1']"), "'a/b-v1' (str) among", "RegistryError"),
    "crashes in the hook": (HOOK.format(arguments="", body="1 / 0"), "ZeroDivisionError", "ZeroDivisionError"),
    "has no hook": ("x = 1", "implements no hook", "RegistryError"),
    "leaves its namespace": (
        HOOK.format(arguments="", body="return [AlgorithmSpec(id='good/mine-v1', factory='a:b')]"),
        "'good/mine-v1', which is outside the plugin's own namespace 'bad'",
        "RegistryError",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_distribution_is_named_and_the_good_one_works(good, fault):
    source, text, cause = FAULTS[fault]
    good.install("bad-plugin", "bad", source, version="0.3")
    found = {record[1]: record for record in evaluate(RECORDS, good)}
    assert found["good-plugin"][2:] == ["loaded", None]
    assert found["bad-plugin"][2] == "failed"
    assert text in found["bad-plugin"][3]
    assert evaluate("[type(nlcore.make('good/blur')).__name__, nlcore.names('good')]", good) == [
        "Blur",
        ["good/blur-v1"],
    ]
    raised = message("nlcore.make('bad/blur')", good)
    assert raised.startswith("PluginLoadError: plugin 'bad' of bad-plugin 0.3 failed to load")
    assert text in raised
    assert raised.endswith(f"<- {cause}")


def test_the_command_line_explains_every_fault_and_goes_on(good):
    for number, (source, _, _) in enumerate(FAULTS.values()):
        good.install(f"bad-{number}", f"bad_{number}", source.replace("'bad'", f"'bad_{number}'"))
    good.install("stranger-a", "shared", GOOD)
    good.install("stranger-b", "shared", GOOD)
    done = command("plugins", "--errors", sites=(good,))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    for number, (_, text, _) in enumerate(FAULTS.values()):
        assert f"bad_{number}  bad-{number} 1.0  failed" in done.stdout
        first = text.replace("'bad'", f"'bad_{number}'").split(",")[0]
        assert first in " ".join(done.stdout.split())
    assert "shared  stranger-a 1.0  conflict" in done.stdout
    assert "shared  stranger-b 1.0  conflict" in done.stdout
    assert "good-plugin" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100 + len(str(good.folder))

    listed = command("list", "good", sites=(good,))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "good/blur-v1" in listed.stdout
    assert command("--help", sites=(good,)).returncode == 0


def test_two_strangers_with_one_namespace_are_both_withheld(good):
    good.install("stranger-a", "shared", GOOD)
    good.install("stranger-b", "shared", GOOD)
    found = states(good)
    assert found["shared", "stranger-a"] == found["shared", "stranger-b"] == "conflict"
    assert found["good", "good-plugin"] == "loaded"
    raised = message("nlcore.make('shared/blur')", good)
    assert raised.startswith("PluginConflictError")
    assert "stranger-a 1.0, stranger-b 1.0" in raised
    assert evaluate("nlcore.names('shared')", good, NLCORE_BLOCK_PLUGINS="stranger-b") == ["shared/blur-v1"]


def test_an_impostor_leaves_the_owner_of_a_namespace_alone(good):
    good.install("aaa-impostor", "sorting", GOOD)
    good.install("nlcore-sorting", "sorting", GOOD, version="0.1.0")
    found = states(good)
    assert found["sorting", "aaa-impostor"] == "conflict"
    assert found["sorting", "nlcore-sorting"] == "loaded"
    assert evaluate("nlcore.spec('sorting/blur').factory", good) == "nlcore_sorting_plugin:Blur"
    explained = command("plugins", "--errors", sites=(good,))
    assert "sorting  aaa-impostor 1.0  conflict" in explained.stdout
    assert "reserved for nlcore-sorting" in " ".join(explained.stdout.split())


def test_a_distribution_that_is_there_twice_is_there_once(tmp_path, good):
    other = Site(tmp_path / "other")
    other.install("Good_Plugin", "good", "raise RuntimeError('the stale copy')", version="0.9", module="stale")
    assert states(good, other)["good", "good-plugin"] == "loaded"
    assert ("good", "Good_Plugin") not in states(good, other)


def test_what_an_upgrade_has_given_up_counts_no_more(tmp_path, site):
    """A stale copy further down sys.path still claims a namespace that its newer self has left to another."""
    stale = Site(tmp_path / "stale")
    stale.install("mover", "shared", "raise RuntimeError('stale')", version="0.1", module="mover_old")
    site.metadata("mover", "0.2", "Name: mover\nVersion: 0.2\n", "[console_scripts]\nmove = mover:main\n")
    site.install("heir", "shared", GOOD)
    assert states(site, stale) == {("core", "nlcore"): "loaded", ("shared", "heir"): "loaded"}


def test_metadata_that_is_broken_concerns_only_its_owner(good):
    good.metadata(
        "unrelated", "1.0", "Name: unrelated\nVersion: 1.0\n", "[console_scripts]\nthis line is no entry point\n"
    )
    good.metadata("garbled", "1.0", "Name: garbled\nVersion: 1.0\n", "nlcore.plugins.v1 without a section\n")
    good.metadata("valueless", "1.0", "Name: valueless\nVersion: 1.0\n", "[nlcore.plugins.v1]\nnothing\n")
    good.metadata("nameless", "1.0", None, "[nlcore.plugins.v1]\nlost = lost_module\n")
    (good.folder / "binary-1.0.dist-info").mkdir()
    (good.folder / "binary-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[nlcore.plugins.v1]\xff")
    found = {(record[0], record[1]): record for record in evaluate(RECORDS, good)}
    assert found["good", "good-plugin"][2] == "loaded"
    assert "entry_points.txt cannot be read" in found["?", "garbled"][3]
    assert "is not a module" in found["nothing", "valueless"][3]
    assert "No module named 'lost_module'" in found["lost", ""][3]
    assert not [key for key in found if "unrelated" in key]
    assert command("plugins", sites=(good,)).returncode == 0


def test_another_interface_and_another_core_are_incompatible(good):
    good.install("from-the-future", "future", "raise RuntimeError('imported')", group="nlcore.plugins.v2")
    good.install("picky", "picky", "raise RuntimeError('imported')", requires=("nlcore>=99,<100",))
    found = states(good)
    assert found["future", "from-the-future"] == found["picky", "picky"] == "incompatible"
    assert "reads 'nlcore.plugins.v1'" in message("nlcore.names('future')", good)
    assert "it requires 'nlcore>=99,<100'" in message("nlcore.names('picky')", good)


def test_the_core_is_there_in_a_source_tree(good):
    """Whether nlcore is installed or only on the path, `core` is listed once, and a copy of the name gets nothing."""
    good.install("impostor", "core", "raise RuntimeError('imported')")
    found = states(good)
    assert found["core", "nlcore"] == "loaded"
    assert found["core", "impostor"] == "conflict"
    assert evaluate("nlcore.names('core')", good)


def test_the_environment_switches_plugins(good):
    good.install("bad-plugin", "bad", "raise RuntimeError('boom')")
    good.install("other-plugin", "other", GOOD)
    assert states(good, NLCORE_PLUGINS="good-plugin") == {
        ("core", "nlcore"): "loaded",
        ("good", "good-plugin"): "loaded",
        ("bad", "bad-plugin"): "disabled",
        ("other", "other-plugin"): "disabled",
    }
    assert states(good, NLCORE_BLOCK_PLUGINS="bad")["bad", "bad-plugin"] == "disabled"
    assert "RuntimeError: boom" in message("nlcore.names()", good, NLCORE_STRICT_PLUGINS="1")
    traced = python("import nlcore; nlcore.names('good')", good, NLCORE_TRACE_PLUGINS="1").stderr
    assert "nlcore: plugin good (good-plugin 1.0): loaded, 1 algorithm in" in traced
    assert "bad" not in traced


def test_what_is_installed_while_python_runs_is_found_after_a_refresh(good, tmp_path):
    waiting = Site(tmp_path / "waiting")
    waiting.install("late-plugin", "late", GOOD)
    code = f"""
import os, pathlib, nlcore
print(nlcore.names('good'))
folder = pathlib.Path({str(good.folder)!r})
before = folder.stat()
for item in pathlib.Path({str(waiting.folder)!r}).iterdir():
    item.rename(folder / item.name)
os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on file systems with coarse times
try:
    nlcore.make('late/blur')
except LookupError as error:
    print('refresh()' in str(error))
nlcore.refresh()
print(type(nlcore.make('late/blur')).__name__)
"""
    done = python(code, good)
    assert done.stdout.splitlines() == ["['good/blur-v1']", "True", "Blur"], done.stderr


def test_a_record_of_a_run_comes_back_in_another_process(good):
    record = evaluate("nlcore.dump(nlcore.make('good/blur'))", good)
    assert record["versions"]["good-plugin"] == "1.0"
    assert evaluate(f"type(nlcore.restore({record!r})).__name__", good) == "Blur"


NOISE = """
import atexit, logging, os, subprocess, sys
print("at import")
os.write(1, b"to the descriptor")
sys.__stdout__.write("to what it was")
logging.basicConfig(stream=sys.stdout, force=True)
logging.warning("logged")
subprocess.run([sys.executable, "-c", "print('child')"])
atexit.register(print, "at exit")
assert sys.stdin.read() == ""
"""


@pytest.mark.parametrize(
    "words",
    ["list --json", "list --ids", "plugins --json", "show loud/blur --json", "doctor --json", "check loud/blur --json"],
)
def test_what_a_plugin_prints_stands_in_no_answer(site, words):
    site.install("loud-plugin", "loud", NOISE + GOOD + "\n    def __init__(self): print('made')\n")
    done = command(*words.split(), sites=(site,))
    assert done.returncode in {0, 1}
    if "--json" in words:
        assert json.loads(done.stdout)
    else:
        assert "loud/blur-v1" in done.stdout.splitlines()
        assert all("/" in line for line in done.stdout.splitlines())
    for word in ("at import", "to the descriptor", "to what it was", "logged", "child", "at exit"):
        assert word in done.stderr


def test_a_program_that_asks_keeps_its_own_output(site):
    site.install("loud-plugin", "loud", NOISE + GOOD + "\n    def __init__(self): print('made')\n")
    code = "import nlcore; nlcore.names(); print(type(nlcore.make('loud/blur')).__name__); print(input())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="mine",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site.folder), str(Path(nlcore.__file__).parents[1])])},
    )
    assert done.stdout == "Blur\nmine\nat exit\n"
    assert "made" in done.stderr


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("~lcore_stale-1.0.dist-info", "nlcore-stale"),
        ("something_else-1.0.dist-info", "nlcore-stale"),
        ("nlcore-stale-1.0.dist-info", "nlcore-stale"),
        ("nlcore_stale-1.0.dist-info", "nlcore stale"),
        ("nlcore_stale-1.0.dist-info", "UNKNOWN"),
        ("nlcore_stale-1.0.dist-info", None),
        ("nlcore_stale-1.0.dist-info", "caf\udce9"),
    ],
)
def test_metadata_whose_name_leads_nowhere_harms_nobody(good, folder, name):
    good.install("nlcore-stale", "stale", GOOD)
    info = good.folder / "nlcore_stale-1.0.dist-info"
    text = "" if name is None else f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(text, "utf-8", "surrogateescape")
    info.rename(good.folder / folder)
    assert evaluate("type(nlcore.make('good/blur')).__name__", good) == "Blur"
    found = {record[0]: record[2] for record in evaluate(RECORDS, good)}
    state = None if folder.startswith("~") else "failed" if name == "caf\udce9" else "loaded"
    assert (found["core"], found["good"], found.get("stale")) == ("loaded", "loaded", state)
    assert command("doctor", sites=(good,)).returncode in {0, 1}


def test_python_m_nlcore_and_a_closed_pipe(good):
    paths = os.pathsep.join([str(good.folder), str(Path(nlcore.__file__).parents[1])])
    environ = {**os.environ, "PYTHONPATH": paths}
    environ.pop("PYTHONUNBUFFERED", None)  # what is printed shall meet the closed pipe late
    done = subprocess.run(
        [sys.executable, "-m", "nlcore", "list", "good"], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout == "ID            SUMMARY\ngood/blur-v1  blurs\n"
    read, write = os.pipe()
    os.close(read)
    try:
        closed = subprocess.run(
            [sys.executable, "-m", "nlcore", "list"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environ,
        )
    finally:
        os.close(write)
    assert (closed.returncode, closed.stderr) == (1, "")


def test_nothing_heavy_is_imported(good):
    code = "import sys, nlcore; nlcore.names('good'); nlcore.plugins(); print('torch' in sys.modules)"
    assert python(code, good).stdout == "False\n"
