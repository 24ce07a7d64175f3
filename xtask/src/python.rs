//! The Python package's checks: its extension and launcher in one directory, and its tests against them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Line, on_path};
use crate::report::Report;

/// What the tests need, at the versions that they were written with.
const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// Builds the package and runs its tests, or says why that is left out.
pub fn run(root: &Path, install: bool, report: &mut Report) {
    let Some(python) = interpreter(root) else {
        report.skip("python", "there is no Python 3.11 or later");
        return;
    };
    let venv = root.join("target/python-venv");
    if let Err(why) = environment(root, &python, &venv, install) {
        report.skip("python", &why);
        return;
    }
    // With what the Rust tests have just built, so that only the extension is linked anew.
    let build = Line::cargo().args(["build", "--workspace", "--lib", "--bins", "--tests"]);
    if !report.step("python build", &build.shown(), || {
        build.run(root)?;
        assemble(root).map_err(|error| format!("the package can't be put together: {error}"))
    }) {
        return;
    }
    let target = target(root);
    let program = venv.join("bin/python").to_string_lossy().into_owned();
    let line = Line::new(&program)
        .args(["-m", "pytest", "tests/python", "--quiet", "-rs"])
        .variable("PYTHONPATH", package(root).to_string_lossy())
        .variable("LAR_STANDIN", target.join("standin").to_string_lossy());
    report.step("python tests", &line.shown(), || line.run(root));
    let wheel = Line::new(&program)
        .args(["-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"])
        .args(["--disable-pip-version-check", "--wheel-dir"])
        .args([wheels(root)])
        .variable("MATURIN_PEP517_ARGS", "--profile dev")
        .variable("PATH", path_with(&venv.join("bin")));
    report.step("python wheel", &wheel.shown(), || {
        wheel.run(root)?;
        try_wheel(root, &python)
    });
}

/// Installs the wheel where nothing else is, and runs a command by it.
fn try_wheel(root: &Path, python: &str) -> Result<(), String> {
    let place = root.join("target/python-installed");
    Line::new(python).args(["-m", "venv", "--clear"]).args([&place]).run(root)?;
    let line = Line::new(&place.join("bin/pip").to_string_lossy());
    line.args(["install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links"])
        .args([wheels(root)])
        .args(["linear-agent-runtime"])
        .run(root)?;
    let program = "import asyncio, sys; from linear_agentics.tokens import ShellToken; \
        sys.exit(asyncio.run(ShellToken('t', ['true'], min_tier='C').consume('true')).exit_code)";
    Line::new(&place.join("bin/python").to_string_lossy())
        .args(["-c", program])
        .variable("XDG_STATE_HOME", place.join("state").to_string_lossy())
        .run(root)?;
    Line::new(&place.join("bin/lar").to_string_lossy()).args(["--version"]).run(root)
}

/// The search path with a directory in front.
fn path_with(directory: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", directory.display())
}

fn wheels(root: &Path) -> PathBuf {
    root.join("target/python-wheels")
}

/// A Python that is new enough, by the names that one has.
fn interpreter(root: &Path) -> Option<String> {
    let check = "import sys; sys.exit(sys.version_info < (3, 11))";
    ["python3", "python3.13", "python3.12", "python3.11"]
        .into_iter()
        .filter(|name| on_path(name).is_some())
        .find(|name| Line::new(name).args(["-c", check]).succeeds(root))
        .map(ToOwned::to_owned)
}

/// A virtual environment with the requirements, made where that is asked for.
fn environment(root: &Path, python: &str, venv: &Path, install: bool) -> Result<(), String> {
    let wanted = fs::read_to_string(root.join(REQUIREMENTS))
        .map_err(|error| format!("`{REQUIREMENTS}` can't be read: {error}"))?;
    let mark = venv.join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    if !install {
        return Err(
            "the tests' Python packages are not installed; `--install` installs them".into()
        );
    }
    let place = venv.to_string_lossy();
    Line::new(python).args(["-m", "venv", "--clear", &place]).run(root)?;
    let program = venv.join("bin/python").to_string_lossy().into_owned();
    Line::new(&program)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--requirement", REQUIREMENTS])
        .run(root)?;
    fs::write(&mark, wanted).map_err(|error| format!("`{}`: {error}", mark.display()))
}

/// Puts sources, extension and `lar` into one directory, as a wheel has them.
fn assemble(root: &Path) -> std::io::Result<()> {
    let (sources, built) = (root.join("python/linear_agentics"), target(root));
    let place = package(root).join("linear_agentics");
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(&place)?;
    for entry in fs::read_dir(&sources)? {
        let path = entry?.path();
        let is_source = matches!(
            path.extension().and_then(|extension| extension.to_str()),
            Some("py" | "pyi" | "typed")
        );
        if let Some(name) = path.file_name().filter(|_| is_source) {
            fs::copy(&path, place.join(name))?;
        }
    }
    fs::copy(built.join("liblinear_agentics_native.so"), place.join("_native.abi3.so"))?;
    fs::copy(built.join("lar-launcher"), place.join("lar-launcher"))?;
    Ok(())
}

fn package(root: &Path) -> PathBuf {
    root.join("target/python")
}

fn target(root: &Path) -> PathBuf {
    root.join("target/debug")
}
