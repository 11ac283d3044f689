import pytest

from input_pipelines.datasets import crema_d
from input_pipelines.listing import Clip
from tests.input_pipelines.datasets.imitations import brief, write

TRAIN = "\ufeff1001_DFA_ANG_XX,ANG\r\n1088_IOM_NEU_XX,NEU\r\n\r\n1002_IEO_HAP_LO,HAP\r\n"
TEST = "1003_TSI_SAD_XX,SAD\r\n"


def _media(folder, *clip_ids):
    for clip_id in clip_ids:
        write(folder, f"VideoFlash/{clip_id}.flv")
        write(folder, f"AudioWAV/{clip_id}.wav")


def test_the_authors_lists(tmp_path):
    write(tmp_path, "train.csv", TRAIN)
    write(tmp_path, "test.csv", TEST)
    write(tmp_path, "stat.csv", "\ufeffNEU\r\nHAP\r\nSAD\r\nFEA\r\nDIS\r\nANG\r\n")
    _media(tmp_path, "1001_DFA_ANG_XX", "1003_TSI_SAD_XX", "1009_TSI_SAD_XX")
    write(tmp_path, "VideoFlash/1088_IOM_NEU_XX.flv")
    listing = crema_d.list_clips(tmp_path)
    assert listing.root == str(tmp_path)
    assert listing.class_names == ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    assert listing.clips == (
        Clip(
            "1001_DFA_ANG_XX", "train", "ANG",
            f"{tmp_path}/VideoFlash/1001_DFA_ANG_XX.flv",
            f"{tmp_path}/AudioWAV/1001_DFA_ANG_XX.wav",
        ),
        Clip(
            "1003_TSI_SAD_XX", "test", "SAD",
            f"{tmp_path}/VideoFlash/1003_TSI_SAD_XX.flv",
            f"{tmp_path}/AudioWAV/1003_TSI_SAD_XX.wav",
        ),
    )  # fmt: skip
    assert [(m["clip_id"], m["split"], m["reason"]) for m in listing.missing] == [
        ("1088_IOM_NEU_XX", "train", "no AudioWAV/1088_IOM_NEU_XX.wav"),
        ("1002_IEO_HAP_LO", "train",
         "no VideoFlash/1002_IEO_HAP_LO.flv and no AudioWAV/1002_IEO_HAP_LO.wav"),
    ]  # fmt: skip


def test_the_original_layout_without_lists(tmp_path):
    names = [f"{actor}_DFA_{e}_XX" for actor in range(1001, 1011) for e in crema_d.CLASS_NAMES]
    _media(tmp_path, *names, "holiday")
    (tmp_path / "AudioWAV/1001_DFA_NEU_XX.wav").unlink()
    listing = crema_d.list_clips(tmp_path)
    clips = brief(listing)
    assert clips["1004_DFA_FEA_XX"][1:] == ("FEA", "VideoFlash/1004_DFA_FEA_XX.flv")
    assert {m["clip_id"]: m["reason"] for m in listing.missing} == {
        "1001_DFA_NEU_XX": "no AudioWAV/1001_DFA_NEU_XX.wav",
        "holiday": "the name is not actor_sentence_emotion_level",
    }
    num_test = sum(split == "test" for split, *_ in clips.values())
    assert len(clips) == 59 and 1 <= num_test <= 15
    # Another clip moves none of the others.
    _media(tmp_path, "1011_DFA_ANG_XX")
    assert brief(crema_d.list_clips(tmp_path)).items() >= clips.items()


@pytest.mark.parametrize(
    ("train", "test", "error", "message"),
    [
        (TRAIN, None, FileNotFoundError, "must hold test.csv. Received"),
        (TRAIN, TRAIN, ValueError,
         "train.csv, line 1 and test.csv, line 1 .* Received: clip_id='1001_DFA_ANG_XX'"),
        (TRAIN + "x,BAD\r\n", TEST, ValueError, r"Received: train.csv, line 5: \['x', 'BAD'\]"),
        (TRAIN, "1003_TSI_SAD_XX\r\n", ValueError, "Received: test.csv, line 1"),
        ("", "\r\n", ValueError, "must name clips; expected VideoFlash"),
        ("1_A_NEU_XX,NEU", TEST, FileNotFoundError,
         "None of the 2 .*'1_A_NEU_XX' .*expected VideoFlash/<clip>.flv and .* Received: data_dir"),
    ],
)  # fmt: skip
def test_wrong_folders(train, test, error, message, tmp_path):
    for name, text in (("train.csv", train), ("test.csv", test)):
        if text is not None:
            write(tmp_path, name, text)
    if "1_A" not in train:
        _media(tmp_path, "1001_DFA_ANG_XX")
    with pytest.raises(error, match=message):
        crema_d.list_clips(tmp_path)
