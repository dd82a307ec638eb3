"""Data by name: from the package, from disk in every layout, over the network, or a clear error."""

import gzip
import hashlib
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from archives import IDX_NAMES, cifar100_archive, opened, put, small_cifar, small_fashion
from listening import warnings_in
from quick import python

from convscope import files
from convscope.data.published import PUBLISHED, Download
from convscope.data.sources import is_folder, locate, open_data
from convscope.errors import BadArgument, DataError
from convscope.events import Progress

ROOT = Path(__file__).parents[2]


def kept_files() -> list[Path]:
    """The files in the cache but for its locks."""
    kept = [path for path in files.cache_root().rglob("*") if path.is_file()]
    return [path for path in kept if path.suffix != ".lock"]


# Found on disk


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("layout", ["FashionMNIST/raw", "fashion-mnist"])
def test_fashion_mnist_in_every_layout(bare, layout, gzipped):
    contents = small_fashion()
    put(bare / layout, contents, gzipped)
    assert locate("fashion-mnist").kind == "disk"
    assert locate("fashion-mnist").where == str(bare / layout)
    pack, events = opened("fashion-mnist")
    assert pack.splits["train"].images.tobytes() == contents["train-images-idx3-ubyte"][16:]
    assert list(pack.splits["test"].labels) == list(range(10))
    assert pack.classes[0] == "T-shirt/top"
    assert warnings_in(events) == [
        f"fashion-mnist: the images from {bare / layout} are not the published data set; "
        "used as they are"
    ]


def test_roots_are_searched_in_order(bare, tmp_path, monkeypatch):
    second, debian, cache = tmp_path / "second", tmp_path / "debian", tmp_path / "cache"
    for root in (debian, cache / "downloads", cache, second, bare):
        put(root / "fashion-mnist", small_fashion())
        monkeypatch.setenv("CONVSCOPE_DATA", os.pathsep.join([str(bare), "", str(second)]))
        assert locate("fashion-mnist").where == str(root / "fashion-mnist")


def test_cifar10_as_files(bare):
    batches = small_cifar()
    names = [name for names in PUBLISHED["cifar10"].files.values() for name in names]
    put(bare / "cifar-10-batches-bin", dict(zip(names, batches, strict=True)))
    pack, _ = opened("cifar10")
    assert pack.splits["train"].images.shape == (20, 3, 32, 32)
    assert list(pack.splits["train"].labels) == [0, 1, 2, 3] * 5
    assert pack.splits["train"].images[5].tobytes() == batches[1][3074:6146]
    assert pack.splits["test"].images[0].tobytes() == batches[5][1:3073]


def test_cifar100_straight_from_its_archive(bare):
    archive = bare / "cifar-100-binary.tar.gz"
    archive.write_bytes(cifar100_archive())
    assert locate("cifar100").where == str(archive)
    pack, events = opened("cifar100")
    assert list(pack.splits["train"].labels[98:102]) == [98, 99, 0, 1]  # fine labels, not coarse
    train, _ = small_cifar((20, 100), (150, 30))
    assert pack.splits["train"].images[1].tobytes() == train[3076:6148]
    assert pack.classes[:2] == ("apple", "aquarium_fish")
    assert pack.classes[-1] == "worm"
    assert len(set(pack.classes)) == 100 and sorted(pack.classes) == list(pack.classes)
    assert sorted(path.name for path in bare.iterdir()) == [archive.name]  # nothing extracted
    assert len(warnings_in(events)) == 1  # not the published count


def test_packed_once_and_again_when_a_file_changes(bare):
    folder = bare / "fashion-mnist"
    put(folder, small_fashion())
    first, _ = opened("fashion-mnist")
    again, events = opened("fashion-mnist")
    assert again.fingerprint == first.fingerprint
    assert not [event for event in events if not event.warning]  # nothing was packed
    put(folder, small_fashion(seed=1))
    os.utime(folder / IDX_NAMES[0], ns=(1, 1))
    changed, events = opened("fashion-mnist")
    assert changed.fingerprint != first.fingerprint
    assert f"packed into {changed.folder}" in events[1].text
    assert "files have changed" in events[0].text
    assert [path.name for path in changed.folder.parent.iterdir()] == [changed.folder.name]
    for name in IDX_NAMES:
        (folder / name).unlink()
    kept, _ = opened("fashion-mnist", download=False)
    assert kept.fingerprint == changed.fingerprint
    assert locate("fashion-mnist").kind == "pack"


def test_a_truncated_pack_is_named_with_its_remedy(bare):
    put(bare / "fashion-mnist", small_fashion())
    images = open_data("fashion-mnist").folder / "train-image.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-image\.npy: has .* Delete the folder .* made anew"):
        open_data("fashion-mnist")


# Damaged, missing


def test_unknown_name_gets_the_nearest_folder(workplace):
    Path("photos").mkdir()
    said = r"data=photo: is not .*, and no folder that is here; did you mean photos/\? Known: cifar"
    with pytest.raises(BadArgument, match=said):
        open_data("photo")


def test_unknown_name_gets_the_nearest():
    said = "data=minst: is not a known data set, and no folder that is here; did you mean mnist"
    with pytest.raises(BadArgument, match=said):
        open_data("minst")
    with pytest.raises(BadArgument, match="did you mean cifar10.*; a folder of images is named by"):
        locate("cifar-10")


def test_a_folder_is_named_by_its_path(bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        put(tmp_path / "pets" / name, {f"{n}.pgm": b"P5 2 1 255\n%d0" % n for n in range(3)})
    pack = open_data("pets")
    assert (pack.name, pack.classes, pack.image_size) == ("pets", ("cat", "dog"), (1, 2))
    for name in ("./pets", "pets/", str(tmp_path / "pets"), tmp_path / "pets", "x/../pets"):
        again, events = opened(name)
        assert (again.folder, events) == (pack.folder, [])
    assert (locate("pets").kind, locate("pets").where) == ("disk", str(tmp_path / "pets"))
    other = open_data("pets", size=(4, 4), channels=3, fit="crop")
    assert (other.image_size, other.channels, other.fit) == ((4, 4), 3, "crop")
    (tmp_path / "pets").rename(tmp_path / "elsewhere")
    assert locate("./pets").kind == "pack"
    for call in (open_data, locate):
        with pytest.raises(BadArgument, match=r"data=.*/dogs: is not a folder that is there"):
            call("./dogs")


def test_a_published_name_goes_before_a_folder(bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert not any(map(is_folder, ("mnist", "dogs", "")))
    assert all(map(is_folder, ("./mnist", "cats/dogs", Path("dogs"))))
    assert locate("mnist").kind == "package"
    with pytest.raises(BadArgument, match=r"mnist: holds no image"):
        open_data("./mnist")


def test_a_published_data_set_has_its_own_size():
    pack = open_data("mnist", size=(28, 28), channels=1)
    assert pack.image_size == (28, 28)
    with pytest.raises(BadArgument, match=r"size=\(32, 32\): is for folders; mnist has size"):
        open_data("mnist", size=(32, 32))
    with pytest.raises(BadArgument, match="channels=3: is for folders"):
        open_data("mnist", channels=3)
    with pytest.raises(BadArgument, match="fit=crop: is for folders; mnist has fit pad; leave it"):
        open_data("mnist", fit="crop")


def test_nowhere_names_the_ways_out(bare):
    with pytest.raises(DataError) as caught:
        open_data("cifar10", download=False)
    text = str(caught.value)
    assert "cifar10: is not on this machine, and downloading was not allowed" in text
    assert "CONVSCOPE_DATA=ROOT" in text
    assert "ROOT/cifar-10-batches-bin/ or ROOT/cifar-10-binary.tar.gz" in text
    assert f"{PUBLISHED['cifar10'].downloads[0].url} elsewhere and put it into" in text
    assert "mnist, which is inside the package" in text
    assert (
        str(locate("cifar10"))
        == f"download of 162 MiB from {PUBLISHED['cifar10'].downloads[0].url}"
    )


def test_what_was_passed_over_is_said(bare, tmp_path, monkeypatch):
    (bare / "cifar-10-batches-py").mkdir()
    put(bare / "cifar-10-batches-bin", {"test_batch.bin": small_cifar()[5]})
    gone = tmp_path / "gone"
    monkeypatch.setenv("CONVSCOPE_DATA", os.pathsep.join([str(bare), str(gone)]))
    with pytest.raises(DataError) as caught:
        open_data("cifar10", download=False)
    text = str(caught.value)
    assert "cifar-10-batches-py was found, but pickles are never read; get the binary" in text
    assert "cifar-10-batches-bin is incomplete (1 of 6 files)" in text
    assert f"{gone}, named in CONVSCOPE_DATA, is not a folder" in text


# Downloads


class Publisher(ThreadingHTTPServer):
    """Serves ``content`` by path; ``claim`` adds bytes to Content-Length that never come."""

    content: dict[str, bytes]
    claim = 0
    asked: list[str]


@pytest.fixture
def publisher():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            content = self.server.content.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + self.server.claim))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = Publisher(("127.0.0.1", 0), Handler)
    server.content, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def let_publish(monkeypatch, publisher, name, contents, inside=False):
    """Let ``publisher`` be the one who publishes ``name``."""
    port = publisher.server_address[1]
    downloads = []
    for file, content in contents.items():
        sha256 = hashlib.sha256(gzip.decompress(content) if inside else content).hexdigest()
        downloads.append(Download(f"http://127.0.0.1:{port}/{file}", len(content), sha256, inside))
        publisher.content[f"/{file}"] = content
    source = replace(PUBLISHED[name], downloads=tuple(downloads))
    monkeypatch.setitem(PUBLISHED, name, source)


def test_downloads_an_archive_once(bare, publisher, monkeypatch):
    archive = cifar100_archive()
    let_publish(monkeypatch, publisher, "cifar100", {"cifar-100-binary.tar.gz": archive})
    assert locate("cifar100").kind == "download"
    pack, events = opened("cifar100")
    assert len(pack.splits["train"]) == 150
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (len(archive), len(archive))
    assert (progress[-1].unit, progress[-1].stage) == ("bytes", "download cifar100")
    assert progress[-1].detail == "cifar-100-binary.tar.gz"
    kept = files.cache_root() / "downloads" / "cifar-100-binary.tar.gz"
    assert kept.read_bytes() == archive
    open_data("cifar100")
    assert publisher.asked == ["/cifar-100-binary.tar.gz"]
    assert locate("cifar100").where == str(kept)


def test_downloads_what_is_missing_of_several_files(bare, publisher, monkeypatch):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in small_fashion().items()}
    let_publish(monkeypatch, publisher, "fashion-mnist", packed, inside=True)
    del publisher.content["/t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(DataError, match=r"t10k-labels.* cannot be reached \(HTTP Error 404"):
        open_data("fashion-mnist")
    # Packed differently, the same inside: what a mirror serves.
    packed = {f"{name}.gz": gzip.compress(content, 1) for name, content in small_fashion().items()}
    publisher.content["/t10k-labels-idx1-ubyte.gz"] = packed["t10k-labels-idx1-ubyte.gz"]
    pack, _ = opened("fashion-mnist")
    assert len(pack.splits["test"]) == 10
    assert len(publisher.asked) == 5


@pytest.mark.parametrize("inside", [False, True])
def test_a_cut_connection_leaves_nothing(bare, publisher, monkeypatch, inside):
    name, contents = "cifar100", {"cifar-100-binary.tar.gz": cifar100_archive()}
    if inside:
        name, contents = (
            "fashion-mnist",
            {f"{name}.gz": gzip.compress(content) for name, content in small_fashion().items()},
        )
    let_publish(monkeypatch, publisher, name, contents, inside)
    publisher.claim = 10
    with pytest.raises(DataError, match=r"broke off after [\d,]+ of [\d,]+ bytes; run again"):
        open_data(name)
    assert not kept_files()
    publisher.claim = 0
    open_data(name)


@pytest.mark.parametrize("content", [b"<html>log in</html>", cifar100_archive()[:-1] + b"x", b""])
def test_a_wrong_file_leaves_nothing(bare, publisher, monkeypatch, content):
    name = "cifar-100-binary.tar.gz"
    let_publish(monkeypatch, publisher, "cifar100", {name: cifar100_archive()})
    publisher.content[f"/{name}"] = content
    with pytest.raises(DataError, match=r"is not the published file .* nothing was kept"):
        open_data("cifar100")
    assert not kept_files()


def test_a_wrong_gzip_leaves_nothing(bare, publisher, monkeypatch):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in small_fashion().items()}
    let_publish(monkeypatch, publisher, "fashion-mnist", packed, inside=True)
    publisher.content["/train-images-idx3-ubyte.gz"] = b"<html>log in</html>"
    with pytest.raises(DataError, match=r"broke off|is not the published file"):
        open_data("fashion-mnist")
    assert not kept_files()


def test_no_network_names_the_address_and_the_ways_out(bare, publisher, monkeypatch):
    let_publish(monkeypatch, publisher, "cifar100", {"cifar-100-binary.tar.gz": b"x"})
    publisher.shutdown()
    publisher.server_close()
    with pytest.raises(
        DataError, match=r"is not on this machine.* cannot be reached .*urlopen"
    ) as e:
        open_data("cifar100")
    assert "Ways out" in str(e.value)


# The cache


def test_a_cache_that_cannot_be_written_is_named(bare, tmp_path, monkeypatch):
    put(bare / "fashion-mnist", small_fashion())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"the cache .*file cannot take .* set CONVSCOPE_CACHE to"):
        open_data("fashion-mnist")


@pytest.mark.parametrize("code", [28, 30])
def test_a_full_or_read_only_cache_is_named(bare, publisher, monkeypatch, code):
    def refuse(file):
        raise OSError(code, os.strerror(code))

    put(bare / "fashion-mnist", small_fashion())
    let_publish(monkeypatch, publisher, "cifar100", {"cifar-100-binary.tar.gz": cifar100_archive()})
    monkeypatch.setattr(files, "sync_file", refuse)
    for name in ("fashion-mnist", "cifar100"):
        with pytest.raises(
            DataError, match=r"cannot take the data .* set CONVSCOPE_CACHE to a folder"
        ):
            open_data(name)
    assert not kept_files()


@pytest.mark.parametrize("why", ["a file", "full"])
def test_mnist_needs_no_cache(tmp_path, monkeypatch, why):
    kept = open_data("mnist")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    if why == "a file":
        (tmp_path / "cache").write_text("")
    else:
        monkeypatch.setattr(files, "sync_file", full)
    events = []
    pack = open_data("mnist", events.append)
    assert pack.folder is None and (pack.name, pack.classes) == (kept.name, kept.classes)
    assert (pack.fingerprint, pack.digest) == (kept.fingerprint, kept.digest)
    for name, split in kept.splits.items():
        assert np.array_equal(split.images, pack.splits[name].images)
        assert np.array_equal(split.labels, pack.splits[name].labels)
        assert np.array_equal(split.hashes, pack.splits[name].hashes)
    [said] = warnings_in(events)
    assert said.startswith("mnist: unpacked into memory, and nothing is kept: the cache ")
    assert "set CONVSCOPE_CACHE to a folder that can" in said
    open_data("mnist", events.append)
    assert warnings_in(events) == [said]  # once a process
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".tmp")]


def full(file):
    raise OSError(28, os.strerror(28))


def test_two_processes_may_open_a_data_set_for_the_first_time(tmp_path):
    code = "from convscope.data.sources import open_data; print(open_data('mnist').fingerprint)"
    both = [python(code, CONVSCOPE_CACHE=str(tmp_path)) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in both]
    assert answers == [(f"{PUBLISHED['mnist'].fingerprint}\n", "")] * 2
    assert [path.name for path in (tmp_path / "packs").iterdir()] == ["mnist-2"]


def test_needs_neither_torch_nor_the_rest(tmp_path):
    code = """
import sys
for name in ("torch", "torchvision", "matplotlib", "rich", "typer"):
    sys.modules[name] = None
from convscope.data import decode, pack, sources
images = sources.open_data("mnist").splits["test"].images
print(decode.decode(images[0, 0], channels=3, size=(14, 14)).shape)
print(sources.open_data(sys.argv[1]).image_size)
"""
    for name in ("cat", "dog"):
        put(tmp_path / name, {f"{n}.pgm": b"P5 2 1 255\n%d0" % n for n in range(3)})
    process = python(code, str(tmp_path), CONVSCOPE_CACHE=os.environ["CONVSCOPE_CACHE"])
    assert process.communicate(timeout=60) == ("(3, 14, 14)\n(1, 2)\n", "")
