//! Tokens for files.

use std::path::PathBuf;

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;

use super::{Common, base, file_mode, multi, single, with_common};
use crate::action::Action;
use crate::convert;
use crate::token::{LinearToken, MultiUseToken};

/// Reads or replaces one file at or beneath an allowed path. The kernel resolves the path, so that no
/// symbolic link leads outside.
///
/// Args:
///     name: the name in the record; the model sees the tool `file_<name>`.
///     allowed_paths: absolute paths of directories or files.
///     mode: `read`, `write` or `readwrite`.
///     max_bytes: the most that is read or written.
///
/// Example:
///     >>> token = FileToken("config", allowed_paths=["/etc/app"], mode="read")
///     >>> proof = await token.consume("read", "/etc/app/app.toml")
///     >>> proof.output
///     'port = 80'
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct FileToken;

/// Reads or replaces files, `max_uses` times. The arguments are `FileToken`'s.
///
/// Example:
///     >>> token = MultiUseFileToken("config", allowed_paths=["/etc/app"], mode="read", max_uses=3)
///     >>> token.check("read", "/etc/app/app.toml").path
///     '/etc/app/app.toml'
#[pyclass(frozen, extends = MultiUseToken, module = "linear_agentics.tokens")]
pub struct MultiUseFileToken;

macro_rules! file {
    ($class:ident, $make:ident, $uses:expr $(, $max_uses:ident)?) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (
                name, allowed_paths, mode="read", *, $($max_uses,)? requires_approval=false,
                required=false, expires=None, witness=None, max_bytes=None
            ))]
            #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
            fn new(
                name: &str,
                allowed_paths: Vec<PathBuf>,
                mode: &str,
                $($max_uses: u32,)?
                requires_approval: bool,
                required: bool,
                expires: Option<&Bound<'_, PyAny>>,
                witness: Option<&str>,
                max_bytes: Option<u64>,
            ) -> PyResult<PyClassInitializer<Self>> {
                let common = Common::new($uses, requires_approval, required, expires, witness)?;
                let paths = allowed_paths.iter().map(|path| path.to_string_lossy());
                let builder = runtime::FileToken::new(name, paths, file_mode(mode)?);
                let mut builder = with_common!(builder, common);
                if let Some(bytes) = max_bytes {
                    builder = builder.max_bytes(bytes);
                }
                $make(builder.build(), None, Self)
            }

            /// Spends a use: `operation` is `read` or `write`; a write replaces the whole file.
            #[pyo3(signature = (operation, path, content=None))]
            fn consume<'py>(
                slf: &Bound<'py, Self>,
                operation: Bound<'py, PyAny>,
                path: PathBuf,
                content: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let input = input(operation, path, content)?;
                base!(slf).consume_input(slf.py(), input)
            }

            /// Raises what `consume` would raise, or returns what would be read or written.
            #[pyo3(signature = (operation, path, content=None))]
            fn check<'py>(
                slf: &Bound<'py, Self>,
                operation: Bound<'py, PyAny>,
                path: PathBuf,
                content: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Action> {
                base!(slf).check_input(&input(operation, path, content)?)
            }
        }
    };
}

file!(FileToken, single, 1);
file!(MultiUseFileToken, multi, max_uses, max_uses);

fn input<'py>(
    operation: Bound<'py, PyAny>,
    path: PathBuf,
    content: Option<Bound<'py, PyAny>>,
) -> PyResult<String> {
    let py = operation.py();
    let path = path.into_os_string().into_pyobject(py)?.into_any();
    let fields = [("operation", Some(operation)), ("path", Some(path)), ("content", content)];
    convert::fields(py, &fields)
}
