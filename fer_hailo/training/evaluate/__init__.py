"""Scoring Keras models, and what is drawn of the scores."""
