"""What was found: as JUnit XML for machines, as a page to print and file for people."""

from __future__ import annotations

from datetime import datetime
from html import escape
from string import Template
from xml.etree import ElementTree as ET

from tallystick.tools.selftest.checks import CheckVerdict, TestedBoard

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Self-test $serial</title>
<style>
  @page { size: A4; margin: 20mm }
  body { font: 11pt/1.5 system-ui, sans-serif; color: #16181c; max-width: 170mm; margin: 12mm auto }
  h1 { font-size: 19pt; margin: 0 0 2mm }
  .verdict { display: inline-block; padding: 1mm 4mm; border: 0.6mm solid; font-weight: 600 }
  .passed { color: #1d6b3c } .failed { color: #a01c1c } .skipped { color: #5b626c }
  dl { display: grid; grid-template-columns: 38mm 1fr; margin: 6mm 0 }
  dt { color: #5b626c } dd { margin: 0; overflow-wrap: anywhere }
  dd.digest { font: 0.83em/1.8 ui-monospace, monospace }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; padding: 1.6mm 2mm; border-bottom: 0.2mm solid #b9bfc7 }
  .time { text-align: right; font-variant-numeric: tabular-nums }
  footer { margin-top: 16mm; display: grid; grid-template-columns: 1fr 1fr; gap: 12mm }
  @media print { body { margin: 0 } }
  footer p { border-top: 0.2mm solid #16181c; padding-top: 1mm; color: #5b626c }
</style>
</head>
<body>
<h1>Self-test of card $serial</h1>
<p><span class="verdict $verdict">$summary</span></p>
<dl>
$facts
</dl>
<table>
<thead><tr><th>Check</th><th>Result</th><th>Found</th><th class="time">s</th></tr></thead>
<tbody>
$checks
</tbody>
</table>
<footer><p>Tested by</p><p>Date, signature</p></footer>
</body>
</html>
"""


_DIGEST = "Image, SHA-256"
_CLASS = {_DIGEST: ' class="digest"'}


def page(board: TestedBoard, *, port: str, time: datetime) -> str:
    """One HTML page, A4, complete in itself."""
    facts = {"Firmware": str(board.version)}
    if board.image is not None:
        facts["Security version"] = str(board.image.security)
        facts[_DIGEST] = board.image.digest.hex()
    facts |= {"Board": board.version.board, "Port": port}
    facts["Time"] = time.strftime("%Y-%m-%d %H:%M %Z")
    return Template(_PAGE).substitute(
        serial=escape(board.serial),
        summary=board.summary,
        verdict=CheckVerdict.PASSED if board.good else CheckVerdict.FAILED,
        facts="\n".join(
            f"  <dt>{name}</dt><dd{_CLASS.get(name, '')}>{escape(value)}</dd>"
            for name, value in facts.items()
        ),
        checks="\n".join(
            f'<tr><td>{check.name}</td><td class="{check.verdict}">{check.verdict}</td>'
            f'<td>{escape(check.detail)}</td><td class="time">{check.seconds:.1f}</td></tr>'
            for check in board.checks
        ),
    )


def junit(board: TestedBoard, *, time: datetime) -> bytes:
    """JUnit XML: one suite, a case a check."""
    count = dict.fromkeys(CheckVerdict, 0)
    for check in board.checks:
        count[check.verdict] += 1
    suite = ET.Element(
        "testsuite",
        name=f"selftest.{board.serial}",
        tests=str(len(board.checks)),
        failures=str(count[CheckVerdict.FAILED]),
        errors="0",
        skipped=str(count[CheckVerdict.SKIPPED]),
        time=f"{sum(check.seconds for check in board.checks):.2f}",
        timestamp=time.isoformat(timespec="seconds"),
        hostname=board.version.board,
    )
    properties = ET.SubElement(suite, "properties")
    facts = {"firmware": str(board.version), "board": board.version.board}
    if board.image is not None:
        facts |= {"security": str(board.image.security), "sha256": board.image.digest.hex()}
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=value)
    for check in board.checks:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"selftest.{board.version.board}",
            name=check.name,
            time=f"{check.seconds:.2f}",
        )
        if check.verdict is CheckVerdict.FAILED:
            ET.SubElement(case, "failure", message=check.detail)
        elif check.verdict is CheckVerdict.SKIPPED:
            ET.SubElement(case, "skipped", message=check.detail)
        else:
            ET.SubElement(case, "system-out").text = check.detail
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text
