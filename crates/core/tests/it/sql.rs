//! The corpus of SQL: what the judge must allow and refuse.

use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::scope::command::{Command, CommandScope};
use lar_core::scope::sql::{Dialect, SqlScope};
use lar_core::set::CapabilitySet;
use lar_core::token::DatabaseToken;
use serde::Deserialize;

#[derive(Deserialize)]
struct Corpus {
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    about: String,
    dialect: Option<String>,
    #[serde(default)]
    allowed: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
    prefix: Option<String>,
    #[serde(default, rename = "runs")]
    _runs: bool,
    honest: Vec<Case>,
    attack: Vec<Case>,
}

/// A text, or one that is made of many of the same.
#[derive(Deserialize)]
#[serde(untagged)]
enum Case {
    Text(String),
    Repeated { repeat: String, times: usize, before: String, after: String },
}

impl Case {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Repeated { repeat, times, before, after } => {
                format!("{before}{}{after}", repeat.repeat(*times))
            }
        }
    }
}

fn corpus() -> Corpus {
    toml::from_str(include_str!("../../../../tests/corpus/sql.toml")).expect("the corpus is TOML")
}

/// Why a text is refused in a group, if it is.
fn refusal(group: &Group, text: &str) -> Option<String> {
    if let Some(prefix) = &group.prefix {
        let scope = CommandScope::new([prefix.clone()]).expect(prefix);
        let command = match Command::parse(text) {
            Ok(command) => command,
            Err(error) => return Some(error.to_string()),
        };
        return scope.permits(&command).err().map(|error| error.to_string());
    }
    let dialect = match group.dialect.as_deref() {
        Some("postgres") => Dialect::Postgres,
        Some("mysql") => Dialect::MySql,
        Some("sqlite") => Dialect::Sqlite,
        other => panic!("{other:?} is no dialect"),
    };
    if dialect == Dialect::MySql {
        // No token has MySQL behind it yet; the judge reads it for `mysql -e`.
        let scope = SqlScope::new(dialect, &group.allowed, &group.functions).expect(&group.about);
        return scope.permits(text).err().map(|error| error.to_string());
    }
    let dsn = if dialect == Dialect::Sqlite { "sqlite:/x" } else { "postgres://r@h/d" };
    let mut token = DatabaseToken::new("x", dsn, group.allowed.iter().cloned());
    for function in &group.functions {
        token = token.function(function.clone());
    }
    let set = CapabilitySet::new([token.build().expect(&group.about)]).expect("a set");
    set.mark_reported();
    let call = ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: "db_x".into(),
        input: serde_json::json!({"query": text}).to_string(),
        rationale: None,
    };
    let judged = Invocation::parse(call, &set)
        .and_then(|invocation| set.reserve(invocation))
        .and_then(|reserved| reserved.authorize());
    judged.err().map(|refusal| refusal.to_string())
}

#[test]
fn no_attack_passes_and_no_honest_query_is_refused() {
    let (mut honest, mut attacks, mut wrong) = (0, 0, Vec::new());
    for group in corpus().group {
        for text in group.honest.iter().map(Case::text) {
            honest += 1;
            if let Some(why) = refusal(&group, &text) {
                wrong.push(format!("refused ({}): {text}\n    {why}", group.about));
            }
        }
        for text in group.attack.iter().map(Case::text) {
            attacks += 1;
            if refusal(&group, &text).is_none() {
                wrong.push(format!("ALLOWED ({}): {text}", group.about));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
    println!("{honest} honest, {attacks} attacks");
    assert!(honest + attacks >= 300 && honest * 3 >= (honest + attacks), "{honest} {attacks}");
}

#[test]
fn what_the_parser_cannot_read_is_named_with_a_way_out() {
    let scope = SqlScope::new(Dialect::Postgres, &["SELECT".to_owned()], &[]).unwrap();
    for (text, found, next) in [
        ("SELECT * FROM ROWS FROM (generate_series(1, 2)) t", "`ROWS FROM`", "table of its own"),
        ("SELECT (o).* FROM orders o", "`*` at character", "name the columns"),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1) SEARCH DEPTH FIRST BY n SET o SELECT * FROM t",
            "`SEARCH`",
            "the path",
        ),
        ("SELECT (é, ) FROM t", "`)` at character 12", "plainer form"),
        ("SELECT 'é' FROM t WHERE", "", "plainer form"),
    ] {
        let error = scope.permits(text).unwrap_err().to_string();
        assert!(error.contains(found) && error.contains(next), "{text}: {error}");
    }
}
