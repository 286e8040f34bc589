"""Peak memory of `llamalab convert` on a random checkpoint, beside what one shard and one tensor take.

    python benchmarks/convert_memory.py    1 GB: Meta's format to Hugging Face's in four files, and to Meta's in four

The conversions run in a process of their own, after those of a tiny checkpoint, which load every library.
`above_start` is how far the process's resident memory rose above what it was then, sampled from /proc every
millisecond. `allowed` is the largest shard that has to be held (none for safetensors, which are written tensor by
tensor), plus the largest tensor twice (the one read, and the one being changed), plus 32 MB.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

import torch

from llamalab.checkpoint.convert import convert
from llamalab.checkpoint.formats import open_checkpoint

MB = 10**6
SHARDS = 4
SLACK_MB = 32


def resident_bytes() -> int:
    """Resident memory of this process, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_checkpoint(folder: Path, megabytes: float, dim: int) -> None:
    """A random LLaMA in Meta's format, fp16, in one shard; its tokenizer says only how many tokens there are."""
    layer_bytes = 2 * (4 * dim * dim + 3 * dim * 4 * dim + 2 * dim)
    vocab = 8 * dim
    layers = max(1, round((megabytes * MB - 2 * vocab * dim * 2) / layer_bytes))
    folder.mkdir()
    sizes = {
        "dim": dim,
        "multiple_of": 4 * dim,
        "n_heads": 8,
        "n_layers": layers,
        "norm_eps": 1e-5,
        "vocab_size": vocab,
    }
    (folder / "params.json").write_text(json.dumps(sizes))

    def weight(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.float16).uniform_(-0.1, 0.1)

    weights = {"tok_embeddings.weight": weight(vocab, dim), "norm.weight": weight(dim)}
    for index in range(layers):
        for name in ("wq", "wk", "wv", "wo"):
            weights[f"layers.{index}.attention.{name}.weight"] = weight(dim, dim)
        for name, shape in (("w1", (4 * dim, dim)), ("w2", (dim, 4 * dim)), ("w3", (4 * dim, dim))):
            weights[f"layers.{index}.feed_forward.{name}.weight"] = weight(*shape)
        for name in ("attention_norm", "ffn_norm"):
            weights[f"layers.{index}.{name}.weight"] = weight(dim)
    torch.save({**weights, "output.weight": weight(vocab, dim)}, folder / "consolidated.00.pth")
    write_tokenizer(folder / "tokenizer.model", vocab)


def write_tokenizer(path: Path, vocab: int) -> None:
    """A SentencePiece model of made-up pieces."""
    from sentencepiece import sentencepiece_model_pb2 as protocol

    model = protocol.ModelProto()
    model.trainer_spec.model_type = protocol.TrainerSpec.BPE
    for piece, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for index in range(vocab - 3):
        model.pieces.add(piece=f"p{index}", score=-float(index), type=1)
    path.write_bytes(model.SerializeToString())


def measure(folder: Path, answers: "multiprocessing.Queue[dict[str, tuple[float, float]]]") -> None:
    """Converts `before` to Hugging Face's format, and that to Meta's; answers bytes above start and seconds of each."""
    torch.set_num_threads(1)
    found = {}
    for to, source in (("hf", "before"), ("meta", "hf")):
        convert(folder / f"small_{source}", to, folder / f"small_{to}", shards=SHARDS)
        start, peak, done = resident_bytes(), [0], threading.Event()

        def watch(peak: list[int] = peak, done: threading.Event = done) -> None:
            while not done.is_set():
                peak[0] = max(peak[0], resident_bytes())
                time.sleep(0.001)

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        convert(folder / source, to, folder / to, shards=SHARDS)
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        found[to] = (peak[0] - start, seconds)
    answers.put(found)


def run(folder: Path, megabytes: float, dim: int) -> dict[str, dict[str, float]]:
    """Per target: MB of the `checkpoint`, of what was `above_start` and of what is `allowed`, and `seconds`."""
    write_checkpoint(folder / "small_before", 1.0, 64)
    write_checkpoint(folder / "before", megabytes, dim)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measure, args=(folder, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    sizes = [tensor.bytes_as(None) for tensor in open_checkpoint(folder / "before").weights.values()]
    rows = {}
    for to, (above, seconds) in answers.get().items():
        shard = sum(sizes) / SHARDS if to == "meta" else 0
        rows[to] = {
            "checkpoint": sum(sizes) / MB,
            "largest_tensor": max(sizes) / MB,
            "shard": shard / MB,
            "above_start": above / MB,
            "allowed": (shard + 2 * max(sizes)) / MB + SLACK_MB,
            "seconds": seconds,
        }
    return rows


def main() -> None:
    """Prints a line for each target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--dim", type=int, default=1024)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for to, row in run(Path(folder), args.megabytes, args.dim).items():
            print(f"to={to}", *(f"{key}={value:.0f}" for key, value in row.items()), "(MB, s)")


if __name__ == "__main__":
    main()
