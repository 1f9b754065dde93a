"""Deploying on the Akash network through its Console.

A plan is made by `planning` of what `demand` asks for, what `preview` says the Console makes of
it, who could take it (`screening`) and what it may cost (`pricing`). It is carried out by
`opening`: `placing`, `bidding`, `leasing`, `serving`, and `ending` whatever fails. What was
asked of the account stands in `orders` before it is; `target` is the door.
"""
