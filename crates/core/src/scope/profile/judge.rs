//! Whether what follows a prefix stays within what the prefix names.

use super::kind::Kind;
use super::places::{self, Placed, Places};
use super::schema::Unlisted;
use super::walk::{Event, Value, Walk, walk};
use super::{Beyond, Effect, Flag, Operand, Profile, Profiles, Repeats, Takes};
use crate::scope::lexer;

/// Commands within commands are followed so deep.
const MOST_NESTED: usize = 6;

/// How much of an argv the prefix names.
#[derive(Debug, Clone, Copy)]
pub(in crate::scope) struct Granted<'t> {
    /// So many whole words.
    pub words: usize,
    /// The beginning of the next word.
    pub open: Option<&'t str>,
    /// Whether only harmless flags may follow the words that are named.
    pub sealed: bool,
}

impl Granted<'_> {
    /// Whole words alone.
    pub fn whole(words: usize) -> Self {
        Self { words, open: None, sealed: false }
    }

    fn names(&self, word: usize) -> bool {
        word < self.words
    }

    fn is_open(&self, word: usize) -> bool {
        word == self.words && self.open.is_some_and(|text| !text.is_empty())
    }

    /// Whether nothing but flags may stand at this word.
    fn is_sealed(&self, word: usize) -> bool {
        match self.open {
            Some(_) => word > self.words,
            None => self.sealed && word >= self.words,
        }
    }

    /// The same for an argv that begins at a word of this one.
    fn from(&self, word: usize) -> Self {
        let words = self.words.saturating_sub(word);
        let open = self.open.filter(|_| self.words >= word);
        Self { words, open, sealed: self.sealed || self.open.is_some() }
    }
}

/// Judges an argv, of which a prefix names the beginning, by the profile of its program.
pub(in crate::scope) fn judge(
    profiles: &Profiles,
    profile: &Profile,
    argv: &[String],
    granted: Granted<'_>,
) -> Result<(), Beyond> {
    nested(profiles, profile, argv, granted, 0)
}

fn nested(
    profiles: &Profiles,
    profile: &Profile,
    argv: &[String],
    granted: Granted<'_>,
    depth: usize,
) -> Result<(), Beyond> {
    let walk = walk(profile, argv);
    let judge = Judge { profiles, argv, granted, walk: &walk, depth };
    judge.flags()?;
    judge.operands()?;
    match &profile.also {
        Some(also) => nested(profiles, also, argv, granted, depth),
        None => Ok(()),
    }
}

struct Judge<'j, 'p, 'a> {
    profiles: &'j Profiles,
    argv: &'a [String],
    granted: Granted<'j>,
    walk: &'j Walk<'p, 'a>,
    depth: usize,
}

fn beyond(effect: Effect, word: usize) -> Beyond {
    Beyond { effect, word, what: effect.does().to_owned() }
}

impl<'p, 'a> Judge<'_, 'p, 'a> {
    /// Whether the prefix names a flag that stands in this word.
    fn names_flag(&self, word: usize, value: Option<Value<'a>>) -> bool {
        let attached = value.filter(|value| value.word == word).map_or(0, |v| v.text.len());
        let name = self.argv.get(word).map_or(0, |text| text.len() - attached);
        self.granted.names(word)
            || self.granted.is_open(word)
                && attached > 0
                && self.granted.open.is_some_and(|open| open.len() >= name)
    }

    /// Whether nothing but harmless flags may stand at this word. After an open script, which is judged
    /// whole, stands what it works on.
    fn is_sealed(&self, word: usize) -> bool {
        let at = self.granted.words;
        let is_script = |kind: &Kind| self.granted.open.is_some() && kind.is_script();
        self.granted.is_sealed(word)
            && !self.walk.events.iter().any(|event| match event {
                Event::Flag { flag, value: Some(value), .. } => {
                    value.word == at && is_script(&flag.kind)
                }
                _ => false,
            })
            && !Places::of(self.walk).operands.iter().any(|placed| {
                placed.word == at && placed.place.is_some_and(|place| is_script(&place.kind))
            })
    }

    fn flags(&self) -> Result<(), Beyond> {
        let mut is_listed = true;
        for event in &self.walk.events {
            match *event {
                Event::Flag { flag, word, value } => self.flag(flag, word, value)?,
                Event::Unknown { name, word, value } => {
                    if self.granted.names(word) || !is_listed {
                        continue;
                    }
                    if self.prefix_has(name) {
                        let what = "would take the place of what the scope names".to_owned();
                        return Err(Beyond { effect: Effect::Target, word, what });
                    }
                    if self.walk.node.unlisted == Unlisted::Refused {
                        let what = "is not known to be harmless".to_owned();
                        return Err(Beyond { effect: Effect::Widens, word, what });
                    }
                    if let (Some(value), Some(operand)) = (value, self.walk.node.operands.last()) {
                        self.check(&operand.kind, value, word)?;
                    }
                }
                Event::Ambiguous { word } if !self.granted.names(word) => {
                    let what = "abbreviates several options".to_owned();
                    return Err(Beyond { effect: Effect::Widens, word, what });
                }
                Event::Command { node, word } if !self.granted.names(word) => {
                    if node.does != Effect::Harmless {
                        return Err(beyond(node.does, word));
                    }
                }
                Event::NoCommand { word } if !self.granted.names(word) => {
                    let what = "is no subcommand that is known".to_owned();
                    return Err(Beyond { effect: Effect::Runs, word, what });
                }
                // A subcommand that nothing is known of is like a program of which nothing is known.
                Event::NoCommand { .. } => is_listed = false,
                Event::Ambiguous { .. } | Event::Command { .. } | Event::Operand { .. } => {}
            }
        }
        Ok(())
    }

    /// Whether the prefix names a flag that isn't listed, or one that abbreviates it.
    fn prefix_has(&self, name: &str) -> bool {
        self.walk.events.iter().any(|event| match *event {
            Event::Unknown { name: named, word, .. } if self.granted.names(word) => {
                named.starts_with(name) || name.starts_with(named)
            }
            _ => false,
        })
    }

    /// Whether the prefix names what the command works on as far as operands can.
    fn names_last_operand(&self) -> bool {
        let last = self.walk.node.operands.len().saturating_sub(1);
        // `TYPE/NAME` is a type and a name.
        Places::of(self.walk).operands.iter().any(|placed| {
            self.granted.names(placed.word) && (placed.number >= last || placed.text.contains('/'))
        })
    }

    fn flag(&self, flag: &Flag, word: usize, value: Option<Value<'a>>) -> Result<(), Beyond> {
        if self.names_flag(word, value) {
            return self.value_of_named(flag, word, value);
        }
        let same_value = |other: Option<Value<'a>>| match flag.takes {
            Takes::None => true,
            _ => other.map(|value| value.text) == value.map(|value| value.text),
        };
        let named = self.walk.events.iter().filter_map(|event| match event {
            Event::Flag { flag, word, value } if self.names_flag(*word, *value) => {
                Some((*flag, *value))
            }
            _ => None,
        });
        let mut again = false;
        for (other, other_value) in named {
            let varies = other_value.is_some_and(|value| !self.granted.names(value.last));
            if other.id == flag.id && varies && flag.effect <= Effect::Target {
                // The prefix ends at the flag, so that its value is free, here as well.
                again = true;
            } else if other.id == flag.id && same_value(other_value) {
                again = flag.takes == Takes::One;
            } else if other.choice == flag.choice && !flag.repeats {
                let what = "would take the place of what the scope names".to_owned();
                return Err(Beyond { effect: Effect::Target, word, what });
            }
        }
        if flag.effect == Effect::Target && self.is_sealed(word) {
            return Err(self.too_many(word));
        }
        if flag.selects && !again && self.names_last_operand() {
            let what = "comes on top of what the scope names".to_owned();
            return Err(Beyond { effect: Effect::Target, word, what });
        }
        match flag.effect {
            Effect::Harmless | Effect::Target => match value {
                Some(value) => self.check(&flag.kind, value.text, value.word),
                None => Ok(()),
            },
            _ if again => Ok(()),
            effect => Err(beyond(effect, word)),
        }
    }

    /// A flag that the prefix names. Where it ends at the flag, or within the value, the value may be any
    /// that is not code in disguise.
    fn value_of_named(
        &self,
        flag: &Flag,
        word: usize,
        value: Option<Value<'a>>,
    ) -> Result<(), Beyond> {
        let Some(value) = value.filter(|value| !self.granted.names(value.last)) else {
            return Ok(());
        };
        if flag.takes == Takes::UntilSemicolon {
            return self.command(value.word, Some(value.last));
        }
        if self.granted.is_open(value.word) {
            // What is left of the open text stands within the value.
            let open = self.granted.open.unwrap_or_default();
            let lead = self.argv.get(value.word).map_or(0, |word| word.len() - value.text.len());
            let named = open.get(lead..).unwrap_or_default();
            return self.open_value(&flag.kind, named, value);
        }
        match flag.kind {
            Kind::Code | Kind::Shell => Ok(()),
            Kind::Module => self.command(value.word, None),
            _ => self.check(&flag.kind, value.text, word.max(value.word)),
        }
    }

    /// A value of which the prefix names the beginning.
    fn open_value(&self, kind: &Kind, named: &str, value: Value<'a>) -> Result<(), Beyond> {
        match kind {
            Kind::Shell => self.shell(value.text, named, value.word),
            Kind::Code => {
                let what = "is code, and only code that is named whole can be allowed".to_owned();
                Err(Beyond { effect: Effect::Runs, word: value.word, what })
            }
            _ => self.check(kind, value.text, value.word),
        }
    }

    fn check(&self, kind: &Kind, text: &str, word: usize) -> Result<(), Beyond> {
        if matches!(kind, Kind::Module) {
            return Err(beyond(Effect::Runs, word));
        }
        kind.check(text).map_err(|(effect, what)| Beyond { effect, word, what })
    }

    fn operands(&self) -> Result<(), Beyond> {
        let node = self.walk.node;
        if let Some(word) = places::module(self.walk) {
            return self.command(word, None);
        }
        // What the prefix names as the first operand must not become another by a flag.
        let takes_place = self.walk.events.iter().find_map(|event| match event {
            Event::Flag { flag, word, value } if node.first_operand_by.contains(&flag.id) => {
                (!self.names_flag(*word, *value)).then_some(*word)
            }
            _ => None,
        });
        if let Some(word) = takes_place.filter(|_| self.names_operand()) {
            return Err(beyond(Effect::Widens, word));
        }
        let is_unlisted = self.walk.events.iter().any(|e| matches!(e, Event::NoCommand { .. }));
        let mut named: Option<(usize, usize)> = None;
        for Placed { place, text, word, number } in Places::of(self.walk).operands {
            if is_unlisted {
                if self.is_sealed(word) {
                    return Err(self.too_many(word));
                }
                continue;
            }
            let Some(operand) = place else {
                if self.granted.names(word) {
                    continue;
                }
                return Err(self.too_many(word));
            };
            match operand.kind {
                Kind::Command | Kind::NamedCommand => {
                    if matches!(operand.kind, Kind::NamedCommand) && !self.granted.names(word) {
                        return Err(beyond(Effect::Runs, word));
                    }
                    if text.starts_with('-') && !self.granted.names(word) {
                        let what = "is no command but looks like a flag".to_owned();
                        return Err(Beyond { effect: Effect::Widens, word, what });
                    }
                    return self.command(word, None);
                }
                Kind::Remote => return self.remote(word),
                _ if self.granted.names(word) => named = Some((number, word)),
                _ => {
                    let named = named.filter(|(place, _)| *place == number).map(|(_, at)| at);
                    self.operand(operand, named, text, word)?;
                }
            }
        }
        Ok(())
    }

    fn too_many(&self, word: usize) -> Beyond {
        let what = "is one word more than the scope allows".to_owned();
        Beyond { effect: Effect::Widens, word, what }
    }

    fn names_operand(&self) -> bool {
        self.walk.events.iter().any(|event| match event {
            Event::Operand { word, .. } => self.granted.names(*word),
            _ => false,
        })
    }

    fn operand(
        &self,
        operand: &Operand,
        named: Option<usize>,
        text: &'a str,
        word: usize,
    ) -> Result<(), Beyond> {
        if self.is_sealed(word) {
            return Err(self.too_many(word));
        }
        if self.granted.is_open(word) {
            let open = self.granted.open.unwrap_or_default();
            return self.open_value(&operand.kind, open, Value { text, word, last: word });
        }
        let is_same = named.and_then(|at| self.argv.get(at)).is_some_and(|named| named == text);
        if operand.repeats == Repeats::UnlessNamed && named.is_some() && !is_same {
            let what = "comes on top of what the scope names".to_owned();
            return Err(Beyond { effect: Effect::Widens, word, what });
        }
        if matches!(&operand.kind, Kind::Rule(rule) if rule.if_named) && !self.names_operand() {
            return Ok(());
        }
        self.check(&operand.kind, text, word)
    }

    /// A command within this one, from a word on.
    fn command(&self, word: usize, last: Option<usize>) -> Result<(), Beyond> {
        let end = last.unwrap_or(self.argv.len());
        let argv = self.argv.get(word..end).unwrap_or_default();
        self.inner(argv, self.granted.from(word))
            .map_err(|beyond| Beyond { word: beyond.word + word, ..beyond })
    }

    fn inner(&self, argv: &[String], granted: Granted<'_>) -> Result<(), Beyond> {
        let Some(program) = argv.first() else {
            return Ok(());
        };
        if self.depth >= MOST_NESTED {
            return Err(beyond(Effect::Runs, 0));
        }
        if granted.words == 0 && granted.open.is_some_and(|open| open != program) {
            // The program's own name is open.
            return Err(beyond(Effect::Runs, 0));
        }
        match self.profiles.find(program) {
            Ok(Some(profile)) => nested(self.profiles, &profile, argv, granted, self.depth + 1),
            Ok(None) if granted.open.is_some() || granted.sealed => {
                let named = granted.words + usize::from(granted.open.is_some());
                match argv.len() > named {
                    true => Err(self.too_many(named)),
                    false => Ok(()),
                }
            }
            Ok(None) => Ok(()),
            Err(error) => Err(Beyond {
                effect: Effect::Runs,
                word: 0,
                what: format!("can't be judged ({error})"),
            }),
        }
    }

    /// A command that a shell elsewhere reads: its words are joined by spaces and split again.
    fn remote(&self, word: usize) -> Result<(), Beyond> {
        if self.granted.words >= self.argv.len() {
            return Ok(());
        }
        let named = self.argv.get(word..self.granted.words.max(word)).unwrap_or_default().join(" ");
        let all = self.argv.get(word..).unwrap_or_default().join(" ");
        let named = match self.granted.open {
            Some(open) if named.is_empty() => open.to_owned(),
            Some(open) => format!("{named} {open}"),
            None => named,
        };
        self.shell(&all, &named, word.max(self.granted.words))
    }

    /// A text that a shell reads, of which a beginning is named: one command, and one of that prefix.
    fn shell(&self, text: &str, named: &str, word: usize) -> Result<(), Beyond> {
        let needs_shell = |error: lexer::LexError| {
            let what = format!("would be read by another shell: {error}");
            Beyond { effect: Effect::Runs, word, what }
        };
        let of = |words: Vec<lexer::Word>| words.into_iter().map(|word| word.text);
        let argv: Vec<String> = of(lexer::split(text).map_err(needs_shell)?).collect();
        let prefix: Vec<String> = match named.trim().is_empty() {
            true => Vec::new(),
            false => of(lexer::split(named).map_err(needs_shell)?).collect(),
        };
        if !argv.starts_with(&prefix) {
            return Err(beyond(Effect::Runs, word));
        }
        let granted = Granted::whole(prefix.len());
        self.inner(&argv, granted).map_err(|beyond| Beyond { word, ..beyond })
    }
}
