"""Make CLIP text models with random weights, and tokenizers for them, without a network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SEED = 7


def write_clip_folder(
    folder: Path, words: Sequence[str] = (), *, whole: bool = False, longest: int = 32, **config: Any
) -> Path:
    """Save a CLIP with random weights and a byte-pair tokenizer that knows ``words``.

    Args:
        folder: Made here.
        words: Lower-case words.
        whole: Save text and image model together, as the published checkpoints are.
        longest: Most letters per token.
        **config: Of ``CLIPTextConfig``; a tiny model of width 32 by default.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    folder.mkdir(parents=True)
    tokens = write_tokenizer(folder, words, longest)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    text = {**sizes, "vocab_size": tokens, "eos_token_id": tokens - 1, "bos_token_id": tokens - 2, **config}
    torch.manual_seed(_SEED)
    if whole:
        vision = {**sizes, "image_size": 32, "patch_size": 16}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    else:
        model = CLIPTextModel(CLIPTextConfig(**text))
    with torch.no_grad():
        for parameter in model.parameters():  # the default start is too small to tell texts apart
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, words: Sequence[str], longest: int = 32) -> int:
    """Write ``vocab.json`` and ``merges.txt`` in CLIP's form; return the number of tokens.

    Args:
        folder: Where.
        words: Trained on until each is one token, or as few as ``longest`` allows.
        longest: Most letters per token.
    """
    from tokenizers import Tokenizer, models, trainers

    letters = [chr(code) for code in _byte_letters()]
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer = trainers.BpeTrainer(
        vocab_size=40_000,
        show_progress=False,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        max_token_length=longest + len("</w>"),
    )
    learned.train_from_iterator(words, trainer)
    merges = json.loads(learned.to_str())["model"]["merges"]
    vocabulary = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters)])
    vocabulary.update(dict.fromkeys(left + right for left, right in merges))
    vocabulary.update(dict.fromkeys(["<|startoftext|>", "<|endoftext|>"]))
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(vocabulary)}))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return len(vocabulary)


def _byte_letters() -> list[int]:
    """Characters in which byte-level tokenizers write bytes: printable ones as they are, others from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*printable, *range(256, 256 + 256 - len(printable))]
