"""Networks, and the layers that turn cached pictures into their input."""
