#!/usr/bin/env python3
"""Publishes pictures of your own program as a camera. Needs numpy and opencv-python.

    python3 publish.py 127.0.0.1:8081                               # plain datagrams: the camera is called cam1, cam2, ..
    python3 publish.py 'sightline://relay.example:8081/?token=..'   # with a sender's ticket, through pi-sender on the PATH
"""
import socket, subprocess, sys, time
import cv2, numpy as np


def pictures():
    """Yields pictures, 10 a second: put your own here."""
    for n in range(10**9):
        picture = np.full((200, 300, 3), 60, np.uint8)
        cv2.circle(picture, (20 + 5 * n % 260, 100), 20, (0, 200, 255), -1)
        yield picture
        time.sleep(0.1)


def udp(address):
    """Returns a function that sends one JPEG as one datagram: 65507 bytes at most, and 15000 or less arrive best."""
    host, _, port = address.rpartition(":")
    relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    relay.connect((host, int(port)))
    return relay.send


def ticket(server):
    """Returns a function that writes JPEGs back to back to pi-sender, which sends them by QUIC."""
    sender = subprocess.Popen(["pi-sender", "--server", server, "--source", "-", "--camera", "numpy"], stdin=subprocess.PIPE)

    def send(jpeg):
        sender.stdin.write(jpeg)
        sender.stdin.flush()

    return send


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8081"
    send = ticket(server) if server.startswith("sightline://") else udp(server)
    for picture in pictures():
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
        try:
            send(jpeg.tobytes())
        except ConnectionRefusedError:
            pass  # no relay listens there yet
