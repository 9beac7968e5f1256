"""Finding images, naming their results, and running jobs; edges of paths first."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support import tree

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.inference.batch import BatchPredictor, Job, plan_jobs
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.image_paths import find_images
from paddleseg_u2net.inference.outputs import OutputSettings
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.io.images import read_image, read_photograph, write_image

OUT = Path("out")


@pytest.fixture(autouse=True)
def _files() -> None:
    """Images a/x.png, a/sub/y.png, b/x.png and `-z.png` in the working folder."""
    for name in ("a/x.png", "a/sub/y.png", "b/x.png", "-z.png"):
        write_image(Path(name), np.full((4, 5, 3), len(name), np.uint8))


def names(*paths: str | Path, save_dir: Path = OUT) -> list[str]:
    """Results of the images that paths name, below the folder of the output."""
    found = find_images([Path(path) for path in paths], save_dir)
    jobs = plan_jobs(found, save_dir, ["saliency"])
    return sorted(str(job.results["saliency"].relative_to(save_dir / "saliency")) for job in jobs)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a"], ["sub/y.png", "x.png"]),
        (["a/"], ["sub/y.png", "x.png"]),
        (["a/sub/y.png"], ["y.png"]),
        (["-z.png"], ["-z.png"]),
        (["a/x.png", "b/x.png"], ["a/x.png", "b/x.png"]),  # one name: the folders tell them apart
        (["a", "b"], ["a/sub/y.png", "a/x.png", "b/x.png"]),
        (["-z.png", "b"], ["-z.png", "b/x.png"]),
        (["a/sub", "a"], ["sub/y.png", "x.png"]),  # a folder in another one
        (["a", "a/"], ["sub/y.png", "x.png"]),  # a folder given twice
        (["a/x.png", "a"], ["sub/y.png", "x.png"]),
        (["a/x.png", "./a/x.png", "a/sub/../x.png"], ["x.png"]),  # one image in three ways
    ],
)
def test_results_mirror_the_common_parent_of_what_is_given(paths, expected):
    assert names(*paths) == expected
    assert names(*[Path(path).absolute() for path in paths]) == expected


def test_linked_images_have_results_of_their_own():
    Path("a/link.png").symlink_to("x.png")
    assert names("a") == ["link.png", "sub/y.png", "x.png"]


def test_list_names_images_relative_to_its_folder():
    Path("a/list.txt").write_text("sub/y.png\n../b/x.png\tmask.png\n# x.png\nsub/y.png\n")
    assert names("a/list.txt") == ["a/sub/y.png", "b/x.png"]
    assert names("a/list.txt", "-z.png") == ["-z.png", "a/sub/y.png", "b/x.png"]
    assert names("a") == ["sub/y.png", "x.png"]  # a list inside a folder is no image of it


def test_list_may_name_paths_with_spaces_and_have_no_suffix():
    write_image(Path("a/two words.png"), np.zeros((4, 5, 3), np.uint8))
    Path("a/list").write_text("two words.png\nx.png 1\n")
    assert names("a/list") == ["two words.png", "x.png"]


def test_patterns_that_the_shell_left_alone_are_resolved():
    assert names("b/*.png", "**/x.[p]ng") == ["a/x.png", "b/x.png"]
    write_image(Path("a/[x].png"), np.zeros((4, 5, 3), np.uint8))
    assert names("a/[x].png") == ["[x].png"]  # a file of this name


def test_missing_path_is_a_fault_and_the_others_are_found():
    Path("hollow").mkdir()
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes("bö.png".encode("latin-1"))
    paths = ["gone.png", "b", "hollow", "*.jpg", "empty.txt", "latin.txt"]
    found = find_images([Path(path) for path in paths], OUT)
    assert [image.path for image in found.images.values()] == [Path("b/x.png")]
    assert found.root == Path("b").absolute()
    first, *others, last = found.faults
    assert first == Fault("gone.png", "no such file or folder")
    assert [str(fault) for fault in others] == [
        "hollow: no images (JPEG, PNG, GIF, TIFF, JPEG 2000, WebP, BMP, Netpbm, AVIF) in this folder",
        "*.jpg: no file matches this pattern",
        "empty.txt: this list names no images that exist. Fix: name one image per line, relative to the "
        "folder of the list",
    ]
    assert "latin.txt: " in str(last)
    with pytest.raises(DataError, match="no such file or folder\n.*pattern"):
        find_images([Path("gone.png"), Path("*.jpg")], OUT)


def test_listed_image_that_does_not_exist_is_a_fault_of_its_job():
    Path("list.txt").write_text("a/x.png\na/gone.png\n")
    jobs = plan_jobs(find_images([Path("list.txt")], OUT), OUT, ["saliency"])
    assert [job.where for job in jobs] == ["list.txt:1", "list.txt:2"]
    done, missing = predictor().run_jobs(jobs)
    assert done == []
    assert [str(fault) for fault in missing] == [
        f"list.txt:2: {Path('a/gone.png').absolute()}: no such image file"
    ]


def test_bracket_in_a_file_name_is_not_a_pattern():
    write_image(Path("a [1].png"), np.zeros((4, 5, 3), np.uint8))
    assert names("a [1].png") == ["a [1].png"]


def test_results_of_earlier_runs_are_not_images():
    write_image(Path("a/out/saliency/x.png"), np.zeros((4, 5), np.uint8))
    assert names("a", save_dir=Path("a/out")) == ["sub/y.png", "x.png"]
    assert len(names("a")) == 3


def test_ranks_divide_all_images_before_resume_leaves_out_results():
    found = find_images([Path("a"), Path("b")], OUT)
    everything = plan_jobs(found, OUT, ["saliency"])
    for job in everything:
        write_image(job.results["saliency"], np.zeros((4, 5), np.uint8))
    everything[2].results["saliency"].write_bytes(b"truncated")
    shares = [plan_jobs(found, OUT, ["saliency"], Rank(rank, 2)) for rank in range(2)]
    assert sorted(str(job.image) for share in shares for job in share) == sorted(
        str(job.image) for job in everything
    )
    left = [plan_jobs(found, OUT, ["saliency"], Rank(rank, 2), resume=True) for rank in range(2)]
    assert left == [[everything[2]], []]


def test_replaced_results_are_logged(caplog, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.inference.batch.log.parent.propagate", True)
    found = find_images([Path("a")], OUT)
    (job, _) = plan_jobs(found, OUT, ["saliency", "cutout"])
    write_image(job.results["cutout"], np.zeros((4, 5), np.uint8))
    with caplog.at_level("INFO"):
        plan_jobs(found, OUT, ["saliency"])
        assert caplog.text == ""
        plan_jobs(found, OUT, ["saliency", "cutout"])
    assert "Results of 1 image exist in out and are replaced (--resume keeps them)" in caplog.text


def test_result_older_than_its_image_is_not_done():
    job = Job(Path("a/x.png"), {"saliency": Path("a.png")})
    write_image(Path("a.png"), np.zeros((4, 5), np.uint8))
    assert job.is_done()
    os.utime("a.png", (1, 1))
    assert not job.is_done()


class Half(SourcePredictor):
    """A stand-in for `Predictor`: each pixel is 0.5."""

    channels = 3  # pyright: ignore[reportAssignmentType]

    def open(self, path, max_pixels=MAX_PIXELS, data=None):
        return read_photograph(path, max_pixels)

    def predict(self, images):
        return [Prediction(np.full((1, *image.shape[:2]), 0.5, np.float32)) for image in images]


def predictor(**options) -> BatchPredictor:
    return BatchPredictor(Half(), OutputSettings(), **options)


@pytest.mark.parametrize("parallel", [1, 3])
def test_fault_of_a_job_does_not_stop_the_others(parallel):
    Path("a/broken.png").write_text("no image")
    found = find_images([Path("a"), Path("b")], OUT)
    faults = list(predictor(parallel=parallel).run_jobs(plan_jobs(found, OUT, ["saliency", "added"])))
    assert [len(one) for one in faults] == [1, 0, 0, 0]
    assert str(faults[0][0]).startswith("a/broken.png: holds a text that begins with 'no image'")
    assert tree("out/saliency") == ["a/sub/y.png", "a/x.png", "b/x.png"]
    assert read_image("out/saliency/a/x.png")[0, 0].tolist() == [128] * 3


def test_max_pixels_is_a_fault_of_the_image():
    (job, _) = plan_jobs(find_images([Path("a")], OUT), OUT, ["saliency"])
    (fault,) = predictor(max_pixels=19).run_job(job)
    assert "4 pixels, more than" in fault.what
    assert fault.what.endswith(", or raise --max_pixels")
    assert predictor(max_pixels=20).run_job(job) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.svg", "<svg width='1'/>", "a.svg: holds an SVG drawing. Fix: export"),
        ("pointer", "version https://git-lfs.github.com/spec/v1\n", "pointer: holds a Git LFS"),
        ("a.html", "<!doctype html>", r"a.html: holds a web page"),
    ],
)
def test_documents_are_not_taken_for_lists(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    (job,) = plan_jobs(find_images([tmp_path / name], OUT), OUT, ["saliency"])
    (fault,) = predictor().run_job(job)
    assert message in str(fault)


def test_broken_links_are_named(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    (job,) = plan_jobs(find_images([tmp_path / "a.png"], OUT), OUT, ["saliency"])
    (fault,) = predictor().run_job(job)
    assert str(fault) == f"{tmp_path}/a.png: a link to gone.png, which does not exist"


def test_a_list_may_begin_with_any_name(tmp_path):
    for name in ("P1010001.png", "BMW.png", "[1].png", "MZ.png", "photo_1.WEBP", "GIF8.png", "P1 7.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "list.txt").write_text(name)
        assert [path.name for path in find_images([tmp_path / "list.txt"], OUT).images] == [name]
