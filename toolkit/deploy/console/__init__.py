"""The Akash Console API: a typed client that asks once where asking costs.

`client.ConsoleClient` has one method per call; the shapes are in `account`, `deployments`,
`bids`, `market` and `updates`, money in `amounts`.
"""
