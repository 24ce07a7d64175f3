//! The tables and functions in the database: made by the owner, checked by everybody.

use lar_core::ledger::LedgerError;
use tokio_postgres::Client;

use super::session::{Sessions, within};
use super::trouble::Trouble;

/// The version of the tables and functions.
const VERSION: i32 = 9;

const TABLES: [&str; 6] = [
    include_str!("schema/tables.sql"),
    include_str!("schema/log_tables.sql"),
    include_str!("schema/decision_tables.sql"),
    include_str!("schema/own_tables.sql"),
    include_str!("schema/opening_tables.sql"),
    include_str!("schema/stamp_tables.sql"),
];

/// The functions, and who may call them. Made anew by every version.
const FUNCTIONS: [&str; 8] = [
    include_str!("schema/rule.sql"),
    include_str!("schema/functions.sql"),
    include_str!("schema/grant_ends.sql"),
    include_str!("schema/one.sql"),
    include_str!("schema/runs.sql"),
    include_str!("schema/log.sql"),
    include_str!("schema/decisions.sql"),
    include_str!("schema/rights.sql"),
];

/// What the functions of `one.sql` share, and where it stands in them. A function of its own would take as long
/// to call as one of its statements takes.
const SHARED: [(&str, &str); 2] = [
    ("{variables}", include_str!("schema/one_variables.sql")),
    ("{item}", include_str!("schema/one_item.sql")),
];

/// What each version changed in the tables, from the second on.
const CHANGES: [&str; 8] = [
    "",
    include_str!("schema/log_tables.sql"),
    include_str!("schema/decision_tables.sql"),
    include_str!("schema/own_tables.sql"),
    include_str!("schema/opening_tables.sql"),
    include_str!("schema/stamp_tables.sql"),
    // Functions alone.
    "",
    include_str!("schema/token_grants.sql"),
];

/// Removes the functions of an older version, and the triggers that call them.
const REMOVE: &str = "
    DROP TRIGGER IF EXISTS grant_ends ON lar.grants;
    DO $$
    DECLARE
        old regprocedure;
    BEGIN
        FOR old IN SELECT oid FROM pg_proc WHERE pronamespace = 'lar'::regnamespace LOOP
            EXECUTE 'DROP FUNCTION ' || old;
        END LOOP;
        DROP TYPE lar.step;
    END $$";

/// Any number that other programs don't use: two openers of an empty database take turns.
const TURN: &str = "SELECT pg_advisory_xact_lock(7809644653623407981)";

/// Gives the roles that were let in what this version lets them do.
const ADMIT: &str = "
    SELECT lar.admit(role) FROM lar.admitted;
    SELECT lar.admit_approver(role) FROM lar.approving";

const IDENTITY: &str = "
    INSERT INTO lar.ledger (id, version, epoch)
    SELECT encode(substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16),
                  'hex'), $1, 1";

type Result<T> = std::result::Result<T, Trouble>;

/// Makes the ledger where there is none, if that is wanted and the role may, brings an older one up to
/// this version if the role is its owner, and checks that it is one that can be relied on. Answers
/// whether there is one.
pub(super) async fn prepare(sessions: &Sessions, make: bool) -> Result<bool> {
    let mut object = sessions.get().await?;
    check_server(&within(object.query_one(SERVER, &[])).await?)?;
    match look(&object).await? {
        Found::Ready => return Ok(true),
        Found::None if !make => return Ok(false),
        Found::None | Found::Older(_) => {}
    }
    let transaction = within(object.transaction()).await?;
    within(transaction.batch_execute(TURN)).await?;
    // Another may have made it in the meantime.
    match look(transaction.client()).await? {
        Found::Ready => return Ok(true),
        Found::None => {
            let may = "SELECT has_database_privilege(current_database(), 'CREATE')";
            if !asked(&within(transaction.query_one(may, &[])).await?)? {
                return Err(unavailable(
                    "there is no ledger in this database and the role may not make one; let the \
                     database's owner open it once, see `docs/ledger-postgres.md`",
                ));
            }
            for part in TABLES {
                within(transaction.batch_execute(part)).await?;
            }
            within(transaction.execute(IDENTITY, &[&VERSION])).await?;
            within(transaction.batch_execute("INSERT INTO lar.clock (millis) VALUES (0)")).await?;
        }
        Found::Older(version) => {
            let owner =
                "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'lar'";
            if !asked(&within(transaction.query_one(owner, &[])).await?)? {
                return Err(unavailable(&format!(
                    "it was made by an older version (tables {version}, this program needs {VERSION}); \
                     let its owner open it once with this one, as with `lar ledger show`"
                )));
            }
            let made = usize::try_from(version - 1).unwrap_or(0);
            for change in CHANGES.iter().skip(made) {
                within(transaction.batch_execute(change)).await?;
            }
            within(transaction.batch_execute(REMOVE)).await?;
            within(transaction.execute("UPDATE lar.ledger SET version = $1", &[&VERSION])).await?;
        }
    }
    for part in FUNCTIONS {
        let whole = SHARED.iter().fold(part.to_owned(), |text, (at, part)| text.replace(at, part));
        within(transaction.batch_execute(&whole)).await?;
    }
    within(transaction.batch_execute(ADMIT)).await?;
    within(transaction.commit()).await.map(|()| true)
}

/// What there is in the database.
enum Found {
    None,
    /// A ledger of this version that the role may use.
    Ready,
    /// One of an older version.
    Older(i32),
}

fn asked(row: &tokio_postgres::Row) -> Result<bool> {
    row.try_get(0).map_err(|error| Trouble::of(&error))
}

async fn look(client: &Client) -> Result<Found> {
    let Some(found) = within(client.query_opt(FOUND, &[])).await? else {
        return Ok(Found::None);
    };
    if !asked(&found)? {
        return Err(unavailable(
            "the role is not admitted to it; let the owner run `SELECT lar.admit('ROLE')` in the \
             database",
        ));
    }
    let version = within(client.query_opt("SELECT version FROM lar.ledger", &[])).await;
    let version: i32 = match version {
        Ok(Some(row)) => row.try_get(0).map_err(|error| Trouble::of(&error))?,
        Ok(None) | Err(Trouble::Refused(_)) => {
            return Err(damaged(
                "the schema `lar` of this database isn't a ledger, or the role may not read it; name \
                 another database, or let the owner run `SELECT lar.admit('ROLE')`",
            ));
        }
        Err(other) => return Err(other),
    };
    match version {
        VERSION => Ok(Found::Ready),
        1..VERSION => Ok(Found::Older(version)),
        _ => Err(damaged(&format!(
            "it was written by a newer version (tables {version}, this program knows {VERSION}); \
             update the program, and don't edit the tables"
        ))),
    }
}

const SERVER: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
           current_setting('fsync')";

/// Looks without touching the schema, which a role that isn't admitted may not do.
const FOUND: &str =
    "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'lar'";

fn check_server(row: &tokio_postgres::Row) -> Result<()> {
    let read = |error| Trouble::of(&error);
    let version: i32 = row.try_get(0).map_err(read)?;
    let encoding: &str = row.try_get(1).map_err(read)?;
    let fsync: &str = row.try_get(2).map_err(read)?;
    if version < 130_000 {
        return Err(unavailable("the server is older than PostgreSQL 13; update it"));
    }
    if encoding != "UTF8" {
        return Err(unavailable("the database isn't encoded in UTF8; make one that is"));
    }
    if fsync != "on" {
        return Err(unavailable(
            "the server runs with `fsync` off and can lose what it acknowledged; turn it on",
        ));
    }
    Ok(())
}

fn unavailable(why: &str) -> Trouble {
    Trouble::Refused(LedgerError::Unavailable(why.to_owned()))
}

fn damaged(why: &str) -> Trouble {
    Trouble::Refused(LedgerError::Damaged(why.to_owned()))
}
