//! What only PostgreSQL has: rights, connections that are cut, servers that go away, and other
//! processes.

mod cut;
mod doubt;
mod failover;
mod proxy;
mod race;
mod restart;
mod rights;
mod rule;
mod sequence;
mod strange;
