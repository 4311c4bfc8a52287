"""A decoder made by hand: what it says follows from feature 0 alone."""

from torch import nn

from img2three_ros.geometry.contraction import ContractedGrid
from img2three_ros.models.scene_decoder import SceneDecoder


class PlainDecoder(SceneDecoder):
    """Where feature 0 is 1: solid, density 20 / m, red without green and blue. Where it is -1: empty."""

    def __init__(self, grid: ContractedGrid) -> None:
        super().__init__(grid, features=4, hidden=8)
        for layer in (self.layers[0], self.layers[2], self.answer):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.layers[0].weight.data[0, 0] = 20.0  # SiLU: 20 where solid, 0 elsewhere
        self.layers[2].weight.data[0, 0] = 1.0
        self.answer.weight.data[0, 0], self.answer.bias.data[0] = 1.0, -10.0  # occupancy
        self.answer.weight.data[1, 0], self.answer.bias.data[1] = 2.0, -20.0  # density, before the softplus
        self.answer.weight.data[2, 0] = 1.0  # red
        self.answer.bias.data[3:5] = -9.0  # green and blue
