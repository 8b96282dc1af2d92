"""Detection heads over feature pyramids, segmentation, and images as outputs."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.models import load_example
from tests.zoo.entry import Built, Entry, image

FAMILY = "detection and segmentation"


def features(name: str, stages: int = 3) -> nn.Module:
    """Return the last `stages` stages of a small network of timm."""
    import timm

    return timm.create_model(name, pretrained=False, features_only=True, out_indices=tuple(range(2, 2 + stages)))


class Pyramid(nn.Module):
    """A feature pyramid (FPN): 1x1 laterals, nearest upsampling from the top down, 3x3 smoothing."""

    def __init__(self, counts: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in counts)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in counts)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        merged = [lateral(x) for lateral, x in zip(self.lateral, levels, strict=True)]
        for level in reversed(range(len(merged) - 1)):
            above = functional.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
            merged[level] = merged[level] + above
        return [smooth(x) for smooth, x in zip(self.smooth, merged, strict=True)]


def cells_of_map(count: int) -> Tensor:
    """Return the column and row of each cell of a square map, [count, count, 2]."""
    numbers = torch.arange(count, dtype=torch.float32)
    rows, columns = torch.meshgrid(numbers, numbers, indexing="ij")
    return torch.stack([columns, rows], -1)


class PyramidDetector(nn.Module):
    """The trunk and the feature pyramid of a detector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = features("mobilenetv3_small_050")
        self.pyramid = Pyramid(self.trunk.feature_info.channels(), width)


class YoloAnchors(PyramidDetector):
    """YOLOv5's decoding of anchors to boxes in pixels: sigmoid, grid offsets, squared sizes; all levels in one list."""

    def __init__(self, classes: int = 5, anchors: int = 3, size: int = 64) -> None:
        super().__init__(32)
        self.strides = self.trunk.feature_info.reduction()
        self.heads = nn.ModuleList(nn.Conv2d(32, anchors * (5 + classes), 1) for _ in self.strides)
        self.anchors, self.classes = anchors, classes
        for level, stride in enumerate(self.strides):
            self.register_buffer(f"grid{level}", cells_of_map(size // stride)[None, None])
            self.register_buffer(f"anchor{level}", torch.rand(1, anchors, 1, 1, 2) * stride + stride)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for level, (y, head) in enumerate(zip(self.pyramid(self.trunk(x)), self.heads, strict=True)):
            raw = head(y)
            batch, _, height, width = raw.shape
            raw = raw.view(batch, self.anchors, 5 + self.classes, height, width).permute(0, 1, 3, 4, 2).sigmoid()
            middle = (raw[..., :2] * 2 - 0.5 + getattr(self, f"grid{level}")) * self.strides[level]
            size = (raw[..., 2:4] * 2) ** 2 * getattr(self, f"anchor{level}")
            found.append(torch.cat([middle, size, raw[..., 4:]], -1).reshape(batch, -1, 5 + self.classes))
        return torch.cat(found, 1)


class Yolo(PyramidDetector):
    """YOLOX: no anchors, a head with two branches per level, boxes decoded from each cell; all levels in one list."""

    def __init__(self, classes: int = 5, width: int = 24, size: int = 64) -> None:
        super().__init__(width)
        strides = self.trunk.feature_info.reduction()
        self.stems = nn.ModuleList(_block(width, width, 1) for _ in strides)
        self.scores = nn.ModuleList(nn.Sequential(_block(width, width, 3), nn.Conv2d(width, classes, 1)) for _ in strides)
        self.boxes = nn.ModuleList(nn.Sequential(_block(width, width, 3), nn.Conv2d(width, 5, 1)) for _ in strides)
        cells = [cells_of_map(size // stride).view(-1, 2) for stride in strides]
        self.register_buffer("cells", torch.cat(cells))
        full = [torch.full((len(level), 1), float(stride)) for level, stride in zip(cells, strides, strict=True)]
        self.register_buffer("strides", torch.cat(full))

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for y, stem, scores, boxes in zip(
            self.pyramid(self.trunk(x)), self.stems, self.scores, self.boxes, strict=True
        ):
            y = stem(y)
            box = boxes(y)
            level = torch.cat([box[:, :4], box[:, 4:].sigmoid(), scores(y).sigmoid()], 1)
            found.append(level.flatten(2))
        rows = torch.cat(found, 2).permute(0, 2, 1)
        middle = (rows[..., :2] + self.cells) * self.strides
        return torch.cat([middle, rows[..., 2:4].exp() * self.strides, rows[..., 4:]], -1)


class Ssd(nn.Module):
    """Single-shot detection: class scores and box offsets of every level, decoded from fixed boxes; the best 20 per image."""

    def __init__(self, classes: int = 4, anchors: int = 2) -> None:
        super().__init__()
        self.trunk = features("resnet18")
        counts = self.trunk.feature_info.channels()
        self.scores = nn.ModuleList(nn.Conv2d(count, anchors * classes, 3, padding=1) for count in counts)
        self.offsets = nn.ModuleList(nn.Conv2d(count, anchors * 4, 3, padding=1) for count in counts)
        self.classes = classes
        cells = sum((64 // stride) ** 2 for stride in self.trunk.feature_info.reduction())
        self.register_buffer("boxes", torch.rand(cells * anchors, 4) + 0.1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = self.trunk(x)
        scores = self._rows(levels, self.scores, self.classes).softmax(-1)
        offsets = self._rows(levels, self.offsets, 4)
        middle = self.boxes[:, :2] + offsets[..., :2] * 0.1 * self.boxes[:, 2:]
        size = self.boxes[:, 2:] * torch.exp(offsets[..., 2:] * 0.2)
        boxes = torch.cat([middle - size / 2, middle + size / 2], -1)
        best, places = scores[..., 1:].amax(-1).topk(20)
        chosen = torch.gather(boxes, 1, places[..., None].expand(-1, -1, 4))
        return {"boxes": chosen, "scores": best}

    def _rows(self, levels: list[Tensor], heads: nn.ModuleList, count: int) -> Tensor:
        rows = [h(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, count)) for h, x in zip(heads, levels, strict=True)]
        return torch.cat(rows, 1)


class CenterNet(nn.Module):
    """Objects as points: the best k peaks of a heat map, found by max pooling, and the values of other maps at these points."""

    def __init__(self, classes: int = 3, width: int = 32) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.SiLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.heat = nn.Conv2d(width, classes, 1)
        self.size = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.trunk(x)
        heat = self.heat(y).sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = peaks.flatten(1).topk(10)
        cells = heat.shape[2] * heat.shape[3]
        where = (places % cells)[:, None].expand(-1, 2, -1)
        sizes = self.size(y).flatten(2).gather(2, where).transpose(1, 2)
        return scores, torch.div(places, cells, rounding_mode="floor"), sizes


class Detr(nn.Module):
    """A transformer from image cells to a fixed number of objects."""

    def __init__(self, classes: int = 5, width: int = 32, queries: int = 6, cells: int = 4) -> None:
        super().__init__()
        self.trunk = features("mobilenetv3_small_050")
        self.enter = nn.Conv2d(self.trunk.feature_info.channels()[-1], width, 1)
        self.places = nn.Parameter(torch.randn(cells, width))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.transformer = nn.Transformer(width, 4, 1, 1, 64, batch_first=True)
        self.scores = nn.Linear(width, classes)
        self.boxes = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        cells = self.enter(self.trunk(x)[-1]).flatten(2).transpose(1, 2)
        queries = self.queries.expand(x.shape[0], -1, -1)
        objects = self.transformer(cells + self.places, queries)
        return {"logits": self.scores(objects), "boxes": self.boxes(objects).sigmoid()}


class DeepLab(nn.Module):
    """DeepLabV3+: dilated stages, atrous spatial pyramid pooling with an image-wide branch, and a decoder."""

    def __init__(self, classes: int = 6, width: int = 24) -> None:
        super().__init__()
        import timm

        self.trunk = timm.create_model(
            "resnet18", pretrained=False, features_only=True, output_stride=16, out_indices=(1, 4)
        )
        low, high = self.trunk.feature_info.channels()
        rates = (1, 2, 3)
        self.branches = nn.ModuleList(
            _block(high, width, 1 if rate == 1 else 3, rate) for rate in rates
        )
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), _block(high, width, 1))
        self.project = _block(width * (len(rates) + 1), width, 1)
        self.low = _block(low, 8, 1)
        self.decode = nn.Sequential(_block(width + 8, width, 3), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.trunk(x)
        whole = functional.interpolate(self.whole(high), size=high.shape[2:], mode="bilinear", align_corners=False)
        y = self.project(torch.cat([*(branch(high) for branch in self.branches), whole], 1))
        y = functional.interpolate(y, size=low.shape[2:], mode="bilinear", align_corners=False)
        y = self.decode(torch.cat([y, self.low(low)], 1))
        return functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


def _block(enter: int, leave: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(enter, leave, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(leave), nn.ReLU(),
    )  # fmt: skip


class SuperResolution(nn.Module):
    """ESPCN with residual blocks: convolutions at the small size, then a pixel shuffle to three times the size."""

    def __init__(self, width: int = 24, scale: int = 3) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 5, padding=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(2)
        )
        self.leave = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x).tanh()
        for block in self.blocks:
            y = y + block(y)
        up = functional.interpolate(x, scale_factor=3.0, mode="bicubic", align_corners=False)
        return self.shuffle(self.leave(y)) + up


class Generator(nn.Module):
    """An image generated from a code, similar to StyleGAN: transposed convolutions and instance normalization with a style."""

    def __init__(self, code: int = 16, width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Linear(code, width * 16)
        self.styles = nn.ModuleList(nn.Linear(code, 2 * width) for _ in range(2))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(width, width, 3, 2, 1, output_padding=1) for _ in range(2))
        self.norm = nn.InstanceNorm2d(width)
        self.leave = nn.Conv2d(width, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, code: Tensor) -> Tensor:
        x = self.enter(code).unflatten(1, (-1, 4, 4))
        for up, style in zip(self.ups, self.styles, strict=True):
            gain, shift = style(code)[..., None, None].chunk(2, 1)
            x = functional.leaky_relu(self.norm(up(x)) * (1 + gain) + shift, 0.2)
        return self.leave(x).tanh()


def with_image(module: type[nn.Module], size: int = 64) -> Built:
    return module(), {"x": image(size)}, {}


def u_net() -> Built:
    module, inputs = load_example("unet").unet()
    return module, inputs, {}


def entry(name: str, module: type[nn.Module], size: int = 64, **facts: bool | int) -> Entry:
    return Entry(name, FAMILY, partial(with_image, module, size), **facts)  # type: ignore[arg-type]


ENTRIES = (
    entry("yolo", Yolo, saved=True, transposes=1, nhwc=True),
    # The rows are anchors, then cells, but each level's map has the anchors among its channels: three more transposes.
    entry("yolo_anchors", YoloAnchors, transposes=4),
    entry("ssd", Ssd, transposes=1, nhwc=True),
    entry("centernet", CenterNet),
    entry("detr", Detr, saved=True),
    entry("deeplab", DeepLab, saved=True, transposes=2),
    Entry("u_net", FAMILY, u_net, transposes=2),
    entry("super_resolution", SuperResolution, 24, transposes=2),
    Entry("generator", FAMILY, lambda: (Generator(), {"code": torch.randn(2, 16)}, {}), transposes=2),
)
