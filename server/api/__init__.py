"""HTTP: one module a resource. Wire contract: docs/protocols.md, section 4."""
