#!/usr/bin/env python3
"""Publishes pictures of your own program as a camera. Needs numpy and opencv-python.

    python3 publish.py http://127.0.0.1:8080                        # by HTTP, as the camera numpy
    python3 publish.py https://cam.example TOKEN                    # at a private relay: the token of a sender's ticket
    python3 publish.py 127.0.0.1:8081                               # plain datagrams: the camera is called cam1, cam2, ..
    python3 publish.py 'sightline://relay.example:8081/?token=..'   # with a sender's ticket, through pi-sender on the PATH
"""
import http.client, json, socket, subprocess, sys, time, urllib.parse
import cv2, numpy as np


def pictures():
    """Yields pictures, 10 a second: put your own here."""
    for n in range(10**9):
        picture = np.full((200, 300, 3), 60, np.uint8)
        cv2.circle(picture, (20 + 5 * n % 260, 100), 20, (0, 200, 255), -1)
        yield picture
        time.sleep(0.1)


def by_http(url, token=None, camera="numpy"):
    """Returns a function that posts one JPEG and waits for the relay's answer, over one connection."""
    url = urllib.parse.urlsplit(url)
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    relay = connect(url.netloc, timeout=10)
    headers = {"Authorization": "Bearer " + token} if token else {}

    def send(jpeg):
        try:
            relay.request("POST", f"/cam/{urllib.parse.quote(camera)}/frame", jpeg, headers)
            answer = relay.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as why:
            relay.close()  # the next frame connects again
            print("no answer:", why, file=sys.stderr)
            time.sleep(1)
            return
        if answer.status != 204:  # the cause and the cure, for example another camera of that name
            print(answer.status, json.loads(body)["message"], file=sys.stderr)

    return send


def udp(address):
    """Returns a function that sends one JPEG as one datagram: 65507 bytes at most, and 15000 or less arrive best."""
    host, _, port = address.rpartition(":")
    relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    relay.connect((host, int(port)))

    def send(jpeg):
        try:
            relay.send(jpeg)
        except ConnectionRefusedError:
            pass  # no relay listens there yet

    return send


def ticket(server):
    """Returns a function that writes JPEGs back to back to pi-sender, which sends them by QUIC."""
    sender = subprocess.Popen(["pi-sender", "--server", server, "--source", "-", "--camera", "numpy"], stdin=subprocess.PIPE)

    def send(jpeg):
        sender.stdin.write(jpeg)
        sender.stdin.flush()

    return send


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    ways = {"http": by_http, "https": by_http, "sightline": ticket}
    send = ways.get(server.split("://")[0], udp)(server, *sys.argv[2:])
    for picture in pictures():
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
        send(jpeg.tobytes())
