//! What is known of common programs: which of their flags and operands reach beyond the words of an
//! allowed prefix.
//!
//! A prefix such as `kubectl get pods` is not the whole story: `--server=…` sends the credential to
//! another server, and `find . -delete` is no search. A profile says for each flag and operand what it
//! does; what reaches beyond is refused unless the prefix itself names it. Profiles are data, see
//! `profiles/` and `docs/profiles.md`.
//!
//! Judging is pure and total. Never here: a look at the file system, at the environment, or at the program.

mod align;
mod compile;
mod granted;
mod judge;
mod kind;
mod places;
mod registry;
mod removing;
mod schema;
mod script;
mod unknown;
mod walk;
mod wide;
mod within;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(super) use align::{Aligned, align};
pub(super) use granted::Granted;
pub(super) use judge::judge;
pub use registry::{ProfileError, Profiles};
pub use schema::Needs;
pub(super) use unknown::named;
pub(super) use wide::{End, wide};

use crate::json::Digest;
use kind::Kind;
use schema::{Syntax, Unlisted};

/// What a flag, an operand or a subcommand does beyond the words that a prefix names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing.
    Harmless,
    /// Chooses what the command works on: a namespace, a region, a database.
    Target,
    /// Reads a file or an environment variable.
    Reads,
    /// Writes a file.
    Writes,
    /// Runs a program or code.
    Runs,
    /// Reaches another server, or reaches it another way.
    Peer,
    /// Uses another credential, or shows one.
    Credential,
    /// Acts as somebody else.
    Identity,
    /// Takes configuration from elsewhere.
    Config,
    /// Does more than the command that was named: changes or shows more, or without a safeguard.
    Widens,
}

impl Effect {
    /// What it would do, after a word as the subject.
    pub fn does(self) -> &'static str {
        match self {
            Self::Harmless => "does nothing more",
            Self::Target => "chooses what the command works on",
            Self::Reads => "would read what the scope does not name",
            Self::Writes => "would write a file",
            Self::Runs => "would run a program or code",
            Self::Peer => "would change what is reached, or how",
            Self::Credential => "would use or show another credential",
            Self::Identity => "would act as somebody else",
            Self::Config => "would load or change configuration",
            Self::Widens => "would do more than the scope names",
        }
    }
}

/// What is known of one program.
#[derive(Clone)]
pub struct Profile {
    name: String,
    digest: Digest,
    is_shipped: bool,
    syntax: Syntax,
    unlisted_commands: Unlisted,
    ignored: Vec<String>,
    removing: Removing,
    /// Flags after which nothing may follow where a prefix names nothing else.
    alone: Vec<String>,
    /// Whether options take several values, so that a word behind one adds to it.
    lists: bool,
    /// Whether `-n=x` is `-n x`, and not the value `=x`.
    assigns: bool,
    /// Words that turn a flag without a value off, as the next word.
    switches: Vec<String>,
    /// Options with which a new set of options begins.
    anew: String,
    /// Whether options may stand behind operands too, and in any order.
    interspersed: bool,
    /// Whether the program's own options may stand before and behind its subcommands.
    persistent: bool,
    /// Words that mean the same as another, as the first operand or before its `/`.
    synonyms: HashMap<String, String>,
    /// Subcommands whose first operand is of a kind.
    synonyms_in: Vec<String>,
    /// Options that are harmless beside another that the prefix names, by the other.
    beside: BTreeMap<String, String>,
    /// What a name may end in without becoming another.
    suffix: String,
    root: Node,
    needs: Needs,
    settings: Vec<(String, String)>,
    also_runs: Vec<String>,
    /// Other names of the very program.
    aliases: Vec<String>,
    /// The shipped profile, which a command must pass too.
    also: Option<Arc<Profile>>,
}

impl Profile {
    /// The program's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the text that it was read from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it came with the program and not with a manifest.
    pub fn is_shipped(&self) -> bool {
        self.is_shipped
    }

    /// What the program needs to work in confinement.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Environment variables that make it safe, with their values.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Whether a program is the one that the profile is named after, and none that shares its table.
    fn is_of(&self, program: &str) -> bool {
        let whole = program.rsplit('/').next().unwrap_or(program);
        [whole, family(program)]
            .iter()
            .any(|name| *name == self.name || self.aliases.iter().any(|alias| alias == name))
    }

    /// Whether a flag is harmless beside one that a prefix names, which names none like it.
    fn stands_beside<'f>(
        &self,
        node: &Node,
        flag: &Flag,
        named: impl Iterator<Item = &'f Flag> + Clone,
    ) -> bool {
        self.beside.iter().any(|(other, list)| {
            let other = node.listed(other);
            node.is_beside(flag, list)
                && named.clone().any(|one| other.is_some_and(|other| other.id == one.id))
                && !named.clone().any(|one| node.is_beside(one, list))
        })
    }

    /// Whether two words name the same thing: one of them has the suffix that the program adds by itself.
    fn is_one_name(&self, one: &str, other: &str) -> bool {
        let is_bare = |name: &str| {
            name.chars().any(|c| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@'))
        };
        let adds = |short: &str, long: &str| {
            is_bare(short) && long.strip_suffix(self.suffix.as_str()) == Some(short)
        };
        one == other || !self.suffix.is_empty() && (adds(one, other) || adds(other, one))
    }

    /// Whether two first operands are of one kind and name: `deploy/web` is `deployment/web`.
    fn is_one_kind(&self, one: &str, other: &str) -> bool {
        let parts = |text: &str| {
            let end = text.find('/').unwrap_or(text.len());
            let (kind, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            let kind = self.synonyms.get(kind).map_or(kind, String::as_str);
            (kind.to_owned(), rest.to_owned())
        };
        !self.synonyms.is_empty() && parts(one) == parts(other)
    }

    /// Other programs that it starts by itself.
    pub fn also_runs(&self) -> &[String] {
        &self.also_runs
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.digest == other.digest && self.also == other.also
    }
}

impl Eq for Profile {}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A program, or one of its subcommands.
#[derive(Clone)]
struct Node {
    does: Effect,
    /// Its own flags first, the program's last.
    layers: Vec<Arc<Flags>>,
    unlisted: Unlisted,
    /// Whether the profile says what operands it takes; else a word that is no subcommand is unknown.
    takes_operands: bool,
    operands: Vec<Operand>,
    after_dashes: Option<Vec<Operand>>,
    /// Identities of flags that take the place of the first operand.
    first_operand_by: Vec<u16>,
    options_end_after: usize,
    /// Whether options mean something else before other words than behind them.
    ordered: bool,
    /// Names of flags that may stand before what a prefix names, with their flags' identities.
    before: Vec<(String, u16)>,
    /// Whether `--` may stand before what a prefix names.
    dashes: bool,
    /// Why it is wide, and for how few operands.
    wide: Option<(String, usize)>,
    commands: HashMap<String, Arc<Node>>,
}

impl Node {
    /// Whether a flag's name means the same here, or what is as harmless and takes as many values.
    fn has(&self, name: &str, flag: &Flag) -> bool {
        self.listed(name).is_some_and(|own| {
            let is_plain = own.effect == Effect::Harmless && own.takes == Takes::None;
            own.id == flag.id
                || own.takes == flag.takes
                    && (own.choices == flag.choices || is_plain)
                    && !own.ends_options
                    && !own.selects
                    && !self.first_operand_by.contains(&own.id)
        })
    }

    /// The flags that are harmless beside one that is named, by their names, where none of them is named itself.
    fn is_beside(&self, flag: &Flag, list: &str) -> bool {
        let mut names = list.split_ascii_whitespace();
        names.any(|name| self.listed(name).is_some_and(|one| one.id == flag.id))
    }

    /// Whether a flag is listed here, and not by a subcommand.
    fn owns(&self, flag: &Flag) -> bool {
        self.layers.iter().any(|flags| flags.exact.values().any(|own| own.id == flag.id))
    }

    /// The flag that is listed under exactly that name, which may be a beginning such as `-Xmx*`.
    fn listed(&self, name: &str) -> Option<&Flag> {
        self.layers.iter().find_map(|flags| match name.strip_suffix('*') {
            None => flags.exact.get(name),
            Some(named) => {
                let mut all = flags.beginnings.iter();
                all.find(|(beginning, _)| beginning == named).map(|(_, flag)| flag)
            }
        })
    }

    /// The flag of exactly that name, or of a listed beginning.
    fn flag(&self, name: &str) -> Option<&Flag> {
        self.layers.iter().find_map(|flags| flags.exact.get(name)).or_else(|| {
            let mut all = self.layers.iter().flat_map(|flags| &flags.beginnings);
            all.find(|(beginning, _)| name.starts_with(beginning)).map(|(_, flag)| flag)
        })
    }
}

/// Flags by their names.
#[derive(Default)]
struct Flags {
    exact: HashMap<String, Flag>,
    /// Names that are beginnings, without their `*`.
    beginnings: Vec<(String, Flag)>,
}

/// One flag, under whatever name.
#[derive(Clone)]
struct Flag {
    /// The same for all names of one flag.
    id: u16,
    /// The choices that it makes: each is the same for all flags that make it.
    choices: Vec<u16>,
    effect: Effect,
    takes: Takes,
    /// Whether several values may be given.
    repeats: bool,
    /// Whether what follows the value is no option any more, as after `python -c CODE`.
    ends_options: bool,
    /// Whether it chooses what the command works on in place of its last operands, as `kubectl -l` does.
    selects: bool,
    kind: Kind,
}

impl Flag {
    /// Whether both make one choice, so that the last of them, or each of them, counts.
    fn chooses_with(&self, other: &Self) -> bool {
        self.choices.iter().any(|choice| other.choices.contains(choice))
    }
}

/// Words that say that something is removed or stopped.
#[derive(Debug, Clone, Default)]
struct Removing {
    /// After these and an operand that a prefix names, no operand may follow.
    all: Vec<String>,
    /// After these options name the one thing that is removed, so that their values may follow.
    one: Vec<String>,
    /// Options that name it, though they aren't listed.
    naming: Vec<String>,
}

/// How many values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    None,
    /// Only attached: `--color=always`.
    Attached,
    One,
    Two,
    /// Words up to `;` or `+`, as for `find -exec`.
    UntilSemicolon,
}

/// An operand's place.
#[derive(Clone)]
struct Operand {
    kind: Kind,
    repeats: Repeats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Once,
    /// Any number, unless the prefix names one: `name...`.
    UnlessNamed,
    /// Any number in any case: `name*`.
    Always,
}

/// A word that reaches beyond a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// What it would do.
    pub effect: Effect,
    /// The word's index in the command's argv.
    pub(super) word: usize,
    /// What is wrong, as the end of a sentence that begins with the word.
    pub(super) what: String,
}

impl Beyond {
    pub(super) fn new(word: usize, what: &str) -> Self {
        Self { effect: Effect::Widens, word, what: what.to_owned() }
    }

    /// The index of the word in the command's argv.
    pub fn word(&self) -> usize {
        self.word
    }

    /// What is wrong, as the end of a sentence that begins with the word.
    pub fn what(&self) -> &str {
        &self.what
    }
}

/// Whether a word goes on from its named beginning without leaving where that leads: a path must not
/// climb with `..`, and a URL must not get another host.
///
/// # Errors
///
/// What is wrong, as the end of a sentence.
pub(super) fn continues(open: &str, word: &str) -> Result<(), &'static str> {
    let more = word.get(open.len()..).unwrap_or_default();
    let is_path = open.contains('/') && !open.contains(char::is_whitespace);
    let url = open.split_once("://").map(|(_, rest)| rest);
    if is_path {
        // The component in which the beginning ends may become `..` as well.
        let start = open.rfind('/').map_or(0, |at| at + 1);
        let mut plain = word.get(start..).unwrap_or_default().to_ascii_lowercase();
        for (code, mark) in [("%25", "%"), ("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%3b", ";")] {
            plain = plain.replace(code, mark);
        }
        let path = plain.split(['?', '#']).next().unwrap_or_default().replace('\\', "/");
        // Some servers leave out what follows a semicolon before they look for `..`.
        let parameters = |part: &str| part.split_once(';').is_some_and(|(part, _)| part == "..");
        if kind::climbs(&path) || path.split('/').any(parameters) {
            return Err("leads out of the path that the scope names");
        }
    }
    match url {
        Some(rest) if !rest.contains('/') && !more.is_empty() => {
            let ends = more.starts_with(['/', '?', '#']);
            let port = more.strip_prefix(':').is_some_and(|more| {
                let end = more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len());
                !rest.contains(':')
                    && end > 0
                    && more.get(end..).is_some_and(|m| m.is_empty() || m.starts_with('/'))
            });
            if ends || port { Ok(()) } else { Err("would name another host") }
        }
        _ => Ok(()),
    }
}

/// The profiles of a program and of the commands that it runs in turn, outermost first: those of
/// `timeout` and `kubectl` for `timeout 5 kubectl get pods`.
pub(super) fn chain(profiles: &Profiles, argv: &[String]) -> Vec<Arc<Profile>> {
    let mut chain = Vec::new();
    let mut rest = argv;
    while let Some(profile) = rest.first().and_then(|program| profiles.find(program).ok()?) {
        let walk = walk::walk(&profile, rest);
        let inner = places::module(&walk).or_else(|| places::Places::of(&walk).command());
        chain.extend(profile.also.clone());
        chain.push(profile);
        // Each round takes at least one word away, so that this ends.
        match inner.filter(|word| *word > 0).and_then(|word| rest.get(word..)) {
            Some(inner) => rest = inner,
            None => break,
        }
    }
    chain
}

/// What the innermost command chooses by a flag, or by the first operand where that stands for the flag.
pub(super) fn value_of(profiles: &Profiles, argv: &[String], name: &str) -> Option<String> {
    let mut rest = argv;
    loop {
        let profile = profiles.find(rest.first()?).ok()??;
        let walk = walk::walk(&profile, rest);
        let places = places::Places::of(&walk);
        match places::module(&walk).or_else(|| places.command()).filter(|word| *word > 0) {
            Some(inner) => rest = rest.get(inner..)?,
            None => {
                let flag = walk.node.flag(name)?;
                let by_flag = walk.events.iter().rev().find_map(|event| match event {
                    walk::Event::Flag { flag: one, value: Some(value), .. }
                        if one.id == flag.id =>
                    {
                        Some(value.text)
                    }
                    _ => None,
                });
                let first = places.operands.first().map(|placed| placed.text);
                return by_flag.or(first).map(str::to_owned);
            }
        }
    }
}

/// Whether an argv ends where a flag's value is awaited, so that the next word would be free: of a subcommand of which
/// nothing is known any flag may have one.
pub(super) fn ends_within(profile: &Profile, argv: &[String]) -> bool {
    let events = walk::walk(profile, argv).events;
    let is_unlisted = events.iter().any(|event| matches!(event, walk::Event::NoCommand { .. }));
    events.last().is_some_and(|event| match event {
        walk::Event::Flag { flag, value, .. } => match flag.takes {
            Takes::None | Takes::Attached => false,
            Takes::One => value.is_none(),
            Takes::Two | Takes::UntilSemicolon => true,
        },
        walk::Event::Unknown { value: None, .. } => is_unlisted,
        _ => false,
    })
}

/// The name under which a program's profile is looked up: without directories and without a version, so
/// that `/usr/bin/python3.11` is `python`.
pub(super) fn family(program: &str) -> &str {
    /// What distributions and builds add to a program's own name.
    const ADDED: [&str; 14] = [
        ".exe",
        ".real",
        ".tiny",
        ".basic",
        ".nox",
        ".gtk3",
        ".openbsd",
        ".traditional",
        ".docker",
        ".io",
        "-nft",
        "-legacy",
        "-remote",
        ".distrib",
    ];
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name
        .split_once("-linux-gnu")
        .and_then(|(_, tool)| tool.split_once('-'))
        .map_or(name, |(_, tool)| tool);
    let name = ADDED.iter().find_map(|added| name.strip_suffix(added)).unwrap_or(name);
    let short = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let dash = ["-v", "-"].iter().find_map(|dash| short.strip_suffix(dash));
    let short = dash.filter(|_| short.len() < name.len()).unwrap_or(short);
    if short.is_empty() { name } else { short }
}
