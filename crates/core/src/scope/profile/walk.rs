//! Reads an argv the way its program does: which words are flags, which are their values, which name
//! subcommands, and which are operands.

use super::kind::{self, Kind};
use super::schema::{Syntax, Unlisted};
use super::{Effect, Flag, Node, Profile, Takes};

/// What a word, or a part of one, is.
pub(super) enum Event<'p, 'a> {
    /// A listed flag.
    Flag { flag: &'p Flag, word: usize, value: Option<Value<'a>> },
    /// A flag that isn't listed, with the value that is attached to it.
    Unknown { name: &'a str, word: usize, value: Option<&'a str> },
    /// A listed flag that is turned off: by another name (`--no-color`), or by a value (`--wait=false`).
    TurnedOff { flag: &'p Flag, word: usize, by_value: bool },
    /// An abbreviation of several flags.
    Ambiguous { word: usize },
    /// A subcommand.
    Command { node: &'p Node, word: usize },
    /// A word where a subcommand is expected, and none of that name is listed.
    NoCommand { word: usize },
    /// Anything else.
    Operand { text: &'a str, word: usize, after_dashes: bool },
}

impl Event<'_, '_> {
    /// The word in which it stands.
    pub(super) fn word(&self) -> usize {
        match *self {
            Self::Flag { word, .. }
            | Self::Unknown { word, .. }
            | Self::TurnedOff { word, .. }
            | Self::Ambiguous { word }
            | Self::Command { word, .. }
            | Self::NoCommand { word }
            | Self::Operand { word, .. } => word,
        }
    }
}

/// A flag's value, and the word that it stands in.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub text: &'a str,
    pub word: usize,
    /// The last word of it, where it is several.
    pub last: usize,
}

/// A whole argv, read.
pub(super) struct Walk<'p, 'a> {
    pub events: Vec<Event<'p, 'a>>,
    /// The subcommand that it comes down to, or the program.
    pub node: &'p Node,
}

/// Reads an argv. Its first word is the program.
pub(super) fn walk<'p, 'a>(profile: &'p Profile, argv: &'a [String]) -> Walk<'p, 'a> {
    let mut walker = Walker {
        profile,
        argv,
        node: &profile.root,
        events: Vec::with_capacity(argv.len()),
        at: 1,
        operands: 0,
        options: true,
    };
    walker.run();
    Walk { events: walker.events, node: walker.node }
}

struct Walker<'p, 'a> {
    profile: &'p Profile,
    argv: &'a [String],
    node: &'p Node,
    events: Vec<Event<'p, 'a>>,
    /// The index of the next word.
    at: usize,
    /// Operands of the current node so far.
    operands: usize,
    /// Whether a word with a dash is an option.
    options: bool,
}

impl<'p, 'a> Walker<'p, 'a> {
    fn next(&mut self) -> Option<(&'a str, usize)> {
        let word = self.argv.get(self.at)?;
        self.at += 1;
        Some((word, self.at - 1))
    }

    fn run(&mut self) {
        let syntax = self.profile.syntax;
        let mut after_dashes = false;
        while let Some((text, word)) = self.next() {
            self.options &= self.operands < self.node.options_end_after;
            let options = self.options;
            if options && text == "--" {
                (self.options, after_dashes) = (false, true);
            } else if options && text.len() > 1 && text.starts_with('-') {
                self.option(text, word);
            } else if options && syntax == Syntax::Tar && word == 1 && !text.is_empty() {
                self.bundle("-", text, word);
            } else if options
                && syntax == Syntax::Ps
                && text.starts_with(|c: char| c.is_alphabetic())
            {
                self.bundle("", text, word);
            } else if after_dashes || !self.profile.ignored.iter().any(|one| kind::fits(one, text))
            {
                self.operand(text, word, after_dashes);
            }
        }
    }

    fn operand(&mut self, text: &'a str, word: usize, after_dashes: bool) {
        let expects = !self.node.commands.is_empty() && self.operands == 0 && !after_dashes;
        if expects {
            if let Some(node) = self.node.commands.get(text) {
                self.node = node;
                self.events.push(Event::Command { node, word });
                return;
            }
            let is_root = std::ptr::eq(self.node, &self.profile.root);
            let lists_all = self.profile.unlisted_commands == Unlisted::Refused;
            if lists_all && (is_root || !self.node.takes_operands) {
                self.events.push(Event::NoCommand { word });
                self.operands += 1;
                return;
            }
        }
        self.operands += 1;
        self.events.push(Event::Operand { text, word, after_dashes });
    }

    fn option(&mut self, text: &'a str, word: usize) {
        match self.profile.syntax {
            Syntax::Single => {
                let name = text.trim_start_matches('-');
                let start = text.len() - name.len();
                // `--x` is `-x`; profiles list the latter.
                if let Some(name) = text.get(start - 1..) {
                    self.named(name, text, word, false);
                }
            }
            Syntax::Nopt => {
                let name = format!("--{}", text.trim_start_matches('-'));
                let is_short = !text.starts_with("--");
                if !(is_short && self.is_cluster(text)) {
                    self.named(&name, text, word, true);
                } else {
                    self.cluster(text, word);
                }
            }
            Syntax::Mysql if text.starts_with("--") => {
                let (name, value) = text.split_once('=').map_or((text, ""), |(n, v)| (n, v));
                let mut name = name.replace('_', "-");
                let mut off = false;
                for mark in ["skip-", "loose-", "enable-", "disable-", "maximum-"] {
                    let plain = name.strip_prefix("--").and_then(|name| name.strip_prefix(mark));
                    if let Some(plain) = plain
                        && self.node.flag(&name).is_none()
                    {
                        name = format!("--{plain}");
                        off |= matches!(mark, "skip-" | "disable-");
                    }
                }
                if text.contains('=') {
                    name = format!("{name}={value}");
                }
                self.named(&name, text, word, true);
                if off
                    && let Some(event) = self.events.last_mut()
                    && let Event::Flag { flag, value: None, .. } = *event
                    && flag.effect == Effect::Harmless
                {
                    *event = Event::TurnedOff { flag, word, by_value: false };
                }
            }
            Syntax::Gnu | Syntax::Tar if text.starts_with("--") => {
                self.named(text, text, word, true)
            }
            Syntax::Exact | Syntax::Ps if text.starts_with("--") => {
                self.named(text, text, word, false);
            }
            Syntax::Gnu | Syntax::Exact | Syntax::Mysql | Syntax::Tar | Syntax::Ps => {
                self.cluster(text, word);
            }
        }
    }

    /// A flag with its whole name in the word. `name` is the word as the profile would write it.
    fn named(&mut self, name: &str, text: &'a str, word: usize, abbreviates: bool) {
        let node = self.node;
        let attached = text.split_once('=').map(|(_, value)| value);
        let bare = name.split_once('=').map_or(name, |(bare, _)| bare);
        let exact = |name: &str| node.layers.iter().find_map(|flags| flags.exact.get(name));
        if let Some(flag) = exact(name) {
            return self.flag(flag, None, word);
        }
        if let Some(flag) = exact(bare).or_else(|| node.flag(name)) {
            return self.flag(flag, attached, word);
        }
        if abbreviates && bare.len() > 2 {
            let all = node.layers.iter().flat_map(|flags| &flags.exact);
            let mut found: Option<&Flag> = None;
            for (_, flag) in all.filter(|(listed, _)| listed.starts_with(bare)) {
                if found.is_some_and(|found| found.id != flag.id) {
                    return self.events.push(Event::Ambiguous { word });
                }
                found = Some(flag);
            }
            if let Some(flag) = found {
                return self.flag(flag, attached, word);
            }
        }
        // What only turns a harmless thing off is harmless, unless that thing was asked for.
        let positive = bare.strip_prefix("--no-").and_then(|rest| exact(&format!("--{rest}")));
        match positive.filter(|flag| flag.effect == Effect::Harmless) {
            Some(flag) => self.events.push(Event::TurnedOff { flag, word, by_value: false }),
            None => {
                let name = text.split_once('=').map_or(text, |(name, _)| name);
                self.events.push(Event::Unknown { name, word, value: attached });
            }
        }
    }

    fn is_cluster(&self, text: &str) -> bool {
        let mut letters = text.chars().skip(1);
        letters.all(|c| c != '=' && self.node.flag(&format!("-{c}")).is_some())
    }

    /// Short flags behind one dash. The last may have its value attached.
    fn cluster(&mut self, text: &'a str, word: usize) {
        let node = self.node;
        let whole = text.split_once('=').map_or(text, |(name, _)| name);
        let is_letter = whole.chars().count() == 2 && whole.len() < text.len();
        if let Some(flag) = node.layers.iter().find_map(|flags| flags.exact.get(whole)) {
            // To most programs `-f=x` is the file `=x`, to some it is `x`: where it matters it isn't guessed.
            if is_letter && !self.profile.assigns {
                if flag.effect != Effect::Harmless || !matches!(flag.kind, Kind::Any) {
                    return self.events.push(Event::Unknown { name: text, word, value: None });
                }
                return self.flag(flag, text.get(whole.len()..), word);
            }
            let attached = text.split_once('=').map(|(_, value)| value);
            return self.flag(flag, attached, word);
        }
        let mut rest = text.get(1..).unwrap_or_default();
        let mut name = String::with_capacity(5);
        while let Some(letter) = rest.chars().next() {
            if letter.is_ascii_digit()
                && let Some(flag) = node.flag("-#")
            {
                self.flag(flag, None, word);
                rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                continue;
            }
            name.clear();
            name.extend(['-', letter]);
            let exact = node.layers.iter().find_map(|flags| flags.exact.get(&name));
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            let Some(flag) = exact.or_else(|| node.flag(text)) else {
                return self.events.push(Event::Unknown { name: text, word, value: None });
            };
            if exact.is_none() {
                return self.flag(flag, Some(rest), word);
            }
            if flag.takes == Takes::None {
                self.flag(flag, None, word);
                continue;
            }
            if rest.starts_with('=') && !self.profile.assigns && !matches!(flag.kind, Kind::Any) {
                return self.events.push(Event::Unknown { name: text, word, value: None });
            }
            let attached = match self.profile.assigns {
                true => rest.strip_prefix('=').unwrap_or(rest),
                false => rest,
            };
            return self.flag(flag, (!rest.is_empty()).then_some(attached), word);
        }
    }

    /// A word of letters whose values follow in their order, as in `tar tzf FILE` and `ps axo FORMAT`.
    fn bundle(&mut self, dash: &str, text: &'a str, word: usize) {
        for letter in text.chars() {
            match self.node.flag(&format!("{dash}{letter}")) {
                Some(flag) => self.flag(flag, None, word),
                None => return self.events.push(Event::Unknown { name: text, word, value: None }),
            }
        }
    }

    fn flag(&mut self, flag: &'p Flag, attached: Option<&'a str>, word: usize) {
        let value = match (flag.takes, attached) {
            (Takes::None, Some(text)) if flag.effect == Effect::Harmless && !is_on(text) => {
                return self.events.push(Event::TurnedOff { flag, word, by_value: true });
            }
            (Takes::One | Takes::Attached | Takes::None, Some(text)) => {
                Some(Value { text, word, last: word })
            }
            // `make -j 4`: a number that follows is the value.
            (Takes::Attached, None) if matches!(flag.kind, Kind::Number) => {
                let next = self.argv.get(self.at).filter(|text| kind::is_number(text));
                next.and_then(|_| self.next()).map(|(text, word)| Value { text, word, last: word })
            }
            (Takes::None | Takes::Attached, None) => None,
            (Takes::One, None) => self.next().map(|(text, word)| Value { text, word, last: word }),
            (Takes::Two, attached) => {
                let first = match attached {
                    Some(text) => Some((text, word)),
                    None => self.next(),
                };
                let second = self.next();
                first.map(|(text, word)| Value {
                    text,
                    word,
                    last: second.map_or(word, |(_, last)| last),
                })
            }
            (Takes::UntilSemicolon, _) => {
                let first = self.at;
                while let Some((text, at)) = self.next() {
                    if text == ";" || text == "+" && at > first + 1 {
                        break;
                    }
                }
                let text = self.argv.get(first).map_or("", String::as_str);
                Some(Value { text, word: first, last: self.at - 1 })
            }
        };
        self.options &= !flag.ends_options;
        self.events.push(Event::Flag { flag, word, value });
        self.switched(flag, value.is_none());
    }

    /// Some programs take a word such as `false` behind a flag without a value for its value.
    fn switched(&mut self, flag: &'p Flag, is_bare: bool) {
        let takes_none = is_bare && matches!(flag.takes, Takes::None | Takes::Attached);
        let Some(text) = self.argv.get(self.at).filter(|_| takes_none) else {
            return;
        };
        if self.profile.switches.iter().any(|one| one == text) {
            self.events.push(Event::TurnedOff { flag, word: self.at, by_value: true });
            self.at += 1;
        }
    }
}

/// Whether a flag without a value stays what it is with this one.
fn is_on(text: &str) -> bool {
    matches!(text, "" | "1" | "on" | "true" | "yes")
}
