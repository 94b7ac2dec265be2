"""Adds up the JUnit files of several pytest runs and prints the one line that a `run` ends with.

Usage: totals.py NAME FILE…  A file that is missing or unreadable is a run that broke and counts as one failure.
"""

import sys
import xml.etree.ElementTree as xml


def count(path):
    """(passed, failed, skipped) of one file."""
    try:
        suites = xml.parse(path).getroot().iter("testsuite")
        numbers = [
            {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
            for suite in suites
        ]
    except (OSError, xml.ParseError) as error:
        print(f"no result of a run: {error}")
        return 0, 1, 0
    failed = sum(number["failures"] + number["errors"] for number in numbers)
    skipped = sum(number["skipped"] for number in numbers)
    return sum(number["tests"] for number in numbers) - failed - skipped, failed, skipped


if __name__ == "__main__":
    name, *files = sys.argv[1:]
    passed, failed, skipped = map(sum, zip(*map(count, files)))
    print(f"{name}: {passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)
