"""What the parser of the command line refuses, in the house's words: argument, value, rule,
remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from convscope.errors import nearest
from convscope.recipe import options

MEANT = {  # what other programs call it -> what it is called here
    "--learning-rate": "--lr", "--bs": "--batch-size", "--wd": "--weight-decay",
    "--gpu": "--device", "--cuda": "--device", "--cpu": "--device", "--arch": "--model",
    "--network": "--model", "--net": "--model", "--num-epochs": "--epochs",
    "--workers": "--threads", "--num-workers": "--threads", "--output": "--out",
    "--validation": "--val", "--amp": "--precision", "--config": "--recipe",
    "--dropout": "--layers", "--top": "--top-k", "--kernel": "--kernel-size",
}  # fmt: skip

KINDS = {"int": ("a whole number", "try 2"), "float": ("a number", "try 0.5")}


def in_words(why: typer.TyperException, words: Sequence[str], commands: Mapping[str, Any]) -> str:
    """The error for the ``words`` that were typed, where each of ``commands`` is known by name."""
    context: Any = getattr(why, "ctx", None)
    verb = next((word for word in words if word in commands), "")
    path = _path(context.command_path if context else f"convscope {verb}")
    show = f"{path} --help shows how"
    if isinstance(why, typer.BadParameter):
        return _parameter(why, show)
    if option := getattr(why, "option_name", None):
        return _option(why, option, path, words, commands)
    if extra := re.search(r"unexpected extra argument\(s\) \((.*)\)$", why.message):
        return _one_too_many(extra[1], context, path, words)
    if typed := re.search(r"No such command '(.*?)'", why.message):
        return f"{typed[1]}: is no command of {path}; {nearest(typed[1], context.command.commands)}"
    return f"{path}: {_small(why)}; {show}"


def place(argument: str, words: Sequence[str], commands: Mapping[str, Any]) -> str:
    """The name by which the command of these words knows an argument that is no option of it, such
    as DATA; else nothing."""
    command = None
    for word in words[:2]:
        command = commands.get(word) if command is None or hasattr(command, "commands") else command
    params = command.params if command is not None else []
    if any(p.name == argument and p.param_type_name == "option" for p in params):
        return ""
    names = (_named(p) for p in params if p.param_type_name == "argument")
    return next((name for name in names if name.lower() == argument), "")


def _small(why: typer.TyperException) -> str:
    return f"{why.message[:1].lower()}{why.message[1:]}".rstrip(".")


def _path(typed: str) -> str:
    """A command as its help names it, whatever file it was started from."""
    return f"convscope {typed.rpartition('convscope')[2]}".strip().replace("  ", " ")


def _name(why: Any) -> str:
    """A parameter as it is typed: an option by its long flag, an argument by its name in capitals,
    as the help has it."""
    param = why.param
    if param is None:
        return "argument"
    if param.param_type_name == "argument":
        return _named(param)
    return str(max(param.opts, key=len))


def _named(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()).removesuffix("...")


def _parameter(why: typer.BadParameter, show: str) -> str:
    """An argument that is missing, or a value of the wrong kind, whose rule is that of the recipe's
    field, else that of its kind."""
    name, param = _name(why), why.param
    text = (getattr(param, "help", None) or "").rstrip(".")
    if type(why).__name__ == "MissingParameter":
        about = f" ({text[:1].lower()}{text[1:]})" * bool(text)
        return f"{name}=(not given): is needed{about}; {show}"
    errors: list[Any] = getattr(why.__cause__, "errors", list)()
    if not errors:
        return f"{name}: {_small(why)}; {show}"
    value, kind = errors[0]["input"], errors[0]["type"].partition("_")[0]
    if str(value).startswith("--"):
        return f"{name} (nothing): needs a value, and {value} came; {show}"
    field = options().get(str(getattr(param, "name", "")))
    if getattr(param, "rich_help_panel", None) and field is not None and field.rule:
        return f"{name} {value}: must be {field.values}; {field.remedy}"
    rule, remedy = KINDS.get(kind, (_small(why), show))
    default = getattr(param, "default", None)
    if type(default) in (int, float):
        remedy = f"try {default} (the default)"
    between = "=" if getattr(param, "param_type_name", "") == "argument" else " "
    return f"{name}{between}{value}: must be {rule}; {remedy}"


def _option(
    why: Any, option: str, path: str, words: Sequence[str], commands: Mapping[str, Any]
) -> str:
    """An option without its value, or with one that it does not take; or one that the command does
    not have, and the nearest of those that it has."""
    context = getattr(why, "ctx", None)
    if "requires" in why.message:
        return f"{option} (nothing): needs a value; {path} --help shows which"
    if "does not take" in why.message:
        value = next((w.partition("=")[2] for w in words if w.startswith(f"{option}=")), "")
        return f"{option} {value}: takes no value; write {option} alone"
    known = _flags(context.command) if context else []
    if re.fullmatch(r"-\w", option):  # -lr is read as -l -r
        option = next((w for w in words if w.startswith(option)), option)
    typed = f"--{option.lstrip('-').replace('_', '-').lower()}"
    if context is not None and context.parent is None:
        having = [name for name, command in commands.items() if typed in _flags(command)]
        if having:
            verb = next((v for v in words if v in having), having[0])
            return f"{option}: belongs to a command; write it after {verb}"
    meant = MEANT.get(typed)
    if meant in known:
        hint = f"did you mean {meant}? "
    elif len(typed) == 3:  # -e: the first that begins so
        hint = "".join([f"did you mean {flag}? " for flag in known if flag.startswith(typed)][:1])
    else:
        hint = nearest(typed, known, listed=False)
    return f"{option}: is no option of {path}; {hint}{path} --help lists them"


def _flags(command: Any) -> list[str]:
    options = (o for p in command.params if p.param_type_name == "option" for o in p.opts)
    return [flag for flag in options if flag.startswith("--")]


def _one_too_many(extra: str, context: Any, path: str, words: Sequence[str]) -> str:
    """A word that has no place; what stands before it may be an option that takes none."""
    first = extra.split(" ", maxsplit=1)[0]
    at = words.index(first) if first in words else 0
    before = words[at - 1] if at else ""
    flags = [o for p in context.command.params for o in (*p.opts, *p.secondary_opts)]
    if before in flags:
        return f"{before} {first}: takes no value; write {before} alone"
    return (
        f"{extra}: is more than {path} takes; leave it out, or put a name with spaces into quotes"
    )
