//! The judge of SQL on hostile bytes: it neither panics nor overflows its stack, a read is never allowed to
//! hold a second statement, and judging twice says the same. The first byte chooses the dialect.
#![no_main]

use lar_core::scope::sql::{Dialect, SqlPrefix, SqlScope, begins_statement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(sql) = std::str::from_utf8(rest) else {
        return;
    };
    let dialect = match first % 4 {
        0 => Dialect::Postgres,
        1 => Dialect::MySql,
        2 => Dialect::Sqlite,
        _ => Dialect::Unknown,
    };
    let reads = SqlScope::new(dialect, &["SELECT".into()], &[]).expect("a kind is a pattern");
    assert!(reads.only_reads());
    let verdict = reads.permits(sql);
    assert_eq!(verdict, reads.permits(sql));
    match &verdict {
        Ok(()) => {
            let begins = sql.trim_start().starts_with(['(', '-', '/']) || begins_statement(sql);
            assert!(begins && !sql.contains('\0'), "{sql:?}");
            // Whatever is allowed ends with the statement.
            assert!(reads.permits(&format!("{sql}\n; SELECT 1")).is_err(), "{sql:?}");
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    // A prefix grants what it names and is no wider than itself.
    let (prefix, text) = sql.split_once('\n').unwrap_or((sql, ""));
    if let Ok(prefix) = SqlPrefix::new(prefix, dialect) {
        let _ = prefix.permits(text);
        let _ = prefix.permits(sql);
        assert!(prefix.narrows(&prefix));
    }
});
