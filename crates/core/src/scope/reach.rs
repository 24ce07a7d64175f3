//! What a program may reach while it runs, beyond its own file and the system's libraries: the kernel
//! holds it to that.

use serde::Serialize;

use super::endpoint::Endpoint;
use crate::token::TokenError;

/// What a token grants the programs that it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Where they may connect to, by TCP and nothing else.
    pub network: Vec<Endpoint>,
    /// Files and directories that they may change; all else is read-only.
    pub writes: Vec<String>,
    /// Files and directories that they may read, beyond the working directory and the system's
    /// libraries. A leading `~/` stands for the user's home.
    pub reads: Vec<String>,
    /// Programs that they may start in turn: names, paths, directories whose programs are meant, or
    /// `*` for all in PATH.
    pub also_runs: Vec<String>,
}

impl Reach {
    /// Takes the texts of a declaration.
    pub(crate) fn new(
        network: &[String],
        writes: Vec<String>,
        reads: Vec<String>,
        also_runs: Vec<String>,
    ) -> Result<Self, TokenError> {
        let field = |field, message| TokenError::Field { field, message };
        let network = network
            .iter()
            .map(|text| {
                text.parse().map_err(|error: super::endpoint::EndpointError| {
                    field("network", error.to_string())
                })
            })
            .collect::<Result<_, _>>()?;
        for (name, texts) in [("writes", &writes), ("reads", &reads), ("also_runs", &also_runs)] {
            if let Some(text) = texts.iter().find(|text| text.is_empty() || text.contains('\0')) {
                let shown = text.escape_debug();
                return Err(field(name, format!("`{shown}` is empty or holds a NUL character")));
            }
        }
        Ok(Self { network, writes, reads, also_runs })
    }
}
