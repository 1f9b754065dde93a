"""A family of each kind, chosen by the part of a chat template that tells it."""

from server.chat.families import family_of

TEMPLATES = {
    "hermes": "{%- if tools %}return <tool_call>{json}</tool_call>{% endif %}<think>",
    "qwen-coder": "{%- if tools %}<tool_call>\n<function=example>\n<parameter=a>{% endif %}",
    "glm": "{% if tools %}<tool_call>{{ name }}<arg_key>{{ k }}</arg_key>{% endif %}",
    "nemotron": "{% if tools %}<TOOLCALL>[{{ calls }}]</TOOLCALL>{% endif %}",
    "llama": '{{ \'Respond with {"name": f, "parameters": dictionary of argument name\' }}',
    "llama-pythonic": "[func_name1(params_name1=params_value1), func_name2()]",
    "mistral": "{{ '[TOOL_CALLS][' }}",
    "mistral-named": "{{ '[TOOL_CALLS]' + name + '[ARGS]' }} [THINK]",
    "deepseek": "'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>'",
    "deepseek-v3.1": "'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>'",
    "gemma": "<start_of_turn>model",
    "function-gemma": "<start_of_turn>model <start_function_call>call:",
    "gemma4": "<|tool_call>call: <|channel>thought\n<channel|>",
    "command-r": "<|START_OF_TURN_TOKEN|> Write 'Action:' followed by a json-formatted list",
    "command-a": "<|START_OF_TURN_TOKEN|><|START_ACTION|><|START_THINKING|>",
    "granite": "<|start_of_role|>assistant<|tool_call|>",
    "granite-thinking": "<|tool_call|> Write your thoughts after 'Here is my thought process:'",
    "phi": "<|tool_call|>{{ tools }}<|/tool_call|>",
    "generic": "{{ messages }}",
    "harmony": "<|start|>assistant<|channel|>analysis<|message|>",
}
FAMILIES = {name: family_of(template, ()) for name, template in TEMPLATES.items()}
