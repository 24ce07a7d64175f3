//! Commands of programs of which nothing is known. Any words may follow their prefix, but a program may run
//! what stands in its arguments: `rlwrap find /srv`. So where a prefix names a program with a profile among the
//! words, what stands from there is judged as that program too.

use super::granted::Granted;
use super::judge::{Judge, beyond, nested};
use super::kind::Kind;
use super::places::{self, Placed, Places};
use super::walk::{Event, walk};
use super::within::{MOST_NESTED, shell};
use super::{Beyond, Effect, Profile, Profiles, registry};
use crate::scope::lexer;
use std::sync::Arc;

/// Where a program may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the arguments of a program that may use its name as a word: `heroku logs tail`.
    Any,
    /// Behind the words of a wrapper, which runs it.
    Command,
}

/// Judges an argv of whose program, or of whose subcommand, nothing is known.
pub(super) fn unknown(
    profiles: &Profiles,
    argv: &[String],
    granted: Granted<'_>,
    depth: usize,
    place: Place,
) -> Result<(), Beyond> {
    if let Some(open) = granted.open.filter(|_| granted.words < argv.len()) {
        let first = open.split_whitespace().next().filter(|first| open.trim_start() != *first);
        if let (Some(word), Some(_)) =
            (argv.get(granted.words), first.and_then(|f| program(profiles, f)))
        {
            shell(profiles, word, open, granted.words, depth + 1)?;
        }
    }
    if granted.open.is_some() || granted.sealed || granted.completed {
        let named = granted.words + usize::from(granted.open.is_some());
        if argv.len() > named {
            let what = "is one word more than the scope allows".to_owned();
            return Err(Beyond { effect: Effect::Widens, word: named, what });
        }
    }
    let options = argv.iter().enumerate().take_while(|(_, text)| *text != "--");
    for (word, text) in options {
        if names_program(text) && !granted.names(word) {
            return Err(beyond(Effect::Runs, word));
        }
    }
    if depth >= MOST_NESTED {
        return Ok(());
    }
    for (at, text) in argv.iter().enumerate().take(granted.words).skip(1) {
        if !granted.names(at) {
            continue;
        }
        let rest = argv.get(at..).unwrap_or_default();
        if text.contains(char::is_whitespace) {
            quoted(profiles, rest, granted.from(at))
                .map_err(|beyond| Beyond { word: beyond.word + at, ..beyond })?;
        }
        let Some(profile) = program(profiles, text) else {
            continue;
        };
        let before = argv.get(at - 1).map_or("", String::as_str);
        let is_value = before.len() > 2 && before.starts_with("--") && !before.contains('=');
        if is_value && at + 1 == granted.words && granted.open.is_none() {
            continue;
        }
        let is_word = registry::is_subcommand(text) || WORDS.contains(&text.as_str());
        let may_be_word = is_value || is_word && place == Place::Any && before != "--";
        let found = match may_be_word {
            true => nested_known(profiles, &profile, rest, granted.from(at)),
            false => nested(profiles, &profile, rest, granted.from(at), depth + 1),
        };
        found.map_err(|beyond| Beyond { word: beyond.word + at, ..beyond })?;
        if !may_be_word {
            break;
        }
    }
    Ok(())
}

/// The profiles of programs that the words of a prefix name, where nothing is known of its own.
pub(in crate::scope) fn named(profiles: &Profiles, words: &[String]) -> Vec<Arc<Profile>> {
    let mut all = Vec::new();
    let mut rest = words;
    while let Some(profile) = rest.first().and_then(|program| profiles.find(program).ok()?) {
        let walk = walk(&profile, rest);
        let inner = places::module(&walk).or_else(|| Places::of(&walk).command());
        let no_command = walk.events.iter().find_map(|event| match event {
            Event::NoCommand { word } => Some(*word),
            _ => None,
        });
        match inner.or(no_command).filter(|word| *word > 0).and_then(|word| rest.get(word..)) {
            Some(inner) => rest = inner,
            None => return all,
        }
    }
    for text in rest.iter().skip(1) {
        let first = text.split_whitespace().next().unwrap_or_default();
        all.extend(program(profiles, first));
    }
    all
}

/// Whether a long option of a program of which nothing is known says by its name that its value is a program:
/// `--exec`, `--pager`, `--on-exit-hook`.
fn names_program(text: &str) -> bool {
    let Some(name) = text.strip_prefix("--") else {
        return false;
    };
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    name.split('-').any(|part| {
        matches!(
            part,
            "exec" | "execute" | "pager" | "editor" | "hook" | "rsh" | "preload" | "eval"
        )
    }) && !name.starts_with("no-")
        && !name.starts_with("skip-")
}

/// Programs whose names stand in other programs' command lines as ordinary words.
const WORDS: [&str; 16] = [
    "act", "age", "date", "echo", "file", "groups", "host", "id", "last", "make", "sort", "split",
    "tail", "task", "time", "users",
];

/// Refuses only what the profile says does harm, for words that may be another thing than this program.
fn nested_known(
    profiles: &Profiles,
    profile: &Profile,
    argv: &[String],
    granted: Granted<'_>,
) -> Result<(), Beyond> {
    let walk = walk(profile, argv);
    let judge = Judge { profiles, profile, argv, granted, walk: &walk, depth: 0 };
    judge.known_harm()
}

impl Judge<'_, '_, '_> {
    /// Whether a flag that isn't named does harm for certain, or a script does.
    fn known_harm(&self) -> Result<(), Beyond> {
        for event in &self.walk.events {
            if let Event::Flag { flag, word, value } = *event
                && flag.effect > Effect::Reads
                && self.argv.get(word).is_some_and(|text| text.starts_with('-'))
                && !self.names_flag(word, value)
            {
                return Err(beyond(flag.effect, word));
            }
        }
        for Placed { place, text, word, .. } in Places::of(self.walk).operands {
            if let Some(operand) = place.filter(|place| place.kind.is_script())
                && !self.granted.names(word)
            {
                self.check(&operand.kind, text, word)?;
            }
        }
        Ok(())
    }

    /// Whether an option of a subcommand of which nothing is known may reach beyond it: by its name, or by a value
    /// that leads elsewhere.
    pub(super) fn may_reach(&self, name: &str, word: usize, value: Option<&str>) -> bool {
        let next =
            self.argv.get(word + 1).map(String::as_str).filter(|next| !next.starts_with('-'));
        let elsewhere = |text: &str| {
            Kind::Beneath.check(text).is_err() || text.starts_with('@') || text.contains("file=")
        };
        if value.or(next).is_some_and(elsewhere) {
            return true;
        }
        match name.strip_prefix("--") {
            Some(long) => {
                is_for_file(name)
                    || names_program(name)
                    || long.split('-').any(|part| REACHING.contains(&part))
            }
            // Where the prefix names what it works on, these add a file, a command or force.
            None => self.names_operand() && name.contains(['c', 'e', 'f', 'o', 'x']),
        }
    }

    /// Whether a word may be the value of an option that isn't listed.
    pub(super) fn may_be_value(&self, word: usize) -> bool {
        self.walk.events.iter().any(|event| {
            matches!(event, Event::Unknown { word: flag, value: None, .. } if flag + 1 == word)
        })
    }

    /// The value of an option that isn't listed, where the prefix ends within it: `--command='git log`.
    pub(super) fn attached_command(
        &self,
        name: &str,
        value: Option<&str>,
        word: usize,
    ) -> Result<(), Beyond> {
        let Some(value) = value.filter(|_| self.granted.is_open(word) && is_for_command(name))
        else {
            return Ok(());
        };
        let lead = self.argv.get(word).map_or(0, |text| text.len() - value.len());
        let named = self.granted.open.and_then(|open| open.get(lead..));
        self.shell(value, named.unwrap_or_default(), word)
    }

    /// The same where the value is a word of its own, at which the prefix ends.
    pub(super) fn following_command(&self, text: &str, word: usize) -> Result<(), Beyond> {
        let is_command = self.walk.events.iter().any(|event| {
            matches!(event, Event::Unknown { name, word: flag, value: None }
                if flag + 1 == word && is_for_command(name))
        });
        match self.granted.open.filter(|_| is_command) {
            Some(open) => self.shell(text, open, word),
            None => Ok(()),
        }
    }
}

/// Whether an option that isn't listed names a file by its name: `--out-file`, `--save-as`, `--capture-session-file`.
pub(super) fn is_for_file(name: &str) -> bool {
    let name = name.trim_start_matches('-');
    matches!(name, "out" | "outfile" | "dest" | "save-as")
        || ["-file", "-files", "-dir", "-folder"].iter().any(|end| name.ends_with(end))
        || ["out-", "output-file", "output-dir", "output-path", "save-", "download-"]
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

/// Whether an option that isn't listed takes a command by its name: `-c`, `--exec-command`, `--scripts`.
fn is_for_command(name: &str) -> bool {
    matches!(name, "-c" | "-C" | "-x")
        || ["command", "cmd", "exec", "script"].iter().any(|one| name.contains(one))
}

/// Parts of names of options that choose another server, credential, identity or configuration, run something or do
/// it without a safeguard.
const REACHING: [&str; 32] = [
    "as",
    "cert",
    "cmd",
    "command",
    "config",
    "context",
    "delete",
    "driver",
    "endpoint",
    "file",
    "force",
    "host",
    "identity",
    "impersonate",
    "insecure",
    "key",
    "kubeconfig",
    "output",
    "overwrite",
    "password",
    "plugin",
    "privileged",
    "profile",
    "proxy",
    "raw",
    "server",
    "show",
    "template",
    "token",
    "url",
    "user",
    "username",
];

/// A word that may be a whole command for a shell elsewhere: `sg adm -c 'find /srv'`. What follows it may be
/// appended.
fn quoted(profiles: &Profiles, argv: &[String], granted: Granted<'_>) -> Result<(), Beyond> {
    let Some((text, rest)) = argv.split_first() else {
        return Ok(());
    };
    let Ok(words) = lexer::split(text) else {
        return Ok(());
    };
    let Some(profile) = words.first().and_then(|first| program(profiles, &first.text)) else {
        return Ok(());
    };
    let more = words.len().saturating_sub(1);
    let whole: Vec<String> =
        words.into_iter().map(|word| word.text).chain(rest.iter().cloned()).collect();
    nested_known(profiles, &profile, &whole, Granted::whole(granted.words + more))
        .map_err(|beyond| Beyond { word: beyond.word.saturating_sub(more), ..beyond })
}

/// The profile of a program that a word names: by its name, or in a directory of programs.
fn program(profiles: &Profiles, word: &str) -> Option<Arc<Profile>> {
    if let Some((directory, _)) = word.rsplit_once('/')
        && !directory.ends_with("/bin")
        && !directory.ends_with("/sbin")
    {
        return None;
    }
    let profile = profiles.find(word).ok()??;
    // `node1` is a host, `python3` and `python3.11` are programs.
    let name = word.rsplit('/').next().unwrap_or(word);
    let is_name = !name.ends_with(|c: char| c.is_ascii_digit())
        || registry::is_program(name)
        || matches!(profile.name(), "python" | "pip");
    is_name.then_some(profile)
}
