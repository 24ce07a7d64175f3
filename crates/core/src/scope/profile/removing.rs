//! What is removed or stopped, and the values of options that add up: what a prefix names of them is all there is.

use super::judge::Judge;
use super::kind;
use super::walk::Event;
use super::{Beyond, Effect, Removing};

/// Whether a text fits one of several patterns.
pub(super) fn fits_one(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|one| kind::fits(one, text))
}

impl Judge<'_, '_, '_> {
    /// Whether the command says that something is removed or stopped, by a word before its parameters.
    pub(super) fn removes(&self) -> bool {
        let path = self.walk.events.iter().take_while(|e| !matches!(e, Event::Unknown { .. }));
        let Removing { all, one, .. } = &self.profile.removing;
        path.filter(|event| !matches!(event, Event::Flag { .. })).any(|event| {
            let text = self.argv.get(event.word()).map_or("", String::as_str);
            fits_one(all, text) || fits_one(one, text)
        })
    }

    /// Whether the prefix names what is removed or stopped: a word that says so, and an operand after it.
    pub(super) fn names_what_is_removed(&self) -> bool {
        let mut is_said = false;
        for event in self.walk.events.iter().filter(|event| self.granted.names(event.word())) {
            match *event {
                Event::Operand { .. } if is_said => return true,
                Event::Operand { word, .. }
                | Event::Command { word, .. }
                | Event::NoCommand { word } => {
                    let text = self.argv.get(word).map_or("", String::as_str);
                    is_said |= fits_one(&self.profile.removing.all, text);
                }
                _ => {}
            }
        }
        false
    }

    /// Whether an operand is the value of an option that names what is removed.
    pub(super) fn is_naming(&self, word: usize) -> bool {
        self.walk.events.iter().zip(self.walk.events.iter().skip(1)).any(|(before, event)| {
            matches!(before, Event::Unknown { name, value: None, .. }
                if fits_one(&self.profile.removing.naming, name))
                && event.word() == word
        })
    }

    /// Whether an operand adds to the values of an option that the prefix names with one.
    pub(super) fn adds_to_named(&self, word: usize) -> bool {
        if !self.profile.lists || self.granted.names(word) {
            return false;
        }
        let before = self.walk.events.iter().take_while(|event| event.word() < word);
        let before: Vec<_> = before.collect();
        let is_operand = |event: &Event<'_, '_>| matches!(event, Event::Operand { .. });
        let values = before.iter().rev().take_while(|event| is_operand(event)).count();
        let has_value = before.iter().rev().take(values).any(|e| self.granted.names(e.word()));
        match before.iter().rev().nth(values) {
            Some(Event::Unknown { value, word, .. }) => {
                self.granted.names(*word) && (has_value || value.is_some())
            }
            Some(Event::Flag { value: Some(value), .. }) => {
                // Without an operation before it, what follows is its name.
                self.granted.names_value(value.last)
                    && before.iter().rev().skip(values).any(|event| is_operand(event))
            }
            _ => false,
        }
    }

    /// Whether a prefix names a flag alone that shows something, behind which the program would go on.
    pub(super) fn alone(&self) -> Result<(), Beyond> {
        let is_alone = self.granted.words == 2
            && self.argv.get(1).is_some_and(|flag| self.profile.alone.contains(flag));
        let operand = self.walk.events.iter().find(|e| matches!(e, Event::Operand { .. }));
        match operand.filter(|_| is_alone) {
            Some(event) => Err(self.too_many(event.word())),
            None => Ok(()),
        }
    }

    /// Whether the prefix names parameters of an operation that runs something or gives a credential, so that
    /// others may not be added.
    pub(super) fn fixes_what_runs(&self) -> bool {
        self.profile.lists
            && matches!(self.walk.node.does, Effect::Runs | Effect::Credential)
            && self.walk.events.iter().any(|event| match event {
                Event::Flag { word, .. } | Event::Unknown { word, .. } => self.granted.names(*word),
                _ => false,
            })
    }
}
