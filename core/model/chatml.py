"""ChatML as the demo's base writes it: the control tokens and a chat template of our own."""

END_OF_TEXT, START_OF_TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START_OF_TURN, END_OF_TURN)
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# Turns are written as they are: nothing is added or taken away, so that what a row says is what is trained.
# Tool results stand together in one user turn, calls at the end of the assistant's.
ENDED = r"'<|im_end|>\n'"
ENDED_BY_EOS = r"'<|im_end|>' ~ eos_token ~ '\n'"    # for a vocabulary without the control tokens
TEMPLATE = """\
{%- set start, end = '<|im_start|>', '<|im_end|>\\n' %}
{%- set own_system = messages and messages[0].role == 'system' %}
{%- if tools %}
    {{- start ~ 'system\\n' ~ (messages[0].content ~ '\\n\\n' if own_system else '') }}
    {{- 'Functions you may call, one JSON description a line:\\n' }}
    {%- for tool in tools %}{{- (tool | tojson) ~ '\\n' }}{%- endfor %}
    {{- 'To call one, write <tool_call>, its name and arguments as JSON, </tool_call>.' ~ end }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- start ~ 'user' if loop.first or loop.previtem.role != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' ~ (message.content or '') ~ '\\n</tool_response>' }}
        {{- end if loop.last or loop.nextitem.role != 'tool' else '' }}
    {%- elif not (tools and loop.first and own_system) %}
        {{- start ~ message.role ~ '\\n' ~ (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {%- set call = call.function or call %}
            {{- '\\n' if message.content or not loop.first else '' }}
            {{- '<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- end }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- start ~ 'assistant\\n' }}{%- endif %}
"""
