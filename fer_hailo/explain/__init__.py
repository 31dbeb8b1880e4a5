"""Where in a face a classifier sees its prediction: heat maps, and sheets that show them beside the face."""
