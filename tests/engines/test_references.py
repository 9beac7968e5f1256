"""Exported models that make their engine read other files: refused, whoever opens them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from paddleseg_u2net.engines.base import open_engine
from paddleseg_u2net.engines.deploy_config import RECORD
from paddleseg_u2net.inference.model_source import load_engine
from paddleseg_u2net.models.weight_files import read_state

SIZES = [1, 1, 2, 2]
IMAGE = np.arange(4, dtype=np.float32).reshape(SIZES)
SECRET = np.float32([7, 8, 9, 10])
LINK, PLAIN = "link.bin", "w.bin"
LOCATIONS = ("../secret.bin", "{root}/secret.bin", "./../secret.bin", LINK, PLAIN, "", "*/_ORT_MEM_ADDR_/*")


def tensor(location: str | None = None):
    """Four numbers, in a file of their own if there is a location."""
    found = helper.make_tensor("w", TensorProto.FLOAT, SIZES, SECRET.tobytes(), raw=True)
    if location is not None:
        found.ClearField("raw_data")
        found.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "16"}.items():
            found.external_data.add(key=key, value=value)
    return found


def model(nodes, initializers=(), **more):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SIZES) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def add(constant):
    """Nodes that add a constant to the input."""
    return [constant, helper.make_node("Add", ["x", "w"], ["y"])]


def initializer(location):
    return model([helper.make_node("Add", ["x", "w"], ["y"])], [tensor(location)])


def attribute(location):
    return model(add(helper.make_node("Constant", [], ["w"], value=tensor(location))))


def subgraph(location, depth: int = 1):
    """In a branch of `If`, in another one."""
    nodes, name = [helper.make_node("Constant", [], ["r0"], value=tensor(location))], "r0"
    out = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SIZES)]
    graph = helper.make_graph(nodes, "b", [], out)
    for level in range(1, depth + 1):
        yes = helper.make_node("Constant", [], [f"c{level}"], value=helper.make_tensor("c", 9, [], [True]))
        node = helper.make_node("If", [f"c{level}"], [f"r{level}"], then_branch=graph, else_branch=graph)
        out = [helper.make_tensor_value_info(f"r{level}", TensorProto.FLOAT, SIZES)]
        graph = helper.make_graph([yes, node], f"b{level}", [], out)
    return model([*graph.node, helper.make_node("Add", ["x", f"r{depth}"], ["y"])])


def function(location):
    body = add(helper.make_node("Constant", [], ["w"], value=tensor(location)))
    own = helper.make_function("own", "F", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    return model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[own])


def default_of_a_function(location):
    made = function(location)
    made.functions[0].attribute_proto.append(helper.make_attribute("v", tensor(location)))
    return made


def list_of_tensors(location):
    made = attribute(location)
    made.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("value", [tensor(location)]))
    return made


def sparse(location):
    made = model([helper.make_node("Identity", ["x"], ["y"])])
    added = made.graph.sparse_initializer.add(dims=SIZES)
    added.values.CopyFrom(tensor(location))
    return made


def sparse_attribute(location):
    made = attribute(location)
    constant = helper.make_attribute("sparse_value", sparse(location).graph.sparse_initializer[0])
    made.graph.node[0].attribute[0].CopyFrom(constant)
    return made


def of_training(location):
    made = model([helper.make_node("Identity", ["x"], ["y"])])
    made.training_info.add().algorithm.CopyFrom(initializer(location).graph)
    return made


PLACES = [initializer, attribute, subgraph, function, default_of_a_function, list_of_tensors, sparse]
PLACES += [sparse_attribute, of_training]


def record(folder: Path, file: str, *listed: str, **deploy) -> None:
    """Write the record of a folder as `export` does, with the checksums of the listed files."""
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (file, *listed)}
    content = {"model": file, "precision": "fp32", "input_shape": SIZES, "output_op": "none"}
    content |= {"labels": ["a", "b"], "sha256": sums, "num_classes": 1, **deploy}
    network = {"type": "U2Netp", "num_classes": 1, "in_channels": 1}
    (folder / RECORD).write_text(yaml.safe_dump({"Deploy": content, "model": network}))


@pytest.fixture
def folder(tmp_path):
    """A folder of an export, with a secret above it, and a link to that."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / LINK).symlink_to("../secret.bin")
    (tmp_path / "e" / PLAIN).write_bytes(SECRET.tobytes())
    return tmp_path / "e"


def refuses(folder: Path, file: str = "model.onnx", backends=("onnxruntime", "openvino")) -> None:
    """Each engine refuses the file, with and without the record of its folder."""
    for backend in backends:
        with pytest.raises(ValueError, match=r"refers to .*|lies outside of .* Fix: export the model again"):
            open_engine(backend, folder / file)
        record(folder, file)
        with pytest.raises(ValueError, match=r"refers to .* Fix: export the model again"):
            load_engine(folder, {"model": {}}, backend=backend)
        (folder / RECORD).unlink()


@pytest.mark.parametrize("make", PLACES)
def test_external_data_is_refused_wherever_the_format_allows_it(folder, make):
    onnx.save(make("../secret.bin"), folder / "model.onnx")
    refuses(folder)


@pytest.mark.parametrize("location", LOCATIONS)
def test_external_data_is_refused_whatever_its_path(folder, location, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder / "model.onnx").write_bytes(initializer(location.format(root=folder.parent)).SerializeToString())
    refuses(folder)


def test_file_of_the_folder_is_read_if_the_record_lists_it(folder):
    onnx.save(initializer(PLAIN), folder / "model.onnx")
    record(folder, "model.onnx", PLAIN)
    for backend in ("onnxruntime", "openvino"):
        output = open_engine(backend, folder / "model.onnx")(IMAGE)
        np.testing.assert_array_equal(output, IMAGE + SECRET.reshape(SIZES))
    (folder / PLAIN).write_bytes(bytes(16))
    with pytest.raises(ValueError, match="w.bin: absent, or not the file that was exported"):
        open_engine("onnxruntime", folder / "model.onnx")


def test_listed_link_to_another_place_is_refused(folder):
    onnx.save(initializer(LINK), folder / "model.onnx")
    record(folder, "model.onnx", LINK)
    with pytest.raises(ValueError, match="link.bin', which lies outside of its folder"):
        open_engine("onnxruntime", folder / "model.onnx")
    with pytest.raises(ValueError, match="link.bin lies outside of the folder. Fix: export the model again"):
        load_engine(folder, {"model": {}})


def test_model_that_is_a_link_to_another_place_is_refused(folder):
    onnx.save(initializer(None), folder.parent / "real.onnx")
    (folder / "model.onnx").symlink_to("../real.onnx")
    with pytest.raises(ValueError, match="model.onnx', which lies outside"):
        open_engine("onnxruntime", folder / "model.onnx")


def test_two_spellings_of_one_message_are_both_searched(folder):
    """Protocol Buffers merges a message that is given twice, and allows longer forms of numbers."""
    inner = initializer("../secret.bin").graph.SerializeToString()
    length = bytes([len(inner) & 127 | 128, len(inner) >> 7 | 128, 128, 0])
    plain = initializer(None)
    plain.graph.ClearField("initializer")
    (folder / "model.onnx").write_bytes(plain.SerializeToString() + b"\xba\x80\x00" + length + inner)
    assert len(onnx.load(folder / "model.onnx", load_external_data=False).graph.initializer) == 1
    refuses(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x0b\x0c", b"\x3a\xff\x01", b"\x00\x00", b"<net/>", b"\x18\0\0\0ORTM", b"\xff" * 12]
    + [b"\xba\x80\x80\x80\x10\0"],  # the field of the graph, whose number some readers cut to 32 bits
)
def test_file_that_is_not_onnx_is_refused_before_an_engine_opens_it(folder, content):
    (folder / "model.onnx").write_bytes(content)
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(ValueError, match=r"model.onnx: is .*Fix: export the model again"):
            open_engine(backend, folder / "model.onnx")


def test_onnx_file_named_xml_is_refused(folder):
    """OpenVINO chooses its reader by the content."""
    (folder / "model.xml").write_bytes(initializer("../secret.bin").SerializeToString())
    with pytest.raises(ValueError, match="model.xml: is not an XML file. Fix: export the model again"):
        open_engine("openvino", folder / "model.xml")


@pytest.mark.parametrize(("suffix", "weights"), [(".xml", "model.bin"), (".json", "model.pdiparams")])
def test_weights_beside_a_model_are_in_its_folder_and_its_record(folder, suffix, weights):
    (folder / f"model{suffix}").write_text("<net/>" if suffix == ".xml" else "{}")
    (folder / weights).symlink_to("../secret.bin")
    backend = {".xml": "openvino", ".json": "paddle_inference"}[suffix]
    refuses(folder, f"model{suffix}", [backend])
    (folder / weights).unlink()
    (folder / weights).write_bytes(b"w")
    record(folder, f"model{suffix}")
    with pytest.raises(ValueError, match=f"refers to '{weights}', whose checksum is not in "):
        load_engine(folder, {"model": {}}, backend=backend)


@pytest.mark.parametrize(
    "name", ["1.load_combine", "pd_op.save_combine", "1.read_file", "py_func", "1.p_send_"]
)
def test_paddle_program_that_reads_or_writes_files_is_refused(folder, name):
    operation = {"#": name, "A": []}
    text = json.dumps({"program": {"regions": [{"blocks": [{"ops": [operation]}]}]}})
    (folder / "model.json").write_text(text.replace("load", "\\u006coad"))
    with pytest.raises(ValueError, match=f"model.json: has the operation {name}, .* Fix: export the model"):
        open_engine("paddle_inference", folder / "model.json")


def test_record_that_inherits_another_file_is_refused(folder):
    onnx.save(initializer(None), folder / "model.onnx")
    record(folder, "model.onnx")
    with (folder / RECORD).open("a") as file:
        file.write("_base_: ../secret.bin\n")
    with pytest.raises(
        ValueError, match="_base_: an export refers to no other config. Fix: export the model"
    ):
        load_engine(folder, {"model": {}})


def test_weights_of_an_onnx_file_are_read_from_the_file_alone(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for make in PLACES:
        onnx.save(make("../secret.bin"), folder / "weights.onnx")
        with pytest.raises(ValueError, match="keeps its weights in another file. Fix: in Python, "):
            read_state(folder / "weights.onnx")
