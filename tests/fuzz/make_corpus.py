#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Seeds for the fuzz targets that read models and answers of remote servers: small pieces with the right structure.

    make_corpus.py FOLDER      makes FOLDER/fuzz_ggml, FOLDER/fuzz_safetensors and FOLDER/fuzz_remote
"""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from remote_server import ANSWERS, gemini_answer  # noqa: E402

STATE, MELS = 64, 80
SMALL = [  # name, shape
    ("encoder.conv1.bias", (STATE, 1)),
    ("encoder.ln_post.weight", (STATE,)),
    ("decoder.blocks.0.attn.query.weight", (STATE, STATE)),
    ("encoder.conv1.weight", (STATE, MELS, 3)),
]
BLOCKS = {0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32)}


def ggml_tensor(name, shape, kind):
    size, values = BLOCKS[kind]
    count = 1
    for n in shape:
        count *= n
    head = struct.pack("<3i", len(shape), len(name), kind) + struct.pack(f"<{len(shape)}i", *reversed(shape))
    return head + name.encode() + bytes(i % 120 for i in range(count // values * size))


def ggml_header(state=STATE, vocabulary=51864):
    return struct.pack("<I11i", 0x67676D6C, vocabulary, 1500, state, state // 64, 1, 448, state, state // 64, 1, MELS, 1)


def ggml():
    tokens = struct.pack("<i", 3) + b"".join(struct.pack("<i", len(t)) + t for t in (b"!", b" the", b""))
    yield b"\0" + ggml_header()
    yield b"\0" + ggml_header() + struct.pack("<2i", MELS, 201)
    yield b"\1" + tokens
    yield b"\1" + tokens + ggml_tensor(*SMALL[0], 0)
    yield b"\1" + struct.pack("<2i", 1, 1025) + bytes(1025)
    yield b"\0" + ggml_header() + struct.pack("<2i", MELS, 201) + b"\0\0\xc0\x7f" * (MELS * 201)
    yield b"\2" + b"".join(ggml_tensor(name, shape, 0) for name, shape in SMALL[:2])
    for kind in BLOCKS:
        yield b"\2" + ggml_tensor(*SMALL[2], kind)
    yield b"\2" + ggml_tensor(*SMALL[3], 1)


def safetensors():
    bias = {"dtype": "F16", "shape": [STATE], "data_offsets": [0, 2 * STATE]}
    norm = {"dtype": "F32", "shape": [STATE], "data_offsets": [2 * STATE, 6 * STATE]}
    brain = {"dtype": "BF16", "shape": [STATE, 1], "data_offsets": [0, 2 * STATE]}
    for header in (
        {},
        {"__metadata__": {"format": "pt"}, "model.encoder.conv1.bias": bias},
        {"model.encoder.conv2.bias": brain, "model.encoder.layer_norm.weight": norm, "proj_out.weight": {}},
    ):
        text = json.dumps(header).encode()
        yield b"\0" + struct.pack("<Q", len(text)) + text + bytes(6 * STATE)
    config = {"model_type": "whisper", "vocab_size": 51864, "num_mel_bins": MELS, "max_source_positions": 1500, "d_model": STATE,
              "encoder_attention_heads": 1, "encoder_layers": 1, "max_target_positions": 448,
              "decoder_attention_heads": 1, "decoder_layers": 1}
    yield b"\1" + json.dumps(config).encode()
    yield b"\2" + json.dumps({"!": 0, "\u0120the": 262, "\u00e2\u013b": 7, "<|x|>": 9}, ensure_ascii=False).encode()
    yield b"\1" + json.dumps(config | {"activation_function": "gelu", "scale_embedding": False}).encode()
    yield b"\2" + json.dumps({"<|endoftext|>": 50256, "<|startoftranscript|>": 50257}).encode()
    yield b"\3" + json.dumps({"alignment_heads": [[0, 0]]}).encode()
    yield b"\3" + json.dumps({"lang_to_id": {"<|en|>": 50258}, "task_to_id": {"transcribe": 50358, "translate": 50357},
                              "no_timestamps_token_id": 50362, "prev_sot_token_id": 50360}).encode()


def remote():
    """The first byte says who reads it: Gemini's answers, OpenAI's, plain text, refusals (with half of their status)."""
    said = json.dumps({"language": "de", "text": "Guten Tag, meine Damen und Herren. Wie geht es Ihnen?"})
    yield b"\0" + json.dumps(gemini_answer([{"text": "hm", "thought": True}, {"text": said}])).encode()
    segment = {"id": 0, "start": 0.5, "end": 2.25, "text": " a b", "avg_logprob": -0.2, "no_speech_prob": 0.1, "temperature": 0,
               "compression_ratio": 1.1}
    words = [{"word": "a", "start": 0.5, "end": 1, "probability": 0.9}, {"word": "b", "start": 1.5, "end": 2.25}]
    yield b"\1" + json.dumps({"text": "a b", "language": "english", "segments": [segment], "words": words}).encode()
    yield b"\1" + json.dumps({"text": "a b", "segments": [segment | {"words": words}]}).encode()
    yield b"\1" + json.dumps({"text": "a b", "words": words}).encode()
    yield b"\1" + json.dumps({"text": "a b"}).encode()
    yield b"\2" + "He said \u201cI will not go.\u201d So what? \u3053\u308c\u3067\u3059\u3002 Dr. No".encode()
    for status, body in ANSWERS.values():
        body = (body if isinstance(body, str) else json.dumps(body)).replace("KEY", "AIza-key").encode()
        yield (b"\0" if status == 200 else bytes([status // 2 // 4 * 4 + 3 & 255])) + body


def main():
    for name, seeds in (("fuzz_ggml", ggml()), ("fuzz_safetensors", safetensors()), ("fuzz_remote", remote())):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds):
            (folder / f"seed{i}").write_bytes(seed)


if __name__ == "__main__":
    main()
