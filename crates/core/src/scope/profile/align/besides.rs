//! What a command says besides the words of a prefix, before the last of them: where it may stand, and whether it may
//! share a word with what the prefix names.

use super::super::kind::{self, Kind};
use super::super::schema::Syntax;
use super::super::walk::Event;
use super::super::{Effect, Flag, Node};
use super::is_place;
use super::reading::Reading;

impl Reading<'_, '_, '_> {
    /// Whether an option may stand between the last subcommand and an operand without being listed for that place:
    /// where options may stand behind operands as well, it is the same here.
    pub(super) fn is_free(&self, event: &Event<'_, '_>, node: &Node) -> bool {
        let Event::Flag { flag, word, value } = event else {
            return false;
        };
        let is_last = std::ptr::eq(node, self.node) && node.options_end_after == usize::MAX;
        is_last
            && self.profile.interspersed
            && !self.goes_on
            && (flag.effect <= Effect::Target || self.stands_beside(flag))
            && !flag.ends_options
            && !node.first_operand_by.contains(&flag.id)
            && self.is_written_out(usize::MAX, *word)
            && value.is_none_or(|value| value.last < self.ends.1)
    }

    /// Whether something that the prefix names behind a word ends the options before it: code, or `--`.
    pub(super) fn ends_behind(&self, word: usize) -> bool {
        let named = self.read.iter().zip(&self.named).filter(|(_, named)| **named);
        let is_end = |silent: &usize| self.argv.get(*silent).is_some_and(|text| text == "--");
        self.silent.iter().any(|silent| *silent > word && is_end(silent))
            || named.into_iter().any(|(event, _)| {
                matches!(event, Event::Flag { flag, word: at, .. }
                    if *at >= word && (flag.ends_options || flag.kind.is_code()))
            })
    }

    /// Whether a word that is no option and no operand may stand among those of the prefix.
    pub(super) fn may_be_silent(&self, word: usize) -> bool {
        let text = self.argv.get(word).map_or("", String::as_str);
        text == "--" && self.node.dashes
            || self.profile.ignored.iter().any(|one| kind::fits(one, text))
    }

    /// Whether a flag is harmless beside one that the prefix names.
    fn stands_beside(&self, flag: &Flag) -> bool {
        let named = self.read.iter().zip(&self.named).filter_map(|(other, named)| match other {
            Event::Flag { flag, .. } => named.then_some(*flag),
            _ => None,
        });
        self.profile.stands_beside(self.node, flag, named)
    }

    /// Whether a flag may share a word with one that the prefix names: it will be taken for named.
    pub(super) fn may_share(&self, event: &Event<'_, '_>) -> bool {
        let Event::Flag { flag, word, value } = event else {
            return false;
        };
        let is_attached = value.is_some_and(|value| value.word == *word);
        let chooses = self.read.iter().zip(&self.named).any(|(other, named)| {
            *named && matches!(other, Event::Flag { flag: other, .. } if other.chooses_with(flag))
        });
        let replaces =
            self.node.first_operand_by.contains(&flag.id) && self.alone.iter().any(is_place);
        // What it would choose the prefix leaves open, where it names nothing.
        let is_open = flag.effect == Effect::Target && !self.alone.iter().any(is_place);
        (flag.effect == Effect::Harmless || is_open || self.stands_beside(flag))
            && !replaces
            && !chooses
            && !flag.ends_options
            && !flag.kind.is_code()
            && (!is_attached || matches!(flag.kind, Kind::Any))
    }

    /// Whether the profile lists an option for the place before a subcommand or an operand, and under the name
    /// that it has here. The subcommand that the command comes down to must know it as the same option: the
    /// program may hand it on.
    pub(super) fn may_stand_before(&self, event: &Event<'_, '_>, node: &Node) -> bool {
        let (Event::Flag { flag, value, .. }, Some(text)) = (event, self.argv.get(event.word()))
        else {
            return false;
        };
        if value.is_some_and(|value| value.last >= self.ends.1)
            || flag.ends_options
            || self.node.first_operand_by.contains(&flag.id)
        {
            return false;
        }
        let syntax = self.profile.syntax;
        let is_plain = matches!(syntax, Syntax::Single | Syntax::Nopt) || text.starts_with("--");
        let written = text.split_once('=').map_or(text.as_str(), |(name, _)| name);
        let written = match syntax {
            Syntax::Single => {
                written.strip_prefix('-').filter(|w| w.starts_with('-')).unwrap_or(written)
            }
            _ => written,
        };
        let fits = |name: &str| match name.strip_suffix('*') {
            Some(beginning) => written.starts_with(beginning),
            // An abbreviation means one thing here and may mean another there.
            None if is_plain => name == written,
            None => !name.starts_with("--"),
        };
        let mut names =
            node.before.iter().filter(|(name, id)| *id == flag.id && fits(name)).peekable();
        names.peek().is_some() && names.all(|(name, _)| self.node.has(name, flag))
    }
}
