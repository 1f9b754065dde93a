"""Deploying on the Akash network through its Console.

A plan is made by `planning` of what `demand` asks for, what `preview` says the Console makes of
it, who could take it (`screening`) and what it may cost (`pricing`).
"""
