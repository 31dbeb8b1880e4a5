"""Accuracy on corrupted faces: what a camera, a detector or a mask does to them."""
