"""From cached uint8 images to the network's input, batched inside the compiled step: plain, and with
augmentation.

Enlarging is two matrix products, M @ x @ M.T. Cropping, shifting and mirroring only move the points at which
the kernel is sampled, so augmentation by them costs no second interpolation.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from fer_hailo.common.config import Config
from fer_hailo.common.preprocess import PreprocessSpec, border_matrix, cubic, cubic_matrix
from fer_hailo.training.data.mix import blend
from fer_hailo.training.models.degrade import Degraded

FACES = "faces"  # the layer of the compiled step that draws the augmentation


def resized(faces, side: int):
    """float (B, I, I, C) to (B, side, side, C), by the kernel with which all faces are enlarged."""
    matrix = ops.convert_to_tensor(cubic_matrix(faces.shape[1], side), faces.dtype)
    planes = ops.matmul(ops.matmul(matrix, ops.transpose(faces, (0, 3, 1, 2))), ops.transpose(matrix))
    return ops.transpose(planes, (0, 2, 3, 1))


class FaceInput(keras.layers.Layer):
    """uint8 (B, S, S) or (B, S, S, 3) to float32 (B, I, I, 3) in [-1, 1]: `prepare` and `normalise`, within
    one grey level.
    """

    def __init__(self, spec: PreprocessSpec, **options):
        super().__init__(**options)
        self.spec = spec
        self._matrix = cubic_matrix(spec.source_size, spec.input_size)

    def call(self, images: Any) -> Any:
        values = self._planes(images)
        matrix = ops.cast(self._matrix, values.dtype)
        return self._finish(
            values if self.spec.source_size == self.spec.input_size else self._resize(values, matrix, matrix)
        )

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], self.spec.input_size, self.spec.input_size, 3)

    def _planes(self, images):
        """float (B, 1 or 3, S, S): planes first, so that the matrix products are batched over them."""
        values = ops.cast(images, "float32")
        return ops.transpose(values, (0, 3, 1, 2)) if self.spec.color else values[:, None]

    def _resize(self, values, rows, columns):
        return ops.matmul(ops.matmul(rows, values), ops.swapaxes(columns, -1, -2))

    def _finish(self, values, mix=None):
        # `prepare` gives whole grey levels from 0 to 255, and so must this.
        values = (ops.clip(ops.round(values), 0, 255) - self.spec.mean) / self.spec.scale
        if mix is not None:
            values = blend(values, mix[:, :, None, None], ops)
        values = ops.transpose(values, (0, 2, 3, 1))
        return ops.cast(values if self.spec.color else ops.repeat(values, 3, axis=-1), self.compute_dtype)


class AugmentedFaceInput(FaceInput):
    """FaceInput with the configuration's augmentation and MixUp; random in every call, whatever `training`
    says.

    mix: float32 (B, 1), each image's weight in its mixture with its neighbour; None: nothing is mixed. Draws
    from a SeedGenerator of its own, one set of numbers an image: the crop's side (1 - zoom to 1) and place, a
    shift, a mirror; rotation, brightness, contrast, saturation and hue are Keras' own layers, on the small
    image. All draws are relative to the image's side: with the same draws two layers of different input_size
    give the same view.
    """

    def __init__(self, config: Config, **options):
        super().__init__(config.preprocess, **options)
        self.config = config
        self.seeds = keras.random.SeedGenerator(config.seed)
        self.margin = 3 + int(config.augmentation.shift * config.face.source_size)
        self._borders = border_matrix(config.face.source_size, self.margin)
        self._layers_before = _keras_augmentation(config)

    def call(self, images: Any, mix: Any = None) -> Any:
        values = ops.cast(images, "float32")
        if self._layers_before:
            # On 0..1, the only range on which Keras' RandomSaturation is right.
            values = (values if self.spec.color else values[..., None]) / 255
            for layer in self._layers_before:
                values = layer(values, training=True)
            values = (values if self.spec.color else values[..., 0]) * 255
        values = self._planes(values)
        rows, columns = self._sampling(ops.shape(images)[0])
        return self._finish(self._resize(values, rows, columns), mix)

    def begin_view(self, seed: int, view: int) -> None:
        """Make what the next calls draw a function of (seed, view), whatever was drawn before."""
        for number, state in enumerate(self.variables):  # one a SeedGenerator: its seed and a counter
            drawn = np.random.SeedSequence([seed, view, number]).generate_state(1)[0] >> 1  # fits an int32
            state.assign(np.array([drawn, 0]).astype(keras.backend.standardize_dtype(state.dtype)))

    def compute_output_shape(self, images_shape: tuple, mix_shape: tuple | None = None) -> tuple:
        return super().compute_output_shape(images_shape)

    def _sampling(self, count):
        """The two matrices of each image, float32 (B, 1, I, S)."""
        size, config = float(self.spec.source_size), self.config
        side = size * self._uniform(count, 1 - config.augmentation.zoom, 1)
        matrices = []
        for axis in ("rows", "columns"):
            start = self._uniform(count, 0, 1) * (size - side)
            if config.augmentation.shift:
                start = start + size * self._uniform(
                    count, -config.augmentation.shift, config.augmentation.shift
                )
            at = (
                start
                + (ops.arange(self.spec.input_size, dtype="float32") + 0.5) * side / self.spec.input_size
                - 0.5
            )
            if axis == "columns" and config.augmentation.flip:
                mirrored = self._uniform(count, 0, 1) < 0.5
                at = ops.where(mirrored, size - 1 - at, at)
            taps = ops.arange(-self.margin, self.spec.source_size + self.margin, dtype="float32")
            weights = cubic(at[:, :, None] - taps, ops)
            matrices.append(ops.matmul(weights, ops.cast(self._borders, "float32"))[:, None])
        return matrices

    def _uniform(self, count, low: float, high: float):
        return keras.random.uniform((count, 1), low, high, dtype="float32", seed=self.seeds)


def augmented_faces(config: Config, images: Any, mix: Any) -> Any:
    """What a network in training sees: float32 (B, I, I, 3) of uint8 images (B, S, S[, 3]) and MixUp weights
    (B, 1).
    """
    share, side = config.augmentation.degrade, config.face.source_size
    if share:
        images = Degraded(share, side, config.seed, dtype="float32", name="degraded")(images)
    return AugmentedFaceInput(config, dtype="float32", name=FACES)(images, mix)


def _keras_augmentation(config: Config) -> list[keras.layers.Layer]:
    layers, options = keras.layers, {"value_range": (0, 1), "dtype": "float32"}
    seeds = iter(range(config.seed + 1, config.seed + 10))
    chosen = []
    if config.augmentation.rotation:
        chosen.append(
            layers.RandomRotation(
                config.augmentation.rotation / 360, "nearest", seed=next(seeds), dtype="float32"
            )
        )
    if config.augmentation.brightness:
        chosen.append(layers.RandomBrightness(config.augmentation.brightness, seed=next(seeds), **options))
    if config.augmentation.contrast:
        # A pair, since Keras takes a single number for 1 to 1 + contrast.
        chosen.append(
            layers.RandomContrast(
                (config.augmentation.contrast, config.augmentation.contrast), seed=next(seeds), **options
            )
        )
    if config.face.color and config.augmentation.saturation:
        # Keras multiplies by f / (1 - f).
        low, high = 1 - config.augmentation.saturation, 1 + config.augmentation.saturation
        chosen.append(
            layers.RandomSaturation((low / (1 + low), high / (1 + high)), seed=next(seeds), **options)
        )
    if config.face.color and config.augmentation.hue:
        # Keras turns by up to half of its factor, to either side.
        chosen.append(layers.RandomHue(2 * config.augmentation.hue, seed=next(seeds), **options))
    if config.augmentation.erase:
        # Zhong et al. 2020. A pair: with a single number Keras draws the probability itself anew.
        share = (config.augmentation.erase, config.augmentation.erase)
        chosen.append(
            layers.RandomErasing(share, scale=(0.02, 0.25), fill_value=0.5, seed=next(seeds), **options)
        )
    return chosen
