"""What runs on the board: images, videos, cameras, faces, the web page; a model held against its bundle."""
