"""Docker with Compose on this machine: its program, one project of it, and what goes into one."""
