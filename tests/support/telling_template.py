"""A chat template that shows all that it is given, of a model that thinks and calls tools."""

TELLING = """\
{# thoughts: <think> </think>, calls: <tool_call> </tool_call> #}\
<|im_start|>given
{{ {"think": enable_thinking | default(none), "effort": reasoning_effort | default(none), \
"tools": tools} | tojson }}<|im_end|>
{% for m in messages %}<|im_start|>{{ m["role"] }}
{{ m["content"] }}{% if m["role"] != "user" %}{{ {"thinking": m["thinking"] | default(none), \
"calls": m["tool_calls"] | default(none), "name": m["name"] | default(none), \
"id": m["tool_call_id"] | default(none)} | tojson }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
