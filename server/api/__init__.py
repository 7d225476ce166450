"""HTTP: one module a resource. Wire contract: docs/reference/protocols.md, section 4."""
