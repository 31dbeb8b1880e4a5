"""The lines of tools/run_tables.py: which runs, and what a table says beside their scores (recipe, epochs,
time). The scores of scratch runs, whose rows were not kept, stand here too.
"""

SEED = "20261121-084815_mobilenet_v3_small_s42"
FIRST, BEST_128 = "20261121-101737_mobilenet_v3_small_s42", "20261121-170224_mobilenet_v3_small_s42"
BEST = "20261121-192600_mobilenet_v3_small_s42"
TWIN = "20261121-195913_mobilenet_v3_small_minimalistic_s42"
FINISHED = (  # what, recipe, time, its run or its scores: validation, macro recall, test
    ("finetune", "configs/finetune.yaml: 96 px, 24 epochs", "28 min", FIRST),
    (
        "seed",
        "the defaults, 8 + 30 epochs: 128 px, 60 layers",
        "33 min",
        SEED,
    ),
    ("short_64", "finetune at 64 px, batch 128, 14 epochs", "7 min", (0.7410, 0.691, 0.7352)),
    ("votes_64", "short_64 with FER+ votes", "13 min, one core", (0.7439, 0.687, 0.7410)),
    (
        "votes_128",
        "finetune's model, 3 more epochs at 128 px with votes",
        "7 min, one core",
        (0.7980, 0.745, 0.7963),
    ),
    (
        "best_128",
        "configs/best_128.yaml: finetune's model, 25 epochs at 128 px, votes, fear and sadness",
        "50 min",
        BEST_128,
    ),
    (
        "size_160",
        "best_128's model, 2 epochs at 160 px, the five classes alone, see below",
        "5 min",
        "size_160",
    ),
    (
        "**best**",
        "configs/best.yaml: best_128's model, 8 epochs at 160 px",
        "26 min",
        BEST,
    ),
    (
        "twin_128",
        "ReLU twin, best_128's kernels cropped, taught by best_128, 14 epochs at 128 px on the five classes",
        "20 min",
        "20261121-175430_mobilenet_v3_small_minimalistic_s42",
    ),
    (
        "**twin**",
        "configs/twin.yaml: ReLU twin, best's kernels cropped, taught by best, 12 epochs at 160 px, fear and "
        "sadness too",
        "36 min",
        TWIN,
    ),
)
RECIPES = (  # recipe, what it is, time, its run or a word on its scores
    (
        "`configs/seed.yaml` (the default)",
        "head, then the last 60 layers, 128 px; here cut to 8 + 30 epochs",
        "33 min",
        SEED,
    ),
    ("`configs/finetune.yaml`", "the whole backbone, 96 px, 24 epochs", "28 min", FIRST),
    (
        "`configs/best_128.yaml`",
        "from there, 25 epochs at 128 px, with FER+'s votes, fear and sadness",
        "50 min",
        BEST_128,
    ),
    ("`configs/best.yaml`", "from there, 8 epochs at 160 px: the released model", "26 min", BEST),
    ("`configs/released.yaml`", "the last three, one after the other", "104 min", BEST),
    ("`configs/twin.yaml`", "the ReLU twin, taught by the released model", "36 min", TWIN),
    ("`configs/student.yaml`", "distillation on eight fixed views", "", "not measured"),
    ("`configs/quantise.yaml`", "[fine-tuning for 8 bits](quantisation-aware.md)", "20 min", ""),
    ("`configs/demo.yaml`, `configs/smoke.yaml`", "drawn faces, to see that everything works", "2 min", ""),
)
SCRATCH = (  # what, its run, input, epochs, time, an epoch
    ("DenseNet-121", "densenet121_48", "48 px", "10", "41 min", "4.1 min"),
    ("NASNetMobile", "nasnet_48", "48 px", "6", "22 min", "3.6 min"),
    ("ResNet-18", "resnet18_64", "64 px", "14", "35 min", "2.5 min"),
    ("soft vote of the three", "ensemble_20261122-002043", "48 px", "", "", ""),
)
SYSTEMS = (  # what, its run, epochs, an epoch
    ("DAN", "dan_48", "6", "7 min"),
    ("Ada-DF", "ada_df_48", "4", "9 min"),
    ("DDAMFN", "ddamfn_48", "10", "4 min"),
)
PUBLISHED = (  # what, its score on RAF-DB, our runs, those that they are compared with, how
    ("DAN", "89.70 %", ("dan_48",), (), "from scratch, 48 px, 6 epochs"),
    ("DDAMFN", "91.35 % (++ 92.34)", ("ddamfn_48",), (), "from scratch, 48 px, 10 epochs"),
    ("Ada-DF", "90.04 %", ("ada_df_48",), (), "from scratch, 48 px, 4 epochs"),
    ("POSTER", "92.05 %", (), (), "too large: 7.9 G multiply-adds an image"),
    ("POSTER V2", "92.21 %", (), (), "too large: 8.6 G"),
    (
        "LNSU-Net's losses",
        "92.7 % (Swin-T)",
        ("lnsu_s1", "lnsu_s2"),
        ("plain_s1", "plain_s2"),
        "MobileNetV3Small, 64 px, 1 + 8 epochs, two paired seeds",
    ),
    (
        "Ada-DF's targets",
        "",
        tuple(f"ada_df_fusion_64_s{i}" for i in (1, 2, 3)),
        tuple(f"plain_64_s{i}" for i in (1, 2, 3)),
        "MobileNetV3Small, 64 px, 1 + 8 epochs, three paired seeds",
    ),
)
QUANTISED = (  # what, its run and stage or its scores, its loss
    ("full, float as released", (BEST, "keras"), ""),
    ("full, float ready for 8 bits", (BEST, "tflite"), "0.03 [-0.09, 0.16]"),
    (
        "full, INT8 throughout, h-swish as an operator",
        ("82.33 / 76.80", "81.80 / 74.67"),
        "0.24 [-0.24, 0.72]",
    ),
    ('**full, INT8 throughout, as converted now** (see "Speed on a CPU")', (BEST, "tflite-int8"), "0.43"),
    ("full, whole ranges, biases not corrected", ("79.93 / 74.64", "79.39 / 73.64"), "2.64"),
    ("full, whole ranges, biases corrected", ("81.20 / 75.10", "80.53 / 74.49"), "1.42 [0.79, 2.06]"),
    ("ReLU, float as released and ready for 8 bits", (TWIN, "keras"), ""),
    ("**ReLU, INT8 throughout**", (TWIN, "tflite-int8"), "-0.02 [-0.31, 0.28]"),
    ("ReLU, whole ranges, biases not corrected", ("77.64 / 66.85", "76.89 / 64.18"), "3.59"),
    ("ReLU, whole ranges, biases corrected", ("81.07 / 74.62", "80.20 / 74.15"), "0.21 [-0.19, 0.60]"),
)
NETWORKS = (  # what, how it was trained, its runs in docs/results.csv (several: seeds)
    ("DenseNet-121", "from scratch, 10 epochs", ("densenet121_48",)),
    ("ResNet-18", "from scratch, 14 epochs", ("resnet18_64",)),
    ("NASNetMobile", "from scratch, 6 epochs", ("nasnet_48",)),
    ("DDAMFN", "from scratch, 10 epochs", ("ddamfn_48",)),
    ("Ada-DF", "from scratch, 4 epochs", ("ada_df_48",)),
    ("DAN", "from scratch, 6 epochs", ("dan_48",)),
    ("soft vote of the first three", "shares fitted on validation", ("ensemble_20261122-002043",)),
    (
        "soft vote of four MobileNetV3Small",
        "the released one, its twin, its ancestors",
        ("ensemble_20261121-220713",),
    ),
    ("MobileNetV3Small", "from ImageNet's weights, 1 + 8 epochs", ("alone_s1", "alone_s2")),
    (
        "MobileNetV3Small, taught",
        "the same, by the released model, the best of all",
        ("taught_s1", "taught_s2"),
    ),
    ("MobileNetV3Small, one dense layer", "from ImageNet's weights, 1 + 8 epochs", ("plain_s1", "plain_s2")),
    ("MobileNetV3Small, LNSU-Net's losses", "the same, --method lnsu", ("lnsu_s1", "lnsu_s2")),
    (
        "MobileNetV3Small, one dense layer",
        "from ImageNet's weights, 1 + 8 epochs",
        ("plain_64_s1", "plain_64_s2", "plain_64_s3"),
    ),
    (
        "MobileNetV3Small, Ada-DF's targets",
        "the same, --method ada_df_fusion",
        tuple(f"ada_df_fusion_64_s{i}" for i in (1, 2, 3)),
    ),
)
