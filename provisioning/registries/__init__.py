"""Registries other than the project's own server: files that other products import (`dialects`,
`files`), and privacyIDEA over its REST API (`privacyidea`). All implement `registry.Registry`."""
