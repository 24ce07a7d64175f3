//! A database that is behind what was seen of it from here: restored to an older state, or exchanged
//! beneath a process that goes on.

use std::path::Path;
use std::sync::Arc;

use lar_core::audit::log::Signers;
use lar_core::audit::note::SignerError;
use lar_core::ledger::{Conflict, Ledger, LedgerError};
use lar_ledger::{Address, Environment};

use crate::server::{new_database, shared, try_connect};
use crate::support::*;

fn address(url: &str) -> Address {
    Address::parse(url, &Environment::default()).unwrap()
}

async fn open(url: &str, signers: Signers, seen: &Path) -> Arc<dyn Ledger> {
    lar_ledger::connect_signed(address(url), signers, Some(seen)).await.unwrap()
}

fn no_key() -> Signers {
    Arc::new(|_, _, _| Err(SignerError("it has no key".into())))
}

/// The database's name, which is its owner's too, and the address of another with the same owner.
fn name_and(url: &str, other: &str) -> (String, String) {
    let name = url.rsplit('/').next().unwrap().to_owned();
    let address = shared().unwrap().url(&name, &format!("{name}{other}"));
    (name, address)
}

/// Runs statements that no connection to these databases may be in the way of.
fn alone(name: &str, statements: &[String]) {
    let server = shared().unwrap();
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
         WHERE datname IN ('{name}', '{name}_old', '{name}_new')"
    );
    tokio::task::block_in_place(|| {
        for statement in statements {
            server.sql("postgres", &cut);
            server.sql("postgres", statement);
        }
    });
}

fn is_older(error: &LedgerError) -> bool {
    let text = error.to_string();
    matches!(error, LedgerError::Damaged(_))
        && text.contains("an older copy has taken its place")
        && text.contains("lar ledger accept-restored")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_takes_no_spend_until_it_is_accepted() {
    for (signers, word) in [
        (crate::log::Keys::default().signers(), "it has 1 records, and 2 were seen here before"),
        // Nothing is in the signed log: the record itself is missed.
        (no_key(), "record 2 of run `r`, which was acknowledged here, isn't in it"),
    ] {
        let Some(url) = new_database() else { return };
        let (name, older) = name_and(&url, "_old");
        let home = tempfile::tempdir().unwrap();
        let ledger = open(&url, signers.clone(), home.path()).await;
        let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
        let signs = ledger.log().unwrap().include(&hold.run, 1).await.is_ok();
        drop(ledger);
        alone(&name, &[format!("CREATE DATABASE {name}_old OWNER {name} TEMPLATE {name}")]);
        let ledger = open(&url, signers.clone(), home.path()).await;
        step(ledger.as_ref(), &hold, 1, START).await.unwrap();
        assert_eq!(ledger.log().unwrap().include(&hold.run, 2).await.is_ok(), signs);
        drop(ledger);
        let ledger = open(&url, signers.clone(), home.path()).await;
        assert_eq!(conflict(step(ledger.as_ref(), &hold, 2, START).await), Conflict::NoUseLeft);
        drop(ledger);
        let other = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(home.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), other.path().join(entry.file_name())).unwrap();
        }

        let ledger = open(&older, signers.clone(), home.path()).await;
        let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
        assert!(is_older(&error) && error.to_string().contains(word), "{error}");
        for refused in [
            ledger.open_run(opening("other", vec![])).await.unwrap_err(),
            ledger.bump_epoch().await.unwrap_err(),
            ledger.close_run(closing(&hold)).await.unwrap_err(),
        ] {
            assert!(is_older(&refused), "{refused}");
        }
        assert_eq!(ledger.runs().await.unwrap()[0].records, 1, "it can be read");
        drop(ledger);
        let accepted = lar_ledger::accept_restored_database(address(&older), home.path()).await;
        assert_eq!(accepted.unwrap().epoch, 2);
        // Another host that was told of the spend sees by the epoch that this was accepted.
        let ledger = open(&older, signers.clone(), other.path()).await;
        assert_eq!(conflict(step(ledger.as_ref(), &hold, 1, START).await), Conflict::Quarantined);
        drop(ledger);
        let ledger = open(&older, signers, home.path()).await;
        assert_eq!(conflict(step(ledger.as_ref(), &hold, 1, START).await), Conflict::Quarantined);
        let fresh = start(ledger.as_ref(), "new", vec![granted("t", 1)]).await;
        step(ledger.as_ref(), &fresh, 1, START).await.unwrap();
        // And the newer one, should it come back, is another one now.
        drop(ledger);
        let ledger = open(&url, no_key(), home.path()).await;
        let error = step(ledger.as_ref(), &hold, 3, START).await.unwrap_err();
        assert!(is_older(&error), "{error}");
    }
}

/// A server that lacks what it acknowledged, as after a failover to an asynchronous standby, is found out
/// by the process that was told so, at its next connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_exchanged_beneath_a_process_takes_nothing_more() {
    let Some(url) = new_database() else { return };
    let (name, _) = name_and(&url, "_old");
    let ledger = try_connect(&url).await.unwrap();
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 2)]).await;
    alone(&name, &[format!("CREATE DATABASE {name}_old OWNER {name} TEMPLATE {name}")]);
    // A connection that is cut is no reason: what was acknowledged is there.
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    alone(
        &name,
        &[
            format!("ALTER DATABASE {name} RENAME TO {name}_new"),
            format!("ALTER DATABASE {name}_old RENAME TO {name}"),
        ],
    );
    let error = step(ledger.as_ref(), &hold, 2, START).await.unwrap_err();
    assert!(is_older(&error), "{error}");
    assert!(error.to_string().contains("record 2 of run `r`"), "{error}");
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(is_older(&error), "the use is not fresh again: {error}");
}
