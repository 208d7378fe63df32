"""``speechre data validate``: every fault of a manifest, and the repair of those that have one right answer."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from speechre.cli.options import Commands
from speechre.cli.output import check_replaces_no_input, message, one_line, open_output

_DESCRIPTION = """\
List every fault of a manifest, one a line, with a stable code. The exit code is 1 if one of them is an error.

With --fix, what has one right answer is repaired in a new file, every change is written to a list beside it
(FIXED.changes.jsonl), and the faults that are left are listed by the lines of the new file."""


def add_parser(kinds: Commands) -> None:
    """The arguments of this command."""
    parser = kinds.add_parser("validate", help="every fault of a manifest", description=_DESCRIPTION)
    parser.add_argument("manifest", type=Path, metavar="M.jsonl")
    parser.add_argument(
        "--schema",
        metavar="NAME|YAML",
        help="check types and argument pairs against this schema, e.g. conll04 (default: no check)",
    )
    parser.add_argument("--language", metavar="CODE", help="find texts that are clearly not in it, e.g. en")
    parser.add_argument("--no-audio", action="store_true", help="open no recording")
    parser.add_argument("--fix", type=Path, metavar="FIXED.jsonl", help="write a repaired manifest here; not M.jsonl")
    parser.add_argument("--json", action="store_true", help="one JSON object with all issues")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Validate; 1 if there is an error."""
    from speechre.data.validate import validate_manifest
    from speechre.schemas import load_schema

    schema = None if args.schema is None else load_schema(args.schema)
    manifest, changes = (args.manifest, None) if args.fix is None else (args.fix, _fix(args.manifest, args.fix))
    issues = validate_manifest(manifest, schema, check_audio=not args.no_audio, language=args.language)
    counts = Counter(issue.severity for issue in issues)
    with open_output(None) as out:
        if args.json:
            record = {
                "num_errors": counts["error"],
                "num_warnings": counts["warning"],
                "issues": [issue.to_dict() for issue in issues],
            }
            out.write_json(record if changes is None else {**record, "changes": changes})
        else:
            for issue in issues:
                out.write(one_line(str(issue)) + "\n")
    message(f"{manifest}: {counts['error']} errors, {counts['warning']} warnings")
    return 1 if counts["error"] else 0


def _fix(manifest: Path, fixed: Path) -> list[dict[str, object]]:
    from speechre.data.repair import repair_manifest
    from speechre.data.store import write_atomically

    listed = fixed.with_suffix(".changes.jsonl")
    for place in (fixed, listed):
        check_replaces_no_input(place, [manifest])
    changes = [change.to_dict() for change in repair_manifest(manifest, fixed)]
    write_atomically(listed, "".join(json.dumps(change, ensure_ascii=False) + "\n" for change in changes))
    message(f"wrote {fixed}; {len(changes)} changes, listed in {listed}")
    return changes
