"""The gateway of an Akash provider: the status, logs and events of one lease.

`gateway` is the door. It knows nothing of the Console, of the ledger or of money: who
uses it says which lease, how to get a token, and which certificates the provider has
published on the chain.
"""
