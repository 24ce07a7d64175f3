//! Whether what follows a prefix stays within what the prefix names.

use super::granted::Granted;
use super::kind::Kind;
use super::places::{self, Placed, Places};
use super::removing::fits_one;
use super::schema::Unlisted;
use super::unknown::{Place, is_for_file, unknown};
use super::walk::{Event, Value, Walk, walk};
use super::{Beyond, Effect, Flag, Operand, Profile, Profiles, Repeats, Takes};

/// Judges an argv, of which a prefix names the beginning, by the profile of its program.
pub(in crate::scope) fn judge(
    profiles: &Profiles,
    profile: Option<&Profile>,
    argv: &[String],
    granted: Granted<'_>,
) -> Result<(), Beyond> {
    match profile {
        Some(profile) => nested(profiles, profile, argv, granted, 0),
        None => unknown(profiles, argv, granted, 0, Place::Any),
    }
}

pub(super) fn nested(
    profiles: &Profiles,
    profile: &Profile,
    argv: &[String],
    granted: Granted<'_>,
    depth: usize,
) -> Result<(), Beyond> {
    let walk = walk(profile, argv);
    let judge = Judge { profiles, profile, argv, granted, walk: &walk, depth };
    judge.flags()?;
    judge.operands()?;
    match &profile.also {
        Some(also) => nested(profiles, also, argv, granted, depth),
        None => Ok(()),
    }
}

pub(super) struct Judge<'j, 'p, 'a> {
    pub profiles: &'j Profiles,
    pub profile: &'j Profile,
    pub argv: &'a [String],
    pub granted: Granted<'j>,
    pub walk: &'j Walk<'p, 'a>,
    pub depth: usize,
}

/// What turns a flag off that isn't listed, or on again.
fn opposite(name: &str) -> String {
    match (name.strip_prefix("--no-"), name.strip_prefix("--")) {
        (Some(on), _) => format!("--{on}"),
        (None, Some(on)) => format!("--no-{on}"),
        (None, None) => name.to_owned(),
    }
}

pub(super) fn beyond(effect: Effect, word: usize) -> Beyond {
    Beyond { effect, word, what: effect.does().to_owned() }
}

impl<'p, 'a> Judge<'_, 'p, 'a> {
    /// Whether the prefix names a flag that stands in this word.
    pub(super) fn names_flag(&self, word: usize, value: Option<Value<'a>>) -> bool {
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
                    if self.granted.names(word) {
                        continue;
                    }
                    if self.prefix_has(name) || self.prefix_has(&opposite(name)) {
                        let what = "would take the place of what the scope names".to_owned();
                        return Err(Beyond { effect: Effect::Target, word, what });
                    }
                    if is_listed && self.walk.node.unlisted == Unlisted::Refused
                        || !is_listed && self.may_reach(name, word, value)
                        || is_for_file(name)
                        || self.fixes_what_runs()
                        || self.removes() && !fits_one(&self.profile.removing.naming, name)
                    {
                        let what = "is not known to be harmless".to_owned();
                        return Err(Beyond { effect: Effect::Widens, word, what });
                    }
                    self.attached_command(name, value, word)?;
                    if let (Some(value), Some(operand)) = (value, self.walk.node.operands.last()) {
                        self.check(&operand.kind, value, word)?;
                    }
                }
                Event::TurnedOff { flag, word, by_value } if !self.granted.names(word) => {
                    let named = self.walk.events.iter().any(|event| {
                        matches!(event, Event::Flag { flag: one, word, .. }
                            if one.id == flag.id && self.granted.names(*word))
                    });
                    if named || (by_value && self.undoes_setting(word)) {
                        let what = "turns off what stands".to_owned();
                        return Err(Beyond { effect: Effect::Target, word, what });
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
                Event::NoCommand { word } => {
                    is_listed = false;
                    self.unknown(word)?;
                }
                Event::Command { node, word }
                    if node.does == Effect::Runs && !node.takes_operands =>
                {
                    self.unknown(word)?;
                }
                Event::TurnedOff { .. }
                | Event::Ambiguous { .. }
                | Event::Command { .. }
                | Event::Operand { .. } => {}
            }
        }
        Ok(())
    }

    /// Whether a word such as `--ignore-scripts=false` says another thing than a variable that the profile sets
    /// for the program, as `NPM_CONFIG_IGNORE_SCRIPTS`.
    fn undoes_setting(&self, word: usize) -> bool {
        let text = |word: usize| self.argv.get(word).map_or("", String::as_str);
        let (name, value) = match text(word).starts_with('-') {
            true => text(word).split_once('=').unwrap_or((text(word), "")),
            // The value is the next word.
            false => (text(word.saturating_sub(1)), text(word)),
        };
        let name = name.trim_start_matches('-');
        let variable = format!("_{}", name.replace('-', "_").to_ascii_uppercase());
        self.profile.settings().iter().any(|(set, to)| set.ends_with(&variable) && to != value)
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
        let turned_off = self.walk.events.iter().any(|event| {
            matches!(event, Event::TurnedOff { flag: other, word, .. }
                if other.id == flag.id && self.granted.names(*word))
        });
        if turned_off {
            let what = "would take the place of what the scope names".to_owned();
            return Err(Beyond { effect: Effect::Target, word, what });
        }
        let mut again = false;
        let is_statement = matches!(flag.kind, Kind::Sql(_));
        for (other, other_value) in named {
            if is_statement && matches!(other.effect, Effect::Reads | Effect::Runs) {
                // A script is what the prefix lets the client do.
                return Err(self.too_many(word));
            }
            let varies = other_value.is_some_and(|value| !self.granted.names_value(value.last));
            if other.id == flag.id && varies && flag.effect <= Effect::Target {
                // The prefix ends at the flag, so that its value is free, here as well.
                again = true;
            } else if other.id == flag.id && same_value(other_value) {
                // Options may add up, as `-C dir` and `-d data` do: the same once more is harmless only where
                // the option is.
            } else if other.chooses_with(flag) && (!flag.repeats || self.granted.is_gap(word)) {
                // Even among those that may be given several times, what comes first may decide.
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
            effect => {
                let named = self.walk.events.iter().filter_map(|event| match event {
                    Event::Flag { flag, word, value } => {
                        self.names_flag(*word, *value).then_some(*flag)
                    }
                    _ => None,
                });
                match self.profile.stands_beside(self.walk.node, flag, named) {
                    true => {
                        value.map_or(Ok(()), |value| self.check(&flag.kind, value.text, value.word))
                    }
                    false => Err(beyond(effect, word)),
                }
            }
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
        let Some(value) = value.filter(|value| !self.granted.names_value(value.last)) else {
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
            if flag.effect == Effect::Runs && matches!(flag.kind, Kind::Any | Kind::Literal) {
                // Another shell may read it.
                return self.shell(value.text, named, value.word);
            }
            return self.open_value(&flag.kind, named, value);
        }
        match flag.kind {
            Kind::Code | Kind::Shell => Ok(()),
            Kind::Module => self.module(value.word),
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
            Kind::Rule(rule)
                if !rule.continues(value.text.get(named.len()..).unwrap_or_default()) =>
            {
                Err(beyond(Effect::Widens, value.word))
            }
            _ => self.check(kind, value.text, value.word),
        }
    }

    pub(super) fn check(&self, kind: &Kind, text: &str, word: usize) -> Result<(), Beyond> {
        if matches!(kind, Kind::Module) {
            return Err(beyond(Effect::Runs, word));
        }
        kind.check(text).map_err(|(effect, what)| Beyond { effect, word, what })
    }

    fn operands(&self) -> Result<(), Beyond> {
        let node = self.walk.node;
        if let Some(word) = places::module(self.walk) {
            return self.module(word);
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
        self.alone()?;
        let removes = self.names_what_is_removed();
        let is_unlisted = self.walk.events.iter().any(|e| matches!(e, Event::NoCommand { .. }));
        // A second word of a command of which nothing is known may belong to its name: `plugin list`.
        let in_group = self.walk.events.iter().any(|e| matches!(e, Event::Command { .. }));
        let mut operands = self.walk.events.iter().filter(|e| matches!(e, Event::Operand { .. }));
        let second = operands.next().filter(|_| !in_group).map(Event::word);
        let mut named: Option<(usize, usize)> = None;
        for Placed { place, text, word, number } in Places::of(self.walk).operands {
            if self.adds_to_named(word) {
                let what = "comes on top of what the scope names".to_owned();
                return Err(Beyond { effect: Effect::Widens, word, what });
            }
            if is_unlisted {
                let is_named = self.granted.names(word);
                if self.is_sealed(word)
                    || !is_named && (removes || named.is_some() && !self.may_be_value(word))
                {
                    return Err(self.too_many(word));
                }
                if is_named && second != Some(word) {
                    named = Some((number, word));
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
                _ if removes && !self.is_naming(word) => return Err(self.too_many(word)),
                _ => {
                    let named = named.filter(|(place, _)| *place == number).map(|(_, at)| at);
                    self.operand(operand, named, text, word)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn too_many(&self, word: usize) -> Beyond {
        let what = "is one word more than the scope allows".to_owned();
        Beyond { effect: Effect::Widens, word, what }
    }

    pub(super) fn names_operand(&self) -> bool {
        self.walk.events.iter().any(|event| match event {
            Event::Operand { word, .. } => self.granted.names(*word),
            _ => false,
        })
    }

    /// Whether an operand that the prefix names is a value of this name.
    fn gives(&self, name: &str, mark: Option<char>) -> bool {
        self.walk.events.iter().any(|event| match *event {
            Event::Operand { text, word, .. } if self.granted.names(word) => {
                mark.and_then(|mark| text.split_once(mark)).is_some_and(|(own, _)| own == name)
            }
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
            self.following_command(text, word)?;
            return self.open_value(&operand.kind, open, Value { text, word, last: word });
        }
        if let Kind::Rule(rule) = &operand.kind
            && let Some((name, _)) = rule.once.and_then(|mark| text.split_once(mark))
            && self.gives(name, rule.once)
        {
            let what = "would take the place of what the scope names".to_owned();
            return Err(Beyond { effect: Effect::Target, word, what });
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
}
