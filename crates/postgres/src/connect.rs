//! One connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Connection, Error, NoTls};

use crate::Address;

/// A connection, and the task that carries it.
pub struct Connected {
    /// What is asked through.
    pub client: Client,
    /// Ends when the connection does.
    pub task: JoinHandle<()>,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

impl Address {
    /// Connects and logs in. To be called within a tokio runtime.
    ///
    /// `warnings` counts the warnings that the server sends. One that comes with a commit says that it
    /// may not be on the standby that it should be on.
    pub async fn connect(&self, warnings: &Arc<AtomicU64>) -> Result<Connected, Error> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, tokio::spawn(carry(connection, Arc::clone(warnings))))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, tokio::spawn(carry(connection, Arc::clone(warnings))))
            }
        };
        Ok(Connected { client, task })
    }

    /// Only a server that takes writes will do: of several hosts, the primary.
    #[must_use]
    pub fn writable(mut self) -> Self {
        self.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        self
    }

    /// Asks the server to end what a session runs. Whether it does is not known.
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), Error> {
        match &self.tls {
            Some(tls) => token.cancel_query(tls.clone()).await,
            None => token.cancel_query(NoTls).await,
        }
    }

    /// How the server is reached, for a pool. Its `Debug` shows no password.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }
}

/// Carries messages until the connection ends. Its error is the one that those who wait for an
/// answer get.
async fn carry<S, T>(mut connection: Connection<S, T>, warnings: Arc<AtomicU64>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.parsed_severity() == Some(Severity::Warning)
        {
            warnings.fetch_add(1, Ordering::AcqRel);
        }
    }
}
