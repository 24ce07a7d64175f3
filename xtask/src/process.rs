//! Starting other programs.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command line that is shown before it runs, in the repository's root.
pub struct Line {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, String)>,
}

impl Line {
    pub fn new(program: &str) -> Self {
        Line { program: program.into(), arguments: Vec::new(), variables: Vec::new() }
    }

    /// The cargo that started this program, so that a toolchain chosen with `cargo +NAME` is kept.
    pub fn cargo() -> Self {
        let mut line = Line::new("cargo");
        if let Some(cargo) = env::var_os("CARGO") {
            line.program = cargo;
        }
        line
    }

    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// As a person would type it.
    pub fn shown(&self) -> String {
        let program = Path::new(&self.program).file_name();
        program
            .into_iter()
            .chain(self.arguments.iter().map(OsString::as_os_str))
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs to the end, its output on ours.
    ///
    /// # Errors
    /// Says how it ended, where that is not with exit code 0.
    pub fn run(&self, directory: &Path) -> Result<(), String> {
        match self.command(directory).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{}`: {status}", self.shown())),
            Err(error) => Err(format!("`{}` did not start: {error}", self.shown())),
        }
    }

    /// Whether it ends well; its output is dropped.
    pub fn succeeds(&self, directory: &Path) -> bool {
        let mut command = self.command(directory);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(directory).stdin(Stdio::null());
        // `cargo run` describes this package to us. A cargo below us must not see that: build
        // scripts that watch such a variable would run again each time.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Where a program is on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
