"""Kinetics-Sounds, VGGSound and AVE: clips of YouTube, whose ids hold anything."""

import pytest

from input_pipelines.datasets import ave, kinetics_sounds, vggsound
from tests.input_pipelines.datasets.imitations import brief, write

KS_TRAIN = (
    "T_-_H1ZgyVo_000019_000029,10,6\r\n"
    "-EH4nHV5w8a_000001_000011,10,23\r\n"
    "T0tp5iSw_5c_000155_000165,10,9\r\n"
)
KS_TEST = "y5ixvmQiz_k_158,10,27\r\ny_50Y7OoubU_81,10,30\r\nzoD9MQHpGlg_0,10,0\r\n"


def _kinetics(folder, train=KS_TRAIN, test=KS_TEST):
    write(folder, "my_train.txt", train)
    write(folder, "my_test.txt", test)
    for name in (
        "train/T_-_H1ZgyVo_000019_000029.mp4",
        "train/T_-_H1ZgyVo_000019_000029.webm",
        "train/shoveling snow/-EH4nHV5w8a_1.mkv",
        "y5ixvmQiz_k_158.avi",
        "test/y_50Y7OoubU_000081_000091.mp4",
        "test/notes.txt",
    ):
        write(folder, name)


def test_kinetics_sounds(tmp_path):
    _kinetics(tmp_path)
    listing = kinetics_sounds.list_clips(tmp_path)
    assert brief(listing) == {
        "T_-_H1ZgyVo_000019_000029": (
            "train", "mowing lawn", "train/T_-_H1ZgyVo_000019_000029.mp4",
        ),
        "-EH4nHV5w8a_000001_000011": (
            "train", "shoveling snow", "train/shoveling snow/-EH4nHV5w8a_1.mkv",
        ),
        "y5ixvmQiz_k_158": ("test", "tap dancing", "y5ixvmQiz_k_158.avi"),
        "y_50Y7OoubU_81": ("test", "tickling", "test/y_50Y7OoubU_000081_000091.mp4"),
    }  # fmt: skip
    assert listing.clips[0].audio_path is None
    assert [(m["clip_id"], m["split"]) for m in listing.missing] == [
        ("T0tp5iSw_5c_000155_000165", "train"), ("zoD9MQHpGlg_0", "test"),
    ]  # fmt: skip
    assert "no zoD9MQHpGlg_0 or zoD9MQHpGlg_000000_000010 with .mp4" in listing.missing[1]["reason"]
    names = listing.class_names
    assert len(names) == 31 and list(names) == sorted(names)
    assert (names[0], names[16], names[30]) == ("blowing nose", "playing piano", "tickling")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T1D59VhuigY_000000_000010,10,31", "from 0 to 30. Received: my_train.txt, line 4: "),
        ("T1D59VhuigY_000000_000010,10,-1", "from 0 to 30. Received: my_train.txt, line 4: "),
        ("T1D59VhuigY_000000_000010 10 3", "from 0 to 30. Received: my_train.txt, line 4: "),
        ("T0tp5iSw_5c_000155_000165,10,9",
         "my_train.txt, line 3 and my_train.txt, line 4 .* Received: clip_id='T0tp5iSw_5c_"),
    ],
)  # fmt: skip
def test_kinetics_sounds_wrong_lines(line, message, tmp_path):
    _kinetics(tmp_path, KS_TRAIN + line + "\r\n")
    with pytest.raises(ValueError, match=message):
        kinetics_sounds.list_clips(tmp_path)


VGG = (
    "---g-f_I2yQ,1,people marching,test\n"
    "--0PQM4-hqg,30,waterfall burbling,train\n"
    '-_Qpw_aKDBE,150,"bird chirping, tweeting",train\n'
    '-_Qpw_aKDBE,50,"bird chirping, tweeting",test\n'
    "0_aBcDeFgHi,0,people marching,train\n"
    "zzzzzzzzzzz,8,people marching,train\n"
)


def test_vggsound(tmp_path):
    write(tmp_path, "vggsound.csv", VGG)
    for name in (
        "video/---g-f_I2yQ_000001.mp4",
        "--0PQM4-hqg_30.mp4",
        "-_Qpw_aKDBE_150000_160000.webm",
        "video/-_Qpw_aKDBE_50.mp4",
        "video/train/0_aBcDeFgHi_0_10000.mp4",
        "video/zzzzzzzzzzz_80.mp4",
    ):
        write(tmp_path, name)
    listing = vggsound.list_clips(tmp_path)
    assert brief(listing) == {
        "---g-f_I2yQ_000001": ("test", "people marching", "video/---g-f_I2yQ_000001.mp4"),
        "--0PQM4-hqg_000030": ("train", "waterfall burbling", "--0PQM4-hqg_30.mp4"),
        "-_Qpw_aKDBE_000150": (
            "train", "bird chirping, tweeting", "-_Qpw_aKDBE_150000_160000.webm",
        ),
        "-_Qpw_aKDBE_000050": ("test", "bird chirping, tweeting", "video/-_Qpw_aKDBE_50.mp4"),
        "0_aBcDeFgHi_000000": ("train", "people marching", "video/train/0_aBcDeFgHi_0_10000.mp4"),
    }  # fmt: skip
    assert [(m["clip_id"], m["split"]) for m in listing.missing] == [
        ("zzzzzzzzzzz_000008", "train")
    ]
    # Of the train rows, although a test row comes first.
    assert listing.class_names == (
        "waterfall burbling", "bird chirping, tweeting", "people marching",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("aaaaaaaaaaa,3,bird chirping, tweeting,train", "in quotes.* Received: vggsound.csv, line"),
        ("aaaaaaaaaaa,3,bird,validation", "train or test. Received: vggsound.csv, line 7"),
        ("aaaaaaaaaaa,3.5,bird,train", "Received: vggsound.csv, line 7"),
        ("aaaaaaaaaaa,3,bird,test", "one of train. Received: vggsound.csv, line 7: label='bird'"),
    ],
)
def test_vggsound_wrong_lines(line, message, tmp_path):
    write(tmp_path, "vggsound.csv", VGG + line + "\n")
    write(tmp_path, "--0PQM4-hqg_30.mp4")
    with pytest.raises(ValueError, match=message):
        vggsound.list_clips(tmp_path)


def test_vggsound_lists_a_repeated_line_as_missing(tmp_path):
    write(tmp_path, "vggsound.csv", VGG + "--0PQM4-hqg,30,people marching,train\n")
    write(tmp_path, "--0PQM4-hqg_30.mp4")
    listing = vggsound.list_clips(tmp_path)
    assert [(clip.clip_id, clip.label) for clip in listing.clips] == [
        ("--0PQM4-hqg_000030", "waterfall burbling")
    ]
    assert listing.missing[-1] == {
        "clip_id": "--0PQM4-hqg_000030",
        "split": "train",
        "reason": "vggsound.csv, line 7 lists the clip of vggsound.csv, line 2 again",
    }


HEADER = "Category&VideoID&Quality&StartTime&EndTime\r\n"
CHURCH = "Church bell&RUhOCu3LNXM&good&0&10\r\n"
SPEECH = "Male speech, man speaking&-hChcJAh5N0&good&5&10\r\n"
BARK = "Bark&-hChcJAh5N0&good&0&4\r\n"
BARK_AGAIN = "Bark&-hChcJAh5N0&good&6&8\r\n"
CAT = "Cat&E_1Asfq8it4&good&0&3\r\n"


def _ave(folder, train, validation, test, annotations=HEADER + CHURCH + SPEECH + BARK + BARK_AGAIN):
    write(folder, "Annotations.txt", annotations + CAT)
    write(folder, "trainSet.txt", train)
    write(folder, "valSet.txt", validation)
    write(folder, "testSet.txt", test)
    for video_id in ("RUhOCu3LNXM", "-hChcJAh5N0"):
        write(folder, f"AVE/{video_id}.mp4")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ave(mark, tmp_path):
    annotations = mark + HEADER + CHURCH + SPEECH + BARK + BARK_AGAIN
    _ave(tmp_path, BARK_AGAIN + CHURCH, CAT, mark + SPEECH + BARK, annotations)
    listing = ave.list_clips(tmp_path)
    # Clips are counted in Annotations.txt, not in the lists.
    assert brief(listing) == {
        "-hChcJAh5N0-3": ("train", "Bark", "AVE/-hChcJAh5N0.mp4"),
        "RUhOCu3LNXM": ("train", "Church bell", "AVE/RUhOCu3LNXM.mp4"),
        "-hChcJAh5N0": ("test", "Male speech, man speaking", "AVE/-hChcJAh5N0.mp4"),
        "-hChcJAh5N0-2": ("test", "Bark", "AVE/-hChcJAh5N0.mp4"),
    }
    assert listing.missing == (
        {"clip_id": "E_1Asfq8it4", "split": "validation", "reason": "no AVE/E_1Asfq8it4.mp4"},
    )
    assert listing.class_names == ("Church bell", "Male speech, man speaking", "Bark", "Cat")
    assert [(clip.start_s, clip.end_s) for clip in listing.clips] == [(None, None)] * 4
    # The event is that of the clip's own line, of several of one video.
    assert [(clip.event_start_s, clip.event_end_s) for clip in listing.clips] == [
        (6.0, 8.0), (0.0, 10.0), (5.0, 10.0), (0.0, 4.0),
    ]  # fmt: skip


def test_an_ave_clip_whose_event_takes_no_time_has_none(tmp_path):
    silent = "Bark&-hChcJAh5N0&good&0&0\n"
    _ave(tmp_path, silent, CHURCH, SPEECH, HEADER + CHURCH + SPEECH + silent)
    clip, *others = ave.list_clips(tmp_path).clips
    assert (clip.clip_id, clip.label) == ("-hChcJAh5N0-2", "Bark")
    assert (clip.event_start_s, clip.event_end_s) == (None, None)
    assert [(other.event_start_s, other.event_end_s) for other in others] == [(0, 10), (5, 10)]


@pytest.mark.parametrize("times", ["4&3", "0.5&3", "-1&3", "start&3"])
def test_ave_times_that_are_no_event(times, tmp_path):
    line = f"Bark&-hChcJAh5N0&good&{times}\n"
    _ave(tmp_path, line, CHURCH, SPEECH, CHURCH + SPEECH + line)
    with pytest.raises(ValueError, match=f"not before it.* Received: '{line.strip()}' in Annot"):
        ave.list_clips(tmp_path)


def test_ave_annotations_without_a_header_and_equal_lines(tmp_path):
    _ave(tmp_path, BARK, "", BARK + "Bark&-hChcJAh5N0&good&1&2\n", BARK * 3)
    assert brief(ave.list_clips(tmp_path)).keys() == {
        "-hChcJAh5N0", "-hChcJAh5N0-2", "-hChcJAh5N0-3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (CHURCH, "as often as in the lists. Received: testSet.txt, line 1: 'Church bell&RUhO"),
        (HEADER + "Bark&nowhere&good&0&10\n", "Annotations.txt.* Received: testSet.txt, line 2"),
        ("Bark,E_1Asfq8it4\n", "Category&VideoID.* Received: testSet.txt, line 1"),
    ],
)
def test_ave_wrong_lines(test, message, tmp_path):
    _ave(tmp_path, CHURCH, SPEECH, test)
    with pytest.raises(ValueError, match=message):
        ave.list_clips(tmp_path)
