//! Commands within commands: what a wrapper runs, and what a shell elsewhere reads.

use super::align::align;
use super::granted::Granted;
use super::judge::{Judge, beyond, nested};
use super::unknown::{Place, unknown};
use super::{Beyond, Effect, Profiles};
use crate::scope::lexer;

/// Modules of Python's own library that can be run, of which no profile tells more.
const OF_PYTHON: &str = "antigravity asyncio cgi cgitb code codeop compileall cProfile dbm distutils doctest encodings \
    ensurepip filecmp fileinput ftplib gzip idlelib imaplib imghdr inspect lib2to3 mailcap modulefinder nntplib pdb \
    pickle pickletools poplib profile pstats pydoc quopri runpy site smtpd sndhdr sqlite3 symtable sysconfig tarfile \
    telnetlib test tokenize trace turtledemo uu webbrowser wsgiref xmlrpc zipapp zipfile";

/// Commands within commands are followed so deep.
pub(super) const MOST_NESTED: usize = 6;

impl Judge<'_, '_, '_> {
    /// A command within this one, from a word on.
    pub(super) fn command(&self, word: usize, last: Option<usize>) -> Result<(), Beyond> {
        let end = last.unwrap_or(self.argv.len());
        let argv = self.argv.get(word..end).unwrap_or_default();
        let granted = self.granted.from(word);
        let program = self.argv.get(word).map(|program| self.profiles.find(program));
        let found = match program {
            // Of a wrapper whose own words aren't understood, the command may stand anywhere.
            Some(Ok(None)) if self.walk.node.options_end_after == 0 => {
                unknown(self.profiles, argv, granted, self.depth + 1, Place::Command)
            }
            _ => inner(self.profiles, argv, granted, self.depth + 1),
        };
        found.map_err(|beyond| Beyond { word: beyond.word + word, ..beyond })
    }

    /// A module that is run, whose name is a word or is attached to the flag before it.
    pub(super) fn module(&self, word: usize) -> Result<(), Beyond> {
        let rest = self.argv.get(word + 1..).unwrap_or_default();
        let text = self.argv.get(word).map_or("", String::as_str);
        let name = match text.starts_with('-') {
            true => text.find('m').and_then(|at| text.get(at + 1..)).unwrap_or_default(),
            false => text,
        };
        let argv: Vec<String> = [name.to_owned()].into_iter().chain(rest.iter().cloned()).collect();
        let granted = self.granted.from(word);
        let at = |beyond: Beyond| Beyond { word: beyond.word + word, ..beyond };
        let own = name.split('.').next().unwrap_or(name);
        if matches!(self.profiles.find(name), Ok(None))
            && OF_PYTHON.split_ascii_whitespace().any(|module| module == own)
            && !granted.names_all(argv.len())
        {
            // Most of Python's own modules run or write what they are given.
            return Err(at(beyond(Effect::Runs, argv.len() - 1)));
        }
        inner(self.profiles, &argv, granted, self.depth + 1).map_err(at)
    }

    /// What stands from a word on, of which nothing is known.
    pub(super) fn unknown(&self, word: usize) -> Result<(), Beyond> {
        let argv = self.argv.get(word..).unwrap_or_default();
        unknown(self.profiles, argv, self.granted.from(word), self.depth + 1, Place::Any)
            .map_err(|beyond| Beyond { word: beyond.word + word, ..beyond })
    }

    /// A command that a shell elsewhere reads: its words are joined by spaces and split again.
    pub(super) fn remote(&self, word: usize) -> Result<(), Beyond> {
        let rest = self.argv.get(word..).unwrap_or_default();
        let is_named = |at: &usize| self.granted.names(at + word);
        if (0..rest.len()).all(|at| is_named(&at)) {
            return Ok(());
        }
        let named = rest.iter().enumerate().filter(|(at, _)| is_named(at)).map(|(_, text)| text);
        let named = named.map(String::as_str).collect::<Vec<_>>().join(" ");
        let all = rest.join(" ");
        let named = match self.granted.open {
            Some(open) if named.is_empty() => open.to_owned(),
            Some(open) => format!("{named} {open}"),
            None => named,
        };
        self.shell(&all, &named, word.max(self.granted.words))
    }

    /// A text that a shell reads, of which a beginning is named.
    pub(super) fn shell(&self, text: &str, named: &str, word: usize) -> Result<(), Beyond> {
        shell(self.profiles, text, named, word, self.depth + 1)
    }
}

/// A command, by the profile of its program.
pub(super) fn inner(
    profiles: &Profiles,
    argv: &[String],
    granted: Granted<'_>,
    depth: usize,
) -> Result<(), Beyond> {
    let Some(program) = argv.first() else {
        return Ok(());
    };
    if depth > MOST_NESTED {
        return Err(beyond(Effect::Runs, 0));
    }
    if granted.words == 0 && granted.open.is_some_and(|open| open != program) {
        // The program's own name is open.
        return Err(beyond(Effect::Runs, 0));
    }
    match profiles.find(program) {
        Ok(Some(profile)) => nested(profiles, &profile, argv, granted, depth),
        Ok(None) => unknown(profiles, argv, granted, depth, Place::Any),
        Err(error) => Err(Beyond {
            effect: Effect::Runs,
            word: 0,
            what: format!("can't be judged ({error})"),
        }),
    }
}

/// A text that a shell reads, of which a beginning is named: one command, and one of that prefix.
pub(super) fn shell(
    profiles: &Profiles,
    text: &str,
    named: &str,
    word: usize,
    depth: usize,
) -> Result<(), Beyond> {
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
    let Some(aligned) = align(profiles, &prefix, None, &argv) else {
        return Err(beyond(Effect::Runs, word));
    };
    let granted = Granted::found(&aligned);
    inner(profiles, &argv, granted, depth).map_err(|beyond| Beyond { word, ..beyond })
}
