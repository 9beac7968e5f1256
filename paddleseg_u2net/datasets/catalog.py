"""The table of known data sets: what they contain, where they come from, and how their files are arranged.

No address could be tried when this table was written: each says `never` until somebody has downloaded the
file from it. Addresses, sizes and checksums are those published by the authors or by public projects. If no
address is known, `page` says where to get the file.
"""

from __future__ import annotations

from typing import Any

from paddleseg_u2net.datasets.description import GIB, Address, Archive, DataSet, Part

TEST = ("val", "test")
_SALIENCYDETECTION = "saliencydetection.net"
_DUTS_PAPER = "Wang et al. 2017, Learning to Detect Salient Objects with Image-level Supervision (CVPR)"
_NOT_STATED = "none stated; for research"


def _duts(name: str, lists: tuple[str, ...], pairs: int, **more: Any) -> DataSet:
    folders = f"{name}-Image", f"{name}-Mask"
    path = f"{_SALIENCYDETECTION}/duts/download/{name}.zip"
    return DataSet(
        task="salient objects",
        about="the standard data for training and testing; images from ImageNet and SUN",
        paper=_DUTS_PAPER,
        licence=_NOT_STATED,
        page=f"http://{_SALIENCYDETECTION}/duts/",
        archives=(Archive(f"{name}.zip", (Address(f"https://{path}"), Address(f"http://{path}"))),),
        parts=(Part(lists, pairs, (f"{folders[0]}/*",), (f"{folders[1]}/*",), *folders),),
        script="RGB/SOD/duts.sh",
        **more,
    )


def _whole(pairs: int, images: tuple[str, ...], masks: tuple[str, ...]) -> tuple[Part]:
    """The parts of a data set used for testing only."""
    return (Part(TEST, pairs, images, masks),)


DATA_SETS = {
    "optic_disc_seg": DataSet(
        task="optic disc",
        about="fundus photographs of iChallenge-AMD, as PaddleSeg packs them",
        paper="Fang et al. 2022, ADAM Challenge: Detecting Age-Related Macular Degeneration (IEEE TMI)",
        licence="research use (iChallenge-AMD)",
        page="https://github.com/PaddlePaddle/PaddleSeg",
        archives=(
            Archive(
                "optic_disc_seg.zip",
                (Address("https://paddleseg.bj.bcebos.com/dataset/optic_disc_seg.zip"),),
            ),
        ),
        parts=tuple(
            Part((name,), pairs, listed=f"{name}_list.txt")
            for name, pairs in (("train", 267), ("val", 76), ("test", 38))
        ),
        script="RGB/MICCAI2021/disc_cpu.sh",
        size="about 19 MB",
    ),
    "DUTS-TR": _duts(
        "DUTS-TR",
        ("train",),
        10553,
        note="an archive from before 2018-01-22 holds three masks twice, as .jpg and as .png; its authors "
        "say the .png are wrong",
    ),
    "DUTS-TE": _duts("DUTS-TE", TEST, 5019, size="about 140 MB"),
    "ECSSD": DataSet(
        task="salient objects",
        about="complex scenes",
        paper="Shi et al. 2016, Hierarchical Image Saliency Detection on Extended CSSD (TPAMI)",
        licence=_NOT_STATED,
        page="https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html",
        archives=tuple(
            Archive(
                name,
                (Address(f"https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD/{name}"),),
                checksum,
            )
            for name, checksum in (
                (
                    "images.zip",
                    "sha256:7d5dce1a21c6d82e2f9617c00ad7eae2de5ded9320e8c59a01b4c731d210ea47",
                ),
                (
                    "ground_truth_mask.zip",
                    "sha256:dc0a9f11f2adee2737d95b28f9567a0a5de33f78743447c097ceb4d42f281a31",
                ),
            )
        ),
        parts=_whole(1000, ("images/*",), ("ground_truth_mask/*", "masks/*")),
        script="RGB/SOD/ecssd.sh",
        size="69 MB",
        note="the checksums were recorded by a public project, not published by the authors",
    ),
    "SOD": DataSet(
        task="salient objects",
        about="the 300 images of the Berkeley segmentation data",
        paper="Movahedi and Elder 2010, Design and Perceptual Validation of Performance Measures (CVPRW)",
        licence="images: BSDS, non-commercial research",
        page="https://www.elderlab.yorku.ca/resources/salient-objects-dataset-sod/",
        archives=(Archive("SOD.zip"),),
        parts=_whole(
            300, ("images/*", "Imgs/*", "SOD/*.jpg"), ("masks/*", "GT/*", "GroundTruth/SOD/*", "SOD/*.png")
        ),
        script="RGB/SOD/sod.sh",
        note="its authors publish outlines as .mat; masks as .png are in tools/GroundTruth/SOD of "
        "github.com/ArcherFMY/sal_eval_toolbox, images in BSDS300. Give both folders to --archive, named "
        "images and masks",
    ),
    "PASCAL-S": DataSet(
        task="salient objects",
        about="images of PASCAL VOC 2010, masks as the share of twelve people that agree",
        paper="Li et al. 2014, The Secrets of Salient Object Segmentation (CVPR)",
        licence=_NOT_STATED,
        page="http://cbs.ic.gatech.edu/salobj/",
        archives=(
            Archive(
                "salObj.zip",
                (
                    Address("https://cbs.ic.gatech.edu/salobj/download/salObj.zip"),
                    Address("http://cbs.ic.gatech.edu/salobj/download/salObj.zip"),
                ),
                "md5:e48b4e5deac08bddcaec55ce56e4d420",  # as recorded by pysaliency
            ),
        ),
        parts=_whole(850, ("imgs/pascal/*", "images/*", "image/*"), ("masks/pascal/*", "masks/*", "mask/*")),
        script="RGB/SOD/pascal_s.sh",
        max_bytes=4 * GIB,
    ),
    "HKU-IS": DataSet(
        task="salient objects",
        about="several objects, low contrast, objects at the border",
        paper="Li and Yu 2015, Visual Saliency Based on Multiscale Deep Features (CVPR)",
        licence=_NOT_STATED,
        page="https://i.cs.hku.hk/~gbli/deep_saliency.html",
        archives=(Archive("HKU-IS.rar"),),
        parts=_whole(4447, ("imgs/*", "images/*"), ("gt/*", "masks/*")),
        script="RGB/SOD/hku_is.sh",
        max_bytes=4 * GIB,
        note="it comes as .rar: unpack it with unrar or 7-Zip and give the folder to --archive",
    ),
    "DUT-OMRON": DataSet(
        task="salient objects",
        about="one or two objects before complex backgrounds",
        paper="Yang et al. 2013, Saliency Detection via Graph-Based Manifold Ranking (CVPR)",
        licence=_NOT_STATED,
        page=f"http://{_SALIENCYDETECTION}/dut-omron/",
        archives=(
            Archive(
                "DUT-OMRON-image.zip",
                (Address(f"http://{_SALIENCYDETECTION}/dut-omron/download/DUT-OMRON-image.zip"),),
                "md5:a8951db9297afacf78bc0e5079103cf1",  # as recorded by pysaliency
            ),
            Archive(
                "DUT-OMRON-gt-pixelwise.zip.zip",
                (Address(f"http://{_SALIENCYDETECTION}/dut-omron/download/DUT-OMRON-gt-pixelwise.zip.zip"),),
            ),
        ),
        parts=_whole(5168, ("DUT-OMRON-image/*", "images/*"), ("pixelwiseGT-new-PNG/*", "masks/*")),
        script="RGB/SOD/dut_omron.sh",
    ),
    "MSRA10K": DataSet(
        task="salient objects",
        about="one clear object each; images and masks side by side in one folder",
        paper="Cheng et al. 2015, Global Contrast Based Salient Region Detection (TPAMI)",
        licence="research use",
        page="https://mmcheng.net/msra10k/",
        archives=(
            Archive("MSRA10K_Imgs_GT.zip", (Address("http://mftp.mmcheng.net/Data/MSRA10K_Imgs_GT.zip"),)),
        ),
        parts=(Part(("train",), 10000, ("Imgs/*.jpg", "images/*"), ("Imgs/*.png", "masks/*"), held_out=10),),
        script="RGB/SOD/msra10k.sh",
        size="195 MB",
        note="it has no official split: every tenth image by name is held out to validate",
    ),
    "Drishti-GS": DataSet(
        task="optic disc",
        about="101 large fundus photographs, 50 to train and 51 to test",
        paper="Sivaswamy et al. 2014, Drishti-GS: Retinal Image Dataset for Optic Nerve Head Segmentation",
        licence="research use",
        page="https://cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php",
        archives=(Archive("Drishti-GS1_files.zip"),),
        parts=tuple(
            Part(
                lists,
                pairs,
                (f"{folder}/Images/*.png", f"{folder}/Images/*/*.png"),
                tuple(f"{folder}/{gt}/*/SoftMap/*_ODsegSoftmap.png" for gt in ("GT", "Test_GT")),
                f"{lists[0]}/images",
                f"{lists[0]}/masks",
            )
            for folder, lists, pairs in (("Training", ("train",), 50), ("Test", TEST, 51))
        ),
        script="RGB/MICCAI2021/drishti_gs.sh",
        max_bytes=4 * GIB,
        name_of=r"(drishtiGS_\d+)",
        threshold=127,
        note="the soft maps of the disc hold the share of experts that agree; the disc is where more than "
        "half do (above 127), as in other public code",
    ),
    "DRIVE": DataSet(
        task="blood vessels",
        about="40 fundus photographs; the vessels as the first expert drew them",
        paper="Staal et al. 2004, Ridge-Based Vessel Segmentation in Color Images of the Retina (IEEE TMI)",
        licence="as agreed to on registration",
        page="https://drive.grand-challenge.org/",
        archives=(Archive("training.zip"), Archive("test.zip")),
        parts=tuple(
            Part(
                lists,
                20,
                (f"{folder}/images/*",),
                (f"{folder}/1st_manual/*",),
                f"{folder}/images",
                f"{folder}/masks",
                optional=folder == "test",
            )
            for folder, lists in (("training", ("train",)), ("test", TEST))
        ),
        script="RGB/MICCAI2021/drive.sh",
        name_of=r"^(\d+)_",
        threshold=127,
        note="newer copies have no masks of the test images; val_list.txt and test_list.txt are left out "
        "then. datasets.zip holds the two archives: unpack it first",
    ),
    "P3M-10k": DataSet(
        task="portraits",
        about="portraits with soft masks of hair; faces are blurred except in P3M-500-NP",
        paper="Li et al. 2021, Privacy-Preserving Portrait Matting (ACM MM)",
        licence="MIT, by the agreement on its page",
        page="https://github.com/JizhiziLi/P3M",
        archives=(Archive("P3M-10k.zip"),),
        parts=(
            Part(
                ("train",),
                9421,
                ("train/blurred_image/*",),
                ("train/mask/*",),
                "train/images",
                "train/masks",
            ),
            Part(
                ("val",),
                500,
                ("P3M-500-P/blurred_image/*",),
                ("P3M-500-P/mask/*",),
                "P3M-500-P/images",
                "P3M-500-P/masks",
            ),
            Part(
                ("test",),
                500,
                ("P3M-500-NP/original_image/*",),
                ("P3M-500-NP/mask/*",),
                "P3M-500-NP/images",
                "P3M-500-NP/masks",
            ),
        ),
        script="RGB/Portrait/p3m_10k.sh",
        max_bytes=64 * GIB,
        note="its authors share it through cloud drives, which a program cannot fetch from",
    ),
    "mini_supervisely": DataSet(
        task="portraits",
        about="people: a part of Supervisely Person, as PaddleSeg packs it",
        paper="Supervisely Person Dataset (2018)",
        licence="Supervisely Person: non-commercial",
        page="https://github.com/PaddlePaddle/PaddleSeg/tree/release/2.8/contrib/PP-HumanSeg",
        archives=(
            Archive(
                "mini_supervisely.zip",
                (Address("https://paddleseg.bj.bcebos.com/humanseg/data/mini_supervisely.zip"),),
            ),
        ),
        parts=tuple(Part((name,), None, listed=f"{name}.txt") for name in ("train", "val", "test")),
        script="RGB/Portrait/supervisely.sh",
        max_bytes=4 * GIB,
    ),
    "synthetic_disc": DataSet(
        task="optic disc",
        about="drawn fundus photographs, for trials without any download",
        paper="drawn by this project; the same seed gives the same images",
        licence="Apache-2.0",
        page="https://github.com/PaddlePaddle/PaddleSeg",
        archives=(),
        parts=tuple(Part((name,), pairs) for name, pairs in (("train", 42), ("val", 12), ("test", 6))),
        script="RGB/MICCAI2021/synthetic_disc.sh",
        size="nothing to fetch",
    ),
}
