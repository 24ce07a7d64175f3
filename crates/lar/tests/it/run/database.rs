//! A database token on a real PostgreSQL and on a SQLite file.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Ended, Lab, calls, done, find_bytes};

const PASSWORD: &str = "Tr0ub4dor&3-for-the-orders";

const SCHEMA: &str = "CREATE ROLE app LOGIN; CREATE TABLE orders (id int PRIMARY KEY, status text, \
    total numeric(20,2), data jsonb, created_at timestamptz DEFAULT '2026-01-02 03:04:05+00'); \
    INSERT INTO orders VALUES (1, 'open', 12.50, '{\"a\": [1]}'), (2, 'paid', 9007199254740993, NULL); \
    CREATE TABLE held (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); INSERT INTO held VALUES (1); \
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app; \
    CREATE FUNCTION slow() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(30)';";

/// The address of the test's server with a password in it, which the server doesn't ask for.
fn address(server: &pgserver::Server) -> String {
    let password = PASSWORD.replace('&', "%26");
    server.url("app", "postgres").replace("app@", &format!("app:{password}@"))
}

fn token(more: &str) -> String {
    format!(
        "[[token]]\nkind = \"database\"\nname = \"orders\"\ndsn_env = \"ORDERS_DSN\"\nmax_uses = 20\n{more}\n"
    )
}

fn ask(lab: &Lab, dsn: &str, inputs: impl IntoIterator<Item = Value>) -> Ended {
    let asked: Vec<Value> =
        inputs.into_iter().map(|input| calls([("db_orders", input)])).chain([done()]).collect();
    lab.replay(&asked).env("ORDERS_DSN", dsn).go()
}

#[test]
fn rows_come_back_as_json_and_neither_address_nor_password_is_anywhere() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", SCHEMA);
    let lab = Lab::new(&token("allowed_patterns = [\"SELECT\"]\nrow_limit = 2"));
    let dsn = address(&server);
    let ended = ask(
        &lab,
        &dsn,
        [
            json!({"query": "SELECT id, status, total, data, created_at FROM orders ORDER BY id;"}),
            json!({"query": "SELECT $1::int + $2 AS sum, $3::text AS t, $4::bool AS b", "params": [1, 2, "a'; DROP TABLE orders", null]}),
            json!({"query": "SELECT g FROM generate_series(1, 9) AS g"}),
            json!({"query": "WITH x AS (SELECT count(*) AS n FROM orders) SELECT n FROM x -- all"}),
            json!({"query": "EXPLAIN SELECT 1"}),
            json!({"query": "SELECT nothing FROM orders"}),
            json!({"query": "SELECT 1; DELETE FROM orders"}),
            json!({"query": "WITH x AS (DELETE FROM orders RETURNING 1) SELECT * FROM x"}),
        ],
    )
    .exits(0);
    let outcomes = ended.outcomes();
    assert_eq!(
        outcomes,
        ["succeeded", "succeeded", "succeeded", "succeeded", "succeeded", "failed"]
    );
    let text = ended.trail().to_string();
    for form in [PASSWORD, &PASSWORD.replace('&', "%26"), &dsn] {
        assert!(!text.contains(form), "{form} is in the trail");
        assert_eq!(find_bytes(lab.dir(), form), None, "{form}");
    }
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM orders").trim(), "2");
    assert_eq!(ended.errors().len(), 3, "{:?}", ended.errors());
}

#[test]
fn what_the_model_reads_is_what_the_rows_hold() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", SCHEMA);
    let lab = Lab::new(&token("allowed_patterns = [\"SELECT\"]\nrow_limit = 2"));
    let model = standin::messages::Server::start([
        standin::Reply::tool_use(
            "toolu_1",
            "db_orders",
            json!({"query": "SELECT id, status, total, data, created_at FROM orders ORDER BY id"}),
        ),
        standin::Reply::tool_use(
            "toolu_2",
            "db_orders",
            json!({"query": "SELECT g FROM generate_series(1, 9) AS g WHERE g > $1", "params": [3]}),
        ),
        standin::Reply::text("Read."),
    ]);
    lab.against(&model).env("ORDERS_DSN", &address(&server)).go().exits(0);
    let last = model.requests().pop().unwrap();
    let told = String::from_utf8(last.body).unwrap().replace("\\\"", "\"");
    for part in [
        r#"[1,"open",12.50,{"a": [1]},"2026-01-02 03:04:05+00"]"#,
        r#"[2,"paid","9007199254740993.00",null,"#,
        r#""rows":[[4],[5]],"note":"cut after 2 rows; there are more""#,
    ] {
        assert!(told.contains(part), "{part}");
    }
}

#[test]
fn writes_are_committed_or_rolled_back_and_a_read_scope_is_held_by_the_server() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", SCHEMA);
    let lab = Lab::new(&token("allowed_patterns = [\"UPDATE orders SET\", \"INSERT INTO held\"]"));
    let ended = ask(
        &lab,
        &address(&server),
        [
            json!({"query": "UPDATE orders SET status = $1 WHERE id = $2", "params": ["paid", 1]}),
            json!({"query": "UPDATE orders SET total = 5 WHERE id = 2 RETURNING id, total, created_at"}),
            json!({"query": "UPDATE orders SET total = 1 / 0"}),
            // The constraint is checked when the commit comes.
            json!({"query": "INSERT INTO held VALUES (1)"}),
            json!({"query": "UPDATE held SET id = 2"}),
        ],
    )
    .exits(0);
    assert_eq!(ended.outcomes(), ["succeeded", "succeeded", "failed", "failed"]);
    let rows = server.sql("postgres", "SELECT status, total FROM orders ORDER BY id");
    assert_eq!(rows.trim(), "paid|12.50\npaid|5.00");
    // A function of the database's own that writes, allowed by name: the transaction is read-only.
    server.sql(
        "postgres",
        "CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS 'DELETE FROM public.orders RETURNING 1'",
    );
    let lab = Lab::new(&token("allowed_patterns = [\"SELECT\"]\nfunctions = [\"sneak\"]"));
    let ended = ask(&lab, &address(&server), [json!({"query": "SELECT sneak()"})]).exits(0);
    assert_eq!(ended.outcomes(), ["failed"]);
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM orders").trim(), "2");
}

#[test]
fn a_statement_ends_with_its_time() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", SCHEMA);
    let more = "allowed_patterns = [\"SELECT\"]\nfunctions = [\"slow\"]\ntimeout = \"1s\"";
    let lab = Lab::new(&token(more));
    let begun = std::time::Instant::now();
    let ended = ask(&lab, &address(&server), [json!({"query": "SELECT slow()"})]).exits(0);
    assert_eq!(ended.outcomes(), ["failed"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow()%' AND pid <> pg_backend_pid()";
    crate::support::eventually("the server stops too", || {
        server.sql("postgres", running).trim() == "0"
    });
}

/// Stands between the tool and the server, and cuts the connection once COMMIT has passed.
fn cutting_the_commit(server: &pgserver::Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = server.port().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) =
                (client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
            let (mut back, mut answers) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            let cut = Arc::new(AtomicBool::new(false));
            let heard = Arc::clone(&cut);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = answers.read(&mut buffer) {
                    if heard.load(Ordering::SeqCst) || back.write_all(&buffer[..read]).is_err() {
                        let _ = back.shutdown(std::net::Shutdown::Both);
                        break;
                    }
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    if buffer[..read].windows(6).any(|part| part == b"COMMIT") {
                        cut.store(true, Ordering::SeqCst);
                    }
                    if server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_lost_answer_to_the_commit_is_unknown() {
    let options = pgserver::Options { tcp: true, ..pgserver::Options::default() };
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    server.sql("postgres", SCHEMA);
    let lab = Lab::new(&token("allowed_patterns = [\"UPDATE\"]"));
    let port = cutting_the_commit(&server);
    let dsn = format!("postgres://app@127.0.0.1:{port}/postgres?sslmode=disable");
    let ended =
        ask(&lab, &dsn, [json!({"query": "UPDATE orders SET status = 'x' WHERE id = 1"})]).exits(0);
    assert_eq!(ended.outcomes(), ["unknown"]);
    assert_eq!(ended.proofs()[0]["reason"], "commit");
}

#[test]
fn without_a_server_nothing_is_spent() {
    let lab = Lab::new(&token("allowed_patterns = [\"SELECT\"]"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dsn = format!("postgres://app:{PASSWORD}@127.0.0.1:{free}/x?sslmode=disable");
    let ended = ask(&lab, &dsn, [json!({"query": "SELECT 1"})]).exits(0);
    assert!(ended.proofs().is_empty(), "{:?}", ended.proofs());
    assert!(!ended.trail().to_string().contains(PASSWORD));
}

#[test]
fn a_sqlite_file_is_read_and_neither_written_nor_left() {
    let lab = Lab::new(
        "[[token]]\nkind = \"database\"\nname = \"orders\"\ndsn = \"sqlite:app.db\"\nmax_uses = 20\n\
         allowed_patterns = [\"SELECT\"]\nfunctions = [\"load_extension\"]\n\n\
         [[token]]\nkind = \"database\"\nname = \"marks\"\ndsn = \"sqlite:app.db\"\nmax_uses = 5\n\
         allowed_patterns = [\"UPDATE orders SET\"]\n",
    );
    let file = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    file.execute_batch(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT, total REAL); \
         INSERT INTO orders VALUES (1, 'open', 12.5), (2, 'paid', 8)",
    )
    .unwrap();
    let turns = [
        (
            "db_orders",
            json!({"query": "SELECT id, status, total FROM orders WHERE id >= ?1", "params": [1]}),
        ),
        ("db_orders", json!({"query": "SELECT name FROM pragma_table_info('orders')"})),
        ("db_orders", json!({"query": "SELECT load_extension('/tmp/x')"})),
        ("db_orders", json!({"query": "UPDATE orders SET status = 'x'"})),
        ("db_orders", json!({"query": "ATTACH '/tmp/x' AS x"})),
        (
            "db_marks",
            json!({"query": "UPDATE orders SET status = 'done' WHERE id = ?1 RETURNING id", "params": [1]}),
        ),
        ("db_marks", json!({"query": "UPDATE orders SET id = 1"})),
    ];
    let turns: Vec<Value> = turns.into_iter().map(|one| calls([one])).chain([done()]).collect();
    let ended = lab.replay(&turns).go().exits(0);
    assert_eq!(
        ended.outcomes(),
        ["succeeded", "succeeded", "failed", "succeeded", "failed"],
        "{}",
        ended.trail()
    );
    let marks: String =
        file.query_row("SELECT group_concat(status) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(marks, "done,paid");
}
