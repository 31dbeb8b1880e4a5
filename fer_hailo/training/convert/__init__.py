"""From a trained Keras model to TFLite and the deploy bundle."""
