"""All targets by name."""

import file_targets
import message_targets

TARGETS = {target.__name__: target for target in (
    message_targets.images, message_targets.camera_info, message_targets.transforms, message_targets.assembler,
    message_targets.wire, file_targets.recovery, file_targets.bag, file_targets.weights, file_targets.metadata_weights,
    file_targets.pickled_weights, file_targets.config, file_targets.rig)}
