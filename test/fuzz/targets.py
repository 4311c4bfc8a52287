"""All targets by name."""

import file_targets
import message_targets

TARGETS = {target.__name__: target for target in (
    message_targets.images, message_targets.camera_info, message_targets.transforms, message_targets.assembler,
    message_targets.wire, file_targets.recovery, file_targets.bag, file_targets.weights, file_targets.metadata_weights,
    file_targets.pickled_weights, file_targets.config, file_targets.rig)}

RUNS = {"images": 24_000, "camera_info": 20_000, "transforms": 20_000, "assembler": 10_000, "wire": 14_000,
        "recovery": 8_000, "bag": 500, "weights": 4_000, "metadata_weights": 4_000, "pickled_weights": 3_000,
        "config": 4_000, "rig": 3_000}
"""Inputs of each in a whole campaign."""
