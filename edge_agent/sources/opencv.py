"""A program that reads a camera or a video file with OpenCV, and writes JPEG pictures. Only it knows cv2.

`python -m edge_agent.sources.opencv DEVICE WIDTH HEIGHT FPS`; edge_agent.sources.stream reads it.
"""

import os
import sys
import time

import cv2


def main(device: str, width: int, height: int, fps: int) -> int:
    """Write pictures until the camera gives none any more, or nobody reads them."""
    camera = cv2.VideoCapture(device)
    camera.set(cv2.CAP_PROP_FRAME_WIDTH, width)
    camera.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
    if not camera.isOpened():
        print(f"OpenCV cannot open {device}", file=sys.stderr)
        return 1
    is_live = device.startswith("/dev/")
    due_s = time.monotonic()
    while camera.grab():
        early_s = due_s - time.monotonic()
        if early_s > 0 and is_live:
            # A camera keeps old pictures for who does not take them: take them, and throw them away.
            continue
        time.sleep(max(0.0, early_s))
        due_s = time.monotonic() + 1 / fps
        _write(camera)
    return 0


def _write(camera: cv2.VideoCapture) -> None:
    is_whole, pixels = camera.retrieve()
    if not is_whole:
        return
    _, jpeg = cv2.imencode(".jpg", pixels)
    data = jpeg.tobytes()
    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    sys.stdout.buffer.write(head.encode("ascii") + data + b"\r\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], *map(int, sys.argv[2:5])))
    except BrokenPipeError:
        # Nobody reads any more; nothing may be left to flush at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
