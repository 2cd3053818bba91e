"""The model card: a version's README.md, of the log alone, with no word of any row."""

import json
from typing import Any

from core.decide import generation
from core.settings import Settings
from projections.run import Run

LOADING = '''```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{id}", dtype="auto")   # this folder
tokenizer = AutoTokenizer.from_pretrained("{id}")
```'''


def card(document: dict[str, Any], run: Run, settings: Settings) -> str:
    """Markdown with front matter for Hugging Face.

    `document`: the version's manifest (its files are not needed); `settings`: those of the run.
    """
    base = document["base_model"]["name"]
    about = {
        "descends from": document["parent"] or "the base model",
        "trained on": f"`{_cell(document['file'])}`, SHA-256 `{document['file_sha256']}`",
        "of that": f"{run.rows:,} rows trained, {run.holdout_rows:,} held out, {run.epochs} epoch(s), "
        f"{run.trained_tokens:,} trained tokens",
        "steps": f"{run.steps_planned:,} in this run, {document['global_step']:,} in all",
        "training loss": f"{_number(document['loss'])} (mean of the run's last tenth, nats per token)",
        "hold-out loss": f"{_number(document['validation_loss'])} (at the run's end)",
        "settings": f"SHA-256 `{document['config_sha256']}`",
        "log": f"fact {document['log']['seq']}, chain head `{document['log']['hash']}`",
        "made": document["created_at"],
    }
    if "sources" in document:
        about["made from"] = ", ".join(f"`{_cell(source)}`" for source in document["sources"])
        about["weights"] = f"{document['dtype']}, without the optimizer's moments"
    parts = [
        _front_matter(base),
        f"# {document['id']}",
        f"A full fine-tuning of `{_cell(base)}`, trained on file by file by evertrain. `manifest.json` has "
        "the hash of every file.",
        "| | |\n|---|---|\n" + "\n".join(f"| {name} | {_cell(str(text))} |" for name, text in about.items()),
        "## Loading",
        LOADING.format(id=document["id"]),
        "## Settings of the run",
        f"```json\n{json.dumps(run.config, indent=2, ensure_ascii=False)}\n```",
    ]
    if settings.logit_penalties:
        parts += [
            "## Penalised texts",
            "Held down in training, and by `sequence_bias` in `generation_config.json` when generating: "
            + ", ".join(f"`{_cell(p.text)}` (weight {p.weight:g})" for p in settings.logit_penalties)
            + ".",
        ]
    if settings.stop_sequences is not None:
        parts.append(generation.card(settings.stop_sequences).rstrip("\n"))
    return "\n\n".join(parts) + "\n"


def _front_matter(base: str) -> str:
    return (
        f"---\nbase_model: {json.dumps(base, ensure_ascii=False)}\nlibrary_name: transformers\n"
        "pipeline_tag: text-generation\ntags:\n- text-generation\n- full-fine-tuning\n- evertrain\n---"
    )


def _number(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "unknown"


def _cell(text: str) -> str:
    """Text that cannot end a cell of a table or a line."""
    return text.replace("\n", " ").replace("|", "\\|")
