import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core.files import folder_sha256
from core.intake.formats import read
from core.intake.template import Renderer
from core.model.base import install
from core.model.refusal import BaseRefused


@pytest.fixture(scope="module")
def gguf_file() -> ModuleType:
    """The module beside this one: tests are no package."""
    spec = importlib.util.spec_from_file_location("gguf_file", Path(__file__).with_name("gguf_file.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def edit(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**value, **changes}), encoding="utf-8")


def test_a_folder_is_installed_as_it_is(demo_base: Path, tmp_path: Path) -> None:
    base = install(demo_base, tmp_path / "models")

    assert (demo_base.name, tmp_path / "models" / demo_base.name) == (base.name, base.path)
    assert ("Qwen3ForCausalLM", True, "float32") == (base.architecture, base.tied, base.dtype)
    assert ("<|im_end|>", "<|endoftext|>", ()) == (base.eos_token, base.pad_token, base.notes)
    weights = load_file(base.path / "model.safetensors")
    assert sum(tensor.size for tensor in weights.values()) == base.parameters
    assert weights["model.embed_tokens.weight"].shape[0] == base.vocabulary_size
    assert Renderer(base.path).template_sha256 == base.template_sha256
    assert [demo_base.name] == [path.name for path in base.path.parent.iterdir()]


def test_the_hash_is_of_contents_alone(copy: Path) -> None:
    before = folder_sha256(copy)
    for path in copy.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)

    assert before == folder_sha256(copy)
    (copy / "config.json").write_bytes((copy / "config.json").read_bytes() + b" ")
    assert before != folder_sha256(copy)


def test_padding_that_is_the_end_of_a_sequence_is_mended(copy: Path, tmp_path: Path) -> None:
    edit(copy / "tokenizer_config.json", pad_token="<|im_end|>")
    (copy / "generation_config.json").unlink()
    base = install(copy, tmp_path / "models")

    assert ("<|im_end|>", "<|endoftext|>") == (base.eos_token, base.pad_token)
    assert any("padding" in note for note in base.notes)
    config = json.loads((base.path / "config.json").read_text(encoding="utf-8"))
    generation = json.loads((base.path / "generation_config.json").read_text(encoding="utf-8"))
    assert config["pad_token_id"] == generation["pad_token_id"]
    assert config["pad_token_id"] not in generation["eos_token_id"]
    assert (copy / "tokenizer.json").read_bytes() == (base.path / "tokenizer.json").read_bytes()


def test_only_what_a_model_needs_is_copied(copy: Path, tmp_path: Path) -> None:
    (copy / "modeling_small.py").write_text("raise SystemExit", encoding="utf-8")
    (copy / "pytorch_model.bin").write_bytes(b"pickle")
    base = install(copy, tmp_path / "models")

    assert set() == {path.suffix for path in base.path.iterdir()} & {".py", ".bin"}


def spoil_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def torn(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def one_tensor_less(folder: Path) -> None:
    spoil_weights(folder, lambda weights: weights.pop("model.norm.weight"))


def one_tensor_more(folder: Path) -> None:
    spoil_weights(folder, lambda weights: weights.update(extra=np.zeros(3, np.float32)))


def fewer_rows(folder: Path) -> None:
    edit(folder / "config.json", vocab_size=2000)
    name = "model.embed_tokens.weight"
    spoil_weights(folder, lambda weights: weights.update({name: weights[name][:2000]}))


@pytest.mark.parametrize(("spoil", "said"), [
    (only_pickles, "pickles"),
    (no_tokenizer, "tokenizer"),
    (torn, "weights"),
    (one_tensor_less, "missing_keys"),
    (one_tensor_more, "unexpected_keys"),
    (fewer_rows, "embedding rows"),
    (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
    (lambda folder: edit(folder / "config.json", quantization_config={"bits": 4}), "quantized"),
    (lambda folder: edit(folder / "config.json", architectures=["Qwen3ForSequenceClassification"]), "causal"),
    (lambda folder: edit(folder / "config.json", model_type="unheard_of"), "config.json"),
    (lambda folder: (folder / "config.json").unlink(), "config.json"),
    (lambda folder: edit(folder / "tokenizer_config.json", eos_token=None), "eos_token"),
])
def test_what_cannot_be_trained_is_refused_and_nothing_remains(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str,
) -> None:
    spoil(copy)

    with pytest.raises(BaseRefused, match=said):
        install(copy, tmp_path / "models")
    assert [] == list((tmp_path / "models").iterdir())


def test_a_base_is_never_installed_over_another(demo_base: Path, tmp_path: Path) -> None:
    install(demo_base, tmp_path)

    with pytest.raises(BaseRefused, match="exists"):
        install(demo_base, tmp_path)
    with pytest.raises(BaseRefused, match="neither"):
        install(tmp_path / "nowhere", tmp_path)


def test_a_revision_in_the_hubs_cache_is_called_by_the_models_name(copy: Path, tmp_path: Path) -> None:
    revision = tmp_path / "models--Owner--Small-1B" / "snapshots" / "0123abcd"
    revision.parent.mkdir(parents=True)
    copy.rename(revision)

    assert "Small-1B" == install(revision, tmp_path / "models").name


@pytest.mark.parametrize("splitter", ["smollm", "qwen2"])
def test_a_gguf_file_becomes_the_model_it_was(
    demo_base: Path, tmp_path: Path, gguf_file: ModuleType, splitter: str,
) -> None:
    gguf_file.write_gguf(demo_base, tmp_path / "small.gguf", splitter)
    base = install(tmp_path / "small.gguf", tmp_path / "models")

    original, converted = (load_file(folder / "model.safetensors") for folder in (demo_base, base.path))
    assert original.keys() == converted.keys()
    assert all(np.array_equal(original[name], converted[name]) for name in original)
    config, before = (
        json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (base.path, demo_base)
    )
    kept = ("rms_norm_eps", "head_dim", "rope_parameters", "max_position_embeddings", "tie_word_embeddings")
    for key in kept:
        assert before[key] == config[key]
    assert "quantization_config" not in config
    assert ("<|im_end|>", "<|endoftext|>") == (base.eos_token, base.pad_token)
    renderer = Renderer(base.path)
    assert renderer.chat_problem is None
    digits = renderer.encode([read({"text": "a   1234"}, "text")])[0].ids.tolist()
    assert list("1234") == [renderer.tokenizer.decode([token]).strip() for token in digits[-5:-1]]
    named = json.loads((base.path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert before["max_position_embeddings"] == named["model_max_length"]


@pytest.mark.parametrize("has_controls", [True, False])
def test_a_base_without_a_chat_template_gets_chatml(
    demo_base: Path, tmp_path: Path, has_controls: bool
) -> None:
    source = tmp_path / "plain"
    shutil.copytree(demo_base, source)
    (source / "chat_template.jinja").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (source / name).read_text(encoding="utf-8")
        if not has_controls:
            text = text.replace("<|im_start|>", "<|unused|>").replace("<|im_end|>", "<|last|>")
        (source / name).write_text(text, encoding="utf-8")
    base = install(source, tmp_path / "models")
    renderer = Renderer(base.path)
    row = read({"question": "One?", "answer": "Two."}, "question_answer")
    (encoded,) = renderer.encode([row])

    assert (None, None) == (renderer.chat_problem, renderer.tools_problem)
    assert any("no chat template" in note for note in base.notes)
    end = "<|im_end|>" if has_controls else "<|im_end|><|last|>"
    assert f"<|im_start|>user\nOne?{end}\n<|im_start|>assistant\nTwo.{end}\n" == renderer.render(row)
    trained = renderer.tokenizer.decode(encoded.ids[encoded.labels == 1].tolist(), skip_special_tokens=False)
    assert f"Two.{end}" == trained
