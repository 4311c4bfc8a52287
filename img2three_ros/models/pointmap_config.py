"""Sizes of a pointmap network: those of the published files, and one that trains on two cores."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..structures import InputError

PATCH = 16  # pixels along each side of a token
HEADS = ("linear", "dpt")


@dataclass(frozen=True)
class PointmapConfig:
    """The defaults are DUSt3R 512 with dense heads (ViT-L encoder, ViT-B decoders).

    width, depth, heads: channels, blocks and attention heads of the encoder and of each of the two decoders.
    mlp_ratio: hidden over outer channels of every block's MLP. rotary_base: of the rotary position embedding.
    head: ``linear`` (every token predicts its own pixels) or ``dpt`` (four levels fused by convolutions).
    dense_widths: channels of the four levels of ``dpt``, fine to coarse; dense_width: after they are unified.
    descriptor_width: channels of matching descriptors (24 in MASt3R), 0: none; descriptor_hidden: of their MLP.
    image_side: long side of the images that it was trained with, pixels; it takes others.
    metric: whether its points are metres (MASt3R); else every pair has a unit of its own (DUSt3R).
    Raises InputError('parameter').
    """

    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    mlp_ratio: float = 4.0
    rotary_base: float = 100.0
    head: str = "dpt"
    dense_widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    dense_width: int = 256
    descriptor_width: int = 0
    descriptor_hidden: int = 7168
    image_side: int = field(default=512, compare=False)  # what a network is does not hang on it
    metric: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for name, width, heads in (("encoder", self.encoder_width, self.encoder_heads),
                                   ("decoder", self.decoder_width, self.decoder_heads)):
            if heads < 1 or width % (4 * heads):
                raise InputError("parameter", f"pointmap {name}: {width} channels for {heads} heads, but each head "
                                 "needs a multiple of 4 channels (row and column, sine and cosine)")
        if self.head not in HEADS:
            raise InputError("parameter", f"pointmap head '{self.head}': known are {', '.join(HEADS)}")
        if self.encoder_depth < 1 or self.decoder_depth < (4 if self.head == "dpt" else 1):
            raise InputError("parameter", f"pointmap: {self.encoder_depth} encoder and {self.decoder_depth} decoder "
                             f"blocks are too few for a {self.head} head")
        if self.descriptor_width and self.head != "dpt":
            raise InputError("parameter", "pointmap descriptors come with a dpt head only")

    @property
    def levels(self) -> tuple[int, ...]:
        """Decoder blocks, counted from 1, whose outputs the heads read; the last is the last block."""
        depth = self.decoder_depth
        return (depth // 2, depth * 3 // 4, depth) if self.head == "dpt" else (depth,)


def small_config(head: str = "dpt", descriptor_width: int = 0) -> PointmapConfig:
    """14 to 21 million parameters: trains from scratch on the simulated world."""
    return PointmapConfig(encoder_width=256, encoder_depth=8, encoder_heads=4, decoder_width=192, decoder_depth=6,
                          decoder_heads=3, head=head, dense_widths=(32, 64, 128, 192), dense_width=64,
                          descriptor_width=descriptor_width, descriptor_hidden=448)
