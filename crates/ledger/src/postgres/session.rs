//! Connections: how each is set up, and that there are few of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
};
use lar_core::ledger::LedgerError;
use lar_postgres::{Address, explain};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, Row};

use super::trouble::Trouble;
use super::watch::Watch;

/// Set on every connection. A commit that isn't waited for could be lost after it was acknowledged,
/// so `off` becomes `on`; what else the operator has chosen stays.
const SET_UP: &str = "
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off';
    -- What is read after a lock must be as new as the lock.
    SET default_transaction_isolation = 'read committed';
    SET statement_timeout = '10s';
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning';
    -- The ledger's statements find their rows by keys, however many there are, and are planned once.
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET enable_bitmapscan = off;
    SET plan_cache_mode = force_generic_plan;
    SET jit = off;";

/// How long a connection may take, with its login.
const CONNECT: Duration = Duration::from_secs(15);
/// How long an answer may take: longer than the server lets a statement run.
const ANSWER: Duration = Duration::from_secs(15);

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Sessions {
    pool: Pool,
    /// What was seen of the ledger behind it.
    watch: Arc<Watch>,
    warnings: Arc<AtomicU64>,
    /// Whether a commit was acknowledged, or lost, of which it isn't known whether the standby has
    /// it.
    doubt: Arc<AtomicBool>,
}

impl Sessions {
    pub(super) fn new(address: Address, size: usize) -> Result<Self, LedgerError> {
        let address = address.writable();
        let config = address.config().clone();
        let warnings = Arc::new(AtomicU64::new(0));
        let watch = Arc::new(Watch::default());
        let connector =
            Connector { address, warnings: Arc::clone(&warnings), watch: Arc::clone(&watch) };
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_connect(config, connector, recycling))
            .max_size(size)
            .build()
            .map_err(|_| LedgerError::Unavailable("no connections can be kept".to_owned()))?;
        Ok(Self { pool, watch, warnings, doubt: Arc::new(AtomicBool::new(false)) })
    }

    /// What was seen of the ledger.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// A connection that was alive when it was last used.
    pub(super) async fn get(&self) -> Result<Object, Trouble> {
        match timeout(CONNECT, self.pool.get()).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(PoolError::Backend(error))) => Err(Trouble::Unreached(explain(&error))),
            Ok(Err(_)) => Err(Trouble::Unreached("no connection can be had".to_owned())),
            Err(_) => Err(Trouble::Unreached("the server doesn't answer".to_owned())),
        }
    }

    /// A connection for a change: refused where the ledger behind it isn't the one that was seen before.
    pub(super) async fn get_to_change(&self) -> Result<Object, Trouble> {
        let object = self.get().await?;
        self.watch.intact()?;
        Ok(object)
    }

    /// Asks one statement, which is a transaction of its own, and waits for the answer.
    pub(super) async fn ask(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        self.ask_by(self.get().await?, statement, parameters).await
    }

    /// The same for a statement that changes the ledger.
    pub(super) async fn change(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        self.ask_by(self.get_to_change().await?, statement, parameters).await
    }

    /// A commit that came with a warning is told from one that is safe by a second one, which waits
    /// for the standby in its turn.
    async fn ask_by(
        &self,
        object: Object,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        // A statement that can't be prepared was not run.
        let prepared = within(object.prepare_cached(statement)).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(trouble) => {
                let unreached = match trouble {
                    Trouble::Lost(why) => Trouble::Unreached(why),
                    other => other,
                };
                discard(object);
                return Err(unreached);
            }
        };
        let before = self.warnings.load(Ordering::Acquire);
        let answer = within(object.query(&prepared, parameters)).await;
        if let Err(Trouble::Lost(_)) = &answer {
            self.doubt.store(true, Ordering::Release);
            // The answer may still be on its way; nobody else must take it for theirs.
            discard(object);
            return answer;
        }
        if self.warnings.load(Ordering::Acquire) != before {
            self.doubt.store(true, Ordering::Release);
            drop(object);
            // It was made, and it isn't known whether it stays: whatever was in the way of finding that out,
            // nobody may take it for not made.
            self.settle()
                .await
                .map_err(|trouble| Trouble::Lost(trouble.into_error().to_string()))?;
        }
        answer
    }

    /// Makes sure that all that was committed is where commits are waited for.
    pub(super) async fn settle(&self) -> Result<(), Trouble> {
        if !self.doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        let object = self.get().await?;
        let before = self.warnings.load(Ordering::Acquire);
        within(object.batch_execute("SELECT lar.barrier()")).await?;
        if self.warnings.load(Ordering::Acquire) == before {
            self.doubt.store(false, Ordering::Release);
            return Ok(());
        }
        Err(Trouble::Lost(
            "the server warns that what it commits may not be on its standby; see to the standby"
                .to_owned(),
        ))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn within<T>(
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::Lost("the server doesn't answer".to_owned())),
    }
}

/// Closes a connection instead of giving it back.
fn discard(object: Object) {
    drop(Object::take(object));
}

struct Connector {
    address: Address,
    warnings: Arc<AtomicU64>,
    watch: Arc<Watch>,
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for Connector {
    fn connect(&self, _: &Config) -> Connecting<'_> {
        Box::pin(async {
            let connected = self.address.connect(&self.warnings).await?;
            connected.client.batch_execute(SET_UP).await?;
            self.watch.greet(&connected.client).await?;
            Ok((connected.client, connected.task))
        })
    }
}
