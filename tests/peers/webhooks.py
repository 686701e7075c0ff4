"""What PyPI's standardwebhooks and svix say of messages: cases in JSON on standard input, one answer each, accepted by
both or not, as a JSON list on standard output."""

import json
import sys

import standardwebhooks
import svix.webhooks


def accepts(webhook, case):
    try:
        webhook(case["secret"]).verify(case["body"], case["headers"])
        return True
    except Exception:  # Each library has errors of its own.
        return False


answers = []
for case in json.load(sys.stdin):
    said = {accepts(webhook, case) for webhook in (standardwebhooks.Webhook, svix.webhooks.Webhook)}
    if len(said) != 1:
        sys.exit(f"they disagree on {json.dumps(case)}")
    answers += said
json.dump(answers, sys.stdout)
