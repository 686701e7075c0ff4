"""Checks the OpenAPI document of a running `fiscus demo`, and lets `schemathesis` try the API by what it promises.

The document is valid 3.1 and its examples fit its schemas. No server error, no answer with a status, a content type or a body that the document does not have, nothing that
is open without a key though it should not be. FISCUS is the binary.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from openapi_document import operations, problems

FISCUS = os.environ["FISCUS"]
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# A glance in every run of all tests; give more time for a long look.
SECONDS = os.environ.get("SCHEMATHESIS_SECONDS", "90")
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
]


def document_is_sound(gateway):
    with urllib.request.urlopen(gateway + "/openapi.json", timeout=30) as answer:
        document = json.load(answer)
    found, checked = problems(document)
    for problem in found:
        print(f"openapi.json: {problem}", file=sys.stderr)
    known = sum(1 for _ in operations(document))
    print(f"openapi.json: {known} operations, {checked} examples")
    return not found and known >= 70 and checked >= 500


def run(demo, directory):
    said = json.loads(demo.stdout.readline())
    if not document_is_sound(said["gateway"]):
        return 1
    command = [
        SCHEMATHESIS, "run", said["gateway"] + "/openapi.json",
        "--header", f"Authorization: Bearer {said['api_key']}",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--max-examples", "40", "--max-time", SECONDS, "--generation-deterministic",
        "--request-timeout", "30", "--workers", "2",
        # What cannot be sent through the client as it was generated is no finding.
        "--suppress-health-check", "all", "--warnings", "off",
        "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    hooks = os.environ | {
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
        "PYTHONPATH": str(Path(__file__).parent.resolve()),
    }
    # Its limit bounds the search, not the shrinking of what it found. It leaves what it found where it runs.
    done = subprocess.run(
        command, cwd=directory, env=hooks, capture_output=True, text=True, timeout=int(SECONDS) * 4 + 60
    )
    sys.stdout.write(done.stdout[-20_000:] if done.returncode else "")
    sys.stderr.write(done.stderr[-5_000:] if done.returncode else "")
    return done.returncode


def main():
    with tempfile.TemporaryDirectory() as directory:
        arguments = [FISCUS, "demo", "--no-uploads", "--json", "--nodes", "1", "--dir", str(Path(directory) / "demo")]
        demo = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            return run(demo, directory)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)


if __name__ == "__main__":
    sys.exit(main())
