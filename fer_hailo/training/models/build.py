"""A classifier: backbone, head, initial weights, and which layers a stage trains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.reading import DAMAGED
from fer_hailo.common.released import absent
from fer_hailo.training.data.rows import Images
from fer_hailo.training.models import ensemble  # noqa: F401, its layers are registered, so that load_model opens them
from fer_hailo.training.models.elsewhere import as_classifier
from fer_hailo.training.models.old_keras import SUFFIXES, open_h5
from fer_hailo.training.models.restate import face_batches, restate
from fer_hailo.training.models.state_dict import last_layers, load_checkpoints
from fer_hailo.training.networks.ada_df_fusion.network import TWIN
from fer_hailo.training.networks.head import POOL, head
from fer_hailo.training.networks.record import Network, System
from fer_hailo.training.networks.registry import METHODS, network
from fer_hailo.training.networks.weights import CHECKPOINTS, Kind, Weights, parse_weights

# As TensorFlow's scopes may be called
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def build_model(
    config: Config | None = None,
    stage: int = 1,
    weights: str | None = None,
    logits: int | None = None,
    training: bool = False,
    images: Images | None = None,
) -> keras.Model:
    """Build the classifier of a configuration (default: the seed recipe), set up for a stage of training.

    The model takes float32 (B, I, I, 3) in [-1, 1] and gives float32 logits (B, C). `weights` replaces
    config.model.weights: "imagenet", "none", a backbone's .h5 (dlib_resnet: .dat or .npz), released:NAME, a
    .keras file of this project, or PyTorch's tensors in .npz or .pth files (several: with commas). `logits`:
    how many, instead of one a class. `training`: the network that trains, where that is another (Ada-DF, as a
    network or as a method). `images`: cached training images, uint8 (N, S, S[, 3]), from which batch norms
    get their statistics where weights come without (dlib's). Raises UserError when weights cannot be had or
    do not fit.
    """
    config = config or Config()
    start = parse_weights(weights or config.model.weights)
    logits, known = logits or len(config.data.classes), network(config.model.arch)
    own = isinstance(known, Network) and start.kind in known.own
    if isinstance(known, System):
        model = _system(known, config, start, logits, training)
    else:
        model = _classifier(known, config, start, logits)
        if own and images is not None:
            features = keras.Model(model.input, model.get_layer(POOL).input)
            restate(features, face_batches(images, config.preprocess, config.seed))
    if start.kind in CHECKPOINTS and not own:
        load_checkpoints(start.files, model, known.renamed if isinstance(known, System) else {})
    if training:
        _check_names(model, config.model.freeze)
    pair = METHODS[config.loss.method].pair if training and config.loss.method in METHODS else None
    if pair:
        model = pair(
            model, backbone_layers(model), model.get_layer(POOL).output, start.kind is not Kind.SCRATCH
        )
    set_stage(
        model, stage, config.schedule.unfreeze_layers, config.schedule.train_batch_norm, config.model.freeze
    )
    return model


def set_stage(
    model: keras.Model,
    stage: int,
    unfreeze: int = 60,
    train_batch_norm: bool = False,
    freeze: Sequence[str] = (),
) -> None:
    """Freeze and unfreeze layers. Stage 1 trains the head; stage 2 also the last `unfreeze` backbone layers
    (-1: all).

    Batch norms of the backbone stay frozen, which in Keras also means that they use their stored statistics,
    unless `train_batch_norm` is set in stage 2. Networks with a head of their own train as a whole. Layers
    whose names begin with one of `freeze` never train. A twin's layers do what those do of which they are
    copies.
    """
    if stage not in (1, 2):
        raise ValueError(f"stage must be 1 or 2, got {stage}")
    backbone = backbone_layers(model)
    count = 0 if stage == 1 else len(backbone) if unfreeze < 0 else unfreeze
    chosen = backbone[max(0, len(backbone) - count) :]
    model.trainable = True
    for layer in backbone:
        layer.trainable = False
    for layer in chosen:
        layer.trainable = train_batch_norm or not isinstance(layer, keras.layers.BatchNormalization)
    for layer in model.layers:
        if layer.name.startswith(tuple(freeze)):
            layer.trainable = False
    names = {layer.name: layer for layer in model.layers}
    for layer in names[TWIN].layers if TWIN in names else []:
        layer.trainable = layer.name not in names or names[layer.name].trainable


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers before the head, in order."""
    names = [layer.name for layer in model.layers]
    return model.layers[: names.index(POOL)] if POOL in names else []


def load_model(path: Path | str) -> keras.Model:
    """Open a .keras file, or a .h5 or .hdf5 of any Keras, as a network that takes RGB and gives logits.

    Raises UserError when it is none, or a .h5 has what is not translated.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(absent(path))
    try:
        old = path.suffix in SUFFIXES
        model = open_h5(path) if old else keras.models.load_model(path, compile=False)
        _check_scopes(model)
        return as_classifier(model)
    except DAMAGED as error:
        raise UserError(f"{path} cannot be opened as a Keras model: {one_line(error, 200)}") from None


def _check_scopes(model: keras.Model) -> None:
    """Raise ValueError for a name with which TensorFlow would not compute, which it says at the first image
    only.
    """
    if keras.backend.backend() != "tensorflow":
        return
    layers = (
        layer.name.lstrip("_") for layer in getattr(model, "layers", ())
    )  # only the first scope must not
    for name in (model.name, *layers):
        if not SCOPE.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no name of a layer that TensorFlow takes")


def transfer_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copy weights layer by layer where names and shapes agree; a larger kernel is cropped at its centre, so
    that the ReLU twin can start from the full network. Returns the names of target layers left as they were.

    The last layers differ where the classes do; anything else that differs is another network: UserError.
    """
    layers = {layer.name: layer for layer in source.layers}
    left = []
    for layer in target.layers:
        shapes = [tuple(w.shape) for w in layer.weights]
        values = layers[layer.name].get_weights() if layer.name in layers else []
        if len(values) == len(shapes):
            values = [_crop(value, shape) for value, shape in zip(values, shapes, strict=True)]
        if [value.shape for value in values] == shapes:
            layer.set_weights(values)
        elif shapes:
            left.append(layer.name)
    if set(left) - last_layers(target):
        raise UserError(
            f"the weights are of another network: {len(left)} layers do not fit, the first is {left[0]}"
        )
    return left


def _crop(kernel, shape: tuple[int, ...]):
    """The central part of a convolution's kernel (height, width, ...); anything else as it is."""
    if len(shape) != 4 or kernel.ndim != 4:
        return kernel
    starts = [max(0, (have - want) // 2) for have, want in zip(kernel.shape[:2], shape[:2], strict=True)]
    return kernel[starts[0] : starts[0] + shape[0], starts[1] : starts[1] + shape[1]]


def _classifier(known: Network, config: Config, weights: Weights, logits: int) -> keras.Model:
    """A backbone with the common head."""
    backbone = _backbone(known, config, weights)
    for layer in batch_norms(backbone.layers):
        layer.momentum = config.model.batch_norm_momentum
    model = keras.Model(backbone.input, head(backbone.output, config, logits), name=config.model.arch)
    if weights.kind is Kind.MODEL:
        transfer_weights(load_model(*weights.files), model)
    return model


def _system(known: System, config: Config, weights: Weights, logits: int, training: bool) -> keras.Model:
    """A network that has a head of its own, or what trains in its stead."""
    arch, size = config.model.arch, config.face.input_size
    if size % known.multiple:
        raise UserError(f"{arch} needs an input_size that {known.multiple} divides, not {size}")
    if weights.kind is Kind.IMAGENET:
        raise UserError(_no_imagenet(arch))
    if weights.kind not in (Kind.SCRATCH, Kind.MODEL, *CHECKPOINTS):
        kinds = "none, a .keras file, or .npz and .pth files with commas"
        raise UserError(f"weights of {arch} must be {kinds}, got {weights.text}")
    pair = training and known.training
    settings = {argument: config.value(key) for argument, key in known.settings.items()}
    model = (pair or known.build)(size, logits, **settings)
    if weights.kind is Kind.MODEL:
        single = known.build(size, logits, **settings) if pair else model
        transfer_weights(load_model(*weights.files), single)
        if pair:
            _start_from(single, model, known.twin)
    for layer in batch_norms(model.layers):
        layer.momentum = config.model.batch_norm_momentum
    return model


def _start_from(single: keras.Model, pair: keras.Model, twin: tuple[str, str]) -> None:
    """Give the layers of a network that trains what the network that is saved has, and their twins the
    same.
    """
    layers = {layer.name: layer for layer in single.layers}
    for layer in pair.layers:
        source = layers.get(layer.name) or layers.get(layer.name.replace(*twin))
        if source and layer.weights:
            layer.set_weights(source.get_weights())


def _check_names(model: keras.Model, starts: Sequence[str]) -> None:
    for start in starts:
        if not any(layer.name.startswith(start) for layer in model.layers):
            raise UserError(
                f"freeze names {start}, but no layer of {model.name} is called so: they are "
                f"{model.layers[1].name}, ..."
            )


def _backbone(known: Network, config: Config, weights: Weights) -> keras.Model:
    arch, size, kind = config.model.arch, config.face.input_size, weights.kind
    if kind is Kind.IMAGENET:
        return _from_imagenet(known, arch, size)
    if kind not in known.own and kind in (Kind.SCRATCH, Kind.MODEL, *CHECKPOINTS):
        return known.build(size, None)
    if known.own and kind not in known.own:
        published = " or ".join(each.value for each in known.own)
        raise UserError(f"weights of {arch} must be none, a .keras, {published} file, got {weights.text}")
    if kind not in (Kind.BACKBONE, *known.own):
        raise UserError(
            f"weights must be imagenet, none, a .keras, .h5, .npz or .pth file, got {weights.text}"
        )
    if not Path(weights.text).is_file():
        raise UserError(f"no weights at {weights.text}")
    try:
        return known.build(size, weights.text)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{weights.text} does not fit {arch}: {one_line(error, 160)}") from None


def _from_imagenet(known: Network, arch: str, size: int) -> keras.Model:
    if not known.licence:
        raise UserError(_no_imagenet(arch))
    try:
        return known.build(size, "imagenet")
    except UserError:  # it is none of Keras' networks
        raise
    except Exception as error:  # Keras raises a bare Exception when the download fails
        raise UserError(
            f"the ImageNet weights could not be downloaded ({one_line(error, 160)}): nothing was trained; "
            "use --weights FILE for a copy on disk, or --weights none to start from random weights"
        ) from None


def _no_imagenet(arch: str) -> str:
    return f"there are no ImageNet weights of {arch} for Keras: use --weights none, or a file"


def batch_norms(layers: Iterable[keras.Layer]) -> list[keras.layers.BatchNormalization]:
    """The batch norms among some layers."""
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
