//! Tokens for files.

use super::{Common, Witness, check_bytes, common_setters};
use crate::scope::{FileMode, FileScope, Scope};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Reads or writes files beneath allowed paths.
///
/// ```
/// use lar_core::{scope::FileMode, token::FileToken};
/// let token = FileToken::new("config", ["/etc/app"], FileMode::Read).build()?;
/// assert_eq!(token.tool_name(), "file_config");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct FileToken {
    common: Common,
    allowed_paths: Vec<String>,
    mode: FileMode,
    max_bytes: Option<u64>,
}

impl FileToken {
    /// A token for files at or beneath `allowed_paths`, which are absolute.
    pub fn new(
        name: &str,
        allowed_paths: impl IntoIterator<Item = impl Into<String>>,
        mode: FileMode,
    ) -> Self {
        Self {
            common: Common::new(name),
            allowed_paths: allowed_paths.into_iter().map(Into::into).collect(),
            mode,
            max_bytes: None,
        }
    }

    /// Reads and writes at most so many bytes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let mut scope = FileScope::new(&self.allowed_paths, self.mode)?;
        if let Some(bytes) = self.max_bytes {
            check_bytes("max_bytes", bytes)?;
            scope.max_bytes = bytes;
        }
        self.common.token(Scope::File(scope))
    }
}
common_setters!(FileToken);

/// A file token with more than one use: the same builder, with [`FileToken::max_uses`].
pub type MultiUseFileToken = FileToken;
