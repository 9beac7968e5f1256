"""Correct records of an export, a run, a data set and a calibration, and the commands that read them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import yaml
from hostile_configs import VALUES, changed, misshapen, places, plain, write_data
from onnx import helper

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.datasets.prepare import RECORD, check, contents
from paddleseg_u2net.engines.deploy_config import describe, write_record
from paddleseg_u2net.export.quantization import read_calibration
from paddleseg_u2net.models.known_weights import CALIBRATIONS


class Record(NamedTuple):
    """A file that this project writes and reads.

    Args:
        path: the file.
        read: command that reads it, or a function of its path.
    """

    path: Path
    read: list[str] | Callable[[Path], object]

    def cases(self, per_key: int) -> Iterator[tuple[str, str]]:
        """(Place and value, text of the file): some of VALUES at each place, and another shape of it."""
        content, draw = yaml.safe_load(self.path.read_text()), random.Random(0)  # JSON is a part of YAML
        as_json = self.path.suffix == ".json"
        values = (*VALUES, *map(json.dumps, VALUES)) if as_json else VALUES
        for place in places(content):
            for value in draw.sample(values, per_key):
                yield f"{place}: {value[:40]}", changed(content, place, value, as_json)
            text = misshapen(content, place, draw)
            yield f"{place}: another shape", json.dumps(yaml.safe_load(text)) if as_json else text


def write_export(folder: Path, config: dict[str, Any]) -> Path:
    """An export whose network is the mean of the channels; returns its record."""
    folder.mkdir()
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("x", 3), ("y", 1))
    )
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[1])
    nodes = [mean, helper.make_node("Sigmoid", ["m"], ["y"])]
    graph = helper.make_graph(nodes, "mean", [x], [y])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(folder / "model.onnx"))
    write_record(folder, describe("model.onnx", "fp32", [-1, 3, -1, -1], 1, folder), config)
    return folder / "deploy.yaml"


def write_run(folder: Path, config: dict[str, Any]) -> list[str]:
    """A run of one step with a best model; returns the command that resumes it."""
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(config))
    words = ["train", "--config", str(file), "--do_eval", "--seed", "0", "--iters", "1"]
    assert main([*words, "--save_dir", str(folder / "run")]) == 0
    words = ["train", "--config", str(file), "--do_eval", "--iters", "2"]
    return [*words, "--save_dir", str(folder / "resumed"), "--resume_model", str(folder / "run" / "iter_1")]


def write_records(folder: Path) -> list[Record]:
    """Write one of each kind into a folder."""
    data = write_data(folder / "data")
    config = plain(data, 1)
    image = str(data / "images" / "a.png")
    export, resume = write_export(folder / "export", config), write_run(folder, config)
    rows = [("kept", "images", ""), ("left out", "images", "too small"), ("converted", "files", "were BMP")]
    items = [{"outcome": o, "items": i, "reason": r, "count": 1, "first": ["a"]} for o, i, r in rows]
    (data / RECORD).write_text(json.dumps({"name": "x", "contents": contents(data), "items": items}))
    calibration = folder / "calibration.yaml"
    content = yaml.safe_load((CALIBRATIONS / "u2netp.yaml").read_text())
    content["ranges"] = dict(list(content["ranges"].items())[:3])
    calibration.write_text(yaml.safe_dump(content))
    predict = ["predict", "--model_path", str(export.parent), "--image_path", image]
    return [
        Record(export, [*predict, "--save_dir", str(folder / "maps")]),
        Record(folder / "run" / "iter_1" / "state.json", resume),
        Record(folder / "run" / "best_model" / "state.json", resume),
        Record(data / RECORD, ["check-dataset", "--dataset_root", str(data)]),
        Record(data / RECORD, lambda path: check(path.parent)),
        Record(calibration, read_calibration),
    ]
