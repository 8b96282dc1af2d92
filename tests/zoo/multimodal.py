"""Models for text and images of transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.zoo.entry import Built, Entry, image, padding_mask, tokens

FAMILY = "multimodal"
TEXT = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip


class Clip(nn.Module):
    """Embeddings and their similarity row by row; the similarity of each text with each image has no batch axis."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> dict[str, Tensor]:
        answer = self.module(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values)
        return {
            "text": answer.text_embeds, "image": answer.image_embeds,
            "similarity": (answer.text_embeds * answer.image_embeds).sum(-1) * self.module.logit_scale.exp(),
        }  # fmt: skip


def inputs() -> dict[str, Tensor]:
    return {"input_ids": tokens(100), "attention_mask": padding_mask(), "pixel_values": image()}


LENGTHS = {"input_ids": {1: "seq"}, "attention_mask": {1: "seq"}}


def clip() -> Built:
    from transformers import CLIPConfig, CLIPModel

    return Clip(CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16))), inputs(), LENGTHS


def siglip() -> Built:
    from transformers import SiglipConfig, SiglipModel

    return Clip(SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))), inputs(), LENGTHS


class Captions(nn.Module):
    """BLIP: logits of the next word in a caption of the image, by cross-attention to its patches."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BlipConfig, BlipForConditionalGeneration

        text = {**TEXT, "encoder_hidden_size": 32, "sep_token_id": 2, "use_cache": False}
        self.module = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION))

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        encoded = self.module.vision_model(pixel_values).last_hidden_state
        return self.module.text_decoder(
            input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=encoded, use_cache=False
        ).logits


def blip() -> Built:
    return Captions(), {"pixel_values": image(), "input_ids": tokens(100), "attention_mask": padding_mask()}, LENGTHS


class Questions(nn.Module):
    """ViLT's single encoder for image and text embeddings, but with all patches: ViLT picks them by random sampling."""

    def __init__(self, width: int = 32, answers: int = 7) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.words = nn.Embedding(100, width)
        self.kinds = nn.Embedding(2, width)
        self.places = nn.Parameter(torch.randn(1, 16, width))
        self.order = nn.Parameter(torch.randn(1, 32, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.answer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, answers))

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        picture = self.patches(pixel_values).flatten(2).transpose(1, 2) + self.places + self.kinds.weight[1]
        text = self.words(input_ids) + self.order[:, : input_ids.shape[1]] + self.kinds.weight[0]
        hidden = torch.cat([attention_mask == 0, torch.zeros(picture.shape[:2], dtype=torch.bool)], 1)
        return self.answer(self.encoder(torch.cat([text, picture], 1), src_key_padding_mask=hidden)[:, 0])


def vilt() -> Built:
    return Questions(), {"pixel_values": image(), "input_ids": tokens(100), "attention_mask": padding_mask()}, LENGTHS


class Layout(nn.Module):
    """LayoutLM: words with their boxes on the page, whose corners may be in any order."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import LayoutLMConfig, LayoutLMForTokenClassification

        self.module = LayoutLMForTokenClassification(LayoutLMConfig(**TEXT, max_2d_position_embeddings=64, num_labels=4))

    def forward(self, input_ids: Tensor, bbox: Tensor, attention_mask: Tensor) -> Tensor:
        first, second = bbox[..., :2], bbox[..., 2:]
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)
        return self.module(input_ids=input_ids, bbox=boxes, attention_mask=attention_mask).logits


def layoutlm() -> Built:
    inputs = {"input_ids": tokens(100), "bbox": torch.randint(0, 60, (2, 12, 4)), "attention_mask": padding_mask()}
    return Layout(), inputs, {name: {1: "seq"} for name in inputs}


class Answers(nn.Module):
    """LLaVA: projected image patches before the words of a causal language model."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

        self.vision = CLIPVisionModel(CLIPVisionConfig(**VISION))
        self.project = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32))
        self.language = LlamaForCausalLM(LlamaConfig(**TEXT, use_cache=False))

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        patches = self.project(self.vision(pixel_values).last_hidden_state[:, 1:])
        words = self.language.get_input_embeddings()(input_ids)
        logits = self.language(inputs_embeds=torch.cat([patches, words], 1), use_cache=False).logits
        return logits[:, patches.shape[1] :]


def llava() -> Built:
    return Answers(), {"pixel_values": image(), "input_ids": tokens(100)}, {"input_ids": {1: "seq"}}


ENTRIES = (
    Entry("clip", FAMILY, clip, saved=True),
    Entry("siglip", FAMILY, siglip),
    Entry("blip", FAMILY, blip),
    Entry("vilt", FAMILY, vilt),
    Entry("layoutlm", FAMILY, layoutlm),
    Entry("llava", FAMILY, llava),
)
