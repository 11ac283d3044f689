"""AVE: 28 events one can both see and hear, 4,143 clips of 10 s from AudioSet.

Where to get it: https://sites.google.com/view/audiovisualresearch, whose
archive AVE_Dataset.zip is linked in
https://github.com/YapengTian/AVE-ECCV18.

The folder it expects, as the archive unpacks:

  <data_dir>/Annotations.txt
  <data_dir>/trainSet.txt
  <data_dir>/valSet.txt
  <data_dir>/testSet.txt
  <data_dir>/AVE/RUhOCu3LNXM.mp4

Lists: `Category&VideoID&Quality&StartTime&EndTime`; Annotations.txt holds
all clips, with a header or without, the others those of one split. Splits:
train (3,339 clips), validation (402, valSet.txt) and test (402). A clip is
the whole video. Its event, for localisation, lasts from StartTime to just
before EndTime, in seconds, as Annotations.txt has them; where both are the
same, as in one line of the published list, the clip has none.

Video ids repeat, mostly with other categories. Each line of the lists is a
clip of its own: the first of an id is called by the id, the next id-2,
id-3, counted in Annotations.txt. The authors of OGM-GE keep a video once,
under the last of its lines, so their numbers of clips are a little smaller.

Classes: the 28 categories in the order in which they first appear in
Annotations.txt.

A clip whose video is not there is listed as missing.

Preset: launchers/presets/ave.flags, to classify whole clips (257 x 1004,
three frames); launchers/presets/ave_segments.flags, for launchers.extract
(log-mel sound and four frames of each second).
"""

import collections

from input_pipelines import files
from input_pipelines.datasets import layouts
from input_pipelines.listing import Listing

ANNOTATIONS = "Annotations.txt"
LISTS = {"train": "trainSet.txt", "validation": "valSet.txt", "test": "testSet.txt"}
SUFFIXES = (".mp4",)
EXPECTED = f"{ANNOTATIONS}, {', '.join(LISTS.values())} and AVE/<VideoID>.mp4"


def list_clips(data_dir: files.Path, fold: int | None = None) -> Listing:
    """Lists the clips.

    Args:
      data_dir: Folder described above.
      fold: None; there are no folds.

    Raises:
      FileNotFoundError: where the folder, a list or all media are missing.
      ValueError: where a list has a wrong line, or a video more often than Annotations.txt.
    """
    layouts.refuse_fold(fold, "AVE")
    root = layouts.find_root(data_dir, EXPECTED)
    class_names = {}
    times_seen = collections.Counter()
    unlisted = collections.defaultdict(list)
    for _, fields in _read(root, ANNOTATIONS):
        category, video_id = fields[:2]
        class_names[category] = True
        times_seen[video_id] += 1
        number = times_seen[video_id]
        clip_id = video_id if number == 1 else f"{video_id}-{number}"
        unlisted[category, video_id].append((clip_id, fields))
    videos = layouts.find_media(files.join(root, "AVE"), SUFFIXES)
    builder = layouts.ListingBuilder(root, EXPECTED)
    for split, name in LISTS.items():
        for place, fields in _read(root, name):
            category, video_id = fields[:2]
            candidates = unlisted[category, video_id]
            if not candidates:
                raise ValueError(
                    f"A video and its category must be in {ANNOTATIONS}, as often as in the lists. "
                    f"Received: {place}: {'&'.join(fields)!r}."
                )
            # Its own line if it is there; times alone make no other clip, for all see the whole
            # video.
            chosen = next((c for c in candidates if c[1] == fields), candidates[0])
            candidates.remove(chosen)
            path = videos.get(video_id)
            reason = "" if path else f"no AVE/{video_id}.mp4"
            event_s = _event_s(*chosen)
            builder.add(place, chosen[0], split, category, {"path": path}, reason, event_s=event_s)
    return builder.build(class_names)


def _event_s(clip_id: str, fields: tuple[str, ...]) -> tuple[float, float] | tuple[None, None]:
    """Returns when the event of a line of Annotations.txt begins and ends; two None for none."""
    times = fields[3:]
    if not all(time.isdecimal() for time in times) or int(times[0]) > int(times[1]):
        raise ValueError(
            "An event must be from StartTime to an EndTime that is not before it, in whole "
            f"seconds. Received: {'&'.join(fields)!r} in {ANNOTATIONS}, clip_id={clip_id!r}."
        )
    start_s, end_s = map(float, times)
    return (start_s, end_s) if start_s < end_s else (None, None)


def _read(root: str, name: str) -> list[tuple[str, tuple[str, ...]]]:
    """Returns place and fields of each line but a header."""
    rows = []
    for number, line in layouts.read_lines(root, name):
        fields = tuple(field.strip() for field in line.split("&"))
        if fields[:2] == ("Category", "VideoID"):
            continue
        place = f"{name}, line {number}"
        if len(fields) != 5 or not all(fields):
            raise ValueError(
                "A line must be `Category&VideoID&Quality&StartTime&EndTime`. "
                f"Received: {place}: {line!r}."
            )
        rows.append((place, fields))
    return rows
