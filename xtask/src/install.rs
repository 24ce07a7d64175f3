//! What the tests need beyond Rust: found, installed where that was asked for, or named as missing.
//!
//! Without `--install` this module installs nothing and downloads nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::process::{Line, on_path};
use crate::report::Report;

/// A program of the system that tests use.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// Says of the name whether it is there.
    present: fn(&str) -> bool,
    /// Without it the tests cannot pass, so that its absence is a failure and no skip.
    required: bool,
}

impl Tool {
    /// One that is found by its name in PATH.
    const fn program(name: &'static str, package: &'static str, required: bool) -> Self {
        Self { name, package, present: |name| on_path(name).is_some(), required }
    }

    fn is_there(&self) -> bool {
        (self.present)(self.name)
    }
}

const TOOLS: [Tool; 18] = [
    Tool::program("cc", "gcc", true),
    Tool::program("git", "git", true),
    Tool::program("c++", "g++", false),
    Tool::program("bash", "bash", false),
    Tool::program("dash", "dash", false),
    Tool::program("tmux", "tmux", false),
    Tool::program("curl", "curl", false),
    Tool::program("jq", "jq", false),
    Tool {
        name: "ssh-keygen and ssh-agent",
        package: "openssh-client",
        present: |_| on_path("ssh-keygen").is_some() && on_path("ssh-agent").is_some(),
        required: false,
    },
    Tool::program("bwrap", "bubblewrap", false),
    Tool::program("chromium", "chromium", false),
    Tool::program("openssl", "openssl", false),
    Tool::program("kubectl", "kubernetes-client", false),
    Tool {
        name: "libfaketime",
        package: "libfaketime",
        present: |_| has_libfaketime(),
        required: false,
    },
    Tool {
        name: "postgresql",
        package: "postgresql",
        present: |_| has_postgresql(),
        required: false,
    },
    Tool::program("sqlite3", "sqlite3", false),
    Tool::program("mysql", "mariadb-client", false),
    Tool {
        name: "mariadbd",
        package: "mariadb-server-core",
        present: |_| on_path("mariadbd").is_some() || Path::new("/usr/sbin/mariadbd").exists(),
        required: false,
    },
];

/// Finds the system's programs, and installs the missing ones where that is asked for.
pub fn system_tools(root: &Path, install: bool, report: &mut Report) {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return;
    }
    let can_install = if install { apt_is_ours() } else { Err(ASK) };
    if can_install.is_ok() {
        // A stale list may still do, so that this decides nothing.
        if let Err(why) = apt(&["update"]).run(root) {
            println!("{why}");
        }
    }
    for tool in missing {
        let name = format!("tool {}", tool.name);
        let why = match can_install {
            Ok(()) => {
                // One by one: a package that this release of Debian has not must not stop the rest.
                let install = apt(&["install", "--yes", "--no-install-recommends", tool.package]);
                match install.run(root) {
                    Ok(()) if tool.is_there() => continue,
                    Ok(()) => format!("`{}` did not bring it", tool.package),
                    Err(why) => why,
                }
            }
            Err(why) => why.to_owned(),
        };
        if tool.required {
            let what = format!("install the package `{}`", tool.package);
            report.step(&name, &what, || Err(format!("it is missing: {why}")));
        } else {
            report.skip(&name, &format!("not found, so tests that use it are skipped: {why}"));
        }
    }
}

/// Finds the clouds' command lines. That of AWS comes from PyPI, into an environment of its own; that of
/// Google is in no registry, so it is only found.
pub fn clouds(root: &Path, install: bool, report: &mut Report) {
    let venv = root.join("target/cloud-venv");
    if !venv.join("bin/aws").is_file() {
        let made = match (install, on_path("python3")) {
            (false, _) => Err(ASK.to_owned()),
            (true, None) => Err("there is no `python3`".to_owned()),
            (true, Some(_)) => aws(root, &venv),
        };
        if let Err(why) = made {
            report.skip("tool aws", &format!("not found, so tests that use it are skipped: {why}"));
        }
    }
    if on_path("gcloud").is_none() {
        let why = "not found, so tests that use it are skipped: no package registry has it";
        report.skip("tool gcloud", why);
    }
}

fn aws(root: &Path, venv: &Path) -> Result<(), String> {
    Line::new("python3").args(["-m", "venv"]).args([venv]).run(root)?;
    let pip = venv.join("bin/pip");
    let line = Line::new(&pip.to_string_lossy());
    line.args(["install", "--quiet", "awscli>=1.40,<2"]).run(root)
}

/// Finds `cargo fmt` and `cargo clippy`, and adds them where that is asked for and rustup is there.
pub fn components(root: &Path, install: bool) {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if install && !has_subcommand(root, subcommand) {
            // Where this fails, the step that needs it says so.
            if let Err(why) = Line::new("rustup").args(["component", "add", component]).run(root) {
                println!("{why}");
            }
        }
    }
}

/// Makes sure of `cargo SUBCOMMAND`, which the package `cargo-SUBCOMMAND` brings.
///
/// # Errors
/// Says why it is not there.
pub fn subcommand(
    root: &Path,
    subcommand: &str,
    version: &str,
    install: bool,
) -> Result<(), String> {
    if has_subcommand(root, subcommand) {
        return Ok(());
    }
    if !install {
        return Err(format!("`cargo {subcommand}` is not installed; {ASK}"));
    }
    let package = format!("cargo-{subcommand}");
    // Its speed hardly matters, the time to build it does.
    Line::cargo()
        .args(["install", "--locked", "--debug", "--version", version])
        .args(["--config", "profile.dev.debug=false", &package])
        .run(root)
}

const ASK: &str = "`--install` installs it";

fn has_subcommand(root: &Path, subcommand: &str) -> bool {
    Line::cargo().args([subcommand, "--version"]).succeeds(root)
}

fn apt(arguments: &[&str]) -> Line {
    Line::new("apt-get")
        .args(arguments.iter().copied())
        .variable("DEBIAN_FRONTEND", "noninteractive")
}

fn apt_is_ours() -> Result<(), &'static str> {
    if on_path("apt-get").is_none() {
        return Err("there is no `apt-get` here; install it by hand");
    }
    // The owner of /proc/self is the effective user, proc_pid_status(5).
    match fs::metadata("/proc/self") {
        Ok(metadata) if metadata.uid() == 0 => Ok(()),
        _ => Err("only root may install it; run this as root or install it by hand"),
    }
}

/// The client and the server's programs; Debian keeps the latter off PATH.
fn has_postgresql() -> bool {
    let server = fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
        versions.flatten().any(|version| version.path().join("bin/initdb").is_file())
    });
    on_path("psql").is_some() && (server || on_path("initdb").is_some())
}

/// Debian keeps it beside the other libraries, in a directory of its own.
fn has_libfaketime() -> bool {
    let library = |directory: fs::DirEntry| directory.path().join("faketime/libfaketime.so.1");
    let among = |parent: &str| {
        fs::read_dir(parent).is_ok_and(|found| found.flatten().any(|it| library(it).is_file()))
    };
    among("/usr/lib") || Path::new("/usr/lib/faketime/libfaketime.so.1").is_file()
}
