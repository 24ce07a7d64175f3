//! The beginning of commands that a token allows, and how a command is held against it.

use super::sql_place::sql_place;
use super::{Command, PrefixErrorKind, RefusalKind};
use crate::scope::lexer::{self, LexErrorKind};
use crate::scope::profile::{self, Aligned, Beyond, End, Granted, Profile, Profiles};
use crate::scope::sql::{Client, Dialect, SqlPrefix, SqlRefusalKind, client_command};
use std::sync::Arc;

/// The beginning of commands that are allowed: whole words, and perhaps the beginning of one more
/// whose quote was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    pub(super) source: String,
    pub(super) words: Vec<String>,
    open: Option<OpenWord>,
    pub(super) profiles: Arc<Profiles>,
    /// What is known of its program.
    pub(super) profile: Option<Arc<Profile>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OpenWord {
    /// The word begins with exactly this.
    Text(String),
    /// After an exact beginning such as `--command=`, the word is one SQL statement.
    Sql { lead: String, sql: SqlPrefix },
    /// After an exact beginning, the word is a command of a database client's own that only looks.
    Client { lead: String, client: Client, text: String },
}

impl OpenWord {
    /// What stands open after some words.
    fn read(words: &[String], open: &str, profiles: &Profiles) -> Result<Self, PrefixErrorKind> {
        let Some((dialect, lead)) = sql_place(words, open) else {
            return Ok(Self::Text(open.to_owned()));
        };
        let text = open.strip_prefix(lead).unwrap_or_default();
        let (lead, client) = (lead.to_owned(), Client::of(dialect, text));
        if let Some(client) = client.filter(|client| client_command(*client, text).is_ok()) {
            return Ok(Self::Client { lead, client, text: text.to_owned() });
        }
        let sql = SqlPrefix::new(text, dialect).map_err(PrefixErrorKind::Sql)?;
        let schema = match dialect {
            Dialect::MySql => profile::value_of(profiles, words, "-D"),
            _ => None,
        };
        Ok(Self::Sql { lead, sql: sql.within(schema) })
    }
}

/// How a command stands to a prefix.
pub(super) enum Fit {
    Yes,
    No,
    /// The prefix matched, but the command goes beyond it; with the index of the word that does.
    Nearly(RefusalKind, Option<usize>),
}

impl Prefix {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The program that a command must name, letter for letter.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The whole words, decoded.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether the last word's quote was left open, so that nothing may follow that word.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The profiles of its program and of those that it runs in turn, outermost first.
    pub fn profiles(&self) -> Vec<Arc<Profile>> {
        profile::chain(&self.profiles, &self.words)
    }

    /// What stands in the word whose quote was left open; `None` for a query, which is judged whole.
    pub fn open_text(&self) -> Option<&str> {
        match &self.open {
            Some(OpenWord::Text(text)) => Some(text),
            Some(OpenWord::Sql { .. } | OpenWord::Client { .. }) | None => None,
        }
    }

    /// What is known of its program; `None` where nothing is, so that only the kernel holds.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// Says why this prefix amounts to nearly anything, if it does. The profiles decide, so silence is
    /// no proof for a program of which nothing is known.
    pub fn is_wide(&self) -> Option<String> {
        let end = match &self.open {
            None => End::Whole,
            Some(OpenWord::Text(text)) => End::Text(text),
            Some(OpenWord::Sql { .. } | OpenWord::Client { .. }) => End::Sql,
        };
        profile::wide(&self.profiles, &self.words, end)
    }

    pub(super) fn parse(source: &str, profiles: &Arc<Profiles>) -> Result<Self, PrefixErrorKind> {
        let found = lexer::split_prefix(source).map_err(|error| match error.kind {
            LexErrorKind::Empty => PrefixErrorKind::Empty,
            _ => PrefixErrorKind::NeedsShell(error),
        })?;
        let words: Vec<String> = found.words.into_iter().map(|word| word.text).collect();
        let program_is_whole = words.first().is_some_and(|program| !program.is_empty());
        let open = match found.open {
            _ if !program_is_whole => return Err(PrefixErrorKind::OpenProgram),
            None => None,
            Some(open) => Some(OpenWord::read(&words, &open.text, profiles)?),
        };
        let profile = profiles
            .find(words.first().map_or("", String::as_str))
            .map_err(|error| PrefixErrorKind::Profile(error.to_string()))?;
        Ok(Self { source: source.to_owned(), words, open, profiles: Arc::clone(profiles), profile })
    }

    pub(super) fn fit(&self, command: &Command) -> Fit {
        match self.find(command.argv()) {
            Some(found) => self.judge(command.argv(), &found),
            None => Fit::No,
        }
    }

    /// Where the prefix stands in an argv: at its beginning, or with options among its words.
    fn find(&self, argv: &[String]) -> Option<Aligned> {
        let is_open = |word: &str| match &self.open {
            Some(OpenWord::Text(text)) => word.starts_with(text),
            Some(OpenWord::Sql { lead, .. }) => word.starts_with(lead),
            Some(OpenWord::Client { lead, text, .. }) => {
                word.strip_prefix(lead.as_str()).is_some_and(|rest| rest.starts_with(text))
            }
            None => true,
        };
        let open: Option<&dyn Fn(&str) -> bool> = match &self.open {
            Some(_) => Some(&is_open),
            None => None,
        };
        let next = argv.get(self.words.len());
        let whole = argv.starts_with(&self.words)
            && (self.open.is_none() || next.is_some_and(|word| is_open(word)));
        let is_plain = match (&self.open, next) {
            // An option may stand where any statement would be taken.
            (Some(OpenWord::Sql { lead, .. }), Some(next)) => {
                !lead.is_empty() || !next.starts_with('-')
            }
            _ => true,
        };
        let plain = || whole.then(|| Aligned::at_start(self.words.len()));
        if whole && is_plain {
            return plain();
        }
        profile::align(&self.profiles, &self.words, open, argv).or_else(plain)
    }

    /// Judges what follows the whole words that matched: the open word, then everything by the
    /// program's profile.
    fn judge(&self, argv: &[String], found: &Aligned) -> Fit {
        let at = found.words;
        let mut granted = Granted::found(found);
        if let Some(open) = &self.open {
            let Some(word) = argv.get(at) else {
                return Fit::No;
            };
            match open {
                OpenWord::Client { lead, client, text } => {
                    let Some(rest) = word.strip_prefix(lead).filter(|rest| rest.starts_with(text))
                    else {
                        return Fit::No;
                    };
                    if let Err(why) = client_command(*client, rest) {
                        return Fit::Nearly(RefusalKind::Sql(why), Some(at));
                    }
                    granted = granted.with_statement();
                }
                OpenWord::Text(text) if !word.starts_with(text) => return Fit::No,
                OpenWord::Text(text) => {
                    if let Err(what) = profile::continues(text, word) {
                        return Fit::Nearly(RefusalKind::Beyond(Beyond::new(at, what)), Some(at));
                    }
                    granted.open = Some(text);
                }
                OpenWord::Sql { lead, sql } => {
                    let Some(text) = word.strip_prefix(lead) else {
                        return Fit::No;
                    };
                    match sql.permits(text) {
                        Ok(()) => granted = granted.with_statement(),
                        Err(why) if why.kind == SqlRefusalKind::OtherBeginning => return Fit::No,
                        Err(why) => return Fit::Nearly(RefusalKind::Sql(why), Some(at)),
                    }
                }
            }
        }
        let judge = |argv: &[String], granted| {
            profile::judge(&self.profiles, self.profile.as_deref(), argv, granted)
        };
        // An open word is judged where it ends, and what follows it as behind one that is closed.
        let is_text = granted.open.is_some() && self.profile.is_some();
        let up_to_open = argv.get(..=at).filter(|_| is_text).map(|argv| judge(argv, granted));
        let judged = match up_to_open {
            Some(Ok(())) => judge(argv, granted.complete()),
            Some(refused) => refused,
            None => judge(argv, granted),
        };
        match judged {
            Ok(()) => Fit::Yes,
            Err(beyond) if self.profile.is_none() && self.is_open() && beyond.word() > at => {
                Fit::Nearly(RefusalKind::WordFollows, Some(at + 1))
            }
            Err(beyond) => {
                let word = beyond.word();
                Fit::Nearly(RefusalKind::Beyond(beyond), Some(word))
            }
        }
    }

    /// Whether every command that this prefix permits is permitted by `wider`, provably.
    pub(super) fn narrows(&self, wider: &Self) -> bool {
        let Some((head, tail)) = self.words.split_at_checked(wider.words.len()) else {
            return false;
        };
        // What the longer prefix names beyond the shorter one is exempt from the profile, so that it
        // must be no more than the shorter one permits. Of an open word that isn't proved.
        let judged = || {
            let granted = Granted::whole(wider.words.len());
            let profile = wider.profile.as_deref();
            let is_permitted =
                || profile::judge(&wider.profiles, profile, &self.words, granted).is_ok();
            // Of a program of which nothing is known, an option's name alone is looked at.
            let is_unknown = profile.is_none() && wider.names_no_program();
            wider.open.is_some()
                || tail.is_empty() && self.open.is_none()
                || is_unknown && is_permitted() && !self.opens_option()
                || self.open.is_none()
                    && is_permitted()
                    && !profile.is_some_and(|it| profile::ends_within(it, &self.words))
        };
        head == wider.words
            && self.profile == wider.profile
            && judged()
            && match (&self.open, &wider.open) {
                (_, None) => true,
                // A closed prefix lets words follow, which an open one never does.
                (None, Some(_)) => false,
                (Some(_), Some(_)) if !tail.is_empty() => false,
                (Some(OpenWord::Text(mine)), Some(OpenWord::Text(theirs))) => {
                    mine == theirs || mine.starts_with(theirs) && wider.takes_any_ending(theirs)
                }
                (
                    Some(OpenWord::Sql { lead: mine, sql }),
                    Some(OpenWord::Sql { lead: theirs, sql: wider }),
                ) => mine == theirs && sql.narrows(wider),
                // Statements compare without regard to case, plain text exactly.
                (Some(OpenWord::Sql { lead, .. }), Some(OpenWord::Text(theirs))) => {
                    lead.starts_with(theirs) && wider.takes_any_ending(theirs)
                }
                (Some(mine), Some(theirs)) => mine == theirs,
            }
    }

    /// Whether an open word may go on in any way: what a longer beginning names of a path or a URL, or
    /// to a program of which something is known, the shorter one may refuse.
    fn takes_any_ending(&self, open: &str) -> bool {
        self.profile.is_none()
            && !open.contains('/')
            && !self.opens_option()
            && self.names_no_program()
    }

    /// Whether the open word may come to be an option.
    fn opens_option(&self) -> bool {
        self.open_text().is_some_and(|text| text.is_empty() || text.starts_with('-'))
    }

    /// Whether no word of it, or the beginning of one, is a program that is known, so that nothing but the
    /// words is compared.
    fn names_no_program(&self) -> bool {
        let open = self.open_text().map(str::to_owned);
        let words: Vec<String> = self.words.iter().cloned().chain(open).collect();
        profile::named(&self.profiles, &words).is_empty()
    }
}
