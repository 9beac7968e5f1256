"""Label maps: files of names and colours in the formats of several programs."""

from __future__ import annotations

import json

import pytest

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.color_tables import KNOWN, parse_colors, read_label_map

CVAT = """\
# label:color_rgb:parts:actions
background:0,0,0::
traffic light:250,170,30:red,green:
cat:255,0,16::sleeping
"""
CAMVID = "64 128 64\tAnimal\n192 0 128\t\tArchway\n0 0 0\t\tVoid\n"
CLASS_DICT = "name, r, g, b\nAnimal,64,128,64\n Archway, 192, 0, 128\nVoid,0,0,0\n"
COLUMNS = 'id,label,red,green,blue\n0,Animal,64,128,64\n1,"Archway",192,0,128\n2,Void,0,0,0\n'
NAME_FIRST = "Animal 64 128 64\nArchway 192 0 128\nVoid (0, 0, 0)\n"
HEXADECIMAL = "#408040 Animal\nArchway: #C00080\nVoid=#000000\n"
JSON = json.dumps({"Animal": [64, 128, 64], "Archway": "#c00080", "Void": [0, 0, 0, 255]})
# as CVAT shows the labels of a project under Raw
SUPERVISELY = json.dumps(
    {"classes": [{"title": name, "color": color} for name, color in
                 (("Animal", "#408040"), ("Archway", "#C00080"), ("Void", "#000000"))]}
)  # fmt: skip
RAW_LABELS = SUPERVISELY.removeprefix('{"classes": ').removesuffix("}").replace("title", "name")  # of CVAT


def colors_of(table) -> dict[str, list[tuple[int, int, int]]]:
    found: dict[str, list] = {}
    for code, label in zip(table.codes.tolist(), table.labels, strict=True):
        found.setdefault(label, []).append((code // 65536, code // 256 % 256, code % 256))
    return found


def test_labelmap_of_cvat_is_read(tmp_path):
    (tmp_path / "labelmap.txt").write_text(CVAT)
    table = read_label_map(tmp_path / "labelmap.txt")
    assert table.order == ["_background_", "traffic light", "cat"]
    expected = {"_background_": [(0, 0, 0)], "traffic light": [(250, 170, 30)], "cat": [(255, 0, 16)]}
    assert colors_of(table) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_colors.txt", CAMVID),
        ("class_dict.csv", CLASS_DICT),
        ("columns.csv", COLUMNS),
        ("names.txt", NAME_FIRST),
        ("bom.txt", "\ufeff" + NAME_FIRST.replace("\n", "\r\n")),
        ("hex.txt", HEXADECIMAL),
        ("map.json", JSON),
        ("meta.json", SUPERVISELY),
        ("labels.json", RAW_LABELS),
    ],
)
def test_label_maps_of_all_formats_are_equal(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_label_map(tmp_path / name)
    assert table.order == ["Animal", "Archway", "__ignore__"]
    assert colors_of(table) == {
        "Animal": [(64, 128, 64)],
        "Archway": [(192, 0, 128)],
        "__ignore__": [(0, 0, 0)],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat 1 2\n", "labelmap.txt:1: expected 'name:R,G,B::' (CVAT)"),
        ("dog 0 0 0\ncat 256 0 0\n", "labelmap.txt:2: expected"),
        ("1 2 3 4\n", "labelmap.txt:1: expected"),  # is the name first or last?
        ("cat 9 9 9\ndog 9 9 9\n", "labelmap.txt:2: (9, 9, 9) is 'dog', but 'cat' in an earlier row. Fix:"),
        ("", "labelmap.txt: names no colour"),
        ("# only a comment\n", "labelmap.txt: names no colour"),
        ("name,r,g,b\ncat,1,2\n", "labelmap.txt:2: expected"),
        ("name,r,g,b\n" + "x" * 200000 + ",1,2,3\n", "labelmap.txt:2: expected"),
        ("255 0 0 255 cat\n", "labelmap.txt:1: expected"),  # opacity, or a part of the name?
        ("cat,255,0,0,255\n", "Fix: write the name and a colon before the numbers: 'lane 2:0,128,0'"),
        ("cat #ff0000 #00ff00\n", "labelmap.txt:1: expected"),
        ("a" + " " * 100000 + "b", "labelmap.txt:1: expected"),
        ("x" * (1 << 20) + "y", "expected at most 1048576"),
    ],
)
def test_broken_label_maps_name_the_line(tmp_path, text, message):
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(DataError) as error:
        read_label_map(tmp_path / "labelmap.txt")
    assert message in str(error.value)


def test_missing_or_foreign_label_maps_are_named(tmp_path):
    with pytest.raises(DataError, match="absent.txt: no such file"):
        read_label_map(tmp_path / "absent.txt")
    (tmp_path / "a.txt").write_bytes(b"cat\xff 1 2 3")
    with pytest.raises(DataError, match="not UTF-8"):
        read_label_map(tmp_path / "a.txt")
    for color in ("[1, 2]", '"1,2,3,4"', "[1, 2, 300]", "5", '"red 1,2,3"'):
        (tmp_path / "a.json").write_text(f'{{"cat": {color}}}')
        with pytest.raises(DataError, match="entry 0: expected"):
            read_label_map(tmp_path / "a.json")
    for content in ("[5]", '["cat"]', '[{"name": "cat"}]'):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DataError, match="entry 0: expected"):
            read_label_map(tmp_path / "a.json")
    with pytest.raises(DataError, match="is a folder, expected a file"):
        read_label_map(tmp_path)


def test_names_may_end_in_a_number_and_begin_with_one(tmp_path):
    (tmp_path / "a.txt").write_text("lane 2:0,128,0\n3d box:1,2,3::\n4 5 6 2-wheeler\nroad (7, 8, 9)\n")
    assert colors_of(read_label_map(tmp_path / "a.txt")) == {
        "lane 2": [(0, 128, 0)],
        "3d box": [(1, 2, 3)],
        "2-wheeler": [(4, 5, 6)],
        "road": [(7, 8, 9)],
    }


def test_known_tables_have_published_colours():
    voc = dict(KNOWN["voc"])
    # PASCAL VOC 2012 development kit, section 3.3 and its colour map
    assert len(KNOWN["voc"]) == 22
    published = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "person": (192, 128, 128)}
    published |= {"tvmonitor": (0, 64, 128), "void": (224, 224, 192), "cat": (64, 0, 0)}
    assert {name: voc[name] for name in published} == published
    # cityscapesScripts, helpers/labels.py: 19 labels with a trainId, in this order
    cityscapes = KNOWN["cityscapes"]
    assert [name for name, _ in cityscapes if name != "void"] == [
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
        *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
        *("motorcycle", "bicycle"),
    ]
    assert (dict(cityscapes)["car"], dict(cityscapes)["bicycle"]) == ((0, 0, 142), (119, 11, 32))
    assert sum(name == "void" for name, _ in cityscapes) == 10


def test_colors_on_the_command_line():
    table = parse_colors(["background=0,0,0", "my cat=#ff0010", "my cat=255,0,17"])
    assert colors_of(table) == {"_background_": [(0, 0, 0)], "my cat": [(255, 0, 16), (255, 0, 17)]}
    assert parse_colors(["VOC"]).order[:3] == ["_background_", "aeroplane", "bicycle"]
    table = parse_colors(
        ["Background=0,0,0", "My Cat=1,1,1", "my cat=2,2,2", "VOID=3,3,3", "__ignore__=4,4,4"]
    )
    assert colors_of(table) == {
        "_background_": [(0, 0, 0)],
        "My Cat": [(1, 1, 1), (2, 2, 2)],
        "__ignore__": [(3, 3, 3), (4, 4, 4)],
    }
    for word in ("vok", "cat", "cat=1,2", "=1,2,3", "cat=1,2,300", "cat=1,2,3,4", "cat=x 1,2,3"):
        with pytest.raises(DataError, match=r"--colors .*: expected NAME=R,G,B.* Fix: --colors background"):
            parse_colors([word])
