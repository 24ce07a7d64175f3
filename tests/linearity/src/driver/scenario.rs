//! What is tried.

use std::fmt;

/// What the ledger lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A directory.
    Sqlite,
    /// A database on a private server.
    Postgres,
}

impl Store {
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            other => Err(format!("there is no store `{other}`; say `sqlite` or `postgres`")),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// One way of trying.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, as the worker is told it.
    pub name: &'static str,
    pub store: Store,
    /// How many processes work at once.
    pub processes: usize,
    /// Whether the server crashes, or is stopped, and comes back again and again.
    pub server_restarts: bool,
    /// Whether the clock of the processes jumps.
    pub clock_jumps: bool,
    /// Whether witnesses must cosign before each effect, and they and changes of the log's key are killed
    /// as well.
    pub witnesses: bool,
    /// Whether the effect comes before its mark, so that doubles must be seen.
    pub control: bool,
}

const fn on(store: Store, name: &'static str, processes: usize) -> Scenario {
    Scenario {
        name,
        store,
        processes,
        server_restarts: false,
        clock_jumps: false,
        witnesses: false,
        control: false,
    }
}

/// All there are.
pub const SCENARIOS: [Scenario; 13] = [
    on(Store::Sqlite, "one", 1),
    on(Store::Sqlite, "eight", 8),
    on(Store::Sqlite, "retry", 3),
    on(Store::Sqlite, "approval", 3),
    Scenario { clock_jumps: true, ..on(Store::Sqlite, "clock", 3) },
    Scenario { witnesses: true, ..on(Store::Sqlite, "witness", 3) },
    Scenario { control: true, ..on(Store::Sqlite, "eight", 8) },
    on(Store::Postgres, "hosts", 2),
    on(Store::Postgres, "retry", 3),
    on(Store::Postgres, "approval", 3),
    Scenario { server_restarts: true, ..on(Store::Postgres, "restart", 4) },
    Scenario { witnesses: true, ..on(Store::Postgres, "witness", 2) },
    Scenario { control: true, ..on(Store::Postgres, "hosts", 2) },
];
