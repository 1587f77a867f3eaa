#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.2.9"]
# ///
"""Every check of every package: `nox` runs all, `nox -l` lists them, `nox -s "tests-3.11(hlstm)"` runs one.

A package is tested as its users get it: wheels, a fresh environment, a working directory outside the tree.
A new folder under packages/ takes part in all sessions without a change here.
"""

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parent.resolve()
OLDEST, NEWEST = "3.11", "3.13"
METHODS = {file.parent.name: file.parent for file in sorted(ROOT.glob("packages/*/pyproject.toml"))}
PACKAGES = {"shared": ROOT / "shared", **METHODS}
CONFIG = ("-c", ROOT / "pyproject.toml")
# One file of tests, with what its fixtures trained, stays on one process.
PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadscope")
QUICK = ("-m", "not distributed and not slow")  # which have sessions of their own
# What the newest Python runs: acceptance tests of every method, and what depends on Python and its libraries.
NEWEST_RUNS = tuple(
    f"{name}/tests/{test}"
    for name, tests in {
        "packages/*": ("test_contract.py",),
        "shared": ("test_*.py", "cli", "metrics", "runs", "predict", "data/formats", "data/storage"),
    }.items()
    for test in tests
)


def import_name(package: str) -> str:
    """The name that a package is imported by: its one folder under src/."""
    return next(PACKAGES[package].glob("src/*/__init__.py")).parent.name


def project(package: str) -> dict[str, Any]:
    return nox.project.load_toml(PACKAGES[package] / "pyproject.toml")["project"]


def dependency_group(folder: Path, group: str) -> list[str]:
    return list(nox.project.dependency_groups(nox.project.load_toml(folder / "pyproject.toml"), group))


def build_wheels(session: nox.Session, packages: list[str], folder: str) -> list[Path]:
    """Build the wheels of `packages` and of the shared package, on which each of them depends."""
    uv = session.venv_backend == "uv"
    command = "uv build --wheel --quiet -o" if uv else "python -m pip wheel --no-deps --quiet -w"
    for package in dict.fromkeys(["shared", *packages]):
        session.run_install(*command.split(), folder, PACKAGES[package], external=uv)
    return sorted(Path(folder).glob("*.whl"))


def install(session: nox.Session, packages: list[str], folder: str, *more: str) -> None:
    """Install the wheels of `packages` with what their tests need, then leave the tree for `folder`.

    One command that is given files: with names, an equal version on a package index could win.
    """
    wheels = build_wheels(session, packages, folder)
    tests_need = [line for package in packages for line in dependency_group(PACKAGES[package], "test")]
    session.install(*more, *wheels, *dict.fromkeys(tests_need))
    session.chdir(folder)
    session.env["PYTHONPATH"] = ""  # a developer's path to the sources must not shadow the wheels
    session.env["HMC_CACHE"] = f"{folder}/cache"  # nor data sets cached by another version


ISOLATED = """
import importlib.util, sys, sysconfig
own, siblings = sys.argv[1].split(), sys.argv[2].split()
for name in own:
    origin = importlib.util.find_spec(name).origin
    assert origin.startswith(sysconfig.get_path("purelib")), f"{name} was imported from {origin}"
for name in siblings:
    assert importlib.util.find_spec(name) is None, f"{name} can be imported, but is no dependency"
"""


@nox.session(python=[OLDEST])
@nox.parametrize("package", [nox.param(name, id=name) for name in PACKAGES])
def tests(session: nox.Session, package: str) -> None:
    """Test the wheel of one package, alone with the shared package."""
    own = {"shared", package}
    with tempfile.TemporaryDirectory() as folder:
        install(session, [package], folder)
        names = [" ".join(import_name(name) for name in group) for group in (own, PACKAGES.keys() - own)]
        session.run("python", "-c", ISOLATED, *names, log=False)
        options = [*PARALLEL, *QUICK, *session.posargs]
        session.run("pytest", *CONFIG, *options, PACKAGES[package] / "tests")


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Test all wheels together on the newest Python: the acceptance tests, and what depends on Python."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        files = [path for pattern in NEWEST_RUNS for path in sorted(ROOT.glob(pattern))]
        options = [*PARALLEL, *QUICK, *session.posargs]
        session.run("pytest", *CONFIG, *options, *files)


@nox.session(python=OLDEST, default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: compiled networks, processes that are killed, in every package."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        folders = [path / "tests" for path in PACKAGES.values()]
        session.run("pytest", *CONFIG, *PARALLEL, "-m", "slow", *session.posargs, *folders)


@nox.session(python=OLDEST, default=False)
def coverage(session: nox.Session) -> None:
    """Measure which branches the tests of all packages take, in the processes that they start, too."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder, "pytest-cov>=7.0")
        session.env["COVERAGE_FILE"] = f"{folder}/coverage"
        measured = [f"--cov={import_name(name)}" for name in PACKAGES]
        options = ["--cov-config", ROOT / "pyproject.toml", "--cov-report", "term", "-m", "not distributed"]
        folders = [path / "tests" for path in PACKAGES.values()]
        session.run("pytest", *CONFIG, *PARALLEL, *measured, *options, *session.posargs, *folders)


@nox.session(python=OLDEST)
def faults(session: nox.Session) -> None:
    """Let files go wrong under training and readers: a sample; with HMC_FAULTS=all at every event (hours)."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        folders = [ROOT / "tests" / "faults", ROOT / "tests" / "fuzz"]
        session.run("pytest", *CONFIG, *session.posargs, *folders)


@nox.session(python=OLDEST)
def distributed(session: nox.Session) -> None:
    """Run the tests that start processes with torchrun or accelerate, of every package."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        session.env["ACCELERATE_USE_CPU"] = "true"
        folders = [path / "tests" for path in PACKAGES.values()]
        session.run("pytest", *CONFIG, "-m", "distributed", *session.posargs, *folders)


@nox.session(python=OLDEST)
def third_party(session: nox.Session) -> None:
    """Add a method and a data set from outside the tree, and run the acceptance tests on them."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "tests" / "toy_method", f"{folder}/toy")
        wheels = build_wheels(session, [], folder)
        session.install(*wheels, "pytest>=8.2", f"{folder}/toy")
        session.chdir(folder)
        session.env["PYTHONPATH"] = ""
        session.run("pytest", *CONFIG, *session.posargs, "toy/tests")


@nox.session(python=OLDEST, default=False)
def cluster(session: nox.Session) -> None:
    """Run a study on a Ray of two workers, one of which is killed (a large download)."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, ["shared"], folder, *project("shared")["optional-dependencies"]["cluster"])
        session.run("pytest", *CONFIG, *session.posargs, ROOT / "shared/tests/study/test_cluster.py")


@nox.session(python=OLDEST, default=False)
def fuzz(session: nox.Session) -> None:
    """Feed damaged files to every reader: 100,000 each, or HMC_FUZZ, chosen by HMC_FUZZ_SEED (hours)."""
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        session.env.setdefault("HMC_FUZZ", "100000")
        session.env.setdefault("OMP_NUM_THREADS", "1")
        session.run("pytest", *CONFIG, *session.posargs, ROOT / "tests" / "fuzz")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; `nox -s lint -- --fix` mends what can be mended."""
    session.install(*dependency_group(ROOT, "lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ROOT)
    session.run("ruff", "format", *([] if fix else ["--check"]), ROOT)


@nox.session
def consistency(session: nox.Session) -> None:
    """Check what holds between the packages: one shape of the training loops, versions and changelogs."""
    session.install(*dependency_group(ROOT, "consistency"))
    others = [
        option for name in ("toy_method", "faults", "fuzz") for option in ("--ignore", ROOT / "tests" / name)
    ]
    session.run("pytest", *others, *session.posargs, ROOT / "tests")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """Check the types of every package."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = build_wheels(session, list(METHODS), folder)
        extras = [
            line
            for name in PACKAGES
            for lines in project(name).get("optional-dependencies", {}).values()
            for line in lines
        ]
        session.install(*wheels, *dict.fromkeys(extras), *dependency_group(ROOT, "types"))
    session.run("pyright", *session.posargs)


@nox.session(python=OLDEST, venv_backend="uv", default=False)
@nox.parametrize("package", [nox.param(name, id=name) for name in PACKAGES])
def minimums(session: nox.Session, package: str) -> None:
    """Test one package with the lowest versions of its direct dependencies (large downloads)."""
    projects = [project(name) for name in dict.fromkeys(["shared", package])]
    # Named once more, because what a wheel requires does not count as direct.
    direct = [line for metadata in projects for line in metadata["dependencies"]]
    with tempfile.TemporaryDirectory() as folder:
        install(session, [package], folder, "--resolution=lowest-direct", *direct)
        # Warnings of old releases about newer ones of their own dependencies are not ours to mend.
        options = [*PARALLEL, "-W", "ignore", *QUICK, *session.posargs]
        session.run("pytest", *CONFIG, *options, PACKAGES[package] / "tests")


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """Build a wheel and a source archive of each package into dist/, check them, and call every command."""
    session.install(*dependency_group(ROOT, "build"))
    installer = "uv" if session.venv_backend == "uv" else "pip"
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            options = ["--installer", installer, "--outdir", folder]
            session.run("python", "-m", "build", *options, PACKAGES[package], silent=True)
        archives = sorted(Path(folder).glob("*.*"))
        session.run("twine", "check", "--strict", *archives)
        for package in PACKAGES:
            check_wheel(session, package, folder)
            check_source(session, package, folder)
        smoke_test(session, sorted(Path(folder).glob("*.whl")))
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for archive in archives:
            shutil.copy(archive, ROOT / "dist")
    if len(archives) != 2 * len(PACKAGES):
        session.error(f"{len(PACKAGES)} packages gave {len(archives)} archives")


def check_wheel(session: nox.Session, package: str, folder: str) -> None:
    """A wheel holds what lies under src/, all of it and nothing else, and the licence."""
    source = PACKAGES[package] / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    metadata = project(package)
    stem = f"{metadata['name'].replace('-', '_')}-{metadata['version']}"
    with zipfile.ZipFile(Path(folder) / f"{stem}-py3-none-any.whl") as wheel:
        found = {name for name in wheel.namelist() if not name.startswith(f"{stem}.dist-info/")}
        licence = wheel.read(f"{stem}.dist-info/licenses/LICENSE")
    if found != expected:
        session.error(f"{stem}: the wheel and src/ differ in {sorted(found ^ expected)}")
    if f"{import_name(package)}/py.typed" not in found:
        session.error(f"{stem}: py.typed is missing")
    if licence != (ROOT / "LICENSE").read_bytes():
        session.error(f"{stem}: the licence is not the one of the repository")


def check_source(session: nox.Session, package: str, folder: str) -> None:
    """A source archive holds what is needed to build and to test, and nothing that was made on the way."""
    metadata = project(package)
    stem = f"{metadata['name'].replace('-', '_')}-{metadata['version']}"
    with tarfile.open(Path(folder) / f"{stem}.tar.gz") as archive:
        found = {name.removeprefix(f"{stem}/") for name in archive.getnames()}
    parts = {name.split("/")[0] for name in found}
    needed = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "src", "tests"}
    if parts - {".gitignore", "tools"} != needed:
        session.error(f"{stem}: the source archive holds {sorted(parts)}")
    made = [name for name in found if "__pycache__" in name or name.endswith((".pyc", ".npz"))]
    if made := [name for name in made if not name.endswith("/assets/products.npz")]:
        session.error(f"{stem}: the source archive holds {made}")


def smoke_test(session: nox.Session, wheels: list[Path]) -> None:
    """Install the wheels outside the workspace, ask commands for help, collect the archives' tests."""
    with tempfile.TemporaryDirectory() as folder:
        python, scripts = f"{folder}/env/bin/python", Path(folder) / "env" / "bin"
        session.run("python", "-m", "venv", f"{folder}/env")
        pip = ["uv", "pip", "install", "--python", python]
        if session.venv_backend != "uv":
            pip = [python, "-m", "pip", "install"]
        tests_need = [line for path in PACKAGES.values() for line in dependency_group(path, "test")]
        session.run_install(*pip, "--quiet", *wheels, *dict.fromkeys(tests_need), external=True)
        with session.chdir(folder):
            for archive in wheels[0].parent.glob("*.tar.gz"):
                shutil.unpack_archive(archive, folder, filter="data")
                tests = Path(folder) / archive.name.removesuffix(".tar.gz") / "tests"
                options = ["--collect-only", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
                session.run(python, "-m", "pytest", *options, tests, external=True, silent=True)
            for package in PACKAGES:
                for command in project(package)["scripts"]:
                    session.run(scripts / command, "--help", external=True, silent=True)
                session.run(python, "-m", import_name(package), "--help", external=True, silent=True)


@nox.session(python=OLDEST, default=False)
@nox.parametrize("package", [nox.param(name, id=name) for name in [*PACKAGES, "all"]])
def pip(session: nox.Session, package: str) -> None:
    """Install a package, or all, with pip alone in an empty environment, and train (large downloads)."""
    packages = list(PACKAGES) if package == "all" else [package]
    own = {"shared", *packages}
    with tempfile.TemporaryDirectory() as folder:
        build_wheels(session, list(METHODS), f"{folder}/dist")
        session.chdir(folder)
        session.env["PYTHONPATH"] = ""
        python, scripts = f"{folder}/env/bin/python", Path(folder) / "env" / "bin"
        session.env.setdefault("OMP_NUM_THREADS", "1")
        session.run("python", "-m", "venv", "env")
        distributions = [project(name)["name"] for name in packages]
        options = ["--quiet", "--find-links", "dist"]
        session.run_install(python, "-m", "pip", "install", *options, *distributions, external=True)
        session.run(python, "-m", "pip", "check", external=True)
        names = [" ".join(import_name(name) for name in group) for group in (own, PACKAGES.keys() - own)]
        session.run(python, "-c", ISOLATED, *names, external=True, log=False)
        session.run(scripts / "hmc", "datasets", external=True, silent=True)
        for name in own - {"shared"}:
            session.run(scripts / project(name)["name"], "train", "--epochs", "1", external=True)


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build docs/_build/html with its pictures, and run all examples; with `-- linkcheck` follow links."""
    with tempfile.TemporaryDirectory() as folder:
        session.install(*build_wheels(session, list(METHODS), folder), *dependency_group(ROOT, "docs"))
    session.env["PYTHONPATH"] = ""  # the commands that make the pictures are those of the wheels
    session.env.setdefault("OMP_NUM_THREADS", "1")  # small matrices: threads wait more than they compute
    for builder in session.posargs or ["html", "doctest"]:
        options = ["-W", "--keep-going", "-q", "-b", builder, "-d", "docs/_build/doctrees"]
        session.run("sphinx-build", *options, "docs", f"docs/_build/{builder}")
    names = [import_name(package) for package in PACKAGES]
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        optional = "--doctest-ignore-import-errors"  # of modules that need an extra
        session.run("pytest", *CONFIG, "--doctest-modules", optional, "--pyargs", *names)


@nox.session(python=OLDEST, default=False)
def gpu(session: nox.Session) -> None:
    """Measure what wants a GPU, in benchmarks-gpu/; `DEVICE=cpu TINY=1 nox -s gpu -- FOLDER` tries it."""
    output = ROOT / Path(*session.posargs or ["benchmarks-gpu"])
    with tempfile.TemporaryDirectory() as folder:
        install(session, list(PACKAGES), folder)
        session.run("bash", ROOT / "benchmarks" / "gpu.sh", output, external=True)


@nox.session(python=OLDEST, default=False)
def demo(session: nox.Session) -> None:
    """Train every method on embedded data and compare them, in runs/demo: `hmc demo` from the wheels."""
    with tempfile.TemporaryDirectory() as folder:
        session.install(*build_wheels(session, list(METHODS), folder))
    session.run("hmc", "demo", *session.posargs)


if __name__ == "__main__":
    nox.main()
