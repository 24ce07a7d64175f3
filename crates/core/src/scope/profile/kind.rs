//! What a value may be: the kinds that profiles give to operands and to the values of flags.

use std::sync::Arc;

use super::schema::ValueTable;
use super::{Effect, script};
use crate::scope::sql::{Client, Dialect, SqlPrefix, client_command};

/// The kind of a value.
#[derive(Clone)]
pub(super) enum Kind {
    /// Any text; as an operand, the name of a thing.
    Any,
    /// A pattern that is looked for in what follows it.
    Pattern,
    /// A file or directory.
    File,
    /// A path beneath the working directory, or a name that isn't a path.
    Beneath,
    /// An http or https URL, or a host without a scheme.
    Url,
    /// The same where the client makes several addresses of brackets and braces.
    UrlWithoutGlob,
    /// A text that the program doesn't load from a file or URL: no `@file`, `file://…`.
    Literal,
    /// A number, which may be a word of its own even where other values must be attached.
    Number,
    /// The first word of a command that is run; the rest are its arguments.
    Command,
    /// The same, where the program has a use without one, so that the prefix must name it.
    NamedCommand,
    /// Words of a command that a shell elsewhere joins and splits again.
    Remote,
    /// A text that is run as a shell's command.
    Shell,
    /// The name of a Python module that is run; the rest are its arguments.
    Module,
    /// Code of an interpreter that is not understood.
    Code,
    /// `NAME=VALUE` before a command.
    Assignment,
    Sed,
    Awk,
    Jq,
    Yq,
    Sql(Dialect),
    /// Nothing: such an operand must be named by the prefix.
    Refused(Effect),
    /// What the profile's own rule says.
    Rule(Arc<ValueRule>),
}

/// Why a value isn't allowed: what it would do, as the end of a sentence.
pub(super) type Wrong = (Effect, String);

fn wrong(effect: Effect) -> Wrong {
    (effect, effect.does().to_owned())
}

impl Kind {
    /// The kind of that name in a profile.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "any" | "name" | "text" => Self::Any,
            "pattern" => Self::Pattern,
            "file" | "last-file" => Self::File,
            "beneath" => Self::Beneath,
            "url" => Self::Url,
            "url-without-glob" => Self::UrlWithoutGlob,
            "literal" => Self::Literal,
            "number" => Self::Number,
            "command" => Self::Command,
            "named-command" => Self::NamedCommand,
            "remote-command" => Self::Remote,
            "shell" => Self::Shell,
            "module" => Self::Module,
            "code" | "last-code" => Self::Code,
            "assignment" => Self::Assignment,
            "sed" => Self::Sed,
            "awk" => Self::Awk,
            "jq" => Self::Jq,
            "yq" => Self::Yq,
            "sql-postgres" => Self::Sql(Dialect::Postgres),
            "sql-mysql" => Self::Sql(Dialect::MySql),
            "sql-sqlite" => Self::Sql(Dialect::Sqlite),
            "!reads" => Self::Refused(Effect::Reads),
            "!writes" => Self::Refused(Effect::Writes),
            "!runs" => Self::Refused(Effect::Runs),
            "!peer" => Self::Refused(Effect::Peer),
            "!identity" => Self::Refused(Effect::Identity),
            "!credential" => Self::Refused(Effect::Credential),
            "!config" => Self::Refused(Effect::Config),
            "!widens" => Self::Refused(Effect::Widens),
            _ => return None,
        })
    }

    /// Whether it says what to do with the files that follow, so that its beginning alone may be named.
    pub(super) fn is_script(&self) -> bool {
        matches!(self, Self::Pattern | Self::Sed | Self::Awk | Self::Jq | Self::Yq)
    }

    /// Whether an interpreter runs the value as code of its own.
    pub(super) fn is_code(&self) -> bool {
        matches!(self, Self::Code | Self::Shell)
    }

    /// Judges a value. Commands are not judged here but by their own profiles.
    pub(super) fn check(&self, text: &str) -> Result<(), Wrong> {
        match self {
            Self::Any
            | Self::Pattern
            | Self::File
            | Self::Command
            | Self::NamedCommand
            | Self::Remote
            | Self::Module => Ok(()),
            Self::Shell | Self::Code => Err(wrong(Effect::Runs)),
            Self::Refused(effect) => Err(wrong(*effect)),
            Self::Beneath if leads_outside(text) => {
                Err((Effect::Reads, "leads out of the working directory".to_owned()))
            }
            Self::Beneath => Ok(()),
            Self::Url => url(text),
            Self::UrlWithoutGlob if globs(text) => {
                Err((Effect::Widens, "would stand for several addresses".to_owned()))
            }
            Self::UrlWithoutGlob => url(text),
            Self::Literal if loads(text) => {
                Err((Effect::Reads, "would be loaded from a file or URL".to_owned()))
            }
            Self::Literal => Ok(()),
            Self::Number if is_number(text) => Ok(()),
            Self::Number => Err((Effect::Widens, "is no number".to_owned())),
            Self::Assignment => assignment(text),
            Self::Sed => script::sed::check(text),
            Self::Awk => script::awk::check(text),
            Self::Jq => script::jq::check(text),
            Self::Yq => script::jq::check_yq(text),
            Self::Sql(dialect) => statement(text, *dialect),
            Self::Rule(rule) => rule.check(text),
        }
    }
}

/// Whether a path is absolute, a home directory or a URL, or has `..` among its components.
fn leads_outside(text: &str) -> bool {
    text.starts_with(['/', '~']) || climbs(text) || text.contains("://")
}

/// Whether `..` is a component of a path.
pub(super) fn climbs(text: &str) -> bool {
    text.split('/').any(|part| part == "..")
}

/// Whether a text is digits alone, with a fraction perhaps.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Whether a command line client would load the value from elsewhere: the whole of it, or a part after
/// `=`. AWS's short form of structures loads a part after `@=`.
fn loads(text: &str) -> bool {
    text.contains("@=")
        || text.split(['=', ',']).any(|part| {
            let lower = part.trim_start().to_ascii_lowercase();
            lower.starts_with('@')
                || ["file:", "fileb:", "http:", "https:"]
                    .iter()
                    .any(|scheme| lower.starts_with(scheme))
        })
}

fn url(text: &str) -> Result<(), Wrong> {
    let lower = text.trim_start().to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once(':') else {
        return Ok(());
    };
    // `file:/etc/passwd` is a URL too; `host:8080` has a port.
    let other = rest.starts_with("//") || OTHER_SCHEMES.contains(&scheme);
    match scheme {
        "http" | "https" => Ok(()),
        _ if other => Err((Effect::Reads, "has a scheme that is not http or https".to_owned())),
        _ => Ok(()),
    }
}

/// Whether an address has brackets or braces that curl resolves, but for those around an address of IPv6.
fn globs(text: &str) -> bool {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host =
        host.split_once('@').filter(|(user, _)| !user.contains('/')).map_or(host, |(_, h)| h);
    let is_address =
        |inner: &str| inner.bytes().all(|b| b.is_ascii_hexdigit() || b":.%".contains(&b));
    let rest = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((inner, rest)) if is_address(inner) => rest,
        _ => host,
    };
    // In a query they are often meant as they stand.
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_range = |part: &str| part.split_once(']').is_some_and(|(range, _)| range.contains('-'));
    path.contains(['[', ']', '{', '}']) || query.split('[').skip(1).any(is_range)
}

/// Schemes that need no `//`.
const OTHER_SCHEMES: [&str; 11] =
    ["file", "ftp", "ftps", "scp", "sftp", "gopher", "dict", "ldap", "smb", "telnet", "tftp"];

/// Environment variables that only change how things are shown.
const SHOWN: [&str; 10] = [
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "FORCE_COLOR",
    "CI",
];

fn assignment(text: &str) -> Result<(), Wrong> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    match SHOWN.contains(&name) || name.starts_with("LC_") {
        true => Ok(()),
        false => Err((Effect::Config, "would set an environment variable".to_owned())),
    }
}

/// Whether a word is `NAME=VALUE`.
pub(super) fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// One statement of the kind that its own first word names, and none of the client's commands.
fn statement(text: &str, dialect: Dialect) -> Result<(), Wrong> {
    if let Some(client) = Client::of(dialect, text) {
        let looks = client_command(client, text);
        return looks.map_err(|why| (Effect::Runs, format!("is refused: {why}")));
    }
    let begin = text.trim_start();
    let end = begin.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(begin.len());
    let keyword = begin.get(..end).unwrap_or_default();
    if keyword.eq_ignore_ascii_case("COPY") {
        return Err(wrong(Effect::Reads));
    }
    SqlPrefix::new(keyword, dialect)
        .and_then(|prefix| prefix.permits(text))
        .map_err(|why| (Effect::Runs, format!("is refused: {why}")))
}

/// A rule of a profile's own.
pub(super) struct ValueRule {
    allow: Vec<String>,
    refuse: Vec<String>,
    ends_at: Vec<String>,
    never: Vec<String>,
    except: Vec<String>,
    pub(super) if_named: bool,
    pub(super) once: Option<char>,
    does: Effect,
    separator: Option<char>,
}

impl ValueRule {
    pub(super) fn new(table: &ValueTable) -> Result<Self, String> {
        if [&table.allow, &table.refuse, &table.never, &table.ends_at]
            .iter()
            .all(|list| list.is_empty())
        {
            return Err("a rule for values allows or refuses something".to_owned());
        }
        let lower = |list: &[String]| list.iter().map(|one| one.to_ascii_lowercase()).collect();
        Ok(Self {
            allow: lower(&table.allow),
            refuse: lower(&table.refuse),
            ends_at: lower(&table.ends_at),
            never: lower(&table.never),
            except: lower(&table.except),
            if_named: table.if_named,
            once: table.once,
            does: table.does.unwrap_or(Effect::Widens),
            separator: table.separator,
        })
    }

    /// Whether a text is expressly no matter of this rule.
    pub(super) fn excepts(&self, text: &str) -> bool {
        let lower = text.to_ascii_lowercase();
        self.except.iter().any(|glob| fits(glob, &lower))
    }

    /// Whether a value may go on so from a beginning that a prefix names.
    pub(super) fn continues(&self, rest: &str) -> bool {
        let rest = rest.to_ascii_lowercase();
        !self.ends_at.iter().any(|end| rest.contains(end.as_str()))
    }

    fn check(&self, text: &str) -> Result<(), Wrong> {
        let lower = text.to_ascii_lowercase();
        let fits = |text: &str, list: &[String]| list.iter().any(|glob| fits(glob, text));
        let good = |text: &str| {
            !fits(text, &self.never)
                && (fits(text, &self.except)
                    || !fits(text, &self.refuse)
                        && (self.allow.is_empty() || fits(text, &self.allow)))
        };
        let all_good = match self.separator {
            Some(separator) => lower.split(separator).all(|part| good(part.trim())),
            None => good(&lower),
        };
        if all_good { Ok(()) } else { Err(wrong(self.does)) }
    }
}

/// Whether a text fits a pattern in which `*` stands for any text, an empty one too.
pub(super) fn fits(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The first place is as good as any: what follows has the most room then.
        let Some(after) = rest.find(part).and_then(|at| rest.get(at + part.len()..)) else {
            return false;
        };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (glob, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "aab", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*x*y*", "axbyc", true),
            ("*x*y*", "aybxc", false),
            ("*", "", true),
            ("", "", true),
        ] {
            assert_eq!(fits(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn paths_and_urls() {
        for text in ["/etc", "~/x", "../x", "a/../b", "..", "https://h/x"] {
            assert!(Kind::Beneath.check(text).is_err(), "{text}");
        }
        for text in ["src/", "HEAD~2..HEAD", "a..b", ".", "main"] {
            assert!(Kind::Beneath.check(text).is_ok(), "{text}");
        }
        for text in ["https://h/x", "h:8080/x", "HTTP://h", "h"] {
            assert!(Kind::Url.check(text).is_ok(), "{text}");
        }
        for text in ["file:///etc/passwd", "FILE:/x", "gopher://h", " file://x", "scp://h"] {
            assert!(Kind::Url.check(text).is_err(), "{text}");
        }
        for text in ["@/etc/passwd", "file://x", "Key=file://x", "fileb://x"] {
            assert!(Kind::Literal.check(text).is_err(), "{text}");
        }
        assert!(Kind::Literal.check("a=b").is_ok());
    }
}
