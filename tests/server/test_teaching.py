"""Sets of images and what changes them, through the routes of a studio; as `train` finds them."""

from __future__ import annotations

import contextlib
import itertools
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from photos import image_file, opened
from servers import Answer, Running, form, started

from convscope.server import serving
from convscope.server.image_sets import HIDDEN
from convscope.server.studio import Studio

NUMBERS = itertools.count()


class Asked:
    """A studio below a folder, asked in JSON."""

    def __init__(self, root: Path, running: Running) -> None:
        self.root, self.running = root, running

    def get(self, path: str, **query: Any) -> Answer:
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        return self.running.ask("GET", f"/api/{urllib.parse.quote(path)}{asked}")

    def post(self, path: str, said: Any = None, **query: Any) -> Answer:
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        kind = {"Content_Type": "application/json"}
        body = json.dumps(said or {})
        return self.running.post(f"/api/{urllib.parse.quote(path)}{asked}", body, **kind)

    def add(self, path: str, of: str, *files: tuple[str, bytes]) -> dict[str, Any]:
        body, kind = form(*files)
        asked = f"/api/sets/{urllib.parse.quote(path)}/images?{urllib.parse.urlencode({'of': of})}"
        found = self.running.post(asked, body, Content_Type=kind)
        assert found.status == 200, found.body
        return found.json

    def revision(self, name: str) -> int:
        return self.get(f"sets/{name}").json["revision"]


@contextlib.contextmanager
def studio(root: Path) -> Iterator[Asked]:
    root.mkdir(exist_ok=True)
    service: Any = Studio(root)
    with serving.listening("127.0.0.1", 0) as taken, started(service, taken) as running:
        yield Asked(root, running)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with studio(tmp_path_factory.mktemp("studio") / "root") as found:
        yield found


@pytest.fixture
def pets(asked: Asked) -> str:
    """A set of the test's own, with two classes of two images; its name has a space."""
    name = f"我的 Pets {next(NUMBERS)}"
    assert asked.post("sets", {"name": name}).status == 200
    for n, of in enumerate(("猫 cat", "dog")):
        assert asked.post(f"sets/{name}/classes", {"name": of}).status == 200
        asked.add(name, of, *((f"{k}.png", image_file(10 * n + k)) for k in (1, 2)))
    return name


def images(said: dict[str, Any]) -> dict[str, list[str]]:
    """Class -> its files; what is out has its class below "out"."""
    found = {one["name"]: [i["file"] for i in one["images"]] for one in said["classes"]}
    return found | {f"out {o['name']}": [i["file"] for i in o["images"]] for o in said["out"]}


def contents(folder: Path) -> list[bytes]:
    """What is in the image files below a folder, but for thumbnails."""
    paths = (path for path in folder.rglob("*.png") if "thumbnails" not in path.parts)
    return sorted(path.read_bytes() for path in paths)


def test_a_set_is_class_folders_that_training_takes(asked: Asked, pets: str) -> None:
    folder = asked.root / "sets" / pets
    said = asked.add(
        pets, "dog", ("b/c\\3.png", image_file(50)), ("shot", image_file(51, form="JPEG"))
    )
    assert said["added"] == ["3.png", "shot.jpg"]
    pack, _ = opened(folder)
    assert pack.classes == ("dog", "猫 cat") and sum(map(len, pack.splits.values())) == 6
    assert (folder / "dog" / "3.png").read_bytes() == image_file(50)
    assert {path.name for path in folder.iterdir()} == {"dog", "猫 cat", HIDDEN}
    assert asked.get("sets").json["sets"].count(pets) == 1


def test_what_cannot_be_taken_is_said_with_the_reason(asked: Asked, pets: str) -> None:
    files = [("note.txt", b"words"), ("cut.png", image_file(7)[:-30]), ("ok.png", image_file(8))]
    said = asked.add(pets, "dog", *files)
    assert said["added"] == ["ok.png"]
    assert [one["file"] for one in said["refused"]] == ["note.txt", "cut.png"]
    assert "no image" in said["refused"][0]["why"] and len(said["refused"][1]["why"]) > 10
    there = images(said)["dog"]
    assert there == ["1.png", "2.png", "ok.png"]


def test_the_same_image_twice_is_said(asked: Asked, pets: str) -> None:
    said = asked.add(pets, "dog", ("again.png", image_file(11)), ("1.png", image_file(99)))
    assert said["same"] == [{"file": "again.png", "class": "dog", "as": "1.png"}]
    assert said["added"] == ["a-1.png"]  # another image of that name
    said = asked.add(pets, "dog", ("x.png", image_file(1)))
    assert said["same"] == [{"file": "x.png", "class": "猫 cat", "as": "1.png"}]
    assert said["added"] == ["x.png"]


def test_images_move_and_come_back(asked: Asked, pets: str) -> None:
    folder = asked.root / "sets" / pets
    before = contents(folder)
    said = asked.post(f"sets/{pets}/move", {"images": [["dog", "1.png"]], "to": "猫 cat"}).json
    assert images(said) == {"猫 cat": ["1.png", "2.png", "a-1.png"], "dog": ["2.png"]}
    said = asked.post(f"sets/{pets}/move", {"images": [["dog", "2.png"]], "to": None}).json
    assert images(said) == {
        "猫 cat": ["1.png", "2.png", "a-1.png"],
        "dog": [],
        "out dog": ["2.png"],
    }
    gone = asked.post(f"sets/{pets}/move", {"images": [["dog", "2.png"]], "to": "猫 cat"})
    assert (gone.status, gone.code) == (409, "image")
    said = asked.post(f"sets/{pets}/move", {"images": [["", "dog/2.png"]], "to": "猫 cat"}).json
    assert images(said)["猫 cat"] == ["1.png", "2.png", "a-1.png", "a-2.png"]
    for what in ("move", "move", "move"):
        assert said["undo"] == what
        said = asked.post(f"sets/{pets}/undo", {"revision": said["revision"]}).json
    assert images(said) == {"猫 cat": ["1.png", "2.png"], "dog": ["1.png", "2.png"]}
    assert contents(folder) == before


def test_nothing_is_lost_by_any_change(asked: Asked, pets: str) -> None:
    folder = asked.root / "sets" / pets
    before = contents(folder)
    said = asked.get(f"sets/{pets}").json

    def change(path: str, **more: Any) -> dict[str, Any]:
        found = asked.post(f"sets/{pets}/{path}", {"revision": said["revision"], **more})
        assert found.status == 200, found.body
        return found.json

    said = change("classes/rename", of="dog", name="Hund")
    assert [one["name"] for one in said["classes"]] == ["猫 cat", "Hund"]  # it keeps its place
    said = change("classes/remove", of="Hund")
    assert images(said) == {"猫 cat": ["1.png", "2.png"], "out Hund": ["1.png", "2.png"]}
    assert contents(folder) == before
    said = change("undo")
    said = change("undo")
    assert images(said) == {"猫 cat": ["1.png", "2.png"], "dog": ["1.png", "2.png"]}
    said = change("remove")
    assert pets not in said["sets"] and contents(Path(said["kept"])) == before
    assert asked.get(f"sets/{pets}").code == "set"


def test_what_is_based_on_an_older_look_is_refused_or_does_no_harm(asked: Asked, pets: str) -> None:
    old = asked.revision(pets)
    asked.add(pets, "dog", ("3.png", image_file(60)))  # another tab
    later = asked.revision(pets)
    for path, more in (
        ("classes/remove", {"of": "dog"}),
        ("classes/rename", {"of": "dog", "name": "Hund"}),
        ("undo", {}),
        ("remove", {}),
        ("rename", {"name": "other"}),
        ("train", {}),
    ):
        found = asked.post(f"sets/{pets}/{path}", {"revision": old, **more})
        assert (found.status, found.code) == (409, "revision"), path
    assert asked.revision(pets) == later
    said = asked.add(pets, "dog", ("4.png", image_file(61)))  # which cannot hurt
    assert images(said)["dog"] == ["1.png", "2.png", "3.png", "4.png"]
    (asked.root / "sets" / pets / "dog" / "4.png").unlink()  # by a file manager
    assert asked.revision(pets) == said["revision"] + 1
    same = asked.get(f"sets/{pets}", revision=asked.revision(pets)).json
    assert "classes" not in same


@pytest.mark.parametrize(
    "name", ["", " ", "..", ".hidden", "a/b", "a\\b", "-x", "a\nb", "train", "Test", "x" * 81, "a."]
)
def test_names_that_no_folder_should_have(asked: Asked, pets: str, name: str) -> None:
    found = asked.post(f"sets/{pets}/classes", {"name": name})
    assert (found.status, found.code) == (400, "name")


def test_a_name_is_given_once(asked: Asked, pets: str) -> None:
    assert asked.post(f"sets/{pets}/classes", {"name": "DOG"}).code == "name"
    assert asked.post("sets", {"name": pets.upper()}).code == "name"
    assert asked.post(f"sets/{pets}/classes", {"name": " fox "}).status == 200
    revision = asked.revision(pets)
    said = asked.post(f"sets/{pets}/rename", {"name": f"{pets} 2", "revision": revision}).json
    assert said["name"] == f"{pets} 2" and "fox" in images(said)


@pytest.mark.parametrize(
    ("of", "file"),
    [
        ("dog", "../../../secret.png"),
        ("..", "secret.png"),
        ("dog", "/etc/hostname.png"),
        ("dog", "link.png"),
        ("dog", "9.png"),
        ("dog", "../.studio/state.json"),
    ],
)
def test_no_way_leads_out_of_a_set(asked: Asked, pets: str, of: str, file: str) -> None:
    secret = asked.root / "secret.png"
    secret.write_bytes(image_file(1))
    (asked.root / "sets" / pets / "dog" / "link.png").symlink_to(secret)
    for large in ("true", "false"):
        found = asked.get(f"sets/{pets}/image", of=of, file=file, large=large)
        assert (found.status, found.code) == (404, "image")
    moved = asked.post(f"sets/{pets}/move", {"images": [[of, file]], "to": "../out"})
    assert moved.status == 409 and secret.exists()
    body, kind = form(("a.png", image_file()))
    at = f"/api/sets/{urllib.parse.quote(pets)}/images?of=..%2Fx"
    assert asked.running.post(at, body, Content_Type=kind).code == "class"
    assert not (asked.root / "sets" / "x").exists()


def test_thumbnails_are_small_and_kept(asked: Asked, pets: str) -> None:
    asked.add(pets, "dog", ("big.png", image_file(70, (640, 480))))
    one = next(
        i for i in asked.get(f"sets/{pets}").json["classes"][1]["images"] if "big" in i["file"]
    )
    found = asked.get(f"sets/{pets}/image", of="dog", file=one["file"], key=one["key"])
    assert found.headers["content-type"] == "image/jpeg" and len(found.body) < 12_000
    assert "immutable" in found.headers["cache-control"]
    kept = asked.root / "sets" / pets / HIDDEN / "thumbnails" / f"{one['key']}.jpg"
    assert kept.read_bytes() == found.body
    kept.unlink()
    again = asked.get(f"sets/{pets}/image", of="dog", file=one["file"], key=one["key"])
    assert again.body == found.body == kept.read_bytes()
    large = asked.get(f"sets/{pets}/image", of="dog", file=one["file"], large="true")
    assert len(large.body) > 4 * len(found.body)


def test_another_site_changes_nothing(asked: Asked, pets: str) -> None:
    path = f"/api/sets/{urllib.parse.quote(pets)}/classes"
    body = json.dumps({"name": "bad"})
    kind = {"Content_Type": "application/json"}
    assert asked.running.post(path, body, **kind, Origin="http://evil.example").code == "origin"
    assert asked.running.post(path, body, **kind, Host="evil.example").code == "host"
    assert "bad" not in images(asked.get(f"sets/{pets}").json)
