"""What a template may not do, how long it may work, and what does not count as work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from core.intake.sandbox import SECONDS, ChatTemplate, TemplateFailed

ROOT = Path(__file__).parents[3]

# The second of three messages stops the process where it is written.
STOPPED = """
import os, signal, sys
from core.intake.sandbox import ChatTemplate

class Stopping:
    def __str__(self):
        os.kill(os.getpid(), signal.SIGSTOP)
        return "said"

template = ChatTemplate("{% for m in messages %}\\n{{ m.content }}\\n{% endfor %}", {})
said = {"role": "user", "content": "said"}
sys.stdout.write(template.render([said, {"role": "user", "content": Stopping()}, said]))
"""


def test_a_machine_that_stands_still_ends_no_template() -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", STOPPED], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(1.25 * SECONDS)
        child.send_signal(signal.SIGCONT)
        written, _ = child.communicate(timeout=30)

    assert (0, "said" * 3) == (child.returncode, written.replace("\n", ""))


def test_a_template_without_end_is_ended_after_its_time_of_work() -> None:
    nested = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc")
    template = ChatTemplate(f"{nested}{'{% endfor %}' * 3}", {})
    began = time.thread_time()
    with pytest.raises(TemplateFailed, match="works for more than"):
        template.render([])

    assert SECONDS <= time.thread_time() - began < 5 * SECONDS


@pytest.mark.parametrize("template", [
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ 10 ** 1000000000 }}",
    "{{ [0] * 1000000000 }}",
    "{{ messages.append(messages) }}",
    "{{ ''.__class__.__mro__ }}",
])
def test_a_template_without_end_or_shame_is_stopped(template: str) -> None:
    compiled = ChatTemplate(template, {})
    began = time.monotonic()
    with pytest.raises((TemplateFailed, SecurityError, UndefinedError)):
        compiled.render([{"role": "user", "content": "a"}])

    assert time.monotonic() - began < 30
