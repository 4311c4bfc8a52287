"""The live node with its real pipeline, which breaks as the file FAULT_FILE says: ``exception`` or ``memory``."""

import os
import sys
from pathlib import Path

import numpy as np

from img2three_ros.nodes.reconstruction_node import start
from img2three_ros.nodes.spin import run_node
from img2three_ros.reconstruction.pipeline import ReconstructionPipeline
from img2three_ros.structures import Frame, Reconstruction


class BreakingPipeline(ReconstructionPipeline):
    """Breaks after its stages have run, so that their state is half updated."""

    def process(self, frame: Frame) -> Reconstruction:
        result = super().process(frame)
        file = Path(os.environ["FAULT_FILE"])
        fault = file.read_text() if file.exists() else ""
        if fault == "memory":
            np.ones(1 << 50, np.uint8)  # a petabyte
        if fault == "exception":
            raise RuntimeError("the engine broke")
        return result


if __name__ == "__main__":
    sys.exit(run_node(lambda: start(BreakingPipeline)))
