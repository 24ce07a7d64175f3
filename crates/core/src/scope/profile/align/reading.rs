//! A prefix and a command, each read by the profile, held against each other.

use super::super::schema::Syntax;
use super::super::walk::{Event, Value, Walk};
use super::super::{Effect, Flag, Node, Profile, Takes};
use super::{Aligned, is_place};

/// What is compared.
pub(super) struct Reading<'r, 'p, 'a> {
    pub(super) profile: &'p Profile,
    pub(super) prefix: &'a [String],
    pub(super) argv: &'a [String],
    /// The prefix, read alone.
    pub(super) alone: &'r [Event<'p, 'a>],
    /// The command.
    pub(super) read: &'r [Event<'p, 'a>],
    /// What the command comes down to.
    pub(super) node: &'p Node,
    /// The words that are compared: all, or those before a command within the command.
    pub(super) ends: (usize, usize),
    /// Whether more of the prefix follows what is compared.
    pub(super) goes_on: bool,
    /// Events of the command that the prefix names.
    pub(super) named: Vec<bool>,
    /// Words of the command without an event that the prefix names.
    pub(super) silent: Vec<usize>,
    /// The event of an option of which the prefix leaves the value open.
    free: Option<usize>,
}

impl<'r, 'p, 'a> Reading<'r, 'p, 'a> {
    pub(super) fn new(
        profile: &'p Profile,
        prefix: &'a [String],
        argv: &'a [String],
        alone: &'r Walk<'p, 'a>,
        read: &'r Walk<'p, 'a>,
    ) -> Self {
        Self {
            profile,
            prefix,
            argv,
            alone: &alone.events,
            read: &read.events,
            node: read.node,
            ends: (prefix.len(), argv.len()),
            goes_on: false,
            named: vec![false; read.events.len()],
            silent: Vec::new(),
            free: None,
        }
    }

    /// Where all words of the prefix stand; the last of them, which is open, at `open`.
    pub(super) fn whole(mut self, open: Option<usize>) -> Option<Aligned> {
        self.goes_on = open.is_some();
        if let Some(at) = open {
            let last = self.prefix.len() - 1;
            let holds = |event: &&Event<'_, '_>| match event {
                Event::Flag { word, value, .. } => {
                    value.is_some_and(|value| value.word == last || *word == last)
                }
                event => is_place(event) && event.word() == last,
            };
            self.alone.iter().find(holds)?;
            let found = self.find()?;
            return (found.words == at + 1).then_some(found);
        }
        self.find()
    }

    /// Where the words of the prefix before one stand in the command before another.
    pub(super) fn before(mut self, at: usize, found: usize) -> Option<Aligned> {
        self.ends = (at, found);
        self.goes_on = true;
        let count = |events: &[Event<'_, '_>], end: usize| {
            events.iter().take_while(|event| event.word() < end).count()
        };
        self.alone = self.alone.get(..count(self.alone, at))?;
        self.read = self.read.get(..count(self.read, found))?;
        self.find()
    }

    fn find(mut self) -> Option<Aligned> {
        let (prefix, argv) = (self.prefix.get(..self.ends.0)?, self.argv.get(..self.ends.1)?);
        // A table that programs share says too little of where options may stand.
        if !self.profile.is_of(argv.first()?) {
            let is_whole = self.ends.0 == self.prefix.len() || prefix.len() == argv.len();
            let is_plain = is_whole && argv.starts_with(prefix);
            return is_plain.then(|| Aligned::at_start(prefix.len()));
        }
        // A subcommand of which nothing is known is a program of its own, and some options begin anew.
        let is_own = |event: &Event<'_, '_>| match event {
            Event::NoCommand { .. } => true,
            Event::Flag { flag, .. } => {
                let mut anew = self.profile.anew.split_ascii_whitespace();
                anew.any(|name| self.node.listed(name).is_some_and(|one| one.id == flag.id))
            }
            _ => false,
        };
        if self.alone.iter().chain(self.read).any(is_own) || self.adds_to_lists() {
            return None;
        }
        self.places()?;
        self.options()?;
        self.silent_words()?;
        self.rest()
    }

    /// Whether a word behind an option of the prefix adds to its values, so that it belongs to that one.
    fn adds_to_lists(&self) -> bool {
        let behind = self.alone.iter().skip(1).zip(self.alone);
        self.profile.lists
            && behind.into_iter().any(|(event, before)| {
                is_place(event) && matches!(before, Event::Flag { value: Some(_), .. })
            })
            && self.alone.iter().take(2).all(is_place)
    }

    /// The subcommands and operands of the prefix are the first of the command.
    fn places(&mut self) -> Option<()> {
        let mut places = (0..self.read.len()).filter(|at| self.read.get(*at).is_some_and(is_place));
        let mut operands = 0;
        for event in self.alone.iter().filter(|event| is_place(event)) {
            let at = places.next()?;
            let read = self.read.get(at)?;
            operands += usize::from(matches!(event, Event::Operand { .. }));
            let is_kind = || match (event, read) {
                (
                    Event::Operand { text: one, after_dashes: false, .. },
                    Event::Operand { text: other, after_dashes: false, .. },
                ) => {
                    operands == 1
                        && (one.contains('/') || self.takes_kind())
                        && self.profile.is_one_kind(one, other)
                }
                _ => false,
            };
            if !self.is_same_place(event, read) && !is_kind() {
                return None;
            }
            *self.named.get_mut(at)? = true;
        }
        Some(())
    }

    /// Whether the first operand is the kind of a thing.
    fn takes_kind(&self) -> bool {
        let command = self.read.iter().find(|event| matches!(event, Event::Command { .. }));
        let name = command.and_then(|event| self.argv.get(event.word()));
        name.is_some_and(|name| self.profile.synonyms_in.contains(name))
    }

    fn is_same_place(&self, alone: &Event<'p, 'a>, read: &Event<'p, 'a>) -> bool {
        match (alone, read) {
            (Event::Command { node: one, .. }, Event::Command { node: other, .. }) => {
                std::ptr::eq(*one, *other)
            }
            (Event::NoCommand { .. }, Event::NoCommand { .. }) => {
                self.prefix.get(alone.word()) == self.argv.get(read.word())
            }
            (
                Event::Operand { text: one, after_dashes: mine, .. },
                Event::Operand { text: other, after_dashes: theirs, .. },
            ) => {
                let ends = self.node.after_dashes.is_none() && self.node.dashes;
                let is_one = one == other
                    || self.node.does == Effect::Harmless && self.profile.is_one_name(one, other);
                is_one && (mine == theirs || !mine && ends)
            }
            _ => false,
        }
    }

    /// The options of the prefix, wherever the program takes them to be the same.
    fn options(&mut self) -> Option<()> {
        let mut matched: Vec<(usize, usize)> = Vec::new();
        for (index, event) in self.alone.iter().enumerate().filter(|(_, event)| !is_place(event)) {
            if matches!(event, Event::Unknown { .. } | Event::Ambiguous { .. }) {
                return self.block(index, event.word());
            }
            let at = (0..self.read.len()).find(|at| {
                !self.named.get(*at).copied().unwrap_or(true)
                    && self.is_same_option(index, *at)
                    && matched
                        .iter()
                        .all(|(before, found)| !self.keeps_order(*before, index) || found < at)
            })?;
            *self.named.get_mut(at)? = true;
            matched.push((index, at));
            if let Event::Flag { flag, value: None, .. } = event
                && flag.takes == Takes::One
            {
                self.free = Some(at);
            }
        }
        Some(())
    }

    /// Whether the order of two options of the prefix counts: they make one choice, or have effects, or nothing is said
    /// of the program's options.
    fn keeps_order(&self, one: usize, other: usize) -> bool {
        let flag = |at: usize| match self.alone.get(at) {
            Some(Event::Flag { flag, .. } | Event::TurnedOff { flag, .. }) => Some(*flag),
            _ => None,
        };
        flag(one).zip(flag(other)).is_none_or(|(one, other)| {
            !self.profile.interspersed
                || one.id == other.id
                || one.chooses_with(other)
                || one.effect > Effect::Target && other.effect > Effect::Target
        })
    }

    fn is_same_option(&self, index: usize, at: usize) -> bool {
        let (Some(alone), Some(read)) = (self.alone.get(index), self.read.get(at)) else {
            return false;
        };
        match (alone, read) {
            (Event::Flag { flag, value: mine, .. }, Event::Flag { flag: other, value, .. }) => {
                let same = match (mine, value) {
                    (None, None) => true,
                    // The prefix ends at the flag, so that its value is free.
                    (None, Some(_)) => flag.takes == Takes::One,
                    (Some(mine), Some(theirs)) => self.is_same_value(flag, mine, theirs),
                    (Some(_), None) => false,
                };
                flag.id == other.id
                    && same
                    && self.is_written_out(alone.word(), read.word())
                    && self.is_same_number(flag, alone.word(), read.word())
                    && self.may_move(flag, index, at)
            }
            (
                Event::TurnedOff { flag, word, .. },
                Event::TurnedOff { flag: other, word: at_word, .. },
            ) => {
                flag.id == other.id
                    && self.prefix.get(*word) == self.argv.get(*at_word)
                    && self.may_move(flag, index, at)
            }
            _ => false,
        }
    }

    /// Whether a long option has one of its listed names, or stands there as it does in the prefix: an abbreviation
    /// may be the name of another.
    pub(super) fn is_written_out(&self, mine: usize, theirs: usize) -> bool {
        let name = |text: &'a String| text.split_once('=').map_or(text.as_str(), |(name, _)| name);
        let theirs = self.argv.get(theirs).map_or("", name);
        !theirs.starts_with("--")
            || self.profile.syntax == Syntax::Single
            || self.node.listed(theirs).is_some()
            || self.prefix.get(mine).map(name) == Some(theirs)
    }

    /// Whether an option whose name says more, as `-9` and `-Xmx1g` do, says the same.
    fn is_same_number(&self, flag: &Flag, mine: usize, theirs: usize) -> bool {
        let (mine, theirs) = (self.prefix.get(mine), self.argv.get(theirs));
        let mut layers = self.node.layers.iter();
        if layers.any(|flags| flags.beginnings.iter().any(|(_, one)| one.id == flag.id)) {
            return mine == theirs;
        }
        let digits = |text: &String| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let is_number = self.node.listed("-#").is_some_and(|one| one.id == flag.id);
        !is_number || mine.map(digits) == theirs.map(digits)
    }

    fn is_same_value(&self, flag: &Flag, mine: &Value<'_>, theirs: &Value<'_>) -> bool {
        match flag.takes {
            Takes::Two | Takes::UntilSemicolon => {
                let mine = self.prefix.get(mine.word..=mine.last);
                mine.is_some() && mine == self.argv.get(theirs.word..=theirs.last)
            }
            _ => {
                let unit = ["-u", "--user-unit"].iter().filter_map(|name| self.node.listed(name));
                let is_unit = unit.into_iter().any(|one| one.id == flag.id);
                mine.text == theirs.text
                    || is_unit && self.profile.is_one_name(mine.text, theirs.text)
            }
        }
    }

    /// Whether an option means the same where it stands in the command as in the prefix: nothing but operands stands
    /// between the two places, or it may stand before and behind subcommands.
    fn may_move(&self, flag: &Flag, index: usize, at: usize) -> bool {
        let places = |events: &[Event<'_, '_>], end: usize| {
            events.iter().take(end).filter(|event| is_place(event)).count()
        };
        let (mine, theirs) = (places(self.alone, index), places(self.read, at));
        if mine == theirs {
            return true;
        }
        // Behind some operands of the command nothing is an option, or it is a program's own.
        if self.node.options_end_after < usize::MAX {
            return false;
        }
        let between = self.read.iter().filter(|event| is_place(event));
        let mut between = between.skip(mine.min(theirs)).take(mine.abs_diff(theirs));
        let crosses = between.any(|event| !matches!(event, Event::Operand { .. }));
        let is_listed = self.node.before.iter().any(|(_, id)| *id == flag.id);
        // Some programs take what stands behind an operand for one more.
        self.profile.interspersed
            && (flag.effect <= Effect::Target && (!crosses || is_listed)
                || self.profile.persistent && self.profile.root.owns(flag))
    }

    /// From an option that isn't listed on, all words stand together as they do in the prefix: which of them are values
    /// isn't known.
    fn block(&mut self, index: usize, word: usize) -> Option<()> {
        let block = self.prefix.get(word..self.ends.0)?;
        let places = self.alone.iter().take(index).filter(|event| is_place(event)).count();
        let mut starts = 0..self.ends.1.saturating_sub(block.len() - 1);
        let start = starts.find(|start| {
            let before = self.read.iter().filter(|event| is_place(event) && event.word() < *start);
            self.argv.get(*start..start + block.len()) == Some(block) && before.count() == places
        })?;
        let within = start..start + block.len();
        let mut mine = self.alone.get(index..)?.iter();
        for (at, event) in self.read.iter().enumerate() {
            if within.contains(&event.word()) {
                self.is_same_reading(mine.next()?, event).then_some(())?;
                *self.named.get_mut(at)? = true;
                if matches!(event, Event::Flag { value: Some(value), .. } if value.last >= within.end)
                {
                    self.free = Some(at);
                }
            }
        }
        mine.next().is_none().then_some(())
    }

    /// Whether the same words are read in the same way. A value may stand behind them, which is free.
    fn is_same_reading(&self, alone: &Event<'p, 'a>, read: &Event<'p, 'a>) -> bool {
        match (alone, read) {
            (
                Event::Flag { flag: one, value: mine, .. },
                Event::Flag { flag: other, value, .. },
            ) => {
                one.id == other.id
                    && mine.is_none_or(|mine| value.is_some_and(|value| value.text == mine.text))
            }
            (Event::Unknown { name: one, .. }, Event::Unknown { name: other, .. }) => one == other,
            (Event::TurnedOff { flag: one, .. }, Event::TurnedOff { flag: other, .. }) => {
                one.id == other.id
            }
            (Event::Ambiguous { .. }, Event::Ambiguous { .. }) => true,
            _ => self.is_same_place(alone, read),
        }
    }

    /// Words that are no option and no operand, such as `--`.
    fn silent_words(&mut self) -> Option<()> {
        let silent = |events: &[Event<'_, '_>], words: &[String]| -> Vec<usize> {
            (1..words.len())
                .filter(|word| !events.iter().any(|event| holds(event, *word)))
                .collect()
        };
        let mine = silent(self.alone, self.prefix.get(..self.ends.0)?);
        let mut theirs = silent(self.read, self.argv.get(..self.ends.1)?).into_iter();
        for word in mine {
            let text = self.prefix.get(word)?;
            let found = theirs.find(|at| self.argv.get(*at) == Some(text))?;
            self.silent.push(found);
        }
        Some(())
    }

    /// What the command says besides, before what the prefix names.
    fn rest(self) -> Option<Aligned> {
        let is_named = |word: usize| {
            word == 0
                || self.silent.contains(&word)
                || self.read.iter().zip(&self.named).enumerate().any(|(at, (event, named))| {
                    let is_value = self.free == Some(at) && event.word() != word;
                    *named && holds(event, word) && !is_value
                })
        };
        let words = (0..self.ends.1).rev().find(|word| is_named(*word)).map_or(1, |last| last + 1);
        let words = if self.goes_on && self.ends.1 < self.argv.len() { self.ends.1 } else { words };
        let gaps: Vec<usize> = (0..words).filter(|word| !is_named(*word)).collect();
        let total = self.alone.iter().filter(|event| is_place(event)).count();
        let mut node = &self.profile.root;
        let mut places = 0;
        for (event, named) in
            self.read.iter().zip(&self.named).take_while(|(event, _)| event.word() < words)
        {
            places += usize::from(is_place(event));
            if let Event::Command { node: next, .. } = event {
                node = next;
            }
            if *named {
                continue;
            }
            let is_before = places < total || self.goes_on || self.ends_behind(event.word());
            if is_named(event.word()) && !self.may_share(event) {
                return None;
            }
            let may_stand = self.may_stand_before(event, node) || self.is_free(event, node);
            if is_before && !may_stand {
                return None;
            }
        }
        let stands = |word: &usize| {
            self.read.iter().any(|event| holds(event, *word)) || self.may_be_silent(*word)
        };
        let free = self.free.and_then(|at| self.read.get(at)).and_then(|event| match event {
            Event::Flag { word, value: Some(value), .. } if value.word == *word => Some(*word),
            _ => None,
        });
        gaps.iter().all(stands).then_some(Aligned { words, gaps, free })
    }
}

/// Whether a word belongs to an event: it is the flag, a value, a subcommand or an operand.
fn holds(event: &Event<'_, '_>, word: usize) -> bool {
    event.word() == word
        || matches!(event, Event::Flag { value: Some(value), .. } if (value.word..=value.last).contains(&word))
}
