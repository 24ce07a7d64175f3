//! A small, strict judge of one SQL argument: is it a single statement of the kind that was granted?
//!
//! It scans tokens and builds no tree, so it errs on the side of no: a word that writes is refused
//! wherever it stands outside a literal, and text that two dialects or two settings of one server would
//! cut differently is refused as ambiguous. Never here: execution, a connection, a guess.
//!
//! Sources: PostgreSQL's manual 4.1 (lexical structure) and `psql`, MySQL's 9.1, 9.7 and 4.5.1 (client
//! commands), SQLite's `lang_comment`, `lang_keywords` and `cli`.

mod scan;

use std::fmt;

use scan::{Kind, Token, refusal, scan};

/// Whose rules a text is scanned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, through `psql`.
    Postgres,
    /// MySQL and MariaDB, through their clients.
    MySql,
    /// SQLite, through `sqlite3`.
    Sqlite,
    /// Not known: only what every dialect cuts alike is accepted.
    Unknown,
}

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlRefusalKind {
    /// There is no statement, or it does not begin with a statement's keyword.
    NoStatement,
    /// It does not begin as the prefix does.
    OtherBeginning,
    /// A `;` with something after it.
    SecondStatement,
    /// A word that writes, locks, or runs something that the prefix does not name.
    Writes,
    /// A function known to write, to reach out, or to run text as code.
    Function,
    /// A backslash outside literals, or a command of the client's own.
    ClientCommand,
    /// A `:name` that `psql` would replace.
    Variable,
    /// A comment that MySQL or MariaDB executes.
    ExecutableComment,
    /// Text that dialects or settings cut differently.
    Ambiguous,
    /// A literal, quoted name or comment without its end.
    Unterminated,
}

/// An SQL text that was refused: why, where, and about what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlRefusal {
    /// Why.
    pub kind: SqlRefusalKind,
    /// The number of the character in the SQL text, from 1.
    pub column: usize,
    /// The offending text, made visible.
    pub found: String,
}

impl std::error::Error for SqlRefusal {}

impl fmt::Display for SqlRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SqlRefusalKind as K;
        let Self { kind, column, found } = self;
        let (what, next) = match kind {
            K::NoStatement => {
                return f.write_str("the SQL does not begin with a statement's keyword");
            }
            K::OtherBeginning => {
                return f.write_str("the SQL begins otherwise than the scope allows");
            }
            K::SecondStatement => ("would begin a second statement", "send one statement a call"),
            K::Writes => (
                "goes beyond the statement that is allowed",
                "leave it out, or put it in double quotes if it is a name",
            ),
            K::Function => ("is a function that does more than read", "leave it out"),
            K::ClientCommand => ("is a command of the client's own", "send SQL only"),
            K::Variable => ("would be replaced by a variable", "put a space after the colon"),
            K::ExecutableComment => ("is executed by some servers", "leave it out"),
            K::Ambiguous => (
                "is read differently by different servers",
                "write it another way, for example without a backslash or a comment",
            ),
            K::Unterminated => ("is never closed", "close it"),
        };
        write!(f, "`{found}` at character {column} of the SQL {what}; {next}")
    }
}

/// Judges a text by the kind that its own first keyword names, and returns that keyword as written.
///
/// # Errors
///
/// More than one statement, a word beyond the kind, or anything that cannot be scanned for certain.
pub fn one_statement(sql: &str, dialect: Dialect) -> Result<&str, SqlRefusal> {
    let tokens = scan(sql, dialect)?;
    judge(sql, &tokens, 1)
}

/// Whether a text begins with a keyword that begins SQL statements, in whatever case.
pub fn begins_statement(text: &str) -> bool {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.get(..end).is_some_and(|word| is_one_of(word, STATEMENTS))
}

/// The beginning of a statement that a scope grants: its tokens, to be met one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPrefix {
    dialect: Dialect,
    tokens: Vec<(Kind, String)>,
}

impl SqlPrefix {
    /// Reads the beginning of a statement: at least its first keyword, and whole tokens only.
    ///
    /// # Errors
    ///
    /// No statement's keyword, a `;`, a literal without its end, or text that is ambiguous.
    pub fn new(text: &str, dialect: Dialect) -> Result<Self, SqlRefusal> {
        let tokens = scan(text, dialect)?;
        if let Some(end) = tokens.iter().find(|t| t.text == ";") {
            return Err(refusal(text, SqlRefusalKind::SecondStatement, end.at, ";"));
        }
        judge(text, &tokens, tokens.len())?;
        let tokens = tokens.into_iter().map(|t| (t.kind, t.text.to_owned())).collect();
        Ok(Self { dialect, tokens })
    }

    /// Whether a whole argument is one statement that begins with these tokens and does no more than
    /// the statement they name. Words compare without regard to ASCII case, everything else exactly.
    ///
    /// # Errors
    ///
    /// [`SqlRefusalKind::OtherBeginning`] if it begins otherwise; else what is wrong with it.
    pub fn permits(&self, sql: &str) -> Result<(), SqlRefusal> {
        let tokens = scan(sql, self.dialect)?;
        if !self.begins(&tokens) {
            return Err(refusal(sql, SqlRefusalKind::OtherBeginning, 0, ""));
        }
        judge(sql, &tokens, self.tokens.len()).map(drop)
    }

    /// Whether everything that this prefix permits is permitted by `wider` too, provably.
    pub fn narrows(&self, wider: &Self) -> bool {
        let token = |(kind, text)| Token { kind, text, at: 0 };
        let mine = || self.tokens.iter().map(|(kind, text)| token((*kind, text.as_str())));
        let alone: Vec<_> = mine().collect();
        // The last token may turn out to be a function's name.
        let called: Vec<_> = mine().chain([token((Kind::Mark, "("))]).collect();
        // What a prefix names is exempt from the judge, so a longer prefix may grant a word that the
        // shorter one refuses; then it is not narrower.
        let granted = |tokens: &[Token<'_>]| judge("", tokens, wider.tokens.len()).is_ok();
        self.dialect == wider.dialect && wider.begins(&alone) && granted(&alone) && granted(&called)
    }

    /// Whether tokens begin with the ones of this prefix.
    fn begins(&self, tokens: &[Token<'_>]) -> bool {
        let same = |(token, (kind, text)): (&Token<'_>, &(Kind, String))| {
            token.kind == *kind
                && (token.text == text
                    || (*kind == Kind::Word && token.text.eq_ignore_ascii_case(text)))
        };
        tokens.len() >= self.tokens.len() && tokens.iter().zip(&self.tokens).all(same)
    }
}

/// Keywords that begin a statement in one of the dialects.
const STATEMENTS: &str = "ALTER ANALYZE BEGIN CALL COMMENT COPY CREATE DELETE DESC DESCRIBE DO DROP EXECUTE EXPLAIN \
    GRANT INSERT MERGE PRAGMA REFRESH REINDEX REPLACE REVOKE SELECT SET SHOW TABLE TRUNCATE \
    UPDATE VACUUM VALUES WITH";

/// Words that write, or that begin something that does. PostgreSQL lets them stand inside a `WITH`.
const WRITES: &str = "ALTER CALL COPY CREATE DELETE DO DROP DUMPFILE EXECUTE GRANT INSERT INTO MERGE OUTFILE \
    PROGRAM REVOKE TRUNCATE UPDATE";

/// Commands that a client takes for itself when they begin a line.
const CLIENT_WORDS: &str = "CHARSET CLEAR CONNECT DELIMITER EDIT EGO EXIT GO HELP NOPAGER NOTEE PAGER PROMPT QUIT \
    REHASH SOURCE STATUS SYSTEM TEE USE WARNINGS";

/// Judges what stands after the first `named` tokens, which the scope itself wrote.
fn judge<'a>(sql: &str, tokens: &[Token<'a>], named: usize) -> Result<&'a str, SqlRefusal> {
    use SqlRefusalKind as K;
    let kind = match tokens.first() {
        Some(first) if first.kind == Kind::Word && is_one_of(first.text, STATEMENTS) => first.text,
        Some(first) => return Err(refusal(sql, K::NoStatement, first.at, first.text)),
        None => return Err(refusal(sql, K::NoStatement, 0, "")),
    };
    let mut before = "";
    for (index, token) in tokens.iter().enumerate() {
        let after = tokens.get(index + 1).map_or("", |next| next.text);
        let refused = if token.text == ";" && !after.is_empty() {
            Some(K::SecondStatement)
        } else if index < named || kind.eq_ignore_ascii_case("SHOW") {
            None
        } else if token.kind == Kind::Word && goes_beyond(kind, index, before, token.text, after) {
            Some(K::Writes)
        } else if token.may_name() && after == "(" && is_dangerous_function(kind, token.text) {
            Some(K::Function)
        } else {
            None
        };
        if let Some(reason) = refused {
            return Err(refusal(sql, reason, token.at, token.text));
        }
        before = token.text;
    }
    Ok(kind)
}

/// Whether a word outside literals does more than a statement of this kind may.
fn goes_beyond(kind: &str, index: usize, before: &str, word: &str, after: &str) -> bool {
    let is = |text: &str, keyword: &str| text.eq_ignore_ascii_case(keyword);
    // Row locks: FOR [KEY] SHARE, LOCK IN SHARE MODE. FOR UPDATE is caught as UPDATE.
    if is(word, "SHARE") {
        return ["FOR", "KEY", "IN"].iter().any(|k| is(before, k));
    }
    // `INSERT OR REPLACE` overwrites rows; `replace(...)` is a function.
    if is(word, "REPLACE") {
        return is(kind, "INSERT") && after != "(";
    }
    if !is_one_of(word, WRITES) {
        return false;
    }
    let fits = match kind.to_ascii_uppercase().as_str() {
        "INSERT" => (is(word, "INTO") && index <= 3) || (is(word, "DO") && is(after, "NOTHING")),
        "REPLACE" => is(word, "INTO") && index <= 2,
        "MERGE" => (is(word, "INTO") && index == 1) || is(before, "THEN"),
        // A foreign key's ON DELETE and ON UPDATE; ALTER TABLE drops and alters columns.
        "CREATE" => is(before, "ON") && (is(word, "DELETE") || is(word, "UPDATE")),
        "ALTER" => {
            is(word, "ALTER")
                || is(word, "DROP")
                || (is(before, "ON") && (is(word, "DELETE") || is(word, "UPDATE")))
        }
        _ => false,
    };
    !fits
}

/// Functions known to write, to leave the database, or to run text as SQL, and families of such; a name
/// that ends in `*` stands for its family. The list cannot be complete, because anybody may define
/// functions; it keeps those that servers and clients ship.
const DANGEROUS: &str = "benchmark connectby* crosstab* cursor_to_xml* dblink* edit fts3_tokenizer \
    get_lock http_* load_extension load_file lo_* loread lowrite query_to_xml* readfile release_* \
    set_config setval sleep sys_e* ts_rewrite ts_stat writefile xp_*";

/// Of PostgreSQL's `pg_` functions, which may terminate, reload, read files and more, those that tell.
const TELLING: &str = "pg_backend_pid pg_blocking_pids pg_char_to_encoding pg_collation_* pg_column_* \
    pg_conf_load_time pg_current_* pg_database_size pg_describe_* pg_encoding_to_char \
    pg_function_is_visible pg_get_* pg_has_role pg_identify_* pg_index* pg_is_in_recovery pg_last_* \
    pg_my_temp_schema pg_options_to_table pg_postmaster_start_time pg_relation_* pg_size_* \
    pg_stat_get_* pg_table_* pg_tablespace_* pg_timezone_* pg_total_relation_size pg_type* \
    pg_wal_lsn_diff pg_walfile_name*";

fn is_dangerous_function(kind: &str, name: &str) -> bool {
    let name = name.trim_matches(['"', '`', '[', ']']).to_ascii_lowercase();
    let is_in = |list: &str| {
        list.split_ascii_whitespace().any(|known| match known.strip_suffix('*') {
            Some(family) => name.starts_with(family),
            None => name == known,
        })
    };
    // A sequence may be drawn from where rows are written.
    is_in(DANGEROUS)
        || (name.starts_with("pg_") && !is_in(TELLING))
        || (name == "nextval" && !is_one_of(kind, "INSERT UPDATE MERGE CREATE ALTER"))
}

/// Whether a blank-separated list holds a word, whatever its case.
fn is_one_of(word: &str, list: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite, Unknown};
    use SqlRefusalKind::*;

    const ALL: [Dialect; 4] = [Postgres, MySql, Sqlite, Unknown];

    fn kind(sql: &str, dialect: Dialect) -> SqlRefusalKind {
        one_statement(sql, dialect).expect_err(sql).kind
    }

    #[test]
    fn honest_statements_pass_in_every_dialect() {
        for sql in [
            "SELECT 1",
            "select ';'",
            "SELECT '-- DELETE'",
            "SELECT '/* INSERT */', 'it''s; ok'",
            "SELECT \"update\" FROM t",
            "SELECT updated_at, deleted FROM do_not WHERE a = 'INTO'",
            "SELECT replace(a, 'x', 'y') FROM t;",
            "SELECT 1 ;\n",
            "SELECT /* plain */ 1 -- plain",
            "SELECT count(*), max(a) FROM t WHERE a <> 1.5e3 AND b LIKE '%x\\\\y%'",
            "SELECT 'é', ü FROM größe",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "EXPLAIN SELECT 1",
            "VALUES (1), (2)",
            "INSERT INTO t (a) VALUES ('x')",
            "UPDATE t SET a = 1 WHERE b = 2",
            "DELETE FROM t WHERE a = 1",
            "ALTER TABLE t DROP COLUMN a",
            "CREATE TABLE t (a int REFERENCES u ON DELETE CASCADE)",
        ] {
            for dialect in ALL {
                assert!(one_statement(sql, dialect).is_ok(), "{dialect:?} {sql}");
            }
        }
        assert_eq!(one_statement("  sElect 1", Postgres).unwrap(), "sElect");
    }

    #[test]
    fn more_than_the_statement_is_refused_in_every_dialect() {
        for (sql, expected) in [
            ("", NoStatement),
            ("  -- x", NoStatement),
            ("(SELECT 1)", NoStatement),
            ("'SELECT'", NoStatement),
            ("SELECTX 1", NoStatement),
            ("SELECT 1; DROP TABLE users", SecondStatement),
            ("SELECT 1;;", SecondStatement),
            ("SELECT (1;)", SecondStatement),
            ("SELECT ''; DROP TABLE t", SecondStatement),
            ("SELECT 'a''; DROP TABLE t", Unterminated),
            ("SELECT 1 /* x", Unterminated),
            ("SELECT \"a", Unterminated),
            ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Writes),
            ("WITH x AS (INSERT INTO t VALUES (1)) SELECT 1", Writes),
            ("SELECT * INTO t FROM u", Writes),
            ("SELECT 1INTO t", Writes),
            ("SELECT 1.INTO t", Writes),
            ("SELECT'a'INTO t", Writes),
            ("SELECT/**/1/**/INTO/**/t", Writes),
            ("SELECT * FROM t FOR UPDATE", Writes),
            ("SELECT * FROM t for key share", Writes),
            ("SELECT * FROM t LOCK IN SHARE MODE", Writes),
            ("EXPLAIN ANALYZE DELETE FROM t", Writes),
            ("INSERT INTO a WITH x AS (DELETE FROM b RETURNING *) SELECT * FROM x", Writes),
            ("INSERT INTO a VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2", Writes),
            ("UPDATE t SET a = 1 FROM (SELECT 1) x DELETE", Writes),
            ("COPY t TO PROGRAM 'sh'", Writes),
            ("SELECT pg_read_file('/etc/passwd')", Function),
            ("SELECT lo_export (1, '/x')", Function),
            ("SELECT \"pg_terminate_backend\"(1)", Function),
            ("SELECT writefile('a', 'b')", Function),
            ("SELECT nextval('s')", Function),
            ("SELECT 1 \\gexec", ClientCommand),
            ("\\! sh", ClientCommand),
            ("SELECT :a", Variable),
            ("SELECT :'a'", Variable),
            ("SELECT :\"a\"", Variable),
            ("SELECT a:::b", Variable),
            ("SELECT 1 /*! INTO OUTFILE 'x' */", ExecutableComment),
            ("SELECT 1 /*M!50000 INTO t */", ExecutableComment),
            ("SELECT /*+ SET_VAR(x=1) */ 1", ExecutableComment),
            ("SELECT 'a\\'; DROP TABLE t; --'", Ambiguous),
            ("SELECT \"a\\\"; DROP TABLE t; --\"", Ambiguous),
            ("SELECT 1 -- a\rDROP TABLE t", Ambiguous),
            ("SELECT U&\"lo\\005fexport\"(1)", Ambiguous),
            ("SELECT 1\u{a0}", Ambiguous),
            ("SELECT 1\u{b}", Ambiguous),
        ] {
            for dialect in ALL {
                assert_eq!(kind(sql, dialect), expected, "{dialect:?} {sql}");
            }
        }
    }

    #[test]
    fn each_dialect_is_cut_by_its_own_rules() {
        for (dialect, sql) in [
            (Postgres, "SELECT $$;DROP$$, $a$ $$; $b$ ' $a$"),
            (Postgres, "SELECT $1, a$b FROM t"),
            (Postgres, "SELECT E'it\\'s; fine', e'\\\\'"),
            (Postgres, "SELECT /* a /* ; */ ' */ 1"),
            (Postgres, "SELECT 1 --; DROP 'x\n, 2"),
            (Postgres, "SELECT a->>'b', a #> '{c}', ARRAY['x;','y'] FROM t"),
            (Postgres, "SELECT pg_size_pretty(pg_database_size('a')), '{}'::jsonb"),
            (MySql, "SELECT `a;b``c` FROM `t`"),
            (Sqlite, "SELECT [a;b'c] FROM `t`"),
            (Sqlite, "SELECT a -> '$.b' FROM t"),
        ] {
            assert!(one_statement(sql, dialect).is_ok(), "{dialect:?} {sql}");
        }
        for (dialect, sql, expected) in [
            (Postgres, "SELECT $$a$$;DROP TABLE t;--$$", SecondStatement),
            (Postgres, "SELECT a$$;DROP TABLE t;--$$", SecondStatement),
            (Postgres, "SELECT 1a$$;DROP TABLE t;--$$", SecondStatement),
            (Postgres, "SELECT 1$$;DROP TABLE t;--$$", Ambiguous),
            (Postgres, "SELECT $1$$;DROP TABLE t;--$$", Ambiguous),
            (Postgres, "SELECT $a$;DROP$b$", Unterminated),
            (Postgres, "SELECT xE'\\'; DROP TABLE t; --'", Ambiguous),
            (Postgres, "SELECT E '\\'; DROP TABLE t; --'", Ambiguous),
            (Postgres, "SELECT E'a'\n'\\'; DROP TABLE t; --'", Ambiguous),
            (Postgres, "SELECT E'\\\\'; DROP TABLE t; --'", SecondStatement),
            (Postgres, "SELECT `a`", Ambiguous),
            (MySql, "SELECT E'\\'; DROP TABLE t; --'", Ambiguous),
            (MySql, "SELECT $$;$$", Ambiguous),
            (MySql, "SELECT 1 --1; DROP TABLE t", Ambiguous),
            (MySql, "SELECT 1 # '\n; DROP TABLE t -- '", Ambiguous),
            (MySql, "SELECT /* /* */ ; DROP TABLE t */", Ambiguous),
            (MySql, "SELECT 1 /* ' */; DROP TABLE t -- '", Ambiguous),
            (MySql, "SELECT 1\nsystem id", ClientCommand),
            (MySql, "SELECT 1 delimiter x", ClientCommand),
            (MySql, "SELECT load_file('/etc/passwd')", Function),
            (MySql, "SELECT 1 FROM t INTO DUMPFILE 'x'", Writes),
            (Sqlite, "SELECT ['] ; DROP TABLE [']", SecondStatement),
            (Sqlite, "SELECT 1\n.shell id", ClientCommand),
            (Sqlite, "SELECT `load_extension`('x')", Function),
            (Unknown, "SELECT ['] ; DROP TABLE t; --']", Ambiguous),
            (Unknown, "SELECT 1\nGO\nDROP TABLE t", ClientCommand),
            (Unknown, "SELECT `a`", Ambiguous),
        ] {
            assert_eq!(kind(sql, dialect), expected, "{dialect:?} {sql}");
        }
    }

    #[test]
    fn what_a_prefix_names_is_granted() {
        let permits = |prefix: &str, sql: &str| {
            SqlPrefix::new(prefix, Postgres).unwrap().permits(sql).map_err(|e| e.kind)
        };
        assert_eq!(permits("SELECT nextval('s')", "select nextval('s')"), Ok(()));
        assert_eq!(permits("SELECT nextval('s')", "select nextval('S')"), Err(OtherBeginning));
        assert_eq!(permits("EXPLAIN DELETE FROM t", "explain delete from t where a"), Ok(()));
        assert_eq!(permits("SELECT 1", "SELECT 10"), Err(OtherBeginning));
        assert_eq!(permits("SELECT a FROM t ", "SELECT a FROM t2"), Err(OtherBeginning));
        assert_eq!(permits("WITH", "WITH x AS (SELECT 1) SELECT 2"), Ok(()));
        assert_eq!(permits("SELECT", "WITH x AS (SELECT 1) SELECT 2"), Err(OtherBeginning));
    }

    #[test]
    fn long_input_is_scanned_in_linear_time() {
        let long = format!("SELECT {}1", "(/* a */ 1, 'b') + ".repeat(40_000));
        assert!(one_statement(&long, Postgres).is_ok());
        assert!(one_statement(&format!("SELECT {}", "/*".repeat(300_000)), Postgres).is_err());
        assert!(one_statement(&format!("SELECT {}", "$a$ ".repeat(100_001)), Postgres).is_err());
    }
}
