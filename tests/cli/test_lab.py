"""`convscope lab` as a stranger types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.insight import reference


@pytest.fixture
def lab(run, workplace):
    return lambda *args: run("lab", *args)


def test_system_d_in_words(lab):
    said = lab("conv", "--input", "3x3", "--kernel", "2x2")
    for line in (
        "height   floor((n - k + p + s) / s) = floor((3 - 2 + 0 + 1) / 1) = 2",
        "output   1 x 2 x 2",
        "steps    all of them (channel, row, column)",
        "  [0,0,0] 0·0 + 1·1 + 3·2 + 4·3 = 19",
        "  [0,0,1] 1·0 + 2·1 + 4·2 + 5·3 = 25",
        "  [0,1,0] 3·0 + 4·1 + 6·2 + 7·3 = 37",
        "  [0,1,1] 4·0 + 5·1 + 7·2 + 8·3 = 43",
        "  37 43",
    ):
        assert line in said.out.splitlines(), line
    flipped = lab("conv", "--input", "3x3", "--kernel", "2x2", "--flip")
    assert "  [0,0,0] 0·3 + 1·2 + 3·1 + 4·0 = 5" in flipped.out


def test_system_d_as_json(lab):
    typed = ["--input", "0,1,2; 3,4,5; 6,7,8", "--kernel", "[[0,1],[2,3]]", "--json"]
    found = json.loads(lab("conv", *typed).out)
    assert found["output"] == [[[19, 25], [37, 43]]] and found["figure"] is None
    assert found["steps"][3] == {
        "step": 4, "place": [0, 1, 1], "patch": [[[4, 5], [7, 8]]], "result": 43,
        "arithmetic": "4·0 + 5·1 + 7·2 + 8·3 = 43",
    }  # fmt: skip
    padded = json.loads(lab("conv", "--input", "3x3", "--kernel", "2x2", "--padding", "1",
                            "--json").out)  # fmt: skip
    assert padded["steps"][0]["patch"] == [[[None, None], [None, 0]]]
    assert padded["pads"] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("typed", "shape"),
    [
        ("--input 8x8 --kernel 5x3 --padding 2,1 --stride 1", [1, 8, 8]),
        ("--input 8x8 --kernel 3x3 --padding 1 --stride 2", [1, 4, 4]),
        ("--input 8x8 --kernel 3x5 --padding 0,1 --stride 3,4", [1, 2, 2]),
        ("--input 8x8 --kernel 4x4 --padding same", [1, 8, 8]),
        ("--input 8x8 --kernel 4x4 --padding valid", [1, 5, 5]),
        ("--input 5x5 --kernel 2 --padding 0,0,1,2", [1, 5, 6]),
        ("--input 4x6x6 --kernel 3 --groups 2 --out-channels 6 --dilation 2", [6, 2, 2]),
    ],
)
def test_shapes(lab, typed, shape):
    assert json.loads(lab("conv", *typed.split(), "--json").out)["output_shape"] == shape


def test_where_there_are_many_steps_the_first_and_the_last_are_shown(lab):
    said = lab("conv", "--steps", "4")
    assert "steps    the first and the last of 36 places" in said.out
    assert "  ... 32 steps more ..." in said.out and "[0,5,5]" in said.out
    assert said.out.count("\n  [") == 4
    assert "steps " not in lab("conv", "--steps", "0").out


def test_pools(lab):
    said = lab("pool", "--input", "4x4", "--kernel", "3")
    assert "max(0, 1, 2, 4, 5, 6, 8, 9, 10) = 10" in said.out
    typed = ["--kernel", "2x3", "--padding", "1,2", "--stride", "2,3", "--json"]
    assert json.loads(lab("pool", *typed).out)["output"] == [[[0, 3], [8, 11], [12, 15]]]
    X = np.arange(16.0).reshape(1, 1, 4, 4)
    typed = ["--kind", "average", "--kernel", "2", "--padding", "1", "--count-padding", "--ceil"]
    found = json.loads(lab("pool", *typed, "--json").out)
    wanted = reference.average_pool2d(X, 2, pads=1, strides=2, ceil_mode=True,
                                      count_include_pad=True)  # fmt: skip
    assert found["output"] == wanted[0].tolist()
    assert json.loads(lab("pool", "--kernel", "global", "--json").out)["output"] == [[[15]]]


def test_one_by_one(lab):
    said = lab("one-by-one")
    for number in ("120,422,400", "12,443,648", "153,600", "15,872", "89.7% saved"):
        assert number in said.out
    found = json.loads(lab("one-by-one", "--json").out)
    assert found["multiplications"] == {
        "straight": 120_422_400, "through": 12_443_648,
        "one_by_one": 2_408_448, "after_it": 10_035_200,
    }  # fmt: skip
    assert found["saving"] == pytest.approx(0.8967, abs=1e-4)
    assert 0 < found["linear_difference"] < 1e-12
    wide = json.loads(lab("one-by-one", "--input", "100x500x500", "--through", "20", "--json").out)
    assert wide["one_by_one_shape"] == [20, 500, 500]
    assert "more)" in lab("one-by-one", "--kernel", "1", "--through", "400").out


def test_edges(lab):
    found = json.loads(lab("edges", "--json").out)
    np.testing.assert_allclose(found["learnt"], [[1, -1]], atol=1e-3)
    assert found["losses"][0] > 100 * found["losses"][-1] and found["determined"] == 2
    said = lab("edges")
    assert said.out.splitlines()[6].split() == ["0", "0.2784", "0.0126,", "-0.0132"]
    assert "The image fixes 1 of the 2 numbers only" in lab("edges", "--input", "1,1,1;2,2,2").out
    found = json.loads(lab("edges", "--input", "5x7", "--kernel", "2x1", "--json").out)
    assert found["output_shape"] == [4, 7]


def test_receptive_fields(lab):
    stacked = json.loads(lab("receptive-field", "c5-16 bn relu mp2", "c5-32", "mp2", "--json").out)
    named = json.loads(lab("receptive-field", "--model", "cnn", "--json").out)
    keys = ("receptive_field", "stride", "centre", "size")
    changed = [row for row in stacked["layers"] if row["kind"] != "each by itself"]
    assert [[r[k] for k in keys] for r in changed] == [
        [r[k] for k in keys] for r in named["layers"][:-1]
    ]
    assert stacked["layers"][-1]["receptive_field"] == [16, 16]
    said = lab("receptive-field", "c3-8", "gap", "--input", "3x9x7")
    assert "9 x 7" in said.out and "the whole image" in said.out


def test_a_picture_of_ones_own(lab):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    Image.fromarray(pixels).save("cat.png")
    found = json.loads(lab("conv", "--image", "cat.png", "--kernel", "sobel-x", "--json").out)
    wanted = reference.corr2d(pixels, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    assert found["output"] == [wanted.tolist()]
    for name in ("sobel-y", "laplace", "sharpen", "box", "gauss", "emboss", "identity"):
        said = lab("conv", "--image", "cat.png", "--kernel", name, "--padding", "same", "--json")
        assert json.loads(said.out)["output_shape"] == [1, 30, 40]
    Image.fromarray(np.zeros((1000, 500), np.uint8)).save("tall.png")
    assert json.loads(lab("pool", "--image", "tall.png", "--json").out)["input_shape"][1:] == [
        256, 128,
    ]  # fmt: skip
    sized = lab("pool", "--image", "tall.png", "--size", "20x30", "--json")
    assert json.loads(sized.out)["input_shape"] == [1, 20, 30]
    assert "grey values 0 to 255" in lab("conv", "--image", "cat.png").out


DRAWN = {
    "conv": ["conv", "--input", "4x4"],
    "deep": ["conv", "--input", "4x5x5", "--padding", "1", "--out-channels", "2"],
    "pool": ["pool"],
    "one-by-one": ["one-by-one"],
    "edges": ["edges", "--steps", "5"],
    "receptive-field": ["receptive-field", "c3-8", "mp2"],
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("form", ["png", "gif", "html"])
def test_saving(lab, name, form):
    path = Path(f"out.{form}")
    said = lab(*DRAWN[name], "--save", path)
    assert said.code == 0, said.err
    assert said.out.endswith(f"figure   {path}\n")
    if form == "html":
        assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    else:
        with Image.open(path) as image:
            image.load()
            assert image.format == form.upper() and (form == "png" or image.n_frames > 1)
    kept = path.read_bytes()
    again = lab(*DRAWN[name], "--save", path)
    assert again.code == 2 and path.read_bytes() == kept
    assert again.err == (
        f"error: --save {path}: is there already; name another file, or add --force\n"
    )
    assert lab(*DRAWN[name], "--save", path, "--force").code == 0
    as_json = json.loads(lab(*DRAWN[name], "--save", path, "--force", "--json").out)
    assert as_json["figure"] == str(path)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("conv --input 4x4 --kernel 5x3",
         "--kernel 5x3: spans 5 pixels of height, and the padded input has only 4; take a smaller "
         "kernel, or more padding"),
        ("conv --stride 0", "--stride 0: must be whole numbers of at least 1; try 1"),
        ("conv --stride x", "--stride x: must be whole numbers; write 1 or 2,1"),
        ("conv --padding -1", "--padding -1: must be whole numbers of at least 0; try 1"),
        ("conv --padding sam", "--padding sam: is no way to pad; did you mean same?"),
        ("conv --input 3x8x8 --groups 2",
         "--groups 2: must be a whole number of at least 1 that divides X's channels (3); take one "
         "of 1, 3"),
        ("conv --groups 0", "--groups 0: must be a whole number of at least 1"),
        ("conv --out-channels 0", "--out-channels 0: must be a whole number of at least 1; try 2"),
        ("conv --dilation 0", "--dilation 0: must be"),
        ("conv --kernel sobelx", "--kernel sobelx: is no kernel by name; did you mean sobel-x?"),
        ("conv --kernel 2x2x2", "--kernel 2x2x2: must be one kernel, HxW; try 3x3"),
        ("conv --input 0x3", "--input 0x3: must be at least 1 in every direction; try 8x8"),
        ("conv --input 99999x99999", "--input 99999x99999: is more than 4,000,000 numbers"),
        ("conv --input 1,2;3", "--input 1,2;3: is neither a size nor rows of numbers"),
        ("conv --input [[1,NaN]]", "--input [[1,NaN]]: must be finite numbers"),
        ("conv --input 1x1x1x1", "--input 1x1x1x1: must be HxW or CxHxW"),
        ("conv --size 3", "--size 3: is for --image; leave it out"),
        ("conv --steps -1", "--steps -1: must be 0 or more; try 16"),
        ("conv --save out.svg", "--save out.svg: must end in .gif, .png, .html; try out.gif"),
        ("conv --force", "--force: is for --save; leave it out"),
        ("conv --image nothing.png", "nothing.png: is not there; check the path"),
        ("pool --kind avg", "--kind avg: is no pool; did you mean average?"),
        ("pool --padding 2", "--padding 2: leaves windows that lie wholly in the padding"),
        ("pool --padding 2 --kind average",
         "--padding 2: leaves windows that lie wholly in the padding, where there is no pixel to "
         "average; pad less, or count the padding too"),
        ("pool --kernel 0", "--kernel 0: must be whole numbers of at least 1"),
        ("one-by-one --input 28x28", "--input 28x28: must be channels, height and width"),
        ("one-by-one --through 0", "--through 0: must be at least 1; try 16"),
        ("edges --lr 2", "--lr 2.0: must be above 0 and below 1.4, where the loss begins to grow"),
        ("edges --input 0,0;0,0", "--input 0,0;0,0: is zero everywhere"),
        ("edges --kernel 9x9", "--kernel 9x9: spans 9 pixels of height"),
        ("edges --steps 0", "--steps 0: must be a whole number of at least 1"),
        ("receptive-field", "LAYERS=(not given): must be given, or a network: one of the two"),
        ("receptive-field c3 --model cnn", "LAYERS=c3: must be given, or a network"),
        ("receptive-field c3 q", "LAYERS=q: is no layer"),
        ("receptive-field --model cn", "--model cn: is no registered network; did you mean cnn?"),
        ("receptive-field c3 --input 0x4", "--input 0x4: must be height and width, at least 1"),
    ],
)  # fmt: skip
def test_refusals(lab, typed, message):
    """Said in one line, a word of a line of layers with that line and a mark below it; exit code 2
    (1 for a file that cannot be read), nothing written."""
    more = [] if "--save" in typed or "--force" in typed else ["--save", "out.gif"]
    said = lab(*typed.split(" "), *more)
    assert said.err.startswith(f"error: {message}"), said.err
    assert said.err.count("\n") == (3 if message.startswith("LAYERS=q") else 1)
    assert said.out == ""
    assert said.code == (1 if "nothing.png" in typed else 2)
    assert not list(Path().iterdir())


def test_it_starts_without_torch(tmp_path):
    code = (
        "import sys\n"
        "from convscope import cli\n"
        "sys.argv = ['convscope', 'lab', 'conv', '--save', sys.argv[1]]\n"
        "try:\n    cli.main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "assert 'torch' not in sys.modules and 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.gif")], check=True)


def test_how_often_each_pixel_is_read(lab):
    said = lab("conv", "--input", "5x4", "--kernel", "3x3", "--padding", "1", "--reads").out
    assert "reads    of a pixel: 4 in the corner, 9 in the middle\n  4 6 6 4\n  6 9 9 6\n" in said
    assert "reads" not in lab("conv", "--input", "5x4").out
    found = json.loads(lab("pool", "--input", "4x4", "--stride", "1", "--json").out)
    assert found["reads"][0] == [1, 2, 2, 1] and found["reads"][1] == [2, 4, 4, 2]
