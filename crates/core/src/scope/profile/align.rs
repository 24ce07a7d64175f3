//! Where the words of a prefix stand in a command that says the same in other words, or with options among them:
//! `kubectl -n prod get pods` is `kubectl get pods` with an option more, and `ls -l -a` is `ls -la`.
//!
//! Both are read as the program reads them and compared by what is read: the same flags with the same values, the same
//! subcommands and operands in the same order. Only options that the profile lists for it, with their values, may stand
//! before a subcommand or operand of the prefix that they didn't stand before. What they do is judged like that of
//! options behind the prefix.

mod besides;
mod reading;

use super::places::{self, Places};
use super::walk::{Event, Walk, walk};
use super::within::MOST_NESTED;
use super::{Profile, Profiles};
use reading::Reading;

/// A prefix found in an argv.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::scope) struct Aligned {
    /// The word after the last whole one of the prefix; an open word stands here.
    pub words: usize,
    /// Words before that one which the prefix doesn't name, in their order.
    pub gaps: Vec<usize>,
    /// A word of which the prefix names the flag alone: its value is attached and free.
    pub free: Option<usize>,
}

impl Aligned {
    /// Whole words at the beginning.
    pub fn at_start(words: usize) -> Self {
        Self { words, ..Self::default() }
    }
}

/// Whether a word is the one that a prefix leaves open.
pub(in crate::scope) type IsOpen<'o> = &'o dyn Fn(&str) -> bool;

/// Longer commands must begin with the prefix as it is written: what follows takes time by the square.
const MOST_WORDS: usize = 128;

/// An open word is looked for among so many.
const MOST_BEFORE_OPEN: usize = 64;

/// Finds a prefix in an argv: its whole words, and then perhaps a word that `open` recognises.
pub(in crate::scope) fn align(
    profiles: &Profiles,
    prefix: &[String],
    open: Option<IsOpen<'_>>,
    argv: &[String],
) -> Option<Aligned> {
    if open.is_none() && argv.starts_with(prefix) {
        return Some(Aligned::at_start(prefix.len()));
    }
    if argv.len() > MOST_WORDS {
        return None;
    }
    // Each word that is no flag stands in the other, at least as a value that is attached to one. The first may be a
    // bundle of letters.
    let stands = |word: &String| {
        let is_bundle = word.chars().all(|c| c.is_ascii_alphabetic());
        let holds = |other: &String| {
            other.contains(stem(word)) || is_bundle && word.chars().all(|c| other.contains(c))
        };
        word.starts_with('-') || argv.iter().any(holds)
    };
    if !prefix.iter().skip(3).all(stands) {
        return None;
    }
    nested(profiles, prefix, open, argv, 0)
}

/// A word without what may be another elsewhere: the kind of a thing, or the name of a flag, before its own.
fn stem(word: &str) -> &str {
    let value = word.rsplit(['=', '/']).next().unwrap_or(word);
    value.strip_suffix(".service").unwrap_or(value)
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
    let at_open = || argv.get(prefix.len()).is_some_and(|word| open.is_none_or(|open| open(word)));
    let is_plain = argv.starts_with(prefix) && (open.is_none() || at_open());
    let plain = || is_plain.then(|| Aligned::at_start(prefix.len()));
    let Some(profile) = profiles.find(argv.first()?).ok()? else {
        // Nothing is known of what its options are.
        return plain();
    };
    let alone = walk(&profile, prefix);
    let read = walk(&profile, argv);
    if alone.node.ordered || read.node.ordered {
        return plain();
    }
    if let Some(at) = inner(&alone) {
        let found = inner(&read)?;
        let outer = compare(&profile, prefix, argv, |reading| reading.before(at, found))?;
        let within = nested(profiles, prefix.get(at..)?, open, argv.get(found..)?, depth + 1)?;
        let mut gaps = outer.gaps;
        gaps.extend(within.gaps.iter().map(|gap| gap + found));
        let free = within.free.map(|word| word + found);
        return Some(Aligned { words: within.words + found, gaps, free });
    }
    let Some(open) = open else {
        return compare(&profile, prefix, argv, |reading| reading.whole(None));
    };
    let candidates = argv.iter().enumerate().skip(1).take(MOST_BEFORE_OPEN);
    let mut candidates = candidates.filter(|(_, word)| open(word));
    candidates.find_map(|(at, word)| {
        let mut prefix = prefix.to_vec();
        prefix.push(word.clone());
        let found = compare(&profile, &prefix, argv, |reading| reading.whole(Some(at)))?;
        Some(Aligned { words: at, ..found })
    })
}

/// Compares two commands as the profile reads them, and as the shipped one that it stands beside does.
fn compare(
    profile: &Profile,
    prefix: &[String],
    argv: &[String],
    find: impl Fn(Reading<'_, '_, '_>) -> Option<Aligned>,
) -> Option<Aligned> {
    let by = |profile: &Profile| {
        let (alone, read) = (walk(profile, prefix), walk(profile, argv));
        find(Reading::new(profile, prefix, argv, &alone, &read))
    };
    let found = by(profile)?;
    match &profile.also {
        Some(also) if by(also)? != found => None,
        _ => Some(found),
    }
}

/// The word at which the command within a command begins.
fn inner(read: &Walk<'_, '_>) -> Option<usize> {
    places::module(read).or_else(|| Places::of(read).command()).filter(|word| *word > 0)
}

/// Whether an event names a subcommand or is an operand.
fn is_place(event: &Event<'_, '_>) -> bool {
    matches!(event, Event::Command { .. } | Event::NoCommand { .. } | Event::Operand { .. })
}
