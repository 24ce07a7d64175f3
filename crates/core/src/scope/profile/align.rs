//! Where the words of a prefix stand in a command that has options before them: `kubectl -n prod get pods`
//! is `kubectl get pods` with an option more.
//!
//! Only options that the profile lists, with their values, may stand between a prefix's words, and the
//! program must read the words of the prefix as it would without them. What those options do is judged
//! like that of options behind the prefix.

use super::places::{self, Places};
use super::schema::Syntax;
use super::walk::{Event, Value, Walk, walk};
use super::within::MOST_NESTED;
use super::{Effect, Node, Profile, Profiles, Takes};

/// A prefix found in an argv.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::scope) struct Aligned {
    /// The word after the last whole one of the prefix; an open word stands here.
    pub words: usize,
    /// Words before that one which the prefix doesn't name, in their order.
    pub gaps: Vec<usize>,
}

/// Whether a word is the one that a prefix leaves open.
pub(in crate::scope) type IsOpen<'o> = &'o dyn Fn(&str) -> bool;

/// Finds a prefix in an argv: its whole words, and then perhaps a word that `open` recognises.
pub(in crate::scope) fn align(
    profiles: &Profiles,
    prefix: &[String],
    open: Option<IsOpen<'_>>,
    argv: &[String],
) -> Option<Aligned> {
    if open.is_none() && argv.starts_with(prefix) {
        return Some(Aligned { words: prefix.len(), gaps: Vec::new() });
    }
    let same = prefix.iter().zip(argv).take_while(|(one, other)| one == other).count();
    let differs = argv.get(same)?;
    let in_cluster = prefix.get(same).is_some_and(|named| may_cluster(named, differs));
    let may_stand = differs.starts_with('-') && argv.len() > prefix.len();
    if same == 0 || argv.len() < prefix.len() || !(may_stand || in_cluster) {
        return None;
    }
    nested(profiles, prefix, open, argv, 0)
}

fn nested(
    profiles: &Profiles,
    prefix: &[String],
    open: Option<IsOpen<'_>>,
    argv: &[String],
    depth: usize,
) -> Option<Aligned> {
    if depth >= MOST_NESTED || prefix.first()? != argv.first()? {
        return None;
    }
    let Some(profile) = profiles.find(argv.first()?).ok()? else {
        // Nothing is known of what its options are.
        let at_open = argv.get(prefix.len()).is_some_and(|word| open.is_none_or(|open| open(word)));
        let fits = argv.starts_with(prefix) && (open.is_none() || at_open);
        return fits.then(|| Aligned { words: prefix.len(), gaps: Vec::new() });
    };
    let read = walk(&profile, argv);
    let inner = inner(&read);
    let mut found = Aligned::default();
    let mut clusters = Vec::new();
    let mut named = 0;
    let mut at = 0;
    loop {
        let rest = prefix.get(named..)?;
        if rest.is_empty() && open.is_none() {
            break;
        }
        if inner.is_some_and(|inner| at == inner) && !rest.is_empty() {
            let within = nested(profiles, rest, open, argv.get(at..)?, depth + 1)?;
            found.gaps.extend(within.gaps.iter().map(|gap| gap + at));
            at += within.words;
            break;
        }
        let word = argv.get(at)?;
        let option = option_ends(&read, at);
        match rest.first() {
            Some(next) if next == word => (named, at) = (named + 1, at + 1),
            Some(next)
                if may_cluster(next, word)
                    && (word.starts_with('-') || profile.syntax == Syntax::Tar && at == 1) =>
            {
                clusters.push((at, next));
                (named, at) = (named + 1, at + 1);
            }
            None if option.is_none() && open.is_some_and(|open| open(word)) => break,
            _ => {
                let last = option?;
                found.gaps.extend(at..=last);
                at = last + 1;
            }
        }
    }
    found.words = at;
    let is_same = |profile: &Profile, read: &Walk<'_, '_>| {
        let words = found.words + usize::from(open.is_some());
        found.gaps.is_empty() && clusters.is_empty()
            || is_same_reading(profile, argv, read, words, &found.gaps, &clusters)
    };
    if !is_same(&profile, &read) {
        return None;
    }
    match &profile.also {
        Some(also) if !is_same(also, &walk(also, argv)) => None,
        _ => Some(found),
    }
}

/// Whether a word may be the flags of another and some more behind the same dash: `-la` is `-l` and `-a`.
/// What they are is known when both are read.
fn may_cluster(named: &str, word: &str) -> bool {
    let mut letters = word.chars();
    named.len() > 1
        && word.len() > named.len()
        && named.starts_with('-') == word.starts_with('-')
        && [named, word].iter().all(|text| {
            !text.starts_with("--") && text.chars().skip(1).all(|c| c.is_ascii_alphabetic())
        })
        && named.chars().all(|one| letters.any(|other| one == other))
}

/// The word at which the command within a command begins.
fn inner(read: &Walk<'_, '_>) -> Option<usize> {
    places::module(read).or_else(|| Places::of(read).command()).filter(|word| *word > 0)
}

/// The last word of the listed options that begin at a word, where nothing else is in it.
fn option_ends(read: &Walk<'_, '_>, at: usize) -> Option<usize> {
    let mut end = None;
    for event in read.events.iter().filter(|event| event.word() == at) {
        match event {
            Event::Flag { value, flag, .. } if !flag.ends_options => {
                let last = value.map_or(at, |value| value.last);
                end = Some(end.map_or(last, |end: usize| end.max(last)));
            }
            _ => return None,
        }
    }
    end
}

/// Whether the words of an argv up to `words`, without the gaps and with the prefix's own words for the
/// clusters that hold them, mean the same where they stand as they do alone, and the rest is listed options of
/// which nothing depends on the order.
fn is_same_reading(
    profile: &Profile,
    argv: &[String],
    read: &Walk<'_, '_>,
    words: usize,
    gaps: &[usize],
    clusters: &[(usize, &String)],
) -> bool {
    let named: Vec<usize> = (0..words).filter(|word| !gaps.contains(word)).collect();
    let cluster = |at: usize| clusters.iter().find(|(word, _)| *word == at).map(|(_, own)| *own);
    let own_word = |at: &usize| cluster(*at).or_else(|| argv.get(*at));
    let alone: Vec<String> = named.iter().filter_map(own_word).cloned().collect();
    let alone = walk(profile, &alone);
    let end = inner(read).unwrap_or(words).min(words);
    let own_gaps = !clusters.is_empty() || gaps.iter().any(|gap| *gap < end);
    if own_gaps && (read.node.ordered || !argv.first().is_some_and(|name| profile.is_of(name))) {
        return false;
    }
    let mut node = &profile.root;
    let place = |word: usize| named.get(word).copied().unwrap_or(usize::MAX);
    let mut expected = alone.events.iter().filter(|event| place(event.word()) < end).peekable();
    for event in read.events.iter().filter(|event| event.word() < end) {
        if gaps.contains(&event.word()) {
            let last = option_ends(read, event.word());
            if last.is_none_or(|last| !gaps.contains(&last))
                || !may_stand_before(profile, argv, event, node, read.node)
            {
                return false;
            }
        } else if expected.next_if(|one| is_same(one, event, words)).is_none()
            && !(cluster(event.word()).is_some()
                && is_letter_alone(event)
                && may_stand_before(profile, argv, event, node, read.node))
        {
            return false;
        }
        if let Event::Command { node: next, .. } = event {
            node = next;
        }
    }
    expected.next().is_none()
        && inner(&alone).map(place) == inner(read).filter(|word| *word < words)
}

/// Whether it is a harmless flag without a value.
fn is_letter_alone(event: &Event<'_, '_>) -> bool {
    matches!(event, Event::Flag { flag, value: None, .. }
        if flag.takes == Takes::None && flag.effect == Effect::Harmless)
}

/// Whether the profile lists an option for the place before a subcommand or an operand, and under the name
/// that it has here. The subcommand that the command comes down to must know it as the same option: the
/// program may hand it on.
fn may_stand_before(
    profile: &Profile,
    argv: &[String],
    event: &Event<'_, '_>,
    node: &Node,
    last: &Node,
) -> bool {
    let (Event::Flag { flag, .. }, Some(text)) = (event, argv.get(event.word())) else {
        return false;
    };
    let is_plain =
        matches!(profile.syntax, Syntax::Single | Syntax::Nopt) || text.starts_with("--");
    let written = text.split_once('=').map_or(text.as_str(), |(name, _)| name);
    let written = match profile.syntax {
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
    let mut names = node.before.iter().filter(|(name, id)| *id == flag.id && fits(name)).peekable();
    names.peek().is_some() && names.all(|(name, _)| last.has(name, flag))
}

/// Whether two words, one of which stands in a longer argv, are read in the same way.
fn is_same(alone: &Event<'_, '_>, event: &Event<'_, '_>, words: usize) -> bool {
    let same_value = |one: &Option<Value<'_>>, other: &Option<Value<'_>>| match (one, other) {
        // The prefix ends at the flag, so that its value is free.
        (None, Some(other)) => other.word >= words,
        (one, other) => one.map(|value| value.text) == other.map(|value| value.text),
    };
    match (alone, event) {
        (
            Event::Flag { flag: one, value: mine, .. },
            Event::Flag { flag: other, value: theirs, .. },
        ) => one.id == other.id && same_value(mine, theirs),
        (
            Event::Unknown { name: one, value: mine, .. },
            Event::Unknown { name: other, value: theirs, .. },
        ) => one == other && mine == theirs,
        (Event::Command { node: one, .. }, Event::Command { node: other, .. }) => {
            std::ptr::eq(*one, *other)
        }
        (
            Event::Operand { text: one, after_dashes: mine, .. },
            Event::Operand { text: other, after_dashes: theirs, .. },
        ) => one == other && mine == theirs,
        (
            Event::TurnedOff { flag: one, by_value: mine, .. },
            Event::TurnedOff { flag: other, by_value: theirs, .. },
        ) => one.id == other.id && mine == theirs,
        (Event::Ambiguous { .. }, Event::Ambiguous { .. })
        | (Event::NoCommand { .. }, Event::NoCommand { .. }) => true,
        _ => false,
    }
}
