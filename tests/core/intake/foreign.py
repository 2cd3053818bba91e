"""Chat templates that are not ChatML, in the shapes that base models carry."""

HEADERS = """\
{{- bos_token }}
{%- for m in messages %}
    {%- if m.tool_calls %}
        {{- '<|head|>assistant<|/head|>\\n\\n' ~ m.content }}
        {%- for call in m.tool_calls %}
            {%- set function = call.function %}
            {{- '{"name": "' ~ function.name ~ '", "parameters": ' ~ function.arguments | tojson ~ '}' }}
        {%- endfor %}
        {{- '<|eot|>' }}
    {%- elif m.role == 'tool' %}
        {{- '<|head|>ipython<|/head|>\\n\\n' ~ m.content | tojson ~ '<|eot|>' }}
    {%- else %}
        {{- '<|head|>' ~ m.role ~ '<|/head|>\\n\\n' ~ (m.content | trim) }}
        {%- if loop.first and tools %}{% for t in tools %}{{ '\\n' ~ t | tojson }}{% endfor %}{% endif %}
        {{- '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}
"""

# System folded into the question, an answer behind a space, roles in strict turn, no tools.
BRACKETS = """\
{%- if messages[0].role == 'system' %}
    {%- set system, rest = messages[0].content ~ '\\n\\n', messages[1:] %}
{%- else %}{%- set system, rest = '', messages %}{%- endif %}
{%- for m in rest %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('not in turn') }}{% endif %}
    {%- if m.role == 'user' %}
        {{- bos_token ~ '[INST] ' ~ (system if loop.first else '') ~ m.content ~ ' [/INST]' }}
    {%- else %}
        {{- ' ' ~ m.content ~ eos_token }}
    {%- endif %}
{%- endfor %}
"""

# No system messages; an empty thought before the last answer; thoughts of earlier answers left out.
THINKING = """\
{%- for m in messages %}
    {%- if m.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}
    {%- if m.role == 'user' %}{{- '<|user|>' ~ m.content }}{%- else %}
        {%- set said = m.content.split('</think>')[-1] if not loop.last else m.content %}
        {{- '<|bot|>' ~ ('<think>\\n\\n</think>\\n\\n' if loop.last and '<think>' not in said else '') }}
        {{- said ~ '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|bot|>' }}{% endif %}
"""

CONTROLS = ("<|bos|>", "<|head|>", "<|/head|>", "<|eot|>", "<|user|>", "<|bot|>")
CONFIG = {"eos_token": {"content": "<|eot|>"}, "bos_token": "<|bos|>"}
