//! What only PostgreSQL has: rights, connections that are cut, servers that go away, and other
//! processes.

mod alone;
mod cut;
mod doubt;
mod failover;
mod proxy;
mod race;
mod restart;
mod rights;
mod rule;
mod seen;
mod sequence;
mod strange;

/// Takes the tables back to what version 1 had.
const FIRST_VERSION: &str =
    "DROP TABLE lar.openings, lar.stamped, lar.segments, lar.subtrees, lar.log, lar.epochs, lar.ended, lar.witnessed,
        lar.decisions, lar.approving, lar.own;
    DROP TRIGGER grant_ends ON lar.grants;
    ALTER TABLE lar.tokens DROP COLUMN epoch, DROP COLUMN grant_expires, DROP CONSTRAINT uses,
        ADD CHECK (granted > 0), ADD CHECK (uses_left BETWEEN 0 AND granted);
    UPDATE lar.ledger SET version = 1";
