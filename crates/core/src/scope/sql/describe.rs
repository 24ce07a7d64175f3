//! Commands of the clients' own that only look: `psql`'s `\d` and its like, and `sqlite3`'s `.tables`. A client takes
//! the whole text for one command, so that it holds nothing that could begin another.

use super::{Dialect, SqlRefusal, SqlRefusalKind};
use crate::scope::lexer::visible;

/// Whose commands they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `psql`.
    Psql,
    /// `sqlite3`.
    Sqlite,
}

impl Client {
    /// The client whose own command a text is, for all that it begins with.
    pub fn of(dialect: Dialect, text: &str) -> Option<Self> {
        match dialect {
            Dialect::Postgres if text.starts_with('\\') => Some(Self::Psql),
            Dialect::Sqlite if text.starts_with('.') => Some(Self::Sqlite),
            _ => None,
        }
    }
}

/// `psql`'s describing commands, without the `S`, `x` and `+` that may stand behind them (its manual,
/// "Meta-Commands"). Left out: `\deu` and `\dRs`, which show passwords, and whatever runs, writes or connects.
const PSQL: &str = "d da dA dAc dAf dAo dAp db dc dC dconfig dd dD ddp dE det dF dFd dFp dFt df dg di dL dm dn do dO dp dP \
    drds drg dRp ds dt dT du dv dx dX dy dti dtv dts dtvs dtm dtvms sf sv l list z conninfo";

/// `sqlite3`'s, by their whole names.
const SQLITE: &str = ".databases .fullschema .headers .indexes .indices .mode .schema .show .tables .version .nullvalue .width";

/// Whether a text is one command of a client's own that only looks.
///
/// # Errors
///
/// It is another, or holds what begins one more.
pub fn client_command(client: Client, text: &str) -> Result<(), SqlRefusal> {
    let refused =
        || SqlRefusal { kind: SqlRefusalKind::ClientCommand, column: 1, found: visible(text, 32) };
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).ok_or_else(refused)?;
    let is_known = match client {
        Client::Psql => {
            let name = word.strip_prefix('\\').ok_or_else(refused)?;
            is_listed(PSQL, name) || is_listed(PSQL, name.trim_end_matches(['S', 'x', '+']))
        }
        Client::Sqlite => is_listed(SQLITE, word),
    };
    // A backquote runs a program, a backslash begins another command, a colon names a variable, a bar a program.
    let plain = |c: char| !c.is_control() && !matches!(c, '`' | '\\' | ':' | '|' | ';' | '\'');
    if is_known && rest.chars().all(plain) { Ok(()) } else { Err(refused()) }
}

/// Whether a list holds a word, letter for letter: `\dA` is another command than `\da`.
fn is_listed(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks() {
        for text in [
            "\\d",
            "\\dt",
            "\\dt+",
            "\\dtS+ public.*",
            "\\d \"Orders\"",
            "\\l",
            "\\du",
            "\\df+ f*",
            "\\conninfo",
        ] {
            assert!(client_command(Client::Psql, text).is_ok(), "{text}");
        }
        for text in [
            "\\! sh",
            "\\d `id`",
            "\\dt \\! sh",
            "\\dt\n\\! sh",
            "\\deu+",
            "\\dRs+",
            "\\g |sh",
            "\\o f",
            "\\i f",
            "\\c x",
            "\\copy t to f",
            "\\lo_import f",
            "\\ef f",
            "\\ev v",
            "\\e",
            "d",
            "\\",
            "\\d :x",
            "\\D",
            "\\DT",
            "\\setenv a b",
        ] {
            assert!(client_command(Client::Psql, text).is_err(), "{text}");
        }
        for text in [".tables", ".schema orders", ".indexes", ".mode csv", ".headers on"] {
            assert!(client_command(Client::Sqlite, text).is_ok(), "{text}");
        }
        for text in [
            ".shell id",
            ".output f",
            ".tables\n.shell id",
            ".schema;.shell id",
            ".read f",
            ".tab",
            ".dump > f",
            ".excel",
        ] {
            assert!(client_command(Client::Sqlite, text).is_err(), "{text}");
        }
    }
}
