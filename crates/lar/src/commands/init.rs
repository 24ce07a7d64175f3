//! `lar init`: a commented first manifest.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use linear_agentics::display::{Mode, escape};
use linear_agentics::report::visible_json;
use serde_json::json;

use crate::output::{Exit, complain, println, say};

/// Write a commented first manifest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 written, 2 there is something at PATH already, 1 it can't be \
written."
)]
pub struct Args {
    /// Where to write it; nothing is overwritten
    #[arg(value_name = "PATH", default_value = "lar.toml")]
    path: PathBuf,
    /// What the agent is for
    #[arg(long, value_enum, default_value_t = UseCase::Triage)]
    use_case: UseCase,
    /// Print the path as JSON
    #[arg(long)]
    json: bool,
}

/// What an agent may be for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum UseCase {
    /// Find out what is wrong with a service, read-only
    Triage,
    /// Deploy to staging, check it, then to production
    Deploy,
    /// Query a database, and migrate it when a human agrees
    Database,
    /// Check a release candidate and write a report
    ReleaseGate,
    /// Read from two clouds, write to one
    MultiCloud,
}

impl UseCase {
    fn template(self) -> &'static str {
        match self {
            Self::Triage => include_str!("../templates/triage.toml"),
            Self::Deploy => include_str!("../templates/deploy.toml"),
            Self::Database => include_str!("../templates/database.toml"),
            Self::ReleaseGate => include_str!("../templates/release-gate.toml"),
            Self::MultiCloud => include_str!("../templates/multi-cloud.toml"),
        }
    }
}

/// Writes it.
pub fn run(args: Args) -> Exit {
    let path = match args.path.is_dir() {
        true => args.path.join("lar.toml"),
        false => args.path,
    };
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    match write(&path, args.use_case.template()) {
        Ok(()) if args.json => {
            println(&visible_json(&format!("{:#}", json!({"path": path}))));
            Exit::Complete
        }
        Ok(()) => {
            say(&format!(
                "wrote `{shown}`; change it to fit, then `lar check {shown}` says the worst it could do"
            ));
            Exit::Complete
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            complain(&format!("there is a file `{shown}` already; name another path"));
            Exit::Usage
        }
        Err(error) => {
            complain(&format!("`{shown}` can't be written ({}); name another path", error.kind()));
            Exit::Error
        }
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
