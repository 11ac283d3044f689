import pytest

from input_pipelines.datasets import ucf101
from tests.input_pipelines.datasets.imitations import write

EYE, HAND = "v_ApplyEyeMakeup_g08_c01", "v_HandStandPushups_g01_c01"


def _folder(folder, train=None, test=None):
    lists = "ucfTrainTestlist"
    write(folder, f"{lists}/classInd.txt", "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n")
    write(
        folder,
        f"{lists}/trainlist01.txt",
        train or f"ApplyEyeMakeup/{EYE}.avi 1\r\nHandstandPushups/{HAND}.avi 2\r\n",
    )
    write(folder, f"{lists}/testlist01.txt", test or "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")
    write(folder, f"{lists}/trainlist02.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n")
    write(folder, f"{lists}/testlist02.txt", f"\nHandstandPushups/{HAND}.avi\n")
    write(folder, f"UCF-101/ApplyEyeMakeup/{EYE}.avi")
    write(folder, f"jpegs_256/{EYE}/frame000001.jpg")
    write(folder, "jpegs_256/v_HandstandPushups_g01_c01/frame000001.jpg")
    for direction in "uv":
        write(folder, f"tvl1_flow/{direction}/{EYE}/frame000001.jpg")
        write(folder, f"tvl1_flow/{direction}/v_HandstandPushups_g01_c01/frame000001.jpg")
    write(folder, "tvl1_flow/u/v_ApplyEyeMakeup_g01_c01/frame000001.jpg")


def test_pictures_and_flow(tmp_path):
    _folder(tmp_path)
    listing = ucf101.list_clips(tmp_path)
    assert listing.class_names == ("ApplyEyeMakeup", "HandstandPushups")
    eye, hand = listing.clips
    assert (eye.clip_id, eye.split, eye.label, eye.audio_path) == (
        EYE, "train", "ApplyEyeMakeup", None,
    )  # fmt: skip
    assert eye.path == f"{tmp_path}/UCF-101/ApplyEyeMakeup/{EYE}.avi"
    assert eye.flow_x_path == f"{tmp_path}/tvl1_flow/u/{EYE}"
    assert eye.flow_y_path == f"{tmp_path}/tvl1_flow/v/{EYE}"
    # Frames and flow spell this class in another way than the videos.
    assert (hand.clip_id, hand.label) == (HAND, "HandstandPushups")
    assert hand.path == f"{tmp_path}/jpegs_256/v_HandstandPushups_g01_c01"
    assert hand.flow_y_path == f"{tmp_path}/tvl1_flow/v/v_HandstandPushups_g01_c01"
    assert listing.missing == (
        {
            "clip_id": "v_ApplyEyeMakeup_g01_c01",
            "split": "test",
            "reason": "no pictures and no vertical flow of v_ApplyEyeMakeup_g01_c01",
        },
    )


def test_folds_are_lists(tmp_path):
    _folder(tmp_path)
    listing = ucf101.list_clips(tmp_path, fold=2)
    assert [(clip.clip_id, clip.split) for clip in listing.clips] == [(HAND, "test")]
    with pytest.raises(FileNotFoundError, match="ucfTrainTestlist/trainlist03.txt. Received"):
        ucf101.list_clips(tmp_path, fold=3)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (f"ApplyEyeMakeup/{EYE}.avi 2\n", None, "Received: .*trainlist01.txt, line 1: 'ApplyEye"),
        (f"ApplyEyeMakeup/{EYE}.avi 0\n", None, "Received: .*trainlist01.txt, line 1: 'ApplyEye"),
        (None, f"Cooking/{EYE}.avi", "Received: .*testlist01.txt, line 1: 'Cooking"),
        (None, f"{EYE}.avi", "Received: .*testlist01.txt, line 1: 'v_Apply"),
        (None, f"ApplyEyeMakeup/{EYE}.avi",
         f"trainlist01.txt, line 1 and .*testlist01.txt, line 1 .* Received: clip_id='{EYE}'"),
    ],
)  # fmt: skip
def test_wrong_lines(train, test, message, tmp_path):
    _folder(tmp_path, train, test)
    with pytest.raises(ValueError, match=message):
        ucf101.list_clips(tmp_path)
