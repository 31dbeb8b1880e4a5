"""Networks, and the layers that turn cached images into their input."""
