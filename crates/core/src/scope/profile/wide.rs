//! Which prefixes amount to nearly anything. What is said here is a warning for people and decides
//! nothing.

use super::kind::Kind;
use super::places::Places;
use super::schema::Unlisted;
use super::walk::{Event, walk};
use super::{Operand, Profiles};

/// What of a prefix is open at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scope) enum End<'t> {
    Whole,
    /// The beginning of a word.
    Text(&'t str),
    /// The beginning of an SQL statement.
    Sql,
}

/// Why whole words, and an open one perhaps, allow nearly anything.
pub(in crate::scope) fn wide(
    profiles: &Profiles,
    words: &[String],
    end: End<'_>,
) -> Option<String> {
    let program = words.first()?;
    if program == "*" {
        return Some("it is no pattern here; name a program".to_owned());
    }
    let last_is_flag = words.last().is_some_and(|word| word.starts_with('-'));
    if end == End::Text("") && !last_is_flag {
        return Some("an empty open quote allows any word, options included".to_owned());
    }
    let profile = profiles.find(program).ok().flatten()?;
    let walk = walk(&profile, words);
    let code = walk.events.iter().find_map(|event| match event {
        Event::Flag { flag, value, .. } if flag.kind.is_code() => Some(value.is_none()),
        // A whole statement leaves nothing open.
        Event::Flag { flag, value: Some(_), .. } if matches!(flag.kind, Kind::Sql(_)) => {
            Some(false)
        }
        Event::Flag { flag, value: None, .. } if matches!(flag.kind, Kind::Module) => Some(true),
        _ => None,
    });
    match code {
        Some(true) => return Some("an interpreter runs any code that it is given".to_owned()),
        Some(false) => return None,
        None if end == End::Sql => return None,
        None => {}
    }
    let places = Places::of(&walk);
    if let Some(word) = places.command() {
        return wide(profiles, words.get(word..).unwrap_or_default(), end);
    }
    let named = places.operands.len();
    if let Some((why, fewer)) = &walk.node.wide
        && named < *fewer
        && end == End::Whole
    {
        return Some(why.clone());
    }
    let runs = |operand: &&Operand| matches!(operand.kind, Kind::Command | Kind::Remote);
    if places.next.into_iter().chain(places.after_dashes).any(|operand| runs(&operand)) {
        return Some("it runs whatever command follows".to_owned());
    }
    let is_root = std::ptr::eq(walk.node, &profile.root);
    let lists_all = profile.unlisted_commands == Unlisted::Refused;
    let names_none = is_root && !walk.node.commands.is_empty() && lists_all && named == 0;
    (names_none && end == End::Whole).then(|| "every subcommand of it is allowed".to_owned())
}
