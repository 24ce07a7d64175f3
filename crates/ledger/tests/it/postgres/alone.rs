//! The short way of a change by itself: it makes what nothing speaks against, and leaves all else as it was.

use lar_core::ledger::Granted;
use lar_core::outcome::Verdict;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::server::{connect, new_database};
use crate::support::*;

/// Everything that a change could touch.
const ALL: &str = "SELECT concat(
    (SELECT string_agg(t::text, ';' ORDER BY t.grant_n, t.name) FROM lar.tokens t),
    (SELECT string_agg(r::text, ';' ORDER BY r.n) FROM lar.runs r),
    (SELECT string_agg(a::text, ';' ORDER BY a.run, a.id) FROM lar.attempts a),
    (SELECT string_agg(w::text, ';' ORDER BY w.run, w.seq) FROM lar.records w),
    (SELECT string_agg(j::text, ';' ORDER BY j.run, j.page) FROM lar.journal j),
    (SELECT string_agg(o::text, ';' ORDER BY o.run, o.seq) FROM lar.openings o))";

/// What is asked, in SQL's words.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    run: &'a str,
    fence: &'a str,
    transition: &'a str,
    attempt: &'a str,
    token: &'a str,
    held: &'a str,
    verdict: &'a str,
}

const PLAIN: Call<'_> = Call {
    run: "r",
    fence: "1",
    transition: "start",
    attempt: "'\\x99'",
    token: "t",
    held: "null",
    verdict: "null",
};

fn sql(call: Call<'_>) -> String {
    let Call { run, fence, transition, attempt, token, held, verdict } = call;
    let transition = match transition {
        "null" => "null".to_owned(),
        name => format!("'{name}'"),
    };
    format!(
        "SELECT lar.commit_one('{run}', {fence}, 'n', {transition}, {attempt}, '{token}', 'x',
            {held}, {verdict}, '{{\"prev\":\"', '\",\"seq\":', ',\"timestamp\":\"', '\"}}', 'line', 'page')"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_short_way_leaves_alone_it_does_not_change() {
    let Some(url) = new_database() else { return };
    let ledger = connect(&url);
    let locked = Granted { candidate: true, ..granted("locked", 1) };
    let tokens = vec![granted("t", 9), granted("one", 1), with_approval("asked", 1), locked];
    let hold = start(ledger.as_ref(), "r", tokens).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    step_on(ledger.as_ref(), &hold, "one", 2, START).await.unwrap();
    step(ledger.as_ref(), &hold, 3, START).await.unwrap();
    step(ledger.as_ref(), &hold, 3, finish(Verdict::Failed)).await.unwrap();
    step_on(ledger.as_ref(), &hold, "asked", 4, HOLD).await.unwrap();
    let ended = start(ledger.as_ref(), "ended", vec![granted("t", 9)]).await;
    ledger.close_run(closing(&ended)).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let id = |turn| format!("'\\x{}'", attempt(&hold.run, turn));
    let (begun, over, held) = (id(1), id(3), id(4));
    let made = async |call| -> Option<i64> {
        let answer: Option<Vec<u8>> = match client.query_one(&sql(call), &[]).await {
            Ok(row) => row.get(0),
            // An attempt of that name.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => None,
            Err(error) => panic!("{error:?}"),
        };
        answer.map(|answer| i64::from_be_bytes(answer[..8].try_into().unwrap()))
    };
    let all = async || -> String { client.query_one(ALL, &[]).await.unwrap().get(0) };

    let before = all().await;
    let end =
        Call { transition: "finish", attempt: &begun, held: "1", verdict: "'succeeded'", ..PLAIN };
    for call in [
        Call { run: "nobody", ..PLAIN },
        Call { run: "ended", ..PLAIN },
        Call { fence: "2", ..PLAIN },
        Call { fence: "null", ..PLAIN },
        Call { attempt: &begun, ..PLAIN },
        Call { attempt: &over, ..PLAIN },
        Call { token: "one", ..PLAIN },
        Call { token: "asked", ..PLAIN },
        Call { token: "locked", ..PLAIN },
        Call { token: "unknown", ..PLAIN },
        Call { held: "1", ..PLAIN },
        Call { transition: "reserve", ..PLAIN },
        Call { transition: "null", run: "ended", ..PLAIN },
        Call { transition: "null", fence: "2", ..PLAIN },
        Call { transition: "approve", attempt: &held, token: "asked", held: "1", ..PLAIN },
        Call { transition: "start", attempt: &held, token: "asked", held: "1", ..PLAIN },
        Call { transition: "release", attempt: &held, token: "asked", held: "1", ..PLAIN },
        Call { transition: "expire", attempt: &held, token: "asked", ..PLAIN },
        Call { transition: "recover", attempt: &begun, ..PLAIN },
        Call { transition: "never_began", ..end },
        Call { transition: "resolve", ..end },
        Call { fence: "2", ..end },
        Call { fence: "null", ..end },
        Call { attempt: "'\\x99'", ..end },
        Call { attempt: &over, ..end },
        Call { attempt: &held, token: "asked", ..end },
        Call { token: "one", ..end },
        Call { held: "2", ..end },
        Call { held: "null", ..end },
        Call { verdict: "null", ..end },
        Call { verdict: "'reserved'", ..end },
        Call { verdict: "'never_began'", ..end },
    ] {
        assert_eq!(made(call).await, None, "{call:?}");
        assert_eq!(all().await, before, "{call:?}");
    }
    // What a grant's end says no to.
    for (column, value) in [("revoked_at", "1"), ("expires", "1"), ("epoch", "0")] {
        let set = format!("UPDATE lar.grants SET {column} = {value}");
        client.batch_execute(&format!("BEGIN; {set}")).await.unwrap();
        let before = all().await;
        assert_eq!(made(PLAIN).await, None, "{column}");
        assert_eq!(all().await, before, "{column}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    client.batch_execute("BEGIN; UPDATE lar.tokens SET expires = 1").await.unwrap();
    let with_an_end = all().await;
    assert_eq!(made(PLAIN).await, None, "an expired token");
    assert_eq!(all().await, with_an_end);
    client.batch_execute("ROLLBACK").await.unwrap();
    // And what nothing speaks against is made.
    let records = ledger.records(&hold.run, 1, 99).await.unwrap().len() as i64;
    for (number, call) in (1..).zip([PLAIN, end, Call { transition: "null", ..PLAIN }]) {
        assert_eq!(made(call).await, Some(records + number), "{call:?}");
    }
}
