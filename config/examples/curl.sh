#!/bin/sh
# What the relay's HTTP server answers: ./curl.sh [RELAY [CAMERA]]. Of a private relay: SIGHTLINE_TOKEN=.. ./curl.sh ..
set -eu
relay=${1:-http://127.0.0.1:8080}
camera=${2:-yard}
get() { curl -sSf ${SIGHTLINE_TOKEN:+-H "Authorization: Bearer $SIGHTLINE_TOKEN"} "$@"; }

echo "Cameras:"
get "$relay/api/cameras"
echo

echo "A picture, one with boxes, and a small one: $camera.jpg, $camera-boxes.jpg, $camera-small.jpg"
get -o "$camera.jpg" "$relay/cam/$camera/snapshot.jpg"
get -o "$camera-boxes.jpg" "$relay/cam/$camera/snapshot.jpg?boxes=1"
get -o "$camera-small.jpg" "$relay/cam/$camera/snapshot.jpg?width=160&quality=60"

echo "Frames that came, by camera:"
get "$relay/metrics" | grep '^sightline_frames_received_total'

echo "Boxes of 3 seconds:"
get -N -m 3 "$relay/cam/$camera/detections" 2>/dev/null || true
