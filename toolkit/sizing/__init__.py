"""What a model needs: memory, storage, GPUs, and about how fast it will be, each with the reason.

`subject` finds out what a model is, `demand` what an engine takes for it, `fitting` on which
GPUs that has room, `speed` what memory bandwidth allows, and `sizing` puts it together.
"""
