//! One connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls};

use crate::Address;

/// A connection, and the task that carries it.
pub struct Connected {
    /// What is asked through.
    pub client: Client,
    /// Ends when the connection does.
    pub task: JoinHandle<()>,
    /// Becomes true when the server sends a warning. One that comes with a commit says that it is
    /// not on the standby that it should be on.
    pub warned: Arc<AtomicBool>,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").finish_non_exhaustive()
    }
}

impl Address {
    /// Connects and logs in. To be called within a tokio runtime.
    pub async fn connect(&self) -> Result<Connected, Error> {
        let warned = Arc::new(AtomicBool::new(false));
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, tokio::spawn(carry(connection, Arc::clone(&warned))))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, tokio::spawn(carry(connection, Arc::clone(&warned))))
            }
        };
        Ok(Connected { client, task, warned })
    }

    /// How the server is reached, for a pool. Its `Debug` shows no password.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }
}

/// Carries messages until the connection ends. Its error is the one that those who wait for an
/// answer get.
async fn carry<S, T>(mut connection: Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.parsed_severity() == Some(Severity::Warning)
        {
            warned.store(true, Ordering::Release);
        }
    }
}
