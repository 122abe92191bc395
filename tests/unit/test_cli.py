"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from pydantic import Field

from nlcore.cli import main
from nlcore.cli.arguments import options_of
from nlcore.cli.output import table
from nlcore.config import AlgorithmConfig
from nlcore.registry import Registry, default
from nlcore.registry.discovery import core_version

COMMANDS = """
from nlcore.plugin import hookimpl

@hookimpl
def nlcore_commands(subparsers):
    {body}
"""


@pytest.fixture
def run(shelf, monkeypatch, capsys):
    """Return a function that runs a command line and returns exit code, output and errors."""

    def call(*words, width=100, **environ):
        monkeypatch.setattr(default, "registry", Registry(entry_points=lambda: shelf.entry_points, environ=environ))
        monkeypatch.setenv("COLUMNS", str(width))
        for name in ("NLCORE_TRACE_PLUGINS", "NLCORE_STRICT_PLUGINS"):
            monkeypatch.setenv(name, environ.get(name, ""))
        code = main(list(words))
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def good(shelf):
    shelf.here = shelf.good(
        "x",
        (
            ("blur-v1", "Blur", "BlurConfig", None),
            ("blur-v2", "Blur", "BlurConfig", None),
            ("median-v1", "Plain", None, "biased"),
        ),
        distribution="blur-maker",
        version="2.1",
    )
    return shelf


@pytest.fixture
def bad(shelf):
    shelf.add("bad", "raise RuntimeError('boom\\nand more')", distribution="bad-one", version="0.3")
    return shelf


class TestList:
    def test_it_lines_up_ids_and_summaries(self, run, good):
        assert run("list") == (
            0,
            "ID           SUMMARY\n"
            "x/blur-v1    summary of blur-v1\n"
            "x/blur-v2    summary of blur-v2\n"
            "x/median-v1  (deprecated) summary of median-v1\n",
            "",
        )

    def test_of_one_namespace(self, run, good):
        good.good("y")
        code, out, err = run("list", "y")
        assert (code, out, err) == (0, "ID         SUMMARY\ny/blur-v1  summary of blur-v1\n", "")

    def test_as_json(self, run, good):
        code, out, err = run("list", "--json", "x")
        assert (code, err) == (0, "")
        assert json.loads(out)[2] == {
            "id": "x/median-v1",
            "summary": "summary of median-v1",
            "distribution": "blur-maker",
            "deprecated": "biased",
        }

    def test_of_nothing(self, run):
        assert run("list") == (0, "No algorithms are installed.\n", "")

    def test_a_broken_plugin_is_one_line_on_stderr(self, run, good, bad):
        code, out, err = run("list")
        assert code == 0
        assert "x/blur-v1" in out
        assert err.startswith("nlcore: warning: plugin 'bad' of bad-one 0.3 failed to load")
        assert "RuntimeError: boom and more" in err
        assert err.count("\n") == 1

    def test_a_broken_plugin_that_is_asked_for_is_a_failure(self, run, good, bad):
        code, out, err = run("list", "bad")
        assert (code, out) == (1, "")
        assert err.startswith("nlcore: error: plugin 'bad' of bad-one 0.3 failed to load")
        assert err.count("\n") == 1

    def test_strictly_a_broken_plugin_is_a_failure(self, run, good, bad):
        code, out, err = run("list", NLCORE_STRICT_PLUGINS="1")
        assert (code, out) == (1, "")
        assert err.startswith("nlcore: error: plugin 'bad'")

    def test_an_unknown_namespace_is_wrong_use(self, run, good):
        code, out, err = run("list", "xx")
        assert (code, out) == (2, "")
        assert err.startswith("nlcore: error: no installed plugin has the namespace 'xx'")


class TestShow:
    def test_it_describes_the_algorithm_and_its_options(self, run, good):
        assert run("show", "x/blur-v1") == (
            0,
            "x/blur-v1\n"
            "  summary of blur-v1\n"
            "\n"
            "distribution  blur-maker 2.1\n"
            f"factory       {good.here}:Blur\n"
            f"config        {good.here}:BlurConfig\n"
            "versions      x/blur-v2\n"
            'python        nlcore.make("x/blur-v1", width=1.0, sizes=[3, 5])\n'
            "\n"
            "OPTION  TYPE       DEFAULT  RANGE  DESCRIPTION\n"
            "width   float      1.0      > 0    Standard deviation in pixels.\n"
            "sizes   list[int]  [3, 5]          Sizes of the windows.\n",
            "",
        )

    def test_without_a_version_it_shows_the_newest(self, run, good):
        assert run("show", "x/blur")[1].startswith("x/blur-v2\n")

    def test_an_algorithm_without_options(self, run, good):
        code, out, err = run("show", "x/median")
        assert (code, err) == (0, "")
        assert "deprecated    biased\n" in out
        assert out.endswith('python        nlcore.make("x/median-v1")\n\nIt has no options.\n')

    def test_as_json(self, run, good):
        found = json.loads(run("show", "x/blur", "--json")[1])
        assert found["id"] == "x/blur-v2"
        assert (found["distribution"], found["version"]) == ("blur-maker", "2.1")
        assert found["options"][0] == {
            "name": "width",
            "type": "float",
            "required": False,
            "default": 1.0,
            "range": "> 0",
            "description": "Standard deviation in pixels.",
        }

    def test_the_line_of_python_works(self, run, good):
        line = json.loads(run("show", "x/blur", "--json")[1])["python"]
        made = eval(line.replace("nlcore.make", "make"), {"make": default.registry.make})
        assert (made.width, made.sizes) == (1.0, (3, 5))

    @pytest.mark.parametrize("id", ["blur", "x/blu", "x/blur-v9", "sorting/neuralsort", "X"])
    def test_an_id_that_names_nothing_is_wrong_use(self, run, good, id):
        code, out, err = run("show", id)
        assert (code, out) == (2, "")
        assert err.startswith("nlcore: error: ")
        assert err.count("\n") == 1

    def test_a_configuration_that_cannot_be_imported_is_a_failure(self, run, shelf):
        shelf.good("x", (("blur-v1", "Blur", "Nowhere", None),))
        code, out, err = run("show", "x/blur")
        assert (code, out) == (1, "")
        assert "nlcore: error: x/blur-v1 of nlcore-x-x 1.0: cannot resolve" in err


class TestPlugins:
    def test_it_lists_every_plugin_with_its_state(self, run, good, bad):
        good.good("y", distribution="alpha")
        good.good("y", distribution="beta")
        code, out, err = run("plugins", NLCORE_BLOCK_PLUGINS="alpha")
        assert (code, err) == (0, "")
        rows = [line.split()[:5] for line in out.splitlines()]
        assert rows[0] == ["NAMESPACE", "DISTRIBUTION", "VERSION", "STATE", "ALGORITHMS"]
        assert rows[1:5] == [
            ["bad", "bad-one", "0.3", "failed", "-"],
            ["x", "blur-maker", "2.1", "loaded", "3"],
            ["y", "alpha", "1.0", "disabled", "-"],
            ["y", "beta", "1.0", "loaded", "1"],
        ]
        assert out.endswith("\n1 cannot be used; `nlcore plugins --errors` says why.\n")

    def test_errors_are_explained_and_fail(self, run, good, bad):
        good.good("sorting", distribution="impostor")
        code, out, err = run("plugins", "--errors")
        assert (code, err) == (1, "")
        assert out.startswith("bad  bad-one 0.3  failed\n    plugin 'bad' of bad-one 0.3 failed to load from")
        assert "RuntimeError: boom" in out
        assert f"{bad.modules[2]}.py, line 1\n" in out
        assert "\n\nsorting  impostor 1.0  conflict\n" in out
        assert "blur-maker" not in out

    def test_without_errors_all_is_well(self, run, good):
        code, out, err = run("plugins", "--errors")
        assert (code, err) == (0, "")
        assert out.startswith("Every plugin loads. `nlcore doctor` looks")

    def test_as_json(self, run, good, bad):
        code, out, _err = run("plugins", "--json")
        assert code == 0
        broken, working = json.loads(out)
        assert (broken["state"], broken["algorithms"]) == ("failed", [])
        assert broken["error"] == "RuntimeError: boom\nand more"
        assert (working["namespace"], working["distribution"], working["version"]) == ("x", "blur-maker", "2.1")
        assert working["algorithms"] == ["x/blur-v1", "x/blur-v2", "x/median-v1"]
        assert working["error"] is None
        assert working["seconds"] > 0

    def test_errors_as_json(self, run, good, bad):
        code, out, _ = run("plugins", "--json", "--errors")
        assert code == 1
        assert [one["namespace"] for one in json.loads(out)] == ["bad"]


HOSTILE = """
from nlcore.plugin import AlgorithmSpec, hookimpl
@hookimpl
def nlcore_algorithms():
    return [AlgorithmSpec(id="x/a-v1", factory="a:b", summary="\\x1b[31mred\\x00 \\udc80 \\u202e‖\\nsecond line",
                          reference="\\x1b]0;title\\x07", since="\\x9b\\r", deprecated="\\tlong ago\\n")]
"""


class TestText:
    @pytest.fixture
    def hostile(self, shelf):
        shelf.add("x", HOSTILE, distribution="odd\x1b[2J-one")
        shelf.add("bad", "raise RuntimeError('\\x1b[2J\\x00\\udc80\\nmore')")
        return shelf

    @pytest.mark.parametrize(
        "words",
        [
            ("list",),
            ("show", "x/a"),
            ("plugins",),
            ("plugins", "--errors"),
            ("--help",),
            ("list", "bad"),
            ("show", "\x1b[2J\udc80"),
            ("\x1b[2J\udc80",),
            ("new", "\x1b[2J\udc80"),
            ("completion", "fish", "--words", "show", ""),
        ],
    )
    def test_nothing_that_steers_a_terminal_is_printed(self, run, hostile, words):
        _, out, err = run(*words)
        text = out + err
        assert text
        assert not [one for one in text if not one.isprintable() and one not in "\n\t"]

    def test_a_row_is_a_row(self, run, hostile):
        assert r"x/a-v1  (deprecated) \x1b[31mred\x00 \udc80 \u202e‖ second line" in run("list")[1].splitlines()

    @pytest.mark.parametrize("words", [("list", "--json"), ("show", "x/a", "--json"), ("plugins", "--json")])
    def test_json_is_ascii(self, run, hostile, words):
        code, out, _ = run(*(word if word != "x/a" else "x/a-v1" for word in words))
        assert (code, out.isascii()) == (0, True)
        assert json.loads(out)

    def test_json_holds_the_text_as_it_is(self, run, hostile):
        assert json.loads(run("list", "--json")[1])[0]["summary"] == "\x1b[31mred\x00 \udc80 \u202e‖\nsecond line"

    def test_a_long_word_is_not_printed_whole(self, run):
        code, out, err = run("show", "x" * 100_000)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert len(err) < 5000

    @pytest.mark.parametrize(
        "body", ["raise ZeroDivisionError('boom')", "raise GeneratorExit('boom')", "raise SystemExit(0)"]
    )
    def test_what_an_algorithm_raises_is_one_line_and_a_failure(self, run, shelf, body):
        here = shelf.module(
            "import pydantic\nfrom nlcore.config import AlgorithmConfig\n"
            f"def made():\n    {body}\nclass C(AlgorithmConfig):\n    x: int = pydantic.Field(default_factory=made)\n"
        )
        shelf.add("x", HOSTILE.replace('"a:b"', f'"a:b", config="{here}:C"'))
        code, out, err = run("show", "x/a")
        assert (code, out) == (1, "")
        assert err.startswith("nlcore: error: ")
        assert f"{here}.py, line 4)\nNLCORE_TRACE_PLUGINS=1 prints the traceback.\n" in err


class TestFirstWord:
    @pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
    def test_help_lists_the_commands_of_core_and_plugins(self, run, good, words):
        good.add("y", COMMANDS.format(body="subparsers.add_parser('train', help='train a network')"))
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        for word in ("usage: nlcore", "  list        list the algorithms", "  show ", "  plugins "):
            assert word in out
        assert "commands of plugins:\n  train  train a network  [nlcore-x-y 1.0]" in out

    def test_help_survives_a_broken_plugin_and_names_it(self, run, good, bad):
        good.add("y", COMMANDS.format(body="subparsers.add_parser('half'); 1 / 0"))
        good.add("z", COMMANDS.format(body="subparsers.add_parser('whole')"))
        code, out, err = run("--help")
        assert code == 0
        assert "whole" in out
        assert "half" not in out
        assert "the commands of nlcore-x-y 1.0 are left out: ZeroDivisionError" in err
        assert "Not every plugin works (bad)" in err
        assert "Traceback" not in out + err

    def test_version(self, run):
        assert run("--version") == (0, f"nlcore {core_version()}\n", "")

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            ("lst", "there is no command 'lst' (did you mean 'list'?)"),
            ("trian", "there is no command 'trian' (did you mean 'train'?)"),
            ("--hlep", "there is no option '--hlep' (did you mean '--help'?)"),
            ("", "there is no command ''"),
        ],
    )
    def test_an_unknown_word_is_wrong_use(self, run, shelf, word, message):
        shelf.add("y", COMMANDS.format(body="subparsers.add_parser('train')"))
        code, out, err = run(word)
        assert (code, out) == (2, "")
        assert err.startswith(f"nlcore: error: {message}")
        assert err.count("\n") == 1

    def test_a_command_of_a_package_of_ours_that_is_missing_names_the_package(self, run):
        code, out, err = run("bench", "list")
        assert (code, out) == (2, "")
        assert err.startswith(
            "nlcore: error: the command 'bench' belongs to nlcore-bench, which is not installed. "
            "Run: pip install plugins/bench in a clone of nlcore"
        )

    def test_an_unknown_word_hints_at_plugins_that_do_not_work(self, run, bad):
        assert "Not every plugin works (bad); `nlcore plugins --errors` says why." in run("train")[2]

    @pytest.mark.parametrize("words", [("list", "--nope"), ("show",), ("show", "a", "b"), ("plugins", "extra")])
    def test_wrong_arguments_are_wrong_use(self, run, good, words):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert f"usage: nlcore {words[0]}" in err

    @pytest.mark.parametrize("word", ["list", "show", "plugins"])
    def test_each_command_explains_itself(self, run, word):
        code, out, err = run(word, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: nlcore {word}")

    @pytest.mark.parametrize("words", [("show", "x/blur"), ("list", "x")])
    def test_a_command_of_the_core_loads_no_plugin_that_it_does_not_need(self, run, good, words):
        good.add("y", f"open({str(good.module(''))!r}, 'x')\nraise RuntimeError('loaded')")
        code, _, err = run(*words)
        assert (code, err) == (0, "")
        assert default.registry._plugins._active["y"].record.state == "discovered"


class TestPluginCommands:
    def command(self, shelf, body, namespace="y", name="train", **keywords):
        source = f"def go(arguments):\n    {body}\n" + COMMANDS.format(
            body=f"parser = subparsers.add_parser({name!r}, help='h', description='trains', aliases=['t'])\n"
            "    parser.add_argument('--steps', type=int, default=1)\n"
            "    parser.set_defaults(run=go)"
        )
        return shelf.add(namespace, source, **keywords)

    @pytest.mark.parametrize(("body", "code"), [("pass", 0), ("return 0", 0), ("return 1", 1), ("return 5", 5)])
    def test_it_runs_and_returns_its_code(self, run, shelf, body, code):
        self.command(shelf, f"print('steps', arguments.steps); {body}")
        assert run("train", "--steps", "3") == (code, "steps 3\n", "")
        assert run("t") == (code, "steps 1\n", "")

    def test_its_own_usage_errors_and_help(self, run, shelf):
        self.command(shelf, "pass")
        assert run("train", "--nope")[0] == 2
        code, out, _ = run("train", "--help")
        assert code == 0
        assert out.startswith("usage: nlcore train [-h] [--steps STEPS]")

    def test_an_exception_is_one_line(self, run, shelf):
        self.command(shelf, "raise ZeroDivisionError('deep\\nwithin')")
        code, out, err = run("train")
        assert (code, out) == (1, "")
        assert err == (
            "nlcore: error: the command 'train' of nlcore-x-y 1.0 failed: ZeroDivisionError: deep within\n"
            "NLCORE_TRACE_PLUGINS=1 prints the traceback.\n"
        )

    def test_with_tracing_the_traceback_is_there(self, run, shelf):
        self.command(shelf, "raise ZeroDivisionError('deep within')")
        code, _, err = run("train", NLCORE_TRACE_PLUGINS="1")
        assert code == 1
        assert "Traceback (most recent call last)" in err

    def test_an_error_of_nlcore_is_told_as_such(self, run, shelf):
        self.command(shelf, "import nlcore.errors as e; raise e.ShapeError('wrong shape')")
        assert run("train") == (1, "", "nlcore: error: wrong shape\n")

    @pytest.mark.parametrize(
        ("stop", "code", "err"),
        [("3", 3, ""), ("", 0, ""), ("None", 0, ""), ("'no data'", 1, "nlcore: error: no data\n")],
    )
    def test_it_may_exit(self, run, shelf, stop, code, err):
        self.command(shelf, f"raise SystemExit({stop})")
        assert run("train") == (code, "", err)

    def test_an_interrupt_has_its_usual_code(self, run, shelf):
        self.command(shelf, "raise KeyboardInterrupt")
        assert run("train") == (130, "", "")

    def test_nested_commands(self, run, shelf):
        shelf.add(
            "y",
            COMMANDS.format(
                body="parser = subparsers.add_parser('bench')\n"
                "    inner = parser.add_subparsers(required=True, metavar='WHAT')\n"
                "    inner.add_parser('speed').set_defaults(run=lambda arguments: print('fast'))"
            ),
        )
        assert run("bench", "speed") == (0, "fast\n", "")
        assert run("bench")[0] == 2

    @pytest.mark.parametrize("stop", ["GeneratorExit('deep')", "BaseExceptionGroup('deep', [SystemExit(1)])"])
    def test_any_exception_is_one_line(self, run, shelf, stop):
        self.command(shelf, f"raise {stop}")
        code, out, err = run("train")
        assert (code, out) == (1, "")
        assert err.startswith("nlcore: error: the command 'train' of nlcore-x-y 1.0 failed: ")
        assert err.count("\n") == 2

    def test_an_exception_without_a_text_is_one_line(self, run, shelf):
        self.command(shelf, "raise type('Mute', (Exception,), {'__str__': lambda self: exit(7)})")
        code, _, err = run("train", NLCORE_TRACE_PLUGINS="1")
        assert code == 1
        assert "failed: Mute (its text cannot be read)\n" in err

    @pytest.mark.parametrize(
        ("value", "code", "err"),
        [
            ("255", 255, ""),
            ("True", 1, ""),
            ("256", 1, ""),
            ("-1", 1, ""),
            ("2**70", 1, ""),
            ("'no data'", 1, "nlcore: error: no data\n"),
            ("[1]", 1, "nlcore: error: [1]\n"),
            ("type('Odd', (), {'__str__': exit, '__bool__': exit})()", 1, "nlcore: error: the command has failed\n"),
        ],
    )
    @pytest.mark.parametrize("how", ["return {}", "raise SystemExit({})"])
    def test_what_is_no_exit_code_is_a_failure(self, run, shelf, value, code, err, how):
        self.command(shelf, how.format(value))
        assert run("train") == (code, "", err)

    @pytest.mark.parametrize(
        "name", ["3", "None", "b'train'", "''", "'two words'", "'-x'", r"'a\n'", r"'a\x1b[31m'", "['a']"]
    )
    @pytest.mark.parametrize("place", ["{}", "'fine', aliases=[{}]"])
    def test_a_name_that_is_not_one_word_is_refused_and_harms_nobody(self, run, shelf, name, place):
        shelf.add("y", COMMANDS.format(body=f"subparsers.add_parser({place.format(name)})"))
        shelf.add("z", COMMANDS.format(body="subparsers.add_parser('whole', help='works')"))
        code, out, err = run("--help")
        assert code == 0
        assert "  whole  works" in out
        assert "fine" not in out
        assert "the commands of nlcore-x-y 1.0 are left out: RegistryError: the name of a command is one word" in err

    @pytest.mark.parametrize("body", ["raise GeneratorExit('boom')", "raise SystemExit(0)", "subparsers.nothing()"])
    def test_a_hook_that_fails_leaves_out_its_own_commands_alone(self, run, shelf, body):
        shelf.add("y", COMMANDS.format(body=f"subparsers.add_parser('half'); {body}"))
        self.command(shelf, "print('works')", namespace="z")
        assert run("train") == (0, "works\n", "")
        code, out, err = run("--help")
        assert (code, "half" in out) == (0, False)
        assert "the commands of nlcore-x-y 1.0 are left out: " in err

    def test_a_help_that_is_no_string_is_refused(self, run, shelf):
        shelf.add("y", COMMANDS.format(body="subparsers.add_parser('train', help=3)"))
        assert "the help of the command 'train' is 3 (int), not a string" in run("--help")[2]

    def test_output_of_a_hook_is_not_that_of_the_command(self, run, shelf):
        shelf.add("y", COMMANDS.format(body="print('noise')"))
        self.command(shelf, "print('answer')", namespace="z")
        assert run("train") == (0, "answer\n", "noise\n")

    def test_a_parser_without_a_function_shows_its_help(self, run, shelf):
        shelf.add("y", COMMANDS.format(body="subparsers.add_parser('idle')"))
        code, out, err = run("idle")
        assert (code, out) == (2, "")
        assert err.startswith("usage: nlcore idle")

    def test_a_name_of_the_core_is_not_to_be_had(self, run, shelf, good):
        self.command(shelf, "print('hijacked')", name="list")
        assert "x/blur-v1" in run("list")[1]
        code, _out, err = run("--help")
        assert code == 0
        assert "nlcore: warning: the command 'list' of nlcore-x-y 1.0 is left out: nlcore has one of that name" in err

    def test_a_name_that_two_add_goes_to_neither(self, run, shelf):
        self.command(shelf, "print('y')", distribution="alpha")
        self.command(shelf, "print('z')", namespace="z", distribution="beta")
        code, out, err = run("train")
        assert (code, out) == (2, "")
        assert "the command 'train' is left out, since several add it: alpha 1.0, beta 1.0" in err


class TestTable:
    def test_the_last_column_is_wrapped(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "400")
        text = table(("id", "summary"), [("a/b-v1", "word " * 50), ("c", "short")])
        lines = text.splitlines()
        assert max(map(len, lines)) <= 100
        assert len(lines) == 5
        assert [line[:8] for line in lines] == ["ID      ", "a/b-v1  ", "        ", "        ", "c       "]

    def test_a_narrow_terminal(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "50")
        assert max(map(len, table(None, [("abc", "word " * 50)]).splitlines())) <= 50

    def test_long_texts_in_front_are_wrapped_under_headers(self):
        choices = " | ".join(f"choice_{i}" for i in range(20))
        lines = table(("type", "default", "description"), [(choices, "3", "word " * 20)]).splitlines()
        assert max(map(len, lines)) <= 100
        assert " ".join(line[:32].strip() for line in lines[1:]) == choices

    def test_an_empty_column_is_left_out(self):
        assert table(("a", "b", "c"), [("1", "", "3"), ("11", "", "")]) == "A   C\n1   3\n11"


class TestOptions:
    def test_types_ranges_and_defaults(self):
        class Inner(AlgorithmConfig):
            a: int = 1

        class AllConfig(AlgorithmConfig):
            required: int
            choice: Literal["a", "b"] = "a"
            single: Literal["a"] = "a"
            maybe: float | None = Field(None, ge=0, lt=1)
            text: str = Field("x", min_length=1, pattern="^x")
            flag: bool = True
            numbers: list[float] = Field([1.0], min_length=1, max_length=3)
            pair: list[int] = Field([0, 1], min_length=2, max_length=2)
            table: dict[str, int] = Field(default_factory=lambda: {"a": 1})
            inner: Inner = Inner()

        found = {one.name: (one.type, one.default_text, one.range) for one in options_of(AllConfig)}
        assert found == {
            "required": ("int", "None", ""),
            "choice": ('"a" | "b"', '"a"', ""),
            "single": ('"a"', '"a"', ""),
            "maybe": ("float | None", "None", "≥ 0, < 1"),
            "text": ("str", '"x"', "length ≥ 1, matches ^x"),
            "flag": ("bool", "True", ""),
            "numbers": ("list[float]", "[1.0]", "≥ 1 elements, ≤ 3 elements"),
            "pair": ("list[int]", "[0, 1]", "2 elements"),
            "table": ("dict", "{'a': 1}", ""),
            "inner": ("dict", "{'a': 1}", ""),
        }
        assert [one.name for one in options_of(AllConfig) if one.required] == ["required"]

    def test_none_without_a_configuration(self):
        assert options_of(None) == []


def test_warnings_of_other_kinds_pass_through(run, shelf):
    shelf.add(
        "y",
        "import warnings\ndef go(arguments):\n    warnings.warn('from within', FutureWarning)\n"
        + COMMANDS.format(body="subparsers.add_parser('train').set_defaults(run=go)"),
    )
    with pytest.warns(FutureWarning, match=r"from within"):
        assert run("train") == (0, "", "")
