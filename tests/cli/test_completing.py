"""What the shell is told when tab is pressed, as it asks: a process of its own, a variable that
says how."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from convscope import recipe
from convscope.api.shipping import FORMATS
from convscope.cli import builders, completing
from convscope.data import sources
from convscope.insight.explain import heat
from convscope.models import MODELS
from convscope.studies import grid

# the installed command's own text
COMMAND = "import sys; from convscope.cli import main; sys.argv[0] = 'convscope'; main()"
ASKED = """
for line; do
    COMP_WORDS=($line)
    [[ $line != *" " ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _convscope_completion convscope
    echo "${COMPREPLY[@]}"
done
"""


def program(folder):
    """The command `convscope`, as pip makes it."""
    folder.mkdir()
    file = folder / "convscope"
    file.write_text(f"#!{sys.executable}\n{COMMAND}\n")
    file.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def said_by(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_options_and_their_values(workplace):
    run = workplace / "runs" / "mnist-cnn-1"
    run.mkdir(parents=True)
    (run / "recipe.toml").touch()
    (workplace / "runs" / "notes").mkdir()
    wanted = {
        "convscope data i": "info",
        "convscope train --optim": "--optimizer",
        "convscope train mnist --model preact": "preact_resnet20 preact_resnet",
        "convscope train fa": "fashion-mnist",
        "convscope predict ": "runs/mnist-cnn-1",
        "convscope export runs/mnist-cnn-1 --format ": "onnx page triton",
        "convscope predict photo": "",  # a file's name: the shell's own
    }
    names = program(workplace / "bin")
    script = said_by("convscope", env=names | {"_CONVSCOPE_COMPLETE": "source_bash"}).stdout
    said = said_by("bash", "-c", script + ASKED, "bash", *wanted, env=names)
    assert said.stderr == ""
    assert dict(zip(wanted, said.stdout.splitlines(), strict=True)) == wanted


def test_every_name_that_is_offered_is_one_that_is_taken(workplace):
    assert builders.networks() == list(MODELS)
    assert list(completing.data_sets()) == list(sources.NAMED)
    assert list(completing.studies()) == grid.names()
    offered = {name: completing.of_field(name) for name in recipe.options()}
    for name, names in offered.items():
        for value in names() if names else ():
            recipe.checked(name, value, recipe.options()[name])
    assert {name for name in offered if offered[name]} > {"model", "optimizer", "start", "kernels"}
    assert list(completing.of_field("recipe")()) == recipe.names()
    assert list(completing.of_field("augment")()) == list(recipe.AUGMENT_BY_NAME)
    assert completing.of_field("lr") is None and completing.runs() == []


def test_every_closed_list_of_another_verb_is_offered_whole(asked):
    assert asked("export", "format") == list(FORMATS)
    assert asked("explain", "method") == list(heat.METHODS)


@pytest.fixture
def asked():
    """The names that a parameter of a verb offers, by the parser's own way."""
    from typer.main import get_command

    from convscope.cli import app

    def call(verb: str, name: str) -> list[str]:
        command = get_command(app).commands[verb]
        (param,) = (one for one in command.params if one.name == name)
        context = command.make_context(verb, ["x"], resilient_parsing=True)
        return [item.value for item in param.shell_complete(context, "")]

    return call


def test_completing_imports_neither_torch_nor_rich():
    code = (
        "import os, sys\n"
        "os.environ |= {'_CONVSCOPE_COMPLETE': 'complete_bash',\n"
        "               'COMP_WORDS': 'convscope train --recipe ', 'COMP_CWORD': '3'}\n"
        "sys.argv = ['convscope']\n"
        "from convscope.cli import completing, main\n"
        "list(completing.data_sets()), list(completing.studies()), list(completing.kernels())\n"
        "try: main()\n"
        "finally: assert not {'torch', 'rich', 'scipy'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = said_by(sys.executable, "-c", code)
    assert done.stdout.split() == recipe.names() and done.returncode == 0, done.stderr
