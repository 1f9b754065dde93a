"""A Console that stands in for Akash's: a world with its own clock, behind a real port.

`world.World` is the state machine, `server.ConsoleServer` the HTTP around it, `faults` what
can go wrong on the way, `document` the check against the published OpenAPI document.
"""
