//! The main job, with the real binary: real processes, real HTTP on loopback, real files, a real
//! terminal, and a ledger on disk.

mod approval;
mod binding;
mod budget;
mod canary;
mod children;
pub mod clouds;
mod database;
mod deploy;
mod examples;
mod file_corpus;
mod files;
mod http;
mod input;
mod interruption;
mod ledger;
mod model;
mod negotiation;
mod outputs;
mod postgres;
pub mod programs;
mod resume;
mod secrets;
pub mod signed;
mod tiers;
mod witness;
