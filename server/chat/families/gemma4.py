"""Gemma 4: FunctionGemma's form between other marks, and thinking in a channel."""

from dataclasses import replace

from server.chat.families.function_gemma import family

FAMILY = replace(
    family("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>'),
    thinking=(("<|channel>thought\n", "<channel|>"),),
)
