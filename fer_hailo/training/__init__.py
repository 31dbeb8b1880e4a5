"""What needs the training packages: data, networks, training, scoring, conversion."""
