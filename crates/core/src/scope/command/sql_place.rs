//! Whether an open-quote word is SQL.

use super::super::sql::{self, Dialect};

/// Whether the open word after `words` is SQL: in which dialect, and after which beginning of the word.
/// A known client anywhere in the words decides, so that a wrapper before it changes nothing; without
/// one, a text that begins like a statement is judged as one by the strictest rules.
pub(super) fn sql_place<'a>(words: &[String], open: &'a str) -> Option<(Dialect, &'a str)> {
    let client = words.iter().enumerate().rev().find_map(|(at, w)| Some((at, sql_client(w)?)));
    let Some((at, dialect)) = client else {
        return sql::begins_statement(open).then_some((Dialect::Unknown, ""));
    };
    let (long, short) = match dialect {
        Dialect::Postgres => ("--command", 'c'),
        _ => ("--execute", 'e'),
    };
    let arguments = words.get(at + 1..).unwrap_or_default();
    let before = arguments.last().map_or("", String::as_str);
    let is_short = |word: &str| {
        word.starts_with('-') && !word.starts_with("--") && word.len() > 1 && word.ends_with(short)
    };
    let assigned = open.find('=').and_then(|end| open.get(..=end));
    let attached = open.get(..2).filter(|lead| is_short(lead));
    match dialect {
        Dialect::Sqlite => {
            let file_is_given = arguments.iter().any(|word| !word.starts_with('-'));
            (file_is_given || before == "-cmd" || sql::begins_statement(open))
                .then_some((dialect, ""))
        }
        // Both clients take an unambiguous beginning of a long option for the option.
        _ if before.len() > 4 && long.starts_with(before) => Some((dialect, "")),
        _ if is_short(before) || sql::begins_statement(open) => Some((dialect, "")),
        _ => match (assigned, attached) {
            (Some(lead), _) if lead.len() > 5 && long.starts_with(lead.trim_end_matches('=')) => {
                Some((dialect, lead))
            }
            (_, Some(lead)) => Some((dialect, lead)),
            _ => None,
        },
    }
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn sql_client(word: &str) -> Option<Dialect> {
    Some(match base_name(word) {
        "psql" => Dialect::Postgres,
        "mysql" | "mariadb" => Dialect::MySql,
        "sqlite3" => Dialect::Sqlite,
        _ => return None,
    })
}
