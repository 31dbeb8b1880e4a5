"""Print the expressions that the first camera sees, until Ctrl-C: python examples/camera.py"""

import cv2

import fer_hailo

camera = cv2.VideoCapture(0)
if not camera.isOpened():
    raise SystemExit("no camera 0: fer-hailo run --cameras lists those that there are")
with fer_hailo.load() as model:  # load("deploy/hailo8"): on the chip
    while camera.grab():
        image = cv2.cvtColor(camera.retrieve()[1], cv2.COLOR_BGR2RGB)
        for face in model.predict(image):
            print(f"{face.label} {face.probabilities[face.label]:.0%} at {face.box}", flush=True)
