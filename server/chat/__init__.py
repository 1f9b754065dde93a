"""Conversations and what they become: pure text, without a model, a tokenizer or HTTP.

In reading order: `messages` says what a conversation is; `guard`, `jinja`, `shapes`,
`habits`, `template` and `template_facts` render one with the model's chat template;
`render_messages` and `render_worker` do that in a child process, which `render_process` and
`renderer` own in the HTTP process.
"""
