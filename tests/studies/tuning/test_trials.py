"""Trials that are counted once each, whoever takes them, and whoever dies of them."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.studies.tuning import storage, trials
from convscope.studies.tuning.storage import Patience, Place
from convscope.studies.tuning.trials import Lost, Pulse, Trials, alive, ended

pytest.importorskip("optuna")
GRACE = 0.6


def opened(where, wanted: int, worker: str = "a", grace: float = GRACE) -> Trials:
    """The trials of a study as one process has them."""
    place, patience = Place(str(where), "study"), Patience(20.0, "the storage")
    kept = storage.opened(place, patience)
    study, _ = storage.study_of(kept, place, patience)
    return Trials(study, kept, patience, wanted, grace, worker)


def suggest(trial):
    return {"x": trial.suggest_float("x", 0, 1)}


def work(found: Trials, took: list[int]) -> None:
    """Take trials until there are none, as a worker does."""
    with storage.quietly():
        while claimed := found.claim(suggest, lambda: False):
            trial, values = claimed
            took.append(trial.number)
            time.sleep(0.01)
            found.finish(trial, values["x"], {"seconds": 0.0})


def test_many_at_once_finish_as_many_as_are_wanted(tmp_path, monkeypatch):
    check_many(tmp_path / "journal.log", 12, monkeypatch)


def test_many_at_once_finish_as_many_in_a_database(postgres, monkeypatch):
    check_many(postgres.url, 12, monkeypatch)


def check_many(where, wanted: int, monkeypatch) -> None:
    """Threads that each open the storage anew, all at once, where there is nothing yet."""
    monkeypatch.setattr(trials, "IDLE", 0.02)
    together, took = threading.Barrier(4), list[int]()

    def one(number: int) -> None:
        together.wait()
        work(opened(where, wanted, str(number)), took)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = opened(where, wanted).all()
    assert len(ended(found)) == len(alive(found)) == wanted
    assert sorted(took) == [one.number for one in ended(found)]  # each by one, and once
    assert len({one.user_attrs["worker"] for one in ended(found)}) > 1


def test_who_comes_too_late_gives_its_trial_back(tmp_path, monkeypatch):
    """Two see that one is left, and both take one."""
    first, late = opened(tmp_path / "journal.log", 1, "a"), opened(tmp_path / "journal.log", 1, "b")
    ask, over = late.study.ask, iter([False, True])

    def asked():
        first.claim(suggest, lambda: False)
        return ask()

    monkeypatch.setattr(late.study, "ask", asked)
    assert late.claim(suggest, lambda: next(over)) is None
    found = first.all()
    assert [one.state.name for one in found] == ["RUNNING", "FAIL"]
    assert [one.user_attrs.get("ended") for one in found] == [None, "surplus"]


def test_a_trial_of_a_process_that_died_is_tried_again(tmp_path):
    place = tmp_path / "journal.log"
    dead = opened(place, 2, "dead")
    lost, values = dead.claim(suggest, lambda: False)
    alone, took = opened(place, 2, "b"), list[int]()
    with Pulse(alone):
        work(alone, took)
    found = alone.all()
    assert [one.state.name for one in found] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert found[0].user_attrs["ended"] == "its process died"
    assert found[2].params == values and found[2].user_attrs["again"] == 0
    with pytest.raises(Lost):  # it was not dead, and comes too late
        dead.finish(lost, 1.0, {})
    with pytest.raises(Lost):
        dead.report(lost, 1, 0.5)


def test_a_setting_that_kills_its_process_is_given_up(tmp_path):
    found = opened(tmp_path / "journal.log", 1)
    for attempt in range(1, trials.ATTEMPTS + 1):
        _, values = found.claim(suggest, lambda: False)
        assert found.all()[-1].user_attrs.get("attempt", 1) == attempt
        found.bury("a")
    (last,) = ended(found.all())
    assert last.state.name == "PRUNED" and "3 times" in last.user_attrs["failure"]
    assert last.params == values and found.left() == 0


def test_a_pulse_keeps_a_slow_trial_alive(tmp_path):
    place = tmp_path / "journal.log"
    slow, other = opened(place, 1, "slow"), opened(place, 1, "other")
    trial, _ = slow.claim(suggest, lambda: False)
    with Pulse(slow) as pulse, Pulse(other):
        pulse.at = trial._trial_id
        time.sleep(3 * GRACE)
    slow.finish(trial, 1.0, {})
    assert [one.state.name for one in other.all()] == ["COMPLETE"]


def test_what_is_given_back_is_tried_first(tmp_path):
    found = opened(tmp_path / "journal.log", 2)
    trial, values = found.claim(suggest, lambda: False)
    found.give_back(trial)
    again, same = found.claim(suggest, lambda: False)
    assert same == values and again.number == 1


@pytest.mark.parametrize("ends", ["give_back", "bury"])
def test_who_ends_a_trial_waits_for_a_storage_that_is_away(tmp_path, monkeypatch, ends):
    monkeypatch.setattr(storage, "ANEW", (0.01, 0.02))
    monkeypatch.setattr(trials, "ATTEMPTS", 1)
    found = opened(tmp_path / "journal.log", 1)
    trial, _ = found.claim(suggest, lambda: False)
    name = {"give_back": "get_trial", "bury": "set_trial_state_values"}[ends]
    call, away = getattr(found.storage, name), Away(2)

    def called(*given):
        away()
        return call(*given)

    monkeypatch.setattr(found.storage, name, called)
    getattr(found, ends)({"give_back": trial, "bury": "a"}[ends])
    assert away.times < 0
    states = [one.state.name for one in found.all()]
    assert states == {"give_back": ["FAIL", "WAITING"], "bury": ["PRUNED"]}[ends]


class Away:
    """A call that fails so many times, as a database that is away."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> str:
        self.times -= 1
        if self.times >= 0:
            raise OperationalError("SELECT", {}, Exception("connection refused\nis it running?"))
        return "here"


def test_a_database_may_be_away_for_a_while(events, monkeypatch):
    monkeypatch.setattr(storage, "ANEW", (0.01, 0.02))
    seen, emit = events
    assert Patience(5.0, "the base", emit)(Away(3)) == "here"
    assert [one.text for one in seen] == [
        "the base does not answer; tried again for 5 s",
        "the base answers again",
    ]
    says = r"the base: has not answered for 0.1 s .*refused.*is kept there.*--resume goes on"
    with pytest.raises(ConvscopeError, match=says) as why:
        Patience(0.1, "the base", emit)(Away(1000))
    assert "is it running" not in str(why.value)


def test_a_database_that_comes_back_is_gone_on_with(postgres, monkeypatch):
    """It is stopped in the middle, with a trial at hand, and started again."""
    monkeypatch.setattr(storage, "ANEW", (0.05, 0.2))
    found = opened(postgres.url.replace("/postgres?", "/template1?"), 3)
    trial, values = found.claim(suggest, lambda: False)
    postgres.stop()
    late = threading.Timer(0.5, postgres.start)
    late.start()
    found.finish(trial, values["x"], {})
    late.join()
    work(found, [])
    assert [one.state.name for one in found.all()] == ["COMPLETE"] * 3


def test_what_is_no_storage_is_refused_in_words(tmp_path):
    for where, says in (
        ("oracel://me:secret@host/x", r"storage=oracel://me:\*\*\*@host/x: is no database that"),
        ("postgresql+psycopg://me:secret@localhost:1/x", r"me:\*\*\*@localhost:1/x: cannot be rea"),
        ("postgresql://me:a@secret:b@host/x", r"me:\*\*\*@host/x: is no URL.* as %40 for @"),
        ("postgresql://me:a@secret@host/x", r"me:\*\*\*@host/x: is no URL.* as %40 for @"),
        ("postgresql://me:secret@host:port/x", r"me:\*\*\*@host:port/x: is no URL"),
        ("oracel://host/x?user=me&Password=secret&a=b", r"\?user=me&Password=\*\*\*&a=b: is no da"),
    ):
        place = Place(where, "study")
        with pytest.raises((BadArgument, ConvscopeError), match=says) as why:
            storage.opened(place, Patience(0.0, place.said))
        assert "secret" not in str(why.value)
    (tmp_path / "journal.log").write_text('{"op_code": 0,\n{"op_code": 1}\n')
    with pytest.raises(RunError, match=r"journal.log: is damaged"):
        storage.opened(Place(str(tmp_path / "journal.log"), "study"), Patience(0.0, ""))


def test_a_journal_is_locked_where_the_file_system_has_no_locks(tmp_path, monkeypatch):
    class Without:
        def acquire(self, timeout):
            raise NotImplementedError

        def release(self):
            raise AssertionError

    monkeypatch.setattr(storage, "FileLock", lambda *given, **named: Without())
    took: list[int] = []
    work(opened(tmp_path / "journal.log", 2), took)
    assert took == [0, 1] and not (tmp_path / "journal.log.lock").exists()
