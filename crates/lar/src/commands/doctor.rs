//! `lar doctor`: what this machine offers to a run, and how to get what is missing.

use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use linear_agentics::confine::{self, Advice, TierReport};
use linear_agentics::display::{Mode, escape};
use linear_agentics::{Programs, Tier, Walls, default_ledger, launcher};
use serde_json::{Value, json};

use super::check::{YELLOW, paint};
use crate::output::{Exit, complain, println};

const GREEN: Style = AnsiColor::Green.on_default();

/// Show how well programs can be confined here, and how to get what is missing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 tier A can be had, 1 it can't (or what --min-tier names can't)."
)]
pub struct Args {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// The tier that must be had: A, B or C
    #[arg(long, value_name = "TIER", default_value = "A")]
    min_tier: Tier,
}

/// Looks.
pub fn run(args: Args) -> Exit {
    let walls = match Walls::try_all() {
        Ok(walls) => walls,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Error;
        }
    };
    let program = launcher().unwrap_or_else(|| PathBuf::from("/usr/local/bin/lar"));
    let advice = confine::advice(walls.probe(), &read, &program);
    let found = Found {
        walls: &walls,
        advice: &advice,
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        programs: Programs::from_environment(),
        ledger: default_ledger().map_err(|error| error.to_string()),
    };
    match args.json {
        true => println(&format!("{:#}", found.json())),
        false => println(found.text().trim_end()),
    }
    if walls.tier() <= args.min_tier { Exit::Complete } else { Exit::Error }
}

/// A small file of the system.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

struct Found<'a> {
    walls: &'a Walls,
    advice: &'a [Advice],
    kernel: String,
    programs: Programs,
    ledger: Result<PathBuf, String>,
}

impl Found<'_> {
    fn json(&self) -> Value {
        let probe = self.walls.probe();
        let tried = |report: &TierReport| {
            let checks = report.checks.iter().map(|check| (check.name.clone(), json!(check.held)));
            json!({
                "tier": report.tier.letter(),
                "holds": report.holds(),
                "why_not": report.why_not(),
                "checks": checks.collect::<serde_json::Map<_, _>>(),
            })
        };
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        json!({
            "tier": probe.tier.letter(),
            "walls": probe.tier.walls(),
            "landlock": probe.landlock,
            "kernel": self.kernel,
            "tried": probe.tried.iter().map(tried).collect::<Vec<_>>(),
            "advice": self.advice.iter().map(|one| {
                json!({"reason": one.reason, "steps": one.steps})
            }).collect::<Vec<_>>(),
            "programs": {
                "directories": self.programs.directories().iter().map(|path| shown(path)).collect::<Vec<_>>(),
                "left_out": self.programs.left_out().iter().map(|path| shown(path)).collect::<Vec<_>>(),
            },
            "ledger": match &self.ledger {
                Ok(path) => json!({"default": shown(path), "exists": path.exists()}),
                Err(error) => json!({"error": error}),
            },
        })
    }

    fn text(&self) -> String {
        let probe = self.walls.probe();
        let tier = probe.tier;
        let style = if tier == Tier::A { GREEN } else { YELLOW };
        let mut text =
            format!("{} {}\n", paint(style, &format!("tier {}:", tier.letter())), tier.walls());
        text.push_str(match tier {
            Tier::A => "  a program physically can't leave what its token grants\n",
            Tier::B => {
                "  a program is held, but shares the system's process list and network addresses\n"
            }
            Tier::C => "  a program reaches whatever this account reaches\n",
        });
        text.push_str(&format!("  kernel {}, Landlock version {}\n", self.kernel, probe.landlock));
        for report in &probe.tried {
            let letter = report.tier.letter();
            match (report.holds(), report.why_not()) {
                (true, _) => {
                    let names: Vec<&str> =
                        report.checks.iter().map(|check| check.name.as_str()).collect();
                    text.push_str(&format!(
                        "\na test child at tier {letter} tried in vain: {}\n",
                        names.join(", ")
                    ));
                }
                (false, why) => {
                    let why = escape(&why.unwrap_or_default(), Mode::Line);
                    text.push_str(&format!("\ntier {letter} can't be had: {why}\n"));
                }
            }
        }
        for one in self.advice {
            text.push_str(&format!("\n{} {}\n", paint(YELLOW, "to get tier A:"), one.reason));
            for step in &one.steps {
                text.push_str(&format!("  {step}\n"));
            }
        }
        let list = |paths: &[PathBuf]| {
            let shown = paths.iter().map(|path| escape(&path.to_string_lossy(), Mode::Line));
            shown.collect::<Vec<_>>().join(":")
        };
        text.push_str(&format!("\nprograms are found in {}\n", list(self.programs.directories())));
        if !self.programs.left_out().is_empty() {
            text.push_str(&format!(
                "  {} others can write {}\n",
                paint(YELLOW, "left out:"),
                list(self.programs.left_out())
            ));
        }
        match &self.ledger {
            Ok(path) => {
                let state = if path.exists() { "" } else { " (not there yet)" };
                let path = escape(&path.to_string_lossy(), Mode::Line);
                text.push_str(&format!("\nthe default ledger is {path}{state}\n"));
            }
            Err(error) => {
                text.push_str(&format!("\n{} {error}\n", paint(YELLOW, "no default ledger:")))
            }
        }
        text
    }
}
