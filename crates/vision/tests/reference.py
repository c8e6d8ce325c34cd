"""The tutorial's way of finding objects, in numpy: what the relay's detector is held against.

Usage: reference.py MODEL FRAMES LABELS WIDTH HEIGHT

Runs YOLOv5 at WIDTHxHEIGHT over the JPEGs in FRAMES and prints AP50-95 and AP50 against the YOLO labels in LABELS, as one
JSON object. Written after the formulas of ultralytics/yolov5 and of COCO, and sharing nothing with the relay.
"""
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

CONF, IOU, MOST = 0.001, 0.45, 100


def letterbox(image, width, height):
    gain = min(width / image.shape[1], height / image.shape[0])
    inner = round(image.shape[1] * gain), round(image.shape[0] * gain)
    x, y = (width - inner[0]) / 2, (height - inner[1]) / 2
    if inner != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    left, right = round(x - 0.1), round(x + 0.1)
    top, bottom = round(y - 0.1), round(y + 0.1)
    grey = (114, 114, 114)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)


def overlaps(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return both / (area(box) + area(boxes) - both + 1e-12)


def detect(session, image, width, height):
    """Rows of x0, y0, x1, y1 in shares of the picture, score, class; the best first."""
    blob = letterbox(image, width, height)[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    rows = session.run(None, {session.get_inputs()[0].name: blob})[0][0]
    rows = rows[rows[:, 4] > CONF]
    kind = rows[:, 5:].argmax(1)
    score = rows[:, 5:].max(1) * rows[:, 4]
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    order = [n for n in np.argsort(-score, kind="stable") if score[n] > CONF]
    kept = []
    while order and len(kept) < MOST:
        best, *order = order
        kept.append(best)
        if order:
            rest = np.array(order)
            covered = (kind[rest] == kind[best]) & (overlaps(boxes[best], boxes[rest]) > IOU)
            order = list(rest[~covered])
    h, w = image.shape[:2]
    gain = min(width / w, height / h)
    pad = np.array([(width - w * gain) / 2, (height - h * gain) / 2] * 2)
    shares = np.clip((boxes[kept] - pad) / gain / [w, h, w, h], 0, 1)
    return np.column_stack([shares, score[kept], kind[kept]])


def average_precision(truth, found, kind, iou):
    """Truth and found are lists of arrays, one a picture: COCO's area under 101 points of recall."""
    positives = sum(int((t[:, 4] == kind).sum()) for t in truth)
    guesses = [(row[4], n, row[:4]) for n, rows in enumerate(found) for row in rows if row[5] == kind]
    guesses.sort(key=lambda guess: -guess[0])
    free = [t[t[:, 4] == kind][:, :4] for t in truth]
    taken = [np.zeros(len(t), bool) for t in free]
    hits = []
    for _, n, box in guesses:
        each = np.where(taken[n], -1, overlaps(box, free[n])) if len(free[n]) else np.array([-1.0])
        hits.append(each.max() >= iou)
        if hits[-1]:
            taken[n][each.argmax()] = True
    if not hits:
        return 0.0
    right = np.cumsum(hits)
    recall, precision = right / positives, right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[p] if p < len(precision) else 0.0 for p in places]))


def labels(file):
    rows = [list(map(float, line.split())) for line in file.read_text().splitlines()] if file.exists() else []
    rows = np.array(rows).reshape(-1, 5)
    kind, centre, side = rows[:, :1], rows[:, 1:3], rows[:, 3:]
    return np.concatenate([centre - side / 2, centre + side / 2, kind], 1)


def main():
    model, frames, truth, width, height = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    files = sorted(Path(frames).iterdir())
    found = [detect(session, cv2.imread(str(file)), int(width), int(height)) for file in files]
    truth = [labels(Path(truth) / f"{file.stem}.txt") for file in files]
    kinds = sorted({kind for rows in truth for kind in rows[:, 4]})
    at = lambda iou: np.mean([average_precision(truth, found, kind, iou) for kind in kinds])
    print(json.dumps({"mean": np.mean([at(n / 100) for n in range(50, 100, 5)]), "half": at(0.5)}))


main()
