"""Turns: how a benchmark drives a script that trains, a few steps at a time.

A script started with ``--turns`` sets itself up, prints one JSON line with ``"ready": true``, and
then answers every line that it reads with one line:

    {"steps": 100}      its next 100 training steps, data loading included, epoch after epoch as
                        they come -> {"seconds": ..., "images": ..., "loss": ...}
    {"evaluate": true}  its own test loop -> {"seconds": ..., "images": ..., "accuracy": ...}
    {"stop": true}      the end -> {"stopped": true}

Each answer also holds ``peak_bytes``: the most memory that the process has held so far, above what
it held just after its imports. Whatever else is printed goes to stderr. Between its turns a script
waits for the next line and takes no processor time. Without ``--turns`` it trains to the end and
prints one line. Only Python's own library is imported here, for the scripts run in environments of
their own.
"""

import argparse
import json
import os
import re
import resource
import sys
import time
from pathlib import Path


def parser(description, epochs):
    """The options that every script has. Made first in ``main``: memory counts from here."""
    options = argparse.ArgumentParser(description=description.splitlines()[0])
    options.add_argument("root", metavar="DATA_ROOT")
    options.add_argument("--epochs", type=int, default=epochs)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--turns", action="store_true", help="be driven through stdin and stdout")
    memory_begins()
    return options


def run(args, epoch, evaluate=None, test_every_epoch=False, **about):
    """Train by turns, or to the end and print one JSON line.

    ``epoch()`` is a generator that yields (images, loss or None) after each step of one epoch;
    ``evaluate()`` returns (accuracy, images).
    """
    if args.turns:
        serve(steps_of(epoch), evaluate, **about)
        return
    seconds, images, accuracies = 0.0, 0, []
    for number in range(args.epochs):
        began = time.perf_counter()
        for count, _ in epoch():
            images += count
        seconds += time.perf_counter() - began
        if evaluate and test_every_epoch and number < args.epochs - 1:
            accuracies.append(evaluate()[0])
    found = {"train_seconds": seconds, "images_per_second": images / seconds, **about}
    if evaluate:
        began = time.perf_counter()
        found["accuracy"] = evaluate()[0]
        found["eval_seconds"] = time.perf_counter() - began
    if test_every_epoch:
        found["accuracy_by_epoch"] = [*accuracies, found["accuracy"]]
    print(json.dumps(found | {"peak_bytes": peak_bytes()}))


def steps_of(epoch):
    """``advance(n)``: the next n steps, one epoch after the other."""
    training = endless(epoch)

    def advance(steps):
        images = 0
        for _ in range(steps):
            count, loss = next(training)
            images += count
        return {"images": images} | ({} if loss is None else {"loss": loss.item()})

    return advance


def endless(epoch):
    """The steps of one epoch after the other."""
    while True:
        yield from epoch()


def serve(advance=None, evaluate=None, verbs=None, **about):
    """Answer until told to stop; ``verbs`` are further names and functions of their value."""

    def judge(_):
        accuracy, images = evaluate()
        return {"images": images, "accuracy": accuracy}

    known = {"steps": advance, "evaluate": judge if evaluate else None, **(verbs or {})}
    channel = Channel()
    channel.answer(ready=True, **about)
    while (request := channel.take())[0] != "stop":
        verb, value = request
        began = time.perf_counter()
        found = known[verb](value)
        channel.answer(seconds=time.perf_counter() - began, **found)
    channel.answer(stopped=True)


class Channel:
    """One JSON line in, one out; everything else that this process prints goes to stderr."""

    def __init__(self):
        sys.stdout.flush()
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def take(self):
        """The next request as (verb, value); ``stop`` where the other end is gone."""
        line = sys.stdin.readline()
        return next(iter(json.loads(line).items())) if line else ("stop", True)

    def answer(self, **found):
        """Print one answer."""
        print(json.dumps(found | {"peak_bytes": peak_bytes()}), file=self.out, flush=True)


_after_imports = 0


def memory_begins():
    """Count memory from here on."""
    global _after_imports
    _after_imports = resident("VmRSS")


def peak_bytes():
    """The most memory held so far, above what was held after the imports."""
    return resident("VmHWM") - _after_imports


def resident(field):
    """This process's memory in bytes: now (``VmRSS``), or at its peak (``VmHWM``).

    Linux tells both of this program alone; getrusage's peak, used elsewhere, would there count what
    the process was before it became this program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(rf"^{field}:\s*(\d+)", status.read_text(), re.MULTILINE)[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
