"""The published layout of each head, read by numpy: what the relay's decoders are held against.

Usage: heads.py DIRECTORY

Makes boxes by chance, writes them into DIRECTORY in the layout of each head, as little-endian float32 (NAME.bin), and prints
one JSON object: of each head its shape and what is to be found in it, rows of x0, y0, x1, y1, score, class, the best first.
Written after ultralytics' own post-processing (yolov5: non_max_suppression of utils/general.py; yolov8, v9, 11, 12 and the
end-to-end ones: non_max_suppression of ultralytics/utils/ops.py), and sharing nothing with the relay.
"""
import json
import sys
from pathlib import Path

import numpy as np

CONF, IOU, CLASSES, BOXES = 0.25, 0.45, 7, 1200


def corners(boxes):
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def suppressed(boxes, score, kind):
    """Class-aware suppression, as upstream: boxes of different classes are moved apart."""
    order = np.argsort(-score, kind="stable")
    boxes, score, kind = boxes[order], score[order], kind[order]
    apart = boxes.astype(np.float64) + kind[:, None] * 7680.0
    area = (apart[:, 2] - apart[:, 0]) * (apart[:, 3] - apart[:, 1])
    alive, kept = np.ones(len(boxes), bool), []
    for n in range(len(boxes)):
        if not alive[n]:
            continue
        kept.append(n)
        low, high = np.maximum(apart[n, :2], apart[:, :2]), np.minimum(apart[n, 2:], apart[:, 2:])
        both = np.clip(high - low, 0, None).prod(1)
        alive &= both / (area[n] + area - both) <= IOU
    return np.column_stack([boxes[kept], score[kept], kind[kept]])


def yolov5(output):
    rows = output[0]
    rows = rows[rows[:, 4] > CONF]
    scores = rows[:, 5:] * rows[:, 4:5]
    kind, score = scores.argmax(1), scores.max(1)
    good = score > CONF
    return suppressed(corners(rows[good, :4]), score[good], kind[good])


def anchor_free(output):
    rows = output[0].T
    kind, score = rows[:, 4:].argmax(1), rows[:, 4:].max(1)
    good = score > CONF
    return suppressed(corners(rows[good, :4]), score[good], kind[good])


def end_to_end(output):
    rows = output[0]
    rows = rows[rows[:, 4] > CONF]
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def main():
    directory = Path(sys.argv[1])
    chance = np.random.default_rng(13)
    objects = chance.uniform([40, 40, 30, 30], [600, 600, 200, 200], (40, 4))
    boxes = objects[chance.integers(0, 40, BOXES)] + chance.normal(0, 8, (BOXES, 4))
    objectness = chance.uniform(0, 1, (BOXES, 1))
    scores = chance.uniform(0, 1, (BOXES, CLASSES)) ** 2
    kinds = chance.integers(0, CLASSES, (300, 1))
    found = np.concatenate([corners(boxes[:300]), objectness[:300] * (objectness[:300] > 0.1), kinds], 1)
    outputs = {
        "yolov5": (np.concatenate([boxes, objectness, scores], 1)[None], yolov5),
        "anchor_free": (np.concatenate([boxes, objectness * scores], 1).T[None], anchor_free),
        "end_to_end": (found[None], end_to_end),
    }
    result = {}
    for name, (output, decode) in outputs.items():
        output = np.ascontiguousarray(output, dtype="<f4")
        output.tofile(directory / f"{name}.bin")
        result[name] = {"shape": output.shape, "found": decode(output).tolist()}
    print(json.dumps(result))


main()
