#!/usr/bin/env python3
"""Frames of a camera as numpy arrays, each with its boxes in pixels. Needs numpy and opencv-python.

    python3 frames.py http://127.0.0.1:8080/cam/yard
    SIGHTLINE_TOKEN=.. python3 frames.py ..             # of a private relay: the token of a viewer's ticket
"""
import json, os, sys, threading, urllib.request
import cv2, numpy as np


def get(url):
    token = os.environ.get("SIGHTLINE_TOKEN")
    return urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {}))


def read_jpegs(url, jpegs):
    stream = get(url)
    for line in stream:
        if line.startswith(b"Content-Length:"):
            length = int(line.split()[1])
        elif line.startswith(b"X-Timestamp:"):
            stream.readline()
            jpegs[float(line.split()[1])] = stream.read(length)
            for old in sorted(jpegs)[:-50]:
                jpegs.pop(old, None)


def frames(camera):
    """Yields (picture, [(label, score, (x0, y0, x1, y1)), ..]); a frame's boxes come some milliseconds after the frame."""
    jpegs = {}  # by time of capture, which the boxes have too
    threading.Thread(target=read_jpegs, args=(camera + "/stream.mjpg", jpegs), daemon=True).start()
    for line in get(camera + "/detections"):
        message = json.loads(line[6:]) if line.startswith(b"data: ") else {}
        if message.get("kind") != "tracked" or not (jpeg := jpegs.pop(message["t"], None)):
            continue
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        pixels = [width, height, width, height]
        yield picture, [(d["label"], d["score"], tuple(round(share * size) for share, size in zip(d["box"], pixels)))
                        for d in message["detections"]]


if __name__ == "__main__":
    for picture, boxes in frames(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/cam/yard"):
        print(picture.shape, boxes, flush=True)
