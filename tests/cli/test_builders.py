"""What the command line reads off the text of builders, held against the builders themselves."""

from __future__ import annotations

import subprocess
import sys

from convscope.cli import builders
from convscope.models import MODELS, arguments_of


def test_arguments_read_off_the_text_are_those_of_the_builders():
    read = {(one.network, one.name): one.default for one in builders.arguments()}
    known = {(name, key): value for name in MODELS for key, value in arguments_of(name).items()}
    assert read == known | {("tv:NAME", "small_stem"): arguments_of("tv:resnet18")["small_stem"]}


def test_each_argument_says_in_a_sentence_what_it_is():
    for one in builders.arguments():
        assert 4 < len(one.text) < 130 and "Raises" not in one.text, one
        assert one.text[0].islower() and not one.text.endswith("."), one


def test_what_is_equal_is_said_once():
    of = [one for one in builders.arguments() if one.name == "width"]
    assert builders.helps(of) == (
        "preact_resnet, preact_resnet20: channels of the first stage [default: 16]; "
        "resnet18_small: channels of the first stage [default: 64]; "
        "wide_resnet: first channels in units of 16 [default: 4]"
    )


def test_reading_them_imports_no_torch():
    code = "from convscope.cli import builders; import sys; assert len(builders.arguments()) > 10\n"
    code += "assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
