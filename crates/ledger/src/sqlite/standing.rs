//! What every spend changes of the ledger, its run and its token: how they stand.
//!
//! It lies in one table, and runs and tokens that were made together lie side by side in it, so that a commit
//! writes one page for all three.

/// The ledger's own row, which is the last: it lies beside those of the latest runs.
macro_rules! log_row {
    () => {
        "9223372036854775807"
    };
}

/// The number of a row that is new.
macro_rules! next_row {
    () => {
        "(SELECT coalesce(max(n), 0) + 1 FROM standing WHERE n < 9223372036854775807)"
    };
}

pub(super) use {log_row, next_row};

pub(super) const TABLE: &str = "
    CREATE TABLE standing (
        -- The number of a run or a token, or the highest there is: the ledger's.
        n           INTEGER PRIMARY KEY,

        -- Of a token.
        granted     INTEGER CHECK (granted > 0),
        uses_left   INTEGER CHECK (uses_left BETWEEN 0 AND granted),

        -- Of a run.
        fence       INTEGER,
        lease_until INTEGER,
        seq         INTEGER,
        head        BLOB,
        pages       INTEGER,
        -- The leaves of its last records, which make no row of `places` yet.
        places      BLOB,

        -- Of the ledger. The highest time that was ever given out, in milliseconds since 1970.
        millis      INTEGER,
        -- How many records are written; how many of them are under the head that is signed, and the root
        -- over those.
        written     INTEGER,
        size        INTEGER,
        root        BLOB,
        checkpoint  TEXT,
        -- The epoch of the key that signs.
        key_epoch   INTEGER,
        -- The log's own records, which belong to no run: how many, and the hash of the last.
        own_seq     INTEGER,
        own_head    BLOB,
        -- The hashes of the log's last leaves, which make no row of `leaves` yet.
        leaves      BLOB
    ) STRICT;
";
